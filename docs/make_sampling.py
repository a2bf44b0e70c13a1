"""Writes the table of filters in docs/sampling.md: python docs/make_sampling.py.

The rest of the page is written by hand.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textgen.config.fields import option_name
from textgen.config.sample import SampleConfig
from textgen.sampling.chain import FILTERS, Filter

PAGE = Path(__file__).parent / "sampling.md"
BEGIN = "<!-- The table is made by docs/make_sampling.py. -->"
END = "<!-- End of the table. -->"

HEADS = "| | option | what it does | range | off | choice where libraries differ |"
BOUNDS = {"low": "from {}", "above": "above {}", "high": "to {}", "below": "below {}"}
NOT_GIVEN = (None, ())


def interval(metadata: Mapping[str, Any]) -> str:
    """Return a field's range in words."""
    return " ".join(words.format(metadata[key]) for key, words in BOUNDS.items() if key in metadata)


def row(number: int, step: Filter) -> str:
    """Return the table row of a filter."""
    field = {f.name: f for f in dataclasses.fields(SampleConfig)}[step.option]
    cells = [
        str(number),
        f"`{option_name(step.option)}`",
        (step.function.__doc__ or "").partition("\n")[0],
        interval(field.metadata),
        "not given" if step.neutral in NOT_GIVEN else str(step.neutral),
        step.note,
    ]
    return "| " + " | ".join(cells) + " |"


def render() -> str:
    """Return docs/sampling.md as it is, with the table made anew between its two comments."""
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    _, after = rest.split(END)
    table = [HEADS, "|---|---|---|---|---|---|"]
    table += [row(number, step) for number, step in enumerate(FILTERS, 1)]
    return "\n".join([before + BEGIN, "", *table, "", END + after])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
