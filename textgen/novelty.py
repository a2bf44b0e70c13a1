"""Which characters would copy the training text, and how much of it a text has copied.

In the walk after `patterns`: `sample --novel N` lets no span of N characters of its output stand
in the text that the model was trained on, all parts of it. The spans of the text are kept as
sorted hashes in a file beside the model, so that the text itself is read once.

    >>> spans = index_for(path, checkpoint, length=20)
    >>> barred_BV = spans.completing(history_BL, vocab=66)

Shapes: n characters give n ids; B rows, L characters of history, V vocabulary.

A span's hash is a polynomial in a fixed base modulo a prime, with its ids as coefficients, except
that the last id is added without reducing. So the spans that differ in the last id alone have
neighbouring numbers, and all ids that complete one are found by a single search. Equal spans have
equal hashes: no copy is overlooked. Two different spans of N ids have the same hash for at most
N - 1 bases out of 2^61, whatever the ids are, so a text of n characters bars a character needlessly
with a probability below n N / 2^61: 4e-11 for a million characters and N = 100. It takes a prime
to make this hold for every text: modulo 2^64 an even base forgets all but the last 64 ids, and
every odd one confuses the sequence of Thue and Morse with its opposite. Source: Carter & Wegman,
Universal classes of hash functions (1979); Pachocki & Radoszewski, Where to use and how not to use
polynomial string hashing (2013).
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from textgen import corpus, heritage, tensorfile
from textgen.checkpoint import Checkpoint
from textgen.errors import CheckpointError, MachineError, TextError, UsageError
from textgen.tokenizer import CharTokenizer
from textgen.units import ByteTokenizer

PRIME = 2**61 - 1  # of Mersenne: a remainder takes shifts and sums, no division
BASE = 2_179_733_959_407_306_318  # drawn once at random; a stored index names it
LONGEST = 2**20  # ids of a span, so that the sums of `completing` stay below 2^63
BLOCK = 2**14  # windows hashed at a time: what is between stays in the cache
LOW_30, LOW_31, LOW_21 = 2**30 - 1, 2**31 - 1, 2**21 - 1
PACKAGE = Path(__file__).parent
FIX = "name the text it was trained on: --novel-text FILE"

Array = np.ndarray


class Spans:
    """Every run of `length` ids of a text, as rising 64-bit hashes, each once."""

    def __init__(self, length: int, hashes: Array) -> None:
        self.length, self.hashes = length, hashes
        needed = length - 1 if len(hashes) else 0  # a length beyond the text takes no memory
        powers = _powers(BASE, needed + 1)[1:][::-1]
        # In three pieces, as 21 bits of a power times an id, and sums of these, fit into 63 bits.
        pieces = [(powers >> shift) & LOW_21 for shift in (0, 21, 42)]
        self._powers = np.stack(pieces, axis=1).astype(np.int64)

    @classmethod
    def of(cls, ids: Array, length: int) -> Spans:
        """Return the spans of ids (n,); raise UsageError for a length that cannot be had."""
        if not 1 <= length <= LONGEST:
            problem = f"{length:,} is not a number of characters from 1 to {LONGEST:,}"
            raise UsageError("--novel", problem, "try --novel 20")
        hashes = np.empty(max(0, len(ids) - length + 1), dtype=np.uint64)
        for start, block in windows(ids, length):
            hashes[start : start + len(block)] = block
        hashes.sort()
        first = np.ones(len(hashes), dtype=bool)
        np.not_equal(hashes[1:], hashes[:-1], out=first[1:])
        return cls(length, hashes[first])

    def completing(self, history_BL: Array, vocab: int) -> Array:
        """Return (B, V), true for the ids that after history_BL complete a span of the text.

        history_BL: int64, the latest ids of each row last; -1 where there is none yet. A row with
        fewer than length - 1 ids completes nothing.
        """
        B, L = history_BL.shape
        found_BV = np.zeros((B, vocab), dtype=bool)
        needed = self.length - 1
        if needed > L or not len(self.hashes):
            return found_BV
        # A -1 needs no care: it is hashed like an id, one that the text does not hold.
        pieces = (history_BL[:, L - needed :] @ self._powers).tolist()
        smallest = [(low + (middle << 21) + (high << 42)) % PRIME for low, middle, high in pieces]
        # Of one type with the hashes: among other integers numpy would compare rounded floats.
        edges = np.array([smallest, [number + vocab for number in smallest]], dtype=np.uint64)
        places = self.hashes.searchsorted(edges)
        for row in np.flatnonzero(places[0] < places[1]):
            hashes = self.hashes[places[0, row] : places[1, row]]
            found_BV[row, (hashes - edges[0, row]).astype(np.int64)] = True
        return found_BV

    def save(self, path: Path, origin: dict[str, Any]) -> None:
        """Write the spans to path; origin says what they belong to, see `origin_of`."""
        meta = {"format": tensorfile.FORMAT, "novelty": origin}
        tensorfile.write(path, {"hashes": self.hashes}, meta)

    @classmethod
    def load(cls, path: Path, origin: dict[str, Any]) -> Spans:
        """Read what `save` wrote; raise CheckpointError if it is damaged or of another origin."""
        tensors, meta = tensorfile.read(path)
        hashes = tensors.get("hashes", np.zeros(0))
        if meta.get("novelty") != origin:
            problem = "belongs to another text, alphabet or length"
            raise CheckpointError(str(path), problem, "delete it")
        if hashes.dtype != np.uint64 or hashes.ndim != 1 or (hashes[1:] <= hashes[:-1]).any():
            raise CheckpointError(str(path), "its hashes are not in order", "delete it")
        return cls(int(origin["length"]), hashes)


def origin_of(checkpoint: Checkpoint, length: int) -> dict[str, Any]:
    """Return what an index belongs to: the text, the alphabet, the length and the way of hashing.

    Raises CheckpointError when the checkpoint does not say which text it was trained on.
    """
    identity = checkpoint.facts.get("corpus")
    if not isinstance(identity, dict) or not {"name", "size", "sha256"} <= identity.keys():
        fix = "use a checkpoint that textgen train wrote"
        raise CheckpointError("--novel", "the model does not say what it was trained on", fix)
    tokenizer = checkpoint.tokenizer
    if isinstance(tokenizer, CharTokenizer):
        alphabet = tokenizer.codepoints.astype("<u4").tobytes()
    elif isinstance(tokenizer, ByteTokenizer):
        alphabet = tokenizer.kind.encode()
    else:
        problem = f"works with characters or bytes, this model writes {tokenizer.noun}"
        raise UsageError("--novel", problem, "leave it out")
    return {
        "text": identity["sha256"],
        "alphabet": hashlib.sha256(alphabet).hexdigest(),
        "length": length,
        "base": BASE,
    }


def index_for(
    checkpoint_path: Path,
    checkpoint: Checkpoint,
    length: int,
    text_path: str | Path | None = None,
) -> Spans:
    """Return the spans of the text that a checkpoint was trained on.

    They are read from novel-LENGTH.safetensors beside the checkpoint, else made from the text and
    stored there, where that folder can be written. text_path: where the text is, else the run in
    which the checkpoint lies knows.
    Raises UsageError when nobody knows where the text is, TextError when it is gone or another.
    """
    origin = origin_of(checkpoint, length)
    # A wrong text that the user names is never ignored.
    whole = text_of(checkpoint_path, checkpoint, text_path) if text_path else None
    stored = checkpoint_path.with_name(f"novel-{length}.safetensors")
    with contextlib.suppress(CheckpointError):
        return Spans.load(stored, origin)
    whole = whole or text_of(checkpoint_path, checkpoint)
    spans = Spans.of(checkpoint.tokenizer.encode(whole.text, "replace"), length)
    if PACKAGE not in checkpoint_path.resolve().parents:  # nothing is left where textgen is
        with contextlib.suppress(MachineError):
            spans.save(stored, origin)
    return spans


def text_of(
    checkpoint_path: Path, checkpoint: Checkpoint, text_path: str | Path | None = None
) -> corpus.Corpus:
    """Return the text that a checkpoint was trained on, with the errors of `index_for`."""
    try:
        return heritage.find(checkpoint_path, checkpoint.facts, text_path)
    except (CheckpointError, KeyError, TypeError):  # `last` is damaged, or of another kind
        problem = f"does not know where its text {checkpoint.facts['corpus']['name']} is"
        raise UsageError(str(checkpoint_path), problem, FIX) from None
    except (TextError, UsageError) as error:
        raise type(error)(error.subject, error.problem, FIX) from None


def longest_copied(text_ids: Array, output_ids: Array) -> tuple[int, int]:
    """Return the length of the longest span of the output that stands in the text, and its place.

    text_ids (n,), output_ids (m,): ids or code points. The place is where the span begins in the
    output; of several spans it is the one that stands first in the text. Every span is compared
    id by id before it counts. (0, 0) if not even one character is common.
    """
    most = min(len(text_ids), len(output_ids))
    length = bisect.bisect_left(  # where a span is copied, so are the shorter ones in it
        range(1, most + 1), True, key=lambda n: _copied(text_ids, output_ids, n) is None
    )
    place = _copied(text_ids, output_ids, length) if length else 0
    assert place is not None
    return length, place


def _copied(text_ids: Array, output_ids: Array, length: int) -> int | None:
    """Return where in the output the first span of the text that it shares begins, else None."""
    hashes = np.concatenate([block for _, block in windows(output_ids, length)])
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    for start, block in windows(text_ids, length):
        place = hashes.searchsorted(block)
        match = hashes[np.minimum(place, len(hashes) - 1)] == block
        for window in np.flatnonzero(match):
            span = text_ids[start + window : start + window + length]
            end = hashes.searchsorted(block[window], side="right")
            for i in order[place[window] : end]:
                if np.array_equal(span, output_ids[i : i + length]):
                    return int(i)
    return None


def windows(ids: Array, length: int) -> Iterator[tuple[int, Array]]:
    """Yield the hashes of all windows of `length` ids in blocks, with the first one's place.

    A window's polynomial is the difference of two sums of id[t] BASE^-t up to its ends, times a
    power of BASE that makes the exponents begin at 1; the last id stands outside the sum.
    """
    count = len(ids) - length + 1
    if count < 1:
        return
    size = min(max(BLOCK, length), count)
    falling = _powers(pow(BASE, -1, PRIME), size + length - 2)
    rising = _powers(BASE, size + length - 1)[length - 1 :]
    for start in range(0, count, size):
        part = ids[start : start + size + length - 1].astype(np.uint64)
        terms = _product(part[:-1], falling[: len(part) - 1])
        # Halves of at most 31 bits, so that the sums need no remainder on the way.
        high = _window_sums(terms >> 31, length - 1)
        low = _window_sums(terms & LOW_31, length - 1)
        sums = _remainder(_times_2_to_31(high) + low)
        yield start, _product(sums, rising[: len(sums)]) + part[length - 1 :]


def _window_sums(values: Array, length: int) -> Array:
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values, out=sums[1:])
    return np.asarray(sums[length:] - sums[: len(sums) - length])


def _powers(base: int, count: int) -> Array:
    """Return base^0, base^1, ... (count,) modulo PRIME."""
    powers = np.ones(1, dtype=np.uint64)
    while len(powers) < count:
        factor = np.array([pow(base, len(powers), PRIME)], dtype=np.uint64)
        powers = np.concatenate([powers, _product(powers, factor)])
    return powers[:count]


def _product(a: Array, b: Array) -> Array:
    """Return a b modulo PRIME, of numbers below 2^61, by halves of 31 and 30 bits."""
    a_high, a_low, b_high, b_low = a >> 31, a & LOW_31, b >> 31, b & LOW_31
    middle = a_high * b_low + a_low * b_high
    # The halves of both weigh 2^62, which is 2 modulo PRIME; the sum stays below 2^64.
    return _remainder(2 * a_high * b_high + _times_2_to_31(middle) + a_low * b_low)


def _times_2_to_31(a: Array) -> Array:
    """Return a number below 2^62 that is 2^31 a modulo PRIME, for a below 2^62: 2^61 counts 1."""
    return np.asarray((a >> 30) + ((a & LOW_30) << 31))


def _remainder(a: Array) -> Array:
    a = (a & PRIME) + (a >> 61)
    return np.where(a >= PRIME, a - PRIME, a)
