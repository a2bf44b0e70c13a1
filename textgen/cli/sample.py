"""textgen sample: its arguments; `writing` does the work."""

from __future__ import annotations

from argparse import Namespace

from textgen.cli.parser import DEVICE_HELP, FORMATS, Parser, add_fields
from textgen.config import DEVICES, OUTPUT_OPTIONS, SampleConfig


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen sample`."""
    help = "file or run folder (default: the newest run, else the demo)"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help=help)
    groups = add_fields(parser, SampleConfig)
    files = groups[OUTPUT_OPTIONS]
    help = "read the prime from a file of any size, or from standard input (-)"
    files.add_argument("--prime-file", metavar="FILE", help=help)
    help = r"continue each line of a file; \n and \t are unescaped"
    files.add_argument("--primes", metavar="FILE", help=help)
    help = "first adapt the model to this text by reading it once; nothing is saved"
    files.add_argument("--adapt", metavar="FILE", help=help)
    help = "write a text together with the model, line by line"
    files.add_argument("--interactive", action="store_true", help=help)
    files.add_argument("--out", metavar="FILE", help="write to a file instead of standard output")
    files.add_argument("--out-dir", metavar="DIR", help="write each text to its own file")
    help = "plain text, or a line of JSON for each text (default: text)"
    files.add_argument("--format", metavar="|".join(FORMATS), help=help)
    help = "with jsonl: also the log-probability of each character"
    files.add_argument("--logprobs", action="store_true", help=help)
    files.add_argument("--device", default="cpu", metavar="|".join(DEVICES), help=DEVICE_HELP)


def run(arguments: Namespace) -> None:
    """Write text."""
    from textgen.cli.writing import run

    run(arguments)
