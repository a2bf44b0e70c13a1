"""The command line: parse, make a config, call the library once, print.

It imports numpy and torch only inside the commands that need them.

    textgen train corpus.txt
    textgen sample --prime "ROMEO:"
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

from textgen.cli import (
    corpus,
    eval,
    export,
    info,
    inspect,
    novelty,
    plot,
    predict,
    report,
    sample,
    score,
    serve,
    share,
    train,
)
from textgen.cli.parser import Parser
from textgen.cli.signals import Terminated, signals_raised
from textgen.cli.terminal import drop_unwritten, flush_stdout, open_streams, say
from textgen.config import did_you_mean
from textgen.errors import Interrupted, MachineError, TextgenError, UsageError, reason_of
from textgen.version import __version__

# 128 + SIGPIPE, as a shell reports it.
READER_GONE = 141

EXAMPLES = """examples:
  textgen train corpus.txt              train on a text for ten minutes
  textgen sample --prime "ROMEO:"       write text with the newest run
  textgen eval RUN --part val           evaluate a run on its validation part"""

# A module with `add_arguments` and `run`, and its help.
COMMANDS = {
    "train": (train, "train a model on a text file"),
    "sample": (sample, "write text with a trained model"),
    "eval": (eval, "evaluate a model on a text"),
    "score": (score, "show how likely a model finds a text, and where it is surprised"),
    "predict": (predict, "show what a model expects after a text"),
    "novelty": (novelty, "tell whether samples copy the text that a model was trained on"),
    "plot": (plot, "draw the learning curves of runs"),
    "report": (report, "put everything about a run on one page"),
    "share": (share, "put a model into one page of HTML that writes in any browser"),
    "serve": (serve, "serve models to programs, in the shape of OpenAI's completions"),
    "export": (export, "write a model for other programs"),
    "info": (info, "describe a checkpoint or a text file"),
    "inspect": (inspect, "look into a trained model"),
    "corpus": (corpus, "list, build and describe texts to train on"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; print an error as one line on stderr."""
    started = time.monotonic()
    words = sys.argv[1:] if argv is None else list(argv)
    open_streams()
    received: list[int] = []
    try:
        with signals_raised(received):
            code = run_command(words, started)
            flush_stdout()
    except BaseException as error:
        code = exit_code_of(error, received, words[0] if words else "")
    drop_unwritten()
    return code


def exit_code_of(error: BaseException, received: Sequence[int], command: str = "") -> int:
    """Return the exit code for what ended a command, and say what it was; raise what is a bug.

    received: the signals that came, which may have been turned into any exception.
    """
    if isinstance(error, TextgenError):
        if not (command == "train" and is_told_elsewhere(error)):
            say(str(error) if isinstance(error, Interrupted) else f"error: {error}")
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        return READER_GONE
    if isinstance(error, Terminated):
        return 128 + error.number
    if received or isinstance(error, KeyboardInterrupt):
        return 128 + (received[-1] if received else signal.SIGINT)
    if isinstance(error, MemoryError | OSError | ImportError):
        lack = error_of_machine(error)
        say(f"error: {lack}")
        return lack.exit_code
    raise error


def is_told_elsewhere(error: TextgenError) -> bool:
    """Tell whether another one of the processes that train together tells an error.

    What they meet before they have found each other they all meet; the first one tells it.
    """
    if error.is_told is not None:
        return error.is_told
    return "LOCAL_WORLD_SIZE" in os.environ and os.environ.get("RANK", "0") != "0"


def error_of_machine(error: MemoryError | OSError | ImportError) -> MachineError:
    """Return what the surroundings lack, where nobody named it before."""
    if isinstance(error, MemoryError):
        return MachineError("memory", "there is not enough for this", "ask for less at a time")
    if isinstance(error, OSError):
        return MachineError(
            str(error.filename or "system"), reason_of(error), "check the disk and the path"
        )
    name = error.name or "a library"
    if name.split(".")[0] == "textgen":
        # Not the surroundings: a mistake in textgen.
        raise error
    return MachineError(name, f"cannot be imported: {error}", f"install it: pip install {name}")


def run_command(words: Sequence[str], started: float) -> int:
    """Parse the words and run their command; raise what goes wrong."""
    check_command(words)
    parser = make_parser()
    try:
        arguments = parser.parse_args(words)
    # By --help and --version.
    except SystemExit as done:
        return int(done.code or 0)
    if arguments.command is None:
        parser.print_help()
        return 0
    arguments.started = started
    check_current_folder()
    command, _ = COMMANDS[arguments.command]
    command.run(arguments)
    return 0


def check_current_folder() -> None:
    """Raise MachineError where the current folder is gone: torch ends a process that is in none."""
    try:
        os.getcwd()
    except OSError as error:
        problem = f"cannot be used: {reason_of(error)}"
        raise MachineError("the current folder", problem, "change to another one") from None


def make_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="textgen",
        description="Train a character-level recurrent network on a text, and write more of it.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"textgen {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, (command, help) in COMMANDS.items():
        description = help.capitalize() + "."
        command.add_arguments(commands.add_parser(name, help=help, description=description))
    return parser


def check_command(argv: Sequence[str]) -> None:
    """Raise UsageError when the first word is not a command, naming the nearest one."""
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        fix = did_you_mean(argv[0], COMMANDS, "choose " + ", ".join(COMMANDS))
        raise UsageError(argv[0], "unknown command", fix)
