"""What a request asks for: JSON that somebody else wrote, checked field by field.

>>> parse_completion({"prompt": "ROMEO:", "max_tokens": 100}, Limits()).config.length
100
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from textgen.config import SampleConfig, did_you_mean
from textgen.errors import UsageError
from textgen.serving.limits import (
    LARGEST_LOGIT_BIAS,
    LONGEST_BAN,
    LONGEST_MATCH,
    LONGEST_STOP,
    MOST_BIASES,
    MOST_LOGPROBS,
    MOST_STOPS,
    Limits,
)
from textgen.serving.refusals import Refusal, quote, refusal_of

# What a value is, by what it is called.
TEXT, WHOLE, NUMBER, SWITCH, OBJECT, ARRAY = (
    ("a string", str),
    ("a whole number", int),
    ("a number", (int, float)),
    ("true or false", bool),
    ("an object", dict),
    ("an array", list),
)
# Fields that are those of SampleConfig; "max_tokens" is its length.
OPTIONS: dict[str, tuple[str, Any]] = {
    "temperature": NUMBER,
    "top_p": NUMBER,
    "top_k": WHOLE,
    "min_p": NUMBER,
    "seed": WHOLE,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "match": TEXT,
}
COMPLETION_FIELDS = (
    *("model", "prompt", "max_tokens", *OPTIONS, "n", "best_of", "stop", "logprobs", "echo"),
    *("logit_bias", "stream", "stream_options", "ban", "suffix", "user"),
)
SCORE_FIELDS = ("model", "text", "characters")


@dataclass(frozen=True)
class CompletionRequest:
    """A request to continue texts.

    Attributes:
        model: its name; None for the first one.
        prompts: the texts to continue.
        config: how.
        n: texts for each prompt; best_of: of so many drafts.
        logprobs: how many of the likeliest ids are told in each place; None for no such figures.
        echo: whether a text begins with its prompt.
        stream: whether text is sent as it is written; include_usage: and at last how much it was.
    """

    model: str | None
    prompts: tuple[str, ...]
    config: SampleConfig
    n: int = 1
    best_of: int = 1
    logprobs: int | None = None
    echo: bool = False
    stream: bool = False
    include_usage: bool = False


@dataclass(frozen=True)
class ScoreRequest:
    """A request to measure a text; characters: whether each of them is to be told."""

    model: str | None
    text: str
    characters: bool = False


class Fields:
    """The fields of a request, each looked at once; null counts as left out."""

    def __init__(self, values: object, known: tuple[str, ...]) -> None:
        """Refuse what is no object or has other fields."""
        if not isinstance(values, dict):
            raise Refusal(400, f"the request is {quote(values)}, not an object")
        for name in values:
            if name not in known:
                fix = did_you_mean(name[:100], known, "leave it out")
                raise Refusal(400, f"{quote(name)} is not a known field ({fix})", name[:100])
        self.values = values

    def take(self, name: str, kind: tuple[str, Any], default: Any = None) -> Any:
        """Return the value of a field, checked to be of a kind; numbers as floats."""
        value = self.values.get(name)
        if value is None:
            return default
        noun, types = kind
        if isinstance(value, bool) != (types is bool) or not isinstance(value, types):
            raise Refusal(400, f"{name} is {quote(value)}, not {noun}", name)
        if kind is NUMBER:
            return as_number(name, value)
        return value

    def whole(self, name: str, low: int, high: int, default: Any = None) -> Any:
        """Return a whole number from low to high."""
        value = self.take(name, WHOLE, default)
        if value is not None and not low <= value <= high:
            range = f"from {low} to {high:,}"
            raise Refusal(400, f"{name} is {quote(value)}, not a whole number {range}", name)
        return value

    def text(self, name: str, longest: int, default: str | None = None) -> Any:
        """Return a text of at most so many characters."""
        value = self.take(name, TEXT, default)
        check_length(name, value or "", longest)
        return value

    def texts(self, name: str, most: int, longest: int) -> tuple[str, ...]:
        """Return one text or several, `longest` characters each at most."""
        value = self.values.get(name)
        if value is None:
            return ()
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Refusal(400, f"{name} is {quote(value)}, not a string or an array of them", name)
        if not texts or len(texts) > most:
            raise Refusal(400, f"{name} has {len(texts):,} texts, not 1 to {most}", name)
        for text in texts:
            check_length(name, text, longest)
        return tuple(texts)


def parse_completion(values: object, limits: Limits) -> CompletionRequest:
    """Return what JSON asks for; raise Refusal for what it cannot ask for."""
    fields = Fields(values, COMPLETION_FIELDS)
    if fields.take("suffix", TEXT):
        raise Refusal(400, "suffix: text is only written at the end (leave it out)", "suffix")
    fields.take("user", TEXT)
    prompts = fields.texts("prompt", limits.rows_of_request, limits.prompt_chars) or ("",)
    check_length("prompt", prompts, limits.prompt_chars)
    n = fields.whole("n", 1, limits.rows_of_request, 1)
    stream, best_of = fields.take("stream", SWITCH, False), best_of_many(fields, n, limits)
    if stream and best_of > n:
        problem = "best_of cannot be above n in a stream (a draft is chosen when it has ended)"
        raise Refusal(400, problem, "best_of")
    if len(prompts) * best_of > limits.rows_of_request:
        problem = f"{len(prompts)} prompts times {best_of} are above {limits.rows_of_request} texts"
        raise Refusal(400, f"{problem} (ask for fewer at a time)", "n")
    return CompletionRequest(
        model=fields.take("model", TEXT),
        prompts=prompts,
        config=read_config(fields, limits),
        n=n,
        best_of=best_of,
        logprobs=fields.whole("logprobs", 0, MOST_LOGPROBS),
        echo=fields.take("echo", SWITCH, False),
        stream=stream,
        include_usage=wants_usage(fields, stream),
    )


def parse_score(values: object, limits: Limits) -> ScoreRequest:
    """Return what JSON asks to be measured; raise Refusal for what it cannot ask for."""
    fields = Fields(values, SCORE_FIELDS)
    text = fields.text("text", limits.prompt_chars)
    if not text:
        raise Refusal(400, "text is empty (give at least 1 character)", "text")
    return ScoreRequest(fields.take("model", TEXT), text, fields.take("characters", SWITCH, False))


def best_of_many(fields: Fields, n: int, limits: Limits) -> int:
    """Return how many drafts are written for each prompt, at least n."""
    best_of: int = fields.whole("best_of", 1, limits.rows_of_request, n)
    if best_of < n:
        raise Refusal(400, f"best_of is {best_of}, below an n of {n}", "best_of")
    return best_of


def wants_usage(fields: Fields, stream: bool) -> bool:
    """Tell whether a stream is to end with how much was written."""
    options = fields.take("stream_options", OBJECT)
    if options is None:
        return False
    if not stream:
        raise Refusal(400, "stream_options: only for a stream (set stream)", "stream_options")
    return bool(Fields(options, ("include_usage",)).take("include_usage", SWITCH, False))


def read_config(fields: Fields, limits: Limits) -> SampleConfig:
    """Return how texts are to be written; textgen's own defaults for what is left out."""
    options = {name: fields.take(name, kind) for name, kind in OPTIONS.items()}
    check_length("match", options["match"] or "", LONGEST_MATCH)
    options |= {
        "length": fields.whole("max_tokens", 0, limits.max_tokens),
        "stop": fields.texts("stop", MOST_STOPS, LONGEST_STOP),
        "ban": literal_characters(fields.text("ban", LONGEST_BAN, "")),
        "bias": read_biases(fields),
    }
    given = {name: value for name, value in options.items() if value is not None}
    try:
        config = SampleConfig(**given)
    except UsageError as error:
        raise refusal_of(error) from None
    if config.length > limits.max_tokens:
        config = SampleConfig(**given, length=limits.max_tokens)
    return config


def literal_characters(characters: str) -> str:
    """Return characters in the notation of --ban, where a-z would be a range."""
    different = sorted(set(characters) - {"-"})
    return "".join(different) + "-" * ("-" in characters)


def read_biases(fields: Fields) -> tuple[str, ...]:
    """Return what is added to the scores of characters, in the notation of --bias."""
    name = "logit_bias"
    values = fields.take(name, OBJECT, {})
    if len(values) > MOST_BIASES:
        raise Refusal(400, f"{name} has {len(values):,} characters, not up to {MOST_BIASES}", name)
    biases = []
    for character, value in values.items():
        if len(character) != 1:
            problem = f"{name} has {quote(character)}, which is not one character"
            raise Refusal(400, f"{problem} (ids of other models are not understood)", name)
        number = Fields({name: value}, (name,)).take(name, NUMBER)
        if number is None or not abs(number) <= LARGEST_LOGIT_BIAS:
            range = f"from {-LARGEST_LOGIT_BIAS} to {LARGEST_LOGIT_BIAS}"
            raise Refusal(400, f"{name} is {quote(value)}, not a number {range}", name)
        biases.append(f"{character}:{number!r}")
    return tuple(biases)


def as_number(name: str, value: float) -> float:
    """Return a number as a finite float."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Refusal(400, f"{name} is {quote(value)}, not a finite number", name)
    return number


def check_length(name: str, texts: str | tuple[str, ...], longest: int) -> None:
    """Raise Refusal for a text, or several together, with too many characters."""
    length = len(texts) if isinstance(texts, str) else sum(map(len, texts))
    if length > longest:
        raise Refusal(400, f"{name} has {length:,} characters, not up to {longest:,}", name)
