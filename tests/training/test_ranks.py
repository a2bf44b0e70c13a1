"""Several processes that train one network: as one would, exactly resumed, ended together."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import assert_equal_tensors
from rank_worker import CASES, SIZES, STEPS, make_trainer

import textgen
from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.errors import UsageError
from textgen.training.ranks import ALONE, Ranks, Wish, joined_ranks, read_wish, started_ranks

WORKER = Path(__file__).parents[1] / "rank_worker.py"
TEXT = "the cat sat on the mat, and the dog ran after it\n" * 60
# Ends a test that hangs.
PATIENCE = 120


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def start(number, task, folder, *options):
    """Let torchrun start processes that do a task; return what became of them."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words = [*launcher, f"--nproc-per-node={number}", *options, str(WORKER), task, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(WORKER.parents[1])}
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=folder, env=environment, timeout=PATIENCE
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done


def said(done):
    """The lines of textgen on standard error, without what torchrun adds."""
    return [line for line in done.stderr.splitlines() if line.startswith("textgen: ")]


# Alone


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("batch", [8, 13, 64])
def test_each_row_belongs_to_one_rank_in_order(size, batch):
    rows = [np.arange(batch)[Ranks(rank, size).share(batch)] for rank in range(size)]
    assert np.concatenate(rows).tolist() == list(range(batch))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_more_ranks_than_streams_are_an_error_with_the_numbers():
    Ranks(0, 4).require_rows(4)
    with pytest.raises(UsageError, match=r"--batch: 3 streams cannot be shared by 4 processes"):
        Ranks(0, 4).require_rows(3)


def test_one_process_is_alone_and_agrees_with_itself():
    assert ALONE.leads
    assert ALONE.agree({"a": 1}) == {"a": 1}
    part = torch.arange(6.0).view(3, 2)
    assert ALONE.gather_rows(part, 3) is part
    model = torch.nn.Linear(2, 2)
    assert ALONE.wrap(model) is model
    nats, wishes = ALONE.exchange(torch.tensor(1.5), Wish(15, True, 10**9))
    assert nats.item() == 1.5
    assert read_wish(wishes) == Wish(15, True, 10**9)


def test_the_environment_says_which_process_it_is(monkeypatch):
    names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert started_ranks() == ALONE
    for name, value in zip(names, "3412", strict=True):
        monkeypatch.setenv(name, value)
    assert started_ranks() == Ranks(3, 4, 1, 2)
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined_ranks() as ranks:
        assert ranks == ALONE


# Together


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
def test_they_make_the_updates_that_one_process_would_make(folder, number):
    done = start(number, "updates", folder)
    assert done.returncode == 0, done.stderr
    for name, *sizes in CASES:
        alone = make_trainer(*sizes, ALONE)
        nats = [alone.update(0.02) for _ in range(STEPS)]
        expected = {**alone.model.export(), **alone.snapshot(), "nats": np.array(nats)}
        with np.load(folder / f"{name}.npz") as arrays:
            assert arrays.keys() == expected.keys()
            for key, array in arrays.items():
                np.testing.assert_allclose(array, expected[key], rtol=0, atol=1e-9, err_msg=key)


@pytest.mark.slow
def test_a_stop_of_one_stops_all_and_the_run_is_resumed_exactly(folder):
    done = start(3, "resume", folder)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1, 2):
        told = (folder / f"interrupted-{rank}").read_text()
        assert told == f"{128 + signal.SIGTERM} stopped at step 3 of {STEPS}, all saved"
        figures = json.loads((folder / f"figures-{rank}").read_text())
        assert figures[0] == figures[1] > 0
    whole, resumed = (Checkpoint.load(folder / name / runs.LAST) for name in ("whole", "stopped"))
    assert_equal_tensors(whole.weights, resumed.weights)
    assert_equal_tensors(whole.resume.tensors, resumed.resume.tensors)
    assert whole.resume.ranks == 3
    files = {path.name for path in (folder / "whole").iterdir()}
    written = {runs.BEST, runs.LAST, runs.PREVIOUS, runs.METRICS, "samples.txt"}
    assert files == {*written, "lock", runs.JOB}
    one = textgen.train(folder / "corpus.txt", out=str(folder / "one"), steps=STEPS, **SIZES)
    assert abs(one.val_nats - figures[0]) < 0.005
    with pytest.raises(UsageError, match=r"trained by 3 processes, not by 1 .*torchrun"):
        textgen.train(resume=folder / "whole")


@pytest.mark.slow
def test_a_process_that_is_killed_ends_all_with_one_error_and_a_run_to_resume(folder):
    done = start(2, "killed", folder)
    assert done.returncode != 0
    (line,) = said(done)
    assert line.startswith("textgen: error: process 1: ended before its time (")
    assert Checkpoint.load(folder / "run" / runs.LAST).resume.step == 5


@pytest.mark.slow
def test_a_job_that_is_restarted_goes_on_and_ends_as_if_nothing_had_been(folder):
    done = start(2, "killed", folder, "--max-restarts=1")
    assert done.returncode == 0, done.stderr
    other = folder / "other"
    other.mkdir()
    (other / "corpus.txt").write_text(TEXT, encoding="utf-8")
    assert start(2, "command", other).returncode == 0
    restarted, whole = (Checkpoint.load(path / "run" / runs.LAST) for path in (folder, other))
    assert_equal_tensors(restarted.weights, whole.weights)


@pytest.mark.slow
def test_a_loss_of_one_that_is_not_finite_ends_all_with_one_error(folder):
    done = start(2, "poisoned", folder)
    (line,) = said(done)
    assert line.startswith("textgen: error: step 6: the ")
    assert "is not finite" in line
    assert "exitcode  : 7" in done.stderr
    assert np.isfinite(Checkpoint.load(folder / "run" / runs.LAST).weights["head.bias"]).all()


@pytest.mark.slow
def test_what_all_of_them_meet_is_told_once(folder):
    done = start(2, "missing", folder)
    (line,) = said(done)
    assert "corpus.txt: no such file" in line
    assert "exitcode  : 3" in done.stderr
    assert not (folder / "run").exists()
