"""Where a text ends, against references that look at the whole text at once."""

import copy
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.config.sample import SampleConfig
from textgen.sampling.stopping import StopMatcher

STOPS = st.lists(st.text("ab\n", min_size=1, max_size=5), min_size=1, max_size=4).map(tuple)
TEXTS = st.text("aab\n", max_size=30)


def ended(text, **options):
    """What is left of a text that comes in one piece, and why it ended."""
    matcher = StopMatcher(SampleConfig(**options))
    return matcher.feed(text) + matcher.flush(), matcher.reason


def pieces_of(text, cuts):
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[i:j] for i, j in pairwise(places)]


# Stop texts


@pytest.mark.parametrize(
    ("stops", "text", "expected"),
    [
        (["END"], "more END of it", "more "),
        (["END"], "END", ""),
        (["END"], "EEND", "E"),
        (["END"], "ENEND", "EN"),
        (["END"], "EN", None),
        (["END"], "EN D", None),
        (["END"], "", None),
        (["x"], "xx", ""),
        (["aab"], "aaab", "a"),
        (["abab"], "aabababab", "a"),
        (["abc", "b"], "abc", "a"),
        (["abcd", "bc"], "abcd", "a"),
        (["ab", "xab"], "xab", ""),
        (["b", "ab", "aab"], "xaaab", "xa"),
        (["aaa", "ab"], "xaab", "xa"),
        (["\n\n"], "a\nb\n\nc", "a\nb"),
        (["ß"], "Straße", "Stra"),
        (["👍"], "ok 👍", "ok "),
    ],
)
def test_a_text_ends_before_its_first_stop_text(stops, text, expected):
    reason = None if expected is None else "stop"
    assert ended(text, stop=tuple(stops)) == (text if expected is None else expected, reason)


def cut_at_stops(text, stops):
    """The text before the first stop text to be complete, the longest of those."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], "stop"
    return text, None


def assert_cut_at_stops(text, stops):
    assert ended(text, stop=stops) == cut_at_stops(text, stops)


@given(TEXTS, STOPS)
def test_any_text_ends_where_the_whole_of_it_says(text, stops):
    assert_cut_at_stops(text, stops)


def test_what_could_begin_a_stop_text_a_second_time_is_not_forgotten():
    """Within aaab, aab begins again; who starts anew after a mismatch runs past it."""
    assert ended("aaab", stop=("aab",)) == ("a", "stop")


@given(TEXTS, STOPS)
def test_only_what_could_begin_a_stop_text_is_held_back(text, stops):
    matcher, passed = StopMatcher(SampleConfig(stop=stops)), ""
    for place, char in enumerate(text):
        passed += matcher.feed(char)
        if matcher.reason:
            return
        seen = text[: place + 1]
        begun = [n for stop in stops for n in range(len(stop)) if seen.endswith(stop[:n])]
        assert passed == seen[: len(seen) - max(begun)]


def test_the_end_of_a_text_that_never_stops_is_handed_out_once():
    matcher = StopMatcher(SampleConfig(stop=("END",)))
    assert matcher.feed("the EN") == "the "
    assert matcher.flush() == "EN"
    assert matcher.flush() == ""
    assert matcher.reason is None


def test_nothing_follows_an_end():
    matcher = StopMatcher(SampleConfig(stop=("END",)))
    assert matcher.feed("a END b END") == "a "
    assert matcher.feed("c") == ""
    assert matcher.flush() == ""
    assert matcher.reason == "stop"


def test_without_any_end_everything_passes_at_once():
    matcher = StopMatcher(SampleConfig())
    assert matcher.feed("One. \r\n\r\nTwo.") == "One. \r\n\r\nTwo."
    assert matcher.flush() == ""
    assert matcher.reason is None


# Sentences, lines and paragraphs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two.", "One."),
        ("One!\nTwo", "One!"),
        ("One?\r\nTwo", "One?"),
        ("One…\tTwo", "One…"),
        ("Wait... what?! Yes", "Wait..."),
        ("It is 3.14 or so. Yes", "It is 3.14 or so."),
        ('He said "Go." Then', 'He said "Go."'),
        ("(So it is!) Then", "(So it is!)"),
        ("«Oui.» Non", "«Oui.»"),
        ("One.\"') Two", "One.\"')"),
        ("no end", None),
        ("no end yet.", None),
        ('no end yet."', None),
        ('a " b', None),
        ("\n\n One. Two", "\n\n One."),
        ("你好。\n我", "你好。"),
        ("", None),
    ],
)
def test_a_sentence_ends_at_the_white_space_after_its_full_stop(text, expected):
    reason = None if expected is None else "sentence"
    assert ended(text, until="sentence") == (text if expected is None else expected, reason)


@given(st.text("aB.!…\"')] \n\t", max_size=20))
def test_sentences_end_where_a_regular_expression_finds_their_end(text):
    found = re.search(r"""[.!?…]["'”’»)\]]*(?=\s)""", text)
    expected = (text[: found.end()], "sentence") if found else (text, None)
    assert ended(text, until="sentence") == expected


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        ("line", "One\nTwo", "One"),
        ("line", "One\r\nTwo", "One"),
        ("line", "One\rTwo\n", "One\rTwo"),
        ("line", "\n \nOne\nTwo", "\n \nOne"),
        ("line", "One \nTwo", "One "),
        ("line", "\n\n\n", None),
        ("line", "One\r", None),
        ("line", "", None),
        ("paragraph", "One\nTwo\n\nThree", "One\nTwo"),
        ("paragraph", "One\r\nTwo\r\n\r\nThree", "One\r\nTwo"),
        ("paragraph", "\n\nOne\n\nTwo", "\n\nOne"),
        ("paragraph", "\n\n\n\n", None),
        ("paragraph", "One\n", None),
        ("paragraph", "One\n \nTwo", None),
        ("paragraph", "One\r\n\rTwo\n", None),
    ],
)
def test_a_line_or_paragraph_ends_after_something_visible(unit, text, expected):
    reason = None if expected is None else unit
    assert ended(text, until=unit) == (text if expected is None else expected, reason)


BREAKS = {"line": "\r\n|\n", "paragraph": "\r\n\r\n|\n\n"}


@pytest.mark.parametrize("unit", BREAKS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@given(st.text("ab \n", max_size=20))
def test_lines_and_paragraphs_end_where_a_regular_expression_finds_their_end(newline, unit, text):
    text = text.replace("\n", newline)
    visible = re.search(r"\S", text)
    found = re.compile(BREAKS[unit]).search(text, visible.end()) if visible else None
    expected = (text[: found.start()], unit) if found else (text, None)
    assert ended(text, until=unit) == expected


@pytest.mark.parametrize(
    ("lines", "text", "expected"),
    [
        (1, "One\nTwo\n", "One"),
        (2, "One\nTwo\nThree", "One\nTwo"),
        (2, "\n\nOne", "\n"),
        (3, "One\nTwo\n", None),
        (1, "One\r\nTwo", "One"),
        (2, "One\r\nTwo\r\nThree", "One\r\nTwo"),
        (1, "One\rTwo\nThree", "One\rTwo"),
        (1, "One\r", None),
    ],
)
def test_a_text_ends_after_so_many_lines(lines, text, expected):
    reason = None if expected is None else "lines"
    assert ended(text, lines=lines) == (text if expected is None else expected, reason)


@given(st.lists(st.sampled_from(["a", " ", "\n", "\r\n", "\r"]), max_size=15), st.integers(1, 4))
def test_lines_are_counted_as_splitting_the_text_counts_them(parts, lines):
    text = "".join(parts)
    split = re.split("(\r?\n)", text)
    whole = len(split) // 2 >= lines
    expected = ("".join(split[: 2 * lines - 1]), "lines") if whole else (text, None)
    assert ended(text, lines=lines) == expected


# Several ends


@pytest.mark.parametrize(
    ("options", "text", "expected", "reason"),
    [
        ({"until": "sentence", "stop": ("Two",)}, "One. Two.", "One.", "sentence"),
        ({"until": "sentence", "stop": ("ne",)}, "One. Two.", "O", "stop"),
        ({"until": "sentence", "stop": (". ",)}, "One. Two.", "One", "stop"),
        ({"until": "sentence", "lines": 1}, "One\nTwo.", "One", "lines"),
        ({"until": "sentence", "lines": 1}, "One.\nTwo.", "One.", "sentence"),
        ({"until": "paragraph", "lines": 3}, "One\n\nTwo\n", "One", "paragraph"),
        ({"until": "paragraph", "lines": 1}, "One\n\nTwo\n", "One", "lines"),
        ({"until": "line", "stop": ("\n\n",)}, "\n\nOne\n", "", "stop"),
        ({"until": "line", "stop": ("e\n",)}, "One\nTwo", "On", "stop"),
        ({"lines": 2, "stop": ("\n\n",)}, "One\n\nTwo\n", "One", "stop"),
        ({"lines": 2, "stop": ("w",)}, "One\nTwo\n", "One\nT", "stop"),
    ],
)
def test_of_several_ends_the_first_one_counts(options, text, expected, reason):
    assert ended(text, **options) == (expected, reason)


ENDS = st.fixed_dictionaries(
    {},
    optional={
        "stop": st.lists(st.text("a.\r\n ", min_size=1, max_size=4), max_size=3).map(tuple),
        "until": st.sampled_from(["sentence", "line", "paragraph"]),
        "lines": st.integers(1, 4),
    },
)


@given(ENDS, st.text("aab.\r\n ", max_size=30), st.lists(st.integers(0, 30), max_size=8))
def test_the_pieces_in_which_a_text_comes_make_no_difference(options, text, cuts):
    matcher = StopMatcher(SampleConfig(**options))
    passed = "".join(matcher.feed(piece) for piece in pieces_of(text, cuts)) + matcher.flush()
    assert (passed, matcher.reason) == ended(text, **options)


@given(ENDS, st.text("aab.\r\n ", max_size=30))
def test_what_has_passed_is_never_taken_back(options, text):
    matcher, passed = StopMatcher(SampleConfig(**options)), ""
    for char in text:
        passed += matcher.feed(char)
        assert text.startswith(passed)
    passed += matcher.flush()
    assert text.startswith(passed)
    if matcher.reason is None:
        assert passed == text


@given(ENDS, st.text("ab.\r\n ", max_size=15), st.text("ab.\r\n ", max_size=15))
def test_a_copy_goes_on_by_itself(options, text, other):
    matcher = StopMatcher(SampleConfig(**options))
    passed = matcher.feed(text)
    copied = copy.deepcopy(matcher)
    copied.feed(other)
    passed += matcher.feed(text) + matcher.flush()
    assert (passed, matcher.reason) == ended(text + text, **options)
