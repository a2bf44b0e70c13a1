"""The command line: parse, make a config, call the library once, print.

In the walk after `writing`. It imports numpy and torch only inside the commands that need them.

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

from textgen.config import DEVICES, TrainConfig
from textgen.errors import Interrupted, TextgenError, visible
from textgen.fields import check_choice
from textgen.options import check_command, given, make_parser, unescape

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
        from textgen.terminal import stdout_error

        raise stdout_error(error) from error
    return 0


def _train(arguments: Namespace) -> None:
    from textgen.training import train

    options = given(arguments, TrainConfig)
    if "records" in options:
        options["records"] = unescape(options["records"])
    with caught_signals() as received:
        train(
            arguments.files,
            resume=arguments.resume,
            verify=arguments.verify,
            quiet=False,
            stop=lambda: received[0] if received else None,
            started=arguments.started,
            **options,
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
    from textgen.writing import write

    write(arguments)


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
        arguments.encoding,
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
    CORPUS_ACTIONS[arguments.action](arguments)


def _list(arguments: Namespace) -> None:
    from textgen import registry

    for entry in registry.entries().values():
        print(f"{entry.name:<18} {entry.description}")


def _build(arguments: Namespace) -> None:
    from textgen import registry

    print(registry.build(arguments.name, arguments.out))


def _report(arguments: Namespace) -> None:
    from textgen.corpus import read
    from textgen.material import reading_of
    from textgen.survey import survey_of

    config = TrainConfig(**given(arguments, TrainConfig))
    text = read(arguments.files, 1, reading_of(config), config.glob, quiet=False)
    found = survey_of(text, config.split)
    if arguments.json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
        return
    for label, value in found.lines():
        print(f"{label + ':' if label else '':<22} {visible(value)}")


def _cache(arguments: Namespace) -> None:
    from textgen import cache

    if arguments.clear:
        print(f"{cache.clear():,} bytes removed from {visible(str(cache.folder()))}")
        return
    print(visible(str(cache.folder())))
    for words, size in cache.entries():
        print(f"{size:>15,} bytes  {words}")


CORPUS_ACTIONS: dict[str, Callable[[Namespace], None]] = {
    "list": _list,
    "build": _build,
    "report": _report,
    "cache": _cache,
}


COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "train": _train,
    "sample": _sample,
    "eval": _eval,
    "info": _info,
    "inspect": _inspect,
    "corpus": _corpus,
}
