"""What the fields of the config dataclasses have in common: help, ranges, checks, JSON.

A field's name is its option on the command line, its metadata are the option's help and range, and
errors name the option.

    >>> @dataclass(frozen=True)
    ... class Config:
    ...     top_k: int | None = option(None, "draw from the K likeliest", low=1)
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, TypeVar

from textgen.errors import UsageError

Config = TypeVar("Config")


def option(default: Any, help: str, **extra: Any) -> Any:
    """Return a dataclass field that the command line turns into an option.

    extra: `choices`; `low` and `high`, an inclusive range; `above` and `below`, an exclusive one;
    `metavar`; `group`, the heading that it stands under in --help.
    """
    return field(default=default, metadata={"help": help, **extra})


SCHEDULE = "float | tuple[float, float]"  # one number, or from one to another


def option_name(name: str) -> str:
    """Return a field's option: top_k -> --top-k."""
    return "--" + name.replace("_", "-")


def conflict(name: str, other: str) -> UsageError:
    """Return the error that two fields, or options of such names, are set together."""
    problem = f"cannot be combined with {option_name(other)}"
    return UsageError(option_name(name), problem, "keep one")


def check_fields(config: Any) -> None:
    """Check every field's type and range by its metadata; raise UsageError naming the option."""
    for one in dataclasses.fields(config):
        value = getattr(config, one.name)
        if value is None and one.default is None:
            continue
        kind = str(one.type)
        ends = kind == SCHEDULE and isinstance(value, tuple) and len(value) == 2
        for part in value if ends else (value,):
            _check_type(option_name(one.name), part, kind)
            _check_range(option_name(one.name), part, one.metadata)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise UsageError for name, with the nearest choice, when value is none of the choices."""
    if value not in choices:
        close = difflib.get_close_matches(str(value), choices, 1, 0.3)
        fix = f"did you mean {close[0]}?" if close else "choose one of them"
        raise UsageError(name, f"{value!r} is not one of {', '.join(choices)}", fix)


def _check_type(name: str, value: Any, annotation: str) -> None:
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}
    kinds |= {"str": (str,), "tuple[str, ...]": (tuple,)}
    wanted = annotation.removesuffix(" | None").replace(SCHEDULE, "float")
    if isinstance(value, bool) != (wanted == "bool") or not isinstance(value, kinds[wanted]):
        raise UsageError(name, f"{value!r} is not of type {wanted}", f"give a {wanted}")
    if isinstance(value, tuple) and not all(isinstance(part, str) for part in value):
        raise UsageError(name, f"{value!r} is not all text", "give texts")


def _check_range(name: str, value: Any, limits: Mapping[str, Any]) -> None:
    if "choices" in limits:
        check_choice(name, value, limits["choices"])
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(name, f"{value} is not a finite number", "give a finite number")
    for key, (words, fits) in COMPARISONS.items():
        if key in limits and not fits(value, limits[key]):
            raise UsageError(name, f"{value} is not {words} {limits[key]}", f"give {words} that")


COMPARISONS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "low": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "high": ("at most", operator.le),
    "below": ("below", operator.lt),
}


def to_json(config: Any) -> dict[str, Any]:
    """Return the fields of a config as JSON values."""
    return dataclasses.asdict(config)


def from_json(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Return a config of that kind; raise UsageError for a name it does not have."""
    known = [one.name for one in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            fix = f"did you mean {close[0]}?" if close else "leave it out"
            raise UsageError(option_name(name), "unknown setting", fix)
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
