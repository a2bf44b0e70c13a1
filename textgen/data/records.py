r"""A text as items, such as names or poems: each learnt from its beginning to its end.

The ids of items stand one after the other with a mark before the first, between two and after the
last; the mark is what a model reads before an item's first character and what it must foresee after
its last. The state is zero at the beginning of each.

Shapes: K items, B rows, T time steps.

    >>> split("ann\nbob\nann\n", "lines")
    ['ann', 'bob', 'ann']
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from textgen.tokenizers import Tokenizer

KINDS = {"lines": r"\r?\n", "blank-line": r"\r?\n(?:[ \t]*\r?\n)+"}
IGNORED = -1  # a target that does not count, where a row's item has ended


def split(text: str, records: str) -> list[str]:
    """Return the items of text.

    records: a name in KINDS or the text between two items. Items lose the newlines around them,
    and empty ones are left out.
    """
    pattern = KINDS.get(records, re.escape(records))
    return [item for one in re.split(pattern, text) if (item := one.strip("\r\n"))]


def different(items: list[str]) -> tuple[list[str], int]:
    """Return each item once, in the order of their first places, and how many were left out."""
    found = list(dict.fromkeys(items))
    return found, len(items) - len(found)


def shuffled(items: list[str]) -> list[str]:
    """Return items in an order that is always the same and has nothing to do with their own.

    A list is often sorted, and its end is then unlike its beginning.
    """
    order = np.random.Generator(np.random.Philox(key=len(items))).permutation(len(items))
    return [items[place] for place in order]


def framed(items: list[str], tokenizer: Tokenizer, unknown: str = "error") -> np.ndarray:
    """Return the ids of items with the tokenizer's mark around each."""
    mark = np.array([tokenizer.boundary_id], tokenizer.dtype)
    parts = [mark]
    for item in items:
        parts += [tokenizer.encode(item, unknown), mark]
    return np.concatenate(parts)


@dataclass(frozen=True)
class Records:
    """Where the items of framed ids (n,) begin: starts (K,) the mark before each; lengths (K,).

    A length counts what is foretold: the ids of the item and the mark behind it.
    """

    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, boundary_id: int) -> Records:
        """Return the items that marks frame."""
        places = np.flatnonzero(np.asarray(ids) == boundary_id)
        return cls(places[:-1], np.diff(places))

    def window(
        self, ids: np.ndarray, rows: np.ndarray, first: int, last: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return x_TB and y_TB of the steps from `first` to before `last` of some items.

        Where an item has ended y is IGNORED.
        """
        steps = np.arange(first, last)[:, None]
        inside = steps < self.lengths[rows]
        places = np.where(inside, self.starts[rows] + steps, 0)
        x_TB, y_TB = (np.asarray(ids[at]).astype(np.int64) for at in (places, places + 1))
        return x_TB, np.where(inside, y_TB, IGNORED)
