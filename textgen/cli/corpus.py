"""textgen corpus: its arguments, and what it does."""

from __future__ import annotations

from argparse import Namespace

from textgen.cli.parser import Parser, add_fields, given
from textgen.cli.terminal import show_json, show_lines
from textgen.config import TrainConfig
from textgen.errors import visible


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen corpus`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    help = "list the texts that can be built"
    actions.add_parser("list", help=help, description=help.capitalize() + ".")
    help = "build a text in corpora/"
    build = actions.add_parser("build", help=help, description=help.capitalize() + ".")
    build.add_argument("name", metavar="NAME", help="a name from textgen corpus list")
    build.add_argument("--out", metavar="FILE", help="write here (default: corpora/NAME.txt)")
    help = "describe a text: what it holds, how predictable it is, how best to train on it"
    report = actions.add_parser("report", help=help, description=help.capitalize() + ".")
    report.add_argument("files", metavar="FILE", nargs="+", help="files, folders, or -")
    report.add_argument("--json", action="store_true", help="print JSON")
    add_fields(report, TrainConfig, ("split", "glob", "encoding", "newlines", "normalize"))
    help = "list the encoded texts that are kept between runs"
    cached = actions.add_parser("cache", help=help, description=help.capitalize() + ".")
    cached.add_argument("--clear", action="store_true", help="delete them")


def run(arguments: Namespace) -> None:
    """Do what the action says."""
    match arguments.action:
        case "list":
            list_corpora()
        case "build":
            build_corpus(arguments.name, arguments.out)
        case "report":
            config = TrainConfig(**given(arguments, TrainConfig))
            report_corpus(arguments.files, config, arguments.json)
        case "cache":
            list_cache(arguments.clear)


def list_corpora() -> None:
    """Print the texts that can be built."""
    from textgen.data import registry

    for entry in registry.registered_corpora().values():
        show_lines(f"{entry.name:<18} {entry.description}")


def build_corpus(name: str, out: str | None) -> None:
    """Build a text and print where it is."""
    from textgen.data import registry

    show_lines(visible(str(registry.build(name, out))))


def report_corpus(files: list[str], config: TrainConfig, as_json: bool) -> None:
    """Print what a text is and how best to train on it."""
    from textgen.analysis import report_on_corpus
    from textgen.data import TextFormat, read

    text = read(files, 1, TextFormat.of(config), config.glob, quiet=False)
    report = report_on_corpus(text, config.split)
    if as_json:
        show_json(report.to_json())
        return
    for label, value in report.lines():
        show_lines(f"{label + ':' if label else '':<22} {visible(value)}")


def list_cache(clear: bool) -> None:
    """Print the encoded texts that are kept between runs, or remove them."""
    from textgen.data import cache

    folder = visible(str(cache.folder()))
    if clear:
        show_lines(f"{cache.clear():,} bytes removed from {folder}")
        return
    show_lines(folder)
    for description, size in cache.cached_texts():
        show_lines(f"{size:>15,} bytes  {description}")
