"""Pictures: the one door to matplotlib.

>>> plot_gradients([inspect("checkpoints/corpus", "corpus.txt")], Path("gradients.png"))
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from textgen.analysis.gradients import Gradients
from textgen.errors import MachineError, UsageError, counted, visible
from textgen.files import check_name, write_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Where a picture ends at the latest: beside 1 less is lost, even in float64.
LOWEST_NORM = 1e-16
# Characters of a checkpoint's name that a panel has room for, the last ones.
LONGEST_TITLE = 32


def check_picture(path: Path) -> None:
    """Check that a picture can be made, before the work that it shows.

    Raises:
        UsageError: path cannot be a .png file.
        MachineError: matplotlib is missing.
    """
    check_name(path)
    if path.suffix.lower() != ".png":
        raise UsageError("--out", f"{path.name!r} does not end in .png", "name a .png file")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        fix = "pip install 'textgen-rnn[plot]'"
        raise MachineError("--out", "pictures need matplotlib", fix) from None


def plot_gradients(results: Sequence[Gradients], path: Path) -> None:
    """Write a picture: a panel for each result, with medians as lines in bands from 5 to 95 %.

    Args:
        results: of `gradients.inspect`.
        path: a .png file.

    Raises:
        UsageError: path cannot be a .png file, or not be written.
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
        _plot_curves(panel, result)
    panels[0].set_ylabel("norm of d loss(t) / d state(t - k)")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_output(path, [picture.getvalue()])


def _plot_curves(panel: Axes, result: Gradients) -> None:
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
    name = visible(result.checkpoint)[-LONGEST_TITLE:].replace("$", r"\$")
    sizes = f"{counted(result.layers, 'layer')} of {result.hidden}"
    panel.set(title=f"{name}\n{result.cell}, {sizes}", xlabel="lag k, characters")
    panel.grid(alpha=0.3)
    panel.legend()
