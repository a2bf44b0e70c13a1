"""What the tests of several folders build: tokenizers, models of random weights, commands run.

>>> checkpoint = random_checkpoint(learn_tokenizer("char", "abba"), hidden=4)
"""

import dataclasses
import sys
import unicodedata

import naive
import numpy as np
import pytest

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.checkpoint.metadata import Metadata
from textgen.checkpoint.resume import MOMENTS, Plan, Progress, ResumeState
from textgen.cli.app import main
from textgen.config.model import ModelConfig
from textgen.config.train import TrainConfig
from textgen.engine.mixture import usual_weights
from textgen.engine.network import Engine
from textgen.engine.ngrams import NGrams
from textgen.errors import CheckpointError, UsageError
from textgen.files.tensorfile import read_tensors
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer
from textgen.tokenizers.subword import SentencePieceTokenizer
from textgen.training.sizing import Recipe

RECIPE = Recipe("gru", 1, 2, 2, 3, 2, 8, 1e-3, "float32", 0.0, 0.1)


def learn_tokenizer(kind, text):
    """A tokenizer of a kind, learnt from a text."""
    if kind == "char":
        return CharTokenizer.from_text(text)
    if kind == "byte":
        return with_counts_of(ByteTokenizer(), text)
    return with_counts_of(SentencePieceTokenizer.train(text, kind, 400)[0], text)


def with_counts_of(tokenizer, text):
    """The tokenizer with the counts of a training text."""
    return tokenizer.with_counts(np.bincount(tokenizer.encode(text), minlength=tokenizer.size))


def small_sizes(tokenizer, **sizes):
    """The config of a network for a tokenizer: a GRU layer of 8 units where nothing else is said.

    sizes: fields of ModelConfig.
    """
    sizes = {"cell": "gru", "layers": 1, "hidden": 8, "embedding": 4, **sizes}
    return ModelConfig(vocab=tokenizer.size, **sizes)


def random_engine(tokenizer, seed=0, scale=0.8, dtype=np.float64, **sizes):
    """An engine of random weights, in float64 unless told otherwise, without a checkpoint."""
    config = small_sizes(tokenizer, **sizes)
    weights = naive.random_weights(config, seed, scale)
    return Engine(config, {name: array.astype(dtype) for name, array in weights.items()})


def random_checkpoint(tokenizer, metadata=None, seed=0, scale=1.0, **sizes):
    """A checkpoint of random weights, in the float32 of a file. sizes: of `small_sizes`."""
    config = small_sizes(tokenizer, **sizes)
    weights = naive.random_weights(config, seed, scale)
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    return Checkpoint(config, tokenizer, weights, metadata or Metadata())


def mixed_checkpoint(tokenizer, text, metadata=None, **sizes):
    """A checkpoint with the n-grams of a text, whose gates differ from place to place."""
    plain = random_checkpoint(tokenizer, metadata, ngrams=5, **sizes)
    ngrams = NGrams.count(tokenizer.encode(text), tokenizer.size, 4)
    weights = usual_weights() + np.random.default_rng(3).normal(0, 0.02, usual_weights().shape)
    return dataclasses.replace(plain, ngrams=ngrams, mixing=weights.astype(np.float32))


def full_checkpoint(cell="gru", **changes):
    """A checkpoint of under 5,000 bytes with every kind of content. changes: of its fields."""
    tokenizer = CharTokenizer.from_text("abba\u00e9")
    ngrams = NGrams.count(tokenizer.encode("abba\u00e9"), tokenizer.size, 2)
    sizes = {"cell": cell, "hidden": 2, "embedding": 2, "ngrams": 3}
    plain = random_checkpoint(tokenizer, Metadata(shares="0.9,0.1"), **sizes)
    mixing = (usual_weights() + np.arange(4) / 8).astype(np.float32)
    known = np.array([3, 9, 2**32 - 1], np.uint32)
    parts = {"ngrams": ngrams, "mixing": mixing, "fingerprint": known}
    return dataclasses.replace(plain, **{**parts, **changes})


def resume_state(step=3, texts=("corpus.txt",), cell="gru", **changes):
    """What a run of ten steps is resumed from, of `full_checkpoint(cell)`. changes: of fields."""
    recipe = dataclasses.replace(RECIPE, cell=cell)
    config = TrainConfig(steps=10, **dataclasses.asdict(recipe))
    plan = Plan(steps=10, warmup=1, every=5, val_chars=0, final_chars=0)
    tensors = resume_tensors(ModelConfig(4, cell, 1, 2, 2, 3), RECIPE.batch)
    progress = Progress(train_nats=4.5, train_steps=3)
    state = ResumeState(step, plan, config, 1, tuple(texts), progress, tensors)
    return dataclasses.replace(state, **changes)


def resume_tensors(model, streams):
    """Moments of a network's parameters and its carried state, as a run in training has them."""
    shapes = {f"{m}.{name}": shape for m in MOMENTS for name, shape in model.shapes().items()}
    for layer in range(model.layers):
        for part in range(2 if model.cell == "lstm" else 1):
            shapes[f"state.{layer}.{part}"] = (streams, model.hidden)
    random = np.random.default_rng(5)
    return {name: random.random(shape).astype(np.float32) for name, shape in shapes.items()}


def call(capsys, *words):
    """Run the command line in this process; return its code, stdout and stderr."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def usage_error(call, *arguments, **options):
    """The error that a call raises for what it was given, checked to be one line with code 2."""
    with pytest.raises(UsageError) as caught:
        call(*arguments, **options)
    error = caught.value
    assert error.exit_code == 2 and error.fix and "\n" not in str(error)
    return error


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


def composing_pairs():
    """The pairs of characters that Unicode composes to one."""
    decompositions = map(unicodedata.decomposition, map(chr, range(sys.maxunicode + 1)))
    return [
        tuple(chr(int(code, 16)) for code in codes.split())
        for codes in decompositions
        if codes.count(" ") == 1 and not codes.startswith("<")
    ]


def periodic_ids(n):
    """Ids (n,) that repeat after six."""
    return np.tile([1, 2, 3, 4, 2, 5], n // 6 + 1)[:n]


def copy_parameters(network):
    """The parameters of a network, as arrays that it does not change any more."""
    return [parameter.detach().numpy().copy() for parameter in network.parameters()]


def assert_equal_arrays(found, expected):
    """Compare arrays in order, number by number."""
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


def assert_equal_tensors(found, expected):
    """Compare named arrays to the byte."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
