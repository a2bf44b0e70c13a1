"""A model as it lies in a file: weights, n-grams, tokenizer, metadata, and what training needs.

>>> checkpoint = Checkpoint.load(Path("checkpoints/corpus/best.safetensors"))
>>> checkpoint.model.hidden, checkpoint.metadata.corpus.name
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from textgen.checkpoint.metadata import Metadata
from textgen.checkpoint.resume import ResumeState
from textgen.config import ModelConfig, from_json, to_json
from textgen.engine import NGrams, usual_weights
from textgen.errors import CheckpointError, UsageError
from textgen.files import FORMAT_VERSION, RETRAIN, Tensors, read_tensors, write_tensors
from textgen.tokenizers import Tokenizer, from_tensors

# How the names of tensors begin that are not weights.
RESUME, TOKENIZER, NGRAMS = "resume.", "tokenizer.", "ngrams."
# The name of the fingerprint's tensor.
FINGERPRINT = "text.fingerprint"


@dataclass(frozen=True)
class Checkpoint:
    """A model as it lies in a file.

    Attributes:
        model: the sizes of the network.
        tokenizer: what its ids stand for.
        weights: the parameters of `model.shapes()`, float32 (float64 if the file has it).
        metadata: what the file records of the text, the training and the figures.
        resume: what a stopped run is resumed from; None except in `last`.
        ngrams: what the network is mixed with if model.ngrams > 1.
        mixing: the rows of weights of the mixture, see `engine.mixture`.
        fingerprint: of the text it was trained on, see `data.fingerprints`; in models that others
            start from.
    """

    model: ModelConfig
    tokenizer: Tokenizer
    weights: Tensors
    metadata: Metadata = field(default_factory=Metadata)
    resume: ResumeState | None = None
    ngrams: NGrams | None = None
    mixing: np.ndarray = field(default_factory=usual_weights)
    fingerprint: np.ndarray | None = None

    def save(self, path: Path, dtype: str = "float32") -> None:
        """Write the checkpoint to a file.

        Args:
            path: a reader of it sees the old file or the complete new one.
            dtype: of the weights; "float16" halves the file, at a loss of digits.

        Raises:
            MachineError: the file cannot be written.
        """
        tensors = {name: array.astype(dtype) for name, array in self.weights.items()}
        tensors |= _prefixed(TOKENIZER, self.tokenizer.tensors())
        settings = self.metadata.to_json()
        settings |= {"format": FORMAT_VERSION, "tokenizer": self.tokenizer.kind}
        settings["model"] = to_json(self.model)
        if self.tokenizer.boundary_id is not None:
            settings["marked"] = True
        if self.resume is not None:
            settings["resume"] = self.resume.to_json()
            tensors |= _prefixed(RESUME, self.resume.tensors)
        if self.ngrams is not None:
            counted = self.ngrams.tensors() | {"mixing": self.mixing}
            tensors |= _prefixed(NGRAMS, counted)
        if self.fingerprint is not None:
            tensors[FINGERPRINT] = self.fingerprint
        write_tensors(path, tensors, settings)

    def report(self) -> list[tuple[str, str]]:
        """Return what the checkpoint is, as (label, value) lines."""
        lines = [("model", self.model.describe()), ("alphabet", self.tokenizer.describe())]
        recorded = self.metadata.to_json()
        for name in ("corpus", "split", "parts", "items", "training", "metrics", "versions"):
            value = recorded.get(name)
            if isinstance(value, dict):
                pairs = sorted(value.items())
                value = ", ".join(f"{key} {part}" for key, part in pairs if part is not None)
            lines += [(name, str(value))] if value else []
        if before := self.metadata.read_before:
            lines.append(
                ("before", "started from what had read " + ", ".join(t.name for t in before))
            )
        return lines

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read and verify a checkpoint.

        Raises:
            CheckpointError: the file is missing, damaged, or says what cannot be.
        """
        tensors, settings = read_tensors(path)
        try:
            model = _model(settings)
            tokenizer = _tokenizer(settings, _take(tensors, TOKENIZER), model)
            ngrams, mixing = _ngrams(_take(tensors, NGRAMS), model)
            resume = _resume(settings, _take(tensors, RESUME), model, tokenizer)
            fingerprint = _fingerprint(tensors.pop(FINGERPRINT, None))
            weights = _weights(tensors, model)
            metadata = _metadata(settings, tokenizer)
        except ValueError as error:
            raise CheckpointError(str(path), str(error), RETRAIN) from None
        return cls(model, tokenizer, weights, metadata, resume, ngrams, mixing, fingerprint)


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: array for name, array in tensors.items()}


def _take(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors whose names begin so, without the prefix, and remove them from tensors."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}


def _model(settings: dict[str, Any]) -> ModelConfig:
    try:
        return from_json(ModelConfig, settings["model"])
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        raise ValueError(f"damaged settings: {error}") from None


def _tokenizer(settings: dict[str, Any], tensors: Tensors, model: ModelConfig) -> Tokenizer:
    marked = settings.get("marked", False)
    if type(marked) is not bool:
        raise ValueError(f"its alphabet is marked {marked!r}")
    return from_tensors(settings.get("tokenizer"), tensors, model.vocab, marked)


def _ngrams(tensors: Tensors, model: ModelConfig) -> tuple[NGrams | None, np.ndarray]:
    mixing = usual_weights()
    if model.ngrams == 1:
        if tensors:
            raise ValueError("it has ngrams tensors, and its settings no n-grams")
        return None, mixing
    found = tensors.pop("mixing", np.zeros(0))
    if found.shape != mixing.shape or found.dtype.kind != "f" or not np.isfinite(found).all():
        raise ValueError("the weights of its n-grams are not what they should be")
    return NGrams.from_tensors(tensors, model.vocab, model.ngrams - 1), found


def _metadata(settings: dict[str, Any], tokenizer: Tokenizer) -> Metadata:
    metadata = Metadata.from_json(settings)
    if metadata.records is not None and tokenizer.boundary_id is None:
        raise ValueError("it was trained on records, and its alphabet has no boundary")
    return metadata


def _resume(
    settings: dict[str, Any], tensors: Tensors, model: ModelConfig, tokenizer: Tokenizer
) -> ResumeState | None:
    if settings.get("resume") is None:
        if tensors:
            raise ValueError("it has the tensors of a stopped run, and the settings have none")
        return None
    state = ResumeState.from_json(settings["resume"], tensors)
    state.require_fit(model, tokenizer.boundary_id is not None)
    return state


def _fingerprint(hashes: np.ndarray | None) -> np.ndarray | None:
    if hashes is None:
        return None
    if hashes.dtype != np.uint32 or hashes.ndim != 1 or (hashes[1:] <= hashes[:-1]).any():
        raise ValueError("the fingerprint of its text is not one of rising numbers")
    return hashes


def _weights(tensors: Tensors, model: ModelConfig) -> Tensors:
    """Return the parameters of a network in the order of its shapes, as float32 or wider."""
    expected, shapes = model.shapes(), {name: array.shape for name, array in tensors.items()}
    if shapes != expected:
        name = next(n for n in {**expected, **shapes} if shapes.get(n) != expected.get(n))
        problem = f"{name} is {shapes.get(name)}, the settings expect {expected.get(name)}"
        raise ValueError(f"weights do not fit: {problem}")
    for name, array in tensors.items():
        if array.dtype.kind != "f":
            raise ValueError(f"{name} holds {array.dtype}, not floats")
    return {
        name: tensors[name].astype(np.result_type(tensors[name].dtype, np.float32))
        for name in expected
    }
