"""Learning from a text, and choosing how: by the figures of each rule, taken one by one."""

import copy

import naive
import numpy as np
import pytest
import torch
from factories import assert_equal_arrays, copy_parameters, periodic_ids

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.config.model import CELLS, ModelConfig
from textgen.evaluation import dynamic
from textgen.evaluation.dynamic import choose_rule, learn_beside
from textgen.evaluation.protocols import stateful
from textgen.nn.char_rnn import CharRNN, TorchStepper
from textgen.nn.dynamic import CHARS_PER_UPDATE, AdaptationRule, AdaptiveStepper
from textgen.tokenizers.char import CharTokenizer

VOCAB = 6
COUNTS = np.zeros(VOCAB)
LETTERS = CharTokenizer.from_text("abcde")


def network(cell="gru"):
    config = ModelConfig(VOCAB, cell, layers=2, hidden=8, embedding=4)
    model = CharRNN(config).to(torch.float64)
    model.load(naive.random_weights(config, seed=2))
    return model


@pytest.mark.parametrize("cell", CELLS)
def test_a_network_learns_what_it_reads_beside_a_checkpoint_without_ngrams(cell):
    ids, learner = periodic_ids(6 * CHARS_PER_UPDATE), network(cell)
    stepper = AdaptiveStepper(learner, AdaptationRule(0.01, 1e-3))
    checkpoint = Checkpoint(learner.config, LETTERS, learner.export())
    assert learn_beside(stepper, checkpoint, ids) is checkpoint
    costs = [stateful(TorchStepper(one), ids, COUNTS).mean() for one in (network(cell), learner)]
    assert costs[1] < costs[0]


def test_a_text_of_one_character_teaches_a_network_nothing():
    learner = network()
    stepper = AdaptiveStepper(learner, AdaptationRule(0.01, 0.01))
    learn_beside(stepper, Checkpoint(learner.config, LETTERS, learner.export()), np.array([3]))
    assert_equal_arrays(copy_parameters(learner), copy_parameters(network()))


RATES, DECAYS = (1e-4, 0.003, 0.02, 0.3), (0.003, 0.3, 0.9)
TEXTS = {
    "noise": np.random.default_rng(1).integers(0, VOCAB, 4 * CHARS_PER_UPDATE),
    "periodic": periodic_ids(4 * CHARS_PER_UPDATE),
    "changing": np.concatenate(
        [periodic_ids(2 * CHARS_PER_UPDATE), periodic_ids(2 * CHARS_PER_UPDATE)[::-1]]
    ),
    "one character": np.array([2]),
}


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_the_rule_is_the_best_rate_and_then_the_best_decay(text, monkeypatch):
    monkeypatch.setattr(dynamic, "RATES", RATES)
    monkeypatch.setattr(dynamic, "DECAYS", DECAYS)
    ids, model = TEXTS[text], network()

    def cost(rate, decay):
        return stateful(
            AdaptiveStepper(copy.deepcopy(model), AdaptationRule(rate, decay)), ids, COUNTS
        ).mean()

    rate = min(RATES, key=lambda one: cost(one, 0.0))
    decay = min((0.0, *DECAYS), key=lambda one: cost(rate, one))
    assert choose_rule(model, ids, COUNTS) == AdaptationRule(rate, decay)
    assert_equal_arrays(copy_parameters(model), copy_parameters(network()))


@pytest.mark.slow
def test_texts_differ_in_the_rule_that_suits_them(monkeypatch):
    monkeypatch.setattr(dynamic, "RATES", RATES)
    monkeypatch.setattr(dynamic, "DECAYS", DECAYS)
    rules = {choose_rule(network(), ids, COUNTS) for ids in TEXTS.values()}
    assert len({rule.lr for rule in rules}) > 1
    assert len({rule.decay for rule in rules}) > 1


def test_the_default_rule_is_one_that_could_have_been_chosen():
    assert AdaptationRule().lr in dynamic.RATES
    assert AdaptationRule().decay in dynamic.DECAYS
