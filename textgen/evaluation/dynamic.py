"""How fast a network learns from what it reads, and a checkpoint that leans towards a text.

>>> checkpoint, rule = adapted("checkpoints/corpus", "letters.txt")
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from textgen.checkpoint import Checkpoint, network_of, read_foreign, training_text
from textgen.errors import TextgenError
from textgen.evaluation.protocols import stateful

if TYPE_CHECKING:
    from textgen.nn import AdaptationRule, CharRNN

TAIL = 10_000  # characters of the training part on which the rule of learning is chosen


def adapted(path: Path, text: str | Path, device: str = "cpu") -> tuple[Checkpoint, AdaptationRule]:
    """Return a checkpoint that has learnt from a text file by reading it once, and how fast.

    path: of the checkpoint, which stays as it is. Raises TextgenError subclasses.
    """
    from textgen.nn import cpu_settings

    loaded = Checkpoint.load(path)
    ids = loaded.tokenizer.encode(read_foreign(loaded.metadata, text).text, "replace")
    network = network_of(loaded, device)
    with cpu_settings(1):
        rule = rule_for(network, path, loaded, None, "")
        weights = adapt_network(network, rule, ids).export()
    return dataclasses.replace(loaded, weights=weights), rule


def rule_for(
    network: CharRNN, path: Path, loaded: Checkpoint, text: str | Path | None, reported: str
) -> AdaptationRule:
    """Return how a checkpoint learns from what it reads, chosen on the end of its training part.

    text: where its own text is, else the run in which it lies knows. The rule is the default one
    where the text is gone, as with a checkpoint from somebody else, and where that end is part of
    the text that is reported.
    """
    from textgen.nn import AdaptationRule

    try:
        whole = training_text.find_text(path, loaded.metadata, text)
    except TextgenError:  # gone, or nobody says which it was
        return AdaptationRule()
    end = training_text.bounds(whole, loaded.metadata, "train")[1]
    tail = whole.slice(max(0, end - TAIL), end)
    if tail in reported:
        return AdaptationRule()
    ids = loaded.tokenizer.encode(tail, "replace")
    return choose_rule(network, ids, loaded.tokenizer.counts)


RATES = (1e-4, 3e-4, 1e-3)
DECAYS = (1e-3, 1e-2)


def adapt_network(model: CharRNN, rule: AdaptationRule, ids: np.ndarray) -> CharRNN:
    """Return a model that has come from `model`, which stays as it is, by reading ids (n,) once."""
    from textgen.nn import AdaptiveStepper

    learner = copy.deepcopy(model)
    stateful(AdaptiveStepper(learner, rule), ids, np.zeros(model.config.vocab))
    return learner


def choose_rule(model: CharRNN, ids: np.ndarray, counts: np.ndarray) -> AdaptationRule:
    """Return the rule under which a model reads ids (n,) best: first the rate, then the decay."""
    from textgen.nn import AdaptationRule, AdaptiveStepper

    def cost(rule: AdaptationRule) -> float:
        return float(stateful(AdaptiveStepper(copy.deepcopy(model), rule), ids, counts).mean())

    costs = {rule: cost(rule) for rule in (AdaptationRule(rate, 0.0) for rate in RATES)}
    rate = min(costs, key=costs.__getitem__).lr
    costs |= {rule: cost(rule) for rule in (AdaptationRule(rate, decay) for decay in DECAYS)}
    return min(costs, key=costs.__getitem__)
