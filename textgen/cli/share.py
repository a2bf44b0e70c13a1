"""textgen share: its arguments, and what it does."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from textgen.cli.parser import Parser
from textgen.cli.terminal import say, show_lines
from textgen.errors import visible

# Characters that the cost of rounding is measured on.
MEASURED = 5_000


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen share`."""
    help = "file or run folder (default: the newest run, else the demo)"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help=help)
    help = "write the page there"
    parser.add_argument("--out", required=True, metavar="FILE", help=help)
    help = "title of the page (default: the name of the model)"
    parser.add_argument("--title", metavar="TEXT", help=help)
    help = "round weights to 8 bits, for half the size; the cost is measured and printed"
    parser.add_argument("--int8", action="store_true", help=help)


def run(arguments: Namespace) -> None:
    """Write the page, and say how large it is and what rounding costs."""
    from textgen.checkpoint import Checkpoint, find_checkpoint, model_name, newest_checkpoint
    from textgen.export import rounding_cost, share_page
    from textgen.files import check_name, write_output
    from textgen.textmodel import TextModel

    out = Path(arguments.out)
    # Before the work, not after it.
    check_name(out)
    path = find_checkpoint(arguments.checkpoint) if arguments.checkpoint else newest_checkpoint()
    checkpoint = Checkpoint.load(path)
    page = share_page(checkpoint, arguments.title or model_name(path), arguments.int8)
    content = page.html.encode("utf-8", "surrogatepass")
    write_output(out, [content])
    show_lines(f"{visible(arguments.out)}: {len(content) / 1e6:.1f} MB")
    if checkpoint.ngrams is not None:
        say("its n-grams are the training text, sorted: who has the page can read that text back")
    if arguments.int8:
        text = TextModel(checkpoint).sample(length=MEASURED, temperature=1.0, seed=1)
        before, after = rounding_cost(page, checkpoint, text)
        show_lines(
            f"rounding costs {after - before:+.4f} nats a character "
            f"({before:.4f} before, of {len(text):,} characters that the model wrote)"
        )
