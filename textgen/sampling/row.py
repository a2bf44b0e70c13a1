"""One row of text as it grows: ids in, whole characters out, until it ends.

An id may hold a part of a character or several of them, so characters are counted here, and a text
is cut where it is long enough or has ended. What was read but does not belong to the text any more
is kept as `unwritten_bytes`: the text that continues from there begins with it.

    >>> row = Row(tokenizer, SampleConfig(length=10, stop=("END",)))
    >>> row.feed(5)
    >>> text = row.take_text()
"""

from __future__ import annotations

import copy

import numpy as np

from textgen.config import SampleConfig
from textgen.sampling.filters import NOTHING
from textgen.sampling.stopping import StopMatcher
from textgen.tokenizers import Tokenizer


class Row:
    """One row of text as it grows.

    end: why it has ended, "length", "item", what `StopMatcher` says or what a constraint says; None
    while it grows. left: characters still to write.
    """

    def __init__(self, tokenizer: Tokenizer, config: SampleConfig) -> None:
        self.end: str | None = None
        self.left = config.length
        self._boundary_id = tokenizer.boundary_id
        self._decoder = tokenizer.decoder()
        self._stop_matcher = StopMatcher(config)
        # Certain to belong to the text, and not handed on yet.
        self._pending_text = ""
        # Whole characters behind the text's end.
        self._unwritten_text = ""

    @property
    def unwritten_bytes(self) -> bytes:
        """The bytes that were read and not written: a part of a character, or a text's end."""
        return self._unwritten_text.encode() + self._decoder.pending

    @property
    def pending(self) -> bytes:
        """The bytes read so far of a character that is not whole yet."""
        return self._decoder.pending

    def begin(self, unwritten_bytes: bytes) -> None:
        """Begin with what a text before has read and not written."""
        text = self._decoder.read(unwritten_bytes) if unwritten_bytes else ""
        if self.left:
            self._write(text)
        else:
            self._unwritten_text = text

    def feed(self, token_id: int) -> None:
        """Read one more id."""
        if token_id == self._boundary_id:
            self.close("item")
        else:
            self._write(self._decoder.feed(token_id))

    def close(self, reason: str) -> None:
        """End it for a reason, unless it has ended; what was held back belongs to it."""
        self.end = self.end or reason
        self._pending_text += self._stop_matcher.flush()

    def take_text(self) -> str:
        """Return the text that is certain to belong to it and was not returned yet."""
        text, self._pending_text = self._pending_text, ""
        return text

    def copy(self) -> Row:
        """Return one that grows on its own from here."""
        other = copy.copy(self)
        other._decoder = self._decoder.copy()
        other._stop_matcher = copy.deepcopy(self._stop_matcher)
        return other

    def _write(self, text: str) -> None:
        for written, char in enumerate(text, 1):
            self._pending_text += self._stop_matcher.feed(char)
            self.left -= 1
            if self._stop_matcher.reason or not self.left:
                self._unwritten_text = text[written:]
                self.close(self._stop_matcher.reason or "length")
                return


def select_ids(tokenizer: Tokenizer, ids: np.ndarray, text: str) -> np.ndarray:
    """Return which of the ids that a row drew have written a part of its text.

    The others came after its end, or were held back and then not written.

    Args:
        tokenizer: of the ids.
        ids: (n,), all that were drawn; the last one may be NOTHING.
        text: what the row has written.

    Returns:
        bool (n,).
    """
    chars = tokenizer.chars_V[ids].astype(np.int64)
    begun_before = np.cumsum(chars) - chars
    # An id in which no character begins continues the one before.
    return np.asarray((begun_before < len(text) + (chars == 0)) & (ids != NOTHING))
