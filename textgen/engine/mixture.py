"""A network and n-grams as one model: a weighted mean of the logarithms of their probabilities.

    p(c) is in proportion to exp(sum over i of w_i log p_i(c))

where p_1 is the network's and the others are the n-grams' experts. In the log domain an expert that
is sure can rule an id out, and a weight can be below 0: so what a short context says is taken off
what the long ones have said already. The weights are the sum of one row for all and, where the text
they were fitted on was long enough, a row for how the network and the longest n-grams agree and one
for how long a context was found. They are fitted on ids that neither part has read, after both are
made (docs/log.md, "n-grams without a ceiling").

Shapes: B rows, T ids, X experts with the network as the first, V vocabulary, W rows of weights.

    >>> model = make_engine(Checkpoint.load(path))
    >>> log_probabilities_BV, state = model.step(np.array([5]), None)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from textgen.engine.network import ignore_overflow, log_softmax
from textgen.engine.ngrams import NGrams, blocks
from textgen.engine.smoothing import EXPERTS
from textgen.engine.stepper import Network, StepperState

# The network's state with the n-grams' behind it, as if that were one more layer: so it is taken
# apart by rows, put together, set to zero and saved by the same few lines as a network's.
MixtureState = tuple[StepperState, ...]

# Classes of how sure a part is of its likeliest id, and of the length of the longest known context.
SURE, LENGTHS = 6, 24
# Where the rows of weights begin: for all, for what the two agree on, for the length.
AGREEMENT, MATCH = 1, 1 + 2 * SURE * SURE
ROWS = MATCH + LENGTHS
# For all, where there was no text to fit them on: what fits most texts.
USUAL_WEIGHTS = (0.5, 0.4, -0.2, 0.3)
# Likewise of a network that knew the language before it read the text (docs/log.md, "a base").
USUAL_WEIGHTS_OF_BASE = (0.8, 0.2, -0.1, 0.1)
# Fewer ids than this tell nothing, and fewer than that too little for more than one row.
FEW_IDS, MANY_IDS = 1000, 75_000
# Ids that a row is fitted with as if they had spoken for no change.
PULL_IDS = 50
# Passes over the ids, steps at least, ids in a step, and the rate of the first step, which falls
# to 0.
PASSES, LEAST_STEPS, BATCH, FIT_RATE = 6, 60, 500, 0.02
FIT_MEAN, FIT_SQUARE = 0.9, 0.999
# Where text is written the n-grams have this share of their weight and heed contexts up to this
# length: with all of both a text copies more than one by a network and n-grams of 8 characters did
# (docs/log.md, "copying").
WRITING_SHARE, WRITING_LENGTH = 0.8, 9
# Likeliest ids that weights are fitted on; all others count as one.
MOST_FITTED = 256


class Parts(NamedTuple):
    """What a model and its parts say of the ids after N = T B others, as log-probabilities.

    Attributes:
        model_NV: of the whole model.
        network_NV: of the network alone.
        ngrams_NV: of the n-grams by their longest contexts alone; None for a network alone.
        weights_NX: of the network and of the n-grams' experts in the mixture.
        matched_N: how many of the newest ids the n-grams know as a context.
    """

    model_NV: np.ndarray
    network_NV: np.ndarray
    ngrams_NV: np.ndarray | None = None
    weights_NX: np.ndarray | None = None
    matched_N: np.ndarray | None = None


class Mixture:
    """A network and n-grams of one vocabulary, as a stepper.

    Args:
        network: what answers with logits.
        ngrams: of the same ids.
        weights_WX: the rows of weights.
    """

    def __init__(self, network: Network, ngrams: NGrams, weights_WX: np.ndarray) -> None:
        self.network, self.ngrams = network, ngrams
        self.weights_WX = weights_WX.astype(np.float64)

    def initial_state(self, rows: int) -> MixtureState:
        """Return the state of B rows that have read nothing."""
        return (*self.network.initial_state(rows), *self.ngrams.initial_state(rows))

    @ignore_overflow
    def step(
        self, ids_B: np.ndarray, state: MixtureState | None
    ) -> tuple[np.ndarray, MixtureState]:
        """Return log-probabilities (B, V) of the id after ids_B, and the state."""
        network_state, ngram_state = _split(state)
        logits_BV, network_state = self.network.step(ids_B, network_state)
        experts_BXV, ngram_state = self.ngrams.step(ids_B, ngram_state)
        matched_B = self.ngrams.matched(ngram_state[0][0])
        mixed_BV = mix(logits_BV, experts_BXV, matched_B, self.weights_WX)
        return mixed_BV, (*network_state, *ngram_state)

    @ignore_overflow
    def read(
        self, ids: np.ndarray, rows: int, state: MixtureState | None
    ) -> tuple[np.ndarray, MixtureState]:
        """Return the last log-probabilities and the state after ids; see `Stepper.read`."""
        network_state, ngram_state = _split(state)
        logits_BV, network_state = self.network.read(ids, rows, network_state)
        experts_BXV, ngram_state = self.ngrams.read(ids, rows, ngram_state)
        matched_B = self.ngrams.matched(ngram_state[0][0])
        mixed_BV = mix(logits_BV, experts_BXV, matched_B, self.weights_WX)
        return mixed_BV, (*network_state, *ngram_state)

    @ignore_overflow
    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: MixtureState | None
    ) -> tuple[np.ndarray, MixtureState]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB."""
        network_state, ngram_state = _split(state)
        nats_TB = np.empty(y_TB.shape)
        rows = np.arange(y_TB.size)
        for part in blocks(y_TB.shape, self.ngrams.vocab):
            logits_TBV, network_state = self.network.logits(x_TB[part], y_TB[part], network_state)
            experts_NXV, matched_N, ngram_state = self.ngrams.along(x_TB[part], ngram_state)
            logits_NV = logits_TBV.reshape(-1, self.ngrams.vocab)
            mixed_NV = mix(logits_NV, experts_NXV, matched_N, self.weights_WX)
            y_N = y_TB[part].reshape(-1)
            nats_TB[part] = -mixed_NV[rows[: len(y_N)], y_N].reshape(y_TB[part].shape)
        return nats_TB, (*network_state, *ngram_state)

    @ignore_overflow
    def take_apart(
        self, x_TB: np.ndarray, state: MixtureState | None
    ) -> tuple[Parts, MixtureState]:
        """Return what each part says of the ids after x_TB, and the state that has read them.

        It takes room for (X + 3) T B V numbers: long texts are cut, see `ngrams.blocks`.
        """
        network_state, ngram_state = _split(state)
        logits_TBV, network_state = self.network.logits(x_TB, x_TB, network_state)
        experts_NXV, matched_N, ngram_state = self.ngrams.along(x_TB, ngram_state)
        logits_NV = logits_TBV.reshape(-1, self.ngrams.vocab)
        network_NV = log_softmax(logits_NV)
        rows_N3 = weight_rows(network_NV, experts_NXV, matched_N)
        parts = Parts(
            model_NV=mix(logits_NV, experts_NXV, matched_N, self.weights_WX),
            network_NV=network_NV,
            ngrams_NV=experts_NXV[:, 0],
            weights_NX=self.weights_WX[rows_N3].sum(axis=1),
            matched_N=matched_N,
        )
        return parts, (*network_state, *ngram_state)


def take_apart(
    model: Network | Mixture, x_TB: np.ndarray, state: StepperState
) -> tuple[Parts, StepperState]:
    """Return `Mixture.take_apart` of any model; a network alone is its only part."""
    if isinstance(model, Mixture):
        return model.take_apart(x_TB, state)
    logits_TBV, state = model.logits(x_TB, x_TB, state)
    network_NV = log_softmax(logits_TBV.reshape(x_TB.size, -1))
    return Parts(network_NV, network_NV), state


def _split(state: MixtureState | None) -> tuple[StepperState, StepperState]:
    """Return the network's state and the n-grams'."""
    return (state[:-1], state[-1:]) if state else (None, None)


def mix(
    logits_BV: np.ndarray, experts_BXV: np.ndarray, matched_B: np.ndarray, weights_WX: np.ndarray
) -> np.ndarray:
    """Return the log-probabilities (B, V) of the mixture.

    Args:
        logits_BV: the network's.
        experts_BXV: the n-grams' log-probabilities.
        matched_B: how many of the newest ids the n-grams know as a context.
        weights_WX: the rows of weights.
    """
    network_BV = log_softmax(logits_BV)
    weights_BX = weights_WX[weight_rows(network_BV, experts_BXV, matched_B)].sum(axis=1)
    scores_BV = np.matmul(weights_BX[:, None, 1:], experts_BXV)[:, 0]
    network_BV *= weights_BX[:, :1]
    scores_BV += network_BV
    return log_softmax(scores_BV)


def weight_rows(
    network_BV: np.ndarray, experts_BXV: np.ndarray, matched_B: np.ndarray
) -> np.ndarray:
    """Return which rows of weights (B, 3) hold, from log-probabilities."""
    longest_BV = experts_BXV[:, 0]
    network_top_B, longest_top_B = network_BV.argmax(axis=1), longest_BV.argmax(axis=1)
    every_B = np.arange(len(network_BV))
    tops_2B = np.stack([network_BV[every_B, network_top_B], longest_BV[every_B, longest_top_B]])
    # Neither below 0 nor above the last class, nor nothing for a network that diverged.
    sure_2B = np.fmax(np.fmin(np.exp(tops_2B) * SURE, SURE - 1), 0).astype(np.int64)
    rows_B3 = np.zeros((len(network_BV), 3), dtype=np.int64)
    rows_B3[:, 1] = sure_2B[0] * SURE + sure_2B[1] + AGREEMENT
    rows_B3[:, 1] += (network_top_B == longest_top_B) * (SURE * SURE)
    rows_B3[:, 2] = np.minimum(matched_B, LENGTHS - 1) + MATCH
    return rows_B3


def usual_weights(from_base: bool = False) -> np.ndarray:
    """Return the rows of weights (W, X) of a mixture that is not fitted.

    from_base: whether the network did not begin with random numbers.
    """
    weights_WX = np.zeros((ROWS, 1 + len(EXPERTS)))
    weights_WX[0] = USUAL_WEIGHTS_OF_BASE if from_base else USUAL_WEIGHTS
    return weights_WX


def weights_for_writing(weights_WX: np.ndarray) -> np.ndarray:
    """Return rows of weights with a part of the n-grams' share given to the network."""
    written_WX = weights_WX.copy()
    written_WX[:, 1:] *= WRITING_SHARE
    written_WX[:, 0] += (1 - WRITING_SHARE) * weights_WX[:, 1:].sum(axis=1)
    return written_WX


def fit_weights(
    log_probabilities_TXV: np.ndarray,
    rows_T3: np.ndarray,
    ids_T: np.ndarray,
    usual_WX: np.ndarray | None = None,
) -> np.ndarray:
    """Return the rows of weights (W, X) under which ids that no part has read are likeliest.

    With p the mixture, the derivative of an id's log-likelihood by the weight of expert i is
    log p_i(id) - sum over c of p(c) log p_i(c). It is climbed by Adam, from usual weights; what is
    returned is the mean over the last two passes, since the weights of a last step are noisy.

    Args:
        log_probabilities_TXV: of the network and of the n-grams' experts; see `likeliest`.
        rows_T3: which rows hold for each id, see `weight_rows`.
        ids_T: the ids that came.
        usual_WX: the weights to begin with; by default `usual_weights()`.
    """
    weights_WX = usual_weights() if usual_WX is None else usual_WX.copy()
    count = len(ids_T)
    if count < FEW_IDS:
        return weights_WX
    used_T3 = rows_T3 if count >= MANY_IDS else rows_T3[:, :1]
    usual_WX, mean_WX, total_WX = weights_WX.copy(), 0 * weights_WX, 0 * weights_WX
    square_WX = np.zeros_like(weights_WX)
    order = np.random.Generator(np.random.Philox(key=0)).permutation(count)
    batches = [order[start : start + BATCH] for start in range(0, count, BATCH)]
    steps = max(PASSES, -(-LEAST_STEPS // len(batches))) * len(batches)
    for step in range(1, steps + 1):
        batch = batches[step % len(batches)]
        slope_WX = _slope(weights_WX, log_probabilities_TXV[batch], used_T3[batch], ids_T[batch])
        slope_WX -= PULL_IDS / count * (weights_WX - usual_WX)
        mean_WX += (1 - FIT_MEAN) * (slope_WX - mean_WX)
        square_WX += (1 - FIT_SQUARE) * (slope_WX**2 - square_WX)
        rate = FIT_RATE * (1 - step / (steps + 1)) / (1 - FIT_MEAN**step)
        weights_WX += rate * mean_WX / (np.sqrt(square_WX / (1 - FIT_SQUARE**step)) + 1e-8)
        if step > steps - 2 * len(batches):
            total_WX += weights_WX
    return np.asarray(total_WX / (2 * len(batches)))


def _slope(
    weights_WX: np.ndarray, log_probabilities_TXV: np.ndarray, rows: np.ndarray, ids_T: np.ndarray
) -> np.ndarray:
    """Return the derivative of the mean log-likelihood by the weights."""
    weights_TX = weights_WX[rows].sum(axis=1)
    scores_TV = np.matmul(weights_TX[:, None], log_probabilities_TXV)[:, 0]
    probabilities_TV = np.exp(log_softmax(scores_TV))
    every = np.arange(len(ids_T))
    slope_TX = log_probabilities_TXV[every, :, ids_T].astype(np.float64)
    slope_TX -= np.matmul(log_probabilities_TXV, probabilities_TV[:, :, None])[:, :, 0]
    slope_WX = np.zeros_like(weights_WX)
    for rows_T in rows.T:
        np.add.at(slope_WX, rows_T, slope_TX)
    return slope_WX / len(ids_T)


def likeliest(
    log_probabilities_TXV: np.ndarray, ids_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities of the likeliest ids only, and where among them ids_T are.

    The last of them stands for all others together, so that a large vocabulary can be fitted.
    """
    if log_probabilities_TXV.shape[2] <= MOST_FITTED:
        return log_probabilities_TXV, ids_T
    every_T1 = np.arange(len(ids_T))[:, None]
    together_TV = log_probabilities_TXV.sum(axis=1)
    # The id that came is always among them, as the first.
    together_TV[every_T1[:, 0], ids_T] = np.inf
    kept_TK = np.argpartition(-together_TV, MOST_FITTED - 1, axis=1)[:, : MOST_FITTED - 1]
    first_T = (kept_TK == ids_T[:, None]).argmax(axis=1)
    kept_TXK = np.take_along_axis(log_probabilities_TXV, kept_TK[:, None], axis=2)
    rest_TX = np.log(np.maximum(1 - np.exp(kept_TXK).sum(axis=2), 1e-9))
    return np.concatenate([kept_TXK, rest_TX[:, :, None]], axis=2), first_T
