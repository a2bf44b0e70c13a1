"""How far back gradients reach: curves, the table, and errors of a checkpoint and a text."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from factories import learn_tokenizer, random_checkpoint

from textgen import nn
from textgen.analysis.gradients import Curve, inspect
from textgen.checkpoint.loading import network_of
from textgen.checkpoint.metadata import Metadata
from textgen.cli.app import main
from textgen.errors import NumericsError, TextError, UsageError
from textgen.nn import gradients as nn_gradients
from textgen.nn.gradients import gradient_norms
from textgen.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer.from_text("abcdefgh\n")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few positions after a short warm-up."""
    monkeypatch.setattr(nn_gradients, "POSITIONS", 3)
    monkeypatch.setattr(nn_gradients, "READ_BEFORE", 4)


def checkpoint(cell, layers=1, hidden=3, **changed):
    """A model of random weights, in the float32 of a file; changed: by a part of their name."""
    sizes = {"cell": cell, "layers": layers, "hidden": hidden}
    model = random_checkpoint(LETTERS, seed=layers, scale=0.5, **sizes)
    for part, value in changed.items():
        for name, array in model.weights.items():
            if part in name:
                model.weights[name] = np.broadcast_to(value, array.shape).astype(np.float32)
    return model


def some_ids(length, seed=0):
    return np.random.default_rng(seed).integers(1, LETTERS.size, length)


def test_reach_is_the_first_lag_below_a_hundredth():
    def curve(*median):
        return Curve(1, "h", median, median, median)

    assert curve(2.0, 0.5, 0.02, 0.0199, 1.0).reach == 3
    assert curve(2.0, 0.5, 0.02).reach is None


# A checkpoint and a text as files


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = checkpoint("lstm", layers=2)
    model = dataclasses.replace(model, metadata=Metadata(training={"window": 6}))
    model.save(tmp_path / "lstm.safetensors")
    checkpoint("gru").save(tmp_path / "gru.safetensors")
    (tmp_path / "text.txt").write_text(LETTERS.decode(some_ids(300)))
    return tmp_path


def test_curves_are_percentiles_over_the_positions(home):
    result = inspect("lstm.safetensors", "text.txt", lags=12)
    ids = LETTERS.encode((home / "text.txt").read_text())
    norms_KSP = np.sort(gradient_norms(network_of(checkpoint("lstm", layers=2)), ids, 12))
    names = [(curve.layer, curve.state) for curve in result.curves]
    assert names == [(1, "h"), (1, "c"), (2, "h"), (2, "c")]
    for number, curve in enumerate(result.curves):
        low, middle, high = norms_KSP[:, number].T  # of three values, 5 % is a tenth of the way
        np.testing.assert_allclose(curve.median, middle)
        np.testing.assert_allclose(curve.low, low + 0.1 * (middle - low))
        np.testing.assert_allclose(curve.high, high - 0.1 * (high - middle))
    assert (result.positions, result.lags, result.window) == (3, 12, 6)


def test_the_table_holds_the_figures_of_the_json(home, capsys):
    words = ["inspect", "gradients", "lstm.safetensors", "gru.safetensors", "text.txt"]
    assert main([*words, "--lags", "12", "--json"]) == 0
    lstm, gru = json.loads(capsys.readouterr().out)
    assert (lstm["cell"], lstm["window"], lstm["positions"]) == ("lstm", 6, 3)
    assert (gru["cell"], gru["window"], len(gru["curves"])) == ("gru", None, 1)
    assert main([*words, "--lags", "12"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "lstm.safetensors: lstm, 2 layers of 3, trained on windows of 6"
    assert lines[2].split() == ["lag", "0", "1", "2", "5", "10", "12"]
    curve = lstm["curves"][1]
    printed = lines[6].removeprefix("layer 1 c  median").split()
    assert printed == [f"{curve['median'][lag]:.1e}" for lag in (0, 1, 2, 5, 10, 12)]
    assert lines[8].split()[2:] == [f"{curve['high'][lag]:.1e}" for lag in (0, 1, 2, 5, 10, 12)]
    assert "gru.safetensors: gru, 1 layer of 3" in lines
    reach = gru["curves"][0]["reach"]
    where = f"at lag {reach}" if reach is not None else "beyond lag 12"
    assert lines[-1] == f"layer 1 h: the median first falls below 1/100 of lag 0's {where}"


def test_a_text_that_is_too_short_is_an_error_with_the_numbers(home):
    need = 4 + 12 + 1 + 3
    (home / "short.txt").write_text("a" * (need - 1))
    with pytest.raises(TextError, match=r"19 characters are too few for 12 lags .*least 20"):
        inspect("lstm.safetensors", "short.txt", lags=12)
    (home / "short.txt").write_text("a" * need)
    assert inspect("lstm.safetensors", "short.txt", lags=12).positions == 3


def test_a_model_of_bytes_has_no_lags_in_characters(home):
    random_checkpoint(learn_tokenizer("byte", "abc")).save(home / "bytes.safetensors")
    with pytest.raises(UsageError, match="reads bytes"):
        inspect("bytes.safetensors", "text.txt", 12)


@pytest.mark.parametrize("lags", [0, -1, (1 << 22) // 6])
def test_lags_that_are_none_or_need_too_much_memory_are_an_error(home, lags):
    with pytest.raises(UsageError, match=f"--lags: {lags} is not between 1 and 699,049"):
        inspect("lstm.safetensors", "text.txt", lags=lags)


def test_a_gradient_too_large_for_a_float_is_an_error_that_names_the_lag(home):
    parts = {"weight_ih": 0, "bias_": 0, "weight_hh": 1e30 * np.eye(3)}
    checkpoint("rnn", **parts).save(home / "rnn.safetensors")
    assert inspect("rnn.safetensors", "text.txt", lags=5).curves[0].median[5] > 1e149
    with pytest.raises(NumericsError, match=r"at lag (\d+)") as caught:
        inspect("rnn.safetensors", "text.txt", lags=20)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["missing", "text.txt"], 4),
        (["gru.safetensors", "missing.txt"], 3),
        (["gru.safetensors"], 2),
        (["gru.safetensors", "text.txt", "--lags", "x"], 2),
        (["gru.safetensors", "text.txt", "--out", "picture.jpg"], 2),
        (["gru.safetensors", "text.txt", "--out", "a\0b.png"], 2),
    ],
)
def test_errors_are_one_line_with_their_exit_code(home, capsys, words, code):
    assert main(["inspect", "gradients", *words]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1


@pytest.mark.slow
def test_a_picture_can_be_asked_for_too(home, capsys):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    names = ["gru.safetensors", "lstm.safetensors"]
    assert main(["inspect", "gradients", *names, "text.txt", "--lags", "12", "--out", "p.png"]) == 0
    assert capsys.readouterr().out.count("norm of") == 2
    assert (home / "p.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_it_says_so_before_any_work(home, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(nn, "gradient_norms", None)
    assert main(["inspect", "gradients", "gru.safetensors", "text.txt", "--out", "p.png"]) == 5
    assert capsys.readouterr().err.endswith("(pip install 'textgen-rnn[plot]')\n")
