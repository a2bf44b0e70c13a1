"""Every way of a tensor through the networks, on a CUDA device that only fakes its numbers."""

import numpy as np
import pytest
import torch
from factories import mixed_checkpoint, random_checkpoint
from fake_cuda import CUDA, fake_cuda, needs_fake_cuda
from torch._subclasses.fake_tensor import DataDependentOutputException

import textgen
from textgen.checkpoint.loading import network_of
from textgen.config.model import CELLS, ModelConfig
from textgen.nn import dynamic, gradients
from textgen.nn.char_rnn import CharRNN, TorchStepper, losses
from textgen.nn.device import choose_device
from textgen.nn.dynamic import AdaptationRule, AdaptiveStepper
from textgen.nn.gradients import characters_needed, gradient_norms
from textgen.tokenizers.char import CharTokenizer

pytestmark = needs_fake_cuda
T, B, V, H = 5, 4, 11, 6
PRIME = "to be or not to be"
every_network = pytest.mark.parametrize(
    ("cell", "layers"), [(cell, layers) for cell in CELLS for layers in (1, 2)]
)


def network(cell="gru", layers=1, dropout=0.0, precision="float32"):
    sizes = ModelConfig(V, cell, layers, H, 3)
    return CharRNN(sizes, 0, dropout, precision, torch.device("cuda"))


def ids_on_gpu():
    return torch.zeros(T, B, dtype=torch.int64, device="cuda")


def assert_on_gpu(tensors, dtype=torch.float32):
    tensors = list(tensors)
    assert {tensor.device for tensor in tensors} == {CUDA}
    assert {tensor.dtype for tensor in tensors} == {dtype}


def train_once(model, x_TB, state=None):
    """A forward and a backward pass; the logits and the state."""
    model.train()
    model.dropout.reseed(0, 3)
    logits_TBV, state = model(x_TB, state)
    losses(logits_TBV, x_TB).mean().backward()
    return logits_TBV, state


@every_network
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_training_step_stays_on_the_gpu_and_waits_for_nothing(cell, layers, dropout):
    with fake_cuda() as watch:
        model = network(cell, layers, dropout)
        x_TB = ids_on_gpu()
        state = model.initial_state(B)
        watch.waits.clear()
        logits_TBV, state = train_once(model, x_TB, state)
        assert logits_TBV.shape == (T, B, V)
        parts = [part for layer in state for part in layer]
        assert len(parts) == layers * (2 if cell == "lstm" else 1)
        assert_on_gpu([logits_TBV, *parts])
        assert_on_gpu(weight.grad for weight in model.parameters())
    assert not watch.waits and not watch.doubles and not watch.halves


@every_network
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_in_float16_only_the_layers_are(cell, layers, dropout):
    with fake_cuda() as watch:
        model = network(cell, layers, dropout, "float16")
        dtypes = []
        for layer in model.layers:
            layer.register_forward_hook(lambda _, given, out: dtypes.append((given, out)))
        watch.waits.clear()
        logits_TBV, state = train_once(model, ids_on_gpu())
        for (x_TBE, before), (out_TBH, after) in dtypes:
            assert_on_gpu([x_TBE, out_TBH, *before, *after], torch.float16)
        assert len(dtypes) == layers
        assert_on_gpu([logits_TBV, *(part for layer in state for part in layer)])
        assert_on_gpu(weight.grad for weight in model.parameters())
    assert not watch.waits and not watch.doubles


@pytest.mark.parametrize("cell", CELLS)
def test_float16_is_for_training_alone(cell):
    with fake_cuda() as watch:
        TorchStepper(network(cell, precision="float16")).forward(np.zeros((T, B), int), None)
        AdaptiveStepper(network(cell, precision="float16"), AdaptationRule()).nats(
            np.zeros((T, B), int), np.zeros((T, B), int), None
        )
    assert not watch.halves


@pytest.mark.parametrize("cell", CELLS)
def test_float16_that_is_asked_for_on_a_cpu_changes_nothing(cell):
    x_TB = torch.arange(T * B).view(T, B) % V
    sizes = ModelConfig(V, cell, 2, H, 3)
    plain, half = (CharRNN(sizes, precision=name) for name in ("float32", "float16"))
    for model in (plain, half):
        train_once(model, x_TB)
    for one, other in zip(plain.parameters(), half.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)


@every_network
def test_a_stepper_steps_reads_and_measures(cell, layers):
    with fake_cuda() as watch:
        stepper = TorchStepper(network(cell, layers, dropout=0.5))
        ids_B, x_TB = np.zeros(B, int), np.zeros((T, B), int)
        logits_BV, state = stepper.step(ids_B, stepper.initial_state(B))
        assert logits_BV.shape == (B, V) and logits_BV.dtype == np.float32
        logits_BV, state = stepper.step(ids_B, state)
        # As a state is read from a file.
        state = tuple(tuple(part.cpu().numpy() for part in layer) for layer in state)
        logits_BV, state = stepper.read(np.zeros(T, int), B, state)
        assert logits_BV.shape == (B, V)
        assert_on_gpu(part for layer in state for part in layer)
        assert stepper.read(x_TB, B, None)[0].shape == (B, V)
        assert stepper.logits(x_TB, x_TB, state)[0].shape == (T, B, V)
        nats_TB, _ = stepper.nats(x_TB, x_TB, state)
        assert nats_TB.shape == (T, B) and nats_TB.dtype == np.float64
    assert not watch.doubles


@every_network
def test_a_network_learns_from_what_it_reads(cell, layers, monkeypatch):
    monkeypatch.setattr(dynamic, "CHARS_PER_UPDATE", 3)
    with fake_cuda() as watch:
        stepper = AdaptiveStepper(network(cell, layers), AdaptationRule())
        x_TB = np.zeros((T, 1), int)
        nats_TB, state = stepper.nats(x_TB, x_TB, None)
        logits_TBV, state = stepper.logits(x_TB, x_TB, state)
        assert nats_TB.shape == (T, 1) and logits_TBV.shape == (T, 1, V)
        assert_on_gpu(stepper.model.parameters())
        assert_on_gpu(part for layer in state for part in layer)
        assert stepper.model.export()["head.weight"].shape == (V, H)
    assert not watch.doubles


@every_network
def test_gradients_are_followed_back(cell, layers, monkeypatch):
    monkeypatch.setattr(gradients, "POSITIONS", 2)
    monkeypatch.setattr(gradients, "READ_BEFORE", 2)
    lags = 3
    with fake_cuda():
        norms_KSP = gradient_norms(network(cell, layers), np.zeros(characters_needed(9), int), lags)
    assert norms_KSP.shape == (lags + 1, layers * (2 if cell == "lstm" else 1), 2)


@pytest.mark.parametrize("cell", CELLS)
def test_weights_go_to_the_gpu_and_come_back(cell):
    tokenizer = CharTokenizer.from_text(PRIME)
    checkpoint = random_checkpoint(tokenizer, cell=cell, layers=2)
    with fake_cuda():
        model = network_of(checkpoint, "cuda")
        assert_on_gpu(model.parameters())
        exported = model.export()
    assert {n: a.shape for n, a in exported.items()} == checkpoint.model.shapes()
    assert {array.dtype for array in exported.values()} == {np.dtype(np.float32)}


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_model_writes_and_scores_on_the_gpu(cell, tmp_path):
    tokenizer = CharTokenizer.from_text(PRIME)
    for name, make in (("plain", random_checkpoint), ("mixed", mixed_checkpoint)):
        more = () if name == "plain" else (PRIME * 20,)
        make(tokenizer, *more, cell=cell, layers=2).save(tmp_path / name)
        with fake_cuda():
            model = textgen.load(tmp_path / name, device="cuda")
            assert len(model.sample(PRIME, length=9, seed=1)) == len(PRIME) + 9
            assert len(model.batch(PRIME, num=3, length=4)) == 3
            state = model.read([PRIME])
            assert len(model.sample(length=5, state=state)) == 5
            assert model.score(PRIME).nats_per_char > 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"dynamic": True}, {"adaptive": True}])
def test_a_checkpoint_is_evaluated_on_the_gpu(options, tmp_path):
    tokenizer = CharTokenizer.from_text(PRIME)
    mixed_checkpoint(tokenizer, PRIME * 20, cell="lstm").save(tmp_path / "model")
    (tmp_path / "text.txt").write_text(PRIME * 5)
    with fake_cuda():
        result = textgen.evaluate(
            tmp_path / "model", tmp_path / "text.txt", device="cuda", **options
        )
    assert result.nats_per_char > 0


@every_network
def test_a_seed_gives_the_same_weights_on_every_device(cell, layers):
    """Drawn on the CPU and copied, in whatever order: one generator draws them all."""
    sizes = ModelConfig(V, cell, layers, H, 3)
    default, named = CharRNN(sizes, 5), CharRNN(sizes, 5, device=torch.device("cpu"))
    for one, other in zip(default.parameters(), named.parameters(), strict=True):
        assert torch.equal(one, other)
    with fake_cuda() as watch:
        assert_on_gpu(network(cell, layers).parameters())
        assert choose_device("cuda").type == choose_device("auto").type == "cuda"
    copied = [wait for wait in watch.waits if wait == "copy_ cpu to cuda"]
    assert len(watch.waits) == len(copied) == len(list(default.parameters()))


def test_a_tensor_left_on_the_cpu_is_noticed():
    with fake_cuda():
        model, x_TB = network(), torch.zeros(T, B, dtype=torch.int64)
        with pytest.raises(RuntimeError, match="device"):
            train_once(model, x_TB)
        state = ((torch.zeros(B, H),),)
        with pytest.raises(RuntimeError, match="device"):
            train_once(model, ids_on_gpu(), state)


def test_a_layer_left_on_the_cpu_is_noticed():
    with fake_cuda():
        model = network()
        model.head.to("cpu")
        with pytest.raises(RuntimeError, match="device"):
            train_once(model, ids_on_gpu())


def test_numbers_in_float64_are_noticed():
    with fake_cuda() as watch:
        train_once(network().double(), ids_on_gpu())
    assert watch.doubles


@pytest.mark.parametrize("ask", [float, bool, torch.Tensor.item])
def test_asking_for_a_number_is_noticed(ask):
    with fake_cuda() as watch:
        loss = train_once(network(), ids_on_gpu())[0].mean()
        watch.waits.clear()
        with pytest.raises(DataDependentOutputException):
            ask(loss)
    assert watch.waits


def test_copies_that_are_waited_for_are_noticed():
    with fake_cuda() as watch:
        numbers = torch.zeros(3, device="cuda")
        numbers.cpu()
        torch.from_numpy(np.zeros(3)).to("cuda")
        torch.zeros(3).copy_(numbers)
        assert len(watch.waits) == 3
        watch.waits.clear()
        torch.from_numpy(np.zeros(3)).pin_memory().to("cuda", non_blocking=True)
        torch.zeros(3).copy_(numbers, non_blocking=True)
        assert not watch.waits
        with pytest.raises(TypeError, match="cuda:0"):
            numbers.numpy()


def test_afterwards_everything_is_as_before():
    with fake_cuda():
        train_once(network(), ids_on_gpu())
    assert type(torch.zeros(1)) is torch.Tensor
    assert torch.zeros(2).numpy().tolist() == [0, 0]
    assert not torch.cuda.is_available() and torch.Generator().device.type == "cpu"
    model = CharRNN(ModelConfig(V, "gru", 1, H, 3))
    train_once(model, torch.zeros(T, B, dtype=torch.int64))
    assert all(weight.grad.abs().sum() > 0 for weight in model.layers.parameters())
