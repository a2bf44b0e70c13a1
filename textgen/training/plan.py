"""How long to train and when to validate: numbers fixed once, before most of the training.

Arithmetic only. Everything after the warm-up depends on the plan and the step, never on the clock,
so a plan that is saved makes a run repeatable.

    >>> by_steps(5000, chars_per_step=1024, val_available=100_000).every
    500
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WARMUP = 100  # steps in which the learning rate rises
VALIDATIONS = 10  # in a run of up to 20,000 steps; one each 2,000 steps in a longer one
VAL_SHARE = 0.08  # of the training work, for all validations together
FINAL_SHARE = 0.1  # of the training work, for the evaluation at the end
MOST_VAL_CHARS = 250_000  # of one validation
MARGIN = 0.07  # of the time left, for a machine that grows slower while it works
FORWARD = 3  # a character that is trained on costs as much as three that are only read


@dataclass(frozen=True)
class Plan:
    """Steps in all and in the warm-up, steps between validations, characters of a validation.

    final_chars: characters of the evaluation at the end, all of the part unless it is so large
    that reading it would take a tenth of the training.
    """

    steps: int
    warmup: int
    every: int
    val_chars: int
    final_chars: int

    def validates_at(self, step: int) -> bool:
        """Tell whether the model is validated after this many steps."""
        return step % self.every == 0 or step == self.steps


def by_steps(steps: int, chars_per_step: int, val_available: int) -> Plan:
    """Return the plan for a number of steps; val_available is the validation part's length."""
    validations = max(VALIDATIONS, steps // 2000)
    work = FORWARD * steps * chars_per_step  # in characters read
    val_chars = min(max(1000, int(VAL_SHARE * work / validations)), MOST_VAL_CHARS, val_available)
    return Plan(
        steps=steps,
        warmup=min(WARMUP, max(1, steps // 10)),
        every=math.ceil(steps / validations),
        val_chars=val_chars,
        final_chars=min(val_available, max(val_chars, int(FINAL_SHARE * work))),
    )


def by_seconds(
    seconds: float, step_seconds: float, done: int, chars_per_step: int, val_available: int
) -> Plan:
    """Return the plan that fills `seconds` after `done` steps, validations and the end included.

    step_seconds: what a step takes, measured on the steps done.
    """
    steps = done + 1
    left = (1 - MARGIN) * seconds / step_seconds
    for _ in range(3):  # the validations' cost depends on the steps; this settles in two rounds
        plan = by_steps(steps, chars_per_step, val_available)
        read = plan.val_chars * math.ceil(steps / plan.every)
        read += plan.final_chars if plan.final_chars > plan.val_chars else 0
        steps = max(done + 1, done + int(left - read / FORWARD / chars_per_step))
    plan = by_steps(steps, chars_per_step, val_available)
    return Plan(plan.steps, WARMUP, plan.every, plan.val_chars, plan.final_chars)
