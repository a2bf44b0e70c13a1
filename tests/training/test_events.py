"""What TensorBoard reads of a run, and that nothing else notices it."""

import errno
import itertools
import json
import signal
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import textgen
from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.errors import Interrupted, MachineError, UsageError
from textgen.training import loop
from textgen.training.events import TAGS, EventLog, check_events

pytest.importorskip("tensorboard", reason="events need the extra tensorboard")

TINY = {"hidden": 8, "embedding": 4, "batch": 2, "window": 8, "threads": 1}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few validations with short samples; each file of events is of a second of its own.

    TensorBoard reads files in the order of their names, which hold the second, and no process of a
    user writes two in one.
    """
    monkeypatch.setattr("textgen.training.plan.VALIDATIONS", 4)
    monkeypatch.setattr(loop, "VALIDATION_SAMPLE", replace(loop.VALIDATION_SAMPLE, length=8))
    seconds = itertools.count(int(time.time()))
    clock = SimpleNamespace(time=lambda: float(next(seconds)))
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer.time", clock)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("the cat sat on the mat\n" * 60, encoding="utf-8")
    return path


def scalars(folder):
    """The (step, value) pairs of each tag, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def logged(folder):
    """The same of metrics.jsonl, in the precision of an event."""
    lines = [json.loads(x) for x in (folder / runs.METRICS).read_text().splitlines()]
    found = {}
    for name, tag in TAGS.items():
        pairs = [(x["step"], float(np.float32(x[name]))) for x in lines if x[name] is not None]
        found |= {tag: pairs} if pairs else {}
    return found


def stop_after(steps):
    """A `stop` that asks the run to end after so many more steps."""
    left = iter(range(steps - 1, -1, -1))
    return lambda: signal.SIGTERM if next(left, 0) == 0 else None


def stopped_run(corpus, folder, at, **options):
    with pytest.raises(Interrupted):
        textgen.train(corpus, out=str(folder), stop=stop_after(at), **options)


@pytest.mark.slow
def test_a_run_writes_what_metrics_say_and_ends_with_the_same_weights(corpus, tmp_path):
    options = {**TINY, "steps": 8, "dropout": 0.3}
    plain = textgen.train(corpus, out=str(tmp_path / "plain"), **options)
    events = tmp_path / "new" / "events"
    result = textgen.train(corpus, out=str(tmp_path / "run"), tensorboard=str(events), **options)
    assert scalars(events / "run") == logged(result.folder)
    assert len(logged(result.folder)) == len(TAGS)
    assert result.val_nats == plain.val_nats
    for name in (runs.BEST, runs.LAST):
        ours, theirs = (Checkpoint.load(r.folder / name).weights for r in (result, plain))
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    # Shared files leak no path.
    assert str(events).encode() not in result.best.read_bytes()
    assert b"tensorboard" not in result.best.read_bytes()


@pytest.mark.slow
def test_without_a_validation_part_there_is_no_curve_for_it(corpus, tmp_path):
    options = {**TINY, "steps": 4, "split": "1", "tensorboard": str(tmp_path / "events")}
    result = textgen.train(corpus, out=str(tmp_path / "run"), **options)
    assert scalars(tmp_path / "events" / "run") == logged(result.folder)
    assert len(logged(result.folder)) == len(TAGS) - 2


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 5, 6])
def test_a_resumed_run_goes_on_in_the_same_curves(corpus, tmp_path, monkeypatch, at):
    monkeypatch.chdir(tmp_path)
    stopped_run(corpus, tmp_path / "run", at, tensorboard="events", steps=8, **TINY)
    # Validated once more after the last save, by a process that was killed then.
    late = EventLog(tmp_path / "events", "run", resumed_at=at)
    late.write(8, {"val_nats": 99.0})
    late.close()
    monkeypatch.chdir("/")
    result = textgen.train(resume=tmp_path / "run")
    assert scalars(tmp_path / "events" / "run") == logged(result.folder)


@pytest.mark.slow
def test_a_resumed_run_can_begin_with_curves_and_end_them(corpus, tmp_path):
    stopped_run(corpus, tmp_path / "run", 2, steps=8, **TINY)
    events = tmp_path / "events"
    for at, folder in ((2, str(events)), (2, "")):
        with pytest.raises(Interrupted):
            textgen.train(resume=tmp_path / "run", tensorboard=folder, stop=stop_after(at))
    textgen.train(resume=tmp_path / "run")
    steps = {step for pairs in scalars(events / "run").values() for step, _ in pairs}
    assert steps == {4}


@pytest.mark.slow
def test_a_run_resumes_where_its_curves_cannot_go_on_and_says_so(
    corpus, tmp_path, monkeypatch, capsys
):
    stopped_run(corpus, tmp_path / "run", 2, tensorboard=str(tmp_path / "tb"), steps=4, **TINY)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert textgen.train(resume=tmp_path / "run", quiet=False).steps == 4
    assert "no curves for TensorBoard: --tensorboard: needs the package" in capsys.readouterr().out


def test_without_the_package_it_says_what_to_install_before_training(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MachineError, match=r"pip install 'textgen-rnn\[tensorboard\]'"):
        textgen.train(tmp_path / "no such text", out=str(tmp_path / "run"), tensorboard="tb")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_is_refused_before_training(corpus, tmp_path):
    options = {"out": str(tmp_path / "run"), "steps": 2, **TINY}
    for name, error in ((str(corpus), MachineError), ("a\0b", UsageError)):
        with pytest.raises(error):
            textgen.train(corpus, tensorboard=name, **options)
        assert not (tmp_path / "run").exists()


def test_the_curves_of_another_run_are_not_written_on(corpus, tmp_path):
    with pytest.raises(UsageError, match="already holds the curves of another run"):
        other = EventLog(tmp_path / "events", "run")
        other.write(1, {"lr": 0.5})
        other.close()
        options = {"steps": 2, "tensorboard": str(tmp_path / "events"), **TINY}
        textgen.train(corpus, out=str(tmp_path / "run"), **options)
    assert scalars(tmp_path / "events" / "run") == {TAGS["lr"]: [(1, 0.5)]}
    assert not (tmp_path / "run").exists()


def test_a_run_that_fails_before_a_validation_leaves_no_folder(corpus, tmp_path):
    stopped_run(corpus, tmp_path / "run", 1, tensorboard=str(tmp_path / "tb"), steps=8, **TINY)
    assert list((tmp_path / "tb").iterdir()) == []


def test_events_can_be_read_as_soon_as_they_are_written(tmp_path):
    events = EventLog(tmp_path, "run")
    for step in (1, 2):
        events.write(step, {"val_nats": 0.5, "train_nats": None, "unknown": 3.0})
        assert scalars(tmp_path / "run") == {
            TAGS["val_nats"]: [(n, 0.5) for n in range(1, step + 1)]
        }
    events.close()
    events.close()


def test_a_full_disk_is_an_error_of_one_line(tmp_path, monkeypatch):
    class Full:
        def __init__(self, folder, purge_step):
            pass

        def add_scalar(self, *arguments):
            raise OSError(errno.ENOSPC, "No space left on device")

        close = add_scalar

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Full)
    events = EventLog(tmp_path, "run")
    with pytest.raises(MachineError, match="no space left on device"):
        events.write(1, {"lr": 1.0})
    events.close()


def test_the_check_makes_the_folder(tmp_path):
    check_events(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
