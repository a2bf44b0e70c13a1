"""Pieces of a text that are worked on in processes of their own, in their order.

Python decodes text in one thread at a time, so only processes make that quicker. They are started
anew rather than forked, as this process may have threads, and do not run the caller's script, as
those of `multiprocessing` would: a library cannot ask for a guard in it. Pieces and results lie in
memory that two processes share, a file without a name, and pipes say how long they are: bytes that
go through a pipe are copied twice, which took as long as the work.

    >>> with Workers("count", b"", 2) as workers:
    ...     counts = list(workers.map([b"some", b"pieces"]))
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import IO

# More would wait for the process that hands out the pieces.
MOST_WORKERS = 16
# Characters or bytes of a text, and cores, from which workers are worth their start: on two cores,
# with another program on one, they lose (docs/log.md, "large texts").
FOR_WORKERS, FEWEST_CORES = 1 << 28, 4
# What a pipe says: how many bytes there are, and 1 where they are an error.
HEADER = struct.Struct("<QB")
# Bytes for a piece, and for what is made of it behind that; only those that are used take memory.
PIECE_ROOM, RESULT_ROOM = 1 << 24, 1 << 26
# What spares a worker time: glibc then keeps the memory of a piece for the next one, and nobody
# multiplies matrices.
SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 27),
    "OPENBLAS_NUM_THREADS": "1",
}
# What a worker runs, written out in full. It finds textgen where its parent does.
MAIN = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from textgen.data.workers import work; {}; work(make, int(sys.argv[2]))"
)
# What makes of a setup the function that does a task.
MAKERS = {
    "count": "from textgen.data.corpus import counter as make",
    "index": "from textgen.data.corpus import encoder as make",
    "encode": "from textgen.data.dataset import unit_encoder as make",
}


class WorkerError(Exception):
    """A piece that no worker could do, for whatever reason; do all of it without them."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def useful_workers(size: int) -> int:
    """Return how many processes work on a text of so many characters or bytes, 0 for none."""
    cores = available_cores()
    # In a frozen program it is not Python.
    has_python = bool(sys.executable) and not hasattr(sys, "frozen")
    if size < FOR_WORKERS or cores < FEWEST_CORES or not has_python or os.name != "posix":
        return 0
    return min(cores, MOST_WORKERS)


class Workers:
    """Processes that do the same with every piece.

    Args:
        task: one of MAKERS; what is made there of `setup` makes bytes of the bytes of a piece.
        setup: what it needs besides the pieces.
        number: of processes.
    """

    def __init__(self, task: str, setup: bytes, number: int) -> None:
        self._task, self._setup, self._number = task, setup, number
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        try:
            for _ in range(self._number):
                self._workers.append(_Worker(self._task))
                self._workers[-1].send(self._setup)
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
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def map(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what is made of each piece, in their order.

        Each process has one piece at a time and gets the next when its result was read, so that
        memory is bounded and no two processes wait for each other.

        Raises:
            WorkerError: a piece could not be done, or a process ended.
        """
        idle, busy = deque(self._workers), deque[_Worker]()
        for piece in pieces:
            is_first = bool(idle)
            worker = (idle or busy).popleft()
            # At first that it is ready: until then its memory holds the setup.
            result = worker.receive()
            worker.send(piece)
            busy.append(worker)
            if not is_first:
                yield result
        while busy:
            yield busy.popleft().receive()


class _Worker:
    """A process, from the side of the one that started it."""

    def __init__(self, task: str) -> None:
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        with _nameless_file() as file:
            file.truncate(PIECE_ROOM + RESULT_ROOM)
            self._memory = mmap.mmap(file.fileno(), PIECE_ROOM + RESULT_ROOM)
            words = [json.dumps(sys.path), str(file.fileno())]
            self._process = subprocess.Popen(
                [sys.executable, "-c", MAIN.format(MAKERS[task]), *words],
                stdin=pipe,
                stdout=pipe,
                stderr=nothing,
                env={**os.environ, **SETTINGS},
                pass_fds=[file.fileno()],
            )

    def send(self, piece: bytes) -> None:
        """Let the process have a piece."""
        assert self._process.stdin is not None
        if len(piece) > PIECE_ROOM:
            raise WorkerError(f"{len(piece):,} bytes in a piece")
        self._memory[: len(piece)] = piece
        try:
            self._process.stdin.write(HEADER.pack(len(piece), 0))
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerError(str(error)) from error

    def receive(self) -> bytes:
        """Return what was made of the piece."""
        assert self._process.stdout is not None
        header = self._process.stdout.read(HEADER.size)
        if len(header) < HEADER.size:
            raise WorkerError("a process ended")
        length, failed = HEADER.unpack(header)
        result = self._memory[PIECE_ROOM : PIECE_ROOM + length]
        if failed:
            raise WorkerError(result.decode(errors="replace"))
        return result

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            # What it never took cannot be written any more.
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        self._process.wait()
        self._memory.close()


def _nameless_file() -> IO[bytes]:
    """Return a file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("textgen"), "w+b")
    return tempfile.TemporaryFile()


def work(make: Callable[[bytes], Callable[[bytes], bytes]], descriptor: int) -> None:
    """Do what a worker does, until there are no more pieces.

    Args:
        make: makes of the setup, which comes first, what is done with each piece.
        descriptor: of the file whose memory is shared.
    """
    # Control-C reaches all processes of a terminal; the one that started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    memory = mmap.mmap(descriptor, PIECE_ROOM + RESULT_ROOM)
    function: Callable[[bytes], bytes] | None = None
    while len(header := sys.stdin.buffer.read(HEADER.size)) == HEADER.size:
        piece = memory[: HEADER.unpack(header)[0]]
        try:
            result, failed = b"", 0
            if function is None:
                function = make(piece)
            else:
                result = function(piece)
            if len(result) > RESULT_ROOM:
                raise ValueError(f"{len(result):,} bytes in a result")
        except Exception as error:
            result, failed = str(error).encode(errors="replace")[:RESULT_ROOM], 1
        memory[PIECE_ROOM : PIECE_ROOM + len(result)] = result
        sys.stdout.buffer.write(HEADER.pack(len(result), failed))
        sys.stdout.buffer.flush()
