"""Runs so small that hundreds of them can be broken, and all that must come out equal of two."""

import contextlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.files.tensorfile import read_tensors
from textgen.training import loop, plan

# Nothing here depends on the speed of the machine: the budget is one of steps.
OPTIONS = {
    "cell": "rnn",
    "hidden": 8,
    "embedding": 4,
    "batch": 2,
    "window": 8,
    "threads": 1,
    "dropout": 0.3,
    "ngrams": 4,
    "split": "0.8,0.2,0",
    "init": "none",
    "precision": "float32",
}
VALIDATIONS = 4
WORDS = "the cat sat on the mat and the dog ran to the cat\n"
NAMES = "anna\nbob\ncarla\ndora\nemil\nfritz\ngreta\nhans\nida\njonas\n"
# What tells when and where a run ran, which is different in every one.
WHEN_AND_WHERE = ("seconds", "chars_per_second", "step_seconds", "out")


def write_text(folder, records=False):
    """Write a text of about 300 characters into folder and return its path."""
    path = folder / ("names.txt" if records else "corpus.txt")
    path.write_text(NAMES * 6 if records else WORDS * 6, encoding="utf-8")
    return path


def as_words(options):
    """Options as the words of a command line."""
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def scratch():
    """A temporary folder in memory where there is one: thousands of waits for a disk take long."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


@contextlib.contextmanager
def short_validations(number=VALIDATIONS):
    """Let a run validate less often and write less: it would spend most of its time there."""
    names = ("VALIDATION_SAMPLE", "VALIDATION_RECORDS")
    short = {name: replace(getattr(loop, name), length=4, num=1) for name in names}
    with mock.patch.multiple(loop, **short), mock.patch.object(plan, "VALIDATIONS", number):
        yield


def outcome(folder):
    """All that a run leaves, as bytes by name, without what says when and where it ran.

    Weights, moments, carried state, n-grams and settings of `last` and `best`, the names of the
    files, and the lines of metrics.jsonl.
    """
    # `unread` is there where a disk failed for a moment.
    names = sorted(path.name for path in folder.iterdir() if path.name != runs.UNREAD)
    found = {"files": " ".join(names).encode()}
    for name in (runs.LAST, runs.BEST):
        tensors, settings = read_tensors(folder / name)
        for tensor, array in tensors.items():
            kind = f"{array.dtype.str} {array.shape}".encode()
            found[f"{name}: {tensor}"] = kind + np.ascontiguousarray(array).tobytes()
        found[f"{name}: settings"] = json.dumps(_lasting(settings), sort_keys=True).encode()
    for number, line in enumerate((folder / runs.METRICS).read_bytes().splitlines()):
        found[f"{runs.METRICS}: {number}"] = json.dumps(_lasting(json.loads(line))).encode()
    return found


def _lasting(value):
    if isinstance(value, dict):
        return {key: _lasting(part) for key, part in value.items() if key not in WHEN_AND_WHERE}
    return value


def differences(found, expected):
    """The names of what is not equal in two outcomes."""
    names = {**found, **expected}
    return [name for name in names if found.get(name) != expected.get(name)]


def saved_step(folder):
    """The step that a run would be resumed from; None where nothing was saved, or all is lost."""
    path = folder / runs.LAST
    return Checkpoint.load(path).resume.step if path.exists() else None
