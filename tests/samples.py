"""What the tests of files share: a small checkpoint, and the error that a damaged one gives."""

import dataclasses
import unicodedata

import numpy as np
import pytest

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.config.model import ModelConfig
from textgen.engine.ngrams import NGrams
from textgen.errors import CheckpointError
from textgen.files.tensorfile import read_tensors
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer
from textgen.tokenizers.subword import SentencePieceTokenizer


def refused(path, *words, load=read_tensors):
    """The error that reading path raises, checked to be one harmless line with code 4."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    error = caught.value
    assert error.exit_code == 4
    assert error.fix
    assert not [c for c in str(error) if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs")]
    for word in words:
        assert word in str(error)
    return error


def assert_equal_tensors(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def tiny(cell="gru", **changes):
    model = ModelConfig(vocab=4, cell=cell, layers=1, hidden=2, embedding=2, ngrams=3)
    random = np.random.default_rng(0)
    weights = {n: random.normal(size=s).astype(np.float32) for n, s in model.shapes().items()}
    tokenizer = CharTokenizer.from_text("abba\u00e9")
    made = Checkpoint(model, tokenizer, weights, {"split": "0.9,0.1"})
    ngrams = NGrams.count(tokenizer.encode("abba\u00e9"), model.vocab, model.ngrams)
    made = dataclasses.replace(made, ngrams=ngrams, share=0.25)
    return dataclasses.replace(made, **changes)


def counted(tokenizer, text):
    """The tokenizer with the counts of a training text."""
    return tokenizer.with_counts(np.bincount(tokenizer.encode(text), minlength=tokenizer.size))


def units_of(kind, text):
    """A tokenizer of a kind, learnt from a text."""
    if kind == "char":
        return CharTokenizer.from_text(text)
    if kind == "byte":
        return counted(ByteTokenizer(), text)
    return counted(SentencePieceTokenizer.train(text, kind, 400)[0], text)


def network_of(tokenizer, seed=0, **sizes):
    """A checkpoint of random weights with a tokenizer."""
    sizes = {"cell": "gru", "layers": 1, "hidden": 8, "embedding": 4, **sizes}
    model = ModelConfig(vocab=tokenizer.size, **sizes)
    random = np.random.default_rng(seed)
    weights = {n: random.normal(size=s).astype(np.float32) for n, s in model.shapes().items()}
    return Checkpoint(model, tokenizer, weights)
