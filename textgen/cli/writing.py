"""`textgen sample`: from the options to text on the terminal or in files.

textgen sample --prime "ROMEO:" --num 3 --format jsonl
"""

from __future__ import annotations

import itertools
import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from textgen.checkpoint import find_checkpoint, newest_checkpoint
from textgen.cli.interactive import Session, converse
from textgen.cli.parser import FORMATS, sample_options
from textgen.cli.terminal import say, show
from textgen.config import DEVICES, SampleConfig, check_choice, conflict, unescape
from textgen.data import Source, corpus
from textgen.errors import TextError, UsageError, counted, visible
from textgen.files import check_name, write_error, write_output
from textgen.sampling import Text, new_seed
from textgen.textmodel import TextModel, adapt, load

Item = TypeVar("Item")

EXCLUSIVE = {
    "prime_file": ("prime",),
    "primes": ("prime", "prime_file"),
    "out_dir": ("out",),
    "interactive": ("primes", "out", "out_dir", "logprobs"),
}
TEXT_SEPARATOR = "\n" + "-" * 40 + "\n"  # between several texts


def run(arguments: Namespace) -> None:
    """Run the command; raise TextgenError for what goes wrong."""
    check_choice("--device", arguments.device, DEVICES)
    check_choice("--format", arguments.format, FORMATS)
    if arguments.logprobs and arguments.format != "jsonl":
        raise UsageError("--logprobs", "plain text has no place for them", "add --format jsonl")
    config = SampleConfig(**sample_options(arguments))
    _refuse_together(arguments)
    model = _model(arguments)
    primes = [model.reading.apply(one) for one in _primes(model, arguments, config)]
    config = config if config.seed is not None else replace(config, seed=new_seed())
    threads = counted(model.threads, "thread")
    writer = f"{visible(str(model.path))}, seed {config.seed}, {threads}"
    options = {name: value for name, value in vars(config).items() if name != "prime"}
    model.check(**options)
    if arguments.interactive:
        session = Session(model, {**options, "seed": None}, config.seed or 0, primes[0])
        say(writer)
        converse(session)
        return
    written: list[str] = []
    if _streams(arguments, config, len(primes)):
        pieces = _stream(model, arguments, primes[0], options, written)
        _deliver(_begun(pieces, writer), arguments)
    else:
        texts = _begun(model.texts(primes, **options), writer)
        noted = written if config.novel else None
        texts = _counted(texts, len(primes) * config.num, noted)
        if arguments.out_dir:
            _write_folder(Path(arguments.out_dir), texts, arguments)
        else:
            between = _parting(model) if arguments.format == "text" else ""
            _deliver(_between((_formatted(one, arguments) for one in texts), between), arguments)
    if config.novel:
        _report_copied(model, config, written)


def _parting(model: TextModel) -> str:
    """Return what stands between two texts: between items what stood between them in the text."""
    how = model.checkpoint.metadata.records
    return {None: TEXT_SEPARATOR, "lines": "\n", "blank-line": "\n\n"}.get(how, f"\n{how}\n")


def _streams(arguments: Namespace, config: SampleConfig, primes: int) -> bool:
    """Tell whether there is a single text, which is shown as it is written."""
    alone = primes * config.num * config.best_of * config.beams == 1
    alone = alone and not (config.unique or config.unseen)
    return alone and not (arguments.out_dir or arguments.interactive or arguments.format != "text")


def _begun(items: Iterator[Item], writer: str) -> Iterator[Item]:
    """Yield items; say what writes them when the first one is there and nothing was refused."""
    for number, item in enumerate(items):
        if not number:
            say(writer)
        yield item


def _deliver(pieces: Iterator[str], arguments: Namespace) -> None:
    """Write pieces to where --out says."""
    if arguments.out:
        encoded = (piece.encode("utf-8", "surrogateescape") for piece in pieces)
        write_output(Path(arguments.out), encoded)
    else:
        show(pieces)


def _report_copied(model: TextModel, config: SampleConfig, written: list[str]) -> None:
    """Say how long a span of the training text the texts hold."""
    try:
        copied = max((model.longest_copied(one, config.novel_text) for one in written), key=len)
    except (TextError, UsageError):
        say("how long a span was copied is not known: the training text is gone")
        return
    shown = visible(copied if len(copied) <= 60 else copied[:57] + "...")
    length = counted(len(copied), "character")
    say(f"the longest span that the training text has too: {length}, {shown!r}")


def _refuse_together(arguments: Namespace) -> None:
    for name, others in EXCLUSIVE.items():
        for other in others:
            if getattr(arguments, name) and getattr(arguments, other):
                raise conflict(name, other)


def _primes(model: TextModel, arguments: Namespace, config: SampleConfig) -> list[str]:
    """Return the primes of all texts; the one of --prime-file is read later, piece by piece."""
    if arguments.primes:
        lines = corpus.read(arguments.primes).text.split("\n")
        return [unescape(one.removesuffix("\r")) for one in (lines if lines[-1] else lines[:-1])]
    if arguments.prime_file and not _streams(arguments, config, 1):
        return ["".join(_prime_file(model, arguments))]
    return [config.prime]


def _prime_file(model: TextModel, arguments: Namespace) -> Iterator[str]:
    with Source([arguments.prime_file], model.reading) as source:
        yield from source.pieces()


def _model(arguments: Namespace) -> TextModel:
    path = arguments.checkpoint
    path = find_checkpoint(path) if path else newest_checkpoint()
    if not arguments.adapt:
        return load(path, arguments.device)
    model, rule = adapt(path, arguments.adapt, arguments.device)
    text = visible(arguments.adapt)
    say(f"learnt from {text} at rate {rule.lr:g}, decay {rule.decay:g}")
    return model


def _stream(
    model: TextModel,
    arguments: Namespace,
    prime: str,
    options: dict[str, Any],
    written: list[str],
) -> Iterator[str]:
    """Yield a prime and its text as it is written; note the text where that is wanted."""
    state = None
    if arguments.prime_file:
        before = 0
        for piece in _prime_file(model, arguments):
            state = model.read([piece], state=state, before=before, **options)
            before += len(piece)
            yield piece
    pieces = model.stream(prime, state=state, **options)
    first = next(pieces, "")  # before the prime is shown: it may be refused
    yield prime
    text = ""
    for piece in itertools.chain([first], pieces):
        if options["novel"]:
            text += piece
        yield piece
    written.append(text)


def _formatted(text: Text, arguments: Namespace) -> str:
    if arguments.format == "jsonl":
        return json.dumps(text.to_json(arguments.logprobs), ensure_ascii=False) + "\n"
    return text.prime + text.text


def _between(texts: Iterable[str], between: str) -> Iterator[str]:
    """Yield texts with a line between them, items with a newline behind the last one too."""
    number = 0
    for number, text in enumerate(texts, 1):
        yield (between if number > 1 else "") + text
    if number and between not in ("", TEXT_SEPARATOR):
        yield "\n"


def _counted(texts: Iterator[Text], number: int, written: list[str] | None) -> Iterator[Text]:
    """Yield texts with a progress bar, if somebody is there to see it, and note what they say."""
    from tqdm import tqdm

    hidden, count = number == 1 or not sys.stderr.isatty(), 0
    for text in tqdm(texts, total=number, unit="text", disable=hidden, leave=False):
        count += 1
        if written is not None:
            written.append(text.text)
        yield text
    if count < number:  # different ones were asked for
        say(f"{count} of {number} were found; a higher --temperature finds more")


def _write_folder(folder: Path, texts: Iterable[Text], arguments: Namespace) -> None:
    """Write each text to a file of its own, named by its number."""
    suffix = ".json" if arguments.format == "jsonl" else ".txt"
    check_name(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError("--out-dir", f"{folder} is not empty", "name another folder")
    except OSError as error:
        raise write_error(folder, error) from error
    for number, text in enumerate(texts, 1):
        content = _formatted(text, arguments).encode("utf-8", "surrogateescape")
        write_output(folder / f"{number:05}{suffix}", [content])
