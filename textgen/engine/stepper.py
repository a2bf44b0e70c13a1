"""The interface of whatever predicts the next id: what is measured, and what writes text.

Shapes: B rows, T time steps, V vocabulary. A state is a value; `None` means that nothing was read.

    >>> logits_BV, state = model.step(np.array([5]), None)
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Scorer(Protocol):
    """What can be measured: a model that carries its state from call to call."""

    def nats(self, x_TB: np.ndarray, y_TB: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB."""
        ...


def first_distribution(counts: np.ndarray) -> np.ndarray:
    """Return the probabilities (V,) of a text's first character: training counts plus one.

    The one keeps the cost of a character that the training text never held finite.
    """
    smoothed = counts.astype(np.float64) + 1
    return np.asarray(smoothed / smoothed.sum())


class Stepper(Scorer, Protocol):
    """What writes text: the numpy engine, a torch model on its device, n-grams, or a mixture."""

    def initial_state(self, rows: int) -> Any:
        """Return the state of B rows that have read nothing."""
        ...

    def step(self, ids_B: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Return logits_BV of the character after ids_B, and the state that has read ids_B."""
        ...

    def read(self, ids: np.ndarray, rows: int, state: Any) -> tuple[np.ndarray, Any]:
        """Feed ids (n,), n >= 1, to every row; return the last logits_BV and the state."""
        ...
