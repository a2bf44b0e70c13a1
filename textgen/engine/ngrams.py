"""A count of n-grams with modified Kneser-Ney smoothing: the network's partner.

It is made in a second or two, knows by heart what a network needs many passes to learn, and is
wrong in other places: mixed with a network (module `mixture`) it is worth more than several times
the training. Source: Chen & Goodman, An empirical study of smoothing techniques for language
modeling (1998), section 3, interpolated, with three discounts.

The longest n-grams are stored with their counts; of a shorter one it counts in how many different
characters' company it occurs, which follows from the longer ones. An n-gram is a whole number: its
ids are the digits, the newest one the last.

Shapes: B rows, T time steps, V vocabulary. The state is one array (B, order - 1) of the ids before,
newest first, 0 for nothing, in the shape of a network's state: ((ids,),).

    >>> ngrams = NGrams.count(ids, vocab=66, order=6)
    >>> log_probabilities_BV, state = ngrams.step(np.array([5]), None)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from textgen.config import ModelConfig

Sliceable = Any  # ids that need not lie in memory
NGramState = tuple[tuple[np.ndarray, ...], ...]

MOST_CHARS = 4_000_000  # of the text, the last ones, which bounds the table's size


@dataclass(frozen=True)
class Table:
    """All n-grams of one length, in order, so that those after one context stand side by side.

    grams: (N,) as numbers; last: (N,) their last ids; gain: (N,) what each adds to its character's
    probability. contexts: (M,) the n-grams without their last id, each once; starts: (M + 1,)
    where each one's n-grams begin; backoff: (M,) the share of the next shorter n-gram's answer.
    """

    grams: np.ndarray
    last: np.ndarray
    gain: np.ndarray
    contexts: np.ndarray
    starts: np.ndarray
    backoff: np.ndarray


class NGrams:
    """Probabilities of the next character from the last order - 1 ones; a stepper like a network.

    grams: (N,) the different n-grams of the text as rising numbers; counts: (N,) of each.
    """

    def __init__(self, grams: np.ndarray, counts: np.ndarray, vocab: int, order: int) -> None:
        self.grams, self.counts = grams, counts
        self.vocab, self.order = vocab, order

    @cached_property
    def _tables(self) -> list[Table]:
        """A table a length, made when it is first asked for: seconds, for a long text."""
        pairs, number = self.grams.astype(np.int64), self.counts.astype(np.int64)
        tables = [make_table(pairs, number, self.vocab)]
        for length in range(self.order - 1, 0, -1):
            pairs, number = np.unique(pairs % self.vocab**length, return_counts=True)
            tables.append(make_table(pairs, number, self.vocab))
        return tables[::-1]

    @cached_property
    def _shortest(self) -> np.ndarray:
        """The probabilities (V,) after nothing."""
        first = self._tables[0]
        found = np.full(self.vocab, first.backoff[0] / self.vocab)
        found[first.last] += first.gain
        return found

    @classmethod
    def count(cls, ids: Sliceable, vocab: int, order: int) -> NGrams:
        """Return the n-grams of ids (n,), as if `order - 1` ids 0 stood before the first.

        order is at most `longest(vocab)`.
        """
        padded = np.concatenate([np.zeros(order - 1, np.int64), ids[-MOST_CHARS:].astype(np.int64)])
        grams, counts = np.unique(as_numbers(padded, order, vocab), return_counts=True)
        smallest = np.min_scalar_type(vocab**order - 1), np.min_scalar_type(counts.max())
        return cls(grams.astype(smallest[0]), counts.astype(smallest[1]), vocab, order)

    def prepare(self) -> None:
        """Make what probabilities need, which takes seconds for a long text, and room meanwhile."""
        _ = self._shortest

    def initial_state(self, rows: int) -> NGramState:
        """Return the state of B rows that have read nothing."""
        return ((np.zeros((rows, self.order - 1), dtype=np.int64),),)

    def step(self, ids_B: np.ndarray, state: NGramState | None) -> tuple[np.ndarray, NGramState]:
        """Return log-probabilities (B, V) of the character after ids_B, and the state."""
        before = (state or self.initial_state(len(ids_B)))[0][0]
        after = np.empty_like(before)
        after[:, 0], after[:, 1:] = ids_B, before[:, :-1]
        found_BV = np.tile(self._shortest, (len(after), 1))
        if len(after) == 1:  # a row alone is quicker by itself
            self._distribute(after[0].tolist(), found_BV[0])
        else:
            self._distribute_rows(after, found_BV)
        return np.log(found_BV, out=found_BV), ((after,),)

    def read(
        self, ids: np.ndarray, rows: int, state: NGramState | None
    ) -> tuple[np.ndarray, NGramState]:
        """Feed ids (n,), n >= 1, to every row; return the last log-probabilities and the state."""
        before = (state or self.initial_state(rows))[0][0]
        for one in ids[:-1]:
            before = np.column_stack((np.full(rows, one), before))[:, : self.order - 1]
        return self.step(np.full(rows, ids[-1]), ((before,),))

    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: NGramState | None
    ) -> tuple[np.ndarray, NGramState]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB."""
        before = (state or self.initial_state(x_TB.shape[1]))[0][0]
        text = np.concatenate([before.T[::-1], x_TB])
        steps = len(x_TB)
        found = np.full(y_TB.shape, 1 / self.vocab)
        contexts = np.zeros_like(y_TB)
        for length, table in enumerate(self._tables, 1):
            place = _find(table.contexts, contexts)
            known = table.contexts[place] == contexts
            grams = contexts * self.vocab + y_TB
            spot = _find(table.grams, grams)
            gain = np.where(table.grams[spot] == grams, table.gain[spot], 0)
            found = np.where(known, table.backoff[place] * found + gain, found)
            if length < self.order:
                newest = len(text) - steps - length + 1
                contexts = contexts + text[newest : newest + steps] * self.vocab ** (length - 1)
        return -np.log(found), ((text[-(self.order - 1) :][::-1].T,),)

    def _distribute(self, before: list[int], found: np.ndarray) -> None:
        """Turn found, the probabilities (V,) after nothing, into those after ids, newest first."""
        context = 0
        for length, (table, one) in enumerate(zip(self._tables[1:], before, strict=True)):
            context += one * self.vocab**length
            place = table.contexts.searchsorted(context)
            if place == len(table.contexts) or table.contexts[place] != context:
                break  # nor can a longer context be known
            begin, end = table.starts[place : place + 2]
            found *= table.backoff[place]
            found[table.last[begin:end]] += table.gain[begin:end]

    def _distribute_rows(self, before: np.ndarray, found_BV: np.ndarray) -> None:
        """Do the same for rows (B, order - 1) at once, at the cost of a few single ones."""
        rows = np.arange(len(before))
        contexts = np.zeros_like(rows)
        for length, table in enumerate(self._tables[1:]):
            contexts = contexts + before[rows, length] * self.vocab**length
            places = _find(table.contexts, contexts)
            known = table.contexts[places] == contexts
            rows, contexts, places = rows[known], contexts[known], places[known]
            found_BV[rows] *= table.backoff[places, None]
            begins = table.starts[places]
            sizes = table.starts[places + 1] - begins
            # One number for each n-gram of each row: where it stands in the table.
            spots = np.arange(sizes.sum()) + np.repeat(begins - np.cumsum(sizes) + sizes, sizes)
            found_BV[np.repeat(rows, sizes), table.last[spots]] += table.gain[spots]


def longest_order(vocab: int) -> int:
    """Return the longest n-grams that are numbers of 63 bits."""
    return int(63 / math.log2(max(2, vocab)))


def fits_model(grams: np.ndarray, counts: np.ndarray, model: ModelConfig) -> bool:
    """Tell whether arrays that come from a file can be n-grams of such a model."""
    return (
        model.ngrams <= longest_order(model.vocab)
        and grams.dtype.kind == counts.dtype.kind == "u"
        and grams.shape == counts.shape
        and grams.ndim == 1
        and len(grams) > 0
        and bool((grams[1:] > grams[:-1]).all())
        and int(grams[-1]) < model.vocab**model.ngrams
        and bool((counts > 0).all())
        and float(counts.sum(dtype=np.float64)) < 2**53  # so that no sum of them overflows
    )


def as_numbers(ids: np.ndarray, length: int, vocab: int) -> np.ndarray:
    """Return the n-gram that ends at each position of ids (n,), as n - length + 1 numbers."""
    numbers = np.zeros(len(ids) - length + 1, dtype=np.int64)
    for begin in range(length):
        numbers = numbers * vocab + ids[begin : begin + len(numbers)]
    return numbers


def make_table(grams: np.ndarray, counts: np.ndarray, vocab: int) -> Table:
    """Return the table of rising n-grams (N,) and their counts (N,)."""
    less = discounts(counts)[np.minimum(counts, 3)]
    contexts, starts = np.unique(grams // vocab, return_index=True)
    total = np.add.reduceat(counts, starts)
    sizes = np.diff(np.append(starts, len(grams)))
    return Table(
        grams=grams,
        last=(grams % vocab).astype(np.min_scalar_type(vocab - 1)),
        gain=(counts - less) / np.repeat(total, sizes),
        contexts=contexts,
        starts=np.append(starts, len(grams)),
        backoff=np.add.reduceat(less, starts) / total,
    )


def discounts(counts: np.ndarray) -> np.ndarray:
    """Return what is taken off a count of 0, 1, 2 and of 3 or more: (4,).

    Chen & Goodman's estimates. Where a text is too short or too regular for them, they are kept
    between a tenth and nine tenths of a count, so that no probability is ever 0.
    """
    n1, n2, n3, n4 = (max(1, int((counts == k).sum())) for k in (1, 2, 3, 4))
    share = n1 / (n1 + 2 * n2)
    estimates = [1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3]
    return np.concatenate([[0.0], np.clip(estimates, 0.1, [0.9, 1.8, 2.7])])


def _find(rising: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return where each wanted number stands in rising ones, or some other place if it does not."""
    return np.minimum(rising.searchsorted(wanted), len(rising) - 1)
