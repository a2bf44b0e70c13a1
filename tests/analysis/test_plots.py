"""Pictures: files of the right size, elements of pages, and what keeps one from being made."""

import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from textgen.analysis import plots
from textgen.analysis.curves import LearningCurves
from textgen.analysis.gradients import Curve, Gradients
from textgen.errors import MachineError, UsageError


def result(name="runs/demo", median=(1.0, 0.1, 0.01), window=None):
    """Gradients of one state, with a band of a factor of two."""
    low, high = (tuple(factor * value for value in median) for factor in (0.5, 2.0))
    curve = Curve(1, "h", median, low, high)
    return Gradients(name, "gru", 1, 3, window, len(median) - 1, 64, (curve,))


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MachineError, match=r"pip install 'textgen-rnn\[plot\]'"):
        plots.check_picture(tmp_path / "p.png")
    with pytest.raises(MachineError):
        plots.plot_gradients([], tmp_path / "p.png")
    with pytest.raises(MachineError):
        plots.plot_curves([], tmp_path / "p.png")
    with pytest.raises(MachineError):
        plots.curves_svg([])


@pytest.mark.parametrize("name", ["picture.pdf", "picture", "a\0b.png"])
def test_a_name_that_no_picture_can_have_is_a_usage_error(name, tmp_path):
    with pytest.raises(UsageError):
        plots.check_picture(tmp_path / name)


@pytest.mark.parametrize("panels", [1, 2])
def test_a_picture_has_a_panel_for_each_result(tmp_path, panels):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    plots.plot_gradients([result(window=2)] * panels, tmp_path / "p.png")
    data = (tmp_path / "p.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    # The first chunk holds the size.
    assert tuple(np.frombuffer(data[16:24], ">u4")) == (100 + 320 * panels, 360)


def test_a_picture_goes_where_a_link_leads(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    (tmp_path / "link.png").symlink_to("p.png")
    plots.plot_gradients([result()], tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_zeros_and_names_that_look_like_formulas_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    plots.plot_gradients([result("$\\x$.safetensors", (0.0, 0.0))], tmp_path / "p.png")
    assert (tmp_path / "p.png").exists()


def curves(name="demo", points=3, scale=1.0):
    """Learning curves that fall."""
    steps = np.arange(1, points + 1)
    nats = 1 + scale / (1 + steps)
    speed = 1e4 * np.ones(points)
    return LearningCurves(
        name, steps, 64.0 * steps, nats, nats - 0.3, nats, nats / 1e3, nats, speed
    )


def blank(run):
    """The same run with no figure that is a number."""
    nan = np.full(len(run.steps_N), np.nan)
    names = ("train_nats_N", "val_nats_N", "network_nats_N", "learning_rate_N", "grad_norm_N")
    return replace(run, **dict.fromkeys(names, nan), chars_per_second_N=nan + np.inf)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3, 8, 9])
def test_curves_of_any_number_of_runs_are_as_wide_as_a_page(tmp_path, number):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    runs = [curves(f"run {n}", points=3 + 20 * n, scale=10.0**n) for n in range(number)]
    plots.plot_curves(runs, tmp_path / "p.png")
    data = (tmp_path / "p.png").read_bytes()
    assert data.startswith(b"\x89PNG") and np.frombuffer(data[16:20], ">u4") == 900


@pytest.mark.slow
@pytest.mark.parametrize(
    "runs",
    [[], [curves(points=0)], [curves(points=1)], [blank(curves())], [curves(points=0), curves()]],
    ids=["none", "empty", "one-point", "nan", "empty-and-full"],
)
def test_curves_with_little_or_nothing_in_them_can_be_drawn(runs):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    assert ElementTree.fromstring(plots.curves_svg(runs)).tag.endswith("svg")


@pytest.mark.slow
def test_a_picture_can_be_svg(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    plots.plot_curves([curves()], tmp_path / "p.SVG")
    plots.plot_gradients([result()], tmp_path / "g.svg")
    for name in ("p.SVG", "g.svg"):
        assert (tmp_path / name).read_bytes().startswith(b"<?xml")


@pytest.mark.slow
def test_an_element_of_a_page_is_the_same_for_equal_curves_and_clashes_with_no_other():
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    first, again, other = (plots.curves_svg([curves(n)]) for n in ("a", "a", "b"))
    assert first == again and first.startswith("<svg ")
    assert "<!" not in first and "<?" not in first and "date" not in first
    ids = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in (first, other)]
    assert not ids[0] & ids[1]
    assert len(re.findall(r'\bid="', first)) == len(ids[0])
    links = re.findall(r'href="#([^"]*)"', first) + re.findall(r"url\(#([^)]*)\)", first)
    assert links and set(links) <= ids[0]
    # Its style is not the page's.
    (style,) = re.findall(r"<style[^>]*>([^<]*)</style>", first)
    assert re.fullmatch(r"#(\S+) \*\{[^{}]*\}", style.strip())[1] in ids[0]


@pytest.mark.slow
def test_hostile_names_are_only_names():
    """No formula, no comment, no script, no characters that steer, no glyph that is missing."""
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    names = ["$\\frac{$", "_x", "--><script>alert(1)</script>", '"onload="x', "\x1b[2J\u202e\ud800"]
    svg = plots.curves_svg([curves(name) for name in [*names, "\u7ea2\u697c", "", "x" * 1000]])
    root = ElementTree.fromstring(svg)
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert not [element for element in root.iter() if "onload" in element.attrib]
    assert "\x1b" not in svg and "\u202e" not in svg
    assert "\\u202e" in root.get("aria-label")
    plots.curves_svg([curves("$")])


@pytest.mark.slow
def test_a_name_is_drawn_as_it_is_spelled():
    """Text is drawn as shapes, each character by its own; a formula would be in italics."""
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    drawn = {name: plots.curves_svg([curves(name)]) for name in ("x", "$x$", "\u7ea2", r"\u7ea2")}
    plain, dollars = (set(re.findall(r"#[\w-]*DejaVu[\w-]+", drawn[name])) for name in ("x", "$x$"))
    assert not [shape for shape in dollars if "Oblique" in shape]
    assert len({shape.rpartition("-")[2] for shape in dollars}) == 1 + len(
        {shape.rpartition("-")[2] for shape in plain}
    )
    # What the font lacks is spelled out.
    spelled, named = (re.sub('aria-label="[^"]*"', "", drawn[n]) for n in ("\u7ea2", r"\u7ea2"))
    assert spelled == named


@pytest.mark.slow
def test_the_users_own_style_is_left_alone_and_not_used():
    matplotlib = pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    usual = plots.curves_svg([curves()])
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30}):
        assert plots.curves_svg([curves()]) == usual
        assert matplotlib.rcParams["font.size"] == 30
