r"""What a text is made of: its characters, its lines, its newlines and its Unicode form.

Only "\n" ends a line here; a "\r" before it is not the line's.

    >>> measure_lines("one\ntwo\none\n").repeated
    1
"""

from __future__ import annotations

import itertools
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from textgen.data import RARE, joins_previous
from textgen.tokenizers import CharTokenizer, code_points

Form = Literal["NFC", "NFD", "NFKC"]

# Of a list in JSON.
MOST_EXAMPLES = 100
# Characters of the text in a value of JSON.
LONGEST_EXAMPLE = 1_000
UNICODE_FORMS: tuple[Form, ...] = ("NFC", "NFD", "NFKC")
CATEGORY_NAMES = {"Cc": "control", "Cn": "unassigned", "Co": "private use", "Cs": "surrogate"}
OTHER_NEWLINES = {"VT": "\x0b", "FF": "\x0c", "NEL": "\x85", "U+2028": "\u2028", "U+2029": "\u2029"}


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
    are not empty and have occurred before; repeated_share: of the lines that are not empty.
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
        """Return all figures, and at most MOST_EXAMPLES examples of each kind."""
        figures = asdict(self)
        counts = figures["characters"].pop("counts")
        figures["characters"] |= {"distinct": len(counts), "rarest": describe_characters(counts)}
        figures["lines"]["most_repeated"] = self.lines.most_repeated[:LONGEST_EXAMPLE]
        spellings = figures["normalisation"].pop("spellings")
        figures["normalisation"]["in_several_spellings"] = len(spellings)
        figures["normalisation"]["spellings"] = [
            describe_characters(counts) for counts in spellings[:MOST_EXAMPLES]
        ]
        return figures


def measure_statistics(text: str) -> TextStatistics:
    """Return what a text is made of."""
    characters = measure_characters(text)
    return TextStatistics(
        characters=characters,
        lines=measure_lines(text),
        newlines=count_newlines(text),
        final_newline=text.endswith(("\n", "\r")),
        items=measure_items(text),
        normalisation=measure_normalisation(text, characters.counts),
    )


def describe_characters(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the first MOST_EXAMPLES of counted characters with their code points and names."""
    first = itertools.islice(counts.items(), MOST_EXAMPLES)
    return [
        {"text": text, "code": code_points_of(text), "name": names_of(text), "count": count}
        for text, count in first
    ]


def measure_characters(text: str) -> Characters:
    """Return which characters a text has, and how many of each."""
    tokenizer = CharTokenizer.from_text(text)
    counted = zip(tokenizer.counts[1:].tolist(), tokenizer.alphabet, strict=True)
    counts = {character: count for count, character in sorted(counted)}
    rare = [count for count in counts.values() if count < RARE]
    controls = {character for character in counts if unicodedata.category(character) == "Cc"}
    return Characters(
        number=len(text),
        counts=counts,
        rare=len(rare),
        rare_share=sum(rare) / max(1, len(text)),
        tabs=counts.get("\t", 0),
        nuls=counts.get("\0", 0),
        controls=sum(counts[character] for character in controls - set("\t\n\r")),
    )


def names_of(text: str) -> str:
    """Return the Unicode names of characters; of one without a name, what kind it is."""
    kinds = [CATEGORY_NAMES.get(unicodedata.category(character), "unnamed") for character in text]
    with_kinds = zip(text, kinds, strict=True)
    return ", ".join(unicodedata.name(character, f"<{kind}>") for character, kind in with_kinds)


def code_points_of(text: str) -> str:
    """Return the code points of a text as Unicode writes them: U+0065 U+0301."""
    return " ".join(f"U+{ord(character):04X}" for character in text)


def count_newlines(text: str) -> dict[str, int]:
    """Return how often each kind of newline occurs; the parts of a CRLF are not counted again."""
    both = text.count("\r\n")
    counts = {"LF": text.count("\n") - both, "CRLF": both, "CR": text.count("\r") - both}
    return counts | {name: text.count(character) for name, character in OTHER_NEWLINES.items()}


def split_lines(text: str) -> list[str]:
    """Return the lines of a text without what ends them."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def measure_lines(text: str) -> Lines:
    """Return how many lines a text has, how long they are and which come back."""
    lines = split_lines(text)
    lengths = np.fromiter(map(len, lines), np.int64, len(lines))
    not_empty = Counter(lines)
    empty = not_empty.pop("", 0)
    repeated = not_empty.total() - len(not_empty)
    most_repeated, most_repeated_count = not_empty.most_common(1)[0] if repeated else ("", 0)
    return Lines(
        number=len(lines),
        empty=empty,
        mean=float(lengths.mean()) if lines else 0.0,
        median=float(np.median(lengths)) if lines else 0.0,
        longest=int(lengths.max()) if lines else 0,
        longest_at=int(lengths.argmax()) + 1 if lines else 0,
        repeated=repeated,
        repeated_share=repeated / max(1, not_empty.total()),
        most_repeated=most_repeated,
        most_repeated_count=most_repeated_count,
        trailing_space=sum(count for line, count in not_empty.items() if line[-1] in " \t"),
    )


def measure_items(text: str) -> Items:
    """Return how many items blank lines separate, and how large they are."""
    lines = split_lines(text)
    lengths = np.fromiter(map(len, lines), np.int64, len(lines))
    is_blank = np.array([not line.strip(" \t") for line in lines], dtype=bool)
    follows_blank = np.append(True, is_blank[:-1])[: len(is_blank)]
    first = np.flatnonzero(~is_blank & follows_blank)
    if not len(first):
        return Items(0, 0.0, 0.0, 0.0, 0.0)
    line_counts = np.add.reduceat((~is_blank).astype(np.int64), first)
    # A newline after each line but the last.
    sizes = np.add.reduceat(np.where(is_blank, 0, lengths + 1), first) - 1
    short, median, long = np.percentile(sizes, [10, 50, 90]).tolist()
    return Items(len(first), short, median, long, float(np.median(line_counts)))


def measure_normalisation(text: str, counts: dict[str, int]) -> Normalisation:
    """Return what normal forms would change; counts: of each character of the text."""
    segments = count_segments(text, counts)
    changed: dict[str, int] = {
        form: sum(
            count
            for segment, count in segments.items()
            if unicodedata.normalize(form, segment) != segment
        )
        for form in UNICODE_FORMS
    }
    by_nfc: dict[str, dict[str, int]] = {}
    for segment, count in segments.items():
        by_nfc.setdefault(unicodedata.normalize("NFC", segment), {})[segment] = count
    spellings = [counts for counts in by_nfc.values() if len(counts) > 1]
    spellings.sort(key=lambda counts: min(counts.values()), reverse=True)
    return Normalisation(not changed["NFC"], changed, spellings)


def count_segments(text: str, counts: dict[str, int]) -> Counter[str]:
    """Return the text's characters, each with the marks that follow it, and how often they occur.

    Normal forms leave the borders between them alone: the form of a text is made of theirs.
    """
    single = Counter(counts)
    if text.isascii():
        return single
    is_joining = np.zeros(sys.maxunicode + 1, dtype=bool)
    is_joining[[ord(character) for character in counts if joins_previous(character)]] = True
    # A run of joining characters belongs to the character before it.
    joining = np.flatnonzero(is_joining[code_points(text)])
    first = np.diff(joining, prepend=-2) > 1
    last = np.diff(joining, append=len(text) + 1) > 1
    starts, ends = np.maximum(joining[first] - 1, 0), joining[last] + 1
    marked = Counter(
        text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )
    for segment, count in marked.items():
        for character in segment:
            single[character] -= count
    return +single + marked
