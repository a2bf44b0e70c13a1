"""Training, validation and test part of a text or of its records: the only place that cuts.

>>> cut(1000, "0.9,0.05,0.05")
{'train': (0, 900), 'val': (900, 950), 'test': (950, 1000)}
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from decimal import Decimal

from textgen.config import split_shares
from textgen.data import records
from textgen.data.corpus import Corpus
from textgen.errors import counted

PARTS = ("train", "val", "test")

Bounds = dict[str, tuple[int, int]]


def bounds_of_shares(n: int, split: str) -> Bounds:
    """Return each part's first of n things and the one after its last.

    The training part is exactly floor(share * n) of them, as nanoGPT cuts. Of two shares the
    second is validation, and the test part is empty; a single share of 1 trains on all.
    """
    shares = [*split_shares(split), Decimal(0), Decimal(0)]
    cuts = [0, math.floor(shares[0] * n), math.floor((shares[0] + shares[1]) * n), n]
    if shares[0] + shares[1] == 1:
        cuts[2] = n
    return {part: (cuts[i], cuts[i + 1]) for i, part in enumerate(PARTS)}


SEPARATE_PARTS = {
    "val": "validation",
    "test": "test",
}  # parts that can be texts of their own, in the facts
Parts = dict[str, tuple[Corpus, int, int]]  # a text, its first character and the one after its last


def bounds_of(n: int, split: str, others: Container[str]) -> Bounds:
    """Return where the parts of n characters or items lie, beside `others` with their own texts.

    A validation text of its own leaves all to training; beside a test text validation keeps its
    share, at the end.
    """
    bounds = bounds_of_shares(n, split)
    if "val" in others:
        return {"train": (0, n), "val": (0, 0), "test": (0, 0)}
    if "test" in others:
        start = n - (bounds["val"][1] - bounds["val"][0])
        return {"train": (0, start), "val": (start, n), "test": (0, 0)}
    return bounds


def parts_of(whole: Corpus, others: Mapping[str, Corpus], split: str) -> Parts:
    """Return the parts of a text."""
    bounds = bounds_of(len(whole), split, others)
    parts = {name: (whole, *bounds[name]) for name in bounds}
    return parts | {name: (text, 0, len(text)) for name, text in others.items()}


def record_parts(
    whole: Corpus, others: Mapping[str, Corpus], how: str, split: str
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the different items of each part, and sentences about them.

    They are shuffled, the same way each time, before they are cut at the floor of their shares.
    """
    items, repeated = records.different(records.split(whole.text, how))
    notes = [f"{counted(repeated, 'repeated item')} left out"] if repeated else []
    items = records.shuffled(items)
    parts = {name: items[a:b] for name, (a, b) in bounds_of(len(items), split, others).items()}
    for name, text in others.items():
        parts[name], _ = records.different(records.split(text.text, how))
        if shared := len(set(parts["train"]) & set(parts[name])):
            notes.append(f"trained on too: {counted(shared, 'item')} of {text.path.name}")
    return parts, notes
