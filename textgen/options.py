"""The command line's shape: parsers whose options are the fields of the configs.

In the walk after `training`. It imports no numpy and no torch, so that --help is at once.

    >>> make_parser().parse_args(["sample", "--top-k", "5"]).top_k
    5
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import textgen
from textgen.config import DEVICES, TrainConfig
from textgen.errors import UsageError
from textgen.fields import SCHEDULE, option_name
from textgen.sampleconfig import OUTPUT, SampleConfig

EXAMPLES = """examples:
  textgen train corpus.txt              train on a text for ten minutes
  textgen sample --prime "ROMEO:"       write text with the newest run
  textgen eval RUN --part val           measure a run on its validation part"""

COMMANDS = {
    "train": "train a model on a text file",
    "sample": "write text with a trained model",
    "eval": "measure a model on a text",
    "info": "say what a checkpoint or a text file is",
    "inspect": "look into a trained model",
    "corpus": "list, build and look into texts to train on",
}


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

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and name the nearest valid option when one is not known."""
        parsed, extra = super().parse_known_args(args, namespace)
        for word in extra:
            known = [text for text in self._option_string_actions if text.startswith("--")]
            close = difflib.get_close_matches(word.partition("=")[0], known, 1)
            fix = f"did you mean {close[0]}?" if close else f"see {self.prog} --help"
            kind = "unknown option" if word.startswith("-") else "unexpected argument"
            raise UsageError(word, kind, fix)
        return parsed, extra


def make_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="textgen",
        description="Train a character-level recurrent network on a text, and write more of it.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"textgen {textgen.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, help in COMMANDS.items():
        command = commands.add_parser(name, help=help, description=help.capitalize() + ".")
        FILLERS[name](command)
    return parser


def check_command(argv: Sequence[str]) -> None:
    """Raise UsageError when the first word is not a command, naming the nearest one."""
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        close = difflib.get_close_matches(argv[0], COMMANDS, 1)
        fix = f"did you mean {close[0]}?" if close else "choose " + ", ".join(COMMANDS)
        raise UsageError(argv[0], "unknown command", fix)


def _train(parser: Parser) -> None:
    help = "text to train on: files, folders, or - for standard input; .gz, .xz, .zst are unpacked"
    parser.add_argument("files", metavar="FILE", nargs="*", help=help)
    parser.add_argument("--resume", metavar="RUN", help="go on with this stopped run")
    help = "read a large text again even if it seems unchanged"
    parser.add_argument("--verify", action="store_true", help=help)
    add_fields(parser, TrainConfig)


def _sample(parser: Parser) -> None:
    help = "file or run folder (default: the newest run, else the demo)"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help=help)
    groups = add_fields(parser, SampleConfig)
    files = groups[OUTPUT]
    help = "read the prime from a file of any size, or from standard input (-)"
    files.add_argument("--prime-file", metavar="FILE", help=help)
    help = r"continue each line of a file; \n and \t are unescaped"
    files.add_argument("--primes", metavar="FILE", help=help)
    help = "lean the model towards this text first, by learning from it once; nothing is saved"
    files.add_argument("--adapt", metavar="FILE", help=help)
    help = "write a text together with the model, line by line"
    files.add_argument("--interactive", action="store_true", help=help)
    files.add_argument("--out", metavar="FILE", help="write to a file instead of standard output")
    files.add_argument("--out-dir", metavar="DIR", help="write each text to a file of its own")
    help = "plain text, or a line of JSON for each text (default: text)"
    files.add_argument("--format", default="text", metavar="|".join(FORMATS), help=help)
    help = "with jsonl: also the log-probability of each character"
    files.add_argument("--logprobs", action="store_true", help=help)
    files.add_argument("--device", default="cpu", metavar="|".join(DEVICES), help=DEVICE_HELP)


def _eval(parser: Parser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="file or run folder")
    parser.add_argument("file", metavar="FILE", nargs="?", help="text to measure on, UTF-8")
    help = "measure on this part of the run's own text"
    parser.add_argument("--part", metavar="train|val|test", help=help)
    help = "one stream over all of it, or nanoGPT's random windows (default: stateful)"
    parser.add_argument("--protocol", default="stateful", metavar="stateful|nanogpt", help=help)
    help = "measure also while the model learns from what it has read (takes a minute or two)"
    parser.add_argument("--dynamic", action="store_true", help=help)
    parser.add_argument("--encoding", default="utf-8", metavar="NAME", help="of FILE")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--device", default="cpu", metavar="|".join(DEVICES), help=DEVICE_HELP)


def _info(parser: Parser) -> None:
    help = "a checkpoint file, a run folder, or a text file"
    parser.add_argument("path", metavar="PATH", help=help)


def _inspect(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    help = "show how far back the gradient of one character's loss reaches"
    gradients = actions.add_parser("gradients", help=help, description=help.capitalize() + ".")
    help = "one or more files or run folders"
    gradients.add_argument("checkpoints", metavar="CHECKPOINT", nargs="+", help=help)
    gradients.add_argument("file", metavar="FILE", help="text to measure on, UTF-8")
    help = "measure up to N characters back (default: 200)"
    gradients.add_argument("--lags", type=int, default=200, metavar="N", help=help)
    help = "draw it too (needs matplotlib)"
    gradients.add_argument("--out", metavar="PNG", help=help)
    gradients.add_argument("--json", action="store_true", help="print JSON")


def _corpus(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    help = "list the texts that can be built"
    actions.add_parser("list", help=help, description=help.capitalize() + ".")
    help = "build a text below corpora/"
    build = actions.add_parser("build", help=help, description=help.capitalize() + ".")
    build.add_argument("name", metavar="NAME", help="a name from textgen corpus list")
    build.add_argument("--out", metavar="FILE", help="write here (default: corpora/NAME.txt)")
    help = "say what a text is, how predictable, and how best to train on it"
    report = actions.add_parser("report", help=help, description=help.capitalize() + ".")
    report.add_argument("files", metavar="FILE", nargs="+", help="files, folders, or -")
    report.add_argument("--json", action="store_true", help="print JSON")
    add_fields(report, TrainConfig, ("split", "glob", "encoding", "newlines", "normalize"))
    help = "list the encoded texts that are kept between runs"
    cached = actions.add_parser("cache", help=help, description=help.capitalize() + ".")
    cached.add_argument("--clear", action="store_true", help="remove them")


FORMATS = ("text", "jsonl")
DEVICE_HELP = "where to compute (default: cpu)"
FILLERS: dict[str, Callable[[Parser], None]] = {
    "train": _train,
    "sample": _sample,
    "eval": _eval,
    "info": _info,
    "inspect": _inspect,
    "corpus": _corpus,
}


def add_fields(parser: Parser, config: type, names: Sequence[str] = ()) -> dict[str | None, Any]:
    """Add an option for each field of a config, or for those named only.

    Returns the groups of --help by their titles.
    """
    groups: dict[str | None, Any] = {None: parser}
    for one in dataclasses.fields(config):
        if names and one.name not in names:
            continue
        title = one.metadata.get("group")
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        kind = str(one.type).removesuffix(" | None")
        if kind == "bool":
            switch = {"action": "store_const", "const": True, "help": one.metadata["help"]}
            groups[title].add_argument(option_name(one.name), **switch)
            continue
        help = one.metadata["help"]
        if one.default is not None and one.default not in ("", ()):
            help += f" (default: {one.default})"
        metavar = "|".join(one.metadata.get("choices", ())) or METAVARS[kind]
        groups[title].add_argument(
            option_name(one.name),
            action="append" if kind.startswith("tuple") else "store",
            type=TYPES[kind],
            metavar=one.metadata.get("metavar", metavar),
            help=help.replace("%", "%%"),
        )
    return groups


def given(arguments: argparse.Namespace, config: type) -> dict[str, Any]:
    """Return the fields of a config that stand on the command line."""
    names = [one.name for one in dataclasses.fields(config)]
    values = {name: getattr(arguments, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


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
            options[name] = tuple(unescape(one) for one in options[name])
    return options


def unescape(text: str) -> str:
    r"""Return text with \n, \t and \\ replaced by what they stand for."""
    return re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t"}.get(match[1], "\\"), text)


def schedule(text: str) -> float | tuple[float, float]:
    """Return the number or the two numbers of X or X:Y."""
    first, colon, last = text.partition(":")
    return (float(first), float(last)) if colon else float(first)


METAVARS = {"int": "N", "float": "X", "str": "TEXT", "tuple[str, ...]": "TEXT", SCHEDULE: "X[:Y]"}
TYPES: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "tuple[str, ...]": str,
    SCHEDULE: schedule,
}
