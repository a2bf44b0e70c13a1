"""How far back the gradient of one character's loss reaches, in numbers.

    >>> norms_KSP = gradient_norms(network, ids, lags=200)

Shapes: K = lags + 1; S states, layer by layer, h before c; P positions.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from textgen.config import ModelConfig
from textgen.nn.cells import LayerState
from textgen.nn.char_rnn import CharRNN, State

# Positions of the text at which the loss is taken: enough for the percentiles 5 and 95.
POSITIONS = 64
# Characters read before the first state that is measured, so that it is not near the zero state.
READ_BEFORE = 128
# Numbers in the states of one graph. Each costs about 60 bytes with all that autograd keeps for it,
# so a graph takes at most 250 MB.
MOST_STATE_NUMBERS = 1 << 22


def state_names(cell: str) -> str:
    """Return the names of a layer's states, a letter each, in their order."""
    return "hc" if cell == "lstm" else "h"


def most_lags(config: ModelConfig) -> int:
    """Return the largest lag for which a graph of one position has room."""
    return MOST_STATE_NUMBERS // (config.layers * config.hidden) - 1


def characters_needed(lags: int) -> int:
    """Return how long a text must be for lags up to this one."""
    return READ_BEFORE + lags + 1 + POSITIONS


def gradient_norms(network: CharRNN, ids: np.ndarray, lags: int) -> np.ndarray:
    """Return norms_KSP: how strongly the loss at each position depends on each earlier state.

    It computes in float64, where a gradient that has shrunk to 1e-50 is not yet zero, and on the
    CPU: on CUDA an LSTM's cell is one kernel, through which h does not depend on c.

    Args:
        network: left as it is, on any device.
        ids: (n,) of a text, n >= `characters_needed(lags)`; the positions are spread over it.
        lags: the largest lag, in characters, at most `most_lags(network.config)`.
    """
    config, model = network.config, copy.deepcopy(network)
    model.layers = nn.ModuleList(StepwiseLayer(config.cell, layer) for layer in model.layers)
    model.to("cpu", torch.float64).requires_grad_(False)
    before = READ_BEFORE + lags + 1
    targets_P = np.linspace(before, len(ids) - 1, POSITIONS).astype(np.int64)
    rows = MOST_STATE_NUMBERS // ((lags + 1) * config.layers * config.hidden)
    norms_KSB = []
    for first in range(0, POSITIONS, rows):
        indices_TB = targets_P[first : first + rows] + np.arange(-before, 1)[:, None]
        ids_TB = torch.from_numpy(ids[indices_TB].astype(np.int64))
        norms_KSB.append(lag_norms(model, ids_TB[:-1], ids_TB[-1], lags).numpy())
    return np.concatenate(norms_KSB, axis=2)


def lag_norms(model: CharRNN, x_TB: Tensor, y_B: Tensor, lags: int) -> Tensor:
    """Return norms_KSB of the derivative of each row's last loss, that of y_B after x_TB.

    Rows do not touch each other, so the gradient of their sum holds each row's own. model: with
    `StepwiseLayer` for layers.
    """
    state: State = model.initial_state(len(y_B))
    with torch.no_grad():
        for x_B in x_TB[: -lags - 1]:
            _, state = model(x_B[None], state)
    # A leaf that needs a gradient makes the first step below part of a graph.
    for vector in vectors(state):
        vector.requires_grad_()
    history = []
    for x_B in x_TB[-lags - 1 :]:
        logits_TBV, state = model(x_B[None], state)
        history.append(vectors(state))
    loss = nn.functional.cross_entropy(logits_TBV[0], y_B, reduction="sum")
    states = [vector for vectors_of_step in reversed(history) for vector in vectors_of_step]
    gradients = torch.autograd.grad(loss, states)
    norms = torch.stack([gradient.norm(dim=1) for gradient in gradients])
    return norms.view(lags + 1, -1, len(y_B))


def vectors(state: State) -> list[Tensor]:
    """Return the h, and c, of every layer."""
    return [part for layer in state for part in layer]


class StepwiseLayer(nn.Module):
    """A layer whose h is one tensor to all that reads it: next step, layer above, head.

    torch.nn's layers return output and state as two tensors, and their kernels hide that h is
    made from c; torch's cells are composed of plain operations, through which gradients pass.
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
