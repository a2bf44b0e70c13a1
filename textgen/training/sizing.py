"""The sizes and the recipe, chosen from plain numbers so that nobody has to choose them.

A pure function of the length of the text, the budget (seconds, or characters to train on) and the
machine (device kind, measured speed). What the user set is kept.

    >>> fill(TrainConfig(minutes=10), Facts(1_000_000, 600, None, "cpu", 128)).hidden
    640
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from textgen.config import TrainConfig

WIDTHS = (32, 64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1536, 2048)
CHARS_PER_WEIGHT = 5  # characters to train on for each weight in a product, found by ablation
LONGEST_NGRAM = 8
USUAL_WINDOW = 64
MOST_STREAMS = 512  # side by side, when items are short
EFFICIENCY = 0.8  # of the probed speed that training reaches; 1 with products in bfloat16
FULL_WIDTH = 640  # units from which it is reached; smaller products take a share of it


@dataclass(frozen=True)
class SizingInputs:
    """What sizing depends on. One of seconds and budget_chars is set, the other None.

    characters: of the training part; gflops: the probe's rounded speed; bfloat16: whether the CPU
    multiplies such numbers itself; vocab: V; item: the mean length of an item, if there are any.
    """

    characters: int
    seconds: float | None
    budget_chars: float | None
    device: str
    gflops: float
    bfloat16: bool = False
    vocab: int = 64
    item: float | None = None


def choose_defaults(config: TrainConfig, facts: SizingInputs) -> TrainConfig:
    """Return config with every size and rate set."""
    gpu = facts.device != "cpu"
    layers = config.layers or 1
    embedding = config.embedding or 64
    hidden = config.hidden or width(facts, layers)
    seen = affordable(facts, hidden, layers)
    epochs = seen / facts.characters
    filled: dict[str, Any] = {
        "cell": config.cell or "gru",
        "layers": layers,
        "hidden": hidden,
        "embedding": embedding,
        "ngrams": config.ngrams or LONGEST_NGRAM,
        "batch": config.batch
        or streams(64 if gpu else 16, config.window or USUAL_WINDOW, facts.item),
        "window": config.window or USUAL_WINDOW,
        "lr": config.lr or peak_rate(config.cell or "gru", hidden),
        "precision": config.precision or ("bfloat16" if facts.bfloat16 else "float32"),
        "dropout": dropout(epochs) if config.dropout is None else config.dropout,
        "weight_decay": decay(epochs) if config.weight_decay is None else config.weight_decay,
    }
    return dataclasses.replace(config, **filled)


def width(facts: SizingInputs, layers: int) -> int:
    """Return the rung of the ladder whose weights the budget can feed with characters enough."""
    fitting = [
        rung
        for rung in WIDTHS
        if affordable(facts, rung, layers) >= CHARS_PER_WEIGHT * weights(rung, layers)
        and weights(rung, layers) <= 20 * facts.characters
    ]
    return fitting[-1] if fitting else WIDTHS[0]


def weights(hidden: int, layers: int) -> float:
    """Return about how many weights a GRU of that size multiplies with, and a head of 64 ids."""
    return 3 * hidden * hidden * (2 * layers - 1) + 4 * 64 * hidden


def streams(usual: int, window: int, item: float | None) -> int:
    """Return how many streams run side by side: more where items end long before a window does."""
    if item is None or item >= window:
        return usual
    return min(MOST_STREAMS, round(usual * window / item))


def affordable(facts: SizingInputs, hidden: int, layers: int) -> float:
    """Return how many characters a network of that size can train on in the budget.

    Each costs 6 operations a weight: 2 forwards, 4 backwards.
    """
    if facts.budget_chars is not None:
        return facts.budget_chars
    assert facts.seconds is not None
    efficiency = (1.0 if facts.bfloat16 else EFFICIENCY) * min(1.0, hidden / FULL_WIDTH)
    products = weights(hidden, layers) + hidden * max(0, facts.vocab - 64)
    return efficiency * facts.seconds * facts.gflops * 1e9 / (6 * products)


def peak_rate(cell: str, hidden: int) -> float:
    """Return the peak learning rate: lower for wider layers; a GRU's was found by ablation."""
    if cell == "gru":
        return 6e-3 * min(1.0, math.sqrt(384 / hidden))
    return 3e-3 * min(1.0, math.sqrt(512 / hidden))


def dropout(epochs: float) -> float:
    """Return the dropout rate for a text that is read so many times: more for more."""
    return round(min(0.5, max(0.0, 0.126 * math.log2(max(1.0, epochs)) - 0.1)), 2)


def decay(epochs: float) -> float:
    """Return the weight decay for a text that is read so many times: more for more."""
    return round(min(0.3, max(0.1, 0.02 * epochs)), 3)
