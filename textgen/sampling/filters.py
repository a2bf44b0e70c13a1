"""Which characters may be drawn: pure functions from scores to scores.

Each takes and returns log-probabilities over the last axis, in float64 and up to a constant, and
never changes its input; what is filtered out becomes -inf. At least one candidate always survives.
Names and meaning are those of Hugging Face's generation; the module `chain` puts them in order.

Shapes: B rows, V vocabulary, L ids looked back on.

    >>> top_k(np.log([0.1, 0.2, 0.3, 0.4]), 2)
    array([       -inf,        -inf, -1.2039728 , -0.91629073])
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from textgen.engine import log_softmax

ROUNDING = 1e-12  # relative; a sum of tenths must not miss 0.9 by its last digit
TINY = 1e-100  # a temperature by which a score may become infinite
LONGEST_REPEAT = 64  # characters of a repeated span beyond which DRY's penalty no longer grows


def bias(logits: np.ndarray, bias_V: np.ndarray) -> np.ndarray:
    """Add a number to the scores of chosen characters."""
    return np.asarray(logits + bias_V)


def repetition_penalty(logits: np.ndarray, counts: np.ndarray, penalty: float) -> np.ndarray:
    """Multiply the log-probability of what stands in the look-back (Keskar et al., 2019).

    A positive score, which no log-probability is, is divided, as Hugging Face does.
    """
    # From 1 on the lower of the two is a negative score's product and another's quotient.
    further = np.minimum if penalty >= 1 else np.maximum
    penalised = further(logits * penalty, logits / penalty)
    np.copyto(penalised, logits, where=counts == 0)
    return np.asarray(penalised)


def frequency_penalty(logits: np.ndarray, counts: np.ndarray, penalty: float) -> np.ndarray:
    """Subtract the penalty once for each time that a character stands in the look-back."""
    return np.asarray(logits - penalty * counts)


def dry(
    logits_BV: np.ndarray, ids_BL: np.ndarray, multiplier: float, base: float, allowed: int
) -> np.ndarray:
    """Penalise what would let the end of the text repeat an earlier span still longer.

    multiplier * base ** (length - allowed) is taken off a character that follows, earlier on, the
    longest span of at least `allowed` characters with which the text now ends. Source: the "don't
    repeat yourself" sampler of text-generation-webui and llama.cpp, without sequence breakers.
    """
    penalised = logits_BV.copy()
    for row, ids in zip(penalised, ids_BL, strict=True):
        lengths = repeat_lengths(ids)
        places = (lengths >= allowed).nonzero()[0]
        longest_V = np.zeros(len(row), dtype=np.int64)
        np.maximum.at(longest_V, ids[places], lengths[places])
        repeating = longest_V.nonzero()[0]
        row[repeating] -= multiplier * float(base) ** (longest_V[repeating] - allowed)
    return penalised


def repeat_lengths(ids: np.ndarray, longest: int = LONGEST_REPEAT) -> np.ndarray:
    """Return for each place how long a span before it is that also ends the text (L,).

    Spans are compared up to so many characters.
    """
    size = len(ids)
    lengths = np.zeros(size, dtype=np.int64)
    places = (ids[:-1] == ids[-1:]).nonzero()[0] + 1
    for length in range(1, min(size - 1, longest) + 1):
        last = ids[size - length]
        if last == NOTHING:
            break
        places = places[places >= length]
        places = places[ids[places - length] == last]
        if not len(places):
            break
        lengths[places] = length
    return lengths


def no_repeat_ngram(logits_BV: np.ndarray, ids_BL: np.ndarray, size: int) -> np.ndarray:
    """Bar what would complete a span of `size` characters that stands in the look-back.

    Where nothing would be left the likeliest stays.
    """
    barred = logits_BV.copy()
    for row, ids in zip(barred, ids_BL, strict=True):
        after = ids[repeat_lengths(ids, size - 1) == size - 1]
        likeliest = row.argmax(), row.max()
        row[after[after != NOTHING]] = -np.inf
        if row.max() == -np.inf:
            row[likeliest[0]] = likeliest[1]
    return barred


def temperature(logits: np.ndarray, value: float | np.ndarray) -> np.ndarray:
    """Divide by the temperature; 0 keeps the largest alone, the lowest id among equals.

    value: one for all rows, or (B,), one for each.
    """
    if isinstance(value, np.ndarray):
        rows = zip(logits, value.tolist(), strict=True)
        return np.stack([temperature(row, one) for row, one in rows])
    shifted = logits - np.maximum.reduce(logits, axis=-1, keepdims=True)
    if value == 0:
        return top_k(shifted, 1)
    if value > TINY:
        return np.asarray(shifted / value)
    with np.errstate(over="ignore"):  # all but the largest go to -inf
        return np.asarray(shifted / value)


def top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """Keep exactly the k likeliest; among equals the lowest ids."""
    vocab = logits.shape[-1]
    if k >= vocab:
        return logits.copy()
    fewer = vocab - k
    rising = logits.copy()
    rising.partition(fewer)
    out = logits < rising[..., fewer : fewer + 1]
    if np.count_nonzero(out) == logits.size // vocab * fewer:
        return _without(logits, out)
    # Of the equals of the k-th some are kept and some are not.
    return _kept(logits, _falling(logits), np.arange(vocab) < k)


def top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest likeliest whose probabilities sum to at least p (Holtzman et al., 2020)."""
    weights = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
    falling = -weights
    falling.sort()
    np.negative(falling, falling)
    summed = np.add.accumulate(falling, axis=-1)
    kept = summed - falling < p / (1 + ROUNDING) * summed[..., -1:]
    least = np.minimum.reduce(falling, axis=-1, keepdims=True, where=kept, initial=np.inf)
    out = weights < least
    if np.count_nonzero(out) + np.count_nonzero(kept) == logits.size:
        return _without(logits, out)
    return _kept(logits, _falling(logits), kept)


def min_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep what is at least p times as likely as the likeliest (Nguyen et al., 2024)."""
    limit = np.maximum.reduce(logits, axis=-1, keepdims=True) + (math.log(p) - ROUNDING)
    return _without(logits, logits < limit)


def typical_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep those whose surprise is nearest to the expected one, p in sum (Meister et al., 2023)."""
    logs = log_softmax(logits)
    order = np.argsort(np.abs(-logs - entropy(logs)), axis=-1, kind="stable")
    return _fewest(logits, np.exp(logs), order, p)


def epsilon_cutoff(logits: np.ndarray, epsilon: float) -> np.ndarray:
    """Keep what is at least as likely as epsilon, and the likeliest (Hewitt et al., 2022)."""
    return _at_least(logits, log_softmax(logits), np.log(epsilon))


def eta_cutoff(logits: np.ndarray, epsilon: float) -> np.ndarray:
    """Keep what reaches min(epsilon, sqrt(epsilon) exp(-entropy)), and the likeliest (the same)."""
    logs = log_softmax(logits)
    limit = np.minimum(np.log(epsilon), 0.5 * np.log(epsilon) - entropy(logs))
    return _at_least(logits, logs, limit)


def surprise_limit(logits: np.ndarray, mu_B: np.ndarray) -> np.ndarray:
    """Keep what surprises by at most mu bits, and the likeliest (mirostat 2, Basu et al., 2021)."""
    return _at_least(logits, log_softmax(logits), -np.log(2) * mu_B[..., None])


def _falling(logits: np.ndarray) -> np.ndarray:
    """Return the ids from the likeliest on; among equals the lowest first."""
    return np.argsort(-logits, axis=-1, kind="stable")


def _without(logits: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return scores without what is to be filtered out."""
    kept = logits.copy()
    np.putmask(kept, out, -np.inf)
    return kept


def _fewest(
    logits: np.ndarray, probabilities: np.ndarray, order: np.ndarray, p: float
) -> np.ndarray:
    """Keep the first ones in an order whose probabilities sum to at least p."""
    chances = probabilities.ravel()[_places(order)]
    before = np.add.accumulate(chances, axis=-1) - chances
    return _kept(logits, order, before * (1 + ROUNDING) < p)


def _kept(logits: np.ndarray, order: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Keep what `kept` says of the ids in an order."""
    mask = np.empty(logits.size, dtype=bool)
    mask[_places(order)] = kept
    return np.where(mask.reshape(logits.shape), logits, -np.inf)


def _places(order: np.ndarray) -> np.ndarray:
    """Return the places of ids in the flattened array; quicker than numpy's take_along_axis."""
    size = order.shape[-1]
    return np.asarray(order + np.arange(0, order.size, size).reshape(*order.shape[:-1], 1))


def _at_least(logits: np.ndarray, logs: np.ndarray, limit: Any) -> np.ndarray:
    likeliest = logs >= logs.max(axis=-1, keepdims=True)
    return np.where((logs >= limit - ROUNDING) | likeliest, logits, -np.inf)


def entropy(logs: np.ndarray) -> np.ndarray:
    """Return the entropy in nats of log-probabilities over the last axis, which is kept."""
    finite = np.where(logs > -np.inf, logs, 0.0)
    return np.asarray(-(np.exp(logs) * finite).sum(axis=-1, keepdims=True))


NOTHING = -1  # stands where a text is shorter than the look-back


class History:
    """The last `size` ids of B rows, and how often each id stands among them.

    ids_BL: (B, size) to begin with, the newest last, NOTHING where a row has no more; its last
    `size` columns count. counted: whether counts_BV is kept.
    """

    def __init__(self, ids_BL: np.ndarray, size: int, vocab: int, counted: bool = True) -> None:
        self.size = size
        self._counted = counted
        kept = ids_BL[:, -size:]
        nothing = np.full((len(kept), size - kept.shape[1]), NOTHING, dtype=np.int64)
        self._move(np.concatenate([nothing, kept], axis=1))
        # NOTHING, which is -1, is counted in a last column that nobody sees.
        self._counts = np.zeros((len(kept), vocab + 1), dtype=np.int64)
        np.add.at(self._counts, (np.arange(len(kept))[:, None], kept), 1)
        self.counts_BV = self._counts[:, :vocab]

    @property
    def ids_BL(self) -> np.ndarray:
        """The ids (B, size), the newest last: a view that later ids leave as it is."""
        return self._room[:, self._end - self.size : self._end]

    def add(self, ids_B: np.ndarray) -> None:
        """Add the newest id of each row and forget the oldest."""
        if self._counted:
            oldest = self._room[:, self._end - self.size].tolist()
            for counts, old, new in zip(self._counts, oldest, ids_B.tolist(), strict=True):
                counts[old] -= 1
                counts[new] += 1
        if self._end == self._room.shape[1]:
            self._move(self.ids_BL)
        self._room[:, self._end] = ids_B
        self._end += 1

    def _move(self, ids_BL: np.ndarray) -> None:
        """Take a new array, so that views of the old one stay what they are."""
        room = np.empty((len(ids_BL), 2 * self.size), dtype=np.int64)
        room[:, : self.size] = ids_BL
        self._room, self._end = room, self.size
