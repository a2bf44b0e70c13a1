"""The spans of the text that a model was trained on, kept as an index beside the model.

`sample --novel N` lets no span of N characters of its output stand in that text, all parts of it.
The spans are kept as sorted hashes in a file, so that the text itself is read once.

    >>> spans = index_for(path, checkpoint, length=20)
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from textgen.checkpoint import training_text
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.data import BASE, Spans, corpus
from textgen.errors import CheckpointError, MachineError, TextError, UsageError
from textgen.tokenizers import ByteTokenizer, CharTokenizer

PACKAGE = Path(__file__).parent.parent
NAME_NOVEL_TEXT = "name the text it was trained on: --novel-text FILE"


def origin_of(checkpoint: Checkpoint, length: int) -> dict[str, Any]:
    """Return what an index belongs to: the text, the alphabet, the length and the way of hashing.

    Raises CheckpointError when the checkpoint does not say which text it was trained on.
    """
    identity = checkpoint.metadata.corpus
    if identity is None:
        fix = "use a checkpoint that textgen train wrote"
        raise CheckpointError("--novel", "the model does not say what it was trained on", fix)
    tokenizer = checkpoint.tokenizer
    if isinstance(tokenizer, CharTokenizer):
        alphabet = tokenizer.codepoints.astype("<u4").tobytes()
    elif isinstance(tokenizer, ByteTokenizer):
        alphabet = tokenizer.kind.encode()
    else:
        problem = f"works with characters or bytes, this model writes {tokenizer.noun}"
        raise UsageError("--novel", problem, "leave it out")
    return {
        "text": identity.sha256,
        "alphabet": hashlib.sha256(alphabet).hexdigest(),
        "length": length,
        "base": BASE,
    }


def index_for(
    checkpoint_path: Path,
    checkpoint: Checkpoint,
    length: int,
    text_path: str | Path | None = None,
) -> Spans:
    """Return the spans of the text that a checkpoint was trained on.

    They are read from novel-LENGTH.safetensors beside the checkpoint, else made from the text and
    stored there, where that folder can be written. text_path: where the text is, else the run in
    which the checkpoint lies knows.
    Raises UsageError when nobody knows where the text is, TextError when it is gone or another.
    """
    origin = origin_of(checkpoint, length)
    # A wrong text that the user names is never ignored.
    whole = text_of(checkpoint_path, checkpoint, text_path) if text_path else None
    stored = checkpoint_path.with_name(f"novel-{length}.safetensors")
    with contextlib.suppress(CheckpointError):
        return Spans.load(stored, origin)
    whole = whole or text_of(checkpoint_path, checkpoint)
    spans = Spans.of(checkpoint.tokenizer.encode(whole.text, "replace"), length)
    # Nothing is written into the folder where textgen is installed.
    if PACKAGE not in checkpoint_path.resolve().parents:
        with contextlib.suppress(MachineError):
            spans.save(stored, origin)
    return spans


def text_of(
    checkpoint_path: Path, checkpoint: Checkpoint, text_path: str | Path | None = None
) -> corpus.Corpus:
    """Return the text that a checkpoint was trained on, with the errors of `index_for`."""
    try:
        return training_text.find_text(checkpoint_path, checkpoint.metadata, text_path)
    except CheckpointError:
        # `last`, which would know where the text is, is damaged.
        corpus_name = checkpoint.metadata.corpus.name if checkpoint.metadata.corpus else "?"
        problem = f"does not know where its text {corpus_name} is"
        raise UsageError(str(checkpoint_path), problem, NAME_NOVEL_TEXT) from None
    except (TextError, UsageError) as error:
        raise type(error)(error.subject, error.problem, NAME_NOVEL_TEXT) from None
