"""Back-off that is learned, against the probabilities themselves and torch's gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textgen.engine import backoff
from textgen.engine import ngrams as ngrams_module
from textgen.engine.backoff import climb_odds, gather_evidence, learn_odds
from textgen.engine.ngrams import NGrams
from textgen.engine.smoothing import CLASSES, EXPERTS, NOVEL, PLAIN, no_odds, smooth

VOCAB = 6
# The longest chain of each kind of counts.
CUTS = {kind: [cut for of, cut in EXPERTS if of == kind] for kind in (NOVEL, PLAIN)}


def text(n, seed=0):
    """Words of a small language, so that long contexts come again, with noise between."""
    draws = np.random.default_rng(seed)
    words = [[1, 2, 3], [4, 2], [5, 1, 1, 3], [2, 5]]
    ids = [one for _ in range(n) for one in [*words[draws.integers(4)], int(draws.integers(6))]]
    return np.array(ids[:n])


def counted(n=600, longest=12, seed=0):
    return NGrams.count(text(n, seed), VOCAB, longest)


def nats(ngrams, ids, expert=0):
    """What ids cost, read from the beginning, but for the first of them."""
    experts_NXV, _, _ = ngrams.along(ids[:-1, None].astype(np.int64), None)
    return -experts_NXV[np.arange(len(ids) - 1), expert, ids[1:]]


def chain(evidence, odds_CLG, kind, cut):
    """The probabilities of the ids from their evidence, by the formula of the chain."""
    p = torch.full((evidence.left.shape[2],), 1 / VOCAB, dtype=torch.float64)
    for length in range(cut + 1):
        left, share, place = (
            torch.from_numpy(part[kind, length])
            for part in (evidence.left, evidence.share, evidence.place)
        )
        is_known = left < 1
        left = torch.where(is_known, left, 0.5)
        odds = odds_CLG[kind].reshape(-1)[place] * left / (1 - left)
        e = torch.where(is_known, odds / (1 + odds), 1.0)
        p = e * p + (1 - e) * share
    return p


@pytest.mark.parametrize("block", [1, 1 << 19])
@pytest.mark.parametrize("many", [0, 20, 10**6])
@pytest.mark.parametrize("longest", [0, 1, 3, 12])
def test_evidence_makes_the_probabilities_of_the_ngrams(longest, many, block, monkeypatch):
    monkeypatch.setattr(backoff, "MANY_ROWS", many)
    monkeypatch.setattr(ngrams_module, "BLOCK", block)
    ngrams, ids = counted(longest=longest), text(80, seed=1)
    evidence = gather_evidence(ngrams, ids)
    odds_CLG = torch.from_numpy(no_odds(longest))
    for expert, (kind, cut) in enumerate(EXPERTS):
        cut = longest if cut is None else min(cut, longest)
        costs = -torch.log(chain(evidence, odds_CLG, kind, cut)).numpy()
        np.testing.assert_allclose(costs[1:], nats(ngrams, ids, expert), rtol=1e-9)


@pytest.mark.parametrize("longest", [2, 4, 12])
def test_what_is_learned_makes_its_text_likelier_and_others_of_its_kind(longest):
    ngrams, own, other = counted(longest=longest), text(400, seed=1), text(400, seed=2)
    learned = learn_odds(ngrams, own)
    for ids in (own, other):
        for expert in range(len(EXPERTS)):
            assert nats(learned, ids, expert).mean() < nats(ngrams, ids, expert).mean() - 0.02
    assert learned.contexts is ngrams.contexts
    assert np.array_equal(ngrams.odds_CLG, no_odds(longest))


@pytest.mark.parametrize("kind", [NOVEL, PLAIN])
def test_the_first_step_follows_the_gradient_that_torch_finds(kind, monkeypatch):
    """Adam's first step is the rate times the sign of the gradient, where there is one."""
    monkeypatch.setattr(backoff, "CLIMB_STEPS", 1)
    ngrams, ids = counted(), text(300, seed=1)
    evidence = gather_evidence(ngrams, ids)
    log_odds = torch.zeros(no_odds(12).shape, dtype=torch.float64, requires_grad=True)
    cut = max(12 if cut is None else cut for cut in CUTS[kind])
    torch.log(chain(evidence, torch.exp(log_odds), kind, cut)).mean().backward()
    gradient = log_odds.grad[kind].numpy()
    expected = backoff.CLIMB_RATE * gradient / (np.abs(gradient) + 1e-5)
    learned = np.log(learn_odds(ngrams, ids).odds_CLG[kind])
    assert (gradient[: cut + 1] != 0).sum() > 30
    np.testing.assert_allclose(learned, expected, rtol=1e-6, atol=1e-12)


def test_a_class_that_was_never_met_stays_as_it_was():
    ngrams, ids = counted(), text(300, seed=1)
    learned = learn_odds(ngrams, ids)
    evidence = gather_evidence(ngrams, ids)
    for kind in (NOVEL, PLAIN):
        met = set(evidence.place[kind][evidence.left[kind] < 1].tolist())
        flat = learned.odds_CLG[kind].reshape(-1)
        assert all(flat[place] == 1 for place in range(len(flat)) if place not in met)
        assert all(flat[place] > 0 for place in met)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 12))
def test_odds_are_finite_and_positive_whatever_the_text(ids, longest):
    ids = np.array(ids)
    learned = learn_odds(NGrams.count(ids[::-1], VOCAB, longest), ids)
    assert np.isfinite(learned.odds_CLG).all() and (learned.odds_CLG > 0).all()
    # So they can be saved and loaded.
    again = NGrams.from_tensors(learned.tensors(), VOCAB, longest)
    np.testing.assert_allclose(again.odds_CLG, learned.odds_CLG, rtol=1e-6)


def test_odds_climb_the_likelihood_of_what_came():
    """Against a difference quotient of the chain's own logarithm."""
    draws = np.random.default_rng(15)
    counts_CL1V = draws.integers(0, 4, (2, 4, 1, VOCAB))
    odds_CLG = np.exp(draws.normal(size=(2, 6 + 1, CLASSES**2)))
    next_id = 3

    def log_likelihood(odds_CLG, kind):
        shares, left, _ = smooth(counts_CL1V, odds_CLG, 0)
        p = 1 / VOCAB
        for level in range(4):
            p = left[kind, level, 0] * p + shares[kind, level, 0, next_id]
        return np.log(p)

    for kind in (0, 1):
        climbed = odds_CLG.copy()
        smoothed = smooth(counts_CL1V, odds_CLG, 0)
        climb_odds(climbed, smoothed, kind, 6, next_id)
        slopes = np.log(climbed / odds_CLG) / backoff.ODDS_RATE
        for place in smoothed[2][kind, :, 0].tolist():
            moved = odds_CLG.copy()
            moved.reshape(-1)[place] *= np.exp(1e-6)
            rise = log_likelihood(moved, kind) - log_likelihood(odds_CLG, kind)
            np.testing.assert_allclose(slopes.reshape(-1)[place], rise / 1e-6, atol=1e-5)
        assert np.count_nonzero(slopes) <= 4
