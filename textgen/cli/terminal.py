"""What is shown on the terminal, and what goes wrong there.

Everything that a command prints goes through here: streams that are missing, full or left by their
reader are looked after in one place, and so is what could steer a terminal.

>>> show(model.stream("ROMEO:"))
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from textgen.errors import MachineError, reason_of, visible


def open_streams() -> None:
    """Make the standard streams ready: there, and UTF-8 whatever the locale says.

    A stream that was closed before the start reads nothing or leads nowhere. Each is opened in its
    turn, so that it takes its own descriptor and no file can get that of standard output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")


def say(line: str, prefix: str = "textgen: ") -> None:
    """Print a line on standard error; where that cannot be written, nobody is there to hear it."""
    # RuntimeError: a signal came while something else was being printed.
    with contextlib.suppress(OSError, RuntimeError):
        print(prefix + line, file=sys.stderr)


def show(pieces: Iterable[str], end_line: bool = True, is_clean: bool = False) -> None:
    """Write pieces as they come: exactly into a pipe, without control characters to a terminal.

    end_line: leave the cursor at the beginning of a line of a terminal. is_clean: the only control
    characters of the pieces are the command's own, such as colours. Raises MachineError where
    standard output cannot be written, BrokenPipeError where its reader has left.
    """
    terminal = sys.stdout.isatty()
    last = ""
    for piece in pieces:
        last = piece or last
        clean = is_clean or not terminal
        with _errors_of_stdout():
            sys.stdout.write(piece if clean else visible(piece, keep="\n\t"))
            sys.stdout.flush()
    if terminal and end_line and not last.endswith("\n"):
        with _errors_of_stdout():
            sys.stdout.write("\n")


def show_lines(*lines: str) -> None:
    """Write lines as `show` does."""
    show(f"{line}\n" for line in lines)


def show_json(value: object) -> None:
    """Write a value as a line of JSON; for a terminal all of it is ASCII."""
    show_lines(json.dumps(value, ensure_ascii=sys.stdout.isatty()))


def flush_stdout() -> None:
    """Write what is still held back; raise as `show` does."""
    with _errors_of_stdout():
        sys.stdout.flush()


def drop_unwritten() -> None:
    """Let go of what the standard streams do not take, so that the exit does not try it again."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except OSError:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the process ends


def title_of(file: str) -> str:
    """Return what a text is called on a page, which is not to say where it lies."""
    return "standard input" if file == "-" else Path(file).name


@contextlib.contextmanager
def _errors_of_stdout() -> Iterator[None]:
    """Raise MachineError for what goes wrong with standard output inside."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        fix = "free some space, or send it elsewhere"
        raise MachineError(
            "standard output", f"cannot be written: {reason_of(error)}", fix
        ) from error
