"""Several processes that train one network: as one would, exactly resumed, ended together."""

import json
import os
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
from textgen.files.atomic import LOCK
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
    return subprocess.run(
        words, capture_output=True, text=True, cwd=folder, env=environment, timeout=PATIENCE
    )


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
def test_three_processes_train_as_one_and_stop_resume_and_fail_together(folder):
    done = start(3, "together", folder)
    assert done.returncode == 0, done.stderr
    told = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(3)]
    assert_updates_are_those_of_one_process(folder)
    assert_resumed_exactly(folder, told)
    assert_only_rank_0_writes(folder)
    assert_error_is_told_once([one["stopped"] for one in told], 143, "stopped at step 3 of 8, all")
    assert_error_is_told_once([one["missing"] for one in told], 3, "no such file")
    assert_error_is_told_once([one["poisoned"] for one in told], 7, "is not finite")
    # It is rank 1 that lacks memory, and that tells it.
    full = [one["full"] for one in told]
    assert_error_is_told_once(full, 5, "not enough memory")
    assert not full[1][2]
    last = Checkpoint.load(folder / "poisoned" / runs.LAST)
    assert last.resume.step == 5
    assert np.isfinite(last.weights["head.bias"]).all()


def assert_updates_are_those_of_one_process(folder):
    for name, *sizes, _ in CASES:
        # On a GPU too, whose figures come in float32, the update is that of a CPU.
        alone = make_trainer(*sizes, False, ALONE)
        nats = [alone.update(0.02) for _ in range(STEPS)]
        expected = {**alone.model.export(), **alone.snapshot(), "nats": np.array(nats)}
        with np.load(folder / f"{name}.npz") as arrays:
            assert arrays.keys() == expected.keys()
            for key, array in arrays.items():
                least = 1e-6 if (name, key) == ("gpu", "nats") else 1e-9
                np.testing.assert_allclose(array, expected[key], rtol=0, atol=least, err_msg=key)


def assert_resumed_exactly(folder, told):
    whole, resumed = (Checkpoint.load(folder / name / runs.LAST) for name in ("whole", "stopped"))
    assert_equal_tensors(whole.weights, resumed.weights)
    assert_equal_tensors(whole.resume.tensors, resumed.resume.tensors)
    figures = {figure for one in told for figure in one["figures"]}
    assert len(figures) == 1, "the same on all ranks, resumed or not"
    one = textgen.train(folder / "corpus.txt", out=str(folder / "one"), steps=STEPS, **SIZES)
    assert abs(one.val_nats - figures.pop()) < 0.005
    assert whole.resume.ranks == 3
    with pytest.raises(UsageError, match=r"trained by 3 processes, not by 1 .*per-node 3"):
        textgen.train(resume=folder / "whole")


def assert_only_rank_0_writes(folder):
    written = {runs.BEST, runs.LAST, runs.PREVIOUS, runs.METRICS, "samples.txt", LOCK, runs.JOB}
    assert {path.name for path in (folder / "whole").iterdir()} == written
    lines = (folder / "whole" / runs.METRICS).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))
    assert not (folder / "missing").exists()


def assert_error_is_told_once(errors, exit_code, problem):
    assert {error[0] for error in errors} == {exit_code}
    assert any(problem in error[1] for error in errors)
    assert sorted(error[2] for error in errors) == [False, True, True]


@pytest.mark.slow
def test_a_killed_process_ends_all_with_one_error_and_a_restart_goes_on(folder):
    done = start(2, "restarted", folder, "--max-restarts=1")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("textgen: ")]
    assert len(said) == 1
    assert said[0].startswith("textgen: error: process 1: ended before its time (")
    run, other = (Checkpoint.load(folder / name / runs.LAST) for name in ("run", "other"))
    assert_equal_tensors(run.weights, other.weights)
