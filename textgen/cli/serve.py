"""textgen serve: its arguments, and what it does."""

from __future__ import annotations

from argparse import Namespace

from textgen.cli.parser import Parser
from textgen.cli.terminal import say

HOST, PORT = "127.0.0.1", 8000


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen serve`."""
    help = "files or run folders, the first for who names none (default: the newest run or demo)"
    parser.add_argument("checkpoints", metavar="CHECKPOINT", nargs="*", help=help)
    help = f"an address of this machine (default: {HOST}, which only this machine reaches)"
    parser.add_argument("--host", default=HOST, metavar="HOST", help=help)
    help = f"default: {PORT}; 0 for any that is free"
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=help)
    help = "a file with the key that clients have to know (default: TEXTGEN_API_KEY, if it is set)"
    parser.add_argument("--api-key-file", metavar="FILE", help=help)


def run(arguments: Namespace) -> None:
    """Serve until a signal says to stop."""
    from textgen.serving import serve

    key_file = arguments.api_key_file
    serve(arguments.checkpoints, arguments.host, arguments.port, key_file, say)
