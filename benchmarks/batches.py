"""How many streams side by side cost quality: python benchmarks/batches.py TEXT.

Trains the network alone on the same number of characters of a text in 16 to 1,024 streams, one
seed, at rates that grow with the square root of their number, and measures it on the validation
part. So many machines can share the work before each character teaches less. Prints a table and
writes results/batches.json. Takes ten minutes, whatever else runs.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

from common import save
from report import BATCHES, table

import textgen

STREAMS = (16, 32, 64, 128, 256, 512, 1024)
# Of a GRU of 128 units; in more streams than 32 it may be higher, up to four times.
RATE, USUAL, MOST_RATE = 6e-3, 32, 1.2e-2


def main() -> None:
    """Train in every number of streams, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--characters", type=int, default=3_000_000, help="to train on")
    wanted = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for batch in STREAMS:
            steps = wanted.characters // (batch * 64)
            rate = min(MOST_RATE, RATE * math.sqrt(batch / USUAL))
            sizes = {
                "cell": "gru",
                "hidden": 128,
                "window": 64,
                "ngrams": 1,
                "dropout": 0.0,
                "threads": 1,
            }
            out = str(Path(folder, str(batch)))
            result = textgen.train(
                wanted.text, out=out, steps=steps, batch=batch, lr=rate, init="none", **sizes
            )
            rows.append({"batch": batch, "steps": steps, "lr": rate, "nats": result.val_nats})
            print(rows[-1], flush=True)
    best = min(row["nats"] for row in rows)
    for row in rows:
        row["worse"] = row["nats"] - best
    save("batches", rows, most_rate=MOST_RATE)
    print(table(rows, BATCHES))


if __name__ == "__main__":
    main()
