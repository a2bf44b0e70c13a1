"""How far back the gradient of one character's loss reaches, in numbers.

    >>> norms_KSP = gradient_norms(network, ids, lags=200)

Shapes: K = lags + 1; S states, layer by layer, h before c; P positions.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from textgen.nn.cells import LayerState
from textgen.nn.char_rnn import CharRNN, State

POSITIONS = 64  # of the text at which the loss is taken
READ_BEFORE = 128  # characters read before the first state that is measured
MOST_STATE_NUMBERS = 1 << 22  # numbers in the states of one graph; each costs about 60 bytes in all


def state_names(cell: str) -> str:
    """Return the names of a layer's states, a letter each, in their order."""
    return "hc" if cell == "lstm" else "h"


def gradient_norms(network: CharRNN, ids: np.ndarray, lags: int) -> np.ndarray:
    """Return norms_KSP of a network at positions spread over ids (n,).

    n > WARM_UP + lags + POSITIONS. It computes in float64, where a gradient that has shrunk to
    1e-50 is not yet zero.
    """
    config, model = network.config, copy.deepcopy(network)
    model.layers = nn.ModuleList(StepwiseLayer(config.cell, layer) for layer in model.layers)
    model.double().requires_grad_(False)
    before = READ_BEFORE + lags + 1
    targets_P = np.linspace(before, len(ids) - 1, POSITIONS).astype(np.int64)
    rows = MOST_STATE_NUMBERS // ((lags + 1) * config.layers * config.hidden)
    found = []
    for first in range(0, POSITIONS, rows):
        indices_TB = targets_P[first : first + rows] + np.arange(-before, 1)[:, None]
        block_TB = torch.from_numpy(ids[indices_TB].astype(np.int64))
        found.append(lag_norms(model, block_TB[:-1], block_TB[-1], lags).numpy())
    return np.concatenate(found, axis=2)


def lag_norms(model: CharRNN, x_TB: Tensor, y_B: Tensor, lags: int) -> Tensor:
    """Return norms_KSB of the derivative of each row's last loss, that of y_B after x_TB.

    Rows do not touch each other, so the gradient of their sum holds each row's own. model: with
    `StepwiseLayer` for layers.
    """
    state: State = model.initial_state(len(y_B))
    with torch.no_grad():
        for x_B in x_TB[: -lags - 1]:
            _, state = model(x_B[None], state)
    for vector in vectors(state):  # a leaf, so that the first step below is part of a graph
        vector.requires_grad_()
    history = []
    for x_B in x_TB[-lags - 1 :]:
        logits_TBV, state = model(x_B[None], state)
        history.append(vectors(state))
    loss = nn.functional.cross_entropy(logits_TBV[0], y_B, reduction="sum")
    slopes = torch.autograd.grad(loss, [h for step in reversed(history) for h in step])
    return torch.stack([slope.norm(dim=1) for slope in slopes]).view(lags + 1, -1, len(y_B))


def vectors(state: State) -> list[Tensor]:
    """Return the h, and c, of every layer, without the ids that n-grams keep."""
    return [part for layer in state for part in layer if part.is_floating_point()]


class StepwiseLayer(nn.Module):
    """A layer whose h is one tensor to all that reads it: next step, layer above, head.

    torch.nn's layers return output and state as two tensors, and their kernels hide that h is
    made of c; torch's cells are composed of plain operations, through which a gradient sees that.
    """

    def __init__(self, cell: str, layer: nn.Module) -> None:
        super().__init__()
        self.cell, self.layer = cell, layer

    def forward(self, x_TBE: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Return out_TBH and the state after the last step."""
        weights = tuple(self.layer.parameters())
        out = []
        for x_BE in x_TBE:
            if self.cell == "lstm":
                state = torch.lstm_cell(x_BE, state, *weights)
            else:
                step = torch.gru_cell if self.cell == "gru" else torch.rnn_tanh_cell
                state = (step(x_BE, state[0], *weights),)
            out.append(state[0])
        return torch.stack(out), state
