"""Spans of a text by their hashes: the index of all of them, and what two texts share.

    >>> spans = Spans.of(ids, length=20)
    >>> barred_BV = spans.completing(history_BL, vocab=66)
    >>> longest_shared(train_codes, part_codes)

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

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from textgen.errors import CheckpointError, UsageError
from textgen.files import tensorfile
from textgen.tokenizers import CODE_POINTS

PRIME = 2**61 - 1  # of Mersenne: a remainder takes shifts and sums, no division
BASE = 2_179_733_959_407_306_318  # drawn once at random; a stored index names it
LONGEST_SPAN = 2**20  # ids of a span, so that the sums of `completing` stay below 2^63
HASHED_AT_ONCE = 2**14  # windows hashed at a time: what is between stays in the cache
LOW_30, LOW_31, LOW_21 = 2**30 - 1, 2**31 - 1, 2**21 - 1


class Spans:
    """Every run of `length` ids of a text, as rising 64-bit hashes, each once."""

    def __init__(self, length: int, hashes: np.ndarray) -> None:
        self.length, self.hashes = length, hashes
        needed = length - 1 if len(hashes) else 0  # a length beyond the text takes no memory
        powers = _powers(BASE, needed + 1)[1:][::-1]
        # In three pieces, as 21 bits of a power times an id, and sums of these, fit into 63 bits.
        pieces = [(powers >> shift) & LOW_21 for shift in (0, 21, 42)]
        self._powers = np.stack(pieces, axis=1).astype(np.int64)

    @classmethod
    def of(cls, ids: np.ndarray, length: int) -> Spans:
        """Return the spans of ids (n,); raise UsageError for a length that cannot be had."""
        if not 1 <= length <= LONGEST_SPAN:
            problem = f"{length:,} is not a number of characters from 1 to {LONGEST_SPAN:,}"
            raise UsageError("--novel", problem, "try --novel 20")
        hashes = np.empty(max(0, len(ids) - length + 1), dtype=np.uint64)
        for start, block in hash_windows(ids, length):
            hashes[start : start + len(block)] = block
        hashes.sort()
        first = np.ones(len(hashes), dtype=bool)
        np.not_equal(hashes[1:], hashes[:-1], out=first[1:])
        return cls(length, hashes[first])

    def completing(self, history_BL: np.ndarray, vocab: int) -> np.ndarray:
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
        meta = {"format": tensorfile.FORMAT_VERSION, "novelty": origin}
        tensorfile.write_tensors(path, {"hashes": self.hashes}, meta)

    @classmethod
    def load(cls, path: Path, origin: dict[str, Any]) -> Spans:
        """Read what `save` wrote; raise CheckpointError if it is damaged or of another origin."""
        tensors, meta = tensorfile.read_tensors(path)
        hashes = tensors.get("hashes", np.zeros(0))
        if meta.get("novelty") != origin:
            problem = "belongs to another text, alphabet or length"
            raise CheckpointError(str(path), problem, "delete it")
        if hashes.dtype != np.uint64 or hashes.ndim != 1 or (hashes[1:] <= hashes[:-1]).any():
            raise CheckpointError(str(path), "its hashes are not in order", "delete it")
        return cls(int(origin["length"]), hashes)


def hash_windows(ids: np.ndarray, length: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the hashes of all windows of `length` ids in blocks, with the first one's place.

    A window's polynomial is the difference of two sums of id[t] BASE^-t up to its ends, times a
    power of BASE that makes the exponents begin at 1; the last id stands outside the sum.
    """
    count = len(ids) - length + 1
    if count < 1:
        return
    size = min(max(HASHED_AT_ONCE, length), count)
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


def _window_sums(values: np.ndarray, length: int) -> np.ndarray:
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values, out=sums[1:])
    return np.asarray(sums[length:] - sums[: len(sums) - length])


def _powers(base: int, count: int) -> np.ndarray:
    """Return base^0, base^1, ... (count,) modulo PRIME."""
    powers = np.ones(1, dtype=np.uint64)
    while len(powers) < count:
        factor = np.array([pow(base, len(powers), PRIME)], dtype=np.uint64)
        powers = np.concatenate([powers, _product(powers, factor)])
    return powers[:count]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a b modulo PRIME, of numbers below 2^61, by halves of 31 and 30 bits."""
    a_high, a_low, b_high, b_low = a >> 31, a & LOW_31, b >> 31, b & LOW_31
    middle = a_high * b_low + a_low * b_high
    # The halves of both weigh 2^62, which is 2 modulo PRIME; the sum stays below 2^64.
    return _remainder(2 * a_high * b_high + _times_2_to_31(middle) + a_low * b_low)


def _times_2_to_31(a: np.ndarray) -> np.ndarray:
    """Return a number below 2^62 that is 2^31 a modulo PRIME, for a below 2^62: 2^61 counts 1."""
    return np.asarray((a >> 30) + ((a & LOW_30) << 31))


def _remainder(a: np.ndarray) -> np.ndarray:
    a = (a & PRIME) + (a >> 61)
    return np.where(a >= PRIME, a - PRIME, a)


SPAN_CHARS = 50  # characters; shorter spans are shared by chance and by grammar
BUCKETS = 24  # bits of a hash that tell at once that it is not in the other part


def copied(train: np.ndarray, part: np.ndarray, length: int) -> np.ndarray:
    """Return for each span of `length` characters of part whether it stands in train: bool.

    Shape (m - length + 1,), or (0,) where m is less.
    """
    count = max(0, len(part) - length + 1)
    if not count or len(train) < length:
        return np.zeros(count, dtype=bool)
    places, partners = _matches(train, part, length)
    at = np.flatnonzero(partners >= 0)
    twins = partners[at]
    equal = np.ones(len(at), dtype=bool)
    for i in range(length):
        equal &= train[twins + i] == part[at + i]
    for i in np.flatnonzero(~equal).tolist():  # two spans of one hash
        equal[i] = _stands(part[at[i] : at[i] + length], train, places)
    found = np.zeros(count, dtype=bool)
    found[at] = equal
    return found


def longest_shared(train: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return the longest span that stands in both; of several the one that is first in part."""
    low, high = 0, min(len(train), len(part))
    best, length = part[:0], min(SPAN_CHARS, high)
    while low < high:
        places, partners = _matches(train, part, length)
        at = np.flatnonzero(partners >= 0)
        first = _first(train, part, length, at, partners, places)
        if first is None:
            high = length - 1
        else:
            low, best = length, part[first : first + length].copy()
            high = min(high, _longest_run(places) + length - 1, _longest_run(at) + length - 1)
            train = _covered(train, places, length, CODE_POINTS)
            part = _covered(part, at, length, CODE_POINTS + 1)
        whole = low == length and len(at) == len(partners)  # then it may be one long copy
        length = high if whole else (low + high + 1) // 2
    return best


def _matches(train: np.ndarray, part: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which spans of `length` have a hash that the other text has too.

    The places in train where they begin, rising; and for each span of part the first such place
    of its own hash, else -1. length is at least 1, and at most that of either text.
    """
    hashes = np.concatenate([block for _, block in hash_windows(part, length)])
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    listed = np.zeros(1 << BUCKETS, dtype=bool)
    listed[_bucket(hashes)] = True
    places, groups = [], []
    for start, block in hash_windows(train, length):
        near = np.flatnonzero(listed[_bucket(block)])
        wanted = block[near]
        group = np.minimum(hashes.searchsorted(wanted), len(hashes) - 1)
        same = hashes[group] == wanted
        places.append(start + near[same])
        groups.append(group[same])
    found = np.concatenate(places)
    group, first = np.unique(np.concatenate(groups), return_index=True)
    partner = np.full(len(hashes), -1)
    partner[group] = found[first]
    partners = np.empty(len(hashes), dtype=np.int64)
    partners[order] = partner[hashes.searchsorted(hashes)]
    return found, partners


def _bucket(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> (61 - BUCKETS)) & ((1 << BUCKETS) - 1)


def _first(
    train: np.ndarray,
    part: np.ndarray,
    length: int,
    at: np.ndarray,
    partners: np.ndarray,
    places: np.ndarray,
) -> int | None:
    """Return the first of the places at in part whose span stands in train, compared in full."""
    for begin in at.tolist():
        span = part[begin : begin + length]
        if _stands(span, train, itertools.chain([partners[begin]], places)):
            return int(begin)
    return None


def _stands(span: np.ndarray, train: np.ndarray, places: Iterable[int]) -> bool:
    return any(np.array_equal(train[place : place + len(span)], span) for place in places)


def _longest_run(places: np.ndarray) -> int:
    """Return how many of rising numbers follow each other without a gap, at most."""
    edges = np.flatnonzero(np.diff(places, prepend=-2, append=places[-1] + 2) != 1)
    return int(np.diff(edges).max())


def _covered(codes: np.ndarray, places: np.ndarray, length: int, between: int) -> np.ndarray:
    """Return only what the spans of `length` at rising places cover, in order.

    between: a number that is no character, which stands after each stretch.
    """
    change = np.zeros(len(codes) + 2, dtype=np.int32)
    change[places] += 1
    change[places + length] -= 1
    covered = np.cumsum(change[:-1]) > 0
    kept = covered.copy()
    kept[1:] |= covered[:-1]
    marked = np.append(codes, np.uint32(between)).astype(np.uint32)
    marked[~covered] = between
    return marked[kept]
