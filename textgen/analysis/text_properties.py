r"""What can be said of each character of a text from the text alone: numbers that a unit may track.

A property has a value for each character, the one that holds once this character was read, as the
state of a network does. What opens is inside what it opens, what closes is outside. Values are 1
where the property holds and 0 elsewhere, or a number that grows.

| property | value |
|---|---|
| inside quotes | 1 after `"` `“` `„` `«` `»` until what closes it; `\"` and `'"'` do not count |
| inside parentheses | 1 between `(` and its `)` |
| inside square brackets | 1 between `[` and its `]` |
| depth of braces | how many `{` are open |
| inside a comment | 1 in `/* */`, in `<!-- -->`, and after `//` up to the end of the line |
| inside markup | 1 between `<` and `>` of a tag such as `<b>`, in one line |
| inside an address | 1 in what begins with `http://`, `https://` or `www.` |
| position in line | log2(1 + characters of the line so far), 0 at a newline |
| position in word | log2(1 + characters of the word so far), 0 outside of words |
| first line of a paragraph | 1 in a line at the text's beginning or below an empty line |
| indentation | 1 in the spaces and tabs that a line begins with |
| line end | 1 if the next character is a newline: to know it is to have predicted it |
| word start | 1 for the first character of a word |
| upper case | 1 for a capital letter |
| digit | 1 for a digit |

Words are made of letters, digits and underscores. Quotes, parentheses and square brackets that were
never closed end at an empty line; braces do not, since those of source code reach further.

    >>> PROPERTIES[0].name, PROPERTIES[0].measure('a "b" c')
    ('inside quotes', array([0., 0., 1., 1., 0., 0., 0.]))
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

# What closes a quotation, by what opened it: in English, in German and in French, the straight one.
CLOSING = {'"': '"', "“": "”", "„": "“”", "«": "»", "»": "«"}
EMPTY_LINE = r"\n[ \t]*\n"
QUOTES = re.compile(rf"""\\.|'"'|["“”„«»]|{EMPTY_LINE}""")
COMMENT = re.compile(r"/\*.*?\*/|<!--.*?-->|(?<![:\w])//[^\n]*\n?", re.DOTALL)
MARKUP = re.compile(r"</?[A-Za-z][^<>\n]*>")
ADDRESS = re.compile(r"(?:https?://|\bwww\.)[^\s<>\"\]]+")
LINE = re.compile(r"[^\n]+")
WORD_CHARS = re.compile(r"\w+")
FIRST_LINE = re.compile(r"(?:\A|(?<=\n\n))[^\n]+")
INDENTATION = re.compile(r"^[ \t]+", re.MULTILINE)


class TextProperty(NamedTuple):
    """Something that a unit may track.

    Attributes:
        name: what it is called.
        meaning: when it holds, or how it grows, as the rest of a sentence.
        measure: returns its values (T,) over the characters of a text; 0 where it does not hold.
    """

    name: str
    meaning: str
    measure: Callable[[str], np.ndarray]


def measure_quotes(text: str) -> np.ndarray:
    """Return 1 inside of quotation marks."""
    events, closing = list[tuple[int, float]](), ""
    for match in QUOTES.finditer(text):
        mark = match[0]
        if mark in closing or mark[0] == "\n":
            closing = ""
        elif not closing:
            closing = CLOSING.get(mark, "")
        events.append((match.end() - 1, float(bool(closing))))
    return _hold(events, len(text))


def measure_depth(text: str, pair: str, ends_at_empty_line: bool) -> np.ndarray:
    """Return how many of an opening bracket are open; pair: it and what closes it."""
    events, depth = list[tuple[int, float]](), 0
    pattern = f"[{re.escape(pair)}]" + (f"|{EMPTY_LINE}" if ends_at_empty_line else "")
    for match in re.finditer(pattern, text):
        if match[0] == pair[0]:
            depth += 1
        else:
            depth = max(0, depth - 1) if match[0] == pair[1] else 0
        events.append((match.end() - 1, float(depth)))
    return _hold(events, len(text))


def measure_inside(text: str, pattern: re.Pattern[str]) -> np.ndarray:
    """Return 1 in what a pattern finds."""
    return _hold(_spans(pattern, text, 0), len(text))


def measure_enclosed(text: str, pattern: re.Pattern[str]) -> np.ndarray:
    """Return 1 in what a pattern finds, but its last character, which closes it."""
    return _hold(_spans(pattern, text, 1), len(text))


def measure_position(text: str, pattern: re.Pattern[str]) -> np.ndarray:
    """Return log2(1 + characters so far) in what a pattern finds."""
    values_T = np.zeros(len(text))
    for match in pattern.finditer(text):
        values_T[match.start() : match.end()] = np.arange(1, 1 + len(match[0]))
    return np.log2(1 + values_T)


def measure_line_end(text: str) -> np.ndarray:
    """Return 1 where a newline follows."""
    return np.array([character == "\n" for character in text[1:]] + [False], float)[: len(text)]


def measure_word_start(text: str) -> np.ndarray:
    """Return 1 for the first character of each word."""
    values_T = np.zeros(len(text))
    values_T[[match.start() for match in WORD_CHARS.finditer(text)]] = 1
    return values_T


def measure_kind(text: str, is_so: Callable[[str], bool]) -> np.ndarray:
    """Return 1 for the characters of which something is so."""
    return np.fromiter(map(is_so, text), float, len(text))


def _spans(pattern: re.Pattern[str], text: str, less: int) -> Iterable[tuple[int, float]]:
    """Yield the beginnings of what a pattern finds as 1, and the ends, so much earlier, as 0."""
    for match in pattern.finditer(text):
        yield match.start(), 1.0
        yield match.end() - less, 0.0


def _hold(events: Iterable[tuple[int, float]], length: int) -> np.ndarray:
    """Return (T,): from the place of each event on its value, until the next one's; first 0."""
    values_T = np.zeros(length)
    for (start, value), (end, _) in itertools.pairwise([*events, (length, 0.0)]):
        values_T[start:end] = value
    return values_T


PROPERTIES = (
    TextProperty("inside quotes", "a quotation is open", measure_quotes),
    TextProperty(
        "inside parentheses",
        "a parenthesis ( is open",
        lambda text: np.minimum(measure_depth(text, "()", True), 1),
    ),
    TextProperty(
        "inside square brackets",
        "a bracket [ is open",
        lambda text: np.minimum(measure_depth(text, "[]", True), 1),
    ),
    TextProperty(
        "depth of braces",
        "how many braces { are open",
        lambda text: measure_depth(text, "{}", False),
    ),
    TextProperty(
        "inside a comment",
        "a comment /* */, // or <!-- --> is open",
        lambda text: measure_enclosed(text, COMMENT),
    ),
    TextProperty(
        "inside markup",
        "a tag such as <b> is open",
        lambda text: measure_enclosed(text, MARKUP),
    ),
    TextProperty(
        "inside an address",
        "an address such as https://… is being read",
        lambda text: measure_inside(text, ADDRESS),
    ),
    TextProperty(
        "position in line",
        "how far from the beginning of its line, as a logarithm",
        lambda text: measure_position(text, LINE),
    ),
    TextProperty(
        "position in word",
        "how far from the beginning of its word, as a logarithm; 0 outside of words",
        lambda text: measure_position(text, WORD_CHARS),
    ),
    TextProperty(
        "first line of a paragraph",
        "the line stands at the beginning or below an empty line",
        lambda text: measure_inside(text, FIRST_LINE),
    ),
    TextProperty(
        "indentation",
        "only spaces and tabs were read of the line",
        lambda text: measure_inside(text, INDENTATION),
    ),
    TextProperty("line end", "the next character is a newline", measure_line_end),
    TextProperty("word start", "the character begins a word", measure_word_start),
    TextProperty("upper case", "a capital letter", lambda text: measure_kind(text, str.isupper)),
    TextProperty("digit", "a digit", lambda text: measure_kind(text, str.isdigit)),
)
