"""What a request asks for, and what it cannot ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.config import expand, parse_bias
from textgen.serving.limits import Limits
from textgen.serving.refusals import Refusal
from textgen.serving.requests import literal_characters, parse_completion, parse_score

LIMITS = Limits(max_tokens=100, prompt_chars=50, rows_of_request=8)


def refused(values, param, parse=parse_completion):
    with pytest.raises(Refusal) as caught:
        parse(values, LIMITS)
    refusal = caught.value
    assert refusal.status == 400 and refusal.param == param and "--" not in refusal.message
    error = refusal.to_json()["error"]
    assert error["type"] == "invalid_request_error" and error["message"]
    return refusal.message


def test_what_is_left_out_has_the_defaults():
    asked = parse_completion({}, LIMITS)
    assert asked.prompts == ("",) and asked.model is None
    assert (asked.n, asked.best_of, asked.stream, asked.echo) == (1, 1, False, False)
    # textgen's 500 are above this server's limit.
    assert asked.config.length == 100 and asked.config.temperature == 0.8
    assert parse_completion(dict.fromkeys(("n", "seed", "stop")), LIMITS) == asked


def test_every_field_is_understood():
    asked = parse_completion(
        {
            "model": "demo",
            "prompt": ["a", "b"],
            "max_tokens": 7,
            "temperature": 1,
            "top_p": 0.9,
            "top_k": 3,
            "min_p": 0.1,
            "n": 2,
            "best_of": 3,
            "stop": ["x", "y"],
            "seed": 5,
            "logprobs": 2,
            "echo": True,
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "logit_bias": {"-": 1, ":": -2.5},
            "ban": "a-z",
            "suffix": None,
            "user": "me",
        },
        LIMITS,
    )
    config = asked.config
    assert asked.prompts == ("a", "b") and (asked.n, asked.best_of) == (2, 3)
    assert (config.length, config.temperature, config.top_p, config.top_k) == (7, 1.0, 0.9, 3)
    assert (config.min_p, config.stop, config.seed) == (0.1, ("x", "y"), 5)
    assert (config.presence_penalty, config.frequency_penalty) == (0.5, -0.5)
    assert parse_bias(config.bias) == {"-": 1.0, ":": -2.5}
    assert expand(config.ban, "ban") == "-az"
    assert (asked.logprobs, asked.echo, asked.model) == (2, True, "demo")


@given(st.text("a-z!é\n", max_size=8))
def test_banned_characters_are_no_ranges(text):
    assert set(expand(literal_characters(text), "ban")) == set(text)


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"promt": "a"}, "promt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": "a" * 51}, "prompt"),
        ({"prompt": ["a" * 30] * 2}, "prompt"),
        ({"prompt": ["a"] * 9}, "prompt"),
        ({"max_tokens": 101}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.0}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 9}, "n"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"prompt": ["a", "b"], "n": 5}, "n"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": 0}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"presence_penalty": 101}, "presence_penalty"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a"] * 9}, "stop"),
        ({"stop": "a" * 65}, "stop"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"echo": 1}, "echo"),
        ({"logit_bias": {"ab": 1}}, "logit_bias"),
        ({"logit_bias": {"a": 101}}, "logit_bias"),
        ({"logit_bias": {"a": None}}, "logit_bias"),
        ({"logit_bias": {chr(300 + i): 1 for i in range(301)}}, "logit_bias"),
        ({"ban": "a" * 1001}, "ban"),
        ({"match": "a" * 1001}, "match"),
        ({"match": "a", "stop": "b"}, "match"),
        ({"suffix": "end"}, "suffix"),
        ({"stream_options": {}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "x"),
        ([], None),
        (None, None),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_its_field(values, param):
    refused(values, param)


def test_an_unknown_field_is_told_the_nearest():
    assert "did you mean temperature?" in refused({"temperatur": 1}, "temperatur")


@pytest.mark.parametrize("value", [["x" * 10**6], "x" * 10**6, {"x" * 10**6: 1}])
def test_what_was_sent_is_repeated_only_in_part(value):
    assert len(refused({"n": value}, "n")) < 300


def test_a_measurement():
    asked = parse_score({"text": "abc", "characters": True}, LIMITS)
    assert (asked.text, asked.characters, asked.model) == ("abc", True, None)
    for values, param in [({}, "text"), ({"text": "a" * 51}, "text"), ({"x": 1}, "x")]:
        refused(values, param, parse_score)
