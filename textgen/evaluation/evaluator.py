"""How well a checkpoint predicts a text, or a part of its own.

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
from textgen.engine import Stepper
from textgen.errors import UsageError
from textgen.evaluation.dynamic import choose_rule_for
from textgen.evaluation.protocols import PROTOCOLS, Result, measure_records, measure_text


def evaluate(
    checkpoint: str | Path,
    text: str | Path | None = None,
    part: str | None = None,
    protocol: str = "stateful",
    device: str = "cpu",
    dynamic: bool = False,
    encoding: str = "utf-8",
) -> Result:
    """Return how well a checkpoint predicts a text file, or a part of the run's own text.

    Args:
        checkpoint: a checkpoint file or run folder.
        text: the file to evaluate on; with `part` the run's own text, if it has moved.
        part: "train", "val" or "test": that part of the run's own text.
        protocol: "stateful", one stream over the whole text, or "nanogpt", random windows of 256.
        device: where to compute: cpu, cuda, mps, or auto for the fastest there is.
        dynamic: evaluate a second time while the model learns from what it has read; how fast it
            learns is chosen on the end of its training part.
        encoding: of a text that is not the run's own; its newlines and normal form become those of
            the run's.

    Raises:
        UsageError: for options that cannot be used, alone, together or with this model.
        CheckpointError: if the checkpoint is missing or damaged.
        TextError: if the text is missing or cannot be read, or if the run has no such part.
        MachineError: if the device is not there.
        NumericsError: if the model's scores are not finite.

    >>> evaluate("checkpoints/corpus", "letters.txt").bits_per_char
    """
    from textgen.nn import AdaptiveStepper, TorchStepper, available_cores, cpu_settings

    check_choice("--protocol", protocol, tuple(PROTOCOLS))
    if dynamic and protocol != "stateful":
        problem = f"--protocol {protocol} reads no text from beginning to end"
        raise UsageError("--dynamic", problem, "use --protocol stateful")
    path = runs.find_checkpoint(checkpoint)
    model = Checkpoint.load(path)
    if model.metadata.records and (dynamic or protocol != "stateful"):
        name = "--dynamic" if dynamic else "--protocol"
        problem = "needs one text, and this model was trained on records"
        raise UsageError(name, problem, "leave it out")
    passage = _read_passage(path, model, text, part, encoding)
    network = network_of(model, device)
    # At one row a second thread gains little, and loses much beside other programs.
    with cpu_settings(1 if protocol == "stateful" else available_cores()):
        result = _measure(TorchStepper(network), model, passage, protocol)
        if not dynamic:
            return result
        rule = choose_rule_for(path, model, network, text if part else None, passage)
        adaptive = _measure(AdaptiveStepper(network, rule), model, passage, protocol)
    nats = adaptive.nats_per_char
    return dataclasses.replace(
        result, dynamic_nats_per_char=nats, dynamic_lr=rule.lr, dynamic_decay=rule.decay
    )


def _read_passage(
    path: Path, model: Checkpoint, text: str | Path | None, part: str | None, encoding: str
) -> training_text.Passage:
    """Return the text or the records that are measured."""
    if part is not None:
        return training_text.part_of(path, model.metadata, part, text)
    if text is None:
        raise UsageError("FILE", "no text to evaluate on", "name one, or give --part val")
    return training_text.passage_of(read_foreign(model.metadata, text, encoding), model.metadata)


def _measure(
    network: Stepper, model: Checkpoint, passage: training_text.Passage, protocol: str
) -> Result:
    """Return how well a network predicts a passage together with the model's n-grams."""
    stepper = with_ngrams(network, model)
    if isinstance(passage, list):
        return measure_records(stepper, model.tokenizer, passage)
    return measure_text(stepper, model.tokenizer, passage, protocol)
