"""What is trained and measured on: the texts that a user names, cut into parts, as ids.

>>> dataset = load_dataset(["corpus.txt"], TrainConfig())
>>> len(dataset.train), dataset.tokenizer.size
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from textgen.config import TrainConfig
from textgen.data import cache, corpus, records
from textgen.data.corpus import Corpus, MappedIds, are_whole_numbers
from textgen.data.encodings import TextFormat
from textgen.data.splits import Bounds, Split, Stretch
from textgen.data.workers import WorkerError, Workers, useful_workers
from textgen.errors import TextError, counted
from textgen.tokenizers import (
    ByteTokenizer,
    CharTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    tokenizer_for,
)

# From so many ids of characters on a tokenizer of pieces or bytes is suggested.
MANY_CHARACTERS = 5000
# Pieces of words are found in so many blocks of a text, and in so many characters of each.
MOST_BLOCKS, BLOCK_CHARS = 32, 1 << 18

IdSource = np.ndarray | MappedIds


@dataclass
class Dataset:
    """Ids to train and to validate on, and where they came from.

    Attributes:
        corpus: the text that was named; others: the texts of parts with one of their own.
        split: how they were cut.
        tokenizer: what the ids stand for, with the counts of the training part.
        train: (n,) ids, framed where there are records; val: (m,), perhaps none.
        parts: where the parts lie in characters, None for records.
        record_counts: how many records each part has, None for one text.
        notes: sentences for whoever named the texts.
    """

    corpus: Corpus
    others: Mapping[str, Corpus]
    split: Split
    tokenizer: Tokenizer
    train: IdSource
    val: IdSource
    parts: Bounds | None = None
    record_counts: dict[str, int] | None = None
    notes: list[str] = field(default_factory=list)

    def mean_record_length(self) -> float | None:
        """Return how many ids a record has, its end counted; None without records."""
        if self.tokenizer.boundary_id is None:
            return None
        return (len(self.train) - 1) / int(self.tokenizer.counts[self.tokenizer.boundary_id] - 1)

    def characters_per_id(self) -> float:
        """Return how many characters an id of the training part stands for on average."""
        counts, boundary_id = self.tokenizer.counts, self.tokenizer.boundary_id
        ends = 0 if boundary_id is None else int(counts[boundary_id])
        return (float(counts @ self.tokenizer.chars_V) + ends) / float(counts.sum())

    def with_units_of(self, initial: Tokenizer, config: TrainConfig) -> Dataset:
        """Return the same texts in ids among which are all of another tokenizer."""
        choice = TokenizerChoice(config, None, initial)
        return _cut(self.corpus, self.others, self.split, choice)


def load_dataset(
    paths: Sequence[str | Path],
    config: TrainConfig,
    resumed: Tokenizer | None = None,
    initial: Tokenizer | None = None,
    quiet: bool = True,
    verify: bool = False,
) -> Dataset:
    """Read the texts of a run and return them as ids.

    Args:
        paths: files, folders, or "-" for standard input.
        config: says how they are read, cut and turned into ids.
        resumed: the tokenizer of a run which is resumed; without, one is made from the training
            part.
        initial: that of the checkpoint which a new run starts from; the new one has all its ids.
        quiet: show no progress.
        verify: trust no cache.

    Raises:
        TextgenError: a text cannot be read, cut or encoded.
    """
    text_format, split = TextFormat.of(config), Split.of(config)
    text = corpus.read(paths, 2, text_format, config.glob, quiet, verify)
    others = {
        part: corpus.read(getattr(config, part), 1, text_format, None, quiet, verify)
        for part in sorted(split.separate)
    }
    return _cut(text, others, split, TokenizerChoice(config, resumed, initial))


def _cut(
    text: Corpus, others: Mapping[str, Corpus], split: Split, choice: TokenizerChoice
) -> Dataset:
    """Return the ids of the parts of texts that were read."""
    load = _load_stretches if split.records is None else _load_records
    dataset = load(text, others, split, choice)
    if (size := dataset.tokenizer.size) > MANY_CHARACTERS and dataset.tokenizer.kind == "char":
        fix = "--tokenizer bpe or byte makes a smaller and quicker model"
        dataset.notes.append(f"{size - 1:,} different characters: {fix}")
    if not len(dataset.val):
        dataset.notes.append("nothing is held out to validate on: the last weights count as best")
    return dataset


def _load_stretches(
    text: Corpus, others: Mapping[str, Corpus], split: Split, choice: TokenizerChoice
) -> Dataset:
    """Return the ids of contiguous parts."""
    parts = split.stretches(text, others)
    train, val = parts["train"], parts["val"]
    if len(train) < 2:
        problem = f"only {counted(len(train), 'character')} left for training"
        raise TextError(str(text.path), problem, "give a longer text or a larger share")
    tokenizer, notes = choice.choose(
        lambda: train.corpus.alphabet_of(train.start, train.end), draw_blocks(train)
    )
    train_ids, counts = _encode(train, tokenizer)
    if not tokenizer.counts.any():
        tokenizer = tokenizer.with_counts(counts())
    if isinstance(tokenizer, CharTokenizer) and (unknown := _count_unknown(val, tokenizer)):
        number = counted(unknown, "character")
        notes.append(f"not in the training part: {number} of the validation part")
    bounds = {part: (stretch.start, stretch.end) for part, stretch in parts.items()}
    val_ids, _ = _encode(val, tokenizer)
    return Dataset(text, others, split, tokenizer, train_ids, val_ids, parts=bounds, notes=notes)


def _load_records(
    text: Corpus, others: Mapping[str, Corpus], split: Split, choice: TokenizerChoice
) -> Dataset:
    """Return the framed ids of the records of each part."""
    parts, notes = split.record_parts(text, others)
    train = parts["train"]
    if not train:
        fix = "check --records, or give training a larger share"
        raise TextError(str(text.path), "no record is left for training", fix)
    joined = "".join(train)
    tokenizer, more = choice.choose(
        lambda: CharTokenizer.from_text(joined, marked=True), iter(train)
    )
    train_ids = records.frame_records(train, tokenizer)
    if not tokenizer.counts[tokenizer.boundary_id]:
        tokenizer = tokenizer.with_counts(_count_ids(train_ids, tokenizer.size))
    val = parts["val"]
    val_ids = records.frame_records(val, tokenizer, "replace") if val else train_ids[:0]
    counts = {part: len(members) for part, members in parts.items()}
    return Dataset(
        text,
        others,
        split,
        tokenizer,
        train_ids,
        val_ids,
        record_counts=counts,
        notes=notes + more,
    )


@dataclass(frozen=True)
class TokenizerChoice:
    """Which tokenizer a run gets: that of a run which is resumed, or a new one."""

    config: TrainConfig
    resumed: Tokenizer | None
    initial: Tokenizer | None

    def choose(
        self, alphabet: Callable[[], CharTokenizer], blocks: Iterator[str]
    ) -> tuple[Tokenizer, list[str]]:
        """Return the tokenizer and sentences about it.

        alphabet: makes that of characters; blocks: of the training part, to find pieces in.
        """
        if self.resumed is not None:
            return self.resumed, []
        config = self.config
        marked = config.records is not None
        return tokenizer_for(
            config.tokenizer, config.vocab_size, marked, self.initial, alphabet, blocks
        )


def draw_blocks(part: Stretch) -> Iterator[str]:
    """Yield a part in blocks; of a large one only some, drawn evenly from all of it."""
    number = -(-len(part) // BLOCK_CHARS)
    drawn = np.unique(np.linspace(0, number - 1, MOST_BLOCKS).round().astype(int))
    for block in range(number) if number <= MOST_BLOCKS else drawn.tolist():
        begin = part.start + block * BLOCK_CHARS
        yield part.corpus.slice(begin, min(part.end, begin + BLOCK_CHARS))


def _encode(part: Stretch, tokenizer: Tokenizer) -> tuple[IdSource, Callable[[], np.ndarray]]:
    """Return the ids of a part, of a large one in the cache, and what counts each (V,)."""
    text, start, end = part.corpus, part.start, part.end
    if isinstance(tokenizer, CharTokenizer):
        mapped = text.ids(tokenizer, start, end)
        return mapped, lambda: _count_ids(mapped, tokenizer.size)
    if isinstance(text.char_indices, np.memmap):
        return _encode_into_cache(part, tokenizer)
    pieces = map(tokenizer.encode, text.pieces(start, end))
    ids = np.concatenate([np.zeros(0, tokenizer.dtype), *pieces])
    return ids, lambda: _count_ids(ids, tokenizer.size)


def _encode_into_cache(
    part: Stretch, tokenizer: Tokenizer
) -> tuple[np.ndarray, Callable[[], np.ndarray]]:
    """Do the same for a part of a large text and ids that are no characters."""
    text, start, end = part.corpus, part.start, part.end
    # Not its counts, which are known only afterwards: a run that is resumed finds the ids again.
    units = {name: array for name, array in tokenizer.tensors().items() if name != "counts"}
    tokenizer_sha256 = hashlib.sha256(b"".join(map(bytes, units.values()))).hexdigest()
    text_format = str(text.text_format)
    key = cache.key_of(
        tokenizer.kind, tokenizer_sha256, text.sha256, text_format, str(start), str(end)
    )
    entry = cache.find_entry(key)
    counts = _parse_counts(entry, tokenizer.size) if entry else None
    if entry is None or counts is None:
        counted_V = np.zeros(tokenizer.size, np.int64)

        def pieces(workers: int) -> Iterator[np.ndarray]:
            counted_V[:] = 0
            for ids in _encode_pieces(part, tokenizer, workers):
                counted_V[:] += np.bincount(ids, minlength=len(counted_V))
                yield ids

        def about() -> dict[str, Any]:
            return {"name": f"{text.path} as {tokenizer.kind}", "counts": counted_V.tolist()}

        # No id stands for less than a byte.
        room = text.utf8_size(start, end)
        try:
            number = useful_workers(len(part))
            entry = cache.store(key, pieces(number), tokenizer.dtype, room, about)
        except WorkerError:
            entry = cache.store(key, pieces(0), tokenizer.dtype, room, about)
        counts = counted_V
    found_V = counts
    return entry.array(), lambda: found_V


def _parse_counts(entry: cache.CacheEntry, size: int) -> np.ndarray | None:
    """Return how often each id is in an array of the cache, None where that makes no sense."""
    counts = entry.metadata.get("counts")
    if not are_whole_numbers(counts) or len(counts) != size or sum(counts) != entry.length:
        return None
    return np.array(counts, np.int64)


def _encode_pieces(part: Stretch, tokenizer: Tokenizer, workers: int) -> Iterator[np.ndarray]:
    """Yield the ids of a part piece by piece, made in so many processes, 0 for none."""
    pieces = part.corpus.pieces(part.start, part.end)
    if not workers:
        yield from map(tokenizer.encode, pieces)
        return
    model = tokenizer.model if isinstance(tokenizer, SentencePieceTokenizer) else b""
    with Workers("encode", model, workers) as encoders:
        for result in encoders.map(piece.encode("utf-8", "surrogatepass") for piece in pieces):
            yield np.frombuffer(result, tokenizer.dtype)


def unit_encoder(model: bytes) -> Callable[[bytes], bytes]:
    """Return what makes ids of a piece of text, for `Workers`.

    model: of SentencePiece; empty where ids are bytes.
    """
    tokenizer: Tokenizer = SentencePieceTokenizer(model) if model else ByteTokenizer()
    return lambda piece: tokenizer.encode(piece.decode("utf-8", "surrogatepass")).tobytes()


def _count_ids(ids: IdSource, size: int) -> np.ndarray:
    """Return how often each of `size` ids occurs."""
    counts = np.zeros(size, np.int64)
    for start in range(0, len(ids), corpus.PIECE_CHARS):
        counts += np.bincount(ids[start : start + corpus.PIECE_CHARS], minlength=size)
    return counts


def _count_unknown(part: Stretch, tokenizer: CharTokenizer) -> int:
    """Return how many different characters of a part a tokenizer lacks."""
    occurs = part.corpus.tally(part.start, part.end) > 0
    return int((~np.isin(part.corpus.codepoints[occurs], tokenizer.codepoints)).sum())
