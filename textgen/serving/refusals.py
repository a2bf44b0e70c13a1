"""What a server answers to what it cannot do, in the shape of OpenAI's errors.

>>> Refusal(400, "n is 0, not at least 1", param="n").to_json()["error"]["type"]
'invalid_request_error'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from textgen.errors import TextgenError, visible

# What the options of the command line are called in a request, where that is not the same.
FIELDS_OF_OPTIONS = {"length": "max_tokens", "prime": "prompt", "bias": "logit_bias", "num": "n"}
LONGEST_VALUE = 60


class Refusal(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        message: one sentence for whoever wrote the client.
        param: the field that it is about.
        code: a word for programs.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, visible(message), param, code
        self.headers = dict(headers or {})

    def to_json(self) -> dict[str, Any]:
        """Return OpenAI's object of an error."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


def refusal_of(error: TextgenError) -> Refusal:
    """Return what the library says of a request, in the request's own words."""
    param = field_of_option(error.subject) if error.subject.startswith("--") else None
    message = f"{param or error.subject}: {error.problem} ({error.fix})"
    return Refusal(400, re.sub(r"--[a-z][a-z-]*", lambda m: field_of_option(m[0]), message), param)


def field_of_option(option: str) -> str:
    """Return what an option of the command line is called in a request."""
    name = option.removeprefix("--").replace("-", "_")
    return FIELDS_OF_OPTIONS.get(name, name)


def quote(value: object) -> str:
    """Return a value of a request as an error shows it, cut short."""
    # Cut before it is written out: a list may be as long as a request.
    value = value[: LONGEST_VALUE + 1] if isinstance(value, str | list) else value
    shown = repr(value) if not isinstance(value, dict) else "an object"
    return shown if len(shown) <= LONGEST_VALUE else shown[:LONGEST_VALUE] + " ..."
