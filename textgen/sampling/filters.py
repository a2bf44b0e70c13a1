"""Which ids may be drawn: pure functions from scores to scores, and the ids that some look back on.

Each filter takes and returns log-probabilities over the last axis, in float64 and up to a constant,
and never changes its input; what is filtered out becomes -inf. At least one candidate always
survives. Names and meaning are those of Hugging Face's generation; the module `chain` puts them in
order. Docstrings say "characters", as users do, for what are ids.

Shapes: B rows, V vocabulary, L ids looked back on.

    >>> top_k(np.log([0.1, 0.2, 0.3, 0.4]), 2)
    array([       -inf,        -inf, -1.2039728 , -0.91629073])
"""

from __future__ import annotations

import math

import numpy as np

from textgen.engine import log_softmax

# Relative: a sum of tenths must not miss 0.9 by its last digit.
ROUNDING = 1e-12
# A temperature up to which a score may become infinite.
TINY = 1e-100
# Characters of a repeated span beyond which DRY's penalty no longer grows: as base ** length it is
# beyond every score by then, and longer spans would have to be compared.
LONGEST_REPEAT = 64
# Stands where a text is shorter than the look-back.
NOTHING = -1


def bias(logits: np.ndarray, bias_V: np.ndarray) -> np.ndarray:
    """Add a number to the scores of chosen characters."""
    return np.asarray(logits + bias_V)


def repetition_penalty(logits: np.ndarray, counts: np.ndarray, penalty: float) -> np.ndarray:
    """Multiply the log-probability of what stands in the look-back (Keskar et al., 2019).

    A positive score, which no log-probability is, is divided, as Hugging Face does.
    """
    # From 1 on the lower of the two is a negative score's product and another's quotient.
    choose = np.minimum if penalty >= 1 else np.maximum
    penalised = choose(logits * penalty, logits / penalty)
    np.copyto(penalised, logits, where=counts == 0)
    return np.asarray(penalised)


def frequency_penalty(logits: np.ndarray, counts: np.ndarray, penalty: float) -> np.ndarray:
    """Subtract the penalty once for each time that a character stands in the look-back."""
    return np.asarray(logits - penalty * counts)


def presence_penalty(logits: np.ndarray, counts: np.ndarray, penalty: float) -> np.ndarray:
    """Subtract the penalty once from each character that stands in the look-back."""
    return np.asarray(logits - penalty * (counts > 0))


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
        repeats = (lengths >= allowed).nonzero()[0]
        longest_V = np.zeros(len(row), dtype=np.int64)
        np.maximum.at(longest_V, ids[repeats], lengths[repeats])
        repeating = longest_V.nonzero()[0]
        row[repeating] -= multiplier * float(base) ** (longest_V[repeating] - allowed)
    return penalised


def repeat_lengths(ids: np.ndarray, longest: int = LONGEST_REPEAT) -> np.ndarray:
    """Return for each position how long a span before it is that also ends the text.

    Args:
        ids: (L,), the latest ids, the newest last.
        longest: spans are compared up to so many ids.

    Returns:
        (L,) int64.
    """
    size = len(ids)
    lengths = np.zeros(size, dtype=np.int64)
    # Positions behind an occurrence of the text's last id; fewer remain with each id before it.
    positions = (ids[:-1] == ids[-1:]).nonzero()[0] + 1
    for length in range(1, min(size - 1, longest) + 1):
        last = ids[size - length]
        if last == NOTHING:
            break
        positions = positions[positions >= length]
        positions = positions[ids[positions - length] == last]
        if not len(positions):
            break
        lengths[positions] = length
    return lengths


def no_repeat_ngram(logits_BV: np.ndarray, ids_BL: np.ndarray, size: int) -> np.ndarray:
    """Bar what would complete a span of `size` characters that stands in the look-back.

    Where nothing would be left the likeliest stays.
    """
    barred = logits_BV.copy()
    for row, ids in zip(barred, ids_BL, strict=True):
        after = ids[repeat_lengths(ids, size - 1) == size - 1]
        likeliest, score = row.argmax(), row.max()
        row[after[after != NOTHING]] = -np.inf
        if row.max() == -np.inf:
            row[likeliest] = score
    return barred


def temperature(logits: np.ndarray, value: float | np.ndarray) -> np.ndarray:
    """Divide by the temperature; 0 keeps the largest alone, the lowest id among equals.

    value: one for all rows, or (B,), one for each.
    """
    if isinstance(value, np.ndarray):
        rows = zip(logits, value.tolist(), strict=True)
        return np.stack([temperature(row, its_value) for row, its_value in rows])
    shifted = logits - np.maximum.reduce(logits, axis=-1, keepdims=True)
    if value == 0:
        return top_k(shifted, 1)
    if value > TINY:
        return np.asarray(shifted / value)
    # All but the largest go to -inf.
    with np.errstate(over="ignore"):
        return np.asarray(shifted / value)


def top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """Keep exactly the k likeliest; among equals the lowest ids."""
    vocab = logits.shape[-1]
    if k >= vocab:
        return logits.copy()
    dropped = vocab - k
    rising = logits.copy()
    rising.partition(dropped)
    cut = rising[..., dropped : dropped + 1]
    below_cut = logits < cut
    # Fast path: no ties at the cut.
    if np.count_nonzero(below_cut) == logits.size // vocab * dropped:
        return _remove(logits, below_cut)
    return _keep_in_order(logits, _order_by_likelihood(logits), np.arange(vocab) < k)


def top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest likeliest whose probabilities sum to at least p (Holtzman et al., 2020)."""
    weights = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
    falling = -weights
    falling.sort()
    np.negative(falling, falling)
    sums = np.add.accumulate(falling, axis=-1)
    is_kept = sums - falling < p / (1 + ROUNDING) * sums[..., -1:]
    cut = np.minimum.reduce(falling, axis=-1, keepdims=True, where=is_kept, initial=np.inf)
    below_cut = weights < cut
    # Fast path: no ties at the cut.
    if np.count_nonzero(below_cut) + np.count_nonzero(is_kept) == logits.size:
        return _remove(logits, below_cut)
    return _keep_in_order(logits, _order_by_likelihood(logits), is_kept)


def min_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep what is at least p times as likely as the likeliest (Nguyen et al., 2024)."""
    limit = np.maximum.reduce(logits, axis=-1, keepdims=True) + (math.log(p) - ROUNDING)
    return _remove(logits, logits < limit)


def typical_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep those whose surprise is nearest to the expected one, p in sum (Meister et al., 2023)."""
    logs = log_softmax(logits)
    order = np.argsort(np.abs(-logs - entropy(logs)), axis=-1, kind="stable")
    return _keep_fewest(logits, np.exp(logs), order, p)


def epsilon_cutoff(logits: np.ndarray, epsilon: float) -> np.ndarray:
    """Keep what is at least as likely as epsilon, and the likeliest (Hewitt et al., 2022)."""
    return _keep_from(logits, log_softmax(logits), math.log(epsilon))


def eta_cutoff(logits: np.ndarray, epsilon: float) -> np.ndarray:
    """Keep what reaches min(epsilon, sqrt(epsilon) exp(-entropy)), and the likeliest (the same)."""
    logs = log_softmax(logits)
    limit = np.minimum(np.log(epsilon), 0.5 * np.log(epsilon) - entropy(logs))
    return _keep_from(logits, logs, limit)


def surprise_limit(logits: np.ndarray, mu_B: np.ndarray) -> np.ndarray:
    """Keep what surprises by at most mu bits, and the likeliest (mirostat 2, Basu et al., 2021)."""
    return _keep_from(logits, log_softmax(logits), -np.log(2) * mu_B[..., None])


def _order_by_likelihood(logits: np.ndarray) -> np.ndarray:
    """Return the ids from the likeliest on; among equals the lowest first."""
    return np.argsort(-logits, axis=-1, kind="stable")


def _remove(logits: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Return scores without what is removed."""
    kept = logits.copy()
    np.putmask(kept, removed, -np.inf)
    return kept


def _keep_fewest(
    logits: np.ndarray, probabilities: np.ndarray, order: np.ndarray, p: float
) -> np.ndarray:
    """Keep the first ones in an order whose probabilities sum to at least p."""
    ordered = probabilities.ravel()[_flat_indices(order)]
    before = np.add.accumulate(ordered, axis=-1) - ordered
    return _keep_in_order(logits, order, before * (1 + ROUNDING) < p)


def _keep_in_order(logits: np.ndarray, order: np.ndarray, is_kept: np.ndarray) -> np.ndarray:
    """Keep ids of which is_kept says so, in their order."""
    mask = np.empty(logits.size, dtype=bool)
    mask[_flat_indices(order)] = is_kept
    return np.where(mask.reshape(logits.shape), logits, -np.inf)


def _flat_indices(order: np.ndarray) -> np.ndarray:
    """Return where ids stand in the flattened array; quicker than numpy's take_along_axis."""
    size = order.shape[-1]
    return np.asarray(order + np.arange(0, order.size, size).reshape(*order.shape[:-1], 1))


def _keep_from(logits: np.ndarray, logs: np.ndarray, limit: float | np.ndarray) -> np.ndarray:
    """Keep those whose log-probability reaches a limit, and the likeliest."""
    likeliest = logs >= logs.max(axis=-1, keepdims=True)
    return np.where((logs >= limit - ROUNDING) | likeliest, logits, -np.inf)


def entropy(logs: np.ndarray) -> np.ndarray:
    """Return the entropy in nats of log-probabilities over the last axis, which is kept."""
    finite = np.where(logs > -np.inf, logs, 0.0)
    return np.asarray(-(np.exp(logs) * finite).sum(axis=-1, keepdims=True))


class History:
    """The latest ids of B rows, and how often each id stands among them.

    counts_BV: the counts, if they are kept.

    >>> history = History(state.ids_BL, size=1024, vocab=tokenizer.size)
    >>> history.add(ids_B)
    """

    def __init__(self, ids_BL: np.ndarray, size: int, vocab: int, counted: bool = True) -> None:
        """Begin with the last columns of ids.

        Args:
            ids_BL: the newest last, NOTHING where a row has no more.
            size: how many columns count.
            vocab: the number of ids.
            counted: whether counts_BV is kept.
        """
        self.size = size
        self._counted = counted
        latest = ids_BL[:, -size:]
        nothing = np.full((len(latest), size - latest.shape[1]), NOTHING, dtype=np.int64)
        self._move(np.concatenate([nothing, latest], axis=1))
        # NOTHING, which is -1, is counted in a last column that nobody sees.
        self._counts = np.zeros((len(latest), vocab + 1), dtype=np.int64)
        np.add.at(self._counts, (np.arange(len(latest))[:, None], latest), 1)
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
