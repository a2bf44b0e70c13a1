"""The command line: parse, make a config, call the library once, print.

In the walk after `options`. It imports numpy and torch only inside the commands that need them.

    textgen train corpus.txt
    textgen sample --prime "ROMEO:"
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.config import DEVICES, SampleConfig, TrainConfig, check_choice
from textgen.errors import Interrupted, MachineError, TextgenError, UsageError, visible
from textgen.options import check_command, given, make_parser, unescape

if TYPE_CHECKING:
    from textgen.textmodel import TextModel

BETWEEN = "\n" + "-" * 40 + "\n"  # between the texts of --num
READER_GONE = 141  # 128 + SIGPIPE, as a shell reports it
STOPPING = [number for number in signal.valid_signals() if number in (1, 2, 15)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; print an error as one line on stderr."""
    started = time.monotonic()
    words = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # the same bytes whatever the locale says
            stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
    try:
        return run(words, started)
    except Interrupted as stopped:
        print(f"textgen: {stopped}", file=sys.stderr)
        return stopped.exit_code
    except TextgenError as error:
        print(f"textgen: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - so that the exit does not flush again
        return READER_GONE


def run(words: Sequence[str], started: float) -> int:
    """Parse the words and run their command; raise TextgenError for what goes wrong."""
    check_command(words)
    parser = make_parser()
    try:
        arguments = parser.parse_args(words)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    if arguments.command is None:
        parser.print_help()
        return 0
    arguments.started = started
    COMMANDS[arguments.command](arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        raise stdout_error(error) from error
    return 0


def _train(arguments: Namespace) -> None:
    from textgen.training import train

    with caught_signals() as received:
        train(
            arguments.file,
            resume=arguments.resume,
            quiet=False,
            stop=lambda: received[0] if received else None,
            started=arguments.started,
            **given(arguments, TrainConfig),
        )


@contextlib.contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Collect stopping signals in a list instead of dying of the first; the second one kills."""
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        print("textgen: stopping after this step; once more to stop at once", file=sys.stderr)

    before = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sample(arguments: Namespace) -> None:
    from textgen.runs import find_checkpoint, newest_checkpoint
    from textgen.textmodel import load

    check_choice("--device", arguments.device, DEVICES)
    options = _sample_options(arguments)
    config = SampleConfig(**options)
    path = arguments.checkpoint
    path = find_checkpoint(path) if path else newest_checkpoint()
    if arguments.adapt:
        from textgen.evaluation import adapt

        model, rule = adapt(path, arguments.adapt, arguments.device)
        learnt = f"learnt from {visible(arguments.adapt)} at rate {rule.lr:g}, decay {rule.decay:g}"
        print(f"textgen: {learnt}", file=sys.stderr)
    else:
        model = load(path, arguments.device)
    if config.seed is None:
        from textgen.sampling import new_seed

        options["seed"] = new_seed()
    with_what = f"seed {options['seed']}, {model.threads} thread(s)"
    print(f"textgen: {visible(str(path))}, {with_what}", file=sys.stderr)
    if arguments.out:
        _write_file(Path(arguments.out), _texts(model, options))
    else:
        _write_terminal(_texts(model, options))


def _sample_options(arguments: Namespace) -> dict[str, Any]:
    """Return the fields of SampleConfig, with the prime from where it was given."""
    from textgen import corpus

    options = given(arguments, SampleConfig)
    if arguments.prime_file and "prime" in options:
        raise UsageError("--prime-file", "cannot be combined with --prime", "keep one")
    if "prime" in options:
        options["prime"] = unescape(options["prime"])
    if arguments.prime_file == "-":
        options["prime"] = corpus.from_bytes(Path("standard input"), sys.stdin.buffer.read()).text
    elif arguments.prime_file:
        options["prime"] = corpus.read(arguments.prime_file).text
    if "stop" in options:
        options["stop"] = tuple(unescape(stop) for stop in options["stop"])
    return options


def _texts(model: TextModel, options: dict[str, Any]) -> Iterator[str]:
    """Yield the pieces to write: the prime and its text, or several texts with lines between."""
    if options.get("num", 1) == 1:
        pieces = model.stream(**options)
        first = next(pieces, "")  # before the prime is shown: it may be refused
        yield options.get("prime", "")
        yield first
        yield from pieces
    else:
        yield BETWEEN.join(model.batch(**options))


def _write_terminal(pieces: Iterator[str]) -> None:
    """Write pieces as they come: exactly into a pipe, without control characters to a terminal."""
    terminal = sys.stdout.isatty()
    last = ""
    try:
        for piece in pieces:
            last = piece or last
            sys.stdout.write(visible(piece, keep="\n\t") if terminal else piece)
            sys.stdout.flush()
        if terminal and not last.endswith("\n"):
            sys.stdout.write("\n")
    except OSError as error:
        raise stdout_error(error) from error


def stdout_error(error: OSError) -> OSError | MachineError:
    """Return what to raise when standard output cannot be written."""
    if isinstance(error, BrokenPipeError):
        return error
    reason = (error.strerror or str(error)).lower()
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - so that the exit does not flush again
    return MachineError("standard output", f"cannot be written: {reason}", "free some space")


def _write_file(path: Path, pieces: Iterator[str]) -> None:
    from textgen.files import write_atomically

    write_atomically(path, (piece.encode("utf-8", "surrogateescape") for piece in pieces))


def _eval(arguments: Namespace) -> None:
    from textgen.evaluation import evaluate

    check_choice("--device", arguments.device, DEVICES)
    result = evaluate(
        arguments.checkpoint,
        arguments.file,
        arguments.part,
        arguments.protocol,
        arguments.device,
        arguments.dynamic,
    )
    figures = result.to_json()
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        if isinstance(value, float):
            value = f"{value:.4f}" if value >= 0.01 else f"{value:g}"
        print(f"{name:<21} {value}")


def _info(arguments: Namespace) -> None:
    from textgen import corpus
    from textgen.checkpoint import Checkpoint
    from textgen.runs import find_checkpoint

    path = find_checkpoint(arguments.path)
    is_text = path.suffix != ".safetensors"
    lines = corpus.read(path).report() if is_text else Checkpoint.load(path).report()
    for label, value in lines:
        print(f"{label + ':':<12} {visible(value)}")


def _inspect(arguments: Namespace) -> None:
    from textgen import gradients

    picture = Path(arguments.out) if arguments.out else None
    if picture:
        gradients.check_picture(picture)  # before the work, not after it
    text, lags = arguments.file, arguments.lags
    results = [gradients.inspect(path, text, lags) for path in arguments.checkpoints]
    if picture:
        gradients.draw(results, picture)
    if arguments.json:
        print(json.dumps([one.to_json() for one in results]))
        return
    print("\n".join(gradients.table(results)))


def _corpus(arguments: Namespace) -> None:
    from textgen import registry

    if arguments.action == "build":
        path = registry.build(arguments.name, arguments.out)
        print(path)
        return
    for entry in registry.entries().values():
        print(f"{entry.name:<18} {entry.description}")


COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "train": _train,
    "sample": _sample,
    "eval": _eval,
    "info": _info,
    "inspect": _inspect,
    "corpus": _corpus,
}
