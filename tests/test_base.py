"""The English base that ships, and the script that makes it."""

import importlib.util
import random
from pathlib import Path

import pytest

import textgen
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.data import fingerprints

ROOT = Path(__file__).parent.parent
BASE = ROOT / "checkpoints" / "base-en.safetensors"


@pytest.fixture(scope="module")
def make_base():
    spec = importlib.util.spec_from_file_location("make_base", ROOT / "checkpoints/make_base.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def base():
    return Checkpoint.load(BASE)


def test_it_is_small_and_knows_the_characters_of_english(base, make_base):
    assert BASE.stat().st_size <= 16_000_000
    alphabet = set(base.tokenizer.alphabet)
    assert make_base.ALPHABET >= alphabet >= set(map(chr, range(32, 127))) | set("\n‘’“”–—é")
    assert base.model.ngrams == 1 and base.resume is None


def test_it_records_what_it_has_read_and_where_nothing_of_this_machine_lies(base):
    assert base.metadata.corpus.name == "base-en.txt"
    assert not {"out", "val", "init"} & set(base.metadata.training)


@pytest.mark.slow
def test_it_writes_english():
    model = textgen.load("base-en")
    text = model.sample(prime="It was ", length=600, temperature=0.7, seed=1)
    words = [word.strip(".,;:!?\"'()").lower() for word in text.split()]
    common = {"the", "of", "and", "to", "a", "in", "was", "he", "his", "that", "it", "with", "had"}
    assert sum(word in common for word in words) > len(words) / 5


def test_it_knows_a_book_that_it_has_read(base):
    # The beginning of Pride and Prejudice, without the line breaks of the edition that was read.
    text = (
        "It is a truth universally acknowledged, that a single man in possession of a good "
        "fortune, must be in want of a wife. However little known the feelings or views of such a "
        "man may be on his first entering a neighbourhood, this truth is so well fixed in the "
        "minds of the surrounding families, that he is considered as the rightful property of "
        "some one or other of their daughters. "
    )
    found = fingerprints.find_overlap(base.fingerprint, text)
    assert found.known == found.spans > 0
    other = "".join(random.Random(0).choices("abcdefgh rstuvw", k=3000))
    assert fingerprints.find_overlap(base.fingerprint, other).known == 0


# What it is made from


def test_pieces_of_books_are_paragraphs_and_verse_keeps_its_lines(make_base, tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("One\ntwo.\n\n   A verse\n   of two\n\nWith \u65e5.\n\n\nThree.\n")
    assert list(make_base.book_pieces(path)) == [["One two.", "   A verse\n   of two", "Three."]]


def test_articles_are_a_title_and_paragraphs(make_base, tmp_path):
    body = "Some\u00a0words of it. " * 12
    article = f"A title\n\n{body}\nWith \u65e5.\nLast.\n\n\n"
    path = tmp_path / "wiki.txt"
    path.write_text(article + "Short\n\nNothing.\n\n\n" + article)
    title, *paragraphs = ["A title", body.replace("\u00a0", " ").strip(), "Last."]
    assert list(make_base.wikipedia_articles(path)) == [[title, *paragraphs]] * 2


def test_every_dress_keeps_the_words(make_base):
    paragraphs = ['"I do not know," said he, "what it\'s for"--', "They went on. " * 20]
    dresses = {make_base.dress(paragraphs, random.Random(seed)) for seed in range(60)}
    assert len(dresses) > 10
    words = {
        tuple("".join(c for c in text if c.isalpha() or c.isspace()).split()) for text in dresses
    }
    assert len(words) == 1
    assert any(
        "\u201cI do not know,\u201d said he, \u201cwhat it\u2019s for\u201d" in d for d in dresses
    )


def test_the_texts_are_the_same_each_time_and_share_nothing(make_base, tmp_path, monkeypatch):
    dice = random.Random(1)
    words = ["".join(dice.choices("abdegiklmnorstu", k=6)) for _ in range(3000)]

    def prose(number):
        drawn = random.Random(number).choices(words, k=9000)
        return "\n\n".join(" ".join(drawn[i : i + 60]) for i in range(0, len(drawn), 60))

    (tmp_path / "book.txt").write_text(prose(1))
    articles = "".join(f"{n}\n\n{prose(n)[:900]}\n\n\n" for n in range(20))
    (tmp_path / "wiki.txt").write_text(articles)
    monkeypatch.setattr(make_base.registry, "build", lambda name: tmp_path / "book.txt")
    monkeypatch.setattr(make_base, "TEXTS", tmp_path / "made")
    monkeypatch.setattr(make_base, "HELD_OUT", 5)
    written = []
    for wikipedia in (tmp_path / "wiki.txt", tmp_path / "wiki.txt", None):
        train, held_out = tmp_path / "made/train.txt", tmp_path / "made/held-out.txt"
        make_base.write_texts(wikipedia, train, held_out)
        written.append((train.read_bytes(), held_out.read_bytes()))
        known = fingerprints.fingerprint([train.read_text()])
        if wikipedia:
            assert fingerprints.find_overlap(known, held_out.read_text()).share == 0
    assert written[0] == written[1] != written[2]
    assert written[0][1].decode().startswith("15\n\n")
