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
from textgen.sampling.draw import choose_seed
from textgen.sampling.generator import begin, generate
from textgen.sampling.row import select_ids
from textgen.tokenizers import Tokenizer

# Written at once; more gain nothing and hold more memory.
MOST_ROWS = 64
# Texts drawn for each that is wanted, before no more different ones are looked for.
MOST_DRAWN = 100


@dataclass(frozen=True)
class Text:
    """A text that was written.

    Attributes:
        prime: the text that it continues.
        text: what was written.
        seed: with `row`, what its draws depend on.
        row: its number.
        log_probs: (n,) natural logarithms of the probability of each of its ids, which are
            characters, bytes or pieces, under the model itself, before any filter.
        end: "length", or what ended it before.
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
        values: dict[str, Any] = {
            "text": self.text,
            "prime": self.prime,
            "seed": self.seed,
            "row": self.row,
            "nats_per_char": self.nats_per_char,
            "end": self.end,
        }
        if with_log_probs:
            values["log_probs"] = self.log_probs.tolist()
        return values


def write_texts(
    model: Stepper,
    tokenizer: Tokenizer,
    primes: Sequence[str],
    config: SampleConfig,
    constraints: Constraints | None = None,
) -> Iterator[Text]:
    """Yield config.num texts for each prime, in order.

    Of config.best_of drafts a text is the one that the model finds likeliest, a character on
    average. A text depends on its row alone, whatever else is written.

    Args:
        model: what predicts the next id.
        tokenizer: of its ids.
        primes: what the texts continue.
        config: what to write. Without a seed a new one is drawn.
        constraints: of the request (default: those of config).

    Raises:
        TextError: for unknown characters in a prime, when its texts are due.
        NumericsError: for scores that are not finite.
        UsageError: where nothing at all may be written.
    """
    constraints = constraints or Constraints.of(tokenizer, config)
    seed = choose_seed(config.seed)
    drafts = config.best_of
    prime_of_row = [prime for prime in primes for _ in range(config.num * drafts)]
    # All drafts of a text are written at once.
    batch_size = max(1, MOST_ROWS // drafts) * drafts
    for first in range(0, len(prime_of_row), batch_size):
        rows = range(first, min(first + batch_size, len(prime_of_row)))
        their_primes = prime_of_row[rows.start : rows.stop]
        texts = _write_batch(model, tokenizer, their_primes, rows, config, constraints, seed)
        for first_draft in range(0, len(texts), drafts):
            # Of equals the first; a draft without a character is the last to be chosen.
            yield min(
                texts[first_draft : first_draft + drafts],
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

    With config.unique none is yielded twice. Fewer are yielded where so many are not among
    MOST_DRAWN times as many.

    Args:
        model: what predicts the next id.
        tokenizer: of its ids.
        prime: what the texts continue.
        config: what to write. Without a seed a new one is drawn.
        constraints: of the request.
        barred: texts, with their primes, that are not yielded.

    Raises:
        TextError, NumericsError: as `write_texts` does.
    """
    seed = choose_seed(config.seed)
    seen: set[str] = set()
    written, drawn = 0, 0
    while written < config.num and drawn < MOST_DRAWN * config.num:
        rows = range(drawn, drawn + min(MOST_ROWS, max(8, 2 * (config.num - written))))
        drawn = rows.stop
        primes = [prime] * len(rows)
        for text in _write_batch(model, tokenizer, primes, rows, config, constraints, seed):
            whole = text.prime + text.text
            if written < config.num and whole not in barred and whole not in seen:
                written += 1
                if config.unique:
                    seen.add(whole)
                yield text


def _write_batch(
    model: Stepper,
    tokenizer: Tokenizer,
    primes: Sequence[str],
    rows: range,
    config: SampleConfig,
    constraints: Constraints,
    seed: int,
) -> list[Text]:
    """Return the texts of some rows, written together."""
    start = begin(model, tokenizer, primes, config)._replace(seed=seed)
    pieces, ids, log_probs = [], [], []
    ends: list[str | None] = []
    for step in generate(model, tokenizer, config, start, rows, constraints):
        pieces.append(step.pieces)
        ids.append(step.ids_B)
        log_probs.append(step.log_probs_B)
        ends = step.ends
    ids_TB, log_probs_TB = np.array(ids), np.array(log_probs)
    texts = []
    for index, row in enumerate(rows):
        text = "".join(step_pieces[index] for step_pieces in pieces)
        is_written = select_ids(tokenizer, ids_TB[:, index], text)
        its_log_probs = log_probs_TB[is_written, index]
        texts.append(Text(primes[index], text, seed, row, its_log_probs, str(ends[index])))
    return texts
