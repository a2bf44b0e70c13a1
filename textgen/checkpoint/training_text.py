"""The text that a checkpoint was trained on, found again and cut as it was then.

>>> part_of(Path("checkpoints/corpus/best.safetensors"), checkpoint.metadata, "val")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from textgen.checkpoint import runs
from textgen.checkpoint.metadata import Metadata
from textgen.config import check_choice
from textgen.data import PARTS, Corpus, corpus, records
from textgen.errors import TextError, UsageError

# A text as a model reads it: one string, or records.
Passage = str | list[str]
# Where a text is, if the run that was trained on it is not to say so.
Named = str | Path | Sequence[str | Path] | None

NAME_THE_TEXT = "name the text"


def read_foreign(metadata: Metadata, text: str | Path, encoding: str = "utf-8") -> Corpus:
    """Return a text that is not the run's own, with the newlines and the form of the run's."""
    text_format = dataclasses.replace(metadata.text_format, encoding=encoding)
    return corpus.read(text, text_format=text_format)


def passage_of(text: Corpus, metadata: Metadata) -> Passage:
    """Return any text as a checkpoint reads it: as one string, or as records."""
    how = metadata.records
    return text.text if how is None else records.split_records(text.text, how)


def find_text(path: Path, metadata: Metadata, named: Named = None, part: str = "train") -> Corpus:
    """Return the text that a part of a checkpoint's text comes from.

    Args:
        path: of the checkpoint, in whose run it is noted where the text is.
        metadata: of the checkpoint.
        named: where the text is, if the run is gone or the text moved.
        part: "train", "val" or "test"; the last two may have texts of their own.

    Raises:
        UsageError: nobody knows where the text is.
        TextError: it is gone, or another one.
        CheckpointError: `last`, which knows where it is, is damaged.
    """
    identity = metadata.own_text(part) or metadata.corpus
    if identity is None:
        raise UsageError(str(path), "does not say what it was trained on", "name a text instead")
    paths = named or runs.text_paths(path, part)
    if not paths:
        problem = f"does not know where its text {identity.name} is"
        raise UsageError(str(path), problem, NAME_THE_TEXT)
    text = corpus.read(paths, text_format=metadata.text_format)
    text.require(identity)
    return text


def part_of(path: Path, metadata: Metadata, part: str, named: Named = None) -> Passage:
    """Return the part "train", "val" or "test" of a checkpoint's text.

    Raises TextError where there is no such part, and the errors of `find_text`.
    """
    check_choice("--part", part, PARTS)
    text = find_text(path, metadata, named, part)
    passage = _cut(text, metadata, part)
    if not passage:
        fix = "leave --part out to measure all of it"
        raise TextError(str(text.path), f"has no {part} part", fix)
    return passage


def bounds(text: Corpus, metadata: Metadata, part: str) -> tuple[int, int]:
    """Return where a part of a text without records lies: as recorded, else by its shares."""
    recorded = metadata.parts or metadata.split.bounds(len(text))
    return recorded[part]


def known_records(path: Path, metadata: Metadata, named: Named = None) -> frozenset[str]:
    """Return all records of the text that a checkpoint was trained on; the errors of `find_text`.

    They are those of the run's own text; of a text without records there are none.
    """
    if metadata.records is None:
        return frozenset()
    text = find_text(path, metadata, named)
    return frozenset(records.split_records(text.text, metadata.records))


def _cut(text: Corpus, metadata: Metadata, part: str) -> Passage:
    if metadata.records is None and metadata.own_text(part) is None:
        return text.slice(*bounds(text, metadata, part))
    return metadata.split.part(part, text)
