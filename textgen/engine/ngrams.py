"""A count of n-grams with modified Kneser-Ney smoothing: the network's partner.

It is made in a second or two, memorises what a network needs many passes to learn, and is wrong in
other places: mixed with a network (module `mixture`) it is worth more than several times the
training (docs/log.md, "n-grams beside the network").

Interpolated Kneser-Ney smoothing with three discounts (Chen & Goodman, An empirical study of
smoothing techniques for language modeling, 1998, section 3): with h the context, the ids before,
and h' the context without its oldest id,

    p(c | h)   = backoff(h) p(c | h') + (N(h c) - D(N(h c))) / N(h)
    backoff(h) = sum over c of D(N(h c)) / N(h)
    N(h)       = sum over c of N(h c)

The second term is the discounted mass of the n-gram h c, 0 where it was never seen. Where h was
never seen p(c | h) = p(c | h'), and below the empty context stands 1 / V. N counts how often the
longest n-grams occur; of a shorter one it counts the different ids that occur before it, which
follows from the n-grams that are one longer, so that only the longest are stored. D is what is
taken off a count, see `discounts`.

Shapes: B rows, T time steps, V vocabulary. An n-gram is a whole number: its ids are the digits to
base V, the newest one the last. The state is one array (B, order - 1) of the ids before, newest
first, 0 for nothing, in the shape of a network's state with one layer: ((ids,),).

    >>> ngrams = NGrams.count(ids, vocab=66, order=6)
    >>> log_probabilities_BV, state = ngrams.step(np.array([5]), None)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from textgen.config import ModelConfig

NGramState = tuple[tuple[np.ndarray, ...], ...]

# Of a longer text the last characters are counted, which bounds the table's size and its time.
MOST_CHARS = 4_000_000


class Sliceable(Protocol):
    """Ids (n,) that need not lie in memory."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return the ids of a slice as an array."""
        ...


@dataclass(frozen=True)
class Table:
    """All n-grams of one length, in order, so that those after one context are side by side.

    grams: (N,) as numbers; last_ids: (N,) their last ids; discounted_mass: (N,) see the module.
    contexts: (M,) the n-grams without their last id, each once; starts: (M + 1,) where each one's
    n-grams begin; backoff: (M,) the weight of the next shorter context's probabilities.
    """

    grams: np.ndarray
    last_ids: np.ndarray
    discounted_mass: np.ndarray
    contexts: np.ndarray
    starts: np.ndarray
    backoff: np.ndarray


class NGrams:
    """Probabilities of the next id from the last order - 1 ones; a stepper like a network.

    Args:
        grams: (N,) the different n-grams of the text as rising numbers.
        counts: (N,) how often each occurs.
        vocab: V.
        order: the length of the n-grams, at least 2.
    """

    def __init__(self, grams: np.ndarray, counts: np.ndarray, vocab: int, order: int) -> None:
        self.grams, self.counts = grams, counts
        self.vocab, self.order = vocab, order

    @cached_property
    def _tables(self) -> list[Table]:
        """One table per length, the shortest first; made when first asked for, in seconds."""
        grams, counts = self.grams.astype(np.int64), self.counts.astype(np.int64)
        tables = [make_table(grams, counts, self.vocab)]
        for length in range(self.order - 1, 0, -1):
            grams, counts = np.unique(grams % self.vocab**length, return_counts=True)
            tables.append(make_table(grams, counts, self.vocab))
        return tables[::-1]

    @cached_property
    def _unigram_probabilities(self) -> np.ndarray:
        """The probabilities (V,) after the empty context."""
        table = self._tables[0]
        probabilities = np.full(self.vocab, table.backoff[0] / self.vocab)
        probabilities[table.last_ids] += table.discounted_mass
        return probabilities

    @classmethod
    def count(cls, ids: Sliceable, vocab: int, order: int) -> NGrams:
        """Return the n-grams of a text, as if `order - 1` ids 0 stood before it.

        Args:
            ids: (n,), n >= 1.
            vocab: V; all ids are below it.
            order: the length of the n-grams, 2 to `longest_order(vocab)`.
        """
        padded = np.concatenate([np.zeros(order - 1, np.int64), ids[-MOST_CHARS:].astype(np.int64)])
        grams, counts = np.unique(as_numbers(padded, order, vocab), return_counts=True)
        gram_type = np.min_scalar_type(vocab**order - 1)
        count_type = np.min_scalar_type(counts.max())
        return cls(grams.astype(gram_type), counts.astype(count_type), vocab, order)

    def prepare(self) -> None:
        """Make what probabilities need, which takes seconds for a long text, and room meanwhile."""
        _ = self._unigram_probabilities

    def initial_state(self, rows: int) -> NGramState:
        """Return the state of B rows that have read nothing."""
        return ((np.zeros((rows, self.order - 1), dtype=np.int64),),)

    def step(self, ids_B: np.ndarray, state: NGramState | None) -> tuple[np.ndarray, NGramState]:
        """Return log-probabilities (B, V) of the id after ids_B, and the state."""
        before = (state or self.initial_state(len(ids_B)))[0][0]
        after = np.empty_like(before)
        after[:, 0], after[:, 1:] = ids_B, before[:, :-1]
        probabilities_BV = np.tile(self._unigram_probabilities, (len(after), 1))
        # A row alone is quicker by itself.
        if len(after) == 1:
            self._condition(probabilities_BV[0], after[0].tolist())
        else:
            self._condition_rows(probabilities_BV, after)
        return np.log(probabilities_BV, out=probabilities_BV), ((after,),)

    def read(
        self, ids: np.ndarray, rows: int, state: NGramState | None
    ) -> tuple[np.ndarray, NGramState]:
        """Feed ids (n,), n >= 1, to every row; return the last log-probabilities and the state."""
        before = (state or self.initial_state(rows))[0][0]
        for newest in ids[:-1]:
            before = np.column_stack((np.full(rows, newest), before))[:, : self.order - 1]
        return self.step(np.full(rows, ids[-1]), ((before,),))

    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: NGramState | None
    ) -> tuple[np.ndarray, NGramState]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB."""
        before = (state or self.initial_state(x_TB.shape[1]))[0][0]
        text = np.concatenate([before.T[::-1], x_TB])
        steps = len(x_TB)
        probability_TB = np.full(y_TB.shape, 1 / self.vocab)
        context_TB = np.zeros_like(y_TB)
        for length, table in enumerate(self._tables, 1):
            context_index = _indices_in(table.contexts, context_TB)
            is_known = table.contexts[context_index] == context_TB
            gram_TB = context_TB * self.vocab + y_TB
            gram_index = _indices_in(table.grams, gram_TB)
            is_seen = table.grams[gram_index] == gram_TB
            mass_TB = np.where(is_seen, table.discounted_mass[gram_index], 0)
            interpolated_TB = table.backoff[context_index] * probability_TB + mass_TB
            probability_TB = np.where(is_known, interpolated_TB, probability_TB)
            if length < self.order:
                oldest = len(text) - steps - length + 1
                context_TB = context_TB + text[oldest : oldest + steps] * self.vocab ** (length - 1)
        return -np.log(probability_TB), ((text[-(self.order - 1) :][::-1].T,),)

    def _condition(self, probabilities: np.ndarray, before: list[int]) -> None:
        """Turn probabilities (V,) after the empty context into those after ids, newest first."""
        context = 0
        for length, (table, older_id) in enumerate(zip(self._tables[1:], before, strict=True)):
            context += older_id * self.vocab**length
            context_index = table.contexts.searchsorted(context)
            if context_index == len(table.contexts) or table.contexts[context_index] != context:
                # Nor was any longer context ever seen.
                break
            start, end = table.starts[context_index : context_index + 2]
            probabilities *= table.backoff[context_index]
            probabilities[table.last_ids[start:end]] += table.discounted_mass[start:end]

    def _condition_rows(self, probabilities_BV: np.ndarray, before: np.ndarray) -> None:
        """Do the same for rows (B, order - 1) at once, at the cost of a few single ones."""
        rows = np.arange(len(before))
        contexts = np.zeros_like(rows)
        for length, table in enumerate(self._tables[1:]):
            contexts = contexts + before[rows, length] * self.vocab**length
            context_index = _indices_in(table.contexts, contexts)
            is_known = table.contexts[context_index] == contexts
            rows, contexts, context_index = (
                array[is_known] for array in (rows, contexts, context_index)
            )
            probabilities_BV[rows] *= table.backoff[context_index, None]
            starts = table.starts[context_index]
            sizes = table.starts[context_index + 1] - starts
            # The indices of all rows' n-grams in the table, one row's after the other's.
            gram_index = np.arange(sizes.sum()) + np.repeat(
                starts - np.cumsum(sizes) + sizes, sizes
            )
            gram_rows = np.repeat(rows, sizes)
            probabilities_BV[gram_rows, table.last_ids[gram_index]] += table.discounted_mass[
                gram_index
            ]


def longest_order(vocab: int) -> int:
    """Return the length of the longest n-grams of so many ids that are numbers of 63 bits."""
    return int(63 / math.log2(max(2, vocab)))


def fits_model(grams: np.ndarray, counts: np.ndarray, model: ModelConfig) -> bool:
    """Tell whether arrays that come from a file can be n-grams of a model.

    Args:
        grams: what is said to be rising n-grams (N,) as numbers.
        counts: what is said to be their counts (N,).
        model: whose vocabulary and length of n-grams they should have.
    """
    return (
        model.ngrams <= longest_order(model.vocab)
        and grams.dtype.kind == counts.dtype.kind == "u"
        and grams.shape == counts.shape
        and grams.ndim == 1
        and len(grams) > 0
        and bool((grams[1:] > grams[:-1]).all())
        and int(grams[-1]) < model.vocab**model.ngrams
        and bool((counts > 0).all())
        # So that no sum of them overflows or is rounded.
        and float(counts.sum(dtype=np.float64)) < 2**53
    )


def as_numbers(ids: np.ndarray, length: int, vocab: int) -> np.ndarray:
    """Return the n-gram that ends at each position of ids (n,), as n - length + 1 numbers."""
    numbers = np.zeros(len(ids) - length + 1, dtype=np.int64)
    for start in range(length):
        numbers = numbers * vocab + ids[start : start + len(numbers)]
    return numbers


def make_table(grams: np.ndarray, counts: np.ndarray, vocab: int) -> Table:
    """Return the table of rising n-grams (N,) and their counts (N,)."""
    discount = discounts(counts)[np.minimum(counts, 3)]
    contexts, starts = np.unique(grams // vocab, return_index=True)
    totals = np.add.reduceat(counts, starts)
    sizes = np.diff(np.append(starts, len(grams)))
    return Table(
        grams=grams,
        last_ids=(grams % vocab).astype(np.min_scalar_type(vocab - 1)),
        discounted_mass=(counts - discount) / np.repeat(totals, sizes),
        contexts=contexts,
        starts=np.append(starts, len(grams)),
        backoff=np.add.reduceat(discount, starts) / totals,
    )


def discounts(counts: np.ndarray) -> np.ndarray:
    """Return D, what is taken off a count of 0, 1, 2 and of 3 or more: (4,).

    Chen & Goodman's estimates, where n_k is how many n-grams have the count k:

        Y = n_1 / (n_1 + 2 n_2)
        D(1) = 1 - 2 Y n_2 / n_1,  D(2) = 2 - 3 Y n_3 / n_2,  D(3+) = 3 - 4 Y n_4 / n_3

    Where a text is too short or too regular for them, they are kept between a tenth and nine
    tenths of a count, so that no probability is ever 0.
    """
    n1, n2, n3, n4 = (max(1, int((counts == k).sum())) for k in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    estimates = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.concatenate([[0.0], np.clip(estimates, 0.1, [0.9, 1.8, 2.7])])


def _indices_in(rising: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return each wanted number's index in rising ones, or some other index if it is not there."""
    return np.minimum(rising.searchsorted(wanted), len(rising) - 1)
