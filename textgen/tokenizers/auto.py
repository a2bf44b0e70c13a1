"""Any tokenizer: from the arrays of a file, or the one that a run asks for.

>>> from_tensors("char", {"codepoints": codepoints, "counts": counts}, vocab=66)
>>> text = "to be, or not to be"
>>> tokenizer, notes = tokenizer_for(None, None, False, None, lambda: alphabet, iter([text]))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from textgen.errors import UsageError
from textgen.tokenizers.base import CODE_POINTS, Tokenizer
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer
from textgen.tokenizers.subword import SentencePieceTokenizer

FIRST_SURROGATE, LAST_SURROGATE = 0xD800, 0xDFFF


def tokenizer_for(
    kind: str | None,
    vocab_size: int | None,
    marked: bool,
    first: Tokenizer | None,
    alphabet: Callable[[], CharTokenizer],
    pieces: Iterable[str],
) -> tuple[Tokenizer, list[str]]:
    """Return the tokenizer of a new run.

    A run that starts from a checkpoint keeps the checkpoint's units; to an alphabet it adds the
    characters of its own text.

    Args:
        kind: "char", "byte", "bpe" or "unigram"; None is "char".
        vocab_size: how many pieces "bpe" and "unigram" may learn; None leaves it to them.
        marked: whether the text is records, so that an id stands between them.
        first: the tokenizer of the checkpoint that the run starts from.
        alphabet: makes the tokenizer of the text's characters, when that is asked for.
        pieces: the text in pieces, for what is learnt from it.

    Returns:
        The tokenizer, and sentences for the user about it.

    Raises:
        UsageError: `first` was learnt from records and this text is none, or vocab_size is too
            small.
        TextError: the text holds half of a surrogate pair, which pieces cannot write.
        MachineError: sentencepiece is needed and missing.
    """
    if first and first.boundary_id is not None and not marked:
        raise UsageError("--init", "was trained on records, not on one text", "give --records too")
    if isinstance(first, CharTokenizer):
        return merge_alphabets(alphabet(), first), []
    if isinstance(first, SentencePieceTokenizer):
        return SentencePieceTokenizer(first.model, marked=marked), []
    if kind == "byte":
        return ByteTokenizer(marked=marked), []
    if kind in (None, "char"):
        return alphabet(), []
    learnt, note = SentencePieceTokenizer.train(pieces, str(kind), vocab_size, marked=marked)
    return learnt, [note] if note else []


def merge_alphabets(own: CharTokenizer, other: CharTokenizer) -> CharTokenizer:
    """Return `own` with the characters of another alphabet added, which it has never counted."""
    codepoints = np.union1d(own.codepoints, other.codepoints)
    counts = np.zeros(1 + len(codepoints) + (own.boundary_id is not None), np.uint64)
    own_ids = 1 + np.searchsorted(codepoints, own.codepoints)
    counts[own_ids] = own.counts[1 : 1 + len(own_ids)]
    return CharTokenizer(codepoints, counts, own.boundary_id is not None)


def from_tensors(
    kind: object, tensors: dict[str, np.ndarray], vocab: int, marked: bool = False
) -> Tokenizer:
    """Return the tokenizer of V = vocab ids whose `tensors` these are.

    They come from a file, and nothing in them is trusted.

    Args:
        kind: what the file calls it: "char", "byte" or "sentencepiece".
        tensors: "counts" (V,), and "codepoints" or "model" where the kind has them.
        vocab: V, the ids that the network of the file has.
        marked: whether the last id stands between records.

    Raises:
        ValueError: the arrays are not those of such a tokenizer; it says why.
        MachineError: sentencepiece is needed and missing.
    """
    counts = tensors.get("counts", np.zeros(0))
    unmarked = vocab - marked
    if counts.dtype != np.uint64 or counts.shape != (vocab,):
        raise ValueError(f"its counts do not fit an alphabet of {vocab:,}")
    if not counts[int(kind != ByteTokenizer.kind) : unmarked].any():
        raise ValueError("its counts leave nothing of the alphabet to write")
    tokenizer: Tokenizer
    if kind == CharTokenizer.kind and _is_alphabet(tensors.get("codepoints"), unmarked - 1):
        tokenizer = CharTokenizer(tensors["codepoints"], counts, marked)
    elif kind == ByteTokenizer.kind:
        tokenizer = ByteTokenizer(counts, marked)
    elif kind == SentencePieceTokenizer.kind and _is_text(tensors.get("model")):
        tokenizer = SentencePieceTokenizer(tensors["model"].tobytes(), counts, marked)
    else:
        raise ValueError(f"its {kind!r} alphabet does not fit a vocabulary of {vocab:,}")
    if tokenizer.size != vocab or tokenizer.tensors().keys() != tensors.keys():
        raise ValueError(f"its {kind} alphabet of {tokenizer.size:,} does not fit {vocab:,}")
    return tokenizer


def _is_text(model: np.ndarray | None) -> bool:
    return model is not None and model.dtype == np.uint8 and model.ndim == 1


def _is_alphabet(codepoints: np.ndarray | None, size: int) -> bool:
    """Say whether these are `size` characters, rising, that UTF-8 can write."""
    if codepoints is None or codepoints.dtype != np.uint32 or codepoints.shape != (size,):
        return False
    if not size or (np.diff(codepoints.astype(np.int64)) <= 0).any():
        return False
    surrogates = (codepoints >= FIRST_SURROGATE) & (codepoints <= LAST_SURROGATE)
    return int(codepoints[-1]) < CODE_POINTS and not surrogates.any()
