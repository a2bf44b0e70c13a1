"""Pictures: the one door to matplotlib.

>>> plot_curves([read_curves(Path("checkpoints/corpus"))], Path("curves.png"))
>>> plot_gradients([inspect("checkpoints/corpus", "corpus.txt")], Path("gradients.png"))
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from textgen.analysis.curves import LearningCurves
from textgen.analysis.gradients import Gradients
from textgen.errors import MachineError, UsageError, counted, visible
from textgen.files import check_name, write_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_SUFFIXES = (".png", ".svg")
# Where a picture ends at the latest: beside 1 less is lost, even in float64.
LOWEST_NORM = 1e-16
# Characters of a checkpoint's name that a panel has room for, the last ones; of a run's a legend.
LONGEST_TITLE, LONGEST_NAME = 32, 40
# Told apart by people of any colour vision, and readable on white; then the markers change.
RUN_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#a0519f"),
    *("#4aa8dc", "#e69f00", "#555555", "#8c4a2f"),
)
RUN_MARKERS = "osD^"
MOST_MARKERS = 40
# Inches; at 100 dots an inch a picture fits a page 900 dots wide. Set here and not left to
# matplotlib's layout, whose last digits differ from time to time.
PAGE_WIDTH, LEFT_MARGIN, RIGHT_MARGIN = 9.0, 0.85, 0.7
PANEL_HEIGHTS, BOTTOM_MARGIN, LEGEND_LINE = (3.3, 0.95, 0.95, 0.95), 0.9, 0.21
# Between two panels, as a part of their mean height.
PANEL_GAP = 0.13
# How far an axis of numbers reaches, last by first, from which on it is one of logarithms.
WIDE_RANGE = 30
# Of a picture of learning curves; whatever the user's matplotlib is set to.
CURVES_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#999999",
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelcolor": "#333333",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.5,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "textgen",
    "text.color": "#333333",
    # A $ in a name begins no formula.
    "text.parse_math": False,
    "xtick.color": "#999999",
    "xtick.labelcolor": "#555555",
    "ytick.color": "#999999",
    "ytick.labelcolor": "#555555",
}
# How the curves look, beside their colours.
TRAINING_LINE: dict[str, Any] = {"linestyle": ":", "linewidth": 1.3, "markersize": 2.2}
NETWORK_LINE: dict[str, Any] = {
    "linestyle": (0, (5, 2)),
    "linewidth": 1.0,
    "markersize": 0,
    "alpha": 0.8,
}
VALIDATION_LINE: dict[str, Any] = {"linestyle": "-", "linewidth": 1.8, "markersize": 4.5}
FIGURE_LINE: dict[str, Any] = {"linestyle": "-", "linewidth": 1.3, "markersize": 2.6}
BEST_POINT: dict[str, Any] = {
    "linestyle": "none",
    "markersize": 10,
    "fillstyle": "none",
    "markeredgewidth": 1.4,
}
# What an element of a page says nothing of.
SVG_METADATA = ("Creator", "Date", "Format", "Type")


def check_picture(path: Path) -> None:
    """Check that a picture can be made, before the work that it shows.

    Raises:
        UsageError: path cannot be a .png or .svg file.
        MachineError: matplotlib is missing.
    """
    check_name(path)
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        problem = f"{path.name!r} does not end in {' or '.join(PICTURE_SUFFIXES)}"
        raise UsageError("--out", problem, "name a .png or .svg file")
    _require_matplotlib(str(path))


def _require_matplotlib(subject: str) -> None:
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        fix = "pip install 'textgen-rnn[plot]'"
        raise MachineError(subject, "pictures need matplotlib", fix) from None


def plot_curves(curves: Sequence[LearningCurves], path: Path) -> None:
    """Write a picture of the learning curves of one or several runs, over the characters read.

    Runs with other batches and windows compare by characters, not by steps.

    Args:
        curves: of `curves.read_curves`; up to eight are told apart by their colours.
        path: a .png or .svg file.

    Raises:
        UsageError: path cannot be a .png or .svg file, or not be written.
        MachineError: matplotlib is missing.
    """
    check_picture(path)
    with _draw_curves(curves) as figure:
        _save(figure, path)


def curves_svg(curves: Sequence[LearningCurves]) -> str:
    """Return the same picture as an element of a page of HTML: equal curves give an equal text.

    Its ids and its style touch nothing else on the page.

    Raises:
        MachineError: matplotlib is missing.
    """
    _require_matplotlib("curves")
    with _draw_curves(curves) as figure:
        picture = io.StringIO()
        figure.savefig(picture, format="svg", metadata=dict.fromkeys(SVG_METADATA))
    names = ", ".join(visible(run.name) for run in curves)
    return _embeddable(picture.getvalue(), f"Learning curves of {names}")


def _embeddable(svg: str, label: str) -> str:
    """Return a picture without what belongs to a file, with ids that no other picture has."""
    # Matplotlib's comments repeat the names of runs.
    body = re.sub(r"<!--.*?-->\n?", "", svg[svg.index("<svg") :], flags=re.S)
    prefix = f"curves-{hashlib.sha256(body.encode()).hexdigest()[:8]}-"
    body = re.sub(r'\bid="', f'id="{prefix}', body)
    body = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\1{prefix}", body)
    # A style of all elements would be one of the whole page.
    body = body.replace(">*{", f">#{prefix}figure_1 *{{")
    opening = (
        f'<svg role="img" aria-label="{html.escape(label)}" style="max-width: 100%; height: auto"'
    )
    return body.replace("<svg", opening, 1)


@contextlib.contextmanager
def _draw_curves(curves: Sequence[LearningCurves]) -> Iterator[Figure]:
    """Draw learning curves; the figure has its style inside a `with`."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(CURVES_STYLE)
        above = 0.25 + LEGEND_LINE * ((len(curves) + 1) // 2)
        gaps = PANEL_GAP * sum(PANEL_HEIGHTS) * (len(PANEL_HEIGHTS) - 1) / len(PANEL_HEIGHTS)
        height = above + sum(PANEL_HEIGHTS) + gaps + BOTTOM_MARGIN
        figure = Figure(figsize=(PAGE_WIDTH, height))
        figure.subplots_adjust(
            LEFT_MARGIN / PAGE_WIDTH,
            BOTTOM_MARGIN / height,
            1 - RIGHT_MARGIN / PAGE_WIDTH,
            1 - above / height,
            hspace=PANEL_GAP,
        )
        panels = figure.subplots(len(PANEL_HEIGHTS), 1, sharex=True, height_ratios=PANEL_HEIGHTS)
        _draw_nats(panels[0], curves)
        rates = [run.learning_rate_N for run in curves]
        # A rate falls almost to zero: runs differ by where it begins.
        peaks = np.array([np.fmax.reduce(rate_N, initial=0) for rate_N in rates])
        _draw_figures(panels[1], curves, rates, "learning rate", _is_wide(peaks))
        norms = [run.grad_norm_N for run in curves]
        _draw_figures(panels[2], curves, norms, "gradient norm", _is_wide(*norms))
        speeds = [run.chars_per_second_N for run in curves]
        _draw_figures(panels[3], curves, speeds, "characters/s", _is_wide(*speeds))
        _label_characters(panels[3], curves)
        for panel in panels:
            panel.yaxis.set_label_coords(-0.62 / (PAGE_WIDTH - LEFT_MARGIN - RIGHT_MARGIN), 0.5)
        _name_runs(figure, curves)
        _explain_lines(figure)
        yield figure


def _draw_nats(panel: Axes, curves: Sequence[LearningCurves]) -> None:
    """Draw what a prediction costs in training and validation, and mark the best validations."""
    for number, run in enumerate(curves):
        style = _style(number, run)
        panel.plot(run.chars_N, _finite(run.train_nats_N), **style, **TRAINING_LINE)
        if not np.array_equal(run.network_nats_N, run.val_nats_N, equal_nan=True):
            panel.plot(run.chars_N, _finite(run.network_nats_N), **style, **NETWORK_LINE)
        panel.plot(run.chars_N, _finite(run.val_nats_N), **style, **VALIDATION_LINE)
        if (best := run.best()) is not None:
            point = {**_style(number), **BEST_POINT}
            panel.plot(run.chars_N[best], run.val_nats_N[best], **point)
    panel.set_ylabel("nats per character")
    bits = panel.secondary_yaxis("right", (_bits_of, _nats_of))
    bits.set_ylabel("bits per character")


def _bits_of(nats: ArrayLike) -> ArrayLike:
    return np.asarray(nats) / math.log(2)


def _nats_of(bits: ArrayLike) -> ArrayLike:
    return np.asarray(bits) * math.log(2)


def _draw_figures(
    panel: Axes,
    curves: Sequence[LearningCurves],
    columns: Sequence[np.ndarray],
    label: str,
    is_wide: bool,
) -> None:
    """Draw one kind of figures of all runs, from zero or by their logarithms."""
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator

    for number, (run, figures_N) in enumerate(zip(curves, columns, strict=True)):
        panel.plot(run.chars_N, _finite(figures_N), **_style(number, run), **FIGURE_LINE)
    panel.set_ylabel(label)
    if is_wide:
        panel.set_yscale("log", nonpositive="mask")
        panel.yaxis.set_major_locator(LogLocator(subs=(1,), numticks=4))
        panel.yaxis.set_minor_locator(LogLocator(subs=()))
        panel.yaxis.set_major_formatter("{x:g}")
    else:
        panel.set_ylim(0, 1.04 * panel.get_ylim()[1])
        panel.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    if label == "characters/s":
        panel.yaxis.set_major_formatter(EngFormatter(sep=" "))


def _label_characters(panel: Axes, curves: Sequence[LearningCurves]) -> None:
    """Label the axis that all panels share."""
    from matplotlib.ticker import EngFormatter, LogLocator

    if _is_wide(*[run.chars_N for run in curves]):
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_minor_locator(LogLocator(subs=()))
    else:
        panel.set_xlim(left=0)
    panel.xaxis.set_major_formatter(EngFormatter(sep=" "))
    panel.set_xlabel("characters read in training")


def _name_runs(figure: Figure, curves: Sequence[LearningCurves]) -> None:
    """Say above the panels which colour is which run, and how good it became."""
    texts = []
    for run in curves:
        best = run.best()
        found = "not validated" if best is None else f"best {run.val_nats_N[best]:.4f} nats"
        texts.append(f"{_plain(run.name, LONGEST_NAME)}: {found}")
    looks = [{**_style(number), **VALIDATION_LINE} for number in range(len(curves))]
    _add_legend(figure, looks, texts, loc="upper left", ncols=2)


def _explain_lines(figure: Figure) -> None:
    """Say below the panels which kind of line is what."""
    looks = {
        "training: network under dropout": TRAINING_LINE,
        "validation: network alone": NETWORK_LINE,
        "validation: model": VALIDATION_LINE,
        "best": BEST_POINT,
    }
    grey = [{"color": "#777777", "marker": "o", **look} for look in looks.values()]
    _add_legend(figure, grey, list(looks), loc="lower center", ncols=4)


def _add_legend(
    figure: Figure, looks: Sequence[dict[str, Any]], texts: Sequence[str], **settings: Any
) -> None:
    """Add a legend whose texts may begin with an underline, which matplotlib would leave out."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], **look) for look in looks]
    legend = figure.legend(lines, ["-"] * len(lines), **settings)
    for shown, text in zip(legend.get_texts(), texts, strict=True):
        shown.set_text(text)


def _style(number: int, run: LearningCurves | None = None) -> dict[str, Any]:
    """Return the colour and the marker of a run; where its points are dense it has none."""
    marker = RUN_MARKERS[number // len(RUN_COLOURS) % len(RUN_MARKERS)]
    is_dense = run is not None and len(run.steps_N) > MOST_MARKERS
    return {"color": RUN_COLOURS[number % len(RUN_COLOURS)], "marker": "" if is_dense else marker}


def _finite(values_N: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values_N), values_N, np.nan)


def _is_wide(*columns: np.ndarray) -> bool:
    """Tell whether numbers spread so far that their logarithms show more."""
    values = np.concatenate([np.zeros(0), *columns])
    values = values[np.isfinite(values)]
    return len(values) > 0 and bool(0 < WIDE_RANGE * values.min() <= values.max())


def _plain(name: str, longest: int) -> str:
    """Return a name that can be drawn: its end, and escapes for what the font has no picture of."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family="DejaVu Sans")))
    shown = "".join(
        char if font.get_char_index(ord(char)) else f"\\u{ord(char):04x}" for char in visible(name)
    )
    return shown if len(shown) <= longest else "…" + shown[1 - longest :]


def plot_gradients(results: Sequence[Gradients], path: Path) -> None:
    """Write a picture: a panel for each result, with medians as lines in bands from 5 to 95 %.

    Args:
        results: of `gradients.inspect`.
        path: a .png or .svg file.

    Raises:
        UsageError: path cannot be a .png or .svg file, or not be written.
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
        _draw_gradients(panel, result)
    panels[0].set_ylabel("norm of d loss(t) / d state(t - k)")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    kind = path.suffix.lower()[1:]
    picture = io.BytesIO()
    # Without the date equal figures give equal files.
    metadata = {"Date": None} if kind == "svg" else None
    figure.savefig(picture, format=kind, dpi=100, metadata=metadata)
    write_output(path, [picture.getvalue()])


def _draw_gradients(panel: Axes, result: Gradients) -> None:
    lags = range(result.lags + 1)
    for number, curve in enumerate(result.curves):
        bands = (curve.median, curve.low, curve.high)
        # An axis of logarithms has no zero.
        median, low, high = np.maximum(bands, LOWEST_NORM / 10)
        panel.fill_between(lags, low, high, color=f"C{number}", alpha=0.2, linewidth=0)
        panel.plot(lags, median, color=f"C{number}", label=curve.label)
    if result.window and result.window <= result.lags:
        panel.axvline(result.window, color="grey", linestyle=":", label="training window")
    # A $ would begin a formula.
    name = _plain(result.checkpoint, LONGEST_TITLE).replace("$", r"\$")
    sizes = f"{counted(result.layers, 'layer')} of {result.hidden}"
    panel.set(title=f"{name}\n{result.cell}, {sizes}", xlabel="lag k, characters")
    panel.grid(alpha=0.3)
    panel.legend()
