"""Rows for the last few characters, and the networks that read them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textgen.config import ModelConfig
from textgen.engine import Engine
from textgen.model import CharRNN, TorchStepper
from textgen.ngrams import indices
from textgen.streams import Streams
from textgen.trainer import Trainer


def history(ids, n):
    """The ids at each position, one before, two before, ...; 0 where there is none."""
    return [np.concatenate((np.zeros(back, int), ids))[: len(ids)] for back in range(n)]


def test_few_n_grams_have_a_row_each():
    model = ModelConfig(vocab=10, ngrams=3, buckets=10_000)
    two, three = indices(history(np.array([1, 2, 3, 4]), 3), model)
    assert two.tolist() == [10, 21, 32, 43]  # the newest character first
    assert three.tolist() == [100 + 100, 100 + 210, 100 + 321, 100 + 432]


@given(st.lists(st.integers(0, 69), min_size=1, max_size=40), st.integers(1, 300))
def test_rows_lie_in_the_part_of_their_length(ids, buckets):
    model = ModelConfig(vocab=70, ngrams=6, buckets=buckets)
    start = 0
    sizes = model.ngram_rows()
    for rows, size in zip(indices(history(np.array(ids), 6), model), sizes, strict=True):
        assert (rows >= start).all() and (rows < start + size).all()
        start += size
    assert model.shapes()["ngrams.weight"][0] == start


@given(st.lists(st.integers(0, 9999), min_size=6, max_size=40))
def test_numpy_and_torch_agree_even_where_numbers_wrap_around(ids):
    model = ModelConfig(vocab=10_000, ngrams=12, buckets=1000)
    last = history(np.array(ids), 12)
    ours = indices(last, model)
    theirs = indices([torch.from_numpy(one) for one in last], model)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(ours, theirs, strict=True))


def test_equal_n_grams_share_a_row_and_most_others_do_not():
    model = ModelConfig(vocab=70, ngrams=6, buckets=1 << 16)
    ids = np.random.default_rng(0).integers(0, 70, 20_000)
    rows = indices(history(np.tile(ids, 2), 6), model)[-1]
    assert np.array_equal(rows[6:20_000], rows[20_006:])
    # 20,000 keys in 65,536 rows fill 65,536 (1 - exp(-20,000 / 65,536)) of them when spread evenly.
    assert len(np.unique(rows)) == pytest.approx(65_536 * (1 - np.exp(-20_000 / 65_536)), rel=0.02)


@pytest.fixture(params=["rnn", "lstm", "gru"])
def model(request):
    config = ModelConfig(vocab=7, cell=request.param, layers=2, hidden=5, embedding=6)
    config = ModelConfig(**{**vars(config), "ngrams": 4, "buckets": 60})
    return CharRNN(config, seed=3).double()


def test_the_first_layer_reads_embedding_and_rows(model):
    """Against a network without n-grams whose embedding is what this one's input should be."""
    ids = np.array([3, 1, 4, 1, 5])
    rows = np.stack(indices(history(ids, 4), model.config), axis=-1)
    table = model.ngrams.weight.detach().numpy()
    wide = [np.concatenate((model.embedding.weight[i].detach(), *table[r]))
            for i, r in zip(ids, rows, strict=True)]  # fmt: skip
    x_TBE = torch.tensor(np.array(wide))[:, None]
    first, _ = model.layers[0](x_TBE, model.initial_state(1)[0])
    second, _ = model.layers[1](first, model.initial_state(1)[1])
    logits_TBV, _ = model.eval()(torch.from_numpy(ids)[:, None])
    torch.testing.assert_close(logits_TBV, model.head(first + second))


def test_engine_and_model_agree_in_any_pieces(model):
    ids_TB = np.random.default_rng(1).integers(0, 7, (23, 3))
    stepper, engine = TorchStepper(model), Engine(model.config, model.export())
    whole, _ = stepper.nats(ids_TB[:-1], ids_TB[1:], None)
    for cuts in ([0, 22], [0, 1, 2, 3, 22], [0, 9, 11, 22]):
        state, other, pieces = None, None, []
        for a, b in itertools.pairwise(cuts):
            x_TB, y_TB = ids_TB[a:b], ids_TB[a + 1 : b + 1]
            nats_TB, state = stepper.nats(x_TB, y_TB, state)
            again_TB, other = engine.nats(x_TB, y_TB, other)
            np.testing.assert_allclose(again_TB, nats_TB, atol=1e-9)
            pieces.append(nats_TB)
        np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-9)


def test_a_forgotten_history_would_be_noticed(model):
    ids_TB = np.random.default_rng(1).integers(0, 7, (23, 3))
    stepper = TorchStepper(model)
    whole, _ = stepper.nats(ids_TB[:-1], ids_TB[1:], None)
    _, state = stepper.nats(ids_TB[:9], ids_TB[1:10], None)
    blank = (*state[:-1], (torch.zeros_like(state[-1][0]),))
    broken, _ = stepper.nats(ids_TB[9:-1], ids_TB[10:], blank)
    assert not np.allclose(broken, whole[9:], atol=1e-6)


def test_training_goes_on_exactly_from_a_snapshot(model):
    ids = np.random.default_rng(2).integers(0, 7, 400)

    def fresh():
        one = CharRNN(model.config, seed=5, dropout=0.3)
        return Trainer(one, Streams(ids, batch=3, window=11, seed=0), seed=0)

    whole, parts, other = fresh(), fresh(), fresh()
    for _ in range(17):
        whole.update(0.01)
    for _ in range(6):
        parts.update(0.01)
    other.model.load(parts.model.export())
    other.restore(parts.snapshot(), parts.step)
    for _ in range(11):
        other.update(0.01)
    ours, theirs = whole.model.export(), other.model.export()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_dropout_takes_whole_n_grams(model):
    torch.nn.init.ones_(model.ngrams.weight)
    model.dropout.rate = 0.5
    model.train().dropout.reseed(0, 0)
    x_TB = torch.zeros(200, 2, dtype=torch.int64)
    found, _ = model._look_up(model.ngrams, x_TB, torch.zeros(2, 3, dtype=torch.int64))
    per_row = found.unflatten(-1, (3, 3))
    assert ((per_row == 0).all(-1) | (per_row == 2).all(-1)).all()
    assert 0.4 < (per_row == 0).double().mean() < 0.6
