"""Answers in the shapes that OpenAI's clients read.

>>> describe_completion(job)["choices"][0]["text"]
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from textgen.analysis import Surprise
from textgen.serving.jobs import Draft, Job, Told
from textgen.serving.models import ServedModel

END_OF_STREAM = "data: [DONE]\n\n"
# Seconds for which text is collected before it is sent, at least, and such events a second of all
# streams together: an event costs as much as a character or two.
COLLECT_SECONDS, MOST_EVENTS = 0.03, 400


class Tokens:
    """The ids of one text as OpenAI's `logprobs`, handed on as far as they have been written."""

    def __init__(self, model: ServedModel, offset: int) -> None:
        """Begin where the text does.

        Args:
            model: of the ids.
            offset: where in the answer.
        """
        self._texts, self._chars_V = model.texts_of_ids, model.tokenizer.chars_V
        self._handed, self._offset = 0, offset

    def take(self, told: Told, end: int, is_prompt: bool = False) -> dict[str, Any]:
        """Return the ids that begin before the character `end` and were not returned before."""
        tokens: dict[str, list[Any]] = {
            name: [] for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        }
        for index in range(self._handed, len(told.ids)):
            token_id = told.ids[index]
            chars = int(self._chars_V[token_id])
            if not is_prompt and self._offset >= end + (chars == 0):
                break
            tokens["tokens"].append(self._texts[token_id])
            tokens["token_logprobs"].append(told.log_probs[index])
            likeliest = told.likeliest[index].items()
            tokens["top_logprobs"].append({self._texts[i]: value for i, value in likeliest})
            tokens["text_offset"].append(self._offset)
            self._offset += chars
            self._handed += 1
        return tokens


class ChoiceWriter:
    """One text of an answer, handed on piece by piece; index: its number in the answer."""

    def __init__(self, job: Job, draft: Draft, index: int) -> None:
        self.job, self.draft, self.index = job, draft, index
        self.prompt = job.prompts[draft.prompt] if job.asked.echo else ""
        self.has_begun = self.has_ended = False
        self._pieces = 0
        self._end = len(self.prompt)
        self._tokens = Tokens(job.model, len(self.prompt))

    def take(self) -> dict[str, Any] | None:
        """Return what is new, None where nothing is."""
        # The end is looked at first: the pieces of a text that has ended are complete.
        reason = self.draft.finish_reason
        pieces = self.draft.pieces[self._pieces :]
        if self.has_ended or not (pieces or reason):
            return None
        text = "".join(pieces)
        self._pieces += len(pieces)
        self._end += len(text)
        choice = {
            "index": self.index,
            "text": text if self.has_begun else self.prompt + text,
            "logprobs": self._take_tokens(),
            "finish_reason": reason,
        }
        self.has_begun, self.has_ended = True, reason is not None
        return choice

    def _take_tokens(self) -> dict[str, Any] | None:
        if self.job.asked.logprobs is None:
            return None
        tokens = self._tokens.take(self.draft.told, self._end)
        if self.has_begun or not self.prompt:
            return tokens
        told = self.job.told[self.draft.prompt]
        before = Tokens(self.job.model, 0).take(told, len(self.prompt), is_prompt=True)
        return {name: before[name] + tokens[name] for name in tokens}


def describe_completion(job: Job) -> dict[str, Any]:
    """Return the answer to a request whose texts have ended."""
    chosen = job.chosen()
    choices = [ChoiceWriter(job, draft, index).take() for index, draft in enumerate(chosen)]
    return heading(job) | {"choices": choices, "usage": count_usage(job)}


async def stream_completion(job: Job, count_rows: Callable[[], int]) -> AsyncIterator[str]:
    """Yield the events of a request's texts as they grow.

    What comes is collected for a while, the longer the more texts are being written.

    Args:
        job: the request.
        count_rows: tells how many texts are being written.
    """
    head = heading(job) | ({"usage": None} if job.asked.include_usage else {})
    writers = [ChoiceWriter(job, draft, index) for index, draft in enumerate(job.drafts)]
    while not job.refusal:
        events = [event(head | {"choices": [it]}) for each in writers if (it := each.take())]
        if events:
            yield "".join(events)
        if all(each.has_ended for each in writers):
            break
        await job.wait()
        if all(each.has_begun for each in writers) and not job.is_done:
            await asyncio.sleep(max(COLLECT_SECONDS, count_rows() / MOST_EVENTS))
    if job.refusal:
        yield event(job.refusal.to_json())
    elif job.asked.include_usage:
        yield event(head | {"choices": [], "usage": count_usage(job)})
    yield END_OF_STREAM


def event(values: dict[str, Any]) -> str:
    """Return JSON as one server-sent event."""
    return f"data: {json.dumps(values)}\n\n"


def heading(job: Job) -> dict[str, Any]:
    """Return what all answers to a request have in common."""
    return {
        "id": f"cmpl-{secrets.token_hex(12)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": job.model.name,
        "seed": job.seed,
    }


def count_usage(job: Job) -> dict[str, int]:
    """Return how many ids were read and written, drafts included."""
    prompt = sum(map(len, job.ids))
    written = sum(map(job.count_written, job.drafts))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
    }


def describe_models(models: Sequence[ServedModel], created: int) -> dict[str, Any]:
    """Return the list of models."""
    return {"object": "list", "data": [describe_model(model, created) for model in models]}


def describe_model(model: ServedModel, created: int) -> dict[str, Any]:
    """Return what is known of a model."""
    return {"id": model.name, "object": "model", "created": created, "owned_by": "textgen"}


def describe_score(model: ServedModel, surprise: Surprise, with_characters: bool) -> dict[str, Any]:
    """Return what a text costs, in all and on the average, and each of its characters if asked."""
    answer: dict[str, Any] = {"object": "score", "model": model.name, **surprise.to_json()}
    if with_characters:
        by_character = surprise.by_character()
        nats = by_character.nats_N.tolist()
        answer["characters"] = {
            "text": by_character.texts(),
            "nats": nats,
            "bits": [cost / math.log(2) for cost in nats],
        }
    return answer
