"""Everything a run needs before its first step, for a new run and for one that goes on.

Reads the texts, chooses sizes, builds the trainer.

    >>> setup = start_setup("corpus.txt", TrainConfig(steps=100))
    >>> setup.trainer.update(learning_rate=1e-3)
"""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textgen.checkpoint import Checkpoint, runs
from textgen.config import ModelConfig, TrainConfig, from_json, option_name, to_json
from textgen.data import SEPARATE_PARTS, Dataset, RecordStreams, Streams, load_dataset
from textgen.engine import NGrams, longest_order
from textgen.errors import CheckpointError, MachineError, UsageError, counted
from textgen.files import Tensors
from textgen.nn import (
    CharRNN,
    available_cores,
    can_pack,
    choose_device,
    cpu_settings,
    measure_gflops,
    multiplies_bfloat16,
)
from textgen.tokenizers import Tokenizer
from textgen.training import sizing
from textgen.training.plan import Plan, by_seconds, by_steps
from textgen.training.trainer import Trainer
from textgen.version import __version__

DEFAULT_MINUTES = 10.0
PATHS = ("out", "val", "test", "init", "glob")  # settings that speak of this machine
SIZES = ("cell", "layers", "hidden", "embedding")  # of the network


@dataclass
class Setup:
    """A run about to start or go on. `config` has every size and rate filled in."""

    material: Dataset
    config: TrainConfig
    trainer: Trainer
    ngrams: NGrams | None
    threads: int
    notes: list[str] = field(default_factory=list)
    plan: Plan | None = None
    progress: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.first_step = self.trainer.step
        self.earlier_seconds: float = self.progress.get("seconds", 0.0)

    def public_config(self) -> dict[str, Any]:
        """Return the settings without the paths of this machine."""
        return {k: v for k, v in to_json(self.config).items() if k not in PATHS}

    def describe(self) -> list[tuple[str, str]]:
        """Return what is about to be trained on what, as (label, value) lines."""
        config, streams, sizes = self.config, self.trainer.streams, self.trainer.model.config
        units = "characters" if self.config.tokenizer == "char" else "units"
        parts = f"{len(streams.ids):,} {units} to train, {len(self.material.val):,} to validate"
        budget = counted(config.minutes, "minute") if config.minutes else "by steps"
        if self.plan:
            epochs = self.plan.steps / streams.windows
            budget = f"{counted(self.plan.steps, 'step')} ({epochs:.1f} epochs)"
        threads = counted(self.threads, "thread")
        return [
            *self.material.corpus.report(),
            ("split", parts),
            ("model", sizes.describe()),
            (
                "training",
                f"{counted(streams.batch, 'stream')}, windows of {streams.window}, learning rate "
                f"{config.lr:.2g}, dropout {config.dropout:g}, seed {config.seed}, "
                f"products in {config.precision}",
            ),
            ("budget", f"{budget}, {threads}, {self.trainer.device.type}"),
        ]


def start_setup(
    paths: Sequence[str | Path], config: TrainConfig, quiet: bool = True, verify: bool = False
) -> Setup:
    """Return the setup of a new run on the texts at paths."""
    if not paths:
        raise UsageError("FILE", "no text to train on", "name a text file")
    if config.minutes is config.epochs is config.steps is None:
        config = dataclasses.replace(config, minutes=DEFAULT_MINUTES)
    first = Checkpoint.load(runs.find_checkpoint(config.init)) if config.init else None
    for name in SEPARATE_PARTS:  # a run that goes on may be started from another folder
        if path := getattr(config, name):
            config = dataclasses.replace(config, **{name: str(Path(path).resolve())})  # type: ignore[arg-type]
    config = _units(config, first)
    units = first.tokenizer if first else None
    material = load_dataset(paths, config, first=units, quiet=quiet, verify=verify)
    device = choose_device(config.device)
    if config.precision == "bfloat16" and not _has_bfloat16(device):
        problem = "this CPU has no products of bfloat16 numbers, which take AVX-512"
        raise MachineError("--precision", problem, "use --precision float32")
    threads = config.threads or available_cores()
    with cpu_settings(threads):
        config = _sizes(config, first, material, device)
    vocab = material.tokenizer.size
    config = _ngram_length(config, vocab)
    model = _model(config, vocab)
    if first:
        material.notes.append(load_matching_weights(model, material.tokenizer, first))
    trainer, notes = _trainer(model.to(device), material, config)
    ngrams = None
    if model.config.ngrams > 1:
        ngrams = NGrams.count(material.train, vocab, model.config.ngrams)
    material.facts["versions"] = {
        "textgen": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    setup = Setup(material, config, trainer, ngrams, threads, material.notes + notes)
    if config.minutes is None:
        per_step = trainer.streams.chars_per_step
        steps = config.steps or math.ceil((config.epochs or 1) * trainer.streams.windows)
        setup.plan = by_steps(steps, per_step, len(material.val))
    return setup


def _units(config: TrainConfig, first: Checkpoint | None) -> TrainConfig:
    """Return config with the kind of tokenizer: that of the checkpoint to start from, else char."""
    kind = "char"
    if first:
        kind = getattr(first.tokenizer, "model_type", first.tokenizer.kind)
        if config.tokenizer not in (None, kind):
            problem = f"differs from the {kind} of --init {config.init}"
            raise UsageError("--tokenizer", problem, "leave it out")
    return dataclasses.replace(config, tokenizer=config.tokenizer or kind)


def _has_bfloat16(device: torch.device) -> bool:
    """Tell whether products of bfloat16 numbers work well on a device; only a CPU may lack them."""
    return device.type != "cpu" or can_pack(torch.bfloat16)


def _sizes(
    config: TrainConfig, first: Checkpoint | None, material: Dataset, device: torch.device
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
    budget, characters = None, len(material.train)
    if config.epochs:
        budget = config.epochs * characters
    elif config.steps:
        budget = config.steps * float((config.batch or 16) * (config.window or 64))
    speed = measure_gflops(device) if seconds else 0.0
    reduced = multiplies_bfloat16(device) and _has_bfloat16(device)
    vocab, lengths = material.tokenizer.size, material.item_length()
    facts = sizing.SizingInputs(
        characters, seconds, budget, device.type, speed, reduced, vocab, lengths
    )
    return sizing.choose_defaults(config, facts)


def _ngram_length(config: TrainConfig, vocab: int) -> TrainConfig:
    """Return config with n-grams no longer than can be counted with so many characters."""
    assert config.ngrams
    return dataclasses.replace(config, ngrams=min(config.ngrams, longest_order(vocab)))


def _model(config: TrainConfig, vocab: int) -> CharRNN:
    """Return a freshly initialised model of the filled config."""
    sizes = ModelConfig(vocab, **{name: getattr(config, name) for name in (*SIZES, "ngrams")})
    use_bfloat16 = config.precision == "bfloat16"
    return CharRNN(sizes, config.seed, config.dropout or 0.0, use_bfloat16)


def _trainer(model: CharRNN, material: Dataset, config: TrainConfig) -> tuple[Trainer, list[str]]:
    assert config.batch and config.window and config.weight_decay is not None
    sizes = config.batch, config.window, config.seed
    if (mark := material.tokenizer.boundary_id) is not None:
        items = RecordStreams(np.asarray(material.train), mark, *sizes)
        return Trainer(model, items, config.seed, config.weight_decay), []
    streams, notes = Streams(material.train, *sizes), []
    if (streams.batch, streams.window) != (config.batch, config.window):
        used = f"{counted(streams.batch, 'stream')} and windows of {streams.window} characters"
        notes.append(f"the text is short: {used} instead of {config.batch} and {config.window}")
    return Trainer(model, streams, config.seed, config.weight_decay), notes


def load_matching_weights(model: CharRNN, tokenizer: Tokenizer, first: Checkpoint) -> str:
    """Take over a checkpoint's weights, rows by what they stand for; say what was kept.

    tokenizer has a unit for all that the checkpoint's has, so no row is lost.
    """
    weights = model.export()
    rows = list(range(first.tokenizer.size))  # of bytes and pieces, which are the same
    if tokenizer.kind == "char":
        ours = {symbol: i for i, symbol in enumerate(tokenizer.symbols())}
        rows = [ours[symbol] for symbol in first.tokenizer.symbols()]
    for name, array in first.weights.items():
        if name in ("embedding.weight", "head.weight", "head.bias"):
            weights[name][rows] = array
        else:
            weights[name] = array
    model.load(weights)
    known = [row for row, one in zip(rows, first.tokenizer.symbols(), strict=True) if one]
    kept = int((tokenizer.counts[known] > 0).sum())
    unused, added = len(known) - kept, tokenizer.size - len(rows)
    words = "characters" if tokenizer.kind == "char" else "units"
    return f"starting weights: {kept} {words} kept, {added} added, {unused} unused in this text"


def resume_setup(
    folder: Path,
    paths: Sequence[str | Path],
    wanted: TrainConfig,
    quiet: bool = True,
    verify: bool = False,
) -> Setup:
    """Return the setup of the run in folder, exactly as it was when it was saved."""
    _refuse_changes(wanted)
    checkpoint, note = runs.load_last(folder)
    saved = checkpoint.facts["resume"]
    config = from_json(TrainConfig, saved["config"])
    places = paths or runs.texts_of(saved)
    material = load_dataset(places, config, checkpoint.tokenizer, quiet=quiet, verify=verify)
    material.require(checkpoint.facts)
    device = choose_device(config.device)
    notes = [note] if note else []
    if config.precision == "bfloat16" and not _has_bfloat16(device):
        config = dataclasses.replace(config, precision="float32")
        notes.append("products in float32, as this CPU has none in bfloat16: no longer exact")
    model = _model(config, checkpoint.tokenizer.size)
    model.load(checkpoint.weights)
    trainer, _ = _trainer(model.to(device), material, config)
    _restore(folder, trainer, checkpoint.resume, saved["step"])
    threads = wanted.threads or saved["threads"]
    if threads != saved["threads"]:
        notes.append(f"{threads} threads instead of {saved['threads']}: no longer exact")
    setup = Setup(
        material=material,
        config=config,
        trainer=trainer,
        ngrams=checkpoint.ngrams,
        threads=threads,
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
    per_step, available = setup.trainer.streams.chars_per_step, len(setup.material.val)
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
