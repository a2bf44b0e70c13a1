"""The n-grams beside the network of a run, and the stretches of its training part that weigh them.

Neither part may have read what the mixture is fitted on. So stretches from all over the training
part are kept from the network for most of the training; the n-grams are first counted without them,
their back-off and the weights of the mixture are fitted on them, and only then are they counted
too. The validation part chooses nothing but the checkpoint. A single stretch at the end would do
as well, were it not that the text that follows is most like it: a network that has not read it
predicts that text far worse; so the last stretch too has text behind it that is read from the first
step on (docs/log.md, "n-grams without a ceiling", "the network's hundred seconds").

    >>> partner = make_partner(choose_stretches(ids, tokenizer), tokenizer, longest=15)
    >>> weights_WX = partner.fit(TorchStepper(network))
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from textgen.data import IdSource, MappedIds
from textgen.engine import (
    FEW_IDS,
    Mixture,
    Network,
    NGrams,
    NGramState,
    StepperState,
    blocks,
    fit_weights,
    learn_odds,
    likeliest,
    log_softmax,
    usual_weights,
    weight_rows,
)
from textgen.evaluation import protocols
from textgen.tokenizers import Tokenizer

# Of the training part, and in ids: more hardly better the weights.
KEPT_SHARE, MOST_KEPT_IDS = 0.05, 100_000
# Ids for each second of a time budget: reading them takes a twentieth of it.
KEPT_PER_SECOND = 600
# Stretches that are kept from the network, each in the middle of its share of the text.
STRETCHES = 8
# From a longer text only its end is kept, as others would have to be cut out of a copy.
LONG_TEXT = 100_000_000
# Log-probabilities remembered of them, and of the validation part.
MOST_KEPT = 24_000_000
# Ids on which weights are fitted while the network is still in training.
QUICK_IDS = 10_000
# Ids that are read to know how long that takes.
TIMED_IDS = 1000
# Where they are a smaller part of the text, counting them too is not worth the time.
RECOUNT_SHARE = 0.02


@dataclass
class Partner:
    """N-grams of a training part and the stretches of it that are kept from the network.

    Attributes:
        ngrams: of the training part.
        kept: (n,) the ids that the network does not train on at first, perhaps none.
        seconds_per_id: what the n-grams take to read an id.
        nats_lost: about what the n-grams alone lose on each id where they are not counted in all of
            the text.
        usual_WX: the rows of weights where too little is kept to fit them.
    """

    ngrams: NGrams
    kept: np.ndarray
    tokenizer: Tokenizer
    seconds_per_id: float
    nats_lost: float = 0.0
    usual_WX: np.ndarray = field(default_factory=usual_weights)
    _fitted: NGrams | None = None
    _said: dict[int, Replay] = field(default_factory=dict)

    def fit(self, network: Network, most: int = MOST_KEPT_IDS) -> np.ndarray:
        """Return the rows of weights under which the first of the kept ids are likeliest."""
        ids = self.kept[: cut_at_record(self.kept, min(most, len(self.kept)), self.tokenizer)]
        witness = Witness(network, self._replay(len(ids)), self.tokenizer)
        if len(ids) >= FEW_IDS:
            read_ids(witness, ids, self.tokenizer)
        return witness.fit(self.usual_WX)

    def _replay(self, number: int) -> Replay:
        if number not in self._said:
            self._said[number] = Replay(self.ngrams if self._fitted is None else self._fitted)
        self._said[number].rewind()
        return self._said[number]


class Stretches(NamedTuple):
    """A training part and the stretches of it that are kept from the network at first.

    Attributes:
        ids: (n,) the training part.
        begin: where the n-grams begin to count.
        rest: the ids that the network trains on at first.
        kept: (k,) those that it does not, perhaps none.
    """

    ids: IdSource
    begin: int
    rest: IdSource
    kept: np.ndarray


def choose_stretches(
    ids: IdSource,
    tokenizer: Tokenizer,
    seconds: float | None = None,
    most_counted: int = sys.maxsize,
) -> Stretches:
    """Return the stretches of a training part that the mixture is weighed on.

    Args:
        ids: (n,) the training part.
        tokenizer: what they stand for.
        seconds: the time budget, if it is one of time.
        most_counted: of a longer text only so many ids at the end are counted.
    """
    begin = max(0, len(ids) - most_counted)
    most = min(MOST_KEPT_IDS, MOST_KEPT // (3 * tokenizer.size))
    if seconds is not None:
        most = min(most, int(KEPT_PER_SECOND * seconds))
    number = min(most, int(KEPT_SHARE * (len(ids) - begin)))
    rest, kept = set_aside(ids, number, tokenizer, begin)
    if len(kept) < FEW_IDS:
        return Stretches(ids, begin, ids, kept[:0])
    return Stretches(ids, begin, rest, kept)


def make_partner(stretches: Stretches, tokenizer: Tokenizer, longest: int) -> Partner:
    """Return the n-grams of a training part, their back-off learned on stretches of it.

    Args:
        stretches: as `choose_stretches` returns them.
        tokenizer: what their ids stand for.
        longest: the longest context.
    """
    ids, begin, rest, kept = stretches
    if not len(kept):
        ngrams = NGrams.count(ids[begin:], tokenizer.size, longest)
        return Partner(ngrams, kept, tokenizer, 0.0)
    fitted = learn_odds(NGrams.count(rest[begin:], tokenizer.size, longest), kept)
    ngrams = fitted
    if len(kept) > RECOUNT_SHARE * (len(ids) - begin):
        counted = NGrams.count(ids[begin:], tokenizer.size, longest)
        ngrams = NGrams(counted.contexts, fitted.odds_CLG)
    partner = Partner(ngrams, kept, tokenizer, 0.0, _fitted=fitted)
    if begin:
        doublings = math.log2(len(ids) / (len(ids) - begin))
        partner.nats_lost = doublings * nats_of_doubling(fitted, rest, kept)
    partner.seconds_per_id = _time_reading(fitted, kept)
    return partner


def _time_reading(ngrams: NGrams, ids: np.ndarray) -> float:
    """Return the seconds that an id takes, once what most texts ask for has been made."""
    first, second = np.array_split(ids[: 2 * TIMED_IDS, None].astype(np.int64), 2)
    _, _, state = ngrams.along(first, None)
    started = time.monotonic()
    ngrams.along(second, state)
    return (time.monotonic() - started) / len(second)


def nats_of_doubling(ngrams: NGrams, counted: IdSource, kept: np.ndarray) -> float:
    """Return how much better n-grams predict an id for each doubling of the text they count.

    It is half of what they have gained by the last two. counted: the ids that end with what they
    were counted in. kept: other ids.
    """
    quarter = counted[-max(1, len(ngrams.contexts) // 4) :]
    fewer = NGrams.count(quarter, ngrams.vocab, ngrams.longest)
    ids_T1 = kept[:QUICK_IDS, None].astype(np.int64)
    less, more = (
        model.nats(ids_T1[:-1], ids_T1[1:], None)[0].mean()
        for model in (NGrams(fewer.contexts, ngrams.odds_CLG), ngrams)
    )
    return float(max(0.0, less - more) / 2)


def set_aside(
    ids: IdSource, number: int, tokenizer: Tokenizer, begin: int = 0
) -> tuple[IdSource, np.ndarray]:
    """Return a training part without some stretches, and their ids, about `number` in all.

    They are taken from what stands behind `begin`.
    """
    stretches = STRETCHES if len(ids) <= LONG_TEXT else 1
    rest, kept, before = [], [], 0
    behind = 0 if stretches == 1 else ((len(ids) - begin) - number) // (2 * stretches)
    for stretch in range(1, stretches + 1):
        end = begin + (len(ids) - begin) * stretch // stretches - behind
        last = cut_at_record(ids, end, tokenizer)
        first = cut_at_record(ids, max(before, last - number // stretches), tokenizer)
        rest.append((before, first))
        kept.append(np.asarray(ids[first:last]))
        before = last
    if before < len(ids):
        rest.append((before, len(ids)))
    return _join(ids, rest), np.concatenate(kept)


def _join(ids: IdSource, stretches: list[tuple[int, int]]) -> IdSource:
    """Return stretches of ids, one after the other, unread if they were."""
    if isinstance(ids, MappedIds):
        return MappedIds(np.asarray(_join(ids.char_indices, stretches)), ids.table)
    if len(stretches) == 1:
        return ids[slice(*stretches[0])]
    return np.concatenate([ids[begin:end] for begin, end in stretches])


def cut_at_record(ids: IdSource, place: int, tokenizer: Tokenizer) -> int:
    """Return a place, or where the first record ends that does so there or after it."""
    if tokenizer.boundary_id is None or place == 0:
        return place
    ends = np.flatnonzero(np.asarray(ids[place - 1 :]) == tokenizer.boundary_id)
    return place + int(ends[0]) if len(ends) else len(ids)


class Replay(NGrams):
    """N-grams that remember what they said of a text, for who reads it again in the same order."""

    def __init__(self, ngrams: NGrams) -> None:
        super().__init__(ngrams.contexts, ngrams.odds_CLG)
        self._ngrams = ngrams
        self._said: list[tuple[np.ndarray, np.ndarray, NGramState]] = []
        self._next = 0

    def rewind(self) -> None:
        """Begin again at the text's beginning."""
        self._next = 0

    def along(
        self, x_TB: np.ndarray, state: NGramState | None
    ) -> tuple[np.ndarray, np.ndarray, NGramState]:
        """Do what `NGrams.along` does, or remember it."""
        if self._next == len(self._said):
            experts_NXV, matched_N, state = self._ngrams.along(x_TB, state)
            self._said.append((experts_NXV.astype(np.float32), matched_N, state))
        self._next += 1
        return self._said[self._next - 1]


class Witness:
    """A mixture to be: a scorer that only notes what its parts say, and fits weights to it."""

    def __init__(self, network: Network, ngrams: Replay, tokenizer: Tokenizer) -> None:
        self.network, self.ngrams, self.tokenizer = network, ngrams, tokenizer
        self._noted: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: tuple[StepperState, ...] | None
    ) -> tuple[np.ndarray, tuple[StepperState, ...]]:
        """Note what the parts say of y_TB after x_TB; return zeros, and the state after x_TB."""
        network_state: StepperState = state[:-1] if state else None
        ngram_state: NGramState | None = state[-1:] if state else None
        # What stands before the beginning of streams only warms them.
        is_noted = state is not None or self.tokenizer.boundary_id is not None
        for part in blocks(y_TB.shape, self.ngrams.vocab):
            logits_TBV, network_state = self.network.logits(x_TB[part], y_TB[part], network_state)
            experts_NXV, matched_N, ngram_state = self.ngrams.along(x_TB[part], ngram_state)
            if is_noted:
                self._note(
                    logits_TBV.reshape(len(experts_NXV), -1),
                    experts_NXV,
                    matched_N,
                    y_TB[part].reshape(-1),
                )
        return np.zeros(y_TB.shape), (*network_state, *(ngram_state or ()))

    def _note(
        self, logits_NV: np.ndarray, experts_NXV: np.ndarray, matched_N: np.ndarray, y_N: np.ndarray
    ) -> None:
        network_NV = log_softmax(logits_NV).astype(np.float32)
        rows_N3 = weight_rows(network_NV, experts_NXV, matched_N)
        # Behind the end of a record stands the id of what is unknown.
        known_N = y_N > 0
        together_NXV = np.concatenate([network_NV[:, None], experts_NXV], axis=1)[known_N]
        self._noted.append((*likeliest(together_NXV, y_N[known_N]), rows_N3[known_N]))

    def fit(self, usual_WX: np.ndarray) -> np.ndarray:
        """Return the weights that fit what was noted, the usual ones if that is nothing."""
        if not self._noted:
            return usual_WX
        said, ids, rows = (
            np.concatenate([noted[part] for noted in self._noted]) for part in range(3)
        )
        return fit_weights(said, rows, ids, usual_WX)


def read_ids(model: Witness | Mixture, ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Return what each id costs a model, read as 16 streams, or record by record."""
    if tokenizer.boundary_id is None:
        return protocols.streamed(model, ids, tokenizer.counts, tokenizer.unknown_nats)
    framed = np.concatenate([np.array([tokenizer.boundary_id], ids.dtype), ids])
    return protocols.by_records(model, framed, tokenizer)[1:]
