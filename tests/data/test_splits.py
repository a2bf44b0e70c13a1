"""A text is cut at exactly the floor of its shares, and every part comes back as it was cut."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.config.train import TrainConfig
from textgen.data import splits
from textgen.data.corpus import Corpus
from textgen.data.splits import PARTS, Split

SHARES = "0.7,0.2,0.1"


@st.composite
def random_splits(draw):
    """Two or three shares as thousandths or finer that sum to 1, as text and as fractions."""
    unit = 10 ** draw(st.integers(1, 9))
    train = draw(st.integers(1, unit))
    val = draw(st.integers(0, unit - train)) if draw(st.booleans()) else unit - train
    numbers = [train, val] if train + val == unit else [train, val, unit - train - val]
    digits = len(str(unit)) - 1
    words = [f"{n // unit}.{n % unit:0{digits}d}" for n in numbers]
    return ",".join(words), [Fraction(n, unit) for n in numbers]


def assert_exact_parts(text, split, shares):
    n = len(text)
    train = int(shares[0] * n)  # of a fraction, so exactly the floor
    val = int((shares[0] + shares[1]) * n) if len(shares) == 3 else n
    assert Split(split).bounds(len(text)) == {"train": (0, train), "val": (train, val)} | {
        "test": (val, n)
    }


@given(st.integers(0, 300_000), random_splits())
def test_parts_are_cut_at_exactly_the_floor_of_their_share(n, split):
    assert_exact_parts("x" * n, *split)


def test_the_check_of_the_cuts_notices_arithmetic_in_floats(monkeypatch):
    shares = [Fraction(29, 100), Fraction(71, 100)]
    assert_exact_parts("x" * 100, "0.29,0.71", shares)  # 0.29 * 100 is 28.999999999999996
    monkeypatch.setattr(splits, "split_shares", lambda split: tuple(map(float, split.split(","))))
    with pytest.raises(AssertionError):
        assert_exact_parts("x" * 100, "0.29,0.71", shares)


@given(st.text(), random_splits())
def test_parts_are_in_order_and_together_the_text(text, split):
    whole = Corpus.of(text)
    parts = [whole.slice(*bounds) for bounds in Split(split[0]).bounds(len(whole)).values()]
    assert "".join(parts) == text
    if len(split[1]) == 2:
        assert parts[2] == ""


def test_tiny_shakespeare_is_cut_as_nanogpt_cuts_it():
    bounds = Split("0.9,0.1").bounds(1_115_394)
    assert bounds["train"] == (0, 1_003_854)
    assert bounds["val"] == (1_003_854, 1_115_394)


def parts_of(split, text):
    return {part: split.part(part, Corpus.of(text)) for part in PARTS}


def test_a_validation_text_of_its_own_leaves_the_whole_to_training():
    split = Split(SHARES, separate=frozenset({"val"}))
    assert split.bounds(1000) == {"train": (0, 1000), "val": (0, 0), "test": (0, 0)}
    assert split.part("train", Corpus.of("abc")) == "abc"
    assert split.part("val", Corpus.of("its own")) == "its own"


def test_beside_a_test_text_of_its_own_validation_keeps_its_share_at_the_end():
    split = Split(SHARES, separate=frozenset({"test"}))
    assert split.bounds(1000) == {"train": (0, 800), "val": (800, 1000), "test": (0, 0)}
    assert split.part("test", Corpus.of("its own")) == "its own"


def test_the_split_of_a_run_is_what_its_settings_say():
    config = TrainConfig(split="0.5,0.5", records="lines", test="other.txt")
    assert Split.of(config) == Split("0.5,0.5", "lines", frozenset({"test"}))


NAMES = [f"name {number}" for number in range(100)]


def test_records_are_whole_different_and_in_one_part_only():
    parts = parts_of(Split(SHARES, "lines"), "\n".join([*NAMES, *NAMES[:9]]))
    assert [len(parts[part]) for part in PARTS] == [70, 20, 10]
    assert sorted(name for part in parts.values() for name in part) == sorted(NAMES)
    assert parts["train"] != sorted(parts["train"])


def test_what_is_repeated_or_trained_on_too_is_told():
    split = Split(SHARES, "lines", frozenset({"test"}))
    other = Corpus.of("name 1\nname 1\nanother")
    text = Corpus.of("\n".join([*NAMES, *NAMES[:9]]))
    parts, notes = split.record_parts(text, {"test": other})
    assert parts["test"] == ["name 1", "another"]
    assert notes[0] == "9 repeated records left out"
    known = "name 1" in parts["train"]
    assert notes[1:] == (["trained on too: 1 record of text"] if known else [])


@given(st.lists(st.text("ab\n", max_size=9), max_size=30), st.sampled_from(["lines", "blank-line"]))
def test_the_records_of_all_parts_are_those_of_the_text(pieces, how):
    text = "\n".join(pieces)
    parts = parts_of(Split("0.6,0.3,0.1", how), text)
    whole = splits.records.split_records(text, how)
    assert sorted(name for part in parts.values() for name in part) == sorted(set(whole))
