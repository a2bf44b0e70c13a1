"""The page of a run: what `run_report` found out, as one file of HTML.

>>> Path("report.html").write_text(render_report(report_on_run("checkpoints/corpus")))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from textgen.analysis import plots
from textgen.analysis.pages import displayed, render
from textgen.analysis.run_report import Figure, RunReport
from textgen.analysis.surprise_page import surprise_values
from textgen.errors import MachineError

# Characters of the settings that are shown of a text.
SHOWN_TEXT = 200


def render_report(report: RunReport) -> str:
    """Return the page of a run."""
    tokenizer = report.checkpoint.tokenizer
    return render(
        "report.html",
        title=displayed(report.name),
        held_out=report.part == "val",
        best=report.figures[0],
        measured=list(_bars(report.figures)),
        curves=_draw_curves(report),
        samples=[(sample.temperature, displayed(sample.text)) for sample in report.samples],
        novelty=report.novelty,
        displayed=displayed,
        calibration=report.calibration,
        model=_displayed_lines(report.checkpoint.report()),
        corpus=_displayed_lines(report.corpus.lines()),
        **surprise_values(report.surprise, tokenizer),
    )


def _bars(figures: list[Figure]) -> Iterator[dict[str, Any]]:
    """Yield each figure with the share of the largest that its bar takes."""
    most = max(figure.nats for figure in figures)
    for figure in figures:
        yield {"figure": figure, "width": 100 * figure.nats / most}


def _draw_curves(report: RunReport) -> Markup | None:
    """Return the learning curves as SVG; None where there are none, or nothing to draw with."""
    if report.curves is None:
        return None
    try:
        return Markup(plots.curves_svg([report.curves]))
    except MachineError:
        return None


def _displayed_lines(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(label, displayed(value)) for label, value in lines]
