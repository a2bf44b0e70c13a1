"""Texts of different requests, written by steps that they share.

Each text keeps its own options, constraints and draws, and may come and go at every step. What a
step of a model costs hardly grows with its rows, so all rows of all texts go through one: a text is
the same alone and among others, up to how products of another number of rows round.

Shapes: B rows of all texts, V vocabulary.

    >>> together = Together(engine)
    >>> together.join(TextGenerator(engine, tokenizer, config, start, range(1), constraints))
    >>> for generator, step in together.step():
    ...     print(step.pieces)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textgen.engine import Stepper, StepperState, ignore_overflow
from textgen.sampling.draw import draw
from textgen.sampling.generator import Step, TextGenerator, log_probabilities
from textgen.sampling.state import SamplingState, join_rows, take_rows


class Together:
    """The texts that are being written with one model.

    The model's state of all rows is kept here as one; that of a text which has ended is handed back
    with its last step, in its continuation.

    Attributes:
        generators: those of the texts that have not ended, in the order in which they came.
    """

    def __init__(self, model: Stepper) -> None:
        self.model = model
        self.generators: list[TextGenerator] = []
        # Whose rows the state holds, in their order, and the state.
        self._held: list[TextGenerator] = []
        self._state: StepperState = None

    def join(self, generator: TextGenerator) -> None:
        """Let one more text, of one row, take part from the next step on."""
        assert len(generator.rows) == 1
        self.generators.append(generator)

    def leave(self, generator: TextGenerator) -> None:
        """Let a text that has not ended take part no more."""
        self.generators.remove(generator)

    @ignore_overflow
    def step(self) -> list[tuple[TextGenerator, Step]]:
        """Draw one id for each row, and return what each text wrote; those that ended have left.

        Raises:
            NumericsError: for scores that are not finite.
        """
        if not self.generators:
            return []
        logs_BV = log_probabilities(
            np.concatenate([each.continuation.logits_BV for each in self.generators])
        )
        ended, drawing = [], []
        for row, generator in enumerate(self.generators):
            if generator.shape_scores(logs_BV[row : row + 1]):
                drawing.append(generator)
            else:
                ended.append((generator, generator.close_rows("length")))
        self.generators = drawing
        steps = self._draw()
        self.generators = [each for each, step in steps if None in step.ends]
        return ended + steps

    def _draw(self) -> list[tuple[TextGenerator, Step]]:
        """Draw for all texts at once, and return what each has written."""
        if not self.generators:
            return []
        self._hold()
        scores_BV = np.concatenate([generator.scores_BV for generator in self.generators])
        u_B = [u for generator in self.generators for u in next(generator.draws)]
        ids_B = draw(scores_BV, u_B)
        logits_BV, self._state = self.model.step(ids_B, self._state)
        steps = []
        for row, generator in enumerate(self.generators):
            rows = slice(row, row + 1)
            # To cut a state costs more than all else of a row: it is done for the last step only.
            step = generator.take_ids(ids_B[rows], logits_BV[rows], None)
            if None not in step.ends:
                whole = step.continuation._replace(state=slice_rows(self._state, rows))
                step = step._replace(continuation=whole)
            steps.append((generator, step))
        return steps

    def _hold(self) -> None:
        """Make the state that of all texts, if some have come or gone."""
        if self._held == self.generators:
            return
        remaining = set(self.generators) & set(self._held)
        kept = [row for row, generator in enumerate(self._held) if generator in remaining]
        parts = [take_rows(self._state, np.array(kept))] if kept else []
        for generator in self.generators:
            if generator not in remaining:
                state = generator.continuation.state
                parts.append(self.model.initial_state(1) if state is None else state)
        self._held, self._state = list(self.generators), join_rows(parts)


def read_side_by_side(
    model: Stepper, ids_TB: np.ndarray, starts: Sequence[SamplingState]
) -> list[SamplingState]:
    """Return where texts of one row each stand after each has read ids of its own.

    Args:
        model: what predicts the next id.
        ids_TB: T >= 1 ids, a column for each text.
        starts: where the texts stood.
    """
    states = [model.initial_state(1) if it.state is None else it.state for it in starts]
    logits_BV, state = model.read(ids_TB, len(starts), join_rows(states))
    after = []
    for row, start in enumerate(starts):
        rows = slice(row, row + 1)
        latest = ids_TB[:, row].astype(np.int64)[None]
        ids_BL = np.concatenate([start.ids_BL, latest], axis=1)[:, -start.ids_BL.shape[1] :]
        after.append(
            start._replace(
                state=slice_rows(state, rows),
                logits_BV=logits_BV[rows],
                ids_BL=ids_BL,
                unwritten_bytes=(),
            )
        )
    return after


def slice_rows(state: StepperState, rows: slice) -> StepperState:
    """Return views of some rows of every array in a state."""
    if isinstance(state, tuple):
        return tuple(slice_rows(part, rows) for part in state)
    return state[rows]
