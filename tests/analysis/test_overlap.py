"""What two texts share against str.find and loops over every span; hashes that lie do no harm."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textgen.analysis import overlap as overlap_module
from textgen.analysis.overlap import measure_overlap
from textgen.data import spans as spans_module
from textgen.data.spans import SPAN_CHARS, copied, longest_shared
from textgen.tokenizers.char import code_points

# Few characters make repeats; a small SPAN makes every branch of the search run.
texts = st.text("ab\u00e9", max_size=40)
spans = st.sampled_from([1, 2, 3, 5, 50])


def naive_longest(train, part):
    """The longest span of part that train holds, the first of several."""
    for length in range(min(len(train), len(part)), 0, -1):
        for begin in range(len(part) - length + 1):
            if part[begin : begin + length] in train:
                return part[begin : begin + length]
    return ""


def naive_copied(train, part, length):
    return [part[i : i + length] in train for i in range(len(part) - length + 1)]


def found_longest(train, part):
    return "".join(map(chr, longest_shared(code_points(train), code_points(part))))


def lying_windows(number):
    """Hashes that are the same for many different spans, as those of `spans` are not."""

    def windows(ids, length):
        sums = [int(ids[i : i + length].sum()) % number for i in range(len(ids) - length + 1)]
        for begin in range(0, len(sums), 7):
            yield begin, np.array(sums[begin : begin + 7], dtype=np.uint64)

    return windows


def random_text(n, seed, alphabet="abcdefgh \n"):
    return "".join(np.random.default_rng(seed).choice(list(alphabet), n))


@given(texts, texts, spans)
@example("aaaaaaaaab", "aaaaaaaa", 2)
@example("abbabaab", "baababba", 1)
@example("aab" * 9, "aba" * 9, 3)
def test_the_longest_shared_span_is_what_str_finds(train, part, span):
    with mock.patch.object(spans_module, "SPAN_CHARS", span):
        assert found_longest(train, part) == naive_longest(train, part)


@given(texts, texts, st.sampled_from([1, 2, 5]), spans)
def test_it_is_exact_even_where_different_spans_have_the_same_hash(train, part, number, span):
    with (
        mock.patch.object(spans_module, "hash_windows", lying_windows(number)),
        mock.patch.object(spans_module, "SPAN_CHARS", span),
    ):
        assert found_longest(train, part) == naive_longest(train, part)
        wanted = naive_copied(train, part, 3)
        assert copied(code_points(train), code_points(part), 3).tolist() == wanted


@given(texts, texts, st.integers(1, 8))
def test_a_span_is_copied_where_the_training_text_holds_it(train, part, length):
    found = copied(code_points(train), code_points(part), length)
    assert found.dtype == bool
    assert found.tolist() == naive_copied(train, part, length)


@pytest.mark.parametrize("length", [SPAN_CHARS - 1, SPAN_CHARS, SPAN_CHARS + 1, 700, 3000])
def test_a_copy_in_longer_texts_is_found_whole(length):
    train, part = random_text(30_000, 1), random_text(3000, 2)
    assert not any(naive_copied(train, part, 12))
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


def test_any_character_is_compared_lone_surrogates_too():
    assert found_longest("\U0010ffff\ud800\0", "x\ud800\0") == "\ud800\0"
