"""The sampling loop: everything that draws text goes through `generate`.

Stepper -> sampling -> text. Each row draws one random number per id. An id is a character, a byte
or a piece; text is handed on in whole characters. Beam search, which draws nothing, has a loop of
its own.

Shapes: B rows of text, V vocabulary, L ids looked back on.

    >>> start = begin(engine, tokenizer, ["ROMEO:"], config)
    >>> for step in generate(engine, tokenizer, config, start):
    ...     print(step.pieces[0], end="")
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from textgen.config import SampleConfig
from textgen.engine import (
    Stepper,
    StepperState,
    first_distribution,
    ignore_overflow,
    log_softmax,
)
from textgen.errors import NumericsError
from textgen.sampling.chain import Context, apply_filters, select_filters
from textgen.sampling.constraints import Constraints
from textgen.sampling.draw import choose_seed, draw, uniforms, without_overflow
from textgen.sampling.filters import NOTHING, History
from textgen.sampling.row import Row
from textgen.sampling.state import SamplingState, join_rows
from textgen.tokenizers import Tokenizer


class Step(NamedTuple):
    """What one step wrote.

    Attributes:
        pieces: the new text of each row.
        log_probs_B: natural logarithms of the probability of each row's id under the model itself,
            before any filter.
        ends: why each row has ended, None while it grows.
        continuation: where the rows stand after this step. Rows that have ended are stepped with
            the others, so take a row's continuation from the step that ended it.
        ids_B: what was drawn, NOTHING where nothing was.
    """

    pieces: list[str]
    log_probs_B: np.ndarray
    ends: list[str | None]
    continuation: SamplingState
    ids_B: np.ndarray


def log_probabilities(logits_BV: np.ndarray) -> np.ndarray:
    """Return the log-probabilities (B, V) of the next ids; raise NumericsError if broken."""
    # In C order, because sums round by the layout.
    logs_BV = logits_BV.astype(np.float64, order="C")
    # The sum of the squares is the quickest look at all scores: it is finite only if each of them
    # is. Finite scores beyond 1e154 make it overflow as well; only then each is looked at.
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
    """Return the state after reading each prime, one row per prime.

    Raises TextError for unknown characters in a prime.
    """
    # Equal primes are read once.
    states = {
        prime: read_prime(model, tokenizer, [prime], config) for prime in dict.fromkeys(primes)
    }
    parts = list(states.values())
    if len(parts) == 1:
        return parts[0].take([0] * len(primes))
    numbers = {prime: number for number, prime in enumerate(states)}
    together = SamplingState(
        join_rows(
            [part.state if part.state is not None else model.initial_state(1) for part in parts]
        ),
        np.concatenate([part.logits_BV for part in parts]),
        np.concatenate([part.ids_BL for part in parts]),
    )
    return together.take([numbers[prime] for prime in primes])


def read_prime(
    model: Stepper,
    tokenizer: Tokenizer,
    pieces: Iterable[str],
    config: SampleConfig,
    start: SamplingState | None = None,
    before: int = 0,
) -> SamplingState:
    """Return the state of one text after it has read a prime.

    Args:
        model: what predicts the next id.
        tokenizer: of its ids.
        pieces: the prime, in pieces of any number.
        config: of which unknown and look_back count.
        start: a text that the prime continues, of which nothing more is written then (default: the
            beginning of a text).
        before: characters of the prime that were read earlier; errors count from its beginning.

    Raises:
        TextError: for unknown characters.
    """
    start = start or _start_state(model, tokenizer, config.look_back)
    rows = len(start.logits_BV)
    state, logits_BV, ids_BL = start.state, start.logits_BV, start.ids_BL
    for piece in pieces:
        ids = tokenizer.encode(piece, config.unknown, "--prime", before)
        before += len(piece)
        if len(ids):
            logits_BV, state = model.read(ids, rows, state)
            latest = np.tile(ids[-config.look_back :].astype(np.int64), (rows, 1))
            ids_BL = np.concatenate([ids_BL, latest], axis=1)[:, -config.look_back :]
            start = start._replace(unwritten_bytes=())
    return start._replace(state=state, logits_BV=logits_BV, ids_BL=ids_BL)


def _start_state(model: Stepper, tokenizer: Tokenizer, look_back: int) -> SamplingState:
    """Return where a text begins: a record after the boundary, else with the ids' distribution."""
    state, logits_BV = None, np.log(first_distribution(tokenizer.counts))[None]
    if tokenizer.boundary_id is not None:
        logits_BV, state = model.read(np.array([tokenizer.boundary_id]), 1, None)
    return SamplingState(state, logits_BV, np.full((1, look_back), NOTHING))


def generate(
    model: Stepper,
    tokenizer: Tokenizer,
    config: SampleConfig,
    start: SamplingState | None = None,
    row_numbers: range | None = None,
    constraints: Constraints | None = None,
) -> Iterator[Step]:
    """Yield what each step writes, until config.length characters or the end of every row.

    A length of 0 yields one empty step. Neither <unk> nor ids that the training text never held are
    drawn.

    Args:
        model: what predicts the next id.
        tokenizer: of its ids.
        config: what to write. Without a seed, in it or in start, a new one is drawn.
        start: where the rows stand (default: config.num texts that have read config.prime).
        row_numbers: those of the rows, on which their draws depend (default: 0, 1, ...).
        constraints: of the request (default: those of config).

    Raises:
        TextError: for unknown characters in the prime.
        NumericsError: for scores that are not finite.
        UsageError: where nothing at all may be written.
    """
    constraints = constraints or Constraints.of(tokenizer, config)
    start = start or begin(model, tokenizer, [config.prime] * config.num, config)
    generator = TextGenerator(model, tokenizer, config, start, row_numbers, constraints)
    while True:
        step = generator.step()
        yield step
        if None not in step.ends:
            return


class TextGenerator:
    """Rows of text that grow together by one id per step.

    A step has two halves, `shape_scores` and `take_ids`: between them ids are drawn and the model
    steps, which several generators can do together (module `together`).

    Attributes:
        rows: one per text.
        steps: how many ids each row has drawn.
        frozen: which rows ended before a draw, because a constraint left nothing or because of what
            an earlier text had left unwritten; their state stays where it was.
        continuation: where the rows stand.
    """

    def __init__(
        self,
        model: Stepper,
        tokenizer: Tokenizer,
        config: SampleConfig,
        start: SamplingState,
        row_numbers: range | None,
        constraints: Constraints,
    ) -> None:
        self.model, self.config = model, config
        self.filters = select_filters(config)
        self.ids_are_chars = tokenizer.spelling is None
        count = len(start.logits_BV)
        self.row_indices = np.arange(count)
        self.steps = 0
        self.rows = [Row(tokenizer, config) for _ in range(count)]
        unwritten = start.unwritten_bytes or (b"",) * count
        for row, unwritten_bytes in zip(self.rows, unwritten, strict=True):
            row.begin(unwritten_bytes)
        self.frozen = [row.end is not None for row in self.rows]
        self.barred_V = np.where(constraints.allowed_V, 0.0, -np.inf)
        self.constraints = constraints.for_rows([row.pending for row in self.rows])
        seed = choose_seed(start.seed, config.seed)
        numbers = row_numbers or range(count)
        self.draws = zip(*[uniforms(seed, row, start.position) for row in numbers], strict=True)
        counted = any(step.counts for step in self.filters)
        history = History(start.ids_BL, config.look_back, tokenizer.size, counted)
        mu_B = np.full(count, 2 * (config.mirostat or 0)) if start.mu_B is None else start.mu_B
        self.context = Context(constraints.bias_V, history, mu_B)
        self.logs_BV = self.scores_BV = np.zeros((count, 0))
        self.continuation = start._replace(seed=seed, ids_BL=history.ids_BL)

    def close_rows(self, reason: str) -> Step:
        """Return the step that draws nothing, when all rows have ended or none may begin."""
        for row in self.rows:
            row.close(reason)
        count = len(self.rows)
        continuation = self._with_unwritten_bytes(self.continuation)
        return self._make_step(np.zeros(count), continuation, np.full(count, NOTHING))

    @ignore_overflow
    def step(self) -> Step:
        """Draw one id for each row, or none where all rows have ended."""
        if not self.shape_scores(log_probabilities(self.continuation.logits_BV)):
            return self.close_rows("length")
        ids_B = draw(self.scores_BV, next(self.draws))
        return self.take_ids(ids_B, *self.model.step(ids_B, self.continuation.state))

    def shape_scores(self, logs_BV: np.ndarray) -> bool:
        """Make `scores_BV`, which ids are drawn by, and tell whether a row is left to draw for.

        Args:
            logs_BV: log-probabilities of the next ids under the model itself.
        """
        if self.config.length == 0:
            return False
        self.logs_BV = logs_BV
        scores_BV = self._apply_constraints(logs_BV, self.config.length - self.steps)
        if None not in self._ends():
            return False
        if self.filters:
            self.context.progress = self._progress()
            scores_BV = apply_filters(scores_BV, self.config, self.context, self.filters)
        self.scores_BV = scores_BV
        return True

    def take_ids(self, ids_B: np.ndarray, logits_BV: np.ndarray, state: StepperState) -> Step:
        """Return what the rows write with the ids that were drawn for them.

        Args:
            ids_B: drawn by `scores_BV`.
            logits_BV: of the ids after them.
            state: the model's, after it has read ids_B.
        """
        before = self.continuation
        if self.config.mirostat:
            self._move_surprise_limit(self.config.mirostat, ids_B)
        for constraint in self.constraints:
            constraint.add(ids_B)
        self.context.history.add(ids_B)
        for row, token_id in zip(self.rows, ids_B.tolist(), strict=True):
            if row.end is None:
                row.feed(token_id)
        self.steps += 1
        after = SamplingState(
            state,
            logits_BV,
            self.context.history.ids_BL,
            before.position + 1,
            before.seed,
            self.context.mu_B if self.config.mirostat else None,
        )
        if any(self.frozen):
            state = before.state or self.model.initial_state(len(ids_B))
            after = after.with_rows_of(before._replace(state=state), np.array(self.frozen))
        self.continuation = self._with_unwritten_bytes(after)
        log_probs_B = self.logs_BV[self.row_indices, ids_B]
        return self._make_step(log_probs_B, self.continuation, ids_B)

    def _make_step(
        self, log_probs_B: np.ndarray, continuation: SamplingState, ids_B: np.ndarray
    ) -> Step:
        pieces = [row.take_text() for row in self.rows]
        return Step(pieces, log_probs_B, self._ends(), continuation, ids_B)

    def _ends(self) -> list[str | None]:
        return [row.end for row in self.rows]

    def _with_unwritten_bytes(self, state: SamplingState) -> SamplingState:
        """Return a state with what the rows have read and not written."""
        if self.ids_are_chars:
            return state
        return state._replace(unwritten_bytes=tuple(row.unwritten_bytes for row in self.rows))

    def _apply_constraints(self, logs_BV: np.ndarray, remaining: int) -> np.ndarray:
        """Bar what must not be written; a row for which nothing is left has ended."""
        logits_BV = logs_BV + self.barred_V
        for constraint in self.constraints:
            allowed_BV = constraint.allowed(self.context.history, remaining)
            limited_BV = np.where(allowed_BV, logits_BV, -np.inf)
            empty_B = np.asarray((limited_BV == -np.inf).all(axis=1))
            for index in np.flatnonzero(empty_B):
                row = self.rows[index]
                self.frozen[index] |= row.end is None
                row.close(constraint.reason)
            # Where nothing is left the constraint is lifted, so that there is something to draw;
            # the draw does not count.
            logits_BV = np.where(empty_B[:, None], logits_BV, limited_BV)
        return logits_BV

    def _move_surprise_limit(self, target: float, ids_B: np.ndarray) -> None:
        """Move mirostat's limit towards its target by what the ids surprised."""
        surprise_B = -log_softmax(self.scores_BV)[self.row_indices, ids_B] / np.log(2)
        self.context.mu_B = self.context.mu_B - self.config.mirostat_rate * (surprise_B - target)

    def _progress(self) -> float | np.ndarray:
        """Return how far the rows are, from 0 at the first character to 1 at the last one."""
        last = max(1, self.config.length - 1)
        if self.ids_are_chars:
            return self.steps / last
        written_B = np.array([self.config.length - row.left for row in self.rows])
        return np.minimum(written_B / last, 1.0)
