"""Measuring a checkpoint on a text or on a part of its own, and leaning it towards a text.

In the walk after `textmodel`.

    >>> evaluate("checkpoints/corpus", part="val").nats_per_char
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from textgen import corpus, heritage, measure, runs
from textgen.checkpoint import Checkpoint
from textgen.device import available_cores, choose_device, tuned
from textgen.dynamic import DynamicStepper, Rule, choose_rule, learn
from textgen.errors import TextgenError, UsageError
from textgen.fields import check_choice
from textgen.mixture import with_ngrams
from textgen.model import CharRNN, TorchStepper
from textgen.textmodel import TextModel

TAIL = 10_000  # characters of the training part on which the rule of learning is chosen


def evaluate(
    checkpoint: str | Path,
    text: str | Path | None = None,
    part: str | None = None,
    protocol: str = "stateful",
    device: str = "cpu",
    dynamic: bool = False,
    encoding: str = "utf-8",
) -> measure.Result:
    """Return how well a checkpoint predicts a text file, or a part of the run's own text.

    encoding: of a text that is not the run's own, whose newlines and normal form become those of
    the run's. dynamic: measure it a second time while it learns from what it has read; how fast it
    learns is chosen on the end of its training part. Raises TextgenError subclasses.
    """
    check_choice("--protocol", protocol, tuple(measure.PROTOCOLS))
    if dynamic and protocol != "stateful":
        problem = f"--protocol {protocol} reads no text from beginning to end"
        raise UsageError("--dynamic", problem, "use --protocol stateful")
    path = runs.find_checkpoint(checkpoint)
    loaded = Checkpoint.load(path)
    if loaded.facts.get("records") and (dynamic or protocol != "stateful"):
        name = "--dynamic" if dynamic else "--protocol"
        raise UsageError(name, "needs one text, and this model learnt items", "leave it out")
    words = _words(path, loaded, text, part, encoding)
    network = CharRNN.from_weights(loaded.model, loaded.weights, choose_device(device))
    # At one row a second thread gains little, and loses much beside other programs.
    with tuned(1 if protocol == "stateful" else available_cores()):
        stepper = with_ngrams(TorchStepper(network), loaded)
        if isinstance(words, list):
            return measure.evaluate_items(stepper, loaded.tokenizer, words)
        result = measure.evaluate(stepper, loaded.tokenizer, words, protocol)
        if not dynamic:
            return result
        rule = rule_for(network, path, loaded, text if part else None, words)
        stepper = with_ngrams(DynamicStepper(network, rule), loaded)
        again = measure.evaluate(stepper, loaded.tokenizer, words, protocol)
    nats = again.nats_per_char
    return dataclasses.replace(
        result, dynamic_nats_per_char=nats, dynamic_lr=rule.lr, dynamic_decay=rule.decay
    )


def adapt(checkpoint: str | Path, text: str | Path, device: str = "cpu") -> tuple[TextModel, Rule]:
    """Return a model that has learnt from a text file by reading it once, and how fast it learnt.

    The checkpoint stays as it is. Raises TextgenError subclasses.
    """
    path = runs.find_checkpoint(checkpoint)
    loaded = Checkpoint.load(path)
    ids = loaded.tokenizer.encode(_foreign(loaded, text).text, "replace")
    network = CharRNN.from_weights(loaded.model, loaded.weights, choose_device(device))
    with tuned(1):
        rule = rule_for(network, path, loaded, None, "")
        weights = learn(network, rule, ids).export()
    return TextModel(dataclasses.replace(loaded, weights=weights), device, path), rule


def rule_for(
    network: CharRNN, path: Path, loaded: Checkpoint, text: str | Path | None, reported: str
) -> Rule:
    """Return how a checkpoint learns from what it reads, chosen on the end of its training part.

    text: where its own text is, else the run in which it lies knows. The rule is the default one
    where the text is gone, as with a checkpoint from somebody else, and where that end is part of
    the text that is reported.
    """
    try:
        whole = heritage.find(path, loaded.facts, text)
    except (TextgenError, KeyError, TypeError):  # gone, or nobody says which it was
        return Rule()
    end = heritage.bounds(whole, loaded.facts, "train")[1]
    tail = whole.slice(max(0, end - TAIL), end)
    if tail in reported:
        return Rule()
    ids = loaded.tokenizer.encode(tail, "replace")
    return choose_rule(network, ids, loaded.tokenizer.counts)


def _words(
    path: Path, loaded: Checkpoint, text: str | Path | None, part: str | None, encoding: str
) -> heritage.Words:
    if part is not None:
        return heritage.part_of(path, loaded.facts, part, text)
    if text is None:
        raise UsageError("FILE", "no text to measure on", "name one, or give --part val")
    return heritage.words_of(_foreign(loaded, text, encoding), loaded.facts)


def _foreign(loaded: Checkpoint, text: str | Path, encoding: str = "utf-8") -> corpus.Corpus:
    """Return a text that is not the run's own, with the newlines and the form of the run's."""
    reading = dataclasses.replace(heritage.reading_of(loaded.facts), encoding=encoding)
    return corpus.read(text, reading=reading)
