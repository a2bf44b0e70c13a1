"""Everything a run needs before its first step, for a new run and for one that is resumed.

Reads the texts, chooses sizes, builds the trainer.

    >>> setup = start_setup(["corpus.txt"], TrainConfig(steps=100))
    >>> setup.trainer.update(learning_rate=1e-3)
"""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textgen.checkpoint import Checkpoint, Metadata, Plan, Progress, ResumeState, runs
from textgen.config import ModelConfig, TrainConfig, option_name, to_json
from textgen.data import (
    Dataset,
    IdSource,
    RecordStreams,
    Streams,
    TextIdentity,
    available_cores,
    load_dataset,
)
from textgen.engine import usual_weights
from textgen.errors import (
    CheckpointError,
    MachineError,
    TextError,
    TextgenError,
    UsageError,
    counted,
)
from textgen.files import RETRAIN
from textgen.nn import (
    CharRNN,
    can_pack,
    choose_device,
    cpu_settings,
    measure_gflops,
    memory_of,
    multiplies_bfloat16,
)
from textgen.tokenizers import Tokenizer
from textgen.training import sizing
from textgen.training.events import check_events
from textgen.training.partner import Partner, Stretches, choose_stretches, make_partner
from textgen.training.plan import WARMUP, by_seconds, by_steps
from textgen.training.ranks import ALONE, Ranks, resume_command
from textgen.training.sizing import Recipe
from textgen.training.starting import (
    SIZES,
    choose_start,
    english_base,
    load_matching_weights,
    named_start,
    notes_on_overlap,
    settled_by,
    texts_read_by,
)
from textgen.training.trainer import Trainer
from textgen.version import __version__

DEFAULT_MINUTES = 10.0
# Settings that speak of this machine: a shared file leaks none of them.
PATHS = ("out", "val", "test", "init", "glob", "tensorboard")
VERSIONS = {
    "textgen": __version__,
    "torch": torch.__version__,
    "numpy": np.__version__,
    "python": platform.python_version(),
}


@dataclass
class Setup:
    """A run about to start or to be resumed.

    Attributes:
        dataset: what is trained and validated on.
        config: the user's settings, with every size and rate of the recipe filled in.
        recipe: the sizes and rates.
        trainer: makes the updates.
        partner: what the network is mixed with; None for a network alone, and where another process
            has it.
        ranks: the processes that train.
        threads: of the matrix products; a run that begins by the clock may choose fewer.
        notes: sentences for whoever trains.
        mixing: the rows of weights of the mixture, as the last validation fitted them.
        read_before: the texts that the weights it started from had read.
        most_steps: of a plan that fills a time budget.
        plan: None until a run with a time budget has measured its speed.
        progress: how far the run has come.
    """

    dataset: Dataset
    config: TrainConfig
    recipe: Recipe
    trainer: Trainer
    partner: Partner | None
    ranks: Ranks
    threads: int
    notes: list[str] = field(default_factory=list)
    mixing: np.ndarray = field(default_factory=usual_weights)
    read_before: tuple[TextIdentity, ...] = ()
    most_steps: int = sys.maxsize
    plan: Plan | None = None
    progress: Progress = field(default_factory=Progress)

    # Where this process begins: the steps and the seconds of earlier ones, if there were any.
    is_resumed: bool = False
    first_step: int = 0
    earlier_seconds: float = 0.0

    @property
    def warmup(self) -> int:
        """Steps in which the learning rate of a run with a time budget rises."""
        return min(WARMUP, max(1, self.most_steps // 4))

    def batch_that_fits(self) -> str | None:
        """Return what to do where there is not enough memory, as an estimate; None: unknown."""
        memory, vocab = memory_of(self.trainer.device), self.dataset.tokenizer.size
        recipe = replace(self.recipe, batch=self.trainer.streams.batch)
        if self.is_resumed or not memory:
            return None
        batch = sizing.fitting_batch(recipe, vocab, memory)
        return f"use --batch {batch}, which should fit {memory / 2**30:.3g} GiB" if batch else None

    def continue_from(self, state: ResumeState) -> None:
        """Take over the plan and the progress of a run that was stopped."""
        self.plan, self.progress = state.plan, state.progress
        self.is_resumed = True
        self.first_step, self.earlier_seconds = state.step, state.progress.seconds

    def metadata(self, metrics: Mapping[str, Any]) -> Metadata:
        """Return what a checkpoint records, without the paths of this machine."""
        dataset, config = self.dataset, self.config
        own = {part: text.identity() for part, text in dataset.others.items()}
        return Metadata(
            corpus=dataset.corpus.identity(),
            validation=own.get("val"),
            test=own.get("test"),
            shares=None if "val" in own else config.split,
            records=config.records,
            text_format=dataset.corpus.text_format,
            parts=dataset.parts,
            record_counts=dataset.record_counts,
            training={k: v for k, v in to_json(config).items() if k not in PATHS},
            metrics=metrics,
            versions=VERSIONS,
            read_before=self.read_before,
        )

    def resume_state(self, plan: Plan) -> ResumeState:
        """Return all that the run can be resumed from."""
        return ResumeState(
            step=self.trainer.step,
            plan=plan,
            config=self.config,
            threads=self.threads,
            ranks=self.ranks.size,
            texts=tuple(self.dataset.corpus.paths()),
            progress=self.progress,
            tensors=self.trainer.snapshot(),
        )

    def describe(self) -> list[tuple[str, str]]:
        """Return what is about to be trained on what, as (label, value) lines."""
        config, recipe, streams = self.config, self.recipe, self.trainer.streams
        units = "characters" if config.tokenizer == "char" else "units"
        parts = f"{len(streams.ids):,} {units} to train, {len(self.dataset.val):,} to validate"
        budget = counted(config.minutes, "minute") if config.minutes else "by steps"
        if self.plan:
            epochs = self.plan.steps / streams.windows
            budget = f"{counted(self.plan.steps, 'step')} ({epochs:.1f} epochs)"
        threads = counted(self.threads, "thread")
        if self.ranks.size > 1:
            threads = f"{self.ranks.size} processes of {threads} each"
        return [
            *self.dataset.corpus.report(),
            ("split", parts),
            ("model", self.trainer.model.config.describe()),
            (
                "training",
                f"{counted(streams.batch, 'stream')}, windows of {streams.window}, learning rate "
                f"{recipe.lr:.2g}, dropout {recipe.dropout:g}, seed {config.seed}, "
                f"products in {recipe.precision}",
            ),
            ("budget", f"{budget}, {threads}, {self.trainer.device.type}"),
        ]


def start_setup(
    paths: Sequence[str | Path],
    config: TrainConfig,
    quiet: bool = True,
    verify: bool = False,
    ranks: Ranks = ALONE,
) -> Setup:
    """Return the setup of a new run on the texts at paths; every rank makes its own."""
    if not paths:
        raise UsageError("FILE", "no text to train on", "name a text file")
    if config.tensorboard and ranks.leads:
        check_events(Path(config.tensorboard))
    dataset, first = _load_and_choose_start(paths, config, quiet, verify, ranks)
    config = _with_defaults(config, first)
    device = choose_device(config.device, ranks.local_rank)
    _check_precision(config, device)
    threads = config.threads or max(1, available_cores() // ranks.local_size)
    with cpu_settings(threads):
        inputs = _sizing_inputs(config, dataset, device, first is not None, ranks)
        recipe = Recipe(**ranks.agree(asdict(sizing.choose_recipe(config, inputs))))
    model = _make_model(recipe, None if first else config.seed, dataset.tokenizer.size)
    notes = dataset.notes
    if first:
        notes.append(load_matching_weights(model, dataset.tokenizer, first))
        notes += notes_on_overlap(first, dataset)
    read_before = texts_read_by(first) if first else ()
    stretches = _choose_stretches(dataset, recipe, config)
    trainer = _make_trainer(model.to(device), dataset, recipe, config.seed, stretches, ranks)
    notes += _notes_on_streams(trainer, recipe)
    partner = _make_partner(dataset, recipe, stretches, bool(read_before), ranks)
    if partner and len(partner.ngrams.contexts) + len(partner.kept) < len(dataset.train):
        counted_ids = f"{len(partner.ngrams.contexts):,} of {len(dataset.train):,} units"
        notes.append(
            f"n-grams are counted in the last {counted_ids} (--ngram-megabytes), which costs them "
            f"alone about {partner.nats_lost:.3f} nats a unit"
        )
    filled = recipe.fill(config)
    setup = Setup(dataset, filled, recipe, trainer, partner, ranks, threads, notes)
    if partner:
        setup.mixing = partner.usual_WX
    setup.read_before = read_before
    if first:
        setup.most_steps = math.ceil(sizing.BASE_PASSES * trainer.streams.windows)
    if config.minutes is None:
        setup.plan = _plan_by_steps(setup, config, done=0)
    return setup


def _load_and_choose_start(
    paths: Sequence[str | Path], config: TrainConfig, quiet: bool, verify: bool, ranks: Ranks
) -> tuple[Dataset, Checkpoint | None]:
    """Return the texts as ids and what the network starts from, whose units are among them."""
    _refuse_shared_stdin(paths, ranks)
    first = named_start(config)
    initial = first.tokenizer if first else None
    settled = _with_defaults(config, first)
    # Of a machine's processes the first one encodes a large text; the others find it encoded.
    with ranks.one_first(is_first=ranks.local_rank == 0):
        dataset = load_dataset(paths, settled, initial=initial, quiet=quiet, verify=verify)
    if config.init is None:
        note = ""
        if ranks.leads:
            first, note = choose_start(config, dataset)
        if ranks.agree(first is not None):
            first = first or english_base()
        if first:
            dataset = dataset.with_units_of(first.tokenizer, config)
        dataset.notes.append(note)
    return dataset, first


def _refuse_shared_stdin(paths: Sequence[str | Path], ranks: Ranks) -> None:
    """Raise UsageError where several processes would read one standard input."""
    if ranks.size > 1 and "-" in map(str, paths):
        problem = f"standard input cannot be read by {ranks.size} processes"
        raise UsageError("-", problem, "put the text into a file and name that")


def _with_defaults(config: TrainConfig, first: Checkpoint | None) -> TrainConfig:
    """Return config with a budget, whole paths, and what a checkpoint to start from settles."""
    if config.minutes is config.epochs is config.steps is None:
        config = replace(config, minutes=DEFAULT_MINUTES)
    # A run may be resumed from another folder.
    paths = {name: getattr(config, name) for name in ("val", "test", "tensorboard")}
    whole: dict[str, Any] = {
        name: path and str(Path(path).resolve()) for name, path in paths.items()
    }
    config = replace(config, **whole)
    settled: dict[str, Any] = settled_by(first) if first else {}
    return replace(config, **{"tokenizer": config.tokenizer or "char", **settled})


def _check_precision(config: TrainConfig, device: torch.device) -> None:
    """Raise an error for a type of matrix products that the cell or the device does not have."""
    if config.precision == "float16" and device.type != "cuda":
        problem = f"float16 is for CUDA, and this run is on the device {device.type}"
        raise UsageError("--precision", problem, "leave it out")
    if config.precision != "bfloat16":
        return
    if device.type != "cpu":
        problem = f"bfloat16 is for a CPU, and this run is on the device {device.type}"
        raise UsageError("--precision", problem, "leave it out")
    if config.cell not in (None, "gru"):
        problem = f"only a GRU can multiply in bfloat16, not --cell {config.cell}"
        raise UsageError("--precision", problem, "leave it out")
    if not _has_bfloat16(device):
        problem = "this CPU cannot multiply bfloat16 numbers, which takes AVX-512"
        raise MachineError("--precision", problem, "use --precision float32")


def _has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device is a CPU on which products of bfloat16 numbers work well."""
    return device.type == "cpu" and can_pack(torch.bfloat16)


def _sizing_inputs(
    config: TrainConfig, dataset: Dataset, device: torch.device, from_base: bool, ranks: Ranks
) -> sizing.SizingInputs:
    """Return what sizes are chosen from; the speed is measured where the budget is one of time.

    All ranks measure it at once, and rank 0 takes the others to be as fast as itself.
    """
    characters = len(dataset.train)
    inputs = sizing.SizingInputs(
        characters,
        device=device.type,
        bfloat16=multiplies_bfloat16(device) and _has_bfloat16(device),
        vocab=dataset.tokenizer.size,
        mean_record_length=dataset.mean_record_length(),
        from_base=from_base,
    )
    if config.minutes:
        gflops = ranks.size * measure_gflops(device)
        return replace(inputs, seconds=config.minutes * 60, gflops=gflops)
    if config.steps:
        streams, window = config.batch or sizing.CPU_STREAMS, config.window or sizing.USUAL_WINDOW
        return replace(inputs, budget_chars=float(config.steps * streams * window))
    return replace(inputs, budget_chars=(config.epochs or 1) * characters)


def _make_model(recipe: Recipe, seed: int | None, vocab: int) -> CharRNN:
    """Return a model, its weights drawn from the seed; None: to be loaded."""
    sizes = {name: getattr(recipe, name) for name in (*SIZES, "ngrams")}
    return CharRNN(ModelConfig(vocab, **sizes), seed, recipe.dropout, recipe.precision)


def _choose_stretches(dataset: Dataset, recipe: Recipe, config: TrainConfig) -> Stretches | None:
    """Return what is kept from the network at first; None without n-grams to weigh on it."""
    if recipe.ngrams == 1:
        return None
    seconds = config.minutes and 60 * config.minutes
    # An id takes about a byte in the checkpoint.
    most = round(config.ngram_megabytes * 1e6)
    return choose_stretches(dataset.train, dataset.tokenizer, seconds, most)


def _make_partner(
    dataset: Dataset, recipe: Recipe, stretches: Stretches | None, from_base: bool, ranks: Ranks
) -> Partner | None:
    """Return what the network is mixed with; only the rank that measures counts n-grams."""
    if stretches is None or not ranks.leads:
        return None
    partner = make_partner(stretches, dataset.tokenizer, recipe.ngrams - 1)
    return replace(partner, usual_WX=usual_weights(from_base))


def _make_trainer(
    model: CharRNN,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    stretches: Stretches | None,
    ranks: Ranks,
) -> Trainer:
    """Return a trainer on the training part, at first without what is kept from the network."""
    boundary_id = dataset.tokenizer.boundary_id
    early = None
    if stretches and len(stretches.kept):
        early = _make_streams(stretches.rest, boundary_id, recipe, seed)
        recipe = replace(recipe, batch=early.batch, window=early.window)
    streams = _make_streams(dataset.train, boundary_id, recipe, seed)
    ranks.require_rows(streams.batch)
    return Trainer(model, streams, seed, recipe.weight_decay, early, ranks)


def _make_streams(
    ids: IdSource, boundary_id: int | None, recipe: Recipe, seed: int
) -> Streams | RecordStreams:
    """Return windows over ids, of records where there is a boundary."""
    if boundary_id is None:
        return Streams(ids, recipe.batch, recipe.window, seed)
    return RecordStreams(np.asarray(ids), boundary_id, recipe.batch, recipe.window, seed)


def _notes_on_streams(trainer: Trainer, recipe: Recipe) -> list[str]:
    """Return a sentence where a text without records is too short for the recipe's streams."""
    streams = trainer.streams
    used = (streams.batch, streams.window)
    if isinstance(streams, RecordStreams) or used == (recipe.batch, recipe.window):
        return []
    fitting = f"{counted(streams.batch, 'stream')} and windows of {streams.window} characters"
    return [f"the text is short: {fitting} instead of {recipe.batch} and {recipe.window}"]


def _plan_by_steps(setup: Setup, budget: TrainConfig, done: int) -> Plan:
    """Return the plan of a budget in steps or epochs, of which some steps may be done."""
    streams = setup.trainer.streams
    steps = budget.steps or math.ceil((budget.epochs or 1) * streams.windows)
    return by_steps(max(done, steps), streams.chars_per_step, len(setup.dataset.val))


def resume_setup(
    folder: Path,
    paths: Sequence[str | Path],
    wanted: TrainConfig,
    quiet: bool = True,
    verify: bool = False,
    given: Collection[str] = (),
    ranks: Ranks = ALONE,
) -> Setup:
    """Return the setup of the run in folder, exactly as it was when it was saved.

    paths: where its text is now, if it moved. wanted: a new budget or another number of threads,
    which give up that exactness; another folder for TensorBoard, or "" for none. given: the fields
    of it that count even where they are the defaults. ranks: as many as before.
    """
    _refuse_changes(wanted, given)
    # Which may put `previous` in the place of a damaged `last`.
    with ranks.one_first(is_first=ranks.leads):
        checkpoint, state, note = runs.load_last(folder)
    _require_as_many(folder, state, ranks)
    _refuse_shared_stdin(paths or state.texts, ranks)
    notes = [note] if note else []
    device = choose_device(state.config.device, ranks.local_rank)
    config = _with_possible_precision(state.config, device, notes)
    config = _with_possible_events(config, wanted.tensorboard, notes)
    recipe = _saved_recipe(folder, config)
    with ranks.one_first(is_first=ranks.local_rank == 0):
        dataset = _load_again(folder, paths, state, config, checkpoint.tokenizer, quiet, verify)
    _require_same_texts(dataset, checkpoint.metadata)
    model = _make_model(recipe, None, checkpoint.tokenizer.size)
    model.load(checkpoint.weights)
    from_base = bool(checkpoint.metadata.read_before)
    stretches = _choose_stretches(dataset, recipe, config)
    trainer = _make_trainer(model.to(device), dataset, recipe, config.seed, stretches, ranks)
    partner = _make_partner(dataset, recipe, stretches, from_base, ranks)
    _restore(folder, trainer, state)
    threads = wanted.threads or state.threads
    if threads != state.threads:
        notes.append(f"{threads} threads instead of {state.threads}: no longer exact")
    setup = Setup(dataset, config, recipe, trainer, partner, ranks, threads, notes)
    setup.mixing = checkpoint.mixing
    setup.read_before = checkpoint.metadata.read_before
    setup.continue_from(state)
    if ranks.leads:
        _replace_lost_best(folder, checkpoint, setup)
    setup.progress.best_nats = ranks.agree(setup.progress.best_nats)
    _extend(setup, wanted)
    return setup


def _require_as_many(folder: Path, state: ResumeState, ranks: Ranks) -> None:
    """Raise UsageError where a run would be resumed by another number of processes."""
    if state.ranks == ranks.size:
        return
    processes = "1 process" if state.ranks == 1 else f"{state.ranks} processes"
    problem = f"was trained by {processes}, not by {ranks.size}"
    fix = f"start as many: {resume_command(folder, state.ranks)}"
    raise UsageError(str(folder), problem, fix)


def _load_again(
    folder: Path,
    paths: Sequence[str | Path],
    state: ResumeState,
    config: TrainConfig,
    tokenizer: Tokenizer,
    quiet: bool,
    verify: bool,
) -> Dataset:
    """Return the texts of a run that is resumed, from `paths` if they moved."""
    try:
        return load_dataset(paths or state.texts, config, tokenizer, quiet=quiet, verify=verify)
    except UsageError as error:
        if paths:
            raise
        # Nobody has given the options that it speaks of but the file.
        problem = f"its settings are damaged: {error.subject} {error.problem}"
        raise CheckpointError(str(folder), problem, RETRAIN) from None


def _replace_lost_best(folder: Path, checkpoint: Checkpoint, setup: Setup) -> None:
    """Put the weights of `last` in the place of the best ones where these are gone or damaged.

    A figure that no weights are left of would keep later ones from being the best.
    """
    best = folder / runs.BEST
    if setup.progress.best_nats is None and not best.exists():
        return
    try:
        Checkpoint.load(best)
    except CheckpointError as error:
        setup.notes.append(f"{error.subject}: {error.problem}: the best from here on counts")
        setup.progress.best_nats, setup.progress.validations_without_gain = None, 0
        replace(checkpoint, resume=None).save(best)


def _refuse_changes(wanted: TrainConfig, given: Collection[str]) -> None:
    """Raise UsageError for an option that a resumed run cannot take."""
    changeable = ("minutes", "epochs", "steps", "threads", "tensorboard")
    for option in fields(wanted):
        is_wanted = option.name in given or getattr(wanted, option.name) != option.default
        if is_wanted and option.name not in changeable:
            fix = "leave it out, or start a new run with --init"
            raise UsageError(
                option_name(option.name), "cannot be changed when a run is resumed", fix
            )


def _with_possible_precision(
    config: TrainConfig, device: torch.device, notes: list[str]
) -> TrainConfig:
    """Return config with products that the device has; note where exactness ends with that."""
    if config.precision == "float16":
        if device.type == "cuda":
            return config
        notes.append(f"products in float32 on the device {device.type}: no longer exact")
        return replace(config, precision="float32")
    if config.cell != "gru":
        # Older runs noted bfloat16 for cells that never used it.
        return replace(config, precision="float32")
    if config.precision == "bfloat16" and not _has_bfloat16(device):
        name = device.type.upper()
        notes.append(f"products in float32, as this {name} has none in bfloat16: no longer exact")
        return replace(config, precision="float32")
    return config


def _with_possible_events(config: TrainConfig, wanted: str | None, notes: list[str]) -> TrainConfig:
    """Return config with the folder that is wanted for TensorBoard, else the one of before.

    Note where that one cannot be used any more: it keeps no run from being resumed.
    """
    if wanted:
        check_events(Path(wanted))
        return replace(config, tensorboard=str(Path(wanted).resolve()))
    if wanted is not None or not config.tensorboard:
        return replace(config, tensorboard=None)
    try:
        # A run that a stranger made may name any place.
        if not os.path.isdir(config.tensorboard):
            fix = "name it with --tensorboard"
            raise MachineError(config.tensorboard, "that folder is gone", fix)
        check_events(Path(config.tensorboard))
    except TextgenError as error:
        notes.append(f"no curves for TensorBoard: {error}")
        return replace(config, tensorboard=None)
    return config


def _saved_recipe(folder: Path, config: TrainConfig) -> Recipe:
    try:
        return Recipe.of(config)
    except ValueError as error:
        raise CheckpointError(str(folder), f"its settings are damaged: {error}", RETRAIN) from None


def _require_same_texts(dataset: Dataset, metadata: Metadata) -> None:
    """Raise TextError unless the texts are those that a checkpoint records."""
    if metadata.corpus is not None:
        dataset.corpus.require(metadata.corpus)
    for part, text in dataset.others.items():
        recorded = metadata.own_text(part)
        if recorded and recorded.sha256 != text.sha256:
            problem = f"is not the text that --{part} named"
            raise TextError(text.path.name, problem, "put that text there")


def _restore(folder: Path, trainer: Trainer, state: ResumeState) -> None:
    try:
        trainer.restore(state.tensors, state.step)
    except (KeyError, RuntimeError) as error:
        problem = f"its training state does not fit its network ({error})"
        fix = f"start a new run from its weights: --init {folder / runs.BEST}"
        raise CheckpointError(str(folder), problem, fix) from None


def _extend(setup: Setup, wanted: TrainConfig) -> None:
    """Replace the plan when a new budget is given."""
    done = setup.trainer.step
    if wanted.minutes:
        pace = setup.progress.step_seconds or setup.earlier_seconds / max(1, done)
        per_step, available = setup.trainer.streams.chars_per_step, len(setup.dataset.val)
        per_id = setup.partner.seconds_per_id if setup.partner else 0.0
        plan = by_seconds(wanted.minutes * 60, pace, done, per_step, available, per_id)
        setup.plan = Plan(**setup.ranks.agree(asdict(plan)))
    elif wanted.steps or wanted.epochs:
        setup.plan = _plan_by_steps(setup, wanted, done)
    else:
        return
    setup.progress.validations_without_gain = 0
    setup.notes.append(f"a new plan of {counted(setup.plan.steps, 'step')}: no longer exact")
