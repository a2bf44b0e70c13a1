"""Whether a model is as sure of itself as it may be: what it said against how often it came true.

    >>> measure_calibration(surprise).expected_error
    0.008

Of each place the likeliest id counts: its probability, and whether it came. Places of like
probability are put into one of BINS bins of equal width; in each the mean probability is compared
with the share that came. The expected calibration error is the mean distance of the two, each bin
with the weight of its places. Source: Guo et al., On calibration of modern neural networks (2017),
equation 3.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from textgen.analysis.surprise import Surprise

BINS = 15


class CalibrationBin(NamedTuple):
    """The places at which the likeliest id had a probability above `above`, at most `up_to`.

    probability: its mean there; came: the share of the places at which that id came.
    """

    above: float
    up_to: float
    places: int
    probability: float
    came: float


@dataclass(frozen=True)
class Calibration:
    """How far probabilities and frequencies differ.

    Attributes:
        bins: those that have any place, the least probable first.
        expected_error: the mean distance of probability and frequency.
        overconfidence: the mean of probability less frequency; below 0 the model knows more than it
            says.
    """

    bins: list[CalibrationBin]
    expected_error: float
    overconfidence: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures and the bins."""
        return asdict(self) | {"bins": [each._asdict() for each in self.bins]}


def measure_calibration(surprise: Surprise) -> Calibration:
    """Return how well the probabilities of the likeliest ids agree with what came."""
    said_N, came_N = surprise.probabilities_NK[:, 0], surprise.ranks_N == 1
    # A bin holds its upper end, so that certainty falls into the last one.
    bin_N = np.digitize(said_N, np.arange(1, BINS) / BINS, right=True)
    places, said, came = (
        np.bincount(bin_N, weights, minlength=BINS) for weights in (None, said_N, came_N)
    )
    bins = [
        CalibrationBin(
            above=index / BINS,
            up_to=(index + 1) / BINS,
            places=int(places[index]),
            probability=float(said[index] / places[index]),
            came=float(came[index] / places[index]),
        )
        for index in np.flatnonzero(places).tolist()
    ]
    return Calibration(
        bins=bins,
        expected_error=float(np.abs(said - came).sum() / len(said_N)),
        overconfidence=float((said - came).sum() / len(said_N)),
    )
