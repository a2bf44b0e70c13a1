"""The latest ids of each row, for filters that look back.

In the walk after `heldout`. Of constant size however long the text grows.

Shapes: B rows, L ids looked back on, V vocabulary.

    >>> history = History(np.array([[3]]), size=4, vocab=10)
    >>> history.add(np.array([7]))
    >>> history.ids_BL.tolist()
    [[-1, -1, 3, 7]]
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

NOTHING = -1  # stands where a text is shorter than the look-back


class History:
    """The last `size` ids of B rows, and how often each id stands among them.

    ids_BL: (B, size) to begin with, the newest last, NOTHING where a row has no more; its last
    `size` columns count. counted: whether counts_BV is kept.
    """

    def __init__(self, ids_BL: Array, size: int, vocab: int, counted: bool = True) -> None:
        self.size = size
        self._counted = counted
        kept = ids_BL[:, -size:]
        nothing = np.full((len(kept), size - kept.shape[1]), NOTHING, dtype=np.int64)
        self._move(np.concatenate([nothing, kept], axis=1))
        # NOTHING, which is -1, is counted in a last column that nobody sees.
        self._counts = np.zeros((len(kept), vocab + 1), dtype=np.int64)
        np.add.at(self._counts, (np.arange(len(kept))[:, None], kept), 1)
        self.counts_BV = self._counts[:, :vocab]

    @property
    def ids_BL(self) -> Array:
        """The ids (B, size), the newest last: a view that later ids leave as it is."""
        return self._room[:, self._end - self.size : self._end]

    def add(self, ids_B: Array) -> None:
        """Add the newest id of each row and forget the oldest."""
        if self._counted:
            oldest = self._room[:, self._end - self.size].tolist()
            for counts, old, new in zip(self._counts, oldest, ids_B.tolist(), strict=True):
                counts[old] -= 1
                counts[new] += 1
        if self._end == self._room.shape[1]:
            self._move(self.ids_BL)
        self._room[:, self._end] = ids_B
        self._end += 1

    def _move(self, ids_BL: Array) -> None:
        """Take a new array, so that views of the old one stay what they are."""
        room = np.empty((len(ids_BL), 2 * self.size), dtype=np.int64)
        room[:, : self.size] = ids_BL
        self._room, self._end = room, self.size
