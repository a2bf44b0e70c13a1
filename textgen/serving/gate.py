"""What every request passes before it is looked at, and every answer on its way out.

Who may ask: with a key only those who have it; without one only programs of this machine, not pages
of a browser that were led here under another name. It counts answers, and lets no error say more
than it should.

>>> app = Gate(app, metrics, {"/health"}, api_key=None)
"""

from __future__ import annotations

import base64
import hmac
import traceback
from collections.abc import Container

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textgen.serving.addresses import host_of, is_loopback
from textgen.serving.metrics import Metrics
from textgen.serving.refusals import Refusal

# Says that the server lives, and nothing else.
OPEN_PATH = "/health"
# Where people come, whose browsers ask for a password.
PAGE_PATH, BASIC = "/", 'Basic realm="textgen", charset="UTF-8"'
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
        elif path != OPEN_PATH and not self.is_key(sent_key(headers.get("authorization", ""))):
            raise Refusal(
                401,
                "the API key is missing or wrong",
                code="invalid_api_key",
                headers={"WWW-Authenticate": BASIC if path == PAGE_PATH else "Bearer"},
            )

    def is_key(self, sent: str) -> bool:
        """Tell whether this is the key, in a time that tells nothing of it."""
        return hmac.compare_digest(sent.encode(), (self.api_key or "").encode())


def sent_key(authorization: str) -> str:
    """Return the key that a program sends, or a browser as the password of any name."""
    scheme, _, sent = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return sent.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(sent, validate=True).decode("utf-8").partition(":")[2]
        except ValueError:
            return ""
    return ""


def answer_with(refusal: Refusal) -> JSONResponse:
    """Return a refusal as an answer."""
    return JSONResponse(refusal.to_json(), refusal.status, refusal.headers)
