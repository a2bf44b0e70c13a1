"""What a model expected at every place of a text, and what came.

Each id of the text has its cost, its rank among all ids and the likeliest ids in its place; of a
mixture also what the network and the n-grams would have paid alone, and how the gates weighed them.
The costs are those of `textgen eval`: the first id of a text is charged by the training counts, a
character outside the alphabet pays for saying which it is.

Shapes: N ids, K likeliest, V vocabulary, X experts.

    >>> surprise = measure_surprise(textgen.load("checkpoints/corpus").checkpoint, "To be, or not")
    >>> surprise.nats_N.sum(), surprise.by_character().lines()[0].nats_per_char
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from textgen.checkpoint import Checkpoint, make_engine
from textgen.data import split_records
from textgen.engine import (
    Parts,
    StepperState,
    Threads,
    blocks,
    first_distribution,
    take_apart,
)
from textgen.errors import NumericsError, TextError
from textgen.tokenizers import UNKNOWN, Tokenizer

# Ids whose probabilities are kept at each place.
LIKELIEST = 5
# Of ids, probabilities of all which are held at a time.
AT_ONCE = 512


class LineScore(NamedTuple):
    """What a line of a text costs, its newline included.

    number counts from 1; text has no newline; chars counts it.
    """

    number: int
    text: str
    chars: int
    nats: float

    @property
    def nats_per_char(self) -> float:
        """Nats per character."""
        return self.nats / self.chars

    def to_json(self) -> dict[str, Any]:
        """Return the figures in nats and in bits."""
        return {
            "line": self.number,
            "text": self.text,
            "chars": self.chars,
            "nats": self.nats,
            "bits": self.nats / math.log(2),
            "nats_per_char": self.nats_per_char,
            "bits_per_char": self.nats_per_char / math.log(2),
        }


@dataclass(frozen=True)
class Surprise:
    """What a model expected of each of a text's N ids.

    Attributes:
        text: as the model read it; a newline ends each record.
        ids_N: the ids.
        chars_N: how many characters each stands for.
        nats_N: what each cost.
        ranks_N: its place among all ids by probability, from 1.
        likeliest_NK: the likeliest ids, the likeliest first.
        probabilities_NK: their probabilities.
        network_nats_N: what the network alone would have paid; nan where it was not asked, at the
            beginning of a text.
        ngrams_nats_N: likewise of the n-grams by their longest contexts; nan without n-grams.
        network_weight_N: the network's weight in the mixture, 1 without n-grams.
        ngrams_weight_N: the sum of those of the n-grams' experts.
        matched_N: how many of the ids before it the n-grams know as a context.
        unknown_chars: characters outside the alphabet.
    """

    text: str
    ids_N: np.ndarray
    chars_N: np.ndarray
    nats_N: np.ndarray
    ranks_N: np.ndarray
    likeliest_NK: np.ndarray
    probabilities_NK: np.ndarray
    network_nats_N: np.ndarray
    ngrams_nats_N: np.ndarray
    network_weight_N: np.ndarray
    ngrams_weight_N: np.ndarray
    matched_N: np.ndarray
    unknown_chars: int

    @property
    def nats_per_char(self) -> float:
        """Nats per character."""
        return float(self.nats_N.sum()) / int(self.chars_N.sum())

    @property
    def bits_per_char(self) -> float:
        """Bits per character."""
        return self.nats_per_char / math.log(2)

    def by_character(self) -> Surprise:
        """Return the same with ids joined so that a character begins with each.

        Of a character's bytes the nats are added up; what was expected is said of the first.
        """
        (starts,) = np.nonzero(self.chars_N)
        if len(starts) == len(self.ids_N):
            return self
        # Bytes that begin no character, at the very beginning of a text, join the first one.
        starts[0] = 0
        return replace(
            self._of_ids(starts),
            chars_N=np.add.reduceat(self.chars_N, starts),
            nats_N=np.add.reduceat(self.nats_N, starts),
            network_nats_N=np.add.reduceat(self.network_nats_N, starts),
            ngrams_nats_N=np.add.reduceat(self.ngrams_nats_N, starts),
        )

    def texts(self) -> list[str]:
        """Return the text of each id."""
        ends = self.chars_N.cumsum().tolist()
        starts = [0, *ends[:-1]]
        return [self.text[start:end] for start, end in zip(starts, ends, strict=True)]

    def head(self, chars: int) -> Surprise:
        """Return what is known of the first so many characters, at least one id."""
        count = max(1, int(np.searchsorted(np.cumsum(self.chars_N), chars, side="right")))
        text = self.text[: int(self.chars_N[:count].sum())]
        return replace(self._of_ids(slice(count)), text=text)

    def _of_ids(self, chosen: np.ndarray | slice) -> Surprise:
        """Return what is known of some of the ids, beside the whole text."""
        arrays: dict[str, Any] = {
            field.name: value[chosen]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        return replace(self, **arrays)

    def lines(self) -> list[LineScore]:
        """Return what each line costs; an id counts where its first character stands."""
        ends = np.cumsum(self.chars_N)
        texts = self.text.split("\n")
        # What follows the last newline is a line of its own only where there is something.
        lengths = [len(line) + 1 for line in texts[:-1]] + [len(texts[-1])]
        if not lengths[-1]:
            texts, lengths = texts[:-1], lengths[:-1]
        line_ends = np.cumsum(lengths)
        line_of_N = np.searchsorted(line_ends, ends - np.maximum(self.chars_N, 1), side="right")
        nats = np.bincount(line_of_N, self.nats_N, minlength=len(lengths))
        return [
            LineScore(number, line, length, float(cost))
            for number, (line, length, cost) in enumerate(zip(texts, lengths, nats, strict=True), 1)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return what the text costs in all, and on the average."""
        total, chars = float(self.nats_N.sum()), int(self.chars_N.sum())
        size = len(self.text.encode("utf-8", "surrogatepass"))
        return {
            "chars": chars,
            "unknown_chars": self.unknown_chars,
            "nats": total,
            "bits": total / math.log(2),
            "nats_per_char": total / chars,
            "bits_per_char": self.bits_per_char,
            "bits_per_byte": total / math.log(2) / size,
            "perplexity": math.exp(min(total / chars, 700)),
        }


class Expected(NamedTuple):
    """What was expected of the ids of one stretch: the arrays of `Surprise`."""

    nats_N: np.ndarray
    ranks_N: np.ndarray
    likeliest_NK: np.ndarray
    probabilities_NK: np.ndarray
    network_nats_N: np.ndarray
    ngrams_nats_N: np.ndarray
    network_weight_N: np.ndarray
    ngrams_weight_N: np.ndarray
    matched_N: np.ndarray


def measure_surprise(checkpoint: Checkpoint, text: str, likeliest: int = LIKELIEST) -> Surprise:
    """Return what a model expected of each id of a text, read from the zero state.

    Args:
        checkpoint: the model; one of records reads the text as records.
        text: at least one character.
        likeliest: K, at most V are kept.

    Raises:
        TextError: if the text is empty.
        NumericsError: if the model's scores are not finite.
    """
    if not text:
        raise TextError("text", "empty", "give at least 1 character")
    tokenizer = checkpoint.tokenizer
    model, parts = make_engine(checkpoint), list[Expected]()
    records, boundary = checkpoint.metadata.records or "lines", tokenizer.boundary_id
    likeliest = min(likeliest, tokenizer.size)
    encoded = [text] if boundary is None else split_records(text, records)
    if not encoded:
        raise TextError("text", "holds no records", "give at least one")
    policy = "replace" if tokenizer.unknown_nats else "error"
    passages = [tokenizer.encode(passage, policy) for passage in encoded]
    # As in evaluation: a second thread gains little at one row, and loses much on a busy machine.
    with Threads(1):
        for ids in passages:
            parts += _read(model, ids, tokenizer, likeliest)
    ids_N = np.concatenate(passages if boundary is None else _ended(passages, boundary))
    expected = Expected(*map(np.concatenate, zip(*parts, strict=True)))
    chars_N = tokenizer.chars_V[ids_N].astype(np.int64)
    if boundary is not None:
        chars_N[ids_N == boundary] = 1
        text = "".join(record + "\n" for record in encoded)
    return Surprise(text, ids_N, chars_N, *expected, _count_unknown(tokenizer, ids_N))


def _ended(records: list[np.ndarray], boundary: int) -> list[np.ndarray]:
    """Return records with the boundary at the end of each."""
    return [np.append(ids, np.array(boundary, dtype=ids.dtype)) for ids in records]


def _read(model: Any, ids: np.ndarray, tokenizer: Tokenizer, likeliest: int) -> Iterator[Expected]:
    """Yield what was expected of the ids of one text, or of a record and of its end."""
    state: StepperState = None
    boundary = tokenizer.boundary_id
    if boundary is None:
        said = np.log(first_distribution(tokenizer.counts))[None]
        nothing_NV = np.full_like(said, np.nan)
        yield _expect(Parts(said, nothing_NV), ids[:1], likeliest, tokenizer.unknown_nats)
        x_N, y_N = ids[:-1].astype(np.int64), ids[1:].astype(np.int64)
    else:
        framed = np.concatenate([[boundary], ids.astype(np.int64), [boundary]])
        x_N, y_N = framed[:-1], framed[1:]
    for start in range(0, len(x_N), AT_ONCE):
        x_T1 = x_N[start : start + AT_ONCE, None]
        for block in blocks(x_T1.shape, 4 * tokenizer.size):
            said_NV, state = take_apart(model, x_T1[block], state)
            y = y_N[start : start + AT_ONCE][block]
            yield _expect(said_NV, y, likeliest, tokenizer.unknown_nats)


def _expect(parts: Parts, y_N: np.ndarray, likeliest: int, unknown_nats: float) -> Expected:
    """Return what was expected of ids from the log-probabilities of all ids in their places."""
    every_N, model_NV = np.arange(len(y_N)), parts.model_NV
    said_N1 = model_NV[every_N, y_N][:, None]
    if not np.isfinite(said_N1).all():
        problem = "the model's scores are not finite"
        raise NumericsError("surprise", problem, "the model diverged; use an earlier checkpoint")
    # Of equally likely ids the one with the lower number is first, in ranks as in the list.
    ahead_NV = (model_NV > said_N1) | (
        (model_NV == said_N1) & (np.arange(model_NV.shape[1]) < y_N[:, None])
    )
    top_NK = np.argsort(-model_NV, axis=1, kind="stable")[:, :likeliest]
    extra_N = np.where(y_N == UNKNOWN, unknown_nats, 0.0)
    nothing_N = np.full(len(y_N), np.nan)
    ngrams_NV, weights_NX = parts.ngrams_NV, parts.weights_NX
    if weights_NX is None:
        weights_NX = np.eye(1, 2).repeat(len(y_N), axis=0)
    return Expected(
        nats_N=extra_N - said_N1[:, 0],
        ranks_N=1 + ahead_NV.sum(axis=1),
        likeliest_NK=top_NK,
        probabilities_NK=np.exp(np.take_along_axis(model_NV, top_NK, axis=1)),
        network_nats_N=extra_N - parts.network_NV[every_N, y_N],
        ngrams_nats_N=nothing_N if ngrams_NV is None else extra_N - ngrams_NV[every_N, y_N],
        network_weight_N=weights_NX[:, 0],
        ngrams_weight_N=weights_NX[:, 1:].sum(axis=1),
        matched_N=np.zeros(len(y_N), np.int64) if parts.matched_N is None else parts.matched_N,
    )


def _count_unknown(tokenizer: Tokenizer, ids: np.ndarray) -> int:
    return int((ids == UNKNOWN).sum()) if tokenizer.unknown_nats else 0
