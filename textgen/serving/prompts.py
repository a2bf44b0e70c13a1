"""The prompts that are being read with a model: side by side, a piece of each at a time.

>>> prompts.add(Prompt(job, 0, start))
>>> for prompt in prompts.read_more():
...     print(prompt.state)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from textgen.sampling import SamplingState, log_probabilities, read_side_by_side
from textgen.serving.jobs import Job
from textgen.serving.models import ServedModel

# Prompts read side by side, and ids of them all that are read between two looks at the clock.
MOST_SIDE_BY_SIDE, IDS_OF_A_PIECE = 64, 256


@dataclass(eq=False)
class Prompt:
    """A prompt that is being read.

    Attributes:
        job: the request.
        number: of the prompt in the request.
        state: where it stands.
        done: how many of its ids were read.
    """

    job: Job
    number: int
    state: SamplingState
    done: int = 0

    @property
    def left(self) -> int:
        """How many ids are still to be read."""
        return len(self.job.ids[self.number]) - self.done

    @property
    def is_told(self) -> bool:
        """Whether it is told what the model expected in the place of each id."""
        return self.job.asked.echo and self.job.asked.logprobs is not None


class Prompts:
    """The prompts that are being read with one model; waiting: in the order of their turns."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.waiting: list[Prompt] = []

    def add(self, prompt: Prompt) -> None:
        """Read one more."""
        self.waiting.append(prompt)

    def drop(self, jobs: set[Job]) -> None:
        """Read those of some requests no further."""
        self.waiting = [prompt for prompt in self.waiting if prompt.job not in jobs]

    def read_more(self) -> list[Prompt]:
        """Read a piece of some prompts, whose turn is over then; return those read to their end."""
        turn, self.waiting = (
            self.waiting[:MOST_SIDE_BY_SIDE],
            self.waiting[MOST_SIDE_BY_SIDE:],
        )
        unread = [prompt for prompt in turn if prompt.left]
        if unread:
            # One id at a time if it is to be told what was expected of each.
            most = 1 if any(prompt.is_told for prompt in unread) else IDS_OF_A_PIECE // len(unread)
            self._read(unread, min(most, *(prompt.left for prompt in unread)))
        self.waiting += [prompt for prompt in turn if prompt.left]
        return [prompt for prompt in turn if not prompt.left]

    def _read(self, prompts: list[Prompt], count: int) -> None:
        """Read so many ids of each prompt."""
        ids_TB = np.stack(
            [each.job.ids[each.number][each.done : each.done + count] for each in prompts], axis=1
        )
        for prompt, token_id in zip(prompts, ids_TB[0].tolist(), strict=True):
            if prompt.is_told:
                logs_BV = log_probabilities(prompt.state.logits_BV)
                prompt.job.told[prompt.number].add(token_id, float(logs_BV[0, token_id]))
                prompt.job.tell_likeliest(prompt.job.told[prompt.number], logs_BV[0])
        states = read_side_by_side(self.model.stepper, ids_TB, [each.state for each in prompts])
        for prompt, state in zip(prompts, states, strict=True):
            prompt.state = state
            prompt.done += count
