"""textgen inspect: its arguments, and what it does."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.cli.parser import ENCODING_HELP, Parser
from textgen.cli.terminal import show_json, show_lines, title_of
from textgen.errors import counted, visible

if TYPE_CHECKING:
    from textgen.analysis import UnitActivity

UNITS_PAGE = "units.html"


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen inspect`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_gradients(actions)
    add_units(actions)


def run(arguments: Namespace) -> None:
    """Do what was asked for."""
    ACTIONS[arguments.action](arguments)


def add_gradients(actions: Any) -> None:
    """Add the arguments of `textgen inspect gradients`."""
    help = "show how far back the gradient of one character's loss reaches"
    gradients = actions.add_parser("gradients", help=help, description=help.capitalize() + ".")
    help = "one or more files or run folders"
    gradients.add_argument("checkpoints", metavar="CHECKPOINT", nargs="+", help=help)
    gradients.add_argument("file", metavar="FILE", help="text to measure on, in UTF-8")
    help = "measure up to N characters back (default: 200)"
    gradients.add_argument("--lags", type=int, default=200, metavar="N", help=help)
    help = "also draw it, into a .png or .svg file (needs matplotlib)"
    gradients.add_argument("--out", metavar="FILE", help=help)
    gradients.add_argument("--json", action="store_true", help="print JSON")


def run_gradients(arguments: Namespace) -> None:
    """Print, and draw if asked, how far back gradients reach."""
    from textgen.analysis import gradients, plots

    picture = Path(arguments.out) if arguments.out else None
    if picture:
        # Before the work, not after it.
        plots.check_picture(picture)
    text, lags = arguments.file, arguments.lags
    results = [gradients.inspect(path, text, lags) for path in arguments.checkpoints]
    if picture:
        plots.plot_gradients(results, picture)
    if arguments.json:
        show_json([result.to_json() for result in results])
        return
    show_lines(*gradients.format_table(results))


def add_units(actions: Any) -> None:
    """Add the arguments of `textgen inspect units`."""
    help = "show what single hidden units track in a text, such as quotes or line length"
    units = actions.add_parser("units", help=help, description=help.capitalize() + ".")
    units.add_argument("checkpoint", metavar="CHECKPOINT", help="a file or run folder")
    units.add_argument("file", metavar="FILE", help="a text file, or - for standard input")
    help = f"write the page of HTML there (default: {UNITS_PAGE}, with --json none)"
    units.add_argument("--out", metavar="FILE", help=help)
    help = "read the first N characters (default: 20000)"
    units.add_argument("--chars", type=int, default=20_000, metavar="N", help=help)
    units.add_argument("--encoding", default="utf-8", metavar="NAME", help=ENCODING_HELP)
    units.add_argument("--json", action="store_true", help="print JSON, of each property 5 units")


def run_units(arguments: Namespace) -> None:
    """Print what units track, and write the page that shows it."""
    from textgen.analysis import inspect_units, render_units
    from textgen.checkpoint import Checkpoint, find_checkpoint, model_name, read_foreign
    from textgen.files import check_name, write_output

    out = arguments.out or (None if arguments.json else UNITS_PAGE)
    if out:
        # Before the work, not after it.
        check_name(Path(out))
    path, chars = find_checkpoint(arguments.checkpoint), arguments.chars
    checkpoint = Checkpoint.load(path)
    text = read_foreign(checkpoint.metadata, arguments.file, arguments.encoding)
    activity = inspect_units(checkpoint, text.slice(0, max(0, chars)), chars, arguments.file)
    if out:
        page = render_units(activity, title_of(arguments.file), model_name(path))
        write_output(Path(out), [page.encode()])
    if arguments.json:
        show_json(activity.to_json())
        return
    length = counted(len(activity.text), "character")
    show_lines(
        f"{'model':<26} {visible(str(path))}",
        f"{'text':<26} {visible(arguments.file)}, {length}",
        f"{'hidden units':<26} {len(activity.units):,}\n",
        *lines_of_units(activity),
        f"\n{'page':<26} {visible(str(out))}",
    )


def lines_of_units(activity: UnitActivity) -> Iterator[str]:
    """Yield the table of properties, and what its figures are."""
    ranked = [finding for finding in activity.findings if finding.is_ranked]
    rest = [finding for finding in activity.findings if not finding.is_ranked]
    yield f"{'property':<26} {'best unit':<16} {'correlation':>11} {'by chance':>10}"
    for finding in ranked:
        best = finding.best[0]
        noise = "" if finding.beats_chance else "  (noise)"
        yield (
            f"{finding.subject.name:<26} {activity.units[best.unit].name:<16}"
            f" {best.correlation:>+11.2f} {finding.chance:>10.2f}{noise}"
        )
    for finding in rest:
        times = sum(finding.stretches)
        reason = f"too rare in this text ({times}×)" if times else "not in this text"
        yield f"{finding.subject.name:<26} {reason}"
    yield ""
    yield "Units are chosen on the first half of the text; the correlation is that on the second."


ACTIONS = {"gradients": run_gradients, "units": run_units}
