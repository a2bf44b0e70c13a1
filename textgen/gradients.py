"""How far back a gradient reaches: the slope of one character's nats by an earlier state.

In the walk after `evaluation`. loss_t is the nats of the character predicted at step t. Its total
derivative by a layer's state at step t - k counts every path that leads on from there: the layer's
own next steps, the layers above it and the head. It is what backpropagation through time carries
from step to step (Bengio et al., 1994; Hochreiter & Schmidhuber, 1997); for lag k = 0 ... N its
norm shows whether it vanishes, explodes or lasts.

An LSTM's state is two vectors and gives two curves: by h, with c held, and by c, with the h that
is made of it. h alone would miss the path that the cell was invented for.

Shapes: K lags 0 ... N, S states (each layer's h, and c), P positions, B of them at a time; x_TB.

    >>> inspect("checkpoints/corpus", "corpus.txt", lags=200).curves[0].reach
    23
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from textgen import corpus, heritage, runs
from textgen.cells import LayerState
from textgen.checkpoint import Checkpoint
from textgen.device import tuned
from textgen.errors import MachineError, NumericsError, TextError, UsageError, counted, visible
from textgen.files import check_name, write_output
from textgen.model import CharRNN, State

POSITIONS = 64  # of the text at which the loss is taken
WARM_UP = 128  # characters read before the first state that is measured
HELD = 1 << 22  # numbers in the states of one graph; each costs about 60 bytes in all
SHARE = 0.01  # of the norm at lag 0, below which the gradient counts as gone
FLOOR = 1e-16  # where a picture ends at the latest: beside 1 less is lost, even in float64
TITLE = 32  # characters of a checkpoint's name that a panel has room for, the last ones


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
        gone = SHARE * self.median[0]
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
    """Return how far back gradients reach in a checkpoint file or run folder, on a text file.

    Takes about 3 s of one core for an LSTM of 512 units. Raises TextgenError subclasses.
    """
    loaded = Checkpoint.load(runs.find_checkpoint(checkpoint))
    model, training = loaded.model, loaded.facts.get("training", {})
    if loaded.tokenizer.spelling:
        problem = f"lags are counted in characters, this model reads {loaded.tokenizer.noun}"
        raise UsageError(str(checkpoint), problem, "inspect a model of characters")
    most = HELD // (model.layers * model.hidden) - 1
    if not 1 <= lags <= most:
        problem = f"{lags} is not 1 to {most:,}, for which there is room with this model"
        raise UsageError("--lags", problem, "give a number in between")
    words = corpus.read(text, reading=heritage.reading_of(loaded.facts)).text
    least = WARM_UP + lags + 1 + POSITIONS
    if len(words) < least:
        problem = f"{len(words):,} characters are too few for {lags:,} lags"
        raise TextError(str(text), problem, f"give at least {least:,}, or fewer --lags")
    with tuned(1):  # products this small are slower with more
        norms_KSP = measure(loaded, loaded.tokenizer.encode(words, "replace"), lags)
    if not (finite_K := np.isfinite(norms_KSP).all(axis=(1, 2))).all():
        problem = f"the gradient at lag {finite_K.argmin()} is not finite"
        raise NumericsError(str(checkpoint), problem, "give fewer --lags, or another checkpoint")
    names = [(layer + 1, s) for layer in range(model.layers) for s in states_of(model.cell)]
    percentiles = np.percentile(norms_KSP, (50, 5, 95), axis=2).transpose(2, 0, 1).tolist()
    curves = (Curve(*name, *map(tuple, p)) for name, p in zip(names, percentiles, strict=True))
    sizes = (model.cell, model.layers, model.hidden, training.get("window"))
    return Gradients(str(checkpoint), *sizes, lags, norms_KSP.shape[2], tuple(curves))


def states_of(cell: str) -> str:
    """Return the names of a layer's states, a letter each, in their order."""
    return "hc" if cell == "lstm" else "h"


def measure(checkpoint: Checkpoint, ids: np.ndarray, lags: int) -> np.ndarray:
    """Return norms_KSP at positions spread evenly over ids (n,), n > WARM_UP + lags + POSITIONS.

    In float64, where a gradient that has shrunk to 1e-50 is not yet zero.
    """
    config = checkpoint.model
    model = CharRNN.from_weights(config, checkpoint.weights, torch.device("cpu"))
    model.layers = nn.ModuleList(Steps(config.cell, layer) for layer in model.layers)
    model.double().requires_grad_(False)
    before = WARM_UP + lags + 1
    targets_P = np.linspace(before, len(ids) - 1, POSITIONS).astype(np.int64)
    rows = HELD // ((lags + 1) * config.layers * config.hidden)
    found = []
    for first in range(0, POSITIONS, rows):
        indices_TB = targets_P[first : first + rows] + np.arange(-before, 1)[:, None]
        block_TB = torch.from_numpy(ids[indices_TB].astype(np.int64))
        found.append(norms(model, block_TB[:-1], block_TB[-1], lags).numpy())
    return np.concatenate(found, axis=2)


def norms(model: CharRNN, x_TB: Tensor, y_B: Tensor, lags: int) -> Tensor:
    """Return norms_KSB of the derivative of each row's last loss, that of y_B after x_TB.

    Rows do not touch each other, so the gradient of their sum holds each row's own. model: with
    `Steps` for layers.
    """
    state: State = model.initial_state(len(y_B))
    with torch.no_grad():
        for x_B in x_TB[: -lags - 1]:
            _, state = model(x_B[None], state)
    for vector in vectors(state):  # a leaf, so that the first step below is part of a graph
        vector.requires_grad_()
    history = []
    for x_B in x_TB[-lags - 1 :]:
        logits_TBV, state = model(x_B[None], state)
        history.append(vectors(state))
    loss = nn.functional.cross_entropy(logits_TBV[0], y_B, reduction="sum")
    slopes = torch.autograd.grad(loss, [h for step in reversed(history) for h in step])
    return torch.stack([slope.norm(dim=1) for slope in slopes]).view(lags + 1, -1, len(y_B))


def vectors(state: State) -> list[Tensor]:
    """Return the h, and c, of every layer, without the ids that n-grams keep."""
    return [part for layer in state for part in layer if part.is_floating_point()]


class Steps(nn.Module):
    """A layer whose h is one tensor to all that reads it: next step, layer above, head.

    torch.nn's layers return output and state as two tensors, and their kernels hide that h is
    made of c; torch's cells are composed of plain operations, through which a gradient sees that.
    """

    def __init__(self, cell: str, layer: nn.Module) -> None:
        super().__init__()
        self.cell, self.layer = cell, layer

    def forward(self, x_TBE: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Return out_TBH and the state after the last step."""
        weights = tuple(self.layer.parameters())
        out = []
        for x_BE in x_TBE:
            if self.cell == "lstm":
                state = torch.lstm_cell(x_BE, state, *weights)
            else:
                step = torch.gru_cell if self.cell == "gru" else torch.rnn_tanh_cell
                state = (step(x_BE, state[0], *weights),)
            out.append(state[0])
        return torch.stack(out), state


def table(results: Sequence[Gradients]) -> Iterator[str]:
    """Yield the lines of a table: for each state the median and the band at a few lags."""
    for number, one in enumerate(results):
        if number:
            yield ""
        window = f", trained on windows of {one.window}" if one.window else ""
        name, sizes = visible(one.checkpoint), f"{counted(one.layers, 'layer')} of {one.hidden}"
        yield f"{name}: {one.cell}, {sizes}{window}"
        positions = counted(one.positions, "position")
        yield f"norm of d loss(t) / d state(t - lag), over {positions} t of the text"
        lags = shown(one.lags)
        yield f"{'lag':<18}" + "".join(f"{lag:>9}" for lag in lags)
        for curve in one.curves:
            bands = {"median": curve.median, "5 %": curve.low, "95 %": curve.high}
            for name, values in bands.items():
                label = curve.label if name == "median" else ""
                yield f"{label:<11}{name:<7}" + "".join(f"{values[lag]:>9.1e}" for lag in lags)
        for curve in one.curves:
            where = f"beyond lag {one.lags}" if curve.reach is None else f"at lag {curve.reach}"
            yield f"{curve.label}: the median first falls below 1/100 of lag 0's {where}"


def shown(lags: int) -> list[int]:
    """Return the lags of the table: 0, 1, 2, 5, 10, 20, ... and the last."""
    steps = (digit * 10**power for power in range(len(str(lags))) for digit in (1, 2, 5))
    return [0, *(step for step in steps if step < lags), lags]


def check_picture(path: Path) -> None:
    """Raise UsageError unless path can be a .png file, MachineError when matplotlib is missing."""
    check_name(path)
    if path.suffix.lower() != ".png":
        raise UsageError("--out", f"{path.name!r} does not end in .png", "name a .png file")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        fix = "pip install 'textgen-rnn[plot]'"
        raise MachineError("--out", "pictures need matplotlib", fix) from None


def draw(results: Sequence[Gradients], path: Path) -> None:
    """Write a PNG: a panel for each result, with medians as lines in bands from 5 to 95 %.

    Raises UsageError, MachineError.
    """
    check_picture(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 3.2 * len(results), 3.6), layout="constrained")
    bottom = max(FLOOR, min(min(curve.low) for one in results for curve in one.curves))
    top = max(FLOOR, max(max(curve.high) for one in results for curve in one.curves))
    panels = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for panel, one in zip(panels, results, strict=True):
        lags = range(one.lags + 1)
        panel.set(yscale="log", xlim=(0, one.lags), ylim=(bottom / 2, 2 * top))
        for number, curve in enumerate(one.curves):
            bands = (curve.median, curve.low, curve.high)
            median, low, high = np.maximum(bands, FLOOR / 10)  # an axis of logarithms has no zero
            panel.fill_between(lags, low, high, color=f"C{number}", alpha=0.2, linewidth=0)
            panel.plot(lags, median, color=f"C{number}", label=curve.label)
        if one.window and one.window <= one.lags:
            panel.axvline(one.window, color="grey", linestyle=":", label="training window")
        name = visible(one.checkpoint)[-TITLE:].replace("$", r"\$")  # a $ would begin a formula
        panel.set(title=f"{name}\n{one.cell}, {counted(one.layers, 'layer')} of {one.hidden}")
        panel.set(xlabel="lag k, characters")
        panel.grid(alpha=0.3)
        panel.legend()
    panels[0].set_ylabel("norm of d loss(t) / d state(t - k)")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_output(path, [picture.getvalue()])
