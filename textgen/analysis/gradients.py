"""How far back a gradient reaches: the slope of one character's nats by an earlier state.

Loss_t is the nats of the character predicted at step t. Its total derivative by a layer's state at
step t - k counts every path that leads on from there: the layer's own next steps, the layers above
it and the head. It is what backpropagation through time carries from step to step (Bengio et al.,
1994; Hochreiter & Schmidhuber, 1997); for lag k = 0 ... N its norm shows whether it vanishes,
explodes or lasts.

An LSTM's state is two vectors and gives two curves: by h, with c held, and by c, with the h that
is made from it. h alone would miss the path that the cell was invented for.

Shapes: K lags 0 ... N, S states (each layer's h, and c), P positions, B of them at a time; x_TB.

    >>> inspect("checkpoints/corpus", "corpus.txt", lags=200).curves[0].reach
    23
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textgen.checkpoint import Checkpoint, network_of, runs
from textgen.data import corpus
from textgen.errors import NumericsError, TextError, UsageError, counted, visible

# Of the norm at lag 0: below it the gradient counts as gone.
GONE_SHARE = 0.01


@dataclass(frozen=True)
class Curve:
    """The norm over lags 0 ... N by one state of one layer: percentiles 50, 5 and 95.

    layer counts from 1; state is "h" or "c".
    """

    layer: int
    state: str
    median: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def label(self) -> str:
        """What the curve is called: "layer 1 h"."""
        return f"layer {self.layer} {self.state}"

    @property
    def reach(self) -> int | None:
        """The first lag whose median is below 1/100 of that at lag 0; None: beyond the last."""
        gone = GONE_SHARE * self.median[0]
        return next((lag for lag, value in enumerate(self.median) if value < gone), None)


@dataclass(frozen=True)
class Gradients:
    """One curve for each state of a checkpoint; window: the one it was trained on, if recorded."""

    checkpoint: str
    cell: str
    layers: int
    hidden: int
    window: int | None
    lags: int
    positions: int
    curves: tuple[Curve, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        curves = [asdict(curve) | {"reach": curve.reach} for curve in self.curves]
        return asdict(self) | {"curves": curves}


def inspect(checkpoint: str | Path, text: str | Path, lags: int = 200) -> Gradients:
    """Return how far back gradients reach in a model, on a text.

    It takes about 3 s of one core for an LSTM of 512 units.

    Args:
        checkpoint: a checkpoint file or a run folder.
        text: a text file.
        lags: the largest lag, in characters.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
        UsageError: the model does not read characters, or there is no room for so many lags.
        TextError: the text is too short.
        NumericsError: a gradient is not finite.
    """
    from textgen.nn import cpu_settings, gradient_norms, state_names

    loaded = Checkpoint.load(runs.find_checkpoint(checkpoint))
    model = loaded.model
    if loaded.tokenizer.spelling:
        problem = f"lags are counted in characters, this model reads {loaded.tokenizer.noun}"
        raise UsageError(str(checkpoint), problem, "inspect a model of characters")
    ids = _encode_text(text, loaded, lags)
    # Products this small are slower with more threads.
    with cpu_settings(1):
        norms_KSP = gradient_norms(network_of(loaded), ids, lags)
    if not (finite_K := np.isfinite(norms_KSP).all(axis=(1, 2))).all():
        problem = f"the gradient at lag {finite_K.argmin()} is not finite"
        raise NumericsError(str(checkpoint), problem, "give fewer --lags, or another checkpoint")
    states = [
        (layer + 1, name) for layer in range(model.layers) for name in state_names(model.cell)
    ]
    return Gradients(
        checkpoint=str(checkpoint),
        cell=model.cell,
        layers=model.layers,
        hidden=model.hidden,
        window=loaded.metadata.window,
        lags=lags,
        positions=norms_KSP.shape[2],
        curves=tuple(_curves(states, norms_KSP)),
    )


def _curves(states: list[tuple[int, str]], norms_KSP: np.ndarray) -> Iterator[Curve]:
    """Yield the percentiles of each state, which is named by its layer and a letter."""
    percentiles = np.percentile(norms_KSP, (50, 5, 95), axis=2).transpose(2, 0, 1).tolist()
    for (layer, name), bands in zip(states, percentiles, strict=True):
        yield Curve(layer, name, *map(tuple, bands))


def _encode_text(text: str | Path, loaded: Checkpoint, lags: int) -> np.ndarray:
    """Return the ids of a text that is long enough for so many lags, which must have room."""
    from textgen.nn import characters_needed, most_lags

    most = most_lags(loaded.model)
    if not 1 <= lags <= most:
        problem = f"{lags} is not between 1 and {most:,}, the limit for this model"
        raise UsageError("--lags", problem, "give a number in between")
    content = corpus.read(text, text_format=loaded.metadata.text_format).text
    least = characters_needed(lags)
    if len(content) < least:
        problem = f"{len(content):,} characters are too few for {lags:,} lags"
        raise TextError(str(text), problem, f"give at least {least:,}, or fewer --lags")
    return loaded.tokenizer.encode(content, "replace")


def format_table(results: Sequence[Gradients]) -> Iterator[str]:
    """Yield the lines of a table: for each state the median and the band at a few lags."""
    for number, result in enumerate(results):
        if number:
            yield ""
        yield from _format_result(result)


def _format_result(result: Gradients) -> Iterator[str]:
    window = f", trained on windows of {result.window}" if result.window else ""
    sizes = f"{counted(result.layers, 'layer')} of {result.hidden}"
    yield f"{visible(result.checkpoint)}: {result.cell}, {sizes}{window}"
    positions = counted(result.positions, "position")
    yield f"norm of d loss(t) / d state(t - lag), over {positions} t of the text"
    lags = shown_lags(result.lags)
    yield f"{'lag':<18}" + "".join(f"{lag:>9}" for lag in lags)
    for curve in result.curves:
        bands = {"median": curve.median, "5 %": curve.low, "95 %": curve.high}
        for name, values in bands.items():
            label = curve.label if name == "median" else ""
            yield f"{label:<11}{name:<7}" + "".join(f"{values[lag]:>9.1e}" for lag in lags)
    for curve in result.curves:
        where = f"beyond lag {result.lags}" if curve.reach is None else f"at lag {curve.reach}"
        yield f"{curve.label}: the median first falls below 1/100 of lag 0's {where}"


def shown_lags(lags: int) -> list[int]:
    """Return the lags of the table: 0, 1, 2, 5, 10, 20, ... and the last."""
    steps = (digit * 10**power for power in range(len(str(lags))) for digit in (1, 2, 5))
    return [0, *(step for step in steps if step < lags), lags]
