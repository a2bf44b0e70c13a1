"""Measuring a checkpoint on a text or on a part of its own, and leaning it towards a text.

>>> evaluate("checkpoints/corpus", part="val").nats_per_char
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from textgen.checkpoint import (
    Checkpoint,
    network_of,
    read_foreign,
    runs,
    training_text,
    with_ngrams,
)
from textgen.config import check_choice
from textgen.errors import UsageError
from textgen.evaluation import protocols
from textgen.evaluation.dynamic import rule_for


def evaluate(
    checkpoint: str | Path,
    text: str | Path | None = None,
    part: str | None = None,
    protocol: str = "stateful",
    device: str = "cpu",
    dynamic: bool = False,
    encoding: str = "utf-8",
) -> protocols.Result:
    """Return how well a checkpoint predicts a text file, or a part of the run's own text.

    encoding: of a text that is not the run's own, whose newlines and normal form become those of
    the run's. dynamic: measure it a second time while it learns from what it has read; how fast it
    learns is chosen on the end of its training part. Raises TextgenError subclasses.
    """
    from textgen.nn import AdaptiveStepper, TorchStepper, available_cores, cpu_settings

    check_choice("--protocol", protocol, tuple(protocols.PROTOCOLS))
    if dynamic and protocol != "stateful":
        problem = f"--protocol {protocol} reads no text from beginning to end"
        raise UsageError("--dynamic", problem, "use --protocol stateful")
    path = runs.find_checkpoint(checkpoint)
    loaded = Checkpoint.load(path)
    if loaded.metadata.records and (dynamic or protocol != "stateful"):
        name = "--dynamic" if dynamic else "--protocol"
        raise UsageError(name, "needs one text, and this model learnt items", "leave it out")
    words = _words(path, loaded, text, part, encoding)
    network = network_of(loaded, device)
    # At one row a second thread gains little, and loses much beside other programs.
    with cpu_settings(1 if protocol == "stateful" else available_cores()):
        stepper = with_ngrams(TorchStepper(network), loaded)
        if isinstance(words, list):
            return protocols.measure_records(stepper, loaded.tokenizer, words)
        result = protocols.measure_text(stepper, loaded.tokenizer, words, protocol)
        if not dynamic:
            return result
        rule = rule_for(network, path, loaded, text if part else None, words)
        stepper = with_ngrams(AdaptiveStepper(network, rule), loaded)
        again = protocols.measure_text(stepper, loaded.tokenizer, words, protocol)
    nats = again.nats_per_char
    return dataclasses.replace(
        result, dynamic_nats_per_char=nats, dynamic_lr=rule.lr, dynamic_decay=rule.decay
    )


def _words(
    path: Path, loaded: Checkpoint, text: str | Path | None, part: str | None, encoding: str
) -> training_text.Passage:
    if part is not None:
        return training_text.part_of(path, loaded.metadata, part, text)
    if text is None:
        raise UsageError("FILE", "no text to measure on", "name one, or give --part val")
    return training_text.passage_of(read_foreign(loaded.metadata, text, encoding), loaded.metadata)
