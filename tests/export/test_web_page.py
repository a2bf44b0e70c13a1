"""A model in a page writes what the library writes, in a real browser."""

import copy
import dataclasses
import itertools
import json
import random

import numpy as np
import pytest
from browser import SCHEMES
from factories import (
    call,
    learn_tokenizer,
    mixed_checkpoint,
    random_checkpoint,
    with_counts_of,
)

from textgen.checkpoint.loading import stepper_of
from textgen.checkpoint.metadata import Metadata
from textgen.engine.stepper import first_distribution
from textgen.errors import CheckpointError
from textgen.export.web_page import rounding_cost, share_page
from textgen.textmodel import TextModel
from textgen.tokenizers.char import CharTokenizer
from textgen.tokenizers.subword import SentencePieceTokenizer

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
@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        *itertools.product(["rnn", "lstm", "gru"], ["char", "byte"]),
        *itertools.product(["gru"], ["bpe", "unigram"]),
    ],
)
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


def marked_tokenizer(kind, names):
    """A tokenizer of records that has seen each id of theirs."""
    if kind == "char":
        tokenizer = CharTokenizer.from_text("".join(names), marked=True)
        return tokenizer.with_counts(np.full(tokenizer.size, 4, np.uint64))
    tokenizer = SentencePieceTokenizer.train("\n".join(names), kind, 280, marked=True)[0]
    return with_counts_of(tokenizer, "\n".join(names))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["char", "bpe", "unigram"])
def test_records_are_written_from_beginning_to_end(browser, tmp_path, kind):
    names = ["anna", "bob", "carla", "daniel", "dan"] * 9
    tokenizer = marked_tokenizer(kind, names)
    page = share_page(random_checkpoint(tokenizer, Metadata(records="lines")), "names")
    opened(browser, page, tmp_path)
    for seed in SEEDS:
        expected = TextModel(page.checkpoint).batch(num=3, seed=seed, length=30)
        rows = range(len(expected))
        found = [written(browser, "", length=30, seed=seed, row=row) for row in rows]
        assert found == expected
    browser.run("document.getElementById('record').click()")
    browser.wait("document.querySelectorAll('#records li').length === 10")


def random_texts():
    """Texts of every kind of character, and of those that pieces are made of."""
    yield from [
        "",
        " ",
        "  ",
        "\n",
        "\t\r\n \n",
        "\0",
        "a\0b",
        "\u2581",
        "a \u2581\u2581 the\u2581",
    ]
    yield from [
        "<unk>",
        "<0x41>",
        "\ufeffthe",
        "e\u0301",
        "😀👩\u200d👩\u200d👧",
        "the" * 200,
        TEXT,
    ]
    rng = random.Random(5)
    ranges = [(0, 0x80), (0x80, 0x800), (0x2500, 0x2600), (0x800, 0xD800), (0x10000, 0x110000)]
    for _ in range(300):
        start = rng.randrange(len(TEXT))
        characters = list(TEXT[start : start + rng.choice([1, 2, 5, 20, 100])])
        for place in range(len(characters)):
            if rng.random() < 0.15:
                characters[place] = chr(rng.randrange(*rng.choice(ranges)))
        rng.shuffle(characters) if rng.random() < 0.3 else None
        yield "".join(characters)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "unigram"])
def test_texts_have_the_ids_of_the_library(browser, tmp_path, kind):
    tokenizer = learn_tokenizer(kind, TEXT)
    opened(browser, share_page(random_checkpoint(tokenizer), "model"), tmp_path)
    texts = list(random_texts())
    found = browser.run(f"{json.dumps(texts)}.map(text => textgen.tokenizer.encode(text))")
    for text, ids in zip(texts, found, strict=True):
        assert ids == tokenizer.encode(text, "replace").tolist(), text


@pytest.mark.slow
def test_long_texts_are_cut_where_the_library_cuts_them(browser, tmp_path):
    tokenizer = learn_tokenizer("bpe", TEXT)
    opened(browser, share_page(random_checkpoint(tokenizer), "model"), tmp_path)
    # Without a newline or a space, before the last space, behind the last newline.
    for text in ("the" * 25000, "x" + " the" * 20000, "th\n" * 20000 + "the" * 20000):
        found = browser.run(f"textgen.tokenizer.encode({json.dumps(text)})")
        assert found == tokenizer.encode(text).tolist()
    assert tokenizer.encode("the" * 25000).tolist() != tokenizer.encode("the").tolist() * 25000


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


def press(browser, name):
    browser.run(f"document.getElementById('{name}').click()")


def units(text):
    """The length of a text as browsers count it."""
    return len(text.encode("utf-16-le")) // 2


def type_text(browser, text, cursor=None):
    """Put a text into the editor as if it were typed, and the cursor somewhere."""
    cursor = units(text) if cursor is None else cursor
    browser.run(
        "((editor) => {"
        f"editor.value = {json.dumps(text)}; editor.setSelectionRange({cursor}, {cursor});"
        "editor.dispatchEvent(new Event('input'));"
        "})(document.getElementById('editor'))"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_a_visitor_writes_stops_takes_and_undoes(browser, tmp_path, kind):
    opened(browser, share_page(checkpoint_of("gru", kind), "model"), tmp_path)
    length = "Array.from(document.getElementById('editor').value).length"
    type_text(browser, "the cat", 4)
    browser.run("(document.getElementById('chars').value = 50, 1)")
    press(browser, "write")
    browser.wait(f"{length} === 57 && document.getElementById('write').textContent === 'write'")
    written_text = browser.run("document.getElementById('editor').value")
    assert written_text.startswith("the ") and written_text.endswith("cat")
    browser.wait("document.querySelectorAll('#next button').length === 10")
    browser.wait("(document.querySelector('#next button').click(), " + length + " > 57)")
    for expected in (57, 7):
        press(browser, "undo")
        assert browser.run(length) == expected
    assert browser.run("document.getElementById('undo').disabled")
    press(browser, "link")
    assert "temperature=0.8" in browser.run("location.hash")
    assert browser.problems() == []


def costs_of_characters(checkpoint, text):
    """Each piece of a text, in whole characters, with its bits as the model writes."""
    tokenizer, stepper, state = checkpoint.tokenizer, stepper_of(checkpoint), None
    decoder, log_probabilities_V = tokenizer.decoder(), np.log(first_distribution(tokenizer.counts))
    nats = 0.0
    for place, index in enumerate(tokenizer.encode(text, "replace")):
        nats -= log_probabilities_V[index] - (tokenizer.unknown_nats if index == 0 else 0)
        written = decoder.feed(index) if tokenizer.spelling else text[place]
        if written:
            yield written, nats / np.log(2)
            nats = 0.0
        logits_BV, state = stepper.step(np.array([index]), state)
        log_probabilities_V = logits_BV[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "unigram"])
def test_all_of_the_text_is_coloured_by_what_the_model_gave_it(browser, tmp_path, kind):
    page = share_page(checkpoint_of("gru", kind), "model")
    opened(browser, page, tmp_path)
    spans = "[...document.querySelectorAll('#coloured span')]"
    press(browser, "colour")
    edits = [("the cat sat", 11), ("the cats sat", 8), ("the cats sat ß ö", 3), ("tho ö\nö", 3)]
    for text, cursor in [*edits, ("x" + TEXT[:300], 0), ("tha", 3)]:
        type_text(browser, text, cursor)
        browser.wait(f"{spans}.map(span => span.textContent).join('') === {json.dumps(text)}")
        found = browser.run(f"{spans}.map(span => [span.textContent, parseFloat(span.title)])")
        expected = list(costs_of_characters(page.checkpoint, text))
        assert [text for text, _ in found] == [text for text, _ in expected]
        bits = np.array([bits for _, bits in found])
        np.testing.assert_allclose(bits, [bits for _, bits in expected], atol=0.01)
    press(browser, "write")
    text = "document.getElementById('editor').value"
    browser.wait(f"{text}.length > 400 && document.getElementById('write').textContent === 'write'")
    browser.wait(f"{spans}.map(span => span.textContent).join('') === {text}")
    assert browser.problems() == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["char", "unigram"])
def test_of_a_long_text_the_end_counts(browser, tmp_path, kind):
    opened(browser, share_page(checkpoint_of("gru", kind), "model"), tmp_path)
    press(browser, "colour")
    coloured = "[...document.querySelectorAll('#coloured span')].map(e => e.textContent).join('')"
    for length in (4000, 4600):
        text = (TEXT * 10)[:length] + "zq"
        type_text(browser, text)
        browser.wait(f"{coloured}.endsWith('zq') && {coloured}.length > 1500")
        shown = browser.run(coloured)
        assert text.endswith(shown) and 1500 <= units(shown) <= 2000
        type_text(browser, text[:-2])
        browser.wait(f"{coloured}.length > 1500 && !{coloured}.endsWith('zq')")
    browser.run("(document.getElementById('seed').value = 3, 1)")
    shown = browser.run(coloured)
    press(browser, "write")
    browser.wait("document.getElementById('write').textContent === 'write'")
    found = browser.run("document.getElementById('editor').value")[length:]
    assert found == written(browser, shown, length=400, seed=3)
    assert browser.problems() == []


@pytest.mark.slow
def test_half_a_character_can_be_taken_and_given_back(browser, tmp_path):
    opened(browser, share_page(checkpoint_of("gru", "byte"), "model"), tmp_path)
    names = (
        "[...document.querySelectorAll('#next button span:first-child')].map(e => e.textContent)"
    )
    type_text(browser, "and the d")
    byte_names = [f"\\x{byte:02x}" for byte in "ö".encode()]
    clicked = (
        "[...document.querySelectorAll('#next button')].find(e => e.textContent.startsWith({}))"
    )
    first, second = (clicked.format(json.dumps(name)) for name in byte_names)
    browser.wait(f"{names}.length === 10 && Boolean({first})")
    before = browser.run(names)
    for _ in range(2):
        browser.run(f"{first}.click()")
        browser.wait(f"{names}.every(name => name.startsWith('\\\\x')) && Boolean({second})")
        assert browser.run("document.getElementById('editor').value") == "and the d"
        press(browser, "undo")
        browser.wait(f"{names}.length === 10")
        assert browser.run(names) == before
    browser.run(f"{first}.click()")
    browser.wait(f"Boolean({second})")
    browser.run(f"{second}.click()")
    assert browser.run("document.getElementById('editor').value") == "and the dö"


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


def test_more_ids_than_a_page_can_number_are_refused():
    checkpoint = random_checkpoint(learn_tokenizer("byte", TEXT))
    tokenizer = copy.copy(checkpoint.tokenizer)
    tokenizer.size = 70_000
    with pytest.raises(CheckpointError, match=r"70,000 bytes.*65,536.*--vocab-size"):
        share_page(dataclasses.replace(checkpoint, tokenizer=tokenizer), "model")


def test_the_command_says_how_large_the_page_is(tmp_path, capsys):
    path, out = tmp_path / "model.safetensors", tmp_path / "page.html"
    checkpoint_of("gru", "char").save(path)
    code, said, noted = call(capsys, "share", path, "--out", out, "--int8", "--title", "Cats")
    assert code == 0 and "MB" in said and "rounding costs" in said
    assert "read that text back" in noted
    assert "<title>Cats</title>" in out.read_text("utf-8")
    assert call(capsys, "share", path, "--out", "a\0b")[0] == 2
