"""The recurrent cells and the whole network, one step, one gate and one vector at a time.

An oracle for the tests, slow on purpose, and the place to read what the fast code computes. The
vanilla cell, with U, W and V for input, recurrent and output weights:

    h_t = tanh(U x_t + W h_{t-1} + b)
    y_t = V h_t + c

Rows of weights stand in torch's order of gates: LSTM i, f, g, o; GRU r, z, n. torch keeps two
biases, b_ih and b_hh; only the GRU tells them apart.

The network also works on complex numbers, which gives derivatives without rounding: for an
analytic f, f'(w) = Im f(w + i e) / e with e as small as 1e-30.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn(p, x_t, state):
    (h,) = state
    U, W, b = p["weight_ih"], p["weight_hh"], p["bias_ih"] + p["bias_hh"]
    return (np.tanh(U @ x_t + W @ h + b),)


def lstm(p, x_t, state):
    h, c = state
    U_i, U_f, U_g, U_o = np.split(p["weight_ih"], 4)
    W_i, W_f, W_g, W_o = np.split(p["weight_hh"], 4)
    b_i, b_f, b_g, b_o = np.split(p["bias_ih"] + p["bias_hh"], 4)
    i = sigmoid(U_i @ x_t + W_i @ h + b_i)
    f = sigmoid(U_f @ x_t + W_f @ h + b_f)
    g = np.tanh(U_g @ x_t + W_g @ h + b_g)
    o = sigmoid(U_o @ x_t + W_o @ h + b_o)
    c = f * c + i * g
    return o * np.tanh(c), c


def gru(p, x_t, state):
    (h,) = state
    U_r, U_z, U_n = np.split(p["weight_ih"], 3)
    W_r, W_z, W_n = np.split(p["weight_hh"], 3)
    b_r, b_z, _ = np.split(p["bias_ih"] + p["bias_hh"], 3)
    b_in, b_hn = np.split(p["bias_ih"], 3)[2], np.split(p["bias_hh"], 3)[2]
    r = sigmoid(U_r @ x_t + W_r @ h + b_r)
    z = sigmoid(U_z @ x_t + W_z @ h + b_z)
    n = np.tanh(U_n @ x_t + b_in + r * (W_n @ h + b_hn))
    return ((1 - z) * n + z * h,)


CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}


def zero_state(cell, hidden):
    """The state of one layer before the first character: (h,), or (h, c) of an LSTM."""
    return tuple(np.zeros(hidden) for _ in range(2 if cell == "lstm" else 1))


def layer(cell, p, x, state):
    """Run one cell over the vectors of x; return its outputs and its last state."""
    outputs = []
    for x_t in x:
        state = CELLS[cell](p, x_t, state)
        outputs.append(state[0])
    return outputs, state


def network(config, weights, ids, state=None):
    """Read ids one by one; return the logits y_t of each step and the last state of each layer.

    With several layers, each reads the layer below it, and the output weights V read their sum.
    """
    E, V, c = weights["embedding.weight"], weights["head.weight"], weights["head.bias"]
    layers = [layer_weights(weights, number) for number in range(config.layers)]
    state = list(state or [zero_state(config.cell, config.hidden) for _ in layers])
    logits = []
    for id_t in ids:
        x_t = E[id_t]
        total = 0
        for number, p in enumerate(layers):
            state[number] = CELLS[config.cell](p, x_t, state[number])
            x_t = state[number][0]
            total = total + x_t
        logits.append(V @ total + c)
    return logits, state


def layer_weights(weights, number):
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return {name: weights[f"layers.{number}.{name}_l0"] for name in names}


def nats(logits, target):
    """The nats of the character `target`: minus the logarithm of its probability."""
    return np.log(np.exp(logits).sum()) - logits[target]


def mean_nats(config, weights, x_TB, y_TB, states=None):
    """Mean nats of y_TB after x_TB; states holds one network state a row, or None for zeros."""
    all_nats = []
    for b in range(x_TB.shape[1]):
        logits, _ = network(config, weights, x_TB[:, b], states and states[b])
        all_nats += [nats(y, target) for y, target in zip(logits, y_TB[:, b], strict=True)]
    return np.mean(all_nats)


def slope(f, values, name, direction):
    """Derivative of f(values) as values[name] moves along direction."""
    tiny = 1e-30
    return np.imag(f({**values, name: values[name] + 1j * tiny * direction})) / tiny


def random_weights(config, seed, scale=0.5):
    """Random parameters, biases included, so that no term of an equation is zero."""
    rng = np.random.default_rng(seed)
    return {name: scale * rng.standard_normal(shape) for name, shape in config.shapes().items()}


def philox(seed, row, count):
    """The uniform numbers of a row: the upper 53 bits of each raw number, as a fraction."""
    key = np.array([seed, row], dtype=np.uint64)
    return [
        int(raw >> np.uint64(11)) / 2**53 for raw in np.random.Philox(key=key).random_raw(count)
    ]


def softmax(logits):
    """Probabilities over the last axis."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)
