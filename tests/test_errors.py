"""What an error tells: its code, its one line, and nothing that could steer a terminal."""

import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textgen import errors
from textgen.errors import TextgenError, counted, visible

ANY_TEXT = st.text(st.characters())  # lone surrogates and control characters too
BIDI = {chr(code) for code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
CODES = {
    "UsageError": 2,
    "TextError": 3,
    "CheckpointError": 4,
    "MachineError": 5,
    "RunInUseError": 6,
    "NumericsError": 7,
}


def assert_harmless(text):
    """One line that any terminal can show: no control, separator, override or surrogate."""
    for char in text:
        assert unicodedata.category(char) not in ("Cc", "Zl", "Zp", "Cs"), repr(char)
        assert char not in BIDI, repr(char)
    text.encode("utf-8")


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_each_class_carries_its_documented_exit_code(name, code):
    error = getattr(errors, name)("file", "is wrong", "mend it")
    assert isinstance(error, TextgenError)
    assert error.exit_code == code


def test_the_tree_has_no_class_without_a_documented_code():
    found = {kind.__name__ for kind in TextgenError.__subclasses__()}
    assert found == {*CODES, "Interrupted"}
    assert TextgenError.exit_code == 1


@pytest.mark.parametrize(("signal", "code"), [(1, 129), (2, 130), (15, 143)])
def test_an_interruption_exits_with_128_plus_the_signal(signal, code):
    error = errors.Interrupted("run", "stopped", "resume it", signal)
    assert error.exit_code == code
    assert str(error) == "run: stopped (resume it)"


def test_the_message_is_subject_problem_and_fix():
    error = errors.TextError("corpus.txt", "empty", "give a text")
    assert str(error) == "corpus.txt: empty (give a text)"
    assert (error.subject, error.problem, error.fix) == ("corpus.txt", "empty", "give a text")


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
@example("\x1b]52;c;aGk=\x07", "a\r\nFORGED: line", "\u202eexe.txt")
@example("\udcff name that was not UTF-8", "\x9b31m", "\u2028\u2029\x85")
def test_whatever_it_is_about_the_message_is_one_harmless_line(subject, problem, fix):
    assert_harmless(str(errors.UsageError(subject, problem, fix)))


@pytest.mark.parametrize("bad", ["\n", "\x1b[2J", "\x9b", "\u2028", "\u202e", "\ud800"])
def test_the_check_for_harmless_lines_sees_what_is_not_escaped(bad):
    with pytest.raises((AssertionError, UnicodeEncodeError)):
        assert_harmless(bad)


def test_a_hostile_name_of_a_hundred_thousand_characters_stays_a_short_line():
    assert len(str(errors.UsageError("x" * 10**5, "\x1b" * 10**5, "y" * 10**5))) < 2000


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S"])))
@example("naïve ß 漢字 \N{PARTY POPPER}")
def test_printable_text_is_shown_as_it_is(text):
    assert visible(text) == text


def test_joiners_stay_because_emoji_need_them():
    family = "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}"
    assert visible(family) == family


@pytest.mark.parametrize(
    ("char", "shown"),
    [
        ("\n", r"\n"),
        ("\t", r"\t"),
        ("\0", r"\x00"),
        ("\x1b", r"\x1b"),
        ("\x7f", r"\x7f"),
        ("\x9b", r"\x9b"),
        ("\u2028", r"\u2028"),
        ("\u202e", r"\u202e"),
        ("\u2067", r"\u2067"),
        ("\ud800", r"\ud800"),
    ],
)
def test_a_dangerous_character_is_shown_as_its_escape(char, shown):
    assert visible(f"a{char}b") == f"a{shown}b"


def test_a_character_is_escaped_exactly_when_it_is_dangerous():
    overrides = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    for code in (*range(0x3000), *range(0xD700, 0xE100), 0xFEFF, 0x10FFFF):
        char = chr(code)
        dangerous = (
            unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs")
            or unicodedata.bidirectional(char) in overrides
            or "LEFT-TO-RIGHT MARK" in (name := unicodedata.name(char, ""))
            or name == "RIGHT-TO-LEFT MARK"
        )
        assert (visible(char) != char) == dangerous, hex(code)
        assert_harmless(visible(char))


def test_characters_to_keep_are_kept_and_the_others_are_not():
    assert visible("a\n\tb\r\x1b", keep="\n\t") == "a\n\tb\\r\\x1b"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        *((0, "0 minutes"), (1, "1 minute"), (2, "2 minutes"), (1.0, "1 minute")),
        *((0.5, "0.5 minutes"), (1.5, "1.5 minutes"), (10.0, "10 minutes")),
        *((1_976_514, "1,976,514 minutes"), (np.int64(12_345_678), "12,345,678 minutes")),
    ],
)
def test_a_number_stands_with_its_noun(number, shown):
    assert counted(number, "minute") == shown
