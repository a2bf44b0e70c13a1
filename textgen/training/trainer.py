"""One update at a time: the part of training that a checkpoint freezes and thaws.

It knows neither files nor clocks. Everything random in step k is a function of the seed and k, so
weights, moments, carried state and the step's number are all that it takes to continue exactly.

    >>> trainer = Trainer(model, streams, seed=0)
    >>> trainer.update(learning_rate=1e-3)
"""

from __future__ import annotations

import math
import sys

import numpy as np
import torch
from torch import Tensor, nn

from textgen.checkpoint import MOMENTS
from textgen.data import IGNORED, RecordStreams, Streams
from textgen.errors import NumericsError
from textgen.files import Tensors
from textgen.nn import CharRNN, State
from textgen.training import optim


class Trainer:
    """Stateful truncated backpropagation through time over one model and its streams.

    Attributes:
        step: how many updates were made.
        early_steps: updates that read the early streams, if there are any.
        grad_norm: of the last gradient before it was clipped; NaN before the first.
    """

    def __init__(
        self,
        model: CharRNN,
        streams: Streams | RecordStreams,
        seed: int,
        weight_decay: float = 0.05,
        early: Streams | RecordStreams | None = None,
    ) -> None:
        self.model = model
        self.streams = streams
        self.early, self.early_steps = early, sys.maxsize if early else 0
        self.seed = seed
        self.step = 0
        self.grad_norm = math.nan
        self.optimizer = optim.make_optimizer(model, weight_decay)
        self.device = model.head.weight.device
        self._state: State = model.initial_state(streams.batch)

    def update(self, learning_rate: float) -> float:
        """Train on the next window; return its nats per id.

        Raises NumericsError, before any weight is touched, when loss or gradient is not finite.
        """
        x_TB, y_TB, reset_B = self._window()
        self.model.train()
        self.model.dropout.reseed(self.seed, self.step)
        state = self._carried_state(torch.from_numpy(~reset_B))
        logits_TBV, state = self.model(torch.from_numpy(x_TB).to(self.device), state)
        target = torch.from_numpy(y_TB).to(self.device).flatten()
        logits = logits_TBV.flatten(0, 1)
        loss = nn.functional.cross_entropy(logits, target, ignore_index=IGNORED)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nats, self.grad_norm = loss.item(), optim.clip(self.model)
        self._require_finite(nats, learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self._state = tuple(tuple(part.detach() for part in layer) for layer in state)
        self.step += 1
        return nats

    def _window(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the window of this step."""
        if self.early and self.step < self.early_steps:
            return self.early.window_at(*self.early.position(self.step))
        return self.streams.window_at(*self.streams.position(self.step - self.early_steps))

    def _carried_state(self, keep_B: Tensor) -> State:
        """Return the state after the last window, zero for the streams that start anew."""
        if bool(keep_B.all()):
            return self._state
        factor = keep_B.to(self.device)[:, None].to(self._state[0][0].dtype)
        return tuple(tuple(part * factor for part in layer) for layer in self._state)

    def _require_finite(self, nats: float, learning_rate: float) -> None:
        if math.isfinite(nats) and math.isfinite(self.grad_norm):
            return
        what = "loss" if not math.isfinite(nats) else "gradient"
        raise NumericsError(
            f"step {self.step + 1}",
            f"the {what} is not finite (learning rate {learning_rate:.2g})",
            "the weights saved earlier are fine; train again with a smaller --lr",
        )

    def snapshot(self) -> Tensors:
        """Return all that `restore` needs beside the weights and the step."""
        saved = self.optimizer.state_dict()["state"]
        tensors = {}
        for index, (name, parameter) in enumerate(self._optimized()):
            for moment in MOMENTS:
                # Before the first step the optimizer has no moments yet; they begin at zero.
                value = saved[index][moment] if saved else torch.zeros_like(parameter)
                tensors[f"{moment}.{name}"] = value.cpu().numpy().copy()
        for layer, parts in enumerate(self._state):
            for part, value in enumerate(parts):
                tensors[f"state.{layer}.{part}"] = value.cpu().numpy().copy()
        return tensors

    def restore(self, tensors: Tensors, step: int) -> None:
        """Go on as the trainer that made the snapshot after `step` updates would have.

        Raises KeyError or RuntimeError when the tensors are not those of this network.
        """
        saved = {}
        for index, (name, parameter) in enumerate(self._optimized()):
            moments = {m: torch.tensor(tensors[f"{m}.{name}"]) for m in MOMENTS}
            if any(value.shape != parameter.shape for value in moments.values()):
                raise KeyError(name)
            saved[index] = {"step": torch.tensor(float(step)), **moments}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": saved, "param_groups": groups})
        self._state = tuple(
            tuple(
                torch.tensor(tensors[f"state.{layer}.{part}"]).to(self.device).view_as(value)
                for part, value in enumerate(parts)
            )
            for layer, parts in enumerate(self._state)
        )
        self.step = step

    def _optimized(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters by name in the order in which the optimizer numbers them."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        groups = self.optimizer.param_groups
        return [(names[parameter], parameter) for group in groups for parameter in group["params"]]
