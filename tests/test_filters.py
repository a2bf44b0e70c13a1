"""The filters against vectors computed by hand, and the properties that hold for all logits."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from textgen.config import SampleConfig
from textgen.filters import apply_filters, min_p, softmax, temperature, top_k, top_p

TENTHS = np.log([0.1, 0.2, 0.3, 0.4])
INF = np.inf

# Few distinct values make ties; the wide range makes underflow.
coarse = st.sampled_from([-1e4, -3.0, -1.0, 0.0, 0.5, 2.0, 1e4])
fine = st.floats(-50, 50)
logits_BV = arrays(
    np.float64, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=st.one_of(coarse, fine)
)
configs = st.builds(
    SampleConfig,
    temperature=st.sampled_from([0.0, 1e-300, 0.3, 1.0, 2.0, 1e300]),
    top_k=st.none() | st.integers(1, 12),
    top_p=st.none() | st.floats(0, 1, exclude_min=True),
    min_p=st.none() | st.floats(0, 1),
)


def filtered(logits, **options):
    return apply_filters(np.asarray(logits), SampleConfig(**{"temperature": 1.0, **options}))


def probabilities(logits, **options):
    return softmax(filtered(logits, **options))


def kept(logits):
    return logits > -INF


# Vectors by hand


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top_k": 1}, [0, 0, 0, 1]),
        ({"top_k": 2}, [0, 0, 3 / 7, 4 / 7]),
        ({"top_k": 4}, [0.1, 0.2, 0.3, 0.4]),
        ({"top_k": 99}, [0.1, 0.2, 0.3, 0.4]),
        ({"top_p": 1e-9}, [0, 0, 0, 1]),
        ({"top_p": 0.4}, [0, 0, 0, 1]),
        ({"top_p": 0.41}, [0, 0, 3 / 7, 4 / 7]),
        ({"top_p": 0.7}, [0, 0, 0.3 / 0.7, 0.4 / 0.7]),
        ({"top_p": 0.8}, [0, 2 / 9, 3 / 9, 4 / 9]),
        ({"top_p": 0.9}, [0, 2 / 9, 3 / 9, 4 / 9]),
        ({"top_p": 0.91}, [0.1, 0.2, 0.3, 0.4]),
        ({"top_p": 1.0}, [0.1, 0.2, 0.3, 0.4]),
        ({"min_p": 0.0}, [0.1, 0.2, 0.3, 0.4]),
        ({"min_p": 0.25}, [0.1, 0.2, 0.3, 0.4]),
        ({"min_p": 0.26}, [0, 2 / 9, 3 / 9, 4 / 9]),
        ({"min_p": 0.75}, [0, 0, 3 / 7, 4 / 7]),
        ({"min_p": 0.76}, [0, 0, 0, 1]),
        ({"min_p": 1.0}, [0, 0, 0, 1]),
        ({"temperature": 0.0}, [0, 0, 0, 1]),
        ({"temperature": 0.5}, [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
        ({"temperature": 1e-300}, [0, 0, 0, 1]),
        ({"temperature": 1e300}, [0.25, 0.25, 0.25, 0.25]),
        ({"temperature": 0.5, "top_p": 0.8}, [0, 0, 9 / 25, 16 / 25]),
        ({"temperature": 0.5, "min_p": 0.26}, [0, 0, 9 / 25, 16 / 25]),
        ({"top_k": 3, "top_p": 0.75}, [0, 0, 3 / 7, 4 / 7]),
        ({"top_p": 0.95, "min_p": 0.3}, [0, 2 / 9, 3 / 9, 4 / 9]),
    ],
)
def test_probabilities_by_hand(options, expected):
    np.testing.assert_allclose(probabilities(TENTHS, **options), expected, rtol=0, atol=1e-12)


def test_top_p_is_taken_of_what_top_k_left():
    """Of (3/7, 4/7) the larger alone holds 0.57; of all four it holds 0.4."""
    np.testing.assert_allclose(probabilities(TENTHS, top_k=2, top_p=0.5), [0, 0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(probabilities(TENTHS, top_p=0.5), [0, 0, 3 / 7, 4 / 7], atol=1e-12)


@pytest.mark.parametrize("count", range(1, 10))
def test_top_p_of_ten_equal_characters_keeps_as_many_tenths(count):
    assert kept(filtered(np.zeros(10), top_p=count / 10)).tolist() == [
        number < count for number in range(10)
    ]


def test_temperature_one_only_shifts():
    np.testing.assert_allclose(temperature(TENTHS, 1.0), TENTHS - TENTHS[3], rtol=0, atol=1e-15)


# Ties


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_top_k_keeps_exactly_k_of_equals_the_lowest_ids(k):
    logits = np.array([-1.0, 2.0, 2.0, 2.0, -3.0, 2.0])
    assert np.flatnonzero(kept(top_k(logits, k))).tolist() == [1, 2, 3, 5][:k]


def test_lowest_ids_win_among_many_equals():
    """Sorting in numpy keeps the order of a few equals by itself, but not of many."""
    logits = np.tile([0.0, 1.0], 500)
    assert np.flatnonzero(kept(top_k(logits, 300))).tolist() == list(range(1, 600, 2))
    share = 300 * np.e / (500 * (1 + np.e))
    assert np.flatnonzero(kept(top_p(logits, share))).tolist() == list(range(1, 600, 2))


def test_temperature_zero_takes_the_lowest_id_of_the_largest():
    assert np.flatnonzero(kept(filtered([0.0, 5.0, 1.0, 5.0], temperature=0.0))).tolist() == [1]


def test_min_p_keeps_all_equals_of_the_largest():
    assert np.flatnonzero(kept(min_p(np.array([3.0, 1.0, 3.0]), 1.0))).tolist() == [0, 2]


# Properties


@given(logits_BV, configs)
def test_some_character_survives_and_the_largest_is_among_them(logits, config):
    result = apply_filters(logits, config)
    assert kept(np.take_along_axis(result, logits.argmax(1)[:, None], 1)).all()


@given(logits_BV, configs)
def test_probabilities_are_numbers_that_sum_to_one(logits, config):
    result = softmax(apply_filters(logits, config))
    assert (result >= 0).all()
    np.testing.assert_allclose(result.sum(1), 1, rtol=1e-12)


@given(logits_BV, configs)
def test_input_is_not_modified(logits, config):
    before = logits.copy()
    apply_filters(logits, config)
    temperature(logits, config.temperature)
    top_k(logits, 2)
    top_p(logits, 0.5)
    min_p(logits, 0.5)
    assert np.array_equal(logits, before)


@given(logits_BV, configs)
def test_rows_are_filtered_one_by_one(logits, config):
    together = apply_filters(logits, config)
    alone = np.stack([apply_filters(row, config) for row in logits])
    assert np.array_equal(together, alone)


@given(logits_BV, configs)
def test_layout_in_memory_does_not_matter(logits, config):
    wide = np.empty((logits.shape[0], 2 * logits.shape[1]))
    wide[:, ::2] = logits
    expected = apply_filters(logits, config)
    assert np.array_equal(apply_filters(wide[:, ::2], config), expected)
    assert np.array_equal(apply_filters(np.asfortranarray(logits), config), expected)


@given(logits_BV, configs, st.lists(st.booleans(), min_size=9, max_size=9))
def test_what_is_already_out_stays_out(logits, config, drops):
    dropped = np.array(drops[: logits.shape[1]])
    assume(not dropped.all())
    logits = np.where(dropped, -INF, logits)
    result = apply_filters(logits, config)
    assert not kept(result)[:, dropped].any()
    assert kept(result).any(1).all()


def test_rows_full_of_minus_infinity_keep_their_one_candidate():
    logits = np.full((2, 50), -INF)
    logits[0, 7], logits[1, 0] = -1e30, 1e30
    config = SampleConfig(temperature=0.7, top_k=5, top_p=0.9, min_p=0.1)
    result = apply_filters(logits, config)
    assert [np.flatnonzero(row).tolist() for row in kept(result)] == [[7], [0]]
    assert softmax(result).sum(1).tolist() == [1, 1]


@given(logits_BV, st.integers(1, 9), st.integers(0, 3))
def test_larger_k_keeps_more(logits, k, more):
    fewer, wider = kept(top_k(logits, k)), kept(top_k(logits, k + more))
    assert (fewer <= wider).all()
    assert (fewer.sum(1) == min(k, logits.shape[1])).all()


@given(logits_BV, st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_larger_p_keeps_more(logits, p, q):
    p, q = sorted((p, q))
    assert (kept(top_p(logits, p)) <= kept(top_p(logits, q))).all()
    assert (kept(min_p(logits, q)) <= kept(min_p(logits, p))).all()


def assert_fewest_that_hold(keep, row, p):
    """The kept ones come first by (probability, id), hold p, and would not with one less."""
    chances = softmax(row)
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))
    count = int(keep.sum())
    assert keep[order[:count]].all()
    assert chances[order[:count]].sum() >= p - 1e-9
    assert count == 1 or chances[order[: count - 1]].sum() < p


@given(logits_BV, st.floats(1e-6, 0.999))
def test_top_p_keeps_the_fewest_that_hold_p(logits, p):
    for row in logits:
        assert_fewest_that_hold(kept(top_p(row, p)), row, p)


@pytest.mark.parametrize("count", [1, 3])
def test_one_more_or_one_less_than_the_fewest_is_noticed(count):
    with pytest.raises(AssertionError):
        assert_fewest_that_hold(np.arange(4) >= 4 - count, TENTHS, 0.6)


@given(logits_BV, st.floats(1e-3, 1))
def test_min_p_keeps_what_is_p_times_as_likely_as_the_likeliest(logits, p):
    ratios = np.exp(logits - logits.max(1, keepdims=True))
    keep = kept(min_p(logits, p))
    assert keep[ratios > p * (1 + 1e-9)].all()
    assert not keep[ratios < p * (1 - 1e-9)].any()


@given(logits_BV)
def test_neutral_values_change_no_probability_at_all(logits):
    neutral = SampleConfig(temperature=1.0, top_k=logits.shape[1], top_p=1.0, min_p=0.0)
    off = SampleConfig(temperature=1.0)
    expected = softmax(logits)
    assert np.array_equal(softmax(apply_filters(logits, neutral)), expected)
    assert np.array_equal(softmax(apply_filters(logits, off)), expected)


@given(logits_BV, configs, st.integers(-20, 20))
def test_adding_a_constant_to_the_logits_changes_nothing(logits, config, constant):
    logits = np.round(logits * 8) / 8  # so that the addition is exact
    assert np.array_equal(apply_filters(logits + constant, config), apply_filters(logits, config))


@given(logits_BV, configs, st.randoms(use_true_random=False))
def test_renaming_the_characters_renames_the_result(logits, config, shuffler):
    assume(all(len(set(row)) == len(row) for row in logits))
    order = list(range(logits.shape[1]))
    shuffler.shuffle(order)
    expected = softmax(apply_filters(logits, config))[:, order]
    found = softmax(apply_filters(logits[:, order], config))
    if config.temperature not in (1e-300, 1e300):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@given(logits_BV)
def test_temperature_orders_as_the_logits_do(logits):
    cold, hot = temperature(logits, 0.3), temperature(logits, 3.0)
    assert np.array_equal(np.argsort(cold, kind="stable"), np.argsort(hot, kind="stable"))


def test_float32_logits_are_filtered_in_float64():
    assert filtered(np.zeros(3, np.float32)).dtype == np.float64
