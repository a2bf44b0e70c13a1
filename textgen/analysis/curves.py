"""The learning curves of a run, read from its metrics.jsonl.

Shapes: N validations, in the order of their steps.

    >>> curves = read_curves(Path("checkpoints/corpus"))
    >>> curves.chars_N[curves.best()], curves.val_nats_N.min()
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from textgen.checkpoint import runs
from textgen.errors import CheckpointError, reason_of
from textgen.files import JsonObject

# A field of LearningCurves for each figure of a line; "step" and "chars_seen" are whole numbers.
METRICS_COLUMNS = {
    "chars_N": "chars_seen",
    "train_nats_N": "train_nats",
    "val_nats_N": "val_nats",
    "network_nats_N": "network_nats",
    "learning_rate_N": "lr",
    "grad_norm_N": "grad_norm",
    "chars_per_second_N": "chars_per_second",
}


@dataclass(frozen=True)
class LearningCurves:
    """The figures of a run at each of its validations; NaN where there is none.

    Attributes:
        name: of the run.
        steps_N: updates made, rising.
        chars_N: characters read in them, some more than once.
        train_nats_N: nats per character of the network under dropout, since the validation before.
        val_nats_N: nats per character of the model on the validation part.
        network_nats_N: the same of its network alone.
        learning_rate_N: of the last update.
        grad_norm_N: of the last gradient, before it was clipped.
        chars_per_second_N: how fast it read.
    """

    name: str
    steps_N: np.ndarray
    chars_N: np.ndarray
    train_nats_N: np.ndarray
    val_nats_N: np.ndarray
    network_nats_N: np.ndarray
    learning_rate_N: np.ndarray
    grad_norm_N: np.ndarray
    chars_per_second_N: np.ndarray

    def best(self) -> int | None:
        """Return the index of the best validation, the first of equals; None without any."""
        measured = np.flatnonzero(np.isfinite(self.val_nats_N))
        if not len(measured):
            return None
        return int(measured[self.val_nats_N[measured].argmin()])


def read_curves(run: Path) -> LearningCurves:
    """Return the learning curves of a run.

    A last line that was cut off by a crash does not count. A line takes the place of those before
    it that are of the same step or a later one, which were made again.

    Args:
        run: a run folder, or a file in it.

    Returns:
        The curves; without any point for a run that was not validated yet.

    Raises:
        CheckpointError: there is no such run, or a line is damaged.
    """
    folder = runs.folder_of(run)
    lines: list[JsonObject] = []
    for line in _read_lines(folder / runs.METRICS):
        while lines and lines[-1].integer("step") >= line.integer("step"):
            lines.pop()
        lines.append(line)
    # Path(".") has no name.
    name = os.path.basename(os.path.abspath(folder)) or str(folder)
    steps_N = np.array([line.integer("step") for line in lines], np.int64)
    columns = {
        field: [_number(line, key) for line in lines] for field, key in METRICS_COLUMNS.items()
    }
    arrays = {field: np.array(column, np.float64) for field, column in columns.items()}
    return LearningCurves(name, steps_N, **arrays)


def compare_curves(paths: Sequence[Path]) -> list[LearningCurves]:
    """Return the curves of several runs; those of the same name are told apart by their paths."""
    curves = [read_curves(path) for path in paths]
    times = Counter(run.name for run in curves)
    return [
        replace(run, name=str(path)) if times[run.name] > 1 else run
        for run, path in zip(curves, paths, strict=True)
    ]


def _read_lines(path: Path) -> Iterator[JsonObject]:
    """Yield the lines of metrics.jsonl, but a last one that was cut off."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointError(
            str(path), f"cannot be read: {reason_of(error)}", "check the path"
        ) from error
    # Behind the last newline.
    rest = lines.pop()
    for number, line in enumerate([*lines, rest] if rest else lines, 1):
        try:
            yield _checked(line, f"line {number}")
        except ValueError as error:
            if number > len(lines):
                return
            raise CheckpointError(str(path), str(error), "remove that line") from None


def _checked(line: bytes, name: str) -> JsonObject:
    """Return a line whose figures can all be read; raise ValueError naming what is wrong."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"{name} is not JSON") from None
    checked = JsonObject(values, name)
    checked.integer("step")
    for key in METRICS_COLUMNS.values():
        _number(checked, key)
    return checked


def _number(line: JsonObject, key: str) -> float:
    """Return a figure of a line, NaN if it has none or one that is not finite."""
    value: Any = line.values.get(key)
    if isinstance(value, float) and not math.isfinite(value):
        return math.nan
    return line.number(key) if line.has(key) else math.nan
