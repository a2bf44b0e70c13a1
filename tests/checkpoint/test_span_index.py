"""The index of a text's spans beside a run: whole, damaged, of another text."""

import dataclasses
import errno
import os
from unittest import mock

import numpy as np
import pytest
from factories import full_checkpoint, refused, resume_state

from textgen.checkpoint import span_index
from textgen.checkpoint.metadata import Metadata
from textgen.checkpoint.span_index import index_for, origin_of
from textgen.data import corpus
from textgen.data.spans import Spans
from textgen.errors import CheckpointError, TextError, UsageError
from textgen.files import tensorfile
from textgen.tokenizers.char import CharTokenizer

WORDS = "abba\u00e9b\nbaab\u00e9" * 3 + "\u00e9\u00e9a"


@dataclasses.dataclass
class Run:
    checkpoint: object
    best: object
    text: object

    def index(self, length=3, text=None):
        return index_for(self.best, self.checkpoint, length, text)

    def expected(self, length=3):
        ids = self.checkpoint.tokenizer.encode(self.text.read_text("utf-8"), "replace")
        return Spans.of(ids, length).hashes.tolist()

    def stored(self, length=3):
        return self.best.with_name(f"novel-{length}.safetensors")


@pytest.fixture
def run(tmp_path):
    """A run folder, which knows where its text is, with one character the training did not see."""
    text = tmp_path / "words.txt"
    text.write_text(WORDS, "utf-8", newline="")
    checkpoint = full_checkpoint(metadata=Metadata(corpus.read(text).identity(), shares="0.9,0.1"))
    folder = tmp_path / "run"
    folder.mkdir()
    checkpoint.save(folder / "best.safetensors")
    last = dataclasses.replace(checkpoint, resume=resume_state(texts=[str(text)]))
    last.save(folder / "last.safetensors")
    return Run(checkpoint, folder / "best.safetensors", text)


def failing(kind, run, *words, **options):
    with pytest.raises(kind) as caught:
        run.index(**options)
    for word in ("--novel", *words):
        assert word in str(caught.value)
    return caught.value


def test_the_index_is_made_stored_and_found_again_without_the_text(run):
    expected = run.expected()
    assert run.index().hashes.tolist() == expected
    assert os.listdir(run.best.parent).count("novel-3.safetensors") == 1
    run.text.unlink()
    before = run.stored().read_bytes()
    found = run.index()
    assert (found.length, found.hashes.tolist()) == (3, expected)
    assert_same_answers(found, expected)
    assert run.stored().read_bytes() == before


def assert_same_answers(found, hashes):
    history_BL = np.random.default_rng(0).integers(0, 4, (50, 2))
    made = Spans(found.length, np.array(hashes, np.uint64))
    answers = found.completing(history_BL, 4)
    assert answers.any()
    assert np.array_equal(answers, made.completing(history_BL, 4))


def test_an_index_that_stands_is_not_made_again(run):
    run.index()
    with mock.patch.object(Spans, "of", side_effect=AssertionError):
        run.index()
        with pytest.raises(AssertionError):
            run.index(length=4)


def test_each_length_has_its_own_file(run):
    for length in (2, 4, 2):
        assert run.index(length).hashes.tolist() == run.expected(length)
    assert run.stored(2).exists() and run.stored(4).exists()


def test_every_part_of_the_text_counts(run):
    """The validation part too, and a character that only stands there as an unknown one."""
    run.text.write_text("abbab" * 20 + "\u00e9z\u00e9", "utf-8")
    metadata = Metadata(corpus.read(run.text).identity())
    run.checkpoint = dataclasses.replace(run.checkpoint, metadata=metadata)
    a, e, unknown = *run.checkpoint.tokenizer.encode("a\u00e9").tolist(), 0
    found = run.index().completing(np.array([[e, unknown], [a, e]]), 4)
    assert [np.flatnonzero(row).tolist() for row in found] == [[e], []]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other file", "other name"])
def test_a_damaged_index_is_made_anew(run, damage):
    run.index()
    whole = run.stored().read_bytes()
    damaged = {
        "flip": whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:],
        "cut": whole[:-8],
        "empty": b"",
        "other file": run.best.read_bytes(),
        "other name": whole.replace(b'"hashes"', b'"hushes"'),
    }
    run.stored().write_bytes(damaged[damage])
    refused(run.stored(), load=lambda path: Spans.load(path, origin_of(run.checkpoint, 3)))
    assert run.index().hashes.tolist() == run.expected()
    assert run.stored().read_bytes() == whole


@pytest.mark.parametrize(
    "hashes",
    [
        np.array([3, 2], np.uint64),
        np.array([2, 2], np.uint64),
        np.array([2, 3], np.int64),
        np.array([[2], [3]], np.uint64),
    ],
)
def test_hashes_that_cannot_be_searched_are_refused(run, hashes):
    origin = origin_of(run.checkpoint, 3)
    meta = {"format": tensorfile.FORMAT_VERSION, "novelty": origin}
    tensorfile.write_tensors(run.stored(), {"hashes": hashes}, meta)
    refused(run.stored(), "order", load=lambda path: Spans.load(path, origin))
    assert run.index().hashes.tolist() == run.expected()


def test_an_index_of_another_text_alphabet_length_or_hash_is_refused_and_made_anew(run):
    origin = origin_of(run.checkpoint, 3)
    others = [{**origin, key: "0" * 64} for key in ("text", "alphabet")]
    others += [{**origin, "length": 4}, {**origin, "base": 3}, {}, None]
    for other in others:
        Spans.of(np.array([1, 2, 3, 1, 2]), 3).save(run.stored(), other)
        refused(run.stored(), "another", load=lambda path: Spans.load(path, origin))
        assert run.index().hashes.tolist() == run.expected()
        assert Spans.load(run.stored(), origin).hashes.tolist() == run.expected()


def test_the_origin_tells_texts_alphabets_and_lengths_apart(run):
    origin = origin_of(run.checkpoint, 3)
    assert origin == origin_of(
        full_checkpoint(metadata=run.checkpoint.metadata, mixing=np.ones((2, 2))), 3
    )
    letters = full_checkpoint(
        metadata=run.checkpoint.metadata, tokenizer=CharTokenizer.from_text("abc")
    )
    identity = dataclasses.replace(run.checkpoint.metadata.corpus, sha256="0" * 64)
    other = full_checkpoint(metadata=Metadata(identity))
    for changed in (origin_of(letters, 3), origin_of(other, 3), origin_of(run.checkpoint, 4)):
        assert changed != origin


def test_a_text_shorter_than_the_span_has_an_empty_index_that_is_stored_too(run):
    assert len(run.index(1000).hashes) == 0
    run.text.unlink()
    assert len(run.index(1000).hashes) == 0


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(run):
    refusal = OSError(errno.EROFS, "Read-only file system")
    with mock.patch("textgen.files.atomic.os.replace", side_effect=refusal) as replace:
        assert run.index().hashes.tolist() == run.expected()
    assert replace.called
    assert sorted(os.listdir(run.best.parent)) == ["best.safetensors", "last.safetensors"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission(run):
    run.best.parent.chmod(0o500)
    assert run.index().hashes.tolist() == run.expected()
    run.best.parent.chmod(0o700)


def test_a_folder_in_the_place_of_the_index(run):
    run.stored().mkdir()
    assert run.index().hashes.tolist() == run.expected()


def test_nothing_is_left_in_the_folder_of_textgen_itself(run, monkeypatch):
    monkeypatch.setattr(span_index, "PACKAGE", run.best.parent.parent)
    assert run.index().hashes.tolist() == run.expected()
    assert not run.stored().exists()


# The text is gone, or another


def test_a_text_that_is_gone_is_named_with_the_way_out(run):
    moved = run.text.rename(run.text.with_name("moved.txt"))
    failing(TextError, run, str(run.text), "no such file", "--novel-text FILE")
    assert run.index(text=str(moved)).length == 3
    assert run.index().length == 3


def test_a_text_that_was_changed_is_not_the_one_trained_on(run):
    run.text.write_text(WORDS + "b", "utf-8")
    failing(TextError, run, str(run.text), "not the text", "--novel-text FILE")
    assert not run.stored().exists()


@pytest.mark.parametrize("last", [None, b"", b"damaged" * 9])
def test_a_checkpoint_that_lies_alone_asks_for_the_text_by_name(run, last):
    path = run.best.with_name("last.safetensors")
    path.unlink() if last is None else path.write_bytes(last)
    failing(UsageError, run, str(run.best), "words.txt", "--novel-text FILE")
    assert run.index(text=run.text).hashes.tolist() == run.expected()


def test_a_last_without_training_state_does_not_know_either(run):
    run.checkpoint.save(run.best.with_name("last.safetensors"))
    failing(UsageError, run, "words.txt", "--novel-text FILE")


def test_a_wrong_text_is_never_ignored_even_where_an_index_stands(run):
    run.index()
    wrong = run.text.with_name("wrong.txt")
    failing(TextError, run, "wrong.txt", "no such file", text=wrong)
    wrong.write_text("abba", "utf-8")
    failing(TextError, run, "wrong.txt", "not the text", text=wrong)


def test_a_model_that_does_not_say_what_it_read_cannot_avoid_it(run):
    run.checkpoint = dataclasses.replace(run.checkpoint, metadata=Metadata())
    failing(CheckpointError, run, "trained on", text=run.text)
