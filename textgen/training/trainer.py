"""One update at a time: the part of training that a checkpoint freezes and thaws.

It knows neither files nor clocks. Everything random in step k is a function of the seed and k, so
weights, moments, carried state and the step's number are all that it takes to continue exactly;
in float16 the scale of the loss too.

On one GPU a step never waits for the GPU: whether its gradient is finite is decided there, and its
figures are read one step late, so that there is always work for it.

    >>> trainer = Trainer(model, streams, seed=0)
    >>> trainer.update(learning_rate=1e-3)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from textgen.checkpoint import MOMENTS, SCALER
from textgen.data import IGNORED, RecordStreams, Streams
from textgen.errors import NumericsError
from textgen.files import Tensors
from textgen.nn import CharRNN, State
from textgen.training import optim
from textgen.training.ranks import ALONE, Ranks, Wish, read_wish
from textgen.training.windows import Window, Windows


class Pending(NamedTuple):
    """A step whose figures are on their way from the GPU.

    Attributes:
        step: its number, from 1.
        learning_rate: of its update.
        figures: on the CPU once `arrived`: nats per id, norm of the gradient, and whether the scale
            of the loss fell too low.
        arrived: when the GPU has sent them.
    """

    step: int
    learning_rate: float
    figures: Tensor
    arrived: torch.cuda.Event


class Trainer:
    """Stateful truncated backpropagation through time over one model and its streams.

    Attributes:
        step: how many updates were made.
        early_steps: updates that read the early streams, if there are any.
        grad_norm: of the last gradient that is known, before it was clipped; NaN before the first.
        wish: what the ranks asked of all of them at the last step.

    Args:
        model: the network.
        streams: the windows of all ranks.
        seed: of the dropout masks.
        weight_decay: see `make_optimizer`.
        early: the windows of the first `early_steps` updates, if they are others.
        ranks: the processes that train it; each has a trainer for its share of the rows.
        never_waits: whether updates are those of a GPU; None: on CUDA.
    """

    def __init__(
        self,
        model: CharRNN,
        streams: Streams | RecordStreams,
        seed: int,
        weight_decay: float = 0.05,
        early: Streams | RecordStreams | None = None,
        ranks: Ranks = ALONE,
        never_waits: bool | None = None,
    ) -> None:
        self.model, self.ranks = model, ranks
        rows = ranks.share(streams.batch)
        self.streams = streams.of_rows(rows)
        self.early, self.early_steps = None, 0
        if early:
            self.early, self.early_steps = early.of_rows(rows), sys.maxsize
        self.seed = seed
        self.step = 0
        self.grad_norm, self.wish = math.nan, Wish()
        self.optimizer = optim.make_optimizer(model, weight_decay)
        self.device = model.head.weight.device
        self._windows = Windows(self.early or self.streams, self.device)
        # Elsewhere the CPU knows whether a gradient is finite before it is used.
        self._scaler: torch.amp.GradScaler | None = None
        if self.device.type == "cuda" if never_waits is None else never_waits:
            self._scaler = optim.make_scaler(model.precision, self.device.type)
        self._pending: Pending | None = None
        self._state: State = model.initial_state(rows.stop - rows.start)
        # To be called in training; the model itself computes nothing else.
        self._network = ranks.wrap(model)
        if ranks.size > 1:
            # After the first gradients torch puts them into the order in which they come. So that a
            # resumed run adds them up as one that was not stopped, that is over before both begin.
            self._compute_gradients()

    def update(self, learning_rate: float, wish: Callable[[], Wish] = Wish) -> float:
        """Train on the next window; return its nats per id, those of all ranks.

        On one GPU they are those of the step before, NaN at first; `finish` has the last ones.

        wish: asked when the gradient is there. Raises NumericsError, on all ranks and before any
        weight is touched, when loss or gradient is not finite; on one GPU a step late. In float16
        a gradient that is not finite only halves the scale of the loss, down to 1.
        """
        loss, state = self._compute_gradients()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if self._scaler is None:
            nats = self._update_on_cpu(loss, learning_rate, wish)
        else:
            nats = self._update_on_gpu(self._scaler, loss, learning_rate, wish)
        self._state = state
        self.step += 1
        return nats

    def _compute_gradients(self) -> tuple[Tensor, State]:
        """Compute the gradients of the next window, the same on all ranks.

        Return this rank's part of the window's mean nats, and the state of its rows after it.
        """
        streams, position = self._position()
        window = self._window_at(streams, position)
        self.model.train()
        self.model.dropout.reseed(self.seed, self.step, self.ranks.rank)
        logits_TBV, state = self._network(window.x_TB, self._carried_state(window.keep_B))
        target, logits = window.y_TB.flatten(), logits_TBV.flatten(0, 1)
        total = nn.functional.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
        # This rank's part of the mean over the ids of all ranks.
        loss = total / streams.targets_at(*position)
        self.optimizer.zero_grad()
        # The gradients of all ranks become their mean, which is their sum again then.
        scaled = loss * self.ranks.size
        if self._scaler is not None:
            scaled = self._scaler.scale(scaled)
        scaled.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), tuple(tuple(part.detach() for part in layer) for layer in state)

    def _update_on_cpu(
        self, own_nats: Tensor, learning_rate: float, wish: Callable[[], Wish]
    ) -> float:
        """Follow the gradient; return the nats of this step."""
        summed, wishes = self.ranks.exchange(own_nats, wish())
        nats, self.grad_norm = summed.item(), optim.clip(self.model).item()
        self.wish = read_wish(wishes)
        _require_finite(nats, math.isfinite(self.grad_norm), self.step + 1, learning_rate)
        self.optimizer.step()
        return nats

    def _update_on_gpu(
        self,
        scaler: torch.amp.GradScaler,
        own_nats: Tensor,
        learning_rate: float,
        wish: Callable[[], Wish],
    ) -> float:
        """Follow the gradient where it is finite; return the nats of the step before, if alone."""
        wishes = None
        if self.ranks.size == 1:
            summed, self.wish = own_nats, wish()
        else:
            summed, wishes = self.ranks.exchange(own_nats, wish())
        scaler.unscale_(self.optimizer)
        norm = optim.clip(self.model)
        scaler.step(self.optimizer)
        scaler.update()
        is_lost = scaler.scale(torch.ones_like(own_nats)) < optim.LEAST_SCALE
        before, figures = self._pending, torch.stack([summed.float(), norm, is_lost.float()])
        self._pending = self._send(figures, learning_rate)
        if wishes is None:
            return self._read(before)
        # Ranks follow each other's wishes at once.
        self.wish = read_wish(wishes)
        return self.finish()

    def _send(self, figures: Tensor, learning_rate: float) -> Pending:
        """Let the GPU send the figures of this step when it has come to them."""
        sent = torch.empty_like(figures, device="cpu").pin_memory()
        sent.copy_(figures, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        return Pending(self.step + 1, learning_rate, sent, arrived)

    def finish(self) -> float:
        """Wait for the last step; return its nats per id, NaN if `update` has returned them.

        Raises NumericsError as `update` does.
        """
        last, self._pending = self._pending, None
        return self._read(last)

    def _read(self, pending: Pending | None) -> float:
        """Wait for the figures of a step and return its nats, NaN without a step."""
        if pending is None:
            return math.nan
        pending.arrived.synchronize()
        nats, norm, is_lost = map(float, pending.figures.numpy())
        _require_finite(nats, not is_lost, pending.step, pending.learning_rate)
        # One that was too large for float16 was not used.
        if math.isfinite(norm):
            self.grad_norm = norm
        return nats

    def _window_at(self, streams: Streams | RecordStreams, position: tuple[int, int]) -> Window:
        """Return a window on the device, which holds the text of one of the streams only."""
        if self._windows.streams is not streams:
            self._windows = Windows(streams, self.device)
        return self._windows.at(*position)

    def _position(self) -> tuple[Streams | RecordStreams, tuple[int, int]]:
        """Return the streams of this step, and where in them its window is."""
        if self.early and self.step < self.early_steps:
            return self.early, self.early.position(self.step)
        return self.streams, self.streams.position(self.step - self.early_steps)

    def _carried_state(self, keep_B: Tensor | None) -> State:
        """Return the state after the last window, zero for the streams that start anew."""
        if keep_B is None:
            return self._state
        factor = keep_B[:, None].to(self._state[0][0].dtype)
        return tuple(tuple(part * factor for part in layer) for layer in self._state)

    def snapshot(self) -> Tensors:
        """Return all that `restore` needs beside the weights and the step; all ranks must ask."""
        saved = self.optimizer.state_dict()["state"]
        tensors = {}
        for index, (name, parameter) in enumerate(self._optimized()):
            for moment in MOMENTS:
                # Before the first step the optimizer has no moments yet; they begin at zero.
                value = saved[index][moment] if saved else torch.zeros_like(parameter)
                tensors[f"{moment}.{name}"] = value.cpu().numpy().copy()
        for layer, parts in enumerate(self._state):
            for part, value in enumerate(parts):
                whole = self.ranks.gather_rows(value, self.streams.batch)
                tensors[f"state.{layer}.{part}"] = whole.cpu().numpy().copy()
        if self._scaler is not None and self.model.precision == "float16":
            values = self._scaler.state_dict()
            # Updates, of which the optimizer counts those alone that were made.
            made = float(saved[0]["step"]) if saved else 0.0
            figures = [
                values.get("scale", optim.FIRST_SCALE),
                values.get("_growth_tracker", 0),
                made,
            ]
            tensors[SCALER] = np.array(figures, np.float32)
        return tensors

    def restore(self, tensors: Tensors, step: int) -> None:
        """Go on as the trainer that made the snapshot after `step` updates would have.

        Raises KeyError or RuntimeError when the tensors are not those of this network.
        """
        saved, made = {}, float(step)
        if self._scaler is not None and self.model.precision == "float16":
            scale, growth, made = map(float, tensors[SCALER])
            values = self._scaler.state_dict()
            self._scaler.load_state_dict({**values, "scale": scale, "_growth_tracker": int(growth)})
        for index, (name, parameter) in enumerate(self._optimized()):
            moments = {m: torch.tensor(tensors[f"{m}.{name}"]) for m in MOMENTS}
            if any(value.shape != parameter.shape for value in moments.values()):
                raise KeyError(name)
            saved[index] = {"step": torch.tensor(made), **moments}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": saved, "param_groups": groups})
        self._state = tuple(
            tuple(
                self._own_rows(tensors[f"state.{layer}.{part}"]).view_as(value)
                for part, value in enumerate(parts)
            )
            for layer, parts in enumerate(self._state)
        )
        self.step = step

    def _own_rows(self, whole: np.ndarray) -> Tensor:
        """Return this rank's rows of a state of all of them."""
        if len(whole) != self.streams.batch:
            raise RuntimeError(f"{len(whole)} streams instead of {self.streams.batch}")
        return torch.tensor(whole[self.streams.rows]).to(self.device)

    def _optimized(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters by name in the order in which the optimizer numbers them."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        groups = self.optimizer.param_groups
        return [(names[parameter], parameter) for group in groups for parameter in group["params"]]


def _require_finite(nats: float, has_gradient: bool, step: int, learning_rate: float) -> None:
    """Raise NumericsError for a step whose loss or gradient is not finite."""
    if math.isfinite(nats) and has_gradient:
        return
    what = "loss" if not math.isfinite(nats) else "gradient"
    raise NumericsError(
        f"step {step}",
        f"the {what} is not finite (learning rate {learning_rate:.2g})",
        "the weights saved earlier are fine; train again with a smaller --lr",
    )
