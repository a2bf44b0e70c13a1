"""A trained network in numpy: the same equations as torch.nn, one step at a time.

In the walk after `runs`: checkpoint -> engine -> sampling. It needs no torch, so that text comes
at once, and it is fast at one step: the first layer's input projection is a table indexed by id,
and one product covers all gates.

State is a value: one tuple of arrays (B, H) a layer, (h,) or for an LSTM (h, c). None means zeros.

    >>> engine = Engine(checkpoint.model, checkpoint.weights)
    >>> logits_BV, state = engine.step(np.array([5]), None)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from textgen.config import ModelConfig

Array = np.ndarray
LayerState = tuple[Array, ...]
State = tuple[LayerState, ...]

quiet = np.errstate(over="ignore", invalid="ignore")  # the sampler reports what is not finite


class Engine:
    """Steps a network over B rows of text at once.

    weights: the parameters of model.shapes(); their dtype is the dtype of the arithmetic.
    """

    @quiet
    def __init__(self, model: ModelConfig, weights: dict[str, Array]) -> None:
        self.model = model
        self.dtype = weights["head.weight"].dtype
        self._step = STEPS[model.cell]
        self._inputs: list[tuple[Array, Array]] = []  # (input weights, bias) of each layer
        self._recurrent: list[tuple[Array, Array]] = []
        for layer in range(model.layers):
            w_ih, w_hh, b_ih, b_hh = (
                weights[f"layers.{layer}.{name}_l0"]
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            self._inputs.append((np.ascontiguousarray(w_ih.T), b_ih))
            self._recurrent.append((np.ascontiguousarray(w_hh.T), b_hh))
        w_first, b_first = self._inputs[0]
        self._table = weights["embedding.weight"] @ w_first + b_first
        self._head = np.ascontiguousarray(weights["head.weight"].T), weights["head.bias"]

    def initial_state(self, rows: int) -> State:
        """Return the zero state of B rows."""
        parts = 2 if self.model.cell == "lstm" else 1
        zeros = np.zeros((rows, self.model.hidden), dtype=self.dtype)
        return tuple((zeros,) * parts for _ in range(self.model.layers))

    @quiet
    def step(self, ids_B: Array, state: State | None) -> tuple[Array, State]:
        """Return logits_BV of the character after ids_B, and the state that has read ids_B."""
        state = state or self.initial_state(len(ids_B))
        projected = self._table[ids_B]
        total: Array | None = None
        after: list[LayerState] = []
        for layer, before in enumerate(state):
            if layer:
                weight, bias = self._inputs[layer]
                projected = after[-1][0] @ weight + bias
            after.append(self._step(projected, before, *self._recurrent[layer]))
            total = after[-1][0] if total is None else total + after[-1][0]
        weight, bias = self._head
        return total @ weight + bias, tuple(after)

    def read(self, ids: Array, rows: int, state: State | None = None) -> tuple[Array, State]:
        """Feed the same ids (n,), n >= 1, to every row; return the last logits_BV and the state."""
        logits_BV = np.zeros((rows, self.model.vocab), dtype=self.dtype)
        for one in ids:
            logits_BV, state = self.step(np.full(rows, one), state)
        return logits_BV, state or self.initial_state(rows)

    def nats(self, x_TB: Array, y_TB: Array, state: State | None) -> tuple[Array, State]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB."""
        nats_TB = np.empty(x_TB.shape)
        rows = np.arange(x_TB.shape[1])
        state = state or self.initial_state(len(rows))
        for t, ids_B in enumerate(x_TB):
            logits_BV, state = self.step(ids_B, state)
            nats_TB[t] = -log_softmax(logits_BV)[rows, y_TB[t]]
        return nats_TB, state


@quiet
def log_softmax(logits: Array) -> Array:
    """Return log-probabilities over the last axis, in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), written with tanh, which cannot overflow."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _rnn_step(projected: Array, state: LayerState, weight: Array, bias: Array) -> LayerState:
    """Vanilla: h = tanh(x + W h + b); x is the projected input."""
    return (np.tanh(projected + state[0] @ weight + bias),)


def _lstm_step(projected: Array, state: LayerState, weight: Array, bias: Array) -> LayerState:
    """LSTM: c = f c + i g, h = o tanh(c); the gates' rows stand in torch's order i, f, g, o."""
    h, c = state
    gates = projected + h @ weight + bias
    i, f, g, o = np.split(gates, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def _gru_step(projected: Array, state: LayerState, weight: Array, bias: Array) -> LayerState:
    """GRU: h = (1 - z) n + z h, n = tanh(x_n + r (W_n h + b_n)); rows in order r, z, n."""
    (h,) = state
    recurrent = h @ weight + bias
    width = h.shape[1]
    rz = sigmoid(projected[:, : 2 * width] + recurrent[:, : 2 * width])
    r, z = rz[:, :width], rz[:, width:]
    n = np.tanh(projected[:, 2 * width :] + r * recurrent[:, 2 * width :])
    return (n + z * (h - n),)


Step = Callable[[Array, LayerState, Array, Array], LayerState]
STEPS: dict[str, Step] = {"rnn": _rnn_step, "lstm": _lstm_step, "gru": _gru_step}
