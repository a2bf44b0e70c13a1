"""A process that dies, or is told that the disk is broken, at every system call of its saves.

A first run under strace lists the system calls that touch the folder of the run. Then there is one
process for each of them and each fault: it is killed just before the call, or the call reports an
error instead of being made. Whatever happened, `--resume` has to end in what a run ends in that
nothing happened to.
"""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from reliability.forked import Forks
from reliability.tiny import (
    OPTIONS,
    as_words,
    differences,
    outcome,
    saved_step,
    scratch,
    short_validations,
    write_text,
)

import textgen
from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint

STEPS, STOPPED_AT = 8, 3
FAULTS = {"SIGKILL": "signal=KILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}
# Between calls that change nothing, a kill leaves the same folder.
READING = ("newfstatat", "fstat", "stat", "lstat", "statx", "lseek", "read", "pread", "getdents")
# What a full disk lets fail.
GROWING = ("open", "creat", "write", "pwrite", "fsync", "fdatasync", "rename", "link", "mkdir")


class Point(NamedTuple):
    """A system call of a run: its name, the how manieth of that name, and its line in the trace.

    saved: the step of the `last` that is in the folder before it.
    """

    call: str
    number: int
    line: str
    saved: int | None


class Scene:
    """What all faults share: a run that nothing happened to, and one that was stopped."""

    def __init__(self, folder, forks):
        self.folder, self.forks = folder, forks
        self.text = write_text(folder)
        self.whole, self.stopped = folder / "whole", folder / "stopped"
        textgen.train(self.text, out=str(self.whole), steps=STEPS, **OPTIONS)
        left = iter(range(STOPPED_AT - 1, -1, -1))
        try:
            stop = lambda: 15 if next(left, 0) == 0 else None  # noqa: E731
            textgen.train(self.text, out=str(self.stopped), steps=STEPS, stop=stop, **OPTIONS)
        except textgen.Interrupted:
            pass
        self.expected = outcome(self.whole)

    def command(self, kind, run):
        """Words that resume the stopped run, or begin a new one."""
        shutil.rmtree(run.parent, ignore_errors=True)
        run.parent.mkdir()
        if kind == "resumed":
            shutil.copytree(self.stopped, run)
            return ["train", "--resume", run]
        return ["train", self.text, "--out", run, "--steps", STEPS, *as_words(OPTIONS)]


def missing():
    """Why processes cannot be traced here, or None."""
    if not shutil.which("strace"):
        return "strace is not installed"
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        return "strace may not trace here"
    return None


def trace(process, log, *options):
    """Start strace on a stopped process, let it go on, and return its exit code."""
    command = ["strace", "-y", "-s", "0", "-o", str(log), *options, "-p", str(process.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        attached = tracer.stderr.readline()
        assert "attached" in attached, attached
        process.go_on()
        return process.wait()


def list_points(scene, kind):
    """The system calls of a run that touch its folder, in order."""
    run, log = scene.folder / "dry" / "run", scene.folder / "trace"
    process = scene.forks.start("textgen", *scene.command(kind, run))
    assert trace(process, log) == 0, process.stderr
    counts, saved = Counter(), STOPPED_AT if kind == "resumed" else None
    # The first save comes before the first step, or where it was stopped.
    steps = iter([STOPPED_AT, 4, 6, 8] if kind == "resumed" else [0, 2, 4, 6, 8])
    points = []
    for line in log.read_text("utf-8", "replace").splitlines():
        if not (found := re.match(r"(\w+)\(", line)):
            continue
        counts[found[1]] += 1
        # Asking whether a file is a terminal fails anyway.
        if str(run) in line and found[1] != "ioctl":
            points.append(Point(found[1], counts[found[1]], line, saved))
            if found[1].startswith("rename") and line.split('"')[-2].endswith(runs.LAST):
                saved = next(steps)
    return points


def can_fail(point, fault):
    """Tell whether a fault can hit a call, and differs there from one at the next call."""
    if fault == "SIGKILL":
        return not point.call.startswith(READING)
    return fault != "ENOSPC" or point.call.startswith(GROWING)


def try_fault(scene, kind, point, fault):
    """Let one call of a run fail; return what is wrong afterwards, "" if nothing."""
    run, log = scene.folder / "try" / "run", scene.folder / "trace"
    process = scene.forks.start("textgen", *scene.command(kind, run))
    inject = f"inject={point.call}:{FAULTS[fault]}:when={point.number}"
    code = trace(process, log, "-e", f"trace={point.call}", "-e", inject)
    if fault == "SIGKILL" and code != -9:
        return f"was not killed, but ended with {code}: {process.stderr}"
    if fault != "SIGKILL" and (wrong := unclean(code, process.stderr)):
        return wrong
    return lost(scene, run, point, fault)


def unclean(code, stderr):
    """What is wrong with how a process ended that met an error, "" if nothing."""
    lines = stderr.splitlines()
    if code == 0:
        return f"ended well, and said {stderr!r}" if lines else ""
    if code not in (4, 5) or len(lines) != 1 or not lines[0].startswith("textgen: error: "):
        return f"ended with {code} and {stderr!r}"
    return "" if lines[0].endswith(")") else f"names no fix: {stderr!r}"


def lost(scene, run, point, fault):
    """What is missing or wrong in the folder of a run that met a fault, "" if nothing."""
    for name in (runs.BEST, runs.LAST, runs.PREVIOUS):
        if (run / name).exists():
            # An error if it is damaged.
            Checkpoint.load(run / name)
    saved = saved_step(run) if run.exists() else None
    if fault == "SIGKILL" and saved != point.saved:
        return f"the last state is that of step {saved}, not {point.saved}"
    if saved is None:
        return "" if point.saved is None else "nothing was left"
    textgen.train(resume=run)
    return ", ".join(differences(outcome(run), scene.expected))


def run(every=1, kinds=("resumed", "new"), faults=tuple(FAULTS), report=print, forks=None):
    """Try the faults at every system call, or every n-th, of a run that begins and one resumed.

    Returns how many of each fault were tried and how many left everything as it should be; report
    is told of the others. Nothing where processes cannot be traced.
    """
    if reason := missing():
        report(f"skipped: {reason}")
        return {}
    names = {fault: f"{fault} at a system call of a run" for fault in faults}
    rows = {name: {"tried": 0, "clean": 0} for name in names.values()}
    with scratch() as folder, forks or Forks() as forks, short_validations():
        # As strace shows it.
        scene = Scene(Path(folder).resolve(), forks)
        for kind in kinds:
            for point in list_points(scene, kind)[::every]:
                for fault in faults:
                    if not can_fail(point, fault):
                        continue
                    try:
                        wrong = try_fault(scene, kind, point, fault)
                    except Exception as error:
                        wrong = f"{type(error).__name__}: {error}"
                    rows[names[fault]]["tried"] += 1
                    rows[names[fault]]["clean"] += not wrong
                    if wrong:
                        report(f"{kind} run, {fault} at {point.line}: {wrong}")
    return rows
