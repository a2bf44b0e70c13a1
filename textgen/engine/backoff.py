"""What n-grams leave to shorter contexts, learned on text that they were not counted in.

The chain of module `ngrams` is p_k = e_k p_(k-1) + (1 - e_k) q_k for lengths k from 0 to K, and
e_k / (1 - e_k) = odds(k, class) e0_k / (1 - e0_k). With a_k the product of e_j over j > k, the
derivative of log p_K by the logarithm of the odds is

    a_k (p_(k-1) - q_k) e_k (1 - e_k) / p_K

Its mean over a text is climbed by Adam (Kingma & Ba, 2015).

    >>> ngrams = learn_odds(NGrams.count(ids[:-50_000], 66, 15), ids[-50_000:])
"""

from __future__ import annotations

import dataclasses

import numpy as np

from textgen.engine.contexts import SortedContexts
from textgen.engine.ngrams import MANY_ROWS, NGrams
from textgen.engine.smoothing import CLASSES, EXPERTS, classify, discount

CLIMB_STEPS, CLIMB_RATE = 40, 0.15
CLIMB_MEAN, CLIMB_SQUARE = 0.9, 0.99
# Pulls a class that is hardly ever met towards no change, in nats per unit of the logarithm.
PULL = 1e-4
# Where each id is learned from as it is read.
ODDS_RATE = 0.02
# A share of nothing or of all has no odds.
LEAST_LEFT = 1e-6


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What contexts of each kind and length said of T ids: left, share and place (C, L, T).

    left: e0; share: q of the id that came; place: of the context's factor in odds_CLG, flat. Where
    the context is unknown left is 1.
    """

    left: np.ndarray
    share: np.ndarray
    place: np.ndarray


def learn_odds(ngrams: NGrams, ids: np.ndarray) -> NGrams:
    """Return n-grams with their back-off learned on ids (n,) that were not counted."""
    evidence = gather_evidence(ngrams, ids)
    log_odds = np.log(ngrams.odds_CLG)
    for kind in range(len(log_odds)):
        # The longest expert's chain: shorter ones of its kind use the same factors.
        cuts = [cut or ngrams.longest for of, cut in EXPERTS if of == kind]
        _climb(log_odds, kind, min(max(cuts), ngrams.longest), evidence, ngrams.vocab)
    return NGrams(ngrams.contexts, np.exp(log_odds))


def spans_along(contexts: SortedContexts, ids: np.ndarray) -> np.ndarray:
    """Return the spans (n, 2, K) before each of ids (n,), read from the beginning."""
    beginning = contexts.no_spans(1)
    after = contexts.extend_along(ids[:-1, None].astype(np.int64), beginning)
    return np.concatenate([beginning, after[:, 0]])


def gather_evidence(ngrams: NGrams, ids: np.ndarray) -> Evidence:
    """Return the evidence for ids (n,), read from the beginning."""
    spans_T2K = spans_along(ngrams.contexts, ids)
    shape = 2, ngrams.longest + 1, len(ids)
    evidence = Evidence(np.ones(shape), np.zeros(shape), np.zeros(shape, dtype=np.int64))
    sizes_TK = spans_T2K[:, 1] - spans_T2K[:, 0]
    kept_T = np.count_nonzero(sizes_TK > MANY_ROWS, axis=1)
    _gather_few(ngrams, ids, spans_T2K, kept_T, evidence)
    _gather_many(ngrams, ids, spans_T2K, kept_T, evidence)
    return evidence


def _gather_few(
    ngrams: NGrams, ids: np.ndarray, spans_T2K: np.ndarray, kept_T: np.ndarray, evidence: Evidence
) -> None:
    """Fill in contexts of few rows, a block of texts at a time."""
    for block in ngrams.row_blocks(len(ids)):
        shortest = int(kept_T[block].min()) + 1
        spans = spans_T2K[block]
        deepest = int(np.count_nonzero(spans[:, 1] > spans[:, 0], axis=1).max())
        if deepest < shortest:
            continue
        counts = ngrams.count_few(spans, kept_T[block], shortest, deepest)
        lengths = slice(shortest, deepest + 1)
        share, left, place = _evidence_of(counts, shortest, ids[block])
        known = counts.sum(axis=-1) > 0
        for target, value in (
            (evidence.left, left),
            (evidence.share, share),
            (evidence.place, place),
        ):
            target[:, lengths, block][known] = value[known]


def _gather_many(
    ngrams: NGrams, ids: np.ndarray, spans_T2K: np.ndarray, kept_T: np.ndarray, evidence: Evidence
) -> None:
    """Fill in contexts of many rows, each context once."""
    for length in range(int(kept_T.max()) + 1):
        places = np.flatnonzero(kept_T >= length)
        firsts = spans_T2K[places, 0, length - 1] if length else np.zeros(len(places), np.int32)
        order = np.argsort(firsts, kind="stable")
        begins = np.flatnonzero(np.diff(firsts[order], prepend=-1))
        for same in np.split(places[order], begins[1:]):
            counts_CV = ngrams.count_after(length, spans_T2K[same[0]])
            share, left, place = _evidence_of(
                np.broadcast_to(counts_CV[:, None, None], (2, 1, 1, ngrams.vocab)),
                length,
                None,
            )
            evidence.left[:, length, same] = left[:, 0]
            evidence.share[:, length, same] = share[:, 0, 0][:, ids[same]]
            evidence.place[:, length, same] = place[:, 0]


def _evidence_of(
    counts_CLBV: np.ndarray, shortest: int, ids_B: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return q of ids_B (C, L, B), or of all ids (C, L, B, V), e0 and the place of its factor."""
    levels = counts_CLBV.shape[1]
    shares, left, total = discount(counts_CLBV)
    if ids_B is not None:
        shares = np.take_along_axis(shares, ids_B.astype(np.int64)[None, None, :, None], -1)[..., 0]
        shares = shares / np.maximum(1 - left, LEAST_LEFT)
    else:
        shares = shares / np.maximum(1 - left, LEAST_LEFT)[..., None]
    place = classify(np.count_nonzero(counts_CLBV, axis=-1), total)
    place += np.arange(shortest, shortest + levels)[:, None] * CLASSES**2
    return shares, left, place


def _climb(log_odds: np.ndarray, kind: int, cut: int, evidence: Evidence, vocab: int) -> None:
    """Learn the factors of one kind, in place, on a chain that ends at contexts of length `cut`."""
    left, share, place = (
        part[kind, : cut + 1] for part in (evidence.left, evidence.share, evidence.place)
    )
    left = np.clip(left, LEAST_LEFT, 1 - LEAST_LEFT)
    known = evidence.left[kind, : cut + 1] < 1
    base = np.log(left / (1 - left))
    # A view: what is learned stands in log_odds.
    flat = log_odds[kind].reshape(-1)
    mean, square = np.zeros_like(flat), np.zeros_like(flat)
    for step in range(1, CLIMB_STEPS + 1):
        e = np.where(known, 1 / (1 + np.exp(-(base + flat[place]))), 1.0)
        shorter = np.empty_like(e)
        p = np.full(e.shape[1], 1 / vocab)
        for length in range(cut + 1):
            shorter[length] = p
            p = e[length] * p + (1 - e[length]) * share[length]
        passed = np.ones_like(p)
        slope = np.empty_like(e)
        for length in range(cut, -1, -1):
            slope[length] = passed * (shorter[length] - share[length]) * e[length] * (1 - e[length])
            passed = passed * e[length]
        slope /= p
        gradient = np.bincount(place.ravel(), slope.ravel(), minlength=len(flat)) / e.shape[1]
        gradient -= PULL * flat
        mean += (1 - CLIMB_MEAN) * (gradient - mean)
        square += (1 - CLIMB_SQUARE) * (gradient**2 - square)
        flat += (
            CLIMB_RATE
            * (mean / (1 - CLIMB_MEAN**step))
            / (np.sqrt(square / (1 - CLIMB_SQUARE**step)) + 1e-5)
        )


def climb_odds(
    odds_CLG: np.ndarray,
    smoothed: tuple[np.ndarray, np.ndarray, np.ndarray],
    kind: int,
    longest: int,
    next_id: int,
) -> None:
    """Let factors of odds climb the likelihood of an id under a chain of contexts, in place.

    The derivative is that of the whole text, with shares (1 - e) q.

    Args:
        odds_CLG: the factors.
        smoothed: what `smooth` made of the counts of one text with them.
        kind: of counts.
        longest: where the chain ends.
        next_id: the id that came.
    """
    shares_CL1V, left_CL1, places_CL1 = smoothed
    levels = min(longest + 1, left_CL1.shape[1])
    left = left_CL1[kind, :levels, 0].tolist()
    share = shares_CL1V[kind, :levels, 0, next_id].tolist()
    p, shorter = 1 / shares_CL1V.shape[-1], []
    for e, q in zip(left, share, strict=True):
        shorter.append(p)
        p = e * p + q
    slopes, passed = [], 1 / p
    for e, q, low in zip(left[::-1], share[::-1], shorter[::-1], strict=True):
        slopes.append(passed * e * (low * (1 - e) - q))
        passed *= e
    places = places_CL1[kind, :levels, 0]
    odds_CLG.reshape(-1)[places] *= np.exp(ODDS_RATE * np.array(slopes[::-1]))
