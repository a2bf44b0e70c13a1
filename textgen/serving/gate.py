"""What every request passes before it is looked at, and every answer on its way out.

Who may ask: with a key only those who have it; without one only programs of this machine, not pages
of a browser that were led here under another name. It counts answers, and lets no error say more
than it should.

>>> app = Gate(app, metrics, {"/health"}, api_key=None)
"""

from __future__ import annotations

import hmac
import traceback
from collections.abc import Container

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textgen.serving.addresses import host_of, is_loopback
from textgen.serving.metrics import Metrics
from textgen.serving.refusals import Refusal

# Paths that hold nothing but the page, and what says that the server lives.
OPEN_PATHS = ("/", "/write.js", "/health")
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Gate:
    """The application with its doors.

    Args:
        app: what answers.
        metrics: where answers are counted.
        paths: those of the application; all others are counted as one.
        api_key: what clients have to know, if anything.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, paths: Container[str], api_key: str | None
    ) -> None:
        self.app, self.metrics, self.paths, self.api_key = app, metrics, paths, api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(SECURITY)
            await send(message)

        try:
            self.check(scope["path"], Headers(scope=scope))
            await self.app(scope, receive, send_on)
        except Refusal as refusal:
            await answer_with(refusal)(scope, receive, send_on)
        except Exception:
            traceback.print_exc()
            if not status:
                await answer_with(Refusal(500, "the server has failed"))(scope, receive, send_on)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            # Nobody saw the answer to a client that went away.
            self.metrics.count_request(path, status or 499)

    def check(self, path: str, headers: Headers) -> None:
        """Raise Refusal for who may not ask."""
        if self.api_key is None:
            if not is_loopback(host_of(headers.get("host", ""))):
                raise Refusal(403, "without an API key only this machine's own names are answered")
        elif path not in OPEN_PATHS:
            kind, _, key = headers.get("authorization", "").partition(" ")
            # In a time that tells nothing of the key.
            known = hmac.compare_digest(key.strip().encode(), self.api_key.encode())
            if kind.lower() != "bearer" or not known:
                raise Refusal(401, "the API key is missing or wrong", code="invalid_api_key")


def answer_with(refusal: Refusal) -> JSONResponse:
    """Return a refusal as an answer."""
    return JSONResponse(refusal.to_json(), refusal.status, refusal.headers)
