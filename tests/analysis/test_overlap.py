"""What two texts share against str.find and loops over every span; hashes that lie do no harm."""

import numpy as np
import pytest

from textgen.analysis import overlap as overlap_module
from textgen.analysis.overlap import measure_overlap
from textgen.data.spans import SPAN_CHARS


def random_text(n, seed, alphabet="abcdefgh \n"):
    return "".join(np.random.default_rng(seed).choice(list(alphabet), n))


@pytest.mark.parametrize("length", [SPAN_CHARS - 1, SPAN_CHARS, SPAN_CHARS + 1, 700, 3000])
def test_a_copy_in_longer_texts_is_found_whole(length):
    train, part = random_text(30_000, 1), random_text(3000, 2)
    assert not any(part[i : i + 12] in train for i in range(len(part) - 11))
    part = part[: (3000 - length) // 2] + "!" + train[20_000 : 20_000 + length] + "!"
    found = measure_overlap(train, part)
    assert found.longest == length
    assert found.text == train[20_000 : 20_000 + length]
    assert found.copied_spans == max(0, length - SPAN_CHARS + 1)


def test_copies_that_stand_apart_are_not_joined():
    """Other text stands between what the spans of one length cover; it must not be forgotten."""
    first, second = random_text(60, 1), random_text(60, 2)
    assert measure_overlap(first + "xy" + second, first + second).longest == 60
    assert measure_overlap(first + second, first + "x" + second).longest == 60
    assert measure_overlap(first + second, second + first).longest == 60
    # Pieces that overlap make runs of 100 in both texts, but what is shared are 75 characters.
    one, other = random_text(100, 3), random_text(100, 4)
    train = [first[:50], second[:50], one, other[:75], other[25:]]
    part = [first[:50] + second[:50], other, one[:75], one[25:]]
    assert measure_overlap("<".join(train), ">".join(part)).longest == 75


def test_the_counts_are_those_of_spans_and_lines():
    shared = random_text(60, 1, "abcd")
    found = measure_overlap(f"one\n{shared}\ntwo", f"two\n\none\n{shared}!\nthree")
    assert found.text == f"one\n{shared}"
    assert found.longest == 64
    assert found.spans == 4 + 1 + 4 + 61 + 1 + 5 - SPAN_CHARS + 1
    assert found.copied_spans == 64 - SPAN_CHARS + 1
    assert (found.lines, found.copied_lines) == (4, 2)
    assert found.copied_lines_share == 0.5
    assert found.copied_spans_share == 15 / 27
    assert found.to_json()["copied_spans_share"] == 15 / 27


def test_empty_lines_do_not_count_whatever_ends_them():
    assert measure_overlap("a\r\n\r\nb\r\n", "\r\na\r\n\n").lines == 1
    assert measure_overlap("a\r\n\r\nb\r\n", "\r\na\r\n\n").copied_lines == 1


@pytest.mark.parametrize("train, part", [("", ""), ("", "ab"), ("ab", ""), ("a", "b")])
def test_texts_without_a_common_character_share_nothing(train, part):
    found = measure_overlap(train, part)
    assert (found.longest, found.text, found.copied_spans, found.copied_lines) == (0, "", 0, 0)
    assert found.copied_spans_share == found.copied_lines_share == 0


def test_a_part_shorter_than_a_span_has_none():
    found = measure_overlap("x" * 100, "x" * (SPAN_CHARS - 1))
    assert (found.spans, found.copied_spans, found.longest) == (0, 0, SPAN_CHARS - 1)


def test_json_holds_the_beginning_of_a_long_span():
    found = measure_overlap("ab" * 1000, "ab" * 1000)
    made = found.to_json()
    assert len(found.text) == found.longest == made["longest"] == 2000
    assert made["text"] == "ab" * (overlap_module.LONGEST_QUOTE // 2)
