"""What is trained and measured on: the texts that a user names, cut into parts, as ids.

>>> material = gather(["corpus.txt"], TrainConfig())
>>> len(material.train), material.tokenizer.size
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from textgen.config import TrainConfig, to_json
from textgen.data import cache, corpus, records
from textgen.data.corpus import Corpus, MappedIds
from textgen.data.encodings import TextFormat
from textgen.data.splits import SEPARATE_PARTS, parts_of, record_parts
from textgen.errors import TextError, counted
from textgen.tokenizers import CharTokenizer, Tokenizer, tokenizer_for

MANY_CHARACTERS = 5000  # ids of characters
DRAWN_PIECES, DRAWN_CHARS = 32, 1 << 18  # pieces of a text to find units in, and characters of each

IdSource = np.ndarray | MappedIds
Maker = Callable[[Callable[[], CharTokenizer], Iterator[str]], tuple[Tokenizer, list[str]]]


@dataclass
class Dataset:
    """Ids to train (n,) and to validate (m,), and what a checkpoint records about them."""

    corpus: Corpus
    tokenizer: Tokenizer
    train: IdSource
    val: IdSource
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def item_length(self) -> float | None:
        """Return how many ids an item has on average, its mark counted; None without items."""
        if self.tokenizer.boundary_id is None:
            return None
        return (len(self.train) - 1) / int(self.tokenizer.counts[self.tokenizer.boundary_id] - 1)

    def characters_per_id(self) -> float:
        """Return how many characters an id of the training part stands for on average."""
        counts, mark = self.tokenizer.counts, self.tokenizer.boundary_id
        ends = 0 if mark is None else int(counts[mark])
        return (float(counts @ self.tokenizer.chars_V) + ends) / float(counts.sum())

    def require(self, recorded: Mapping[str, Any]) -> None:
        """Raise TextError unless the texts are those that a checkpoint records."""
        self.corpus.require(recorded["corpus"])
        for name, key in SEPARATE_PARTS.items():
            now, then = self.facts[key], recorded.get(key)
            if now and then and now["sha256"] != then["sha256"]:
                problem = f"is not the text that --{name} named"
                raise TextError(now["name"], problem, "put that text there")


def load_dataset(
    paths: Sequence[str | Path],
    config: TrainConfig,
    tokenizer: Tokenizer | None = None,
    first: Tokenizer | None = None,
    quiet: bool = True,
    verify: bool = False,
) -> Dataset:
    """Read the texts of a run and return them as ids.

    tokenizer: of a run that goes on; without, one is made from the training part. first: of the
    checkpoint that a new run starts from, all of whose units the new one has. Raises TextgenError
    subclasses.
    """
    text_format = TextFormat.of(config)
    whole = corpus.read(paths, 2, text_format, config.glob, quiet, verify)
    others = {
        name: corpus.read(path, 1, text_format, None, quiet, verify)
        for name in SEPARATE_PARTS
        if (path := getattr(config, name))
    }
    make: Maker = partial(_make, config, first)
    if tokenizer:
        make = partial(_same, tokenizer)
    material = (_items if config.records else _stretches)(whole, others, config, make)
    material.facts |= {
        "corpus": whole.identity(),
        "split": None if "val" in others else config.split,
        **{
            SEPARATE_PARTS[name]: others[name].identity() if name in others else None
            for name in SEPARATE_PARTS
        },
        "records": config.records,
        "reading": to_json(text_format),
    }
    if (size := material.tokenizer.size) > MANY_CHARACTERS and material.tokenizer.kind == "char":
        fix = "--tokenizer bpe or byte makes a smaller and quicker model"
        material.notes.append(f"{size - 1:,} different characters: {fix}")
    if not len(material.val):
        material.notes.append("nothing is held out to validate on: the last weights count as best")
    return material


def _stretches(
    whole: Corpus, others: Mapping[str, Corpus], config: TrainConfig, make: Maker
) -> Dataset:
    """Return the ids of contiguous parts."""
    parts = parts_of(whole, others, config.split)
    text, start, end = parts["train"]
    if end - start < 2:
        problem = f"only {counted(end - start, 'character')} left for training"
        raise TextError(str(whole.path), problem, "give a longer text or a larger share")
    tokenizer, notes = make(lambda: text.alphabet_of(start, end), _drawn(text, start, end))
    train = _encoded(*parts["train"], tokenizer)
    if not tokenizer.counts.any():
        tokenizer = tokenizer.with_counts(_tally(train, tokenizer.size))
    val = _encoded(*parts["val"], tokenizer)
    if isinstance(tokenizer, CharTokenizer) and (n := _unknown(*parts["val"], tokenizer)):
        number = counted(n, "character")
        notes.append(f"not in the training part: {number} of the validation part")
    facts = {"parts": {name: [a, b] for name, (_, a, b) in parts.items()}}
    return Dataset(whole, tokenizer, train, val, facts, notes)


def _items(
    whole: Corpus, others: Mapping[str, Corpus], config: TrainConfig, make: Maker
) -> Dataset:
    """Return the framed ids of the items of each part."""
    parts, notes = record_parts(whole, others, config.records or "", config.split)
    train = parts["train"]
    if not train:
        fix = "check --records, or give training a larger share"
        raise TextError(str(whole.path), "no item is left for training", fix)
    joined = "".join(train)
    tokenizer, more = make(lambda: CharTokenizer.from_text(joined, marked=True), iter(train))
    ids = records.framed(train, tokenizer)
    if not tokenizer.counts[tokenizer.boundary_id]:
        tokenizer = tokenizer.with_counts(_tally(ids, tokenizer.size))
    val = records.framed(parts["val"], tokenizer, "replace") if parts["val"] else ids[:0]
    facts = {"items": {name: len(items) for name, items in parts.items()}}
    return Dataset(whole, tokenizer, ids, val, facts, notes + more)


def _make(
    config: TrainConfig,
    first: Tokenizer | None,
    alphabet: Callable[[], CharTokenizer],
    pieces: Iterator[str],
) -> tuple[Tokenizer, list[str]]:
    """Return the tokenizer that config asks for, and what there is to say of it."""
    marked = config.records is not None
    return tokenizer_for(config.tokenizer, config.vocab_size, marked, first, alphabet, pieces)


def _same(tokenizer: Tokenizer, *_: object) -> tuple[Tokenizer, list[str]]:
    return tokenizer, []


def _drawn(text: Corpus, start: int, end: int) -> Iterator[str]:
    """Yield a part, of a large one pieces enough to find units in, drawn evenly from all of it."""
    number = -(-(end - start) // DRAWN_CHARS)
    drawn = np.unique(np.linspace(0, number - 1, DRAWN_PIECES).round().astype(int))
    for one in range(number) if number <= DRAWN_PIECES else drawn.tolist():
        begin = start + one * DRAWN_CHARS
        yield text.slice(begin, min(end, begin + DRAWN_CHARS))


def _encoded(text: Corpus, start: int, end: int, tokenizer: Tokenizer) -> IdSource:
    """Return the ids of a part: of a large one in the cache."""
    if isinstance(tokenizer, CharTokenizer):
        return text.ids(tokenizer, start, end)
    pieces = (tokenizer.encode(piece) for piece in text.pieces(start, end))
    if isinstance(text.ranks, np.memmap):
        made_of = hashlib.sha256(b"".join(map(bytes, tokenizer.tensors().values()))).hexdigest()
        text_format = str(text.text_format)
        key = cache.key_of(tokenizer.kind, made_of, text.sha256, text_format, str(start), str(end))
        if entry := cache.find_entry(key):
            return entry.array()
        room = text.utf8_size(start, end)  # no unit is less than a byte
        about = {"name": f"{text.path} as {tokenizer.kind}"}
        return cache.store(key, pieces, tokenizer.dtype, room, about).array()
    return np.concatenate([np.zeros(0, tokenizer.dtype), *pieces])


def _tally(ids: IdSource, size: int) -> np.ndarray:
    """Return how often each of `size` ids occurs."""
    counts = np.zeros(size, np.int64)
    for start in range(0, len(ids), corpus.PIECE_CHARS):
        counts += np.bincount(ids[start : start + corpus.PIECE_CHARS], minlength=size)
    return counts


def _unknown(text: Corpus, start: int, end: int, tokenizer: CharTokenizer) -> int:
    """Return how many different characters of a part a tokenizer lacks."""
    there = text.codepoints[text.tally(start, end) > 0]
    return int((~np.isin(there, tokenizer.codepoints)).sum())
