"""Which cell learns most in the same time: python benchmarks/compare_cells.py TEXT.

Trains rnn, lstm and gru of the same width for the same seconds, without n-grams, at several
budgets and numbers of layers, and reads the whole validation part with each (`textgen eval`).
Nothing else should run. Prints a table and writes results/cells.json. Takes about 20 minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import save
from report import COMPARISON, table

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.config.model import CELLS


def train_and_measure(
    text: Path, cell: str, layers: int, hidden: int, minutes: float
) -> dict[str, Any]:
    """Train one network and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["--cell", cell, "--layers", layers, "--hidden", hidden, "--minutes", minutes]
        command = ["train", text, "--split", "0.9,0.1", "--ngrams", 1, "--out", run, *words]
        run_textgen(*map(str, command))
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        nats = json.loads(run_textgen("eval", str(run), "--part", "val", "--json"))["nats_per_char"]
        parameters = Checkpoint.load(run / "best.safetensors").model.parameters()
    figures = {k: last[k] for k in ("seconds", "chars_per_second", "chars_seen")}
    sizes = {"cell": cell, "layers": layers, "hidden": hidden, "parameters": parameters}
    return sizes | figures | {"nats": nats}


def run_textgen(*words: str) -> str:
    """Run a command of textgen and return what it prints."""
    command = [sys.executable, "-m", "textgen", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Measure every cell at every budget, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("text", type=Path, metavar="TEXT")
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.5, 100 / 60])
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    rows = []
    for minutes in arguments.minutes:
        for layers in arguments.layers:
            for cell in CELLS:
                rows.append(
                    train_and_measure(arguments.text, cell, layers, arguments.hidden, minutes)
                )
                print(json.dumps(rows[-1]), flush=True)
    save("cells", rows)
    print(table(rows, COMPARISON))


if __name__ == "__main__":
    main()
