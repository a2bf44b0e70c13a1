"""Drawing ids: a random number for each row and position, and the id that it picks.

The cumulative distribution is inverted in id order with u(seed, row, position), so an id of
probability zero cannot be drawn, and row i of a batch draws as it would alone.

    >>> u = uniforms(seed=1, row=0, position=0)
    >>> draw(np.log([[0.1, 0.2, 0.3, 0.4]]), [next(u)])
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence

import numpy as np

# Made at a time: a call costs as much as about 100 numbers.
NUMBERS_AT_ONCE = 256
# A sum of weights below this one has lost digits: the smallest of them are subnormal.
SMALL = 1e-200


def choose_seed(*given: int | None) -> int:
    """Return the first seed that is not None, else a new one, short enough to be typed again."""
    chosen = next((seed for seed in given if seed is not None), None)
    return secrets.randbelow(2**31) if chosen is None else chosen


def uniforms(seed: int, row: int, position: int) -> Iterator[float]:
    """Yield u(seed, row, position), u(seed, row, position + 1), ... in [0, 1).

    Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011).
    """
    # Philox turns a key and a count into four 64-bit numbers, without anything before them:
    #
    #     x_0, x_1, x_2, x_3 = Philox4x64-10(count = position // 4 + 1, key = (seed, row))
    #     u(seed, row, position) = (x_{position mod 4} >> 11) * 2^-53
    #
    # numpy counts from 1; the upper 53 bits are what a float64 in [0, 1) holds exactly.
    generator = np.random.Philox(key=np.array([seed, row], dtype=np.uint64))
    generator.advance(position // 4)
    skip = position % 4
    while True:
        raw = generator.random_raw(NUMBERS_AT_ONCE)
        yield from ((raw[skip:] >> np.uint64(11)) * 2.0**-53).tolist()
        skip = 0


def draw(logits_BV: np.ndarray, u_B: Sequence[float]) -> np.ndarray:
    """Return for each row the id at which the cumulative distribution first exceeds u.

    Args:
        logits_BV: scores, up to a constant for each row; at least one above -inf.
        u_B: a number in [0, 1) for each row.
    """
    # id = min {i : sum_{j <= i} e^score_j > u * sum_j e^score_j}
    cumulative_BV, totals_B = _accumulate_weights(logits_BV)
    if not without_overflow(totals_B):
        largest_BV = np.maximum.reduce(logits_BV, axis=1, keepdims=True)
        cumulative_BV, totals_B = _accumulate_weights(logits_BV - largest_BV)
    rows = zip(cumulative_BV, totals_B, u_B, strict=True)
    # u times total may round up to total, which only ids without any probability exceed.
    return np.array(
        [
            row.searchsorted(min(u * total, math.nextafter(total, 0)), "right")
            for row, total, u in rows
        ]
    )


def without_overflow(totals: list[float]) -> bool:
    """Tell whether sums of e^score have neither overflowed nor lost digits."""
    return min(totals, default=1.0) > SMALL and sum(totals) < math.inf


def _accumulate_weights(logits_BV: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Return sums of the weights up to each id (B, V), and of all of them (B,)."""
    cumulative_BV = np.add.accumulate(np.exp(logits_BV), axis=1)
    return cumulative_BV, cumulative_BV[:, -1].tolist()
