"""What a stopped run is resumed from, typed and checked: the part of `last` that training needs.

A file may hold anything, so whatever training will take from here for granted is held against the
schema when the file is read: types and ranges in `from_json`, what must agree with the network and
its alphabet in `require_fit`.

>>> ResumeState.from_json(values, tensors).plan.steps
5000
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from textgen.config import ModelConfig, TrainConfig, from_json, to_json
from textgen.data import TextFormat
from textgen.errors import UsageError
from textgen.files import JsonObject, Tensors

MOST_THREADS, MOST_RANKS = 1024, 65536
# What AdamW keeps of each parameter, under torch's names: means of gradients and of their squares.
MOMENTS = ("exp_avg", "exp_avg_sq")
# On CUDA in float16: the scale of the loss, updates since it changed, and updates made in all.
SCALER = "scaler"
# Settings that are those of the network too.
_SIZES = ("cell", "layers", "hidden", "embedding", "ngrams")


@dataclass(frozen=True)
class Plan:
    """How long a run trains and when it validates, fixed once.

    Attributes:
        steps: updates in all.
        warmup: updates in which the learning rate rises.
        every: updates between two validations.
        val_chars: ids that a validation reads; the names are those of models of characters.
        final_chars: ids that the evaluation at the end reads, all of the part unless it is so large
            that reading it would take a tenth of the training.
        apart: updates before the network reads what the mixture is weighed on.
    """

    steps: int
    warmup: int
    every: int
    val_chars: int
    final_chars: int
    apart: int = 0

    def validates_at(self, step: int) -> bool:
        """Tell whether the model is validated after this many steps."""
        return step % self.every == 0 or step == self.steps


@dataclass
class Progress:
    """How far a run has come, beside its weights.

    Attributes:
        train_nats: the sum of the steps' nats per id since the last validation; train_steps: of
            how many steps.
        learning_rate: of the last step.
        best_nats: the lowest validation figure; None before the first, or without such a part.
        validations_without_gain: since the best one.
        seconds: spent on the run, all sittings together.
        step_seconds: what a step took in the warm-up; None for a run planned by steps.
    """

    train_nats: float = 0.0
    train_steps: int = 0
    learning_rate: float = 0.0
    best_nats: float | None = None
    validations_without_gain: int = 0
    seconds: float = 0.0
    step_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the values that stand in the file, under the keys that it has always had."""
        return {
            "train": [self.train_nats, self.train_steps],
            "lr": self.learning_rate,
            "best": self.best_nats,
            "stale": self.validations_without_gain,
            "seconds": self.seconds,
            "step_seconds": self.step_seconds,
        }

    @classmethod
    def from_json(cls, values: JsonObject) -> Progress:
        """Return the progress in a file; an older one leaves out what was not known yet."""
        train_nats, train_steps = _train_figures(values)
        return cls(
            train_nats=train_nats,
            train_steps=train_steps,
            learning_rate=_number(values, "lr") or 0.0,
            best_nats=_number(values, "best"),
            validations_without_gain=values.integer("stale") if values.has("stale") else 0,
            seconds=_number(values, "seconds", 0) or 0.0,
            step_seconds=_number(values, "step_seconds", 0),
        )


@dataclass(frozen=True)
class ResumeState:
    """All that a run is resumed from, beside the weights.

    Attributes:
        step: updates that were made.
        plan: how many there shall be.
        config: the settings, with every size and rate filled in.
        threads: of the matrix products, on which the last bits of the weights depend.
        ranks: processes that trained it together.
        texts: where the text is: paths, or "-" for standard input.
        progress: how far it has come.
        tensors: moments of the optimizer, the carried state, and in float16 the loss's scale.
    """

    step: int
    plan: Plan
    config: TrainConfig
    threads: int
    texts: tuple[str, ...]
    progress: Progress
    tensors: Tensors = field(default_factory=dict, repr=False)
    ranks: int = 1

    def paths_of(self, part: str) -> list[str]:
        """Return where the text of a part is: one of its own, or the corpus."""
        own = getattr(self.config, part) if part in ("val", "test") else None
        return [own] if own else list(self.texts)

    def to_json(self) -> dict[str, Any]:
        """Return the values that stand in the file; the tensors stand beside them."""
        return {
            "step": self.step,
            "plan": asdict(self.plan),
            "config": to_json(self.config),
            "threads": self.threads,
            "ranks": self.ranks,
            "texts": list(self.texts),
            "progress": self.progress.to_json(),
        }

    @classmethod
    def from_json(cls, values: object, tensors: Mapping[str, Any]) -> ResumeState:
        """Return the state in a file; raise ValueError naming what is wrong with it."""
        state = JsonObject(values, "resume")
        numbers = state.object("plan")
        plan = Plan(**{name: numbers.integer(name, low) for name, low in _LEAST.items()})
        return cls(
            step=state.integer("step", 0, plan.steps),
            plan=plan,
            config=_config(state.object("config")),
            threads=state.integer("threads", 1, MOST_THREADS),
            ranks=state.integer("ranks", 1, MOST_RANKS) if state.has("ranks") else 1,
            texts=_texts(state),
            progress=Progress.from_json(state.object("progress")),
            tensors=dict(tensors),
        )

    def require_fit(self, model: ModelConfig, has_boundary: bool) -> None:
        """Raise ValueError unless the settings and the tensors are those of a network.

        Args:
            model: the network of the same file.
            has_boundary: whether its alphabet has an id between records.
        """
        for name in _SIZES:
            if getattr(self.config, name) != getattr(model, name):
                found, expected = getattr(self.config, name), getattr(model, name)
                raise ValueError(f"resume.config.{name} is {found}, its network has {expected}")
        if (self.config.records is not None) != has_boundary:
            raise ValueError(f"resume.config.records is {self.config.records!r}, unlike its units")
        self._require_tensors(model)

    def _require_tensors(self, model: ModelConfig) -> None:
        """Check the moments of each parameter, and the state of each stream before each layer."""
        expected = {
            f"{moment}.{name}": shape
            for moment in MOMENTS
            for name, shape in model.shapes().items()
        }
        streams = len(self.tensors.get("state.0.0", np.zeros((0, 0))))
        parts = 2 if model.cell == "lstm" else 1
        for layer in range(model.layers):
            expected |= {f"state.{layer}.{part}": (streams, model.hidden) for part in range(parts)}
        if self.config.precision == "float16":
            expected[SCALER] = (3,)
        for name in {**expected, **self.tensors}:
            tensor = self.tensors.get(name)
            if tensor is None or tensor.dtype != np.float32 or tensor.shape != expected.get(name):
                found = "missing" if tensor is None else f"{tensor.dtype} {tensor.shape}"
                raise ValueError(f"resume.{name} is {found}, unlike its network")
            if name.startswith(f"{MOMENTS[1]}.") and (tensor < 0).any():
                raise ValueError(f"resume.{name} holds squares below 0")
            if name == SCALER and not (np.isfinite(tensor).all() and (tensor >= (1, 0, 0)).all()):
                raise ValueError(f"resume.{name} is {tensor.tolist()}, no scale and two counts")


# Every step divides by `every`, and the rate of the warm-up by `warmup`.
_LEAST = {"steps": 1, "warmup": 1, "every": 1, "val_chars": 0, "final_chars": 0, "apart": 0}


def _config(values: JsonObject) -> TrainConfig:
    try:
        config = from_json(TrainConfig, values.values)
        TextFormat.of(config)
    except UsageError as error:
        raise ValueError(f"resume.config: {error.subject} {error.problem}") from None
    return config


def _texts(state: JsonObject) -> tuple[str, ...]:
    texts = state.texts("texts") if state.has("texts") else (state.text("text"),)
    if not texts:
        raise ValueError("resume.texts names no text")
    return texts


def _train_figures(values: JsonObject) -> tuple[float, int]:
    if not values.has("train"):
        return 0.0, 0
    figures = values.array("train")
    if len(figures) != 2:
        raise ValueError(f"{values.name}.train is {figures}, not a sum and a count")
    pair = JsonObject({"sum": figures[0], "count": figures[1]}, f"{values.name}.train")
    return pair.number("sum"), pair.integer("count")


def _number(values: JsonObject, key: str, *limits: float) -> float | None:
    return values.number(key, *limits) if values.has(key) else None
