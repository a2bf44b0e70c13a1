"""What TensorBoard reads of a run, by TensorBoard's own reader."""

import json
import signal
import sys

import pytest

import textgen
from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.errors import MachineError

TINY = {"hidden": 8, "embedding": 4, "batch": 2, "window": 8, "threads": 1, "init": "none"}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("the cat sat on the mat and the dog ran to the cat\n" * 24)
    return path


def curves_of(folder):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is in the extra tensorboard",
    )
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def metrics_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_curves_are_the_figures_of_the_run(corpus, tmp_path):
    logs, folder = tmp_path / "logs", tmp_path / "run"
    textgen.train(corpus, out=str(folder), steps=12, tensorboard=str(logs), **TINY)
    curves = curves_of(logs / "run")
    assert [step for step, _ in curves["nats/training"]] == list(range(1, 13))
    metrics = metrics_of(folder)
    for name, key in {
        "nats/validation": "val_nats",
        "nats/validation of the network": "network_nats",
        "gradient norm": "grad_norm",
        "characters a second": "chars_per_second",
    }.items():
        assert curves[name] == [(m["step"], pytest.approx(m[key], rel=1e-6)) for m in metrics]
    assert dict(curves["learning rate"])[12] == pytest.approx(metrics[-1]["lr"], rel=1e-6)


@pytest.mark.slow
def test_it_changes_nothing_and_leaks_no_path(corpus, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is in the extra tensorboard")
    for name, more in (("with", {"tensorboard": str(tmp_path / "secret")}), ("without", {})):
        textgen.train(corpus, out=str(tmp_path / name), steps=6, **more, **TINY)
    best = (tmp_path / "with" / runs.BEST).read_bytes()
    assert b"secret" not in best
    with_it, without = (
        Checkpoint.load(tmp_path / name / runs.BEST).weights for name in ("with", "without")
    )
    assert all((with_it[name] == without[name]).all() for name in without)


@pytest.mark.slow
def test_a_resumed_run_goes_on_where_it_stopped(corpus, tmp_path):
    logs, folder = tmp_path / "logs", tmp_path / "run"
    left = iter([None] * 5)
    with pytest.raises(textgen.Interrupted):
        textgen.train(
            corpus,
            out=str(folder),
            steps=12,
            tensorboard=str(logs),
            stop=lambda: next(left, signal.SIGTERM),
            **TINY,
        )
    assert curves_of(logs / "run")["nats/training"][-1][0] == 6
    textgen.train(resume=folder)
    assert [step for step, _ in curves_of(logs / "run")["nats/training"]] == list(range(1, 13))


def test_without_the_package_nothing_is_trained(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MachineError, match=r"pip install 'textgen-rnn\[tensorboard\]'"):
        textgen.train(corpus, out=str(tmp_path / "run"), steps=1, tensorboard="logs", **TINY)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_an_error_of_the_machine(corpus, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is in the extra tensorboard")
    (tmp_path / "file").write_text("")
    logs = str(tmp_path / "file")
    with pytest.raises(MachineError, match="file"):
        textgen.train(corpus, out=str(tmp_path / "run"), steps=1, tensorboard=logs, **TINY)
    assert not (tmp_path / "run").exists()
