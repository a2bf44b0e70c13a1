"""What a run needs before its first step: products in bfloat16 where a CPU has them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories import assert_equal_tensors
from fake_cuda import fake_cuda, needs_fake_cuda

import textgen
from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.checkpoint.resume import SCALER
from textgen.errors import CheckpointError, MachineError, TextError, TextgenError, UsageError
from textgen.files.tensorfile import read_tensors, write_tensors
from textgen.training import setup

SIZES = {"cell": "gru", "hidden": 8, "embedding": 4, "batch": 2, "window": 8, "threads": 1}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("the cat sat on the mat\n" * 60, encoding="utf-8")
    return path


@pytest.fixture
def bfloat16(monkeypatch):
    """Make the CPU one that has products of bfloat16 numbers, or one that lacks them.

    Where it really lacks them the layers take the plain product, which is slow and right.
    """
    return lambda has: monkeypatch.setattr(setup, "can_pack", lambda dtype: has)


def precision_of(folder):
    return Checkpoint.load(folder / runs.LAST).metadata.training["precision"]


def test_a_cpu_with_bfloat16_trains_in_it(corpus, tmp_path, bfloat16):
    bfloat16(True)
    textgen.train(corpus, out=str(tmp_path / "run"), precision="bfloat16", steps=3, **SIZES)
    assert precision_of(tmp_path / "run") == "bfloat16"


def test_bfloat16_on_a_cpu_without_it_is_an_error_of_the_machine(corpus, tmp_path, bfloat16):
    bfloat16(False)
    with pytest.raises(MachineError, match="--precision") as caught:
        textgen.train(corpus, out=str(tmp_path / "run"), precision="bfloat16", steps=3, **SIZES)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "run").exists()


def test_no_precision_is_chosen_that_the_cpu_lacks(corpus, tmp_path, bfloat16):
    bfloat16(False)
    textgen.train(corpus, out=str(tmp_path / "run"), steps=3, **SIZES)
    assert precision_of(tmp_path / "run") == "float32"


def test_a_run_in_bfloat16_goes_on_in_float32_where_the_cpu_lacks_it(
    corpus, tmp_path, bfloat16, capsys
):
    bfloat16(True)
    with pytest.raises(TextgenError, match="stopped at step 2"):
        options = {"precision": "bfloat16", "steps": 4, "stop": stop_after(2)}
        textgen.train(corpus, out=str(tmp_path / "run"), **options, **SIZES)
    bfloat16(False)
    result = textgen.train(resume=tmp_path / "run", quiet=False)
    assert "float32, as this CPU has none in bfloat16: no longer exact" in "".join(
        capsys.readouterr()
    )
    assert result.steps == 4
    assert precision_of(tmp_path / "run") == "float32"


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_only_the_gru_has_products_in_bfloat16(corpus, tmp_path, bfloat16, cell):
    bfloat16(True)
    sizes = {**SIZES, "cell": cell, "steps": 2}
    with pytest.raises(UsageError, match="only a GRU"):
        textgen.train(corpus, out=str(tmp_path / "run"), precision="bfloat16", **sizes)
    textgen.train(corpus, out=str(tmp_path / "run"), **sizes)
    assert precision_of(tmp_path / "run") == "float32"


@needs_fake_cuda
def test_float16_is_for_cuda_and_bfloat16_for_a_cpu(corpus, tmp_path, bfloat16):
    bfloat16(True)
    with pytest.raises(UsageError, match="--precision: float16 is for CUDA") as caught:
        textgen.train(corpus, out=str(tmp_path / "run"), precision="float16", steps=2, **SIZES)
    assert "device cpu" in caught.value.problem
    with fake_cuda(), pytest.raises(UsageError, match="--precision: bfloat16 is for a CPU"):
        options = {"precision": "bfloat16", "device": "cuda", "steps": 2, **SIZES}
        textgen.train(corpus, out=str(tmp_path / "run"), **options)


def test_a_run_in_float16_goes_on_in_float32_on_a_cpu(corpus, tmp_path, capsys):
    """As a run from a GPU that is resumed with --device auto where there is none."""
    run = tmp_path / "run"
    with pytest.raises(TextgenError, match="stopped at step 2"):
        textgen.train(corpus, out=str(run), steps=4, stop=stop_after(2), **SIZES)
    checkpoint = Checkpoint.load(run / runs.LAST)
    state = checkpoint.resume
    tensors = {**state.tensors, SCALER: np.array([4, 3, 2], np.float32)}
    config = replace(state.config, precision="float16")
    state = replace(state, tensors=tensors, config=config)
    replace(checkpoint, resume=state).save(run / runs.LAST)
    assert textgen.train(resume=run, quiet=False).steps == 4
    assert "products in float32 on the device cpu: no longer exact" in "".join(capsys.readouterr())
    assert precision_of(run) == "float32"


@pytest.mark.parametrize("scaler", [None, [0.5, 0, 0], [1, -1, 0], [np.inf, 0, 0], [1, 0]])
def test_a_scale_that_cannot_be_is_an_error(corpus, tmp_path, scaler):
    run = tmp_path / "run"
    with pytest.raises(TextgenError, match="stopped at step 2"):
        textgen.train(corpus, out=str(run), steps=4, stop=stop_after(2), **SIZES)
    checkpoint = Checkpoint.load(run / runs.LAST)
    state = checkpoint.resume
    tensors = dict(state.tensors)
    if scaler:
        tensors[SCALER] = np.array(scaler, np.float32)
    state = replace(state, tensors=tensors, config=replace(state.config, precision="float16"))
    replace(checkpoint, resume=state).save(run / runs.LAST)
    with pytest.raises(CheckpointError, match=r"resume\.scaler"):
        Checkpoint.load(run / runs.LAST)


def stop_after(steps):
    """A `stop` that asks the run to end after so many steps."""
    left = iter(range(steps - 1, -1, -1))
    return lambda: 15 if next(left, 0) == 0 else None


class TestResume:
    @pytest.fixture
    def stopped(self, corpus, tmp_path):
        """A run that was stopped at step 2 of 4, validated on a text of its own."""
        (tmp_path / "val.txt").write_text("the mat sat on the cat\n")
        options = {"val": str(tmp_path / "val.txt"), "steps": 4, "stop": stop_after(2)}
        with pytest.raises(TextgenError, match="stopped at step 2"):
            textgen.train(corpus, out=str(tmp_path / "run"), **options, **SIZES)
        return tmp_path / "run"

    def test_a_validation_text_that_has_changed_is_refused(self, stopped, tmp_path):
        (tmp_path / "val.txt").write_text("another text\n")
        with pytest.raises(TextError, match=r"val\.txt: is not the text that --val named"):
            textgen.train(resume=stopped)

    def test_another_number_of_threads_gives_up_exactness_and_says_so(self, stopped, capsys):
        textgen.train(resume=stopped, threads=2, quiet=False)
        assert "2 threads instead of 1: no longer exact" in "".join(capsys.readouterr())

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("hidden", None, "resume.config.hidden is None, its network has 8"),
            ("batch", None, "batch is not set"),
            ("batch", 3, "does not fit its network"),
            # An option that nobody gave is damage, not wrong usage.
            ("glob", "*", r"its settings are damaged: --glob"),
            ("encoding", "klingon", "resume.config: --encoding 'klingon' is not"),
        ],
    )
    def test_a_setting_that_cannot_be_is_damage(self, stopped, key, value, words):
        tensors, settings = read_tensors(stopped / runs.LAST)
        settings["resume"]["config"][key] = value
        write_tensors(stopped / runs.LAST, tensors, settings)
        (stopped / runs.PREVIOUS).unlink()
        with pytest.raises(CheckpointError, match=words):
            textgen.train(resume=stopped)

    def test_a_state_of_other_streams_is_damage(self, stopped):
        tensors, settings = read_tensors(stopped / runs.LAST)
        tensors["resume.state.0.0"] = np.zeros((5, 8), np.float32)
        write_tensors(stopped / runs.LAST, tensors, settings)
        with pytest.raises(CheckpointError, match="does not fit its network"):
            textgen.train(resume=stopped)

    def test_nothing_is_written_where_only_the_file_says(self, stopped, tmp_path, capsys):
        tensors, settings = read_tensors(stopped / runs.LAST)
        settings["resume"]["config"]["tensorboard"] = str(tmp_path / "anywhere" / "else")
        write_tensors(stopped / runs.LAST, tensors, settings)
        textgen.train(resume=stopped, quiet=False)
        assert not (tmp_path / "anywhere").exists()
        assert "no curves for TensorBoard" in capsys.readouterr().out

    @pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"{")])
    @pytest.mark.parametrize("steps", [None, 6])
    def test_best_weights_that_are_lost_are_replaced(self, stopped, capsys, damage, steps):
        """Of a finished run too; else nothing later would be better than what nobody has."""
        textgen.train(resume=stopped)
        damage(stopped / runs.BEST)
        result = textgen.train(resume=stopped, steps=steps, quiet=False)
        assert f"{runs.BEST}: " in (said := capsys.readouterr().out)
        assert "the best from here on counts" in said
        best, last = (Checkpoint.load(stopped / name) for name in (runs.BEST, runs.LAST))
        assert best.resume is None and result.steps == (steps or 4)
        if not steps:
            assert_equal_tensors(best.weights, last.weights)
        textgen.train(resume=stopped, quiet=False)
        assert "from here on counts" not in capsys.readouterr().out


def test_a_budget_in_epochs_is_as_many_windows(corpus, tmp_path):
    result = textgen.train(corpus, out=str(tmp_path / "run"), epochs=0.5, split="1", **SIZES)
    windows = (60 * 23 - 1) // 2 // 8
    assert result.steps == pytest.approx(windows / 2, abs=1)


@pytest.mark.slow
def test_the_last_figure_is_of_more_than_a_validation_reads_where_there_is_time(corpus, tmp_path):
    corpus.write_text("the cat sat on the mat\n" * 2600, encoding="utf-8")
    result = textgen.train(corpus, out=str(tmp_path / "run"), steps=300, **SIZES)
    record = Checkpoint.load(result.best).metadata.metrics
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert (record["val_chars"], record["val_nats"]) == (1440, result.val_nats)
    assert result.val_nats != last["val_nats"]
    assert result.val_nats == pytest.approx(last["val_nats"], abs=0.1)
