"""Any tokenizer: from the arrays of a file, or the one that a run asks for.

>>> from_tensors("char", {"codepoints": codepoints, "counts": counts}, vocab=66)
"""

from __future__ import annotations

import numpy as np

from textgen.tokenizers.base import CODE_POINTS, Tokenizer
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer
from textgen.tokenizers.subword import SentencePieceTokenizer


def from_tensors(
    kind: object, tensors: dict[str, np.ndarray], vocab: int, marked: bool = False
) -> Tokenizer:
    """Return the tokenizer of V = vocab ids whose `tensors` these are.

    They come from a file and are believed in nothing: ValueError says what is wrong. Raises
    MachineError where sentencepiece is needed and missing.
    """
    counts = tensors.get("counts", np.zeros(0))
    own = vocab - marked
    if counts.dtype != np.uint64 or counts.shape != (vocab,):
        raise ValueError(f"its counts do not fit an alphabet of {vocab:,}")
    if not counts[int(kind != ByteTokenizer.kind) : own].any():
        raise ValueError("its counts leave nothing of the alphabet to write")
    made: Tokenizer
    if kind == CharTokenizer.kind and _is_alphabet(tensors.get("codepoints"), own - 1):
        made = CharTokenizer(tensors["codepoints"], counts, marked)
    elif kind == ByteTokenizer.kind:
        made = ByteTokenizer(counts, marked)
    elif kind == SentencePieceTokenizer.kind and _is_text(tensors.get("model")):
        made = SentencePieceTokenizer(tensors["model"].tobytes(), counts, marked)
    else:
        raise ValueError(f"its {kind!r} alphabet does not fit a vocabulary of {vocab:,}")
    if made.size != vocab or made.tensors().keys() != tensors.keys():
        raise ValueError(f"its {kind} alphabet of {made.size:,} does not fit {vocab:,}")
    return made


def _is_text(model: np.ndarray | None) -> bool:
    return model is not None and model.dtype == np.uint8 and model.ndim == 1


def _is_alphabet(codepoints: np.ndarray | None, size: int) -> bool:
    return (
        codepoints is not None
        and codepoints.dtype == np.uint32
        and codepoints.shape == (size,)
        and size > 0
        and bool((np.diff(codepoints.astype(np.int64)) > 0).all())
        and int(codepoints[-1]) < CODE_POINTS
    )
