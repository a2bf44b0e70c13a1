"""A network and n-grams as one model, against plain loops over logarithms."""

import dataclasses
import math

import naive
import numpy as np
import pytest
import torch
from factories import random_checkpoint, small_sizes
from hypothesis import given
from hypothesis import strategies as st

import textgen
from textgen.checkpoint.loading import make_engine, with_ngrams
from textgen.config.model import CELLS
from textgen.engine import mixture as module
from textgen.engine.mixture import (
    AGREEMENT,
    FEW_IDS,
    LENGTHS,
    MANY_IDS,
    MATCH,
    MOST_FITTED,
    SURE,
    Mixture,
    fit_weights,
    likeliest,
    mix,
    usual_weights,
    weight_rows,
)
from textgen.engine.network import Engine
from textgen.engine.ngrams import NGrams
from textgen.engine.smoothing import EXPERTS
from textgen.errors import NumericsError
from textgen.evaluation import protocols
from textgen.nn.char_rnn import CharRNN, TorchStepper
from textgen.nn.dynamic import AdaptationRule, AdaptiveStepper
from textgen.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer.from_text("abcdefgh\n " * 3)
LONGEST = 11


def sizes(cell="gru"):
    return small_sizes(LETTERS, cell=cell, layers=2, ngrams=LONGEST + 1)


def known_ids(n):
    """The beginning of the text that is counted, which repeats itself."""
    words = np.random.default_rng(5).integers(1, LETTERS.size, 20).repeat(3)
    return np.resize(words, n)


def random_ids(n, rows=1, seed=1):
    """Ids of which some stretches are those that were counted."""
    ids = np.random.default_rng(seed).integers(1, LETTERS.size, (n, rows))
    ids[n // 3 : 2 * n // 3] = known_ids(2 * n // 3 - n // 3)[:, None]
    return ids


def counted():
    return NGrams.count(known_ids(240), LETTERS.size, LONGEST)


def network(cell="gru"):
    return Engine(sizes(cell), naive.random_weights(sizes(cell), seed=3))


def random_weights_WX(seed=0):
    """Rows of weights as if they were fitted on a long text."""
    weights_WX = np.random.default_rng(seed).normal(0, 0.1, usual_weights().shape)
    weights_WX[0] += usual_weights()[0]
    return weights_WX


def only(part):
    """Weights under which one part alone counts."""
    weights_WX = np.zeros_like(usual_weights())
    weights_WX[0, part] = 1
    return weights_WX


def mixture(cell="gru", weights_WX=None):
    weights_WX = random_weights_WX() if weights_WX is None else weights_WX
    return Mixture(network(cell), counted(), weights_WX)


def checkpoint(weights_WX=None):
    plain = random_checkpoint(LETTERS, scale=0.7, layers=2, ngrams=LONGEST + 1)
    mixing = random_weights_WX() if weights_WX is None else weights_WX
    return dataclasses.replace(plain, ngrams=counted(), mixing=mixing)


def plain_mix(network_V, experts_XV, matched, weights_WX):
    """The mixture's probabilities after one text, in floats, from log-probabilities."""
    network_V, experts_XV = list(network_V), [list(expert_V) for expert_V in experts_XV]
    tops = [max(part_V) for part_V in (network_V, experts_XV[0])]
    sure = [min(int(math.exp(top) * SURE), SURE - 1) for top in tops]
    is_same = network_V.index(tops[0]) == experts_XV[0].index(tops[1])
    rows = [
        0,
        AGREEMENT + (is_same * SURE + sure[0]) * SURE + sure[1],
        MATCH + min(matched, LENGTHS - 1),
    ]
    weights = [sum(weights_WX[row][i] for row in rows) for i in range(1 + len(experts_XV))]
    parts = [network_V, *experts_XV]
    scores = [
        math.fsum(weight * part[c] for weight, part in zip(weights, parts, strict=True))
        for c in range(len(network_V))
    ]
    exps = [math.exp(score - max(scores)) for score in scores]
    return [one / math.fsum(exps) for one in exps]


def parts_of(state):
    return [part for layer in state for part in layer]


def assert_equal_states(found, expected):
    for one, other in zip(parts_of(found), parts_of(expected), strict=True):
        assert np.array_equal(one, other)


# The mean of the logarithms


@given(st.integers(0, 999), st.floats(0.05, 5))
def test_the_mixture_is_the_weighted_mean_of_logarithms(seed, sharpness):
    draws = np.random.default_rng(seed)
    logits_BV = draws.normal(0, sharpness, (5, 7))
    experts_BXV = np.log(draws.dirichlet(np.full(7, 1 / sharpness), (5, len(EXPERTS))) + 1e-9)
    matched_B = draws.integers(0, 40, 5)
    weights_WX = random_weights_WX(seed)
    found_BV = mix(logits_BV, experts_BXV, matched_B, weights_WX)
    for b in range(5):
        network_V = logits_BV[b] - np.log(np.exp(logits_BV[b]).sum())
        expected = plain_mix(network_V, experts_BXV[b], int(matched_B[b]), weights_WX)
        np.testing.assert_allclose(np.exp(found_BV[b]), expected, rtol=1e-9)


def test_rows_of_weights_are_of_all_of_their_kind():
    """Every agreement and every length has a row of its own, and none lies beyond the last."""
    sure = np.linspace(0.05, 1, 60)
    one, other = (grid.ravel() for grid in np.meshgrid(sure, sure))

    def two_ids(p_B, swapped):
        both = np.stack([p_B, 1 - p_B], axis=1)
        both = both[:, ::-1] if swapped else both
        return np.log(np.concatenate([both, np.full((len(p_B), 18), 1e-3)], axis=1) + 1e-9)

    found = set()
    for swapped in (False, True):
        experts_BXV = two_ids(other, swapped)[:, None].repeat(len(EXPERTS), axis=1)
        rows_B3 = weight_rows(two_ids(one, False), experts_BXV, np.arange(len(one)) % 30)
        found |= set(rows_B3.ravel().tolist())
        assert (rows_B3[:, 0] == 0).all()
    assert max(found) == len(usual_weights()) - 1
    assert {row for row in found if row >= MATCH} == {MATCH + n for n in range(LENGTHS)}


@pytest.mark.parametrize("cell", CELLS)
def test_a_weight_of_one_for_a_part_and_none_for_others_leaves_it_alone(cell):
    own, others, ids = network(cell), counted(), random_ids(12, rows=2)
    states = [None, None, None, None]
    models = [mixture(cell, only(0)), mixture(cell, only(1)), own, others]
    for ids_B in ids:
        results = []
        for i, model in enumerate(models):
            scores, states[i] = model.step(ids_B, states[i])
            results.append(scores)
        alone_BV = results[2] - np.log(np.exp(results[2]).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(results[0], alone_BV, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(results[1], results[3][:, 0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_mixes_what_both_say_of_the_text(cell):
    model, state, ids = mixture(cell), None, [int(one) for one in random_ids(15)[:, 0]]
    logits, _ = naive.network(sizes(cell), naive.random_weights(sizes(cell), seed=3), ids)
    for n, next_id in enumerate(ids, 1):
        logs_BV, state = model.step(np.array([next_id]), state)
        network_V = logits[n - 1] - np.log(np.exp(logits[n - 1]).sum())
        experts_NXV, matched_N, _ = counted().along(np.array(ids[:n])[:, None], None)
        expected = plain_mix(network_V, experts_NXV[-1], int(matched_N[-1]), model.weights_WX)
        np.testing.assert_allclose(np.exp(logs_BV[0]), expected, rtol=1e-8)
        np.testing.assert_allclose(np.exp(logs_BV).sum(), 1, atol=1e-6)


@given(st.integers(1, 25), st.integers(0, 25), st.integers(0, 99), st.sampled_from([1, 1 << 19]))
def test_step_read_and_nats_agree_wherever_the_text_is_cut(n, cut, seed, block):
    model, ids, cut = mixture(), random_ids(n + 1, seed=seed), min(cut, n)
    steps, state = [], None
    for ids_B in ids[:-1]:
        logs_BV, state = model.step(ids_B, state)
        steps.append(logs_BV[0])
    costs, before = [], None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textgen.engine.ngrams.BLOCK", block)
        for start, end in ((0, cut), (cut, n)):
            if start < end:
                nats_TB, before = model.nats(ids[start:end], ids[start + 1 : end + 1], before)
                costs.append(nats_TB[:, 0])
    expected = -np.array(steps)[np.arange(n), ids[1:, 0]]
    np.testing.assert_allclose(np.concatenate(costs), expected, rtol=1e-12)
    assert_equal_states(before, state)
    before = model.read(ids[:cut, 0], 1, None)[1] if cut else None
    if cut < n:
        logs_BV, before = model.read(ids[cut:-1, 0], 1, before)
        assert np.array_equal(logs_BV[0], steps[-1])
    assert_equal_states(before, state)


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_is_the_network_s_with_the_ngrams_behind_it(cell):
    model, ids_TB = mixture(cell), random_ids(9, rows=3)
    _, state = model.nats(ids_TB[:-1], ids_TB[1:], None)
    _, own = network(cell).nats(ids_TB[:-1], ids_TB[1:], None)
    _, _, others = counted().along(ids_TB[:-1], None)
    assert_equal_states(state, (*own, *others))
    assert [part.shape for part in parts_of(model.initial_state(3))] == [
        part.shape for part in parts_of(state)
    ]
    kept = [part.copy() for part in parts_of(state)]
    first, _ = model.step(ids_TB[-1], state)
    model.step(ids_TB[0], None)
    model.nats(ids_TB[1:], ids_TB[:-1], state)
    assert_equal_states(state, (kept,))
    assert np.array_equal(model.step(ids_TB[-1], state)[0], first)


def test_a_state_is_taken_apart_by_rows_and_put_together():
    model, ids_TB = mixture(), random_ids(12, rows=4)
    nats_TB, state = model.nats(ids_TB[:-1], ids_TB[1:], None)
    whole_BV, _ = model.step(ids_TB[-1], state)
    turned = tuple(tuple(part[::-1] for part in layer) for layer in state)
    np.testing.assert_allclose(model.step(ids_TB[-1, ::-1], turned)[0][::-1], whole_BV, rtol=1e-12)
    for b in range(4):
        row = slice(b, b + 1)
        alone_TB, _ = model.nats(ids_TB[:-1, row], ids_TB[1:, row], None)
        np.testing.assert_allclose(nats_TB[:, row], alone_TB, rtol=1e-12)
        picked = tuple(tuple(part[row] for part in layer) for layer in state)
        logs_BV, _ = model.step(ids_TB[-1, row], picked)
        np.testing.assert_allclose(logs_BV, whole_BV[row], rtol=1e-12)


def test_streams_of_a_mixture_begin_like_one_stream_of_it():
    model, ids = mixture(), random_ids(2100)[:, 0]
    stateful = protocols.stateful(model, ids, LETTERS.counts)
    streamed = protocols.streamed(model, ids, LETTERS.counts)
    np.testing.assert_allclose(streamed[:1050], stateful[:1050], rtol=1e-9)
    # The second stream was warmed on 256 characters: the n-grams remember fewer.
    np.testing.assert_allclose(streamed[1050:], stateful[1050:], rtol=1e-3)


# The weights


def drawn(n, vocab=5, seed=0, rows=None, weights_WX=None):
    """What parts say of n ids, which rows hold, and ids drawn from their mixture by weights."""
    draws = np.random.default_rng(seed)
    said_TXV = np.log(draws.dirichlet(np.full(vocab, 0.6), (n, 1 + len(EXPERTS))) + 1e-4)
    said_TXV -= np.log(np.exp(said_TXV).sum(axis=2, keepdims=True))
    rows_T3 = apart(n) if rows is None else rows
    weights_WX = only(0) if weights_WX is None else weights_WX
    scores_TV = np.einsum("tx,txv->tv", weights_WX[rows_T3].sum(axis=1), said_TXV)
    edges_TV = np.cumsum(np.exp(scores_TV - scores_TV.max(axis=1, keepdims=True)), axis=1)
    ids_T = (edges_TV < draws.random((n, 1)) * edges_TV[:, -1:]).sum(axis=1)
    return said_TXV, rows_T3, ids_T


def one_row(weights):
    """Rows of weights of which all but the first are nothing."""
    weights_WX = np.zeros_like(usual_weights())
    weights_WX[0] = weights
    return weights_WX


def apart(n, seed=0):
    """Rows of weights of n ids: the first, one of two, and one of three."""
    draws = np.random.default_rng(seed)
    columns = [
        np.zeros(n, int),
        AGREEMENT + draws.integers(0, 2, n),
        MATCH + draws.integers(0, 3, n),
    ]
    return np.stack(columns, axis=1)


def cost(weights_WX, said_TXV, rows_T3, ids_T):
    scores_TV = np.einsum("tx,txv->tv", weights_WX[rows_T3].sum(axis=1), said_TXV)
    every = np.arange(len(ids_T))
    return float((np.log(np.exp(scores_TV).sum(axis=1)) - scores_TV[every, ids_T]).mean())


def test_the_weights_of_a_known_mixture_are_found_again():
    true = (0.7, 0.5, -0.3, 0.2)
    rows_T3 = apart(20_000)
    said_TXV, _, ids_T = drawn(20_000, rows=rows_T3, weights_WX=one_row(true))
    found_WX = fit_weights(said_TXV, rows_T3, ids_T)
    np.testing.assert_allclose(found_WX[0], true, atol=0.06)
    # Too few ids for other rows.
    assert not found_WX[1:].any()
    new = drawn(5000, seed=1, rows=rows_T3[:5000], weights_WX=one_row(true))
    for part in range(1 + len(EXPERTS)):
        assert cost(found_WX, *new) < cost(only(part), *new) - 0.01


def test_on_a_long_text_each_row_learns_its_own(monkeypatch):
    monkeypatch.setattr(module, "MANY_IDS", 20_000)
    rows_T3 = apart(20_000)
    true_WX = one_row((0.5, 0.5, 0, 0))
    true_WX[AGREEMENT, 0], true_WX[AGREEMENT + 1, 1], true_WX[MATCH, 2] = 0.6, 0.6, 0.6
    found_WX = fit_weights(*drawn(20_000, rows=rows_T3, weights_WX=true_WX))
    # Rows are sums, so what differs between those of a kind is what is found.
    difference = found_WX[AGREEMENT] - found_WX[AGREEMENT + 1]
    np.testing.assert_allclose(difference, (0.6, -0.6, 0, 0), atol=0.15)
    assert found_WX[MATCH, 2] - found_WX[MATCH + 1, 2] == pytest.approx(0.6, abs=0.15)
    assert not found_WX[MATCH + 3 :].any()
    new = drawn(5000, seed=1, rows=rows_T3[:5000], weights_WX=true_WX)
    first_WX = found_WX.copy()
    first_WX[1:] = 0
    assert cost(found_WX, *new) < cost(first_WX, *new) - 0.005


@pytest.mark.parametrize("n", [0, 1, FEW_IDS - 1])
def test_few_ids_tell_nothing_of_the_weights(n):
    assert np.array_equal(fit_weights(*drawn(n)), usual_weights())
    assert FEW_IDS < MANY_IDS


def test_weights_begin_with_those_of_a_base_where_it_is_one():
    base_WX = usual_weights(from_base=True)
    assert base_WX[0, 0] > usual_weights()[0, 0]
    assert np.array_equal(fit_weights(*drawn(FEW_IDS - 1), base_WX), base_WX)


def test_a_few_ids_are_read_often_enough_to_tell():
    true_WX = one_row((1.1, 0.0, 0.1, 0.2))
    found_WX = fit_weights(*drawn(1500, rows=apart(1500), weights_WX=true_WX))
    assert found_WX[0, 0] > usual_weights()[0, 0] + 0.2


def test_no_weights_nearby_make_the_text_likelier():
    """What is climbed is concave, so these are the best of all."""
    rows_T3 = apart(20_000)
    said_TXV, _, ids_T = drawn(20_000, rows=rows_T3, weights_WX=one_row((0.9, 0.2, 0.1, -0.2)))
    found_WX = fit_weights(said_TXV, rows_T3, ids_T)
    least = cost(found_WX, said_TXV, rows_T3, ids_T)
    for step in np.concatenate([np.eye(4), -np.eye(4)]):
        assert cost(found_WX + one_row(0.1 * step), said_TXV, rows_T3, ids_T) > least


@pytest.mark.parametrize("vocab", [2, MOST_FITTED])
def test_a_small_vocabulary_is_fitted_whole(vocab):
    said_TXV, _, ids_T = drawn(10, vocab)
    found_TXV, found_T = likeliest(said_TXV, ids_T)
    assert np.array_equal(found_TXV, said_TXV)
    assert np.array_equal(found_T, ids_T)


@pytest.mark.parametrize("vocab", [MOST_FITTED + 1, 1000])
def test_of_a_large_vocabulary_the_likeliest_are_kept_and_the_rest_together(vocab):
    said_TXV, _, ids_T = drawn(30, vocab)
    ids_T[::2] = said_TXV[::2].sum(axis=1).argmin(axis=1)  # the least likely of all
    found_TXK, found_T = likeliest(said_TXV, ids_T)
    assert found_TXK.shape == (30, 1 + len(EXPERTS), MOST_FITTED)
    np.testing.assert_allclose(np.exp(found_TXK).sum(axis=2), 1, atol=1e-6)
    for said_XV, found_XK, came, found in zip(said_TXV, found_TXK, ids_T, found_T, strict=True):
        assert np.array_equal(found_XK[:, found], said_XV[:, came])
        together = said_XV.sum(axis=0)
        together[came] = np.inf
        kept = np.argsort(-together)[: MOST_FITTED - 1]
        assert np.array_equal(np.sort(found_XK[:, :-1], axis=1), np.sort(said_XV[:, kept], axis=1))


# Where it comes from


def test_a_checkpoint_with_ngrams_writes_with_both():
    one = checkpoint()
    model = Mixture(Engine(one.model, one.weights), one.ngrams, one.mixing)
    loaded, ids, state, other = make_engine(one), random_ids(8, rows=2), None, None
    for ids_B in ids:
        logs_BV, state = model.step(ids_B, state)
        found_BV, other = loaded.step(ids_B, other)
        assert np.array_equal(found_BV, logs_BV)


def test_a_checkpoint_without_ngrams_writes_with_the_network_alone():
    one = dataclasses.replace(checkpoint(), ngrams=None)
    own, ids_B = Engine(one.model, one.weights), np.array([1, 2])
    assert np.array_equal(make_engine(one).step(ids_B, None)[0], own.step(ids_B, None)[0])
    assert with_ngrams(own, one) is own


def torch_network(one):
    return CharRNN.from_weights(one.model, one.weights, torch.device("cpu"))


def test_the_torch_model_mixes_like_the_numpy_engine():
    one, ids_TB = checkpoint(usual_weights()), random_ids(30, rows=2)
    torch_model = with_ngrams(TorchStepper(torch_network(one)), one)
    numpy_model = make_engine(one)
    found, state = torch_model.nats(ids_TB[:-1], ids_TB[1:], None)
    expected, _ = numpy_model.nats(ids_TB[:-1], ids_TB[1:], None)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    logs_BV, _ = torch_model.step(ids_TB[-1], state)
    np.testing.assert_allclose(logs_BV, torch_model.step(ids_TB[-1], state)[0])
    again, _ = torch_model.read(ids_TB[:, 0], 2, None)
    np.testing.assert_allclose(again, numpy_model.read(ids_TB[:, 0], 2, None)[0], atol=2e-5)


def test_a_network_beside_ngrams_learns_while_it_reads():
    """With all the weight the mixture costs what the learning network costs alone."""
    one, ids_TB = checkpoint(only(0)), random_ids(300)
    x_TB, y_TB = ids_TB[:-1], ids_TB[1:]
    rule = AdaptationRule(0.01, 0.001)
    mixed = with_ngrams(AdaptiveStepper(torch_network(one), rule), one)
    alone_TB, _ = AdaptiveStepper(torch_network(one), rule).nats(x_TB, y_TB, None)
    still_TB, _ = TorchStepper(torch_network(one)).nats(x_TB, y_TB, None)
    found_TB, _ = mixed.nats(x_TB, y_TB, None)
    np.testing.assert_allclose(found_TB, alone_TB, atol=1e-5)
    assert np.abs(found_TB - still_TB).max() > 0.01


def test_a_mixture_goes_on_where_its_text_stopped():
    model = textgen.TextModel(checkpoint())
    whole = model.sample("ab", length=40, seed=1)
    text = model.sample("ab", length=15, seed=1)
    assert text + model.sample(length=25, state=model.state) == whole


def test_ngrams_change_what_is_written():
    texts = {
        textgen.TextModel(checkpoint(only(part))).sample(length=60, seed=1, temperature=1.0)
        for part in (0, 1)
    }
    assert len(texts) == 2


def test_a_network_that_diverged_is_reported_and_not_hidden_by_the_ngrams():
    one = checkpoint()
    one.weights["head.weight"][:] = 3e38
    one.weights["head.bias"][:] = 3e38
    model = textgen.TextModel(one)
    with pytest.raises(NumericsError, match="not finite"):
        model.sample("ab", length=3, seed=1)
    with pytest.raises(NumericsError, match="not finite"):
        model.score("abab")
