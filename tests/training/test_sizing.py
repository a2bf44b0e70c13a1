"""Sizes chosen from numbers alone: valid for any text and machine, more for more budget."""

import dataclasses
import math

import pytest
from factories import RECIPE
from hypothesis import given
from hypothesis import strategies as st

from textgen.config.model import CELLS, ModelConfig
from textgen.config.train import TrainConfig
from textgen.training.sizing import (
    CUDA_WIDTHS,
    UNDROPPED_EPOCHS,
    SizingInputs,
    affordable,
    bytes_of_weights,
    bytes_per_stream,
    choose_recipe,
    decay,
    dropout,
    fitting_batch,
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


@given(CHARACTERS, SECONDS, SPEEDS, st.floats(1, 500) | st.none(), st.integers(1, 4))
def test_what_is_chosen_for_cuda_has_kernels_that_keep_weights_on_the_chip(
    characters, seconds, gflops, record, layers
):
    inputs = SizingInputs(characters, seconds, math.inf, "cuda", gflops, mean_record_length=record)
    recipe = filled(inputs, layers=layers)
    assert recipe.cell == "lstm" and recipe.precision == "float16"
    assert recipe.hidden % 128 == recipe.embedding % 128 == recipe.batch % 8 == 0
    assert 128 <= recipe.hidden <= 1024 and 8 <= recipe.batch <= 128


def test_a_large_gpu_gets_the_widest_layer_and_a_small_budget_a_narrow_one():
    """An H100 makes about 700,000 GFLOP/s of a large product in float16."""
    widths = [
        filled(SizingInputs(10**8, seconds, math.inf, "cuda", 2.0**19.5)).hidden
        for seconds in (0.5, 20, 600)
    ]
    assert widths == sorted(widths) and widths[0] < widths[-1] == max(CUDA_WIDTHS)


def test_the_published_speed_of_an_lstm_on_a_gpu_is_what_is_reckoned_with():
    """One layer of 768 on inputs of 768: 16 x 1024 characters in 5.19 ms, of 989 TFLOP/s."""
    inputs = SizingInputs(10**9, 5.19e-3, math.inf, "cuda", 989e3, vocab=64)
    products = 8 * 768 * 768
    expected = 16 * 1024 * products / (4 * 768 * 768 + 5 * 64 * 768)
    assert affordable(inputs, 768, 1, "lstm") == pytest.approx(expected, rel=0.02)


def test_memory_of_a_stream_counted_by_hand():
    """A GRU of 2 layers of 10, embedding 4, windows of 7, 5 ids."""
    recipe = dataclasses.replace(RECIPE, cell="gru", layers=2, hidden=10, embedding=4, window=7)
    assert bytes_per_stream(recipe, 5) == 4 * 7 * (2 * 4 + 2 * (6 + 6) * 10 + 3 * 5)
    layers = (30 * 4 + 30 * 10 + 60) + (30 * 10 + 30 * 10 + 60)
    assert bytes_of_weights(recipe, 5) == 16 * (5 * 4 + layers + 5 * 10 + 5)


@given(st.integers(1, 4096), st.integers(0, 10**11))
def test_the_batch_that_fits_is_smaller_and_fits(batch, memory):
    recipe = dataclasses.replace(RECIPE, hidden=512, embedding=128, window=128, batch=batch)
    fits = fitting_batch(recipe, 65, memory)
    if fits is None:
        room = 0.8 * memory - bytes_of_weights(recipe, 65)
        assert batch == 1 or room < bytes_per_stream(recipe, 65)
    else:
        assert 1 <= fits <= batch / 2 and (fits < 8 or fits % 8 == 0)
        assert bytes_of_weights(recipe, 65) + fits * bytes_per_stream(recipe, 65) <= 0.8 * memory


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
