"""Plans fit their budget and are validated at the end; simulated by a clock that counts."""

import math

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from textgen.training.plan import by_seconds, by_steps

STEPS = st.integers(1, 10**6)
CHARS_PER_STEP = st.integers(1, 10**6)
AVAILABLE = st.integers(0, 10**9)


def validations(plan):
    """How often the model is validated, counted step by step."""
    return sum(plan.validates_at(step) for step in range(1, plan.steps + 1))


@given(STEPS, CHARS_PER_STEP, AVAILABLE)
@example(1, 1, 0)
def test_a_plan_has_the_steps_it_was_asked_for_and_sound_numbers(steps, chars, available):
    plan = by_steps(steps, chars, available)
    assert plan.steps == steps
    assert 1 <= plan.warmup <= steps
    assert 1 <= plan.every <= steps
    assert 0 <= plan.val_chars <= plan.final_chars <= available


@given(STEPS, CHARS_PER_STEP, AVAILABLE)
def test_the_last_step_is_always_validated(steps, chars, available):
    assert by_steps(steps, chars, available).validates_at(steps)


@pytest.mark.parametrize("steps", [*range(1, 60), 100, 999, 1000, 20_000, 20_001, 100_000])
def test_a_run_is_validated_often_enough_and_not_too_often(steps):
    count = validations(by_steps(steps, 1024, 10**6))
    assert min(steps, 5) <= count <= max(11, steps / 1000)


@given(STEPS, CHARS_PER_STEP, AVAILABLE)
def test_validations_cost_at_most_a_tenth_of_the_training(steps, chars, available):
    plan = by_steps(steps, chars, available)
    read = math.ceil(steps / plan.every) * plan.val_chars
    trained = 3 * steps * chars  # a step forward and backward costs as much as three forwards
    assert read <= 0.1 * trained or plan.val_chars <= 1000
    assert plan.val_chars <= 250_000


@given(st.integers(10, 10**6), CHARS_PER_STEP, AVAILABLE)
def test_validations_read_as_much_as_they_may(steps, chars, available):
    plan = by_steps(steps, chars, available)
    read = math.ceil(steps / plan.every) * plan.val_chars
    assert read >= 0.03 * 3 * steps * chars or plan.val_chars == min(available, 250_000)


def test_a_small_validation_part_is_read_whole():
    plan = by_steps(5000, 1024, 40_000)
    assert plan.val_chars == plan.final_chars == 40_000


def simulated(plan, step_seconds, done, chars_per_step):
    """Seconds from step `done` to the end, each validation and the last measurement included."""
    char_seconds = step_seconds / chars_per_step / 3
    seconds = (plan.steps - done) * step_seconds
    first, last = done // plan.every, plan.steps // plan.every
    count = last - first + (plan.steps % plan.every > 0)
    seconds += count * plan.val_chars * char_seconds
    if plan.final_chars > plan.val_chars:
        seconds += plan.final_chars * char_seconds
    return seconds


BUDGETS = (st.floats(1, 1e5), st.floats(1e-3, 2), st.integers(1, 100), st.integers(64, 10**5))


@given(*BUDGETS, AVAILABLE)
def test_a_plan_by_seconds_ends_in_time_and_wastes_little(
    seconds, step_seconds, done, chars, available
):
    assume(seconds > 100 * step_seconds)
    plan = by_seconds(seconds, step_seconds, done, chars, available)
    spent = simulated(plan, step_seconds, done, chars)
    assert plan.steps > done
    assert spent <= 1.02 * seconds + step_seconds or plan.steps == done + 1
    if plan.val_chars > 1000 or available < 1000:
        assert spent >= 0.9 * seconds - 2 * step_seconds


@given(st.floats(10, 1e5), *BUDGETS[1:], AVAILABLE, st.floats(1e-6, 1e-3))
def test_a_plan_leaves_time_for_n_grams(
    seconds, step_seconds, done, chars, available, ngram_seconds
):
    """They read each part once; the network reads it alone and beside them."""
    assume(seconds > 100 * step_seconds)
    plan = by_seconds(seconds, step_seconds, done, chars, available, ngram_seconds)
    alone = (plan.steps - done) * step_seconds
    spent = 2 * simulated(plan, step_seconds, done, chars) - alone
    spent += ngram_seconds * (plan.val_chars + plan.final_chars)
    assert spent <= 1.02 * seconds + step_seconds or plan.steps == done + 1
    alone = by_seconds(seconds, step_seconds, done, chars, available)
    assert plan.steps <= 1.02 * alone.steps + 1
    assert plan.final_chars * ngram_seconds <= 0.05 * seconds


@given(*BUDGETS, AVAILABLE)
def test_however_late_it_is_at_least_one_step_is_left(
    seconds, step_seconds, done, chars, available
):
    plan = by_seconds(-seconds, step_seconds, done, chars, available)
    assert plan.steps == done + 1
    assert plan.validates_at(plan.steps)


@given(st.floats(1, 1e5), st.floats(1, 1e5), st.floats(1e-3, 1), AVAILABLE)
def test_more_seconds_are_not_fewer_steps(one, other, step_seconds, available):
    less, more = (
        by_seconds(seconds, step_seconds, 10, 1024, available) for seconds in sorted((one, other))
    )
    assert less.steps <= 1.01 * more.steps + 2


@given(st.floats(1, 1e5), st.integers(0, 100), AVAILABLE)
def test_the_warm_up_does_not_depend_on_the_number_of_steps(seconds, done, available):
    """The steps that were timed used its rates before the plan existed."""
    plan = by_seconds(seconds, 0.1, done, 1024, available)
    assert plan.warmup == by_seconds(1e6, 0.1, done, 1024, available).warmup


@given(st.integers(1, 300), st.integers(1, 10_000))
def test_a_plan_by_seconds_has_no_more_steps_than_do_good(done, most):
    plan = by_seconds(1e5, 0.01, done, 512, 3000, warmup=7, most_steps=most)
    assert plan.steps == max(done + 1, most) and plan.warmup == 7
    assert plan.validates_at(plan.steps)
