"""What a stopped run is resumed from, typed and checked: the part of `last` that training needs.

>>> ResumeState.from_json(values, tensors).plan.steps
5000
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from textgen.config import TrainConfig, from_json, to_json
from textgen.errors import UsageError
from textgen.files import JsonObject, Tensors

MOST_THREADS = 1024


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
        texts: where the text is: paths, or "-" for standard input.
        progress: how far it has come.
        tensors: moments of the optimizer and the carried state.
    """

    step: int
    plan: Plan
    config: TrainConfig
    threads: int
    texts: tuple[str, ...]
    progress: Progress
    tensors: Tensors = field(default_factory=dict, repr=False)

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
            "texts": list(self.texts),
            "progress": self.progress.to_json(),
        }

    @classmethod
    def from_json(cls, values: object, tensors: Mapping[str, Any]) -> ResumeState:
        """Return the state in a file; raise ValueError naming what is wrong with it."""
        state = JsonObject(values, "resume")
        plan = state.object("plan")
        return cls(
            step=state.integer("step"),
            plan=Plan(**{name: plan.integer(name, low) for name, low in _LEAST.items()}),
            config=_config(state.object("config")),
            threads=state.integer("threads", 1, MOST_THREADS),
            texts=state.texts("texts") if state.has("texts") else (state.text("text"),),
            progress=Progress.from_json(state.object("progress")),
            tensors=dict(tensors),
        )


# Every step divides by `every`, and the rate of the warm-up by `warmup`.
_LEAST = {"steps": 1, "warmup": 1, "every": 1, "val_chars": 0, "final_chars": 0, "apart": 0}


def _config(values: JsonObject) -> TrainConfig:
    try:
        return from_json(TrainConfig, values.values)
    except UsageError as error:
        raise ValueError(f"resume.config: {error.subject} {error.problem}") from None


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
