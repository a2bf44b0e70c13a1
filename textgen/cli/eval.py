"""textgen eval: its arguments, and what it does."""

from __future__ import annotations

from argparse import Namespace

from textgen.cli.parser import DEVICE_HELP, ENCODING_HELP, Parser
from textgen.cli.terminal import show_json, show_lines
from textgen.config import DEVICES, check_choice
from textgen.errors import UsageError


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen eval`."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="file or run folder")
    parser.add_argument("file", metavar="FILE", nargs="?", help="text to evaluate on")
    help = "evaluate on this part of the run's own text"
    parser.add_argument("--part", metavar="train|val|test", help=help)
    help = "one stream over all of it, or nanoGPT's random windows (default: stateful)"
    parser.add_argument("--protocol", default="stateful", metavar="stateful|nanogpt", help=help)
    help = "also evaluate while the n-grams and the mixture learn from each character after it"
    parser.add_argument("--adaptive", action="store_true", help=help)
    help = "also evaluate while the network learns from what it has read (takes a minute or two)"
    parser.add_argument("--dynamic", action="store_true", help=help)
    parser.add_argument("--encoding", metavar="NAME", help=ENCODING_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--device", default="cpu", metavar="|".join(DEVICES), help=DEVICE_HELP)


def run(arguments: Namespace) -> None:
    """Print how good the model is on the text."""
    from textgen.evaluation import evaluate

    check_choice("--device", arguments.device, DEVICES)
    if arguments.encoding and arguments.file is None:
        raise UsageError("--encoding", "is that of FILE, and none is named", "leave it out")
    result = evaluate(
        arguments.checkpoint,
        arguments.file,
        arguments.part,
        arguments.protocol,
        arguments.device,
        arguments.dynamic,
        arguments.encoding or "utf-8",
        arguments.adaptive,
    )
    figures = result.to_json()
    if arguments.json:
        show_json(figures)
        return
    for name, value in figures.items():
        if isinstance(value, float):
            value = f"{value:.4f}" if value >= 0.01 else f"{value:g}"
        show_lines(f"{name:<30} {value}")
