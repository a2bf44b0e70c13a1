r"""What a text is made of: its characters, its lines, its newlines and its Unicode form.

Only "\n" ends a line here; a "\r" before it is not the line's.

    >>> lines_of("one\ntwo\none\n").repeated
    1
"""

from __future__ import annotations

import functools
import itertools
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from textgen.data import RARE
from textgen.tokenizers import CharTokenizer, code_points

Form = Literal["NFC", "NFD", "NFKC"]

MOST_EXAMPLES = 100  # examples in a list of JSON
LONGEST_EXAMPLE = 1_000  # characters of the text in a value of JSON
UNICODE_FORMS: tuple[Form, ...] = ("NFC", "NFD", "NFKC")
LABELS = {"Cc": "control", "Cn": "unassigned", "Co": "private use", "Cs": "surrogate"}
BREAKS = {"VT": "\x0b", "FF": "\x0c", "NEL": "\x85", "U+2028": "\u2028", "U+2029": "\u2029"}


@dataclass(frozen=True)
class Characters:
    """The characters of a text.

    counts: of each, the rarest first. rare: how many occur less than RARE times; rare_share: the
    share of the text that these are together. controls: C0 and C1 controls, NUL too, without tab,
    line feed and carriage return.
    """

    number: int
    counts: dict[str, int]
    rare: int
    rare_share: float
    tabs: int
    nuls: int
    controls: int


@dataclass(frozen=True)
class Lines:
    """The lines of a text; the lengths are characters, without what ends the line.

    longest_at: its number, the first line is 1; 0 where there is no line. repeated: lines that
    are not empty and have stood before; repeated_share: of the lines that are not empty.
    most_repeated: the line that occurs most often, and how often. trailing_space: lines that end
    in a blank or a tab.
    """

    number: int
    empty: int
    mean: float
    median: float
    longest: int
    longest_at: int
    repeated: int
    repeated_share: float
    most_repeated: str
    most_repeated_count: int
    trailing_space: int


@dataclass(frozen=True)
class Items:
    """What stands between blank lines, which may hold blanks and tabs; sizes are characters.

    short and long: a tenth of the items is below and above. median_lines: the median of their
    numbers of lines.
    """

    number: int
    short: float
    median: float
    long: float
    median_lines: float


@dataclass(frozen=True)
class Normalisation:
    """What Unicode's normal forms would change; the unit is a character with the marks on it.

    changed: how many of them each form changes. spellings: for each of those that are written in
    several ways which NFC makes one, these ways and their counts.
    """

    is_nfc: bool
    changed: dict[str, int]
    spellings: list[dict[str, int]]


@dataclass(frozen=True)
class TextStatistics:
    """All of it. newlines: how many of each kind; final_newline: whether the last line has one."""

    characters: Characters
    lines: Lines
    newlines: dict[str, int]
    final_newline: bool
    items: Items
    normalisation: Normalisation

    def to_json(self) -> dict[str, Any]:
        """Return all figures, and at most SHOWN examples of each kind."""
        made = asdict(self)
        counts = made["characters"].pop("counts")
        made["characters"] |= {"distinct": len(counts), "rarest": described(counts)}
        made["lines"]["most_repeated"] = self.lines.most_repeated[:LONGEST_EXAMPLE]
        spellings = made["normalisation"].pop("spellings")
        made["normalisation"]["in_several_spellings"] = len(spellings)
        made["normalisation"]["spellings"] = [described(one) for one in spellings[:MOST_EXAMPLES]]
        return made


def statistics_of(text: str) -> TextStatistics:
    """Return what a text is made of."""
    characters = characters_of(text)
    return TextStatistics(
        characters=characters,
        lines=lines_of(text),
        newlines=newlines_of(text),
        final_newline=text.endswith(("\n", "\r")),
        items=items_between_blanks(text),
        normalisation=normalisation_of(text, characters.counts),
    )


def described(counts: dict[str, int]) -> list[dict[str, Any]]:
    """Return the first SHOWN of counted characters with their code points and Unicode names."""
    first = itertools.islice(counts.items(), MOST_EXAMPLES)
    return [
        {"text": one, "code": code_of(one), "name": name_of(one), "count": number}
        for one, number in first
    ]


def characters_of(text: str) -> Characters:
    """Return which characters a text has, and how many of each."""
    tokenizer = CharTokenizer.from_text(text)
    counted = zip(tokenizer.counts[1:].tolist(), tokenizer.alphabet, strict=True)
    counts = {character: count for count, character in sorted(counted)}
    rare = [count for count in counts.values() if count < RARE]
    controls = {one for one in counts if unicodedata.category(one) == "Cc"} - set("\t\n\r")
    return Characters(
        number=len(text),
        counts=counts,
        rare=len(rare),
        rare_share=sum(rare) / max(1, len(text)),
        tabs=counts.get("\t", 0),
        nuls=counts.get("\0", 0),
        controls=sum(counts[one] for one in controls),
    )


def name_of(text: str) -> str:
    """Return the Unicode names of characters; of one without a name, what kind it is."""
    kinds = [LABELS.get(unicodedata.category(one), "unnamed") for one in text]
    named = zip(text, kinds, strict=True)
    return ", ".join(unicodedata.name(one, f"<{kind}>") for one, kind in named)


def code_of(text: str) -> str:
    """Return the code points of a text as Unicode writes them: U+0065 U+0301."""
    return " ".join(f"U+{ord(character):04X}" for character in text)


def newlines_of(text: str) -> dict[str, int]:
    """Return how often each kind of newline occurs; the parts of a CRLF are not counted again."""
    both = text.count("\r\n")
    found = {"LF": text.count("\n") - both, "CRLF": both, "CR": text.count("\r") - both}
    return found | {name: text.count(character) for name, character in BREAKS.items()}


def split_lines(text: str) -> list[str]:
    """Return the lines of a text without what ends them."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def lines_of(text: str) -> Lines:
    """Return how the lines of a text are."""
    lines = split_lines(text)
    lengths = np.fromiter(map(len, lines), np.int64, len(lines))
    full = Counter(lines)
    empty = full.pop("", 0)
    repeated = full.total() - len(full)
    line, count = full.most_common(1)[0] if repeated else ("", 0)
    return Lines(
        number=len(lines),
        empty=empty,
        mean=float(lengths.mean()) if lines else 0.0,
        median=float(np.median(lengths)) if lines else 0.0,
        longest=int(lengths.max()) if lines else 0,
        longest_at=int(lengths.argmax()) + 1 if lines else 0,
        repeated=repeated,
        repeated_share=repeated / max(1, full.total()),
        most_repeated=line,
        most_repeated_count=count,
        trailing_space=sum(n for line, n in full.items() if line[-1] in " \t"),
    )


def items_between_blanks(text: str) -> Items:
    """Return how the items are that blank lines separate."""
    lines = split_lines(text)
    lengths = np.fromiter(map(len, lines), np.int64, len(lines))
    blank = np.array([not line.strip(" \t") for line in lines], dtype=bool)
    first = np.flatnonzero(~blank & np.append(True, blank[:-1])[: len(blank)])
    if not len(first):
        return Items(0, 0.0, 0.0, 0.0, 0.0)
    number = np.add.reduceat((~blank).astype(np.int64), first)
    sizes = np.add.reduceat(np.where(blank, 0, lengths + 1), first) - 1
    short, median, long = np.percentile(sizes, [10, 50, 90]).tolist()
    return Items(len(first), short, median, long, float(np.median(number)))


def normalisation_of(text: str, counts: dict[str, int]) -> Normalisation:
    """Return what normal forms would change; counts: of each character of the text."""
    found = segments(text, counts)
    changed: dict[str, int] = {
        form: sum(n for one, n in found.items() if unicodedata.normalize(form, one) != one)
        for form in UNICODE_FORMS
    }
    ways: dict[str, dict[str, int]] = {}
    for one, number in found.items():
        ways.setdefault(unicodedata.normalize("NFC", one), {})[one] = number
    several = [counted for counted in ways.values() if len(counted) > 1]
    several.sort(key=lambda counted: min(counted.values()), reverse=True)
    return Normalisation(not changed["NFC"], changed, several)


def segments(text: str, counts: dict[str, int]) -> Counter[str]:
    """Return the text's characters, each with the marks that follow it, and how often they occur.

    Normal forms leave the borders between them alone: the form of a text is made of theirs.
    """
    single = Counter(counts)
    if text.isascii():
        return single
    joining = np.zeros(sys.maxunicode + 1, dtype=bool)
    joining[[ord(one) for one in counts if _joins(one)]] = True
    after = np.flatnonzero(joining[code_points(text)])
    first = np.diff(after, prepend=-2) > 1
    last = np.diff(after, append=len(text) + 1) > 1
    begins, ends = np.maximum(after[first] - 1, 0), after[last] + 1
    marked = Counter(text[a:b] for a, b in zip(begins.tolist(), ends.tolist(), strict=True))
    for one, number in marked.items():
        for character in one:
            single[character] -= number
    return +single + marked


def _joins(character: str) -> bool:
    """Tell whether normalising may join the character to the one before it, or move it there."""
    forms = (unicodedata.normalize(form, character)[0] for form in ("NFD", "NFKD"))
    return any(unicodedata.combining(one) or one in _seconds() for one in forms)


@functools.cache
def _seconds() -> frozenset[str]:
    """Return the characters that may be the later one of two that are composed."""
    pairs: Iterable[list[str]] = map(
        str.split, map(unicodedata.decomposition, map(chr, range(sys.maxunicode + 1)))
    )
    found = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and pair[0][0] != "<"}
    jamo = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))  # composed by arithmetic
    return frozenset(found | set(map(chr, jamo)))
