"""Bytes as ids, and what all tokenizers share whose ids stand for bytes.

Every text can be encoded, except for halves of surrogate pairs, which UTF-8 cannot write; there is
no unknown character. Ids that come one by one may break a character in two, so they are decoded
incrementally.

    >>> tokenizer = ByteTokenizer()
    >>> tokenizer.encode("né").tolist()
    [110, 195, 169]
    >>> tokenizer.chars_V[[110, 195, 169]].sum()
    2
"""

from __future__ import annotations

import codecs
import copy
import re
from collections.abc import Sequence
from typing import Self

import numpy as np

from textgen.errors import TextError
from textgen.tokenizers.base import BOUNDARY, Ids, describe_boundary
from textgen.tokenizers.utf8 import Spelling, count_characters

SURROGATES = re.compile("[\ud800-\udfff]")


class ByteUnits:
    """A tokenizer whose id i stands for the bytes units[i]; the attributes are `Tokenizer`'s."""

    kind = noun = ""
    unknown_nats = 0.0

    def __init__(
        self, units: Sequence[bytes], counts: np.ndarray | None = None, marked: bool = False
    ) -> None:
        """Take what the ids stand for.

        Args:
            units: the bytes of each id.
            counts: (V,) uint64, how often the training text held each id; by default never.
            marked: whether there is an id more, the boundary between records.
        """
        self.boundary_id = len(units) if marked else None
        self.size = len(units) + marked
        self.counts = np.zeros(self.size, np.uint64) if counts is None else counts
        self.dtype = np.min_scalar_type(self.size - 1)
        self.units = [*units] + [b""] * marked
        self.chars_V = np.array([count_characters(unit) for unit in self.units])
        self.spelling: Spelling | None = Spelling(self.symbols(), self.boundary_id)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """Return the text of ids; bytes that are not UTF-8 become U+FFFD, the boundary nothing."""
        data = b"".join([self.units[i] for i in np.asarray(ids, dtype=np.int64).tolist()])
        return data.decode("utf-8", "replace")

    def decoder(self) -> ByteDecoder:
        """Return what decodes ids that come one by one."""
        return ByteDecoder(self.units)

    def symbols(self) -> list[bytes]:
        """Return what each id stands for, b"" for <unk>, BOUNDARY for the boundary."""
        return [*self.units] if self.boundary_id is None else [*self.units[:-1], BOUNDARY]

    def with_counts(self, counts: np.ndarray) -> Self:
        """Return the same tokenizer with other counts (V,)."""
        other = copy.copy(self)
        other.counts = np.asarray(counts, dtype=np.uint64)
        return other


class ByteTokenizer(ByteUnits):
    """One id a byte of the text's UTF-8."""

    kind, noun = "byte", "bytes"

    def __init__(self, counts: np.ndarray | None = None, marked: bool = False) -> None:
        """Take counts (257 or 256,) and whether the last id is the boundary between records."""
        super().__init__([bytes([byte]) for byte in range(256)], counts, marked)

    def encode(
        self, text: str, unknown: str = "error", subject: str = "text", before: int = 0
    ) -> Ids:
        """Return the bytes (n,) of text; see `Tokenizer.encode` for the arguments and errors."""
        data = replace_surrogates(text, unknown, subject, before).encode("utf-8")
        return np.frombuffer(data, dtype=np.uint8).astype(self.dtype)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays from which `from_tensors` makes it again."""
        return {"counts": self.counts}

    def describe(self) -> str:
        """Return what its ids are, in words."""
        return "256 bytes" + describe_boundary(self.boundary_id)


class ByteDecoder:
    """Text from the ids of units, in whole characters."""

    def __init__(self, units: Sequence[bytes]) -> None:
        self._units = units
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def pending(self) -> bytes:
        """The bytes read so far of a character that is not whole yet."""
        return self._decoder.getstate()[0]

    def feed(self, token_id: int) -> str:
        """Return the characters that one more id makes whole."""
        return self._decoder.decode(self._units[token_id])

    def read(self, data: bytes) -> str:
        """Return the characters that more bytes make whole."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """Return U+FFFD for a character that will not be whole any more, else nothing."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest

    def copy(self) -> ByteDecoder:
        """Return one that continues from here on its own."""
        other = ByteDecoder(self._units)
        other._decoder.setstate(self._decoder.getstate())
        return other


def replace_surrogates(text: str, unknown: str, subject: str, before: int) -> str:
    """Return text without halves of surrogate pairs, which UTF-8 cannot write.

    Args:
        text: what is to be written.
        unknown: what becomes of a half: "error" raises TextError, "skip" drops it, "replace" puts
            U+FFFD in its place.
        subject: what the error calls the text.
        before: characters of the text that stand before this piece; the error counts them.

    Raises:
        TextError: unknown is "error" and there is such a half; it is named with its position.
    """
    half = None if text.isascii() else SURROGATES.search(text)
    if half is None:
        return text
    if unknown != "error":
        return SURROGATES.sub("" if unknown == "skip" else "\ufffd", text)
    where = f"{half[0]!r} at position {before + half.start() + 1}"
    problem = f"{where} is half of a surrogate pair, which UTF-8 cannot write"
    raise TextError(subject, problem, "use --unknown skip or --unknown replace")
