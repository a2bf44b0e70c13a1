"""The server as a process: its socket, its signals and its end.

>>> serve(["demo"], host="127.0.0.1", port=8000)
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from textgen.errors import MachineError, UsageError, reason_of
from textgen.serving.addresses import is_loopback
from textgen.serving.limits import Limits

KEY_VARIABLE = "TEXTGEN_API_KEY"
SHORTEST_KEY = 16
LARGEST_KEY_FILE = 4096
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(
    names: Sequence[str],
    host: str,
    port: int,
    key_file: str | None,
    say: Callable[[str], None],
    limits: Limits | None = None,
) -> None:
    """Serve models until a signal says to stop; then finish what runs, within a bound.

    Args:
        names: checkpoint files or run folders; none for the newest run, else the demo.
        host: an address of this machine.
        port: 0 for any that is free.
        key_file: holds the API key; by default it is in the environment, or there is none.
        say: takes a line that tells where the server is.
        limits: how much a request may ask for.

    Raises:
        MachineError: if the extra is not installed, or the address cannot be had.
        UsageError: if others could reach the server without a key, or the key is too short.
        CheckpointError: if a model is missing or damaged.
        KeyboardInterrupt: after SIGINT.
    """
    check_installed()
    api_key = read_key(key_file)
    check_reach(host, api_key)
    with listen(host, port) as listening:
        import uvicorn

        from textgen.serving.app import make_app
        from textgen.serving.models import load_models

        limits = limits or Limits()
        models = load_models(names)
        config = uvicorn.Config(
            make_app(models, limits, api_key),
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="none",
            server_header=False,
            limit_concurrency=limits.connections,
            timeout_graceful_shutdown=int(limits.shutdown_seconds),
        )
        server = uvicorn.Server(config)
        received: list[int] = []
        with signals_noted(server, received):
            say(f"serving {', '.join(models)} at {url_of(listening)} (Ctrl-C stops)")
            server.run(sockets=[listening])
    if signal.SIGINT in received:
        raise KeyboardInterrupt


def check_installed() -> None:
    """Raise MachineError where the server's packages are missing."""
    if not all(importlib.util.find_spec(name) for name in ("starlette", "uvicorn")):
        fix = "pip install 'textgen-rnn[serve]'"
        raise MachineError("serve", "a server needs starlette and uvicorn", fix)


def read_key(key_file: str | None) -> str | None:
    """Return the API key of a file, else of the environment, else None."""
    subject, key = KEY_VARIABLE, os.environ.get(KEY_VARIABLE)
    if key_file is not None:
        subject = "--api-key-file"
        try:
            with Path(key_file).open("rb") as file:
                key = file.read(LARGEST_KEY_FILE).decode("ascii", "replace")
        except OSError as error:
            raise UsageError(
                subject, f"{key_file}: {reason_of(error)}", "name a file with a key"
            ) from None
    if key is None:
        return None
    key = key.strip()
    if len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable()) or " " in key:
        problem = f"the key is not {SHORTEST_KEY} or more visible characters of ASCII"
        raise UsageError(subject, problem, "make one: openssl rand -hex 24")
    return key


def check_reach(host: str, api_key: str | None) -> None:
    """Raise UsageError where other machines could use the models without a key."""
    if api_key is None and not is_loopback(host):
        problem = f"{host} can be reached from other machines, and whoever reaches it may write"
        fix = f"set an API key: --api-key-file FILE or {KEY_VARIABLE}"
        raise UsageError("--host", problem, fix)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; raise MachineError where that cannot be."""
    if not 0 <= port <= 65535:
        raise UsageError("--port", f"{port} is not a port", "must be from 0 to 65535")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = str(getattr(error, "strerror", None) or error).lower()
        problem = f"cannot listen at {host}, port {port}: {reason}"
        raise MachineError("serve", problem, "choose another --port or --host") from None
    return listening


def url_of(listening: socket.socket) -> str:
    """Return the address of a socket as a browser takes it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def signals_noted(server: Any, received: list[int]) -> Iterator[None]:
    """Note the signals that stop a server; a second one stops it at once.

    uvicorn raises them once more when it has ended, so they are caught here for as long.
    """

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        server.should_exit = True

    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
