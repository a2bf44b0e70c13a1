"""What a text is, before anybody trains on it: statistics, parts, what to expect and to set.

`textgen corpus report FILE` prints it. Everything is counted in the whole text that is given,
except what `baselines` measures, on parts of it that it states.

    >>> report_on_corpus(read("corpus.txt"), "0.9,0.1").lines()
    [('text', 'corpus.txt, utf-8, 100 bytes'), ...]
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from textgen.analysis.baselines import (
    MOST_MEASURED,
    XZ_PRESET,
    ZSTD_LEVEL,
    Baselines,
    measure_baselines,
)
from textgen.analysis.overlap import Overlap, measure_overlap
from textgen.analysis.text_statistics import (
    TextStatistics,
    describe_characters,
    measure_characters,
    measure_statistics,
)
from textgen.data import RARE, SPAN_CHARS, Corpus, Split
from textgen.errors import counted

# Characters of a corpus that are looked at: a minute's work, and a few hundred MB.
MOST_REPORTED_CHARS = 50_000_000
# Examples on the terminal; JSON has `text_statistics.MOST_EXAMPLES`.
MOST_SHOWN = 10
# Characters of the text in a line on the terminal.
LONGEST_SHOWN = 60
PART_NAMES = {"train": "training", "val": "validation", "test": "test"}

# Where advice begins. Lengths are characters, shares are of 1; the figures are rules of thumb.
LARGE_ALPHABET = 1_000
SHORT_TEXT = 100_000
SHORT_LINE, LONG_LINE = 40, 100
LARGEST_ITEM = 5_000
# Below so many items, or lines, nothing is said about their form.
FEW_ITEMS = 20
# Items are alike where a long one is at most so many times a short one.
ALIKE = 4
# Of the lines: in a list next to none is empty.
FEW_EMPTY = 0.002
# Of the lines: in running text hardly any comes back.
MANY_REPEATED = 0.05
# Of the spans, or of the lines of a list: from there a figure flatters visibly.
FLATTERING = 0.05

LabelledLines = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class TextSource:
    """Where a text came from: its size in bytes, its encoding, and what of it was looked at.

    surveyed: "the first ... of ... characters", None where it is the whole text.
    """

    name: str
    bytes: int
    encoding: str
    had_bom: bool = False
    surveyed: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all that is known."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class Suggestion(NamedTuple):
    """An option of `textgen train` and why the text calls for it."""

    option: str
    because: str


@dataclass(frozen=True)
class CorpusReport:
    """What a text is. Shares are of 1; bits are a character's unless they are said to be a byte's.

    parts: their characters. missing: the characters of the held-out parts that the training part
    lacks, and how often they occur. overlaps: of the held-out parts that are not empty.
    """

    source: TextSource
    statistics: TextStatistics
    parts: dict[str, int]
    missing: dict[str, dict[str, int]]
    overlaps: dict[str, Overlap]
    baselines: Baselines | None
    suggestions: list[Suggestion]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; of long lists and texts the beginning."""
        return {
            "text": self.source.to_json(),
            **self.statistics.to_json(),
            "parts": dict(self.parts),
            "missing": {
                part: {
                    "distinct": len(counts),
                    "count": sum(counts.values()),
                    "examples": describe_characters(counts),
                }
                for part, counts in self.missing.items()
            },
            "overlap": {part: overlap.to_json() for part, overlap in self.overlaps.items()},
            "baselines": self.baselines and self.baselines.to_json(),
            "suggestions": [suggestion._asdict() for suggestion in self.suggestions],
        }

    def lines(self) -> list[tuple[str, str]]:
        """Return it as (label, value); a label is empty where the one above continues.

        Control characters of the text are as they are: the caller escapes them.
        """
        return [
            *_source_lines(self.source),
            *_character_lines(self.statistics),
            *_line_lines(self.statistics),
            *_form_lines(self.statistics),
            *_part_lines(self),
            *_baseline_lines(self.baselines),
            *_suggestion_lines(self.suggestions),
        ]


def report_on_corpus(text: Corpus, split: str) -> CorpusReport:
    """Return what a corpus is; of a very long one, what its beginning is, and that is said.

    Args:
        text: the corpus.
        split: the shares of its parts, as `--split` takes them: "0.9,0.05,0.05".
    """
    beginning = text.slice(0, MOST_REPORTED_CHARS)
    is_whole = len(text) <= MOST_REPORTED_CHARS
    surveyed = f"the first {MOST_REPORTED_CHARS:,} of {len(text):,} characters"
    source = TextSource(
        name=str(text.path),
        bytes=text.size,
        encoding=text.text_format.encoding,
        had_bom=text.had_bom,
        surveyed=None if is_whole else surveyed,
    )
    return report_on_text(beginning, Split(split).bounds(len(beginning)), source)


def report_on_text(
    text: str,
    bounds: Mapping[str, tuple[int, int]],
    source: TextSource,
    most_measured: int = MOST_MEASURED,
) -> CorpusReport:
    """Return what a text is.

    Args:
        text: all of it.
        bounds: where the parts "train", "val" and "test" begin and end.
        source: where it came from.
        most_measured: characters of the validation part that baselines are measured on.
    """
    parts = {name: text[slice(*bounds.get(name, (0, 0)))] for name in PART_NAMES}
    train, held_out = parts["train"], {n: parts[n] for n in ("val", "test") if parts[n]}
    statistics = measure_statistics(text)
    overlaps = {name: measure_overlap(train, part) for name, part in held_out.items()}
    return CorpusReport(
        source=source,
        statistics=statistics,
        parts={name: len(part) for name, part in parts.items()},
        missing={name: count_missing(train, part) for name, part in held_out.items()},
        overlaps=overlaps,
        baselines=measure_baselines(train, parts["val"][:most_measured], text),
        suggestions=list(suggest(statistics, overlaps.get("val"))),
    )


def count_missing(train: str, part: str) -> dict[str, int]:
    """Return the characters of part that train lacks with their counts, the most frequent first."""
    counts, known = measure_characters(part).counts, set(train)
    missing = {character: count for character, count in counts.items() if character not in known}
    return dict(sorted(missing.items(), key=lambda item: -item[1]))


def suggest(statistics: TextStatistics, val: Overlap | None) -> Iterator[Suggestion]:
    """Yield options that the text calls for and why; val: what the validation part shares."""
    characters, newlines = statistics.characters, statistics.newlines
    if len(characters.counts) > LARGE_ALPHABET:
        yield Suggestion(
            "--tokenizer byte",
            f"{len(characters.counts):,} different characters, {characters.rare:,} of them less "
            f"than {RARE} times; or try units that SentencePiece learns",
        )
    if records := _suggest_records(statistics):
        yield records
    if returns := newlines["CRLF"] + newlines["CR"]:
        yield Suggestion(
            "--newlines lf",
            f"{counted(returns, 'line')} with a carriage return at the end, which is learnt and "
            "written too",
        )
    if several := len(statistics.normalisation.spellings):
        because = f"{counted(several, 'character')} written in more than one way"
        yield Suggestion("--normalize nfc", because)
    if val and (copied := _flattering(statistics, val)):
        yield Suggestion(
            "--val FILE",
            f"{copied} of the validation part stand in the training part, which flatters its "
            "figure: remove what repeats, as --records does, or hold out another text",
        )
    if 0 < characters.number < SHORT_TEXT:
        yield Suggestion("--minutes 1", f"{characters.number:,} characters are soon memorised")


def _suggest_records(statistics: TextStatistics) -> Suggestion | None:
    """Return which records the text seems to consist of."""
    lines, items = statistics.lines, statistics.items
    are_alike = items.long <= ALIKE * items.short and items.median <= LARGEST_ITEM
    if items.number >= FEW_ITEMS and items.median_lines >= 2 and are_alike:
        sizes = f"{items.short:,.0f} to {items.long:,.0f} characters"
        because = f"{items.number:,} items between blank lines, most of them of {sizes}"
        return Suggestion("--records blank-line", because)
    if _is_list(statistics):
        because = f"{lines.number:,} lines of {lines.median:,.0f} characters (median), "
        because += f"{_percent(lines.repeated_share)} of them repeated"
        return Suggestion("--records lines", because)
    return None


def _is_list(statistics: TextStatistics) -> bool:
    """Tell whether lines seem to be items: short, and many of them repeated or none long."""
    lines = statistics.lines
    if lines.number < FEW_ITEMS or lines.empty > FEW_EMPTY * lines.number:
        return False
    is_plain = lines.repeated_share >= MANY_REPEATED or lines.longest <= LONG_LINE
    return lines.median < SHORT_LINE and is_plain


def _flattering(statistics: TextStatistics, val: Overlap) -> str:
    """Return how much of the validation part flatters its figure, nothing if it is little."""
    if val.copied_spans_share >= FLATTERING:
        return f"{_percent(val.copied_spans_share)} of the spans of {SPAN_CHARS} characters"
    if _is_list(statistics) and val.copied_lines_share >= FLATTERING:
        return f"{_percent(val.copied_lines_share)} of the lines"
    return ""


def _source_lines(source: TextSource) -> LabelledLines:
    values = [source.name, source.encoding, f"{source.bytes:,} bytes"]
    if source.had_bom:
        values.append("byte order mark dropped")
    if source.surveyed:
        values.append(source.surveyed)
    yield "text", ", ".join(values)


def _character_lines(statistics: TextStatistics) -> LabelledLines:
    characters = statistics.characters
    yield "characters", f"{characters.number:,}, {len(characters.counts):,} different"
    rare = f"{counted(characters.rare, 'character')}, {_percent(characters.rare_share)} of the text"
    yield f"rarer than {RARE}", rare
    yield from _labelled("rarest", _examples(characters.counts))
    others = characters.controls - characters.nuls
    yield "controls", f"tabs {characters.tabs:,}, NUL {characters.nuls:,}, other {others:,}"


def _line_lines(statistics: TextStatistics) -> LabelledLines:
    lines, items = statistics.lines, statistics.items
    yield "lines", f"{lines.number:,}, {lines.empty:,} of them empty"
    where = f", line {lines.longest_at:,}" if lines.number else ""
    averages = f"mean {lines.mean:,.1f}, median {lines.median:,g}"
    yield "line lengths", f"{averages}, longest {lines.longest:,}{where}"
    repeated = f"{lines.repeated:,}, {_percent(lines.repeated_share)} of those not empty"
    if lines.repeated:
        repeated += f"; {lines.most_repeated_count:,} times: {_shorten(lines.most_repeated)}"
    yield "lines repeated", repeated
    yield "trailing spaces", counted(lines.trailing_space, "line")
    kinds = [f"{kind} {number:,}" for kind, number in statistics.newlines.items() if number]
    kinds.append("one at the end" if statistics.final_newline else "none at the end")
    yield "newlines", ", ".join(kinds)
    if items.number > 1:
        sizes = f"{items.short:,.0f} to {items.long:,.0f} characters"
        yield "between blanks", f"{items.number:,} items, most of {sizes}"


def _form_lines(statistics: TextStatistics) -> LabelledLines:
    normalisation = statistics.normalisation
    changes = ", ".join(f"{form} {number:,}" for form, number in normalisation.changed.items())
    is_nfc = "yes" if normalisation.is_nfc else "no"
    yield "NFC", f"{is_nfc}; characters, each with its marks, that change: {changes}"
    first = normalisation.spellings[:MOST_SHOWN]
    spellings = (" and ".join(_describe(counts)) for counts in first)
    yield from _labelled("in several ways", spellings)


def _part_lines(report: CorpusReport) -> LabelledLines:
    sizes = (f"{PART_NAMES[part]} {number:,}" for part, number in report.parts.items())
    yield "parts", ", ".join(sizes) + " characters"
    for part, missing in report.missing.items():
        lacking = counted(len(missing), "character") if missing else "no characters"
        times = f", {counted(sum(missing.values()), 'time')}" if missing else ""
        values = [f"{lacking} that training lacks{times}", *_examples(missing)]
        yield from _labelled(PART_NAMES[part], [*values, *_overlap_values(report.overlaps[part])])


def _overlap_values(overlap: Overlap) -> Iterator[str]:
    spans, lines = _percent(overlap.copied_spans_share), _percent(overlap.copied_lines_share)
    yield (
        f"{spans} of its spans of {SPAN_CHARS} characters and {lines} of its lines are in training"
    )
    longest = f"longest span shared with training: {counted(overlap.longest, 'character')}"
    yield longest + (f": {_shorten(overlap.text)}" if overlap.text else "")


def _baseline_lines(baselines: Baselines | None) -> LabelledLines:
    if baselines is None:
        return
    measured = f"the first {baselines.val_chars:,} characters of validation"
    yield "to beat", f"bits a character (bits a byte) of {measured}"
    yield "n-grams", f"counted in the last {baselines.train_chars:,} characters of training"
    for order, bits in baselines.ngrams.items():
        yield f"after {order}", f"{bits:.3f} ({baselines.per_byte(bits):.3f})"
    yield "PPMd", _ppmd_value(baselines)
    for name, level in (("xz", XZ_PRESET), ("zstd", ZSTD_LEVEL)):
        added, whole = baselines.compressors[name], baselines.whole[name]
        if added is None:
            yield name, "not installed"
            continue
        bits_added = f"{added:.3f} ({baselines.per_byte(added):.3f})"
        after = f"after the last {baselines.train_bytes:,} bytes of training, level {level}"
        whole_bits = f"{whole:.3f} for the text's first {baselines.whole_bytes:,} bytes"
        yield name, f"{bits_added} {after}; {whole_bits}"


def _ppmd_value(baselines: Baselines) -> str:
    ppmd = baselines.ppmd
    if ppmd is None:
        return "not installed (pip install 'textgen-rnn[report]')"
    bits = f"{ppmd.bits:.3f} ({baselines.per_byte(ppmd.bits):.3f}), {ppmd.nats:.3f} nats"
    return f"{bits}, after the last {ppmd.train_bytes:,} bytes of training, order {ppmd.order}"


def _suggestion_lines(suggestions: list[Suggestion]) -> LabelledLines:
    values = [f"{suggestion.option}: {suggestion.because}" for suggestion in suggestions]
    yield from _labelled("suggestion", values or ["none: the defaults suit it"])


def _labelled(label: str, values: Iterable[str]) -> LabelledLines:
    """Yield values, the first one with the label."""
    for i, value in enumerate(values):
        yield ("" if i else label), value


def _examples(counts: Mapping[str, int]) -> list[str]:
    """Return the first counted characters as they are described on the terminal."""
    return _describe(dict(itertools.islice(counts.items(), MOST_SHOWN)))


def _describe(counts: Mapping[str, int]) -> list[str]:
    return [
        f"{character['text']} {character['code']} {character['name']}: {character['count']:,}"
        for character in describe_characters(counts)
    ]


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + " ..."


def _percent(share: float) -> str:
    return "less than 0.01 %" if 0 < share < 1e-4 else f"{100 * share:.2f} %"
