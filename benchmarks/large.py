"""How large texts are read, and in how much memory: python benchmarks/large.py TEXT [TEXT ...].

Repeats each text (which may be packed) until it has --gigabytes, in a temporary folder that needs
three times that room, reads it into an empty cache, reads it again, and trains 300 steps on it.
Nothing else should run. Prints a table and writes results/large.json. Takes five minutes for 10 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import Watched, save
from report import LARGE, table

from textgen.data.source import Source

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


def main() -> None:
    """Measure every text, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--gigabytes", type=float, default=10)
    arguments = parser.parse_args()
    torch = Watched([sys.executable, "-c", "import torch, time; time.sleep(0.5)"]).wait()
    rows = []
    for text in arguments.texts:
        rows.append(measure_text(text, int(arguments.gigabytes * 1e9), torch))
        print(json.dumps(rows[-1]), flush=True)
    save("large", rows)
    print(table(rows, LARGE))


if __name__ == "__main__":
    main()
