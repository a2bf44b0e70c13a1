"""Drawing characters, and the generator that everything which writes text goes through.

In the walk after `filters`: engine -> sampling -> text. One draw a character and row, by inverting
the cumulative distribution in id order with u(seed, row, position), so a character of probability
zero cannot be drawn and row i of a batch draws as it would alone.

    >>> for pieces in generate(engine, tokenizer, SampleConfig(prime="A", seed=1), start):
    ...     print(pieces[0], end="")
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.config import SampleConfig
from textgen.errors import NumericsError
from textgen.filters import apply_filters, softmax
from textgen.measure import first_distribution
from textgen.mixture import Stepper
from textgen.tokenizer import UNKNOWN, CharTokenizer

DRAW_BLOCK = 256  # uniform numbers made at a time


@dataclass(frozen=True)
class Continuation:
    """Where a text stopped: what is needed to go on exactly as if it had not.

    logits_BV: of the character to come; None at the beginning of a text.
    position: draws made so far; seed: the one they were made with.
    """

    state: Any = None
    logits_BV: np.ndarray | None = None
    position: int = 0
    seed: int | None = None


def new_seed() -> int:
    """Return a seed from the operating system, short enough to be typed again."""
    return secrets.randbelow(2**31)


def uniforms(seed: int, row: int, position: int) -> Iterator[float]:
    """Yield u(seed, row, position), u(seed, row, position + 1), ... in [0, 1).

    The position-th 64-bit number of Philox(key=(seed, row)), its upper 53 bits times 2^-53.
    Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011).
    """
    generator = np.random.Philox(key=np.array([seed, row], dtype=np.uint64))
    generator.advance(position // 4)  # Philox makes four numbers a count
    skip = position % 4
    while True:
        raw = generator.random_raw(DRAW_BLOCK)
        yield from ((raw[skip:] >> np.uint64(11)) * 2.0**-53).tolist()
        skip = 0


def draw(logits: np.ndarray, u: float) -> int:
    """Return the id at which the cumulative distribution of logits (V,) first exceeds u."""
    cumulative = np.cumsum(softmax(logits))
    return int(np.searchsorted(cumulative, u * cumulative[-1], side="right"))


def generate(
    model: Stepper,
    tokenizer: CharTokenizer,
    config: SampleConfig,
    start: Continuation | None = None,
) -> Iterator[tuple[list[str], Continuation]]:
    """Yield for each step the new text of each of config.num rows, and where to go on from.

    A length of 0 yields once, without text. The prime is read but not yielded. A row that met a
    stop text yields "" from then on; text that might be the beginning of a stop text is held back
    until that is decided. Neither <unk> nor ids that the training text never held are drawn.
    config.seed must be set, unless start has one.
    Raises TextError for unknown characters in the prime, NumericsError for broken logits.
    """
    start = start or Continuation()
    seed = start.seed if start.seed is not None else config.seed
    assert seed is not None
    state, logits_BV = start.state, start.logits_BV
    prime = tokenizer.encode(config.prime, config.unknown, "--prime")
    if len(prime):
        logits_BV, state = model.read(prime, config.num, state)
    elif logits_BV is None:
        logits_BV = np.tile(np.log(first_distribution(tokenizer.counts)), (config.num, 1))
    rows = [StopFilter(config.stop) for _ in range(config.num)]
    draws = [uniforms(seed, row, start.position) for row in range(config.num)]
    barred = tokenizer.counts == 0
    barred[UNKNOWN] = True
    if config.length == 0:
        yield [""] * config.num, Continuation(state, logits_BV, start.position, seed)
    for made in range(1, config.length + 1):
        ids_B = _draw_rows(logits_BV, barred, config, draws)
        logits_BV, state = model.step(ids_B, state)
        pieces = [row.feed(char) for row, char in zip(rows, tokenizer.decode(ids_B), strict=True)]
        if made == config.length:
            pieces = [piece + row.flush() for piece, row in zip(pieces, rows, strict=True)]
        yield pieces, Continuation(state, logits_BV, start.position + made, seed)
        if all(row.stopped for row in rows):
            return


def _draw_rows(
    logits_BV: np.ndarray,
    barred: np.ndarray,
    config: SampleConfig,
    draws: list[Iterator[float]],
) -> np.ndarray:
    if not np.isfinite(logits_BV).all():
        problem = "the model's scores are not finite"
        raise NumericsError("sample", problem, "the checkpoint diverged; use an earlier one")
    allowed = apply_filters(np.where(barred, -np.inf, logits_BV), config)
    return np.array([draw(row, next(u)) for row, u in zip(allowed, draws, strict=True)])


class StopFilter:
    """Passes text on until one of the stop texts appears; the stop text itself is not passed."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.stops = stops
        self.stopped = False
        self._held = ""

    def feed(self, text: str) -> str:
        """Return what of the text so far is certain not to belong to a stop text."""
        if self.stopped or not self.stops:
            return "" if self.stopped else text
        self._held += text
        places = [self._held.find(stop) for stop in self.stops if stop in self._held]
        if places:
            self.stopped = True
            passed, self._held = self._held[: min(places)], ""
            return passed
        keep = max(self._overlap(stop) for stop in self.stops)
        cut = len(self._held) - keep
        passed, self._held = self._held[:cut], self._held[cut:]
        return passed

    def flush(self) -> str:
        """Return the text still held back."""
        passed, self._held = self._held, ""
        return passed

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that could begin stop."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
