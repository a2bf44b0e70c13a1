"""A trained network in numpy: the same equations as torch.nn, one step at a time.

Checkpoint -> engine -> sampling. It needs no torch, so that text comes at once, and it is fast at
one step: what a step costs is reading the weights once.

State is a value: one tuple of arrays (B, H) a layer, (h,) or for an LSTM (h, c). None means zeros.

    >>> engine = Engine(checkpoint.model, checkpoint.weights)
    >>> logits_BV, state = engine.step(np.array([5]), None)
"""

from __future__ import annotations

import numpy as np

from textgen.config import ModelConfig
from textgen.engine.stepper import ids_of_rows

LayerArrays = tuple[np.ndarray, ...]
NetworkState = tuple[LayerArrays, ...]

# Of a layer, in torch's order.
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# Numbers after each row of a table of inputs: adding columns that are a power of two apart takes
# several times as long, since they evict each other from the cache (docs/log.md, "sampling,
# quicker").
PADDING = 16
# In bytes: arrays that begin at one are multiplied 4 to 5 % faster (the same entry).
CACHE_LINE = 64

# For what steps on and on: the sampler reports what is not finite. A single step is not silenced.
ignore_overflow = np.errstate(over="ignore", invalid="ignore")


class Engine:
    """Steps a network over B rows of text at once.

    Args:
        model: the sizes.
        weights: the parameters of `model.shapes()`; their dtype is that of the arithmetic.
    """

    @ignore_overflow
    def __init__(self, model: ModelConfig, weights: dict[str, np.ndarray]) -> None:
        self.model = model
        self.dtype = weights["head.weight"].dtype
        self._layers = [
            ENGINE_LAYERS[model.cell](
                {name: weights[f"layers.{layer}.{name}_l0"] for name in PARAMETERS},
                weights["embedding.weight"] if layer == 0 else None,
            )
            for layer in range(model.layers)
        ]
        self._head, self._head_bias = weights["head.weight"], weights["head.bias"][:, None]

    def initial_state(self, rows: int) -> NetworkState:
        """Return the zero state of B rows."""
        parts = 2 if self.model.cell == "lstm" else 1
        zeros_BH = np.zeros((rows, self.model.hidden), dtype=self.dtype)
        return tuple((zeros_BH,) * parts for _ in range(self.model.layers))

    def step(
        self, ids_B: np.ndarray, state: NetworkState | None
    ) -> tuple[np.ndarray, NetworkState]:
        """Return logits_BV of the id after ids_B, and the state that has read ids_B."""
        state = state or self.initial_state(len(ids_B))
        after = [self._layers[0].step(ids_B, state[0])]
        features_BH = after[0][0]
        for layer, before in zip(self._layers[1:], state[1:], strict=True):
            after.append(layer.step(after[-1][0], before))
            features_BH = features_BH + after[-1][0]
        logits_VB = self._head.dot(features_BH.T)
        logits_VB += self._head_bias
        return logits_VB.T, tuple(after)

    @ignore_overflow
    def read(
        self, ids: np.ndarray, rows: int, state: NetworkState | None = None
    ) -> tuple[np.ndarray, NetworkState]:
        """Return the last logits_BV and the state after ids (n,) or (n, B); see `Stepper.read`."""
        logits_BV = np.zeros((rows, self.model.vocab), dtype=self.dtype)
        for ids_B in ids_of_rows(ids, rows):
            logits_BV, state = self.step(ids_B, state)
        return logits_BV, state or self.initial_state(rows)

    @ignore_overflow
    def logits(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: NetworkState | None
    ) -> tuple[np.ndarray, NetworkState]:
        """Return logits_TBV of the ids after each of x_TB, and the state; y_TB teaches nothing."""
        logits_TBV = np.empty((*x_TB.shape, self.model.vocab), dtype=self.dtype)
        state = state or self.initial_state(x_TB.shape[1])
        for t, ids_B in enumerate(x_TB):
            logits_TBV[t], state = self.step(ids_B, state)
        return logits_TBV, state

    @ignore_overflow
    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: NetworkState | None
    ) -> tuple[np.ndarray, NetworkState]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB."""
        nats_TB = np.empty(x_TB.shape)
        rows = np.arange(x_TB.shape[1])
        state = state or self.initial_state(len(rows))
        for t, ids_B in enumerate(x_TB):
            logits_BV, state = self.step(ids_B, state)
            nats_TB[t] = -log_softmax(logits_BV)[rows, y_TB[t]]
        return nats_TB, state


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities over the last axis, in float64."""
    # The ufuncs' own reductions: for one row the methods' wrappers cost more than the work.
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
    Features come first within a step, (H, B), so that each gate is one block of memory. A state is
    copied into this layout whoever put its rows together, since products round by the layout.
    What each of these gains is in docs/log.md, "sampling, quicker".

    order: the gates' places in torch's rows, those with a sigmoid first; sigmoids: how many.
    """

    order: tuple[int, ...] = (0,)
    sigmoids = 0

    def __init__(self, weights: dict[str, np.ndarray], embedding: np.ndarray | None) -> None:
        gate_rows, width = weights["weight_hh"].shape
        self.sigmoid_rows = self.sigmoids * width
        # An array, since numpy multiplies by one faster than by a Python number.
        self.half = np.array(0.5, dtype=weights["weight_hh"].dtype)
        w_ih, w_hh, b_ih, b_hh = (self._arrange(weights[name]) for name in PARAMETERS)
        bias = self._input_bias(b_ih, b_hh)
        self.bias, self.table = bias[:, None], None
        if embedding is not None:
            self.table = np.zeros((len(embedding), gate_rows + PADDING), dtype=self.half.dtype)
            self.table[:, :gate_rows] = embedding @ w_ih.T + bias
        self._lay_out(w_ih, w_hh)

    def _arrange(self, parameter: np.ndarray) -> np.ndarray:
        """Return a parameter with its gates in our order, those with a sigmoid halved."""
        blocks = np.split(parameter, len(self.order))
        arranged = np.concatenate([blocks[gate] for gate in self.order])
        arranged[: self.sigmoid_rows] *= 0.5
        return arranged

    def _input_bias(self, b_ih: np.ndarray, b_hh: np.ndarray) -> np.ndarray:
        """Return what is added to the projected inputs."""
        return np.asarray(b_ih + b_hh)

    def _lay_out(self, w_ih: np.ndarray, w_hh: np.ndarray) -> None:
        """Keep the matrices that a step multiplies with."""
        reads_ids = self.table is not None
        self.weight = aligned(w_hh if reads_ids else np.concatenate([w_ih, w_hh], axis=1))

    def gates(self, x: np.ndarray, h_HB: np.ndarray) -> np.ndarray:
        """Return what goes into the activations (G, H, B), in a new array.

        x: ids, or a layer's output (B, H).
        """
        gates: np.ndarray
        if self.table is not None:
            gates = self.weight.dot(h_HB)
            gates += projections(self.table, x)
        else:
            gates = self.weight.dot(np.concatenate((x.T, h_HB)))
            gates += self.bias
        return gates.reshape(len(self.order), *h_HB.shape)

    def activate(self, gates: np.ndarray) -> None:
        """Put gates (G, H, B) through their activations, in place: sigmoids, then tanh."""
        np.tanh(gates, gates)
        if self.sigmoids:
            sigmoids = gates[: self.sigmoids]
            sigmoids *= self.half
            sigmoids += self.half

    def step(self, x: np.ndarray, state: LayerArrays) -> LayerArrays:
        """Return the state after x; vanilla: h = tanh(W x + U h + b)."""
        gates = self.gates(x, np.ascontiguousarray(state[0].T))
        self.activate(gates)
        return (gates[0].T,)


class LSTMLayer(Layer):
    """c = f c + i g, h = o tanh(c); torch's rows stand in the order i, f, g, o."""

    order = (0, 1, 3, 2)
    sigmoids = 3

    def step(self, x: np.ndarray, state: LayerArrays) -> LayerArrays:
        """Return (h, c) after x."""
        h_HB, c_HB = (np.ascontiguousarray(part.T) for part in state)
        gates = self.gates(x, h_HB)
        self.activate(gates)
        i, f, o, g = gates
        g *= i
        c_HB = f * c_HB
        c_HB += g
        h_HB = np.tanh(c_HB)
        h_HB *= o
        return h_HB.T, c_HB.T


class GRULayer(Layer):
    """h = (1 - z) n + z h, n = tanh(x_n + r (W_n h + b_n)); torch's rows in the order r, z, n.

    The new state's two sums stand on either side of r, so inputs and state have matrices apart.
    """

    order = (0, 1, 2)
    sigmoids = 2

    def _input_bias(self, b_ih: np.ndarray, b_hh: np.ndarray) -> np.ndarray:
        self.hidden_n_bias = b_hh[self.sigmoid_rows :, None]
        bias = b_ih.copy()
        bias[: self.sigmoid_rows] += b_hh[: self.sigmoid_rows]
        return bias

    def _lay_out(self, w_ih: np.ndarray, w_hh: np.ndarray) -> None:
        self.input_weight, self.weight = aligned(w_ih), aligned(w_hh)

    def step(self, x: np.ndarray, state: LayerArrays) -> LayerArrays:
        """Return (h,) after x."""
        h_HB = np.ascontiguousarray(state[0].T)
        recurrent = self.weight.dot(h_HB).reshape(3, *h_HB.shape)
        if self.table is not None:
            gates = projections(self.table, x)
        else:
            gates = self.input_weight.dot(x.T)
            gates += self.bias
        gates = gates.reshape(3, *h_HB.shape)
        rz = gates[:2]
        rz += recurrent[:2]
        self.activate(rz)
        r, z, n = gates
        hidden_n = recurrent[2]
        hidden_n += self.hidden_n_bias
        hidden_n *= r
        n += hidden_n
        np.tanh(n, n)
        # n + z (h - n), in place.
        after_HB = h_HB - n
        after_HB *= z
        after_HB += n
        return (after_HB.T,)


def projections(table: np.ndarray, ids_B: np.ndarray) -> np.ndarray:
    """Return what ids add to the gates (G H, B), biases included, from a padded table."""
    rows: np.ndarray = table.take(ids_B, axis=0)
    return rows[:, :-PADDING].T


def aligned(array: np.ndarray) -> np.ndarray:
    """Return a copy that begins at a cache line."""
    buffer = np.empty(array.nbytes + CACHE_LINE, dtype=np.uint8)
    start = -buffer.ctypes.data % CACHE_LINE
    copy: np.ndarray = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy


ENGINE_LAYERS: dict[str, type[Layer]] = {"rnn": Layer, "lstm": LSTMLayer, "gru": GRULayer}
