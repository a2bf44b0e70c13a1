"""What a new network starts from: random numbers, a checkpoint, or the base model that ships.

>>> start = choose_start(config, dataset)
>>> print(start.note)
starting from base-en: it reads this text at 1.71 nats a character, n-grams of it at 2.32
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import numpy as np
import torch

from textgen.checkpoint import Checkpoint, runs
from textgen.config import TrainConfig, option_name
from textgen.data import Dataset, TextIdentity, find_overlap
from textgen.engine import NGrams, Scorer
from textgen.errors import UsageError
from textgen.files import shipped
from textgen.nn import CharRNN, TorchStepper
from textgen.tokenizers import CharTokenizer, Tokenizer

# The model that a run starts from if it names none, and what it names to start from nothing.
ENGLISH_BASE, NO_START = "base-en", "none"
# Settings that a checkpoint to start from settles.
SIZES = ("cell", "layers", "hidden", "embedding")
# Ids at the beginning and at the end of the training part that the base is tried on, in rows.
TRIED_IDS, ROW_IDS = 2000, 256
# Ids beside them that n-grams of up to so many are counted in, for comparison.
COMPARED_IDS, COMPARED_LENGTH = 1_000_000, 6
# By how much n-grams of the text may read it better: a base learns more from it than they do.
MARGIN_NATS = 0.7
# Ids of the validation part that are looked for in what a checkpoint has read.
MOST_COMPARED = 1_000_000


class Start(NamedTuple):
    """A checkpoint to start from, None for random weights, and why, for whoever trains."""

    checkpoint: Checkpoint | None
    note: str


def named_start(config: TrainConfig) -> Checkpoint | None:
    """Return the checkpoint that --init names.

    Raises:
        CheckpointError: there is none.
        UsageError: another option contradicts it.
    """
    if config.init in (None, NO_START):
        return None
    first = Checkpoint.load(runs.find_checkpoint(config.init))
    for name, value in settled_by(first).items():
        if getattr(config, name) not in (None, value):
            problem = f"differs from the {value} of --init {config.init}"
            raise UsageError(option_name(name), problem, "leave it out")
    return first


def settled_by(first: Checkpoint) -> dict[str, str | int]:
    """Return the settings of a run that the checkpoint it starts from settles."""
    kind = getattr(first.tokenizer, "model_type", first.tokenizer.kind)
    return {"tokenizer": kind} | {name: getattr(first.model, name) for name in SIZES}


def choose_start(config: TrainConfig, dataset: Dataset) -> Start:
    """Return what a run starts from that names nothing: the base if it helps, else nothing."""
    if config.tokenizer not in (None, "char"):
        return Start(
            None,
            f"{ENGLISH_BASE} is not used: it knows characters, not --tokenizer {config.tokenizer}",
        )
    chosen = [option_name(name) for name in SIZES if getattr(config, name) is not None]
    if chosen:
        return Start(None, f"{ENGLISH_BASE} is not used: it has sizes of its own, not {chosen[0]}")
    base = english_base()
    if base is None:
        return Start(None, f"{ENGLISH_BASE} is not used: it is not installed")
    base_nats, ngram_nats = try_base(base, dataset)
    figures = (
        f"it reads this text at {base_nats:.2f} nats a character, n-grams of it at {ngram_nats:.2f}"
    )
    if base_nats > ngram_nats + MARGIN_NATS:
        return Start(None, f"{ENGLISH_BASE} is not used: {figures}")
    return Start(base, f"starting from {ENGLISH_BASE}: {figures} (--init none: from nothing)")


def english_base() -> Checkpoint | None:
    """Return the base that ships, where it is installed."""
    # Not what a user may have put into a folder of that name.
    path = shipped(runs.CHECKPOINTS, f"{ENGLISH_BASE}.safetensors")
    return Checkpoint.load(path) if path else None


def try_base(base: Checkpoint, dataset: Dataset) -> tuple[float, float]:
    """Return what characters of a text cost a base, and what n-grams of the rest of the text.

    They are the first and the last of the training part.
    """
    ids, tokenizer = dataset.train, dataset.tokenizer
    number = min(TRIED_IDS, max(1, len(ids) // 4))
    tried = np.concatenate([ids[:number], ids[len(ids) - number :]])
    rest = np.asarray(ids[number : min(len(ids) - number, number + COMPARED_IDS)])
    ngrams = NGrams.count(rest, tokenizer.size, COMPARED_LENGTH)
    network = TorchStepper(CharRNN.from_weights(base.model, base.weights, torch.device("cpu")))
    as_base = base.tokenizer.encode(_text_of(tried, tokenizer), "replace")
    return _mean_nats(network, as_base), _mean_nats(ngrams, tried)


def _text_of(ids: np.ndarray, tokenizer: Tokenizer) -> str:
    """Return the text of ids, of records each on a line of its own."""
    # An id is never -1.
    boundary_id = -1 if tokenizer.boundary_id is None else tokenizer.boundary_id
    parts = np.split(ids, np.flatnonzero(ids == boundary_id))
    return "\n".join(tokenizer.decode(part.tolist()) for part in parts)


def _mean_nats(model: Scorer, ids: np.ndarray) -> float:
    """Return the mean nats of ids that are read in rows, each from its beginning."""
    rows = max(1, len(ids) // ROW_IDS)
    ids_TB = ids[: len(ids) // rows * rows].reshape(rows, -1).T.astype(np.int64)
    return float(model.nats(ids_TB[:-1], ids_TB[1:], None)[0].mean())


def texts_read_by(checkpoint: Checkpoint) -> tuple[TextIdentity, ...]:
    """Return the texts that the weights of a checkpoint come from, the latest last."""
    metadata = checkpoint.metadata
    return metadata.read_before + ((metadata.corpus,) if metadata.corpus else ())


def notes_on_overlap(first: Checkpoint, dataset: Dataset) -> list[str]:
    """Return a sentence if what the start has read holds some of the validation part."""
    if first.fingerprint is None or not len(dataset.val):
        return []
    held_out = dataset.tokenizer.decode(np.asarray(dataset.val[:MOST_COMPARED]).tolist())
    share = find_overlap(first.fingerprint, held_out).share
    if not share:
        return []
    names = ", ".join(text.name for text in texts_read_by(first)) or "its training text"
    return [
        f"about {share:.0%} of the validation part stands in what the starting weights have read "
        f"({names}): its figures are too good"
    ]


def load_matching_weights(model: CharRNN, tokenizer: Tokenizer, first: Checkpoint) -> str:
    """Take over a checkpoint's weights, rows by what they stand for; say what was kept.

    tokenizer has a unit for all that the checkpoint's has, so no row is lost. A character that is
    new gets the rows of its kin: of the same letter in the other case or without its accent, else
    the mean of those of its kind.
    """
    # Bytes and pieces are the same ids in both; characters are found by what they are.
    symbols, first_symbols = tokenizer.symbols(), first.tokenizer.symbols()
    rows = list(range(first.tokenizer.size))
    if tokenizer.kind == "char":
        ours = {symbol: i for i, symbol in enumerate(symbols)}
        rows = [ours[symbol] for symbol in first_symbols]
    added = sorted(set(range(tokenizer.size)) - set(rows))
    kin = [kin_of(symbols[row], first.tokenizer) for row in added]
    weights = dict(first.weights)
    for name in ("embedding.weight", "head.weight", "head.bias"):
        learnt = first.weights[name]
        weights[name] = np.empty((tokenizer.size, *learnt.shape[1:]), learnt.dtype)
        weights[name][rows] = learnt
        for row, like in zip(added, kin, strict=True):
            weights[name][row] = learnt[like].mean(axis=0)
    model.load(weights)
    known = [row for row, symbol in zip(rows, first_symbols, strict=True) if symbol]
    kept = int((tokenizer.counts[known] > 0).sum())
    noun = "characters" if tokenizer.kind == "char" else "units"
    return (
        f"starting weights: {kept} {noun} kept, {len(added)} added, "
        f"{len(known) - kept} unused in this text"
    )


def kin_of(symbol: bytes, tokenizer: Tokenizer) -> list[int]:
    """Return the ids of a tokenizer whose rows a new symbol begins with the mean of."""
    ids = {known: i for i, known in enumerate(tokenizer.symbols()) if known}
    try:
        character = symbol.decode("utf-8")
    except UnicodeDecodeError:
        character = ""
    # What stands between records is most like the end of a line.
    if not isinstance(tokenizer, CharTokenizer) or len(character) != 1:
        return [ids.get(b"\n", 0)]
    plain = unicodedata.normalize("NFKD", character)[:1]
    for other in (character.swapcase(), plain, plain.swapcase()):
        if (known := other.encode("utf-8")) in ids:
            return [ids[known]]
    kind = unicodedata.category(character)[0]
    return [
        i
        for known, i in ids.items()
        if (text := known.decode("utf-8", "replace"))
        and len(text) == 1
        and unicodedata.category(text)[0] == kind
    ] or [0]
