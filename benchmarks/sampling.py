"""How fast text is written, against loops as one would write them: python benchmarks/sampling.py.

Characters a second of textgen's sampler (numpy, untrained networks, embedding 64, temperature 1),
beside torch's modules called one step at a time and torch's cells in a loop, each with its best
number of threads, in one process, in turn, median of several rounds; beside the rate at which an
array of the weights' size can be read; what each filter costs; how long `textgen sample` takes to
its first character and how much memory it holds. Nothing else should run. Prints tables and writes
results/sampling.json. Takes about two and a half minutes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from common import ROOT, save
from report import FILTER_COSTS, SAMPLING, STARTS, table
from threadpoolctl import threadpool_limits
from torch import nn

from textgen.config.model import ModelConfig
from textgen.config.sample import SampleConfig
from textgen.engine.network import Engine, aligned
from textgen.engine.threads import sampling_threads
from textgen.nn.char_rnn import CharRNN
from textgen.sampling.chain import FILTERS
from textgen.sampling.generator import generate
from textgen.tokenizers.char import CharTokenizer

# 65 characters.
TEXT = "".join(map(chr, range(32, 97)))
TOKENIZER = CharTokenizer.from_text(TEXT)
ROUNDS, SECONDS = 7, 0.4
MODULES = {"lstm": nn.LSTM, "gru": nn.GRU}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}
# The last one's weights, 50 MB, are beyond most caches.
NETWORKS = (("lstm", 2, 512), ("lstm", 1, 512), ("gru", 1, 512), ("lstm", 2, 1024))
# A value of each filter with which it has something to do.
VALUES: dict[str, Any] = {
    "bias": ("a-e:-1",),
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.01,
    "presence_penalty": 0.01,
    "dry_multiplier": 0.8,
    "no_repeat_ngram": 12,
    "temperature": 0.8,
    "top_k": 20,
    "top_p": 0.95,
    "min_p": 0.02,
    "typical_p": 0.95,
    "epsilon_cutoff": 1e-3,
    "eta_cutoff": 1e-3,
    "mirostat": 3.0,
}
TOGETHER = ("bias", "repetition_penalty", "top_k", "top_p", "min_p")


def make_network(cell: str, layers: int, hidden: int = 512) -> CharRNN:
    """Return an untrained network."""
    return CharRNN(ModelConfig(TOKENIZER.size, cell, layers, hidden, 64), seed=0).eval()


def textgen_loop(model: CharRNN, rows: int = 1, **options: Any) -> Iterator[None]:
    """Write text without end, a character of each row at a time."""
    engine = Engine(model.config, model.export())
    settings = {"temperature": 1.0, "seed": 0, "num": rows, "length": 10**9, **options}
    for _ in generate(engine, TOKENIZER, SampleConfig(**settings)):
        yield


def module_loop(model: CharRNN, cell: str) -> Iterator[None]:
    """Write text as most scripts do: torch's module, called for one step at a time."""
    recurrent = MODULES[cell](64, model.config.hidden, num_layers=len(model.layers))
    state, ids_TB = None, torch.zeros(1, 1, dtype=torch.long)
    while True:
        out, state = recurrent(model.embedding(ids_TB), state)
        ids_TB = torch.multinomial(model.head(out)[-1].softmax(-1), 1)
        yield


def cell_loop(model: CharRNN, cell: str) -> Iterator[None]:
    """Write text by torch's cells, the fastest loop that one would write in torch."""
    hidden = model.config.hidden
    widths = [64] + [hidden] * (len(model.layers) - 1)
    cells = [CELLS[cell](width, hidden) for width in widths]
    states: list[Any] = [None] * len(cells)
    ids_B = torch.zeros(1, dtype=torch.long)
    while True:
        x = model.embedding(ids_B)
        for layer, step in enumerate(cells):
            states[layer] = step(x, states[layer])
            x = states[layer][0] if cell == "lstm" else states[layer]
        ids_B = torch.multinomial(model.head(x).softmax(-1), 1)[:, 0]
        yield


def measure_rate(steps: Iterator[None], threads: int) -> float:
    """Return steps a second."""
    torch.set_num_threads(threads)
    count, start = 0, time.perf_counter()
    with threadpool_limits(threads), torch.inference_mode():
        while time.perf_counter() < start + SECONDS:
            next(steps)
            count += 1
    return count / (time.perf_counter() - start)


def measure_in_turn(loops: dict[str, tuple[Iterator[None], int]]) -> dict[str, float]:
    """Return the median rate of each loop, measured round by round."""
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS + 1):
        for name, (steps, threads) in loops.items():
            rates[name].append(measure_rate(steps, threads))
    return {name: statistics.median(counted[1:]) for name, counted in rates.items()}


def measure_read_rate(size: int, threads: int) -> float:
    """Return the best bytes a second at which float32 numbers of so many bytes are read."""
    narrow = aligned(np.ones((size // 4 // 2048 * 4, 512), dtype=np.float32))
    wide = narrow.reshape(-1, 2048)
    vector, tall = np.ones(2048, dtype=np.float32), np.ones(len(narrow), dtype=np.float32)
    reads: list[Callable[[], Any]] = [
        lambda: narrow @ vector[:512],
        lambda: wide @ vector,
        lambda: tall @ narrow,
        lambda: narrow.ravel() @ narrow.ravel(),
    ]
    best = 0.0
    with threadpool_limits(threads):
        for read in reads:
            for _ in range(200):
                start = time.perf_counter()
                read()
                best = max(best, narrow.nbytes / (time.perf_counter() - start))
    return best


def compare_network(cell: str, layers: int, hidden: int) -> dict[str, Any]:
    """Return the rates of one network and of torch's loops, and the ratios."""
    model = make_network(cell, layers, hidden)
    threads = sampling_threads(model.config.parameters())
    loops = {
        "ours": (textgen_loop(model), threads),
        "batch": (textgen_loop(model, rows=64), threads),
    }
    for number in (1, 2):
        loops[f"module {number}"] = (module_loop(model, cell), number)
        loops[f"cells {number}"] = (cell_loop(model, cell), number)
    size = 4 * (model.config.products() - model.layers[0].weight_ih_l0.numel())
    before = measure_read_rate(size, threads)
    rates = measure_in_turn(loops)
    read = max(before, measure_read_rate(size, threads))
    return {
        "network": f"{cell}, {layers} x {hidden}",
        "threads": threads,
        "rate": rates["ours"],
        "cells": rates["ours"] / max(rates["cells 1"], rates["cells 2"]),
        "module": rates["ours"] / max(rates["module 1"], rates["module 2"]),
        "batch": 64 * rates["batch"] / rates["ours"],
        "read": read / 1e9,
        "share": size * rates["ours"] / read,
    }


def measure_filters() -> list[dict[str, Any]]:
    """Return by how much each filter slows a network of 2 x 512 down."""
    model = make_network("lstm", 2)
    threads = sampling_threads(model.config.parameters())
    loops = {"plain": (textgen_loop(model), threads)}
    for option in (step.option for step in FILTERS):
        loops[option] = (textgen_loop(model, **{option: VALUES[option]}), threads)
    loops["together"] = (textgen_loop(model, **{name: VALUES[name] for name in TOGETHER}), threads)
    rates = measure_in_turn(loops)
    plain = rates.pop("plain")
    rates[" + ".join(TOGETHER)] = rates.pop("together")
    return [{"filter": name, "slower": plain / rate - 1} for name, rate in rates.items()]


def measure_start() -> dict[str, Any]:
    """Return seconds to the first character of the demo model, and its memory."""
    demo = ROOT / "checkpoints" / "demo.safetensors"
    command = [sys.executable, "-m", "textgen", "sample", str(demo), "--length"]
    times = []
    for _ in range(11):
        start = time.perf_counter()
        with subprocess.Popen(
            [*command, "100"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout
            process.stdout.read(1)
            times.append(time.perf_counter() - start)
    # From a small process of its own: a child's peak begins with its parent's size.
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    small = [sys.executable, "-c", code, *command, "20000"]
    peak = int(subprocess.run(small, capture_output=True, check=True).stdout) / 1024
    return {"seconds": statistics.median(times), "peak_mb": peak}


def main() -> None:
    """Measure, print the tables, write the JSON."""
    torch.manual_seed(0)
    # First, since a later child may begin larger.
    start = measure_start()
    rows = [compare_network(*sizes) for sizes in NETWORKS]
    costs = measure_filters()
    save("sampling", rows, filters=costs, start=[start])
    print(table(rows, SAMPLING), table(costs, FILTER_COSTS), table([start], STARTS), sep="\n\n")


if __name__ == "__main__":
    main()
