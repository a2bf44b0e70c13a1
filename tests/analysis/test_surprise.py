"""What a model expected at each place, against the engine stepped one id at a time."""

import dataclasses
import json
import math

import numpy as np
import pytest
from factories import call, learn_tokenizer, mixed_checkpoint, random_checkpoint, usage_error

import textgen
from textgen.analysis.surprise import measure_surprise
from textgen.checkpoint.loading import make_engine
from textgen.checkpoint.metadata import Metadata
from textgen.engine.network import log_softmax
from textgen.engine.stepper import first_distribution
from textgen.errors import NumericsError, TextError
from textgen.textmodel import TextModel
from textgen.tokenizers.char import CharTokenizer

TEXT = "the cat sat on the mat\n\nand the dog sat on the log\n" * 3


def step_by_step(checkpoint, text):
    """Log-probabilities of all ids in each place, from the stepper alone."""
    model = make_engine(checkpoint)
    said = [np.log(first_distribution(checkpoint.tokenizer.counts))]
    state = None
    for index in checkpoint.tokenizer.encode(text, "replace")[:-1]:
        logits_BV, state = model.step(np.array([index]), state)
        said.append(log_softmax(logits_BV)[0])
    return np.array(said)


@pytest.mark.parametrize("kind", ["char", "byte"])
@pytest.mark.parametrize("with_ngrams", [False, True])
def test_costs_ranks_and_the_likeliest_are_those_of_the_stepper(kind, with_ngrams):
    text = "the dog and the cät sat\n"
    tokenizer = learn_tokenizer(kind, TEXT + text)
    checkpoint = mixed_checkpoint(tokenizer, TEXT) if with_ngrams else random_checkpoint(tokenizer)
    said, ids = step_by_step(checkpoint, text), tokenizer.encode(text)
    found = measure_surprise(checkpoint, text, likeliest=4)
    every = np.arange(len(ids))
    np.testing.assert_allclose(found.nats_N, -said[every, ids], rtol=1e-9)
    for place, index in enumerate(ids):
        order = sorted(range(tokenizer.size), key=lambda i: (-said[place, i], i))
        assert found.ranks_N[place] == 1 + order.index(index)
        assert found.likeliest_NK[place].tolist() == order[:4]
    np.testing.assert_allclose(
        found.probabilities_NK, np.exp(np.take_along_axis(said, found.likeliest_NK, axis=1))
    )


def test_the_sum_is_that_of_score_and_of_eval(tmp_path):
    tokenizer = learn_tokenizer("char", TEXT)
    checkpoint = mixed_checkpoint(tokenizer, TEXT)
    text = "the hat, on the dog! " * 60
    found = measure_surprise(checkpoint, text)
    np.testing.assert_allclose(found.nats_N, TextModel(checkpoint).score(text).nats, rtol=1e-9)
    checkpoint.save(tmp_path / "model.safetensors")
    (tmp_path / "text.txt").write_text(text)
    result = textgen.evaluate(tmp_path / "model.safetensors", tmp_path / "text.txt")
    # Evaluation computes the network in torch, in float32 too.
    assert found.nats_per_char == pytest.approx(result.nats_per_char, rel=1e-6)
    assert found.unknown_chars == result.unknown_chars == 60 * 2


def test_an_unknown_character_pays_for_saying_which_it_is():
    tokenizer = CharTokenizer.from_text("abab")
    checkpoint = random_checkpoint(tokenizer)
    found = measure_surprise(checkpoint, "aZ")
    said = step_by_step(checkpoint, "aZ")
    assert found.nats_N[1] == pytest.approx(-said[1, 0] + math.log(0x110000))


def test_the_parts_are_the_network_and_the_ngrams_and_mix_to_the_model():
    """The mixture is rebuilt from its parts where the n-grams have one expert with any weight."""
    tokenizer = learn_tokenizer("char", TEXT)
    checkpoint = mixed_checkpoint(tokenizer, TEXT)
    only_longest = np.zeros_like(checkpoint.mixing)
    only_longest[0, :2] = 0.5, 0.25
    checkpoint = dataclasses.replace(checkpoint, mixing=only_longest)
    text, every = "the cat on the dog", slice(1, None)
    found = measure_surprise(checkpoint, text)
    network = step_by_step(dataclasses.replace(checkpoint, ngrams=None), text)
    ids = tokenizer.encode(text)
    np.testing.assert_allclose(
        found.network_nats_N[every], -network[np.arange(len(ids)), ids][every], rtol=1e-9
    )
    state, ngrams = None, []
    for index in ids[:-1]:
        said, state = checkpoint.ngrams.step(np.array([index]), state)
        ngrams.append(said[0, 0])
    np.testing.assert_allclose(
        found.ngrams_nats_N[every], [-p[i] for p, i in zip(ngrams, ids[1:], strict=True)]
    )
    together = log_softmax(0.5 * network[every] + 0.25 * np.array(ngrams))
    expected = -together[np.arange(len(ids) - 1), ids[1:]]
    np.testing.assert_allclose(found.nats_N[every], expected, rtol=1e-9)
    np.testing.assert_allclose(found.network_weight_N[every], 0.5)
    np.testing.assert_allclose(found.ngrams_weight_N[every], 0.25)
    assert np.isnan(found.network_nats_N[0]) and np.isnan(found.ngrams_nats_N[0])
    # "the c" stands in the text, "the cat on" with its four last characters too.
    assert found.matched_N[5] == 4


def test_lines_add_up_to_the_text():
    tokenizer = learn_tokenizer("byte", TEXT)
    text = "thé cat\n\nsat ön"
    found = measure_surprise(random_checkpoint(tokenizer), text)
    lines = found.lines()
    assert [line.text for line in lines] == ["thé cat", "", "sat ön"]
    assert [line.chars for line in lines] == [8, 1, 6]
    assert [line.number for line in lines] == [1, 2, 3]
    size = len("thé cat\n".encode())
    assert lines[0].nats == pytest.approx(found.nats_N[:size].sum())
    assert sum(line.nats for line in lines) == pytest.approx(found.nats_N.sum())
    assert [
        line.text for line in measure_surprise(random_checkpoint(tokenizer), "a\n").lines()
    ] == ["a"]


def test_bytes_join_to_characters():
    tokenizer = learn_tokenizer("byte", TEXT)
    found = measure_surprise(random_checkpoint(tokenizer), "aé€b")
    joined = found.by_character()
    assert found.chars_N.tolist() == [1, 1, 0, 1, 0, 0, 1]
    assert joined.chars_N.tolist() == [1, 1, 1, 1]
    sums = [found.nats_N[0], found.nats_N[1:3].sum(), found.nats_N[3:6].sum(), found.nats_N[6]]
    np.testing.assert_allclose(joined.nats_N, sums)
    assert joined.ranks_N.tolist() == found.ranks_N[[0, 1, 3, 6]].tolist()
    assert joined.nats_per_char == pytest.approx(found.nats_per_char)
    head = joined.head(2)
    assert (head.text, len(head.nats_N)) == ("aé", 2)


def test_records_are_each_read_from_their_beginning():
    tokenizer = CharTokenizer.from_text("annabob", marked=True)
    checkpoint = random_checkpoint(tokenizer, Metadata(records="lines"))
    found = measure_surprise(checkpoint, "anna\nbob\nanna\n")
    assert found.text == "anna\nbob\nanna\n"
    assert found.nats_N[:5].tolist() == found.nats_N[9:].tolist()
    score = TextModel(checkpoint).score("anna")
    assert found.nats_N[:5].sum() / 5 == pytest.approx(score.nats_per_char)
    assert [line.chars for line in found.lines()] == [5, 4, 5]
    with pytest.raises(TextError, match="no records"):
        measure_surprise(checkpoint, "\n\n")


def test_nothing_to_read_and_scores_that_are_no_numbers():
    tokenizer = learn_tokenizer("char", TEXT)
    with pytest.raises(TextError, match="empty"):
        measure_surprise(random_checkpoint(tokenizer), "")
    checkpoint = random_checkpoint(tokenizer)
    checkpoint.weights["head.bias"][:] = np.nan
    with pytest.raises(NumericsError):
        measure_surprise(checkpoint, "the")


class TestCommand:
    @pytest.fixture
    def files(self, tmp_path):
        checkpoint = mixed_checkpoint(learn_tokenizer("char", TEXT), TEXT)
        checkpoint.save(tmp_path / "model.safetensors")
        (tmp_path / "text.txt").write_text("the cat\nthe XXX\n")
        return tmp_path / "model.safetensors", tmp_path / "text.txt"

    def test_the_figures_are_those_of_the_library(self, files, capsys):
        model, text = files
        code, out, _ = call(capsys, "score", model, text)
        score = textgen.load(model).score(text.read_text())
        figures = dict(line.split() for line in out.splitlines())
        assert code == 0
        assert figures["nats"] == f"{score.nats.sum():.4f}"
        assert figures["bits_per_char"] == f"{score.bits_per_char:.4f}"
        assert figures["unknown_chars"] == "3"

    def test_lines_are_ranked(self, files, capsys):
        _, out, _ = call(capsys, "score", *files, "--by", "line")
        last = out.splitlines()[-2:]
        assert [line.split()[0] for line in last] == ["2", "1"]
        assert last[0].endswith("the XXX")

    def test_characters_stand_with_what_was_expected(self, files, capsys):
        _, out, _ = call(capsys, "score", *files, "--by", "char")
        assert len(out.splitlines()[-16:]) == 16
        assert "␣" in out and "\\n" in out

    def test_json_has_lines_and_characters(self, files, capsys):
        _, out, _ = call(capsys, "score", *files, "--json")
        found = json.loads(out)
        assert "".join(found["characters"]["text"]) == "the cat\nthe XXX\n"
        assert sum(found["characters"]["nats"]) == pytest.approx(found["nats"])
        assert [line["line"] for line in found["lines"]] == [1, 2]

    def test_standard_input_is_scored(self, files, capsys, monkeypatch):
        import io
        import sys

        pipe = io.TextIOWrapper(io.BytesIO(files[1].read_bytes()))
        monkeypatch.setattr(sys, "stdin", pipe)
        assert call(capsys, "score", *files)[1] == call(capsys, "score", files[0], "-")[1]

    def test_without_a_terminal_marks_stand_below_the_text(self, files, capsys):
        _, out, _ = call(capsys, "score", *files, "--terminal")
        lines = out.splitlines()
        assert lines[::2] == ["the cat↵", "the XXX↵"]
        assert lines[3][4:7] == "@@@"
        assert "\x1b" not in out

    def test_a_third_file_is_refused(self, files, capsys):
        code, _, err = call(capsys, "score", *files, "more.txt")
        assert code == 2 and "more.txt" in err

    def test_an_unknown_table_is_refused(self, files, capsys):
        code, _, err = call(capsys, "score", *files, "--by", "word")
        assert code == 2 and "--by" in err


@pytest.mark.parametrize(
    ("settings", "colours"),
    [
        ({"COLORTERM": "truecolor"}, 1 << 24),
        ({"TERM": "xterm-256color"}, 256),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, 0),
        ({"TERM": "dumb"}, 0),
    ],
)
def test_colours_are_those_that_the_terminal_has(settings, colours, monkeypatch):
    from textgen.cli.score import colours_of_terminal, paint

    for name in ("COLORTERM", "TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert colours_of_terminal() == colours
    found = measure_surprise(random_checkpoint(learn_tokenizer("char", TEXT)), "the\x1b[31m cat\n")
    painted = "".join(paint(found, colours))
    assert "\\x1b" in painted
    assert painted.count("\x1b[48;2;") == (13 if colours > 256 else 0)
    assert painted.count("\x1b[48;5;") == (13 if colours == 256 else 0)
    # What a text holds never reaches the terminal as a command of its own.
    assert "\x1b[31m" not in painted


def test_the_options_are_checked_before_anything_is_read():
    from textgen.analysis.prediction import predict

    checkpoint = random_checkpoint(learn_tokenizer("char", TEXT))
    assert usage_error(predict, checkpoint, "the", likeliest=0).subject == "-k"
