"""textgen plot: its arguments, and what it does."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from textgen.cli.parser import Parser
from textgen.cli.terminal import say
from textgen.errors import visible

# Where the picture goes that no --out names.
DEFAULT_PICTURE = "curves.png"


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen plot`."""
    help = "one or more run folders, or checkpoint files in them"
    parser.add_argument("runs", metavar="RUN", nargs="+", help=help)
    help = f"write the picture here, a .png or .svg file (default: {DEFAULT_PICTURE})"
    parser.add_argument("--out", metavar="FILE", help=help)


def run(arguments: Namespace) -> None:
    """Draw the learning curves of the runs in one picture."""
    from textgen.analysis import curves, plots

    picture = Path(DEFAULT_PICTURE if arguments.out is None else arguments.out)
    plots.check_picture(picture)
    plots.plot_curves(curves.compare_curves([Path(name) for name in arguments.runs]), picture)
    if arguments.out is None:
        say(f"the picture is in {visible(str(picture))}")
