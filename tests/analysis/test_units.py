"""What single units track: units whose weights are set by hand, and what chance makes of others."""

import base64
import dataclasses
import json
import re
import zlib

import naive
import numpy as np
import pytest
from factories import call, learn_tokenizer, mixed_checkpoint, random_checkpoint, usage_error

from textgen.analysis import units_page
from textgen.analysis.text_properties import PROPERTIES
from textgen.analysis.units import Finding, correlate, inspect_units, rank_units
from textgen.analysis.units_page import render_units
from textgen.checkpoint.metadata import Metadata
from textgen.errors import NumericsError, TextError
from textgen.tokenizers.char import CharTokenizer

LETTERS = "abcdefgh ABCD"
LATCH, CAPITAL = 2, 4


def bracketed_text(sentences=60, seed=0):
    """Random words in lines, some of them in parentheses."""
    rng = np.random.default_rng(seed)
    words = ("".join(rng.choice(list(LETTERS), rng.integers(2, 25))) for _ in range(3 * sentences))
    return "".join(f"{word} ({next(words)}) {next(words)}\n" for word in words)


def latch_checkpoint(text):
    """An RNN of which one unit holds whether a parenthesis is open, and one sees capitals.

    h' = tanh(5 h + 20 [x = (] - 20 [x = )] - 1) rests at -1 and at 1; it begins at -1.
    """
    tokenizer = CharTokenizer.from_text(text)
    sizes = {"cell": "rnn", "hidden": 6, "embedding": tokenizer.size}
    checkpoint = random_checkpoint(tokenizer, **sizes)
    weights = checkpoint.weights
    weights["embedding.weight"][:] = np.eye(tokenizer.size)
    inputs, states = weights["layers.0.weight_ih_l0"], weights["layers.0.weight_hh_l0"]
    biases = weights["layers.0.bias_ih_l0"]
    weights["layers.0.bias_hh_l0"][:] = 0
    for unit in (LATCH, CAPITAL):
        inputs[unit], states[unit] = 0, 0
    opening, closing = tokenizer.encode("()")
    inputs[LATCH, opening], inputs[LATCH, closing] = 20, -20
    states[LATCH, LATCH], biases[LATCH] = 5, -1
    inputs[CAPITAL, tokenizer.encode("ABCD")] = -10
    biases[CAPITAL] = 5
    return checkpoint


def finding_of(activity, name):
    return next(finding for finding in activity.findings if finding.subject.name == name)


def test_units_set_by_hand_are_found_and_chance_is_not():
    text = bracketed_text()
    activity = inspect_units(latch_checkpoint(text), text)
    for name, unit, correlation in [
        ("inside parentheses", LATCH, 1),
        ("upper case", CAPITAL, -1),
    ]:
        finding = finding_of(activity, name)
        best = finding.best[0]
        assert best.unit == unit
        assert best.correlation == pytest.approx(correlation, abs=0.01)
        assert best.chosen == pytest.approx(correlation, abs=0.01)
        assert finding.chance < 0.3 and finding.beats_chance
    assert activity.units[LATCH].name == "layer 1 h 3"
    sizes = [abs(finding.best[0].correlation) for finding in activity.findings if finding.best]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_activations_are_those_of_the_equations(cell):
    text = bracketed_text(8)
    tokenizer = learn_tokenizer("char", text)
    checkpoint = random_checkpoint(tokenizer, scale=0.5, cell=cell, layers=2, hidden=3)
    activity = inspect_units(checkpoint, text)
    state, expected = None, []
    for index in tokenizer.encode(text):
        _, state = naive.network(checkpoint.model, checkpoint.weights, [index], state)
        # Of an LSTM's c what is shown went through tanh.
        parts = [(layer[0], *map(np.tanh, layer[1:])) for layer in state]
        expected.append(np.concatenate([part for layer in parts for part in layer]))
    np.testing.assert_allclose(activity.states_NU, expected, atol=1e-5)
    states = "hc" if cell == "lstm" else "h"
    names = [f"layer {layer} {s} {n}" for layer in (1, 2) for s in states for n in (1, 2, 3)]
    assert [unit.name for unit in activity.units] == names
    assert activity.ends_N.tolist() == list(range(1, len(text) + 1))


def test_of_a_mixture_the_network_is_read_alone():
    text = bracketed_text(8)
    mixed = mixed_checkpoint(learn_tokenizer("char", text), text)
    network = dataclasses.replace(mixed, ngrams=None)
    states = [inspect_units(checkpoint, text).states_NU for checkpoint in (mixed, network)]
    np.testing.assert_array_equal(*states)


def test_the_places_are_where_characters_end():
    text = bracketed_text(8).replace("a", "ä").replace("b", "€")
    checkpoint = random_checkpoint(learn_tokenizer("byte", text))
    activity = inspect_units(checkpoint, text)
    assert activity.ends_N.tolist() == list(range(1, len(text) + 1))
    state, last = None, []
    for character in text:
        for byte in checkpoint.tokenizer.encode(character):
            _, state = naive.network(checkpoint.model, checkpoint.weights, [byte], state)
        last.append(state[0][0])
    np.testing.assert_allclose(activity.states_NU, last, atol=1e-5)


@pytest.mark.slow
def test_pieces_stand_for_several_characters():
    text = bracketed_text(60).lower().replace("(", "the cat (")
    tokenizer = learn_tokenizer("bpe", text)
    activity = inspect_units(random_checkpoint(tokenizer), text)
    assert activity.ends_N[-1] == len(text)
    assert len(activity.states_NU) == len(activity.ends_N) < len(text)
    assert (np.diff(activity.ends_N) > 0).all()
    # A piece has what its last character has.
    finding = finding_of(activity, "word start")
    np.testing.assert_array_equal(
        finding.values_N, finding.subject.measure(text)[activity.ends_N - 1]
    )
    assert "layer 1 h" in render_units(activity, "text", "model")


def test_records_are_each_read_from_the_zero_state():
    names = ["anna", "bob"] * 40
    tokenizer = CharTokenizer.from_text("annabob", marked=True)
    checkpoint = random_checkpoint(tokenizer, Metadata(records="lines"))
    activity = inspect_units(checkpoint, "\n".join(names))
    assert activity.text == "".join("\n" + name for name in names)
    _, state = naive.network(checkpoint.model, checkpoint.weights, [tokenizer.boundary_id])
    np.testing.assert_allclose(activity.states_NU[0], state[0][0], atol=1e-5)
    np.testing.assert_array_equal(activity.states_NU[:9], activity.states_NU[9:18])
    with pytest.raises(TextError, match="0 characters"):
        inspect_units(checkpoint, "\n" * 300)


def test_what_is_not_in_the_text_is_not_ranked():
    text = bracketed_text()
    activity = inspect_units(latch_checkpoint(text), text)
    quotes = finding_of(activity, "inside quotes")
    assert quotes.stretches == (0, 0)
    assert not quotes.is_ranked and quotes.best == () and not quotes.beats_chance
    # What is in one half alone cannot be both chosen and measured.
    text = "(a) " * 10 + bracketed_text().replace("(", "").replace(")", "")
    once = finding_of(inspect_units(latch_checkpoint(text), text), "inside parentheses")
    assert once.stretches == (10, 0) and not once.is_ranked


def test_correlations_are_those_of_numpy():
    rng = np.random.default_rng(0)
    states, values = rng.normal(size=(50, 300)), rng.normal(size=(50, 4))
    states[:, 7] = 0.5
    with np.errstate(invalid="ignore"):
        expected = np.corrcoef(states.T, values.T)[:300, 300:]
    expected[7] = 0
    np.testing.assert_allclose(correlate(states.astype(np.float32), values), expected, atol=1e-6)


def test_units_that_know_nothing_are_not_above_chance():
    """Slow noise correlates with what lasts, where it is chosen; held out it does not."""
    rng = np.random.default_rng(1)
    beaten, chosen = 0, []
    for _ in range(20):
        values = np.repeat(rng.integers(0, 2, 120), 10).astype(float)
        states = np.cumsum(rng.normal(size=(1200, 200)), axis=0).astype(np.float32)
        (finding,) = rank_units(states, [(PROPERTIES[0], values)])
        beaten += finding.beats_chance
        chosen.append(abs(finding.best[0].chosen))
    assert np.mean(chosen) > 0.25
    # One of twenty is expected; more than four come once in four hundred times.
    assert beaten <= 4


def test_a_network_that_does_not_see_the_text_tracks_nothing():
    text = bracketed_text(150)
    checkpoint = random_checkpoint(learn_tokenizer("char", text), cell="rnn", hidden=64, seed=1)
    checkpoint.weights["layers.0.weight_ih_l0"][:] = 0
    activity = inspect_units(checkpoint, text)
    assert activity.states_NU.std(axis=0).max() > 0.3
    ranked = [finding for finding in activity.findings if finding.is_ranked]
    assert len(ranked) > 4
    for finding in ranked:
        assert abs(finding.best[0].correlation) < finding.chance + 0.1 < 0.35


def test_too_little_to_read_and_states_that_are_no_numbers():
    text = bracketed_text()
    checkpoint = latch_checkpoint(text)
    with pytest.raises(TextError, match="199 characters are too few"):
        inspect_units(checkpoint, text[:199])
    assert usage_error(inspect_units, checkpoint, text, chars=199).subject == "--chars"
    assert len(inspect_units(checkpoint, text, chars=200).text) == 200
    checkpoint.weights["embedding.weight"][:] = np.nan
    with pytest.raises(NumericsError):
        inspect_units(checkpoint, text)


# The page


def data_of(page):
    """What the page's script reads: the values, and the columns by their names."""
    found = re.search(r'<script id="units-data" type="application/json">(.*?)</script>', page)
    data = json.loads(found[1])
    unpacked = zlib.decompress(base64.b64decode(data["packed"]))
    columns = {
        name: np.frombuffer(unpacked, f"<u{size}", count, start)
        for name, (start, count, size) in data["columns"].items()
    }
    return data, columns


def test_the_page_holds_the_activations_of_what_it_shows():
    text = bracketed_text(300)
    activity = inspect_units(latch_checkpoint(text), text)
    page = render_units(activity, "text", "model")
    data, columns = data_of(page)
    shown = re.findall(r'<div data-part="(\d+)" data-property="(\d+)">(.*?)</div>', page, re.S)
    ranked = [finding for finding in activity.findings if finding.is_ranked]
    assert [int(index) for _, index, _ in shown] == list(range(len(ranked)))
    for part, index, block in shown:
        assert 1000 < len(block) <= 2200
        start = text.index(block)
        assert start >= len(text) // 2
        places = slice(start, start + len(block))
        assert columns[f"chars{part}"].tolist() == [1] * len(block)
        low, high = np.array(data["lowest"])[:, None], np.array(data["highest"])[:, None]
        states = columns[f"states{part}"].reshape(len(activity.units), -1) / 255
        expected = activity.states_NU[places].T
        np.testing.assert_allclose(low + (high - low) * states, expected, atol=0.005)
        values = columns[f"properties{part}"].reshape(len(ranked), -1)[int(index)] / 255
        highest = data["property_highest"][int(index)]
        expected = ranked[int(index)].values_N[places]
        np.testing.assert_allclose(highest * values, expected, atol=0.02)
        assert expected.std() > 0
    assert data["names"] == [unit.name for unit in activity.units]


def test_a_hostile_text_and_name_are_inert():
    text = bracketed_text() + "</div><script>alert(1)</script>\u202e\x1b[31m&lt;\0\n" * 40
    activity = inspect_units(random_checkpoint(learn_tokenizer("char", text)), text)
    page = render_units(activity, "<b>\u202e", "<i>\x1b")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert not {"\u202e", "\x1b", "\0"} & set(page)
    assert "<b>" not in page.replace("&lt;b&gt;", "") or "<b style" in page
    assert "<i>\x1b" not in page and "&lt;i&gt;" in page


def test_a_text_with_nothing_to_rank_has_a_page():
    text = "  " * 200
    activity = inspect_units(random_checkpoint(learn_tokenizer("char", text)), text)
    assert not [finding for finding in activity.findings if finding.is_ranked]
    page = render_units(activity, "text", "model")
    assert "What is tracked best" not in page and "Any unit" in page
    assert data_of(page)[0]["properties"] == []


def test_a_large_model_has_the_units_on_its_page_that_there_is_room_for(monkeypatch):
    text = bracketed_text()
    activity = inspect_units(latch_checkpoint(text), text)
    whole, _ = data_of(render_units(activity, "text", "model"))
    ranked = {finding.best[0].unit for finding in activity.findings if finding.best}
    assert len(ranked) < len(whole["names"]) == 6
    monkeypatch.setattr(units_page, "MOST_BYTES", 1)
    monkeypatch.setattr(units_page, "SHOWN_UNITS", 1)
    page = render_units(activity, "text", "model")
    data, columns = data_of(page)
    assert data["names"] == [activity.units[unit].name for unit in sorted(ranked)]
    assert len(columns["states0"]) == len(ranked) * len(columns["chars0"])
    assert f"{len(ranked)} of 6 units are on this page" in page


# The command


class TestCommand:
    @pytest.fixture
    def files(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        text = bracketed_text()
        latch_checkpoint(text).save(tmp_path / "model.safetensors")
        (tmp_path / "text.txt").write_text(text)
        return "inspect", "units", "model.safetensors", "text.txt"

    def test_the_table_names_the_units_and_the_page(self, files, tmp_path, capsys):
        code, out, err = call(capsys, *files)
        assert code == 0 and err == ""
        row = next(line for line in out.splitlines() if line.startswith("inside parentheses"))
        assert row.split()[2:7] == ["layer", "1", "h", "3", "+1.00"]
        assert re.search(r"^inside quotes +not in this text$", out, re.M)
        assert out.splitlines()[-1].split() == ["page", "units.html"]
        assert "layer 1 h 3" in (tmp_path / "units.html").read_text("utf-8")

    def test_json_has_five_units_of_each_and_no_page_unless_it_is_named(
        self, files, tmp_path, capsys
    ):
        _, out, _ = call(capsys, *files, "--json", "--chars", "1500")
        found = json.loads(out)
        assert (found["chars"], found["units"]) == (1500, 6)
        first = next(p for p in found["properties"] if p["property"] == "inside parentheses")
        assert len(first["best"]) == 5 and first["ranked"]
        assert first["best"][0]["number"] == LATCH + 1
        assert first["best"][0]["correlation"] == pytest.approx(1, abs=0.01)
        quotes = next(p for p in found["properties"] if p["property"] == "inside quotes")
        assert quotes["best"] == [] and quotes["chance"] is None
        assert not (tmp_path / "units.html").exists()
        call(capsys, *files, "--json", "--out", "here.html")
        assert (tmp_path / "here.html").exists()

    @pytest.mark.parametrize(
        ("words", "code"),
        [(["--chars", "-5"], 2), (["--out", "a\0b"], 2), (["--encoding", "none"], 2)],
    )
    def test_errors_are_one_line_with_their_exit_code(self, files, capsys, words, code):
        found, out, err = call(capsys, *files, *words)
        assert found == code and out == "" and err.count("\n") == 1

    def test_a_short_text_is_an_error_that_names_it(self, files, tmp_path, capsys):
        (tmp_path / "text.txt").write_text("short")
        code, _, err = call(capsys, *files)
        assert code == 3 and "text.txt: 5 characters" in err


def test_a_finding_is_above_chance_only_if_it_has_a_unit():
    assert not Finding(PROPERTIES[0], np.zeros(3), (0, 0)).beats_chance
