"""Whether texts of every kind train and sample: python benchmarks/corpora.py FOLDER.

Each text of a folder trains for a minute with nothing set but what its kind asks for (items for
names and tunes, pieces beside characters for a large alphabet), is measured on the first 100,000
characters of its validation part (of items on all) in bits per byte, which compare across units
and scripts, and writes a sample. Memory is what a process holds of its own (anonymous resident
memory on Linux), less that of `import torch`. Nothing else should run. Prints a table and writes
results/corpora.json; samples go to standard error.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import Watched, save
from report import CORPORA, table

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.data import corpus

TEXTGEN = [sys.executable, "-m", "textgen"]
# Characters that are measured on.
MOST_CHARS = 100_000
KINDS = {
    "names.txt": [["--records", "lines"]],
    "irish.abc": [["--records", "blank-line"]],
    "tang_poetry.zh.txt": [[], ["--tokenizer", "byte"], ["--tokenizer", "bpe"]],
}


def run_textgen(*words: str) -> str:
    """Run a command of textgen and return what it prints."""
    done = subprocess.run([*TEXTGEN, *words], check=True, capture_output=True)
    return done.stdout.decode("utf-8")


def evaluation_words(text: Path, run: str, folder: Path) -> list[str]:
    """Return the words that make `eval` measure on what was held out, not all of a large part."""
    facts = Checkpoint.load(Path(run) / "best.safetensors").metadata
    if facts.records:
        return ["--part", "val"]
    whole, (start, end) = corpus.read(text), facts.parts["val"]
    beginning = folder / "beginning.txt"
    beginning.write_bytes(whole.slice(start, min(end, start + MOST_CHARS)).encode())
    return [str(beginning)]


def measure_text(text: Path, words: list[str], minutes: float, torch: float) -> dict[str, Any]:
    """Train on one text, measure and sample; return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        start = time.monotonic()
        budget = ["--minutes", f"{minutes:g}", "--out", run]
        peak = Watched([*TEXTGEN, "train", str(text), *words, *budget]).wait()
        seconds = time.monotonic() - start
        last = json.loads((Path(run) / "metrics.jsonl").read_text().splitlines()[-1])
        result = json.loads(
            run_textgen("eval", run, *evaluation_words(text, run, Path(folder)), "--json")
        )
        ends = ["--num", "5"] if "--records" in words else ["--length", "200"]
        sample = run_textgen("sample", run, "--seed", "1", *ends)
    print(f"--- {text.name} {' '.join(words)}\n{sample}", file=sys.stderr, flush=True)
    return {
        "text": text.name,
        "options": " ".join(words),
        "bytes": text.stat().st_size,
        "seconds": seconds,
        "rate": last["chars_per_second"],
        "peak": peak - torch,
        "bits_per_byte": result["bits_per_byte"],
        "bits_per_char": result["bits_per_char"],
    }


def main() -> None:
    """Measure every text of a folder, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=1)
    arguments = parser.parse_args()
    torch = Watched([sys.executable, "-c", "import torch, time; time.sleep(0.5)"]).wait()
    rows = []
    for text in sorted(arguments.folder.iterdir()):
        if text.is_file() and text.name not in ("MANIFEST.md", "README.md"):
            for words in KINDS.get(text.name, [[]]):
                rows.append(measure_text(text, words, arguments.minutes, torch))
                print(json.dumps(rows[-1]), flush=True)
    save("corpora", rows)
    print(table(rows, CORPORA))


if __name__ == "__main__":
    main()
