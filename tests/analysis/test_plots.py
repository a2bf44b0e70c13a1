"""Pictures: files of the right size, what they show, and what keeps one from being made."""

import sys
from xml.etree import ElementTree

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


@pytest.mark.parametrize("name", ["picture.jpg", "picture", "a\0b.png"])
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


def curves(name="runs/demo", val=(2.0, 1.5)):
    """The learning curves of a run of two validations."""
    figures = np.array([[10, 20], [640, 1280], [2.5, 2.0], val, val, [1e-3, 0], [0.5, 50], [9, 8]])
    return LearningCurves(name, *figures.astype(float))


def texts_of(svg):
    return {"".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter()}


@pytest.mark.slow
def test_curves_of_several_runs_are_named_and_the_best_is_marked(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    plots.plot_curves([curves("one"), curves("two", (1.75, 1.25))], tmp_path / "c.svg")
    shown = texts_of((tmp_path / "c.svg").read_bytes())
    assert {"one: validation", "two: network, training", "1.500", "1.250"} <= shown
    assert {"learning rate", "gradient norm", "characters a second", "characters read"} <= shown


@pytest.mark.slow
@pytest.mark.parametrize("val", [(np.nan, np.nan), (np.nan, 1.5)])
def test_curves_without_figures_and_with_odd_names_can_be_drawn(val):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    svg = plots.curves_svg([curves("_$\\x$<b>\x1b", val)] * 8)
    assert svg.startswith("<svg") and "<b>" not in svg and "\x1b" not in svg
    assert any("$" in text for text in texts_of(svg))


@pytest.mark.slow
def test_a_drawing_is_the_same_whenever_it_is_made():
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    assert plots.curves_svg([curves()]) == plots.curves_svg([curves()])
