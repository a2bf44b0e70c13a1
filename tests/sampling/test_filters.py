"""The filters against vectors computed by hand, plain loops, and what holds for all scores."""

import math
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import naive
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from textgen.engine.network import log_softmax
from textgen.sampling import filters
from textgen.sampling.filters import (
    LONGEST_REPEAT,
    NOTHING,
    History,
    bias,
    dry,
    entropy,
    epsilon_cutoff,
    eta_cutoff,
    frequency_penalty,
    min_p,
    no_repeat_ngram,
    presence_penalty,
    repeat_lengths,
    repetition_penalty,
    surprise_limit,
    temperature,
    top_k,
    top_p,
    typical_p,
)

INF = np.inf
TENTHS = (0.1, 0.2, 0.3, 0.4)
FIFTHS = (0.2, 0.2, 0.2, 0.2, 0.2)
SHARP = (0.97, 0.01, 0.01, 0.01)
FLAT = (0.4, 0.2, 0.2, 0.2)
MARGIN = 1e-9  # how far from a boundary a case must lie to be compared with plain loops


def logs(probabilities):
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities, dtype=float))


def kept(scores):
    return scores > -INF


def ids_kept(scores):
    return np.flatnonzero(kept(scores)).tolist()


def counts(ids, vocab):
    return np.bincount(ids, minlength=vocab)


BY_HAND = [
    (top_k, 1, TENTHS, [0, 0, 0, 1]),
    (top_k, 2, TENTHS, [0, 0, 3 / 7, 4 / 7]),
    (top_k, 4, TENTHS, TENTHS),
    (top_k, 99, TENTHS, TENTHS),
    (top_p, 1e-9, TENTHS, [0, 0, 0, 1]),
    (top_p, 0.4, TENTHS, [0, 0, 0, 1]),
    (top_p, 0.41, TENTHS, [0, 0, 3 / 7, 4 / 7]),
    (top_p, 0.7, TENTHS, [0, 0, 3 / 7, 4 / 7]),
    (top_p, 0.9, TENTHS, [0, 2 / 9, 3 / 9, 4 / 9]),
    (top_p, 0.91, TENTHS, TENTHS),
    (min_p, 0.25, TENTHS, TENTHS),
    (min_p, 0.75, TENTHS, [0, 0, 3 / 7, 4 / 7]),
    (temperature, 0.5, TENTHS, [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
    (temperature, 1e-300, TENTHS, [0, 0, 0, 1]),
    (temperature, 5e-324, TENTHS, [0, 0, 0, 1]),
    (temperature, 1e300, TENTHS, [0.25] * 4),
    # Entropy 1.280: the surprises 1.204 (0.3), 1.609 (0.2), 0.916 (0.4), 2.303 (0.1) in this order.
    (typical_p, 0.3, TENTHS, [0, 0, 1, 0]),
    (typical_p, 0.31, TENTHS, [0, 2 / 5, 3 / 5, 0]),
    (typical_p, 0.51, TENTHS, [0, 2 / 9, 3 / 9, 4 / 9]),
    (typical_p, 0.91, TENTHS, TENTHS),
    (typical_p, 0.19, FLAT, [0, 1, 0, 0]),
    (typical_p, 0.4, FLAT, [0, 0.5, 0.5, 0]),
    (epsilon_cutoff, 0.05, TENTHS, TENTHS),
    (epsilon_cutoff, 0.1, TENTHS, TENTHS),
    (epsilon_cutoff, 0.11, TENTHS, [0, 2 / 9, 3 / 9, 4 / 9]),
    (epsilon_cutoff, 0.35, TENTHS, [0, 0, 0, 1]),
    (epsilon_cutoff, 0.2, (0.2, 0.7, 0.1), [2 / 9, 7 / 9, 0]),  # 0.2 but for the last digit
    (epsilon_cutoff, 0.99, TENTHS, [0, 0, 0, 1]),
    # exp(-entropy) is 0.278: the limit is 0.278 sqrt(epsilon) where epsilon is above 0.077.
    (eta_cutoff, 0.0025, TENTHS, TENTHS),
    (eta_cutoff, 0.25, TENTHS, [0, 2 / 9, 3 / 9, 4 / 9]),
    (eta_cutoff, 0.81, TENTHS, [0, 0, 3 / 7, 4 / 7]),
    (eta_cutoff, 0.25, (0.5, 0.5, 0, 0), [0.5, 0.5, 0, 0]),
    # -log2 of 0.4, 0.3, 0.2, 0.1 is 1.32, 1.74, 2.32, 3.32 bits.
    (surprise_limit, np.array(4.0), TENTHS, TENTHS),
    (surprise_limit, np.array(2.4), TENTHS, [0, 2 / 9, 3 / 9, 4 / 9]),
    (surprise_limit, np.array(1.8), TENTHS, [0, 0, 3 / 7, 4 / 7]),
    (surprise_limit, np.array(1.4), TENTHS, [0, 0, 0, 1]),
    (surprise_limit, np.array(0.0), TENTHS, [0, 0, 0, 1]),
    (surprise_limit, np.array(-5.0), TENTHS, [0, 0, 0, 1]),
    (surprise_limit, np.array(2.0), [0.25] * 4, [0.25] * 4),
    (bias, logs([3, 1, 1, 1]), [0.25] * 4, [3 / 6, 1 / 6, 1 / 6, 1 / 6]),
    (bias, np.zeros(4), TENTHS, TENTHS),
]


class TestVectorsByHand:
    """Vectors by hand."""

    @pytest.mark.parametrize(("function", "value", "probabilities", "expected"), BY_HAND)
    def test_probabilities_by_hand(self, function, value, probabilities, expected):
        found = naive.softmax(function(logs(probabilities), value))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)

    def test_penalties_by_hand(self):
        scores = np.array([-1.0, -2.0, 0.5, 0.0, -INF])
        seen = np.array([1, 0, 3, 2, 1])
        np.testing.assert_array_equal(
            repetition_penalty(scores, seen, 2.0), [-2, -2, 0.25, 0, -INF]
        )
        np.testing.assert_array_equal(repetition_penalty(scores, seen, 0.5), [-0.5, -2, 1, 0, -INF])
        np.testing.assert_array_equal(
            frequency_penalty(scores, seen, 0.5), [-1.5, -2, -1, -1, -INF]
        )
        np.testing.assert_array_equal(frequency_penalty(scores, seen, -1.0), [0, -2, 3.5, 2, -INF])
        np.testing.assert_array_equal(
            presence_penalty(scores, seen, 0.5), [-1.5, -2, 0, -0.5, -INF]
        )


LLAMA_CPP = [
    (temperature, 1.0, TENTHS, TENTHS),
    (temperature, 0.0, TENTHS, (0, 0, 0, 1)),
    (top_k, 1, TENTHS, (0, 0, 0, 1)),
    (top_k, 3, TENTHS, (0, 0.22222, 0.33333, 0.44444)),
    (top_k, 4, TENTHS, TENTHS),
    (top_p, 0.7, TENTHS, (0, 0, 0.428571, 0.571429)),
    (top_p, 0.8, TENTHS, (0, 0.22222, 0.33333, 0.44444)),
    (top_p, 1.0, TENTHS, TENTHS),
    (min_p, 0.24, TENTHS, TENTHS),
    (min_p, 0.26, TENTHS, (0, 0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9)),
    (min_p, 0.49, TENTHS, (0, 0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9)),
    (min_p, 0.51, TENTHS, (0, 0, 0.3 / 0.7, 0.4 / 0.7)),
    (min_p, 0.74, TENTHS, (0, 0, 0.3 / 0.7, 0.4 / 0.7)),
    (min_p, 0.76, TENTHS, (0, 0, 0, 1)),
    (min_p, 1.0, TENTHS, (0, 0, 0, 1)),
    (typical_p, 0.5, SHARP, (1, 0, 0, 0)),
    (typical_p, 0.5, FLAT, (0, 1 / 3, 1 / 3, 1 / 3)),
]


QUARTERS = (0.25, 0.25, 0.25, 0.25)


QUEUES = [
    *(("k", 10000, 1, 1), ("k", 1, 1, 1), ("k", 100, 1, 1), ("p", 1, 1, 1), ("m", 1, 1, 1)),
    *(("p", 1, "0.0003", 1), ("p", 1, "0.8", 1), ("m", 1, 1, "1e-12"), ("m", 1, 1, "0.1")),
    ("m", 1, 1, "9997.9/9999"),
    *((order, 100, "0.8", "0.1") for order in ("kp", "km", "pk", "pm", "mk", "mp")),
    *((order, 100, "0.8", "0.1") for order in ("kpm", "kmp", "pkm", "pmk", "mkp", "mpk")),
    ("mp", 100, "0.8", "9997.9/9999"),
]


def fraction(number):
    parts = [Fraction(part) for part in str(number).split("/")]
    return parts[0] / (parts[1] if len(parts) > 1 else 1)


def sums_from(first, end):
    return (end - first) * (first + end - 1) // 2


class TestVectorsOfLlamaCpp:
    """The vectors of llama.cpp's tests/test-sampling.cpp that lie within our ranges."""

    @pytest.mark.parametrize(("function", "value", "probabilities", "expected"), LLAMA_CPP)
    def test_cut_offs_give_the_numbers_of_llama_cpp(self, function, value, probabilities, expected):
        found = naive.softmax(function(logs(probabilities), value))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(
        ("past", "expected"),
        [
            ([0], (0, 0.25, 0.25, 0.25, 0.25)),
            ([0, 1, 2], (0, 0, 0, 0.5, 0.5)),
            ([0, 1, 2, 0, 0], (0, 0, 0, 0.5, 0.5)),
        ],
    )
    def test_a_repetition_penalty_of_50_gives_the_numbers_of_llama_cpp(self, past, expected):
        found = naive.softmax(repetition_penalty(logs(FIFTHS), counts(past, 5), 50.0))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(
        ("past", "expected"),
        [
            ([0], (0.000011, 0.249997, 0.249997, 0.249997, 0.249997)),
            ([0, 1, 2], (0.000023, 0.000023, 0.000023, 0.499966, 0.499966)),
            ([0, 1, 2, 0, 0], (0.000000, 0.000023, 0.000023, 0.499977, 0.499977)),
        ],
    )
    def test_a_frequency_penalty_of_10_gives_the_numbers_of_llama_cpp(self, past, expected):
        """There 5 for each time and 5 for presence, which is 10 for what stands once."""
        found = naive.softmax(frequency_penalty(logs(FIFTHS), counts(past, 5), 10.0))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(
        ("probabilities", "past", "multiplier", "allowed", "expected"),
        [
            (QUARTERS, [0, 1], 1.0, 2, QUARTERS),
            (QUARTERS, [0, 1, 2, 0, 1], 1.0, 2, (0.296923, 0.296923, 0.109232, 0.296923)),
            (FIFTHS, [0, 1, 2, 0, 1], 2.0, 2, (0.241818, 0.241818, 0.032727, 0.241818, 0.241818)),
            (FIFTHS, [0, 1, 2, 3, 4, 0, 1], 1.0, 4, FIFTHS),
        ],
    )
    def test_dry_gives_the_numbers_of_llama_cpp(
        self, probabilities, past, multiplier, allowed, expected
    ):
        found = naive.softmax(
            dry(logs([probabilities]), np.array([past]), multiplier, 1.1, allowed)
        )
        np.testing.assert_allclose(found, [expected], rtol=0, atol=1e-5)

    @pytest.mark.parametrize(("order", "k", "p", "m"), QUEUES)
    def test_cut_offs_in_any_order_keep_what_whole_numbers_say(self, order, k, p, m):
        """As in llama.cpp's queue of samplers: id i of 10,000 has the weight i."""
        size, lowest = 10000, 1
        p, m = fraction(p), fraction(m)
        found = logs(range(size))
        for letter in order:
            if letter == "k":
                found = top_k(found, k)
                lowest = max(lowest, size - k)
            elif letter == "p":
                found = top_p(found, float(p))
                total = sum(range(lowest, size))
                lowest = max(i for i in range(lowest, size) if sums_from(i, size) >= p * total)
            else:
                found = min_p(found, float(m))
                lowest = max(lowest, math.ceil(m * (size - 1)))
        assert ids_kept(found) == list(range(lowest, size))


class TestEquals:
    """Equals."""

    @pytest.mark.parametrize("k", [1, 2, 3, 4])
    def test_top_k_keeps_exactly_k_of_equals_the_lowest_ids(self, k):
        scores = np.array([-1.0, 2.0, 2.0, 2.0, -3.0, 2.0])
        assert ids_kept(top_k(scores, k)) == [1, 2, 3, 5][:k]

    def test_lowest_ids_win_among_many_equals(self):
        """Sorting in numpy keeps the order of a few equals by itself, but not of many."""
        scores = np.tile([0.0, 1.0], 500)
        assert ids_kept(top_k(scores, 300)) == list(range(1, 600, 2))
        share = 300 * np.e / (500 * (1 + np.e))
        assert ids_kept(top_p(scores, share)) == list(range(1, 600, 2))
        assert ids_kept(typical_p(scores, share)) == list(range(1, 600, 2))

    @pytest.mark.parametrize("function", [top_p, typical_p])
    @pytest.mark.parametrize("count", range(1, 10))
    def test_of_ten_equals_as_many_tenths_are_kept(self, function, count):
        assert ids_kept(function(np.zeros(10), count / 10)) == list(range(count))

    def test_temperature_zero_takes_the_lowest_id_of_the_largest(self):
        assert ids_kept(temperature(np.array([0.0, 5.0, 1.0, 5.0]), 0.0)) == [1]

    @pytest.mark.parametrize(
        ("function", "value"),
        [(min_p, 1.0), (epsilon_cutoff, 0.9), (eta_cutoff, 0.99), (surprise_limit, np.array(0.1))],
    )
    def test_limits_keep_all_equals_of_the_likeliest(self, function, value):
        assert ids_kept(function(np.array([3.0, 1.0, 3.0, -INF]), value)) == [0, 2]


some = st.one_of(
    st.sampled_from([-1e4, -3.0, -1.0, 0.0, 0.5, 2.0, 1e4]),  # makes equals, and underflow
    st.floats(-50, 50).map(lambda score: round(score, 6)),  # equal, or apart by more than rounding
)


rows = st.lists(st.one_of(some, st.just(-INF)), min_size=1, max_size=9).filter(
    lambda row: max(row) > -INF
)


shares = st.floats(1e-3, 1)


limits = st.floats(1e-3, 0.999)


def plain_softmax(row):
    weights = [math.exp(score - max(row)) for score in row]
    return [weight / math.fsum(weights) for weight in weights]


def plain_entropy(row):
    return -math.fsum(p * math.log(p) for p in plain_softmax(row) if p > 0)


def plain_fewest(row, order, p):
    chances, held, keep, margin = plain_softmax(row), 0.0, set(), INF
    for one in order:
        margin = min(margin, abs(held - p))
        if held < p:
            keep.add(one)
        held += chances[one]
    return keep, margin


def plain_top_k(row, k):
    return set(sorted(range(len(row)), key=lambda one: (-row[one], one))[:k]), INF


def plain_top_p(row, p):
    return plain_fewest(row, sorted(range(len(row)), key=lambda one: (-row[one], one)), p)


def plain_min_p(row, p):
    ratios = [math.exp(score - max(row)) for score in row]
    margin = min(abs(ratio - p) for ratio in ratios) if p < 1 else INF
    return {one for one, ratio in enumerate(ratios) if ratio >= p}, margin


def plain_typical_p(row, p):
    mean, total = plain_entropy(row), max(row)
    total += math.log(math.fsum(math.exp(score - max(row)) for score in row))
    distance = {score: abs(total - score - mean) for score in row}
    order = sorted(range(len(row)), key=lambda one: (distance[row[one]], one))
    keep, margin = plain_fewest(row, order, p)
    apart = sorted(distance.values())
    return keep, min([margin, *(y - x for x, y in pairwise(apart))])


def plain_at_least(row, limit):
    chances = plain_softmax(row)
    keep = {one for one, p in enumerate(chances) if p >= limit or row[one] == max(row)}
    return keep, min(abs(p - limit) for p in chances)


def plain_epsilon_cutoff(row, epsilon):
    return plain_at_least(row, epsilon)


def plain_eta_cutoff(row, epsilon):
    return plain_at_least(row, min(epsilon, math.sqrt(epsilon) * math.exp(-plain_entropy(row))))


def plain_surprise_limit(row, mu):
    return plain_at_least(row, 2.0 ** -float(mu))


def assert_as_plain_loops(function, keep, row, value):
    expected = [score if one in keep else -INF for one, score in enumerate(row)]
    np.testing.assert_array_equal(function(np.array(row), value), expected)


class TestPlainLoops:
    """The ids that plain loops keep, where no decision was near to its boundary."""

    @pytest.mark.parametrize(
        ("function", "plain", "values"),
        [
            (top_k, plain_top_k, st.integers(1, 12)),
            (top_p, plain_top_p, shares),
            (min_p, plain_min_p, shares),
            (typical_p, plain_typical_p, shares),
            (epsilon_cutoff, plain_epsilon_cutoff, limits),
            (eta_cutoff, plain_eta_cutoff, limits),
            (surprise_limit, plain_surprise_limit, st.floats(-2, 12).map(np.array)),
        ],
    )
    @given(data=st.data())
    def test_cut_offs_keep_what_plain_loops_keep(self, function, plain, values, data):
        row, value = data.draw(rows), data.draw(values)
        keep, margin = plain(row, value)
        assume(margin > MARGIN)
        assert_as_plain_loops(function, keep, row, value)

    @pytest.mark.parametrize(
        ("function", "plain", "value"),
        [
            (lambda row, k: top_k(row, int(k) + 1), plain_top_k, 2),
            (lambda row, p: top_p(row, 0.98 * p), plain_top_p, 0.405),
            (lambda row, p: min_p(row, 1.02 * p), plain_min_p, 0.495),
            (top_p, plain_typical_p, 0.25),
            (epsilon_cutoff, plain_eta_cutoff, 0.25),
            (eta_cutoff, plain_epsilon_cutoff, 0.25),
            (lambda row, mu: surprise_limit(row, mu * np.log(2)), plain_surprise_limit, 2.0),
        ],
    )
    def test_a_cut_off_that_is_slightly_wrong_is_noticed(self, function, plain, value):
        row = logs(TENTHS).tolist()
        keep, margin = plain(row, value)
        assert margin > MARGIN
        with pytest.raises(AssertionError):
            assert_as_plain_loops(function, keep, row, np.float64(value))

    @given(rows, st.sampled_from([1e-300, 0.1, 0.7, 1.0, 1.5, 1e300]))
    def test_temperature_divides_scores(self, row, value):
        largest = max(row)
        with np.errstate(over="ignore"):
            expected = [float(np.float64(score - largest) / value) for score in row]
        np.testing.assert_array_equal(temperature(np.array(row), value), expected)

    @given(rows)
    def test_entropy_is_that_of_a_plain_loop(self, row):
        found = entropy(log_softmax(np.array(row)))
        assert found.shape == (1,)
        np.testing.assert_allclose(found, plain_entropy(row), rtol=1e-9, atol=1e-12)


pasts = st.builds(
    lambda nothing, ids: [NOTHING] * nothing + ids,
    st.integers(0, 4),
    st.lists(st.integers(0, 2), max_size=16),
).filter(bool)


def plain_repeat_lengths(ids):
    lengths = []
    for place in range(len(ids)):
        length = 0
        while (
            length < min(place, LONGEST_REPEAT)
            and ids[place - 1 - length] == ids[len(ids) - 1 - length] != NOTHING
        ):
            length += 1
        lengths.append(length)
    return lengths


def plain_dry(row, ids, multiplier, base, allowed):
    lengths = plain_repeat_lengths(ids)
    penalised = list(row)
    for char in range(len(row)):
        spans = [n for n, one in zip(lengths, ids, strict=True) if one == char and n >= allowed]
        if spans:
            penalised[char] -= multiplier * base ** (max(spans) - allowed)
    return penalised


def plain_no_repeat_ngram(row, ids, size):
    barred = set()
    for begin in range(len(ids) - size + 1):
        span = ids[begin : begin + size]
        if NOTHING not in span and span[:-1] == ids[len(ids) - size + 1 :]:
            barred.add(span[-1])
    left = [-INF if one in barred else score for one, score in enumerate(row)]
    if max(left) == -INF:
        left[row.index(max(row))] = max(row)
    return left


class TestLookingBack:
    """Looking back."""

    @pytest.mark.parametrize(
        ("ids", "expected"),
        [
            ([0], [0]),
            ([0, 1], [0, 0]),
            ([0, 1, 2, 0, 1], [0, 0, 2, 0, 0]),
            ([1, 1, 1, 1], [0, 1, 2, 3]),
            ([0, 1, 0, 1, 0], [0, 1, 0, 3, 0]),
            ([NOTHING, NOTHING, 1, 1], [0, 0, 0, 1]),
            ([NOTHING, 1, NOTHING], [0, 0, 0]),
            ([NOTHING, NOTHING], [0, 0]),
            ([], []),
        ],
    )
    def test_repeats_by_hand(self, ids, expected):
        assert repeat_lengths(np.array(ids, dtype=np.int64)).tolist() == expected

    @given(pasts)
    def test_repeats_are_as_long_as_plain_loops_say(self, ids):
        assert repeat_lengths(np.array(ids)).tolist() == plain_repeat_lengths(ids)

    @pytest.mark.parametrize("size", [60, 63, 64, 65, 66, 67, 130, 200])
    def test_a_repeat_is_followed_for_64_characters_and_no_more(self, size):
        lengths = repeat_lengths(np.zeros(size, dtype=np.int64))
        assert lengths.tolist() == [min(place, 64) for place in range(size)]
        halves = np.tile(np.arange(size // 2), 2)
        assert repeat_lengths(halves).max() == min(size // 2, 64)

    @given(
        st.lists(some, min_size=3, max_size=3),
        pasts,
        st.sampled_from([0.0, 0.5, 2.0, 100.0]),
        st.sampled_from([1, 1.0, 1.75, 16]),
        st.integers(1, 5),
    )
    def test_dry_takes_off_what_plain_loops_say(self, row, ids, multiplier, base, allowed):
        found = dry(np.array([row]), np.array([ids]), multiplier, base, allowed)
        expected = [plain_dry(row, ids, multiplier, base, allowed)]
        np.testing.assert_allclose(found, expected, rtol=1e-12)

    def test_of_several_repeats_before_a_character_the_longest_counts(self):
        """The 2 follows 0 1, as the text ends, and later on 1 alone."""
        ids = np.array([[0, 1, 2, 1, 2, 0, 1]])
        assert dry(np.zeros((1, 4)), ids, 1.0, 3.0, 1).tolist() == [[0, 0, -3, 0]]
        assert dry(np.zeros((1, 4)), ids, 1.0, 3.0, 2).tolist() == [[0, 0, -1, 0]]
        assert dry(np.zeros((1, 4)), ids, 1.0, 3.0, 3).tolist() == [[0, 0, 0, 0]]

    def test_each_row_is_penalised_and_barred_for_its_own_past(self):
        ids_BL = np.array([[0, 1, 0], [1, 2, 1], [NOTHING, 2, 2]])
        scores = np.full((3, 4), -1.0)
        assert (dry(scores, ids_BL, 1.0, 1.0, 1) + 1).tolist() == [
            [0, -1, 0, 0],
            [0, 0, -1, 0],
            [0, 0, -1, 0],
        ]
        barred = no_repeat_ngram(scores, ids_BL, 2) == -INF
        assert [np.flatnonzero(row).tolist() for row in barred] == [[1], [2], [2]]

    def test_dry_grows_with_the_repeat_until_64_characters(self):
        def penalty(repeats):
            ids = np.array([[0] * (repeats + 1)])
            return -dry(np.zeros((1, 2)), ids, 0.5, 2.0, 3)[0].min()

        assert [penalty(n) for n in range(6)] == [0, 0, 0, 0.5, 1, 2]
        assert penalty(64) == penalty(65) == penalty(500) == 0.5 * 2.0**61
        assert penalty(63) == 0.5 * 2.0**60

    def test_the_largest_penalty_of_all_is_finite(self):
        penalised = dry(np.zeros((1, 2)), np.zeros((1, 300), dtype=np.int64), 100.0, 16.0, 1)
        assert np.isfinite(penalised).all()
        assert naive.softmax(penalised).tolist() == [[0, 1]]

    @given(
        st.lists(st.one_of(some, st.just(-INF)), min_size=3, max_size=3), pasts, st.integers(1, 6)
    )
    def test_no_repeat_ngram_bars_what_plain_loops_bar(self, row, ids, size):
        assume(max(row) > -INF)
        found = no_repeat_ngram(np.array([row]), np.array([ids]), size)
        np.testing.assert_array_equal(found, [plain_no_repeat_ngram(row, ids, size)])

    @pytest.mark.parametrize(
        ("ids", "size", "left"),
        [
            ([0, 1, 2, 0], 1, [3]),
            ([0, 1, 2, 0], 2, [0, 2, 3]),
            ([0, 1, 2, 0], 3, [0, 1, 2, 3]),
            ([0, 0, 0], 2, [1, 2, 3]),
            ([0, 0], 3, [0, 1, 2, 3]),
            ([0, 0, 0], 3, [1, 2, 3]),
            ([NOTHING, 0, NOTHING], 2, [0, 1, 2, 3]),
            ([NOTHING, NOTHING, 2], 1, [0, 1, 3]),
            ([NOTHING, NOTHING, NOTHING], 1, [0, 1, 2, 3]),
            ([0, 1, 0, 2, 0, 3, 0, 0], 2, [0]),
        ],
    )
    def test_spans_that_may_not_come_again_by_hand(self, ids, size, left):
        found = no_repeat_ngram(np.array([[-1.0, -4.0, -2.0, -3.0]]), np.array([ids]), size)
        assert ids_kept(found[0]) == left

    def test_the_likeliest_that_is_left_stays_where_every_span_was_there_already(self):
        scores = np.array([[-1.0, -INF, -0.5, -0.5], [-INF, -INF, -INF, -7.0]])
        found = no_repeat_ngram(scores, np.array([[0, 1, 2, 3]] * 2), 1)
        np.testing.assert_array_equal(found, [[-INF, -INF, -0.5, -INF], [-INF, -INF, -INF, -7]])


CALLS = {
    "bias": lambda x, s: bias(x, s.bias_V),
    "repetition_penalty": lambda x, s: repetition_penalty(x, s.counts_BV, s.penalty),
    "frequency_penalty": lambda x, s: frequency_penalty(x, s.counts_BV, s.penalty),
    "presence_penalty": lambda x, s: presence_penalty(x, s.counts_BV, s.penalty),
    "dry": lambda x, s: dry(x, s.ids_BL, s.penalty, 1.5, 1),
    "no_repeat_ngram": lambda x, s: no_repeat_ngram(x, s.ids_BL, s.size),
    "temperature": lambda x, s: temperature(x, s.temperature),
    "top_k": lambda x, s: top_k(x, s.size),
    "top_p": lambda x, s: top_p(x, s.p),
    "min_p": lambda x, s: min_p(x, s.p),
    "typical_p": lambda x, s: typical_p(x, s.p),
    "epsilon_cutoff": lambda x, s: epsilon_cutoff(x, s.limit),
    "eta_cutoff": lambda x, s: eta_cutoff(x, s.limit),
    "surprise_limit": lambda x, s: surprise_limit(x, s.mu_B),
}


CUT_OFFS = [*CALLS][7:]


NOT_OF_RANK = {"typical_p", "no_repeat_ngram"}  # may leave out the likeliest


@st.composite
def settings(draw):
    """Scores (B, V), and everything that filters take beside them."""
    count, vocab = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    scores = st.lists(st.one_of(some, st.just(-INF)), min_size=vocab, max_size=vocab)
    logits_BV = np.array([draw(scores.filter(lambda row: max(row) > -INF)) for _ in range(count)])
    length = draw(st.integers(1, 10))
    few = st.integers(0, min(vocab, 3) - 1)  # so that spans come again
    past = st.lists(few, min_size=length, max_size=length)
    ids_BL = np.array([draw(past) for _ in range(count)])
    for row in ids_BL:
        row[: draw(st.integers(0, length))] = NOTHING
    known = [row[row != NOTHING] for row in ids_BL]
    return SimpleNamespace(
        logits_BV=logits_BV,
        ids_BL=ids_BL,
        counts_BV=np.array([np.bincount(row, minlength=vocab) for row in known]),
        bias_V=np.array(draw(st.lists(some, min_size=vocab, max_size=vocab))),
        mu_B=np.array(draw(st.lists(st.floats(-2, 12), min_size=count, max_size=count))),
        penalty=draw(st.sampled_from([0.3, 1.0, 1.5, 20.0])),
        size=draw(st.integers(1, 12)),
        temperature=draw(st.sampled_from([0.0, 1e-300, 0.3, 1.0, 2.0, 1e300])),
        p=draw(shares),
        limit=draw(limits),
    )


def row_of(s, row):
    """The settings of one row alone."""
    parts = {name: value[row : row + 1] for name, value in vars(s).items() if name[-2:] in ROWS}
    return SimpleNamespace(**{**vars(s), **parts})


ROWS = ("BV", "BL", "_B")  # how the names of arrays end that have a row for each text


class TestAllScores:
    """What holds for every filter and all scores."""

    def test_no_filter_is_forgotten_here(self):
        public = {name for name, one in vars(filters).items() if callable(one) and name[0] != "_"}
        others = {"Any", "log_softmax", "repeat_lengths", "entropy", "History"}
        assert public - others == set(CALLS)

    @given(settings())
    def test_some_character_survives_and_nothing_comes_back(self, s):
        for name, call in CALLS.items():
            found = call(s.logits_BV, s)
            assert found.dtype == np.float64, name
            assert not np.isnan(found).any(), name
            assert kept(found).any(1).all(), name
            assert not kept(found)[~kept(s.logits_BV)].any(), name

    @given(settings())
    def test_the_likeliest_survives_every_cut_off_by_rank(self, s):
        likeliest = s.logits_BV.argmax(1)[:, None]
        for name in {"temperature", *CUT_OFFS} - NOT_OF_RANK:
            found = CALLS[name](s.logits_BV, s)
            assert kept(np.take_along_axis(found, likeliest, 1)).all(), name

    @given(settings())
    def test_a_cut_off_leaves_the_scores_that_it_keeps_as_they_are(self, s):
        for name in ("no_repeat_ngram", *CUT_OFFS):
            found = CALLS[name](s.logits_BV, s)
            assert np.array_equal(found[kept(found)], s.logits_BV[kept(found)]), name

    @given(settings())
    def test_probabilities_are_numbers_that_sum_to_one(self, s):
        for name, call in CALLS.items():
            chances = naive.softmax(call(s.logits_BV, s))
            assert (chances >= 0).all(), name
            np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-12, err_msg=name)

    @given(settings())
    def test_no_input_is_modified_or_handed_back(self, s):
        arrays = [one for one in vars(s).values() if isinstance(one, np.ndarray)]
        before = [one.copy() for one in arrays]
        for one in arrays:
            one.flags.writeable = False
        for name, call in CALLS.items():
            found = call(s.logits_BV, s)
            assert not any(np.shares_memory(found, one) for one in arrays), name
        assert all(np.array_equal(*pair) for pair in zip(arrays, before, strict=True))

    @given(settings())
    def test_rows_are_filtered_one_by_one(self, s):
        for name, call in CALLS.items():
            together = call(s.logits_BV, s)
            for row in range(len(together)):
                one = row_of(s, row)
                assert np.array_equal(call(one.logits_BV, one), together[row : row + 1]), name

    @given(settings())
    def test_layout_in_memory_does_not_matter(self, s):
        spread = SimpleNamespace(**vars(s))
        turned = SimpleNamespace(**vars(s))
        for name, value in vars(s).items():
            if name[-2:] in ROWS:
                wide = np.empty((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)
                wide[..., ::2] = value
                setattr(spread, name, wide[..., ::2])
                setattr(turned, name, np.asfortranarray(value))
        for name, call in CALLS.items():
            expected = call(s.logits_BV, s)
            assert np.array_equal(call(spread.logits_BV, spread), expected), name
            assert np.array_equal(call(turned.logits_BV, turned), expected), name

    @given(settings(), st.integers(-20, 20))
    def test_adding_a_constant_to_the_scores_changes_nothing(self, s, constant):
        scores = np.round(s.logits_BV * 8) / 8  # so that the addition is exact
        penalties = {"repetition_penalty", "frequency_penalty", "presence_penalty", "bias", "dry"}
        for name in CALLS.keys() - penalties:
            expected, found = CALLS[name](scores, s), CALLS[name](scores + constant, s)
            assert np.array_equal(kept(found), kept(expected)), name
            assert np.array_equal(naive.softmax(found), naive.softmax(expected)), name

    @given(settings(), st.randoms(use_true_random=False))
    def test_renaming_the_characters_renames_the_result(self, s, shuffler):
        order = list(range(s.logits_BV.shape[1]))
        logits_BV = (
            s.logits_BV + np.array(order) / 1000 / np.pi
        )  # no equals, whose order ids decide
        shuffler.shuffle(order)
        place = np.array([*np.argsort(order), NOTHING])  # the last one is the place of NOTHING
        renamed = SimpleNamespace(
            **{
                **vars(s),
                "ids_BL": place[s.ids_BL],
                "counts_BV": s.counts_BV[:, order],
                "bias_V": s.bias_V[order],
            }
        )
        for name, call in CALLS.items():
            expected = call(logits_BV, s)[:, order]
            found = call(logits_BV[:, order], renamed)
            np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=name)


class TestMoreAndLess:
    """More and less."""

    @given(settings(), st.integers(0, 3))
    def test_larger_k_keeps_more(self, s, more):
        fewer, wider = kept(top_k(s.logits_BV, s.size)), kept(top_k(s.logits_BV, s.size + more))
        assert (fewer <= wider).all()
        assert (fewer.sum(1) == np.minimum(s.size, kept(s.logits_BV).sum(1))).all()

    @given(settings(), limits, limits)
    def test_a_wider_limit_keeps_more(self, s, one, other):
        low, high = sorted((one, other))
        for function in (top_p, typical_p):
            assert (kept(function(s.logits_BV, low)) <= kept(function(s.logits_BV, high))).all()
        for function in (min_p, epsilon_cutoff, eta_cutoff):
            assert (kept(function(s.logits_BV, high)) <= kept(function(s.logits_BV, low))).all()
        narrow, wide = (surprise_limit(s.logits_BV, 9 * np.array([mu])) for mu in (low, high))
        assert (kept(narrow) <= kept(wide)).all()

    @given(settings())
    def test_values_that_say_nothing_change_no_score(self, s):
        x = s.logits_BV
        assert np.array_equal(bias(x, np.zeros(x.shape[1])), x)
        assert np.array_equal(repetition_penalty(x, s.counts_BV, 1.0), x)
        assert np.array_equal(frequency_penalty(x, s.counts_BV, 0.0), x)
        assert np.array_equal(presence_penalty(x, s.counts_BV, 0.0), x)
        assert np.array_equal(dry(x, s.ids_BL, 0.0, 1.75, 1), x)
        assert np.array_equal(no_repeat_ngram(x, s.ids_BL, s.ids_BL.shape[1] + 1), x)
        assert np.array_equal(top_k(x, x.shape[1]), x)
        assert np.array_equal(naive.softmax(temperature(x, 1.0)), naive.softmax(x))

    def test_temperature_one_only_shifts(self):
        scores = logs(TENTHS)
        np.testing.assert_allclose(temperature(scores, 1.0), scores - scores[3], rtol=0, atol=1e-15)

    @given(settings())
    def test_temperature_orders_as_the_scores_do(self, s):
        cold, hot = temperature(s.logits_BV, 0.3), temperature(s.logits_BV, 3.0)
        assert np.array_equal(np.argsort(cold, kind="stable"), np.argsort(hot, kind="stable"))

    def test_rows_full_of_minus_infinity_keep_their_one_candidate(self):
        scores = np.full((2, 50), -INF)
        scores[0, 7], scores[1, 0] = -1e30, 1e30
        past = np.array([[7, 7, 7], [0, 0, 0]])
        s = SimpleNamespace(
            bias_V=np.full(50, -3.0),
            ids_BL=past,
            counts_BV=np.array([counts(row, 50) for row in past]),
            mu_B=np.array([0.5, -1.0]),
            **{"penalty": 2.0, "size": 1, "temperature": 0.7, "p": 0.1, "limit": 0.5},
        )
        for call in CALLS.values():
            found = call(scores, s)
            assert [ids_kept(row) for row in found] == [[7], [0]]
            assert naive.softmax(found).sum(1).tolist() == [1, 1]


FEW_IDS = 5


@st.composite
def stories(draw, most=40):
    """What stands in the rows to begin with, what is added to them, and the size kept."""
    rows = draw(st.integers(1, 3))
    ids = st.lists(st.integers(0, FEW_IDS - 1), min_size=rows, max_size=rows)
    before = draw(st.lists(ids, max_size=12))
    added = draw(st.lists(ids, max_size=most))
    missing = draw(st.lists(st.integers(0, len(before)), min_size=rows, max_size=rows))
    start_BL = np.array(before, dtype=np.int64).reshape(len(before), rows).T.copy()
    for row, count in enumerate(missing):
        start_BL[row, :count] = NOTHING
    return start_BL, added, draw(st.integers(1, 9))


def latest(columns, size):
    """The last columns as rows of exactly `size` ids, filled up from the left."""
    rows = [list(row) for row in zip(*columns, strict=True)]
    return [([NOTHING] * size + row)[-size:] for row in rows]


def recount(rows):
    return [[row.count(one) for one in range(FEW_IDS)] for row in rows]


def assert_views_stay(start_BL, added, size):
    history = History(start_BL, size, FEW_IDS)
    views, copies = [history.ids_BL], [history.ids_BL.copy()]
    for ids in added:
        history.add(np.array(ids))
        views.append(history.ids_BL)
        copies.append(history.ids_BL.copy())
    assert all(np.array_equal(*pair) for pair in zip(views, copies, strict=True))


class TestHistory:
    """The latest ids."""

    @given(stories())
    def test_the_latest_ids_and_their_counts_are_those_of_a_plain_list(self, story):
        start_BL, added, size = story
        history = History(start_BL, size, FEW_IDS)
        columns = start_BL.T.tolist()
        if not columns:
            columns = [[NOTHING] * len(start_BL)]
        for ids in [None, *added]:
            if ids is not None:
                history.add(np.array(ids))
                columns.append(ids)
            expected = latest(columns, size)
            assert history.ids_BL.tolist() == expected
            assert history.counts_BV.tolist() == recount(expected)

    @given(stories())
    def test_views_stay_what_they_are_while_ids_are_added(self, story):
        assert_views_stay(*story)

    @given(stories())
    def test_the_array_to_begin_with_is_neither_changed_nor_looked_at_again(self, story):
        start_BL, added, size = story
        before = start_BL.copy()
        history, other = History(start_BL, size, FEW_IDS), History(before, size, FEW_IDS)
        for ids in added:
            history.add(np.array(ids))
        assert np.array_equal(start_BL, before)
        before[:] = 3
        for ids in added:
            other.add(np.array(ids))
        assert np.array_equal(history.ids_BL, other.ids_BL)

    @given(stories(), st.integers(0, 30))
    def test_a_history_goes_on_from_the_ids_of_another(self, story, more):
        start_BL, added, size = story
        once = History(start_BL, size, FEW_IDS)
        for ids in added:
            once.add(np.array(ids))
        again = History(once.ids_BL, size, FEW_IDS)
        for number in range(more):
            ids = np.full(len(start_BL), number % FEW_IDS)
            once.add(ids)
            again.add(ids)
        assert np.array_equal(once.ids_BL, again.ids_BL)
        assert np.array_equal(once.counts_BV, again.counts_BV)

    @given(stories())
    def test_ids_are_kept_where_nobody_counts_them(self, story):
        start_BL, added, size = story
        counted, not_counted = (History(start_BL, size, FEW_IDS, one) for one in (True, False))
        for ids in added:
            counted.add(np.array(ids))
            not_counted.add(np.array(ids))
        assert np.array_equal(counted.ids_BL, not_counted.ids_BL)

    def test_a_row_that_has_read_nothing_has_no_ids_and_no_counts(self):
        history = History(np.empty((2, 0), dtype=np.int64), 3, FEW_IDS)
        assert history.ids_BL.tolist() == [[NOTHING] * 3] * 2
        assert not history.counts_BV.any()

    def test_a_look_back_of_one_holds_the_newest_alone(self):
        history = History(np.array([[0, 1, 2]]), 1, FEW_IDS)
        seen = [history.ids_BL.tolist()]
        for one in (3, 3, 4):
            history.add(np.array([one]))
            seen.append(history.ids_BL.tolist())
        assert seen == [[[2]], [[3]], [[3]], [[4]]]
        assert history.counts_BV.tolist() == [[0, 0, 0, 0, 1]]

    @pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
    def test_ids_of_any_integer_type_are_added(self, dtype):
        history = History(np.array([[4, 200]], dtype=dtype), 3, 256)
        history.add(np.array([7], dtype=dtype))
        assert history.ids_BL.tolist() == [[4, 200, 7]]
        assert np.flatnonzero(history.counts_BV[0]).tolist() == [4, 7, 200]

    def test_memory_does_not_grow_with_the_text(self):
        def held(history):
            arrays = [one for one in vars(history).values() if isinstance(one, np.ndarray)]
            roots = [one if one.base is None else one.base for one in arrays]
            return sum({id(root): root.nbytes for root in roots}.values())

        history = History(np.array([[0], [1]]), 16, FEW_IDS)
        before = held(history)
        for number in range(2000):
            history.add(np.array([number % FEW_IDS, 0]))
            assert held(history) == before
        assert before <= 8 * 2 * (2 * 16 + FEW_IDS + 2)
        assert history.counts_BV.sum(1).tolist() == [16, 16]
