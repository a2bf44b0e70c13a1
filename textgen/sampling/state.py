"""Where texts stopped, as a value: taken, branched, saved, continued.

A model's state is nested tuples of arrays with one row a text; these functions pick rows and put
rows together without knowing what is in it.

    >>> twice = state.take([0, 0])
    >>> state.save("here.state", model.checkpoint.model)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from textgen.config import ModelConfig, to_json
from textgen.engine import StepperState
from textgen.errors import CheckpointError
from textgen.files import tensorfile
from textgen.sampling.filters import NOTHING


class SamplingState(NamedTuple):
    """Where B texts stopped: what is needed to continue exactly as if they had not.

    state: of the model, None at the beginning of a text. logits_BV: of the id to come.
    position: draws made so far; seed: what they were made with.
    ids_BL: the latest ids, for filters that look back. mu_B: of mirostat, None before it is used.
    unwritten_bytes: for each text the bytes that its last id has beyond what was written; () where
    there are none. The text that continues from there begins with them.
    """

    state: StepperState
    logits_BV: np.ndarray
    ids_BL: np.ndarray
    position: int = 0
    seed: int | None = None
    mu_B: np.ndarray | None = None
    unwritten_bytes: tuple[bytes, ...] = ()

    def take(self, rows: Sequence[int]) -> SamplingState:
        """Return where some of the texts stopped, each as often as it is named.

        Args:
            rows: numbers of texts, from 0.
        """
        index = np.asarray(rows, dtype=np.int64)
        unwritten = self.unwritten_bytes
        return self._replace(
            state=take_rows(self.state, index),
            logits_BV=self.logits_BV[index],
            ids_BL=self.ids_BL[index],
            mu_B=None if self.mu_B is None else self.mu_B[index],
            unwritten_bytes=tuple(unwritten[row] for row in index) if unwritten else (),
        )

    def with_rows_of(self, other: SamplingState, rows_B: np.ndarray) -> SamplingState:
        """Return it with some rows as in another one.

        Args:
            other: as many texts, with a state of the model.
            rows_B: bool, which rows are the other one's.
        """
        count = len(rows_B)
        index = np.arange(count) + count * rows_B
        mu_B = self.mu_B
        if mu_B is not None and other.mu_B is not None:
            mu_B = np.where(rows_B, other.mu_B, mu_B)
        return self._replace(
            state=take_rows(join_rows([self.state, other.state]), index),
            logits_BV=np.where(rows_B[:, None], other.logits_BV, self.logits_BV),
            ids_BL=np.where(rows_B[:, None], other.ids_BL, self.ids_BL),
            mu_B=mu_B,
        )

    def save(self, path: str | Path, model: ModelConfig) -> None:
        """Write it to a file, for `load_state` with a model of the same sizes.

        Args:
            path: the file.
            model: the sizes of the model that wrote the texts.

        Raises:
            MachineError: where the file cannot be written.
        """
        arrays: dict[str, np.ndarray] = {"logits": self.logits_BV, "ids": self.ids_BL}
        if self.mu_B is not None:
            arrays["mu"] = self.mu_B
        if any(self.unwritten_bytes):
            arrays["rest"] = np.frombuffer(b"".join(self.unwritten_bytes), dtype=np.uint8)
            arrays["rest.sizes"] = np.array([len(unwritten) for unwritten in self.unwritten_bytes])
        for layer, parts in enumerate(self.state or ()):
            for part, value in enumerate(parts):
                # A model on another device holds tensors.
                on_cpu = value.cpu() if hasattr(value, "cpu") else value
                arrays[f"state.{layer}.{part}"] = np.asarray(on_cpu)
        recorded = {"position": self.position, "seed": self.seed, "model": to_json(model)}
        metadata = {"format": tensorfile.FORMAT_VERSION, "continuation": recorded}
        tensorfile.write_tensors(Path(path), arrays, metadata)


def load_state(path: str | Path, model: ModelConfig) -> SamplingState:
    """Return what `SamplingState.save` wrote.

    Args:
        path: the file.
        model: the sizes of the model that is to continue.

    Raises:
        CheckpointError: where the file is damaged, or not of a model of these sizes.
    """
    tensors, metadata = tensorfile.read_tensors(Path(path))
    recorded = metadata.get("continuation")
    if not isinstance(recorded, dict) or recorded.get("model") != to_json(model):
        problem = "is a state that does not belong to this model"
        raise CheckpointError(str(path), problem, "load it with the model that wrote the text")
    unwritten = _pop_unwritten_bytes(tensors)
    position, seed = recorded.get("position"), recorded.get("seed", -1)
    numbers = [position] if seed is None else [position, seed]
    if (
        unwritten is None
        or not _fit(tensors, model)
        or not all(type(number) is int and number >= 0 for number in numbers)
    ):
        problem = "is not a complete state"
        raise CheckpointError(str(path), problem, "write the text again")
    state = tuple(
        tuple(tensors[f"state.{layer}.{part}"] for part in range(parts))
        for layer, (parts, _) in enumerate(_layer_shapes(model))
        if f"state.{layer}.0" in tensors
    )
    logits_BV, ids_BL, mu_B = tensors["logits"], tensors["ids"], tensors.get("mu")
    position = int(position or 0)
    return SamplingState(state or None, logits_BV, ids_BL, position, seed, mu_B, unwritten)


def _pop_unwritten_bytes(tensors: dict[str, np.ndarray]) -> tuple[bytes, ...] | None:
    """Take unwritten bytes out of arrays that come from a file; None if they cannot be any."""
    if not {"rest", "rest.sizes"} & tensors.keys():
        return ()
    data, sizes = (tensors.pop(name, np.zeros(0)) for name in ("rest", "rest.sizes"))
    if data.dtype != np.uint8 or sizes.dtype != np.int64 or data.ndim != 1 or sizes.ndim != 1:
        return None
    if len(sizes) != len(tensors.get("logits", ())) or (sizes < 0).any():
        return None
    if (sizes > len(data)).any() or sizes.sum() != len(data):
        return None
    ends = np.cumsum(sizes).tolist()
    return tuple(
        data[end - size : end].tobytes() for size, end in zip(sizes.tolist(), ends, strict=True)
    )


def _fit(tensors: dict[str, np.ndarray], model: ModelConfig) -> bool:
    """Tell whether arrays that come from a file can be where texts of such a model stopped."""
    ids_BL = tensors.get("ids", np.zeros(0))
    if ids_BL.ndim != 2 or ids_BL.dtype != np.int64:
        return False
    rows, look_back = ids_BL.shape
    shapes: dict[str, tuple[int, ...]] = {
        "logits": (rows, model.vocab),
        "ids": (rows, look_back),
    }
    if any(name.startswith("state.") for name in tensors):
        for layer, (parts, shape) in enumerate(_layer_shapes(model)):
            shapes |= {f"state.{layer}.{part}": (rows, *shape) for part in range(parts)}
    actual_shapes = {name: array.shape for name, array in tensors.items()}
    ids_exist = bool(((ids_BL >= NOTHING) & (ids_BL < model.vocab)).all())
    # Places among the contexts of n-grams are whole numbers.
    whole = {"ids", f"state.{model.layers}.0"}
    kinds_fit = all(array.dtype.kind == "fi"[name in whole] for name, array in tensors.items())
    return actual_shapes in (shapes, {**shapes, "mu": (rows,)}) and ids_exist and kinds_fit


def _layer_shapes(model: ModelConfig) -> list[tuple[int, tuple[int, ...]]]:
    """Return how many arrays each layer's state has and a row's shape; the n-grams' is the last."""
    shapes: list[tuple[int, tuple[int, ...]]] = [
        (2 if model.cell == "lstm" else 1, (model.hidden,))
    ] * model.layers
    return shapes + ([(1, (2, model.ngrams - 1))] if model.ngrams > 1 else [])


def take_rows(state: StepperState, index: np.ndarray) -> StepperState:
    """Return the rows `index` of every array in a state."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return tuple(take_rows(part, index) for part in state)
    return state[index]


def join_rows(states: Sequence[StepperState]) -> StepperState:
    """Return states of some rows each as one state, its rows one after the other."""
    if isinstance(states[0], tuple):
        return tuple(join_rows(parts) for parts in zip(*states, strict=True))
    rows = [len(state) for state in states]
    together = states[0][np.zeros(sum(rows), dtype=np.int64)]
    for state, end in zip(states, np.cumsum(rows).tolist(), strict=True):
        together[end - len(state) : end] = state
    return together
