"""Measuring a checkpoint on a text, or on a part of the text it was trained on.

In the walk after `textmodel`.

    >>> evaluate("checkpoints/corpus", part="val").nats_per_char
"""

from __future__ import annotations

from pathlib import Path

from textgen import corpus, measure, runs
from textgen.checkpoint import Checkpoint
from textgen.config import check_choice
from textgen.device import available_cores, choose_device, tuned
from textgen.errors import TextError, UsageError
from textgen.model import CharRNN, TorchStepper


def evaluate(
    checkpoint: str | Path,
    text: str | Path | None = None,
    part: str | None = None,
    protocol: str = "stateful",
    device: str = "cpu",
) -> measure.Result:
    """Return how well a checkpoint predicts a text file, or a part of the run's own text.

    Raises TextgenError subclasses.
    """
    check_choice("--protocol", protocol, tuple(measure.PROTOCOLS))
    path = runs.find_checkpoint(checkpoint)
    loaded = Checkpoint.load(path)
    words = _words(path, loaded, text, part)
    model = CharRNN(loaded.model)
    model.load(loaded.weights)
    stepper = TorchStepper(model.to(choose_device(device)))
    with tuned(available_cores()):
        return measure.evaluate(stepper, loaded.tokenizer, words, protocol)


def _words(path: Path, loaded: Checkpoint, text: str | Path | None, part: str | None) -> str:
    if part is None:
        if text is None:
            raise UsageError("FILE", "no text to measure on", "name one, or give --part val")
        return corpus.read(text).text
    check_choice("--part", part, corpus.PARTS)
    source = text or _text_of_run(path, part)
    whole = corpus.read(source)
    split = loaded.facts.get("split")
    if split is None:  # trained on all of its text and validated on another one
        whole.require(loaded.facts["validation" if part == "val" else "corpus"])
        words = "" if part == "test" else whole.text
    else:
        whole.require(loaded.facts["corpus"])
        words = whole.part(part, split)
    if not words:
        raise TextError(str(source), f"has no {part} part", "leave --part out to measure all of it")
    return words


def _text_of_run(path: Path, part: str) -> str:
    """Return the path of the text that the run around a checkpoint was trained on."""
    last = path.parent / runs.LAST
    resume = Checkpoint.load(last).facts.get("resume") if last.exists() else None
    if resume is None:
        problem = "does not know where its text is"
        raise UsageError(str(path), problem, "name the text: textgen eval CHECKPOINT FILE --part")
    own = resume["config"].get("val") if part == "val" else None
    return str(own or resume["text"])
