"""Shares, ranges of characters and biases, against re, fractions and hand calculations."""

import re
import tracemalloc
from decimal import Decimal

import pytest
from factories import usage_error
from hypothesis import assume, given
from hypothesis import strategies as st

from textgen.config.notations import expand, parse_bias, split_shares

ASCII = "".join(map(chr, range(32, 127)))


# Ranges


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        ("", ""),
        ("abc", "abc"),
        ("a-e", "abcde"),
        ("a-e!", "!abcde"),
        ("!a-c0-2", "!012abc"),
        ("a-a", "a"),
        ("-", "-"),
        ("-a", "-a"),
        ("a-", "-a"),
        ("a-c-", "-abc"),
        ("a-c-e", "-abce"),
        ("+--", "+,-"),
        ("--/", "-./"),
        ("\t-\r", "\t\n\x0b\x0c\r"),
        ("α-δ", "αβγδ"),
        ("\U0001f600-\U0001f602", "\U0001f600\U0001f601\U0001f602"),
        ("aa", "a"),
        ("d-fa-ec-z", "abcdefghijklmnopqrstuvwxyz"),
    ],
)
def test_ranges_are_written_out(characters, expected):
    assert expand(characters, "--only") == expected


@given(st.text("abcxyz0189-+,. ", max_size=9))
def test_ranges_are_those_of_a_set_in_re(characters):
    """Python's own sets as the oracle: they read ranges alike, and refuse the same ones."""
    assume("--" not in characters)  # of which re warns that they may mean something else one day
    try:
        pattern = re.compile(f"[{characters}]") if characters else None
    except re.error:
        assert "backwards" in usage_error(expand, characters, "--ban").problem
        return
    expected = {char for char in ASCII if pattern and pattern.match(char)}
    assert expand(characters, "--ban") == "".join(sorted(expected))


@given(st.characters(), st.characters())
def test_a_range_has_every_code_point_between_its_ends(first, last):
    first, last = sorted((first, last))
    assume(ord(last) - ord(first) < 5000)
    found = expand(f"{first}-{last}", "--only")
    assert [ord(char) for char in found] == list(range(ord(first), ord(last) + 1))


@pytest.mark.slow
def test_ranges_that_overlap_are_written_out_once():
    tracemalloc.start()
    found = expand(" -\U0010ffff" * 100, "--ban")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 0x110000 - 0x20
    assert peak < 250e6


@pytest.mark.parametrize("subject", ["--only", "--ban", "--bias"])
def test_a_range_that_runs_backwards_names_its_option_and_the_way_round(subject):
    error = usage_error(expand, "xe-aq", subject)
    assert error.subject == subject
    assert "e-a runs backwards" in error.problem and "a-e" in error.fix


# Biases


@pytest.mark.parametrize(
    ("biases", "expected"),
    [
        ((), {}),
        (("a:1",), {"a": 1.0}),
        (("ab:-1.5",), {"a": -1.5, "b": -1.5}),
        (("a-c:2e1",), {"a": 20.0, "b": 20.0, "c": 20.0}),
        (("a:1", "b:2"), {"a": 1.0, "b": 2.0}),
        (("a-c:1", "b:2", "c:0"), {"a": 1.0, "b": 2.0, "c": 0.0}),
        (("::3",), {":": 3.0}),
        (("a:b:3",), {"a": 3.0, ":": 3.0, "b": 3.0}),
        ((" :0.5",), {" ": 0.5}),
        (("\n:-9",), {"\n": -9.0}),
        (("é-ë:1",), {"é": 1.0, "ê": 1.0, "ë": 1.0}),
    ],
)
def test_biases_are_a_number_for_each_character(biases, expected):
    assert parse_bias(biases) == expected


@pytest.mark.parametrize(
    "wrong", ["", "a", ":", ":1", "a:", "a:x", "a:nan", "a:inf", "a:-1e999", "1", "a:1,5", "a:1:x"]
)
def test_what_is_no_bias_is_repeated_in_the_error(wrong):
    error = usage_error(parse_bias, ("b:1", wrong))
    assert error.subject == "--bias" and repr(wrong) in error.problem


def test_a_range_that_runs_backwards_in_a_bias_is_an_error():
    assert "z-a" in usage_error(parse_bias, ("z-a:1",)).problem


# Shares


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("0.9,0.1", ["0.9", "0.1"]),
        ("0.9,0.05,0.05", ["0.9", "0.05", "0.05"]),
        ("1,0", ["1", "0"]),
        ("1,0,0", ["1", "0", "0"]),
        ("1e-1,0.9", ["0.1", "0.9"]),
        (" 0.5 , 0.5 ", ["0.5", "0.5"]),
        ("0.123456789012345678901,0.876543210987654321099",) * 2,
    ],
)
def test_shares_are_exact_decimals(split, expected):
    expected = expected if isinstance(expected, list) else expected.split(",")
    assert split_shares(split) == tuple(Decimal(one) for one in expected)


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        ("", "not a list of numbers"),
        ("0.9;0.1", "not a list of numbers"),
        ("most,rest", "not a list of numbers"),
        ("0.4,0.3,0.2,0.1", "not one to three shares"),
        ("1.5,-0.5", "not one to three shares"),
        ("nan,1", "not one to three shares"),
        ("inf,0", "not one to three shares"),
        ("0.9,0.2", "sums to 1.1"),
        ("0.9,0.09", "sums to 0.99"),
        ("0,0.5,0.5", "with 0 for training"),
    ],
)
def test_shares_that_cannot_be_cut_are_refused(split, problem):
    error = usage_error(split_shares, split)
    assert error.subject == "--split" and problem in error.problem
