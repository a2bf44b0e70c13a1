"""What a run gains from the base that ships: python benchmarks/base.py TEXT [TEXT ...].

Of each text a tenth is skipped, at most 400,000 characters; the next so many thousand of `--sizes`
are a user's own text, and the 60,000 behind them are held out. `textgen train OWN --minutes 2
--seed S` runs twice, as it is and with `--init none`, as processes of their own, and `textgen eval`
measures both on what is held out: network and n-grams, static. Nothing else should run. Prints a
table and writes results/base.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import save
from report import BASE, table

HELD_OUT, MOST_SKIPPED = 60_000, 400_000
TEXTGEN = [sys.executable, "-m", "textgen"]


def measure(text: Path, thousands: int, minutes: float, seed: int) -> dict[str, Any] | None:
    """Return what a run gains, None where the text is too short for it."""
    whole = text.read_text("utf-8")
    size = 1000 * thousands
    begin = min(MOST_SKIPPED, len(whole) // 10, max(0, len(whole) - size - HELD_OUT))
    if begin + size + HELD_OUT > len(whole):
        return None
    with tempfile.TemporaryDirectory() as folder:
        own, held_out = Path(folder, "own.txt"), Path(folder, "held-out.txt")
        own.write_text(whole[begin : begin + size], "utf-8", newline="")
        held_out.write_text(whole[begin + size :][:HELD_OUT], "utf-8", newline="")
        row: dict[str, Any] = {"text": text.stem, "size": size, "seed": seed}
        for name, init in (("base", ()), ("nothing", ("--init", "none"))):
            run = Path(folder, name)
            budget = ["--minutes", f"{minutes:g}", "--seed", str(seed)]
            start = time.monotonic()
            done = call("train", str(own), *budget, *init, "--out", str(run))
            row[f"{name}_seconds"] = time.monotonic() - start
            row[name] = json.loads(call("eval", str(run), str(held_out), "--json"))["nats_per_char"]
            if name == "base":
                row["start"] = "base-en" if "starting from base-en" in done else "nothing"
    return row | {"gain": row["nothing"] - row["base"]}


def call(*words: str) -> str:
    """Return what a command prints."""
    return subprocess.run([*TEXTGEN, *words], check=True, capture_output=True, text=True).stdout


def measure_all(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row for each text, size and seed, and print it at once."""
    for text in arguments.texts:
        for thousands in arguments.sizes:
            for seed in range(arguments.seeds):
                if row := measure(text, thousands, arguments.minutes, seed):
                    print(json.dumps(row), flush=True)
                    yield row


def main() -> None:
    """Measure all that was asked for."""
    parser = argparse.ArgumentParser(description="What a run gains from the base that ships.")
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10, 30, 100, 300, 1000])
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rows = list(measure_all(arguments))
    print(table(rows, BASE))
    save("base", rows)


if __name__ == "__main__":
    main()
