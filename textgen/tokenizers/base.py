"""What all kinds of tokenizers have in common.

`Tokenizer` and `Decoder` are the interfaces; `char`, `byte` and `subword` have the kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from textgen.tokenizers.utf8 import Spelling

# The id of <unk>.
UNKNOWN = 0
# How many code points Unicode has; an unknown character is one of these.
CODE_POINTS = 0x110000

# What stands for the id between records among symbols: never part of UTF-8, and no single byte.
BOUNDARY = b"\xff\xff"

Ids = np.ndarray


class Decoder(Protocol):
    """Text from ids that come one by one, always in whole characters."""

    @property
    def pending(self) -> bytes:
        """The bytes read so far of a character that is not whole yet."""
        ...

    def feed(self, token_id: int) -> str:
        """Return the characters that one more id makes whole."""
        ...

    def read(self, data: bytes) -> str:
        """Return the characters that more bytes make whole."""
        ...

    def flush(self) -> str:
        """Return U+FFFD for a character that will not be whole any more, else nothing."""
        ...

    def copy(self) -> Decoder:
        """Return one that continues from here on its own."""
        ...


class Tokenizer(Protocol):
    """Text to ids and back, whatever an id stands for.

    Attributes:
        kind: as checkpoints name it.
        noun: what its ids stand for, in the plural.
        unknown_nats: what it costs to say which character an id 0 stood for, where 0 is <unk>.
        size: V, how many ids there are.
        counts: (V,) uint64, how often the training text held each id.
        dtype: the smallest unsigned type of an id.
        boundary_id: the id between records, the last one; no text is encoded to it. None where
            the model was trained on one text.
        chars_V: how many characters begin with each id, so that their sum is a text's length.
        spelling: which ids may follow which; None where every id is a character.
    """

    kind: str
    noun: str
    unknown_nats: float
    size: int
    counts: np.ndarray
    dtype: Any
    boundary_id: int | None
    chars_V: np.ndarray
    spelling: Spelling | None

    def encode(
        self, text: str, unknown: str = "error", subject: str = "text", before: int = 0
    ) -> Ids:
        """Return the ids (n,) of text.

        Args:
            text: what is encoded.
            unknown: what becomes of what has no id: "error" raises TextError, "skip" drops it,
                "replace" puts <unk> or U+FFFD in its place.
            subject: what the error calls the text.
            before: characters of the text that stand before this piece; errors count them.

        Raises:
            TextError: unknown is "error", and something in the text has no id.
        """
        ...

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """Return the text of ids, with U+FFFD where they are none."""
        ...

    def decoder(self) -> Decoder:
        """Return what decodes ids that come one by one."""
        ...

    def symbols(self) -> list[bytes]:
        """Return what each id stands for: UTF-8, b"" for <unk>, BOUNDARY for the boundary."""
        ...

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays from which `from_tensors` makes it again."""
        ...

    def with_counts(self, counts: np.ndarray) -> Tokenizer:
        """Return the same tokenizer with other counts (V,)."""
        ...

    def describe(self) -> str:
        """Return what its ids are, in words."""
        ...


def describe_boundary(boundary_id: int | None) -> str:
    """Return what a description says of the id between records."""
    return "" if boundary_id is None else ", and a boundary between records"
