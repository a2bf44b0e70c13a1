"""A text may be cut before a character exactly where no normal form changes."""

import sys
import unicodedata

import pytest
from factories import composing_pairs

from textgen.data.unicode import joins_previous

PAIRS = composing_pairs()


def test_the_second_of_two_that_compose_joins_the_first():
    """All pairs that Unicode composes, and Hangul, which it composes by arithmetic."""
    hangul = [("\u1100", chr(code)) for code in range(0x1160, 0x11A8)]
    hangul += [("\uac00", chr(code)) for code in range(0x11A7, 0x1200)]
    assert len(PAIRS) > 900
    for first, second in PAIRS + hangul:
        apart = [unicodedata.normalize("NFC", char) for char in (first, second)]
        if unicodedata.normalize("NFC", first + second) != "".join(apart):
            assert joins_previous(second)


def test_a_mark_that_would_move_to_the_front_joins_what_is_before():
    """Some characters that are no marks decompose to marks, which are put in an order."""
    changed = 0
    for char in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.decomposition(char) or unicodedata.combining(char):
            apart = "x\u0345" + unicodedata.normalize("NFC", char)  # the last mark in the order
            if unicodedata.normalize("NFC", "x\u0345" + char) != apart:
                changed += 1
                assert joins_previous(char)
    assert changed > 500


def test_most_characters_join_nothing():
    for chars in ("aZ9 \n~", "éßñÅ", "жЯ", "漢字かなカナ", "한글가힣", "ກ😀", "\u1100"):
        assert not any(map(joins_previous, chars))


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_no_form_of_what_is_cut_differs_from_that_of_the_whole(form):
    """Behind a letter, a vowel's syllable and a mark, every character that joins nothing."""
    for char in map(chr, range(0x80, sys.maxunicode + 1)):
        if unicodedata.is_normalized("NFKD", char) or joins_previous(char):
            continue
        apart = unicodedata.normalize(form, char)
        for before in ("e", "\uac00", "e\u0345"):
            whole = unicodedata.normalize(form, before + char)
            assert whole == unicodedata.normalize(form, before) + apart
