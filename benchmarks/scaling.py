"""How training scales with processes: python benchmarks/scaling.py.

One update of textgen's trainer with one process on one thread, with one on two threads, and with
two processes of one thread each that torchrun starts, at the same total number of streams; in turn,
three times over, medians of all. Beside them how long the two take to add up arrays of several
sizes. From these comes a model of the time of a step,

    T(N, B) = c + k B / N + 2 a (N - 1) + 2 (N - 1) / N * bytes / b

with c and k fitted to one process on one thread, and a (seconds) and b (bytes a second) to the
sums, of which a step has two, of gradients and of losses; its figure stands beside each measured
one. Last, what the model says of more machines, with the networks that they may have. Prints tables
and writes results/scaling.json. Takes six minutes; nothing else should run.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from common import save
from report import PREDICTED, SCALING, table

from textgen.config.model import ModelConfig
from textgen.data.streams import Streams
from textgen.nn.char_rnn import CharRNN
from textgen.nn.device import cpu_settings
from textgen.training.ranks import Ranks, joined_ranks
from textgen.training.trainer import Trainer

VOCABULARY, EMBEDDING, WINDOW = 96, 64, 64
HIDDEN, BATCHES = (256, 512, 1024), (16, 32, 64)
SUMMED = (1_000, 30_000, 300_000, 3_000_000, 12_000_000)
ROUNDS, UPDATES = 3, 7
# What each process is started as: how many processes, how many threads each.
SETTINGS = {"one": (1, 1), "threads": (1, 2), "two": (2, 1)}
# Of gradients, and of losses and wishes.
SUMS = 2
# Networks between machines: seconds of a message, bytes a second.
NETWORKS = {"10 Gbit/s Ethernet": (50e-6, 1.1e9), "200 Gbit/s InfiniBand": (10e-6, 22e9)}
# Of cuDNN's LSTM of 768 units in float16 on an H100, forwards and backwards, 16 streams of 1,024
# characters: seconds a window of 64, as published by the authors of FlashRNN.
GPU_HIDDEN, GPU_STREAMS, GPU_SECONDS = 768, 16, 5.19e-3 * 64 / 1024
MACHINES = (1, 2, 8, 32, 64, 256)


def measure_updates(ranks: Ranks) -> dict[str, float]:
    """Return the median seconds of an update for each size and number of streams."""
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 1_000_000).astype(np.uint8)
    seconds = {}
    for hidden in HIDDEN:
        for batch in BATCHES:
            model = CharRNN(ModelConfig(VOCABULARY, "gru", 1, hidden, EMBEDDING))
            trainer = Trainer(model, Streams(ids, batch, WINDOW, seed=0), seed=0, ranks=ranks)
            times = []
            for _ in range(UPDATES + 2):
                start = time.perf_counter()
                trainer.update(1e-3)
                times.append(time.perf_counter() - start)
            seconds[f"{hidden} {batch}"] = statistics.median(times[2:])
    return seconds


def measure_sums() -> dict[str, float]:
    """Return the median seconds in which the processes add up arrays, by their bytes."""
    seconds = {}
    for number in SUMMED:
        array, times = torch.ones(number), []
        for _ in range(12):
            start = time.perf_counter()
            dist.all_reduce(array)
            times.append(time.perf_counter() - start)
        seconds[str(4 * number)] = statistics.median(times[2:])
    return seconds


def work(threads: int) -> None:
    """Measure as one of the processes; rank 0 prints what it finds."""
    with cpu_settings(threads), joined_ranks() as ranks:
        found = {"updates": measure_updates(ranks)}
        if ranks.size > 1:
            found["sums"] = measure_sums()
        if ranks.leads:
            print(json.dumps(found))


def start(processes: int, threads: int) -> dict[str, dict[str, float]]:
    """Start processes that measure; return what they print."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words = [sys.executable, *(launcher if processes > 1 else []), __file__, str(threads)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def median_of(measured: Sequence[dict[str, dict[str, float]]], kind: str) -> dict[str, float]:
    """Return the medians of what several rounds measured."""
    return {key: statistics.median(one[kind][key] for one in measured) for key in measured[0][kind]}


def bytes_of(hidden: int) -> int:
    """Return the bytes of the gradients of a network, in float32."""
    sizes = ModelConfig(VOCABULARY, "gru", 1, hidden, EMBEDDING)
    return 4 * sum(int(np.prod(shape)) for shape in sizes.shapes().values())


def fit_line(points: dict[float, float]) -> tuple[float, float]:
    """Return (a, b) of the line a + b x through points, by least squares of relative errors."""
    x, y = np.array(list(points)), np.array(list(points.values()))
    (a, b), *_ = np.linalg.lstsq(np.stack([1 / y, x / y], axis=1), np.ones(len(x)), rcond=None)
    return max(0.0, float(a)), float(b)


def step_seconds(
    line: tuple[float, float], network: tuple[float, float], size: int, machines: int, rows: float
) -> float:
    """Return the seconds of a step by the model; line: (c, k); network: (a, b); rows: B / N."""
    seconds = line[0] + line[1] * rows
    if machines > 1:
        # A ring sends 2 (N - 1) messages for each sum; a is that of all of them between two.
        messages = SUMS * network[0] * (machines - 1)
        seconds += messages + 2 * (machines - 1) / machines * size / network[1]
    return seconds


def measured_rows(
    updates: dict[str, dict[str, float]], network: tuple[float, float]
) -> tuple[list[dict[str, Any]], dict[int, tuple[float, float]]]:
    """Return the table of what was measured, and c and k of each network."""
    rows, lines = [], {}
    for hidden in HIDDEN:
        points = {float(batch): updates["one"][f"{hidden} {batch}"] for batch in BATCHES}
        line = lines[hidden] = fit_line(points)
        for batch in BATCHES:
            one, threads, two = (updates[name][f"{hidden} {batch}"] for name in SETTINGS)
            rows.append(
                {
                    "hidden": hidden,
                    "batch": batch,
                    "one": WINDOW * batch / one,
                    "threads": one / threads,
                    "two": one / two,
                    "efficiency": one / two / 2,
                    "model": one / step_seconds(line, network, bytes_of(hidden), 2, batch / 2),
                }
            )
    return rows, lines


def predicted_rows(line: tuple[float, float], hidden: int) -> list[dict[str, Any]]:
    """Return what the model says of more machines: as much work for each of them as for one."""
    gpu = (0.0, GPU_SECONDS / GPU_STREAMS)
    cases = [
        ("2 cores, GRU of 512", line, 32, bytes_of(hidden)),
        ("H100 (published), LSTM of 768", gpu, 64, 4 * 4 * GPU_HIDDEN * (GPU_HIDDEN + EMBEDDING)),
    ]
    rows = []
    for machine, compute, streams, size in cases:
        for name, network in NETWORKS.items():
            alone = step_seconds(compute, network, size, 1, streams)
            row: dict[str, Any] = {"machine": machine, "network": name, "alone": alone}
            for machines in MACHINES[1:]:
                together = step_seconds(compute, network, size, machines, streams)
                row[f"at_{machines}"] = alone / together
            row["streams"] = streams * MACHINES[-1]
            row["rate"] = (
                row["streams"]
                * WINDOW
                / step_seconds(compute, network, size, MACHINES[-1], streams)
            )
            row["days"] = 1e12 / row["rate"] / 86400
            rows.append(row)
    return rows


def main() -> None:
    """Measure, fit, predict, print the tables, write the JSON."""
    if len(sys.argv) > 1:
        work(int(sys.argv[1]))
        return
    measured: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in SETTINGS}
    for _ in range(ROUNDS):
        for name, (processes, threads) in SETTINGS.items():
            measured[name].append(start(processes, threads))
    updates = {name: median_of(rounds, "updates") for name, rounds in measured.items()}
    sums = median_of(measured["two"], "sums")
    latency, per_byte = fit_line({float(size): seconds for size, seconds in sums.items()})
    network = (latency, 1 / per_byte)
    rows, lines = measured_rows(updates, network)
    predicted = predicted_rows(lines[512], 512)
    facts = {"latency": latency, "bytes_a_second": 1 / per_byte, "sums": sums}
    save("scaling", rows, predicted=predicted, **facts)
    print(f"sums: {1e6 * latency:.0f} microseconds and {1e-9 / per_byte:.2f} GB/s\n")
    print(table(rows, SCALING) + "\n\n" + table(predicted, PREDICTED))


if __name__ == "__main__":
    main()
