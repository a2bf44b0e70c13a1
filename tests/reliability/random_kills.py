"""A run that is killed again and again at random moments, and resumed each time.

It has to end bit for bit in what a run ends in that nobody killed.
"""

import contextlib
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from reliability.forked import Forks
from reliability.tiny import OPTIONS, as_words, differences, outcome, scratch, write_text

from textgen.checkpoint import runs

# How long a process lives, as a share of the seconds of a whole run.
LIVES = (0.4, 1.1)


class Fresh:
    """A process of its own, as a user starts it."""

    def __init__(self, words):
        command = [sys.executable, "-m", "textgen", *map(str, words)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def ended(self):
        return self.process.poll() is not None

    def kill(self):
        self.process.kill()

    def wait(self):
        """Return its exit code."""
        _, self.stderr = self.process.communicate()
        return self.process.returncode


def fork(forks, words):
    """Start a forked process that goes on at once."""
    task = forks.start("textgen", *words)
    task.go_on()
    return task


def killed(process, seconds):
    """Kill a process after so long; return whether it was still there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not process.ended():
        time.sleep(0.002)
    if not process.ended():
        process.kill()
    code = process.wait()
    if code not in (0, -9):
        raise AssertionError(f"ended with {code}: {process.stderr}")
    return code == -9


def kill_to_the_end(start, words, folder, seconds, most, draws):
    """Train in a folder, killing at random moments at most so often; return how often."""
    kills = 0
    while True:
        saved = (folder / runs.LAST).exists()
        if not saved:
            # Killed before it saved anything.
            shutil.rmtree(folder, ignore_errors=True)
        process = start(["train", "--resume", folder] if saved else words)
        life = seconds * draws.uniform(*LIVES) if kills < most else 600
        if not killed(process, life):
            return kills
        kills += 1


def run(kills=50, fresh=True, steps=400, seed=0, report=print, forks=None):
    """Kill runs so often in all; return how many kills there were, and how many lost nothing.

    fresh: every process imports torch anew, as those of a user do, which takes seconds.
    """
    row = {"tried": 0, "clean": 0}
    draws = random.Random(seed)
    server = contextlib.nullcontext() if fresh else forks or Forks()
    with scratch() as name, server as forks:
        start = Fresh if fresh else lambda words: fork(forks, words)
        text = write_text(Path(name))
        words = ["train", text, "--steps", steps, *as_words(OPTIONS), "--out"]
        began = time.monotonic()
        assert start([*words, Path(name, "whole")]).wait() == 0
        seconds = time.monotonic() - began
        expected = outcome(Path(name, "whole"))
        number = 0
        while row["tried"] < kills:
            number += 1
            folder = Path(name, str(number))
            most = kills - row["tried"]
            done = kill_to_the_end(start, [*words, folder], folder, seconds, most, draws)
            wrong = differences(outcome(folder), expected)
            row["tried"] += done
            row["clean"] += 0 if wrong else done
            if wrong:
                report(f"after {done} kills: {wrong}")
    return {"a kill at a random moment, then resumed": row}
