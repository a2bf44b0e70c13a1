"""A network and a count of n-grams as one model: the weighted mean of their probabilities.

    p(c) = (1 - ngram_weight) p_network(c) + ngram_weight p_ngrams(c)

The two are made apart and mixed afterwards; training the network on the mixture's own loss was
tried and came out worse (docs/log.md, "n-grams beside the network").

    >>> model = make_engine(Checkpoint.load(path))
    >>> log_probabilities_BV, state = model.step(np.array([5]), None)
"""

from __future__ import annotations

import numpy as np

from textgen.engine.network import ignore_overflow, log_softmax
from textgen.engine.ngrams import NGrams
from textgen.engine.stepper import Stepper, StepperState

# The network's state with the n-grams' behind it, as if that were one more layer: so it is taken
# apart by rows, put together, set to zero and saved by the same few lines as a network's.
MixtureState = tuple[StepperState, ...]

# Of the interval in which the best weight lies: they leave one of 1e-15.
HALVINGS = 50


class Mixture:
    """A network and n-grams of one vocabulary, as a stepper.

    Args:
        network: a stepper that answers with logits.
        ngrams: of the same ids.
        ngram_weight: of the n-grams' probabilities, 0 to 1.
    """

    def __init__(self, network: Stepper, ngrams: NGrams, ngram_weight: float) -> None:
        self.network, self.ngrams, self.ngram_weight = network, ngrams, ngram_weight

    def initial_state(self, rows: int) -> MixtureState:
        """Return the state of B rows that have read nothing."""
        return (*self.network.initial_state(rows), *self.ngrams.initial_state(rows))

    def step(
        self, ids_B: np.ndarray, state: MixtureState | None
    ) -> tuple[np.ndarray, MixtureState]:
        """Return log-probabilities (B, V) of the id after ids_B, and the state."""
        network_state, ngram_state = _split(state)
        logits_BV, network_state = self.network.step(ids_B, network_state)
        ngrams_BV, ngram_state = self.ngrams.step(ids_B, ngram_state)
        return self._mix(logits_BV, ngrams_BV), (*network_state, *ngram_state)

    @ignore_overflow
    def read(
        self, ids: np.ndarray, rows: int, state: MixtureState | None
    ) -> tuple[np.ndarray, MixtureState]:
        """Feed ids (n,), n >= 1, to every row; return the last log-probabilities and the state."""
        network_state, ngram_state = _split(state)
        logits_BV, network_state = self.network.read(ids, rows, network_state)
        ngrams_BV, ngram_state = self.ngrams.read(ids, rows, ngram_state)
        return self._mix(logits_BV, ngrams_BV), (*network_state, *ngram_state)

    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: MixtureState | None
    ) -> tuple[np.ndarray, MixtureState]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB."""
        network_state, ngram_state = _split(state)
        network_TB, network_state = self.network.nats(x_TB, y_TB, network_state)
        ngrams_TB, ngram_state = self.ngrams.nats(x_TB, y_TB, ngram_state)
        mixed_TB = mix(-network_TB, -ngrams_TB, self.ngram_weight)
        return -mixed_TB, (*network_state, *ngram_state)

    def _mix(self, logits_BV: np.ndarray, ngrams_BV: np.ndarray) -> np.ndarray:
        return mix(log_softmax(logits_BV), ngrams_BV, self.ngram_weight)


def _split(state: MixtureState | None) -> tuple[StepperState, StepperState]:
    """Return the network's state and the n-grams'."""
    return (state[:-1], state[-1:]) if state else (None, None)


def mix(network: np.ndarray, ngrams: np.ndarray, ngram_weight: float) -> np.ndarray:
    """Return the log-probabilities of the mixture: log((1 - w) e^network + w e^ngrams).

    Args:
        network: log-probabilities, of any shape.
        ngrams: log-probabilities of the same shape.
        ngram_weight: w, 0 to 1.
    """
    # A weight of 0 or 1 leaves one of them out; that a network diverged is the sampler's to report.
    with np.errstate(divide="ignore", invalid="ignore"):
        log_weights = np.log1p(-ngram_weight), np.log(ngram_weight)
        return np.asarray(np.logaddexp(log_weights[0] + network, log_weights[1] + ngrams))


def best_ngram_weight(network: np.ndarray, ngrams: np.ndarray) -> float:
    """Return the n-grams' weight under which a text is likeliest.

    With r_i = p_ngrams / p_network - 1 of the i-th id, the derivative of the text's mean
    log-likelihood by the weight w is the mean of r_i / (1 + w r_i). It falls as w rises, so its
    only zero is found by halving.

    Args:
        network: (n,) nats of each id under the network.
        ngrams: (n,) nats of each id under the n-grams.
    """
    ratio_minus_one = np.expm1(np.clip(network - ngrams, -700, 700))
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        weight = (low + high) / 2
        if np.mean(ratio_minus_one / (1 + weight * ratio_minus_one)) > 0:
            low = weight
        else:
            high = weight
    return weight
