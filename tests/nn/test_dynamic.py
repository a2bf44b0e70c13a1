"""Learning while reading, against Adam's rule written out and against models that do not learn."""

import naive
import numpy as np
import pytest
import torch
from factories import copy_parameters, periodic_ids

from textgen.config.model import CELLS, ModelConfig
from textgen.evaluation.protocols import stateful
from textgen.nn.char_rnn import CharRNN, TorchStepper
from textgen.nn.dynamic import CHARS_PER_UPDATE, AdaptationRule, AdaptiveStepper

VOCAB = 6
COUNTS = np.zeros(VOCAB)
FAST = AdaptationRule(lr=0.01, decay=0.01)


def network(cell="gru", dtype=torch.float64, **options):
    config = ModelConfig(VOCAB, cell, layers=2, hidden=8, embedding=4)
    model = CharRNN(config, **options).to(dtype)
    model.load(naive.random_weights(config, seed=2))
    return model


def pairs(n, rows=1, seed=0):
    """Random x_TB and y_TB with steps n."""
    ids_TB = np.random.default_rng(seed).integers(0, VOCAB, (n + 1, rows))
    return ids_TB[:-1], ids_TB[1:]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_before_the_first_update_the_nats_are_those_of_the_model_as_it_was(cell, dtype):
    x_TB, y_TB = pairs(CHARS_PER_UPDATE + 10, rows=2)
    static, _ = TorchStepper(network(cell, dtype)).nats(x_TB, y_TB, None)
    nats_TB, _ = AdaptiveStepper(network(cell, dtype), FAST).nats(x_TB, y_TB, None)
    assert nats_TB.dtype == np.float64
    assert nats_TB.shape == y_TB.shape
    np.testing.assert_allclose(nats_TB[:CHARS_PER_UPDATE], static[:CHARS_PER_UPDATE], rtol=1e-5)
    assert np.abs(nats_TB[CHARS_PER_UPDATE:] - static[CHARS_PER_UPDATE:]).min() > 0


@pytest.mark.parametrize(
    "place",
    [1, CHARS_PER_UPDATE - 1, CHARS_PER_UPDATE, CHARS_PER_UPDATE + 1, 2 * CHARS_PER_UPDATE + 5],
)
def test_no_character_was_learnt_from_before_it_was_predicted(place):
    ids = np.random.default_rng(0).integers(0, VOCAB, 3 * CHARS_PER_UPDATE)
    other = ids.copy()
    other[place:] = (other[place:] + 1) % VOCAB
    costs, others = (
        stateful(AdaptiveStepper(network(), FAST), one, COUNTS) for one in (ids, other)
    )
    assert np.array_equal(costs[:place], others[:place])
    assert (costs[place:] != others[place:]).all()


def by_hand(model, rule, x_TB, y_TB, dtype=torch.float64):
    """Read a text in windows; after each, Adam without momentum and the pull back, in numpy."""
    trained = copy_parameters(model)
    squares = [np.zeros_like(weight) for weight in trained]
    costs, state = [], None
    for number, start in enumerate(range(0, len(x_TB), CHARS_PER_UPDATE), 1):
        x, y = (torch.from_numpy(ids[start : start + CHARS_PER_UPDATE]) for ids in (x_TB, y_TB))
        logits_TBV, state = model(x, state)
        losses = -torch.log_softmax(logits_TBV, -1).gather(-1, y[:, :, None])[:, :, 0]
        costs.append(losses.detach().numpy())
        gradients = torch.autograd.grad(losses.mean(), list(model.parameters()))
        for i, (weight, gradient) in enumerate(zip(model.parameters(), gradients, strict=True)):
            squares[i] = 0.999 * squares[i] + 0.001 * gradient.numpy() ** 2
            size = np.sqrt(squares[i] / (1 - 0.999**number)) + 1e-8
            moved = weight.detach().numpy() - rule.lr * gradient.numpy() / size
            moved += rule.decay * (trained[i] - moved)
            weight.data = torch.from_numpy(moved).to(dtype)
        state = tuple(tuple(part.detach() for part in layer) for layer in state)
    return np.concatenate(costs)


@pytest.mark.parametrize("windows", [1, 2, 3.5])
@pytest.mark.parametrize("cell", CELLS)
def test_updates_are_those_written_out_by_hand(cell, windows):
    x_TB, y_TB = pairs(int(windows * CHARS_PER_UPDATE), rows=2)
    model, stepper = network(cell), AdaptiveStepper(network(cell), FAST)
    expected = by_hand(model, FAST, x_TB, y_TB)
    nats_TB, _ = stepper.nats(x_TB, y_TB, None)
    np.testing.assert_allclose(nats_TB, expected, rtol=1e-9)
    for one, other in zip(copy_parameters(stepper.model), copy_parameters(model), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-8)


def test_the_first_update_moves_each_weight_by_the_rate_or_not_at_all():
    stepper = AdaptiveStepper(network(), AdaptationRule(lr=0.01, decay=0.0))
    stepper.nats(*pairs(CHARS_PER_UPDATE), None)
    steps = np.concatenate(
        [
            np.abs(after - before).ravel()
            for after, before in zip(
                copy_parameters(stepper.model), copy_parameters(network()), strict=True
            )
        ]
    )
    assert (np.isclose(steps, 0.01, rtol=0.01) | (steps < 0.01)).all()
    assert np.isclose(steps, 0.01, rtol=0.01).mean() > 0.9


def test_a_decay_of_one_forgets_at_once_what_was_learnt():
    x_TB, y_TB = pairs(3 * CHARS_PER_UPDATE)
    stepper = AdaptiveStepper(network(), AdaptationRule(lr=0.01, decay=1.0))
    nats_TB, _ = stepper.nats(x_TB, y_TB, None)
    static, _ = TorchStepper(network()).nats(x_TB, y_TB, None)
    np.testing.assert_allclose(nats_TB, static, rtol=1e-9)
    for after, before in zip(
        copy_parameters(stepper.model), copy_parameters(network()), strict=True
    ):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_a_rate_of_almost_nothing_gives_the_static_figure(cell):
    ids = np.random.default_rng(3).integers(0, VOCAB, 700)
    static = stateful(TorchStepper(network(cell)), ids, COUNTS)
    dynamic_ = stateful(AdaptiveStepper(network(cell), AdaptationRule(1e-12, 1e-3)), ids, COUNTS)
    np.testing.assert_allclose(dynamic_, static, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_a_periodic_text_costs_ever_less(cell, dtype):
    ids = periodic_ids(32 * CHARS_PER_UPDATE)
    static = stateful(TorchStepper(network(cell, dtype)), ids, COUNTS)
    costs = stateful(AdaptiveStepper(network(cell, dtype), AdaptationRule(0.01, 1e-3)), ids, COUNTS)
    quarters = costs.reshape(4, -1).mean(axis=1)
    assert (np.diff(quarters) < 0).all()
    assert quarters[-1] < static.mean() / 2


def test_nats_go_on_from_a_state_and_from_what_was_learnt():
    x_TB, y_TB = pairs(3 * CHARS_PER_UPDATE)
    whole, _ = AdaptiveStepper(network(), FAST).nats(x_TB, y_TB, None)
    stepper, state, pieces = AdaptiveStepper(network(), FAST), None, []
    for start in range(0, 3 * CHARS_PER_UPDATE, CHARS_PER_UPDATE):
        span = slice(start, start + CHARS_PER_UPDATE)
        nats_TB, state = stepper.nats(x_TB[span], y_TB[span], state)
        pieces.append(nats_TB)
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=1e-12)
    assert not any(part.requires_grad for layer in state for part in layer)


def test_nothing_is_dropped_while_reading():
    x_TB, y_TB = pairs(2 * CHARS_PER_UPDATE)
    expected, _ = AdaptiveStepper(network(), FAST).nats(x_TB, y_TB, None)
    dropping = network(dropout=0.5).train()
    assert np.array_equal(AdaptiveStepper(dropping, FAST).nats(x_TB, y_TB, None)[0], expected)
