"""The table of filters: what switches each on, what it is given, and in which order they stand."""

import dataclasses
import inspect
import math
import sys

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.config.fields import option_name
from textgen.config.notations import parse_bias
from textgen.config.sample import CUT_OPTIONS, REPETITION_OPTIONS, SampleConfig
from textgen.errors import UsageError
from textgen.sampling import filters
from textgen.sampling.chain import (
    FILTERS,
    Context,
    apply_filters,
    select_filters,
    temperature_at,
)
from textgen.sampling.filters import NOTHING, History

INF = np.inf
OFF = SampleConfig(temperature=1.0)
FIELDS = {field.name: field for field in dataclasses.fields(SampleConfig)}
BY_OPTION = {one.option: one for one in FILTERS}
ORDER = [
    *("bias", "repetition_penalty", "frequency_penalty", "presence_penalty"),
    *("dry_multiplier", "no_repeat_ngram"),
    *("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    "mirostat",
]
ON = {
    "bias": ("a-c:2",),
    "repetition_penalty": 1.5,
    "frequency_penalty": 0.7,
    "presence_penalty": 0.6,
    "dry_multiplier": 0.8,
    "no_repeat_ngram": 2,
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.6,
    "min_p": 0.3,
    "typical_p": 0.5,
    "epsilon_cutoff": 0.15,
    "eta_cutoff": 0.3,
    "mirostat": 1.0,
}
HEADINGS = (CUT_OPTIONS, REPETITION_OPTIONS)  # under which most of them stand
ELSEWHERE = {"look_back", "novel", "novel_text", "mirostat", "mirostat_rate"}  # put to use


def context(ids_BL=((0, 1, 0),), vocab=4, progress=0.0, mu=2.0, bias_V=None):
    ids_BL = np.array(ids_BL)
    history = History(ids_BL, ids_BL.shape[1], vocab)
    bias_V = np.linspace(-1, 1, vocab) if bias_V is None else np.array(bias_V)
    return Context(bias_V, history, np.full(len(ids_BL), mu), progress)


def switched_on(**options):
    """The filters of a config in which only these options are set."""
    return select_filters(SampleConfig(**{"temperature": 1.0, **options}))


# The table


def test_the_order_is_that_of_the_documentation():
    assert [one.option for one in FILTERS] == ORDER


def test_every_filter_is_switched_on_by_a_field_of_its_own():
    assert len(BY_OPTION) == len(FILTERS)
    assert set(BY_OPTION) <= set(FIELDS)


def test_every_function_of_filters_has_its_place():
    taken = {one.function.__name__ for one in FILTERS}
    shaping = {
        name
        for name, one in vars(filters).items()
        if inspect.isfunction(one)
        and one.__module__ == filters.__name__
        and next(iter(inspect.signature(one).parameters)).startswith("logits")
    }
    assert taken == {name for name in shaping if name[0] != "_"}


def test_every_option_under_the_headings_of_filters_is_used_by_one():
    """One that no filter is given would be read and then forgotten."""

    class Recorder:
        def __getattr__(self, name):
            used.add(name)
            return getattr(OFF, name)

    used = set()
    for one in FILTERS:
        one.arguments(Recorder(), context())
    shown = {name for name, field in FIELDS.items() if field.metadata.get("group") in HEADINGS}
    assert shown - ELSEWHERE <= used


@pytest.mark.parametrize("one", FILTERS, ids=ORDER)
def test_every_filter_has_a_docstring_for_the_table(one):
    assert one.function.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize("option", ORDER)
def test_each_filter_asks_for_counts_only_if_it_reads_them(option):
    """So that nobody counts, character by character, what no filter reads."""

    class Looking:
        ids_BL = np.zeros((1, 1), dtype=np.int64)

        @property
        def counts_BV(self):
            read.append(True)

    read = []
    past = Context(np.zeros(2), Looking(), np.zeros(1))
    BY_OPTION[option].arguments(SampleConfig(**{option: ON[option]}), past)
    assert bool(read) == BY_OPTION[option].counts


@pytest.mark.parametrize("option", ORDER)
def test_a_beam_search_takes_those_filters_that_it_does_not_exclude(option):
    """It has no use for what makes a draw more or less surprising."""
    try:
        SampleConfig(**{option: ON[option], "beams": 2})
    except UsageError as error:
        assert error.subject == "--beams"
        assert not BY_OPTION[option].shapes
    else:
        assert BY_OPTION[option].shapes


# What is switched on


def test_a_config_that_sets_nothing_switches_nothing_on():
    assert switched_on() == ()
    assert [one.option for one in select_filters(SampleConfig())] == ["temperature"]


@pytest.mark.parametrize("option", ORDER)
def test_an_option_switches_on_its_own_filter_alone(option):
    assert switched_on(**{option: ON[option]}) == (BY_OPTION[option],)


@given(st.sets(st.sampled_from([one for one in ORDER if one != "mirostat"])))
def test_exactly_what_is_switched_on_is_applied_and_in_order(options):
    steps = switched_on(**{option: ON[option] for option in options})
    assert [one.option for one in steps] == [one for one in ORDER if one in options]


@pytest.mark.parametrize("one", FILTERS, ids=ORDER)
def test_the_neutral_value_switches_a_filter_off(one):
    assert one not in switched_on(**{one.option: one.neutral})


@pytest.mark.parametrize("one", FILTERS, ids=ORDER)
def test_what_no_option_sets_is_off_except_for_the_temperature(one):
    default = FIELDS[one.option].default
    assert default in (None, one.neutral) or one.option == "temperature"


@pytest.mark.parametrize("value", [(1.0, 1.0), (1.0, 0.5), (0.0, 1.0)])
def test_a_schedule_of_temperatures_is_never_off(value):
    assert switched_on(temperature=value) == (BY_OPTION["temperature"],)


scores = st.one_of(
    st.sampled_from([-1e4, -3.0, -1.0, 0.0, 0.5, 2.0, 1e4]), st.floats(-50, 50), st.just(-INF)
)


@st.composite
def situations(draw):
    """Scores (B, V) and what filters know beside them."""
    rows, vocab = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    row = st.lists(scores, min_size=vocab, max_size=vocab).filter(lambda row: max(row) > -INF)
    length = draw(st.integers(1, 8))
    ids = st.lists(st.integers(0, min(vocab, 3) - 1), min_size=length, max_size=length)
    ids_BL = np.array([draw(ids) for _ in range(rows)])
    for ids in ids_BL:
        ids[: draw(st.integers(0, length))] = NOTHING
    past = context(
        ids_BL=ids_BL,
        vocab=vocab,
        progress=draw(st.floats(0, 1)),
        mu=draw(st.floats(-1, 10)),
        bias_V=draw(st.lists(st.floats(-5, 5), min_size=vocab, max_size=vocab)),
    )
    return np.array([draw(row) for _ in range(rows)]), past


@given(situations())
def test_neutral_values_leave_the_scores_bit_for_bit(situation):
    logits_BV, past = situation
    neutral = {one.option: one.neutral for one in FILTERS if one.option != "mirostat"}
    for config in (OFF, SampleConfig(**neutral)):
        found = apply_filters(logits_BV, config, past, select_filters(config))
        assert found.tobytes() == logits_BV.tobytes()


# Applying them


def one_after_the_other(logits_BV, config, past):
    """The filters written out, in their order."""
    counts_BV, ids_BL = past.history.counts_BV, past.history.ids_BL
    first, last = np.broadcast_to(config.temperature, 2).tolist()
    found = logits_BV
    if config.bias:
        found = filters.bias(found, past.bias_V)
    if config.repetition_penalty != 1:
        found = filters.repetition_penalty(found, counts_BV, config.repetition_penalty)
    if config.frequency_penalty:
        found = filters.frequency_penalty(found, counts_BV, config.frequency_penalty)
    if config.presence_penalty:
        found = filters.presence_penalty(found, counts_BV, config.presence_penalty)
    if config.dry_multiplier:
        strength = config.dry_multiplier, config.dry_base
        found = filters.dry(found, ids_BL, *strength, config.dry_allowed_length)
    if config.no_repeat_ngram:
        found = filters.no_repeat_ngram(found, ids_BL, config.no_repeat_ngram)
    if (first, last) != (1, 1):
        value = first if first == last else first + (last - first) * past.progress
        found = filters.temperature(found, value)
    for name in ("top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"):
        if getattr(config, name) is not None:
            found = getattr(filters, name)(found, getattr(config, name))
    if config.mirostat:
        found = filters.surprise_limit(found, past.mu_B)
    return found


penalties = {
    "bias": st.just(("a:1",)),
    "repetition_penalty": st.floats(0.1, 5),
    "frequency_penalty": st.floats(-5, 5),
    "presence_penalty": st.floats(-5, 5),
    "dry_multiplier": st.floats(0, 5),
    "dry_base": st.floats(1, 4),
    "dry_allowed_length": st.integers(1, 4),
    "no_repeat_ngram": st.integers(1, 6),
    "temperature": st.sampled_from([0.0, 1e-300, 0.3, 1.0, 2, (0.1, 2.0), (2.0, 0.0)]),
}
cut_offs = {
    "top_k": st.integers(1, 10),
    "top_p": st.floats(0.01, 0.99),
    "min_p": st.floats(0.01, 1),
    "typical_p": st.floats(0.01, 0.99),
    "epsilon_cutoff": st.floats(1e-3, 0.999),
    "eta_cutoff": st.floats(1e-3, 0.999),
}
configs = st.one_of(
    st.fixed_dictionaries({}, optional={**penalties, **cut_offs}),
    st.fixed_dictionaries({"mirostat": st.floats(0.1, 10)}, optional=penalties),
).map(lambda options: SampleConfig(**{"temperature": 1.0, **options}))


def assert_one_after_the_other(logits_BV, config, past):
    found = apply_filters(logits_BV, config, past, select_filters(config))
    np.testing.assert_array_equal(found, one_after_the_other(logits_BV, config, past))


@pytest.mark.parametrize(
    "options",
    [
        *({name: value} for name, value in ON.items()),
        *({"dry_multiplier": 0.8, "dry_allowed_length": allowed} for allowed in (1, 2, 3)),
        {"dry_multiplier": 1.7, "dry_allowed_length": 1, "dry_base": 2.5},
        {"temperature": (0.5, 2.0)},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_each_filter_is_given_its_own_options(options):
    logits_BV = np.log([[0.36, 0.05, 0.2, 0.09, 0.3]])
    past = context(ids_BL=[[0, 1, 2, 4, 0, 1, 2]], vocab=5, progress=0.25, mu=2.0)
    config = SampleConfig(**{"temperature": 1.0, **options})
    assert_one_after_the_other(logits_BV, config, past)
    idle = options.get("dry_allowed_length", 12) > 3 and "dry_multiplier" in options
    found = apply_filters(logits_BV, config, past, select_filters(config))
    assert np.array_equal(found, logits_BV) == idle


@given(situations(), configs)
def test_the_chain_is_its_functions_one_after_the_other(situation, config):
    assert_one_after_the_other(situation[0], config, situation[1])


def test_cut_offs_are_taken_of_what_those_before_them_left():
    """Of (3/7, 4/7) the larger alone holds 0.57; of all four it holds 0.4."""
    logits_BV = np.log([[0.1, 0.2, 0.3, 0.4]])
    for options, expected in (
        ({"top_p": 0.5}, [0, 0, 3 / 7, 4 / 7]),
        ({"top_p": 0.5, "top_k": 2}, [0, 0, 0, 1]),
        ({"top_p": 0.75, "temperature": 0.5}, [0, 0, 9 / 25, 16 / 25]),
        ({"min_p": 0.26, "temperature": 0.5}, [0, 0, 9 / 25, 16 / 25]),
        ({"min_p": 0.3, "top_p": 0.95}, [0, 2 / 9, 3 / 9, 4 / 9]),
        ({"epsilon_cutoff": 0.25, "top_k": 3}, [0, 0, 3 / 7, 4 / 7]),
    ):
        config = SampleConfig(**{"temperature": 1.0, **options})
        found = naive.softmax(apply_filters(logits_BV, config, context(), select_filters(config)))
        np.testing.assert_allclose(found, [expected], rtol=0, atol=1e-12)


@given(situations(), configs)
def test_some_character_survives_every_combination_and_no_other_comes_back(situation, config):
    logits_BV, past = situation
    found = apply_filters(logits_BV, config, past, select_filters(config))
    assert_something_is_left(found)
    assert not (found > -INF)[logits_BV == -INF].any()


def assert_something_is_left(logits_BV):
    assert not np.isnan(logits_BV).any()
    assert (logits_BV < INF).all()
    assert (logits_BV > -INF).any(1).all()
    np.testing.assert_allclose(naive.softmax(logits_BV).sum(1), 1, rtol=1e-12)


EXTREMES = {
    "bias": [("a:1e308",), ("a:-1e308",), ("a:1e308", "b:-1e308"), ("a:1e4", "b:-1e4")],
    "repetition_penalty": [sys.float_info.max, 1e100, 1000.0, 1e-300, 5e-324],
    "frequency_penalty": [100.0, -100.0],
    "presence_penalty": [100.0, -100.0],
    "dry_multiplier": [100.0],
    "dry_base": [16.0],
    "dry_allowed_length": [1],
    "no_repeat_ngram": [1, 2**20],
    "temperature": [0.0, 5e-324, 1e308, (0.0, 1e308)],
    "top_k": [1, 10**9],
    "top_p": [5e-324, 1 - 2**-53],
    "min_p": [5e-324, 1.0],
    "typical_p": [5e-324, 1 - 2**-53],
    "epsilon_cutoff": [5e-324, 1 - 2**-53],
    "eta_cutoff": [5e-324, 1 - 2**-53],
    "mirostat": [5e-324, 64.0],
}


@pytest.mark.parametrize("other", [{}, {"temperature": 5e-324}, {"bias": ("c:5",)}])
@pytest.mark.parametrize(
    ("option", "value"), [(name, value) for name, values in EXTREMES.items() for value in values]
)
def test_the_largest_and_smallest_values_leave_something(option, value, other):
    try:
        config = SampleConfig(**{"temperature": 1.0, **other, option: value})
    except UsageError as error:
        assert error.subject == option_name(option)
        return
    bias_V = [parse_bias(config.bias).get(char, 0.0) for char in "abc"]
    logits_BV = np.log([[0.4, 0.3, 0.3], [1e-300, 1 - 1e-16, 1e-17], [0.1, 0.8, 0.1]])
    past = context(
        ids_BL=[[0, 1, 2] * 30] * 2 + [[NOTHING] * 89 + [2]], vocab=3, mu=128.0, bias_V=bias_V
    )
    assert_something_is_left(apply_filters(logits_BV, config, past, select_filters(config)))


@given(situations(), configs)
def test_neither_the_scores_nor_the_past_are_modified(situation, config):
    logits_BV, past = situation
    arrays = [logits_BV, past.bias_V, past.mu_B, past.history.counts_BV, past.history.ids_BL]
    before = [one.copy() for one in arrays]
    apply_filters(logits_BV, config, past, select_filters(config))
    assert all(np.array_equal(*pair) for pair in zip(arrays, before, strict=True))


@given(situations(), configs)
def test_what_no_filter_counts_need_not_be_counted(situation, config):
    logits_BV, past = situation
    steps = select_filters(config)
    if any(one.counts for one in steps):
        return
    uncounted = dataclasses.replace(past, history=History(past.history.ids_BL, 8, 8, False))
    uncounted.history.counts_BV[:] = 99
    found = apply_filters(logits_BV, config, uncounted, steps)
    np.testing.assert_array_equal(found, apply_filters(logits_BV, config, past, steps))


# The temperature


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        (0.8, 0.5, 0.8),
        (0, 0.3, 0),
        ((0.5, 1.5), 0.0, 0.5),
        ((0.5, 1.5), 0.25, 0.75),
        ((0.5, 1.5), 1.0, 1.5),
        ((1.0, 0.0), 0.75, 0.25),
        ((1.0, 0.0), 1.0, 0.0),
        ((0.7, 0.7), 0.3, 0.7),
    ],
)
def test_a_temperature_goes_on_a_straight_line(schedule, progress, expected):
    assert temperature_at(SampleConfig(temperature=schedule), progress) == expected


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 1))
def test_a_temperature_stays_between_its_ends(first, last, progress):
    found = temperature_at(SampleConfig(temperature=(first, last)), progress)
    assert found >= 0
    low, high = sorted((first, last))
    assert low - 1e-12 <= found <= high + 1e-12
    straight = math.fsum([first * (1 - progress), last * progress])
    assert found == pytest.approx(straight, rel=1e-9, abs=1e-12)


def test_the_temperature_of_a_character_is_that_of_its_place():
    config = SampleConfig(temperature=(1.0, 0.0))
    logits_BV = np.log([[0.2, 0.8]])
    found = [
        naive.softmax(
            apply_filters(
                logits_BV, config, context(vocab=2, progress=place), select_filters(config)
            )
        )
        for place in (0.0, 0.5, 1.0)
    ]
    np.testing.assert_allclose(found, [[[0.2, 0.8]], [[1 / 17, 16 / 17]], [[0, 1]]], atol=1e-12)


def test_mirostat_has_a_limit_for_each_row():
    config = SampleConfig(temperature=1.0, mirostat=2.0)
    logits_BV = np.log([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    past = context(ids_BL=[[0], [0]], vocab=3)
    past.mu_B = np.array([1.5, 2.5])
    found = apply_filters(logits_BV, config, past, select_filters(config))
    assert (found > -INF).tolist() == [[True, False, False], [True, True, True]]
