"""The text of a checkpoint is found again as it was, or it is said why not."""

import dataclasses

import pytest

import textgen
from textgen.checkpoint import training_text
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.checkpoint.metadata import Metadata
from textgen.data.encodings import TextFormat
from textgen.errors import TextError, UsageError

TINY = {"hidden": 8, "embedding": 4, "batch": 2, "window": 8, "threads": 1, "steps": 1}
TEXT = "".join(f"line {n}\r\n" for n in range(60))


@pytest.fixture
def trained(tmp_path):
    """Train on a text with some options; return the checkpoint's path and metadata."""

    def train(name="corpus.txt", text=TEXT, **options):
        path = tmp_path / name
        path.write_bytes(text.encode())
        out = str(tmp_path / "run")
        best = textgen.train(path, out=out, split="0.5,0.3,0.2", **TINY, **options).best
        return best, Checkpoint.load(best).metadata

    return train


def test_parts_are_those_of_then(trained):
    best, metadata = trained()
    n = len(TEXT)
    parts = [training_text.part_of(best, metadata, part) for part in ("train", "val", "test")]
    assert parts == [TEXT[: n // 2], TEXT[n // 2 : n * 8 // 10], TEXT[n * 8 // 10 :]]


def test_it_is_read_as_it_was_then(trained):
    best, metadata = trained(newlines="lf")
    assert metadata.text_format == TextFormat(newlines="lf")
    assert training_text.find_text(best, metadata).text == TEXT.replace("\r", "")


def test_parts_of_items_are_those_of_then(trained):
    best, metadata = trained(records="lines")
    parts = [training_text.part_of(best, metadata, part) for part in ("train", "val", "test")]
    assert [len(part) for part in parts] == [30, 18, 12]
    assert {item for part in parts for item in part} == training_text.known_records(best, metadata)
    assert training_text.known_records(best, metadata) == set(TEXT.split("\r\n")) - {""}


def test_a_validation_text_of_its_own_is_found(trained, tmp_path):
    (tmp_path / "val.txt").write_text("line 1 and 2")
    best, metadata = trained(val=str(tmp_path / "val.txt"))
    assert training_text.part_of(best, metadata, "val") == "line 1 and 2"
    assert training_text.part_of(best, metadata, "train") == TEXT
    with pytest.raises(TextError, match="has no test part"):
        training_text.part_of(best, metadata, "test")


def test_a_test_text_of_its_own_is_found_beside_a_validation_part(trained, tmp_path):
    (tmp_path / "test.txt").write_text("line 1 and 2")
    for number, how in enumerate((None, "lines")):
        best, metadata = trained(f"{number}.txt", test=str(tmp_path / "test.txt"), records=how)
        parts = [training_text.part_of(best, metadata, part) for part in ("train", "val", "test")]
        if how:
            assert [len(part) for part in parts] == [42, 18, 1]
        else:
            assert parts[0] + parts[1] == TEXT and parts[2] == "line 1 and 2"
            assert len(parts[1]) == len(TEXT) * 8 // 10 - len(TEXT) // 2
        best.parent.rename(tmp_path / f"run-{number}")


def test_parts_of_an_older_checkpoint_follow_from_its_shares(trained):
    best, metadata = trained()
    parts = [training_text.part_of(best, metadata, part) for part in ("train", "val", "test")]
    metadata = dataclasses.replace(metadata, parts=None)
    assert [
        training_text.part_of(best, metadata, part) for part in ("train", "val", "test")
    ] == parts
    metadata = dataclasses.replace(metadata, shares=None)
    assert training_text.bounds(training_text.find_text(best, metadata), metadata, "train") == (
        0,
        len(TEXT),
    )


def test_another_text_is_refused_and_a_moved_one_can_be_named(trained, tmp_path):
    best, metadata = trained()
    moved = (tmp_path / "corpus.txt").rename(tmp_path / "moved.txt")
    with pytest.raises(TextError, match="no such file"):
        training_text.find_text(best, metadata)
    assert training_text.find_text(best, metadata, moved).text == TEXT
    moved.write_text(TEXT[1:])
    with pytest.raises(TextError, match="not the text that was trained on"):
        training_text.find_text(best, metadata, moved)


def test_a_checkpoint_alone_names_the_text_that_it_wants(trained, tmp_path):
    best, metadata = trained()
    alone = best.rename(tmp_path / "alone.safetensors")
    with pytest.raises(UsageError, match=r"where its text corpus\.txt is"):
        training_text.find_text(alone, metadata)


def test_several_files_are_found_in_their_order(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(f"text {name} " * 20)
    paths = [tmp_path / "b.txt", tmp_path / "a.txt"]
    best = textgen.train(paths, out=str(tmp_path / "run"), **TINY).best
    metadata = Checkpoint.load(best).metadata
    assert training_text.find_text(best, metadata).text == "text b " * 20 + "\n" + "text a " * 20


def test_a_model_that_was_made_by_hand_has_no_text_to_find(tmp_path):
    with pytest.raises(UsageError, match="does not say what it was trained on"):
        training_text.find_text(tmp_path / "model.safetensors", Metadata())


def test_a_text_without_records_has_no_known_ones(trained):
    best, metadata = trained()
    assert training_text.known_records(best, metadata) == frozenset()
