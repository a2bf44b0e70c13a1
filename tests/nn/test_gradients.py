"""Norms of gradients against derivatives taken by nudging a state of the naive loop."""

import naive
import numpy as np
import pytest
import torch

from textgen.config.model import CELLS, ModelConfig
from textgen.nn import gradients
from textgen.nn.char_rnn import CharRNN
from textgen.nn.gradients import gradient_norms

VOCAB = 10
TINY = 1e-30


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few positions after a short warm-up."""
    monkeypatch.setattr(gradients, "POSITIONS", 3)
    monkeypatch.setattr(gradients, "READ_BEFORE", 4)


def network(cell, layers=1, hidden=3, **changed):
    """A network of random weights; changed: those whose names have this part."""
    config = ModelConfig(VOCAB, cell, layers=layers, hidden=hidden, embedding=4)
    weights = naive.random_weights(config, seed=layers)
    for part, value in changed.items():
        for name, array in weights.items():
            if part in name:
                weights[name] = np.broadcast_to(value, array.shape)
    return CharRNN.from_weights(config, weights, torch.device("cpu"))


def some_ids(length):
    return np.random.default_rng(0).integers(1, VOCAB, length)


def nudged_nats(model, ids, target, nudged, nudge):
    """What target costs after ids when, in the middle of a step, one state is nudged.

    nudged: (step, layer, which of its states). A nudged c also moves the h that is made from it.
    """
    config = model.config
    weights = {name: array.astype(np.float64) for name, array in model.export().items()}
    layers = [naive.layer_weights(weights, number) for number in range(config.layers)]
    states = [naive.zero_state(config.cell, config.hidden) for _ in layers]
    for step, id_t in enumerate(ids):
        x_t, total = weights["embedding.weight"][id_t], 0
        for number, p in enumerate(layers):
            h, *c = naive.CELLS[config.cell](p, x_t, states[number])
            if nudged == (step, number, 0):
                h = h + nudge
            if nudged == (step, number, 1):
                gate = h / np.tanh(c[0])
                c = [c[0] + nudge]
                h = gate * np.tanh(c[0])
            states[number] = (h, *c)
            x_t, total = h, total + h
    return naive.nats(weights["head.weight"] @ total + weights["head.bias"], target)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_norms_are_those_of_the_derivative_by_every_unit_of_every_state(cell, layers):
    model, lags = network(cell, layers), 5
    ids = some_ids(4 + lags + 1 + 3)
    found_KSP = gradient_norms(model, ids, lags)
    states = [(n, part) for n in range(layers) for part in range(2 if cell == "lstm" else 1)]
    assert found_KSP.shape == (lags + 1, len(states), 3)
    for lag, s, position in np.ndindex(found_KSP.shape):
        x, target = ids[position : position + 4 + lags + 1], ids[position + 4 + lags + 1]
        nudged = (len(x) - 1 - lag, *states[s])
        slope = [
            np.imag(nudged_nats(model, x, target, nudged, 1j * TINY * unit)) / TINY
            for unit in np.eye(model.config.hidden)
        ]
        np.testing.assert_allclose(found_KSP[lag, s, position], np.linalg.norm(slope), rtol=1e-9)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.25])
def test_an_orthogonal_rnn_near_zero_decays_or_grows_by_its_factor(factor):
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    parts = {"weight_ih": 1e-6, "bias": 0, "weight_hh": factor * turn}
    norms_KSP = gradient_norms(network("rnn", hidden=6, **parts), some_ids(100), lags=20)
    expected = norms_KSP[0] * factor ** np.arange(21)[:, None, None]
    np.testing.assert_allclose(norms_KSP, expected, rtol=1e-5)
    assert norms_KSP.min() > 0


@pytest.mark.parametrize(("bias", "gate"), [(50, 1), (0, 0.5)])
def test_a_forget_gate_is_the_factor_of_c_when_nothing_else_recurs(bias, gate):
    biases = np.repeat([0.0, bias, 0.0, 0.0], 3)
    # The weights of g are not zero, so that c is not.
    only_g = np.repeat([0.0, 0.0, 1.0, 0.0], 3)[:, None]
    model = network("lstm", weight_hh=0, weight_ih=only_g, bias_ih=biases, bias_hh=0)
    norms_KSP = gradient_norms(model, some_ids(100), lags=30)
    expected = norms_KSP[0, 1] * gate ** np.arange(31.0)[:, None]
    np.testing.assert_allclose(norms_KSP[:, 1], expected, rtol=1e-12)
    assert norms_KSP[0].min() > 0
    # h leads nowhere but to the head.
    assert not norms_KSP[1:, 0].any()


def test_positions_measured_in_pieces_are_the_same(monkeypatch):
    model, ids = network("lstm"), some_ids(200)
    whole = gradient_norms(model, ids, 9)
    room_for_a_single_row = 10 * 3
    monkeypatch.setattr(gradients, "MOST_STATE_NUMBERS", room_for_a_single_row)
    np.testing.assert_allclose(gradient_norms(model, ids, 9), whole, rtol=1e-12)
