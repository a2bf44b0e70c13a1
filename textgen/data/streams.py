"""Ids as the windows that truncated backpropagation trains on: of one text, or of records.

Row b of one window continues where row b of the window before ended, so a state carried from window
to window sees an unbroken text.

Shapes: B streams, T time steps, K records, G groups of records. Windows are time-major, x_TB and
y_TB, and y is x one character later. A position is two numbers, (epoch, window), and everything
random is a function of the seed and the position, so a stream continues from a saved position
exactly.

Processes that train together have a share of the rows each: `window_at` then returns those rows
alone, and reads no more of the text than they need.

    >>> streams = Streams(np.arange(101), batch=4, window=5, seed=0)
    >>> x_TB, y_TB, reset_B = streams.window_at(epoch=0, index=0)
    >>> half_TB, *_ = streams.of_rows(slice(2, 4)).window_at(epoch=0, index=0)
"""

from __future__ import annotations

import copy
from typing import Self

import numpy as np

from textgen.data.corpus import MappedIds
from textgen.data.records import IGNORED, Records
from textgen.tokenizers import Ids

# Of a stream at each window, so that the zero state, from which sampling starts, is trained too.
RESET_PROBABILITY = 0.01


class SharedRows:
    """What both kinds of streams have in common: windows of which one may want some rows only.

    Attributes:
        batch: B.
        rows: of them, those that windows have.
    """

    batch: int
    _rows: slice | None = None

    @property
    def rows(self) -> slice:
        """Which of the B rows windows have; all of them, unless `of_rows` made these streams."""
        return self._rows or slice(0, self.batch)

    def of_rows(self, rows: slice) -> Self:
        """Return the same streams with windows of some of the rows."""
        part = copy.copy(self)
        part._rows = rows
        return part


class RecordStreams(SharedRows):
    """Windows over records, in the shape of `Streams`: B records of like length side by side.

    A group is B records of like length, one in each row, read in windows of one width from their
    beginning to the end of the longest. Each epoch the records are shuffled, those of one length
    among themselves, and the groups too. So the rows of a window end almost together, and an epoch
    has always as many windows.

    Attributes:
        batch: B, at most the number of records.
        window: T at most, at most the longest record.
        windows: of an epoch.
    """

    def __init__(self, ids: Ids, boundary_id: int, batch: int, window: int, seed: int) -> None:
        """Lay out windows over ids (n,) in which boundary_id frames each record."""
        self.ids, self.seed = ids, seed
        self.records = Records.of(ids, boundary_id)
        lengths_K = np.sort(self.records.lengths)
        self.window = min(window, int(lengths_K[-1]))
        self.batch = min(batch, len(lengths_K))
        # The last record of each group is its longest; the last group may be short.
        longest_G = lengths_K[self.batch - 1 :: self.batch]
        if len(lengths_K) % self.batch:
            longest_G = np.append(longest_G, lengths_K[-1])
        self._longest_G = longest_G
        self._windows_G = -(-longest_G // self.window)
        self.windows = int(self._windows_G.sum())
        self._epoch: tuple[int, np.ndarray, np.ndarray] | None = None

    @property
    def chars_per_step(self) -> int:
        """Characters that one window trains on, on average."""
        return max(1, round(int(self.records.lengths.sum()) / self.windows))

    def position(self, step: int) -> tuple[int, int]:
        """Return the (epoch, window) of a step counted from 0."""
        return divmod(step, self.windows)

    def window_at(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a window of an epoch.

        Returns:
            x_TB and y_TB, int64, where y is IGNORED behind a record's end; reset_B, bool: the
            stream starts from the zero state.
        """
        records_B, first, end = self._stretch(epoch, index)
        rows = self.rows
        number, records_B = rows.stop - rows.start, records_B[rows]
        x_TB, y_TB = self.records.window(self.ids, records_B, first, end)
        if missing := number - len(records_B):
            x_TB = np.pad(x_TB, ((0, 0), (0, missing)))
            y_TB = np.pad(y_TB, ((0, 0), (0, missing)), constant_values=IGNORED)
        return x_TB, y_TB, np.full(number, first == 0)

    def targets_at(self, epoch: int, index: int) -> int:
        """Return how many ids all rows of a window together predict."""
        records_B, first, end = self._stretch(epoch, index)
        return int(np.clip(self.records.lengths[records_B] - first, 0, end - first).sum())

    def _stretch(self, epoch: int, index: int) -> tuple[np.ndarray, int, int]:
        """Return the records of a window, and the steps of them that it has: first and end.

        They are B, or fewer in the last group.
        """
        records_K, groups_G = self._order(epoch)
        # (G,) the windows of the epoch up to the end of each group.
        ends_G = np.cumsum(self._windows_G[groups_G])
        turn = int(np.searchsorted(ends_G, index, side="right"))
        group = groups_G[turn]
        windows, longest = int(self._windows_G[group]), int(self._longest_G[group])
        index_in_group = index - int(ends_G[turn]) + windows
        # The windows of a group are as even as can be, so that none is a few steps short.
        steps = -(-longest // windows)
        first, end = index_in_group * steps, min((index_in_group + 1) * steps, longest)
        return records_K[group * self.batch : (group + 1) * self.batch], first, end

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the records (K,) by length and the groups (G,) in their order in this epoch."""
        if self._epoch is None or self._epoch[0] != epoch:
            draws = np.random.Generator(np.random.Philox(key=(self.seed, epoch)))
            chance_K = draws.random(len(self.records.lengths))
            records_K = np.lexsort((chance_K, self.records.lengths))
            self._epoch = (epoch, records_K, draws.permutation(len(self._windows_G)))
        return self._epoch[1], self._epoch[2]


class Streams(SharedRows):
    """B contiguous streams over one text.

    Each epoch starts the streams at a fresh offset, anywhere in what does not fill whole windows,
    so that the windows' borders move and all of the text has its turn.

    Attributes:
        batch: B, at most what a short text can fill.
        window: T, at most what a short text can fill.
        windows: of an epoch.
    """

    def __init__(self, ids: Ids | MappedIds, batch: int, window: int, seed: int) -> None:
        """Lay out windows over ids (n,), n >= 2."""
        # Each id but the last has a next one, which is to be predicted.
        pairs = len(ids) - 1
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
        """Return a window of an epoch.

        Returns:
            x_TB and y_TB, int64; reset_B, bool: the stream starts from the zero state.
        """
        starts_B, reset_B = self.starts_at(epoch, index)
        block_BT = self.ids[starts_B[:, None] + np.arange(self.window + 1)].astype(np.int64)
        return block_BT[:, :-1].T.copy(), block_BT[:, 1:].T.copy(), reset_B

    def starts_at(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where in the text each row of a window begins, and `window_at`'s reset_B."""
        pairs = len(self.ids) - 1
        slack = pairs - self.batch * self.windows * self.window
        draws = np.random.Generator(
            np.random.Philox(key=(self.seed, epoch), counter=(index + 1) << 64)
        )
        offset = int(np.random.Philox(key=(self.seed, epoch)).random_raw() % (slack + 1))
        rows_B = np.arange(self.batch)[self.rows]
        starts_B = offset + self.window * (index + self.windows * rows_B)
        reset_B = draws.random(self.batch) < RESET_PROBABILITY
        if index == 0:
            reset_B[:] = True
        return starts_B, reset_B[self.rows]

    def targets_at(self, epoch: int, index: int) -> int:
        """Return how many ids all rows of a window together predict."""
        return self.chars_per_step
