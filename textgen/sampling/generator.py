"""The generator that everything which writes text goes through.

Engine -> sampling -> text. One draw an id and row. An id is a character, a byte or a piece; text is
handed on in whole characters.

Shapes: B rows of text, V vocabulary, L ids looked back on.

    >>> start = begin(engine, tokenizer, ["ROMEO:"], config)
    >>> for step in generate(engine, tokenizer, config, start):
    ...     print(step.pieces[0], end="")
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from textgen.config import SampleConfig
from textgen.engine import Stepper, first_distribution, ignore_overflow, log_softmax
from textgen.errors import NumericsError
from textgen.sampling.chain import Context, apply_filters, chain
from textgen.sampling.constraints import Constraints
from textgen.sampling.draw import draw, uniforms, without_overflow
from textgen.sampling.filters import NOTHING, History
from textgen.sampling.row import Row
from textgen.sampling.state import SamplingState, either, join
from textgen.tokenizers import Tokenizer


class Step(NamedTuple):
    """What one step wrote.

    pieces: the new text of each row. log_probs_B: of each row's id under the model itself, before
    any filter. ends: why each row has ended, None while it goes on. after: where to go on; a row
    that has ended goes on from the step that ended it. ids_B: what was drawn, NOTHING where nothing
    was.
    """

    pieces: list[str]
    log_probs_B: np.ndarray
    ends: list[str | None]
    after: SamplingState
    ids_B: np.ndarray


def log_probabilities(place: SamplingState) -> np.ndarray:
    """Return the log-probabilities (B, V) of the next characters; raise NumericsError if broken."""
    logs_BV = place.logits_BV.astype(np.float64, order="C")  # sums round by the layout
    # Their squares' sum is the quickest way to look at all of them.
    if not (math.isfinite(np.vdot(logs_BV, logs_BV)) or np.isfinite(logs_BV).all()):
        problem = "the model's scores are not finite"
        raise NumericsError("sample", problem, "the checkpoint diverged; use an earlier one")
    totals_B = np.add.reduce(np.exp(logs_BV), axis=1)
    if not without_overflow(totals_B.tolist()):
        return log_softmax(logs_BV)
    logs_BV -= np.log(totals_B)[:, None]
    return logs_BV


def begin(
    model: Stepper, tokenizer: Tokenizer, primes: Sequence[str], config: SampleConfig
) -> SamplingState:
    """Return where texts stand that have read their primes, one row a prime.

    Raises TextError for unknown characters in a prime.
    """
    different = {
        text: read_prime(model, tokenizer, [text], config) for text in dict.fromkeys(primes)
    }
    parts = list(different.values())
    places = {text: place for place, text in enumerate(different)}
    if len(parts) == 1:
        return parts[0].take([0] * len(primes))
    together = SamplingState(
        join([part.state if part.state is not None else model.initial_state(1) for part in parts]),
        np.concatenate([part.logits_BV for part in parts]),
        np.concatenate([part.ids_BL for part in parts]),
    )
    return together.take([places[text] for text in primes])


def read_prime(
    model: Stepper,
    tokenizer: Tokenizer,
    pieces: Iterable[str],
    config: SampleConfig,
    start: SamplingState | None = None,
    before: int = 0,
) -> SamplingState:
    """Return where one text stands that has read a prime, which may come in pieces of any number.

    With start the prime is read after that text, of which nothing more is written then. before:
    characters of the prime that were read earlier. Raises TextError for unknown characters.
    """
    start = start or _beginning(model, tokenizer, config.look_back)
    rows = len(start.logits_BV)
    state, logits_BV, ids_BL = start.state, start.logits_BV, start.ids_BL
    for piece in pieces:
        ids = tokenizer.encode(piece, config.unknown, "--prime", before)
        before += len(piece)
        if len(ids):
            logits_BV, state = model.read(ids, rows, state)
            latest = np.tile(ids[-config.look_back :].astype(np.int64), (rows, 1))
            ids_BL = np.concatenate([ids_BL, latest], axis=1)[:, -config.look_back :]
            start = start._replace(rest=())
    return start._replace(state=state, logits_BV=logits_BV, ids_BL=ids_BL)


def _beginning(model: Stepper, tokenizer: Tokenizer, look_back: int) -> SamplingState:
    """Return where a text begins: in an item after its mark, else with how ids are distributed."""
    state, first = None, np.log(first_distribution(tokenizer.counts))[None]
    if tokenizer.boundary_id is not None:
        first, state = model.read(np.array([tokenizer.boundary_id]), 1, None)
    return SamplingState(state, first, np.full((1, look_back), NOTHING))


def generate(
    model: Stepper,
    tokenizer: Tokenizer,
    config: SampleConfig,
    start: SamplingState | None = None,
    rows: range | None = None,
    constraints: Constraints | None = None,
) -> Iterator[Step]:
    """Yield what each step writes, until config.length characters or the end of every row.

    start: where the rows stand (default: config.num texts that have read config.prime). rows:
    their numbers, on which their draws depend (default: 0, 1, ...). constraints: of the request
    (default: those of config). A length of 0 yields one empty step. Neither <unk> nor ids that the
    training text never held are drawn. config.seed must be set, unless start has one. Raises
    TextError for unknown characters in the prime, NumericsError for broken scores, UsageError where
    nothing at all may be written.
    """
    constraints = constraints or Constraints.of(tokenizer, config)
    writer = TextGenerator(model, tokenizer, config, start, rows, constraints)
    if config.length == 0:
        yield writer.nothing("length")
        return
    for made in itertools.count():
        step = writer.step(made)
        yield step
        if None not in step.ends:
            return


class TextGenerator:
    """Rows of text that grow together, one id a step."""

    def __init__(
        self,
        model: Stepper,
        tokenizer: Tokenizer,
        config: SampleConfig,
        start: SamplingState | None,
        rows: range | None,
        constraints: Constraints,
    ) -> None:
        start = start or begin(model, tokenizer, [config.prime] * config.num, config)
        self.model, self.config = model, config
        self.barred_V = np.where(constraints.allowed_V, 0.0, -np.inf)
        self.filters = chain(config)
        count = len(start.logits_BV)
        seed = start.seed if start.seed is not None else config.seed
        assert seed is not None
        self.rows, rows = np.arange(count), rows or range(count)
        self.draws = zip(*[uniforms(seed, row, start.position) for row in rows], strict=True)
        rests = start.rest or (b"",) * count
        self.passages = [Row(tokenizer, config, rest) for rest in rests]
        self.whole = tokenizer.spelling is None  # every id is a character
        self.constraints = constraints.for_rows([passage.pending for passage in self.passages])
        self.ready = [passage.begin() if config.length else "" for passage in self.passages]
        # Ended by a limit or by the rest of a text before.
        self.over = [passage.end is not None for passage in self.passages]
        counted = any(one.counts for one in self.filters)
        history = History(start.ids_BL, config.look_back, tokenizer.size, counted)
        mu_B = np.full(count, 2 * (config.mirostat or 0)) if start.mu_B is None else start.mu_B
        self.context = Context(constraints.bias_V, history, mu_B)
        self.after = start._replace(seed=seed, ids_BL=history.ids_BL)

    def nothing(self, reason: str) -> Step:
        """Return the step that draws nothing, when all rows have ended or none may begin."""
        pieces = [
            text + passage.close(reason)
            for text, passage in zip(self.ready, self.passages, strict=True)
        ]
        rows, after = len(pieces), self._rested(self.after)
        return Step(pieces, np.zeros(rows), self._ends(), after, np.full(rows, NOTHING))

    @ignore_overflow
    def step(self, made: int) -> Step:
        """Draw one id for each row, the one after `made` others."""
        before = self.after
        logs_BV = log_probabilities(before)
        logits_BV = self._allowed(logs_BV, self.config.length - made)
        if None not in self._ends():
            return self.nothing("length")
        ids_B = self._choose(logits_BV, made)
        logits_BV, state = self.model.step(ids_B, before.state)
        self.context.history.add(ids_B)
        pieces = self._pieces(ids_B)
        self.after = SamplingState(
            state,
            logits_BV,
            self.context.history.ids_BL,
            before.position + 1,
            before.seed,
            self.context.mu_B if self.config.mirostat else None,
        )
        if any(self.over):  # what these rows drew does not belong to them
            was = before.state or self.model.initial_state(len(ids_B))
            self.after = either(self.after, before._replace(state=was), np.array(self.over))
        self.after = self._rested(self.after)
        return Step(pieces, logs_BV[self.rows, ids_B], self._ends(), self.after, ids_B)

    def _ends(self) -> list[str | None]:
        return [passage.end for passage in self.passages]

    def _rested(self, place: SamplingState) -> SamplingState:
        """Return a place with what the rows have read and not written."""
        if self.whole:
            return place
        return place._replace(rest=tuple(passage.rest for passage in self.passages))

    def _allowed(self, logs_BV: np.ndarray, remaining: int) -> np.ndarray:
        """Bar what must not be written; a row for which nothing is left has ended."""
        logits_BV = logs_BV + self.barred_V
        for constraint in self.constraints:
            allowed_BV = constraint.allowed(self.context.history, remaining)
            limited = np.where(allowed_BV, logits_BV, -np.inf)
            empty_B = np.asarray((limited == -np.inf).all(axis=1))
            for row in np.flatnonzero(empty_B):
                self.over[row] |= self.passages[row].end is None
                self.ready[row] += self.passages[row].close(constraint.reason)
            logits_BV = np.where(empty_B[:, None], logits_BV, limited)
        return logits_BV

    def _choose(self, logits_BV: np.ndarray, made: int) -> np.ndarray:
        """Return the next ids, after the filters."""
        if self.filters:
            self.context.progress = self._progress(made)
            logits_BV = apply_filters(logits_BV, self.config, self.context, self.filters)
        ids_B = draw(logits_BV, next(self.draws))
        if self.config.mirostat:
            surprise_B = -log_softmax(logits_BV)[self.rows, ids_B] / np.log(2)
            error_B = surprise_B - self.config.mirostat
            self.context.mu_B = self.context.mu_B - self.config.mirostat_rate * error_B
        for constraint in self.constraints:
            constraint.add(ids_B)
        return ids_B

    def _progress(self, made: int) -> float | np.ndarray:
        """Return how far the rows are, from 0 at the first character to 1 at the last one."""
        last = max(1, self.config.length - 1)
        if self.whole:
            return made / last
        written_B = np.array([self.config.length - passage.left for passage in self.passages])
        return np.minimum(written_B / last, 1.0)

    def _pieces(self, ids_B: np.ndarray) -> list[str]:
        """Return the text that each row has now written."""
        ready, self.ready = self.ready, [""] * len(self.ready)
        return [
            text if passage.end else text + passage.feed(one)
            for text, passage, one in zip(ready, self.passages, ids_B.tolist(), strict=True)
        ]
