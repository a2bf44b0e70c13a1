"""A disk that runs full while a run trains, for every size that it can have.

The disk is a small tmpfs in a mount namespace of its own, so root is needed. The run has to say
that there is no space, in one line and with exit code 5; what it had saved is still there; and
given room it ends as if nothing had happened.
"""

import ctypes
import os
import subprocess
from pathlib import Path

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

STEPS = 8
KILOBYTES = range(4, 68, 4)
NEW_MOUNTS = 0x00020000  # CLONE_NEWNS


def make_disk(folder, kilobytes):
    """Put an empty disk over a folder, which this process alone sees; raise OSError if it may not.

    In a process of its own: there is no way back.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "no mounts of one's own")
    mount("--make-rprivate", "none", "/")
    mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder)


def mount(*words):
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.returncode, done.stderr.strip())


def probe(folder):
    """A task: tell whether a disk can be made."""
    try:
        make_disk(folder, 4)
    except OSError:
        return 1
    return 0


def attempt(text, folder, kilobytes):
    """A task: train on a disk of a size, then with room; print what is wrong as one line.

    Exit code 0: nothing; 1: something; 2: the disk was large enough.
    """
    from textgen.cli import main

    make_disk(folder, kilobytes)
    run = Path(folder, "run")
    noted = os.open(Path(text).parent / "said", os.O_CREAT | os.O_TRUNC | os.O_RDWR)
    os.dup2(noted, 2)
    code = main(["train", text, "--out", str(run), "--steps", str(STEPS), *as_words(OPTIONS)])
    said = os.pread(noted, 10_000, 0).decode()
    if code == 0:
        return 2
    mount("-o", "remount,size=10M", folder)
    wrong = unclean(code, said) or lost(Path(text), run)
    print(wrong)
    return bool(wrong)


def unclean(code, said):
    """What is wrong with how a run ended on a full disk, "" if nothing."""
    if code != 5 or said.count("\n") != 1 or "no space left on device" not in said:
        return f"ended with {code} and {said!r}"
    return ""


def lost(text, run):
    """What is missing or wrong when there is room again, "" if nothing."""
    for path in run.glob("*.safetensors"):
        Checkpoint.load(path)
    if saved_step(run) is None:
        # The folder of a run that saved nothing is taken away, but for what cannot be.
        if run.exists() and any((run / name).exists() for name in (runs.BEST, runs.PREVIOUS)):
            return "something was saved, and the last state is lost"
        textgen.train(text, out=str(run.parent / "again"), steps=STEPS, **OPTIONS)
        run = run.parent / "again"
    else:
        textgen.train(resume=run)
    return ", ".join(differences(outcome(run), outcome(text.parent / "whole")))


def missing(forks, folder):
    """Why there can be no small disk here, or None."""
    if forks.run("full_disk:probe", folder)[1]:
        return "no small disk can be mounted here, which takes root"
    return None


def run(sizes=KILOBYTES, report=print, forks=None):
    """Train on disks of so many kilobytes; return how many ran full and how many lost nothing.

    Nothing where no disk can be mounted.
    """
    row = {"tried": 0, "clean": 0}
    with scratch() as name, forks or Forks() as forks, short_validations():
        folder = Path(name)
        disk = folder / "disk"
        disk.mkdir()
        if reason := missing(forks, disk):
            report(f"skipped: {reason}")
            return {}
        text = write_text(folder)
        textgen.train(text, out=str(folder / "whole"), steps=STEPS, **OPTIONS)
        for kilobytes in sizes:
            task, code = forks.run("full_disk:attempt", text, disk, kilobytes)
            if code == 2:
                break
            row["tried"] += 1
            row["clean"] += code == 0
            if code:
                report(f"a disk of {kilobytes} kB: {task.stdout}{task.stderr}")
    return {"a disk that runs full": row}
