"""Training, from a text file to a run folder; the loop reads from top to bottom.

    >>> result = train("corpus.txt", minutes=1)
    >>> result.best, result.val_nats

Wall-clock budgets work like this: the first steps ramp the learning rate, which does not depend
on how many steps there will be; their speed fixes that number once, the plan is saved, and from
then on everything depends on the step alone. So a stopped run is resumed exactly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import torch

from textgen.checkpoint import Checkpoint, Plan, ResumeState, runs, stepper_of
from textgen.config import SampleConfig, TrainConfig, TrainOptions
from textgen.errors import Interrupted, MachineError, counted, reason_of
from textgen.files import locked
from textgen.nn import TorchStepper, cpu_settings, memory_checked
from textgen.sampling import write_texts
from textgen.training.events import EventLog
from textgen.training.log import RunLog, ValidationRecord
from textgen.training.optim import scheduled_rate, warmup_rate
from textgen.training.partner import MOST_KEPT_IDS, QUICK_IDS
from textgen.training.plan import by_seconds
from textgen.training.ranks import Ranks, Wish, job_name, joined_ranks, resume_command
from textgen.training.setup import Setup, resume_setup, start_setup
from textgen.training.validation import Validation

# Seconds between two saves, at most: what a power cut may cost.
SAVE_EVERY = 60.0
# Seconds of a time budget kept back for the end of the process.
EXIT_SECONDS = 0.5
# Of a time budget, by how much a plan may be late before it is shortened.
SLACK = 0.03
# Of a time budget, what the warm-up may take at most: the plan needs the rest.
WARMUP_SHARE = 1 / 5
# Steps with each number of threads, of which the fastest counts.
THREAD_TRIALS = 4
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

    Where torchrun has started several processes they train it together: each calls this, and all
    return or raise the same.

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
    with joined_ranks() as ranks, memory_checked(), _disk_checked():
        quiet = quiet or not ranks.leads
        stopped = ranks.agree(_folder_before_restart(paths, config))
        if stopped is not None:
            # The budget stands in its plan.
            resume, config, options = stopped, TrainConfig(), {}
        if resume is not None:
            folder = runs.resumable_folder(resume)
            with _locked(folder, ranks):
                setup = resume_setup(folder, paths, config, quiet, verify, options, ranks)
                return Run(setup, folder, quiet, stop, started).finish()
        setup = start_setup(paths, config, quiet, verify, ranks)
        folder = Path(ranks.agree(_new_folder(setup, ranks)))
        with _locked(folder, ranks):
            try:
                return Run(setup, folder, quiet, stop, started).finish()
            finally:
                if ranks.leads:
                    runs.discard_if_empty(folder)


def _new_folder(setup: Setup, ranks: Ranks) -> str | None:
    """Return the folder of a new run, which rank 0 makes."""
    if not ranks.leads:
        return None
    return str(runs.new_folder(setup.dataset.corpus.path, setup.config.out))


def _folder_before_restart(paths: Sequence[str | Path], config: TrainConfig) -> str | None:
    """Return the run that these processes trained before torchrun restarted them, if any."""
    job = job_name()
    if job is None or not paths:
        return None
    folder = runs.folder_of_job(Path(paths[0]), config.out, job)
    return str(folder) if folder else None


@contextlib.contextmanager
def _locked(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Hold the folder's lock for all ranks, inside a `with`."""
    if not ranks.leads:
        yield
        return
    with locked(folder):
        if job := job_name():
            runs.note_job(folder, job)
        yield


@contextlib.contextmanager
def _disk_checked() -> Iterator[None]:
    """Raise MachineError inside a `with` for what the disk refuses where nobody expects it."""
    try:
        yield
    # Of standard output: its reader has left.
    except BrokenPipeError:
        raise
    except OSError as error:
        fix = "check it; a run that saved something can be resumed"
        raise MachineError(str(error.filename or "disk"), reason_of(error), fix) from error


class Validated(NamedTuple):
    """When a validation was over, after which step, and how many seconds it took."""

    ended: float
    step: int
    took: float


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
        self.ranks = setup.ranks
        self.log = RunLog(folder, quiet, self._event_log())
        self.characters_per_id = setup.dataset.characters_per_id()
        self.partner = setup.partner
        self.held_out = Validation(setup.dataset, setup.partner)
        self.progress = setup.progress
        # Of the mixture, as the last validation fitted them.
        self.mixing = setup.mixing
        self.training_began = self.saved_at = time.monotonic()
        # When a time budget is over that began with this process.
        self.deadline = math.inf
        if setup.plan is None:
            self.deadline = started + 60 * (setup.config.minutes or 0) - EXIT_SECONDS
        # The last validation: when it was over, after which step, and how long it took.
        self.validated = Validated(time.monotonic(), self.trainer.step, 0.0)

    def finish(self) -> TrainResult:
        """Train to the end of the plan, or raise Interrupted; what is planned is saved."""
        with memory_checked(self.setup.batch_that_fits), cpu_settings(self.setup.threads):
            try:
                if self.ranks.leads:
                    runs.remove_leftovers(self.folder)
                    self.log.forget_after(self.trainer.step)
                self.log.report(self.setup.describe(), self.setup.notes)
                plan = self._loop(self.setup.plan or self._warm_up())
            finally:
                self.log.close()
            return self._result(plan)

    def _event_log(self) -> EventLog | None:
        """Return what writes the figures for TensorBoard, if that is wanted."""
        parent = self.setup.config.tensorboard
        if not parent or not self.ranks.leads:
            return None
        resumed_at = self.trainer.step if self.setup.is_resumed else None
        return EventLog(Path(parent), self.folder.resolve().name, resumed_at)

    def _warm_up(self) -> Plan:
        """Take the first steps, time them, and fix the number of threads and the plan."""
        end = self.deadline
        warm_up_end = self.training_began + WARMUP_SHARE * (end - self.training_began)
        self.log.start(0, None)
        # The first step also makes memory and kernels ready.
        self._timed_step()
        # Processes share the cores of a machine among them.
        on_cpu = self.trainer.device.type == "cpu"
        if self.setup.config.threads is None and self.ranks.size == 1 and on_cpu:
            self._choose_threads()
        times = [self._timed_step(warm_up_end)]
        while self.trainer.step < self.setup.warmup and not self.trainer.wish.is_due:
            times.append(self._timed_step(warm_up_end))
        self.progress.step_seconds = sum(times) / len(times)
        plan = by_seconds(
            end - time.monotonic(),
            self.progress.step_seconds,
            self.trainer.step,
            self.trainer.streams.chars_per_step,
            len(self.held_out),
            self.partner.seconds_per_id if self.partner else 0.0,
            self._weighing_seconds(),
            self.setup.warmup,
            self.setup.most_steps,
        )
        return Plan(**self.ranks.agree(dataclasses.asdict(plan)))

    def _timed_step(self, end: float = math.inf) -> float:
        """Take a step of the warm-up, which is due to be over at `end`; return its seconds."""
        before = time.monotonic()
        rate = warmup_rate(self.trainer.step, self.setup.recipe.lr, self.setup.warmup)
        self._update(rate, lambda: Wish(self.stop() or 0, time.monotonic() >= end))
        self._count(self.trainer.finish())
        if signal := self.trainer.wish.signal:
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

    def _weighing_seconds(self) -> float:
        """Return how long the mixture is weighed at the end, about."""
        if self.partner is None or self._is_weighed():
            return 0.0
        return len(self.partner.kept) * self.partner.seconds_per_id + 1

    def _is_weighed(self) -> bool:
        """Tell whether the mixture is weighed for good, and the network reads all."""
        return self.trainer.step > self.trainer.early_steps

    def _loop(self, plan: Plan) -> Plan:
        """Train to the end of the plan; return it, shortened if the machine became slow."""
        self.log.start(self.trainer.step, plan.steps)
        if self.trainer.early:
            self.trainer.early_steps = plan.apart
        if self.trainer.step < plan.steps:
            self._save(plan)
        while self.trainer.step < plan.steps and not self._out_of_patience():
            rate = scheduled_rate(self.trainer.step, self.setup.recipe.lr, plan.warmup, plan.steps)
            self._update(rate, partial(self._wish, plan))
            wish = self.trainer.wish
            if wish.steps != plan.steps:
                plan = dataclasses.replace(plan, steps=wish.steps)
                self.log.start(self.trainer.step, plan.steps)
            if plan.validates_at(self.trainer.step):
                self._validate(plan)
            elif wish.is_due:
                self._save(plan)
            if wish.signal and self.trainer.step < plan.steps:
                self._save(plan)
                # Who leaves early has the others stopped.
                self.ranks.agree(None)
                problem = f"stopped at step {self.trainer.step:,} of {plan.steps:,}, all saved"
                fix = f"resume it with: {resume_command(self.folder, self.ranks.size)}"
                raise Interrupted(str(self.folder), problem, fix, wish.signal)
        return plan

    def _wish(self, plan: Plan) -> Wish:
        """Return what this process asks for while it makes a step."""
        is_due = time.monotonic() - self.saved_at > SAVE_EVERY
        return Wish(self.stop() or 0, is_due, self._possible_steps(plan))

    def _possible_steps(self, plan: Plan) -> int:
        """Return the steps of the plan, or fewer if there is no time for all of them.

        That is looked at before a validation, whose checkpoint then has the plan that is followed,
        and when there is time for nothing but the end.
        """
        step, now = self.trainer.step + 1, time.monotonic()
        validation = self.validated.took * (1 + plan.final_chars / max(1, plan.val_chars))
        left = self.deadline - now - validation - self._weighing_seconds()
        if left > 0 and not plan.validates_at(step):
            return plan.steps
        # A slow moment is not taken for a slow machine, nor the other way round.
        latest = (now - self.validated.ended) / max(1, step - self.validated.step)
        usual = (now - self.training_began) / max(1, step - self.setup.first_step)
        pace = (latest + usual) / 2
        possible = step + max(0, int(left / pace)) if left < math.inf else plan.steps
        if possible >= (1 - SLACK) * plan.steps and left > 0:
            return plan.steps
        return min(possible, plan.steps)

    def _update(self, learning_rate: float, wish: Callable[[], Wish]) -> None:
        self._count(self.trainer.update(learning_rate, wish))
        self.progress.learning_rate = learning_rate
        if self.progress.train_steps:
            self.log.step(self._train_nats(), self._speed())

    def _count(self, nats: float) -> None:
        """Add a step's nats per id, which are NaN where the GPU has not sent them yet."""
        if not math.isnan(nats):
            self.progress.train_nats += nats
            self.progress.train_steps += 1

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
        self._count(self.trainer.finish())
        began = time.monotonic()
        if self.ranks.leads:
            self._measure(plan)
        progress = self.progress
        progress.train_nats, progress.train_steps = 0.0, 0
        progress.validations_without_gain = self.ranks.agree(progress.validations_without_gain)
        self._save(plan)
        now = time.monotonic()
        self.validated = Validated(now, self.trainer.step, now - began)

    def _measure(self, plan: Plan) -> None:
        """Fit the mixture, measure it and the network, and keep the best."""
        network = TorchStepper(self.trainer.model)
        if self.partner and not self._is_weighed():
            is_last = self.trainer.step == plan.apart
            self.mixing = self.partner.fit(network, MOST_KEPT_IDS if is_last else QUICK_IDS)
        number = min(plan.val_chars, self.held_out.most())
        network_nats = self.held_out.per_character(self.held_out.nats(network, number))
        nats = network_nats
        if self.partner:
            nats = self.held_out.per_character(self.held_out.nats(network, number, self.mixing))
        record = self._record(nats, network_nats)
        best = self.progress.best_nats
        is_best = nats is None or best is None or nats < best
        if is_best:
            self.progress.best_nats, self.progress.validations_without_gain = nats, 0
        else:
            self.progress.validations_without_gain += 1
        checkpoint = self._checkpoint({**record.to_json(), "val_chars": plan.val_chars})
        # Logged before it is saved, so that whatever is saved stands in the log.
        self.log.validation(record, self._sample(checkpoint))
        if is_best:
            checkpoint.save(self.folder / runs.BEST)

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
            lr=self.progress.learning_rate,
            grad_norm=self.trainer.grad_norm,
            chars_per_second=round(self._speed(), 1),
        )

    def _sample(self, checkpoint: Checkpoint) -> str:
        config = VALIDATION_SAMPLE if self.tokenizer.boundary_id is None else VALIDATION_RECORDS
        texts = write_texts(stepper_of(checkpoint), self.tokenizer, [""], config)
        return "\n".join(text.text for text in texts)

    def _checkpoint(
        self, metrics: Mapping[str, Any], resume: ResumeState | None = None
    ) -> Checkpoint:
        return Checkpoint(
            self.trainer.model.config,
            self.tokenizer,
            self.trainer.model.export(),
            self.setup.metadata(metrics),
            resume,
            self.partner.ngrams if self.partner else None,
            self.mixing,
        )

    def _save(self, plan: Plan) -> None:
        """Write `last`, with all that `--resume` needs, which rank 0 gathers from all ranks."""
        self._count(self.trainer.finish())
        self.progress.seconds = self._seconds()
        state = self.setup.resume_state(plan)
        if self.ranks.leads:
            runs.save_last(self.folder, self._checkpoint({}, state))
        self.saved_at = time.monotonic()

    def _seconds(self) -> float:
        """Seconds spent on this run, earlier sittings included."""
        return self.setup.earlier_seconds + time.monotonic() - self.started

    def _out_of_patience(self) -> bool:
        patience = self.setup.config.patience
        return patience is not None and self.progress.validations_without_gain >= patience

    def _result(self, plan: Plan) -> TrainResult:
        """Return what came of the run, as rank 0 measures it at the end."""
        nats = self.ranks.agree(self._conclude(plan) if self.ranks.leads else None)
        return TrainResult(self.folder, self.folder / runs.BEST, self.trainer.step, nats)

    def _conclude(self, plan: Plan) -> float | None:
        """Weigh `best` and its n-grams if that is not done, measure them, and print the summary.

        It is measured on as much as the plan leaves time for. The trainer's model then holds the
        weights of `best`.
        """
        best = self.folder / runs.BEST
        nats = self.progress.best_nats
        number = max(plan.final_chars, plan.val_chars)
        if self.partner or number > plan.val_chars:
            checkpoint = Checkpoint.load(best)
            self.trainer.model.load(checkpoint.weights)
            network = TorchStepper(self.trainer.model)
            if self.partner and not self._is_weighed():
                self.mixing = self.partner.fit(network)
            nats = self.held_out.per_character(self.held_out.nats(network, number, self.mixing))
            if self.partner:
                metrics = dict(checkpoint.metadata.metrics or {})
                metadata = dataclasses.replace(
                    checkpoint.metadata, metrics=metrics | {"val_nats": nats, "val_chars": number}
                )
                dataclasses.replace(
                    checkpoint, mixing=self.mixing, metadata=metadata, ngrams=self.partner.ngrams
                ).save(best)
        if self._out_of_patience():
            validations = counted(self.progress.validations_without_gain, "validation")
            self.log.say(f"stopped early: no gain in {validations}")
        self.log.summary(best, nats, self.held_out.characters(number), self._seconds())
        return nats
