"""What there is to know of a run: its text, its curves, how good it is, what it writes.

>>> report = report_on_run("checkpoints/corpus")
>>> [(figure.name, figure.nats) for figure in report.figures]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from textgen.analysis.baselines import Baselines
from textgen.analysis.calibration import Calibration, measure_calibration
from textgen.analysis.corpus_report import CorpusReport, TextSource, report_on_text
from textgen.analysis.curves import LearningCurves, read_curves
from textgen.analysis.novelty import Novelty, measure_novelty
from textgen.analysis.surprise import Surprise, measure_surprise
from textgen.checkpoint import (
    Checkpoint,
    find_checkpoint,
    make_engine,
    model_name,
    runs,
    training_text,
)
from textgen.data import PARTS
from textgen.engine import Threads, sampling_threads
from textgen.errors import TextError
from textgen.evaluation import NANOGPT_BATCH, NANOGPT_WINDOW, measure_text
from textgen.textmodel import TextModel

TEMPERATURES = (0.4, 0.7, 1.0, 1.3)
# Characters of each sample that is shown.
SAMPLE_CHARS = 600
# What is written to look for copies in: rows, and characters of each.
COPY_ROWS, COPY_CHARS = 16, 1500
# Characters of the held-out part that are measured, by the model and by what it has to beat.
MEASURED_CHARS = 50_000
# Batches of nanoGPT's protocol, a 25th of what it takes: half a minute instead of minutes.
WINDOW_BATCHES = 8
# Characters of context of the n-grams that are shown.
SHOWN_ORDERS = (1, 3, 5)
# Characters of that part which are shown, coloured.
EXCERPT_CHARS = 1500
# Characters of the training part in which copies are looked for.
MOST_SEARCHED = 10_000_000


class Figure(NamedTuple):
    """What something pays for the held-out text, in nats a character, and how that was counted."""

    name: str
    nats: float
    how: str

    @property
    def bits(self) -> float:
        """Bits a character."""
        return self.nats / math.log(2)


class Sample(NamedTuple):
    """A text that was written at a temperature."""

    temperature: float
    text: str


@dataclass(frozen=True)
class RunReport:
    """What there is to know of a run.

    Attributes:
        name: of the run or the checkpoint.
        checkpoint: the model.
        corpus: its text.
        part: what is measured: "val", or "train" of a run that holds nothing out.
        figures: of the model under both protocols, of its parts, and of what it has to beat.
        curves: how it was trained; None for a checkpoint without a run.
        samples: what it writes at TEMPERATURES.
        surprise: what it expected of the measured text.
        novelty: what it copies from its training part.
        calibration: whether it is as sure of itself as it may be.
    """

    name: str
    checkpoint: Checkpoint
    corpus: CorpusReport
    part: str
    figures: list[Figure]
    curves: LearningCurves | None
    samples: list[Sample]
    surprise: Surprise
    novelty: Novelty
    calibration: Calibration


def report_on_run(
    run: str | Path,
    text: str | Path | None = None,
    tell: Callable[[str], None] = lambda stage: None,
) -> RunReport:
    """Return what there is to know of a run.

    Args:
        run: a run folder, or a checkpoint file.
        text: the run's own text, if it has moved.
        tell: is called with what is done next.

    Raises:
        CheckpointError: if the checkpoint is missing or damaged.
        UsageError: if nobody knows where the run's text is.
        TextError: if it is gone or another one.
    """
    path = find_checkpoint(run)
    checkpoint = Checkpoint.load(path)
    tell("reading the text")
    parts = _read_parts(path, checkpoint, text)
    part = "val" if parts["val"] else "train"
    measured = parts[part][:MEASURED_CHARS]
    tell("reading the text as the model does")
    surprise = measure_surprise(checkpoint, measured)
    tell("counting n-grams and compressing")
    corpus = _report_on_parts(checkpoint, parts)
    tell("measuring under nanoGPT's protocol")
    windows = list(_measure_windows(checkpoint, parts[part]))
    tell("writing samples")
    model = TextModel(checkpoint, path=path)
    samples = [
        Sample(degree, model.sample(seed=1, length=SAMPLE_CHARS, temperature=degree))
        for degree in TEMPERATURES
    ]
    tell("looking for copies")
    rows = model.batch(seed=2, length=COPY_CHARS, num=COPY_ROWS)
    novelty = measure_novelty(
        "\n".join(rows), parts["train"][-MOST_SEARCHED:], held_out=parts["val"] or None
    )
    return RunReport(
        name=model_name(path),
        checkpoint=checkpoint,
        corpus=corpus,
        part=part,
        figures=[
            _figure_of_model(surprise),
            *windows,
            *_figures_of_parts(surprise),
            *_figures_to_beat(corpus.baselines),
        ],
        curves=read_curves(path.parent) if (path.parent / runs.METRICS).exists() else None,
        samples=samples,
        surprise=surprise.head(EXCERPT_CHARS),
        novelty=novelty,
        calibration=measure_calibration(surprise),
    )


def _read_parts(path: Path, checkpoint: Checkpoint, text: str | Path | None) -> dict[str, str]:
    """Return the parts of a checkpoint's text; of records each ends with a newline."""
    parts: dict[str, str] = {}
    for part in PARTS:
        try:
            passage = training_text.part_of(path, checkpoint.metadata, part, text)
        except TextError:
            if part == "train" or checkpoint.metadata.own_text(part):
                raise
            passage = ""
        if isinstance(passage, list):
            passage = "".join(record + "\n" for record in passage)
        parts[part] = passage
    return parts


def _report_on_parts(checkpoint: Checkpoint, parts: dict[str, str]) -> CorpusReport:
    """Return the report on the text that the parts make, measured where the model is."""
    ends = np.cumsum([len(passage) for passage in parts.values()]).tolist()
    bounds = dict(zip(parts, zip([0, *ends], ends, strict=False), strict=True))
    identity = checkpoint.metadata.corpus
    whole = "".join(parts.values())
    source = TextSource(
        name=identity.name if identity else "text",
        bytes=identity.size if identity else len(whole.encode("utf-8", "surrogatepass")),
        encoding=checkpoint.metadata.text_format.encoding,
    )
    return report_on_text(whole, bounds, source, MEASURED_CHARS)


def _measure_windows(checkpoint: Checkpoint, passage: str) -> Iterator[Figure]:
    """Yield the figure under nanoGPT's protocol, where there is enough of one text for it."""
    tokenizer = checkpoint.tokenizer
    if checkpoint.metadata.records or len(tokenizer.encode(passage, "replace")) <= NANOGPT_WINDOW:
        return
    model = make_engine(checkpoint)
    with Threads(sampling_threads(checkpoint.model.parameters())):
        result = measure_text(model, tokenizer, passage, "nanogpt", WINDOW_BATCHES)
    windows = WINDOW_BATCHES * NANOGPT_BATCH
    how = f"the first {windows} of nanoGPT's random windows of {NANOGPT_WINDOW}, each from nothing"
    yield Figure("model, from windows", result.nats_per_char, how)


def _figure_of_model(surprise: Surprise) -> Figure:
    """Return what the model pays."""
    how = f"the first {int(surprise.chars_N.sum()):,} characters, in one stream"
    return Figure("model", surprise.nats_per_char, how)


def _figures_of_parts(surprise: Surprise) -> Iterator[Figure]:
    """Yield what the parts of a mixture would have paid alone."""
    alone = {"network": surprise.network_nats_N, "n-grams": surprise.ngrams_nats_N}
    for name, nats_N in alone.items():
        # Neither is asked for what a text begins with.
        asked_N = np.isfinite(nats_N)
        if surprise.ngrams_weight_N.any() and asked_N.any():
            mean = float(nats_N[asked_N].sum() / surprise.chars_N[asked_N].sum())
            yield Figure(f"its {name} alone", mean, "without the other")


def _figures_to_beat(baselines: Baselines | None) -> Iterator[Figure]:
    """Yield what simpler predictors pay for the same characters."""
    if baselines is None:
        return
    for order, bits in baselines.ngrams.items():
        if order in SHOWN_ORDERS:
            how = "Kneser-Ney, counted in the training part"
            yield Figure(f"n-grams after {order}", bits * math.log(2), how)
    if ppmd := baselines.ppmd:
        yield Figure("PPMd", ppmd.nats, f"order {ppmd.order}, learns while it reads")
    for name, bits_added in baselines.compressors.items():
        if bits_added is not None:
            yield Figure(name, bits_added * math.log(2), "learns while it reads")
