"""The network that is trained: embedding -> recurrent layers -> head.

State is a value that is passed in and returned; nothing is hidden in the module. Modules are made
on the meta device and filled by our own initialisation, and dropout draws from a generator of its
own, so that no global random state is ever touched.

Shapes: T time steps, B streams, V vocabulary, E embedding, H hidden, L layers.

    >>> model = CharRNN(ModelConfig(vocab=66, hidden=256), seed=0)
    >>> logits_TBV, state = model(x_TB, None)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from textgen.config import GATES, ModelConfig
from textgen.engine import ids_of_rows
from textgen.nn.cells import GRU, LayerState, make_layer

State = tuple[LayerState, ...]
# A stepper also takes a state as it is read from a file, in arrays; None means zeros.
GivenState = State | tuple[tuple[np.ndarray, ...], ...] | None

# The embedding's part of the dropout rate, about that of the best run of docs/log.md, "ten minutes,
# once more": .08 beside .3.
EMBEDDING_SHARE = 0.25
# The masks of step k of a run are seeded with its seed times this, plus k, so that two runs share
# no masks unless they take as many steps.
STEPS_APART = 1_000_003
# Plus so much for each process before this one, of those that train together.
RANKS_APART = 1_000_000_007 * STEPS_APART
# The logits of a long window fill gigabytes where the vocabulary is large, so that a window is
# measured in stretches of at most so many logits: 32 MB in float32.
MOST_LOGITS = 1 << 23


class CharRNN(nn.Module):
    """A stacked recurrent language model over ids.

    With more than one layer the head reads the sum of the layers' outputs (Melis et al., 2020).

    Args:
        config: the sizes.
        seed: of the initial parameters; None leaves them to `load`.
        dropout: the rate behind each layer while training; a quarter of it behind the embedding.
        precision: of matrix products in training. "bfloat16": a GRU on the CPU takes their inputs
            in it. "float16": recurrent layers on CUDA run in it. Whatever does not fit the device
            or the cell is float32, and so are state, head, loss and weights always.
        device: where the parameters are; their values are the same on every device.
    """

    def __init__(
        self,
        config: ModelConfig,
        seed: int | None = 0,
        dropout: float = 0.0,
        precision: str = "float32",
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.config, self.precision = config, precision
        self.embedding = nn.Embedding(config.vocab, config.embedding, device="meta")
        widths = [config.embedding] + [config.hidden] * (config.layers - 1)
        self.layers = nn.ModuleList(
            make_layer(config.cell, width, config.hidden, precision == "bfloat16")
            for width in widths
        )
        self.head = nn.Linear(config.hidden, config.vocab, device="meta")
        self.dropout = Dropout(dropout)
        self.to_empty(device=device or "cpu")
        if seed is not None:
            initialise(self, seed)

    def initial_state(self, rows: int) -> State:
        """Return the zero state of B rows."""
        zeros = self.head.weight.new_zeros(rows, self.config.hidden)
        parts = 2 if self.config.cell == "lstm" else 1
        return tuple((zeros,) * parts for _ in self.layers)

    def forward(self, x_TB: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return logits_TBV of the characters after x_TB, and the state that has read x_TB.

        Args:
            x_TB: ids, int64.
            state: a tuple of h_BH, or h_BH and c_BH, for each layer; None means zeros.
        """
        state = state or self.initial_state(x_TB.shape[1])
        features, last = self._read(x_TB, state[0])
        features = self.dropout(features)
        # Summed in float32 where the layers are in less.
        total = features.to(self.head.weight.dtype)
        after = [last]
        for layer, before in zip(self.layers[1:], state[1:], strict=True):
            features, last = self._run(layer, features, before)
            after.append(last)
            features = self.dropout(features)
            total = total + features
        return self.head(total), tuple(after)

    def _run(
        self, layer: nn.Module, features: Tensor, before: LayerState
    ) -> tuple[Tensor, LayerState]:
        """Return a layer's outputs and its state, which stays in float32 whatever the layer is in.

        On CUDA autocast gives cuDNN float16 whatever type it is asked for, and only in float16 are
        there kernels that keep the recurrent weights on the chip.
        """
        out: tuple[Tensor, LayerState]
        if not (self.precision == "float16" and self.training and features.device.type == "cuda"):
            out = layer(features, before)
            return out
        with torch.autocast("cuda", torch.float16):
            out = layer(features.half(), tuple(part.half() for part in before))
        return out[0], tuple(part.float() for part in out[1])

    def _read(self, x_TB: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Return the first layer's outputs and its state after x_TB."""
        first = self.layers[0]
        # Only in training, so that what is measured and sampled takes one way whatever its shape.
        # Each place has a dropout mask of its own, so with dropout there is no table to look up.
        if (
            isinstance(first, GRU)
            and self.training
            and x_TB.device.type == "cpu"
            and self.config.vocab < x_TB.numel()
            and self.dropout.dropped(EMBEDDING_SHARE) == 0
        ):
            return first.read_ids(x_TB, self.embedding.weight, state)
        features = self.dropout(self.embedding(x_TB), EMBEDDING_SHARE)
        return self._run(first, features, state)

    @classmethod
    def from_weights(
        cls, config: ModelConfig, weights: dict[str, np.ndarray], device: torch.device
    ) -> CharRNN:
        """Return a network with the parameters of `config.shapes()`, ready to read text."""
        model = cls(config, seed=None, device=device)
        model.load(weights)
        return model.eval()

    def load(self, weights: dict[str, np.ndarray]) -> None:
        """Take over the parameters of `config.shapes()`."""
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, array in weights.items():
                own[name].copy_(torch.from_numpy(np.array(array)))

    def export(self) -> dict[str, np.ndarray]:
        """Return a copy of the parameters under the names of `config.shapes()`."""
        own = dict(self.named_parameters())
        return {n: own[n].detach().cpu().numpy().copy() for n in self.config.shapes()}


class Dropout(nn.Module):
    """Dropout (Srivastava et al., 2014) whose masks come from a generator of its own.

    A mask is cut from random bytes, eight from one draw, which is several times as fast as
    torch's bernoulli on a CPU; rates are rounded to 1/256, at most 255/256.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.generator = torch.Generator()

    def reseed(self, seed: int, step: int, rank: int = 0) -> None:
        """Make the masks of the coming step a function of seed, step and rank alone."""
        number = seed * STEPS_APART + step + rank * RANKS_APART
        self.generator.manual_seed(number % 2**63)

    def dropped(self, share: float) -> int:
        """Return how many of 256 numbers are dropped where `share * rate` of them should be."""
        return min(255, round(self.rate * share * 256))

    def forward(self, x: Tensor, share: float = 1.0) -> Tensor:
        """Return x with `share * rate` of it dropped while training."""
        dropped = self.dropped(share)
        if not self.training or dropped == 0:
            return x
        if self.generator.device != x.device:
            seed = self.generator.initial_seed()
            self.generator = torch.Generator(x.device).manual_seed(seed)
        draws = torch.empty(x.numel() // 8 + 1, dtype=torch.int64, device=x.device)
        draws.random_(-(2**63), None, generator=self.generator)
        kept = (draws.view(torch.uint8)[: x.numel()] >= dropped).view(x.shape)
        return x * kept.to(x.dtype).mul_(256 / (256 - dropped))


def initialise(model: CharRNN, seed: int) -> None:
    """Fill the parameters: orthogonal recurrent blocks, uniform inputs, forget bias 1.

    Sources: Saxe et al. (2014) for the orthogonal blocks, one a gate; Gers et al. (2000) for
    the forget bias, which goes into bias_ih alone since torch adds both biases; a GRU's z keeps
    the state as an LSTM's f does, and begins alike. They are drawn on the CPU, so that a seed gives
    the same weights everywhere.
    """
    generator = torch.Generator().manual_seed(seed)
    width = model.config.hidden
    for name, parameter in model.named_parameters():
        kind = name.rsplit(".", 1)[-1]
        values = torch.empty(parameter.shape)
        if kind == "weight_hh_l0":
            for block in values.chunk(GATES[model.config.cell]):
                nn.init.orthogonal_(block, generator=generator)
        elif "bias" in kind:
            nn.init.zeros_(values)
            if model.config.cell != "rnn" and kind == "bias_ih_l0":
                # The gate that keeps the state: an LSTM's f, a GRU's z.
                nn.init.ones_(values[width : 2 * width])
        elif name == "embedding.weight":
            nn.init.normal_(values, generator=generator)
        else:
            bound = parameter.shape[1] ** -0.5
            nn.init.uniform_(values, -bound, bound, generator=generator)
        with torch.no_grad():
            parameter.copy_(values)


def losses(logits_TBV: Tensor, y_TB: Tensor) -> Tensor:
    """Return losses_TB, the nats of predicting each of y_TB."""
    losses_N = nn.functional.cross_entropy(
        logits_TBV.flatten(0, 1), y_TB.flatten(), reduction="none"
    )
    return losses_N.view(y_TB.shape)


class TorchStepper:
    """A CharRNN behind the stepping interface of the numpy engine, on the model's device.

    Args:
        model: put into evaluation mode.
    """

    def __init__(self, model: CharRNN) -> None:
        self.model = model.eval()
        self.device = model.head.weight.device

    def initial_state(self, rows: int) -> State:
        """Return the zero state of B rows."""
        return self.model.initial_state(rows)

    def forward(self, x_TB: np.ndarray, state: GivenState) -> tuple[Tensor, State]:
        """Return logits_TBV and the state, without a graph."""
        with torch.no_grad():
            x = torch.from_numpy(x_TB).to(self.device)
            logits_TBV, after = self.model(x, self.as_tensors(state))
        return logits_TBV, after

    def as_tensors(self, state: GivenState) -> State | None:
        """Return a state as the model takes it."""

        def as_tensor(part: Tensor | np.ndarray) -> Tensor:
            return part if isinstance(part, Tensor) else torch.tensor(part, device=self.device)

        return tuple(tuple(map(as_tensor, layer)) for layer in state) if state else None

    def step(self, ids_B: np.ndarray, state: GivenState) -> tuple[np.ndarray, State]:
        """Return logits_BV of the character after ids_B, and the state that has read ids_B."""
        logits_TBV, state = self.forward(np.asarray(ids_B, dtype=np.int64)[None], state)
        return logits_TBV[0].cpu().numpy(), state

    def read(self, ids: np.ndarray, rows: int, state: GivenState) -> tuple[np.ndarray, State]:
        """Return the last logits_BV and the state after ids (n,) or (n, B); see `Stepper.read`."""
        ids_TB = ids_of_rows(np.asarray(ids, dtype=np.int64), rows)
        logits_TBV, state = self.forward(ids_TB.copy(), state)
        return logits_TBV[-1].cpu().numpy(), state

    def logits(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: GivenState
    ) -> tuple[np.ndarray, GivenState]:
        """Return logits_TBV of the ids after each of x_TB, and the state; y_TB teaches nothing."""
        logits_TBV, after = self.forward(x_TB, state)
        return logits_TBV.cpu().numpy(), after

    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: GivenState
    ) -> tuple[np.ndarray, GivenState]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB."""
        nats_TB = np.empty(y_TB.shape)
        steps = max(1, MOST_LOGITS // (x_TB.shape[1] * self.model.config.vocab))
        for start in range(0, len(x_TB), steps):
            stretch = slice(start, start + steps)
            logits_TBV, state = self.forward(x_TB[stretch], state)
            losses_TB = losses(logits_TBV, torch.from_numpy(y_TB[stretch]).to(self.device))
            nats_TB[stretch] = losses_TB.cpu().double().numpy()
        return nats_TB, state
