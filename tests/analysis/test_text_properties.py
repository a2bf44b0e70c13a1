"""What can be said of each character, written out by hand below the text."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.analysis.text_properties import PROPERTIES

BY_NAME = {subject.name: subject for subject in PROPERTIES}


def measured(name, text):
    """The values of a property as digits, one a character."""
    return "".join(f"{value:.0f}" for value in BY_NAME[name].measure(text))


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("inside quotes", 'a "b" c', "0011000"),
        ("inside quotes", "“a” „b“ «c» »d«", "110011001100110"),
        ("inside quotes", r'"a\"b" c', "11111000"),
        ("inside quotes", """'"' "a" """, "00001100"),
        ("inside quotes", '"a\nb\n\nc"d', "111110011"),
        ("inside quotes", '“a "b"', "111111"),
        ("inside parentheses", "f(a(b))c)(", "0111110001"),
        ("inside parentheses", "(a\n \nb)", "1111000"),
        ("inside square brackets", "a[b]c", "01100"),
        ("depth of braces", "{a{\n\n}b}}{", "1122211001"),
        ("inside a comment", "a /* b */ c", "00111111000"),
        ("inside a comment", "a // b\nc", "00111100"),
        ("inside a comment", "http://a", "00000000"),
        ("inside a comment", "<!-- a -->b", "11111111100"),
        ("inside markup", "a<b>c</b> 1 < 2 > 1", "0110011100000000000"),
        ("inside an address", "x http://a.b c www.d", "00111111111100011111"),
        ("first line of a paragraph", "ab\nc\n\nde\nf", "1100001100"),
        ("indentation", " \ta b\n\n  c", "1100000110"),
        ("line end", "ab\n\nc", "01100"),
        ("word start", "to be_2, I", "1001000001"),
        ("upper case", "aBÄß1", "01100"),
        ("digit", "a1٣", "011"),
    ],
)
def test_values_are_those_written_below_the_text(name, text, values):
    assert measured(name, text) == values


@pytest.mark.parametrize(
    ("name", "text", "places"),
    [
        ("position in line", "ab c\nd\n\n", [1, 2, 3, 4, 0, 1, 0, 0]),
        ("position in word", "ab c\nd_1", [1, 2, 0, 1, 0, 1, 2, 3]),
    ],
)
def test_positions_are_logarithms(name, text, places):
    expected = [math.log2(1 + place) for place in places]
    np.testing.assert_allclose(BY_NAME[name].measure(text), expected)


@pytest.mark.parametrize("name", BY_NAME)
@given(text=st.text(alphabet=" \"“”„«»()[]{}</>*!-abA1_\\\n\t:w.'é\U0001f600", max_size=60))
def test_each_character_has_a_number_that_is_not_negative(name, text):
    values = BY_NAME[name].measure(text)
    assert values.shape == (len(text),)
    assert (values >= 0).all()


@pytest.mark.parametrize(
    "name", [name for name in BY_NAME if name not in ("line end", "inside a comment")]
)
@given(text=st.text(alphabet=' "“”()[]{}abA1\n', max_size=40), more=st.text(' "()ab\n', max_size=9))
def test_what_comes_later_changes_nothing(name, text, more):
    """A network has not read it; only a line's end is there to be predicted."""
    values = BY_NAME[name].measure(text + more)[: len(text)]
    np.testing.assert_array_equal(values, BY_NAME[name].measure(text))


def test_each_has_a_name_and_says_what_it_means():
    assert len(BY_NAME) == len(PROPERTIES)
    assert all(subject.meaning for subject in PROPERTIES)
