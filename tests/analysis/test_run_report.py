"""What a report says of a run, against what the other commands say."""

import json

import numpy as np
import pytest

import textgen
from textgen.analysis import run_report
from textgen.analysis.baselines import measure_baselines
from textgen.analysis.novelty import measure_novelty
from textgen.analysis.run_report import TEMPERATURES, report_on_run
from textgen.errors import TextError, UsageError

TINY = {"steps": 4, "hidden": 8, "embedding": 4, "batch": 2, "window": 8, "threads": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps on a text of its own."""
    folder = tmp_path_factory.mktemp("report")
    drawn = np.random.default_rng(0).choice(["the", "cat", "sat", "on", "a", "mat"], 3000)
    lines = (" ".join(drawn[i : i + 9]) for i in range(0, len(drawn), 9))
    (folder / "corpus.txt").write_text("\n".join(lines))
    textgen.train(folder / "corpus.txt", out=str(folder / "run"), **TINY)
    return folder / "run"


@pytest.fixture(scope="module")
def report(run):
    with pytest.MonkeyPatch.context() as patch:
        for name, number in {"SAMPLE_CHARS": 60, "COPY_CHARS": 50, "WINDOW_BATCHES": 1}.items():
            patch.setattr(run_report, name, number)
        return report_on_run(run)


@pytest.mark.slow
def test_figures_are_those_of_eval_and_of_the_baselines(run, report):
    figures = {figure.name: figure for figure in report.figures}
    evaluated = textgen.evaluate(run, part="val")
    assert report.part == "val"
    assert figures["model"].nats == pytest.approx(evaluated.nats_per_char, rel=1e-6)
    assert figures["model"].bits == pytest.approx(evaluated.bits_per_char, rel=1e-6)
    text = (run.parent / "corpus.txt").read_text()
    parts = report.checkpoint.metadata.parts
    train, val = (text[slice(*parts[name])] for name in ("train", "val"))
    baselines = measure_baselines(train, val, text)
    assert figures["xz"].bits == pytest.approx(baselines.compressors["xz"])
    assert figures["n-grams after 3"].bits == pytest.approx(baselines.ngrams[3])
    # Windows begin from nothing, so they cost more than one stream.
    assert figures["model, from windows"].nats > figures["model"].nats


@pytest.mark.slow
def test_all_of_a_run_is_there(run, report):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert report.curves.steps_N.tolist() == [json.loads(line)["step"] for line in lines]
    assert [sample.temperature for sample in report.samples] == list(TEMPERATURES)
    assert len({sample.text for sample in report.samples}) == 4
    assert sum(bin.places for bin in report.calibration.bins) > 500
    assert report.novelty.held_out == "the text given"
    assert report.corpus.parts["val"] > 500
    assert report.surprise.text in (run.parent / "corpus.txt").read_text()


@pytest.mark.slow
def test_a_text_that_has_moved_is_named_and_another_one_refused(run, tmp_path):
    moved = (run.parent / "corpus.txt").rename(tmp_path / "moved.txt")
    try:
        with pytest.raises(TextError, match=r"corpus\.txt"):
            report_on_run(run)
        (tmp_path / "other.txt").write_text("another text\n" * 40)
        with pytest.raises(TextError, match=r"other\.txt"):
            report_on_run(run, tmp_path / "other.txt")
    finally:
        moved.rename(run.parent / "corpus.txt")


@pytest.mark.slow
def test_a_model_whose_text_nobody_knows_is_refused(small):
    with pytest.raises(UsageError, match="name"):
        report_on_run(small)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"split": "1"}, {"records": "lines"}])
def test_without_a_held_out_part_and_of_records(run, tmp_path, options, monkeypatch):
    monkeypatch.setattr(run_report, "COPY_CHARS", 50)
    out = tmp_path / "run"
    textgen.train(run.parent / "corpus.txt", out=str(out), **options, **TINY)
    report = report_on_run(out)
    assert report.part == ("train" if "split" in options else "val")
    assert "model, from windows" not in [f.name for f in report.figures] or "split" in options
    if "records" in options:
        evaluated = textgen.evaluate(out, part="val")
        assert report.figures[0].nats == pytest.approx(evaluated.nats_per_char, rel=1e-6)
    assert isinstance(report.novelty, type(measure_novelty("the cat", "the cat sat")))
