"""Training, from a text file to a run folder; the loop reads from top to bottom.

    >>> result = train("corpus.txt", minutes=1)
    >>> result.best, result.val_nats

Wall-clock budgets work like this: the first steps ramp the learning rate, which does not depend
on how many steps there will be; their speed fixes that number once, the plan is saved, and from
then on everything depends on the step alone. So a stopped run is resumed exactly.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch

from textgen.checkpoint import Checkpoint, Plan, ResumeState, make_engine, runs, with_ngrams
from textgen.config import SampleConfig, TrainConfig, TrainOptions
from textgen.errors import Interrupted, counted
from textgen.files import locked
from textgen.nn import TorchStepper, cpu_settings, memory_checked
from textgen.sampling import write_texts
from textgen.training.log import RunLog, ValidationRecord
from textgen.training.optim import scheduled_rate, warmup_rate
from textgen.training.plan import WARMUP, by_seconds
from textgen.training.setup import Setup, resume_setup, start_setup
from textgen.training.validation import Validation

# Seconds between two saves, at most: what a power cut may cost.
SAVE_EVERY = 60.0
# Seconds of a time budget kept back for the end of the process.
EXIT_SECONDS = 0.5
# Of a time budget, what the warm-up may take at most: the plan needs the rest.
WARMUP_SHARE = 1 / 5
# Steps with each number of threads, of which the fastest counts.
THREAD_TRIALS = 4
# Weight of the n-grams where there is no validation part to choose it on.
DEFAULT_NGRAM_WEIGHT = 0.3
# What is written at each validation: the same draws each time, so that the texts compare.
VALIDATION_SAMPLE = SampleConfig(length=160, seed=0)
VALIDATION_RECORDS = SampleConfig(length=160, seed=0, num=8)


@dataclass(frozen=True)
class TrainResult:
    """Where a finished run lies and how good it is on its validation part, if it has one."""

    folder: Path
    best: Path
    steps: int
    val_nats: float | None


def train(
    text: str | Path | Sequence[str | Path] = (),
    config: TrainConfig | None = None,
    *,
    resume: str | Path | None = None,
    verify: bool = False,
    quiet: bool = True,
    stop: Callable[[], int | None] = lambda: None,
    started: float | None = None,
    **options: Unpack[TrainOptions],
) -> TrainResult:
    """Train a model on a text and return where it is.

    Args:
        text: a file, a folder, "-" for standard input, or several of them; with resume it may be
            left out.
        config: how to train; by default TrainConfig().
        resume: the folder of a stopped run, which continues with its own settings; a new budget
            among the options extends it.
        verify: read the text even if it was read before and seems unchanged.
        quiet: show no progress.
        stop: asked after each step; a signal's number ends the run, with its
            state saved unless the warm-up is not over.
        started: the time.monotonic() at which the time budget began; by default now.
        **options: fields of TrainConfig, such as minutes, hidden and out; they override those of
            config.

    Raises:
        UsageError: for options that cannot be used.
        TextError: for a text that cannot be read, or is too short.
        CheckpointError: if there is nothing to resume.
        MachineError: for a lack of memory or disk, or a device that is not there.
        RunInUseError: if another process is training in the folder.
        NumericsError: if the loss or a gradient is no longer finite.
        Interrupted: when `stop` returned a signal.

    >>> train("corpus.txt", minutes=1).val_nats
    """
    started = time.monotonic() if started is None else started
    config = TrainConfig.of(config, **options)
    paths = [text] if isinstance(text, str | Path) else text
    with memory_checked():
        if resume is not None:
            folder = runs.existing_folder(resume)
            with locked(folder):
                setup = resume_setup(folder, paths, config, quiet, verify)
                return Run(setup, folder, quiet, stop, started).finish()
        setup = start_setup(paths, config, quiet, verify)
        folder = runs.new_folder(setup.dataset.corpus.path, config.out)
        try:
            with locked(folder):
                return Run(setup, folder, quiet, stop, started).finish()
        finally:
            runs.discard_if_empty(folder)


class Run:
    """A run in its folder: the loop, and what is measured, said and saved around each step.

    stop: asked after each step; a signal's number ends the run. started: when its budget began.
    """

    def __init__(
        self,
        setup: Setup,
        folder: Path,
        quiet: bool,
        stop: Callable[[], int | None],
        started: float,
    ) -> None:
        self.setup, self.folder, self.stop, self.started = setup, folder, stop, started
        self.trainer, self.tokenizer = setup.trainer, setup.dataset.tokenizer
        self.log = RunLog(folder, quiet)
        self.characters_per_id = setup.dataset.characters_per_id()
        self.held_out = Validation(setup.dataset, setup.ngrams)
        self.progress = setup.progress
        self.training_began = self.saved_at = time.monotonic()

    def finish(self) -> TrainResult:
        """Train to the end of the plan, or raise Interrupted; what is planned is saved."""
        runs.remove_leftovers(self.folder)
        self.log.forget_after(self.trainer.step)
        with cpu_settings(self.setup.threads):
            try:
                self.log.report(self.setup.describe(), self.setup.notes)
                plan = self.setup.plan or self._warm_up(60 * (self.setup.config.minutes or 0))
                self._loop(plan)
            finally:
                self.log.close()
            return self._conclude(plan)

    def _warm_up(self, seconds: float) -> Plan:
        """Take the first steps, time them, and fix the number of threads and the plan."""
        end = self.started + seconds - EXIT_SECONDS
        warm_up_end = self.training_began + WARMUP_SHARE * (end - self.training_began)
        self.log.start(0, None)
        # The first step also makes memory and kernels ready.
        self._timed_step()
        if self.setup.config.threads is None:
            self._choose_threads()
        times = [self._timed_step()]
        while self.trainer.step < WARMUP and time.monotonic() < warm_up_end:
            times.append(self._timed_step())
        self.progress.step_seconds = sum(times) / len(times)
        return by_seconds(
            end - time.monotonic(),
            self.progress.step_seconds,
            self.trainer.step,
            self.trainer.streams.chars_per_step,
            len(self.held_out),
        )

    def _timed_step(self) -> float:
        """Take a step of the warm-up; return its seconds."""
        before = time.monotonic()
        self._update(warmup_rate(self.trainer.step, self.setup.recipe.lr, WARMUP))
        if signal := self.stop():
            problem = "stopped before there was anything to save"
            raise Interrupted(str(self.folder), problem, "start again", signal)
        return time.monotonic() - before

    def _choose_threads(self) -> None:
        """Keep the number of threads that is fastest here: all cores, a half, a quarter, ..., 1.

        Small products gain little from threads, and lose much where other programs hold cores.
        """
        speeds = {}
        threads = self.setup.threads
        while threads >= 1:
            torch.set_num_threads(threads)
            speeds[threads] = min(self._timed_step() for _ in range(THREAD_TRIALS))
            threads //= 2
        self.setup.threads = min(speeds, key=lambda number: speeds[number])
        torch.set_num_threads(self.setup.threads)

    def _loop(self, plan: Plan) -> None:
        self.log.start(self.trainer.step, plan.steps)
        if self.trainer.step < plan.steps:
            self._save(plan)
        while self.trainer.step < plan.steps and not self._out_of_patience():
            peak = self.setup.recipe.lr
            self._update(scheduled_rate(self.trainer.step, peak, plan.warmup, plan.steps))
            if plan.validates_at(self.trainer.step):
                self._validate(plan)
            elif time.monotonic() - self.saved_at > SAVE_EVERY:
                self._save(plan)
            if (signal := self.stop()) and self.trainer.step < plan.steps:
                self._save(plan)
                problem = f"stopped at step {self.trainer.step:,} of {plan.steps:,}, all saved"
                fix = f"resume it with: textgen train --resume {self.folder}"
                raise Interrupted(str(self.folder), problem, fix, signal)

    def _update(self, learning_rate: float) -> None:
        self.progress.train_nats += self.trainer.update(learning_rate)
        self.progress.train_steps += 1
        self.progress.learning_rate = learning_rate
        self.log.step(self._train_nats(), self._speed())

    def _train_nats(self) -> float:
        """Return the network's nats per character since the last validation, under dropout."""
        nats_per_id = self.progress.train_nats / self.progress.train_steps
        return nats_per_id / self.characters_per_id

    def _speed(self) -> float:
        """Characters a second since this process began to train."""
        steps = self.trainer.step - self.setup.first_step
        chars = steps * self.trainer.streams.chars_per_step
        return chars / max(1e-9, time.monotonic() - self.training_began)

    def _validate(self, plan: Plan) -> None:
        """Measure, keep the best, and save; weights, streams and random state stay as they are."""
        network_nats = self.held_out.nats(TorchStepper(self.trainer.model), plan.val_chars)
        nats, self.progress.ngram_weight = self.held_out.mix(network_nats)
        record = self._record(nats, self.held_out.per_character(network_nats))
        best = self.progress.best_nats
        is_best = nats is None or best is None or nats < best
        if is_best:
            self.progress.best_nats, self.progress.validations_without_gain = nats, 0
        else:
            self.progress.validations_without_gain += 1
        self.progress.train_nats, self.progress.train_steps = 0.0, 0
        checkpoint = self._checkpoint({**record.to_json(), "val_chars": plan.val_chars})
        # Logged before it is saved, so that whatever is saved stands in the log.
        self.log.validation(record, self._sample(checkpoint))
        if is_best:
            checkpoint.save(self.folder / runs.BEST)
        self._save(plan)

    def _record(self, nats: float | None, network_nats: float | None) -> ValidationRecord:
        """Return the figures of a validation with those of the training before it."""
        streams, step = self.trainer.streams, self.trainer.step
        return ValidationRecord(
            step=step,
            epoch=round(step / streams.windows, 3),
            seconds=round(self._seconds(), 3),
            chars_seen=step * streams.chars_per_step,
            train_nats=self._train_nats(),
            val_nats=nats,
            network_nats=network_nats,
            ngram_share=self.progress.ngram_weight,
            lr=self.progress.learning_rate,
            grad_norm=self.trainer.grad_norm,
            chars_per_second=round(self._speed(), 1),
        )

    def _sample(self, checkpoint: Checkpoint) -> str:
        config = VALIDATION_SAMPLE if self.tokenizer.boundary_id is None else VALIDATION_RECORDS
        texts = write_texts(make_engine(checkpoint), self.tokenizer, [""], config)
        return "\n".join(text.text for text in texts)

    def _checkpoint(
        self, metrics: Mapping[str, Any], resume: ResumeState | None = None
    ) -> Checkpoint:
        weight = self.progress.ngram_weight
        return Checkpoint(
            self.trainer.model.config,
            self.tokenizer,
            self.trainer.model.export(),
            self.setup.metadata(metrics),
            resume,
            self.setup.ngrams,
            DEFAULT_NGRAM_WEIGHT if weight is None else weight,
        )

    def _save(self, plan: Plan) -> None:
        """Write `last`, with all that `--resume` needs."""
        self.progress.seconds = self._seconds()
        runs.save_last(self.folder, self._checkpoint({}, self.setup.resume_state(plan)))
        self.saved_at = time.monotonic()

    def _seconds(self) -> float:
        """Seconds spent on this run, earlier sittings included."""
        return self.setup.earlier_seconds + time.monotonic() - self.started

    def _out_of_patience(self) -> bool:
        patience = self.setup.config.patience
        return patience is not None and self.progress.validations_without_gain >= patience

    def _conclude(self, plan: Plan) -> TrainResult:
        """Measure `best` once more, on as much as the plan leaves time for, and print the summary.

        The trainer's model then holds the weights of `best`.
        """
        best = self.folder / runs.BEST
        nats = self.progress.best_nats
        if nats is not None and plan.final_chars > plan.val_chars:
            checkpoint = Checkpoint.load(best)
            self.trainer.model.load(checkpoint.weights)
            # The n-grams are those of the run, whose tables are made already.
            ready = dataclasses.replace(checkpoint, ngrams=self.setup.ngrams)
            model = with_ngrams(TorchStepper(self.trainer.model), ready)
            nats = self.held_out.per_character(self.held_out.nats(model, plan.final_chars))
        if self._out_of_patience():
            validations = counted(self.progress.validations_without_gain, "validation")
            self.log.say(f"stopped early: no gain in {validations}")
        self.log.summary(best, nats, self.held_out.characters(plan.final_chars), self._seconds())
        return TrainResult(self.folder, best, self.trainer.step, nats)
