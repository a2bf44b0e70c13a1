"""How well a checkpoint predicts a text, or a part of its own.

>>> evaluate("checkpoints/corpus", part="val").nats_per_char
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from textgen.checkpoint import (
    Checkpoint,
    adaptive_mixture,
    make_engine,
    network_of,
    read_foreign,
    runs,
    training_text,
    with_ngrams,
)
from textgen.config import check_choice
from textgen.data import available_cores
from textgen.engine import Engine, Network, Scorer, Threads
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
    adaptive: bool = False,
) -> Result:
    """Return how well a checkpoint predicts a text file, or a part of the run's own text.

    Args:
        checkpoint: a checkpoint file or run folder.
        text: the file to evaluate on; with `part` the run's own text, if it has moved.
        part: "train", "val" or "test": that part of the run's own text.
        protocol: "stateful", one stream over the whole text, or "nanogpt", random windows of 256.
        device: where to compute: cpu, cuda, mps, or auto for the fastest there is.
        dynamic: evaluate a second time while the network learns from what it has read; how fast it
            learns is chosen on the end of its training part.
        adaptive: evaluate a second time while what stands beside the network learns from each
            character once it is counted: the n-grams, their back-off, the weights of the mixture;
            with `dynamic` the network too.
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
    check_choice("--protocol", protocol, tuple(PROTOCOLS))
    learns = "--dynamic" if dynamic else "--adaptive" if adaptive else None
    if learns and protocol != "stateful":
        problem = f"--protocol {protocol} reads no text from beginning to end"
        raise UsageError(learns, problem, "use --protocol stateful")
    path = runs.find_checkpoint(checkpoint)
    model = Checkpoint.load(path)
    if model.metadata.records and (learns or protocol != "stateful"):
        name = learns or "--protocol"
        problem = "needs one text, and this model was trained on records"
        raise UsageError(name, problem, "leave it out")
    if adaptive and model.ngrams is None:
        fix = "use --dynamic, or train with n-grams"
        raise UsageError("--adaptive", "this model is a network alone", fix)
    passage = _read_passage(path, model, text, part, encoding)
    if adaptive and not dynamic and device == "cpu":
        # What learns then needs no torch, nor does the network.
        engine = Engine(model.model, model.weights)
        with Threads(1):
            result = _measure(make_engine(model), model, passage, protocol)
            adapted = _measure(adaptive_mixture(engine, model), model, passage, protocol)
        return dataclasses.replace(result, adaptive_nats_per_char=adapted.nats_per_char)
    return _evaluate_in_torch(
        path, model, text if part else None, passage, protocol, device, dynamic, adaptive
    )


def _evaluate_in_torch(
    path: Path,
    model: Checkpoint,
    named: str | Path | None,
    passage: training_text.Passage,
    protocol: str,
    device: str,
    dynamic: bool,
    adaptive: bool,
) -> Result:
    """Return the figures of a model whose network is computed by torch; see `evaluate`."""
    from textgen.nn import AdaptiveStepper, TorchStepper, cpu_settings

    network = network_of(model, device)
    # At one row a second thread gains little, and loses much beside other programs.
    with cpu_settings(1 if protocol == "stateful" else available_cores()):
        stepper: Network = TorchStepper(network)
        result = _measure(with_ngrams(stepper, model), model, passage, protocol)
        if dynamic:
            rule = choose_rule_for(path, model, network, named, passage)
            stepper = AdaptiveStepper(network, rule)
            result = dataclasses.replace(result, dynamic_lr=rule.lr, dynamic_decay=rule.decay)
        if adaptive:
            adapted = _measure(adaptive_mixture(stepper, model), model, passage, protocol)
            if dynamic:
                nats = adapted.nats_per_char
                return dataclasses.replace(result, adaptive_dynamic_nats_per_char=nats)
            return dataclasses.replace(result, adaptive_nats_per_char=adapted.nats_per_char)
        if dynamic:
            adapted = _measure(with_ngrams(stepper, model), model, passage, protocol)
            return dataclasses.replace(result, dynamic_nats_per_char=adapted.nats_per_char)
    return result


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
    model: Scorer, checkpoint: Checkpoint, passage: training_text.Passage, protocol: str
) -> Result:
    """Return how well a model predicts a passage."""
    if isinstance(passage, list):
        return measure_records(model, checkpoint.tokenizer, passage)
    return measure_text(model, checkpoint.tokenizer, passage, protocol)
