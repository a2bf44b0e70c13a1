"""The network against the equations written out; state, dropout, initialisation, randomness."""

import random

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textgen.config.model import CELLS, GATES, ModelConfig
from textgen.data.streams import Streams
from textgen.nn.cells import GRU
from textgen.nn.char_rnn import CharRNN, Dropout, TorchStepper
from textgen.training import optim
from textgen.training.trainer import Trainer

VOCAB = 5


def small(cell="gru", layers=2, vocab=VOCAB, hidden=4):
    return ModelConfig(vocab=vocab, cell=cell, layers=layers, hidden=hidden, embedding=3)


def random_model(config, seed=0, dtype=torch.float64, dropout=0.0):
    model = CharRNN(config, dropout=dropout).to(dtype)
    model.load(naive.random_weights(config, seed))
    return model


def random_ids(T, B, seed=0, vocab=VOCAB):
    return np.random.default_rng(seed).integers(0, vocab, (T, B))


def random_state(model, rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    zeros = model.initial_state(rows)
    return tuple(tuple(p + torch.randn(p.shape, generator=generator) for p in one) for one in zeros)


def row_of(state, b):
    return [tuple(part[b].detach().numpy() for part in one) for one in state]


def cross_entropy(logits_TBV, y_TB):
    return torch.nn.functional.cross_entropy(logits_TBV.flatten(0, 1), y_TB.flatten())


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("given_state", [True, False])
@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_logits_and_states_equal_the_written_equations(cell, layers, B, given_state):
    config = small(cell, layers)
    model, x_TB = random_model(config), random_ids(6, B)
    state = random_state(model, B) if given_state else None
    logits_TBV, after = model(torch.from_numpy(x_TB), state)
    for b in range(B):
        before = row_of(state, b) if given_state else None
        expected, last = naive.network(config, model.export(), x_TB[:, b], before)
        np.testing.assert_allclose(logits_TBV[:, b].detach(), expected, rtol=0, atol=1e-9)
        for ours, theirs in zip(row_of(after, b), last, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_float32_logits_are_near_the_written_equations(cell, layers):
    config = small(cell, layers)
    model, x_TB = random_model(config, dtype=torch.float32), random_ids(17, 2)
    logits_TBV, _ = model(torch.from_numpy(x_TB))
    for b in range(2):
        expected, _ = naive.network(config, naive.random_weights(config, 0), x_TB[:, b])
        np.testing.assert_allclose(logits_TBV[:, b].detach(), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_gradient_of_a_window_is_that_of_the_window_alone(cell, layers):
    """Truncated backpropagation: the carried state is a constant, whatever it depends on."""
    config = small(cell, layers)
    model, ids = random_model(config), random_ids(13, 2)
    first, x_TB, y_TB = ids[:6], ids[6:12], ids[7:13]
    _, state = model(torch.from_numpy(first))
    detached = tuple(tuple(part.detach() for part in one) for one in state)
    logits_TBV, _ = model(torch.from_numpy(x_TB), detached)
    cross_entropy(logits_TBV, torch.from_numpy(y_TB)).backward()
    for name, expected, found in slopes_of(config, model, x_TB, y_TB, detached):
        assert found == pytest.approx(expected, abs=1e-9), name


def slopes_of(config, model, x_TB, y_TB, state):
    """For each parameter: its name, the loss's slope along some direction, and the model's."""
    states = [row_of(state, b) for b in range(x_TB.shape[1])]
    rng = np.random.default_rng(7)
    for name, parameter in model.named_parameters():
        direction = rng.standard_normal(parameter.shape)
        expected = naive.slope(
            lambda weights: naive.mean_nats(config, weights, x_TB, y_TB, states),
            model.export(),
            name,
            direction,
        )
        yield name, expected, (parameter.grad.numpy() * direction).sum()


@given(cuts=st.lists(st.integers(1, 16), max_size=4), cell=st.sampled_from(CELLS))
def test_one_window_equals_several_with_carried_state(cuts, cell):
    model, x_TB = random_model(small(cell)), torch.from_numpy(random_ids(17, 2))
    expected, last = model(x_TB)
    state, pieces = None, []
    for piece in torch.tensor_split(x_TB, sorted(set(cuts))):
        logits_TBV, state = model(piece, state)
        pieces.append(logits_TBV)
    torch.testing.assert_close(torch.cat(pieces), expected, rtol=0, atol=1e-12)
    for one, other in zip(state, last, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_rows_do_not_see_each_other(cell):
    model, x_TB = random_model(small(cell)), torch.from_numpy(random_ids(7, 4))
    expected, _ = model(x_TB)
    for b in range(4):
        alone, _ = model(x_TB[:, b : b + 1])
        torch.testing.assert_close(alone[:, 0], expected[:, b], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_state_is_a_value_that_forward_leaves_alone(cell):
    model = random_model(small(cell))
    x_TB, state = torch.from_numpy(random_ids(4, 2)), random_state(model, 2)
    kept = [part.clone() for one in state for part in one]
    first, _ = model(x_TB, state)
    model(x_TB, None)
    again, _ = model(x_TB, state)
    assert torch.equal(first, again)
    assert same([part for one in state for part in one], kept)


@pytest.mark.parametrize("cell", CELLS)
def test_no_state_means_zeros(cell):
    model, x_TB = random_model(small(cell)), torch.from_numpy(random_ids(4, 2))
    zeros = model.initial_state(2)
    assert not any(part.any() for one in zeros for part in one)
    assert torch.equal(model(x_TB, zeros)[0], model(x_TB, None)[0])


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_parameters_have_the_names_and_shapes_of_the_config(cell, layers):
    config = small(cell, layers)
    model = CharRNN(config)
    assert {n: tuple(p.shape) for n, p in model.named_parameters()} == config.shapes()
    assert sum(p.numel() for p in model.parameters()) == config.parameters()


def test_export_and_load_round_trip_and_share_no_memory():
    config = small("lstm")
    model, other = random_model(config, seed=1), random_model(config, seed=2)
    exported = model.export()
    other.load(exported)
    assert same(model.parameters(), other.parameters())
    exported["head.bias"][:] = 7
    with torch.no_grad():
        model.head.bias.zero_()
    assert not (other.head.bias == 7).any()
    assert (exported["head.bias"] == 7).all()


# Ids that are looked up in a table of projections


def gradients(model, x_TB, y_TB, state=None):
    logits_TBV, after = model(torch.from_numpy(x_TB), state)
    loss = cross_entropy(logits_TBV, torch.from_numpy(y_TB))
    return [logits_TBV, *(part for layer in after for part in layer)], torch.autograd.grad(
        loss, list(model.parameters())
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_looking_ids_up_changes_nothing(monkeypatch, layers):
    """In evaluation mode every place is projected; with more places than ids training looks up."""
    model = random_model(small(layers=layers))
    x_TB, y_TB, state = random_ids(7, 3), random_ids(7, 3, seed=1), random_state(model, 3)
    looked_up, calls = GRU.read_ids, []
    monkeypatch.setattr(GRU, "read_ids", lambda *args: calls.append(1) or looked_up(*args))
    outputs, grads = gradients(model.train(), x_TB, y_TB, state)
    assert len(calls) == 1
    expected, expected_grads = gradients(model.eval(), x_TB, y_TB, state)
    assert len(calls) == 1
    for one, other in zip([*outputs, *grads], [*expected, *expected_grads], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_looked_up_ids_are_near_with_products_in_bfloat16():
    models = [CharRNN(small(hidden=32), precision=name) for name in ("float32", "bfloat16")]
    x_TB, y_TB = random_ids(9, 4), random_ids(9, 4, seed=1)
    (_, exact), (_, near) = (gradients(model.train(), x_TB, y_TB) for model in models)
    for one, other in zip(near, exact, strict=True):
        assert one.dtype == torch.float32
        assert 0 < (one - other).norm() < 0.02 * other.norm()


@pytest.mark.parametrize(
    ("cell", "T", "dropout"), [("gru", 1, 0.0), ("gru", 7, 0.5), ("lstm", 7, 0.0)]
)
def test_few_ids_dropout_and_other_cells_take_the_plain_way(monkeypatch, cell, T, dropout):
    monkeypatch.setattr(GRU, "read_ids", None)
    model = random_model(small(cell), dropout=dropout).train()
    model(torch.from_numpy(random_ids(T, 3)))


# Dropout


def test_dropout_is_off_while_evaluating():
    x_TB = torch.from_numpy(random_ids(5, 2))
    dropped = random_model(small(), dropout=0.5).eval()
    assert torch.equal(dropped(x_TB)[0], random_model(small())(x_TB)[0])


def test_dropout_changes_the_logits_while_training():
    x_TB = torch.from_numpy(random_ids(5, 2))
    assert not torch.equal(
        random_model(small(), dropout=0.5)(x_TB)[0], random_model(small())(x_TB)[0]
    )


def test_rate_zero_is_the_identity():
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Dropout(0.0)(x), x)


@pytest.mark.parametrize(("rate", "share"), [(0.1, 1.0), (0.5, 1.0), (0.9, 1.0), (0.4, 0.25)])
def test_share_of_dropped_features_and_their_scale(rate, share):
    dropout = Dropout(rate)
    dropout.reseed(seed=1, step=2)
    out = dropout(torch.ones(100_000, dtype=torch.float64), share)
    kept = out != 0
    expected = 1 - round(rate * share * 256) / 256  # rates are rounded to 1/256
    spread = (expected * (1 - expected) / len(out)) ** 0.5
    assert abs(kept.double().mean().item() - expected) < 5 * spread
    assert out[kept].sub(1 / expected).abs().max() < 1e-12


def test_embedding_is_dropped_a_quarter_as_often_as_each_layers_output():
    config = ModelConfig(vocab=VOCAB, layers=2, hidden=64, embedding=64)
    model, shares = random_model(config, dropout=0.4), []
    model.dropout.register_forward_hook(
        lambda module, inputs, out: shares.append((out == 0).double().mean().item())
    )
    model(torch.from_numpy(random_ids(50, 20)))
    assert shares == pytest.approx([0.1, 0.4, 0.4], abs=0.01)  # 64,000 features each: 5 sigma


def test_dropout_scales_the_gradient_by_the_same_mask():
    dropout = Dropout(0.5)
    x = torch.ones(50, requires_grad=True)
    out = dropout(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_dropout_masks_are_a_function_of_seed_and_step():
    def mask(seed, step, history=0):
        dropout = Dropout(0.5)
        for _ in range(history):
            dropout(torch.ones(17))
        dropout.reseed(seed, step)
        return dropout(torch.ones(64))

    assert torch.equal(mask(1, 2), mask(1, 2, history=3))
    different = [mask(1, 2), mask(1, 3), mask(2, 2), mask(0, 0)]
    assert not any(torch.equal(a, b) for i, a in enumerate(different) for b in different[:i])


def test_masks_of_one_step_differ_from_layer_to_layer():
    dropout = Dropout(0.5)
    dropout.reseed(0, 0)
    assert not torch.equal(dropout(torch.ones(64)), dropout(torch.ones(64)))


def test_largest_seed_can_reseed():
    dropout = Dropout(0.5)
    dropout.reseed(2**63, 10**9)
    assert dropout(torch.ones(64)).count_nonzero() > 0


# Initialisation and randomness


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_blocks_are_orthogonal_one_a_gate(cell):
    model = CharRNN(small(cell, hidden=8), seed=3)
    for layer in model.layers:
        blocks = layer.weight_hh_l0.detach().double().chunk(GATES[cell])
        for block in blocks:
            torch.testing.assert_close(block @ block.T, torch.eye(8).double(), rtol=0, atol=1e-5)
        assert not any(torch.equal(a, b) for i, a in enumerate(blocks) for b in blocks[:i])


def test_forget_bias_is_one_and_the_other_biases_zero():
    for layer in CharRNN(small("lstm", hidden=4)).layers:
        both = (layer.bias_ih_l0 + layer.bias_hh_l0).tolist()
        assert both == [0.0] * 4 + [1.0] * 4 + [0.0] * 8


def test_biases_of_a_cell_without_a_keeping_gate_start_at_zero():
    biases = [p for n, p in CharRNN(small("rnn")).named_parameters() if "bias" in n]
    assert not any(bias.any() for bias in biases)


def test_a_rate_near_one_stays_finite():
    dropout = Dropout(0.9999)
    dropout.reseed(0, 0)
    assert torch.isfinite(dropout(torch.ones(1000))).all()


def test_input_weights_lie_within_the_uniform_bound():
    model = CharRNN(ModelConfig(vocab=50, hidden=64, embedding=16, layers=2))
    for weight, width in ((model.layers[0].weight_ih_l0, 16), (model.layers[1].weight_ih_l0, 64)):
        assert 0.95 * width**-0.5 < weight.abs().max() <= width**-0.5
    assert 0.9 < model.embedding.weight.std() < 1.1


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    one, again, other = (CharRNN(small(), seed=seed) for seed in (4, 4, 5))
    assert same(one.parameters(), again.parameters())
    assert not torch.equal(one.layers[0].weight_hh_l0, other.layers[0].weight_hh_l0)
    assert not torch.equal(one.embedding.weight, other.embedding.weight)


def global_random_states():
    numpy_state = np.random.get_state()
    return random.getstate(), numpy_state[1].tobytes(), numpy_state[2:], torch.get_rng_state()


def assert_global_random_states_are(before):
    *now, torch_now = global_random_states()
    assert tuple(now) == before[:-1]
    assert torch.equal(torch_now, before[-1])


@pytest.mark.parametrize("cell", CELLS)
def test_building_and_training_leave_the_global_random_states_alone(cell):
    before = global_random_states()
    model = CharRNN(small(cell), seed=1, dropout=0.5)
    trainer = Trainer(model, Streams(np.arange(40) % VOCAB, batch=2, window=5, seed=1), seed=1)
    for _ in range(3):
        trainer.update(learning_rate=0.01)
    TorchStepper(model).step(np.array([1, 2]), None)
    assert_global_random_states_are(before)


def test_global_random_states_do_not_influence_a_model():
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(CharRNN(small(), seed=3))
    assert same(models[0].parameters(), models[1].parameters())


# The stepping interface


@pytest.mark.parametrize("cell", CELLS)
def test_stepping_equals_reading_a_window(cell):
    config, ids = small(cell), random_ids(7, 1)[:, 0]
    stepper = TorchStepper(random_model(config))
    expected, last = naive.network(config, stepper.model.export(), ids)
    state = None
    for one, logits in zip(ids, expected, strict=True):
        logits_BV, state = stepper.step(np.full(3, one), state)
        np.testing.assert_allclose(logits_BV, np.tile(logits, (3, 1)), rtol=0, atol=1e-9)
    read_BV, read_state = stepper.read(ids.astype(np.uint8), 3, None)
    np.testing.assert_allclose(read_BV, logits_BV, rtol=0, atol=1e-12)
    for b in range(3):
        np.testing.assert_allclose(row_of(read_state, b), row_of(state, b), rtol=0, atol=1e-12)
        np.testing.assert_allclose(row_of(read_state, b), last, rtol=0, atol=1e-9)


def test_nats_of_the_stepper_equal_the_written_cost():
    config, ids = small(), random_ids(9, 2)
    stepper = TorchStepper(random_model(config))
    nats_TB, _ = stepper.nats(ids[:-1], ids[1:], None)
    assert nats_TB.dtype == np.float64 and nats_TB.shape == (8, 2)
    expected = naive.mean_nats(config, stepper.model.export(), ids[:-1], ids[1:])
    assert nats_TB.mean() == pytest.approx(expected, abs=1e-9)


def test_stepper_drops_nothing_and_builds_no_graph():
    model = random_model(small(), dropout=0.5)
    stepper = TorchStepper(model)
    first, state = stepper.step(np.array([1]), None)
    again, _ = stepper.step(np.array([1]), None)
    assert np.array_equal(first, again)
    assert not any(part.requires_grad for one in state for part in one)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("cell", CELLS)
def test_cuda_agrees_with_the_cpu(cell):
    config, ids = small(cell, hidden=32), random_ids(17, 3)
    stepper = TorchStepper(random_model(config, dtype=torch.float32).to("cuda"))
    nats_TB, _ = stepper.nats(ids[:-1], ids[1:], None)
    expected, _ = TorchStepper(random_model(config)).nats(ids[:-1], ids[1:], None)
    np.testing.assert_allclose(nats_TB, expected, rtol=0, atol=1e-3)
    model = random_model(config, dtype=torch.float32, dropout=0.3).to("cuda")
    trainer = Trainer(model, Streams(np.arange(99) % VOCAB, batch=2, window=5, seed=1), seed=1)
    losses = [trainer.update(learning_rate=0.01) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert optim.clip(model) < float("inf")


@pytest.mark.parametrize("cell", CELLS)
def test_logits_that_would_fill_the_memory_are_made_piece_by_piece(cell, monkeypatch):
    stepper = TorchStepper(random_model(small(cell)))
    ids_TB = np.random.default_rng(0).integers(0, VOCAB, (12, 3))
    whole, state = stepper.nats(ids_TB[:-1], ids_TB[1:], None)
    for most in (1, 3 * VOCAB, 100):
        monkeypatch.setattr("textgen.nn.char_rnn.MOST_LOGITS", most)
        parts, after = stepper.nats(ids_TB[:-1], ids_TB[1:], None)
        np.testing.assert_allclose(parts, whole, rtol=1e-12)
        for one, other in zip(after, state, strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)
