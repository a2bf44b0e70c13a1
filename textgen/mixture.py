"""A network and a count of n-grams as one model: the weighted mean of their probabilities.

In the walk after `threads`. The two are made apart and mixed afterwards; training the network on
the mixture's own loss was tried and came out worse (docs/log.md). `share` is the n-grams' weight.

State is a value: the network's state with the n-grams' behind it.

    >>> model = make_engine(Checkpoint.load(path))
    >>> log_probabilities_BV, state = model.step(np.array([5]), None)
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from textgen import measure
from textgen.checkpoint import Checkpoint
from textgen.engine import Engine, log_softmax, quiet
from textgen.ngrams import NGrams

Array = np.ndarray
State = tuple[Any, ...]

HALVINGS = 50  # of the range in which the best share lies


class Stepper(measure.Stepper, Protocol):
    """What writes text: the numpy engine, a torch model on its device, n-grams, or a mixture."""

    def initial_state(self, rows: int) -> Any:
        """Return the state of B rows that have read nothing."""
        ...

    def step(self, ids_B: Array, state: Any) -> tuple[Array, Any]:
        """Return logits_BV of the character after ids_B, and the state that has read ids_B."""
        ...

    def read(self, ids: Array, rows: int, state: Any) -> tuple[Array, Any]:
        """Feed ids (n,), n >= 1, to every row; return the last logits_BV and the state."""
        ...


class Mixture:
    """A network's stepper and n-grams of one vocabulary, as a stepper."""

    def __init__(self, network: Stepper, ngrams: NGrams, share: float) -> None:
        self.network, self.ngrams, self.share = network, ngrams, share

    def initial_state(self, rows: int) -> State:
        """Return the state of B rows that have read nothing."""
        return (*self.network.initial_state(rows), *self.ngrams.initial_state(rows))

    def step(self, ids_B: Array, state: State | None) -> tuple[Array, State]:
        """Return log-probabilities (B, V) of the character after ids_B, and the state."""
        own, others = _apart(state)
        logits_BV, own = self.network.step(ids_B, own)
        logs_BV, others = self.ngrams.step(ids_B, others)
        return mix(log_softmax(logits_BV), logs_BV, self.share), (*own, *others)

    @quiet
    def read(self, ids: Array, rows: int, state: State | None) -> tuple[Array, State]:
        """Feed ids (n,), n >= 1, to every row; return the last log-probabilities and the state."""
        own, others = _apart(state)
        logits_BV, own = self.network.read(ids, rows, own)
        logs_BV, others = self.ngrams.read(ids, rows, others)
        return mix(log_softmax(logits_BV), logs_BV, self.share), (*own, *others)

    def nats(self, x_TB: Array, y_TB: Array, state: State | None) -> tuple[Array, State]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB."""
        own, others = _apart(state)
        own_TB, own = self.network.nats(x_TB, y_TB, own)
        others_TB, others = self.ngrams.nats(x_TB, y_TB, others)
        return -mix(-own_TB, -others_TB, self.share), (*own, *others)


def with_ngrams(network: Stepper, checkpoint: Checkpoint) -> Stepper:
    """Return the network of a checkpoint mixed with the checkpoint's n-grams, if it has them."""
    if checkpoint.ngrams is None:
        return network
    return Mixture(network, checkpoint.ngrams, checkpoint.share)


def make_engine(checkpoint: Checkpoint) -> Stepper:
    """Return a checkpoint's model as what writes text without torch."""
    if checkpoint.ngrams:
        checkpoint.ngrams.prepare()  # before the engine takes its room: the peak is lower
    return with_ngrams(Engine(checkpoint.model, checkpoint.weights), checkpoint)


def _apart(state: State | None) -> tuple[State | None, State | None]:
    return (state[:-1], state[-1:]) if state else (None, None)


def mix(network: Array, ngrams: Array, share: float) -> Array:
    """Return log((1 - share) e^network + share e^ngrams)."""
    # A share of 0 or 1 leaves one of them out; that a network diverged is the sampler's to report.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.logaddexp(np.log1p(-share) + network, np.log(share) + ngrams))


def best_share(network: Array, ngrams: Array) -> float:
    """Return the share under which texts of these nats (n,) and (n,) are likeliest.

    Their likelihood has one top, which is found by halving towards where it rises.
    """
    gain = np.expm1(np.clip(network - ngrams, -700, 700))  # of the n-grams over the network
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        share = (low + high) / 2
        if np.mean(gain / (1 + share * gain)) > 0:
            low = share
        else:
            high = share
    return share
