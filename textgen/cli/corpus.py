"""textgen corpus: its arguments, and what it does."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable

from textgen.cli.parser import Parser, add_fields, given
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
    CORPUS_ACTIONS[arguments.action](arguments)


def _list(arguments: Namespace) -> None:
    from textgen.data import registry

    for entry in registry.registered_corpora().values():
        print(f"{entry.name:<18} {entry.description}")


def _build(arguments: Namespace) -> None:
    from textgen.data import registry

    print(registry.build(arguments.name, arguments.out))


def _report(arguments: Namespace) -> None:
    from textgen.analysis import report_on_corpus
    from textgen.data import TextFormat, read

    config = TrainConfig(**given(arguments, TrainConfig))
    text = read(arguments.files, 1, TextFormat.of(config), config.glob, quiet=False)
    found = report_on_corpus(text, config.split)
    if arguments.json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
        return
    for label, value in found.lines():
        print(f"{label + ':' if label else '':<22} {visible(value)}")


def _cache(arguments: Namespace) -> None:
    from textgen.data import cache

    if arguments.clear:
        print(f"{cache.clear():,} bytes removed from {visible(str(cache.folder()))}")
        return
    print(visible(str(cache.folder())))
    for words, size in cache.cached_texts():
        print(f"{size:>15,} bytes  {words}")


CORPUS_ACTIONS: dict[str, Callable[[Namespace], None]] = {
    "list": _list,
    "build": _build,
    "report": _report,
    "cache": _cache,
}
