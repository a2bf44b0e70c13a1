"""textgen inspect: its arguments, and what it does."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from textgen.cli.parser import Parser


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen inspect`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    help = "show how far back the gradient of one character's loss reaches"
    gradients = actions.add_parser("gradients", help=help, description=help.capitalize() + ".")
    help = "one or more files or run folders"
    gradients.add_argument("checkpoints", metavar="CHECKPOINT", nargs="+", help=help)
    gradients.add_argument("file", metavar="FILE", help="text to measure on, in UTF-8")
    help = "measure up to N characters back (default: 200)"
    gradients.add_argument("--lags", type=int, default=200, metavar="N", help=help)
    help = "also draw it (needs matplotlib)"
    gradients.add_argument("--out", metavar="PNG", help=help)
    gradients.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: Namespace) -> None:
    """Print, and draw if asked, how far back gradients reach."""
    from textgen.analysis import gradients, plots

    picture = Path(arguments.out) if arguments.out else None
    if picture:
        # Before the work, not after it.
        plots.check_picture(picture)
    text, lags = arguments.file, arguments.lags
    results = [gradients.inspect(path, text, lags) for path in arguments.checkpoints]
    if picture:
        plots.plot_gradients(results, picture)
    if arguments.json:
        print(json.dumps([result.to_json() for result in results]))
        return
    print("\n".join(gradients.format_table(results)))
