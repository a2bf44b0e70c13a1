"""Characters as ids: the alphabet of a text.

    >>> tokenizer = CharTokenizer.from_text("hello")
    >>> tokenizer.encode("hole").tolist()
    [2, 4, 3, 1]
    >>> tokenizer.decode([2, 4, 3, 1])
    'hole'

Shapes: n characters give n ids. Id 0 is `<unk>`; the others are the sorted code points of the
training text, so that the alphabet depends on the set of characters alone.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

from textgen.errors import TextError, counted
from textgen.tokenizers.base import BOUNDARY, CODE_POINTS, UNKNOWN, Ids, describe_boundary
from textgen.tokenizers.utf8 import Spelling

# Characters handled at a time, so that a long text needs little extra memory.
ENCODED_AT_ONCE = 1 << 22


class CharTokenizer:
    """One id a character; the attributes are `Tokenizer`'s, and `codepoints`.

    The character of id i is codepoints[i - 1], and id 0 is <unk>.
    """

    kind, noun = "char", "characters"
    unknown_nats = math.log(CODE_POINTS)
    spelling: Spelling | None = None

    def __init__(self, codepoints: np.ndarray, counts: np.ndarray, marked: bool = False) -> None:
        """Take an alphabet.

        Args:
            codepoints: of its characters, rising.
            counts: (V,) how often the training text held each id, <unk> first.
            marked: whether there is an id more, the boundary between records.
        """
        self.codepoints = np.asarray(codepoints, dtype=np.uint32)
        self.counts = np.asarray(counts, dtype=np.uint64)
        known = len(self.codepoints) + 1
        self.boundary_id = known if marked else None
        self.size = known + marked
        self.dtype = np.min_scalar_type(self.size - 1)
        self.chars_V = np.arange(self.size) < known
        largest = int(self.codepoints[-1]) if len(self.codepoints) else 0
        # The last entry stays <unk>, for all characters beyond.
        self._table = np.zeros(largest + 2, dtype=self.dtype)
        self._table[self.codepoints] = np.arange(1, known, dtype=self.dtype)
        self._characters = np.concatenate(([0xFFFD], self.codepoints)).astype("<u4")
        # The text of each id, made when a decoder needs it.
        self._texts: list[str] | None = None

    @classmethod
    def from_text(cls, text: str, marked: bool = False) -> CharTokenizer:
        """Return the tokenizer whose alphabet is the characters of text, with their counts."""
        counts = np.zeros(CODE_POINTS, dtype=np.int64)
        for codes in _code_point_blocks(text):
            counts_of_block = np.bincount(codes)
            counts[: len(counts_of_block)] += counts_of_block
        codepoints = np.flatnonzero(counts)
        # How many boundaries there are is not known before the records are framed.
        boundary = [0] * marked
        return cls(codepoints, np.concatenate(([0], counts[codepoints], boundary)), marked)

    @property
    def alphabet(self) -> str:
        """The characters that have an id, in the order of their ids."""
        return self.decode(range(1, len(self.codepoints) + 1))

    def encode(
        self, text: str, unknown: str = "error", subject: str = "text", before: int = 0
    ) -> Ids:
        """Return the ids (n,) of text; see `Tokenizer.encode` for the arguments and errors."""
        blocks = [self._table.take(codes, mode="clip") for codes in _code_point_blocks(text)]
        ids = np.concatenate(blocks) if blocks else np.zeros(0, dtype=self.dtype)
        if unknown == "replace" or ids.all():
            return ids
        if unknown == "skip":
            return np.asarray(ids[ids != UNKNOWN])
        raise self._unknown_error(text, int(np.argmin(ids != UNKNOWN)), subject, before)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """Return the text of ids; <unk> becomes U+FFFD, the boundary nothing."""
        chars = np.asarray(ids, dtype=np.int64)
        if self.boundary_id is not None:
            chars = chars[chars != self.boundary_id]
        return self._characters[chars].tobytes().decode("utf-32-le", "surrogatepass")

    def decoder(self) -> CharDecoder:
        """Return what decodes ids that come one by one."""
        if self._texts is None:
            self._texts = [*"\ufffd", *self.alphabet] + [""] * (self.boundary_id is not None)
        return CharDecoder(self._texts)

    def symbols(self) -> list[bytes]:
        """Return what each id stands for: UTF-8, b"" for <unk>, BOUNDARY for the boundary."""
        known = [char.encode("utf-8", "surrogatepass") for char in self.alphabet]
        return [b"", *known] + [BOUNDARY] * (self.boundary_id is not None)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays from which `from_tensors` makes it again."""
        return {"codepoints": self.codepoints, "counts": self.counts}

    def with_counts(self, counts: np.ndarray) -> CharTokenizer:
        """Return the same tokenizer with other counts (V,)."""
        return CharTokenizer(self.codepoints, counts, self.boundary_id is not None)

    def describe(self) -> str:
        """Return what its ids are, in words."""
        number = counted(len(self.codepoints), "character")
        return f"{number}: {self.alphabet!r}" + describe_boundary(self.boundary_id)

    def _unknown_error(self, text: str, index: int, subject: str, before: int) -> TextError:
        char = text[index]
        name = unicodedata.name(char, "unnamed")
        known = f"this model's {counted(len(self.codepoints), 'character')}"
        fix = "use --unknown skip or --unknown replace"
        if unicodedata.normalize("NFC", text) != text:
            fix += ", or compose the text (Unicode NFC)"
        where = f"at position {before + index + 1}"
        problem = f"{char!r} (U+{ord(char):04X} {name}) {where} is not among {known}"
        return TextError(subject, problem, fix)


class CharDecoder:
    """Text from ids that each stand for a text of their own, texts[id]."""

    pending = b""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def feed(self, token_id: int) -> str:
        """Return the text of one more id."""
        return self._texts[token_id]

    def read(self, data: bytes) -> str:
        """Return the characters of data."""
        return data.decode("utf-8", "replace")

    def flush(self) -> str:
        """Return nothing: every character was whole."""
        return ""

    def copy(self) -> CharDecoder:
        """Return itself: it remembers nothing."""
        return self


def _code_point_blocks(text: str) -> Iterator[np.ndarray]:
    """Yield the code points of text as arrays of at most ENCODED_AT_ONCE characters."""
    for start in range(0, len(text), ENCODED_AT_ONCE):
        yield code_points(text[start : start + ENCODED_AT_ONCE])


def code_points(text: str) -> np.ndarray:
    """Return the code points (n,) of text, as bytes where it is ASCII, which is faster."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
