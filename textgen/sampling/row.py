"""One text as it grows: ids in, whole characters out, until it ends.

An id may hold a part of a character or several of them, so characters are counted here, and a text
is cut where it is long enough or has ended. What was read but does not belong to the text any more
is kept as `rest`: the text that goes on from there begins with it.

    >>> passage = Passage(tokenizer, SampleConfig(length=10, stop=("END",)))
    >>> text = passage.begin() + passage.feed(5) + passage.feed(9)
"""

from __future__ import annotations

import copy

import numpy as np

from textgen.config import SampleConfig
from textgen.sampling.filters import NOTHING
from textgen.sampling.stopping import StopMatcher
from textgen.tokenizers import Tokenizer


class Row:
    """One text as it grows.

    end: why it has ended, "length", "item" or what `StopMatcher` says; None while it goes on. left:
    characters still to write. rest: bytes that a text before has read without writing them.
    """

    def __init__(self, tokenizer: Tokenizer, config: SampleConfig, rest: bytes = b"") -> None:
        self.end: str | None = None
        self.left = config.length
        self._mark = tokenizer.boundary_id  # which ends it; None where there is none
        self._decoder = tokenizer.decoder()
        self._ending = StopMatcher(config)
        self._waiting = self._decoder.read(rest) if rest else ""

    @property
    def rest(self) -> bytes:
        """The bytes that were read and not written: a part of a character, or a text's end."""
        return self._waiting.encode() + self._decoder.pending

    @property
    def pending(self) -> bytes:
        """The bytes read so far of a character that is not whole yet."""
        return self._decoder.pending

    def begin(self) -> str:
        """Return what the rest of a text before gives, to be called before anything is fed."""
        waiting, self._waiting = self._waiting, ""
        return self._write(waiting)

    def feed(self, one: int) -> str:
        """Return the text that is certain to belong to it after one more id."""
        if one == self._mark:
            return self.close("item")
        return self._write(self._decoder.feed(one))

    def close(self, reason: str) -> str:
        """End it for a reason, unless it has ended; return the text that was held back."""
        self.end = self.end or reason
        return self._ending.flush()

    def copy(self) -> Row:
        """Return one that grows on its own from here."""
        other = copy.copy(self)
        other._decoder = self._decoder.copy()
        other._ending = copy.deepcopy(self._ending)
        return other

    def _write(self, text: str) -> str:
        piece = ""
        for place, char in enumerate(text, 1):
            piece += self._ending.feed(char)
            self.left -= 1
            if self._ending.reason or not self.left:
                self._waiting = text[place:]
                return piece + self.close(self._ending.reason or "length")
        return piece


def belonging(tokenizer: Tokenizer, ids: np.ndarray, text: str) -> np.ndarray:
    """Return which of the ids (n,) that a row drew have written a part of its text (n,).

    The others came after its end, or were held back and then not written; the last id may be
    NOTHING.
    """
    chars = tokenizer.chars_V[ids].astype(np.int64)
    begun_before = np.cumsum(chars) - chars
    # An id in which no character begins goes on with the one before.
    return np.asarray((begun_before < len(text) + (chars == 0)) & (ids != NOTHING))
