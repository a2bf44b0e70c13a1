"""Training, from a text file to a run folder; the loop reads from top to bottom.

    >>> result = train("corpus.txt", minutes=1)
    >>> result.best, result.val_nats

Wall-clock budgets work like this: the first steps ramp the learning rate, which does not depend
on how many steps there will be; their speed fixes that number once, the plan is saved, and from
then on everything depends on the step alone. So a stopped run goes on exactly.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch

from textgen.checkpoint import Checkpoint, make_engine, runs, with_ngrams
from textgen.config import SampleConfig, TrainConfig, TrainOptions, to_json
from textgen.errors import Interrupted, counted
from textgen.files import locked
from textgen.nn import TorchStepper, cpu_settings, memory_checked
from textgen.sampling import write_texts
from textgen.training.log import BITS, RunLog
from textgen.training.optim import scheduled_rate
from textgen.training.plan import WARMUP, Plan, by_seconds
from textgen.training.setup import Setup, resume_setup, start_setup
from textgen.training.validation import Validation

SAVE_EVERY = 60.0  # seconds between saves, at most
EXIT_SECONDS = 0.5  # kept back of a time budget for the end of the process
THREAD_TRIALS = 4  # steps with each number of threads
DEFAULT_NGRAM_WEIGHT = 0.3  # of the n-grams where there is no validation part to choose it on
VALIDATION_SAMPLE = SampleConfig(length=160, seed=0)  # what is written at each validation
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
        stop: asked after each step; a signal's number ends the run, with its state saved.
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
        folder = runs.new_folder(setup.material.corpus.path, config.out)
        try:
            with locked(folder):
                return Run(setup, folder, quiet, stop, started).finish()
        finally:
            runs.discard_if_empty(folder)


class Run:
    """A run in its folder: the loop, and what is measured, said and saved around each step."""

    def __init__(
        self,
        setup: Setup,
        folder: Path,
        quiet: bool,
        stop: Callable[[], int | None],
        started: float,
    ) -> None:
        self.setup, self.folder, self.stop, self.started = setup, folder, stop, started
        self.trainer, self.tokenizer = setup.trainer, setup.material.tokenizer
        self.log = RunLog(folder, quiet)
        self.held = Validation(setup.material, setup.ngrams)
        self.progress = setup.progress
        self.begun = self.saved = time.monotonic()

    def finish(self) -> TrainResult:
        """Train to the end of the plan, or raise Interrupted with the state saved."""
        runs.remove_leftovers(self.folder)
        self.log.forget_after(self.trainer.step)
        with cpu_settings(self.setup.threads):
            try:
                self.log.report(self.setup.describe(), self.setup.notes)
                plan = self.setup.plan or self._ramp()
                self._loop(plan)
            finally:
                self.log.close()
            return self._conclude(plan)

    def _ramp(self) -> Plan:
        """Take the first steps, time them, and fix the number of threads and the plan."""
        assert self.setup.config.minutes
        end = self.started + 60 * self.setup.config.minutes - EXIT_SECONDS
        self.log.start(0, None)
        fifth = (end - self.begun) / 5
        self._timed_step()  # the first one also makes memory and kernels ready
        if self.setup.config.threads is None:
            self._choose_threads()
        times = [self._timed_step()]
        while self.trainer.step < WARMUP and time.monotonic() - self.begun < fifth:
            times.append(self._timed_step())
        self.progress["step_seconds"] = sum(times) / len(times)
        return by_seconds(
            end - time.monotonic(),
            self.progress["step_seconds"],
            self.trainer.step,
            self.trainer.streams.chars_per_step,
            len(self.held),
        )

    def _timed_step(self) -> float:
        """Take a step of the warm-up; return its seconds."""
        before = time.monotonic()
        self._update(WARMUP, None)
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
            self._update(plan.warmup, plan.steps)
            if plan.validates_at(self.trainer.step):
                self._validate(plan)
            elif time.monotonic() - self.saved > SAVE_EVERY:
                self._save(plan)
            if (signal := self.stop()) and self.trainer.step < plan.steps:
                self._save(plan)
                problem = f"stopped at step {self.trainer.step:,} of {plan.steps:,}, all saved"
                fix = f"go on with: textgen train --resume {self.folder}"
                raise Interrupted(str(self.folder), problem, fix, signal)

    def _update(self, warmup: int, steps: int | None) -> None:
        assert self.setup.config.lr
        rate = scheduled_rate(self.trainer.step, self.setup.config.lr, warmup, steps)
        nats = self.trainer.update(rate)
        total, count = self.progress.get("train", (0.0, 0))
        self.progress["train"] = (total + nats, count + 1)
        self.progress["lr"] = rate
        self.log.step((total + nats) / (count + 1), self._speed())

    def _speed(self) -> float:
        """Characters a second since this process began to train."""
        steps = self.trainer.step - self.setup.first_step
        chars = steps * self.trainer.streams.chars_per_step
        return chars / max(1e-9, time.monotonic() - self.begun)

    def _validate(self, plan: Plan) -> None:
        """Measure, keep the best, and save; weights, streams and random state stay as they are."""
        total, count = self.progress.pop("train")
        costs = self.held.costs(TorchStepper(self.trainer.model), plan.val_chars)
        nats, self.progress["share"] = self.held.mixed(costs)
        best = self.progress.get("best")
        is_best = nats is None or best is None or nats < best
        self.progress["best"] = nats if is_best else best
        self.progress["stale"] = 0 if is_best else self.progress.get("stale", 0) + 1
        record = {
            "step": self.trainer.step,
            "epoch": round(self.trainer.step / self.trainer.streams.windows, 3),
            "seconds": round(self._seconds(), 3),
            "chars_seen": self.trainer.step * self.trainer.streams.chars_per_step,
            "train_nats": total / count / self.setup.material.characters_per_id(),
            "val_nats": nats,
            "val_bits": nats * BITS if nats is not None else None,
            "network_nats": self.held.per_character(costs),
            "ngram_share": self.progress["share"],
            "lr": self.progress["lr"],
            "grad_norm": self.trainer.grad_norm,
            "chars_per_second": round(self._speed(), 1),
        }
        checkpoint = self._checkpoint({**record, "val_chars": plan.val_chars})
        self.log.validation(record, self._sample(checkpoint))  # first: what is saved is logged
        if is_best:
            checkpoint.save(self.folder / runs.BEST)
        self._save(plan)

    def _sample(self, checkpoint: Checkpoint) -> str:
        engine = make_engine(checkpoint)
        config = VALIDATION_SAMPLE if self.tokenizer.boundary_id is None else VALIDATION_RECORDS
        texts = write_texts(engine, self.tokenizer, [""], config)
        return "\n".join(one.text for one in texts)

    def _checkpoint(self, record: dict[str, Any]) -> Checkpoint:
        facts = {
            **self.setup.material.facts,
            "training": self.setup.public_config(),
            "metrics": record,
        }
        share = self.progress.get("share")
        return Checkpoint(
            self.trainer.model.config,
            self.tokenizer,
            self.trainer.model.export(),
            facts,
            ngrams=self.setup.ngrams,
            share=DEFAULT_NGRAM_WEIGHT if share is None else share,
        )

    def _save(self, plan: Plan) -> None:
        """Write `last`, with all that `--resume` needs."""
        self.progress["seconds"] = self._seconds()
        resume = {
            "step": self.trainer.step,
            "plan": dataclasses.asdict(plan),
            "config": to_json(self.setup.config),
            "threads": self.setup.threads,
            "texts": self.setup.material.corpus.paths(),
            "progress": self.progress,
        }
        checkpoint = self._checkpoint({})
        checkpoint.facts["resume"] = resume
        checkpoint.resume.update(self.trainer.snapshot())
        runs.save_last(self.folder, checkpoint)
        self.saved = time.monotonic()

    def _seconds(self) -> float:
        """Seconds spent on this run, earlier sittings included."""
        return self.setup.earlier_seconds + time.monotonic() - self.started

    def _out_of_patience(self) -> bool:
        patience = self.setup.config.patience
        return patience is not None and self.progress.get("stale", 0) >= patience

    def _conclude(self, plan: Plan) -> TrainResult:
        """Measure `best` on the whole validation part and say where everything is."""
        best = self.folder / runs.BEST
        nats = self.progress.get("best")
        if nats is not None and plan.final_chars > plan.val_chars:
            checkpoint = Checkpoint.load(best)
            self.trainer.model.load(checkpoint.weights)
            ready = dataclasses.replace(checkpoint, ngrams=self.setup.ngrams)  # the same ones
            model = with_ngrams(TorchStepper(self.trainer.model), ready)
            nats = self.held.per_character(self.held.costs(model, plan.final_chars))
        if self._out_of_patience():
            validations = counted(self.progress["stale"], "validation")
            self.log.say(f"stopped early: no gain in {validations}")
        self.log.summary(best, nats, plan.final_chars, self._seconds())
        return TrainResult(self.folder, best, self.trainer.step, nats)
