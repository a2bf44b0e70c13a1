"""What a model expects after a text: the next id, and the likeliest ways to go on.

    >>> predict(textgen.load("checkpoints/corpus").checkpoint, "ROMEO").names[0]
    ':'

Shapes: K likeliest ids, V vocabulary, B branches that grow side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.analysis.pages import names_of_ids
from textgen.checkpoint import Checkpoint, make_engine
from textgen.engine import (
    Parts,
    Stepper,
    StepperState,
    Threads,
    first_distribution,
    log_softmax,
    sampling_threads,
    take_apart,
)
from textgen.errors import UsageError
from textgen.sampling import take_rows

# A branch that is less likely does not grow.
LEAST_LIKELY = 0.01
# Ids after which a tree may go on, so that it stays quick.
DEEPEST = 100


@dataclass(frozen=True)
class Prediction:
    """What a model expects after a text, the likeliest first.

    Attributes:
        prime: the text.
        names: what each id is called, as `pages.names_of_ids` does.
        ids_K: the ids.
        probabilities_K: of the model.
        network_K: of the network alone; None where nothing was read, and the training counts say
            what comes first.
        ngrams_K: of the n-grams by their longest contexts alone; None without n-grams.
        network_weight: the network's in the mixture; ngrams_weight: the sum of those of the
            n-grams' experts.
        matched: how many of the newest ids the n-grams know as a context.
    """

    prime: str
    names: tuple[str, ...]
    ids_K: np.ndarray
    probabilities_K: np.ndarray
    network_K: np.ndarray | None = None
    ngrams_K: np.ndarray | None = None
    network_weight: float = 1.0
    ngrams_weight: float = 0.0
    matched: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the prime, each likely id with its probabilities, and the weights."""
        columns = {
            "probability": self.probabilities_K,
            "network": self.network_K,
            "ngrams": self.ngrams_K,
        }
        likeliest = [
            {"next": name}
            | {key: float(column[k]) for key, column in columns.items() if column is not None}
            for k, name in enumerate(self.names)
        ]
        weights = {"network_weight": self.network_weight, "ngrams_weight": self.ngrams_weight}
        return {"prime": self.prime, "likeliest": likeliest, **weights, "matched": self.matched}


@dataclass(frozen=True)
class Branch:
    """A way to go on: what an id is called, how likely the way so far is, and its branches.

    The likeliest branch is first.
    """

    name: str
    probability: float
    branches: tuple[Branch, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it and all that grows from it."""
        branches = [branch.to_json() for branch in self.branches]
        return {"next": self.name, "probability": self.probability, "branches": branches}


def predict(checkpoint: Checkpoint, prime: str = "", likeliest: int = 10) -> Prediction:
    """Return what a model expects after a text.

    Args:
        checkpoint: the model; of one of records, prime is the beginning of a record.
        prime: the text, brought into the form of the training text.
        likeliest: K, at most V are returned.

    Raises:
        UsageError: likeliest is below 1.
        TextError: for a character that the model cannot read.

    >>> predict(checkpoint, "ROMEO", likeliest=3).probabilities_K.sum()
    """
    if likeliest < 1:
        raise UsageError("-k", f"{likeliest} is below 1", "ask for at least one")
    prime = checkpoint.metadata.text_format.apply(prime)
    ids, names = _ids_of_prime(checkpoint, prime), names_of_ids(checkpoint.tokenizer)
    with Threads(sampling_threads(checkpoint.model.parameters())):
        parts = _after(make_engine(checkpoint), checkpoint, ids)
    top_K = np.argsort(-parts.model_NV[0], kind="stable")[:likeliest]
    probabilities_K = np.exp(parts.model_NV[0, top_K])
    shown = tuple(names[index] for index in top_K)
    if not len(ids):
        return Prediction(prime, shown, top_K, probabilities_K)
    network_K = np.exp(parts.network_NV[0, top_K])
    if parts.ngrams_NV is None or parts.weights_NX is None or parts.matched_N is None:
        return Prediction(prime, shown, top_K, probabilities_K, network_K)
    network_weight, *ngram_weights = parts.weights_NX[0].tolist()
    return Prediction(
        prime,
        shown,
        top_K,
        probabilities_K,
        network_K,
        np.exp(parts.ngrams_NV[0, top_K]),
        network_weight,
        sum(ngram_weights),
        int(parts.matched_N[0]),
    )


def grow_tree(checkpoint: Checkpoint, prime: str, depth: int, width: int = 3) -> Branch:
    """Return the likeliest ways to go on after a text, of at least 1 % each, as a tree.

    Args:
        checkpoint: the model, as in `predict`.
        prime: the text at the root, whose probability is 1.
        depth: ids of the longest ways.
        width: branches of each, at most.

    Raises:
        UsageError: depth or width is below 1, or depth is above 100.
        TextError: for a character that the model cannot read.

    >>> grow_tree(checkpoint, "ROMEO", depth=4).branches[0].name
    ':'
    """
    if not 1 <= depth <= DEEPEST:
        raise UsageError("--tree", f"{depth} is not from 1 to {DEEPEST}", "give a depth in between")
    if width < 1:
        raise UsageError("-k", f"{width} is below 1", "ask for at least one")
    prime = checkpoint.metadata.text_format.apply(prime)
    ids, model = _ids_of_prime(checkpoint, prime), make_engine(checkpoint)
    with Threads(sampling_threads(checkpoint.model.parameters())):
        if len(ids):
            scores_BV, state = model.read(ids, 1, None)
        else:
            scores_BV, state = _first_scores(checkpoint), None
        grown = _grow(model, checkpoint, scores_BV, state, np.ones(1), depth, width)
    return Branch(prime, 1.0, grown[0])


def _ids_of_prime(checkpoint: Checkpoint, prime: str) -> np.ndarray:
    """Return the ids of a prime, after the boundary that begins a record."""
    ids = checkpoint.tokenizer.encode(prime, subject="prime").astype(np.int64)
    boundary = checkpoint.tokenizer.boundary_id
    return ids if boundary is None else np.concatenate([[boundary], ids])


def _first_scores(checkpoint: Checkpoint) -> np.ndarray:
    """Return the log-probabilities (1, V) of a text's first id."""
    first_V: np.ndarray = np.log(first_distribution(checkpoint.tokenizer.counts))
    return first_V[None]


def _after(model: Any, checkpoint: Checkpoint, ids: np.ndarray) -> Parts:
    """Return what each part of a model says after ids."""
    if not len(ids):
        first_NV = _first_scores(checkpoint)
        return Parts(first_NV, first_NV)
    state = model.read(ids[:-1], 1, None)[1] if len(ids) > 1 else None
    return take_apart(model, ids[-1:, None], state)[0]


def _grow(
    model: Stepper,
    checkpoint: Checkpoint,
    scores_BV: np.ndarray,
    state: StepperState,
    likely_B: np.ndarray,
    depth: int,
    width: int,
) -> list[tuple[Branch, ...]]:
    """Return the branches of B ways whose probabilities are likely_B."""
    reached_BV = likely_B[:, None] * np.exp(log_softmax(scores_BV))
    top_BK = np.argsort(-reached_BV, axis=1, kind="stable")[:, :width]
    rows, ranks = np.nonzero(np.take_along_axis(reached_BV, top_BK, axis=1) >= LEAST_LIKELY)
    ids, names = top_BK[rows, ranks], names_of_ids(checkpoint.tokenizer)
    likely = reached_BV[rows, ids]
    below: list[tuple[Branch, ...]] = [()] * len(ids)
    # A record is over where the boundary comes.
    going_on = np.flatnonzero(ids != checkpoint.tokenizer.boundary_id)
    if depth > 1 and len(going_on):
        read = take_rows(state, rows[going_on])
        further_BV, after = model.step(ids[going_on], read)
        grown = _grow(model, checkpoint, further_BV, after, likely[going_on], depth - 1, width)
        for index, branches in zip(going_on.tolist(), grown, strict=True):
            below[index] = branches
    branches_of: list[list[Branch]] = [[] for _ in likely_B]
    for row, index, probability, branches in zip(rows, ids, likely, below, strict=True):
        branches_of[row].append(Branch(names[index], float(probability), branches))
    return [tuple(branches) for branches in branches_of]
