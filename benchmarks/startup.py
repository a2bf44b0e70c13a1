"""How long the command line takes to start: python benchmarks/startup.py.

Wall-clock of `textgen --help` and `textgen sample --help` to their end and of `textgen sample` with
the demo model to its first character, beside `python -c pass` and `python -c 'import numpy'`: each
once a round, in turn, the median of the rounds. Nothing else should run. Prints a table and writes
results/startup.json. Takes twenty seconds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

from common import ROOT, save
from report import table

ROUNDS = 21
DEMO = str(ROOT / "checkpoints" / "demo.safetensors")
BARE, NUMPY = "python -c pass", "python -c 'import numpy'"
COMMANDS = {
    BARE: ["-c", "pass"],
    NUMPY: ["-c", "import numpy"],
    "textgen --help": ["-m", "textgen", "--help"],
    "textgen sample --help": ["-m", "textgen", "sample", "--help"],
    "textgen sample, first character": ["-m", "textgen", "sample", DEMO, "--length", "100"],
}
COLUMNS = {
    "command": "command",
    "milliseconds": "milliseconds|.0f",
    "over_python": "more than bare Python, ms|.0f",
    "over_numpy": "more than Python with numpy, ms|.0f",
    "ratio": "over bare Python|.2f",
    "numpy_ratio": "over Python with numpy|.2f",
}


def time_to_first_output(words: list[str]) -> float:
    """Return the milliseconds until a Python process writes a character, or ends without one."""
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        process.stdout.read(1)
        took = time.perf_counter() - start
        process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return 1000 * took


def time_to_end(words: list[str]) -> float:
    """Return the milliseconds that a Python process takes in all."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    return 1000 * (time.perf_counter() - start)


def time_in_turn() -> dict[str, float]:
    """Return the median milliseconds of each command, after a round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, words in COMMANDS.items():
            measure = time_to_first_output if "first character" in name else time_to_end
            times[name].append(measure(words))
    return {name: statistics.median(counted[1:]) for name, counted in times.items()}


def compare_commands(medians: dict[str, float]) -> list[dict[str, Any]]:
    """Return a row for each command: its time, and how it compares with the two bare ones."""
    bare, numpy = medians[BARE], medians[NUMPY]
    return [
        {
            "command": name,
            "milliseconds": took,
            "over_python": took - bare,
            "over_numpy": took - numpy,
            "ratio": took / bare,
            "numpy_ratio": took / numpy,
        }
        for name, took in medians.items()
    ]


def main() -> None:
    """Measure, print the table, write the JSON."""
    rows = compare_commands(time_in_turn())
    save("startup", rows)
    print(table(rows, COLUMNS))


if __name__ == "__main__":
    main()
