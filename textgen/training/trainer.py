"""One update at a time: the part of training that a checkpoint freezes and thaws.

It knows neither files nor clocks. Everything random in step k is a function of the seed and k, so
weights, moments, carried state and the step's number are all that it takes to continue exactly.

    >>> trainer = Trainer(model, streams, seed=0)
    >>> trainer.update(learning_rate=1e-3)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from textgen.checkpoint import MOMENTS
from textgen.data import IGNORED, RecordStreams, Streams
from textgen.errors import NumericsError
from textgen.files import Tensors
from textgen.nn import CharRNN, State
from textgen.training import optim
from textgen.training.ranks import ALONE, Ranks, Wish, read_wish


class Trainer:
    """Stateful truncated backpropagation through time over one model and its streams.

    Attributes:
        step: how many updates were made.
        early_steps: updates that read the early streams, if there are any.
        grad_norm: of the last gradient before it was clipped; NaN before the first.
        wish: what the ranks asked of all of them at the last step.

    Args:
        model: the network.
        streams: the windows of all ranks.
        seed: of the dropout masks.
        weight_decay: see `make_optimizer`.
        early: the windows of the first `early_steps` updates, if they are others.
        ranks: the processes that train it; each has a trainer for its share of the rows.
    """

    def __init__(
        self,
        model: CharRNN,
        streams: Streams | RecordStreams,
        seed: int,
        weight_decay: float = 0.05,
        early: Streams | RecordStreams | None = None,
        ranks: Ranks = ALONE,
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
        self._state: State = model.initial_state(rows.stop - rows.start)
        # To be called in training; the model itself computes nothing else.
        self._network = ranks.wrap(model)
        if ranks.size > 1:
            # After the first gradients torch puts them into the order in which they come. So that a
            # resumed run adds them up as one that was not stopped, that is over before both begin.
            self._compute_gradients()

    def update(self, learning_rate: float, wish: Callable[[], Wish] = Wish) -> float:
        """Train on the next window; return its nats per id, those of all ranks.

        wish: asked when the gradient is there. Raises NumericsError, on all ranks and before any
        weight is touched, when loss or gradient is not finite.
        """
        loss, state = self._compute_gradients()
        summed, wishes = self.ranks.exchange(loss, wish())
        nats, self.grad_norm, self.wish = summed.item(), optim.clip(self.model), read_wish(wishes)
        self._require_finite(nats, learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self._state = state
        self.step += 1
        return nats

    def _compute_gradients(self) -> tuple[Tensor, State]:
        """Compute the gradients of the next window, the same on all ranks.

        Return this rank's part of the window's mean nats, and the state of its rows after it.
        """
        streams, position = self._position()
        x_TB, y_TB, reset_B = streams.window_at(*position)
        self.model.train()
        self.model.dropout.reseed(self.seed, self.step, self.ranks.rank)
        state = self._carried_state(torch.from_numpy(~reset_B))
        logits_TBV, state = self._network(torch.from_numpy(x_TB).to(self.device), state)
        target = torch.from_numpy(y_TB).to(self.device).flatten()
        logits = logits_TBV.flatten(0, 1)
        total = nn.functional.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
        # This rank's part of the mean over the ids of all ranks.
        loss = total / streams.targets_at(*position)
        self.optimizer.zero_grad()
        # The gradients of all ranks become their mean, which is their sum again then.
        (loss * self.ranks.size).backward()  # type: ignore[no-untyped-call]
        return loss.detach(), tuple(tuple(part.detach() for part in layer) for layer in state)

    def _position(self) -> tuple[Streams | RecordStreams, tuple[int, int]]:
        """Return the streams of this step, and where in them its window is."""
        if self.early and self.step < self.early_steps:
            return self.early, self.early.position(self.step)
        return self.streams, self.streams.position(self.step - self.early_steps)

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
