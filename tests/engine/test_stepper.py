"""The distribution of a text's first id."""

import numpy as np

from textgen.engine.stepper import first_distribution


def test_the_first_id_is_drawn_from_the_counts_plus_one():
    assert first_distribution(np.array([0, 3, 1])).tolist() == [1 / 7, 4 / 7, 2 / 7]


def test_an_id_that_training_never_held_has_a_finite_cost():
    counts = np.array([0, 10**15], dtype=np.uint64)
    assert first_distribution(counts).min() > 0
