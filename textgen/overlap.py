"""What a part of a text shares with the training part: the validation figure's blind spot.

In the walk after `beams`. A part that stands in the training part is foretold by heart, and a
figure measured on it says little. Three questions are answered, all exactly: how long the longest
span is that stands in both, how many spans of 50 characters do, and how many lines.

    >>> overlap("to be or not to be", "let it be or not")
    Overlap(longest=10, text='be or not', ...)

Spans are found by their hashes, those of `novelty`: equal spans have equal hashes, so nothing is
overlooked, and what has equal hashes is compared character by character before it counts. For the
longest span the length is bisected, as where a span is shared the shorter ones in it are too; and
once spans of a length are shared, only what they cover is read again for longer ones.

Shapes: n characters of the training part, m of the other part; code points are integers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from textgen.novelty import windows
from textgen.tokenizer import CODE_POINTS, code_points

SPAN = 50  # characters; shorter spans are shared by chance and by grammar
LONGEST = 1_000  # characters of the longest span in JSON
BUCKETS = 24  # bits of a hash that tell at once that it is not in the other part

Array = np.ndarray


@dataclass(frozen=True)
class Overlap:
    """What a part has in common with the training part.

    longest: characters of the longest span in both; text: that span, of several the first in the
    part. spans: of SPAN characters, one begins at each place; copied_spans: those that stand in
    the training part. lines: that are not empty; copied_lines: those that the training part has.
    """

    longest: int
    text: str
    spans: int
    copied_spans: int
    lines: int
    copied_lines: int

    @property
    def copied_spans_share(self) -> float:
        """The share of the part's spans that stand in the training part; 0 without spans."""
        return self.copied_spans / max(1, self.spans)

    @property
    def copied_lines_share(self) -> float:
        """The share of the part's lines that the training part has too; 0 without lines."""
        return self.copied_lines / max(1, self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return all figures, and the beginning of the longest span."""
        shares = {
            "copied_spans_share": self.copied_spans_share,
            "copied_lines_share": self.copied_lines_share,
        }
        return asdict(self) | {"text": self.text[:LONGEST], "span": SPAN} | shares


def overlap(train: str, part: str) -> Overlap:
    """Return what part shares with the training part."""
    codes, others = (code_points(one).astype(np.uint32) for one in (train, part))
    span = longest_shared(codes, others)
    known = set(train.split("\n"))
    lines = [line for line in part.split("\n") if line.rstrip("\r")]
    return Overlap(
        longest=len(span),
        text="".join(map(chr, span)),
        spans=max(0, len(part) - SPAN + 1),
        copied_spans=int(copied(codes, others, SPAN).sum()),
        lines=len(lines),
        copied_lines=sum(line in known for line in lines),
    )


def copied(train: Array, part: Array, length: int) -> Array:
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


def longest_shared(train: Array, part: Array) -> Array:
    """Return the longest span that stands in both; of several the one that is first in part."""
    low, high = 0, min(len(train), len(part))
    best, length = part[:0], min(SPAN, high)
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


def _matches(train: Array, part: Array, length: int) -> tuple[Array, Array]:
    """Return which spans of `length` have a hash that the other text has too.

    The places in train where they begin, rising; and for each span of part the first such place
    of its own hash, else -1. length is at least 1, and at most that of either text.
    """
    hashes = np.concatenate([block for _, block in windows(part, length)])
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    listed = np.zeros(1 << BUCKETS, dtype=bool)
    listed[_bucket(hashes)] = True
    places, groups = [], []
    for start, block in windows(train, length):
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


def _bucket(hashes: Array) -> Array:
    return (hashes >> (61 - BUCKETS)) & ((1 << BUCKETS) - 1)


def _first(
    train: Array, part: Array, length: int, at: Array, partners: Array, places: Array
) -> int | None:
    """Return the first of the places at in part whose span stands in train, compared in full."""
    for begin in at.tolist():
        span = part[begin : begin + length]
        if _stands(span, train, itertools.chain([partners[begin]], places)):
            return int(begin)
    return None


def _stands(span: Array, train: Array, places: Iterable[int]) -> bool:
    return any(np.array_equal(train[place : place + len(span)], span) for place in places)


def _longest_run(places: Array) -> int:
    """Return how many of rising numbers follow each other without a gap, at most."""
    edges = np.flatnonzero(np.diff(places, prepend=-2, append=places[-1] + 2) != 1)
    return int(np.diff(edges).max())


def _covered(codes: Array, places: Array, length: int, between: int) -> Array:
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
