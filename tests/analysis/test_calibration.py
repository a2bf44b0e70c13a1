"""Probabilities against frequencies, on places whose figures are known."""

import dataclasses

import numpy as np
import pytest
from factories import learn_tokenizer, random_checkpoint
from hypothesis import given
from hypothesis import strategies as st

from textgen.analysis.calibration import BINS, measure_calibration
from textgen.analysis.surprise import measure_surprise


def surprise_of(probabilities, came):
    """What a model expected that gave the likeliest id these probabilities."""
    text = "the cat"
    some = measure_surprise(random_checkpoint(learn_tokenizer("char", text)), text, likeliest=1)
    return dataclasses.replace(
        some,
        probabilities_NK=np.array(probabilities, dtype=float)[:, None],
        ranks_N=np.where(came, 1, 2),
    )


def test_bins_and_error_by_hand():
    found = measure_calibration(surprise_of([0.5, 0.5, 0.5, 0.5, 0.95], [1, 0, 0, 0, 1]))
    first, last = found.bins
    assert (first.places, first.probability, first.came) == (4, 0.5, 0.25)
    assert (last.places, last.came) == (1, 1.0)
    assert first.above < 0.5 <= first.up_to and last.above < 0.95 <= last.up_to
    assert found.expected_error == pytest.approx((4 * 0.25 + 1 * 0.05) / 5)
    assert found.overconfidence == pytest.approx((4 * 0.25 - 1 * 0.05) / 5)


def test_certainty_and_impossibility_have_a_bin():
    found = measure_calibration(surprise_of([1.0, 0.0], [1, 0]))
    assert [each.up_to for each in found.bins] == [1 / BINS, 1.0]
    assert found.expected_error == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_error_is_the_one_that_a_loop_finds(places):
    said, came = zip(*places, strict=True)
    error = 0.0
    for index in range(BINS):
        inside = [
            (p, c)
            for p, c in places
            if index / BINS < p <= (index + 1) / BINS or (p == 0 and index == 0)
        ]
        if inside:
            error += abs(sum(p for p, _ in inside) - sum(c for _, c in inside)) / len(places)
    found = measure_calibration(surprise_of(said, came))
    assert found.expected_error == pytest.approx(error, abs=1e-6)
    assert sum(each.places for each in found.bins) == len(places)


def test_a_model_that_draws_what_it_says_is_calibrated():
    """And one that claims half as much again is not: the check can fail."""
    rng = np.random.default_rng(3)
    said = rng.uniform(0.1, 0.6, 20_000)
    came = rng.random(20_000) < said
    assert measure_calibration(surprise_of(said, came)).expected_error < 0.02
    assert measure_calibration(surprise_of(1.5 * said, came)).overconfidence > 0.1
