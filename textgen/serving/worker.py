"""The thread that writes: one step after the other, each for the texts of all requests.

Requests wait in a queue until there is room for their texts. Their prompts are read a piece at a
time between the steps, so that nobody's text stands still for another's long prompt.

>>> worker = Worker(load_models(["demo"]), Limits(), Metrics())
>>> worker.start()
>>> worker.submit(job)
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping

from textgen.engine import Threads
from textgen.sampling import (
    SamplingState,
    Step,
    TextGenerator,
    log_probabilities,
    read_prime,
)
from textgen.serving.jobs import Draft, Job
from textgen.serving.limits import Limits
from textgen.serving.metrics import Metrics
from textgen.serving.models import ServedModel
from textgen.serving.prompts import Prompt, Prompts
from textgen.serving.refusals import Refusal

# Seconds of reading between two steps.
READ_SECONDS = 0.02
# In how many seconds a client may ask again.
RETRY = {"Retry-After": "5"}


class Worker:
    """Writes the texts of all requests, in a thread of its own.

    Args:
        models: by their names.
        limits: of which rows and queue count here.
        metrics: where characters and waiting times are counted.
    """

    def __init__(self, models: Mapping[str, ServedModel], limits: Limits, metrics: Metrics) -> None:
        self.models, self.limits, self.metrics = models, limits, metrics
        self._waiting: deque[Job] = deque()
        self._active: list[Job] = []
        self._prompts = [Prompts(model) for model in models.values()]
        self._writing: dict[TextGenerator, tuple[Job, Draft]] = {}
        self._wake = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="textgen-worker", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step that is being made; what is not finished is refused."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        self._thread.join()

    def submit(self, job: Job) -> None:
        """Take on a request; raise Refusal where too many wait already."""
        with self._wake:
            if self._is_stopping or len(self._waiting) >= self.limits.queue:
                raise busy("too many requests are waiting")
            self._waiting.append(job)
            self._wake.notify()

    def gauges(self) -> dict[str, int]:
        """Return how many requests wait, and how many texts are being written."""
        return {"textgen_queue_length": len(self._waiting), "textgen_rows": self.count_rows()}

    def count_rows(self) -> int:
        """Return how many texts are being written."""
        return sum(len(job.drafts) for job in list(self._active))

    def _run(self) -> None:
        # One thread of products leaves the other cores to the connections, and waits for none.
        with Threads(1):
            while self._wait_for_work():
                self._admit()
                self._end_overdue()
                self._read_prompts()
                for model in self.models.values():
                    self._step(model)
                self._active = [job for job in self._active if not job.is_done]
        for job in [*self._active, *self._waiting]:
            self._refuse(job, busy("the server is stopping"))

    def _wait_for_work(self) -> bool:
        """Wait until there is something to do; tell whether it is not to stop."""
        with self._wake:
            while not (self._is_stopping or self._waiting or self._active):
                self._wake.wait()
            return not self._is_stopping

    def _admit(self) -> None:
        """Begin with requests in their order, as long as there is room for all of their texts."""
        with self._wake:
            while self._waiting:
                job = self._waiting[0]
                if self.count_rows() + len(job.drafts) > self.limits.rows:
                    break
                self._waiting.popleft()
                self._active.append(job)
                self._read(job)
            now = time.monotonic()
            overdue = [job for job in self._waiting if job.is_gone or now > job.deadline]
            for job in overdue:
                self._waiting.remove(job)
        for job in overdue:
            self._refuse(job, busy("the request has waited too long"))

    def _read(self, job: Job) -> None:
        """Begin to read the prompts of a request."""
        model = job.model
        start = read_prime(model.stepper, model.tokenizer, [], job.asked.config)
        (prompts,) = (each for each in self._prompts if each.model is model)
        for number in range(len(job.ids)):
            prompts.add(Prompt(job, number, start))

    def _end_overdue(self) -> None:
        """End what nobody waits for, and what has taken too long."""
        now = time.monotonic()
        overdue = {job for job in self._active if job.is_gone or now > job.deadline}
        if not overdue:
            return
        self._drop(overdue, "seconds")
        for job in overdue:
            for draft in job.drafts:
                draft.end = draft.end or "seconds"
            job.note_change()

    def _drop(self, jobs: set[Job], reason: str) -> None:
        """Read and write no more for some requests."""
        for prompts in self._prompts:
            prompts.drop(jobs)
        for generator, (job, draft) in list(self._writing.items()):
            if job in jobs:
                # After a bug it may be gone already.
                if generator in job.model.together.generators:
                    job.model.together.leave(generator)
                self._end(generator, draft, reason)

    def _refuse(self, job: Job, refusal: Refusal) -> None:
        job.refusal = refusal
        job.note_change()

    def _read_prompts(self) -> None:
        """Read prompts, a piece of each in turn, for as long as texts may stand still."""
        until = time.monotonic() + READ_SECONDS
        for prompts in self._prompts:
            while prompts.waiting and time.monotonic() < until:
                try:
                    self._begin_after(prompts.read_more())
                except Exception:
                    traceback.print_exc()
                    self._fail_all(prompts.model)

    def _begin_after(self, prompts: list[Prompt]) -> None:
        """Let the texts take part in the steps that continue prompts."""
        for prompt in prompts:
            for draft in prompt.job.drafts:
                if draft.prompt == prompt.number:
                    self._begin(prompt.job, draft, prompt.state._replace(seed=prompt.job.seed))

    def _begin(self, job: Job, draft: Draft, state: SamplingState) -> None:
        """Let a text take part in the steps."""
        model, row = job.model, range(draft.row, draft.row + 1)
        generator = TextGenerator(
            model.stepper, model.tokenizer, job.asked.config, state, row, job.constraints
        )
        model.together.join(generator)
        self._writing[generator] = (job, draft)

    def _step(self, model: ServedModel) -> None:
        """Make one step for all texts of a model."""
        try:
            self._tell_likeliest(model)
            steps = model.together.step()
        except Exception:
            traceback.print_exc()
            self._fail_all(model)
            return
        written = 0
        for generator, step in steps:
            job, draft = self._writing[generator]
            written += self._take(job, draft, step)
            if step.ends[0] is not None:
                self._end(generator, draft, step.ends[0])
            if job.asked.stream or job.is_done:
                job.note_change()
        if written:
            self.metrics.count_characters(written)

    def _tell_likeliest(self, model: ServedModel) -> None:
        """Note the likeliest next ids of texts of which that was asked."""
        for generator in model.together.generators:
            job, draft = self._writing[generator]
            if job.asked.logprobs is not None:
                logs_BV = log_probabilities(generator.continuation.logits_BV)
                job.tell_likeliest(draft.told, logs_BV[0])

    def _take(self, job: Job, draft: Draft, step: Step) -> int:
        """Note what a text has grown by, and return how many characters."""
        if step.ids_B[0] >= 0:
            draft.told.add(int(step.ids_B[0]), float(step.log_probs_B[0]))
        piece = step.pieces[0]
        if not piece:
            return 0
        if not any(each.pieces for each in job.drafts):
            self.metrics.observe_first(time.monotonic() - job.started)
        draft.pieces.append(piece)
        return len(piece)

    def _end(self, generator: TextGenerator, draft: Draft, reason: str) -> None:
        del self._writing[generator]
        draft.end = reason

    def _fail_all(self, model: ServedModel) -> None:
        """Give up everything that is read and written with a model, after a bug."""
        jobs = {job for job in self._active if job.model is model}
        self._drop(jobs, "error")
        for job in jobs:
            self._refuse(job, Refusal(500, "the server has failed"))


def busy(problem: str) -> Refusal:
    """Return the refusal of what may be asked for again soon."""
    return Refusal(503, f"{problem} (ask again)", code="busy", headers=RETRY)
