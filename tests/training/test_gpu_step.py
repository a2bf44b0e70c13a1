"""A GPU's update: without a wait on a fake GPU, and with real numbers on a CPU."""

import math

import numpy as np
import pytest
import torch
from fake_cuda import CUDA, FakeEvent, fake_cuda, needs_fake_cuda

import textgen
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.checkpoint.resume import SCALER
from textgen.config.model import CELLS, ModelConfig
from textgen.data.streams import RecordStreams, Streams
from textgen.errors import Interrupted, MachineError, NumericsError
from textgen.nn.char_rnn import CharRNN
from textgen.training import optim
from textgen.training.trainer import Trainer

V = 11
IDS = np.random.default_rng(0).integers(0, V, 500).astype(np.uint8)


def make_trainer(cell="gru", layers=1, dropout=0.0, precision="float32", device="cpu", **options):
    sizes = ModelConfig(V, cell, layers, 6, 3)
    model = CharRNN(sizes, 0, dropout, precision, torch.device(device))
    streams = options.pop("streams", None) or Streams(IDS, 4, 5, seed=0)
    return Trainer(model, streams, 0, **options)


def weights_of(trainer):
    return {name: array.copy() for name, array in trainer.model.export().items()}


def assert_equal_weights(one, other):
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """A trainer whose updates are those of a GPU, on the CPU, where its numbers can be seen."""
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    return lambda **options: make_trainer(never_waits=True, **options)


@needs_fake_cuda
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize(("cell", "layers"), [(cell, 2) for cell in CELLS] + [("lstm", 1)])
def test_a_step_waits_for_nothing(cell, layers, dropout, precision):
    with fake_cuda() as watch:
        trainer = make_trainer(cell, layers, dropout, precision, "cuda")
        # The first step makes the optimizer's moments and the scale of the loss.
        assert math.isnan(trainer.update(1e-3))
        watch.waits.clear()
        # Others than the first of an epoch, and the first of the second.
        for _ in range(trainer.streams.windows + 1):
            assert trainer.update(1e-3) == 0
        assert not watch.waits
        assert trainer.finish() == 0 and math.isnan(trainer.finish())
        assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}
    assert not watch.doubles and bool(watch.halves) == (precision == "float16")


@needs_fake_cuda
def test_a_step_over_records_waits_for_nothing():
    ids = np.array([0, 3, 4, 0, 5, 0, 6, 7, 8, 0, 2, 0])
    with fake_cuda() as watch:
        trainer = make_trainer("lstm", device="cuda", streams=RecordStreams(ids, 0, 3, 2, seed=0))
        trainer.update(1e-3)
        watch.waits.clear()
        for _ in range(4):
            trainer.update(1e-3)
    assert not watch.waits


@needs_fake_cuda
def test_an_item_in_the_step_would_be_noticed(monkeypatch):
    clip = optim.clip
    monkeypatch.setattr(optim, "clip", lambda model: torch.tensor(clip(model).item()))
    with fake_cuda() as watch, pytest.raises(RuntimeError):
        make_trainer(device="cuda").update(1e-3)
    assert "_local_scalar_dense" in watch.waits


@needs_fake_cuda
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_snapshot_comes_back_to_the_gpu(cell, precision):
    expected = make_trainer(cell, 2).snapshot()
    with fake_cuda() as watch:
        watch.answers = True
        trainer = make_trainer(cell, 2, precision=precision, device="cuda")
        for _ in range(2):
            trainer.update(1e-3)
        trainer.finish()
        snapshot = trainer.snapshot()
        if precision == "float16":
            assert snapshot[SCALER].shape == (3,) and snapshot[SCALER].dtype == np.float32
            snapshot[SCALER] = np.array([8, 5, 2], np.float32)
        other = make_trainer(cell, 2, precision=precision, device="cuda")
        other.restore(snapshot, 2)
        assert math.isnan(other.update(1e-3))
        states = other.optimizer.state_dict()["state"].values()
        assert {value.device for state in states for value in state.values()} == {CUDA}
    snapshot.pop(SCALER, None)
    assert {n: (a.shape, a.dtype) for n, a in snapshot.items()} == {
        n: (a.shape, a.dtype) for n, a in expected.items()
    }


@pytest.mark.parametrize("cell", CELLS)
def test_updates_are_those_of_a_cpu_and_their_figures_come_a_step_late(cell, as_on_a_gpu):
    plain, late = make_trainer(cell, 2, 0.5), as_on_a_gpu(cell=cell, layers=2, dropout=0.5)
    nats, late_nats, norms = [], [], [math.nan]
    for _ in range(12):
        nats.append(plain.update(1e-2))
        late_nats.append(late.update(1e-2))
        assert late.grad_norm == pytest.approx(norms[-1], rel=1e-6, nan_ok=True)
        norms.append(plain.grad_norm)
    assert math.isnan(late_nats[0])
    np.testing.assert_allclose([*late_nats[1:], late.finish()], nats, rtol=1e-6)
    assert_equal_weights(weights_of(plain), weights_of(late))


def test_in_float16_the_scale_changes_nothing_but_rounding(as_on_a_gpu):
    """On a CPU the layers stay in float32; powers of two scale without rounding."""
    plain, scaled = make_trainer("lstm"), as_on_a_gpu(cell="lstm", precision="float16")
    for _ in range(9):
        plain.update(1e-2)
        scaled.update(1e-2)
    for name, array in weights_of(plain).items():
        np.testing.assert_allclose(weights_of(scaled)[name], array, rtol=1e-4, atol=1e-6)
    scale, growth, made = scaled.snapshot()[SCALER].tolist()
    assert (scale, growth, made) == (2.0**16, 9, 9)


def spoil_gradient(trainer, steps):
    """Make the gradient infinite at steps counted from 0; the loss stays finite."""

    def hook(gradient):
        return gradient * math.inf if trainer.step in steps else gradient

    trainer.model.head.bias.register_hook(hook)


def test_an_overflow_in_float16_skips_the_update_and_halves_the_scale(as_on_a_gpu):
    trainer = as_on_a_gpu(precision="float16")
    spoil_gradient(trainer, {2})
    for _ in range(2):
        trainer.update(1e-2)
    before = weights_of(trainer)
    trainer.update(1e-2)
    assert_equal_weights(weights_of(trainer), before)
    trainer.update(1e-2)
    assert math.isfinite(trainer.finish()) and math.isfinite(trainer.grad_norm)
    assert trainer.snapshot()[SCALER].tolist() == [2.0**15, 1, 3]
    assert trainer.step == 4


def test_overflows_without_end_are_an_error(as_on_a_gpu):
    trainer = as_on_a_gpu(precision="float16")
    spoil_gradient(trainer, range(99))
    before = weights_of(trainer)
    with pytest.raises(NumericsError, match="step 17: the gradient is not finite"):
        for _ in range(99):
            trainer.update(1e-2)
    assert_equal_weights(weights_of(trainer), before)


def test_in_float32_the_first_such_gradient_is_an_error_a_step_late(as_on_a_gpu):
    trainer = as_on_a_gpu()
    spoil_gradient(trainer, {2})
    for _ in range(2):
        trainer.update(1e-2)
    before = weights_of(trainer)
    trainer.update(1e-2)
    with pytest.raises(NumericsError, match="step 3: the gradient is not finite"):
        trainer.finish()
    assert_equal_weights(weights_of(trainer), before)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_loss_that_is_not_finite_touches_no_weight_and_is_an_error_a_step_late(
    as_on_a_gpu, precision
):
    trainer = as_on_a_gpu(precision=precision)
    trainer.update(1e-2)
    with torch.no_grad():
        trainer.model.head.bias[0] = math.nan
    before = weights_of(trainer)
    trainer.update(1e-2)
    with pytest.raises(NumericsError, match="step 2: the loss is not finite"):
        trainer.update(1e-2)
    assert_equal_weights(weights_of(trainer), before)


@pytest.mark.parametrize("overflow", [(), (1,), (5,)])
def test_resuming_in_float16_is_exact(as_on_a_gpu, overflow, monkeypatch):
    monkeypatch.setattr(optim, "GROWTH_STEPS", 3)
    whole = as_on_a_gpu(cell="lstm", precision="float16")
    first = as_on_a_gpu(cell="lstm", precision="float16")
    for trainer in (whole, first):
        spoil_gradient(trainer, overflow)
    for _ in range(8):
        whole.update(1e-2)
    for _ in range(4):
        first.update(1e-2)
    first.finish()
    second = as_on_a_gpu(cell="lstm", precision="float16")
    spoil_gradient(second, overflow)
    second.model.load(first.model.export())
    second.restore(first.snapshot(), 4)
    for _ in range(4):
        second.update(1e-2)
    assert_equal_weights(weights_of(whole), weights_of(second))
    assert whole.snapshot()[SCALER].tolist() == second.snapshot()[SCALER].tolist()


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"to be or not to be, that is question {n}\n" for n in range(60)))
    return path


@pytest.mark.slow
@needs_fake_cuda
@pytest.mark.parametrize("options", [{}, {"cell": "gru", "layers": 2, "records": "lines"}])
def test_a_run_trains_saves_stops_and_goes_on_on_a_gpu(corpus, tmp_path, options):
    run, asked = tmp_path / "run", []

    def stop_at_third():
        asked.append(1)
        return 2 if len(asked) == 3 else None

    with fake_cuda() as watch:
        watch.answers = True
        options = {"hidden": 8, "embedding": 4, "window": 8, "init": "none", "steps": 6, **options}
        with pytest.raises(Interrupted):
            textgen.train(corpus, out=str(run), device="cuda", stop=stop_at_third, **options)
        state = Checkpoint.load(run / "last.safetensors").resume
        assert state.step == 3 and state.config.precision == "float16"
        assert textgen.train(resume=run).steps == 6
    assert Checkpoint.load(run / "best.safetensors").metadata.training["cell"] in CELLS


@pytest.mark.slow
@needs_fake_cuda
def test_a_run_by_the_clock_is_sized_for_the_gpu(corpus, tmp_path):
    with fake_cuda() as watch:
        watch.answers = True
        result = textgen.train(
            corpus, out=str(tmp_path / "run"), device="cuda", minutes=0.05, init="none", window=2
        )
    model = Checkpoint.load(result.best).model
    assert model.cell == "lstm" and model.hidden % 128 == model.embedding % 128 == 0


def test_a_lack_of_memory_names_the_batch_that_would_fit(corpus, tmp_path, monkeypatch):
    def fail(*given):
        raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(Trainer, "update", fail)
    monkeypatch.setattr("textgen.training.setup.memory_of", lambda device: 2**30)
    with pytest.raises(MachineError) as caught:
        textgen.train(corpus, out=str(tmp_path / "run"), steps=2, batch=32, hidden=8, init="none")
    assert caught.value.fix == "use --batch 16, which should fit 1 GiB"
