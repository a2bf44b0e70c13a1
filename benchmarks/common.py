"""What the benchmarks share: facts about the machine, results as JSON, tables in Markdown."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import RESULTS

import textgen
from textgen.data.workers import available_cores

ROOT = Path(__file__).parent.parent


def describe_machine() -> dict[str, Any]:
    """Return where and with what something was measured."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip() or "unknown",
        "cpu": cpu_name(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "textgen": textgen.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def cpu_name() -> str:
    """Return the processor's name where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def save(name: str, rows: Sequence[dict[str, Any]], **more: Any) -> None:
    """Write results/NAME.json with the command that made it, and rewrite docs/benchmarks.md."""
    RESULTS.mkdir(exist_ok=True)
    words = [Path(sys.argv[0]).name, *map(without_folders, sys.argv[1:])]
    data = {
        "command": f"python benchmarks/{' '.join(words)}",
        "facts": describe_machine(),
        **more,
        "rows": list(rows),
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    subprocess.run([sys.executable, str(Path(__file__).parent / "report.py")], check=True)


def without_folders(word: str) -> str:
    """Return a word of the command line without the folders of this machine."""
    return Path(word).name if "/" in word else word


def time_in_turn(
    functions: dict[str, Callable[[], Any]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the median seconds of each function, called one after the other, round by round.

    Two rounds before are not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + 2):
        for name, function in functions.items():
            start = clock()
            function()
            times[name].append(clock() - start)
    return {name: statistics.median(counted[2:]) for name, counted in times.items()}


def median_seconds(function: Callable[[], Any], rounds: int = 9) -> float:
    """Return the median time of a call, after two that are not counted."""
    return time_in_turn({"it": function}, rounds)["it"]


class Watched:
    """A process and the most memory that it held."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.most = 0.0
        self.watcher = threading.Thread(target=self._watch)
        self.watcher.start()

    def _watch(self) -> None:
        status = Path(f"/proc/{self.process.pid}/status")
        while self.process.poll() is None:
            try:
                lines = status.read_text().splitlines()
            except OSError:
                # It has ended, or this is not Linux.
                return
            kilobytes = [line.split()[1] for line in lines if line.startswith("RssAnon")]
            self.most = max(self.most, *(int(number) * 1024 / 1e6 for number in kilobytes), 0.0)
            time.sleep(0.02)

    def wait(self) -> float:
        """Return the megabytes it held at most; raise CalledProcessError when it failed."""
        _, errors = self.process.communicate()
        self.watcher.join()
        if self.process.returncode:
            command = [str(word) for word in self.process.args]  # type: ignore[union-attr]
            raise subprocess.CalledProcessError(self.process.returncode, command, stderr=errors)
        return self.most
