"""Sizes chosen from numbers alone: valid for any text and machine, more for more budget."""

import dataclasses
import math

from hypothesis import given
from hypothesis import strategies as st

from textgen.config.model import CELLS, ModelConfig
from textgen.config.train import TrainConfig
from textgen.training.sizing import (
    UNDROPPED_EPOCHS,
    SizingInputs,
    choose_recipe,
    decay,
    dropout,
    peak_rate,
)

CHARACTERS = st.integers(2, 10**12)
DEVICES = st.sampled_from(["cpu", "cuda", "mps"])
SPEEDS = st.integers(-3, 20).map(lambda power: 2.0**power)
SECONDS = st.floats(0.01, 1e7)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "cell": st.sampled_from(["rnn", "lstm", "gru"]),
        "layers": st.integers(1, 64),
        "hidden": st.integers(1, 16384),
        "embedding": st.integers(1, 16384),
        "dropout": st.floats(0, 0.9),
        "weight_decay": st.floats(0, 10),
        "ngrams": st.integers(1, 64),
        "batch": st.integers(1, 65536),
        "window": st.integers(1, 65536),
        "lr": st.floats(1e-6, 1.0),
    },
)

SIZED = ("cell", "layers", "hidden", "embedding", "ngrams", "dropout", "weight_decay")
SIZED += ("batch", "window", "lr", "precision")


def filled(inputs, **choices):
    return choose_recipe(TrainConfig(**choices), inputs)


@given(CHOICES, CHARACTERS, SECONDS, DEVICES, SPEEDS)
def test_what_the_user_set_is_kept_and_all_else_is_set(
    choices, characters, seconds, device, gflops
):
    config = filled(SizingInputs(characters, seconds, math.inf, device, gflops), **choices)
    values = dataclasses.asdict(config)
    assert choices.items() <= values.items()
    for name in (*choices, *SIZED):
        assert values[name] is not None, name
    ModelConfig(100, config.cell, config.layers, config.hidden, config.embedding)


@given(CHARACTERS, SECONDS, SECONDS, DEVICES, SPEEDS)
def test_more_time_never_gives_a_narrower_network(characters, one, other, device, gflops):
    less, more = (
        filled(SizingInputs(characters, seconds, math.inf, device, gflops)).hidden
        for seconds in sorted((one, other))
    )
    assert less <= more


@given(CHARACTERS, st.floats(1, 1e15), st.floats(1, 1e15), DEVICES)
def test_more_characters_to_train_on_never_give_a_narrower_network(characters, one, other, device):
    less, more = (
        filled(SizingInputs(characters, math.inf, seen, device, 0.0)).hidden
        for seen in sorted((one, other))
    )
    assert less <= more


@given(CHARACTERS, CHARACTERS, SECONDS, SPEEDS)
def test_a_longer_text_never_gives_a_narrower_network(one, other, seconds, gflops):
    less, more = (
        filled(SizingInputs(n, seconds, math.inf, "cpu", gflops)).hidden
        for n in sorted((one, other))
    )
    assert less <= more


@given(CHARACTERS, st.integers(1, 10**6), st.integers(0, 10))
def test_a_machine_twice_as_fast_needs_half_the_time(characters, seconds, power):
    slow = SizingInputs(characters, 2.0 * seconds, math.inf, "cpu", 2.0**power)
    fast = SizingInputs(characters, 1.0 * seconds, math.inf, "cpu", 2.0 ** (power + 1))
    assert filled(slow) == filled(fast)


@given(CHARACTERS, CHARACTERS, st.floats(1, 1e15))
def test_a_text_that_is_read_more_often_gets_no_less_dropout(one, other, seen):
    often, seldom = (
        filled(SizingInputs(n, math.inf, seen, "cpu", 0.0), hidden=64).dropout
        for n in sorted((one, other))
    )
    assert often >= seldom


def test_the_budget_matters():
    short, long = (
        filled(SizingInputs(10**7, s, math.inf, "cpu", 64.0)).hidden for s in (5.0, 50000.0)
    )
    assert short < long


def test_the_text_matters():
    small, large = (
        filled(SizingInputs(n, 50000.0, math.inf, "cpu", 64.0)).hidden for n in (2000, 10**8)
    )
    assert small < large


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_dropout_rises_with_the_epochs_and_is_a_valid_rate(one, other):
    less, more = sorted((one, other))
    assert 0 <= dropout(less) <= dropout(more) < 1


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_weight_decay_rises_with_the_epochs_within_bounds(one, other):
    less, more = sorted((one, other))
    assert 0.25 <= decay(less) <= decay(more) <= 0.4


@given(st.sampled_from(CELLS), st.integers(1, 16384), st.integers(1, 16384))
def test_a_wider_layer_never_learns_at_a_higher_rate(cell, one, other):
    narrow, wide = sorted((one, other))
    assert peak_rate(cell, narrow) >= peak_rate(cell, wide) > 0


@given(CHARACTERS, SECONDS, SPEEDS)
def test_equal_inputs_give_equal_sizes(characters, seconds, gflops):
    inputs = SizingInputs(characters, seconds, math.inf, "cpu", gflops)
    assert filled(inputs) == filled(inputs)


@given(CHARACTERS, CHARACTERS)
def test_a_longer_text_never_gets_shorter_n_grams(one, other):
    less, more = (
        filled(SizingInputs(n, math.inf, 1e9, "cpu", 0.0)).ngrams for n in sorted((one, other))
    )
    assert 1 < less <= more <= 64


@given(CHARACTERS, SECONDS, SPEEDS)
def test_products_in_bfloat16_never_give_a_narrower_network(characters, seconds, gflops):
    without, with_it = (
        filled(SizingInputs(characters, seconds, math.inf, "cpu", gflops, bfloat16=bfloat16)).hidden
        for bfloat16 in (False, True)
    )
    assert without <= with_it


def test_a_text_that_is_read_a_few_times_needs_no_dropout():
    assert dropout(UNDROPPED_EPOCHS) == 0 < dropout(1.1 * UNDROPPED_EPOCHS)


@given(CHARACTERS, SECONDS, DEVICES, SPEEDS)
def test_what_starts_from_a_base_takes_small_steps_and_drops_nothing(
    characters, seconds, device, gflops
):
    inputs = SizingInputs(characters, seconds, math.inf, device, gflops)
    from_nothing = filled(inputs, hidden=256)
    from_base = filled(dataclasses.replace(inputs, from_base=True), hidden=256)
    assert from_nothing.lr / 15 < from_base.lr < from_nothing.lr / 3
    assert from_base.dropout == 0 and from_base.weight_decay < from_nothing.weight_decay
    assert from_base.batch <= from_nothing.batch


@given(CHOICES, CHARACTERS, SECONDS)
def test_what_the_user_set_is_kept_from_a_base_too(choices, characters, seconds):
    config = filled(SizingInputs(characters, seconds, from_base=True), **choices)
    assert choices.items() <= dataclasses.asdict(config).items()
