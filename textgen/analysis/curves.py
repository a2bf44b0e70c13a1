"""How a run was trained: its figures, validation by validation, as the run noted them.

    >>> read_curves("checkpoints/corpus").val_nats_N.min()

Shapes: N validations.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textgen.errors import CheckpointError
from textgen.files import JsonObject

METRICS = "metrics.jsonl"
# The figures of a line, and what they are called there; where one is null it is nan here.
COLUMNS = {
    "steps_N": "step",
    "chars_N": "chars_seen",
    "train_nats_N": "train_nats",
    "val_nats_N": "val_nats",
    "network_nats_N": "network_nats",
    "rates_N": "lr",
    "gradients_N": "grad_norm",
    "speeds_N": "chars_per_second",
}


@dataclass(frozen=True)
class LearningCurves:
    """The figures of a run at each of its N validations, in the order of its steps.

    Attributes:
        name: of the run.
        steps_N: updates so far.
        chars_N: characters read so far, those of all passes.
        train_nats_N: nats a character of the network since the validation before, under dropout.
        val_nats_N: of the model on the validation part; nan without one.
        network_nats_N: of its network alone.
        rates_N: the learning rate of the last update.
        gradients_N: the norm of its gradient, before it was clipped.
        speeds_N: characters a second.
    """

    name: str
    steps_N: np.ndarray
    chars_N: np.ndarray
    train_nats_N: np.ndarray
    val_nats_N: np.ndarray
    network_nats_N: np.ndarray
    rates_N: np.ndarray
    gradients_N: np.ndarray
    speeds_N: np.ndarray

    @property
    def best(self) -> int | None:
        """Which validation was the best; None without any."""
        return None if np.isnan(self.val_nats_N).all() else int(np.nanargmin(self.val_nats_N))


def read_curves(run: str | Path) -> LearningCurves:
    """Return the learning curves of a run.

    Args:
        run: its folder, or a checkpoint in it.

    Raises:
        CheckpointError: if there is no metrics.jsonl, or a line of it cannot be read.
    """
    folder = Path(run)
    # Unlike Path.is_dir, it never raises.
    if not os.path.isdir(folder):
        folder = folder.parent
    path = folder / METRICS
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
    except (OSError, ValueError):
        problem = f"holds no {METRICS} that can be read"
        raise CheckpointError(str(run), problem, "name the folder of a run") from None
    rows = list(_rows(path, lines))
    if not rows:
        raise CheckpointError(str(path), "holds no validation yet", "wait for the first one")
    columns = np.array(rows, dtype=np.float64).T
    return LearningCurves(str(run), *columns)


def _rows(path: Path, lines: list[str]) -> Iterator[list[float]]:
    """Yield the figures of each line, in the order of COLUMNS.

    A last line that was cut off, as by a power cut, is left out.
    """
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith("\n"):
            return
        try:
            figures = JsonObject(json.loads(line), "line")
            yield [figures.number(key) if figures.has(key) else np.nan for key in COLUMNS.values()]
        except ValueError as error:
            fix = "delete that line"
            raise CheckpointError(str(path), f"line {number}: {error}", fix) from None
