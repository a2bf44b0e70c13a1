"""`textgen sample`: from the options to text on the terminal or in files.

textgen sample --prime "ROMEO:" --num 3 --format jsonl
"""

from __future__ import annotations

import itertools
import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from textgen.checkpoint import find_checkpoint, newest_checkpoint
from textgen.cli.parser import FORMATS, check_combinations, sample_options
from textgen.cli.terminal import say, show
from textgen.config import DEVICES, SampleConfig, check_choice, check_needs, unescape
from textgen.data import Source, corpus
from textgen.errors import TextError, UsageError, counted, visible
from textgen.files import check_name, write_error, write_output
from textgen.sampling import Text, choose_seed
from textgen.textmodel import TextModel, adapt, load

Item = TypeVar("Item")

EXCLUSIVE = {
    "prime_file": ("prime",),
    "primes": ("prime", "prime_file"),
    "out_dir": ("out",),
    "interactive": ("primes", "out", "out_dir", "format", "logprobs"),
    # They search and draw nothing.
    "beams": ("seed",),
}
# Between several texts.
TEXT_SEPARATOR = "\n" + "-" * 40 + "\n"
# Between several records, by what stood between them in the training text.
RECORD_SEPARATORS: dict[str | None, str] = {
    None: TEXT_SEPARATOR,
    "lines": "\n",
    "blank-line": "\n\n",
}


@dataclass(frozen=True)
class Request:
    """What the command line asks for, checked.

    config: what to write, with a seed. checkpoint: None for the newest run. adapt: a text to lean
    the model towards. prime_file, primes: files that hold one prime, or one a line. out, out_dir:
    where to write instead of standard output. as_json: lines of JSON instead of plain text.
    """

    config: SampleConfig
    seed: int
    checkpoint: str | None
    device: str
    adapt: str | None
    prime_file: str | None
    primes: str | None
    interactive: bool
    out: str | None
    out_dir: str | None
    as_json: bool
    with_log_probs: bool

    @classmethod
    def parse(cls, arguments: Namespace) -> Request:
        """Return what arguments ask for; raise UsageError for what cannot be used."""
        check_choice("--device", arguments.device, DEVICES)
        format = arguments.format or FORMATS[0]
        check_choice("--format", format, FORMATS)
        if arguments.logprobs and format != "jsonl":
            raise UsageError("--logprobs", "plain text has no place for them", "add --format jsonl")
        options = sample_options(arguments)
        check_needs(SampleConfig, options)
        config = SampleConfig(**options)
        check_combinations(arguments, EXCLUSIVE)
        seed = choose_seed(config.seed)
        return cls(
            config=replace(config, seed=seed),
            seed=seed,
            checkpoint=arguments.checkpoint,
            device=arguments.device,
            adapt=arguments.adapt,
            prime_file=arguments.prime_file,
            primes=arguments.primes,
            interactive=arguments.interactive,
            out=arguments.out,
            out_dir=arguments.out_dir,
            as_json=format == "jsonl",
            with_log_probs=arguments.logprobs,
        )

    def is_streamed(self, primes: int) -> bool:
        """Tell whether there is a single text, which is shown as it is written."""
        config = self.config
        single = primes * config.num * config.best_of * config.beams == 1
        single = single and not (config.unique or config.unseen)
        return single and not (self.out_dir or self.interactive or self.as_json)

    def format(self, text: Text) -> str:
        """Return a text as it is written."""
        if self.as_json:
            return json.dumps(text.to_json(self.with_log_probs), ensure_ascii=False) + "\n"
        return text.prime + text.text


def run(arguments: Namespace) -> None:
    """Run the command; raise TextgenError for what goes wrong."""
    request = Request.parse(arguments)
    model = load_model(request)
    primes = [model.reading.apply(prime) for prime in read_primes(request, model)]
    model.check(request.config)
    threads = counted(model.threads, "thread")
    announcement = f"{visible(str(model.path))}, seed {request.seed}, {threads}"
    if request.interactive:
        from textgen.cli.interactive import Session, converse

        config = replace(request.config, prime="", seed=None)
        session = Session(model, config, request.seed, primes[0])
        say(announcement)
        converse(session)
        return
    if request.is_streamed(len(primes)):
        written = [write_stream(request, model, primes[0], announcement)]
    else:
        written = deliver_texts(request, model, primes, announcement)
    if request.config.novel:
        report_copied(model, written, request.config.novel_text)


def load_model(request: Request) -> TextModel:
    """Return the model, leant towards a text if that is asked for."""
    path = find_checkpoint(request.checkpoint) if request.checkpoint else newest_checkpoint()
    if not request.adapt:
        return load(path, request.device)
    model, rule = adapt(path, request.adapt, request.device)
    say(f"learnt from {visible(request.adapt)} at rate {rule.lr:g}, decay {rule.decay:g}")
    return model


def read_primes(request: Request, model: TextModel) -> list[str]:
    """Return the primes of all texts; that of a streamed text is read later, piece by piece."""
    if request.primes:
        lines = corpus.read(request.primes).text.split("\n")
        lines = lines if lines[-1] else lines[:-1]
        return [unescape(line.removesuffix("\r")) for line in lines]
    if request.prime_file and not request.is_streamed(1):
        return ["".join(read_pieces(request.prime_file, model))]
    return [request.config.prime]


def read_pieces(path: str, model: TextModel) -> Iterator[str]:
    """Yield the pieces of a file, read as the training text was."""
    with Source([path], model.reading) as source:
        yield from source.pieces()


def write_stream(request: Request, model: TextModel, prime: str, announcement: str) -> str:
    """Write a prime and one text piece by piece; with --novel, return the text."""
    config = request.config
    written: list[str] = []

    def stream() -> Iterator[str]:
        state, before = None, 0
        for piece in read_pieces(request.prime_file, model) if request.prime_file else ():
            state = model.read([piece], config, state=state, before=before)
            before += len(piece)
            yield piece
        pieces = model.stream(prime, config, state=state)
        # Before the prime is shown: the text may be refused.
        first = next(pieces, "")
        yield prime
        for piece in itertools.chain([first], pieces):
            if config.novel:
                written.append(piece)
            yield piece

    write_pieces(announce(stream(), announcement), request.out)
    return "".join(written)


def deliver_texts(
    request: Request, model: TextModel, primes: list[str], announcement: str
) -> list[str]:
    """Write the texts of several primes; with --novel, return them without their primes."""
    written: list[str] = []

    def collect(texts: Iterator[Text]) -> Iterator[Text]:
        for text in texts:
            if request.config.novel:
                written.append(text.text)
            yield text

    texts = announce(model.texts(primes, request.config), announcement)
    texts = collect(show_progress(texts, len(primes) * request.config.num))
    if request.out_dir:
        write_folder(Path(request.out_dir), texts, request)
        return written
    how = model.checkpoint.metadata.records
    separator = "" if request.as_json else RECORD_SEPARATORS.get(how, f"\n{how}\n")
    write_pieces(separate(map(request.format, texts), separator), request.out)
    return written


def announce(items: Iterator[Item], announcement: str) -> Iterator[Item]:
    """Yield items; say what writes them when the first one is there and nothing was refused."""
    for number, item in enumerate(items):
        if not number:
            say(announcement)
        yield item


def show_progress(texts: Iterator[Text], expected: int) -> Iterator[Text]:
    """Yield texts with a progress bar, if somebody is there to see it; say if some are missing."""
    from tqdm import tqdm

    hidden, count = expected == 1 or not sys.stderr.isatty(), 0
    for text in tqdm(texts, total=expected, unit="text", disable=hidden, leave=False):
        count += 1
        yield text
    # Different ones were asked for.
    if count < expected:
        say(f"found {count} of {expected}; a higher --temperature finds more")


def separate(texts: Iterable[str], separator: str) -> Iterator[str]:
    """Yield texts with a separator between them; after the last record too comes a newline."""
    number = 0
    for number, text in enumerate(texts, 1):
        yield (separator if number > 1 else "") + text
    if number and separator not in ("", TEXT_SEPARATOR):
        yield "\n"


def write_pieces(pieces: Iterator[str], out: str | None) -> None:
    """Write pieces to a file, or to standard output."""
    if out:
        write_output(Path(out), (piece.encode("utf-8", "surrogateescape") for piece in pieces))
    else:
        show(pieces)


def write_folder(folder: Path, texts: Iterable[Text], request: Request) -> None:
    """Write each text to a file of its own, named by its number."""
    suffix = ".json" if request.as_json else ".txt"
    check_name(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError("--out-dir", f"{folder} is not empty", "name another folder")
    except OSError as error:
        raise write_error(folder, error) from error
    for number, text in enumerate(texts, 1):
        content = request.format(text).encode("utf-8", "surrogateescape")
        write_output(folder / f"{number:05}{suffix}", [content])


def report_copied(model: TextModel, texts: list[str], training_text: str | None) -> None:
    """Say how long a span of the training text the texts hold."""
    try:
        copied = max((model.longest_copied(text, training_text) for text in texts), key=len)
    except (TextError, UsageError):
        say("cannot tell how much was copied: the training text is gone")
        return
    shown = visible(copied if len(copied) <= 60 else copied[:57] + "...")
    length = counted(len(copied), "character")
    say(f"longest span copied from the training text: {length}, {shown!r}")
