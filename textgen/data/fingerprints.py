"""A sample of the spans of a text, small enough to travel with a model that has read it.

It tells later whether another text stands in that one, where the text itself is long gone. Only
letters and digits count, and capitals count as small ones, so that line breaks and quotation marks
of another edition hide nothing.

    >>> known = fingerprint([read_text])
    >>> find_overlap(known, other_text)
    SharedSpans(spans=120, known=118)

Whether a span belongs to the sample depends on its hash alone: so two texts sample the same ones of
the spans they share (Schleimer, Wilkerson & Aiken, Winnowing, 2003, calls it "0 mod p").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from textgen.data.spans import hash_windows
from textgen.tokenizers import code_points

# Letters and digits of a span: shorter ones are shared by chance.
SPAN_LETTERS = 40
# Of so many spans one is kept.
ONE_IN = 128
# Known spans that tell of a shared text: a single one may be a phrase, or share its hash by chance.
TELLING = 2


class SharedSpans(NamedTuple):
    """How many sampled spans a text has, and how many of them another text has too."""

    spans: int
    known: int

    @property
    def share(self) -> float:
        """Of the text, the share that stands in the other: 0 where too few spans tell."""
        return self.known / self.spans if self.known >= TELLING else 0.0


def fingerprint(pieces: Iterable[str]) -> np.ndarray:
    """Return the sampled spans (n,) of a text in pieces, as rising uint32 numbers."""
    letters = [np.zeros(0, np.uint32), *map(_letters, pieces)]
    return np.unique(_sample(np.concatenate(letters)))


def find_overlap(known: np.ndarray, text: str) -> SharedSpans:
    """Return how much of a text stands in the one whose fingerprint is known."""
    spans = _sample(_letters(text))
    places = np.minimum(np.searchsorted(known, spans), max(0, len(known) - 1))
    return SharedSpans(len(spans), int((known[places] == spans).sum()) if len(known) else 0)


def _letters(text: str) -> np.ndarray:
    """Return the code points of the letters and digits of a text, in lower case."""
    return code_points("".join(filter(str.isalnum, text.lower()))).astype(np.uint32)


def _sample(letters: np.ndarray) -> np.ndarray:
    sampled = [
        (hashes[hashes % ONE_IN == 0] // ONE_IN).astype(np.uint32)
        for _, hashes in hash_windows(letters, SPAN_LETTERS)
    ]
    return np.concatenate([np.zeros(0, np.uint32), *sampled])
