"""The numpy engine against the equations written out and against the torch model."""

import naive
import numpy as np
import pytest
import torch

from textgen.config.model import CELLS, ModelConfig
from textgen.engine.network import Engine, LSTMLayer, aligned, log_softmax
from textgen.nn.char_rnn import CharRNN

VOCAB = 6
TOLERANCES = {np.float64: 1e-10, np.float32: 2e-5}


def small(cell="gru", layers=2, hidden=8):
    return ModelConfig(vocab=VOCAB, cell=cell, layers=layers, hidden=hidden, embedding=3)


def weights_of(config, dtype=np.float64):
    weights = naive.random_weights(config, seed=1, scale=0.3)
    return {name: array.astype(dtype) for name, array in weights.items()}


def random_engine(config, dtype=np.float64):
    return Engine(config, weights_of(config, dtype))


def random_ids(T, B, seed=0):
    return np.random.default_rng(seed).integers(0, VOCAB, (T, B))


def assert_states_close(ours, theirs, tolerance):
    for one, other in zip(ours, theirs, strict=True):
        for part, expected in zip(one, other, strict=True):
            np.testing.assert_allclose(part, expected, rtol=0, atol=tolerance)


def assert_steps_equal_model(engine, model, tolerance, T=60, B=3):
    ids_TB = random_ids(T, B)
    with torch.no_grad():
        logits_TBV, last = model(torch.from_numpy(ids_TB))
    state = None
    for ids_B, expected_BV in zip(ids_TB, logits_TBV.numpy(), strict=True):
        logits_BV, state = engine.step(ids_B, state)
        np.testing.assert_allclose(logits_BV, expected_BV, rtol=0, atol=tolerance)
    assert_states_close(state, last, tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_equal_the_torch_model(cell, layers, dtype):
    config = small(cell, layers)
    model = CharRNN(config).to(torch.float64 if dtype == np.float64 else torch.float32)
    model.load(weights_of(config, dtype))
    engine = random_engine(config, dtype)
    assert engine.step(np.zeros(1, int), None)[0].dtype == dtype
    assert_steps_equal_model(engine, model, TOLERANCES[dtype])


@pytest.mark.parametrize("shape", [(1,), (3, 5), (64, 33)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_aligned_copies_begin_at_a_cache_line(shape, dtype):
    array = np.random.default_rng(0).random(shape).astype(dtype)
    for one in (array, array.T):
        found = aligned(one)
        assert np.array_equal(found, one) and found.dtype == dtype
        assert found.ctypes.data % 64 == 0 and found.flags["C_CONTIGUOUS"]
        assert not np.shares_memory(found, one)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_whose_rows_were_put_together_anew_gives_the_same_bits(cell, dtype):
    """Products and sums round by the layout of their operands, so that must not matter."""
    engine = random_engine(small(cell, layers=2, hidden=96), dtype)
    state = engine.step(np.arange(5), None)[1]
    bits = set()
    for layout in (np.asarray, np.ascontiguousarray, np.asfortranarray):
        same = tuple(tuple(layout(part) for part in layer) for layer in state)
        logits_BV, after = engine.step(np.arange(5), same)
        parts = [part for layer in after for part in layer]
        bits.add(b"".join(part.tobytes() for part in [logits_BV, *parts]))
    assert len(bits) == 1


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_equal_the_written_equations(cell, layers):
    config = small(cell, layers)
    engine, ids = random_engine(config), random_ids(12, 1)[:, 0]
    expected, last = naive.network(config, weights_of(config), ids)
    state = None
    for one, logits in zip(ids, expected, strict=True):
        logits_BV, state = engine.step(np.array([one]), state)
        np.testing.assert_allclose(logits_BV[0], logits, rtol=0, atol=1e-12)
    assert_states_close([[part[0] for part in one] for one in state], last, 1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_state_can_pass_from_the_torch_model_to_the_engine_and_back(cell):
    config = small(cell)
    engine, model = random_engine(config), CharRNN(config).double()
    model.load(weights_of(config))
    ids_TB = random_ids(9, 2)
    with torch.no_grad():
        expected_TBV, _ = model(torch.from_numpy(ids_TB))
        _, state = model(torch.from_numpy(ids_TB[:4]))
        state = tuple(tuple(part.numpy() for part in one) for one in state)
        for ids_B in ids_TB[4:7]:
            logits_BV, state = engine.step(ids_B, state)
        np.testing.assert_allclose(logits_BV, expected_TBV[6], rtol=0, atol=1e-10)
        back = tuple(tuple(torch.from_numpy(part) for part in one) for one in state)
        logits_TBV, _ = model(torch.from_numpy(ids_TB[7:]), back)
    torch.testing.assert_close(logits_TBV, expected_TBV[7:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_row_of_a_batch_equals_the_row_alone(cell):
    engine, ids_TB = random_engine(small(cell)), random_ids(30, 5)
    batch_state, states = None, [None] * 5
    for ids_B in ids_TB:
        logits_BV, batch_state = engine.step(ids_B, batch_state)
        for b in range(5):
            alone, states[b] = engine.step(ids_B[b : b + 1], states[b])
            np.testing.assert_allclose(logits_BV[b], alone[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_step_leaves_ids_and_state_alone(cell):
    engine, ids_B = random_engine(small(cell)), np.array([1, 2])
    _, state = engine.step(ids_B, None)
    kept = [[part.copy() for part in one] for one in state]
    first, _ = engine.step(ids_B, state)
    engine.step(ids_B, None)
    again, _ = engine.step(ids_B, state)
    assert np.array_equal(first, again)
    assert_states_close(state, kept, 0)
    assert ids_B.tolist() == [1, 2]


@pytest.mark.parametrize("cell", CELLS)
def test_no_state_means_zeros(cell):
    engine = random_engine(small(cell, layers=3))
    zeros = engine.initial_state(2)
    assert [len(one) for one in zeros] == [2 if cell == "lstm" else 1] * 3
    assert {part.shape for one in zeros for part in one} == {(2, 8)}
    assert not any(part.any() for one in zeros for part in one)
    ids_B = np.array([3, 4])
    assert np.array_equal(engine.step(ids_B, None)[0], engine.step(ids_B, zeros)[0])


@pytest.mark.parametrize("cell", CELLS)
def test_read_equals_steps_from_any_state(cell):
    engine, ids = random_engine(small(cell)), random_ids(8, 1)[:, 0].astype(np.uint8)
    _, state = before = engine.step(np.array([1, 2]), None)
    for one in ids:
        logits_BV, state = engine.step(np.array([one, one]), state)
    read_BV, read_state = engine.read(ids, 2, before[1])
    assert np.array_equal(read_BV, logits_BV)
    assert_states_close(read_state, state, 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("cell", CELLS)
def test_nats_equal_the_cross_entropy_of_torch(cell, dtype):
    config = small(cell)
    model = CharRNN(config).double()
    model.load(weights_of(config))
    ids_TB = random_ids(31, 3)
    logits_TBV, last = model(torch.from_numpy(ids_TB[:-1]))
    expected = torch.nn.functional.cross_entropy(
        logits_TBV.detach().flatten(0, 1), torch.from_numpy(ids_TB[1:]).flatten(), reduction="none"
    )
    nats_TB, state = random_engine(config, dtype).nats(ids_TB[:-1], ids_TB[1:], None)
    assert nats_TB.dtype == np.float64
    np.testing.assert_allclose(nats_TB.ravel(), expected, rtol=0, atol=TOLERANCES[dtype])
    detached = [[part.detach() for part in one] for one in last]
    assert_states_close(state, detached, TOLERANCES[dtype])


def test_nats_in_pieces_equal_nats_at_once():
    engine, ids_TB = random_engine(small()), random_ids(20, 2)
    whole, _ = engine.nats(ids_TB[:-1], ids_TB[1:], None)
    first, state = engine.nats(ids_TB[:7], ids_TB[1:8], None)
    second, _ = engine.nats(ids_TB[7:-1], ids_TB[8:], state)
    assert np.array_equal(np.concatenate([first, second]), whole)


def test_log_softmax_by_hand():
    probabilities = np.array([[0.1, 0.2, 0.7], [0.25, 0.25, 0.5]])
    np.testing.assert_allclose(np.exp(log_softmax(np.log(probabilities) + 3)), probabilities)


def test_log_softmax_of_huge_logits_neither_overflows_nor_loses_the_rest():
    logits = np.array([1e4, 1e4 - 1, -1e4], dtype=np.float32)
    expected = [-np.log1p(np.exp(-1)), -1 - np.log1p(np.exp(-1)), -2e4 - np.log1p(np.exp(-1))]
    np.testing.assert_allclose(log_softmax(logits), expected, rtol=1e-12)
    assert logits.tolist() == [1e4, 1e4 - 1, -1e4]


def test_gates_at_their_ends_and_between():
    """The sigmoid gates arrive halved."""
    weights = {name: np.ones((4, 1)) for name in ("weight_ih", "weight_hh")}
    layer = LSTMLayer(weights | {name: np.ones(4) for name in ("bias_ih", "bias_hh")}, None)
    gates = np.array([[-1e4, 1e4], [1.0, -1.0], [0.0, 0.0], [-2.0, 1e4]])[:, None]  # (G, H, B)
    layer.activate(gates)
    between = 1 / (1 + np.exp(-2.0))
    expected = [[0, 1], [between, 1 - between], [0.5, 0.5], [np.tanh(-2.0), 1]]
    np.testing.assert_allclose(gates[:, 0], expected, rtol=0, atol=1e-15)
