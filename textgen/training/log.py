"""What a run tells: metrics.jsonl for programs, samples.txt, and a progress line for people.

>>> log = RunLog(Path("checkpoints/corpus"), quiet=False)
>>> log.validation(record, "sample text")
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from textgen.checkpoint import runs
from textgen.errors import MachineError, counted, visible
from textgen.files import write_atomically, write_error
from textgen.training.events import EventLog

SAMPLE_TEXTS = "samples.txt"
# Where a line of metrics.jsonl begins, and the text of a validation in samples.txt.
LINE_BEGINS = re.compile(rb"(?<=\n)")
SAMPLE_BEGINS = re.compile(rb"^(?=--- step \d{1,18} ---\n)", re.MULTILINE)
# Bits in a nat.
BITS = 1 / math.log(2)


@dataclass(frozen=True)
class ValidationRecord:
    """The figures of a validation: a line of metrics.jsonl, and what a checkpoint records.

    Nats are per character: of training the network's under dropout, of validation the model's,
    with the n-grams, and beside it the network's alone. What is None there is no part or no n-grams
    for.
    """

    step: int
    epoch: float
    seconds: float
    chars_seen: int
    train_nats: float
    val_nats: float | None
    network_nats: float | None
    lr: float
    grad_norm: float
    chars_per_second: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures under their names in metrics.jsonl."""
        bits = None if self.val_nats is None else self.val_nats * BITS
        return asdict(self) | {"val_bits": bits}


class RunLog:
    """Writes a run's files, and speaks on stdout and stderr unless quiet.

    The progress line goes to stderr and is shown on a terminal only. events: where the figures go
    too.
    """

    def __init__(self, folder: Path, quiet: bool, events: EventLog | None = None) -> None:
        self.folder = folder
        self.quiet = quiet
        self.events = events
        self.bar: tqdm[Any] | None = None
        self._val_nats: float | None = None

    def say(self, line: str = "") -> None:
        """Print a line for people on stdout, above the progress line.

        Where that cannot be written it is said once, and the run goes on: its files hold it all.
        """
        if self.quiet:
            return
        try:
            tqdm.write(visible(line, keep="\n\t"), file=sys.stdout)
            sys.stdout.flush()
        except OSError as error:
            self.quiet = True
            with contextlib.suppress(OSError):
                problem = write_error("standard output", error).problem
                print(f"textgen: standard output {problem}; the run goes on", file=sys.stderr)

    def report(self, lines: list[tuple[str, str]], notes: list[str]) -> None:
        """Print what is about to be done: labelled lines, then notes."""
        for label, value in lines:
            self.say(f"{label + ':':<12} {value}")
        for note in notes:
            self.say(f"note:        {note}")

    def start(self, done: int, total: int | None) -> None:
        """Begin the progress line at step `done` of `total` (None: not known yet)."""
        if self.quiet:
            return
        self._end_bar()
        self.bar = tqdm(
            desc="training", initial=done, total=total, unit="step", disable=None, leave=False,
            dynamic_ncols=True, file=sys.stderr,
            bar_format="{desc} {n_fmt}/{total_fmt} |{bar:20}| {remaining} left{postfix}",
        )  # fmt: skip

    def step(self, train_nats: float, chars_per_second: float) -> None:
        """Advance the progress line by one step."""
        if self.bar is None or self.bar.disable:
            return
        figures = f"network train {_figures(train_nats)}"
        if self._val_nats is not None:
            figures += f", val {_figures(self._val_nats)}"
        self.bar.set_postfix_str(f"{figures}, {chars_per_second:,.0f} chars/s", refresh=False)
        self.bar.update()

    def validation(self, record: ValidationRecord, sample: str) -> None:
        """Append a line to metrics.jsonl and the sample to samples.txt, and print both.

        Training's figure is the network's, under dropout; where validation's is that of a mixture
        with n-grams, the network's own stands beside it.
        """
        self._append(runs.METRICS, json.dumps(record.to_json(), allow_nan=False) + "\n")
        self._append(SAMPLE_TEXTS, f"--- step {record.step} ---\n{sample}\n")
        if self.events:
            self.events.write(record.step, record.to_json())
        self._val_nats = record.val_nats
        line = f"step {record.step:,}: network train {_figures(record.train_nats)}"
        if self._val_nats is not None:
            line += f", validation {_figures(self._val_nats)}"
        if record.network_nats != record.val_nats and record.network_nats is not None:
            line += f", network alone {record.network_nats:.4f} nats"
        self.say(f"{line}, {record.chars_per_second:,.0f} chars/s")
        self.say("    " + sample.replace("\n", "\n    "))

    def summary(self, best: Path, val_nats: float | None, chars: int, seconds: float) -> None:
        """Print how good the best weights are and how to use them."""
        self.say(f"done in {seconds:,.0f} s")
        if val_nats is not None:
            self.say(f"validation:  {_figures(val_nats)} over {counted(chars, 'character')}")
        self.say(f"best:        {best}")
        self.say(f"next:        textgen sample {best} --prime ...")

    def forget_after(self, step: int) -> None:
        """Drop what the files say of later steps, which are about to be done again.

        Raises MachineError where one of them is no file, or cannot be read and written.
        """
        self._keep(runs.METRICS, LINE_BEGINS, lambda line: _step_of(line) <= step)
        self._keep(SAMPLE_TEXTS, SAMPLE_BEGINS, lambda text: _step_of_sample(text) <= step)

    def _keep(self, name: str, begins: re.Pattern[bytes], is_kept: Callable[[bytes], bool]) -> None:
        """Keep some of the parts of a file, of which each begins where the pattern matches."""
        path = self.folder / name
        try:
            if not path.exists():
                return
            if not path.is_file():
                raise MachineError(str(path), "is not a regular file", "move it away")
            content = path.read_bytes()
        except OSError as error:
            raise write_error(path, error) from error
        kept = b"".join(part for part in begins.split(content) if not part or is_kept(part))
        if kept != content:
            write_atomically(path, [kept])

    def close(self) -> None:
        """Take the progress line away, and close what is written as events."""
        self._end_bar()
        if self.events:
            self.events.close()

    def _end_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _append(self, name: str, text: str) -> None:
        try:
            with (self.folder / name).open("a", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                # Before the checkpoint is, so that the log never lacks what a run resumes after.
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self.folder / name, error) from error


def _step_of(line: bytes) -> float:
    """Return the step of a line of metrics.jsonl; infinity for a torn or foreign line."""
    try:
        return float(json.loads(line)["step"]) if line.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf


def _step_of_sample(text: bytes) -> int:
    """Return the step of a part of samples.txt; 0 for what stands before the first heading."""
    heading = SAMPLE_BEGINS.match(text)
    return int(text.split(maxsplit=3)[2]) if heading else 0


def _figures(nats: float) -> str:
    return f"{nats:.4f} nats/char ({nats * BITS:.4f} bits)"
