"""A checkpoint steps the same on a CPU without torch as in torch, with its n-grams and without."""

import dataclasses

import numpy as np
import pytest
from factories import random_checkpoint

from textgen.checkpoint.loading import make_engine, network_of, stepper_of, with_ngrams
from textgen.engine.network import log_softmax
from textgen.engine.ngrams import NGrams
from textgen.nn.char_rnn import TorchStepper
from textgen.tokenizers.char import CharTokenizer

TEXT = "to be or not to be"
TOKENIZER = CharTokenizer.from_text(TEXT)
IDS = TOKENIZER.encode(TEXT)


def checkpoint(ngrams):
    made = random_checkpoint(TOKENIZER, ngrams=3 if ngrams else 1)
    if not ngrams:
        return made
    counted = NGrams.count(IDS, TOKENIZER.size, 2)
    return dataclasses.replace(made, ngrams=counted)


def log_probabilities(model):
    logits_BV, _ = model.read(IDS, 1, None)
    return log_softmax(np.asarray(logits_BV, np.float64))


@pytest.mark.parametrize("ngrams", [False, True])
def test_every_way_to_step_a_checkpoint_predicts_the_same(ngrams):
    made = checkpoint(ngrams)
    expected = log_probabilities(make_engine(made))
    in_torch = with_ngrams(TorchStepper(network_of(made)), made)
    np.testing.assert_allclose(log_probabilities(in_torch), expected, atol=1e-5)
    written = log_probabilities(stepper_of(made, "cpu"))
    np.testing.assert_allclose(np.exp(written).sum(), 1)
    assert np.array_equal(written, expected) != ngrams


def test_what_writes_leans_more_on_the_network():
    made = checkpoint(True)
    written, best = (log_probabilities(model) for model in (stepper_of(made), make_engine(made)))
    alone = log_probabilities(make_engine(checkpoint(False)))

    def divergence(log_probabilities):
        return float((np.exp(alone) * (alone - log_probabilities)).sum())

    assert divergence(written) < divergence(best)


def test_n_grams_of_a_checkpoint_change_what_it_predicts():
    mixed, alone = (log_probabilities(make_engine(checkpoint(n))) for n in (True, False))
    assert np.abs(mixed - alone).max() > 0.1
    np.testing.assert_allclose(np.exp(mixed).sum(), 1)
