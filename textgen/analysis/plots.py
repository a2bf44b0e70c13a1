"""Pictures: the one door to matplotlib.

>>> plot_gradients([inspect("checkpoints/corpus", "corpus.txt")], Path("gradients.png"))
>>> plot_curves([read_curves("checkpoints/corpus")], Path("curves.svg"))
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textgen.analysis.curves import LearningCurves
from textgen.analysis.gradients import Gradients
from textgen.errors import MachineError, UsageError, counted, visible
from textgen.files import check_name, write_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Where a picture ends at the latest: beside 1 less is lost, even in float64.
LOWEST_NORM = 1e-16
# Characters of a checkpoint's name that a panel has room for, the last ones.
LONGEST_TITLE = 32
# The kinds of files that pictures are written to.
SUFFIXES = (".png", ".svg")
# What makes an SVG the same whenever it is drawn; its letters stay letters.
SVG_SETTINGS: dict[Any, Any] = {"svg.hashsalt": "textgen", "svg.fonttype": "none"}
# What an SVG would say of how it was made, and when.
SVG_FIELDS = ("Creator", "Date", "Format", "Type")
# What stands below the large panel of learning curves: the figure, and its title.
SMALL_PANELS = (
    ("rates_N", "learning rate"),
    ("gradients_N", "gradient norm"),
    ("speeds_N", "characters a second"),
)
# Where the largest figure is so many times the smallest, an axis has logarithms.
WIDE_RANGE = 30
# Marks of a small panel's axis.
MOST_MARKS = 4


def is_installed() -> bool:
    """Tell whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def check_picture(path: Path) -> None:
    """Check that a picture can be made, before the work that it shows.

    Raises:
        UsageError: path cannot be a .png or .svg file.
        MachineError: matplotlib is missing.
    """
    check_name(path)
    if path.suffix.lower() not in SUFFIXES:
        problem = f"{path.name!r} ends in neither .png nor .svg"
        raise UsageError("--out", problem, "name a .png or .svg file")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        fix = "pip install 'textgen-rnn[plot]'"
        raise MachineError("--out", "pictures need matplotlib", fix) from None


def plot_curves(runs: Sequence[LearningCurves], path: Path) -> None:
    """Write a picture of the learning curves of some runs, each in a colour of its own.

    Args:
        runs: of `curves.read_curves`, at least one.
        path: a .png or .svg file.

    Raises:
        UsageError: path cannot be such a file, or not be written.
        MachineError: matplotlib is missing.
    """
    check_picture(path)
    _save(_draw_curves(runs), path)


def curves_svg(runs: Sequence[LearningCurves]) -> str:
    """Return the learning curves of some runs as an element of a page."""
    svg = _svg(_draw_curves(runs)).decode("utf-8")
    # A page has no room for the lines that make a file of it.
    return svg[svg.index("<svg") :]


def _draw_curves(runs: Sequence[LearningCurves]) -> Figure:
    """Return nats on a large panel, and below it what else was noted, all by characters read.

    Steps of different batches are different amounts of text; characters compare.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.2), layout="constrained")
    grid = figure.add_gridspec(2, len(SMALL_PANELS), height_ratios=(2.2, 1))
    large = figure.add_subplot(grid[0, :])
    for number, run in enumerate(runs):
        _draw_nats(large, run, f"C{number}")
    large.set(ylabel="nats a character", xlim=(0, None))
    large.legend(ncols=1 + len(runs) // 4, fontsize="small")
    _tidy(large)
    for at, (column, title) in enumerate(SMALL_PANELS):
        panel = figure.add_subplot(grid[1, at], sharex=large)
        _draw_figure(panel, runs, column)
        panel.set_title(title, fontsize="medium")
    figure.supxlabel("characters read", fontsize="medium")
    return figure


def _draw_nats(panel: Axes, run: LearningCurves, color: str) -> None:
    """Draw what a run paid, with the best validation marked."""
    name = _escaped(run.name)
    panel.plot(run.chars_N, run.train_nats_N, ":", color=color, label=f"{name}: network, training")
    if run.best is None:
        return
    if not np.array_equal(run.network_nats_N, run.val_nats_N, equal_nan=True):
        label = f"{name}: network, validation"
        panel.plot(run.chars_N, run.network_nats_N, "--", color=color, linewidth=1, label=label)
    label = f"{name}: validation"
    panel.plot(run.chars_N, run.val_nats_N, "-o", color=color, markersize=3, label=label)
    best = run.chars_N[run.best], run.val_nats_N[run.best]
    panel.plot(*best, "o", color=color, markersize=9, fillstyle="none")
    panel.annotate(
        f"{best[1]:.3f}", best, (0, 8), textcoords="offset points", color=color, ha="center"
    )


def _draw_figure(panel: Axes, runs: Sequence[LearningCurves], column: str) -> None:
    """Draw one figure of each run."""
    from matplotlib.ticker import MaxNLocator

    for number, run in enumerate(runs):
        panel.plot(run.chars_N, getattr(run, column), ".-", color=f"C{number}", markersize=4)
    values = np.concatenate([getattr(run, column) for run in runs])
    values = values[values > 0]
    if len(values) and values.max() > WIDE_RANGE * values.min() and column != "rates_N":
        panel.set_yscale("log")
    else:
        panel.set_ylim(0, None)
    panel.xaxis.set_major_locator(MaxNLocator(MOST_MARKS))
    _tidy(panel)


def _tidy(panel: Axes) -> None:
    """Give a panel short numbers of characters, and no more lines than it needs."""
    from matplotlib.ticker import EngFormatter

    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def _escaped(name: str) -> str:
    """Return the end of a name; a $ would begin a formula, and a _ hide it from the legend."""
    return visible(name)[-LONGEST_TITLE:].replace("$", r"\$").lstrip("_")


def _save(figure: Figure, path: Path) -> None:
    """Write a figure as the name of the file says."""
    if path.suffix.lower() == ".svg":
        write_output(path, [_svg(figure)])
        return
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_output(path, [picture.getvalue()])


def _svg(figure: Figure) -> bytes:
    """Return a figure as SVG, the same bytes whenever it is drawn."""
    from matplotlib import rc_context

    picture = io.BytesIO()
    with rc_context(SVG_SETTINGS):
        figure.savefig(picture, format="svg", metadata=dict.fromkeys(SVG_FIELDS))
    return picture.getvalue()


def plot_gradients(results: Sequence[Gradients], path: Path) -> None:
    """Write a picture: a panel for each result, with medians as lines in bands from 5 to 95 %.

    Args:
        results: of `gradients.inspect`.
        path: a .png or .svg file.

    Raises:
        UsageError: path cannot be such a file, or not be written.
        MachineError: matplotlib is missing.
    """
    check_picture(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 3.2 * len(results), 3.6), layout="constrained")
    curves = [curve for result in results for curve in result.curves]
    bottom = max(LOWEST_NORM, min(min(curve.low) for curve in curves))
    top = max(LOWEST_NORM, max(max(curve.high) for curve in curves))
    panels = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for panel, result in zip(panels, results, strict=True):
        panel.set(yscale="log", xlim=(0, result.lags), ylim=(bottom / 2, 2 * top))
        _draw_medians(panel, result)
    panels[0].set_ylabel("norm of d loss(t) / d state(t - k)")
    _save(figure, path)


def _draw_medians(panel: Axes, result: Gradients) -> None:
    lags = range(result.lags + 1)
    for number, curve in enumerate(result.curves):
        bands = (curve.median, curve.low, curve.high)
        # An axis of logarithms has no zero.
        median, low, high = np.maximum(bands, LOWEST_NORM / 10)
        panel.fill_between(lags, low, high, color=f"C{number}", alpha=0.2, linewidth=0)
        panel.plot(lags, median, color=f"C{number}", label=curve.label)
    if result.window and result.window <= result.lags:
        panel.axvline(result.window, color="grey", linestyle=":", label="training window")
    sizes = f"{counted(result.layers, 'layer')} of {result.hidden}"
    panel.set(
        title=f"{_escaped(result.checkpoint)}\n{result.cell}, {sizes}", xlabel="lag k, characters"
    )
    panel.grid(alpha=0.3)
    panel.legend()
