"""JSON that somebody else may have written, checked value by value as it is read.

    >>> settings = JsonObject({"threads": 2}, "resume")
    >>> settings.integer("threads", low=1)
    2

Every method raises ValueError, which names the value and says what it should be.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

# Steps, sizes and counts stay far below it, and a float still holds each whole number up to it.
LARGEST_INTEGER = 2**53
LONGEST_QUOTED_VALUE = 60


class JsonObject:
    """The values of an object under their names; name: what the object itself is called."""

    def __init__(self, values: object, name: str) -> None:
        if not isinstance(values, Mapping):
            raise ValueError(f"{name} is {_quoted(values)}, not an object")
        self.values: Mapping[str, Any] = values
        self.name = name

    def has(self, key: str) -> bool:
        """Tell whether there is a value; null counts as none."""
        return self.values.get(key) is not None

    def text(self, key: str) -> str:
        """Return a string."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self._error(key, "a string")
        return value

    def integer(self, key: str, low: int = 0, high: int = LARGEST_INTEGER) -> int:
        """Return a whole number from low to high."""
        value = self.values.get(key)
        if type(value) is not int or not low <= value <= high:
            raise self._error(key, f"a whole number from {low:,} to {high:,}")
        return value

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number from low to high."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(key, "a number")
        # Compared as it is: a whole number may be larger than any float.
        if not (abs(value) <= sys.float_info.max and low <= value <= high):
            raise self._error(key, f"a finite number from {low:g} to {high:g}")
        return float(value)

    def object(self, key: str) -> JsonObject:
        """Return an object inside of this one."""
        return JsonObject(self.values.get(key), f"{self.name}.{key}")

    def array(self, key: str) -> list[Any]:
        """Return an array, whose values are not checked."""
        value = self.values.get(key)
        if not isinstance(value, list | tuple):
            raise self._error(key, "an array")
        return list(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of strings."""
        values = self.array(key)
        if not all(isinstance(value, str) for value in values):
            raise self._error(key, "an array of strings")
        return tuple(values)

    def _error(self, key: str, wanted: str) -> ValueError:
        value = _quoted(self.values[key]) if key in self.values else "missing"
        return ValueError(f"{self.name}.{key} is {value}, not {wanted}")


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTED_VALUE else text[:LONGEST_QUOTED_VALUE] + " ..."
