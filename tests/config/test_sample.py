"""The settings of a text: which get along, and how a temperature may change."""

import math

import pytest
from factories import usage_error

from textgen.config.fields import option_name
from textgen.config.sample import SampleConfig


@pytest.mark.parametrize("values", [{"temperature": 0}, {"length": 0}, {"min_p": 0.0}])
def test_zero_is_a_value_where_it_has_a_meaning(values):
    SampleConfig(**values)


CUT_OFFS = {
    "top_k": 5,
    "top_p": 0.9,
    "min_p": 0.1,
    "typical_p": 0.9,
    "epsilon_cutoff": 0.01,
    "eta_cutoff": 0.01,
}
EXCLUSIONS = [
    *(("mirostat", 3.0, other, value) for other, value in CUT_OFFS.items()),
    *(("beams", 4, other, value) for other, value in CUT_OFFS.items()),
    ("beams", 4, "temperature", 1.0),
    ("beams", 4, "temperature", (0.8, 1.0)),
    ("beams", 4, "mirostat", 3.0),
    ("beams", 4, "best_of", 2),
    ("match", "[a-z]+", "stop", ("x",)),
    ("match", "[a-z]+", "until", "line"),
    ("match", "[a-z]+", "lines", 2),
    ("match", "[a-z]+", "beams", 4),
    ("match", "[a-z]+", "novel", 20),
    ("novel", 20, "beams", 4),
]
EXCLUSION_IDS = [f"{one}-{other}" for one, _, other, _ in EXCLUSIONS]


@pytest.mark.parametrize(("one", "value", "other", "second"), EXCLUSIONS, ids=EXCLUSION_IDS)
def test_options_that_exclude_each_other_work_alone_and_are_refused_together(
    one, value, other, second
):
    SampleConfig(**{one: value})
    SampleConfig(**{other: second})
    error = usage_error(SampleConfig, **{one: value, other: second})
    assert error.subject == option_name(one)
    assert error.problem == f"cannot be combined with {option_name(other)}"


@pytest.mark.parametrize(
    "values",
    [
        {"mirostat": 3.0, "temperature": 0.9, "repetition_penalty": 1.1, "bias": ("e:1",)},
        {"beams": 4, "num": 4, "stop": ("x",), "until": "line", "lines": 2, "dry_multiplier": 0.8},
        {"beams": 4, "temperature": 0.8},  # the default
        {"match": "[a-z]+", "temperature": 0.0, "top_p": 0.9, "best_of": 3},
        {"novel": 20, "stop": ("x",), "mirostat": 3.0},
        {name: value for name, value in CUT_OFFS.items()},
    ],
    ids=lambda values: "-".join(values),
)
def test_options_that_get_along_are_taken_together(values):
    SampleConfig(**values)


def test_no_more_texts_are_asked_for_than_there_are_beams():
    SampleConfig(beams=4, num=4)
    error = usage_error(SampleConfig, beams=4, num=5)
    assert (error.subject, error.problem) == ("--num", "5 texts cannot come from 4 beams")


def test_spans_that_may_not_be_copied_fit_into_the_look_back():
    SampleConfig(novel=30, look_back=30)
    error = usage_error(SampleConfig, novel=31, look_back=30)
    assert error.subject == "--novel"
    assert "31" in error.problem
    assert "30" in error.problem


@pytest.mark.parametrize("schedule", [(0.5, 1.0), (1, 0), (0.0, 0.0), (2.5, 2.5)])
def test_a_temperature_may_go_from_one_number_to_another(schedule):
    assert SampleConfig(temperature=schedule).temperature == schedule


@pytest.mark.parametrize(
    "schedule",
    [
        *((), (1.0,), (1.0, 0.5, 0.1), [1.0, 0.5], "1:0.5", (-0.1, 1.0), (1.0, -0.1)),
        *((math.nan, 1.0), (1.0, math.inf), ("1", 2.0), (1.0, None), (1.0, True), ((1, 2), 3)),
    ],
    ids=repr,
)
def test_what_is_no_schedule_is_refused_as_a_temperature(schedule):
    assert usage_error(SampleConfig, temperature=schedule).subject == "--temperature"


def test_only_a_temperature_has_a_schedule():
    assert usage_error(SampleConfig, top_p=(0.1, 0.9)).subject == "--top-p"
