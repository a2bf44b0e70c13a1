"""Values of JSON by somebody else are of the kind that is asked for, or an error says why."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.files.json_object import LARGEST_INTEGER, JsonObject

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(ANYTHING)
def test_whatever_a_value_is_it_is_what_was_asked_for_or_a_value_error(value):
    found = {}
    for name in ("text", "integer", "number", "object", "array", "texts"):
        try:
            found[name] = getattr(JsonObject({"key": value}, "settings"), name)("key")
        except ValueError as error:
            assert str(error).startswith("settings.key is ")
            assert len(str(error)) < 200
    assert ("text" in found) == isinstance(value, str)
    whole = type(value) is int and 0 <= value <= LARGEST_INTEGER
    assert ("integer" in found) == whole
    finite = isinstance(value, int | float) and type(value) is not bool
    assert ("number" in found) == (finite and abs(value) <= 1.8e308 and not math.isnan(value))
    assert ("object" in found) == isinstance(value, dict)
    assert ("array" in found) == isinstance(value, list)


def test_null_is_no_value_and_a_missing_one_is_named():
    settings = JsonObject({"a": None, "b": 0}, "resume")
    assert [settings.has(key) for key in "abc"] == [False, True, False]
    with pytest.raises(ValueError, match=r"resume\.c is missing, not a string"):
        settings.text("c")


@pytest.mark.parametrize("value", [0, 11, -1, True, 1.0, "1"])
def test_a_number_out_of_its_range_is_refused(value):
    with pytest.raises(ValueError, match=r"not a whole number from 1 to 10"):
        JsonObject({"threads": value}, "resume").integer("threads", 1, 10)


@pytest.mark.parametrize("value", [10**400, -(10**400), math.inf, math.nan, True, "1"])
def test_what_no_float_can_hold_is_no_number(value):
    with pytest.raises(ValueError, match=r"resume\.lr is "):
        JsonObject({"lr": value}, "resume").number("lr")


def test_an_object_inside_is_called_by_its_place():
    plan = JsonObject({"plan": {"every": 0}}, "resume").object("plan")
    with pytest.raises(ValueError, match=r"resume\.plan\.every is 0"):
        plan.integer("every", low=1)


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_what_is_no_object_has_no_values(value):
    with pytest.raises(ValueError, match="not an object"):
        JsonObject(value, "resume")
