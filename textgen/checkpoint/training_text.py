"""The text that a checkpoint was trained on, found again and cut as it was then.

>>> part_of(Path("checkpoints/corpus/best.safetensors"), checkpoint.facts, "val")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.config import check_choice
from textgen.data import SEPARATE_PARTS, Corpus, TextFormat, bounds_of, corpus, records, splits
from textgen.errors import CheckpointError, TextError, UsageError
from textgen.files import RETRAIN


def read_foreign(loaded: Checkpoint, text: str | Path, encoding: str = "utf-8") -> corpus.Corpus:
    """Return a text that is not the run's own, with the newlines and the form of the run's."""
    text_format = dataclasses.replace(recorded_format(loaded.facts), encoding=encoding)
    return corpus.read(text, text_format=text_format)


Words = str | list[str]  # one text, or items
Facts = Mapping[str, Any]

NAME_THE_TEXT = "name the text"


def recorded_format(facts: Facts) -> TextFormat:
    """Return how a checkpoint's text became characters; raise CheckpointError for nonsense."""
    try:
        return TextFormat(**facts.get("reading") or {})
    except (TypeError, UsageError):
        problem = f"its settings of reading make no sense: {facts['reading']!r}"
        raise CheckpointError("checkpoint", problem, RETRAIN) from None


def words_of(text: Corpus, facts: Facts) -> Words:
    """Return any text as a checkpoint reads it: as one string, or as items."""
    how = facts.get("records")
    return records.split(text.text, how) if how else text.text


def find_text(
    path: Path, facts: Facts, named: str | Path | Sequence[str | Path] | None = None, part: str = ""
) -> Corpus:
    """Return the text of a checkpoint, or that of its own for the part "val" or "test".

    named: where it is, else the run in which the checkpoint lies knows. Raises UsageError when
    nobody knows, TextError when it is gone or another one.
    """
    own = facts.get(SEPARATE_PARTS.get(part, ""))
    places = named or runs.text_paths(path, part if own else "train")
    if not places:
        name = facts["corpus"]["name"]
        raise UsageError(str(path), f"does not know where its text {name} is", NAME_THE_TEXT)
    glob = (facts.get("training") or {}).get("glob")
    whole = corpus.read(places, text_format=recorded_format(facts), glob=glob)
    whole.require(own or facts["corpus"])
    return whole


def part_of(
    path: Path, facts: Facts, part: str, named: str | Path | Sequence[str | Path] | None = None
) -> Words:
    """Return the part "train", "val" or "test" of a checkpoint's text; the errors of `find`.

    Raises TextError as well when there is no such part.
    """
    check_choice("--part", part, splits.PARTS)
    whole = find_text(path, facts, named, part)
    words = _cut(whole, facts, part)
    if not words:
        fix = "leave --part out to measure all of it"
        raise TextError(str(whole.path), f"has no {part} part", fix)
    return words


def bounds(whole: Corpus, facts: Facts, part: str) -> tuple[int, int]:
    """Return where a part of a text of characters lies, as it was recorded."""
    if recorded := (facts.get("parts") or {}).get(part):
        return int(recorded[0]), int(recorded[1])
    split = facts.get("split")  # older checkpoints say no more
    return bounds_of(len(whole), split or "1", () if split else ("val",))[part]


def known_records(path: Path, facts: Facts, named: str | Path | None = None) -> frozenset[str]:
    """Return all items of the text that a checkpoint was trained on, with the errors of `find`."""
    whole = find_text(path, facts, named)
    return frozenset(records.split(whole.text, facts["records"]))


def _cut(whole: Corpus, facts: Facts, part: str) -> Words:
    how = facts.get("records")
    if facts.get(SEPARATE_PARTS.get(part, "")):  # `whole` is the part
        return records.different(records.split(whole.text, how))[0] if how else whole.text
    if not how:
        return whole.slice(*bounds(whole, facts, part))
    items = records.shuffled(records.different(records.split(whole.text, how))[0])
    others = [name for name, key in SEPARATE_PARTS.items() if facts.get(key)]
    start, end = bounds_of(len(items), facts.get("split") or "1", others)[part]
    return items[start:end]
