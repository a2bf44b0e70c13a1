"""textgen plot: its arguments, and what it does."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from textgen.cli.parser import Parser
from textgen.errors import visible

PICTURE = "curves.png"


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen plot`."""
    help = "one or more run folders"
    parser.add_argument("runs", metavar="RUN", nargs="+", help=help)
    help = f"write the picture there, as .png or .svg (default: {PICTURE})"
    parser.add_argument("--out", default=PICTURE, metavar="FILE", help=help)


def run(arguments: Namespace) -> None:
    """Draw the learning curves, and say where they are and which run is the best."""
    from textgen.analysis import plots, read_curves

    out = Path(arguments.out)
    # Before the work, not after it.
    plots.check_picture(out)
    curves = [read_curves(name) for name in arguments.runs]
    plots.plot_curves(curves, out)
    for run in curves:
        best = run.best
        found = "no validation part" if best is None else f"best {run.val_nats_N[best]:.4f} nats"
        print(f"{visible(run.name)}: {found}, {run.chars_N[-1]:,.0f} characters read")
    print(f"picture: {visible(arguments.out)}")
