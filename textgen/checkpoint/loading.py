"""From a checkpoint to what predicts the next id: on a CPU without torch, or on a device.

>>> model = make_engine(Checkpoint.load(path))
>>> log_probabilities_BV, state = model.step(np.array([5]), None)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.engine import Engine, Mixture, Stepper

if TYPE_CHECKING:
    from textgen.nn import CharRNN


def with_ngrams(network: Stepper, checkpoint: Checkpoint) -> Stepper:
    """Return the network of a checkpoint mixed with the checkpoint's n-grams, if it has them."""
    if checkpoint.ngrams is None:
        return network
    return Mixture(network, checkpoint.ngrams, checkpoint.ngram_weight)


def make_engine(checkpoint: Checkpoint) -> Stepper:
    """Return a checkpoint's model as what writes text without torch."""
    if checkpoint.ngrams:
        # Before the engine takes its room: the peak of the memory is lower.
        checkpoint.ngrams.prepare()
    return with_ngrams(Engine(checkpoint.model, checkpoint.weights), checkpoint)


def network_of(checkpoint: Checkpoint, device: str = "cpu") -> CharRNN:
    """Return the network of a checkpoint on a device, in torch."""
    from textgen.nn import CharRNN, choose_device

    return CharRNN.from_weights(checkpoint.model, checkpoint.weights, choose_device(device))


def stepper_of(checkpoint: Checkpoint, device: str = "cpu") -> Stepper:
    """Return a checkpoint's model as what writes text on a device; on a CPU without torch."""
    if device == "cpu":
        return make_engine(checkpoint)
    from textgen.nn import TorchStepper

    return with_ngrams(TorchStepper(network_of(checkpoint, device)), checkpoint)
