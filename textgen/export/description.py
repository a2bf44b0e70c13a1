"""What stands beside an exported network: its ids, sizes, figures and text, as JSON.

N-grams are not part of an exported network, so the figures tell what it is worth without them.

    >>> description = Description.of(Checkpoint.load(path))
    >>> description.summary()
    'validation: 1.2824 nats a character by the network'
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from dataclasses import asdict, dataclass
from typing import Any

from textgen.checkpoint import Checkpoint
from textgen.config import ModelConfig
from textgen.data import TextIdentity
from textgen.tokenizers import BOUNDARY, CharTokenizer, SentencePieceTokenizer, Tokenizer
from textgen.version import __version__

# What stands for <unk> where every id is a character.
REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Vocabulary:
    """What the ids of a model stand for, and how text becomes ids.

    Attributes:
        kind: of the tokenizer, as checkpoints name it.
        characters: of each id, where every id is one; <unk> is U+FFFD, the boundary nothing.
        units: the bytes of UTF-8 of each id, where it stands for bytes.
        boundary_id: the id that a record begins and ends with; None where there are no records.
        counts: how often the training text held each id; a text's first id is drawn from them.
        sentencepiece: the model that makes ids of text, where there is one.
    """

    kind: str
    characters: list[str] | None
    units: list[list[int]] | None
    boundary_id: int | None
    counts: list[int]
    sentencepiece: bytes | None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """Return the vocabulary of a tokenizer."""
        units = [b"" if unit == BOUNDARY else unit for unit in tokenizer.symbols()]
        has_characters = isinstance(tokenizer, CharTokenizer)
        return cls(
            tokenizer.kind,
            [REPLACEMENT, *(unit.decode() for unit in units[1:])] if has_characters else None,
            None if has_characters else [list(unit) for unit in units],
            tokenizer.boundary_id,
            tokenizer.counts.tolist(),
            tokenizer.model if isinstance(tokenizer, SentencePieceTokenizer) else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the values without those that are None; a SentencePiece model is in base64."""
        values = {key: value for key, value in vars(self).items() if value is not None}
        if self.sentencepiece is not None:
            values["sentencepiece"] = b64encode(self.sentencepiece).decode()
        return values


@dataclass(frozen=True)
class Description:
    """What a program needs to know of a network that it is given.

    Attributes:
        model: its sizes.
        vocabulary: what its ids stand for.
        text: what it was trained on, if that was recorded.
        network_nats: a character of the validation text by the network alone, if recorded.
        model_nats: the same with the n-grams.
        has_ngrams: whether the checkpoint has n-grams, which are not exported.
    """

    model: ModelConfig
    vocabulary: Vocabulary
    text: TextIdentity | None
    network_nats: float | None
    model_nats: float | None
    has_ngrams: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Description:
        """Return the description of a checkpoint."""
        metrics = checkpoint.metadata.metrics or {}
        has_ngrams = checkpoint.ngrams is not None
        model_nats = _figure(metrics.get("val_nats"))
        return cls(
            checkpoint.model,
            Vocabulary.of(checkpoint.tokenizer),
            checkpoint.metadata.corpus,
            _figure(metrics.get("network_nats")) if has_ngrams else model_nats,
            model_nats,
            has_ngrams,
        )

    def summary(self) -> str:
        """Return in a line what was recorded of the network, without and with its n-grams."""
        shown = f"validation: {_nats(self.network_nats)} by the network"
        if not self.has_ngrams:
            return shown
        return f"{shown}, {_nats(self.model_nats)} with its n-grams, which are not exported"

    def to_json(self) -> str:
        """Return the description as text of JSON, the same whenever it is made."""
        sizes = asdict(self.model)
        # Of what stays behind.
        del sizes["ngrams"]
        values = self.vocabulary.to_json() | {
            "model": sizes,
            "nats": {"network": self.network_nats, "with_ngrams": self.model_nats},
            "text": asdict(self.text) if self.text else None,
            "textgen": __version__,
        }
        return json.dumps(values, sort_keys=True, separators=(",", ":"))


def _nats(nats: float | None) -> str:
    return "an unrecorded figure" if nats is None else f"{nats:.4f} nats a character"


def _figure(value: object) -> float | None:
    """Return a figure that a file records, None if it is none."""
    return value if isinstance(value, float) and math.isfinite(value) else None
