"""A network and n-grams as one model, against plain probabilities in double precision."""

import dataclasses

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
from textgen.engine.mixture import Mixture, best_ngram_weight, mix
from textgen.engine.network import Engine
from textgen.engine.ngrams import NGrams
from textgen.errors import NumericsError
from textgen.evaluation import protocols
from textgen.nn.char_rnn import CharRNN, TorchStepper
from textgen.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer.from_text("abcdefgh\n " * 3)


def sizes(cell="gru", order=4):
    return small_sizes(LETTERS, cell=cell, layers=2, ngrams=order)


def random_ids(n, rows=1, seed=1):
    return np.random.default_rng(seed).integers(0, LETTERS.size, (n, rows))


def counted(order=4):
    return NGrams.count(random_ids(200, seed=5)[:, 0], LETTERS.size, order)


def network(cell="gru"):
    return Engine(sizes(cell), naive.random_weights(sizes(cell), seed=3))


def mixture(cell="gru", weight=0.3):
    return Mixture(network(cell), counted(), weight)


def checkpoint(share=0.3):
    plain = random_checkpoint(LETTERS, scale=0.7, layers=2, ngrams=4)
    return dataclasses.replace(plain, ngrams=counted(), ngram_weight=share)


def plain(ids, share, cell="gru"):
    """The probabilities after ids, added as probabilities."""
    logits, _ = naive.network(sizes(cell), naive.random_weights(sizes(cell), seed=3), ids)
    own = np.exp(logits[-1]) / np.exp(logits[-1]).sum()
    others = np.exp(counted().read(np.array(ids), 1, None)[0][0])
    return (1 - share) * own + share * others


def parts_of(state):
    return [part for layer in state for part in layer]


def assert_equal_states(found, expected):
    for one, other in zip(parts_of(found), parts_of(expected), strict=True):
        assert np.array_equal(one, other)


# The mean of two models


@given(st.floats(0, 1), st.integers(0, 99))
def test_the_mean_of_logarithms_is_that_of_probabilities(share, seed):
    one, other = np.random.default_rng(seed).dirichlet(np.ones(7), 2)
    mixed = mix(np.log(one), np.log(other), share)
    np.testing.assert_allclose(np.exp(mixed), (1 - share) * one + share * other, rtol=1e-12)


def test_a_weight_of_nothing_or_all_leaves_one_model_without_a_warning():
    one, other = np.log([0.2, 0.8]), np.array([-2000.0, 0.0])
    assert np.array_equal(mix(one, other, 0.0), one)
    assert np.array_equal(mix(one, other, 1.0), other)


def test_probabilities_too_small_for_a_number_are_mixed():
    mixed = mix(np.array([-1e4, -2e4]), np.array([-3e4, -1.0]), 0.25)
    np.testing.assert_allclose(mixed, [-1e4 + np.log(0.75), -1 + np.log(0.25)])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("cell", CELLS)
def test_a_step_gives_the_mean_of_both_models_probabilities(cell, share):
    model, state, ids = mixture(cell, share), None, [3, 1, 0, 7, 7, 2]
    for n, one in enumerate(ids, 1):
        logs_BV, state = model.step(np.array([one]), state)
        np.testing.assert_allclose(np.exp(logs_BV[0]), plain(ids[:n], share, cell), rtol=1e-9)
        np.testing.assert_allclose(np.exp(logs_BV).sum(), 1)


@given(st.integers(1, 25), st.integers(0, 25), st.integers(0, 99))
def test_step_read_and_nats_agree_wherever_the_text_is_cut(n, cut, seed):
    model, ids, cut = mixture(), random_ids(n + 1, seed=seed), min(cut, n)
    steps, state = [], None
    for ids_B in ids[:-1]:
        logs_BV, state = model.step(ids_B, state)
        steps.append(logs_BV[0])
    costs, before = [], None
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
    _, others = counted().nats(ids_TB[:-1], ids_TB[1:], None)
    assert_equal_states(state, (*own, *others))
    kept = [part.copy() for part in parts_of(state)]
    first, _ = model.step(ids_TB[-1], state)
    model.step(ids_TB[0], None)
    model.nats(ids_TB[1:], ids_TB[:-1], state)
    assert_equal_states(state, (kept,))
    assert np.array_equal(model.step(ids_TB[-1], state)[0], first)


def test_rows_of_a_batch_do_not_know_each_other():
    model, ids_TB = mixture(), random_ids(12, rows=4)
    nats_TB, _ = model.nats(ids_TB[:-1], ids_TB[1:], None)
    for b in range(4):
        row = slice(b, b + 1)
        alone_TB, _ = model.nats(ids_TB[:-1, row], ids_TB[1:, row], None)
        np.testing.assert_allclose(nats_TB[:, row], alone_TB, rtol=1e-12)


def test_streams_of_a_mixture_begin_like_one_stream_of_it():
    model, ids = mixture(), random_ids(2100)[:, 0]
    stateful = protocols.stateful(model, ids, LETTERS.counts)
    streamed = protocols.streamed(model, ids, LETTERS.counts)
    np.testing.assert_allclose(streamed[:1050], stateful[:1050], rtol=1e-9)
    # The second stream was warmed on 256 characters: the n-grams remember fewer.
    np.testing.assert_allclose(streamed[1050:], stateful[1050:], rtol=1e-3)


# The weight


def mean_cost(network, ngrams, share):
    odds = (1 - share) * np.exp(-network) + share * np.exp(-ngrams)
    return float(-np.log(odds).mean())


COSTS = st.lists(
    st.tuples(*[st.floats(1e-6, 12, allow_subnormal=False)] * 2), min_size=1, max_size=60
)


@given(COSTS)
def test_no_other_weight_makes_a_text_likelier(costs):
    network, ngrams = np.array(costs).T
    share = best_ngram_weight(network, ngrams)
    assert 0 <= share <= 1
    grid = min(mean_cost(network, ngrams, other) for other in np.linspace(0, 1, 201))
    assert mean_cost(network, ngrams, share) <= grid + 1e-9


def test_the_weight_is_that_of_a_fine_grid():
    draws = np.random.default_rng(0)
    network, ngrams = draws.gamma(1, 1.5, 4000), draws.gamma(1, 1.7, 4000)
    grid = np.linspace(0, 1, 2001)
    best = grid[np.argmin([mean_cost(network, ngrams, share) for share in grid])]
    assert 0.1 < best < 0.9
    assert best_ngram_weight(network, ngrams) == pytest.approx(best, abs=5e-4)


def test_two_models_of_which_each_knows_some_characters_share_by_how_many():
    # With costs of 0 and of thousands, the weight is that of the characters the n-grams know.
    knows = np.arange(10) < 3
    share = best_ngram_weight(np.where(knows, 5000.0, 0.0), np.where(knows, 0.0, 5000.0))
    assert share == pytest.approx(0.3)


@pytest.mark.parametrize("more", [1e-3, 1.0, 700.0, 1e5])
def test_a_model_that_is_always_better_gets_it_all(more):
    costs = np.random.default_rng(1).gamma(1, 2, 50)
    assert best_ngram_weight(costs, costs + more) == pytest.approx(0, abs=1e-6)
    assert best_ngram_weight(costs + more, costs) == pytest.approx(1, abs=1e-6)


# Where it comes from


def test_a_checkpoint_with_ngrams_writes_with_both():
    one = checkpoint(share=0.6)
    own, others = Engine(one.model, one.weights), one.ngrams
    model, ids = make_engine(one), random_ids(8, rows=2)
    state = own_state = others_state = None
    for ids_B in ids:
        logs_BV, state = model.step(ids_B, state)
        logits_BV, own_state = own.step(ids_B, own_state)
        others_BV, others_state = others.step(ids_B, others_state)
        odds_BV = np.exp(logits_BV.astype(np.float64))
        odds_BV /= odds_BV.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(np.exp(logs_BV), 0.4 * odds_BV + 0.6 * np.exp(others_BV))


def test_a_checkpoint_without_ngrams_writes_with_the_network_alone():
    one = dataclasses.replace(checkpoint(), model=sizes(order=1), ngrams=None)
    own, ids_B = Engine(one.model, one.weights), np.array([1, 2])
    assert np.array_equal(make_engine(one).step(ids_B, None)[0], own.step(ids_B, None)[0])
    assert with_ngrams(own, one) is own


def test_the_torch_model_mixes_like_the_numpy_engine():
    one, ids_TB = checkpoint(), random_ids(30, rows=2)
    cpu = torch.device("cpu")
    torch_model = with_ngrams(TorchStepper(CharRNN.from_weights(one.model, one.weights, cpu)), one)
    numpy_model = make_engine(one)
    found, state = torch_model.nats(ids_TB[:-1], ids_TB[1:], None)
    expected, _ = numpy_model.nats(ids_TB[:-1], ids_TB[1:], None)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    logs_BV, _ = torch_model.step(ids_TB[-1], state)
    np.testing.assert_allclose(logs_BV, torch_model.step(ids_TB[-1], state)[0])
    again, _ = torch_model.read(ids_TB[:, 0], 2, None)
    np.testing.assert_allclose(again, numpy_model.read(ids_TB[:, 0], 2, None)[0], atol=2e-5)


def test_a_mixture_goes_on_where_its_text_stopped():
    model = textgen.TextModel(checkpoint())
    whole = model.sample("ab", length=40, seed=1)
    text = model.sample("ab", length=15, seed=1)
    assert text + model.sample(length=25, state=model.state) == whole


def test_ngrams_change_what_is_written():
    texts = {
        share: textgen.TextModel(checkpoint(share)).sample(length=60, seed=1, temperature=1.0)
        for share in (0.0, 1.0)
    }
    assert texts[0.0] != texts[1.0]


def test_a_network_that_diverged_is_reported_and_not_hidden_by_the_ngrams():
    one = checkpoint()
    one.weights["head.weight"][:] = 3e38
    one.weights["head.bias"][:] = 3e38
    model = textgen.TextModel(one)
    with pytest.raises(NumericsError, match="not finite"):
        model.sample("ab", length=3, seed=1)
    with pytest.raises(NumericsError, match="not finite"):
        model.score("abab")
