"""Pieces of a text that are worked on in processes of their own, in their order.

Python decodes text in one thread at a time, so only processes make that quicker. They are started
anew rather than forked, as this process may have threads, and do not run the caller's script, as
those of `multiprocessing` would: a library cannot ask for a guard in it. What goes between them is
plain bytes, each stretch after its length.

    >>> with Workers("textgen.data.corpus:counter", b"", 2) as workers:
    ...     counts = list(workers.map([b"some", b"pieces"]))
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import IO

# More would wait for the process that hands out the pieces.
MOST_WORKERS = 16
# Before each stretch of bytes: how many there are, and 1 where they are an error.
HEADER = struct.Struct("<QB")
# What a worker runs. It finds textgen where its parent does.
MAIN = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from textgen.data.workers import work; work(sys.argv[2])"
)


class WorkerError(Exception):
    """A piece that no worker could do, for whatever reason; do all of it without them."""


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Processes that do the same with every piece.

    Args:
        maker: "module:function" of textgen; the function makes of `setup` what is done, which makes
            bytes of the bytes of a piece.
        setup: what it needs besides the pieces.
        number: of processes.
    """

    def __init__(self, maker: str, setup: bytes, number: int) -> None:
        self._maker, self._setup, self._number = maker, setup, number
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Workers:
        command = [sys.executable, "-c", MAIN, json.dumps(sys.path), self._maker]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        try:
            for _ in range(self._number):
                process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing)
                self._processes.append(process)
                _send(process, self._setup)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | ValueError):
                raise WorkerError(str(error)) from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, whatever they do."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                # What a process never took cannot be written any more.
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()
            process.wait()
        self._processes.clear()

    def map(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what is made of each piece, in their order.

        Each process has one piece at a time and gets the next when its result was read, so that
        memory is bounded and no two processes wait for each other.

        Raises:
            WorkerError: a piece could not be done, or a process ended.
        """
        idle, busy = deque(self._processes), deque[subprocess.Popen[bytes]]()
        for piece in pieces:
            if idle:
                process, result = idle.popleft(), None
            else:
                process = busy.popleft()
                result = _receive(process)
            _send(process, piece)
            busy.append(process)
            if result is not None:
                yield result
        while busy:
            yield _receive(busy.popleft())


def work(maker: str) -> None:
    """Do what a worker does: read pieces and write what is made of them until there are no more."""
    # Control-C reaches all processes of a terminal; the one that started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    module, _, name = maker.partition(":")
    function = getattr(importlib.import_module(module), name)(_read(source)[0])
    with contextlib.suppress(EOFError):
        while True:
            piece, _ = _read(source)
            try:
                result, failed = function(piece), 0
            except Exception as error:
                result, failed = str(error).encode(errors="replace"), 1
            target.write(HEADER.pack(len(result), failed))
            target.write(result)
            target.flush()


def _read(source: IO[bytes]) -> tuple[bytes, int]:
    """Return the next stretch of bytes, and whether it is an error."""
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError
    length, failed = HEADER.unpack(header)
    return source.read(length), failed


def _send(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(HEADER.pack(len(data), 0))
        process.stdin.write(data)
        process.stdin.flush()
    except OSError as error:
        raise WorkerError(str(error)) from error


def _receive(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    try:
        result, failed = _read(process.stdout)
    except (OSError, EOFError) as error:
        raise WorkerError("a process ended") from error
    if failed:
        raise WorkerError(result.decode(errors="replace"))
    return result
