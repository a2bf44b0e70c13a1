"""A model as it lies in a file: weights, n-grams, alphabet, settings, and what training needs.

>>> checkpoint = Checkpoint.load(Path("checkpoints/corpus/best.safetensors"))
>>> checkpoint.model.hidden, checkpoint.facts["corpus"]["name"]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from textgen.config import ModelConfig, from_json, to_json
from textgen.engine import NGrams, fits_model
from textgen.errors import CheckpointError, UsageError
from textgen.files import FORMAT_VERSION, RETRAIN, Tensors, read_tensors, write_tensors
from textgen.tokenizers import Tokenizer, from_tensors


@dataclass(frozen=True)
class Checkpoint:
    """A model as it lies in a file.

    weights: the parameters of `model.shapes()`, float32 (float64 if the file has it).
    facts: what else the file records: corpus, split, training settings, metrics, versions.
    resume: tensors that only training needs (moments, carried state); empty but in `last`.
    ngrams: what the network is mixed with if model.ngrams > 1; share: the weight it has.
    """

    model: ModelConfig
    tokenizer: Tokenizer
    weights: Tensors
    facts: dict[str, Any] = field(default_factory=dict)
    resume: Tensors = field(default_factory=dict)
    ngrams: NGrams | None = None
    share: float = 0.0

    def save(self, path: Path, dtype: str = "float32") -> None:
        """Write the checkpoint to path; dtype "float16" halves the file, at a loss of digits."""
        tensors = {name: array.astype(dtype) for name, array in self.weights.items()}
        tensors |= {f"resume.{name}": array for name, array in self.resume.items()}
        tensors |= {f"tokenizer.{name}": one for name, one in self.tokenizer.tensors().items()}
        if self.ngrams:
            tensors["ngrams.grams"] = self.ngrams.grams
            tensors["ngrams.counts"] = self.ngrams.counts
            tensors["ngrams.share"] = np.array([self.share])
        settings: dict[str, Any] = {"format": FORMAT_VERSION, "tokenizer": self.tokenizer.kind}
        if self.tokenizer.boundary_id is not None:
            settings["marked"] = True
        write_tensors(path, tensors, {**self.facts, **settings, "model": to_json(self.model)})

    def report(self) -> list[tuple[str, str]]:
        """Return what the checkpoint is, as (label, value) lines."""
        model, facts = self.model, self.facts
        lines = [("model", model.describe()), ("alphabet", self.tokenizer.describe())]
        for name in ("corpus", "split", "parts", "items", "training", "metrics", "versions"):
            value = facts.get(name)
            if isinstance(value, dict):
                value = ", ".join(f"{k} {v}" for k, v in value.items() if v is not None)
            lines += [(name, str(value))] if value else []
        return lines

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read and verify a checkpoint; raise CheckpointError naming what is wrong."""
        tensors, facts = read_tensors(path)
        try:
            model = from_json(ModelConfig, facts.pop("model"))
            shapes = model.shapes()
        except (KeyError, TypeError, AttributeError, UsageError) as error:
            raise CheckpointError(str(path), f"damaged settings: {error}", RETRAIN) from None
        tokenizer = _tokenizer(path, tensors, facts, model.vocab)
        ngrams, share = _ngrams(path, tensors, model)
        resume = {n.removeprefix("resume."): tensors.pop(n) for n in [*tensors] if "resume." in n}
        found = {name: array.shape for name, array in tensors.items()}
        if found != shapes:
            names = [n for n in {**shapes, **found} if found.get(n) != shapes.get(n)]
            problem = (
                f"{names[0]} is {found.get(names[0])}, the settings ask {shapes.get(names[0])}"
            )
            raise CheckpointError(str(path), f"weights do not fit: {problem}", RETRAIN)
        weights = {name: _widened(path, name, tensors[name]) for name in shapes}
        return cls(model, tokenizer, weights, facts, resume, ngrams, share)


def _widened(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        raise CheckpointError(str(path), f"{name} holds {array.dtype}, not floats", RETRAIN)
    return array.astype(np.result_type(array.dtype, np.float32))


def _ngrams(path: Path, tensors: Tensors, model: ModelConfig) -> tuple[NGrams | None, float]:
    if model.ngrams == 1:
        return None, 0.0
    grams, counts, share = (
        tensors.pop(f"ngrams.{name}", np.zeros(0)) for name in ("grams", "counts", "share")
    )
    if share.shape != (1,) or not 0 <= share[0] <= 1 or not fits_model(grams, counts, model):
        problem = f"its n-grams do not fit a vocabulary of {model.vocab:,} and {model.ngrams}"
        raise CheckpointError(str(path), problem, RETRAIN)
    return NGrams(grams, counts, model.vocab, model.ngrams), float(share[0])


def _tokenizer(path: Path, tensors: Tensors, facts: dict[str, Any], vocab: int) -> Tokenizer:
    kind, marked = facts.pop("tokenizer", None), facts.pop("marked", False)
    names = [name for name in tensors if name.startswith("tokenizer.")]
    own = {name.removeprefix("tokenizer."): tensors.pop(name) for name in names}
    try:
        if type(marked) is not bool:
            raise ValueError(f"its alphabet is marked {marked!r}")
        return from_tensors(kind, own, vocab, marked)
    except ValueError as error:
        raise CheckpointError(str(path), str(error), RETRAIN) from None
