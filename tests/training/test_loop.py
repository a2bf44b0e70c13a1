"""Whole runs: what they leave behind, and that stopping and going on changes nothing."""

import contextlib
import errno
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import textgen
from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.checkpoint.loading import make_engine
from textgen.engine.mixture import usual_weights
from textgen.engine.ngrams import NGrams
from textgen.evaluation import protocols
from textgen.evaluation.evaluator import evaluate
from textgen.files.atomic import locked
from textgen.files.tensorfile import read_tensors, write_tensors
from textgen.training import loop
from textgen.training.trainer import Trainer
from textgen.training.validation import Validation

pytestmark = pytest.mark.usefixtures("short_validations")

TINY = {"hidden": 8, "embedding": 4, "batch": 2, "window": 8, "threads": 1}


@pytest.fixture
def short_validations(monkeypatch):
    """Fewer validations, and short samples: so small a run would spend most of its time there."""
    monkeypatch.setattr("textgen.training.plan.VALIDATIONS", 4)
    for name in ("VALIDATION_SAMPLE", "VALIDATION_RECORDS"):
        monkeypatch.setattr(loop, name, replace(getattr(loop, name), length=8))


@pytest.fixture
def corpus(tmp_path):
    """A text of 2,400 characters, repetitive enough to be learnt."""
    words = "the cat sat on the mat and the dog ran to the cat\n"
    path = tmp_path / "corpus.txt"
    path.write_text(words * 48, encoding="utf-8")
    return path


def weights(folder, name=runs.LAST):
    return Checkpoint.load(folder / name).weights


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a) and a.keys() == b.keys()


def stop_after(steps):
    """A `stop` that asks the run to end after so many more steps."""
    left = iter(range(steps - 1, -1, -1))
    return lambda: signal.SIGTERM if next(left, 0) == 0 else None


def interrupted_run(corpus, folder, at, **options):
    with pytest.raises(textgen.Interrupted) as stopped:
        textgen.train(corpus, out=str(folder), stop=stop_after(at), **options)
    assert stopped.value.exit_code == 143
    return textgen.train(resume=folder)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("at", [1, 10, 11])
def test_stopping_and_going_on_ends_with_the_same_bytes(corpus, tmp_path, cell, at):
    options = {**TINY, "cell": cell, "layers": 2, "dropout": 0.3, "steps": 24}
    textgen.train(corpus, out=str(tmp_path / "whole"), **options)
    interrupted_run(corpus, tmp_path / "parts", at, **options)
    for name in (runs.LAST, runs.BEST):
        assert same(weights(tmp_path / "whole", name), weights(tmp_path / "parts", name)), name


def test_a_run_stopped_at_every_step_ends_with_the_same_bytes(corpus, tmp_path):
    options = {**TINY, "dropout": 0.2, "steps": 6}
    textgen.train(corpus, out=str(tmp_path / "whole"), **options)
    folder = tmp_path / "parts"
    with pytest.raises(textgen.Interrupted):
        textgen.train(corpus, out=str(folder), stop=stop_after(1), **options)
    for _ in range(4):
        with pytest.raises(textgen.Interrupted):
            textgen.train(resume=folder, stop=stop_after(1))
    textgen.train(resume=folder)
    assert same(weights(tmp_path / "whole"), weights(folder))


def test_the_comparison_notices_a_forgotten_state(corpus, tmp_path, monkeypatch):
    options = {**TINY, "steps": 12}
    textgen.train(corpus, out=str(tmp_path / "whole"), **options)
    restore = Trainer.restore

    def forgetful(self, tensors, step):
        blank = {n: np.zeros_like(t) if n.startswith("state.") else t for n, t in tensors.items()}
        restore(self, blank, step)

    monkeypatch.setattr(Trainer, "restore", forgetful)
    interrupted_run(corpus, tmp_path / "parts", 5, **options)
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_metrics_of_an_interrupted_run_read_like_those_of_a_whole_one(corpus, tmp_path):
    options = {**TINY, "steps": 16}
    textgen.train(corpus, out=str(tmp_path / "whole"), **options)
    interrupted_run(corpus, tmp_path / "parts", 7, **options)

    def lines(folder):
        text = (folder / "metrics.jsonl").read_text()
        clock = ("seconds", "chars_per_second")
        return [
            {k: v for k, v in json.loads(x).items() if k not in clock} for x in text.splitlines()
        ]

    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert [line["step"] for line in lines(tmp_path / "whole")] == [4, 8, 12, 16]


def test_a_disk_that_fails_anywhere_is_an_error_of_one_line(corpus, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with pytest.raises(textgen.Interrupted):
        textgen.train(corpus, out=str(folder), stop=stop_after(5), steps=8, **TINY)
    before = weights(folder)
    real = os.scandir

    def failing(path):
        if str(path).startswith(str(folder)):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing)
        with pytest.raises(textgen.MachineError, match="input/output error") as caught:
            textgen.train(resume=folder)
    assert caught.value.subject == str(folder)
    assert same(before, weights(folder))


def test_metrics_have_the_documented_fields(corpus, tmp_path):
    textgen.train(corpus, out=str(tmp_path / "run"), steps=10, **TINY)
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(line) == {
        "step", "epoch", "seconds", "chars_seen", "train_nats", "val_nats", "val_bits", "lr",
        "grad_norm", "chars_per_second", "network_nats",
    }  # fmt: skip
    assert line["chars_seen"] == 10 * 2 * 8
    assert line["val_bits"] == pytest.approx(line["val_nats"] / math.log(2))


def records(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def test_ngrams_help_a_network_that_has_hardly_learnt(corpus, tmp_path):
    result = textgen.train(corpus, out=str(tmp_path / "run"), steps=40, **TINY)
    for line in records(result.folder):
        assert line["val_nats"] < line["network_nats"] - 0.1
    # So short a text has no tail to fit the weights on.
    for name in (runs.LAST, runs.BEST):
        assert np.array_equal(Checkpoint.load(result.folder / name).mixing, usual_weights())


@pytest.fixture
def longer(corpus):
    """A text of which a tail weighs the network and the n-grams."""
    draws = np.random.default_rng(0)
    words = corpus.read_text().split()
    text = " ".join(words[i] for i in draws.integers(0, 13, 8000))
    corpus.write_text(text)
    return corpus


@pytest.mark.slow
def test_the_weights_are_those_that_suit_the_tail_and_are_kept(longer, tmp_path):
    result = textgen.train(longer, out=str(tmp_path / "run"), steps=4, ngrams=5, **TINY)
    best = Checkpoint.load(result.best)
    assert not np.array_equal(best.mixing, usual_weights())
    assert best.metadata.metrics["val_nats"] == result.val_nats
    val = best.tokenizer.encode(longer.read_text())[-1500:]

    def nats(mixing):
        model = make_engine(replace(best, mixing=mixing))
        return protocols.streamed(model, val, best.tokenizer.counts).mean()

    assert nats(best.mixing) < nats(usual_weights())


@pytest.mark.slow
def test_the_ngrams_are_those_of_the_whole_training_part(longer, tmp_path):
    result = textgen.train(longer, out=str(tmp_path / "run"), steps=2, ngrams=5, **TINY)
    best, text = Checkpoint.load(result.best), longer.read_text()
    ids = best.tokenizer.encode(text[: len(text) * 9 // 10])
    expected = NGrams.count(ids, best.model.vocab, 4).tensors()
    found = best.ngrams.tensors()
    assert best.model.ngrams == 5
    for name in ("next", "shared", "size"):
        assert np.array_equal(found[name], expected[name])
    # Its back-off was learned on the tail.
    assert not np.array_equal(found["odds"], expected["odds"])


def test_the_final_figure_is_what_eval_measures(corpus, tmp_path, one_core):
    result = textgen.train(corpus, out=str(tmp_path / "run"), steps=24, lr=0.02, **TINY)
    measured = evaluate(result.best, corpus, part="val")
    assert measured.chars == 120  # one stream in both
    assert measured.nats_per_char == pytest.approx(result.val_nats, abs=1e-5)


@pytest.mark.slow
def test_the_final_figure_of_several_streams_is_nearly_what_eval_measures(
    corpus, tmp_path, one_core
):
    options = {**TINY, "steps": 100, "lr": 0.02, "split": "0.1,0.9,0"}
    result = textgen.train(corpus, out=str(tmp_path / "run"), **options)
    assert evaluate(result.best, part="val").nats_per_char == pytest.approx(
        result.val_nats, abs=0.01
    )


def test_a_run_can_do_without_ngrams(corpus, tmp_path, one_core):
    result = textgen.train(corpus, out=str(tmp_path / "run"), steps=20, ngrams=1, **TINY)
    best = Checkpoint.load(result.best)
    assert best.ngrams is None
    for line in records(result.folder):
        assert line["val_nats"] == line["network_nats"]
    measured = evaluate(result.best, corpus, part="val")
    assert measured.nats_per_char == pytest.approx(result.val_nats, abs=1e-5)


def test_ngrams_without_a_tail_change_nothing_in_how_the_network_is_trained(corpus, tmp_path):
    for ngrams in (1, 6):
        textgen.train(corpus, out=str(tmp_path / str(ngrams)), steps=20, ngrams=ngrams, **TINY)
    assert same(weights(tmp_path / "1"), weights(tmp_path / "6"))


def test_without_a_validation_part_the_weights_are_fitted_all_the_same(longer, tmp_path):
    result = textgen.train(longer, out=str(tmp_path / "run"), steps=5, split="1,0", **TINY)
    assert result.val_nats is None
    for name in (runs.LAST, runs.BEST):
        mixing = Checkpoint.load(result.folder / name).mixing
        assert not np.array_equal(mixing, usual_weights())


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, 5])
def test_ngrams_and_weights_of_a_run_that_was_stopped_end_as_of_a_whole_one(longer, tmp_path, at):
    options = {**TINY, "steps": 8, "ngrams": 7}
    textgen.train(longer, out=str(tmp_path / "whole"), **options)
    interrupted_run(longer, tmp_path / "parts", at, **options)
    for name in (runs.LAST, runs.BEST):
        whole, parts = (Checkpoint.load(tmp_path / one / name) for one in ("whole", "parts"))
        assert np.array_equal(whole.mixing, parts.mixing)
        assert same(whole.ngrams.tensors(), parts.ngrams.tensors())
        assert same(whole.weights, parts.weights)


def test_a_run_that_goes_on_keeps_the_weights_until_it_validates(longer, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(textgen.Interrupted):
        textgen.train(longer, out=str(folder), stop=stop_after(5), steps=16, ngrams=5, **TINY)
    mixing = Checkpoint.load(folder / runs.LAST).mixing
    with pytest.raises(textgen.Interrupted):
        textgen.train(resume=folder, stop=stop_after(1))
    assert not np.array_equal(mixing, usual_weights())
    assert np.array_equal(Checkpoint.load(folder / runs.LAST).mixing, mixing)


def test_ngrams_are_as_long_as_asked_for_whatever_the_alphabet(tmp_path):
    path = tmp_path / "many.txt"
    path.write_text("".join(chr(0x4E00 + i) for i in range(3000)) * 2)
    options = {**TINY, "hidden": 4, "steps": 1, "ngrams": 16, "split": "1,0"}
    result = textgen.train(path, out=str(tmp_path / "run"), **options)
    assert Checkpoint.load(result.best).ngrams.longest == 15


def test_a_line_logged_after_the_last_save_is_replaced(corpus, tmp_path):
    options = {**TINY, "steps": 16}
    folder = tmp_path / "run"
    with pytest.raises(textgen.Interrupted):
        textgen.train(corpus, out=str(folder), stop=stop_after(6), **options)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "val_nats": 0}\n{"step": 12, "val')
    textgen.train(resume=folder)
    steps = [json.loads(x)["step"] for x in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 12, 16]


def test_evaluating_and_sampling_do_not_change_the_training(corpus, tmp_path, monkeypatch):
    textgen.train(corpus, out=str(tmp_path / "a"), steps=12, **TINY)
    monkeypatch.setattr("textgen.training.plan.VALIDATIONS", 1)
    textgen.train(corpus, out=str(tmp_path / "b"), steps=12, **TINY)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_global_random_states_are_untouched_and_without_effect(corpus, tmp_path):
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    textgen.train(corpus, out=str(tmp_path / "a"), steps=8, dropout=0.3, **TINY)
    assert random.getstate() == before[0]
    assert all(np.array_equal(x, y) for x, y in zip(np.random.get_state(), before[1], strict=True))
    assert torch.equal(torch.get_rng_state(), before[2])
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    textgen.train(corpus, out=str(tmp_path / "b"), steps=8, dropout=0.3, **TINY)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_seeds_differ(corpus, tmp_path):
    for seed in (0, 1):
        textgen.train(corpus, out=str(tmp_path / str(seed)), steps=3, seed=seed, **TINY)
    assert not same(weights(tmp_path / "0"), weights(tmp_path / "1"))


@pytest.mark.slow
def test_training_learns(corpus, tmp_path):
    options = {**TINY, "hidden": 32, "lr": 0.02, "steps": 300}
    result = textgen.train(corpus, out=str(tmp_path / "run"), **options)
    assert result.val_nats < 0.5
    model = textgen.load(result.best)
    assert "the cat sat on the mat" in model.sample(length=200, temperature=0.5, seed=1)


@pytest.mark.parametrize("n", [3, 5, 17, 60, 300])
def test_short_texts_train(tmp_path, n, capsys):
    path = tmp_path / "short.txt"
    path.write_text(("to be or not to be, " * 20)[:n])
    result = textgen.train(
        path, out=str(tmp_path / "run"), steps=2, hidden=4, threads=1, quiet=False
    )
    assert result.best.exists()
    assert "the text is short" in capsys.readouterr().out
    textgen.load(result.best).sample(length=5, seed=1)


def test_without_a_validation_part_the_last_weights_are_the_best(corpus, tmp_path):
    result = textgen.train(corpus, out=str(tmp_path / "run"), steps=5, split="1,0", **TINY)
    assert result.val_nats is None
    assert same(weights(result.folder), weights(result.folder, runs.BEST))


def test_best_is_the_checkpoint_that_validated_best(corpus, tmp_path):
    result = textgen.train(corpus, out=str(tmp_path / "run"), steps=24, lr=0.5, **TINY)
    lines = (result.folder / "metrics.jsonl").read_text().splitlines()
    best = min(map(json.loads, lines), key=lambda line: line["val_nats"])
    assert Checkpoint.load(result.best).metadata.metrics["step"] == best["step"]


@pytest.mark.slow
@pytest.mark.slow
def test_patience_ends_a_run_that_gains_nothing(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("textgen.training.plan.VALIDATIONS", 10)
    monkeypatch.setattr(Validation, "per_character", lambda self, nats: 1.0)
    options = {**TINY, "steps": 60, "patience": 2}
    result = textgen.train(corpus, out=str(tmp_path / "run"), **options)
    # The first of the validations, one in 6 steps, is the best; two more gain nothing.
    assert result.steps == 18
    again = textgen.train(resume=result.folder)
    assert again.steps == result.steps


def test_a_finished_run_stays_as_it_is_and_can_be_extended(corpus, tmp_path):
    result = textgen.train(corpus, out=str(tmp_path / "run"), steps=10, **TINY)
    before = weights(result.folder)
    assert textgen.train(resume=result.folder).steps == 10
    assert same(before, weights(result.folder))
    assert textgen.train(resume=result.folder, steps=15).steps == 15


@pytest.fixture
def spend(monkeypatch):
    """A clock of training's own, moved by what training does; call it with a step's seconds, and
    perhaps with steps that take a multiple of them.

    A character that is only read takes a third of what one that is trained on does. Returns the
    function that tells the time.
    """
    now = 0.0
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now))

    def at(step_seconds, slow=range(0), factor=1):
        update, nats = Trainer.update, Validation.nats

        def slow_update(self, rate, wish):
            nonlocal now
            now += step_seconds * (factor if self.step in slow else 1)
            return update(self, rate, wish)

        def slow_nats(self, network, number, weights_WX=None):
            nonlocal now
            now += step_seconds * number / (3 * TINY["batch"] * TINY["window"])
            return nats(self, network, number, weights_WX)

        monkeypatch.setattr(Trainer, "update", slow_update)
        monkeypatch.setattr(Validation, "nats", slow_nats)
        return lambda: now

    return at


@pytest.mark.slow
@pytest.mark.parametrize("step_seconds", [0.03, 0.06])
def test_a_time_budget_is_kept_and_nearly_used_up(corpus, tmp_path, spend, step_seconds):
    clock = spend(step_seconds)
    textgen.train(corpus, out=str(tmp_path / "run"), minutes=0.1, **TINY)
    assert 0.8 * 6 < clock() < 6


@pytest.mark.slow
@pytest.mark.parametrize("slower", [2, 5])
def test_on_a_machine_that_slows_down_a_run_still_ends_in_time(
    corpus, tmp_path, spend, monkeypatch, slower
):
    """What is resumed afterwards follows the shortened plan."""
    clock, plans = spend(0.03), []

    def by_seconds(*arguments):
        plans.append(plan_by_seconds(*arguments))
        spend(0.03 * (slower - 1))
        return plans[-1]

    plan_by_seconds = loop.by_seconds
    monkeypatch.setattr(loop, "by_seconds", by_seconds)
    result = textgen.train(corpus, out=str(tmp_path / "run"), minutes=0.1, **TINY)
    assert clock() < 1.1 * 6
    assert result.steps < plans[0].steps
    saved = Checkpoint.load(result.folder / runs.LAST).resume
    assert saved.step == saved.plan.steps == result.steps
    assert textgen.train(resume=result.folder).steps == result.steps


@pytest.mark.slow
def test_a_slow_moment_does_not_cost_a_run_its_time(corpus, tmp_path, spend):
    """A few steps take three times as long, just before it is looked whether time will do.

    Were all the steps to come thought to be as slow as the latest, 15.4 seconds would be used.
    """
    clock = spend(0.04, slow=range(125, 150), factor=3)
    textgen.train(corpus, out=str(tmp_path / "run"), minutes=0.3, **TINY)
    assert 0.86 * 18 < clock() < 1.1 * 18


def test_a_stop_before_the_plan_leaves_nothing(corpus, tmp_path):
    with pytest.raises(textgen.Interrupted, match="before there was anything to save"):
        textgen.train(corpus, out=str(tmp_path / "run"), minutes=1, stop=stop_after(2), **TINY)
    assert not (tmp_path / "run").exists()


def test_a_separate_validation_text(corpus, tmp_path, one_core):
    other = tmp_path / "other.txt"
    other.write_text("the dog ran to the zoo\n" * 9)
    result = textgen.train(corpus, out=str(tmp_path / "run"), val=str(other), steps=5, **TINY)
    measured = evaluate(result.folder, part="val")
    assert (measured.chars, measured.unknown_chars) == (9 * 23, 9)


def test_a_changed_validation_text_is_refused(corpus, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("the dog ran to the zoo\n" * 9)
    options = {**TINY, "steps": 9, "val": str(other)}
    with pytest.raises(textgen.Interrupted):
        textgen.train(corpus, out=str(tmp_path / "run"), stop=stop_after(3), **options)
    other.write_text("the dog ran to the sea\n" * 9)
    with pytest.raises(textgen.TextError, match="not the text that --val named"):
        textgen.train(resume=tmp_path / "run")


def test_a_lack_of_memory_is_an_error_with_a_fix(corpus, tmp_path, monkeypatch):
    def update(self, rate, wish):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr(Trainer, "update", update)
    with pytest.raises(textgen.MachineError, match=r"not enough memory .*--batch"):
        textgen.train(corpus, out=str(tmp_path / "run"), steps=2, **TINY)


class TestInit:
    def test_rows_move_by_character(self, corpus, tmp_path):
        first = textgen.train(corpus, out=str(tmp_path / "first"), steps=5, **TINY)
        other = tmp_path / "other.txt"
        other.write_text("a cat! zebra? the quick one.\n" * 30)
        options = {**TINY, "steps": 1, "lr": 1e-12, "init": str(first.best)}
        second = textgen.train(other, out=str(tmp_path / "second"), **options)
        old, new = Checkpoint.load(first.best), Checkpoint.load(second.folder / runs.LAST)
        for char in "acet \n":
            i, j = old.tokenizer.encode(char)[0], new.tokenizer.encode(char)[0]
            np.testing.assert_allclose(
                old.weights["head.weight"][i], new.weights["head.weight"][j], atol=1e-6
            )
        name = "layers.0.weight_hh_l0"
        np.testing.assert_allclose(old.weights[name], new.weights[name], atol=1e-6)

    def test_other_sizes_are_refused(self, corpus, tmp_path):
        first = textgen.train(corpus, out=str(tmp_path / "first"), steps=2, **TINY)
        with pytest.raises(textgen.UsageError, match="--hidden"):
            textgen.train(corpus, init=str(first.best), hidden=9, steps=2)


class TestErrors:
    def test_divergence_is_caught_before_the_update(self, corpus, tmp_path, monkeypatch):
        # The network's outputs are bounded, so that only a broken weight gives a broken loss.
        folder = tmp_path / "run"
        with pytest.raises(textgen.Interrupted):
            textgen.train(corpus, out=str(folder), stop=stop_after(3), steps=9, **TINY)
        update = Trainer.update

        def poisoned(self, rate, wish):
            with torch.no_grad():
                self.model.head.bias[0] = math.nan
            return update(self, rate, wish)

        monkeypatch.setattr(Trainer, "update", poisoned)
        before = weights(folder)
        with pytest.raises(textgen.NumericsError, match="step 4: the loss is not finite"):
            textgen.train(resume=folder)
        assert same(before, weights(folder))

    def test_an_existing_run_is_never_overwritten(self, corpus, tmp_path):
        (tmp_path / "run").mkdir()
        with pytest.raises(textgen.UsageError, match="already exists"):
            textgen.train(corpus, out=str(tmp_path / "run"), steps=1, **TINY)

    def test_default_names_count_up(self, corpus, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folders = [textgen.train(corpus, steps=1, **TINY).folder.name for _ in range(3)]
        assert folders == ["corpus", "corpus-2", "corpus-3"]

    def test_a_folder_that_holds_no_run_is_left_as_it_is(self, tmp_path):
        with pytest.raises(textgen.CheckpointError, match="nothing to resume from"):
            textgen.train(resume=tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_default_that_is_given_is_no_change_either(self, corpus, tmp_path):
        folder = textgen.train(corpus, out=str(tmp_path / "run"), steps=1, seed=3, **TINY).folder
        with pytest.raises(textgen.UsageError, match="--seed: cannot be changed"):
            textgen.train(resume=folder, seed=0)

    def test_a_changed_text_is_refused(self, corpus, tmp_path):
        folder = tmp_path / "run"
        with pytest.raises(textgen.Interrupted):
            textgen.train(corpus, out=str(folder), stop=stop_after(3), steps=9, **TINY)
        corpus.write_text(corpus.read_text() + "!")
        with pytest.raises(textgen.TextError, match="not the text that was trained on"):
            textgen.train(resume=folder)

    def test_a_moved_text_can_be_named(self, corpus, tmp_path):
        folder = tmp_path / "run"
        with pytest.raises(textgen.Interrupted):
            textgen.train(corpus, out=str(folder), stop=stop_after(3), steps=9, **TINY)
        moved = corpus.rename(tmp_path / "moved.txt")
        with pytest.raises(textgen.TextError, match="no such file"):
            textgen.train(resume=folder)
        shutil.move(folder, tmp_path / "elsewhere")
        assert textgen.train(moved, resume=tmp_path / "elsewhere").steps == 9

    def test_a_damaged_last_falls_back_to_the_one_before(self, corpus, tmp_path, capsys):
        options = {**TINY, "steps": 12}
        textgen.train(corpus, out=str(tmp_path / "whole"), **options)
        folder = tmp_path / "run"
        with pytest.raises(textgen.Interrupted):
            textgen.train(corpus, out=str(folder), stop=stop_after(8), **options)
        (folder / runs.LAST).write_bytes((folder / runs.LAST).read_bytes()[:-100])
        textgen.train(resume=folder, quiet=False)
        assert "resuming from" in capsys.readouterr().out
        assert same(weights(tmp_path / "whole"), weights(folder))

    def test_a_failed_save_after_a_fallback_loses_nothing(self, corpus, tmp_path, monkeypatch):
        folder = tmp_path / "run"
        with pytest.raises(textgen.Interrupted):
            textgen.train(corpus, out=str(folder), stop=stop_after(17), steps=24, **TINY)
        (folder / runs.LAST).write_bytes(b"damaged")

        def full(*arguments):
            raise textgen.MachineError("disk", "full", "free some space")

        with monkeypatch.context() as patched:
            patched.setattr("textgen.files.tensorfile.write_output", full)
            with pytest.raises(textgen.MachineError):
                textgen.train(resume=folder)
        assert textgen.train(resume=folder).steps == 24


@contextlib.contextmanager
def running(command, folder):
    """A child process that is killed on the way out, or after two minutes if it hangs."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, text=True, **pipes) as process:
        alarm = threading.Timer(120, process.kill)
        alarm.start()
        try:
            yield process
        finally:
            alarm.cancel()
            process.kill()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
class TestSignals:
    @pytest.mark.slow
    @pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
    def test_a_signal_saves_and_the_run_goes_on(self, corpus, tmp_path, name, code):
        options = {**TINY, "steps": 1000}
        words = [f"--{k}={v}" for k, v in options.items()]
        command = [sys.executable, "-m", "textgen", "train", str(corpus), *words]
        command += ["--out", str(tmp_path / "run")]
        with running(command, tmp_path) as process:
            if any(line.startswith("step ") for line in process.stdout):  # the first validation
                process.send_signal(getattr(signal, name))
            _, err = process.communicate()
        assert process.returncode == code, err
        assert "resume it with: textgen train --resume" in err and "Traceback" not in err
        [step] = map(int, re.findall(r"stopped at step (\d+) of 1,000", err))
        with pytest.raises(textgen.Interrupted, match=f"stopped at step {step + 2} of 1,000"):
            textgen.train(resume=tmp_path / "run", stop=stop_after(2))

    @pytest.mark.slow
    def test_two_trainers_do_not_share_a_folder(self, corpus, tmp_path):
        folder = tmp_path / "run"
        with pytest.raises(textgen.Interrupted):
            textgen.train(corpus, out=str(folder), stop=stop_after(3), steps=9, **TINY)
        with locked(folder):
            command = [sys.executable, "-m", "textgen", "train", "--resume", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 6
        assert done.stderr.count("\n") == 1 and "another process" in done.stderr


class TestTexts:
    """Items, bytes, pieces, several files: a run of each is stopped, resumed and measured."""

    WAYS = (
        {"records": "lines"},
        {"records": "lines", "cell": "lstm", "tokenizer": "byte"},
        {"tokenizer": "byte"},
        {"tokenizer": "bpe", "vocab_size": 300},
        {"newlines": "lf", "normalize": "nfc"},
    )

    @pytest.fixture
    def lines(self, tmp_path):
        path = tmp_path / "lines.txt"
        path.write_text("".join(f"the {n}. cat sat on mat {n % 7}é\n" for n in range(90)))
        return path

    @pytest.mark.slow
    @pytest.mark.parametrize("options", WAYS, ids=str)
    def test_stopping_and_going_on_ends_with_the_same_bytes(self, lines, tmp_path, options):
        options = {**TINY, "steps": 20, "dropout": 0.1, **options}
        whole = textgen.train(lines, out=str(tmp_path / "whole"), **options).folder
        parts = interrupted_run(lines, tmp_path / "parts", 7, **options).folder
        assert same(weights(whole), weights(parts))

    @pytest.mark.parametrize("options", WAYS, ids=str)
    def test_the_figure_of_the_run_is_that_of_its_evaluation(
        self, lines, tmp_path, one_core, options
    ):
        result = textgen.train(lines, out=str(tmp_path / "run"), steps=20, **TINY, **options)
        measured = evaluate(result.best, part="val")
        assert measured.nats_per_char == pytest.approx(result.val_nats, rel=1e-4)

    @pytest.mark.slow
    def test_items_learn_where_one_begins(self, lines, tmp_path):
        """Without the marks a network could not know it: here nearly all begin with `the `."""
        options = {**TINY, "hidden": 32, "batch": 16, "window": 32, "lr": 0.02}
        run = textgen.train(lines, out=str(tmp_path / "run"), steps=150, records="lines", **options)
        texts = textgen.load(run.best).batch("", num=20, length=60, seed=1, temperature=0.5)
        assert sum(text.startswith("the ") for text in texts) >= 18
        assert not any("\n" in text for text in texts)

    def test_a_run_on_several_files_goes_on(self, lines, corpus, tmp_path):
        options = {**TINY, "steps": 9}
        whole = textgen.train([lines, corpus], out=str(tmp_path / "whole"), **options).folder
        with pytest.raises(textgen.Interrupted):
            out = str(tmp_path / "parts")
            textgen.train([lines, corpus], out=out, stop=stop_after(3), **options)
        parts = textgen.train(resume=tmp_path / "parts").folder
        assert same(weights(whole), weights(parts))

    def test_a_large_text_trains_as_a_small_one(self, lines, tmp_path, monkeypatch):
        monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
        small = textgen.train(lines, out=str(tmp_path / "small"), steps=9, **TINY).folder
        monkeypatch.setattr("textgen.data.corpus.IN_MEMORY", 10)
        large = textgen.train(lines, out=str(tmp_path / "large"), steps=9, **TINY).folder
        assert list((tmp_path / "cache").glob("*.ids"))
        assert same(weights(small), weights(large))

    def test_a_run_of_before_that_names_a_single_text_goes_on(self, lines, tmp_path, monkeypatch):
        """Older runs keep the path of their text under another name."""
        options = {**TINY, "steps": 9}
        whole = textgen.train(lines, out=str(tmp_path / "whole"), **options).folder
        with pytest.raises(textgen.Interrupted):
            textgen.train(lines, out=str(tmp_path / "old"), stop=stop_after(3), **options)
        last = tmp_path / "old" / runs.LAST
        tensors, settings = read_tensors(last)
        [settings["resume"]["text"]] = settings["resume"].pop("texts")
        write_tensors(last, tensors, settings)
        assert same(weights(whole), weights(textgen.train(resume=tmp_path / "old").folder))


class TestInitOnOtherTexts:
    def test_more_characters_leave_the_loss_of_the_old_ones_as_it_was(self, corpus, tmp_path):
        """At step 0: new rows are added, and none of the old ones takes another's place."""
        options = {**TINY, "steps": 30, "ngrams": 1}
        first = textgen.train(corpus, out=str(tmp_path / "first"), **options)
        other = tmp_path / "other.txt"
        other.write_text("!? 0123 " * 40 + corpus.read_text()[:200] + "ABC é" * 30)
        options = {**options, "steps": 1, "lr": 1e-12, "init": str(first.best), "split": "1"}
        second = textgen.train(other, out=str(tmp_path / "second"), **options)
        old, new = textgen.load(first.best), textgen.load(second.folder / runs.LAST)
        text = corpus.read_text()[:300]
        kept = [new.tokenizer.symbols().index(symbol) for symbol in old.tokenizer.symbols()]
        logits = [
            make_engine(model.checkpoint).read(model.tokenizer.encode(text), 1, None)[0][0]
            for model in (old, new)
        ]
        np.testing.assert_allclose(logits[1][kept], logits[0], atol=1e-5)

    def test_what_the_new_text_lacks_is_kept_and_told(self, corpus, tmp_path, capsys):
        first = textgen.train(corpus, out=str(tmp_path / "first"), steps=2, **TINY)
        other = tmp_path / "other.txt"
        other.write_text("a cat! zebra? the quick one.\n" * 30)
        options = {**TINY, "steps": 1, "init": str(first.best)}
        second = textgen.train(other, out=str(tmp_path / "second"), quiet=False, **options)
        old, new = textgen.load(first.best), textgen.load(second.best)
        assert set(old.tokenizer.alphabet) <= set(new.tokenizer.alphabet)
        kept = len(set(other.read_text()) & set(corpus.read_text()))
        added = len(set(other.read_text())) - kept
        unused = len(set(corpus.read_text())) - kept
        words = f"{kept} characters kept, {added} added, {unused} unused in this text"
        assert words in capsys.readouterr().out
        assert not set(new.sample(length=300, seed=1)) - set(other.read_text())

    @pytest.mark.parametrize("options", [{"tokenizer": "byte"}, {"records": "lines"}], ids=str)
    def test_units_and_items_go_on_as_such(self, corpus, tmp_path, options):
        corpus.write_text("".join(f"line {n}\n" for n in range(99)))
        first = textgen.train(corpus, out=str(tmp_path / "first"), steps=2, **TINY, **options)
        more = {**TINY, "steps": 1, "lr": 1e-12, "init": str(first.best)}
        more |= {"records": options["records"]} if "records" in options else {}
        second = textgen.train(corpus, out=str(tmp_path / "second"), **more)
        assert same(
            {name: array.round(6) for name, array in weights(first.folder, runs.BEST).items()},
            {name: array.round(6) for name, array in weights(second.folder).items()},
        )

    def test_all_bytes_are_accounted_for(self, corpus, tmp_path, capsys):
        """Among bytes there is no <unk>: each is used or not."""
        first = textgen.train(corpus, out=str(tmp_path / "1"), steps=1, tokenizer="byte", **TINY)
        options = {**TINY, "steps": 1, "init": str(first.best), "split": "1"}
        textgen.train(corpus, out=str(tmp_path / "2"), quiet=False, **options)
        used = len(set(corpus.read_bytes()))
        words = f"{used} units kept, 0 added, {256 - used} unused in this text"
        assert words in capsys.readouterr().out

    def test_other_units_than_the_checkpoint_s_are_refused(self, corpus, tmp_path):
        first = textgen.train(corpus, out=str(tmp_path / "first"), steps=2, **TINY)
        with pytest.raises(textgen.UsageError, match="differs from the char of --init"):
            textgen.train(corpus, init=str(first.best), tokenizer="byte", steps=2)
