"""A model in a page writes what the library writes, in a real browser."""

import dataclasses
import json

import numpy as np
import pytest
from browser import SCHEMES
from factories import call, learn_tokenizer, mixed_checkpoint, random_checkpoint

from textgen.checkpoint.loading import stepper_of
from textgen.checkpoint.metadata import Metadata
from textgen.errors import CheckpointError
from textgen.export.web_page import rounding_cost, share_page
from textgen.textmodel import TextModel
from textgen.tokenizers.char import CharTokenizer

TEXT = "the cat sat on the mat, and the dög ran 😀\nThe 'end' of <it> & all\n" * 12
SEEDS = range(20)


def checkpoint_of(cell, kind, layers=2):
    """A mixture whose network and n-grams both have a say."""
    tokenizer = learn_tokenizer(kind, TEXT)
    return mixed_checkpoint(tokenizer, TEXT, cell=cell, layers=layers, hidden=10, embedding=6)


def opened(browser, page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page.html, "utf-8")
    browser.open(path)
    return browser


def written(browser, prime, **options):
    return browser.run(f"textgen.sample({json.dumps(prime)}, {json.dumps(options)})")


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("kind", ["char", "byte"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_texts_and_probabilities_are_those_of_the_library(browser, tmp_path, cell, kind, int8):
    page = share_page(checkpoint_of(cell, kind), "model", int8)
    opened(browser, page, tmp_path)
    model = TextModel(page.checkpoint)
    for seed in SEEDS:
        expected = model.sample(prime="the ", length=60, seed=seed, temperature=1.0)
        assert "the " + written(browser, "the ", length=60, seed=seed, temperature=1.0) == expected
    text = "the dög ran on <it>"
    ids = page.checkpoint.tokenizer.encode(text)
    said = np.array(browser.run(f"textgen.logProbabilities({json.dumps(text)})"))
    stepper, state = stepper_of(page.checkpoint), None
    for place, index in enumerate(ids[:-1], 1):
        logits_BV, state = stepper.step(np.array([index]), state)
        np.testing.assert_allclose(said[place], logits_BV[0], atol=1e-4)
    assert browser.problems() == []


@pytest.mark.slow
def test_texts_are_the_same_under_any_settings(browser, tmp_path):
    page = share_page(checkpoint_of("gru", "char", layers=1), "model")
    opened(browser, page, tmp_path)
    model = TextModel(page.checkpoint)
    rng = np.random.default_rng(0)
    for seed in range(60):
        options = {
            "temperature": float(rng.choice([0, 0.3, 1.0, 1.7])),
            "top_k": rng.choice([None, 1, 2, 5]),
            "top_p": float(rng.choice([1, 0.9, 0.5])),
            "min_p": float(rng.choice([0, 0.05, 0.5])),
            "repetition_penalty": float(rng.choice([1, 1.3, 0.8])),
        }
        prime = str(rng.choice(["", "the ", "cat sat on"]))
        expected = model.sample(prime=prime, length=40, seed=seed, **options)
        names = {
            "top_k": "topK",
            "top_p": "topP",
            "min_p": "minP",
            "repetition_penalty": "repetition",
        }
        chosen = {names.get(name, name): value for name, value in options.items()}
        assert prime + written(browser, prime, length=40, seed=seed, **chosen) == expected, options


@pytest.mark.slow
def test_records_are_written_from_beginning_to_end(browser, tmp_path):
    names = ["anna", "bob", "carla", "daniel"]
    tokenizer = CharTokenizer.from_text("".join(names), marked=True)
    tokenizer = tokenizer.with_counts(np.full(tokenizer.size, 4, np.uint64))
    page = share_page(random_checkpoint(tokenizer, Metadata(records="lines")), "names")
    opened(browser, page, tmp_path)
    expected = TextModel(page.checkpoint).batch(num=6, seed=3, length=30)
    found = [written(browser, "", length=30, seed=3, temperature=0.8, row=row) for row in range(6)]
    assert found == expected
    browser.run("document.getElementById('record').click()")
    browser.wait("document.querySelectorAll('#records li').length === 10")


def test_a_network_alone_has_no_ngrams_on_its_page():
    page = share_page(random_checkpoint(learn_tokenizer("char", TEXT)), "model")
    assert '"ngrams": null' in page.html and '"mixing": null' in page.html


@pytest.mark.slow
def test_without_webassembly_the_same_is_written(browser, tmp_path):
    page = share_page(checkpoint_of("lstm", "char"), "model")
    without = page.html.replace("'wasm-unsafe-eval'", "")
    for name, html in (("with", page.html), ("without", without)):
        (tmp_path / f"{name}.html").write_text(html, "utf-8")
    texts = []
    for name in ("with", "without"):
        browser.open(tmp_path / f"{name}.html")
        texts.append(written(browser, "the ", length=200, seed=1))
    assert texts[0] == texts[1]
    browser.problems()


@pytest.mark.slow
def test_a_visitor_writes_stops_takes_and_undoes(browser, tmp_path):
    page = share_page(checkpoint_of("gru", "char"), "model")
    opened(browser, page, tmp_path)
    press = "document.getElementById('{}').click()"
    editor = "document.getElementById('editor').value"
    browser.run("(document.getElementById('editor').value = 'the cat', 1)")
    browser.run("document.getElementById('editor').setSelectionRange(4, 4)")
    browser.run("(document.getElementById('chars').value = 50, 1)")
    browser.run(press.format("write"))
    browser.wait(f"Array.from({editor}).length === 57")
    assert browser.run(editor).startswith("the ") and browser.run(editor).endswith("cat")
    browser.wait("document.querySelectorAll('#next button').length === 10")
    browser.run("document.querySelector('#next button').click()")
    browser.wait(f"Array.from({editor}).length === 58")
    for length in (57, 7):
        browser.run(press.format("undo"))
        assert len(browser.run(editor)) == length
    assert browser.run("document.getElementById('undo').disabled")
    browser.run(press.format("link"))
    assert "temperature=0.8" in browser.run("location.hash")
    browser.run(press.format("colour"))
    assert browser.run("document.querySelectorAll('#coloured span').length") == 50
    assert browser.problems() == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [360, 1600])
def test_it_can_be_used_at_any_width_and_hostile_names_are_inert(browser, tmp_path, width, scheme):
    metadata = Metadata(metrics={"val_nats": 1.25})
    checkpoint = dataclasses.replace(checkpoint_of("gru", "char"), metadata=metadata)
    hostile = "<script>document.title = 'run'</script>\u202e\x07"
    page = share_page(checkpoint, hostile)
    assert "<script>document" not in page.html and "\u202e" not in page.html
    (tmp_path / "page.html").write_text(page.html, "utf-8")
    browser.open(tmp_path / "page.html", width, scheme)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.contrast(".soft") >= 4.5
    labelled = "[...document.querySelectorAll('input, textarea')].every(e => e.labels.length)"
    assert browser.run(labelled)
    assert browser.problems() == []


def test_rounding_costs_what_the_page_says():
    checkpoint = checkpoint_of("gru", "char")
    page = share_page(checkpoint, "model", int8=True)
    before, after = rounding_cost(page, checkpoint, TEXT)
    assert before == pytest.approx(TextModel(checkpoint).score(TEXT).nats_per_char)
    assert after == pytest.approx(TextModel(page.checkpoint).score(TEXT).nats_per_char)
    assert 0 < abs(after - before) < 0.05
    scale = np.abs(checkpoint.weights["head.weight"]).max()
    error = page.checkpoint.weights["head.weight"] - checkpoint.weights["head.weight"]
    assert 0 < np.abs(error).max() <= scale / 254 + 1e-7


def test_pieces_are_refused_with_another_way():
    checkpoint = random_checkpoint(learn_tokenizer("bpe", TEXT))
    with pytest.raises(CheckpointError, match="huggingface"):
        share_page(checkpoint, "model")


def test_the_command_says_how_large_the_page_is(tmp_path, capsys):
    path, out = tmp_path / "model.safetensors", tmp_path / "page.html"
    checkpoint_of("gru", "char").save(path)
    code, said, noted = call(capsys, "share", path, "--out", out, "--int8", "--title", "Cats")
    assert code == 0 and "MB" in said and "rounding costs" in said
    assert "read that text back" in noted
    assert "<title>Cats</title>" in out.read_text("utf-8")
    assert call(capsys, "share", path, "--out", "a\0b")[0] == 2
