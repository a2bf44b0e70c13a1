"""Signals that stop a command: it ends in order, so that no temporary file stays behind.

>>> with signals_raised() as received:
...     run_command(words)
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

# HUP, INT and TERM, as far as the system has them.
STOPPING = [number for number in signal.valid_signals() if number in (1, 2, 15)]


class Terminated(BaseException):
    """A signal says to stop that is not Ctrl-C, which a conversation may survive."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def signals_raised() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt or Terminated for each stopping signal, and collect their numbers.

    An extension that is interrupted while it is imported may turn the exception into another.
    """
    received: list[int] = []

    def handle(number: int, _frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    with signals_taken_by(handle):
        yield received


@contextlib.contextmanager
def signals_taken_by(handle: Callable[[int, object], None]) -> Iterator[None]:
    """Let a function handle the stopping signals; what is ignored, as under nohup, stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    taken = [number for number in STOPPING if before[number] != signal.SIG_IGN]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number] or signal.SIG_DFL)
