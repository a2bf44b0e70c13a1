"""The command line's shape: parsers whose options are the fields of the configs.

It imports no numpy and no torch, so that --help is at once.

    >>> sample_options(["--top-k", "5"])
    {'top_k': 5}
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from textgen.cli.terminal import show
from textgen.config import (
    SCHEDULE,
    SampleConfig,
    conflict,
    did_you_mean,
    field_types,
    option_name,
    schedule,
    unescape,
)
from textgen.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError, with the nearest valid option as the fix."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError for what argparse found wrong."""
        if match := re.match(r"argument (\S+?)[:/ ].*?: (.*)", message):
            raise UsageError(match[1], match[2], f"see {self.prog} --help")
        raise UsageError(self.prog, message, f"see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print the help or the version, which argparse itself drops where it cannot be written."""
        if message:
            show([message])

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and name the nearest valid option when one is not known."""
        parsed, extra = super().parse_known_args(args, namespace)
        for word in extra:
            known = re.findall(r"--[\w-]+", self.format_usage())
            fix = did_you_mean(word.partition("=")[0], known, f"see {self.prog} --help")
            kind = "unknown option" if word.startswith("-") else "unexpected argument"
            raise UsageError(word, kind, fix)
        return parsed, extra


FORMATS = ("text", "jsonl")
DEVICE_HELP = "where to compute (default: cpu)"
ENCODING_HELP = "encoding of FILE (default: utf-8)"


def add_fields(parser: Parser, config: type, names: Sequence[str] = ()) -> dict[str | None, Any]:
    """Add an option for each field of a config, or for those named only.

    Returns the groups of --help by their titles.
    """
    groups: dict[str | None, Any] = {None: parser}
    kinds = field_types(config)
    for field in dataclasses.fields(config):
        if names and field.name not in names:
            continue
        title = field.metadata.get("group")
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        kind = kinds[field.name]
        if kind is bool:
            switch = {"action": "store_const", "const": True, "help": field.metadata["help"]}
            groups[title].add_argument(option_name(field.name), **switch)
            continue
        help = field.metadata["help"]
        if field.default is not None and field.default not in ("", ()):
            help += f" (default: {field.default})"
        metavar = "|".join(field.metadata.get("choices", ())) or METAVARS[kind]
        groups[title].add_argument(
            option_name(field.name),
            action="append" if kind == tuple[str, ...] else "store",
            type=TYPES[kind],
            metavar=field.metadata.get("metavar", metavar),
            help=help.replace("%", "%%"),
        )
    return groups


def given(arguments: argparse.Namespace, config: type) -> dict[str, Any]:
    """Return the fields of a config that stand on the command line."""
    names = [field.name for field in dataclasses.fields(config)]
    values = {name: getattr(arguments, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def check_combinations(
    arguments: argparse.Namespace, exclusive: Mapping[str, Sequence[str]]
) -> None:
    """Raise UsageError where an option is given with one that it excludes.

    exclusive: the options that each excludes, of those that are no fields of a config.
    """

    def is_given(name: str) -> bool:
        value = getattr(arguments, name)
        return value is not None and value is not False

    for name, others in exclusive.items():
        for other in others:
            if is_given(name) and is_given(other):
                raise conflict(name, other)


def sample_options(words: Sequence[str] | argparse.Namespace) -> dict[str, Any]:
    """Return the fields of SampleConfig that words such as --top-k 5 give; raise UsageError.

    What a shell cannot say is unescaped.
    """
    if not isinstance(words, argparse.Namespace):
        parser = Parser(prog="textgen sample", add_help=False)
        add_fields(parser, SampleConfig)
        words = parser.parse_args(words)
    options = given(words, SampleConfig)
    for name in ("prime", "ban", "only"):
        if name in options:
            options[name] = unescape(options[name])
    for name in ("stop", "bias"):
        if name in options:
            options[name] = tuple(unescape(text) for text in options[name])
    return options


METAVARS: dict[Any, str] = {
    int: "N",
    float: "X",
    str: "TEXT",
    tuple[str, ...]: "TEXT",
    SCHEDULE: "X[:Y]",
}
TYPES: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    tuple[str, ...]: str,
    SCHEDULE: schedule,
}
