r"""A text as items, such as names or poems: each learnt from its beginning to its end.

In the walk after `streams`. The ids of items stand one after the other with a mark before the
first, between two and after the last; the mark is what a model reads before an item's first
character and what it must foresee after its last. The state is zero at the beginning of each.

Shapes: K items, B rows, T time steps.

    >>> split("ann\nbob\nann\n", "lines")
    ['ann', 'bob', 'ann']
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from textgen.tokenizer import Ids, Tokenizer

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
    mark = np.array([tokenizer.mark], tokenizer.dtype)
    parts = [mark]
    for item in items:
        parts += [tokenizer.encode(item, unknown), mark]
    return np.concatenate(parts)


@dataclass(frozen=True)
class Items:
    """Where the items of framed ids (n,) begin: starts (K,) the mark before each; lengths (K,).

    A length counts what is foretold: the ids of the item and the mark behind it.
    """

    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, mark: int) -> Items:
        """Return the items that marks frame."""
        places = np.flatnonzero(np.asarray(ids) == mark)
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


class ItemStreams:
    """Windows over items, in the shape of `Streams`: B items of like length side by side.

    Each epoch the items are shuffled, those of one length among themselves, and the groups of B
    too. So the rows of a window end almost together, and an epoch has always as many windows.
    """

    def __init__(self, ids: Ids, mark: int, batch: int, window: int, seed: int) -> None:
        self.ids, self.seed = ids, seed
        self.items = Items.of(ids, mark)
        lengths = np.sort(self.items.lengths)
        self.window = min(window, int(lengths[-1]))
        self.batch = min(batch, len(lengths))
        longest = lengths[self.batch - 1 :: self.batch]
        if len(lengths) % self.batch:
            longest = np.append(longest, lengths[-1])
        self._longest = longest  # of each group
        self._parts = -(-longest // self.window)  # windows of each group
        self.windows = int(self._parts.sum())
        self._epoch: tuple[int, np.ndarray, np.ndarray] | None = None

    @property
    def chars_per_step(self) -> int:
        """Characters that one window trains on, on average."""
        return max(1, round(int(self.items.lengths.sum()) / self.windows))

    def position(self, step: int) -> tuple[int, int]:
        """Return the (epoch, window) of a step counted from 0."""
        return divmod(step, self.windows)

    def window_at(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x_TB, y_TB (int64, or IGNORED) and reset_B (bool: starts from the zero state)."""
        order, groups = self._order(epoch)
        ends = np.cumsum(self._parts[groups])
        place = int(np.searchsorted(ends, index, side="right"))
        group = groups[place]
        part = index - int(ends[place] - self._parts[group])
        rows = order[group * self.batch : (group + 1) * self.batch]
        width = -(-int(self._longest[group]) // int(self._parts[group]))
        last = min((part + 1) * width, int(self._longest[group]))
        x_TB, y_TB = self.items.window(self.ids, rows, part * width, last)
        if missing := self.batch - len(rows):  # the last group may be short
            x_TB = np.pad(x_TB, ((0, 0), (0, missing)))
            y_TB = np.pad(y_TB, ((0, 0), (0, missing)), constant_values=IGNORED)
        return x_TB, y_TB, np.full(self.batch, part == 0)

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the items by length and the order of their groups, in this epoch."""
        if self._epoch is None or self._epoch[0] != epoch:
            draws = np.random.Generator(np.random.Philox(key=(self.seed, epoch)))
            chance = draws.random(len(self.items.lengths))
            order = np.lexsort((chance, self.items.lengths))
            self._epoch = (epoch, order, draws.permutation(len(self._parts)))
        return self._epoch[1], self._epoch[2]
