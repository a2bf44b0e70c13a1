"""Smoothing by hand and by a loop: shares, what is left, chains of contexts."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.engine.smoothing import (
    CLASSES,
    DISCOUNTS_C4,
    EXPERTS,
    NOVEL,
    PLAIN,
    classify,
    lengthen,
    no_odds,
    smooth,
    smooth_one,
)

COUNTS = st.lists(st.integers(0, 9), min_size=2, max_size=6)


def counts_of(counts):
    """The same counts (C, L, B, V) for both kinds and one context."""
    return np.broadcast_to(np.array(counts)[None, None, None], (2, 1, 1, len(counts)))


@pytest.mark.parametrize("kind", [NOVEL, PLAIN])
@given(COUNTS)
def test_shares_are_those_of_fractions_and_nothing_is_lost(kind, counts):
    shares, left, _ = smooth(counts_of(counts), no_odds(0), 0)
    off = [Fraction(DISCOUNTS_C4[kind, min(n, 3)]) for n in counts]
    total = sum(counts)
    left_over = [n - less for n, less in zip(counts, off, strict=True)]
    expected = [share / total if total else Fraction(0) for share in left_over]
    np.testing.assert_allclose(shares[kind, 0, 0], [float(share) for share in expected], atol=1e-12)
    np.testing.assert_allclose(left[kind, 0, 0], float(1 - sum(expected)), atol=1e-12)


@given(COUNTS, st.floats(0.01, 100))
def test_a_factor_multiplies_the_odds_of_what_is_left(counts, factor):
    odds_CLG = np.full((2, 1, CLASSES**2), factor)
    shares, left, places = smooth(counts_of(counts), odds_CLG, 0)
    plain, usual, _ = smooth(counts_of(counts), no_odds(0), 0)
    np.testing.assert_allclose(shares.sum(axis=-1) + left, 1, atol=1e-12)
    # Each share is smaller or larger in the same measure.
    np.testing.assert_allclose(shares * (1 - usual)[..., None], plain * (1 - left)[..., None])
    known = (usual < 1) & (usual > 0)
    left, usual = left[known], usual[known]
    np.testing.assert_allclose(left / (1 - left), factor * usual / (1 - usual))
    assert places.shape == (2, 1, 1)
    assert (places[1] - places[0] == CLASSES**2).all()


@pytest.mark.parametrize("kind", [NOVEL, PLAIN])
@given(st.lists(st.integers(0, 4), max_size=80))
def test_one_context_in_plain_numbers_is_smoothed_alike(kind, ids):
    odds_CLG = np.exp(np.random.default_rng(0).normal(size=(2, 1, CLASSES**2)))
    left, shares = smooth_one(ids, kind, odds_CLG[kind, 0].tolist())
    counts = np.bincount(np.array(ids, dtype=int), minlength=5)
    expected, expected_left, _ = smooth(counts_of(counts), odds_CLG, 0)
    np.testing.assert_allclose(left, expected_left[kind, 0, 0], rtol=1e-12)
    dense = [shares.get(i, 0.0) for i in range(5)]
    np.testing.assert_allclose(dense, expected[kind, 0, 0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shortest", [0, 1, 6])
def test_chains_are_lengthened_one_context_at_a_time(shortest):
    longest, vocab, rows = 12, 5, 3
    draws = np.random.default_rng(shortest)
    counts = draws.integers(0, 3, (2, longest + 1 - shortest, rows, vocab))
    shares, left, _ = smooth(counts, no_odds(longest), shortest)
    before = draws.dirichlet(np.ones(vocab), (rows, len(EXPERTS)))
    after = before.copy()
    lengthen(after, shares, left, shortest, longest)
    for row in range(rows):
        for expert, (kind, cut) in enumerate(EXPERTS):
            p = before[row, expert]
            for level in range((cut or longest) + 1 - shortest):
                p = left[kind, level, row] * p + shares[kind, level, row]
            np.testing.assert_allclose(after[row, expert], p, rtol=1e-12)
    np.testing.assert_allclose(after.sum(axis=-1), 1)


def test_contexts_are_classed_by_doublings_of_the_ids_that_follow():
    totals = classify(np.ones(9, dtype=int), np.array([1, 2, 3, 4, 7, 8, 31, 63, 64]))
    assert totals.tolist() == [0, 1, 1, 2, 2, 3, 4, 5, 6]
    distinct = classify(np.array([1, 2, 3, 4, 6, 7, 11, 26, 1000]), np.ones(9, dtype=int))
    assert (distinct // 8).tolist() == [0, 1, 2, 3, 3, 4, 5, 7, 7]
