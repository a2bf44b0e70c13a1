"""textgen: character-level text generation with recurrent networks.

    >>> import textgen
    >>> model = textgen.load("checkpoints/corpus/best.safetensors")
    >>> print(model.sample(prime="ROMEO:"))

Names are loaded when they are first used, so that importing textgen costs next to nothing and
only training needs torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from textgen.version import __version__ as __version__

_HOMES = {
    "adapt": "textmodel",
    "AdaptationRule": "nn",
    "ByteTokenizer": "tokenizers",
    "CharTokenizer": "tokenizers",
    "Checkpoint": "checkpoint",
    "CheckpointError": "errors",
    "evaluate": "evaluation",
    "Interrupted": "errors",
    "load": "textmodel",
    "load_state": "sampling",
    "MachineError": "errors",
    "ModelConfig": "config",
    "NumericsError": "errors",
    "Result": "evaluation",
    "RunInUseError": "errors",
    "SampleConfig": "config",
    "SampleOptions": "config",
    "SamplingState": "sampling",
    "Score": "evaluation",
    "SentencePieceTokenizer": "tokenizers",
    "Step": "sampling",
    "Text": "sampling",
    "TextError": "errors",
    "TextgenError": "errors",
    "TextModel": "textmodel",
    "train": "training",
    "TrainConfig": "config",
    "TrainOptions": "config",
    "TrainResult": "training",
    "UsageError": "errors",
}
__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from textgen.checkpoint import Checkpoint as Checkpoint
    from textgen.config import ModelConfig as ModelConfig
    from textgen.config import SampleConfig as SampleConfig
    from textgen.config import SampleOptions as SampleOptions
    from textgen.config import TrainConfig as TrainConfig
    from textgen.config import TrainOptions as TrainOptions
    from textgen.errors import CheckpointError as CheckpointError
    from textgen.errors import Interrupted as Interrupted
    from textgen.errors import MachineError as MachineError
    from textgen.errors import NumericsError as NumericsError
    from textgen.errors import RunInUseError as RunInUseError
    from textgen.errors import TextError as TextError
    from textgen.errors import TextgenError as TextgenError
    from textgen.errors import UsageError as UsageError
    from textgen.evaluation import Result as Result
    from textgen.evaluation import Score as Score
    from textgen.evaluation import evaluate as evaluate
    from textgen.nn import AdaptationRule as AdaptationRule
    from textgen.sampling import SamplingState as SamplingState
    from textgen.sampling import Step as Step
    from textgen.sampling import Text as Text
    from textgen.sampling import load_state as load_state
    from textgen.textmodel import TextModel as TextModel
    from textgen.textmodel import adapt as adapt
    from textgen.textmodel import load as load
    from textgen.tokenizers import ByteTokenizer as ByteTokenizer
    from textgen.tokenizers import CharTokenizer as CharTokenizer
    from textgen.tokenizers import SentencePieceTokenizer as SentencePieceTokenizer
    from textgen.training import TrainResult as TrainResult
    from textgen.training import train as train


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'textgen' has no attribute {name!r}")
    return getattr(importlib.import_module(f"textgen.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
