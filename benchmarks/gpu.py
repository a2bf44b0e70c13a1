"""What one GPU makes of training: python benchmarks/gpu.py [--shakespeare FILE].

Three parts, of at most nine minutes in all:

- Characters a second of textgen's trainer in float16, against a loop as one would write it: one
  torch.nn.LSTM or GRU a layer, head, loss, fused AdamW, autocast and GradScaler. Beside it the same
  loop with torch.nn's own stack of layers. `share` is 6 times the weights in products times the
  characters a second, over the measured peak of a large product in float16. What no time is left
  for is left out.
- A checkpoint from the GPU writes the same greedy text on the CPU, saved there and loaded again on
  the GPU too.
- tiny-shakespeare for 3 minutes, measured on its last tenth by `textgen eval`, if it is named.
  --corpora FOLDER also trains on FOLDER/war_and_peace.txt for 5, --wikipedia FILE on 100 MB of that
  file for 9 minutes; these take longer than nine minutes together.

Prints a table and writes results/gpu.json. Without CUDA it says what is missing and exits with 5.
--dry runs tiny sizes on the CPU instead, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save
from compressors import SPLIT
from report import GPU_CHECKS, GPU_RUNS, GPU_SPEED, table
from torch import Tensor, nn

import textgen
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.config.model import ModelConfig
from textgen.data.streams import Streams
from textgen.errors import MachineError
from textgen.nn.char_rnn import CharRNN
from textgen.nn.device import choose_device, measure_gflops
from textgen.training.trainer import Trainer

TEXTGEN = [sys.executable, "-m", "textgen"]
VOCABULARY = 65
# Seconds after which no other size is begun, so that all is over within nine minutes.
SPEED_SECONDS = 240
WIKIPEDIA_BYTES = 100_000_000


@dataclass(frozen=True)
class Scale:
    """How large everything is: as on a GPU, or so small that a CPU tries it out."""

    hidden: tuple[int, ...] = (512, 1024)
    layers: tuple[int, ...] = (1, 2, 3)
    batches: tuple[int, ...] = (64, 128, 256)
    embedding: int = 128
    window: int = 128
    steps: int = 10
    characters: int = 10_000_000


DRY = Scale((8,), (1, 2), (4,), 8, 6, 2, 2_000)


class BareLoop:
    """A loop as one would write it, which asks for its loss at the end of each step."""

    def __init__(self, sizes: ModelConfig, streams: Streams, device: torch.device, stacked: bool):
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[sizes.cell]
        widths = [sizes.embedding] + [sizes.hidden] * (sizes.layers - 1)
        layers = [kind(width, sizes.hidden) for width in widths]
        if stacked:
            layers = [kind(sizes.embedding, sizes.hidden, sizes.layers)]
        self.embedding = nn.Embedding(sizes.vocab, sizes.embedding).to(device)
        self.layers = nn.ModuleList(layers).to(device)
        self.head = nn.Linear(sizes.hidden, sizes.vocab).to(device)
        modules = (self.embedding, self.layers, self.head)
        self.weights = [weight for module in modules for weight in module.parameters()]
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-3, fused=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        self.streams, self.device, self.step = streams, device, 0
        self.states: list[Any] = [None] * len(layers)

    def update(self) -> None:
        """Take a step on the next window."""
        x_TB, y_TB, _ = self.streams.window_at(*self.streams.position(self.step))
        x, y = torch.from_numpy(x_TB).to(self.device), torch.from_numpy(y_TB).to(self.device)
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            features = self.embedding(x)
            for number, layer in enumerate(self.layers):
                features, state = layer(features, self.states[number])
                self.states[number] = _detach(state)
            loss = nn.functional.cross_entropy(self.head(features).flatten(0, 1), y.flatten())
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        loss.item()
        self.step += 1


def _detach(state: Any) -> Any:
    return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)


def measure_speed(device: torch.device, scale: Scale, peak: float) -> Iterator[dict[str, Any]]:
    """Yield a row for each size, until there is no more time."""
    ids = np.random.default_rng(0).integers(0, VOCABULARY, scale.characters).astype(np.uint8)
    end = time.monotonic() + SPEED_SECONDS
    cases = [
        (cell, layers, hidden, batch)
        for hidden in scale.hidden
        for layers in scale.layers
        for batch in scale.batches
        for cell in ("lstm", "gru")
    ]
    for cell, layers, hidden, batch in cases:
        if time.monotonic() > end:
            print("no time is left for larger sizes")
            return
        sizes = ModelConfig(VOCABULARY, cell, layers, hidden, scale.embedding)
        row = {"cell": cell, "layers": layers, "hidden": hidden, "batch": batch}
        row |= measure_size(sizes, Streams(ids, batch, scale.window, seed=0), device, scale, peak)
        print(json.dumps(row), flush=True)
        yield row


def measure_size(
    sizes: ModelConfig, streams: Streams, device: torch.device, scale: Scale, peak: float
) -> dict[str, Any]:
    """Return the speeds of one size: textgen's, and those of the loops as ratios to the first."""
    model = CharRNN(sizes, precision="float16", device=device)
    trainer = Trainer(model, streams, seed=0)
    updates: dict[str, Callable[[], Any]] = {
        "textgen": lambda: trainer.update(1e-3),
        "bare": BareLoop(sizes, streams, device, stacked=False).update,
    }
    if sizes.layers > 1:
        updates["stacked"] = BareLoop(sizes, streams, device, stacked=True).update
    characters = streams.chars_per_step
    speeds = {n: characters / step_seconds(f, device, scale.steps) for n, f in updates.items()}
    trainer.finish()
    row: dict[str, Any] = {"textgen": speeds["textgen"]}
    row["share"] = 6 * sizes.products() * speeds["textgen"] / (peak * 1e9)
    for name in updates.keys() - {"textgen"}:
        row[name] = speeds["textgen"] / speeds[name]
    return row


def step_seconds(update: Callable[[], Any], device: torch.device, steps: int) -> float:
    """Return what a step takes, the GPU's work included; the first three are not counted."""
    for _ in range(3):
        update()
    _wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        update()
    _wait(device)
    return (time.perf_counter() - start) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def check_travel(device: torch.device, scale: Scale) -> list[dict[str, Any]]:
    """Train a little on the device; return whether devices agree on what the model writes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = "The quick brown fox jumps over the lazy dog. " * 400
        (folder / "text.txt").write_text(text, "utf-8")
        sizes = {"hidden": scale.hidden[0], "embedding": scale.embedding, "ngrams": 1}
        result = textgen.train(
            folder / "text.txt",
            out=str(folder / "run"),
            device=device.type,
            steps=10 * scale.steps,
            init="none",
            **sizes,
        )
        again = folder / "again.safetensors"
        Checkpoint.load(result.best).save(again)
        places = {"gpu": (result.best, device.type), "cpu": (result.best, "cpu")}
        places["gpu again"] = (again, device.type)
        texts = {
            place: textgen.load(path, device=kind).sample("The ", length=200, temperature=0)
            for place, (path, kind) in places.items()
        }
    return [
        {"check": f"greedy text on {place} is that on gpu", "holds": str(text == texts["gpu"])}
        for place, text in texts.items()
        if place != "gpu"
    ]


def measure_run(text: Path, minutes: float, device: torch.device) -> dict[str, Any]:
    """Train with nothing set but the minutes, as a process of its own; measure the result."""
    with tempfile.TemporaryDirectory() as name:
        run = str(Path(name, "run"))
        words = ["--minutes", f"{minutes:g}", "--device", device.type, "--split", SPLIT]
        start = time.monotonic()
        call("train", str(text), *words, "--out", run)
        seconds = time.monotonic() - start
        best = Checkpoint.load(Path(run, "best.safetensors"))
        stateful = json.loads(call("eval", run, str(text), "--part", "val", "--json"))
    return {
        "text": text.stem,
        "minutes": minutes,
        "seconds": seconds,
        "model": best.model.describe(),
        "chars_seen": (best.metadata.metrics or {}).get("chars_seen"),
        "stateful": stateful["nats_per_char"],
    }


def call(*words: str) -> str:
    """Return what a command prints; on an error say what it said."""
    done = subprocess.run([*TEXTGEN, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"textgen {words[0]}: {done.stderr.strip()}")
    return done.stdout


def wanted_runs(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, float]]:
    """Yield the texts to train on and the minutes."""
    if arguments.shakespeare:
        yield arguments.shakespeare, 3.0
    if arguments.corpora:
        yield arguments.corpora / "war_and_peace.txt", 5.0
    if arguments.wikipedia:
        with open(arguments.wikipedia, "rb") as file:
            beginning = file.read(WIKIPEDIA_BYTES).decode("utf-8", "ignore")
        (folder / "wikipedia.txt").write_text(beginning, "utf-8", newline="")
        yield folder / "wikipedia.txt", 9.0


def describe_gpu(device: torch.device) -> dict[str, str]:
    """Return which card, and with what."""
    if device.type != "cuda":
        return {"gpu": "none", "cuda": "none", "cudnn": "none"}
    return {
        "gpu": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
    }


def main(words: list[str] | None = None) -> int:
    """Measure all that was asked for; return the exit code."""
    parser = argparse.ArgumentParser(description="What one GPU makes of training.")
    parser.add_argument("--shakespeare", type=Path, help="tinyshakespeare.txt: 3 minutes")
    parser.add_argument("--corpora", type=Path, help="a folder with war_and_peace.txt: 5 minutes")
    parser.add_argument("--wikipedia", type=Path, help="a text, unpacked: 9 minutes on 100 MB")
    parser.add_argument("--dry", action="store_true", help="tiny sizes on the CPU")
    arguments = parser.parse_args(words)
    try:
        device = choose_device("cpu" if arguments.dry else "cuda")
    except MachineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    scale = DRY if arguments.dry else Scale()
    peak = measure_gflops(device)
    rows = list(measure_speed(device, scale, peak))
    checks = check_travel(device, scale)
    with tempfile.TemporaryDirectory() as folder:
        wanted = wanted_runs(arguments, Path(folder))
        runs = [measure_run(text, minutes, device) for text, minutes in wanted]
    for part, columns in ((rows, GPU_SPEED), (checks, GPU_CHECKS), (runs, GPU_RUNS)):
        print(table(part, columns) + "\n")
    if not arguments.dry:
        more = {"checks": checks, "runs": runs, "peak_gflops": peak}
        save("gpu", rows, **more, **describe_gpu(device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
