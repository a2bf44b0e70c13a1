"""From a checkpoint to what predicts the next id: on a CPU without torch, or on a device.

>>> model = make_engine(Checkpoint.load(path))
>>> log_probabilities_BV, state = model.step(np.array([5]), None)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.engine import (
    WRITING_LENGTH,
    AdaptiveMixture,
    Engine,
    Mixture,
    Network,
    NGrams,
    Reader,
    Signs,
    Stepper,
    weights_for_writing,
)

if TYPE_CHECKING:
    from textgen.nn import CharRNN


def with_ngrams(network: Network, checkpoint: Checkpoint) -> Stepper:
    """Return the network of a checkpoint mixed with the checkpoint's n-grams, if it has them."""
    if checkpoint.ngrams is None:
        return network
    return Mixture(network, checkpoint.ngrams, checkpoint.mixing)


def adaptive_mixture(network: Network, checkpoint: Checkpoint) -> AdaptiveMixture:
    """Return a network with a checkpoint's n-grams, as what learns while it measures a text."""
    if checkpoint.ngrams is None:
        raise ValueError("a network alone has nothing beside it that could adapt")
    signs = Signs.of_symbols(checkpoint.tokenizer.symbols())
    return AdaptiveMixture(network, Reader(checkpoint.ngrams, checkpoint.mixing, signs))


def make_engine(checkpoint: Checkpoint) -> Stepper:
    """Return a checkpoint's model as what predicts best, without torch."""
    return with_ngrams(Engine(checkpoint.model, checkpoint.weights), checkpoint)


def network_of(checkpoint: Checkpoint, device: str = "cpu") -> CharRNN:
    """Return the network of a checkpoint on a device, in torch."""
    from textgen.nn import CharRNN, choose_device

    return CharRNN.from_weights(checkpoint.model, checkpoint.weights, choose_device(device))


def writing(network: Network, checkpoint: Checkpoint) -> Stepper:
    """Return a network with a checkpoint's n-grams, if it has them, as what writes text.

    It copies less of the training text than what predicts best, which `with_ngrams` gives.
    """
    if checkpoint.ngrams is None:
        return network
    counted = checkpoint.ngrams
    ngrams = NGrams(counted.contexts, counted.odds_CLG, heeded=WRITING_LENGTH)
    return Mixture(network, ngrams, weights_for_writing(checkpoint.mixing))


def stepper_of(checkpoint: Checkpoint, device: str = "cpu") -> Stepper:
    """Return a checkpoint's model as what writes text on a device; on a CPU without torch."""
    if device == "cpu":
        return writing(Engine(checkpoint.model, checkpoint.weights), checkpoint)
    from textgen.nn import TorchStepper

    return writing(TorchStepper(network_of(checkpoint, device)), checkpoint)
