"""What the fields of the config dataclasses have in common: help, ranges, checks, JSON.

A field's name is its option on the command line, its metadata are the option's help and range, and
errors name the option.

    >>> @dataclass(frozen=True)
    ... class Config:
    ...     top_k: int | None = option(None, "draw from the K likeliest", low=1)
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field
from typing import Any, TypeVar

from textgen.errors import UsageError

Config = TypeVar("Config")

# One number, or from one to another.
SCHEDULE = float | tuple[float, float]
# What a value may be an instance of, where a field is of a type.
INSTANCES: dict[Any, tuple[type, ...]] = {float: (int, float), tuple[str, ...]: (tuple,)}
# What a value of a type is called in an error.
NOUNS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    tuple[str, ...]: "a tuple of texts",
}
# What is wrong with a number beyond a limit, what it must be, and whether it is within.
COMPARISONS: dict[str, tuple[str, str, Callable[[Any, Any], bool]]] = {
    "low": ("too small", "at least", operator.ge),
    "above": ("too small", "above", operator.gt),
    "high": ("too large", "at most", operator.le),
    "below": ("too large", "below", operator.lt),
}


def option(default: Any, help: str, **extra: Any) -> Any:
    """Return a dataclass field that the command line turns into an option.

    extra: `choices`; `low` and `high`, an inclusive range; `above` and `below`, an exclusive one;
    `metavar`; `group`, the heading that it stands under in --help; `needs`, the fields of which one
    must be given for this one to do anything.
    """
    return field(default=default, metadata={"help": help, **extra})


def option_name(name: str) -> str:
    """Return a field's option: top_k -> --top-k."""
    return "--" + name.replace("_", "-")


def conflict(name: str, other: str) -> UsageError:
    """Return the error that two fields, or options of such names, are set together."""
    problem = f"cannot be combined with {option_name(other)}"
    return UsageError(option_name(name), problem, "use one of them")


def did_you_mean(word: str, known: Iterable[str], otherwise: str, cutoff: float = 0.6) -> str:
    """Return the question whether the nearest of the known words was meant, or `otherwise`.

    Args:
        word: what was written.
        known: what could have been written.
        otherwise: the fix where nothing known is near.
        cutoff: how alike two words must be, from 0 to 1.
    """
    # Imported for errors alone: --help shall be at once.
    import difflib

    close = difflib.get_close_matches(word, list(known), 1, cutoff)
    return f"did you mean {close[0]}?" if close else otherwise


def field_types(kind: type) -> Mapping[str, Any]:
    """Return the type of each field of a config by its name: int where it is `int | None`."""
    return _read_types(kind)


@functools.cache
def _read_types(kind: type) -> Mapping[str, Any]:
    hints = typing.get_type_hints(kind)
    return {item.name: _without_none(hints[item.name]) for item in dataclasses.fields(kind)}


def _without_none(hint: Any) -> Any:
    parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
    return functools.reduce(operator.or_, parts) if isinstance(hint, types.UnionType) else hint


def check_fields(config: Any) -> None:
    """Check every field's type and range by its metadata; raise UsageError naming the option."""
    kinds = field_types(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if value is None and item.default is None:
            continue
        kind = kinds[item.name]
        has_ends = kind == SCHEDULE and isinstance(value, tuple) and len(value) == 2
        for number in value if has_ends else (value,):
            _check_type(option_name(item.name), number, float if kind == SCHEDULE else kind)
            _check_range(option_name(item.name), number, item.metadata)


def check_needs(kind: type, given: Collection[str]) -> None:
    """Raise UsageError for a field of a config that is given without any of those that it needs.

    A library may set it all the same; on a command line it would be overlooked in silence.
    """
    for item in dataclasses.fields(kind):
        needed = item.metadata.get("needs", ())
        if needed and item.name in given and not any(name in given for name in needed):
            others = ", ".join(map(option_name, needed))
            problem = f"does nothing without {'one of ' if len(needed) > 1 else ''}{others}"
            raise UsageError(option_name(item.name), problem, "add that, or leave this out")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise UsageError for name, with the nearest choice, when value is none of the choices."""
    if value not in choices:
        fix = did_you_mean(str(value), choices, "choose one of these", 0.3)
        raise UsageError(name, f"{value!r} is not one of {', '.join(choices)}", fix)


def _check_type(name: str, value: Any, kind: Any) -> None:
    instances = INSTANCES.get(kind) or (kind,)
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, instances):
        raise UsageError(name, f"{value!r} is not {NOUNS[kind]}", f"give {NOUNS[kind]}")
    if isinstance(value, tuple) and not all(isinstance(part, str) for part in value):
        raise UsageError(name, f"{value!r} is not all text", f"give {NOUNS[kind]}")


def _check_range(name: str, value: Any, limits: Mapping[str, Any]) -> None:
    if "choices" in limits:
        check_choice(name, value, limits["choices"])
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(name, f"{value} is not a finite number", "give a finite number")
    for key, (problem, wanted, is_within) in COMPARISONS.items():
        if key in limits and not is_within(value, limits[key]):
            raise UsageError(name, f"{value} is {problem}", f"must be {wanted} {limits[key]}")


def to_json(config: Any) -> dict[str, Any]:
    """Return the fields of a config as JSON values."""
    return dataclasses.asdict(config)


def from_json(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Return a config of that kind; raise UsageError for a name it does not have."""
    known = field_types(kind)
    for name in values:
        if name not in known:
            fix = did_you_mean(name, known, "leave it out")
            raise UsageError(option_name(name), "unknown setting", fix)
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
