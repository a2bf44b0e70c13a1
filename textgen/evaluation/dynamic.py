"""How fast a network learns from what it reads, and a checkpoint adapted to a text.

>>> checkpoint, rule = adapt_checkpoint(Path("best.safetensors"), "letters.txt")
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from textgen.checkpoint import (
    Checkpoint,
    adaptive_mixture,
    network_of,
    read_foreign,
    training_text,
)
from textgen.engine import Network
from textgen.errors import TextgenError
from textgen.evaluation.protocols import stateful

if TYPE_CHECKING:
    from textgen.nn import AdaptationRule, CharRNN

# Characters at the end of the training part on which a rule is chosen: five readings of them take
# a minute or two, and tell the rules apart.
TAIL = 10_000
# The rules to choose from, around the best of "Dynamic evaluation" in docs/log.md.
RATES = (1e-4, 3e-4, 1e-3)
DECAYS = (1e-3, 1e-2)


def adapt_checkpoint(
    path: Path, text: str | Path, device: str = "cpu"
) -> tuple[Checkpoint, AdaptationRule]:
    """Return a checkpoint that has learnt from a text by reading it once, and its network's rule.

    Args:
        path: the checkpoint's file, which stays as it is.
        text: the file to learn from; what the model does not know is read as unknown.
        device: where to compute.

    Raises:
        CheckpointError: if the checkpoint is missing or damaged.
        TextError: if the text is missing or cannot be read.
        MachineError: if the device is not there.
    """
    from textgen.nn import AdaptiveStepper, cpu_settings

    checkpoint = Checkpoint.load(path)
    ids = checkpoint.tokenizer.encode(read_foreign(checkpoint.metadata, text).text, "replace")
    network = network_of(checkpoint, device)
    with cpu_settings(1):
        rule = choose_rule_for(path, checkpoint, network)
        learner = AdaptiveStepper(network, rule)
        learnt = learn_beside(learner, checkpoint, ids)
    return dataclasses.replace(learnt, weights=learner.model.export()), rule


def learn_beside(network: Network, checkpoint: Checkpoint, ids: np.ndarray) -> Checkpoint:
    """Return a checkpoint whose n-grams and mixture have learnt from ids (n,), n >= 1.

    Args:
        network: the checkpoint's, which learns too if it can.
        checkpoint: it stays as it is.
        ids: the text that is read once.
    """
    no_counts = np.zeros(checkpoint.model.vocab)
    if checkpoint.ngrams is None:
        stateful(network, ids, no_counts)
        return checkpoint
    model = adaptive_mixture(network, checkpoint)
    stateful(model, ids, no_counts)
    # A text of one character is only followed.
    if len(ids) == 1:
        model.reader.follow(int(ids[0]))
    ngrams, weights_WX = model.reader.learned()
    return dataclasses.replace(checkpoint, ngrams=ngrams, mixing=weights_WX)


def choose_rule_for(
    path: Path,
    checkpoint: Checkpoint,
    network: CharRNN,
    named: str | Path | None = None,
    measured: training_text.Passage = "",
) -> AdaptationRule:
    """Return how a checkpoint shall learn from what it reads, chosen on its training part's end.

    It is the default rule where the training text is gone, as with a checkpoint from somebody else,
    and where that end is part of what is measured.

    Args:
        path: the checkpoint's file, in whose run it is noted where the training text is.
        checkpoint: the checkpoint.
        network: its network.
        named: where the training text is, if the run does not know.
        measured: the text that the rule is for.
    """
    from textgen.nn import AdaptationRule

    try:
        text = training_text.find_text(path, checkpoint.metadata, named)
    except TextgenError:
        return AdaptationRule()
    end = training_text.bounds(text, checkpoint.metadata, "train")[1]
    tail = text.slice(max(0, end - TAIL), end)
    if tail in measured:
        return AdaptationRule()
    ids = checkpoint.tokenizer.encode(tail, "replace")
    return choose_rule(network, ids, checkpoint.tokenizer.counts)


def choose_rule(network: CharRNN, ids: np.ndarray, counts: np.ndarray) -> AdaptationRule:
    """Return the rule under which a network reads ids (n,) best: first the rate, then the decay."""
    from textgen.nn import AdaptationRule, AdaptiveStepper

    def mean_nats(rule: AdaptationRule) -> float:
        learner = AdaptiveStepper(copy.deepcopy(network), rule)
        return float(stateful(learner, ids, counts).mean())

    nats = {rule: mean_nats(rule) for rule in (AdaptationRule(rate, 0.0) for rate in RATES)}
    rate = min(nats, key=nats.__getitem__).lr
    nats |= {rule: mean_nats(rule) for rule in (AdaptationRule(rate, decay) for decay in DECAYS)}
    return min(nats, key=nats.__getitem__)
