"""What a run starts from: nothing, a checkpoint by name, or the base if it reads the text well."""

import dataclasses
import json
import random

import numpy as np
import pytest

import textgen
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.config import TrainConfig
from textgen.data import dataset, fingerprints
from textgen.errors import CheckpointError, UsageError
from textgen.training import starting
from textgen.training.sizing import BASE_PASSES

SIZES = {"hidden": 24, "embedding": 12, "batch": 4, "window": 16, "threads": 1, "lr": 0.02}
NOUNS = ("cat", "dog", "bird", "fox", "hen", "cow", "goat", "king", "child", "Anna", "Otto")
VERBS = ["saw", "heard", "met", "liked", "fed", "led", "woke", "lost", "found"]


def story(seed, sentences=1200):
    """Return text of one small language, another one for each seed."""
    dice = random.Random(seed)
    return "".join(
        f"The {dice.choice(NOUNS)} {dice.choice(VERBS)} the {dice.choice(NOUNS)}.\n"
        for _ in range(sentences)
    )


def figures(seed, lines=1200):
    """Return text of quite another language."""
    dice = random.Random(seed)
    return "".join(f"{dice.randrange(10**6)};{dice.randrange(100)}\n" for _ in range(lines))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The path of a base that has read a story."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "story.txt").write_text(story(0))
    out = str(folder / "run")
    textgen.train(
        folder / "story.txt", out=out, init="none", steps=250, ngrams=1, split="0.9,0.1", **SIZES
    )
    return folder / "run" / "best.safetensors"


@pytest.fixture
def base(trained, tmp_path, monkeypatch):
    """The same as the base that ships."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoints" / "base-en.safetensors"
    path.parent.mkdir()
    known = fingerprints.fingerprint([story(0)])
    dataclasses.replace(Checkpoint.load(trained), fingerprint=known).save(path, "float16")
    return path


def read(tmp_path, text, **options):
    path = tmp_path / "own.txt"
    path.write_text(text)
    config = TrainConfig(**options)
    return config, dataset.load_dataset([path], config)


def test_a_base_that_reads_the_text_better_than_its_n_grams_is_taken(base, tmp_path):
    config, data = read(tmp_path, story(1, 40))
    start = starting.choose_start(config, data)
    assert start.checkpoint.model == Checkpoint.load(base).model
    base_nats, ngram_nats = starting.try_base(start.checkpoint, data)
    assert base_nats < ngram_nats
    assert f"{base_nats:.2f} nats" in start.note and f"at {ngram_nats:.2f}" in start.note
    assert start.note.startswith("starting from base-en: ") and "--init none" in start.note


def test_a_base_is_not_taken_for_another_language(base, tmp_path):
    start = starting.choose_start(*read(tmp_path, figures(1)))
    assert start.checkpoint is None
    assert start.note.startswith("base-en is not used: it reads this text at ")


def test_records_are_tried_as_lines(base, tmp_path):
    config, data = read(tmp_path, story(1, 60), records="lines")
    base_nats, _ = starting.try_base(Checkpoint.load(base), data)
    _, lines = read(tmp_path, story(1, 60))
    assert base_nats == pytest.approx(starting.try_base(Checkpoint.load(base), lines)[0], abs=0.2)
    assert starting.choose_start(config, data).checkpoint is not None


@pytest.mark.parametrize("text", ["ab", "aaa", "abcd", "The cat saw the dog.\n"])
def test_the_shortest_texts_are_tried(base, tmp_path, text):
    start = starting.choose_start(*read(tmp_path, text, split="1"))
    assert "nats a character" in start.note and "nan" not in start.note


@pytest.mark.parametrize(
    "options, words",
    [
        ({"hidden": 8}, "it has sizes of its own, not --hidden"),
        ({"cell": "lstm"}, "it has sizes of its own, not --cell"),
        ({"tokenizer": "byte"}, "it knows characters, not --tokenizer byte"),
    ],
)
def test_a_base_that_cannot_be_taken(base, tmp_path, options, words):
    start = starting.choose_start(*read(tmp_path, story(1), **options))
    assert start == (None, f"base-en is not used: {words}")


def test_no_base_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(starting, "shipped", lambda folder, name: None)
    start = starting.choose_start(*read(tmp_path, story(1)))
    assert start == (None, "base-en is not used: it is not installed")


def test_a_folder_of_the_base_s_name_is_not_taken_for_it(base, tmp_path):
    (tmp_path / "base-en").mkdir()
    start = starting.choose_start(*read(tmp_path, story(1, 40)))
    assert start.checkpoint.model == Checkpoint.load(base).model


def test_a_run_starts_from_the_base_by_itself(base, tmp_path, capsys):
    (tmp_path / "own.txt").write_text(story(1, 100))
    textgen.train("own.txt", out="run", steps=10, quiet=False, threads=1)
    assert "starting from base-en" in capsys.readouterr().out
    best = Checkpoint.load(tmp_path / "run/best.safetensors")
    assert best.model.hidden == SIZES["hidden"]
    assert [text.name for text in best.metadata.read_before] == ["story.txt"]
    assert best.fingerprint is None


def test_a_short_text_is_read_a_few_times_only_whatever_the_time(base, tmp_path):
    (tmp_path / "own.txt").write_text(story(1, 100))
    result = textgen.train("own.txt", out="run", minutes=5, threads=1)
    metrics = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert json.loads(metrics[-1])["epoch"] <= BASE_PASSES + 0.5
    assert result.steps < 100


def test_none_starts_from_nothing(base, tmp_path, capsys):
    (tmp_path / "own.txt").write_text(story(1, 100))
    sizes = {"batch": 4, "window": 16, "threads": 1, "steps": 2}
    textgen.train("own.txt", out="run", init="none", quiet=False, **sizes)
    assert "base-en" not in capsys.readouterr().out
    assert not Checkpoint.load(tmp_path / "run/best.safetensors").metadata.read_before


def test_what_was_read_before_is_recorded_of_every_ancestor(base, tmp_path):
    (tmp_path / "own.txt").write_text(story(1, 100))
    (tmp_path / "third.txt").write_text(story(2, 100))
    textgen.train("own.txt", out="child", init="base-en", steps=2, threads=1)
    textgen.train("third.txt", out="grandchild", init="child", steps=2, threads=1)
    grandchild = Checkpoint.load(tmp_path / "grandchild/best.safetensors")
    assert [text.name for text in grandchild.metadata.read_before] == ["story.txt", "own.txt"]


@pytest.mark.parametrize("init", [None, "base-en"])
def test_a_validation_text_that_the_base_has_read_is_found_out(base, tmp_path, capsys, init):
    (tmp_path / "own.txt").write_text(story(1, 100))
    (tmp_path / "held.txt").write_text(story(0))
    options = {"out": "run", "steps": 2, "quiet": False, "threads": 1}
    textgen.train("own.txt", init=init, val="held.txt", **options)
    said = capsys.readouterr().out
    assert "about 100% of the validation part stands in what the starting weights" in said
    assert "(story.txt): its figures are too good" in said


def test_a_validation_text_that_is_new_is_not(base, tmp_path, capsys):
    (tmp_path / "own.txt").write_text(story(1, 400))
    textgen.train("own.txt", out="run", steps=2, quiet=False, threads=1)
    assert "its figures are too good" not in capsys.readouterr().out


def test_a_resumed_run_ends_with_the_same_weights(base, tmp_path):
    (tmp_path / "own.txt").write_text(story(1, 100))
    textgen.train("own.txt", out="whole", steps=20, threads=1)
    stops = iter([None] * 7 + [15])
    with pytest.raises(textgen.TextgenError, match="stopped at step"):
        textgen.train("own.txt", out="cut", steps=20, threads=1, stop=lambda: next(stops))
    textgen.train(resume="cut")
    for name in ("best", "last"):
        whole, cut = (
            Checkpoint.load(tmp_path / run / f"{name}.safetensors") for run in ("whole", "cut")
        )
        assert whole.metadata.read_before == cut.metadata.read_before
        assert np.array_equal(whole.mixing, cut.mixing)
        for key, array in whole.weights.items():
            assert np.array_equal(array, cut.weights[key])


def test_new_characters_begin_like_their_kin(base, tmp_path):
    (tmp_path / "own.txt").write_text("\u00c9mile met \u00e4 C\u00c4T, fed 7 kings!\n" * 60)
    first = Checkpoint.load(base)
    _, data = read(tmp_path, (tmp_path / "own.txt").read_text())
    data = data.with_units_of(first.tokenizer, TrainConfig())
    model = textgen_model(data.tokenizer.size, first)
    note = starting.load_matching_weights(model, data.tokenizer, first)
    head, known = model.export()["head.weight"], first.weights["head.weight"]

    def row(character):
        return head[data.tokenizer.encode(character)[0]]

    def kin(*characters):
        return known[first.tokenizer.encode("".join(characters))].mean(axis=0)

    np.testing.assert_allclose(row("t"), kin("t"))
    # The same letter in the other case or without its accent.
    np.testing.assert_allclose(row("C"), kin("c"))
    np.testing.assert_allclose(row("\u00e4"), kin("a"))
    np.testing.assert_allclose(row("\u00c4"), kin("A"))
    # Of the same kind: the only punctuation mark; for a digit nothing is like it.
    np.testing.assert_allclose(row("!"), kin("."))
    np.testing.assert_allclose(row("7"), known[0])
    added = data.tokenizer.size - first.tokenizer.size
    assert f"{added} added" in note


def textgen_model(vocab, first):
    from textgen.nn import CharRNN

    return CharRNN(dataclasses.replace(first.model, vocab=vocab), seed=None)


def test_what_stands_between_records_begins_like_a_line_end(base, tmp_path):
    (tmp_path / "own.txt").write_text(story(1, 100))
    textgen.train(
        "own.txt", out="run", init="base-en", records="lines", steps=1, lr=1e-9, threads=1
    )
    child, first = Checkpoint.load(tmp_path / "run/best.safetensors"), Checkpoint.load(base)
    newline = first.weights["embedding.weight"][first.tokenizer.encode("\n")[0]]
    np.testing.assert_allclose(child.weights["embedding.weight"][-1], newline, atol=1e-4)


def test_a_start_settles_sizes(base, tmp_path):
    (tmp_path / "own.txt").write_text(story(1, 100))
    with pytest.raises(UsageError, match="--hidden: differs from the 24 of --init base-en"):
        textgen.train("own.txt", out="run", init="base-en", hidden=8, steps=1)
    with pytest.raises(CheckpointError, match="base-fr"):
        textgen.train("own.txt", out="run", init="base-fr", steps=1)
