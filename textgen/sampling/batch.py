"""Many texts at once: primes by numbers, in batches, the best of several drafts.

>>> for text in write_texts(engine, tokenizer, ["ROMEO:", "JULIET:"], config):
...     print(text.prime + text.text)
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.config import SampleConfig
from textgen.engine import Stepper
from textgen.sampling.constraints import Constraints
from textgen.sampling.generator import begin, generate
from textgen.sampling.row import select_ids
from textgen.tokenizers import Tokenizer

MOST_ROWS = 64  # written at once; more gain nothing and hold more memory


@dataclass(frozen=True)
class Text:
    """A text that was written.

    row: its number, on which its draws depend, with seed. log_probs: (n,) of its ids, that is its
    characters, bytes or pieces, under the model itself, before any filter. end: "length", or what
    ended it before.
    """

    prime: str
    text: str
    seed: int
    row: int
    log_probs: np.ndarray
    end: str

    @property
    def nats_per_char(self) -> float:
        """What the model itself pays for a character of the text; 0 for an empty one."""
        return float(-self.log_probs.sum() / len(self.text)) if self.text else 0.0

    def to_json(self, with_log_probs: bool = False) -> dict[str, Any]:
        """Return it as JSON values."""
        found = {
            "text": self.text,
            "prime": self.prime,
            "seed": self.seed,
            "row": self.row,
            "nats_per_char": self.nats_per_char,
            "end": self.end,
        }
        return found | ({"log_probs": self.log_probs.tolist()} if with_log_probs else {})


MOST_DRAWN = 100  # texts for each that is wanted, before no more different ones are looked for


def write_texts(
    model: Stepper,
    tokenizer: Tokenizer,
    primes: Sequence[str],
    config: SampleConfig,
    constraints: Constraints | None = None,
) -> Iterator[Text]:
    """Yield config.num texts for each prime, in order; config.seed must be set.

    Of config.best_of drafts a text is the one that the model finds likeliest, a character on
    average. A text depends on its row alone, whatever else is written.
    """
    constraints = constraints or Constraints.of(tokenizer, config)
    drafts = config.best_of
    wanted = [prime for prime in primes for _ in range(config.num * drafts)]
    together = max(1, MOST_ROWS // drafts) * drafts  # all drafts of a text at once
    for first in range(0, len(wanted), together):
        rows = range(first, min(first + together, len(wanted)))
        texts = _write(model, tokenizer, wanted[rows.start : rows.stop], rows, config, constraints)
        for begun in range(0, len(texts), drafts):
            # Of equals the first; a draft without a character is the last to be chosen.
            yield min(
                texts[begun : begun + drafts],
                key=lambda text: text.nats_per_char if text.text else np.inf,
            )


def different_texts(
    model: Stepper,
    tokenizer: Tokenizer,
    prime: str,
    config: SampleConfig,
    constraints: Constraints,
    barred: Container[str],
) -> Iterator[Text]:
    """Yield up to config.num texts, in the order of their rows, that are not barred.

    With config.unique none is yielded twice. Fewer are yielded where so many are not found among
    MOST_DRAWN times as many.
    """
    found: set[str] = set()
    number, drawn = 0, 0
    while number < config.num and drawn < MOST_DRAWN * config.num:
        rows = range(drawn, drawn + min(MOST_ROWS, max(8, 2 * (config.num - number))))
        drawn = rows.stop
        for text in _write(model, tokenizer, [prime] * len(rows), rows, config, constraints):
            whole = text.prime + text.text
            if number < config.num and whole not in barred and whole not in found:
                number += 1
                if config.unique:
                    found.add(whole)
                yield text


def _write(
    model: Stepper,
    tokenizer: Tokenizer,
    primes: Sequence[str],
    rows: range,
    config: SampleConfig,
    constraints: Constraints,
) -> list[Text]:
    assert config.seed is not None
    start = begin(model, tokenizer, primes, config)
    pieces: list[list[str]] = []
    log_probs, ids = [], []
    ends: list[str | None] = []
    for step in generate(model, tokenizer, config, start, rows, constraints):
        pieces.append(step.pieces)
        log_probs.append(step.log_probs_B)
        ids.append(step.ids_B)
        ends = step.ends
    ids_TB, log_probs_TB = np.array(ids), np.array(log_probs)
    found = []
    for place, row in enumerate(rows):
        text = "".join(piece[place] for piece in pieces)
        kept = log_probs_TB[select_ids(tokenizer, ids_TB[:, place], text), place]
        found.append(Text(primes[place], text, config.seed, row, kept, str(ends[place])))
    return found
