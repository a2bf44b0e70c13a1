"""textgen predict: its arguments, and what it does."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from textgen.cli.parser import Parser
from textgen.cli.terminal import show_json, show_lines
from textgen.config import unescape
from textgen.errors import visible

if TYPE_CHECKING:
    from textgen.analysis import Branch, Prediction

CHOICES, WIDTH = 10, 3
# Columns of the figures beside the bars, and the longest bar.
FIGURES, LONGEST_BAR = 44, 40
# Of a terminal's cell, from the left: eighths.
EIGHTHS = " ▏▎▍▌▋▊▉█"


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen predict`."""
    help = "file or run folder (default: the newest run, else the demo)"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help=help)
    help = r"the text before what is predicted; \n and \t are unescaped (default: none)"
    parser.add_argument("--prime", default="", metavar="TEXT", help=help)
    help = f"show the N likeliest (default: {CHOICES}, in a tree {WIDTH})"
    parser.add_argument("-k", type=int, metavar="N", help=help)
    help = "show the likeliest ways to go on, up to so many characters"
    parser.add_argument("--tree", type=int, metavar="DEPTH", help=help)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: Namespace) -> None:
    """Print what the model expects after a text."""
    from textgen.analysis import grow_tree, predict
    from textgen.checkpoint import Checkpoint, find_checkpoint, newest_checkpoint

    named, prime = arguments.checkpoint, unescape(arguments.prime)
    checkpoint = Checkpoint.load(find_checkpoint(named) if named else newest_checkpoint())
    if arguments.tree is not None:
        width = WIDTH if arguments.k is None else arguments.k
        tree = grow_tree(checkpoint, prime, arguments.tree, width)
        lines = lines_of_tree(tree)
        found = tree.to_json()
    else:
        likeliest = CHOICES if arguments.k is None else arguments.k
        prediction = predict(checkpoint, prime, likeliest)
        lines = lines_of_prediction(prediction, shutil.get_terminal_size().columns)
        found = prediction.to_json()
    if arguments.json:
        show_json(found)
        return
    show_lines(*lines)


def lines_of_prediction(prediction: Prediction, columns: int) -> Iterator[str]:
    """Yield the table and the bars of the likeliest characters."""
    room = max(8, min(LONGEST_BAR, columns - FIGURES))
    parts = {"network": prediction.network_K, "n-grams": prediction.ngrams_K}
    parts = parts if prediction.ngrams_K is not None else {}
    yield f"after '{visible(prediction.prime)}'" if prediction.prime else "at the beginning"
    heads = "".join(f"{name:>9}" for name in parts)
    yield f"{'next':<8}{'model':>9} {'':<{room}}{heads}".rstrip()
    for k, name in enumerate(prediction.names):
        share = float(prediction.probabilities_K[k])
        shares = "".join(percent(float(part[k])) for part in parts.values() if part is not None)
        yield f"{name:<8}{percent(share)} {bar(share, room):<{room}}{shares}".rstrip()
    if parts:
        weights = f"{prediction.network_weight:.2f} and {prediction.ngrams_weight:.2f}"
        yield f"weights of network and n-grams: {weights}; known context: {prediction.matched}"


def percent(share: float) -> str:
    """Return a share in percent, nine columns wide."""
    return f"{100 * share:>7.2f} %"


def bar(share: float, room: int) -> str:
    """Return a bar whose full length is a share of 1."""
    eighths = round(8 * room * share)
    return EIGHTHS[8] * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def lines_of_tree(tree: Branch) -> Iterator[str]:
    """Yield the tree, with what only one way leads on from in one line."""
    yield visible(tree.name) or "the beginning"
    yield from lines_of_branches(tree, "")


def lines_of_branches(tree: Branch, indent: str) -> Iterator[str]:
    """Yield a line for each branch, and below it what grows from it."""
    for branch in tree.branches:
        is_last = branch is tree.branches[-1]
        name, end = branch.name, branch
        while len(end.branches) == 1:
            end = end.branches[0]
            name += end.name
        yield f"{indent}{'└─' if is_last else '├─'} {name}  {100 * end.probability:.1f} %"
        yield from lines_of_branches(end, indent + ("   " if is_last else "│  "))
