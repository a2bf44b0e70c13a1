"""textgen train: its arguments, and what it does."""

from __future__ import annotations

import contextlib
import os
import signal
from argparse import Namespace
from collections.abc import Iterator

from textgen.cli.parser import Parser, add_fields, given
from textgen.cli.terminal import drop_stdout, say
from textgen.config import TrainConfig, unescape

# HUP, INT and TERM, as far as the system has them.
STOPPING = [number for number in signal.valid_signals() if number in (1, 2, 15)]


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen train`."""
    help = (
        "text to train on: files, folders, or - for standard input; .gz, .xz, .zst are decompressed"
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help=help)
    parser.add_argument("--resume", metavar="RUN", help="continue this stopped run")
    help = "reread a large text even if it looks unchanged"
    parser.add_argument("--verify", action="store_true", help=help)
    add_fields(parser, TrainConfig)


def run(arguments: Namespace) -> None:
    """Train on the text, or resume a run; the first stopping signal saves the state."""
    from textgen.training import train

    options = given(arguments, TrainConfig)
    if "records" in options:
        options["records"] = unescape(options["records"])
    with catch_signals() as received:
        train(
            arguments.files,
            resume=arguments.resume,
            verify=arguments.verify,
            quiet=False,
            stop=lambda: received[0] if received else None,
            started=arguments.started,
            **options,
        )
    # What could not be printed was told, and stands in the files of the run.
    drop_stdout()


@contextlib.contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Collect stopping signals in a list instead of dying of the first; the second one kills."""
    received: list[int] = []

    def handle(number: int, _frame: object) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        say("stopping after this step; once more to stop at once")

    before = {number: signal.signal(number, handle) for number in STOPPING}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
