"""Ids as parallel streams, cut into the windows that truncated backpropagation trains on.

In the walk after `registry`: ids -> streams -> windows. Row b of one window goes on where row b of
the window before ended, so a state carried from window to window sees an unbroken text.

Shapes: B streams, T time steps; windows are time-major, x_TB and y_TB, and y is x one character
later. A position is two numbers, (epoch, window), and everything random is a function of the
seed and the position, so a stream continues from a saved position exactly.

    >>> streams = Streams(np.arange(101), batch=4, window=5, seed=0)
    >>> x_TB, y_TB, reset_B = streams.window_at(epoch=0, index=0)
"""

from __future__ import annotations

import numpy as np

from textgen.corpus import Coded
from textgen.tokenizer import Ids

RESET_PROBABILITY = 0.01  # of a stream at each window, so that the zero state is trained too


class Streams:
    """B streams over ids (n,), n >= 2.

    batch and window shrink to what a short text can fill; the attributes of those names hold
    what is used. Each epoch starts the streams at a fresh offset, anywhere in what does not
    fill whole windows, so that the windows' borders move and all of the text has its turn.
    """

    def __init__(self, ids: Ids | Coded, batch: int, window: int, seed: int) -> None:
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
