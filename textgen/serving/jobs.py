"""A request at work: what it asked for, and its texts as they grow.

The worker's thread writes, the event loop reads. Lists only grow, and `end` is set last, so that
no lock is needed.

>>> job = Job(model, asked, 300, asyncio.get_running_loop())
>>> worker.submit(job)
>>> await job.finish()
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field

import numpy as np

from textgen.errors import TextError, TextgenError
from textgen.sampling import Constraints, choose_seed, select_ids
from textgen.serving.models import ServedModel
from textgen.serving.refusals import Refusal, refusal_of
from textgen.serving.requests import CompletionRequest

# Why a text ends that has used up its length, or its time.
USED_UP = ("length", "seconds")


@dataclass
class Told:
    """Ids with their natural logarithms, and the likeliest ids in their places if asked for."""

    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    likeliest: list[dict[int, float]] = field(default_factory=list)

    def add(self, token_id: int, log_prob: float) -> None:
        """Note an id and what the model paid for it."""
        self.ids.append(token_id)
        self.log_probs.append(log_prob)


@dataclass
class Draft:
    """A text of a request.

    Attributes:
        prompt: the number of the prompt that it continues.
        row: its number in the request, on which its draws depend.
        pieces: what was written.
        told: the ids that were drawn; the last ones may not have been written.
        end: why it has ended; None while it grows.
    """

    prompt: int
    row: int
    pieces: list[str] = field(default_factory=list)
    told: Told = field(default_factory=Told)
    end: str | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)

    @property
    def finish_reason(self) -> str | None:
        """Why it has ended, in OpenAI's words."""
        if self.end is None:
            return None
        return "length" if self.end in USED_UP else "stop"


class Job:
    """A request to continue texts, at work.

    Attributes:
        model: what writes.
        asked: the request.
        prompts: the prompts in the form of the training text.
        ids: of each prompt.
        drafts: n or best_of for each prompt.
        told: of each prompt what the model paid for it, if it was asked for.
        refusal: why nothing more will come, if so.
        is_gone: whether nobody waits for it any more.
        started, deadline: of time.monotonic.
    """

    def __init__(
        self,
        model: ServedModel,
        asked: CompletionRequest,
        seconds: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Encode the prompts; raise Refusal for what the model cannot read or write."""
        self.model, self.asked = model, asked
        apply = model.checkpoint.metadata.text_format.apply
        self.prompts = [apply(prompt) for prompt in asked.prompts]
        try:
            self.ids = [model.tokenizer.encode(each, "error", "--prime") for each in self.prompts]
            self.constraints = Constraints.of(model.tokenizer, asked.config)
        except TextError as error:
            raise Refusal(400, f"prompt: {error.problem}", "prompt") from None
        except TextgenError as error:
            raise refusal_of(error) from None
        self.seed = choose_seed(asked.config.seed)
        count = len(self.prompts) * asked.best_of
        self.drafts = [Draft(row // asked.best_of, row) for row in range(count)]
        self.told = [Told() for _ in self.prompts]
        self.refusal: Refusal | None = None
        self.is_gone = False
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self._loop = loop
        self._changed = asyncio.Event()
        self._is_noted = False

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return self.refusal is not None or all(draft.end for draft in self.drafts)

    def note_change(self) -> None:
        """Wake up who waits for more: called by the worker, at any time and as often as it likes.

        Whoever waits is woken once; see `wait`.
        """
        if self._is_noted:
            return
        self._is_noted = True
        try:
            self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError:
            # The loop has ended, and with it whoever waited.
            self.is_gone = True

    async def wait(self) -> None:
        """Wait until there is more than before."""
        await self._changed.wait()
        self._changed.clear()
        self._is_noted = False

    async def finish(self) -> None:
        """Wait until all texts have ended; raise Refusal if they will not."""
        while not self.is_done:
            await self.wait()
        if self.refusal:
            raise self.refusal

    def tell_likeliest(self, told: Told, logs_V: np.ndarray) -> None:
        """Note as many of the likeliest ids as were asked for, the likeliest first."""
        order = np.argsort(-logs_V, kind="stable")[: self.asked.logprobs or 0].tolist()
        told.likeliest.append({i: float(logs_V[i]) for i in order if logs_V[i] > -np.inf})

    def chosen(self) -> list[Draft]:
        """Return the texts to answer with: of each prompt the n that the model finds likeliest."""
        chosen = []
        for first in range(0, len(self.drafts), self.asked.best_of):
            drafts = self.drafts[first : first + self.asked.best_of]
            if self.asked.n < len(drafts):
                drafts = sorted(drafts, key=self._nats_per_char)[: self.asked.n]
            chosen += drafts
        return chosen

    def count_written(self, draft: Draft) -> int:
        """Return how many ids have written a text."""
        return int(self._written(draft).sum())

    def _written(self, draft: Draft) -> np.ndarray:
        """Return which of the ids that were drawn have written a part of the text."""
        ids = np.array(draft.told.ids, dtype=np.int64)
        return select_ids(self.model.tokenizer, ids, draft.text)

    def _nats_per_char(self, draft: Draft) -> float:
        """Return what the model pays for a character of a text; an empty one comes last."""
        if not draft.text:
            return math.inf
        return float(-np.array(draft.told.log_probs)[self._written(draft)].sum() / len(draft.text))
