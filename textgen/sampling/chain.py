"""The filters in their order: which options switch on which, and what each is given.

The table FILTERS is the one place that names them all: help, docs and tests are made from it. Hard
limits such as bans are not in it: what they bar is -inf already.

    >>> selected = select_filters(config)
    >>> logits_BV = apply_filters(logits_BV, config, context, selected)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.config import SampleConfig
from textgen.sampling import filters
from textgen.sampling.filters import LONGEST_REPEAT, History


@dataclass
class Context:
    """What filters know beside the scores and the options.

    bias_V: what --bias adds. progress: 0 at the first character to write, 1 at the last one; (B,)
    where rows are not equally far.
    mu_B: mirostat's limit of surprise in bits, one number per row, which every draw moves.
    """

    bias_V: np.ndarray
    history: History
    mu_B: np.ndarray
    progress: float | np.ndarray = 0.0


@dataclass(frozen=True)
class Filter:
    """One step of the chain.

    option: the field of SampleConfig that switches it on; neutral: the value that leaves it out;
    arguments: what function takes beside the scores; note: where libraries differ, our choice;
    counts: whether it asks how often ids stand in the history; shapes: whether it shapes scores
    without regard to chance, so that a beam search can use it.
    """

    option: str
    neutral: Any
    function: Callable[..., np.ndarray]
    arguments: Callable[[SampleConfig, Context], tuple[Any, ...]]
    note: str = ""
    counts: bool = False
    shapes: bool = False


FILTERS = (
    Filter("bias", (), filters.bias, lambda c, past: (past.bias_V,), shapes=True),
    Filter(
        "repetition_penalty",
        1.0,
        filters.repetition_penalty,
        lambda c, past: (past.history.counts_BV, c.repetition_penalty),
        "of log-probabilities, so it does not depend on the constant a model adds to its scores",
        counts=True,
        shapes=True,
    ),
    Filter(
        "frequency_penalty",
        0.0,
        filters.frequency_penalty,
        lambda c, past: (past.history.counts_BV, c.frequency_penalty),
        "as in OpenAI's and vLLM's interfaces; Hugging Face has none",
        counts=True,
        shapes=True,
    ),
    Filter(
        "presence_penalty",
        0.0,
        filters.presence_penalty,
        lambda c, past: (past.history.counts_BV, c.presence_penalty),
        "likewise",
        counts=True,
        shapes=True,
    ),
    Filter(
        "dry_multiplier",
        0.0,
        filters.dry,
        lambda c, past: (
            past.history.ids_BL,
            c.dry_multiplier,
            c.dry_base,
            c.dry_allowed_length,
        ),
        f"no sequence breakers; the penalty stops growing at {LONGEST_REPEAT} characters",
        shapes=True,
    ),
    Filter(
        "no_repeat_ngram",
        None,
        filters.no_repeat_ngram,
        lambda c, past: (past.history.ids_BL, c.no_repeat_ngram),
        "where everything would be barred the likeliest character stays",
        shapes=True,
    ),
    Filter(
        "temperature",
        1.0,
        filters.temperature,
        lambda c, past: (temperature_at(c, past.progress),),
        "0 is greedy (an error in Hugging Face, greedy in llama.cpp and vLLM)",
    ),
    Filter(
        "top_k",
        None,
        filters.top_k,
        lambda c, past: (c.top_k,),
        "exactly K among equals, the lowest ids (Hugging Face keeps all equals of the K-th); "
        "0 is an error (off in llama.cpp)",
    ),
    Filter(
        "top_p",
        1.0,
        filters.top_p,
        lambda c, past: (c.top_p,),
        "among equals the lowest ids; 0 is an error (keeps one in Hugging Face and llama.cpp)",
    ),
    Filter(
        "min_p",
        0.0,
        filters.min_p,
        lambda c, past: (c.min_p,),
        "above 1 is an error (keeps one in llama.cpp)",
    ),
    Filter(
        "typical_p",
        1.0,
        filters.typical_p,
        lambda c, past: (c.typical_p,),
        "the fewest, among equals the lowest ids (Hugging Face keeps all equals of the last one)",
    ),
    Filter("epsilon_cutoff", None, filters.epsilon_cutoff, lambda c, past: (c.epsilon_cutoff,)),
    Filter("eta_cutoff", None, filters.eta_cutoff, lambda c, past: (c.eta_cutoff,)),
    Filter(
        "mirostat",
        None,
        filters.surprise_limit,
        lambda c, past: (past.mu_B,),
        "version 2, as in llama.cpp; begins at a limit of twice the target",
    ),
)


def select_filters(config: SampleConfig) -> tuple[Filter, ...]:
    """Return the filters that the options switch on, in their order."""
    return tuple(
        step for step in FILTERS if getattr(config, step.option) not in (None, step.neutral)
    )


def temperature_at(config: SampleConfig, progress: float | np.ndarray) -> float | np.ndarray:
    """Return the temperature of a character, on the straight line from first to last."""
    if not isinstance(config.temperature, tuple):
        return config.temperature
    first, last = config.temperature
    return first + (last - first) * progress


def apply_filters(
    logits: np.ndarray, config: SampleConfig, context: Context, selected: tuple[Filter, ...]
) -> np.ndarray:
    """Return scores (B, V) after the filters that were selected for config."""
    for step in selected:
        logits = step.function(logits, *step.arguments(config, context))
    return logits
