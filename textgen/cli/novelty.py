"""textgen novelty: its arguments, and what it does."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from textgen.cli.parser import ENCODING_HELP, Parser
from textgen.cli.terminal import show, show_json
from textgen.errors import counted, visible

if TYPE_CHECKING:
    from textgen.analysis import Novelty

TOP = 10
# Characters of a span, and pairs of records, on the terminal.
SPAN_COLUMNS, SHOWN_PAIRS = 60, 10


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen novelty`."""
    help = "what the model wrote: a text file, or - for standard input"
    parser.add_argument("samples", metavar="SAMPLES", help=help)
    help = "the text that it was trained on: a file or folder"
    parser.add_argument("--corpus", metavar="FILE", required=True, help=help)
    help = "text of its kind that it was not trained on (default: the last tenth of the corpus)"
    parser.add_argument("--held-out", metavar="FILE", help=help)
    help = "compare records too: lines, blank-line, or the text between two records"
    parser.add_argument("--records", metavar="SEPARATOR", help=help)
    help = f"list the N longest copied spans (default: {TOP})"
    parser.add_argument("--top", type=int, default=TOP, metavar="N", help=help)
    parser.add_argument("--encoding", default="utf-8", metavar="NAME", help=ENCODING_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: Namespace) -> None:
    """Print what the samples have in common with the corpus."""
    from textgen.analysis import measure_novelty
    from textgen.data import TextFormat, corpus

    text_format = TextFormat(encoding=arguments.encoding)
    samples, known, held_out = (
        path and corpus.read(path, text_format=text_format).text
        for path in (arguments.samples, arguments.corpus, arguments.held_out)
    )
    novelty = measure_novelty(samples, known, held_out, arguments.records, arguments.top)
    if arguments.json:
        show_json(novelty.to_json())
        return
    show(lines_of_novelty(novelty))


def lines_of_novelty(novelty: Novelty) -> Iterator[str]:
    """Yield the tables of spans, shares and records, and the verdict."""
    yield "longest spans of the samples that stand in the corpus\n"
    yield f"{'chars':>7} {'line':>7} {'line there':>10}  text\n"
    for span in novelty.spans:
        text = visible(span.text)
        shown = text if len(text) <= SPAN_COLUMNS else text[: SPAN_COLUMNS - 4] + " ..."
        yield f"{span.chars:>7,} {span.sample_line:>7,} {span.corpus_line:>10,}  {shown}\n"
    if not novelty.spans:
        yield "        none\n"
    yield "\nshare of spans of so many characters that stand in the training text\n"
    yield f"{'chars':>7} {'samples':>9} {'held out':>9}   held out: {novelty.held_out}\n"
    for chars, of_samples, of_held_out in novelty.shares:
        yield f"{chars:>7} {_percent(of_samples)} {_percent(of_held_out)}\n"
    if records := novelty.records:
        yield f"\n{counted(records.records, 'record')}: {records.copied:,} stand in the corpus, "
        yield f"{len(records.near):,} are one edit away from one, "
        yield f"{records.repeated:,} repeat another\n"
        for pair in records.near[:SHOWN_PAIRS]:
            yield f"  {visible(pair.sample)} (corpus: {visible(pair.corpus)})\n"
    yield f"\n{novelty.verdict()}\n"


def _percent(share: float | None) -> str:
    return f"{'-':>9}" if share is None else f"{100 * share:>7.2f} %"
