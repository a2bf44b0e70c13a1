"""Writes docs/cli.md from the command line's own parser: python docs/make_cli.py."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from textgen.cli.app import make_parser
from textgen.cli.parser import Parser

HEAD = """# The command line

Written by `python docs/make_cli.py` from the parser; a test compares the two. `--option VALUE`
and `--option=VALUE` are the same.

Exit codes: 0 done, 1 a bug, 2 an option or argument that cannot be used, 3 a text that cannot be
read or encoded, 4 a checkpoint that is missing or damaged, 5 disk, memory, network or device,
6 the run folder is in use, 7 a number that is not finite, 129, 130 and 143 stopped by HUP, INT or
TERM with the state saved, 141 whoever read the output has gone. An error is one line on standard
error: `textgen: error: <file or --option>: <what is wrong> (<what to do>)`.
"""

# How an argument that may be left out or repeated is shown.
SHAPES = {"?": "[{}]", "+": "{}..."}


def commands(parser: Parser) -> Iterator[tuple[str, Parser]]:
    """Yield every command that does something, with its parser.

    argparse has no public list of a parser's arguments, hence `_actions`.
    """
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield parser.prog, parser
    for group in groups:
        for child in group.choices.values():
            yield from commands(child)


def line(action: argparse.Action) -> str:
    """Return the table row of an option or argument."""
    name = ", ".join(action.option_strings) or str(action.metavar)
    if action.option_strings and action.nargs != 0:
        name += f" {action.metavar}"
    meaning = (action.help or "").replace("%%", "%")
    bar = "\\|"
    return f"| `{name.replace('|', bar)}` | {meaning.replace('|', bar)} |"


def render() -> str:
    """Return docs/cli.md."""
    parts = [HEAD]
    for name, parser in commands(make_parser()):
        shown = [SHAPES.get(str(a.nargs), "{}").format(a.metavar) for a in arguments(parser)]
        parts.append(f"## {' '.join([name, *shown])}\n\n{parser.description}\n")
        rows = "\n".join(line(action) for action in parser._actions)
        parts.append(f"| option | meaning |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def arguments(parser: Parser) -> list[argparse.Action]:
    """Return the positional arguments of a parser."""
    return [action for action in parser._actions if not action.option_strings]


if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(render(), encoding="utf-8")
