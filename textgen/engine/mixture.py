"""A network and a count of n-grams as one model: the weighted mean of their probabilities.

The two are made apart and mixed afterwards; training the network on the mixture's own loss was
tried and came out worse (docs/log.md). `share` is the n-grams' weight.

State is a value: the network's state with the n-grams' behind it.

    >>> model = make_engine(Checkpoint.load(path))
    >>> log_probabilities_BV, state = model.step(np.array([5]), None)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from textgen.engine.network import ignore_overflow, log_softmax
from textgen.engine.ngrams import NGrams
from textgen.engine.stepper import Stepper

MixtureState = tuple[Any, ...]

HALVINGS = 50  # of the range in which the best share lies


class Mixture:
    """A network's stepper and n-grams of one vocabulary, as a stepper."""

    def __init__(self, network: Stepper, ngrams: NGrams, share: float) -> None:
        self.network, self.ngrams, self.share = network, ngrams, share

    def initial_state(self, rows: int) -> MixtureState:
        """Return the state of B rows that have read nothing."""
        return (*self.network.initial_state(rows), *self.ngrams.initial_state(rows))

    def step(
        self, ids_B: np.ndarray, state: MixtureState | None
    ) -> tuple[np.ndarray, MixtureState]:
        """Return log-probabilities (B, V) of the character after ids_B, and the state."""
        own, others = _apart(state)
        logits_BV, own = self.network.step(ids_B, own)
        logs_BV, others = self.ngrams.step(ids_B, others)
        return mix(log_softmax(logits_BV), logs_BV, self.share), (*own, *others)

    @ignore_overflow
    def read(
        self, ids: np.ndarray, rows: int, state: MixtureState | None
    ) -> tuple[np.ndarray, MixtureState]:
        """Feed ids (n,), n >= 1, to every row; return the last log-probabilities and the state."""
        own, others = _apart(state)
        logits_BV, own = self.network.read(ids, rows, own)
        logs_BV, others = self.ngrams.read(ids, rows, others)
        return mix(log_softmax(logits_BV), logs_BV, self.share), (*own, *others)

    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: MixtureState | None
    ) -> tuple[np.ndarray, MixtureState]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB."""
        own, others = _apart(state)
        own_TB, own = self.network.nats(x_TB, y_TB, own)
        others_TB, others = self.ngrams.nats(x_TB, y_TB, others)
        return -mix(-own_TB, -others_TB, self.share), (*own, *others)


def _apart(state: MixtureState | None) -> tuple[MixtureState | None, MixtureState | None]:
    return (state[:-1], state[-1:]) if state else (None, None)


def mix(network: np.ndarray, ngrams: np.ndarray, share: float) -> np.ndarray:
    """Return log((1 - share) e^network + share e^ngrams)."""
    # A share of 0 or 1 leaves one of them out; that a network diverged is the sampler's to report.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.logaddexp(np.log1p(-share) + network, np.log(share) + ngrams))


def best_share(network: np.ndarray, ngrams: np.ndarray) -> float:
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
