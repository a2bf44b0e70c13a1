"""Dynamic evaluation: a model that goes on learning from the text it reads.

Each stretch of text is first predicted and then, once its cost is counted, learnt from, so that
names and manners of the text itself are used further on (Mikolov et al., 2010; Krause et al.,
2018). The rule is Adam's without momentum, and a pull back towards the weights that were trained.

    >>> stepper = AdaptiveStepper(model, Rule())
    >>> nats_TB, state = stepper.nats(x_TB, y_TB, None)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from textgen.nn.char_rnn import CharRNN, TorchStepper

CHARS_PER_UPDATE = 64  # characters between two updates
SECOND_MOMENT = 0.999


@dataclass(frozen=True)
class AdaptationRule:
    """How to learn while reading. The defaults suit where there is no text to choose them on.

    lr: learning rate. decay: the share of the way back to the trained weights after each update.
    """

    lr: float = 3e-4
    decay: float = 1e-3


class AdaptiveStepper(TorchStepper):
    """A CharRNN that learns from what it measures; `model` holds the weights it has come to."""

    def __init__(self, model: CharRNN, rule: AdaptationRule) -> None:
        super().__init__(model)
        self.model.layers.train()  # cuDNN's have no backward otherwise; dropout is not among them
        self.rule = rule
        self._weights: list[Tensor] = list(model.parameters())
        self._trained = [weight.detach().clone() for weight in self._weights]
        self._optimizer = torch.optim.Adam(
            self._weights, lr=rule.lr, betas=(0.0, SECOND_MOMENT), fused=True
        )

    def nats(self, x_TB: np.ndarray, y_TB: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB.

        What is predicted was not yet learnt from.
        """
        x, y = torch.from_numpy(x_TB).to(self.device), torch.from_numpy(y_TB).to(self.device)
        pieces = []
        for start in range(0, len(x), CHARS_PER_UPDATE):
            span = slice(start, start + CHARS_PER_UPDATE)
            logits_TBV, state = self.model(x[span], state)
            losses = nn.functional.cross_entropy(
                logits_TBV.flatten(0, 1), y[span].flatten(), reduction="none"
            )
            pieces.append(losses.detach().view(y[span].shape).cpu().double().numpy())
            state = tuple(tuple(part.detach() for part in layer) for layer in state)
            self._learn(losses.mean())
        return np.concatenate(pieces), state

    def _learn(self, loss: Tensor) -> None:
        self.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._weights, self._trained, self.rule.decay)
