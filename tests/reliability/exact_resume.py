"""Runs that are stopped and resumed, and end bit for bit in what they end in without a stop."""

import contextlib
import itertools
import json
from pathlib import Path
from unittest import mock

from reliability.tiny import OPTIONS, differences, outcome, scratch, short_validations, write_text

import textgen
from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.config.train import TrainConfig
from textgen.training.setup import start_setup
from textgen.training.trainer import Trainer

CELLS, DROPOUTS, LAYERS, KINDS = ("rnn", "lstm", "gru"), (0, 0.3), (1, 2), ("text", "records")
STEPS, VALIDATIONS, RATE, PATIENCE = 48, 8, 0.2, 4
# What a checkpoint must not lack; without it nothing would end as it should.
NEEDED = ("exp_avg.", "exp_avg_sq.", "state.")


def write_turning_text(folder, kind):
    """Write a text that runs backwards at its end, so that some validations gain nothing."""
    path = write_text(folder, records=kind == "records")
    lines = path.read_text().splitlines()
    backwards = [line[::-1] for line in lines[-len(lines) // 6 :]]
    path.write_text("\n".join([*lines, *backwards, ""]))
    return path


def options_of(cell, dropout, layers, kind):
    """The options of a combination."""
    options = OPTIONS | {"cell": cell, "dropout": dropout, "layers": layers}
    options |= {"steps": STEPS, "lr": RATE, "patience": PATIENCE, "ngrams": 1}
    return options | ({"records": "lines"} if kind == "records" else {})


def stop_after(steps):
    """A `stop` that asks the run to end after so many steps."""
    left = iter(range(steps - 1, -1, -1))
    return lambda: 15 if next(left, 0) == 0 else None


def stopping_steps(text, options, whole):
    """Where a run is stopped, by what is special there."""
    setup = start_setup([text], TrainConfig.of(None, **options))
    windows = setup.trainer.streams.windows
    lines = [json.loads(line) for line in (whole / runs.METRICS).read_text().splitlines()]
    figures = [line["val_nats"] for line in lines]
    every = lines[0]["step"]
    gainless = [
        line["step"]
        for number, line in enumerate(lines[:-1])
        if number and line["val_nats"] >= min(figures[:number])
    ]
    assert gainless, "every validation gained something"
    return {
        "in the warm-up": 2,
        "within an epoch": windows + windows // 2,
        "after the last step of an epoch": windows,
        "after the first step of one": windows + 1,
        "after a validation": every,
        "while patience counts": gainless[0] + 1,
    }


@contextlib.contextmanager
def forgetting(beginning):
    """Restore zeros for the tensors whose names begin so."""
    restore = Trainer.restore

    def forgetful(self, tensors, step):
        blank = {n: t * 0 if n.startswith(beginning) else t for n, t in tensors.items()}
        restore(self, blank, step)

    with mock.patch.object(Trainer, "restore", forgetful):
        yield


def stopped_and_resumed(text, folder, step, options):
    """Stop a run after a step, resume it, and return what it ends in."""
    try:
        textgen.train(text, out=str(folder), stop=stop_after(step), **options)
    except textgen.Interrupted:
        assert Checkpoint.load(folder / runs.LAST).resume.step == step
    else:
        raise AssertionError(f"the run ended before step {step}")
    textgen.train(resume=folder)
    return outcome(folder)


def combination(folder, cell, dropout, layers, kind, report, points=None):
    """Try one combination of settings at every point; return a row."""
    text = write_turning_text(folder, kind)
    options = options_of(cell, dropout, layers, kind)
    textgen.train(text, out=str(folder / "whole"), **options)
    expected = outcome(folder / "whole")
    row = {"tried": 0, "clean": 0}
    steps = stopping_steps(text, options, folder / "whole")
    for point, step in list(steps.items())[slice(*points or (None,))]:
        found = stopped_and_resumed(text, folder / point, step, options)
        wrong = differences(found, expected)
        row["tried"] += 1
        row["clean"] += not wrong
        if wrong:
            report(f"{cell}, dropout {dropout}, {layers} layers, {kind}, {point}: {wrong}")
    return row


def controls(folder, cells, report):
    """Resume without one of the things that a checkpoint holds: the comparison must notice."""
    row = {"tried": 0, "clean": 0}
    text = write_turning_text(folder, "text")
    for cell in cells:
        options = options_of(cell, 0.3, 1, "text")
        textgen.train(text, out=str(folder / f"{cell}-whole"), **options)
        expected = outcome(folder / f"{cell}-whole")
        for beginning in NEEDED:
            with forgetting(beginning):
                found = stopped_and_resumed(text, folder / f"{cell}-{beginning}", 11, options)
            row["tried"] += 1
            row["clean"] += bool(differences(found, expected))
            if not differences(found, expected):
                report(f"{cell}: nothing noticed that {beginning} was forgotten")
    return row


def run(cells=CELLS, dropouts=DROPOUTS, layers=LAYERS, kinds=KINDS, points=None, report=print):
    """Try every combination of these settings, each at six points of a run.

    Returns how many were tried and how many ended bit for bit as they should, and the same of
    checkpoints that lack something, which must be noticed. points: of the six, from which to which.
    """
    total = {"tried": 0, "clean": 0}
    with scratch() as folder, short_validations(VALIDATIONS):
        for number, settings in enumerate(itertools.product(cells, dropouts, layers, kinds)):
            place = Path(folder, str(number))
            place.mkdir()
            row = combination(place, *settings, report, points)
            total = {key: total[key] + row[key] for key in total}
        noticed = controls(Path(folder), cells, report)
    return {
        "a run stopped and resumed, bit for bit": total,
        "a checkpoint that lacks something, noticed": noticed,
    }
