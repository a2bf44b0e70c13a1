"""textgen score: its arguments, and what it does."""

from __future__ import annotations

import math
import os
import sys
import unicodedata
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from textgen.cli.parser import ENCODING_HELP, Parser, check_combinations
from textgen.cli.terminal import show, show_json, show_lines, title_of
from textgen.config import check_choice
from textgen.errors import UsageError, visible

if TYPE_CHECKING:
    import numpy as np

    from textgen.analysis import Surprise
    from textgen.checkpoint import Checkpoint

BY = ("line", "char")
VIEWS = {"json": ("by", "terminal"), "terminal": ("by",)}
# Bits of the strongest colour or mark.
MOST_BITS = 8
# From black to a red that white text can be read on; 256-colour terminals have six such reds.
REDS = (16, 52, 88, 124, 160, 196)
MARKS = " .:-=+*%#@"


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen score`."""
    help = "a text file, or - for standard input; before it a checkpoint file or run folder"
    parser.add_argument("paths", metavar="[CHECKPOINT] FILE", nargs="+", help=help)
    help = "also show each line, the most surprising first, or each character"
    parser.add_argument("--by", metavar="|".join(BY), help=help)
    help = "write the text coloured by surprise as a page of HTML"
    parser.add_argument("--html", metavar="FILE", help=help)
    help = "show the text coloured by surprise on the terminal"
    parser.add_argument("--terminal", action="store_true", help=help)
    parser.add_argument("--encoding", default="utf-8", metavar="NAME", help=ENCODING_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: Namespace) -> None:
    """Print how likely the model finds the text."""
    from textgen.analysis import measure_surprise, render_surprise
    from textgen.checkpoint import (
        Checkpoint,
        find_checkpoint,
        model_name,
        newest_checkpoint,
        read_foreign,
    )
    from textgen.files import write_output

    check_combinations(arguments, VIEWS)
    if arguments.by:
        check_choice("--by", arguments.by, BY)
    if len(arguments.paths) > 2:
        problem = f"{len(arguments.paths)} files, and one is scored at a time"
        raise UsageError(arguments.paths[2], problem, "textgen score CHECKPOINT FILE")
    *named, file = arguments.paths
    path = find_checkpoint(named[0]) if named else newest_checkpoint()
    checkpoint = Checkpoint.load(path)
    text = read_foreign(checkpoint.metadata, file, arguments.encoding).text
    surprise = measure_surprise(checkpoint, text)
    if arguments.html:
        page = render_surprise(surprise, checkpoint.tokenizer, title_of(file), model_name(path))
        write_output(Path(arguments.html), [page.encode("utf-8", "surrogatepass")])
    if arguments.json:
        show_json(as_json(surprise, checkpoint))
        return
    if arguments.terminal:
        colours = colours_of_terminal() if sys.stdout.isatty() else 0
        show(paint(surprise.by_character(), colours), is_clean=True)
        return
    show_lines(f"{'model':<16} {visible(str(path))}")
    for name, value in surprise.to_json().items():
        figure = f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
        show_lines(f"{name:<16} {figure}")
    if arguments.by == "line":
        show(lines_of_table(surprise))
    elif arguments.by == "char":
        show(characters_of_table(surprise, checkpoint))


def as_json(surprise: Surprise, checkpoint: Checkpoint) -> dict[str, object]:
    """Return the totals, the lines, and for each character what it is, its nats and its rank."""
    from textgen.analysis import names_of_ids

    characters = surprise.by_character()
    names = names_of_ids(checkpoint.tokenizer)
    return surprise.to_json() | {
        "lines": [line.to_json() for line in surprise.lines()],
        "characters": {
            "text": characters.texts(),
            "nats": characters.nats_N.tolist(),
            "rank": characters.ranks_N.tolist(),
            "likeliest": [names[index] for index in characters.likeliest_NK[:, 0]],
        },
    }


def lines_of_table(surprise: Surprise) -> Iterator[str]:
    """Yield the table of lines, the most surprising first."""
    yield f"\n{'line':>7} {'chars':>6} {'nats':>9} {'bits/char':>9}  text\n"
    for line in sorted(surprise.lines(), key=lambda line: -line.nats_per_char):
        bits = line.nats_per_char / math.log(2)
        yield f"{line.number:>7} {line.chars:>6} {line.nats:>9.3f} {bits:>9.3f}  "
        yield visible(line.text) + "\n"


def characters_of_table(surprise: Surprise, checkpoint: Checkpoint) -> Iterator[str]:
    """Yield the table of characters, in order, with the likeliest ones in the place of each."""
    from textgen.analysis import names_of_ids

    names = names_of_ids(checkpoint.tokenizer)
    characters = surprise.by_character()
    yield f"\n{'place':>7} {'bits':>7} {'rank':>5}  {'came':<6} likeliest\n"
    for place, text in enumerate(characters.texts()):
        bits = characters.nats_N[place] / math.log(2)
        likeliest = zip(
            characters.likeliest_NK[place], characters.probabilities_NK[place], strict=True
        )
        expected = "  ".join(f"{names[index]} {100 * share:.1f} %" for index, share in likeliest)
        came = visible(text).replace(" ", "␣")
        yield f"{place + 1:>7} {bits:>7.3f} {characters.ranks_N[place]:>5}  {came:<6} {expected}\n"


def colours_of_terminal() -> int:
    """Return how many colours the terminal says it has: 2^24, 256, or 0 for marks instead."""
    if os.environ.get("NO_COLOR"):
        return 0
    if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return 1 << 24
    return 256 if "256color" in os.environ.get("TERM", "") else 0


def paint(characters: Surprise, colours: int) -> Iterator[str]:
    """Yield a text whose background says how surprising each character is.

    Without colours each line has a line of marks below it, from none for what was expected to @.
    """
    strengths = (characters.nats_N / math.log(2) / MOST_BITS).clip(0, 1)
    if not colours:
        yield from mark(characters.texts(), strengths)
        return
    for text, strength in zip(characters.texts(), strengths.tolist(), strict=True):
        line = "\n" if text.endswith("\n") else ""
        shown = visible(text.replace("\n", "↵"), keep="\t")
        if colours == 256:
            background = f"48;5;{REDS[round(strength * (len(REDS) - 1))]}"
        else:
            background = f"48;2;{round(210 * strength)};{round(40 * strength)};0"
        yield f"\x1b[{background};38;5;15m{shown}\x1b[0m{line}"


def mark(texts: list[str], strengths: np.ndarray) -> Iterator[str]:
    """Yield each line of a text, and below it a mark for each character."""
    line, marks = "", ""
    for text, strength in zip(texts, strengths.tolist(), strict=True):
        shown = visible(text.replace("\n", "↵").replace("\t", " "))
        width = sum(width_of(character) for character in shown)
        line += shown
        marks += (MARKS[round(strength * (len(MARKS) - 1))] * width)[:width]
        if text.endswith("\n"):
            yield f"{line}\n{marks.rstrip()}\n"
            line, marks = "", ""
    if line:
        yield f"{line}\n{marks.rstrip()}\n"


def width_of(character: str) -> int:
    """Return how many columns a character takes on a terminal."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
