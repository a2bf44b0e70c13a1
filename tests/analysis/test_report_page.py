"""The page of a run, in a browser."""

import dataclasses
import sys

import numpy as np
import pytest
from browser import SCHEMES, WIDTHS
from factories import call

import textgen
from textgen.analysis import run_report
from textgen.analysis.report_page import render_report
from textgen.analysis.run_report import Sample, report_on_run

HOSTILE = "<script>document.title = 'run'</script>\u202e\x07"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of a run of a few steps, with a hostile name and hostile samples."""
    folder = tmp_path_factory.mktemp("page")
    drawn = np.random.default_rng(0).choice(["the", "cat", "<b>", "sat", "on", "a", "mat"], 3000)
    lines = (" ".join(drawn[i : i + 9]) for i in range(0, len(drawn), 9))
    (folder / "corpus.txt").write_text("\n".join(lines))
    sizes = {"steps": 4, "hidden": 8, "embedding": 4, "batch": 2, "window": 8, "threads": 1}
    textgen.train(folder / "corpus.txt", out=str(folder / "run"), **sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_report, "COPY_CHARS", 50)
        report = report_on_run(folder / "run")
    return dataclasses.replace(report, name=HOSTILE, samples=[Sample(1.0, HOSTILE)] * 4)


@pytest.mark.slow
def test_what_was_found_stands_on_the_page_and_is_inert(report):
    page = render_report(report)
    assert "<script>document" not in page and "\u202e" not in page and "\x07" not in page
    assert "<b>" not in page
    assert f"{report.figures[0].nats:.3f} nats" in page
    assert f"{report.calibration.expected_error:.3f}" in page
    assert page.count("<figcaption>temperature 1.0") == 4
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


@pytest.mark.slow
def test_without_matplotlib_there_are_no_curves_but_all_else(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    page = render_report(report)
    assert "textgen-rnn[plot]" in page and "calibration" in page


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_can_be_read_in_any_window(browser, report, tmp_path, width, scheme):
    (tmp_path / "report.html").write_text(render_report(report), "utf-8")
    browser.open(tmp_path / "report.html", width, scheme)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.contrast("td.soft") >= 4.5
    assert browser.run("document.querySelectorAll('svg').length") == 2
    assert browser.problems() == []


@pytest.mark.slow
def test_the_command_says_where_the_page_is(report, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("textgen.analysis.report_on_run", lambda run, text, tell: report)
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "report", "run")
    assert code == 0 and out.startswith("report.html: ")
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!doctype html>")
    assert call(capsys, "report", "run", "--out", "a\0b")[0] == 2
