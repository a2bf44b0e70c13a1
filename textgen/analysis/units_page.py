"""What single hidden units track, as a page of HTML: a text coloured by the activations of each.

A colour says how far a unit is above or below its own average, in its standard deviations: that is
what a correlation sees. Of each property the best units can be switched between, and the property
itself; any other unit can be looked at below.

Shapes: N places on the page, U units on the page, P properties.

    >>> Path("units.html").write_text(render_units(activity, "corpus.txt", "demo"))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.analysis.pages import displayed, embed, render
from textgen.analysis.units import SHIFTS, Finding, UnitActivity

# Characters of a part of the text that is shown.
SHOWN_CHARS = 2000
# How far the beginning of a part may move to that of a line.
NEAREST_LINE = 200
# Units of each property that are shown.
SHOWN_UNITS = 3
# A part shows a property well enough if it has so much of it, compared with the part with the most.
ENOUGH = 0.6
# Bytes of activations on a page: units at all places shown.
MOST_BYTES = 4_000_000


@dataclass(frozen=True)
class ShownPart:
    """A stretch of the second half of the text; places: those that end in it."""

    text: str
    line: int
    places: slice


def render_units(activity: UnitActivity, title: str, model: str) -> str:
    """Return the page of what units do.

    Args:
        activity: of the units.
        title: what the text is called.
        model: what the model is called.
    """
    return render(
        "units.html",
        title=displayed(title),
        model=displayed(model),
        shifts=SHIFTS,
        **units_values(activity),
    )


def units_values(activity: UnitActivity) -> dict[str, Any]:
    """Return what the template of units shows."""
    ranked = [finding for finding in activity.findings if finding.is_ranked]
    parts = list(_parts(activity))
    part_of = [_choose_part(parts, finding) for finding in ranked]
    shown = sorted(set(part_of)) or [0]
    units = _choose_units(
        activity, ranked, sum(len(activity.ends_N[parts[index].places]) for index in shown)
    )
    place_of_unit = {unit: place for place, unit in enumerate(units)}
    return {
        "chars": len(activity.text),
        "units_count": len(activity.units),
        "has_cells": any(unit.state == "c" for unit in activity.units),
        "ranked": [
            _section(activity, finding, shown.index(part), place_of_unit)
            for finding, part in zip(ranked, part_of, strict=True)
        ],
        "unranked": [finding for finding in activity.findings if not finding.is_ranked],
        "parts": [parts[index] for index in shown],
        "shown_count": len(units),
        "data": embed(
            _numbers(activity, ranked, units), _columns(activity, ranked, units, parts, shown)
        ),
    }


def _section(
    activity: UnitActivity, finding: Finding, part: int, place_of_unit: dict[int, int]
) -> dict[str, Any]:
    """Return what the template shows of a property: its figures, part and units."""
    candidates = [
        {
            "place": place_of_unit[tracker.unit],
            "name": activity.units[tracker.unit].name,
            "correlation": tracker.correlation,
        }
        for tracker in finding.best[:SHOWN_UNITS]
    ]
    return {"finding": finding, "part": part, "candidates": candidates}


def _parts(activity: UnitActivity) -> Iterator[ShownPart]:
    """Yield the second half of the text, cut into parts that begin with lines where lines allow."""
    text, ends_N = activity.text, activity.ends_N
    first = int(ends_N[len(ends_N) // 2])
    count = max(1, (len(text) - first) // SHOWN_CHARS)
    edges = [first + number * (len(text) - first) // count for number in range(count)]
    # A place belongs to the part in which its last character stands.
    places = np.searchsorted(ends_N, [_line_near(text, edge) for edge in edges], side="right")
    for start, end in zip(places, [*places[1:], len(ends_N)], strict=True):
        # A part that is not the last ends early rather than late.
        begin = int(ends_N[start - 1])
        stop = int(np.searchsorted(ends_N, begin + SHOWN_CHARS, side="right"))
        places_of_part = slice(int(start), min(int(end), stop))
        shown = displayed(text[begin : int(ends_N[places_of_part.stop - 1])])
        yield ShownPart(shown, text.count("\n", 0, begin) + 1, places_of_part)


def _line_near(text: str, edge: int) -> int:
    """Return where the next line begins, if it does so soon."""
    newline = text.find("\n", edge, edge + NEAREST_LINE)
    return edge if newline < 0 else newline + 1


def _choose_part(parts: list[ShownPart], finding: Finding) -> int:
    """Return the first part that shows a property well: where it varies about as much as anywhere.

    The first and not the best, so that properties share parts, and the page has few.
    """
    spread = [float(finding.values_N[part.places].std()) for part in parts]
    return next(index for index, value in enumerate(spread) if value >= ENOUGH * max(spread))


def _choose_units(activity: UnitActivity, ranked: list[Finding], places: int) -> list[int]:
    """Return the units that are on the page: those shown, then as many others as there is room."""
    best = [tracker.unit for finding in ranked for tracker in finding.best[:SHOWN_UNITS]]
    room = max(MOST_BYTES // places, len(set(best)))
    return sorted([*dict.fromkeys([*best, *range(len(activity.units))])][:room])


def _numbers(activity: UnitActivity, ranked: list[Finding], units: list[int]) -> dict[str, Any]:
    """Return of each unit its name, mean, deviation and range, to which bytes are scaled."""
    # One by one, since all of them in float64 would take more memory than anything else.
    figures = [
        (states_N.mean(), states_N.std(), states_N.min(), states_N.max())
        for states_N in (activity.states_NU[:, unit].astype(np.float64) for unit in units)
    ]
    means, deviations, lowest, highest = map(_rounded, zip(*figures, strict=True))
    return {
        "names": [activity.units[unit].name for unit in units],
        "means": means,
        "deviations": deviations,
        "lowest": lowest,
        "highest": highest,
        "properties": [finding.subject.name for finding in ranked],
        "property_highest": _rounded(finding.values_N.max() for finding in ranked),
    }


def _rounded(numbers: Iterable[float]) -> list[float]:
    return [float(f"{number:.6g}") for number in numbers]


def _columns(
    activity: UnitActivity,
    ranked: list[Finding],
    units: list[int],
    parts: list[ShownPart],
    shown: list[int],
) -> dict[str, np.ndarray]:
    """Return for each part the activations (U, N) and the properties (P, N), each in its range."""
    columns = {}
    lengths_N = np.diff(activity.ends_N, prepend=0)
    low, high = activity.states_NU.min(axis=0)[units], activity.states_NU.max(axis=0)[units]
    for number, index in enumerate(shown):
        places = parts[index].places
        states_NU = activity.states_NU[places][:, units]
        columns[f"states{number}"] = _bytes((states_NU - low).T, (high - low)[:, None])
        values_PN = [finding.values_N[places] / finding.values_N.max() for finding in ranked]
        columns[f"properties{number}"] = _bytes(np.array(values_PN), np.ones(1))
        columns[f"chars{number}"] = lengths_N[places].astype(np.uint16)
    return columns


def _bytes(above: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return numbers from 0 to spread as bytes from 0 to 255."""
    scaled = np.divide(255 * above, spread, out=np.zeros_like(above), where=spread > 0)
    return np.asarray(np.rint(scaled).astype(np.uint8))
