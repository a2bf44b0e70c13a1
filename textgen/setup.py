"""Everything a run needs before its first step, for a new run and for one that goes on.

In the walk after `trainer`: reads the texts, chooses sizes, builds the trainer.

    >>> setup = start_setup("corpus.txt", TrainConfig(steps=100))
    >>> setup.trainer.update(learning_rate=1e-3)
"""

from __future__ import annotations

import dataclasses
import math
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import textgen
from textgen import corpus, runs, sizing
from textgen.checkpoint import Checkpoint
from textgen.config import ModelConfig, TrainConfig
from textgen.device import (
    available_cores,
    choose_device,
    multiplies_bfloat16,
    probe,
    tuned,
)
from textgen.errors import CheckpointError, TextError, UsageError
from textgen.fields import from_json, option_name, to_json
from textgen.model import CharRNN
from textgen.ngrams import NGrams, longest
from textgen.plan import Plan, by_seconds, by_steps
from textgen.streams import Streams
from textgen.tensorfile import Tensors
from textgen.tokenizer import CharTokenizer, Tokenizer
from textgen.trainer import Trainer

DEFAULT_MINUTES = 10.0
SIZES = ("cell", "layers", "hidden", "embedding")  # of the network


@dataclass
class Setup:
    """A run about to start or go on. `config` has every size and rate filled in."""

    text: corpus.Corpus
    val_text: str
    tokenizer: Tokenizer
    config: TrainConfig
    trainer: Trainer
    ngrams: NGrams | None
    threads: int
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    plan: Plan | None = None
    progress: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.first_step = self.trainer.step
        self.earlier_seconds: float = self.progress.get("seconds", 0.0)

    def public_config(self) -> dict[str, Any]:
        """Return the settings without the paths of this machine."""
        return {k: v for k, v in to_json(self.config).items() if k not in ("out", "val", "init")}

    def describe(self) -> list[tuple[str, str]]:
        """Return what is about to be trained on what, as (label, value) lines."""
        config, streams, sizes = self.config, self.trainer.streams, self.trainer.model.config
        parts = f"{len(streams.ids):,} characters to train, {len(self.val_text):,} to validate"
        budget = f"{config.minutes:g} minutes" if config.minutes else "by steps"
        if self.plan:
            budget = f"{self.plan.steps:,} steps ({self.plan.steps / streams.windows:.1f} epochs)"
        return [
            *self.text.report(),
            ("split", parts),
            ("model", sizes.describe()),
            (
                "training",
                f"{streams.batch} streams, windows of {streams.window}, learning rate "
                f"{config.lr:.2g}, dropout {config.dropout:g}, seed {config.seed}, "
                f"products in {config.precision}",
            ),
            ("budget", f"{budget}, {self.threads} thread(s), {self.trainer.device.type}"),
        ]


def start_setup(path: str | Path | None, config: TrainConfig) -> Setup:
    """Return the setup of a new run on the text at path."""
    if path is None:
        raise UsageError("FILE", "no text to train on", "name a text file")
    if config.minutes is config.epochs is config.steps is None:
        config = dataclasses.replace(config, minutes=DEFAULT_MINUTES)
    if config.val:  # a run that goes on may be started from another folder
        config = dataclasses.replace(config, val=str(Path(config.val).resolve()))
    text = corpus.read(path, need=2)
    val = corpus.read(config.val) if config.val else None
    train_text, val_text, notes = _parts(text, val, config)
    tokenizer = CharTokenizer.from_text(train_text)
    device = choose_device(config.device)
    threads = config.threads or available_cores()
    first = Checkpoint.load(runs.find_checkpoint(config.init)) if config.init else None
    with tuned(threads):
        config = _sizes(config, first, len(train_text), device)
    config = _ngram_length(config, tokenizer.size)
    model = _model(config, tokenizer.size)
    if first:
        notes.append(adopt(model, tokenizer, first))
    trainer, more = _trainer(model.to(device), tokenizer, train_text, config)
    ngrams = None
    if model.config.ngrams > 1:
        ngrams = NGrams.count(trainer.streams.ids, tokenizer.size, model.config.ngrams)
    facts = {
        "corpus": text.identity(),
        "split": None if val else config.split,
        "validation": val.identity() if val else None,
        "versions": {"textgen": textgen.__version__, "torch": torch.__version__}
        | {"numpy": np.__version__, "python": platform.python_version()},
    }
    notes += more
    setup = Setup(text, val_text, tokenizer, config, trainer, ngrams, threads, facts, notes)
    if config.minutes is None:
        per_step = trainer.streams.chars_per_step
        steps = config.steps or math.ceil((config.epochs or 1) * trainer.streams.windows)
        setup.plan = by_steps(steps, per_step, len(val_text))
    return setup


def _parts(
    text: corpus.Corpus, val: corpus.Corpus | None, config: TrainConfig
) -> tuple[str, str, list[str]]:
    """Return the texts to train and to validate on, and what to say of them."""
    if val:
        train_text, val_text = text.text, val.text
    else:
        train_text, val_text = text.part("train", config.split), text.part("val", config.split)
    if len(train_text) < 2:
        problem = f"{len(train_text)} characters are left for training"
        raise TextError(str(text.path), problem, "give a longer text or a larger share")
    notes = []
    if not val_text:
        notes.append("no validation part: the last weights count as the best")
    unknown = len(set(val_text) - set(train_text))
    if unknown:
        notes.append(f"{unknown} characters of the validation part are not in the training part")
    return train_text, val_text, notes


def _sizes(
    config: TrainConfig, first: Checkpoint | None, characters: int, device: torch.device
) -> TrainConfig:
    """Return config with sizes from the checkpoint to start from, then from sizing."""
    if first:
        sizes = {name: getattr(first.model, name) for name in SIZES}
        for name, value in sizes.items():
            if getattr(config, name) not in (None, value):
                problem = f"differs from the {value} of --init {config.init}"
                raise UsageError(f"--{name}", problem, "leave it out")
        config = dataclasses.replace(config, **sizes)
    seconds = config.minutes * 60 if config.minutes else None
    budget = None
    if config.epochs:
        budget = config.epochs * characters
    elif config.steps:
        budget = config.steps * float((config.batch or 16) * (config.window or 64))
    speed = probe(device) if seconds else 0.0
    reduced = multiplies_bfloat16(device)
    facts = sizing.Facts(characters, seconds, budget, device.type, speed, reduced)
    return sizing.fill(config, facts)


def _ngram_length(config: TrainConfig, vocab: int) -> TrainConfig:
    """Return config with n-grams no longer than can be counted with so many characters."""
    assert config.ngrams
    return dataclasses.replace(config, ngrams=min(config.ngrams, longest(vocab)))


def _model(config: TrainConfig, vocab: int) -> CharRNN:
    """Return a freshly initialised model of the filled config."""
    sizes = ModelConfig(vocab, **{name: getattr(config, name) for name in (*SIZES, "ngrams")})
    model = CharRNN(sizes, config.seed, config.dropout or 0.0)
    for layer in model.layers:
        layer.reduced = config.precision == "bfloat16"  # type: ignore[assignment]
    return model


def _trainer(
    model: CharRNN, tokenizer: Tokenizer, text: str, config: TrainConfig
) -> tuple[Trainer, list[str]]:
    assert config.batch and config.window and config.weight_decay is not None
    streams = Streams(tokenizer.encode(text), config.batch, config.window, config.seed)
    notes = []
    if (streams.batch, streams.window) != (config.batch, config.window):
        used = f"{streams.batch} stream(s) and windows of {streams.window} characters"
        notes.append(f"the text is short: {used} instead of {config.batch} and {config.window}")
    return Trainer(model, streams, config.seed, config.weight_decay), notes


def adopt(model: CharRNN, tokenizer: CharTokenizer, first: Checkpoint) -> str:
    """Take over a checkpoint's weights, rows of characters by character; say what was kept."""
    weights = model.export()
    ours = {symbol: i for i, symbol in enumerate(tokenizer.symbols()) if symbol}
    theirs = {symbol: i for i, symbol in enumerate(first.tokenizer.symbols()) if symbol}
    shared = sorted(ours.keys() & theirs.keys())
    here, there = [0, *(ours[c] for c in shared)], [0, *(theirs[c] for c in shared)]
    for name, array in first.weights.items():
        if name in ("embedding.weight", "head.weight", "head.bias"):
            weights[name][here] = array[there]
        else:
            weights[name] = array
    model.load(weights)
    new, gone = len(ours) - len(shared), len(theirs) - len(shared)
    return f"starting weights: {len(shared)} characters kept, {new} new, {gone} dropped"


def resume_setup(folder: Path, path: str | Path | None, wanted: TrainConfig) -> Setup:
    """Return the setup of the run in folder, exactly as it was when it was saved."""
    _refuse_changes(wanted)
    checkpoint, note = runs.load_last(folder)
    facts = dict(checkpoint.facts)
    saved = facts.pop("resume")
    config = from_json(TrainConfig, saved["config"])
    text = corpus.read(path or saved["text"], need=2)
    text.require(facts["corpus"])
    val = corpus.read(config.val) if config.val else None
    if val:
        val.require(facts["validation"])
    train_text, val_text, _ = _parts(text, val, config)
    device = choose_device(config.device)
    model = _model(config, checkpoint.tokenizer.size)
    model.load(checkpoint.weights)
    trainer, _ = _trainer(model.to(device), checkpoint.tokenizer, train_text, config)
    _restore(folder, trainer, checkpoint.resume, saved["step"])
    notes = [note] if note else []
    threads = wanted.threads or saved["threads"]
    if threads != saved["threads"]:
        notes.append(f"{threads} threads instead of {saved['threads']}: no longer exact")
    setup = Setup(
        text=text,
        val_text=val_text,
        tokenizer=checkpoint.tokenizer,
        config=config,
        trainer=trainer,
        ngrams=checkpoint.ngrams,
        threads=threads,
        facts=facts,
        notes=notes,
        plan=Plan(**saved["plan"]),
        progress=saved["progress"],
    )
    _extend(setup, wanted)
    return setup


def _refuse_changes(wanted: TrainConfig) -> None:
    """Raise UsageError for an option that a run which goes on cannot take."""
    changeable = ("minutes", "epochs", "steps", "threads")
    for one in dataclasses.fields(wanted):
        if one.name not in changeable and getattr(wanted, one.name) != one.default:
            fix = "leave it out, or start a new run with --init"
            raise UsageError(option_name(one.name), "is settled for a run that goes on", fix)


def _extend(setup: Setup, wanted: TrainConfig) -> None:
    """Replace the plan when a new budget is given."""
    per_step, available = setup.trainer.streams.chars_per_step, len(setup.val_text)
    done = setup.trainer.step
    if wanted.minutes:
        pace = setup.progress.get("step_seconds", setup.earlier_seconds / max(1, done))
        setup.plan = by_seconds(wanted.minutes * 60, pace, done, per_step, available)
    elif wanted.steps or wanted.epochs:
        steps = wanted.steps or math.ceil((wanted.epochs or 1) * setup.trainer.streams.windows)
        setup.plan = by_steps(max(done, steps), per_step, available)
    else:
        return
    setup.progress["stale"] = 0
    setup.notes.append(f"a new plan of {setup.plan.steps:,} steps: no longer exact")


def _restore(folder: Path, trainer: Trainer, tensors: Tensors, step: int) -> None:
    try:
        trainer.restore(tensors, step)
    except (KeyError, RuntimeError) as error:
        problem = f"its training state does not fit its network ({error})"
        fix = f"start a new run from its weights: --init {folder / runs.BEST}"
        raise CheckpointError(str(folder), problem, fix) from None
