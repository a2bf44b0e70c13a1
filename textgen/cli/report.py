"""textgen report: its arguments, and what it does."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from textgen.cli.parser import Parser
from textgen.cli.terminal import say, show_lines
from textgen.errors import visible

PAGE = "report.html"


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen report`."""
    help = "a run folder or checkpoint file (default: the newest run)"
    parser.add_argument("run", metavar="RUN", nargs="?", help=help)
    help = "the text that it was trained on, if it has moved"
    parser.add_argument("--text", metavar="FILE", help=help)
    help = f"write the page there (default: {PAGE})"
    parser.add_argument("--out", default=PAGE, metavar="FILE", help=help)


def run(arguments: Namespace) -> None:
    """Write the page of the run, and say where it is."""
    from textgen.analysis import render_report, report_on_run
    from textgen.checkpoint import newest_checkpoint
    from textgen.files import check_name, write_output

    out = Path(arguments.out)
    # Before the work, not after it.
    check_name(out)
    run = arguments.run or newest_checkpoint()
    report = report_on_run(run, arguments.text, lambda stage: say(f"{stage} ..."))
    write_output(out, [render_report(report).encode("utf-8", "surrogatepass")])
    best = report.figures[0]
    figures = f"{best.nats:.3f} nats, {best.bits:.3f} bits a character"
    show_lines(f"{visible(arguments.out)}: {figures}")
