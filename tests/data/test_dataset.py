"""What is trained on is what the files hold: parts cut exactly, items whole, units kept."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from textgen.config.train import TrainConfig
from textgen.data import corpus, dataset
from textgen.data.dataset import load_dataset
from textgen.data.encodings import TextFormat
from textgen.data.splits import Stretch
from textgen.errors import TextError, UsageError
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer
from textgen.tokenizers.subword import SentencePieceTokenizer

TEXT = "naïve café ☕\tand more,\r\nline by line\n" * 40
NAMES = [f"name{number}" for number in range(100)]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    return tmp_path


def parts(text, *shares):
    cuts = [0, *(int(sum(map(Fraction, shares[:n])) * len(text)) for n in (1, 2)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts)]


def decoded(found, ids):
    return found.tokenizer.decode(np.asarray(ids))


@pytest.mark.parametrize("kind", [None, "char", "byte", "bpe", "unigram"])
def test_ids_are_those_of_the_parts(kind):
    found = load_dataset(["text.txt"], TrainConfig(tokenizer=kind, split="0.7,0.2,0.1"))
    train, val, _ = parts(TEXT, "0.7", "0.2", "0.1")
    assert decoded(found, found.train) == train
    assert decoded(found, found.val) == val
    counts = Counter(np.asarray(found.train).tolist())
    assert {i: n for i, n in enumerate(found.tokenizer.counts.tolist()) if n} == counts
    assert found.characters_per_id() == pytest.approx(len(train) / len(found.train))
    assert found.mean_record_length() is None


def test_what_is_recorded_says_where_the_parts_lie():
    found = load_dataset(["text.txt"], TrainConfig(split="0.7,0.2,0.1", newlines="lf"))
    n = len(TEXT.replace("\r", ""))
    assert found.parts == {
        "train": (0, n * 7 // 10), "val": (n * 7 // 10, n * 9 // 10), "test": (n * 9 // 10, n)
    }  # fmt: skip
    assert found.corpus.identity().name == "text.txt"
    assert found.corpus.text_format == TextFormat("utf-8", "lf", "none")


def test_all_of_a_text_can_be_trained_on_and_that_is_said():
    found = load_dataset(["text.txt"], TrainConfig(split="1"))
    assert decoded(found, found.train) == TEXT
    assert len(found.val) == 0
    assert any("nothing is held out" in note for note in found.notes)


def test_beside_a_test_text_validation_keeps_its_share(home):
    (home / "other.txt").write_text("a line")
    found = load_dataset(["text.txt"], TrainConfig(test="other.txt", split="0.7,0.2,0.1"))
    n = len(TEXT)
    assert decoded(found, found.train) + decoded(found, found.val) == TEXT
    assert len(found.val) == n * 9 // 10 - n * 7 // 10
    assert found.others["test"].path.name == "other.txt"
    items = load_dataset(["names.txt"], TrainConfig(test="other.txt", records="lines"))
    assert items.record_counts == {"train": 95, "val": 5, "test": 1}


def test_a_validation_text_leaves_the_whole_to_training(home):
    (home / "other.txt").write_text("a line and a cafe? and ünknown")
    found = load_dataset(["text.txt"], TrainConfig(val="other.txt"))
    assert decoded(found, found.train) == TEXT
    assert found.others["val"].path.name == "other.txt"
    assert found.split.separate == {"val"}
    other = "a line and a cafe? and ünknown"
    known = "".join(char if char in TEXT else "\ufffd" for char in other)
    assert decoded(found, found.val) == known
    lacking = len(set(other) - set(TEXT))
    note = f"not in the training part: {lacking} characters of the validation part"
    assert note in found.notes


def test_several_files_are_one_text_in_their_order(home):
    (home / "end.txt").write_text("The end.")
    found = load_dataset(["end.txt", "text.txt"], TrainConfig(split="1"))
    assert decoded(found, found.train) == "The end.\n" + TEXT


def test_a_part_without_characters_to_train_on_is_refused():
    with pytest.raises(TextError, match="left for training"):
        load_dataset(["text.txt"], TrainConfig(split="0.0001,0.9999"))


# Items


def items_of(found, ids):
    mark = found.tokenizer.boundary_id
    assert ids[0] == ids[-1] == mark
    places = np.flatnonzero(ids == mark)
    return [decoded(found, ids[a + 1 : b]) for a, b in pairwise(places)]


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_items_are_whole_in_each_part_and_in_one_only(kind):
    config = TrainConfig(records="lines", split="0.8,0.15,0.05", tokenizer=kind)
    found = load_dataset(["names.txt"], config)
    train, val = items_of(found, found.train), items_of(found, found.val)
    assert (len(train), len(val)) == (80, 15)
    assert found.record_counts == {"train": 80, "val": 15, "test": 5}
    assert len(set(train) | set(val)) == 95
    assert set(train) | set(val) < set(NAMES)
    assert train != sorted(train)
    assert found.tokenizer.counts[found.tokenizer.boundary_id] == 81
    assert found.mean_record_length() == pytest.approx((len(found.train) - 1) / 80)
    ends = 80 + 1  # a mark counts as a character, as a newline would
    chars = sum(map(len, train)) + ends
    assert found.characters_per_id() == pytest.approx(chars / len(found.train))


def test_repeated_items_are_taken_once_before_anything_is_cut(home):
    (home / "names.txt").write_text("\n".join(NAMES + NAMES[:30]) + "\n")
    found = load_dataset(["names.txt"], TrainConfig(records="lines", split="0.8,0.15,0.05"))
    train, val = items_of(found, found.train), items_of(found, found.val)
    assert not set(train) & set(val)
    assert any(note == "30 repeated records left out" for note in found.notes)


def test_items_to_validate_on_that_are_trained_on_are_told(home):
    (home / "val.txt").write_text("name3\nname500\nname500\n")
    found = load_dataset(["names.txt"], TrainConfig(records="lines", val="val.txt"))
    assert sorted(items_of(found, found.train)) == sorted(NAMES)
    assert items_of(found, found.val) == ["name3", "name500"]
    assert any(note == "trained on too: 1 record of val.txt" for note in found.notes)


def test_a_text_without_an_item_to_train_on_is_refused(home):
    (home / "empty.txt").write_text("\n\n\n")
    with pytest.raises(TextError, match="no record is left for training"):
        load_dataset(["empty.txt"], TrainConfig(records="lines"))


# Large texts


def test_the_bytes_of_a_large_text_are_kept_too(monkeypatch):
    small = load_dataset(["text.txt"], TrainConfig(tokenizer="byte"))
    monkeypatch.setattr(corpus, "IN_MEMORY", 100)
    large = load_dataset(["text.txt"], TrainConfig(tokenizer="byte"))
    assert isinstance(large.train, np.memmap)
    assert np.array_equal(large.train, small.train)
    monkeypatch.setattr(ByteTokenizer, "encode", None)  # nothing is encoded again
    again = load_dataset(["text.txt"], TrainConfig(tokenizer="byte"))
    assert np.array_equal(again.val, small.val)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_any_number_of_workers_makes_the_same_ids(home, monkeypatch, kind):
    monkeypatch.setattr(corpus, "IN_MEMORY", 100)
    monkeypatch.setattr(corpus, "PIECE_CHARS", 170)
    found = []
    for workers in (0, 1, 3):
        monkeypatch.setenv("TEXTGEN_CACHE", str(home / f"cache{workers}"))
        monkeypatch.setattr(dataset, "useful_workers", lambda size, number=workers: number)
        size = 300 if kind == "bpe" else None
        loaded = load_dataset(["text.txt"], TrainConfig(tokenizer=kind, vocab_size=size))
        counts = loaded.tokenizer.counts.tolist()
        found.append((np.asarray(loaded.train).tolist(), np.asarray(loaded.val).tolist(), counts))
        assert decoded(loaded, loaded.train) == parts(TEXT, "0.9", "0.05")[0]
    assert found[0] == found[1] == found[2]


def test_ids_in_the_cache_are_not_counted_again(monkeypatch):
    monkeypatch.setattr(corpus, "IN_MEMORY", 100)
    config = TrainConfig(tokenizer="bpe", vocab_size=300)
    first = load_dataset(["text.txt"], config)
    monkeypatch.setattr(np, "bincount", None)
    monkeypatch.setattr(SentencePieceTokenizer, "encode", None)
    again = load_dataset(["text.txt"], config, resumed=first.tokenizer)
    assert np.array_equal(again.train, first.train)
    fresh = load_dataset(["text.txt"], config)
    assert fresh.tokenizer.counts.tolist() == first.tokenizer.counts.tolist()


def test_other_units_of_the_same_text_are_not_taken_for_these(monkeypatch):
    monkeypatch.setattr(corpus, "IN_MEMORY", 100)
    for size in (300, 320, 300):
        found = load_dataset(["text.txt"], TrainConfig(tokenizer="bpe", vocab_size=size, split="1"))
        assert decoded(found, found.train) == TEXT


def test_of_a_large_text_units_are_found_in_pieces_drawn_from_all_of_it(monkeypatch):
    monkeypatch.setattr(dataset, "BLOCK_CHARS", 10)
    monkeypatch.setattr(dataset, "MOST_BLOCKS", 3)
    text = corpus.Corpus.of("".join(f"{n:9}\n" for n in range(100)))
    drawn = list(dataset.draw_blocks(Stretch(text, 0, 1000)))
    assert [int(piece) for piece in drawn] == [0, 50, 99]
    assert list(dataset.draw_blocks(Stretch(text, 0, 25))) == [
        text.slice(0, 10),
        text.slice(10, 20),
        "     ",
    ]


# Starting from a checkpoint


def test_characters_of_the_checkpoint_are_kept_beside_the_new_ones():
    first = CharTokenizer.from_text("zyx é")
    found = load_dataset(["text.txt"], TrainConfig(split="1"), initial=first)
    assert set(found.tokenizer.alphabet) == set("zyx é" + TEXT)
    assert found.tokenizer.counts[found.tokenizer.encode("z")[0]] == 0
    assert found.tokenizer.counts[found.tokenizer.encode("n")[0]] == TEXT.count("n")
    assert decoded(found, found.train) == TEXT


def test_pieces_of_the_checkpoint_are_kept_as_they_are():
    first, _ = SentencePieceTokenizer.train("other words altogether\n" * 30, vocab_size=300)
    found = load_dataset(["text.txt"], TrainConfig(tokenizer="bpe", split="1"), initial=first)
    assert found.tokenizer.model == first.model
    assert found.tokenizer.counts.sum() == len(found.train)


def test_a_model_of_items_does_not_go_on_with_one_text():
    first = CharTokenizer.from_text("abc", marked=True)
    with pytest.raises(UsageError, match="give --records too"):
        load_dataset(["text.txt"], TrainConfig(), initial=first)


def test_a_large_alphabet_of_characters_is_told(home):
    (home / "many.txt").write_text("".join(map(chr, range(0x4E00, 0x4E00 + 6000))))
    found = load_dataset(["many.txt"], TrainConfig(split="1"))
    assert any(note.startswith("6,000 different characters") for note in found.notes)
