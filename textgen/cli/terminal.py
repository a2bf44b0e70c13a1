"""What is shown on the terminal, and what goes wrong there.

>>> show(model.stream("ROMEO:"))
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from textgen.errors import MachineError, visible


def say(line: str) -> None:
    """Print a line on standard error."""
    print(f"textgen: {line}", file=sys.stderr)


def show(pieces: Iterator[str], end_line: bool = True, is_clean: bool = False) -> None:
    """Write pieces as they come: exactly into a pipe, without control characters to a terminal.

    end_line: leave the cursor at the beginning of a line of a terminal. is_clean: the only control
    characters of the pieces are the command's own, such as colours.
    """
    terminal = sys.stdout.isatty()
    last = ""
    try:
        for piece in pieces:
            last = piece or last
            clean = is_clean or not terminal
            sys.stdout.write(piece if clean else visible(piece, keep="\n\t"))
            sys.stdout.flush()
        if terminal and end_line and not last.endswith("\n"):
            sys.stdout.write("\n")
    except OSError as error:
        raise stdout_error(error) from error


def title_of(file: str) -> str:
    """Return what a text is called on a page, which is not to say where it lies."""
    return "standard input" if file == "-" else Path(file).name


def stdout_error(error: OSError) -> OSError | MachineError:
    """Return what to raise when standard output cannot be written to."""
    if isinstance(error, BrokenPipeError):
        return error
    reason = (error.strerror or str(error)).lower()
    drop_stdout()
    return MachineError("standard output", f"cannot be written: {reason}", "free some space")


def drop_stdout() -> None:
    """Let standard output go nowhere, so that the exit does not flush what cannot be written."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
