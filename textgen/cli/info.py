"""textgen info: its arguments, and what it does."""

from __future__ import annotations

from argparse import Namespace

from textgen.cli.parser import Parser
from textgen.cli.terminal import show_lines
from textgen.errors import visible


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen info`."""
    help = "a checkpoint file, a run folder, or a text file"
    parser.add_argument("path", metavar="PATH", help=help)


def run(arguments: Namespace) -> None:
    """Print what the file is."""
    from textgen.checkpoint import Checkpoint, find_checkpoint
    from textgen.data import corpus

    path = find_checkpoint(arguments.path)
    is_text = path.suffix != ".safetensors"
    lines = corpus.read(path).report() if is_text else Checkpoint.load(path).report()
    for label, value in lines:
        show_lines(f"{label + ':':<12} {visible(value)}")
