"""Which cell learns most in the same time: python benchmarks/compare_cells.py TEXT.

Trains rnn, lstm and gru of the same width for the same seconds, without n-grams, at several
budgets, and measures each on the validation part. Nothing else should run. Prints a table and
writes results/cells.json. Takes about 15 minutes.
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

from textgen.checkpoint import Checkpoint
from textgen.config import CELLS


def trained(text: Path, cell: str, layers: int, hidden: int, minutes: float) -> dict[str, Any]:
    """Train one network and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["--cell", cell, "--layers", layers, "--hidden", hidden, "--minutes", minutes]
        command = ["train", text, "--split", "0.9,0.1", "--ngrams", 1, "--out", run, *words]
        words = [sys.executable, "-m", "textgen", *map(str, command)]
        subprocess.run(words, check=True, capture_output=True)
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        parameters = Checkpoint.load(run / "best.safetensors").model.parameters()
    sizes = {"cell": cell, "layers": layers, "hidden": hidden, "parameters": parameters}
    return sizes | {k: last[k] for k in ("seconds", "chars_per_second", "chars_seen", "val_nats")}


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
                rows.append(trained(arguments.text, cell, layers, arguments.hidden, minutes))
                print(json.dumps(rows[-1]), flush=True)
    save("cells", rows)
    print(table(rows, COMPARISON))


if __name__ == "__main__":
    main()
