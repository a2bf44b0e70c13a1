"""textgen train: its arguments, and what it does."""

from __future__ import annotations

import contextlib
import os
from argparse import Namespace
from collections.abc import Callable, Iterator

from textgen.cli.parser import Parser, add_fields, given
from textgen.cli.signals import end_command, signals_taken_by
from textgen.cli.terminal import drop_unwritten, say
from textgen.config import TrainConfig, unescape


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
    with catch_signals() as stop:
        train(
            arguments.files,
            resume=arguments.resume,
            verify=arguments.verify,
            quiet=False,
            stop=stop,
            started=arguments.started,
            **options,
        )
    # What could not be printed was told, and stands in the files of the run.
    drop_unwritten()


@contextlib.contextmanager
def catch_signals() -> Iterator[Callable[[], int | None]]:
    """Yield what tells the signal that says to stop; a second one kills.

    Before it is asked for the first time there is nothing to save, and a signal ends the command.
    """
    received: list[int] = []
    is_training = False

    def stop() -> int | None:
        nonlocal is_training
        is_training = True
        return received[0] if received else None

    def handle(number: int, _frame: object) -> None:
        if not is_training:
            end_command(number)
        if received:
            os._exit(128 + number)
        received.append(number)
        # torchrun passes a signal on to each of its processes, and stops the others of one that
        # ends.
        if "LOCAL_WORLD_SIZE" not in os.environ:
            say("stopping after this step; once more to stop at once")

    with signals_taken_by(handle):
        yield stop
