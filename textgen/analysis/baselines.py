"""What a text costs without a network: the figures that training has to beat.

Two kinds: counted n-grams of several lengths, and file compressors, which learn from the training
part and are measured on the validation part; of running text PPMd makes far less than the others.
So that a text of any length takes a bounded time, n-grams are counted in the last 4 million
characters of the training part (`MOST_COUNTED`), PPMd reads its last `MOST_PPMD_BYTES` and the
other compressors its last `MOST_COMPRESSED_BYTES`, and of the validation part only the first
`MOST_MEASURED` characters are measured.

    >>> measure_baselines(train, val, whole).ngrams[2]  # bits a character after 2 others

An n-gram model is measured like a network, see `protocols`: a character that training lacks
costs the bits of <unk> and those that say which it is. A compressor is charged what it takes to
append the validation part to the training part. It learns from what it appends, which n-grams and a
network do not.
"""

from __future__ import annotations

import importlib
import lzma
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from textgen.engine import NGrams
from textgen.evaluation import streamed
from textgen.tokenizers import CharTokenizer, utf8

# Characters of context. Longer ones gain little: n-grams of seven characters beat those of six by
# 0.006 nats (docs/log.md, "n-grams beside the network").
ORDERS = range(6)
# Characters of the training part that n-grams are counted in.
MOST_COUNTED = 4_000_000
# Characters of the validation part.
MOST_MEASURED = 500_000
# Of the training part, and of the whole text: some seconds for both compressors.
MOST_COMPRESSED_BYTES = 2_000_000
# xz's own default, and the highest of zstd's levels that needs no --ultra.
XZ_PRESET, ZSTD_LEVEL = 6, 19
# Bytes of context. Prose is best at 6 to 8, code at the longest (docs/log.md, "PPMd and zpaq").
PPMD_ORDERS = (4, 5, 6, 8, 12, 16)
# Of the training part: about as much as n-grams are counted in, read twice for each order.
MOST_PPMD_BYTES = 4_000_000
# A context of PPMd's takes 12 bytes, and a byte of text makes at most one of each order; to these
# come the lists of what followed. Memory that it does not need is never touched.
PPMD_CONTEXT_BYTES, PPMD_LIST_CONTEXTS = 12, 2
LEAST_PPMD_MEMORY, MOST_PPMD_MEMORY = 1 << 20, (1 << 32) - 64

Compressor = Callable[[bytes], bytes]


@dataclass(frozen=True)
class PPMd:
    """What PPMd adds for the validation part after train_bytes of training, in bits a character.

    order: the bytes of context with which that is least, of those tried.
    """

    bits: float
    order: int
    train_bytes: int

    @property
    def nats(self) -> float:
        """Nats a character."""
        return self.bits * math.log(2)


@dataclass(frozen=True)
class Baselines:
    """Bits a character, and how much text they were found with.

    ngrams: of Kneser-Ney models by the characters of context they see; train_chars: counted.
    compressors: what the validation part adds to the compressed end of the training part, of
    train_bytes; whole: of the beginning of the whole text, of whole_bytes; both by name, None for
    one that is not installed. ppmd: None where pyppmd is not installed. val_chars and val_bytes:
    measured on.
    """

    ngrams: dict[int, float]
    ppmd: PPMd | None
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
        figures = asdict(self) | {"ngrams": ngrams}
        figures["ngrams_per_byte"] = {order: self.per_byte(bits) for order, bits in ngrams.items()}
        figures["compressors_per_byte"] = {
            name: None if bits is None else self.per_byte(bits)
            for name, bits in self.compressors.items()
        }
        if self.ppmd:
            more = {"nats": self.ppmd.nats, "bits_per_byte": self.per_byte(self.ppmd.bits)}
            figures["ppmd"] = asdict(self.ppmd) | more
        return figures


def measure_baselines(train: str, val: str, whole: str) -> Baselines | None:
    """Return the baselines of a validation part; None when it or the training part is empty."""
    if not train or not val:
        return None
    val = val[:MOST_MEASURED]
    train_bytes, val_bytes = _encode(train[-MOST_COMPRESSED_BYTES:]), _encode(val)
    train_bytes = train_bytes[-MOST_COMPRESSED_BYTES:]
    beginning = _encode(whole[:MOST_COMPRESSED_BYTES])[:MOST_COMPRESSED_BYTES]
    beginning_chars = utf8.count_characters(beginning)
    compressors = {"xz": xz, "zstd": zstd()}
    ppmd_bytes = _encode(train[-MOST_PPMD_BYTES:])[-MOST_PPMD_BYTES:]
    return Baselines(
        ngrams=dict(_measure_ngrams(train, val)),
        ppmd=measure_ppmd(ppmd_bytes, val_bytes, len(val), PPMD_ORDERS),
        compressors={
            name: compress and _bits_added(compress, train_bytes, val_bytes) / len(val)
            for name, compress in compressors.items()
        },
        whole={
            name: compress and 8 * len(compress(beginning)) / beginning_chars
            for name, compress in compressors.items()
        },
        train_chars=min(len(train), MOST_COUNTED),
        train_bytes=len(train_bytes),
        val_chars=len(val),
        val_bytes=len(val_bytes),
        whole_bytes=len(beginning),
    )


def _measure_ngrams(train: str, val: str) -> Iterator[tuple[int, float]]:
    """Yield each order and its bits a character."""
    tokenizer = CharTokenizer.from_text(train)
    train_ids = tokenizer.encode(train[-MOST_COUNTED:])
    val_ids = tokenizer.encode(val, "replace")
    for order in ORDERS:
        yield order, ngram_bits(train_ids, val_ids, tokenizer.counts, order)


def measure_ppmd(
    train_bytes: bytes, val_bytes: bytes, val_chars: int, orders: Iterable[int]
) -> PPMd | None:
    """Return what PPMd adds for val_bytes, which hold val_chars characters, after train_bytes.

    The order is the best on what is measured. None where the package pyppmd is missing.
    """
    compress = ppmd()
    if compress is None:
        return None
    bits = {
        order: _bits_added(partial(compress, order=order), train_bytes, val_bytes) / val_chars
        for order in orders
    }
    best = min(bits, key=bits.__getitem__)
    return PPMd(bits[best], best, len(train_bytes))


def _bits_added(compress: Compressor, train_bytes: bytes, val_bytes: bytes) -> int:
    return 8 * (len(compress(train_bytes + val_bytes)) - len(compress(train_bytes)))


def ngram_bits(train: np.ndarray, val: np.ndarray, counts: np.ndarray, order: int) -> float:
    """Return bits a character of ids val (m,) by the n-grams of order + 1 ids in train (n,).

    counts: (V,) of each id in the whole training part, for the first character. n-grams forget
    what is further back, so that 16 streams give the figure of a single one.
    """
    model = NGrams.count(train, len(counts), order)
    return float(streamed(model, val, counts).mean()) / math.log(2)


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


def ppmd() -> Callable[..., bytes] | None:
    """Return what compresses data with an order, or None where the package pyppmd is missing.

    It is PPMd's variant H, which 7-Zip has (Shkarin, "PPM: one step to practicality", 2002), with
    the memory that it may need: out of memory it would forget all that it has learnt.
    """
    try:
        package = importlib.import_module("pyppmd")
    except ImportError:
        return None

    def compress(data: bytes, order: int) -> bytes:
        needed = PPMD_CONTEXT_BYTES * (order + PPMD_LIST_CONTEXTS) * len(data)
        memory = max(LEAST_PPMD_MEMORY, min(needed, MOST_PPMD_MEMORY))
        return bytes(package.compress(data, max_order=order, mem_size=memory, variant="H"))

    return compress


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
