"""Smoothing: what counts after contexts say of the next id, backing off to shorter contexts.

With h the context, the newest ids, and h' the context without its oldest id,

    p(c | h) = e(h) p(c | h') + (1 - e(h)) q(c | h)
    q(c | h) = (N(h c) - D(N(h c))) / sum over c of (N(h c) - D(N(h c)))

Where h was never seen p(c | h) = p(c | h'), and below the empty context stands 1 / V. e, the share
left to the shorter context, starts from Kneser-Ney's, with D what is taken off a count (Chen &
Goodman, An empirical study of smoothing techniques for language modeling, 1998):

    e0(h) = sum over c of D(N(h c)) / sum over c of N(h c)

Its odds e / (1 - e) are then multiplied by a number for each length of h, for how many different
ids follow h and for how many in all, which is learned on text that was not counted (`learn_odds`).

Two kinds of N are used. `NOVEL` is Kneser-Ney's: of a context it counts an id once for each way to
lengthen the context by one id, which suits the chain of all lengths, where a short context speaks
only for what the longer one has not seen; after the longest contexts it counts all. `PLAIN` is how
often the n-gram occurs, which suits a chain that ends at a short context.

Shapes: B rows, V vocabulary, X experts; L lengths of contexts, C the two kinds of counts, G classes
of contexts.

    >>> shares_CLBV, left_CLB, _ = smooth(counts_CLBV, no_odds(longest=15), shortest=0)
"""

from __future__ import annotations

import numpy as np

NOVEL, PLAIN = 0, 1
# Each expert's kind of counts and its longest context, None for the longest of all. Found by
# ablation (docs/log.md, "n-grams without a ceiling").
EXPERTS = ((NOVEL, None), (PLAIN, 4), (PLAIN, 9))
# D of a count of 0, 1, 2, and of 3 or more, for each kind. With the odds learned they suit every
# text better than estimates from each text's counts (the same entry).
DISCOUNTS_C4 = np.array([[0, 0.93, 1.45, 1.85], [0, 0.7, 1.0, 1.2]])
# Distinct ids and all ids after a context fall into so many classes each.
CLASSES = 8

_KIND_C111 = np.array([0, 4])[:, None, None, None]
# The class of a number of distinct ids, and of all ids; larger numbers are of the last.
DISTINCT_CLASSES = np.minimum(np.log2(np.maximum(np.arange(64), 1)) * 1.5, CLASSES - 1).astype(
    np.int64
)
TOTAL_CLASSES = np.minimum(np.log2(np.maximum(np.arange(128), 1)), CLASSES - 1).astype(np.int64)
# The same as plain numbers.
_DISCOUNTS, _DISTINCT_LIST, _TOTAL_LIST = (
    numbers.tolist() for numbers in (DISCOUNTS_C4, DISTINCT_CLASSES, TOTAL_CLASSES)
)


def smooth(
    counts_CLBV: np.ndarray, odds_CLG: np.ndarray, shortest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what counts of following ids say under factors of their odds.

    Args:
        counts_CLBV: after contexts of length `shortest` and on.
        odds_CLG: for all lengths.
        shortest: the length of the first contexts.

    Returns:
        (1 - e) q of each id, (C, L, B, V), e, (C, L, B), and the places of the factors of e in the
        flat odds_CLG, (C, L, B). Where nothing was counted the first are 0 and 1.
    """
    kinds, levels = counts_CLBV.shape[:2]
    shares_CLBV, left_CLB, total_CLB = discount(counts_CLBV)
    places_CLB = classify(np.count_nonzero(counts_CLBV, axis=-1), total_CLB)
    rows_CL = np.arange(kinds)[:, None] * odds_CLG.shape[1] + np.arange(shortest, shortest + levels)
    places_CLB += rows_CL[:, :, None] * CLASSES**2
    odds_CLB = odds_CLG.reshape(-1).take(places_CLB)
    odds_CLB *= left_CLB
    scale_CLB = odds_CLB + 1
    scale_CLB -= left_CLB
    shares_CLBV /= scale_CLB[..., None]
    odds_CLB /= scale_CLB
    return shares_CLBV, odds_CLB, places_CLB


def discount(counts_CLBV: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Kneser-Ney's (1 - e0) q, (C, L, B, V), e0 and the sums of the counts, (C, L, B)."""
    off_CLBV = DISCOUNTS_C4.take(np.minimum(counts_CLBV, 3) + _KIND_C111)
    total_CLB = counts_CLBV.sum(axis=-1)
    divisor_CLB = np.maximum(total_CLB, 1)
    left_CLB = off_CLBV.sum(axis=-1)
    left_CLB /= divisor_CLB
    left_CLB[total_CLB == 0] = 1
    np.subtract(counts_CLBV, off_CLBV, out=off_CLBV)
    off_CLBV /= divisor_CLB[..., None]
    return off_CLBV, left_CLB, total_CLB


def classify(distinct: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the class, 0 to CLASSES ** 2 - 1, of contexts by what follows them."""
    return np.asarray(
        DISTINCT_CLASSES[np.minimum(distinct, 63)] * CLASSES + TOTAL_CLASSES[np.minimum(total, 127)]
    )


def no_odds(longest: int) -> np.ndarray:
    """Return factors that leave Kneser-Ney's back-off as it is."""
    return np.ones((2, longest + 1, CLASSES**2))


def smooth_one(ids: list[int], kind: int, odds_G: list[float]) -> tuple[float, dict[int, float]]:
    """Do what `smooth` does for one context: return e, and (1 - e) q of the ids that followed it.

    odds_G: the factors for contexts of its length.
    """
    if not ids:
        return 1.0, {}
    counts: dict[int, int] = {}
    for next_id in ids:
        counts[next_id] = counts.get(next_id, 0) + 1
    total, off = len(ids), _DISCOUNTS[kind]
    left = sum([off[min(count, 3)] for count in counts.values()]) / total
    place = _DISTINCT_LIST[min(len(counts), 63)] * CLASSES + _TOTAL_LIST[min(total, 127)]
    odds = odds_G[place] * left
    scale = odds + 1 - left
    divisor = total * scale
    return odds / scale, {i: (n - off[min(n, 3)]) / divisor for i, n in counts.items()}


def lengthen(
    probabilities_BXV: np.ndarray,
    shares_CLBV: np.ndarray,
    left_CLB: np.ndarray,
    shortest: int,
    longest: int,
) -> None:
    """Turn the experts' probabilities after shorter contexts into those after longer ones.

    shares_CLBV and left_CLB: what `smooth` makes of contexts of length `shortest` and on. longest:
    K, where the chain of the longest contexts ends.
    """
    for expert, (kind, cut) in enumerate(EXPERTS):
        levels = min((cut or longest) + 1 - shortest, left_CLB.shape[1])
        if levels <= 0:
            continue
        # What longer contexts leave to each, and to what is shorter than the first.
        left_LB = np.ones((levels + 1, left_CLB.shape[2]))
        np.cumprod(left_CLB[kind, levels - 1 :: -1][:levels], axis=0, out=left_LB[1:])
        probabilities_BXV[:, expert] *= left_LB[-1][:, None]
        # Not a product of matrices, whose sums depend on how many rows and lengths there are.
        probabilities_BXV[:, expert] += np.einsum(
            "lb,lbv->bv", left_LB[-2::-1], shares_CLBV[kind, :levels]
        )
