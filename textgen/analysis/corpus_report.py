"""What a text is, before anybody trains on it: its anatomy, its parts, what to expect and to set.

`textgen corpus report FILE` prints it. Everything is counted in the whole text that is given,
except what `baselines` measures, on parts of it that it states.

    >>> survey_of(read("corpus.txt"), "0.9,0.1").lines()
    [('text', 'corpus.txt, utf-8, 100 bytes'), ...]
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from textgen.analysis.baselines import XZ_PRESET, ZSTD_LEVEL, Baselines, measure_baselines
from textgen.analysis.overlap import Overlap, measure_overlap
from textgen.analysis.text_statistics import (
    TextStatistics,
    characters_of,
    described,
    statistics_of,
)
from textgen.data import RARE, SPAN_CHARS, Corpus, bounds_of_shares
from textgen.errors import counted

LIMIT = 50_000_000  # characters of a corpus that are looked at
MOST_SHOWN = 10  # examples on the terminal; anatomy.SHOWN in JSON
LONGEST_SHOWN = 60  # characters of the text in a line on the terminal
WORDS = {"train": "training", "val": "validation", "test": "test"}

LARGE_ALPHABET = 1_000
SHORT_TEXT = 100_000  # characters
SHORT_LINE, LONG_LINE = 40, 100  # characters
FEW_ITEMS = 20  # below them nothing is said about their form
LARGEST_ITEM = 5_000  # characters
ALIKE = 4  # a long item is at most so many times a short one
FEW_EMPTY = 0.002  # of the lines
MANY_REPEATED = 0.05  # of the lines
FLATTERING = 0.05  # of the spans, or of the lines of a list

Pairs = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class CorpusReport:
    """What a text is. Shares are of 1; bits are a character's unless they are said to be a byte's.

    facts: what the reader of the file knew. parts: their characters. missing: the characters of
    the held-out parts that the training part lacks, and how often they occur. overlaps: of the
    held-out parts that are not empty. suggestions: each with an "option" of `textgen train` and
    its reason under "because".
    """

    facts: dict[str, object]
    anatomy: TextStatistics
    parts: dict[str, int]
    missing: dict[str, dict[str, int]]
    overlaps: dict[str, Overlap]
    baselines: Baselines | None
    suggestions: list[dict[str, str]]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; of long lists and texts the beginning."""
        return {
            "text": dict(self.facts),
            **self.anatomy.to_json(),
            "parts": dict(self.parts),
            "missing": {
                part: {
                    "distinct": len(counts),
                    "count": sum(counts.values()),
                    "examples": described(counts),
                }
                for part, counts in self.missing.items()
            },
            "overlap": {part: found.to_json() for part, found in self.overlaps.items()},
            "baselines": self.baselines and self.baselines.to_json(),
            "suggestions": list(self.suggestions),
        }

    def lines(self) -> list[tuple[str, str]]:
        """Return it as (label, value); a label is empty where the one above goes on.

        Control characters of the text are as they are: the caller escapes them.
        """
        named = [str(self.facts[one]) for one in ("name", "encoding") if one in self.facts]
        if "bytes" in self.facts:
            named.append(f"{self.facts['bytes']:,} bytes")
        if self.facts.get("had_bom"):
            named.append("byte order mark dropped")
        if "surveyed" in self.facts:
            named.append(str(self.facts["surveyed"]))
        found = [("text", ", ".join(named))]
        for describe in (_character_lines, _line_lines, _form_lines):
            found += describe(self.anatomy)
        found += [*_part_lines(self), *_baseline_lines(self.baselines)]
        told = [f"{one['option']}: {one['because']}" for one in self.suggestions]
        return [*found, *_labelled("suggestion", told or ["none: the defaults suit it"])]


def report_on_corpus(text: Corpus, split: str) -> CorpusReport:
    """Return what a corpus is; of a very long one, what its beginning is, and that is said."""
    words = text.slice(0, LIMIT)
    facts: dict[str, object] = {
        "name": str(text.path),
        "bytes": text.size,
        "encoding": text.reading.encoding,
        "had_bom": text.had_bom,
    }
    if len(text) > LIMIT:
        facts["surveyed"] = f"the first {LIMIT:,} of {len(text):,} characters"
    return report_on_text(words, bounds_of_shares(len(words), split), facts)


def report_on_text(
    text: str, bounds: Mapping[str, tuple[int, int]], facts: Mapping[str, object]
) -> CorpusReport:
    """Return what a text is.

    bounds: where the parts "train", "val" and "test" begin and end. facts: its "name", "bytes",
    "encoding" and whether it "had_bom", as far as they are known.
    """
    parts = {name: text[slice(*bounds.get(name, (0, 0)))] for name in WORDS}
    train, held_out = parts["train"], {n: parts[n] for n in ("val", "test") if parts[n]}
    anatomy = statistics_of(text)
    overlaps = {name: measure_overlap(train, part) for name, part in held_out.items()}
    return CorpusReport(
        facts=dict(facts),
        anatomy=anatomy,
        parts={name: len(part) for name, part in parts.items()},
        missing={name: missing(train, part) for name, part in held_out.items()},
        overlaps=overlaps,
        baselines=measure_baselines(train, parts["val"], text),
        suggestions=[
            {"option": option, "because": because}
            for option, because in suggest(anatomy, overlaps.get("val"))
        ],
    )


def missing(train: str, part: str) -> dict[str, int]:
    """Return the characters of part that train lacks with their counts, the most frequent first."""
    counts, known = characters_of(part).counts, set(train)
    lacking = {one: number for one, number in counts.items() if one not in known}
    return dict(sorted(lacking.items(), key=lambda item: -item[1]))


def suggest(anatomy: TextStatistics, val: Overlap | None) -> Pairs:
    """Yield options that the text calls for and why; val: what the validation part shares."""
    characters, newlines = anatomy.characters, anatomy.newlines
    if len(characters.counts) > LARGE_ALPHABET:
        because = f"{len(characters.counts):,} different characters, {characters.rare:,} of them "
        because += f"less than {RARE} times; units that SentencePiece finds are another way"
        yield "--tokenizer byte", because
    if records := _records(anatomy):
        yield records
    if returns := newlines["CRLF"] + newlines["CR"]:
        because = f"{counted(returns, 'line')} with a carriage return at the end, which is learnt "
        yield "--newlines lf", because + "and written too"
    if several := len(anatomy.normalisation.spellings):
        yield "--normalize nfc", f"{counted(several, 'character')} written in more than one way"
    if val and (copied := _copied(anatomy, val)):
        because = f"{copied} of the validation part stand in the training part, which flatters "
        yield (
            "--val FILE",
            because
            + "its figure: remove what repeats, as --records does, or hold out another text",
        )
    if 0 < characters.number < SHORT_TEXT:
        because = f"{characters.number:,} characters are soon known by heart"
        yield "--minutes 1", because


def _records(anatomy: TextStatistics) -> tuple[str, str] | None:
    """Return which records the text seems to consist of."""
    lines, items = anatomy.lines, anatomy.items
    alike = items.long <= ALIKE * items.short and items.median <= LARGEST_ITEM
    if items.number >= FEW_ITEMS and items.median_lines >= 2 and alike:
        because = f"{items.number:,} items between blank lines, most of them of "
        return (
            "--records blank-line",
            because + f"{items.short:,.0f} to {items.long:,.0f} characters",
        )
    if _is_list(anatomy):
        because = f"{lines.number:,} lines of {lines.median:,.0f} characters (median)"
        return "--records lines", because + f", {_percent(lines.repeated_share)} of them repeated"
    return None


def _is_list(anatomy: TextStatistics) -> bool:
    """Tell whether lines seem to be items: short, and many of them repeated or none long."""
    lines = anatomy.lines
    if lines.number < FEW_ITEMS or lines.empty > FEW_EMPTY * lines.number:
        return False
    plain = lines.repeated_share >= MANY_REPEATED or lines.longest <= LONG_LINE
    return lines.median < SHORT_LINE and plain


def _copied(anatomy: TextStatistics, val: Overlap) -> str:
    """Return how much of the validation part flatters its figure, nothing if it is little."""
    if val.copied_spans_share >= FLATTERING:
        return f"{_percent(val.copied_spans_share)} of the spans of {SPAN_CHARS} characters"
    if _is_list(anatomy) and val.copied_lines_share >= FLATTERING:
        return f"{_percent(val.copied_lines_share)} of the lines"
    return ""


def _character_lines(anatomy: TextStatistics) -> Pairs:
    one = anatomy.characters
    yield "characters", f"{one.number:,}, {len(one.counts):,} different"
    rare = f"{counted(one.rare, 'character')}, {_percent(one.rare_share)} of the text"
    yield f"rarer than {RARE}", rare
    first = dict(itertools.islice(one.counts.items(), MOST_SHOWN))
    yield from _labelled("rarest", _named(first))
    yield "controls", f"tabs {one.tabs:,}, NUL {one.nuls:,}, other {one.controls - one.nuls:,}"


def _line_lines(anatomy: TextStatistics) -> Pairs:
    one, items = anatomy.lines, anatomy.items
    yield "lines", f"{one.number:,}, {one.empty:,} of them empty"
    where = f", line {one.longest_at:,}" if one.number else ""
    lengths = f"mean {one.mean:,.1f}, median {one.median:,g}, longest {one.longest:,}{where}"
    yield "line lengths", lengths
    repeated = f"{one.repeated:,}, {_percent(one.repeated_share)} of those not empty"
    if one.repeated:
        repeated += f"; {one.most_repeated_count:,} times: {_shortened(one.most_repeated)}"
    yield "lines repeated", repeated
    yield "trailing spaces", counted(one.trailing_space, "line")
    kinds = [f"{kind} {number:,}" for kind, number in anatomy.newlines.items() if number]
    kinds.append("one at the end" if anatomy.final_newline else "none at the end")
    yield "newlines", ", ".join(kinds)
    if items.number > 1:
        sizes = f"{items.short:,.0f} to {items.long:,.0f} characters"
        yield "between blanks", f"{items.number:,} items, most of {sizes}"


def _form_lines(anatomy: TextStatistics) -> Pairs:
    one = anatomy.normalisation
    changes = ", ".join(f"{form} {number:,}" for form, number in one.changed.items())
    is_nfc = "yes" if one.is_nfc else "no"
    yield "NFC", f"{is_nfc}; characters, each with its marks, that change: {changes}"
    ways = (" and ".join(_named(counted)) for counted in one.spellings[:MOST_SHOWN])
    yield from _labelled("in several ways", ways)


def _part_lines(found: CorpusReport) -> Pairs:
    sizes = (f"{WORDS[part]} {number:,}" for part, number in found.parts.items())
    yield "parts", ", ".join(sizes) + " characters"
    for part, counts in found.missing.items():
        one = found.overlaps[part]
        lacking = counted(len(counts), "character") if counts else "no characters"
        times = f", {counted(sum(counts.values()), 'time')}" if counts else ""
        yield WORDS[part], f"{lacking} that training lacks{times}"
        yield from (
            ("", value) for value in _named(dict(itertools.islice(counts.items(), MOST_SHOWN)))
        )
        spans, lines = _percent(one.copied_spans_share), _percent(one.copied_lines_share)
        yield (
            "",
            f"{spans} of its spans of {SPAN_CHARS} characters and {lines} of its lines "
            "are in training",
        )
        longest = f"longest span that is in training: {counted(one.longest, 'character')}"
        yield "", longest + (f": {_shortened(one.text)}" if one.text else "")


def _baseline_lines(one: Baselines | None) -> Pairs:
    if one is None:
        return
    measured = f"the first {one.val_chars:,} characters of validation"
    yield "to beat", f"bits a character (bits a byte) of {measured}"
    yield "n-grams", f"counted in the last {one.train_chars:,} characters of training"
    for order, bits in one.ngrams.items():
        yield f"after {order}", f"{bits:.3f} ({one.per_byte(bits):.3f})"
    for name, level in (("xz", XZ_PRESET), ("zstd", ZSTD_LEVEL)):
        added, whole = one.compressors[name], one.whole[name]
        if added is None:
            yield name, "not installed"
            continue
        figures = (
            f"{added:.3f} ({one.per_byte(added):.3f}) after the last {one.train_bytes:,} bytes"
        )
        figures += f" of training, level {level}"
        yield name, f"{figures}; {whole:.3f} for the text's first {one.whole_bytes:,} bytes"


def _labelled(label: str, values: Iterable[str]) -> Pairs:
    """Yield values, the first one with the label."""
    for i, value in enumerate(values):
        yield ("" if i else label), value


def _named(counts: Mapping[str, int]) -> list[str]:
    return [
        f"{one['text']} {one['code']} {one['name']}: {one['count']:,}"
        for one in described(dict(counts))
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + " ..."


def _percent(share: float) -> str:
    return "less than 0.01 %" if 0 < share < 1e-4 else f"{100 * share:.2f} %"
