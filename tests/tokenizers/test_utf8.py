"""UTF-8 as an automaton, against Python's own decoder."""

import functools
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.tokenizers import utf8
from textgen.tokenizers.utf8 import BETWEEN_CHARACTERS, DEAD, Spelling, advance, count_characters


@functools.cache
def beginnings():
    """What the characters of Unicode begin with, as Python writes them."""
    texts = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    return {data[:length] for data in map(str.encode, texts) for length in range(len(data))}


def goes_on(data):
    """Whether some text begins with these bytes: whole characters, then the beginning of one."""
    cuts = range(max(0, len(data) - 3), len(data) + 1)
    return any(is_whole(data[:cut]) and data[cut:] in beginnings() for cut in cuts)


def is_whole(data):
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# Where the ranges of UTF-8 begin and end, and their neighbours.
EDGES = [0, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1]
EDGES += [0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]


def assert_walks_like_python(data):
    state = advance(BETWEEN_CHARACTERS, data)
    assert (state != DEAD) == goes_on(data), data.hex()
    assert (state == BETWEEN_CHARACTERS) == is_whole(data), data.hex()


@pytest.mark.slow
def test_every_pair_of_bytes_leads_where_python_says():
    for pair in itertools.product(range(256), repeat=2):
        assert_walks_like_python(bytes(pair))


@pytest.mark.slow
def test_up_to_four_bytes_at_the_edges_of_the_ranges_lead_where_python_says():
    for length in (3, 4):
        for data in itertools.product(EDGES, repeat=length):
            if data[0] >= 0xC0 and advance(BETWEEN_CHARACTERS, bytes(data[:2])) != DEAD:
                assert_walks_like_python(bytes(data))


@given(st.binary(max_size=8))
def test_any_bytes_lead_where_python_says(data):
    assert_walks_like_python(data)


def test_an_automaton_that_takes_surrogates_is_noticed(monkeypatch):
    table = [[*row] for row in utf8.NEXT]
    table[0][0xED] = 2
    monkeypatch.setattr(utf8, "NEXT", table)
    with pytest.raises(AssertionError):
        assert_walks_like_python(b"\xed\xa0\x80")


@given(st.text())
def test_the_characters_of_a_text_are_counted_however_it_is_cut(text):
    data = text.encode("utf-8", "surrogatepass")
    assert count_characters(data) == len(text)
    assert sum(count_characters(data[i : i + 1]) for i in range(len(data))) == len(text)


def test_a_spelling_says_which_symbols_may_follow():
    symbols = [b"", b"a", b"th", "é".encode(), b"\xc3", b"\xa9", b"\xe0", b"\xff"]
    spelling = Spelling(symbols, boundary_id=7)
    between = spelling.allowed_SV[spelling.state(b"")]
    assert between.tolist() == [True, True, True, True, True, False, True, True]
    inside = spelling.allowed_SV[spelling.state(b"\xc3")]
    assert [symbols[i] for i in inside.nonzero()[0]] == [b"", b"\xa9"]
    narrow = spelling.allowed_SV[spelling.state(b"\xe0")]  # after E0 only A0 to BF follow
    assert [symbols[i] for i in narrow.nonzero()[0]] == [b"", b"\xa9"]
    assert spelling.next_SV[spelling.state(b"\xc3"), 5] == BETWEEN_CHARACTERS


def test_the_bytes_of_no_character_leave_a_spelling_between_characters():
    assert Spelling([b"a"], None).state(b"\xff") == BETWEEN_CHARACTERS
