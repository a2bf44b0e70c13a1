"""Where texts stopped, as a value: taken, branched, saved, gone on from.

A model's state is nested tuples of arrays with one row a text; these functions pick rows and put
rows together without knowing what is in it.

    >>> twice = continuation.take([0, 0])
    >>> continuation.save("here.state", model.checkpoint.model)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textgen.config import ModelConfig, to_json
from textgen.errors import CheckpointError
from textgen.files import tensorfile
from textgen.sampling.filters import NOTHING


class SamplingState(NamedTuple):
    """Where B texts stopped: what is needed to go on exactly as if they had not.

    state: of the model, None at the beginning of a text. logits_BV: of the character to come.
    position: draws made so far; seed: what they were made with.
    ids_BL: the latest ids, for filters that look back. mu_B: of mirostat, None before it is used.
    rest: for each text the bytes that its last id has beyond what was written; () where there are
    none. The text that goes on begins with them.
    """

    state: Any
    logits_BV: np.ndarray
    ids_BL: np.ndarray
    position: int = 0
    seed: int | None = None
    mu_B: np.ndarray | None = None
    rest: tuple[bytes, ...] = ()

    def take(self, rows: Sequence[int]) -> SamplingState:
        """Return the continuation of some of the texts, each as often as it is named."""
        index = np.asarray(rows, dtype=np.int64)
        mu_B = None if self.mu_B is None else self.mu_B[index]
        return SamplingState(
            take(self.state, index),
            self.logits_BV[index],
            self.ids_BL[index],
            self.position,
            self.seed,
            mu_B,
            tuple(self.rest[row] for row in index) if self.rest else (),
        )

    def save(self, path: str | Path, model: ModelConfig) -> None:
        """Write it to a file, for `load_state` with a model of the same sizes."""
        arrays: dict[str, np.ndarray] = {"logits": self.logits_BV, "ids": self.ids_BL}
        if self.mu_B is not None:
            arrays["mu"] = self.mu_B
        if any(self.rest):
            arrays["rest"] = np.frombuffer(b"".join(self.rest), dtype=np.uint8)
            arrays["rest.sizes"] = np.array([len(one) for one in self.rest])
        for layer, parts in enumerate(self.state or ()):
            for part, value in enumerate(parts):
                # A model on another device holds tensors.
                on_cpu = value.cpu() if hasattr(value, "cpu") else value
                arrays[f"state.{layer}.{part}"] = np.asarray(on_cpu)
        facts = {"position": self.position, "seed": self.seed, "model": to_json(model)}
        tensorfile.write_tensors(
            Path(path), arrays, {"format": tensorfile.FORMAT_VERSION, "continuation": facts}
        )


def load_state(path: str | Path, model: ModelConfig) -> SamplingState:
    """Return what `SamplingState.save` wrote; raise CheckpointError if it fits no such model."""
    tensors, meta = tensorfile.read_tensors(Path(path))
    facts = meta.get("continuation")
    if not isinstance(facts, dict) or facts.get("model") != to_json(model):
        problem = "is not where a text of this model stopped"
        raise CheckpointError(str(path), problem, "load it with the model that wrote the text")
    rest = _rest(tensors)
    position, seed = facts.get("position"), facts.get("seed", -1)
    numbers = [position] if seed is None else [position, seed]
    if (
        rest is None
        or not _fits(tensors, model)
        or not all(type(one) is int and one >= 0 for one in numbers)
    ):
        problem = "holds something else than a place in a text"
        raise CheckpointError(str(path), problem, "write the text again")
    state = tuple(
        tuple(tensors[f"state.{layer}.{part}"] for part in range(parts))
        for layer, (parts, _) in enumerate(_layers(model))
        if f"state.{layer}.0" in tensors
    )
    logits_BV, ids_BL, mu_B = tensors["logits"], tensors["ids"], tensors.get("mu")
    return SamplingState(state or None, logits_BV, ids_BL, int(position or 0), seed, mu_B, rest)


def _rest(tensors: dict[str, np.ndarray]) -> tuple[bytes, ...] | None:
    """Take the rests out of arrays that come from a file; None if they cannot be any."""
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


def _fits(tensors: dict[str, np.ndarray], model: ModelConfig) -> bool:
    """Tell whether arrays that come from a file can be a place in a text of such a model."""
    ids_BL = tensors.get("ids", np.zeros(0))
    if ids_BL.ndim != 2 or ids_BL.dtype != np.int64:
        return False
    rows, look_back = ids_BL.shape
    shapes = {"logits": (rows, model.vocab), "ids": (rows, look_back)}
    if any(name.startswith("state.") for name in tensors):
        for layer, (parts, width) in enumerate(_layers(model)):
            shapes |= {f"state.{layer}.{part}": (rows, width) for part in range(parts)}
    found = {name: array.shape for name, array in tensors.items()}
    known = bool(((ids_BL >= NOTHING) & (ids_BL < model.vocab)).all())
    return found in (shapes, {**shapes, "mu": (rows,)}) and known


def _layers(model: ModelConfig) -> list[tuple[int, int]]:
    """Return how many arrays each layer's state has and their width; the n-grams' is the last."""
    layers = [(2 if model.cell == "lstm" else 1, model.hidden)] * model.layers
    return layers + ([(1, model.ngrams - 1)] if model.ngrams > 1 else [])


def take(state: Any, index: np.ndarray) -> Any:
    """Return the rows `index` of every array in a state."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return tuple(take(part, index) for part in state)
    return state[index]


def join(states: Sequence[Any]) -> Any:
    """Return states of some rows each as one state, its rows one after the other."""
    if isinstance(states[0], tuple):
        return tuple(join(parts) for parts in zip(*states, strict=True))
    rows = [len(state) for state in states]
    together = states[0][np.zeros(sum(rows), dtype=np.int64)]
    for state, end in zip(states, np.cumsum(rows).tolist(), strict=True):
        together[end - len(state) : end] = state
    return together


def either(one: SamplingState, other: SamplingState, others_B: np.ndarray) -> SamplingState:
    """Return one with some rows (B,), those that are True, as in other."""
    count = len(others_B)
    index = np.arange(count) + count * others_B
    mu_B = one.mu_B
    if mu_B is not None and other.mu_B is not None:
        mu_B = np.where(others_B, other.mu_B, mu_B)
    return one._replace(
        state=take(join([one.state, other.state]), index),
        logits_BV=np.where(others_B[:, None], other.logits_BV, one.logits_BV),
        ids_BL=np.where(others_B[:, None], other.ids_BL, one.ids_BL),
        mu_B=mu_B,
    )
