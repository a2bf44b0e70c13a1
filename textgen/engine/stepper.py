"""The interface of whatever predicts the next id: what is measured, and what writes text.

Shapes: B rows, T time steps, V vocabulary. A state is a value; `None` means that nothing was read.

    >>> logits_BV, state = model.step(np.array([5]), None)
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

# What a stepper keeps of the text that it has read: a tuple with a tuple for each layer, of arrays
# (or tensors) with one row a text. Whoever carries it may pick rows and put rows together, and
# need not know what is in it; None stands for the beginning of a text.
StepperState = Any


class Scorer(Protocol):
    """What can be measured: a model that carries its state from call to call."""

    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: StepperState
    ) -> tuple[np.ndarray, StepperState]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB."""
        ...


class Stepper(Scorer, Protocol):
    """What writes text: the numpy engine, a torch model on its device, or a mixture."""

    def initial_state(self, rows: int) -> StepperState:
        """Return the state of B rows that have read nothing."""
        ...

    def step(self, ids_B: np.ndarray, state: StepperState) -> tuple[np.ndarray, StepperState]:
        """Return logits_BV of the id after ids_B, and the state that has read ids_B."""
        ...

    def read(
        self, ids: np.ndarray, rows: int, state: StepperState
    ) -> tuple[np.ndarray, StepperState]:
        """Return the last logits_BV and the state after reading.

        Args:
            ids: (n,), n >= 1, for every row; or (n, B), a column for each.
            rows: B.
            state: before.
        """
        ...


def ids_of_rows(ids: np.ndarray, rows: int) -> np.ndarray:
    """Return ids_TB that rows read: what `Stepper.read` takes, a column for each row."""
    return np.broadcast_to(ids[:, None] if ids.ndim == 1 else ids, (len(ids), rows))


def first_distribution(counts: np.ndarray) -> np.ndarray:
    """Return the probabilities (V,) of a text's first id: training counts plus one.

    The one keeps the cost of an id that the training text never held finite.

    Args:
        counts: (V,) how often each id occurs in the training text.
    """
    smoothed = counts.astype(np.float64) + 1
    return np.asarray(smoothed / smoothed.sum())


class Network(Stepper, Protocol):
    """A stepper whose scores of whole stretches can be had."""

    def logits(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: StepperState
    ) -> tuple[np.ndarray, StepperState]:
        """Return logits_TBV of the ids after each of x_TB, and the state after the last.

        y_TB: what came after them, for a network that learns from what it has predicted.
        """
        ...
