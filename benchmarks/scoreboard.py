"""Whether anything is lost when much goes wrong: python benchmarks/scoreboard.py [PART...].

Kills runs at every system call and at random moments, breaks and fills their disk, cuts the power
of a simulated one, stops runs everywhere and compares what they end in bit for bit, reads damaged
checkpoints, and puts the command line into hostile surroundings. docs/reliability.md says what is
promised. Two parts run at a time. Prints a table, writes results/reliability.json and the table of
docs/reliability.md, unless parts are named; what is not as it should be is printed and makes the
exit code 1.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

# The tests import each other from their folder, and the processes that they start from here.
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"

from common import save  # noqa: E402
from report import RELIABILITY, table  # noqa: E402

Rows = dict[str, dict[str, int]]

# Modules of tests/reliability with what their `run` is called with, the longest first.
PARTS: list[tuple[str, dict[str, Any]]] = [
    ("kill_points", {"kinds": ("new",)}),
    ("kill_points", {"kinds": ("resumed",)}),
    ("random_kills", {"kills": 25, "seed": 0}),
    ("random_kills", {"kills": 25, "seed": 1}),
    ("exact_resume", {}),
    ("hostile_files", {"count": 20_000, "seed": 0}),
    ("surroundings", {}),
    ("power_cuts", {"resume_every": 1}),
    ("hostile_requests", {"count": 5000, "seed": 0}),
    ("full_disk", {}),
    ("flipped_bits", {}),
    ("round_trips", {}),
]


def measure(module: str, options: dict[str, Any]) -> tuple[Rows, float]:
    """Run a part; return its rows and how many seconds it took."""
    start = time.monotonic()
    found: Rows = importlib.import_module(f"reliability.{module}").run(**options)
    return found, time.monotonic() - start


def add(total: Rows, found: Rows) -> None:
    """Add the counts of a part to those of others under the same names."""
    for name, row in found.items():
        so_far = total.setdefault(name, {"tried": 0, "clean": 0})
        for key in so_far:
            so_far[key] += row[key]


def main() -> int:
    """Run the parts, or those that are named; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = list(dict.fromkeys(name for name, _ in PARTS))
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(names)}; all by default")
    wanted = parser.parse_args().parts or names
    total: Rows = {}
    start = time.monotonic()
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=2, mp_context=spawning) as pool:
        parts = [
            (name, options)
            for name, options in PARTS
            if name in wanted and importlib.util.find_spec(f"reliability.{name}")
        ]
        running = {pool.submit(measure, *part): part[0] for part in parts}
        for done in as_completed(running):
            found, seconds = done.result()
            add(total, found)
            print(f"{running[done]}: {seconds:,.0f} s", file=sys.stderr, flush=True)
    rows = [{"what": name, **row} for name, row in total.items()]
    rows.sort(key=lambda row: str(row["what"]))
    print(table(rows, RELIABILITY))
    if wanted == names:
        save("reliability", rows, seconds=round(time.monotonic() - start))
    return int(any(row["clean"] != row["tried"] for row in total.values()))


if __name__ == "__main__":
    sys.exit(main())
