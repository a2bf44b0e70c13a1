"""How fast the GRU trains, against what one would otherwise write: python benchmarks/throughput.py.

For each size the same update (forward, loss, backward, clipping, AdamW) is timed with
torch.nn.GRU and with textgen's, in float32 and with factors in bfloat16, in one process, and
beside them the measured peak of a large float32 product. Prints a table and writes
throughput.json. Takes about a minute; nothing else should run.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from textgen.cells import GRU
from textgen.device import available_cores, tuned

VOCABULARY, EMBEDDING, WINDOW = 65, 64, 64
SIZES = ((384, 16), (384, 32), (512, 16), (512, 32), (512, 64), (640, 16), (640, 32))
ROUNDS = 9


def seconds(function: Callable[[], Any]) -> float:
    """Return the median time of a call, after two that are not counted."""
    times = []
    for _ in range(ROUNDS + 2):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def updater(layer: nn.GRU, batch: int, bare: bool) -> Callable[[], None]:
    """Return a function that takes one whole update with the layer."""
    embedding, head = nn.Embedding(VOCABULARY, EMBEDDING), nn.Linear(layer.hidden_size, VOCABULARY)
    parameters = [*embedding.parameters(), *layer.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    x_TB = torch.randint(VOCABULARY, (WINDOW, batch))
    target = torch.randint(VOCABULARY, (WINDOW * batch,))
    h_BH = torch.zeros(batch, layer.hidden_size)

    def update() -> None:
        optimizer.zero_grad()
        out_TBH = layer(embedding(x_TB), h_BH[None] if bare else (h_BH,))[0]
        nn.functional.cross_entropy(head(out_TBH).flatten(0, 1), target).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return update


def measure(hidden: int, batch: int, peak: float) -> dict[str, float]:
    """Return characters a second of each variant, ratios, and shares of the peak."""
    ours = GRU(EMBEDDING, hidden)
    ours.train()
    bare = seconds(updater(nn.GRU(EMBEDDING, hidden), batch, bare=True))
    full = seconds(updater(ours, batch, bare=False))
    ours.reduced = True
    reduced = seconds(updater(ours, batch, bare=False))
    work = 6 * (3 * hidden * (hidden + EMBEDDING) + hidden * VOCABULARY) * WINDOW * batch
    return {
        "hidden": hidden,
        "batch": batch,
        "torch_chars_per_second": WINDOW * batch / bare,
        "float32_ratio": bare / full,
        "bfloat16_ratio": bare / reduced,
        "float32_share_of_peak": work / full / peak,
        "bfloat16_share_of_peak": work / reduced / peak,
    }


def main() -> None:
    """Measure every size, print the table, write the JSON."""
    torch.manual_seed(0)
    with tuned(available_cores()):
        square = torch.ones(2048, 2048)
        peak = 2 * 2048**3 / seconds(lambda: square @ square)
        rows = [measure(hidden, batch, peak) for hidden, batch in SIZES]
    print(f"{platform.processor() or platform.machine()}, {available_cores()} cores, torch "
          f"{torch.__version__}, peak {peak / 1e9:.0f} GFLOP/s in float32\n")  # fmt: skip
    print("| H, batch | torch.nn.GRU, chars/s | float32 | bfloat16 | share of peak | bfloat16 |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print("| {hidden:.0f}, {batch:.0f} | {torch_chars_per_second:,.0f} | {float32_ratio:.2f} x "
              "| {bfloat16_ratio:.2f} x | {float32_share_of_peak:.2f} "
              "| {bfloat16_share_of_peak:.2f} |".format(**row))  # fmt: skip
    with open("throughput.json", "w", encoding="utf-8") as file:
        json.dump({"peak": peak, "torch": torch.__version__, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
