"""How far back gradients reach, against derivatives taken by nudging a state of the naive loop."""

import dataclasses
import json
import sys

import naive
import numpy as np
import pytest
from factories import learn_tokenizer, random_checkpoint

from textgen import nn
from textgen.analysis import plots
from textgen.analysis.gradients import Curve, inspect
from textgen.checkpoint.loading import network_of
from textgen.checkpoint.metadata import Metadata
from textgen.cli.app import main
from textgen.config.model import CELLS
from textgen.errors import MachineError, NumericsError, TextError, UsageError
from textgen.nn import gradients as nn_gradients
from textgen.nn.gradients import gradient_norms
from textgen.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer.from_text("abcdefgh\n")
TINY = 1e-30


def patch(monkeypatch, name, value):
    """Change a constant where it is used, and where the report asks for it."""
    monkeypatch.setattr(nn_gradients, name, value)
    monkeypatch.setattr(nn, name, value)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few positions after a short warm-up."""
    patch(monkeypatch, "POSITIONS", 3)
    patch(monkeypatch, "READ_BEFORE", 4)


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


def nudged_nats(model, ids, target, nudged, nudge):
    """What target costs after ids when, in the middle of a step, one state is nudged.

    nudged: (step, layer, which of its states). A nudged c also moves the h that is made from it.
    """
    weights = {name: array.astype(np.float64) for name, array in model.weights.items()}
    layers = [naive.layer_weights(weights, number) for number in range(model.model.layers)]
    cell = model.model.cell
    states = [naive.zero_state(cell, model.model.hidden) for _ in layers]
    for step, one in enumerate(ids):
        x_t, total = weights["embedding.weight"][one], 0
        for number, p in enumerate(layers):
            h, *c = naive.CELLS[cell](p, x_t, states[number])
            if nudged == (step, number, 0):
                h = h + nudge
            if nudged == (step, number, 1):
                gate = h / np.tanh(c[0])
                c = [c[0] + nudge]
                h = gate * np.tanh(c[0])
            states[number] = (h, *c)
            x_t, total = h, total + h
    return naive.nats(weights["head.weight"] @ total + weights["head.bias"], target)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_norms_are_those_of_the_derivative_by_every_unit_of_every_state(cell, layers):
    model, lags = checkpoint(cell, layers), 5
    ids = some_ids(4 + lags + 1 + 3)
    found_KSP = gradient_norms(network_of(model), ids, lags)
    states = [(n, part) for n in range(layers) for part in range(2 if cell == "lstm" else 1)]
    assert found_KSP.shape == (lags + 1, len(states), 3)
    for lag, s, position in np.ndindex(found_KSP.shape):
        x, target = ids[position : position + 4 + lags + 1], ids[position + 4 + lags + 1]
        nudged = (len(x) - 1 - lag, *states[s])
        slope = [
            np.imag(nudged_nats(model, x, target, nudged, 1j * TINY * unit)) / TINY
            for unit in np.eye(model.model.hidden)
        ]
        np.testing.assert_allclose(found_KSP[lag, s, position], np.linalg.norm(slope), rtol=1e-9)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.25])
def test_an_orthogonal_rnn_near_zero_decays_or_grows_by_its_factor(factor):
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    parts = {"weight_ih": 1e-6, "bias": 0, "weight_hh": factor * turn}
    norms_KSP = gradient_norms(
        network_of(checkpoint("rnn", hidden=6, **parts)), some_ids(100), lags=20
    )
    expected = norms_KSP[0] * factor ** np.arange(21)[:, None, None]
    np.testing.assert_allclose(norms_KSP, expected, rtol=1e-5)
    assert norms_KSP.min() > 0


@pytest.mark.parametrize(("bias", "gate"), [(50, 1), (0, 0.5)])
def test_a_forget_gate_is_the_factor_of_c_when_nothing_else_recurs(bias, gate):
    biases = np.repeat([0.0, bias, 0.0, 0.0], 3)
    model = checkpoint("lstm", weight_hh=0, weight_ih=0, bias_ih=biases, bias_hh=0)
    model.weights["layers.0.weight_ih_l0"][6:9] = 1  # of g, so that c is not zero
    norms_KSP = gradient_norms(network_of(model), some_ids(100), lags=30)
    expected = norms_KSP[0, 1] * gate ** np.arange(31.0)[:, None]
    np.testing.assert_allclose(norms_KSP[:, 1], expected, rtol=1e-12)
    assert norms_KSP[0].min() > 0
    assert not norms_KSP[1:, 0].any()  # h leads nowhere but to the head


def test_positions_measured_in_pieces_are_the_same(monkeypatch):
    model, ids = checkpoint("lstm"), some_ids(200)
    whole = gradient_norms(network_of(model), ids, 9)
    patch(monkeypatch, "MOST_STATE_NUMBERS", 10 * 3)  # room for a single row
    np.testing.assert_allclose(gradient_norms(network_of(model), ids, 9), whole, rtol=1e-12)


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
    with pytest.raises(UsageError, match=f"--lags: {lags} is not 1 to 699,049"):
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
        (["gru.safetensors", "text.txt", "--out", "picture.svg"], 2),
        (["gru.safetensors", "text.txt", "--out", "a\0b.png"], 2),
    ],
)
def test_errors_are_one_line_with_their_exit_code(home, capsys, words, code):
    assert main(["inspect", "gradients", *words]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1


# The picture


def test_without_matplotlib_it_says_what_to_install_before_any_work(home, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(nn, "gradient_norms", None)
    assert main(["inspect", "gradients", "gru.safetensors", "text.txt", "--out", "p.png"]) == 5
    assert capsys.readouterr().err.endswith("(pip install 'textgen-rnn[plot]')\n")
    with pytest.raises(MachineError):
        plots.plot_gradients([], home / "p.png")


@pytest.mark.slow
@pytest.mark.parametrize("models", [["gru"], ["gru", "lstm"]])
def test_a_picture_is_written_with_a_panel_for_each_checkpoint(home, capsys, models):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    names = [f"{name}.safetensors" for name in models]
    words = [*names, "text.txt", "--lags", "12", "--out", "p.png"]
    assert main(["inspect", "gradients", *words]) == 0
    assert capsys.readouterr().out.count("norm of") == len(models)
    data = (home / "p.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = np.frombuffer(data[16:24], ">u4")  # the first chunk holds the size
    assert (width, height) == (100 + 320 * len(models), 360)


def test_a_picture_goes_where_a_link_leads(home):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    (home / "link.png").symlink_to("p.png")
    words = ["gru.safetensors", "text.txt", "--lags", "5", "--out", "link.png"]
    assert main(["inspect", "gradients", *words]) == 0
    assert (home / "link.png").is_symlink()
    assert (home / "p.png").read_bytes().startswith(b"\x89PNG")


def test_zeros_and_names_that_look_like_formulas_can_be_drawn(home):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    checkpoint("rnn", **{"head.weight": 0}).save(home / "$\\x$.safetensors")
    result = inspect("$\\x$.safetensors", "text.txt", lags=5)
    assert result.curves[0].reach is None
    assert not any(result.curves[0].high)
    plots.plot_gradients([result], home / "p.png")
    assert (home / "p.png").exists()
