"""How large texts are read, and in how much memory: python benchmarks/large.py TEXT [TEXT ...].

Repeats each text (which may be packed) until it has --gigabytes, in a temporary folder that needs
three times that room, reads it into an empty cache, reads it again, and trains 300 steps on it.
Nothing else should run. Prints a table and writes results/large.json. Takes five minutes for 10 GB.

    python benchmarks/large.py --start 100

says instead how long a start takes with a text of so many gigabytes that the cache has: a file full
of holes, which takes no room.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import Watched, save
from report import LARGE, table

from textgen.config import TrainConfig
from textgen.data import cache, corpus, load_dataset
from textgen.data.source import Source
from textgen.data.streams import Streams

READ = """
import sys, time
from textgen.data import corpus
start = time.process_time()
text = corpus.read(sys.argv[1])
print(time.process_time() - start, len(text), len(text.codepoints))
"""


def repeat_text(text: Path, size: int, target: Path) -> None:
    """Write a text again and again until there are so many bytes."""
    with Source([text]) as source, target.open("wb") as file:
        while file.tell() < size:
            for piece in source.pieces():
                file.write(piece.encode())
                if file.tell() >= size:
                    break


def read_in_process(text: Path) -> list[float]:
    """Read a text in a process of its own: CPU seconds, characters, different characters."""
    command = [sys.executable, "-c", READ, str(text)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def measure_text(text: Path, size: int, torch: float) -> dict[str, Any]:
    """Return the figures of one text."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TEXTGEN_CACHE"] = str(folder / "cache")
        large = folder / "large.txt"
        repeat_text(text, size, large)
        seconds, characters, alphabet = read_in_process(large)
        again = read_in_process(large)[0]
        start = time.monotonic()
        words = ["train", str(large), "--steps", "300", "--out", str(folder / "run")]
        peak = Watched([sys.executable, "-m", "textgen", *words]).wait()
        return {
            "text": text.name,
            "bytes": large.stat().st_size,
            "characters": int(characters),
            "alphabet": int(alphabet),
            "read_seconds": seconds,
            "rate": large.stat().st_size / 1e6 / seconds,
            "again_seconds": again,
            "seconds": time.monotonic() - start,
            "peak": peak - torch,
        }


def pretend_to_have_read(text: Path, size: int, alphabet: int) -> None:
    """Make a text full of holes, and in the cache what reading it would have left.

    Its characters are all the first of the alphabet, but for one of each other.
    """
    os.truncate(text, size)
    sha256 = "0" * 64
    codepoints = list(range(32, 32 + alphabet))
    rest = [1] * (alphabet - 1)
    edges = [*range(0, size, corpus.COUNTED_CHARS), size]

    def rows() -> Iterator[np.ndarray]:
        for number, (first, last) in enumerate(itertools.pairwise(edges)):
            others = rest if number == 0 else [0] * len(rest)
            yield np.array([last - first - sum(others), *others], np.uint32)

    def key(what: str) -> str:
        return cache.key_of(what, sha256, "utf-8", "keep", "none")

    room = (len(edges) - 1) * alphabet
    about: dict[str, Any] = {"name": "counts", "edges": edges}
    cache.store(key("counts of blocks"), rows(), np.dtype("u4"), room, about)
    facts = {"codepoints": codepoints, "counts": [size - len(rest), *rest]}
    about = {"name": "holes", **facts, "sha256": sha256, "bytes": size, "had_bom": False}
    entry = cache.store(key("characters"), [], np.dtype("u2"), 0, about)
    os.truncate(entry.path, 2 * size)
    status = entry.path.stat()
    record = json.loads(entry.path.with_suffix(".json").read_text()) | {"length": size}
    record["written"] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    entry.path.with_suffix(".json").write_text(json.dumps(record))
    with Source([text]) as source:
        cache.remember_digest(source.signature(), sha256)


def measure_start(size: int) -> None:
    """Print how long it takes until the first window of a text in the cache is there."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["TEXTGEN_CACHE"] = str(Path(name, "cache"))
        text = Path(name, "holes.txt")
        text.touch()
        pretend_to_have_read(text, size, 3586)
        start = time.monotonic()
        dataset = load_dataset([text], TrainConfig())
        loaded = time.monotonic()
        Streams(dataset.train, 32, 128, seed=0).window_at(epoch=0, index=0)
        print(f"{size:,} characters: loaded in {loaded - start:.2f} s,", end=" ")
        print(f"the first window after {time.monotonic() - start:.2f} s")


def main() -> None:
    """Measure every text, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("texts", nargs="*", type=Path, metavar="TEXT")
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument(
        "--start", type=float, metavar="GIGABYTES", help="nothing but a start with so large a text"
    )
    arguments = parser.parse_args()
    if arguments.start:
        measure_start(int(arguments.start * 1e9))
        return
    torch = Watched([sys.executable, "-c", "import torch, time; time.sleep(0.5)"]).wait()
    rows = []
    for text in arguments.texts:
        rows.append(measure_text(text, int(arguments.gigabytes * 1e9), torch))
        print(json.dumps(rows[-1]), flush=True)
    save("large", rows)
    print(table(rows, LARGE))


if __name__ == "__main__":
    main()
