"""One update against plain torch, exact resumption, and numbers that are not finite."""

import math

import numpy as np
import pytest
import torch

from textgen.config.model import CELLS, ModelConfig
from textgen.config.sample import SampleConfig
from textgen.data import streams
from textgen.data.streams import Streams
from textgen.errors import NumericsError
from textgen.evaluation import protocols
from textgen.nn.char_rnn import CharRNN, TorchStepper
from textgen.sampling.generator import generate
from textgen.tokenizers.char import CharTokenizer
from textgen.training.trainer import Trainer

SENTENCE = "to be, or not to be, that is the question: "
LETTERS = CharTokenizer.from_text(SENTENCE)
IDS = LETTERS.encode(SENTENCE * 2)
RATE = 0.02


def make_trainer(cell="gru", layers=1, dropout=0.0, seed=3, dtype=torch.float32, ids=IDS):
    config = ModelConfig(vocab=LETTERS.size, cell=cell, layers=layers, hidden=6, embedding=4)
    model = CharRNN(config, seed=seed, dropout=dropout).to(dtype)
    return Trainer(model, Streams(ids, batch=3, window=5, seed=seed), seed=seed)


def weights_bytes(trainer):
    return {name: array.tobytes() for name, array in trainer.model.export().items()}


def train(trainer, steps):
    return [trainer.update(RATE) for _ in range(steps)]


# One update


def plain_torch(trainer, steps, rate):
    """The same training written with torch.nn alone; returns its losses and its modules."""
    config = trainer.model.config
    kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[config.cell]
    widths = [config.embedding] + [config.hidden] * (config.layers - 1)
    layers = [kind(width, config.hidden) for width in widths]
    modules = {f"layers.{i}": layer for i, layer in enumerate(layers)}
    modules["embedding"] = torch.nn.Embedding(config.vocab, config.embedding)
    modules["head"] = torch.nn.Linear(config.hidden, config.vocab)
    for name, module in modules.items():
        for key, parameter in module.double().named_parameters():
            parameter.data = torch.from_numpy(trainer.model.export()[f"{name}.{key}"].copy())
    products = [p for m in [*layers, modules["head"]] for p in m.parameters() if p.dim() == 2]
    biases = [p for m in modules.values() for p in m.parameters() if p.dim() == 1]
    groups = [
        {"params": products, "weight_decay": 0.05},
        {"params": [*biases, modules["embedding"].weight], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), foreach=False, fused=False)
    states, losses = [None] * config.layers, []
    for step in range(steps):
        x_TB, y_TB, reset_B = trainer.streams.window_at(*trainer.streams.position(step))
        keep = torch.from_numpy(~reset_B).double()[:, None]
        features, total = modules["embedding"](torch.from_numpy(x_TB)), 0
        for number, layer in enumerate(layers):
            features, state = layer(features, multiplied(states[number], keep))
            states[number] = multiplied(state, 1)
            total = total + features
        loss = torch.nn.functional.cross_entropy(
            modules["head"](total).flatten(0, 1), torch.from_numpy(y_TB).flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in groups for p in g["params"]], 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses, modules


def multiplied(state, factor):
    if isinstance(state, tuple):
        return tuple(part.detach() * factor for part in state)
    return None if state is None else state.detach() * factor


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_losses_and_weights_equal_those_of_plain_torch(cell, layers, monkeypatch):
    monkeypatch.setattr(streams, "RESET_PROBABILITY", 0.3)
    trainer = make_trainer(cell, layers, dtype=torch.float64)
    expected, modules = plain_torch(trainer, 20, RATE)
    np.testing.assert_allclose(train(trainer, 20), expected, rtol=0, atol=1e-9)
    assert trainer.step == 20
    for name, module in modules.items():
        for key, parameter in module.named_parameters():
            ours = trainer.model.get_parameter(f"{name}.{key}")
            torch.testing.assert_close(ours, parameter, rtol=0, atol=1e-8)


def test_gradient_norm_is_that_before_clipping():
    trainer = make_trainer(dtype=torch.float64)
    x_TB, y_TB, _ = trainer.streams.window_at(0, 0)
    logits_TBV, _ = trainer.model(torch.from_numpy(x_TB))
    loss = torch.nn.functional.cross_entropy(
        100 * logits_TBV.flatten(0, 1), torch.from_numpy(y_TB).flatten()
    )
    gradients = torch.autograd.grad(loss, list(trainer.model.parameters()))
    expected = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    assert expected > 1
    trainer.model.head.register_forward_hook(lambda module, inputs, out: 100 * out)
    trainer.update(0.0)
    assert trainer.grad_norm == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_loss_falls_on_a_repetitive_text(cell):
    trainer = make_trainer(cell, ids=LETTERS.encode("to be " * 60))
    losses = train(trainer, 150)
    assert losses[0] > 2
    assert np.mean(losses[-10:]) < 0.15


def test_update_rate_is_the_one_that_is_given():
    trainer = make_trainer()
    before = weights_bytes(trainer)
    trainer.update(0.0)
    assert weights_bytes(trainer) == before
    trainer.update(RATE)
    assert weights_bytes(trainer) != before


# Resumption

WINDOWS = make_trainer().streams.windows
TOTAL = WINDOWS + 4
STOPS = [0, 1, WINDOWS - 1, WINDOWS, WINDOWS + 1]


def thawed(weights, tensors, step, **options):
    """A trainer in a new process, as far as it can know: other initial weights, another past."""
    trainer = make_trainer(**options, seed=3)
    train(trainer, 2)
    trainer.model.load(weights)
    trainer.restore(tensors, step)
    return trainer


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("cell", CELLS)
def test_stopped_and_resumed_training_ends_with_the_same_bytes(cell, dropout, layers):
    options = {"cell": cell, "dropout": dropout, "layers": layers}
    trainer, frozen, losses = make_trainer(**options), {}, []
    for step in range(TOTAL):
        if step in STOPS:
            frozen[step] = trainer.model.export(), trainer.snapshot()
        losses += train(trainer, 1)
    for step, (weights, tensors) in frozen.items():
        resumed = thawed(weights, tensors, step, **options)
        assert train(resumed, TOTAL - step) == losses[step:]
        assert weights_bytes(resumed) == weights_bytes(trainer)
        assert resumed.step == TOTAL


def forget_moments(weights, tensors, step):
    kept = {n: np.zeros_like(t) if n.startswith("exp_avg") else t for n, t in tensors.items()}
    return weights, kept, step


def forget_second_moment(weights, tensors, step):
    kept = {n: np.zeros_like(t) if n.startswith("exp_avg_sq.") else t for n, t in tensors.items()}
    return weights, kept, step


def forget_state(weights, tensors, step):
    kept = {n: np.zeros_like(t) if n.startswith("state.") else t for n, t in tensors.items()}
    return weights, kept, step


def forget_step(weights, tensors, step):
    return weights, tensors, 0


def forget_weights(weights, tensors, step):
    return make_trainer(dropout=0.3).model.export(), tensors, step


@pytest.mark.parametrize(
    "forget", [forget_moments, forget_second_moment, forget_state, forget_step, forget_weights]
)
def test_resumption_that_forgets_something_is_noticed(forget):
    trainer = make_trainer(dropout=0.3)
    train(trainer, 3)
    frozen = trainer.model.export(), trainer.snapshot(), 3
    train(trainer, 2)
    right, wrong = thawed(*frozen, dropout=0.3), thawed(*forget(*frozen), dropout=0.3)
    train(right, 2)
    train(wrong, 2)
    assert weights_bytes(right) == weights_bytes(trainer) != weights_bytes(wrong)


def test_snapshot_is_a_copy_that_later_updates_leave_alone():
    trainer = make_trainer("lstm", layers=2)
    train(trainer, 1)
    tensors = trainer.snapshot()
    kept = {name: array.copy() for name, array in tensors.items()}
    train(trainer, 2)
    assert all(np.array_equal(tensors[name], array) for name, array in kept.items())
    assert any(not np.array_equal(trainer.snapshot()[n], array) for n, array in kept.items())


def test_restored_trainer_shares_no_memory_with_the_snapshot():
    trainer = make_trainer()
    train(trainer, 1)
    tensors = trainer.snapshot()
    kept = {name: array.copy() for name, array in tensors.items()}
    resumed = thawed(trainer.model.export(), tensors, 1)
    train(resumed, 2)
    assert all(np.array_equal(tensors[name], array) for name, array in kept.items())


def test_snapshot_can_be_restored_from_read_only_arrays():
    """As they come from a file that was read into one piece of memory."""
    trainer = make_trainer()
    train(trainer, 2)
    tensors = trainer.snapshot()
    for array in tensors.values():
        array.flags.writeable = False
    resumed = thawed(trainer.model.export(), tensors, 2)
    assert train(resumed, 2) == train(trainer, 2)


@pytest.mark.parametrize("damage", ["missing", "moment", "state"])
def test_snapshot_of_another_network_is_refused(damage):
    trainer = make_trainer()
    tensors = trainer.snapshot()
    if damage == "missing":
        del tensors["exp_avg.head.bias"]
    elif damage == "moment":
        tensors["exp_avg.head.bias"] = np.zeros(3, np.float32)
    else:
        tensors["state.0.0"] = np.zeros((3, 7), np.float32)
    with pytest.raises((KeyError, RuntimeError)):
        trainer.restore(tensors, 1)


def test_state_of_the_optimizer_lies_on_the_models_device():
    """The fused update reads its step count there; the meta device stands in for a GPU."""
    trainer = make_trainer()
    tensors, model = trainer.snapshot(), trainer.model.to("meta")
    other = Trainer(model, trainer.streams, seed=3)
    other.restore(tensors, 1)
    parts = [part for one in other.optimizer.state.values() for part in one.values()]
    assert {part.device.type for part in parts} == {"meta"}


# Nothing else touches the training


def test_evaluation_and_sampling_in_between_change_nothing():
    plain, busy = (make_trainer("lstm", layers=2, dropout=0.3) for _ in range(2))
    for _ in range(4):
        train(plain, 1)
        train(busy, 1)
        stepper = TorchStepper(busy.model)
        protocols.measure_text(stepper, LETTERS, SENTENCE, "stateful")
        protocols.measure_text(stepper, LETTERS, SENTENCE, "streamed")
        list(generate(stepper, LETTERS, SampleConfig(prime="to", length=5, seed=1)))
        busy.snapshot()
        busy.model.export()
        assert weights_bytes(busy) == weights_bytes(plain)


def test_training_does_not_depend_on_the_global_random_state():
    ends = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        trainer = make_trainer(dropout=0.3)
        train(trainer, 3)
        ends.append(weights_bytes(trainer))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_seed_of_the_trainer_decides_the_dropout_alone(dropout):
    ends = []
    for seed in (1, 2):
        other = make_trainer(dropout=dropout)
        trainer = Trainer(other.model, other.streams, seed=seed)
        train(trainer, 2)
        ends.append(weights_bytes(trainer))
    assert (ends[0] == ends[1]) == (dropout == 0)


# Numbers that are not finite


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weight_that_is_not_finite_stops_before_the_update(value):
    trainer = make_trainer()
    train(trainer, 2)
    with torch.no_grad():
        trainer.model.head.weight[1, 1] = value
    assert_update_fails(trainer, "loss")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_gradient_that_is_not_finite_under_a_finite_loss_stops_before_the_update(value):
    trainer = make_trainer()
    train(trainer, 2)
    trainer.model.head.bias.register_hook(lambda gradient: gradient * value)
    assert_update_fails(trainer, "gradient")


def assert_update_fails(trainer, what):
    before, tensors, step = weights_bytes(trainer), trainer.snapshot(), trainer.step
    with pytest.raises(NumericsError, match=rf"^step {step + 1}: the {what} is not fin") as caught:
        trainer.update(RATE)
    assert caught.value.exit_code == 7
    assert "0.02" in caught.value.problem
    assert weights_bytes(trainer) == before
    assert trainer.step == step
    assert all(np.array_equal(trainer.snapshot()[n], array) for n, array in tensors.items())


@pytest.mark.parametrize("cell", CELLS)
def test_absurd_learning_rate_ends_in_an_error_with_the_weights_before_it(cell):
    trainer = make_trainer(cell)
    with pytest.raises(NumericsError):
        for _ in range(10):
            before = weights_bytes(trainer)
            trainer.update(1e20)
    assert trainer.step >= 1
    assert weights_bytes(trainer) == before
