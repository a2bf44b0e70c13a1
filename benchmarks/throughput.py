"""How fast training is, against what one would otherwise write: python benchmarks/throughput.py.

For each size one update of textgen's trainer (window, forward, loss, backward, clipping, AdamW) is
timed against the same update written with torch.nn.GRU or torch.nn.LSTM in float32, in one process,
the two in turn, and beside them the measured peak of a large float32 product. There is no dropout,
so textgen's GRU projects each id once a window. `share` is 6 times the weights in products times
the characters a second, over that peak. Prints a table and writes results/throughput.json. Takes
about three minutes; nothing else should run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from baselines import BareModel, detach
from common import median_seconds, save, time_in_turn
from report import THROUGHPUT, table
from torch import nn

from textgen.config.model import ModelConfig
from textgen.data.streams import Streams
from textgen.data.workers import available_cores
from textgen.nn.char_rnn import CharRNN
from textgen.nn.device import cpu_settings, multiplies_bfloat16
from textgen.training.trainer import Trainer

VOCABULARY, EMBEDDING, WINDOW = 65, 64, 64
SIZES = [(hidden, batch) for hidden in (384, 512, 640) for batch in (16, 32)] + [(512, 64)]
ROUNDS = 15


def make_bare_update(cell: str, hidden: int, batch: int, ids: np.ndarray) -> Callable[[], None]:
    """Return a function that takes one update of a loop as one would write it."""
    recurrent = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](EMBEDDING, hidden)
    model = BareModel(VOCABULARY, EMBEDDING, recurrent)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    streams = Streams(ids, batch, WINDOW, seed=0)
    state, step = None, 0

    def update() -> None:
        nonlocal state, step
        x_TB, y_TB, _ = streams.window_at(*streams.position(step))
        logits_TBV, after = model(torch.from_numpy(x_TB), state)
        loss = nn.functional.cross_entropy(
            logits_TBV.flatten(0, 1), torch.from_numpy(y_TB).flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        state, step = detach(after), step + 1

    return update


def make_our_update(
    cell: str, hidden: int, batch: int, ids: np.ndarray, precision: str
) -> Callable[[], Any]:
    """Return a function that takes one update of textgen's trainer, without dropout."""
    sizes = ModelConfig(VOCABULARY, cell, 1, hidden, EMBEDDING)
    model = CharRNN(sizes, precision=precision)
    trainer = Trainer(model, Streams(ids, batch, WINDOW, seed=0), seed=0)
    return lambda: trainer.update(1e-3)


def measure_size(cell: str, hidden: int, batch: int, peak: float) -> dict[str, Any]:
    """Return characters a second of the bare loop, ratios to it, and shares of the peak."""
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 300_000).astype(np.uint8)
    updates = {
        "bare": make_bare_update(cell, hidden, batch, ids),
        "float32": make_our_update(cell, hidden, batch, ids, "float32"),
    }
    if cell == "gru" and multiplies_bfloat16(torch.device("cpu")):
        updates["bfloat16"] = make_our_update(cell, hidden, batch, ids, "bfloat16")
    took = time_in_turn(updates, ROUNDS)
    products = ModelConfig(VOCABULARY, cell, 1, hidden, EMBEDDING).products()
    row: dict[str, Any] = {"cell": cell, "hidden": hidden, "batch": batch}
    row["bare"] = WINDOW * batch / took.pop("bare")
    for name, seconds in took.items():
        row[name] = WINDOW * batch / seconds / row["bare"]
        row[f"{name}_share"] = 6 * products * WINDOW * batch / seconds / peak
    return row


def main() -> None:
    """Measure every size, print the table, write the JSON."""
    torch.manual_seed(0)
    with cpu_settings(available_cores()):
        square = torch.ones(2048, 2048)
        peak = 2 * 2048**3 / median_seconds(lambda: square @ square)
        rows = [measure_size(cell, *size, peak) for cell in ("gru", "lstm") for size in SIZES]
    save("throughput", rows, peak_gflops=peak / 1e9)
    print(f"peak {peak / 1e9:.0f} GFLOP/s in float32\n\n" + table(rows, THROUGHPUT))


if __name__ == "__main__":
    main()
