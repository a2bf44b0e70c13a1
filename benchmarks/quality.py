"""How good a text model is after so many minutes: python benchmarks/quality.py TEXT [TEXT ...].

For each text, budget and seed runs `textgen train TEXT --split 0.9,0.1 --minutes M --seed S`, with
nothing else set, as a process of its own, and measures the result on the validation part: under
the protocols `stateful` and `nanogpt`, and with dynamic evaluation; and on the first 200,000
characters of it as it is (`static`) and while it learns from them (`adaptive`). Beside it, in this
process, on the same parts: n-grams alone, char-rnn's default setting for 100 s, nanoGPT's CPU
recipe, and the compressors of compressors.py.
The best checkpoint of a run is chosen on the validation part, as `textgen train` does. Nothing else
should run. Prints a table and writes results/quality-TEXT.json.

Takes about an hour for a text of a megabyte and longer for a longer one: --minutes and --seeds take
less, --quick leaves out `nanogpt` and dynamic evaluation, --no-baselines what stands beside.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from baselines import train_char_rnn, train_nanogpt
from common import save
from compressors import SPLIT, measure_compressors, read_parts
from report import QUALITY, table

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.data import corpus
from textgen.data.splits import Split
from textgen.data.workers import available_cores
from textgen.engine.ngrams import NGrams
from textgen.evaluation import protocols
from textgen.nn.char_rnn import CharRNN, TorchStepper
from textgen.nn.device import cpu_settings
from textgen.tokenizers.char import CharTokenizer

# The figures of `textgen eval --adaptive`, without and with --dynamic.
ADAPTIVE_KEYS = {
    "adaptive": "adaptive_nats_per_char",
    "adaptive_dynamic": "adaptive_dynamic_nats_per_char",
}


def measure_textgen(
    text: Path, minutes: float, seed: int, folder: Path, quick: bool
) -> dict[str, Any]:
    """Train with the shipped defaults in a process of its own and measure the result."""
    run = folder / f"{text.stem}-{minutes:g}-{seed}"
    words = [str(text), "--split", SPLIT, "--minutes", f"{minutes:g}", "--seed", str(seed)]
    start = time.monotonic()
    subprocess.run([*TEXTGEN, "train", *words, "--out", str(run)], check=True, capture_output=True)
    seconds = time.monotonic() - start
    best = Checkpoint.load(run / "best.safetensors")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    dynamic = [] if quick else ["--dynamic"]
    stateful = evaluate_run(run, "--part", "val", *dynamic)
    row = {
        "model": f"textgen: {best.model.describe().partition(',')[0]} {best.model.hidden}",
        "budget": f"--minutes {minutes:g}",
        "seed": seed,
        "seconds": seconds,
        "parameters": best.model.parameters(),
        "chars_seen": last["chars_seen"],
        "stateful": stateful["nats_per_char"],
        "network": measure_network(best, text),
        **measure_adaptive(run, text, dynamic),
        "settings": best.metadata.training,
    }
    if quick:
        return row
    nanogpt = evaluate_run(run, "--part", "val", "--protocol", "nanogpt")
    row["nanogpt"] = nanogpt["nats_per_char"]
    row["dynamic"] = stateful["dynamic_nats_per_char"]
    return row | {name: stateful[name] for name in ("dynamic_lr", "dynamic_decay")}


def measure_network(best: Checkpoint, text: Path) -> float:
    """Return the nats of a checkpoint's network without its n-grams, under `stateful`."""
    network = CharRNN.from_weights(best.model, best.weights, torch.device("cpu"))
    whole = corpus.read(text)
    val = whole.slice(*Split(SPLIT).bounds(len(whole))["val"])
    # One stream gains nothing from a second thread.
    with cpu_settings(1):
        result = protocols.measure_text(TorchStepper(network), best.tokenizer, val, "stateful")
    return result.nats_per_char


def measure_adaptive(run: Path, text: Path, dynamic: list[str]) -> dict[str, float]:
    """Return the nats of the characters that compressors are measured on, fixed and adaptive."""
    held_out = run / "held-out.txt"
    held_out.write_text(read_parts(text)[1], "utf-8", newline="")
    figures = evaluate_run(run, str(held_out), "--adaptive", *dynamic)
    adaptive = {name: figures[key] for name, key in ADAPTIVE_KEYS.items() if key in figures}
    return {"static": figures["nats_per_char"], **adaptive}


TEXTGEN = [sys.executable, "-m", "textgen"]


def evaluate_run(run: Path, *words: str) -> dict[str, Any]:
    """Return what `textgen eval` says of a run."""
    command = [*TEXTGEN, "eval", str(run), *words, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def measure_baselines(text: Path, budget: float) -> Iterator[dict[str, Any]]:
    """Train and measure what one would otherwise use."""
    whole = corpus.read(text)
    bounds = Split(SPLIT).bounds(len(whole))
    train, val = whole.slice(*bounds["train"]), whole.slice(*bounds["val"])
    tokenizer = CharTokenizer.from_text(train)
    ids, val_ids = tokenizer.encode(train), tokenizer.encode(val, "replace")

    def timed_row(model: str, start: float, **figures: Any) -> dict[str, Any]:
        return {"model": model, "seconds": time.monotonic() - start, **figures}

    for order in (5, 8, 16):
        start = time.monotonic()
        ngrams = NGrams.count(ids, tokenizer.size, order - 1)
        counted = timed_row(f"Kneser-Ney n-grams up to {order}", start, chars_seen=len(ids))
        figures = {
            p: protocols.measure_text(ngrams, tokenizer, val, p).nats_per_char
            for p in ("stateful", "nanogpt")
        }
        yield counted | figures
    start = time.monotonic()
    model = train_char_rnn(ids, tokenizer.size, budget, seed=0)
    done = timed_row("char-rnn's setting, 2 x LSTM 128", start, budget=f"{budget:.0f} s", seed=0)
    for protocol in ("stateful", "nanogpt"):
        done[protocol] = protocols.measure_text(model, tokenizer, val, protocol).nats_per_char
    yield done | {"parameters": sum(p.numel() for p in model.parameters())}
    start = time.monotonic()
    gpt = train_nanogpt(ids, tokenizer.size, seed=0)
    done = timed_row("nanoGPT's CPU recipe", start, budget="2,000 updates", seed=0)
    done |= {"parameters": sum(p.numel() for p in gpt.parameters()), "chars_seen": 2000 * 12 * 64}
    done["stateful"], done["own_windows"] = gpt.sliding(val_ids), gpt.windows(val_ids)
    yield done


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean and the spread over seeds of each budget of textgen's."""
    summaries = []
    for budget in dict.fromkeys(row["budget"] for row in rows):
        same = [row for row in rows if row["budget"] == budget]
        for name, of in (("mean", statistics.fmean), ("largest - smallest", spread)):
            figures = {k: of([row[k] for row in same]) for k in MEASURED if k in same[0]}
            summaries.append({"model": name, "budget": budget, **figures})
    return summaries


MEASURED = ("seconds", "stateful", "network", "nanogpt", "dynamic", "static", *ADAPTIVE_KEYS)


def spread(values: list[float]) -> float:
    """Return the distance between the largest and the smallest."""
    return max(values) - min(values)


def main() -> None:
    """Measure every text, print a table each, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--minutes", type=float, nargs="+", default=[100 / 60, 10])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-baselines", action="store_true")
    arguments = parser.parse_args()
    for text in arguments.texts:
        with tempfile.TemporaryDirectory() as folder:
            rows = []
            for minutes in arguments.minutes:
                for seed in range(arguments.seeds):
                    rows.append(measure_textgen(text, minutes, seed, Path(folder), arguments.quick))
                    print(json.dumps(rows[-1]), flush=True)
        more = summarise(rows) if arguments.seeds > 1 else []
        others = []
        if not arguments.no_baselines:
            with cpu_settings(available_cores()):
                others = [*measure_baselines(text, 100), *measure_compressors(text)]
        save(f"quality-{text.stem}", [*rows, *more, *others])
        print(table([*rows, *more, *others], QUALITY), flush=True)


if __name__ == "__main__":
    main()
