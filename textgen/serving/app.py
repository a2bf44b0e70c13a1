"""The paths of the server, and what each answers.

>>> app = make_app(load_models(["demo"]), Limits())
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from textgen.analysis import measure_surprise
from textgen.errors import TextgenError
from textgen.serving.answers import (
    describe_completion,
    describe_model,
    describe_models,
    describe_score,
    stream_completion,
)
from textgen.serving.gate import Gate, answer_with
from textgen.serving.jobs import Job
from textgen.serving.limits import Limits
from textgen.serving.metrics import Metrics
from textgen.serving.models import ServedModel
from textgen.serving.refusals import Refusal, quote, refusal_of
from textgen.serving.requests import parse_completion, parse_score
from textgen.serving.worker import Worker, busy

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Of measurements and regular expressions that wait.
MOST_BESIDE = 64

Computed = TypeVar("Computed")


def make_app(
    models: Mapping[str, ServedModel], limits: Limits | None = None, api_key: str | None = None
) -> Gate:
    """Return the server as an application.

    Args:
        models: by their names; requests without a name go to the first.
        limits: how much a request may ask for.
        api_key: what clients have to know; without one only loopback addresses are answered.
    """
    service = Service(models, limits or Limits())
    routes = [
        Route("/", service.page),
        Route("/health", service.health),
        Route("/metrics", service.show_metrics),
        Route("/v1/models", service.list_models),
        Route("/v1/models/{name}", service.show_model),
        Route("/v1/completions", service.complete, methods=["POST"]),
        Route("/v1/score", service.score, methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        lifespan=service.lifespan,
        exception_handlers={
            HTTPException: refuse_path,
            Refusal: refuse_request,
            Exception: hide_failure,
        },
    )
    return Gate(app, service.metrics, {route.path for route in routes}, api_key)


class Service:
    """What the paths share: the models, the worker, and a thread for what would hold it up."""

    def __init__(self, models: Mapping[str, ServedModel], limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.metrics = Metrics()
        self.worker = Worker(models, limits, self.metrics)
        self.created = int(time.time())
        # Of what is computed beside the texts: measuring, and making sense of expressions.
        self.beside = ThreadPoolExecutor(1, "textgen-beside")
        self.waiting_beside = 0

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Let the worker work while the server serves."""
        self.worker.start()
        try:
            yield
        finally:
            self.worker.stop()
            self.beside.shutdown(wait=False, cancel_futures=True)

    async def complete(self, request: Request) -> Response:
        """Answer /v1/completions."""
        asked = parse_completion(await self.read_json(request), self.limits)
        model = self.find_model(asked.model)
        seconds, loop = self.limits.seconds, asyncio.get_running_loop()
        if asked.config.match is None:
            job = Job(model, asked, seconds, loop)
        else:
            # The states of an expression may take seconds to find.
            job = await self.run_beside(lambda: Job(model, asked, seconds, loop))
        self.worker.submit(job)
        if asked.stream:
            return Stream(job, self.worker.count_rows)
        return await answer_unless_gone(request, job)

    async def score(self, request: Request) -> Response:
        """Answer /v1/score."""
        asked = parse_score(await self.read_json(request), self.limits)
        model = self.find_model(asked.model)
        text = model.checkpoint.metadata.text_format.apply(asked.text)
        try:
            surprise = await self.run_beside(lambda: measure_surprise(model.checkpoint, text))
        except TextgenError as error:
            raise refusal_of(error) from None
        return JSONResponse(describe_score(model, surprise, asked.characters))

    async def list_models(self, request: Request) -> Response:
        """Answer /v1/models."""
        return JSONResponse(describe_models(list(self.models.values()), self.created))

    async def show_model(self, request: Request) -> Response:
        """Answer /v1/models/NAME."""
        model = self.find_model(request.path_params["name"])
        return JSONResponse(describe_model(model, self.created))

    async def health(self, request: Request) -> Response:
        """Answer /health."""
        return JSONResponse({"status": "ok"})

    async def show_metrics(self, request: Request) -> Response:
        """Answer /metrics."""
        text = self.metrics.render(self.worker.gauges())
        return PlainTextResponse(text, media_type=METRICS_TYPE)

    async def page(self, request: Request) -> Response:
        """Answer / with the page of a model, which writes in the browser."""
        model = self.find_model(request.query_params.get("model"))
        html = await self.run_beside(lambda: model.page(self.models))
        return HTMLResponse(html, headers={"Content-Security-Policy": "frame-ancestors 'none'"})

    def find_model(self, name: str | None) -> ServedModel:
        """Return the model of a name, the first one for none; raise Refusal for an unknown one."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            message = f"there is no model {quote(name)} (GET /v1/models lists them)"
            raise Refusal(404, message, "model", "model_not_found")
        return self.models[name]

    async def read_json(self, request: Request) -> object:
        """Return the JSON of a request's body; raise Refusal for what is none, or too much."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # A page of another site cannot send this type without asking first.
            problem = f"the content type is {quote(kind)}, not application/json"
            raise Refusal(415, problem)
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                body = await self.read_body(request)
        except TimeoutError:
            raise Refusal(408, "the request came too slowly") from None
        try:
            return json.loads(body.decode("utf-8"), parse_constant=refuse_constant)
        except (ValueError, RecursionError):
            raise Refusal(400, "the request is not valid JSON in UTF-8") from None

    async def read_body(self, request: Request) -> bytes:
        """Return a request's body; raise Refusal where it is too large."""
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > self.limits.body_bytes:
                    raise Refusal(
                        413, f"the request has more than {self.limits.body_bytes:,} bytes"
                    )
        except ClientDisconnect:
            raise Refusal(400, "the client has gone away") from None
        return bytes(body)

    async def run_beside(self, work: Callable[[], Computed]) -> Computed:
        """Return what some work gives, done in a thread of its own; raise Refusal if it is busy."""
        if self.waiting_beside >= MOST_BESIDE:
            raise busy("too many requests are waiting")
        self.waiting_beside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.beside, work)
        finally:
            self.waiting_beside -= 1


class Stream(StreamingResponse):
    """A text as it is written; whoever goes away frees its place."""

    def __init__(self, job: Job, count_rows: Callable[[], int]) -> None:
        events = stream_completion(job, count_rows)
        super().__init__(events, media_type="text/event-stream")
        self.job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, for as long as the request may take and a little more."""
        try:
            async with asyncio.timeout(self.job.deadline - time.monotonic() + 5):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            # The client does not read what was written for it.
            pass
        finally:
            self.job.is_gone = True


async def answer_unless_gone(request: Request, job: Job) -> Response:
    """Return the texts of a request when all have ended; free their places if the client goes."""
    finished = asyncio.ensure_future(job.finish())
    gone = asyncio.ensure_future(wait_until_gone(request))
    try:
        await asyncio.wait({finished, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            return Response(status_code=499)
        finished.result()
        return JSONResponse(describe_completion(job))
    finally:
        job.is_gone = True
        for task in (finished, gone):
            task.cancel()


async def wait_until_gone(request: Request) -> None:
    """Wait until a client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def refuse_path(request: Request, error: Exception) -> Response:
    """Answer where there is no such path or method."""
    assert isinstance(error, HTTPException)
    response = answer_with(Refusal(error.status_code, error.detail.lower()))
    response.headers.update(error.headers or {})
    return response


async def refuse_request(request: Request, error: Exception) -> Response:
    """Answer what cannot be done."""
    assert isinstance(error, Refusal)
    return answer_with(error)


async def hide_failure(request: Request, error: Exception) -> Response:
    """Answer after a bug; what it was stands on standard error only."""
    return answer_with(Refusal(500, "the server has failed"))


def refuse_constant(name: str) -> Any:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(name)
