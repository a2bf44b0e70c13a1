"""Pictures: the one door to matplotlib.

>>> draw([inspect("checkpoints/corpus", "corpus.txt")], Path("gradients.png"))
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from textgen.analysis.gradients import Gradients
from textgen.errors import MachineError, UsageError, counted, visible
from textgen.files import check_name, write_output

LOWEST_NORM = 1e-16  # where a picture ends at the latest: beside 1 less is lost, even in float64
TITLE = 32  # characters of a checkpoint's name that a panel has room for, the last ones


def check_picture(path: Path) -> None:
    """Raise UsageError unless path can be a .png file, MachineError when matplotlib is missing."""
    check_name(path)
    if path.suffix.lower() != ".png":
        raise UsageError("--out", f"{path.name!r} does not end in .png", "name a .png file")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        fix = "pip install 'textgen-rnn[plot]'"
        raise MachineError("--out", "pictures need matplotlib", fix) from None


def plot_gradients(results: Sequence[Gradients], path: Path) -> None:
    """Write a PNG: a panel for each result, with medians as lines in bands from 5 to 95 %.

    Raises UsageError, MachineError.
    """
    check_picture(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 3.2 * len(results), 3.6), layout="constrained")
    bottom = max(LOWEST_NORM, min(min(curve.low) for one in results for curve in one.curves))
    top = max(LOWEST_NORM, max(max(curve.high) for one in results for curve in one.curves))
    panels = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for panel, one in zip(panels, results, strict=True):
        lags = range(one.lags + 1)
        panel.set(yscale="log", xlim=(0, one.lags), ylim=(bottom / 2, 2 * top))
        for number, curve in enumerate(one.curves):
            bands = (curve.median, curve.low, curve.high)
            median, low, high = np.maximum(
                bands, LOWEST_NORM / 10
            )  # an axis of logarithms has no zero
            panel.fill_between(lags, low, high, color=f"C{number}", alpha=0.2, linewidth=0)
            panel.plot(lags, median, color=f"C{number}", label=curve.label)
        if one.window and one.window <= one.lags:
            panel.axvline(one.window, color="grey", linestyle=":", label="training window")
        name = visible(one.checkpoint)[-TITLE:].replace("$", r"\$")  # a $ would begin a formula
        panel.set(title=f"{name}\n{one.cell}, {counted(one.layers, 'layer')} of {one.hidden}")
        panel.set(xlabel="lag k, characters")
        panel.grid(alpha=0.3)
        panel.legend()
    panels[0].set_ylabel("norm of d loss(t) / d state(t - k)")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_output(path, [picture.getvalue()])
