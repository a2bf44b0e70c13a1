"""Text to ids and back, without loss.

In the walk after `inputs`: text file -> tokenizer, corpus -> ids. Needs numpy only.

    >>> tokenizer = CharTokenizer.from_text("hello")
    >>> tokenizer.encode("hole").tolist()
    [2, 4, 3, 1]
    >>> tokenizer.decode([2, 4, 3, 1])
    'hole'

Shapes: n characters give n ids. Id 0 is `<unk>`; the others are the sorted code points of the
training text, so that the alphabet depends on the set of characters alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

from textgen.errors import TextError

UNKNOWN = 0  # the id of <unk>
CODE_POINTS = 0x110000  # of Unicode; an unknown character is one of these
BLOCK = 1 << 22  # characters handled at a time, so that a long text needs little extra memory

Ids = np.ndarray


class CharTokenizer:
    """One id a character.

    codepoints: (V-1,) uint32, sorted; the character of id i is codepoints[i - 1].
    counts: (V,) uint64, how often the training text held each id.
    """

    kind = "char"

    def __init__(self, codepoints: np.ndarray, counts: np.ndarray) -> None:
        self.codepoints = np.asarray(codepoints, dtype=np.uint32)
        self.counts = np.asarray(counts, dtype=np.uint64)
        self.dtype = np.min_scalar_type(len(self.codepoints))
        largest = int(self.codepoints[-1]) if len(self.codepoints) else 0
        self._table = np.zeros(largest + 2, dtype=self.dtype)  # the last entry stays <unk>
        self._table[self.codepoints] = np.arange(1, self.size, dtype=self.dtype)
        self._characters = np.concatenate(([0xFFFD], self.codepoints)).astype("<u4")

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """Return the tokenizer whose alphabet is the characters of text."""
        counts = np.zeros(CODE_POINTS, dtype=np.int64)
        for codes in _blocks(text):
            found = np.bincount(codes)
            counts[: len(found)] += found
        codepoints = np.flatnonzero(counts)
        return cls(codepoints, np.concatenate(([0], counts[codepoints])))

    @property
    def size(self) -> int:
        """V, the number of ids, <unk> included."""
        return len(self.codepoints) + 1

    @property
    def alphabet(self) -> str:
        """The characters that have an id, in the order of their ids."""
        return self.decode(range(1, self.size))

    def encode(
        self, text: str, unknown: str = "error", subject: str = "text", before: int = 0
    ) -> Ids:
        """Return the ids (n,) of text in the smallest unsigned type.

        unknown: what becomes of a character without an id: "error" raises TextError naming it
        and its position, "skip" drops it, "replace" gives <unk>. subject names the text in the
        error; before: characters of it that stand before this piece.
        """
        blocks = [self._table[np.minimum(codes, len(self._table) - 1)] for codes in _blocks(text)]
        ids = np.concatenate(blocks) if blocks else np.zeros(0, dtype=self.dtype)
        if unknown == "replace" or ids.all():
            return ids
        if unknown == "skip":
            return np.asarray(ids[ids != UNKNOWN])
        raise self._unknown_error(text, int(np.argmin(ids != UNKNOWN)), subject, before)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """Return the text of ids; <unk> becomes U+FFFD."""
        codes = self._characters[np.asarray(ids, dtype=np.int64)]
        return codes.tobytes().decode("utf-32-le", "surrogatepass")

    def _unknown_error(self, text: str, index: int, subject: str, before: int) -> TextError:
        char = text[index]
        name = unicodedata.name(char, "unnamed")
        known = f"this model's {len(self.codepoints)} characters"
        fix = "use --unknown skip or --unknown replace"
        if unicodedata.normalize("NFC", text) != text:
            fix += ", or compose the text (Unicode NFC)"
        where = f"at position {before + index + 1}"
        problem = f"{char!r} (U+{ord(char):04X} {name}) {where} is not among {known}"
        return TextError(subject, problem, fix)


def _blocks(text: str) -> Iterator[np.ndarray]:
    """Yield the code points of text as uint32 arrays of at most BLOCK characters."""
    for start in range(0, len(text), BLOCK):
        part = text[start : start + BLOCK].encode("utf-32-le", "surrogatepass")
        yield np.frombuffer(part, dtype="<u4")
