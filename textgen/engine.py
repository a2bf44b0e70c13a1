"""A trained network in numpy: the same equations as torch.nn, one step at a time.

In the walk after `heritage`: checkpoint -> engine -> sampling. It needs no torch, so that text
comes at once, and it is fast at one step: what a step costs is reading the weights once.

State is a value: one tuple of arrays (B, H) a layer, (h,) or for an LSTM (h, c). None means zeros.

    >>> engine = Engine(checkpoint.model, checkpoint.weights)
    >>> logits_BV, state = engine.step(np.array([5]), None)
"""

from __future__ import annotations

import numpy as np

from textgen.config import ModelConfig

Array = np.ndarray
LayerState = tuple[Array, ...]
State = tuple[LayerState, ...]

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # of a layer

quiet = np.errstate(over="ignore", invalid="ignore")  # the sampler reports what is not finite


class Engine:
    """Steps a network over B rows of text at once.

    weights: the parameters of model.shapes(); their dtype is the dtype of the arithmetic.
    """

    @quiet
    def __init__(self, model: ModelConfig, weights: dict[str, Array]) -> None:
        self.model = model
        self.dtype = weights["head.weight"].dtype
        self._layers = [
            LAYERS[model.cell](
                {name: weights[f"layers.{layer}.{name}_l0"] for name in PARAMETERS},
                weights["embedding.weight"] if layer == 0 else None,
            )
            for layer in range(model.layers)
        ]
        self._head, self._head_bias = weights["head.weight"].T, weights["head.bias"]

    def initial_state(self, rows: int) -> State:
        """Return the zero state of B rows."""
        parts = 2 if self.model.cell == "lstm" else 1
        zeros = np.zeros((rows, self.model.hidden), dtype=self.dtype)
        return tuple((zeros,) * parts for _ in range(self.model.layers))

    @quiet
    def step(self, ids_B: Array, state: State | None) -> tuple[Array, State]:
        """Return logits_BV of the character after ids_B, and the state that has read ids_B."""
        state = state or self.initial_state(len(ids_B))
        after = [self._layers[0].step(ids_B, state[0])]
        total = after[0][0]
        for layer, before in zip(self._layers[1:], state[1:], strict=True):
            after.append(layer.step(after[-1][0], before))
            total = total + after[-1][0]
        logits_BV = total @ self._head
        logits_BV += self._head_bias
        return logits_BV, tuple(after)

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
    # ufuncs' own reductions: for one row the methods' wrappers cost more than the work
    largest = np.maximum.reduce(logits, axis=-1, keepdims=True)
    shifted = np.subtract(logits, largest, dtype=np.float64)
    total = np.add.reduce(np.exp(shifted), axis=-1, keepdims=True)
    shifted -= np.log(total)
    return np.asarray(shifted)


class Layer:
    """One recurrent layer, its weights laid out so that a step is one product and few passes.

    Of the gates that go through a sigmoid the weights are halved, since sigmoid(2 a) is
    tanh(a) / 2 + 1/2: one tanh then serves all gates. The first layer's inputs are ids, whose
    projections stand in a table; a later layer's stand beside its state, so one matrix holds both.
    """

    order: tuple[int, ...] = (0,)  # the gates' places in torch's rows, sigmoid ones first
    sigmoids = 0

    def __init__(self, weights: dict[str, Array], embedding: Array | None) -> None:
        self.width = weights["weight_hh"].shape[1]
        self.cut = self.sigmoids * self.width
        w_ih, w_hh, b_ih, b_hh = (self._arranged(weights[name]) for name in PARAMETERS)
        self._place(w_ih, w_hh, b_ih, b_hh, embedding)

    def _arranged(self, rows: Array) -> Array:
        blocks = np.split(rows, len(self.order))
        arranged = np.concatenate([blocks[place] for place in self.order])
        arranged[: self.cut] *= 0.5
        return arranged

    def _place(
        self, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, embedding: Array | None
    ) -> None:
        self.table = None if embedding is None else embedding @ w_ih.T + (b_ih + b_hh)
        self.bias = b_ih + b_hh
        self.weight = w_hh.T if embedding is not None else np.concatenate([w_ih, w_hh], axis=1).T

    def gates(self, x: Array, h: Array) -> Array:
        """Return what goes into the activations (B, G H), in a new array. x: ids or features."""
        if self.table is not None:
            gates = h @ self.weight
            gates += self.table[x]
        else:
            gates = np.concatenate([x, h], axis=1) @ self.weight
            gates += self.bias
        return np.asarray(gates)

    def activate(self, gates: Array) -> None:
        """Put gates (B, G H) through their activations, in place: sigmoids, then tanh."""
        np.tanh(gates, out=gates)
        sigmoids = gates[:, : self.cut]
        sigmoids *= 0.5
        sigmoids += 0.5

    def step(self, x: Array, state: LayerState) -> LayerState:
        """Return the state after x; vanilla: h = tanh(W x + U h + b)."""
        gates = self.gates(x, state[0])
        self.activate(gates)
        return (gates,)


class LSTMLayer(Layer):
    """c = f c + i g, h = o tanh(c); torch's rows stand in the order i, f, g, o."""

    order = (0, 1, 3, 2)
    sigmoids = 3

    def step(self, x: Array, state: LayerState) -> LayerState:
        """Return (h, c) after x."""
        h, c = state
        gates = self.gates(x, h)
        self.activate(gates)
        width = self.width
        g = gates[:, 3 * width :]
        g *= gates[:, :width]
        c = gates[:, width : 2 * width] * c
        c += g
        h = np.tanh(c)
        h *= gates[:, 2 * width : 3 * width]
        return h, c


class GRULayer(Layer):
    """h = (1 - z) n + z h, n = tanh(x_n + r (W_n h + b_n)); torch's rows in the order r, z, n.

    The new state's two sums stand on either side of r, so inputs and state have matrices apart.
    """

    order = (0, 1, 2)
    sigmoids = 2

    def _place(
        self, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, embedding: Array | None
    ) -> None:
        bias = b_ih.copy()
        bias[: self.cut] += b_hh[: self.cut]
        self.inner_bias = b_hh[self.cut :]
        self.table = None if embedding is None else embedding @ w_ih.T + bias
        self.bias, self.inputs, self.weight = bias, w_ih.T, w_hh.T

    def step(self, x: Array, state: LayerState) -> LayerState:
        """Return (h,) after x."""
        (h,) = state
        if self.table is not None:
            gates = self.table[x]
        else:
            gates = x @ self.inputs
            gates += self.bias
        width, cut = self.width, self.cut
        recurrent = h @ self.weight
        rz = gates[:, :cut]
        rz += recurrent[:, :cut]
        self.activate(rz)
        inner = recurrent[:, cut:]
        inner += self.inner_bias
        inner *= rz[:, :width]
        n = gates[:, cut:]
        n += inner
        np.tanh(n, out=n)
        after = h - n
        after *= rz[:, width:]
        after += n
        return (after,)


LAYERS: dict[str, type[Layer]] = {"rnn": Layer, "lstm": LSTMLayer, "gru": GRULayer}
