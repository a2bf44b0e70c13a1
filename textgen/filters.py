"""Which characters may be drawn: pure functions from logits to logits.

In the walk after `mixture`. Each takes and returns logits over the last axis in float64 and never
changes its input; what is filtered out becomes -inf. At least one candidate always survives.
Names, ranges and order are those of Hugging Face's generation: temperature, top-k, top-p, min-p.

    >>> top_k(np.log([0.1, 0.2, 0.3, 0.4]), 2)
    array([       -inf,        -inf, -1.2039728 , -0.91629073])
"""

from __future__ import annotations

import numpy as np

from textgen.config import SampleConfig

Array = np.ndarray

ROUNDING = 1e-12  # relative; a sum of tenths must not miss 0.9 by its last digit


def apply_filters(logits: Array, config: SampleConfig) -> Array:
    """Return logits after the filters of config, temperature first."""
    logits = temperature(logits.astype(np.float64), config.temperature)
    if config.top_k is not None:
        logits = top_k(logits, config.top_k)
    if config.top_p is not None and config.top_p < 1:
        logits = top_p(logits, config.top_p)
    if config.min_p:
        logits = min_p(logits, config.min_p)
    return logits


def temperature(logits: Array, value: float) -> Array:
    """Divide by value; 0 keeps the largest alone, the lowest id among equals."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    if value == 0:
        return top_k(shifted, 1)
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the largest to -inf
        return np.asarray(shifted / value)


def top_k(logits: Array, k: int) -> Array:
    """Keep exactly the k largest; among equals the lowest ids."""
    order = np.argsort(-logits, axis=-1, kind="stable")
    kept = np.full(logits.shape, -np.inf)
    best = order[..., :k]
    np.put_along_axis(kept, best, np.take_along_axis(logits, best, axis=-1), axis=-1)
    return kept


def top_p(logits: Array, p: float) -> Array:
    """Keep the fewest largest whose probabilities sum to at least p (Holtzman et al., 2020)."""
    order = np.argsort(-logits, axis=-1, kind="stable")
    probabilities = softmax(np.take_along_axis(logits, order, axis=-1))
    before = np.cumsum(probabilities, axis=-1) - probabilities
    keep = np.zeros(logits.shape, dtype=bool)
    np.put_along_axis(keep, order, before * (1 + ROUNDING) < p, axis=-1)
    return np.where(keep, logits, -np.inf)


def min_p(logits: Array, p: float) -> Array:
    """Keep what is at least p times as likely as the likeliest (Nguyen et al., 2024)."""
    limit = logits.max(axis=-1, keepdims=True) + np.log(p) - ROUNDING
    return np.where(logits >= limit, logits, -np.inf)


def softmax(logits: Array) -> Array:
    """Return probabilities over the last axis."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
