"""What all configs share: types, ranges, JSON, and errors that name the option."""

import dataclasses
import json
import math

import pytest
from factories import usage_error
from hypothesis import given
from hypothesis import strategies as st

from textgen.config.fields import (
    check_choice,
    check_needs,
    field_types,
    from_json,
    option_name,
    to_json,
)
from textgen.config.model import ModelConfig
from textgen.config.sample import SampleConfig
from textgen.config.train import TrainConfig
from textgen.errors import UsageError

KINDS = (ModelConfig, TrainConfig, SampleConfig)
FIELDS = [(kind, field) for kind in KINDS for field in dataclasses.fields(kind)]
FIELD_IDS = [f"{kind.__name__}.{field.name}" for kind, field in FIELDS]


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_are_valid(kind):
    kind()


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=FIELD_IDS)
def test_every_option_has_a_help_text(kind, field):
    assert field.metadata["help"]


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=FIELD_IDS)
@pytest.mark.parametrize("value", [True, b"x", {}, ["a"], 1j, object], ids=repr)
def test_a_value_of_the_wrong_type_is_refused_by_name(kind, field, value):
    value = 1 if field_types(kind)[field.name] is bool and value is True else value
    assert usage_error(kind, **{field.name: value}).subject == option_name(field.name)


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=FIELD_IDS)
def test_none_is_refused_where_it_does_not_mean_not_set(kind, field):
    if field.default is None:
        kind(**{field.name: None})
    else:
        assert usage_error(kind, **{field.name: None}).subject == option_name(field.name)


NUMBERS = [(kind, field) for kind, field in FIELDS if {"low", "above"} & set(field.metadata)]
NUMBER_IDS = [f"{kind.__name__}.{field.name}" for kind, field in NUMBERS]
# Without which an option's values are refused.
NEEDED = {"novel": {"look_back": 2**20}, "vocab_size": {"tokenizer": "bpe"}}


@pytest.mark.parametrize(("kind", "field"), NUMBERS, ids=NUMBER_IDS)
def test_a_number_is_refused_beyond_its_limits_and_taken_at_them(kind, field):
    limits, needed = field.metadata, NEEDED.get(field.name, {})
    for key, step in (("low", -1), ("high", 1)):
        if key in limits:
            kind(**{field.name: limits[key], **needed})
            error = usage_error(kind, **{field.name: limits[key] + step, **needed})
            assert error.subject == option_name(field.name)
    for key in ("above", "below"):
        if key in limits:
            error = usage_error(kind, **{field.name: limits[key]})
            assert error.fix == f"must be {key} {limits[key]}"


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("dry_base", ["dry_multiplier"]),
        ("dry_allowed_length", ["dry_multiplier"]),
        ("mirostat_rate", ["mirostat"]),
        ("length_penalty", ["beams"]),
        ("novel_text", ["novel", "unseen"]),
        ("look_back", ["no_repeat_ngram", "dry_multiplier", "novel", "presence_penalty"]),
    ],
)
def test_an_option_without_what_it_needs_is_refused(name, needed):
    error = usage_error(check_needs, SampleConfig, {name, "length"})
    assert error.subject == option_name(name)
    for other in needed:
        assert option_name(other) in error.problem
        check_needs(SampleConfig, {name, other})


def test_what_an_option_needs_is_a_field():
    for kind, field in FIELDS:
        assert field_types(kind).keys() >= set(field.metadata.get("needs", ()))


@pytest.mark.parametrize(("kind", "field"), NUMBERS, ids=NUMBER_IDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -101, "1"], ids=repr)
def test_no_number_option_takes_what_is_not_a_sensible_number(kind, field, value):
    assert usage_error(kind, **{field.name: value}).subject == option_name(field.name)


@pytest.mark.parametrize(
    ("kind", "values", "subject"),
    [
        (ModelConfig, {"hidden": 0}, "--hidden"),
        (ModelConfig, {"hidden": 10**9}, "--hidden"),
        (ModelConfig, {"hidden": 64.0}, "--hidden"),
        (ModelConfig, {"layers": 10**6}, "--layers"),
        (ModelConfig, {"vocab": 2**31}, "--vocab"),
        (ModelConfig, {"cell": "os.system"}, "--cell"),
        (TrainConfig, {"dropout": 1.0}, "--dropout"),
        (TrainConfig, {"lr": 0.0}, "--lr"),
        (TrainConfig, {"minutes": 0}, "--minutes"),
        (TrainConfig, {"split": "0.9,0.2"}, "--split"),
        (SampleConfig, {"temperature": -0.1}, "--temperature"),
        (SampleConfig, {"top_p": 0.0}, "--top-p"),
        (SampleConfig, {"top_k": 0}, "--top-k"),
        (SampleConfig, {"min_p": 1.5}, "--min-p"),
        (SampleConfig, {"length": -1}, "--length"),
        (SampleConfig, {"stop": ("a", "")}, "--stop"),
        (SampleConfig, {"unknown": "ignore"}, "--unknown"),
        (SampleConfig, {"until": "word"}, "--until"),
        (SampleConfig, {"lines": 0}, "--lines"),
        (SampleConfig, {"ban": "z-a"}, "--ban"),
        (SampleConfig, {"only": "9-0"}, "--only"),
        (SampleConfig, {"bias": ("e",)}, "--bias"),
        (SampleConfig, {"bias": ("z-a:1",)}, "--bias"),
        (SampleConfig, {"bias": (1,)}, "--bias"),
        (SampleConfig, {"bias": "e:1"}, "--bias"),
        (SampleConfig, {"stop": (1,)}, "--stop"),
        (SampleConfig, {"stop": "END"}, "--stop"),
        (SampleConfig, {"repetition_penalty": 0.0}, "--repetition-penalty"),
        (SampleConfig, {"no_repeat_ngram": 0}, "--no-repeat-ngram"),
        (SampleConfig, {"dry_base": 0.5}, "--dry-base"),
        (SampleConfig, {"look_back": 0}, "--look-back"),
        (SampleConfig, {"typical_p": 0.0}, "--typical-p"),
        (SampleConfig, {"epsilon_cutoff": 1.0}, "--epsilon-cutoff"),
        (SampleConfig, {"eta_cutoff": 0.0}, "--eta-cutoff"),
        (SampleConfig, {"mirostat": 0.0}, "--mirostat"),
        (SampleConfig, {"best_of": 0}, "--best-of"),
    ],
)
def test_a_bad_setting_is_a_usage_error_that_names_its_option(kind, values, subject):
    assert usage_error(kind, **values).subject == subject


def test_a_config_cannot_be_changed_after_its_check():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().hidden = -1


def test_a_misspelt_choice_gets_a_suggestion():
    with pytest.raises(UsageError) as caught:
        check_choice("--cell", "lstn", ("rnn", "lstm", "gru"))
    assert "lstm" in caught.value.fix
    assert "rnn, lstm, gru" in caught.value.problem


def numbers(low, high):
    return st.none() | st.integers(low, high)


CONFIGS = st.one_of(
    st.builds(
        ModelConfig,
        vocab=st.integers(2, 70000),
        cell=st.sampled_from(["rnn", "lstm", "gru"]),
        layers=st.integers(1, 64),
        hidden=st.integers(1, 16384),
    ),
    st.builds(
        TrainConfig,
        out=st.none() | st.text(),
        hidden=numbers(1, 4096),
        dropout=st.none() | st.floats(0, 0.99),
        minutes=st.none() | st.floats(0.01, 1e6),
        seed=st.integers(0, 2**63),
        split=st.sampled_from(["0.9,0.1", "0.8,0.1,0.1"]),
    ),
    st.builds(
        SampleConfig,
        prime=st.text(),
        temperature=st.floats(0, 10) | st.tuples(st.floats(0, 10), st.floats(0, 10)),
        top_k=numbers(1, 100),
        stop=st.lists(st.text(min_size=1)).map(tuple),
        until=st.none() | st.sampled_from(["sentence", "line", "paragraph"]),
        bias=st.lists(st.sampled_from(["a-z:-1.5", "::2", "\n:0"])).map(tuple),
        dry_multiplier=st.floats(0, 100),
        look_back=st.integers(1, 2**20),
    ),
)


@given(CONFIGS)
def test_a_config_comes_back_from_json_as_it_was(config):
    assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("kind", KINDS)
def test_a_setting_that_does_not_exist_is_refused_with_the_nearest_one(kind):
    name = dataclasses.fields(kind)[1].name
    with pytest.raises(UsageError) as caught:
        from_json(kind, {name + "s": 1})
    assert name in caught.value.fix


def test_a_setting_like_no_other_is_refused_too():
    with pytest.raises(UsageError, match="unknown setting"):
        from_json(ModelConfig, {"__class__": "x"})
