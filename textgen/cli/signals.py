"""Signals that stop a command: it ends in order, so that no temporary file stays behind.

>>> with signals_raised(received := []):
...     run_command(words)
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

# HUP, INT and TERM, as far as the system has them.
STOPPING = [number for number in signal.valid_signals() if number in (1, 2, 15)]
# Seconds from one Terminated to the next.
RAISED_EVERY = 0.5


class Terminated(BaseException):
    """A signal says to stop that is not Ctrl-C, which a conversation may survive."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def end_command(number: int) -> NoReturn:
    """Raise what ends a command at a signal: KeyboardInterrupt, or Terminated.

    What a callback raises is swallowed, such as one of an extension that is being imported. So
    Terminated is raised again until `signals_raised` is left.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda *_: end_command(number))
        signal.setitimer(signal.ITIMER_REAL, RAISED_EVERY)
    raise Terminated(number)


@contextlib.contextmanager
def signals_raised(received: list[int]) -> Iterator[None]:
    """Let each stopping signal end the command inside, and note its number."""

    def handle(number: int, _frame: object) -> None:
        received.append(number)
        end_command(number)

    with signals_taken_by(handle):
        try:
            yield
        finally:
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)


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
