"""How fast a text becomes ids and n-grams: python benchmarks/counting.py.

CPU time on one core of encoding 20 MB of random ASCII by characters, and of counting the n-grams of
up to 16 of a million random ids, each beside a pass of numpy over as many numbers that such work
cannot do without: a look-up in a table, and a sort; in turn, the median of the rounds. Nothing else
should run. Prints a table and writes results/counting.json. Takes ten seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import save, time_in_turn
from report import table

from textgen.engine.ngrams import NGrams
from textgen.tokenizers.char import CharTokenizer

ROUNDS = 7
CHARACTERS, IDS, VOCABULARY, LONGEST = 20_000_000, 1_000_000, 60, 16
COLUMNS = {
    "work": "work",
    "seconds": "CPU seconds|.3f",
    "rate": "million characters a second|.1f",
    "ratio": "over numpy's pass|.1f",
}


def compare_work(
    work: str, size: int, ours: Callable[[], Any], bare: Callable[[], Any]
) -> dict[str, Any]:
    """Return the time of some work on so many characters, and its ratio to a bare pass."""
    seconds = time_in_turn({"ours": ours, "bare": bare}, ROUNDS, time.process_time)
    rate = size / 1e6 / seconds["ours"]
    ratio = seconds["ours"] / seconds["bare"]
    return {"work": work, "seconds": seconds["ours"], "rate": rate, "ratio": ratio}


def main() -> None:
    """Measure both, print the table, write the JSON."""
    random = np.random.default_rng(0)
    letters = random.integers(32, 127, CHARACTERS, dtype=np.uint8)
    text = letters.tobytes().decode("ascii")
    tokenizer = CharTokenizer.from_text(text[:100_000])
    ids = random.integers(1, VOCABULARY, IDS)
    numbers = random.integers(0, 1 << 63, IDS)
    identity = np.arange(256, dtype=np.uint8)
    rows = [
        compare_work(
            "encoding", CHARACTERS, lambda: tokenizer.encode(text), lambda: identity[letters]
        ),
        compare_work(
            f"counting n-grams up to {LONGEST}",
            IDS,
            lambda: NGrams.count(ids, VOCABULARY, LONGEST - 1),
            lambda: np.sort(numbers),
        ),
    ]
    save("counting", rows)
    print(table(rows, COLUMNS))


if __name__ == "__main__":
    main()
