"""Whether what a model wrote is new, or copied from the text that it was trained on.

    >>> novelty = measure_novelty(samples, corpus)
    >>> novelty.spans[0].chars, novelty.shares[-1].of_samples

Spans are found by their hashes, those of `spans`, and compared character by character. Any text
shares short spans of characters with any other of its kind, so shares are measured of held-out text
too: what a model copies is what exceeds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from textgen.data import longest_copies, mark_copied, shuffle_records, split_records
from textgen.errors import TextError, UsageError, counted
from textgen.tokenizers import CODE_POINTS, code_points

# Characters of the spans whose shares are measured.
SPAN_LENGTHS = (5, 10, 15, 20, 30, 50, 75, 100)
# Characters of a copied span that is listed.
SHORTEST_COPY = 20
# Of a corpus without held-out text, the last tenth stands for it.
HELD_OUT_SHARE = 0.1
# A span of this length is copied when it is shared, not a phrase of the language.
COPIED_SPAN = 50
# Beyond twice the share of held-out text and this much, a text copies.
COPYING_SHARE = 0.01
# Characters of records that are compared one edit apart: longer ones are hardly ever.
LONGEST_COMPARED = 200


class CopiedSpan(NamedTuple):
    """A span of the samples that stands in the corpus; lines count from 1, offsets from 0."""

    chars: int
    text: str
    sample_line: int
    corpus_line: int
    corpus_offset: int


class CopiedShare(NamedTuple):
    """The share of the spans of so many characters that stand in the training text.

    None where a text is shorter than a span.
    """

    chars: int
    of_samples: float | None
    of_held_out: float | None


class NearDuplicate(NamedTuple):
    """A record of the samples and one of the corpus that is one edit away from it."""

    sample: str
    corpus: str


@dataclass(frozen=True)
class RecordNovelty:
    """How many records of the samples are new.

    Attributes:
        records: of the samples.
        copied: that stand in the corpus.
        repeated: that stand in the samples before.
        near: those that are neither, with the record of the corpus that is one edit away.
    """

    records: int
    copied: int
    repeated: int
    near: list[NearDuplicate]


@dataclass(frozen=True)
class Novelty:
    """What samples have in common with a corpus.

    Attributes:
        chars: of the samples.
        corpus_chars: of the corpus.
        held_out: what the held-out text is, in words.
        spans: the longest copied ones, of which none overlaps a longer one.
        shares: of the spans of each length in SPAN_LENGTHS.
        records: None unless samples and corpus are records.
    """

    chars: int
    corpus_chars: int
    held_out: str
    spans: list[CopiedSpan]
    shares: list[CopiedShare]
    records: RecordNovelty | None

    @property
    def telling(self) -> CopiedShare:
        """The shares that tell whether a text copies: of the longest spans up to COPIED_SPAN."""
        known = [s for s in self.shares if s.chars <= COPIED_SPAN and s.of_samples is not None]
        return known[-1]

    @property
    def copies(self) -> bool:
        """Whether more is copied than held-out text has in common with the training text."""
        _, samples, held_out = self.telling
        return (samples or 0.0) > 2 * (held_out or 0.0) + COPYING_SHARE

    def verdict(self) -> str:
        """Return a sentence on whether the samples copy."""
        chars, samples, held_out = self.telling
        share = f"{100 * (samples or 0.0):.1f} % of the spans of {chars} characters"
        beside = "" if held_out is None else f", of held-out text {100 * held_out:.1f} %"
        begin = "copies" if self.copies else "copies no more than text that it has not seen"
        return f"{begin}: {share} stand in the training text{beside}"

    def to_json(self) -> dict[str, Any]:
        """Return all figures, spans and records."""
        values = asdict(self) | {
            "spans": [span._asdict() for span in self.spans],
            "shares": [share._asdict() for share in self.shares],
            "copies": self.copies,
            "verdict": self.verdict(),
        }
        if self.records:
            near = [pair._asdict() for pair in self.records.near]
            values["records"] = asdict(self.records) | {"near": near}
        return values


def measure_novelty(
    samples: str,
    corpus: str,
    held_out: str | None = None,
    records: str | None = None,
    top: int = 10,
) -> Novelty:
    """Return what samples have in common with the text that a model was trained on.

    Args:
        samples: what the model wrote, at least as long as the shortest of SPAN_LENGTHS.
        corpus: the training text.
        held_out: text of its kind that it does not hold. Without it the last tenth of the corpus is
            compared with what stands before it, and so are the samples.
        records: what stands between two records of both, as `split_records` takes it.
        top: how many copied spans are listed at most.

    Raises:
        TextError: if the samples or the corpus are too short.
        UsageError: if top is below 1.
    """
    if top < 1:
        raise UsageError("--top", f"{top} is below 1", "give at least 1")
    for name, text in (("samples", samples), ("corpus", corpus)):
        if len(text) < SPAN_LENGTHS[0]:
            problem = (
                f"{counted(len(text), 'character')}, and {SPAN_LENGTHS[0]} are compared at least"
            )
            raise TextError(name, problem, "give a longer text")
    train, how = corpus, "the text given"
    if held_out is None:
        train, held_out, how = _hold_out(corpus, records)
    codes, sample_codes, train_codes, held_out_codes = (
        code_points(text).astype(np.uint32) for text in (corpus, samples, train, held_out)
    )
    return Novelty(
        chars=len(samples),
        corpus_chars=len(corpus),
        held_out=how,
        spans=list(_find_spans(codes, sample_codes, corpus, samples, top)),
        shares=list(_measure_shares(train_codes, sample_codes, held_out_codes)),
        records=_compare_records(samples, corpus, records) if records else None,
    )


def _find_spans(
    codes: np.ndarray, sample_codes: np.ndarray, corpus: str, samples: str, top: int
) -> Iterator[CopiedSpan]:
    """Yield the longest spans of the samples that stand in the corpus, with their places."""
    for span in longest_copies(codes, sample_codes, SHORTEST_COPY, top):
        text = "".join(map(chr, span.tolist()))
        in_samples, in_corpus = samples.find(text), corpus.find(text)
        yield CopiedSpan(
            chars=len(text),
            text=text,
            sample_line=samples.count("\n", 0, in_samples) + 1,
            corpus_line=corpus.count("\n", 0, in_corpus) + 1,
            corpus_offset=in_corpus,
        )


def _hold_out(corpus: str, separator: str | None) -> tuple[str, str, str]:
    """Return a corpus without a tenth, that tenth, and how it was chosen.

    Of records they are drawn from all of them: the end of a sorted list is unlike its beginning.
    """
    if separator is None:
        cut = len(corpus) - int(HELD_OUT_SHARE * len(corpus))
        how = "the last tenth of the corpus, both against what stands before it"
        return corpus[:cut], corpus[cut:], how
    records = shuffle_records(split_records(corpus, separator))
    cut = len(records) - int(HELD_OUT_SHARE * len(records))
    train, held_out = ("".join(f"{r}\n" for r in part) for part in (records[:cut], records[cut:]))
    return train, held_out, "a tenth of the records, both against the others"


def _measure_shares(
    train: np.ndarray, samples: np.ndarray, held_out: np.ndarray
) -> Iterator[CopiedShare]:
    """Yield the shares of each length; of held-out text as much is read as there are samples."""
    held_out = held_out[: len(samples)]
    # One text, so that the training text is read once a length. The number between is no character.
    both = np.concatenate([samples, np.array([CODE_POINTS], np.uint32), held_out])
    for length in SPAN_LENGTHS:
        is_copied = mark_copied(train, both, length)
        of_samples = is_copied[: max(0, len(samples) - length + 1)]
        of_held_out = is_copied[len(samples) + 1 :]
        yield CopiedShare(length, _share(of_samples), _share(of_held_out))


def _share(is_copied: np.ndarray) -> float | None:
    return float(is_copied.mean()) if len(is_copied) else None


def _compare_records(samples: str, corpus: str, separator: str) -> RecordNovelty:
    """Return how many records of the samples are new."""
    written, known = split_records(samples, separator), split_records(corpus, separator)
    in_corpus, different = set(known), list(dict.fromkeys(written))
    new = [record for record in different if record not in in_corpus]
    return RecordNovelty(
        records=len(written),
        copied=sum(record in in_corpus for record in written),
        repeated=len(written) - len(different),
        near=list(_find_near(new, known)),
    )


def _find_near(written: Sequence[str], known: Sequence[str]) -> Iterator[NearDuplicate]:
    """Yield the records of which known ones are one edit away.

    Two texts are at most one insertion, deletion or replacement apart only if leaving out at most
    one character of each makes them equal; so these forms are looked up, and what is found is
    compared. Source: Mor & Fraenkel, A hash code method for detecting and correcting spelling
    errors (1982).
    """
    by_form: dict[str, list[int]] = {}
    for index, record in enumerate(written):
        for form in _forms(record):
            by_form.setdefault(form, []).append(index)
    found: dict[int, str] = {}
    for other in dict.fromkeys(known):
        for form in _forms(other):
            for index in by_form.get(form, ()):
                if index not in found and is_one_edit(written[index], other):
                    found[index] = other
    for index in sorted(found):
        yield NearDuplicate(written[index], found[index])


def _forms(record: str) -> set[str]:
    """Return a record and what it becomes where one character is left out; none of a long one."""
    if len(record) > LONGEST_COMPARED:
        return set()
    return {record, *(record[:at] + record[at + 1 :] for at in range(len(record)))}


def is_one_edit(one: str, other: str) -> bool:
    """Tell whether one insertion, deletion or replacement of a character makes two texts equal."""
    if len(one) > len(other):
        one, other = other, one
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    if len(one) == len(other):
        return at < len(one) and one[at + 1 :] == other[at + 1 :]
    return len(one) + 1 == len(other) and one[at:] == other[at + 1 :]
