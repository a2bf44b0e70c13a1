"""Spans of a text by their hashes: the index of all of them, and what two texts share.

    >>> spans = Spans.of(ids, length=20)
    >>> barred_BV = spans.completing(history_BL, vocab=66)
    >>> longest_shared(train_codes, part_codes)

Shapes: n characters give n ids; B rows, L characters of history, V vocabulary.

A span's hash is a polynomial in BASE modulo PRIME whose coefficients are its ids, except that the
last id is added without reducing. With 10 and 97 instead, the ids 3, 1, 4 have the hash

    (3 * 10^2 + 1 * 10) mod 97 + 4 = 19 + 4 = 23

So the spans that begin with 3, 1 have the hashes from 19 on, in the order of their last ids, and
one search finds all ids that complete a span of the text.

Equal spans have equal hashes: no copy is overlooked. Two different spans of N ids have the same
hash for at most N - 1 of the 2^61 bases, whatever the ids are, so a text of n characters bars a
character needlessly with a probability below n N / 2^61: 4e-11 for a million characters and
N = 100. It takes a prime for that: modulo 2^64 every base confuses some texts. Sources: Carter &
Wegman, Universal classes of hash functions (1979); Pachocki & Radoszewski, Where to use and how not
to use polynomial string hashing (2013).
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

# A Mersenne prime: a remainder takes shifts and sums, no division.
PRIME = 2**61 - 1
# Drawn once at random; a stored index names it.
BASE = 2_179_733_959_407_306_318
# Ids of a span, so that the sums of `completing` stay below 2^63.
LONGEST_SPAN = 2**20
# Windows hashed at a time: the arrays on the way stay in the processor's cache.
HASHED_AT_ONCE = 2**14
LOW_30, LOW_31, LOW_21 = 2**30 - 1, 2**31 - 1, 2**21 - 1
# Characters of the spans that are counted: shorter ones are shared by chance and by grammar.
SPAN_CHARS = 50
# Bits of a hash that tell at once that it is not in the other part: a table of 16 MB.
BUCKET_BITS = 24


class Spans:
    """Every run of `length` ids of a text, as rising 64-bit hashes, each once."""

    def __init__(self, length: int, hashes: np.ndarray) -> None:
        """Take hashes (n,) uint64 of spans of `length` ids, as `of` and `load` make them."""
        self.length, self.hashes = length, hashes
        # A length beyond the text takes no memory.
        needed = length - 1 if len(hashes) else 0
        powers = powers_of(BASE, needed + 1)[1:][::-1]
        # In three pieces, as 21 bits of a power times an id, and sums of these, fit into 63 bits.
        pieces = [(powers >> shift) & LOW_21 for shift in (0, 21, 42)]
        self._powers = np.stack(pieces, axis=1).astype(np.int64)

    @classmethod
    def of(cls, ids: np.ndarray, length: int) -> Spans:
        """Return the spans of ids (n,).

        Raises:
            UsageError: length is not from 1 to LONGEST_SPAN.
        """
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
        """Return (B, V) bool, true for the ids that after history_BL complete a span of the text.

        Args:
            history_BL: int64, the latest ids of each row last; -1 where there is none yet. A row
                with fewer than length - 1 ids completes nothing.
            vocab: V.
        """
        B, L = history_BL.shape
        completing_BV = np.zeros((B, vocab), dtype=bool)
        needed = self.length - 1
        if needed > L or not len(self.hashes):
            return completing_BV
        # A -1 needs no care: it is hashed like an id, one that the text does not hold.
        pieces = (history_BL[:, L - needed :] @ self._powers).tolist()
        smallest = [(low + (middle << 21) + (high << 42)) % PRIME for low, middle, high in pieces]
        # Of one type with the hashes: among other integers numpy would compare rounded floats.
        edges = np.array([smallest, [number + vocab for number in smallest]], dtype=np.uint64)
        first_B, end_B = self.hashes.searchsorted(edges)
        for row in np.flatnonzero(first_B < end_B):
            hashes = self.hashes[first_B[row] : end_B[row]]
            completing_BV[row, (hashes - edges[0, row]).astype(np.int64)] = True
        return completing_BV

    def save(self, path: Path, origin: dict[str, Any]) -> None:
        """Write the spans to path; origin says what they belong to, see `checkpoint.origin_of`.

        Raises:
            MachineError: the file cannot be written.
        """
        meta = {"format": tensorfile.FORMAT_VERSION, "novelty": origin}
        tensorfile.write_tensors(path, {"hashes": self.hashes}, meta)

    @classmethod
    def load(cls, path: Path, origin: dict[str, Any]) -> Spans:
        """Return what `save` wrote.

        Raises:
            CheckpointError: it is damaged or of another origin.
        """
        tensors, meta = tensorfile.read_tensors(path)
        hashes = tensors.get("hashes", np.zeros(0))
        if meta.get("novelty") != origin:
            problem = "belongs to another text, alphabet or length"
            raise CheckpointError(str(path), problem, "delete it")
        if hashes.dtype != np.uint64 or hashes.ndim != 1 or (hashes[1:] <= hashes[:-1]).any():
            raise CheckpointError(str(path), "its hashes are not in order", "delete it")
        return cls(int(origin["length"]), hashes)


def hash_windows(ids: np.ndarray, length: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the hashes of all windows of `length` ids in blocks, with the first one's index.

    A window's polynomial is the difference of two sums of id[t] BASE^-t up to its ends, times a
    power of BASE that makes the exponents begin at 1; the last id stands outside the sum.
    """
    count = len(ids) - length + 1
    if count < 1:
        return
    size = min(max(HASHED_AT_ONCE, length), count)
    falling = powers_of(pow(BASE, -1, PRIME), size + length - 2)
    rising = powers_of(BASE, size + length - 1)[length - 1 :]
    for start in range(0, count, size):
        part = ids[start : start + size + length - 1].astype(np.uint64)
        terms = multiply(part[:-1], falling[: len(part) - 1])
        # Halves of at most 31 bits, so that the sums need no remainder on the way.
        high = _window_sums(terms >> 31, length - 1)
        low = _window_sums(terms & LOW_31, length - 1)
        sums = _remainder(_times_2_to_31(high) + low)
        yield start, multiply(sums, rising[: len(sums)]) + part[length - 1 :]


def _window_sums(values: np.ndarray, length: int) -> np.ndarray:
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values, out=sums[1:])
    return np.asarray(sums[length:] - sums[: len(sums) - length])


def powers_of(base: int, count: int) -> np.ndarray:
    """Return base^0, base^1, ... (count,) modulo PRIME."""
    powers = np.ones(1, dtype=np.uint64)
    while len(powers) < count:
        factor = np.array([pow(base, len(powers), PRIME)], dtype=np.uint64)
        powers = np.concatenate([powers, multiply(powers, factor)])
    return powers[:count]


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
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


def mark_copied(train: np.ndarray, part: np.ndarray, length: int) -> np.ndarray:
    """Say for each span of `length` characters of part whether it occurs in train.

    Args:
        train: (n,) code points.
        part: (m,) code points.
        length: at least 1.

    Returns:
        (m - length + 1,) bool, or (0,) where m is less.
    """
    number = max(0, len(part) - length + 1)
    if not number or len(train) < length:
        return np.zeros(number, dtype=bool)
    in_train, partners = _match_hashes(train, part, length)
    in_part = np.flatnonzero(partners >= 0)
    is_equal = np.ones(len(in_part), dtype=bool)
    for i in range(length):
        is_equal &= train[partners[in_part] + i] == part[in_part + i]
    for i in np.flatnonzero(~is_equal).tolist():
        # Two different spans have one hash: another span of train with it may be equal.
        is_equal[i] = _occurs(part[in_part[i] : in_part[i] + length], train, in_train)
    is_copied = np.zeros(number, dtype=bool)
    is_copied[in_part] = is_equal
    return is_copied


def longest_shared(train: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return the longest span that occurs in both texts; of several the one that is first in part.

    The length is bisected: where a span is shared, so are the shorter ones in it. Once spans of a
    length are shared, only what they cover is searched for longer ones.

    Args:
        train: (n,) code points.
        part: (m,) code points.
    """
    low, high = 0, min(len(train), len(part))
    longest, length = part[:0], min(SPAN_CHARS, high)
    while low < high:
        in_train, partners = _match_hashes(train, part, length)
        in_part = np.flatnonzero(partners >= 0)
        first = _first_shared(train, part, length, in_part, partners, in_train)
        if first is None:
            high = length - 1
        else:
            low, longest = length, part[first : first + length].copy()
            runs = _longest_run(in_train), _longest_run(in_part)
            high = min(high, *(run + length - 1 for run in runs))
            train = _keep_covered(train, in_train, length, CODE_POINTS)
            part = _keep_covered(part, in_part, length, CODE_POINTS + 1)
        # Where every span of part is shared, it may be one long copy: try the whole next.
        all_shared = low == length and len(in_part) == len(partners)
        length = high if all_shared else (low + high + 1) // 2
    return longest


def longest_copies(
    train: np.ndarray, part: np.ndarray, shortest: int, most: int
) -> Iterator[np.ndarray]:
    """Yield the spans of part that occur in train, the longest first, each once.

    None overlaps a longer one: what a span covers is struck out of part before the next is sought.

    Args:
        train: (n,) code points.
        part: (m,) code points.
        shortest: what a span has at least, at least 1.
        most: how many are yielded at most.
    """
    if min(len(train), len(part)) < shortest:
        return
    in_train, partners = _match_hashes(train, part, shortest)
    in_part = np.flatnonzero(partners >= 0)
    if not len(in_part):
        return
    # What no shared span covers is of no interest.
    train = _keep_covered(train, in_train, shortest, CODE_POINTS)
    part = _keep_covered(part, in_part, shortest, CODE_POINTS + 1)
    for _ in range(most):
        span = longest_shared(train, part)
        if len(span) < shortest:
            return
        yield span
        part = _strike_out(span, part, CODE_POINTS + 1)


def _strike_out(span: np.ndarray, codes: np.ndarray, separator: int) -> np.ndarray:
    """Return codes with a number that is no character in the place of each occurrence of span."""
    codes, sought = codes.copy(), span.astype(codes.dtype).tobytes()
    content, size = codes.tobytes(), codes.itemsize
    at = content.find(sought)
    while at >= 0:
        begin, offset = divmod(at, size)
        if not offset:
            codes[begin : begin + len(span)] = separator
        at = content.find(sought, at + (1 if offset else len(sought)))
    return codes


def _match_hashes(
    train: np.ndarray, part: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which spans of `length` have a hash that the other text has too.

    The first array is where in train they begin, rising; the second is, for each span of part, the
    first place in train of its own hash, else -1. length is from 1 to that of the shorter text.
    """
    hashes = np.concatenate([block for _, block in hash_windows(part, length)])
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    is_used = np.zeros(1 << BUCKET_BITS, dtype=bool)
    is_used[_bucket(hashes)] = True
    begins, groups = [], []
    for start, block in hash_windows(train, length):
        likely = np.flatnonzero(is_used[_bucket(block)])
        # In the order of their hashes, which are then looked up twice as fast.
        likely = likely[np.argsort(block[likely])]
        # A group is the spans of part that have one hash, by the first of them in sorted order.
        group = np.minimum(hashes.searchsorted(block[likely]), len(hashes) - 1)
        is_match = hashes[group] == block[likely]
        likely, group = likely[is_match], group[is_match]
        in_order = np.argsort(likely)
        begins.append(start + likely[in_order])
        groups.append(group[in_order])
    in_train = np.concatenate(begins)
    group, first = np.unique(np.concatenate(groups), return_index=True)
    partner_of_group = np.full(len(hashes), -1)
    partner_of_group[group] = in_train[first]
    partners = np.empty(len(hashes), dtype=np.int64)
    partners[order] = partner_of_group[hashes.searchsorted(hashes)]
    return in_train, partners


def _bucket(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> (61 - BUCKET_BITS)) & ((1 << BUCKET_BITS) - 1)


def _first_shared(
    train: np.ndarray,
    part: np.ndarray,
    length: int,
    in_part: np.ndarray,
    partners: np.ndarray,
    in_train: np.ndarray,
) -> int | None:
    """Return the first index of in_part whose span occurs in train, compared in full."""
    for begin in in_part.tolist():
        span = part[begin : begin + length]
        if _occurs(span, train, itertools.chain([partners[begin]], in_train)):
            return int(begin)
    return None


def _occurs(span: np.ndarray, train: np.ndarray, begins: Iterable[int]) -> bool:
    return any(np.array_equal(train[begin : begin + len(span)], span) for begin in begins)


def _longest_run(numbers: np.ndarray) -> int:
    """Return how many of rising numbers follow each other without a gap, at most."""
    edges = np.flatnonzero(np.diff(numbers, prepend=-2, append=numbers[-1] + 2) != 1)
    return int(np.diff(edges).max())


def _keep_covered(codes: np.ndarray, begins: np.ndarray, length: int, separator: int) -> np.ndarray:
    """Return only what the spans of `length` that begin at rising indices cover, in order.

    separator: a number that is no character, which stands after each stretch.
    """
    change = np.zeros(len(codes) + 2, dtype=np.int32)
    change[begins] += 1
    change[begins + length] -= 1
    is_covered = np.cumsum(change[:-1]) > 0
    is_kept = is_covered.copy()
    is_kept[1:] |= is_covered[:-1]
    separated = np.append(codes, np.uint32(separator)).astype(np.uint32)
    separated[~is_covered] = separator
    return separated[is_kept]
