"""Ids as the windows that truncated backpropagation trains on: of one text, or of records.

Row b of one window goes on where row b of the window before ended, so a state carried from window
to window sees an unbroken text.

Shapes: B streams, T time steps; windows are time-major, x_TB and y_TB, and y is x one character
later. A position is two numbers, (epoch, window), and everything random is a function of the
seed and the position, so a stream continues from a saved position exactly.

    >>> streams = Streams(np.arange(101), batch=4, window=5, seed=0)
    >>> x_TB, y_TB, reset_B = streams.window_at(epoch=0, index=0)
"""

from __future__ import annotations

import numpy as np

from textgen.data.corpus import MappedIds
from textgen.data.records import IGNORED, Records
from textgen.tokenizers import Ids


class RecordStreams:
    """Windows over items, in the shape of `Streams`: B items of like length side by side.

    Each epoch the items are shuffled, those of one length among themselves, and the groups of B
    too. So the rows of a window end almost together, and an epoch has always as many windows.
    """

    def __init__(self, ids: Ids, boundary_id: int, batch: int, window: int, seed: int) -> None:
        self.ids, self.seed = ids, seed
        self.items = Records.of(ids, boundary_id)
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


RESET_PROBABILITY = 0.01  # of a stream at each window, so that the zero state is trained too


class Streams:
    """B streams over ids (n,), n >= 2.

    batch and window shrink to what a short text can fill; the attributes of those names hold
    what is used. Each epoch starts the streams at a fresh offset, anywhere in what does not
    fill whole windows, so that the windows' borders move and all of the text has its turn.
    """

    def __init__(self, ids: Ids | MappedIds, batch: int, window: int, seed: int) -> None:
        pairs = len(ids) - 1  # (character, next character)
        self.ids = ids
        self.seed = seed
        self.window = min(window, pairs)
        self.batch = min(batch, pairs // self.window)
        self.windows = max(1, (pairs // self.batch - self.window // 2) // self.window)

    @property
    def chars_per_step(self) -> int:
        """Characters that one window trains on, all streams together."""
        return self.batch * self.window

    def position(self, step: int) -> tuple[int, int]:
        """Return the (epoch, window) of a step counted from 0."""
        return divmod(step, self.windows)

    def window_at(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x_TB, y_TB (int64) and reset_B (bool: this stream starts from the zero state)."""
        pairs = len(self.ids) - 1
        slack = pairs - self.batch * self.windows * self.window
        draws = np.random.Generator(
            np.random.Philox(key=(self.seed, epoch), counter=(index + 1) << 64)
        )
        offset = int(np.random.Philox(key=(self.seed, epoch)).random_raw() % (slack + 1))
        starts = offset + self.window * (index + self.windows * np.arange(self.batch))
        block_BT = self.ids[starts[:, None] + np.arange(self.window + 1)].astype(np.int64)
        reset_B = draws.random(self.batch) < RESET_PROBABILITY
        if index == 0:
            reset_B[:] = True
        return block_BT[:, :-1].T.copy(), block_BT[:, 1:].T.copy(), reset_B
