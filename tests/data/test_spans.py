"""Spans of a text against Python's sets and str.find; hashes that lie do no harm."""

import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textgen.data import spans as spans_module
from textgen.data.spans import PRIME, Spans, longest_copies, longest_shared, mark_copied
from textgen.errors import UsageError
from textgen.tokenizers.base import CODE_POINTS
from textgen.tokenizers.char import code_points

V = 5

# Few characters make repeats; a small block makes its borders fall everywhere.
texts = st.text("abc", max_size=40)
lengths = st.integers(1, 7)
blocks = st.sampled_from([1, 2, 5, 1000])


def to_ids(text, dtype=np.uint8):
    return np.array([ord(char) - 96 for char in text], dtype=dtype)


def naive_spans(ids, length):
    ids = [int(number) for number in ids]
    return {tuple(ids[i : i + length]) for i in range(len(ids) - length + 1)}


def naive_completing(ids, length, history_BL, vocab):
    spans = naive_spans(ids, length)
    rows = [[number for number in row if number >= 0] for row in history_BL.tolist()]
    recent = [tuple(row[len(row) - length + 1 :]) for row in rows]
    return [
        [len(row) >= length - 1 and (*end, number) in spans for number in range(vocab)]
        for row, end in zip(rows, recent, strict=True)
    ]


def horner(ids, base, modulus):
    """The hash as the docstring defines it, in Python's whole numbers."""
    value = 0
    for number in ids[:-1]:
        value = (value + int(number)) * base % modulus
    return value + int(ids[-1])


def histories(text, length):
    """Every end of text as a row, some of them too short, and rows that text does not hold."""
    ids = to_ids(text, np.int64)
    rows = [ids[:end] for end in range(len(ids) + 1)]
    rows += [np.append(row, 4) for row in rows] + [row[::-1] for row in rows]
    history_BL = np.full((len(rows), length + 2), -1)
    for row, known in zip(history_BL, rows, strict=True):
        known = known[-len(row) :]
        row[len(row) - len(known) :] = known
    return history_BL


def assert_completes_as_a_set_does(spans, text):
    history_BL = histories(text, spans.length)
    before = history_BL.copy()
    found_BV = spans.completing(history_BL, V)
    assert found_BV.dtype == bool
    assert found_BV.tolist() == naive_completing(to_ids(text), spans.length, history_BL, V)
    assert np.array_equal(history_BL, before)


# Spans


@given(texts, lengths, blocks)
@example("", 1, 1)
@example("a", 1, 1000)
@example("aaaa", 2, 1)
def test_completing_finds_what_a_set_of_the_spans_holds(text, length, block):
    with mock.patch.object(spans_module, "HASHED_AT_ONCE", block):
        spans = Spans.of(to_ids(text), length)
    assert len(spans.hashes) == len(naive_spans(to_ids(text), length))
    assert_completes_as_a_set_does(spans, text)


@pytest.mark.parametrize("length", [1, 2, 3, 50, 300])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_hashes_are_the_polynomial_in_whole_numbers(length, dtype):
    largest = min(np.iinfo(dtype).max, CODE_POINTS)
    ids = np.random.default_rng(length).integers(0, largest, 400, endpoint=True).astype(dtype)
    ids[200:350] = largest
    expected = {horner(span, spans_module.BASE, PRIME) for span in naive_spans(ids, length)}
    with mock.patch.object(spans_module, "HASHED_AT_ONCE", 64):
        assert Spans.of(ids, length).hashes.tolist() == sorted(expected)


edges = [0, 1, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**60, PRIME - 2, PRIME - 1]
below = st.sampled_from(edges) | st.integers(0, PRIME - 1)


@given(st.lists(st.tuples(below, below), min_size=1), st.integers(1, PRIME - 1))
@example([(a, b) for a in edges for b in edges], 2)
def test_products_and_powers_modulo_the_prime(pairs, base):
    a, b = np.array(pairs, dtype=np.uint64).T
    assert spans_module.multiply(a, b).tolist() == [x * y % PRIME for x, y in pairs]
    assert spans_module.powers_of(base, 21).tolist() == [pow(base, k, PRIME) for k in range(21)]


def test_the_largest_ids_and_a_long_span_complete_each_other():
    """Sums that passed 63 bits would miss the copy."""
    ids = np.full(20_000, CODE_POINTS)
    spans = Spans.of(ids, 20_000)
    found = spans.completing(ids[None, 1:], CODE_POINTS + 1)
    assert np.flatnonzero(found).tolist() == [CODE_POINTS]
    assert spans_module.LONGEST_SPAN * CODE_POINTS * 2**21 < 2**63


def test_spans_of_the_sequence_of_thue_and_morse_differ():
    """Modulo 2^64 the sequence and its opposite have one hash, whatever the odd base is."""
    sequence = np.array([i.bit_count() % 2 for i in range(2048)])
    opposite = 1 - sequence
    for base in (3, 31, 0x9E3779B97F4A7C15):
        assert horner(sequence, base, 2**64) % 2**64 == horner(opposite, base, 2**64) % 2**64
    spans = Spans.of(sequence, 2048)
    ends = np.stack([sequence[:-1], opposite[:-1]])
    assert spans.completing(ends, 2).tolist() == [[sequence[-1] == 0, sequence[-1] == 1], [0, 0]]
    for length in (64, 1000):
        spans = Spans.of(sequence, length)
        assert len(spans.hashes) == len(naive_spans(sequence, length))


@pytest.mark.parametrize("length", [1, 2, 4, 8])
def test_what_is_drawn_around_the_barred_ids_holds_no_span(length):
    random = np.random.default_rng(length)
    text = "".join(random.choice(list("abcd"), 400))
    spans = Spans.of(to_ids(text), length)
    output = to_ids(text, np.int64)[:0]
    for _ in range(300):
        padded = np.concatenate([np.full(length, -1), output])[None]
        free = np.flatnonzero(~spans.completing(padded, V)[0])
        output = np.append(output, random.choice(free[free > 0] if free.any() else free))
    drawn = "".join(chr(96 + number) for number in output)
    assert not [i for i in range(300) if len(s := drawn[i : i + length]) == length and s in text]
    assert length < 4 or any(drawn[i : i + length - 1] in text for i in range(300))


def test_a_length_beyond_the_text_completes_nothing_and_takes_no_memory():
    tracemalloc.start()
    try:
        spans = Spans.of(to_ids("abc"), spans_module.LONGEST_SPAN)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert not spans.completing(np.ones((2, 3), np.int64), V).any()


@pytest.mark.parametrize("length", [-1, 0, spans_module.LONGEST_SPAN + 1])
def test_an_impossible_length_is_an_error_of_the_option(length):
    with pytest.raises(UsageError, match="--novel"):
        Spans.of(to_ids("abc"), length)


# What two texts share

# Few characters make repeats; a small SPAN makes every branch of the search run.
few = st.text("ab\u00e9", max_size=40)
span_sizes = st.sampled_from([1, 2, 3, 5, 50])


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
    """Hashes that are the same for many different spans, as ours are not."""

    def windows(ids, length):
        sums = [int(ids[i : i + length].sum()) % number for i in range(len(ids) - length + 1)]
        for begin in range(0, len(sums), 7):
            yield begin, np.array(sums[begin : begin + 7], dtype=np.uint64)

    return windows


@given(few, few, span_sizes)
@example("aaaaaaaaab", "aaaaaaaa", 2)
@example("abbabaab", "baababba", 1)
@example("aab" * 9, "aba" * 9, 3)
def test_the_longest_shared_span_is_what_str_finds(train, part, span):
    with mock.patch.object(spans_module, "SPAN_CHARS", span):
        assert found_longest(train, part) == naive_longest(train, part)


@given(few, few, st.sampled_from([1, 2, 5]), span_sizes)
def test_it_is_exact_even_where_different_spans_have_the_same_hash(train, part, number, span):
    with (
        mock.patch.object(spans_module, "hash_windows", lying_windows(number)),
        mock.patch.object(spans_module, "SPAN_CHARS", span),
    ):
        assert found_longest(train, part) == naive_longest(train, part)
        wanted = naive_copied(train, part, 3)
        assert mark_copied(code_points(train), code_points(part), 3).tolist() == wanted


@given(few, few, st.integers(1, 8))
def test_a_span_is_copied_where_the_training_text_holds_it(train, part, length):
    found = mark_copied(code_points(train), code_points(part), length)
    assert found.dtype == bool
    assert found.tolist() == naive_copied(train, part, length)


def test_a_span_is_found_in_a_long_text():
    random = np.random.default_rng(0)
    train, part = random.integers(1, 30, 50_000), random.integers(1, 30, 500)
    part[123:160] = train[40_000:40_037]
    part[122], part[160] = 31, 31
    assert longest_shared(train.astype(np.uint8), part).tolist() == part[123:160].tolist()


def test_any_character_is_compared_lone_surrogates_too():
    assert found_longest("\U0010ffff\ud800\0", "x\ud800\0") == "\ud800\0"


@given(st.text("ab", max_size=40), st.text("ab", max_size=40), st.integers(1, 5))
def test_the_longest_copies_are_those_of_a_search_at_every_place(train, part, shortest):
    """Each is the longest that is left; then it is struck out wherever it stands."""
    found = list(longest_copies(code_points(train), code_points(part), shortest, 4))
    for number in range(4):
        ends = [(i, j) for i in range(len(part)) for j in range(i + shortest, len(part) + 1)]
        shared = [run for i, j in ends if (run := part[i:j]) in train]
        if number == len(found):
            assert not shared
            return
        text = "".join(map(chr, found[number]))
        assert text in shared and len(text) == max(map(len, shared))
        part = part.replace(text, "#" * len(text))
