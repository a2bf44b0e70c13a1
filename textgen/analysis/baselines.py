"""What a text costs without a network: the figures that training has to beat.

Two kinds: counted n-grams of several lengths, and file compressors, which learn from the training
part and are measured on the validation part. So that a text of any length takes a bounded time,
n-grams are counted in the last 4 million characters of the training part (`ngrams.MOST_CHARS`),
compressors read its last `MOST_BYTES`, and of the validation part only the first `MOST_MEASURED`
characters are measured.

    >>> measure_baselines(train, val, whole).ngrams[2]  # bits a character after 2 others

An n-gram model is measured like a network, see `protocols`: a character that training lacks
costs the bits of <unk> and those that say which it is. A compressor is charged what it takes to
append the validation part to the training part.
"""

from __future__ import annotations

import importlib
import lzma
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from textgen.engine import NGrams, ngrams
from textgen.evaluation import streamed
from textgen.tokenizers import CharTokenizer

ORDERS = range(6)  # characters of context
MOST_MEASURED = 500_000  # characters of the validation part
MOST_COMPRESSED_BYTES = 2_000_000  # of the training part, and of the whole text, for compressors
XZ_PRESET, ZSTD_LEVEL = 6, 19

Compressor = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Baselines:
    """Bits a character, and how much text they were found with.

    ngrams: of Kneser-Ney models by the characters of context they see, those whose n-grams fit
    into 63 bits; train_chars: counted. compressors: what the validation part adds to the
    compressed end of the training part, of train_bytes; whole: of the beginning of the whole text,
    of whole_bytes; both by name, None for one that is not installed. val_chars and val_bytes:
    measured on.
    """

    ngrams: dict[int, float]
    compressors: dict[str, float | None]
    whole: dict[str, float | None]
    train_chars: int
    train_bytes: int
    val_chars: int
    val_bytes: int
    whole_bytes: int

    def per_byte(self, bits_per_char: float) -> float:
        """Return bits a UTF-8 byte of the validation part for bits a character of it."""
        return bits_per_char * self.val_chars / self.val_bytes

    def to_json(self) -> dict[str, Any]:
        """Return all figures, those of the validation part in bits a byte too."""
        ngrams = {str(order): bits for order, bits in self.ngrams.items()}
        made = asdict(self) | {"ngrams": ngrams}
        made["ngrams_per_byte"] = {order: self.per_byte(bits) for order, bits in ngrams.items()}
        made["compressors_per_byte"] = {
            name: None if bits is None else self.per_byte(bits)
            for name, bits in self.compressors.items()
        }
        return made


def measure_baselines(train: str, val: str, whole: str) -> Baselines | None:
    """Return the baselines of a validation part; None when it or the training part is empty."""
    if not train or not val:
        return None
    tokenizer = CharTokenizer.from_text(train)
    val = val[:MOST_MEASURED]
    ids, others = tokenizer.encode(train), tokenizer.encode(val, "replace")
    known, new = _bytes(train[-MOST_COMPRESSED_BYTES:])[-MOST_COMPRESSED_BYTES:], _bytes(val)
    beginning = _bytes(whole[:MOST_COMPRESSED_BYTES])[:MOST_COMPRESSED_BYTES]
    compressors = {"xz": xz, "zstd": zstd()}
    return Baselines(
        ngrams={
            order: ngram_bits(ids, others, tokenizer.counts, order)
            for order in ORDERS
            if order < ngrams.longest_order(tokenizer.size)
        },
        compressors={
            name: compress and 8 * (len(compress(known + new)) - len(compress(known))) / len(val)
            for name, compress in compressors.items()
        },
        whole={
            name: compress and 8 * len(compress(beginning)) / _characters(beginning)
            for name, compress in compressors.items()
        },
        train_chars=min(len(train), ngrams.MOST_CHARS),
        train_bytes=len(known),
        val_chars=len(val),
        val_bytes=len(new),
        whole_bytes=len(beginning),
    )


def ngram_bits(ids: np.ndarray, others: np.ndarray, counts: np.ndarray, order: int) -> float:
    """Return bits a character of others (m,) by the n-grams of order + 1 characters in ids (n,).

    counts: (V,) of each id in the whole training part, for the first character. n-grams forget
    what is further back, so that 16 streams give the figure of a single one.
    """
    model = NGrams.count(ids, len(counts), order + 1)
    return float(streamed(model, others, counts).mean()) / math.log(2)


def xz(data: bytes) -> bytes:
    """Return data as xz compresses it."""
    return lzma.compress(data, preset=XZ_PRESET)


def zstd() -> Compressor | None:
    """Return what compresses as zstd does, or None where the package zstandard is missing."""
    try:
        package = importlib.import_module("zstandard")
    except ImportError:
        return None
    compress: Compressor = package.ZstdCompressor(level=ZSTD_LEVEL).compress
    return compress


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _characters(data: bytes) -> int:
    """Return how many characters begin in UTF-8 data."""
    return int(((np.frombuffer(data, np.uint8) & 0xC0) != 0x80).sum())
