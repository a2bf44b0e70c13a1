"""Dynamic evaluation: a model that keeps learning from the text it reads.

Each stretch of text is first predicted and then, once its nats are counted, learnt from, so that
the names and the style of the text itself help to predict the rest of it (Mikolov et al., 2010;
Krause et al., 2018). An update is Adam's without momentum, then a pull towards the trained weights:

    v <- 0.999 v + 0.001 g^2
    w <- w - lr g / (sqrt(v / (1 - 0.999^k)) + 1e-8)    at the k-th update
    w <- w + decay (w_trained - w)

    >>> stepper = AdaptiveStepper(model, AdaptationRule())
    >>> nats_TB, state = stepper.nats(x_TB, y_TB, None)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from textgen.nn.char_rnn import CharRNN, GivenState, State, TorchStepper, losses

# The window that networks are trained with unless told otherwise.
CHARS_PER_UPDATE = 64
SECOND_MOMENT = 0.999


@dataclass(frozen=True)
class AdaptationRule:
    """How to learn while reading; the defaults serve where there is no text to choose them on.

    Args:
        lr: the learning rate.
        decay: the share of the way back to the trained weights that is gone after each update.
    """

    lr: float = 3e-4
    decay: float = 1e-3


class AdaptiveStepper(TorchStepper):
    """A CharRNN that learns from what it measures.

    Args:
        model: changed in place; it holds the weights that the stepper has come to.
        rule: how it learns.
    """

    def __init__(self, model: CharRNN, rule: AdaptationRule) -> None:
        super().__init__(model)
        # cuDNN's layers have no backward pass in evaluation mode; dropout is a module of its own.
        self.model.layers.train()
        self.rule = rule
        self._weights: list[Tensor] = list(model.parameters())
        self._trained = [weight.detach().clone() for weight in self._weights]
        self._optimizer = torch.optim.Adam(
            self._weights, lr=rule.lr, betas=(0.0, SECOND_MOMENT), fused=True
        )

    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: GivenState
    ) -> tuple[np.ndarray, GivenState]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB.

        What is predicted was not yet learnt from.
        """
        nats_TB = np.empty(y_TB.shape)
        for stretch, _, losses_TB, after in self._read(x_TB, y_TB, state):
            nats_TB[stretch] = losses_TB.cpu().double().numpy()
            state = after
        return nats_TB, state

    def logits(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: GivenState
    ) -> tuple[np.ndarray, GivenState]:
        """Return logits_TBV of y_TB after x_TB, learnt from like `nats`, and the state."""
        parts = []
        for _, logits_TBV, _, after in self._read(x_TB, y_TB, state):
            parts.append(logits_TBV.cpu().numpy())
            state = after
        return np.concatenate(parts), state

    def _read(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: GivenState
    ) -> Iterator[tuple[slice, Tensor, Tensor, State]]:
        """Yield stretches, their logits and losses, and the state; learn from each before."""
        x, y = torch.from_numpy(x_TB).to(self.device), torch.from_numpy(y_TB).to(self.device)
        after = self.as_tensors(state)
        for start in range(0, len(x), CHARS_PER_UPDATE):
            stretch = slice(start, start + CHARS_PER_UPDATE)
            logits_TBV, after = self.model(x[stretch], after)
            losses_TB = losses(logits_TBV, y[stretch])
            after = tuple(tuple(part.detach() for part in layer) for layer in after)
            self._learn(losses_TB.mean())
            yield stretch, logits_TBV.detach(), losses_TB.detach(), after

    def _learn(self, loss: Tensor) -> None:
        self.model.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        with torch.no_grad():
            for weight, trained in zip(self._weights, self._trained, strict=True):
                weight.lerp_(trained, self.rule.decay)
