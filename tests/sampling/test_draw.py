"""Uniform numbers and the draw, against their definitions."""

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.sampling.draw import draw, uniforms

# Uniform numbers


@given(
    seed=st.integers(0, 2**63),
    row=st.integers(0, 65535),
    position=st.integers(0, 1100),
    count=st.integers(1, 600),
)
def test_uniforms_are_those_of_the_definition_from_any_position(seed, row, position, count):
    found = uniforms(seed, row, position)
    expected = naive.philox(seed, row, position + count)[position:]
    assert [next(found) for _ in range(count)] == expected


def test_uniforms_of_rows_and_seeds_differ():
    firsts = {next(uniforms(seed, row, 0)) for seed in range(20) for row in range(20)}
    assert len(firsts) == 400


# The draw


def drawn(logits, u):
    """What a draw of a single row gives."""
    return int(draw(np.asarray(logits, dtype=float)[None], np.array([u]))[0])


def logs(weights):
    with np.errstate(divide="ignore"):
        return np.log(weights)


@given(
    weights=st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(any),
    u=st.floats(0, 1, exclude_max=True),
)
def test_draw_is_the_first_id_whose_cumulative_probability_exceeds_u(weights, u):
    total = sum(weights)
    edges = np.cumsum(weights) / total
    if np.abs(edges - u).min() < 1e-9 and u > 0:
        return
    assert drawn(logs(weights), u) == next(i for i, edge in enumerate(edges) if edge > u)


@given(
    weights=st.lists(
        st.sampled_from([0.0, 1e-300, 1e-17, 0.1, 1.0, 1 / 3]), min_size=1, max_size=9
    ).filter(any),
    u=st.sampled_from([0.0, 5e-324, 2.0**-53, 0.5, 1 - 2.0**-52, 1 - 2.0**-53]),
)
def test_ends_of_the_unit_interval_never_draw_probability_zero(weights, u):
    assert weights[drawn(logs(weights), u)] > 0


def test_sum_that_rounding_leaves_below_one_does_not_draw_what_underflowed():
    """Ten tenths sum to 1 - 2^-53, the largest u there is; the eleventh has probability zero."""
    assert np.cumsum(np.full(10, 0.1))[-1] == 1 - 2.0**-53
    assert drawn([0.0] * 10 + [-2000.0], 1 - 2.0**-53) == 9


def test_hundred_thousand_draws_never_hit_probability_zero():
    rng = np.random.default_rng(0)
    hit = set()
    for _ in range(100):
        zero_BV = rng.random((1000, 30)) < 0.7
        zero_BV[:, 17] = False
        ids_B = draw(np.where(zero_BV, -np.inf, rng.normal(0, 5, zero_BV.shape)), rng.random(1000))
        assert not zero_BV[np.arange(1000), ids_B].any()
        hit |= set(ids_B.tolist())
    assert len(hit) == 30


@given(
    rows=st.lists(
        st.lists(st.integers(0, 4), min_size=6, max_size=6).filter(any), min_size=1, max_size=7
    ),
    seed=st.integers(0, 99),
)
def test_rows_are_drawn_apart(rows, seed):
    u_B = np.random.default_rng(seed).random(len(rows))
    expected = [drawn(logs(row), u) for row, u in zip(rows, u_B, strict=True)]
    assert draw(logs(rows), u_B).tolist() == expected


def test_a_draw_leaves_the_scores_as_they_were():
    logits_BV = np.array([[0.5, -np.inf, 2.0]])
    draw(logits_BV, np.array([0.5]))
    assert logits_BV.tolist() == [[0.5, -np.inf, 2.0]]


@pytest.mark.parametrize(
    ("u", "expected"), [(0, 1), (0.09, 1), (0.11, 3), (0.39, 3), (0.41, 4), (0.99, 4)]
)
def test_draw_by_hand(u, expected):
    assert drawn([-np.inf, *np.log([0.1, 1e-300, 0.3, 0.6])], u) == expected


@given(
    weights=st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(any),
    constant=st.sampled_from([-1e5, -1000.0, -460.0, 600.0, 709.0, 1e5]),
    u=st.sampled_from([0.0, 0.123, 0.5, 0.987]),
)
def test_scores_count_up_to_a_constant_however_large(weights, constant, u):
    with np.errstate(over="ignore"):
        assert drawn(logs(weights) + constant, u) == drawn(logs(weights), u)
