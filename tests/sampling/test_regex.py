"""Patterns against `re.fullmatch`: the texts that can be walked are those that it accepts."""

import random
import re
import string
import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textgen.errors import UsageError
from textgen.sampling.automaton import MOST_STATES
from textgen.sampling.regex import Regex

FEW = "\n-1ab"


def compiled(regex, characters=FEW, barred=""):
    """The pattern over characters, of which those barred are not to be drawn; <unk> is allowed."""
    codepoints = np.array(sorted(map(ord, set(characters))), dtype=np.uint32)
    allowed_V = np.array([True] + [chr(code) not in barred for code in codepoints])
    return Regex.compile(regex, codepoints, allowed_V)


def walked(pattern, length, characters=FEW):
    """Every text of at most length that allowed() leads through: whether it is accepted."""
    alphabet, found = sorted(set(characters)), {"": pattern.accepts(pattern.start)}
    texts, states = [""], np.array([pattern.start])
    if not (found[""] or pattern.allowed(states, length).any()):
        return {}
    for remaining in range(length, -1, -1):
        rows, ids = np.nonzero(pattern.allowed(states, remaining))
        assert (ids > 0).all()
        texts = [texts[row] + alphabet[one - 1] for row, one in zip(rows, ids, strict=True)]
        states = pattern.step(states[rows], ids)
        found |= {t: pattern.accepts(state) for t, state in zip(texts, states, strict=True)}
    return found


def expected(regex, length, characters=FEW, barred=""):
    """Every beginning of a text of at most length that re accepts: whether re accepts it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        judge = re.compile(regex)
    alphabet = sorted(set(characters) - set(barred))
    texts = ("".join(t) for n in range(length + 1) for t in product(alphabet, repeat=n))
    matches = {text for text in texts if judge.fullmatch(text)}
    return {text[:n]: text[:n] in matches for text in matches for n in range(len(text) + 1)}


def written(pattern, length, characters, seed):
    """A text drawn at random from what is allowed, until nothing is."""
    alphabet, chance = sorted(set(characters)), random.Random(seed)
    text, state = "", pattern.start
    pattern.check_length(length)
    for remaining in range(length, -1, -1):
        ids = np.flatnonzero(pattern.allowed(np.array([state]), remaining)[0])
        if not len(ids):
            assert pattern.accepts(state)
            return text
        chosen = chance.choice(ids.tolist())
        text += alphabet[chosen - 1]
        state = int(pattern.step(np.array([state]), np.array([chosen]))[0])
    raise AssertionError("a character was allowed beyond the length")


# What can be walked is what re accepts

pieces = st.sampled_from(
    ["a", "b", "1", "-", ".", "[ab]", "[^a]", r"\d", r"\w", r"\W", r"\s", r"\n", "(?s:.)", "(?i:A)"]
)
counts = st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "{0}", "*?", "{1,3}?"])


def larger(smaller):
    return st.one_of(
        st.tuples(smaller, smaller).map("".join),
        st.tuples(smaller, smaller).map("(%s|%s)".__mod__),
        st.tuples(smaller, counts).map("(?:%s)%s".__mod__),
        smaller.map("(?=%s)".__mod__),
        smaller.map("(?!%s)".__mod__),
    )


@given(st.recursive(pieces, larger, max_leaves=8), st.integers(0, 4))
def test_walks_are_the_beginnings_of_matches(regex, length):
    assert walked(compiled(regex), length) == expected(regex, length)


@pytest.mark.parametrize(
    "regex",
    [
        # characters and escapes
        *("", "a", r"\.", r"\-", r"\n", r"\x61", r"\u0061", r"\U00000061", r"\141", r"\0141", "\n"),
        *(r"\N{LATIN SMALL LETTER A}", "#", " ", "}", "]", "a}", "{", "{}", "a{}", "a{b}", "a{1"),
        *(r"\{1\}", "{a}{2}", "\ue000", "\ue000[ab]", "é", r"\é"),
        # . and the newline, kinds of characters, Unicode included
        *(".", ".*", "(?s).", "(?s:.).", r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", r"\w+\d"),
        # sets
        *("[ab]", "[a-é]", "[^a]", "[]a]", "[^]a]", r"[\]a]", "[-a]", "[a-]", r"[\w-]", "[[a]"),
        *(r"[\D\W]", r"[^\D\W]", r"[\s\S]", r"[^\s\S]", r"[\x61-\x62]", r"[\N{DIGIT ONE}]", "[.]"),
        *("[a&&b]", "[(?#]", "[$^]", r"[\\]", "[{}]", "[0-9]{2}", r"[\141]"),
        # groups and alternatives
        *("a|b", "a||b", "(a)(b)", "(?:a|b)1", "(?P<name>a)b", "(|a)b", "()", "(?:)a"),
        # counts
        *("a*", "a+b", "a?", "a{2}", "a{2,}", "a{,2}", "a{1,2}", "a{0}b", "a{,}", "a*?b", "a+?"),
        *("a??b", "a{1,2}?b", "(a*)*", "(a?){3}", "(a*)+", "(?:a|b){2}", "(a|ab)(b|1)*", "(a*b*)*"),
        # lookahead: at once, beyond its group, repeated with its group, inside another, at the end
        *("(?=a).*", "(?!a).*", "(?=.*b)a*b?", "(?!.*bb).*", "(?=ab)a.", "((?=a.*1)ab)1", "a(?=b)"),
        *("((?=.b)a)*b", "((?!aa).)*", "(?=(?!.b)a).*", "(?!(?=.b)a).*", "a(?!b)", "(?!)", "(?=)"),
        *("(?=a)(?=.b)..", "(?:(?=a)|(?=b)).", "((?=a*b)a)*b"),
        # flags
        *("(?i)A", "(?i)[A-B]", "(?i)É", "(?i)k", "(?i)[^k]", "(?i)ς", "(?i:A)B", "(?i)A(?-i:B)"),
        *("(?i)((?-i:A))", "(?i)(?s)A.", "(?si)A.", "(?i-s:A)", "(?m)a", "(?i)ß", "(?s-i:.)"),
        *(
            r"(?a)\w",
            r"(?a:\w)\w",
            r"(?a)(?u:\w)\w",
            r"(?ai)k",
            "(?u)a",
            "(?x) a b # c",
            "(?x: a)b",
        ),
        *("(?i)(?a:k)", r"(?i)[\W\d]", r"(?a)[^\w]"),
        # a count of lookaheads, a name beyond ASCII, many brackets
        *("(?=a)*a", "(?=a)+.", "(?!a)?.", "(?P<é>a)", "(" * 50 + "a" + ")" * 50),
        # anchors and comments
        *(
            "^a",
            "a$",
            "^a|b$",
            "^$",
            "^",
            "$",
            "^a|^b",
            "a$|b$",
            "(?i)^A",
            r"a\$",
            r"\^a",
            "a(?#b)*",
            "(?#[)a]",
            "(?#a)b",
        ),
    ],
)
def test_syntax_means_what_it_means_to_re(regex):
    characters = {*"\n 1abAé\u0663", *regex}  # with an Arabic three
    if "i" in regex:
        characters |= set("BÉkK\u212aςσß")  # with the sign for Kelvin
    assert walked(compiled(regex, characters), 3, characters) == expected(regex, 3, characters)


# Patterns that people write

ASCII = "\n" + string.printable[:95]


@pytest.mark.parametrize(
    ("regex", "length"),
    [
        ("[^eE]*", 60),
        (r"\d{4}-\d{2}-\d{2}", 10),
        (r"\d{4}-\d{2}-\d{2}", 500),
        ("Name: [A-Z][a-z]+\nAge: \\d{1,3}\n", 16),
        ("Name: [A-Z][a-z]+\nAge: \\d{1,3}\n", 60),
        (r"([^\n]{20,40}\n){4}", 84),
        (r"([^\n]{20,40}\n){4}", 120),
        (r"([^\n]{20,40}\n){4}", 1000),
        (".{50}", 50),
        (r"(?=.*word)(?!.*[eE]).{50}\.", 51),
        (r"((a|ab)(c|bcd)(d*))+x", 9),
    ],
)
def test_random_walks_end_in_a_match_within_the_length(regex, length):
    pattern = compiled(regex, ASCII)
    for seed in range(3):
        text = written(pattern, length, ASCII, seed)
        assert re.fullmatch(regex, text)
        assert len(text) <= length


@settings(max_examples=30)
@given(st.recursive(pieces, larger, max_leaves=12), st.integers(0, 30), st.integers(0, 9))
def test_random_walks_through_any_pattern_end_in_a_match(regex, length, seed):
    pattern = compiled(regex)
    try:
        pattern.check_length(length)
    except UsageError:
        return
    text = written(pattern, length, FEW, seed)
    assert re.fullmatch(regex, text)
    assert len(text) <= length


def test_a_text_goes_on_as_long_as_it_can():
    assert len(written(compiled("[^b]*"), 40, FEW, 1)) == 40


# Distances


@given(st.recursive(pieces, larger, max_leaves=8))
def test_reaches_knows_the_length_of_the_shortest_match(regex):
    pattern, judged = compiled(regex), expected(regex, 4)
    shortest = min((len(text) for text, matches in judged.items() if matches), default=5)
    for length in range(5):
        if length >= shortest:
            pattern.check_length(length)
        else:
            with pytest.raises(UsageError, match="--match"):
                pattern.check_length(length)


def test_too_small_a_length_is_said_with_the_one_that_is_needed():
    with pytest.raises(UsageError) as caught:
        compiled(r"\d{4}-\d{2}-\d{2}").check_length(9)
    assert caught.value.problem == r"'\d{4}-\d{2}-\d{2}' needs 10 characters, --length is 9"
    assert caught.value.fix == "give --length 10 or more"


@pytest.mark.parametrize("regex", ["x", "a+x", "[^-\n1ab]", "(?!a)a", "(?!)", r"[^\s\S]"])
def test_a_pattern_that_no_text_of_the_model_matches_is_said_at_once(regex):
    with pytest.raises(UsageError, match="no text of this model's characters") as caught:
        compiled(regex).check_length(10**9)
    assert caught.value.exit_code == 2


def test_the_shortest_way_counts_only_characters_that_may_be_drawn():
    compiled("ab|1{5}").check_length(2)
    with pytest.raises(UsageError, match="needs 5 characters"):
        compiled("ab|1{5}", barred="b").check_length(4)


@given(st.recursive(pieces, larger, max_leaves=6), st.sampled_from(FEW))
def test_barred_characters_are_never_allowed_nor_led_to(regex, barred):
    assert walked(compiled(regex, barred=barred), 3) == expected(regex, 3, barred=barred)


# States


def test_rows_are_judged_one_by_one():
    pattern = compiled("a(b1|1-)")
    first = pattern.start
    _, _, _, one, a, b = range(6)
    after_a = pattern.step(np.array([first, first]), np.array([a, a]))
    later = pattern.step(after_a, np.array([b, one]))
    allowed_BV = pattern.allowed(np.array([first, after_a[0], *later]), 3)
    assert allowed_BV.shape == (4, 6)
    assert [np.flatnonzero(row).tolist() for row in allowed_BV] == [[a], [one, b], [one], [2]]


def test_a_character_that_was_not_allowed_leads_nowhere():
    pattern = compiled("a*")
    state = pattern.step(np.array([pattern.start, pattern.start]), np.array([5, 0]))
    assert not pattern.allowed(state, 100).any()
    assert not pattern.accepts(state[0])
    assert not pattern.accepts(state[1])
    assert not pattern.allowed(pattern.step(state, np.array([4, 4])), 100).any()


def test_many_states_of_a_large_alphabet():
    characters = map(chr, range(0x4E00, 0x4E00 + 5000))
    pattern = compiled("[^一]{4000}", characters)
    allowed_BV = pattern.allowed(np.array([pattern.start] * 2), 4000)
    assert allowed_BV.sum(1).tolist() == [4999, 4999]
    assert not pattern.allowed(np.array([pattern.start]), 3999).any()


@pytest.mark.slow
def test_states_up_to_the_limit():
    pattern = compiled(f"a{{{MOST_STATES - 2}}}")
    pattern.check_length(MOST_STATES - 2)


# Errors


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        ("(a", r"'\(a' is malformed: missing \), unterminated subpattern"),
        ("[a", "unterminated character set"),
        ("a**", "multiple repeat"),
        ("*", "nothing to repeat"),
        ("{3}", "nothing to repeat"),
        ("a{2,1}", "min repeat greater than max repeat"),
        ("[b-a]", "bad character range"),
        ("\\", "bad escape"),
        (r"\y", "bad escape"),
        (r"\N{NO SUCH}", "undefined character name"),
        ("a(?i)", "global flags not at the start"),
        ("(?<n>a)", "unknown extension"),
        ("a{99999999999}", "repetition number is too large"),
        ("a{" + "9" * 5000 + "}", "malformed"),
        ("(?<=a)b", "looks behind"),
        ("(?<!a)b", "looks behind"),
        (r"(a)\1", "not supported: a reference to a group"),
        ("(?P<n>a)(?P=n)", "not supported: a reference to a group"),
        ("(a)?(?(1)b|1)", "not supported: a condition"),
        ("(?>a)b", "not supported: an atomic group"),
        ("(?L)a", "malformed: bad inline flags"),
        *((f"a{count}+a", "possessive") for count in ("*", "+", "?", "{1,2}")),
        *(
            (f"a{anchor}b", "not supported: an anchor")
            for anchor in (r"\b", r"\B", r"\A", r"\Z", "^", "$")
        ),
        (r"\Aa", "not supported"),
        ("(^a)", "not supported"),
        ("(" * 5000 + ")" * 5000, "nested too deeply"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_one_line(regex, words):
    with pytest.raises(UsageError, match=words) as caught:
        compiled(regex)
    error = caught.value
    assert error.exit_code == 2
    assert error.subject == "--match"
    assert error.problem.startswith(f"'{regex[:80]}")
    assert "\n" not in str(error)
    assert error.fix


@pytest.mark.slow
@pytest.mark.parametrize(
    "regex",
    [
        f"a{{{MOST_STATES - 1}}}",
        "a{100000}",
        "(a{1000}){1000}",
        "(){4000000000}",
        "(a|b)*a(a|b){30}",
        ".{0,9000}.{0,9000}",
        "(?=.*a.{20}b)(?=.*b.{20}a).*",
    ],
)
def test_what_is_too_large_is_refused(regex):
    with pytest.raises(UsageError, match=r"more than (20,000 states|3,000,000 steps)"):
        compiled(regex)


@example("(?#(?=)")
@given(st.lists(st.sampled_from([*"ab()[]{}\\?*+|.^$-2,#", "(?", "(?i)", "(?P<"])).map("".join))
def test_any_text_is_understood_as_re_does_or_refused(regex):
    try:
        pattern = compiled(regex)
    except UsageError:
        return
    assert walked(pattern, 2) == expected(regex, 2)


def test_an_error_stays_one_line_for_a_pattern_of_several():
    with pytest.raises(UsageError, match=r"'a\\n\(' is malformed") as caught:
        compiled("a\n(")
    assert "\n" not in str(caught.value)
