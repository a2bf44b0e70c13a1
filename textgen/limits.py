"""Hard limits: what may be written at all, whatever the model and the filters say.

In the walk after `novelty`: bans, a pattern that the text has to match, spans that it must not
copy. A text that may not go on has ended.

Shapes: B rows of text, V vocabulary.

    >>> allowed_V = allowed_ids(tokenizer, SampleConfig(ban="eE"))
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from textgen.config import SampleConfig
from textgen.errors import UsageError
from textgen.history import History
from textgen.notations import expand, parse_bias
from textgen.novelty import Spans
from textgen.patterns import Pattern
from textgen.tokenizer import UNKNOWN, Tokenizer

Array = np.ndarray


class Limit(Protocol):
    """A hard limit on what may be written, for as long as the rows of one `generate` grow."""

    reason: str  # why a text ends that may not go on

    def allowed(self, history: History, remaining: int) -> Array:
        """Return which ids (B, V) may come next, with so many characters left to write."""
        ...

    def add(self, ids_B: Array) -> None:
        """Take note of the ids that were drawn."""
        ...


class Matching:
    """The limit of `sample --match`: every row is on the way to a match."""

    reason = "match"

    def __init__(self, pattern: Pattern, rows: int) -> None:
        self.pattern = pattern
        self.states_B = np.full(rows, pattern.start)

    def allowed(self, history: History, remaining: int) -> Array:
        """Return which ids (B, V) leave a match within reach of the remaining characters."""
        return self.pattern.allowed(self.states_B, remaining)

    def add(self, ids_B: Array) -> None:
        """Go on to the next states."""
        self.states_B = self.pattern.step(self.states_B, ids_B)


class Novel:
    """The limit of `sample --novel`: no span of the text is ever completed."""

    reason = "novel"

    def __init__(self, spans: Spans) -> None:
        self.spans = spans

    def allowed(self, history: History, remaining: int) -> Array:
        """Return which ids (B, V) complete no span of the text."""
        vocab = history.counts_BV.shape[1]
        return ~self.spans.completing(history.ids_BL, vocab)

    def add(self, ids_B: Array) -> None:
        """Nothing to note: the history has it."""


def allowed_ids(tokenizer: Tokenizer, config: SampleConfig) -> Array:
    """Return which ids (V,) may be drawn at all; raise UsageError if none may."""
    allowed = np.asarray(tokenizer.counts > 0)
    allowed[UNKNOWN] = False
    if config.only:
        only = np.zeros_like(allowed)
        only[tokenizer.encode(expand(config.only, "--only"), "skip")] = True
        allowed &= only
    allowed[tokenizer.encode(expand(config.ban, "--ban"), "skip")] = False
    if not allowed.any():
        option = "--only" if config.only else "--ban"
        known = f"none of the model's {tokenizer.size - 1} characters"
        raise UsageError(option, f"leaves {known} to write", "allow some of them")
    return allowed


def bias_of(tokenizer: Tokenizer, config: SampleConfig) -> Array:
    """Return what --bias adds to the score of each id (V,)."""
    added = np.zeros(tokenizer.size)
    for char, value in parse_bias(config.bias).items():
        added[tokenizer.encode(char, "skip")] = value
    return added
