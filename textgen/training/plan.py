"""How long to train and when to validate: numbers fixed once, before most of the training.

Arithmetic only. Everything after the warm-up depends on the plan and the step, never on the clock,
so a plan that is saved makes a run repeatable.

    >>> by_steps(5000, chars_per_step=1024, val_available=100_000).every
    500
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace

from textgen.checkpoint import Plan

# Steps in which the learning rate rises.
WARMUP = 100
# In a run of up to 20,000 steps; a longer one validates about every 2,000 steps.
VALIDATIONS = 10
# Of the training work: for all validations together, and for the evaluation at the end.
VAL_SHARE, FINAL_SHARE = 0.08, 0.1
# Of the steps, those in which the network is kept from what the mixture is weighed on: by then it
# has learnt most of what it will, and can still learn the rest.
APART = 0.7
# Of one validation: more characters make the figure hardly more certain.
MOST_VAL_CHARS = 250_000
# Of the time left: a machine may grow slower. If it does so by more, the plan is shortened.
MARGIN = 0.03
# Of the time left, for the n-grams to read the validation part once.
NGRAM_SHARE = 0.04
# A character that is trained on costs as much as so many that are only read.
FORWARD = 3


def by_steps(steps: int, chars_per_step: int, val_available: int) -> Plan:
    """Return the plan for a number of steps; val_available is the validation part's length."""
    validations = max(VALIDATIONS, steps // 2000)
    # In characters that are only read.
    work = FORWARD * steps * chars_per_step
    val_chars = min(max(1000, int(VAL_SHARE * work / validations)), MOST_VAL_CHARS, val_available)
    every = math.ceil(steps / validations)
    return Plan(
        steps=steps,
        warmup=min(WARMUP, max(1, steps // 10)),
        every=every,
        val_chars=val_chars,
        final_chars=min(val_available, max(val_chars, int(FINAL_SHARE * work))),
        apart=every * round(APART * validations),
    )


def by_seconds(
    seconds: float,
    step_seconds: float,
    done: int,
    chars_per_step: int,
    val_available: int,
    ngram_seconds: float = 0.0,
    weighing: float = 0.0,
    warmup: int = WARMUP,
    most_steps: int = sys.maxsize,
) -> Plan:
    """Return the plan that fills `seconds` after `done` steps, validations and the end included.

    step_seconds: what a step takes, measured on the steps done. ngram_seconds: what n-grams take
    to read an id: each validation reads the same ones, the end perhaps more. weighing: seconds in
    which the network and the n-grams are weighed at the end. warmup: steps in which the rate
    rises. most_steps: more of them would harm.
    """
    steps = done + 1
    if ngram_seconds:
        val_available = min(val_available, int(NGRAM_SHARE * seconds / ngram_seconds))
    for_network = (1 - MARGIN) * (seconds - 2 * ngram_seconds * val_available - weighing)
    left = for_network / step_seconds
    # What validations cost depends on the steps; the fewer of the last two rounds are taken, where
    # they go up and down.
    before = steps
    for _ in range(4):
        plan = by_steps(steps, chars_per_step, val_available)
        read = plan.val_chars * math.ceil(steps / plan.every)
        read += plan.final_chars if plan.final_chars > plan.val_chars else 0
        # With n-grams the network is measured alone and together with them.
        read *= 2 if ngram_seconds else 1
        before, steps = steps, max(done + 1, done + int(left - read / FORWARD / chars_per_step))
    steps = max(done + 1, min(before, steps, most_steps))
    return replace(by_steps(steps, chars_per_step, val_available), warmup=warmup)
