"""Hard limits: what may be written at all, whatever the model and the filters say.

Bans, a pattern that the text has to match, spans that it must not copy. A text that may not go on
has ended.

Shapes: B rows of text, V vocabulary.

    >>> allowed_V = allowed_ids(tokenizer, SampleConfig(ban="eE"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from textgen.config import SampleConfig, expand, parse_bias
from textgen.data import Spans
from textgen.errors import UsageError
from textgen.sampling.filters import History
from textgen.sampling.regex import Regex
from textgen.tokenizers import MARK, UNKNOWN, ByteTokenizer, CharTokenizer, Spelling, Tokenizer


class Constraint(Protocol):
    """A hard limit on what may be written, for as long as the rows of one `generate` grow."""

    reason: str  # why a text ends that may not go on

    def allowed(self, history: History, remaining: int) -> np.ndarray:
        """Return which ids (B, V) may come next, with so many characters left to write."""
        ...

    def add(self, ids_B: np.ndarray) -> None:
        """Take note of the ids that were drawn."""
        ...


class WholeCharacters:
    """The limit of models whose ids are no characters: every row remains a text in UTF-8."""

    reason = "spelling"

    def __init__(self, spelling: Spelling, pending: Sequence[bytes]) -> None:
        """Begin rows after so many bytes of a character that is not whole yet."""
        self.spelling = spelling
        self.states_B = np.array([spelling.state(one) for one in pending])

    def allowed(self, history: History, remaining: int) -> np.ndarray:
        """Return which ids (B, V) go on with a character, or begin one where none is begun."""
        return np.asarray(self.spelling.allowed_SV[self.states_B])

    def add(self, ids_B: np.ndarray) -> None:
        """Go on to the next states."""
        self.states_B = self.spelling.next_SV[self.states_B, ids_B]


class MatchesRegex:
    """The limit of `sample --match`: every row is on the way to a match."""

    reason = "match"

    def __init__(self, pattern: Regex, rows: int) -> None:
        self.pattern = pattern
        self.states_B = np.full(rows, pattern.start)

    def allowed(self, history: History, remaining: int) -> np.ndarray:
        """Return which ids (B, V) leave a match within reach of the remaining characters."""
        return self.pattern.allowed(self.states_B, remaining)

    def add(self, ids_B: np.ndarray) -> None:
        """Go on to the next states."""
        self.states_B = self.pattern.step(self.states_B, ids_B)


class CopiesNothing:
    """The limit of `sample --novel`: no span of the text is ever completed."""

    reason = "novel"

    def __init__(self, spans: Spans) -> None:
        self.spans = spans

    def allowed(self, history: History, remaining: int) -> np.ndarray:
        """Return which ids (B, V) complete no span of the text."""
        vocab = history.counts_BV.shape[1]
        return ~self.spans.completing(history.ids_BL, vocab)

    def add(self, ids_B: np.ndarray) -> None:
        """Nothing to note: the history has it."""


Limits = Callable[[int], Sequence[Constraint]]  # for so many rows


def make_limits(tokenizer: Tokenizer, config: SampleConfig, spans: Spans | None) -> Limits:
    """Return what makes the limits that config asks for; spans: what --novel must not complete.

    Raises UsageError where a model cannot have them.
    """
    if config.match is not None:
        if not isinstance(tokenizer, CharTokenizer):
            problem = f"works with characters, this model writes {tokenizer.noun}"
            raise UsageError("--match", problem, "leave it out")
        allowed_V = allowed_ids(tokenizer, config)
        pattern = Regex.compile(config.match, tokenizer.codepoints, allowed_V)
        pattern.reaches(config.length)
        return lambda rows: [MatchesRegex(pattern, rows)]
    if spans is None:
        return lambda rows: []
    return lambda rows: [CopiesNothing(spans)]


def allowed_ids(tokenizer: Tokenizer, config: SampleConfig) -> np.ndarray:
    """Return which ids (V,) may be drawn at all; raise UsageError if none may.

    The mark, which ends an item, is among them whatever is banned, but not beside a pattern, which
    ends a text itself.
    """
    allowed = np.asarray(tokenizer.counts > 0)
    if tokenizer.mark is not None:
        allowed[tokenizer.mark] = False
    if tokenizer.spelling is None:
        allowed[UNKNOWN] = False
        _restrict_characters(tokenizer, config, allowed)
    else:
        _restrict_units(tokenizer, config, allowed)
    if not allowed.any():
        option = "--only" if config.only else "--ban"
        number = sum(symbol not in (b"", MARK) for symbol in tokenizer.symbols())
        known = f"none of the model's {number} {tokenizer.noun}"
        raise UsageError(option, f"leaves {known} to write", "allow some of them")
    if tokenizer.mark is not None:
        allowed[tokenizer.mark] = config.match is None
    return allowed


def _restrict_characters(tokenizer: Tokenizer, config: SampleConfig, allowed: np.ndarray) -> None:
    if config.only:
        only = np.zeros_like(allowed)
        only[tokenizer.encode(expand(config.only, "--only"), "skip")] = True
        allowed &= only
    allowed[tokenizer.encode(expand(config.ban, "--ban"), "skip")] = False


def _restrict_units(tokenizer: Tokenizer, config: SampleConfig, allowed: np.ndarray) -> None:
    """Bar ids whose text holds a banned character, or one beyond --only.

    A single byte of several that make a character is barred if it begins a banned one, and by
    every --only.
    """
    banned, only = (_named(tokenizer, config, option) for option in ("ban", "only"))
    first_bytes = {char.encode("utf-8", "replace")[:1] for char in banned if not char.isascii()}
    for one, symbol in enumerate(tokenizer.symbols()):
        text = symbol.decode("utf-8", "ignore")
        wrong = not banned.isdisjoint(text) or symbol in first_bytes
        if wrong or not symbol or (config.only and not (text and only.issuperset(text))):
            allowed[one] = False


def _named(tokenizer: Tokenizer, config: SampleConfig, option: str) -> set[str]:
    """Return the characters that --ban or --only names; UsageError if bytes cannot be told so."""
    characters = set(expand(getattr(config, option), f"--{option}"))
    _refuse_beyond_bytes(tokenizer, characters, f"--{option}")
    return characters


def _refuse_beyond_bytes(tokenizer: Tokenizer, characters: Iterable[str], subject: str) -> None:
    beyond = sorted(char for char in characters if not char.isascii())
    if tokenizer.kind == ByteTokenizer.kind and beyond:
        problem = f"{beyond[0]!r} is several bytes, and this model writes bytes"
        raise UsageError(subject, problem, "name characters of ASCII only")


def bias_of(tokenizer: Tokenizer, config: SampleConfig) -> np.ndarray:
    """Return what --bias adds to the score of each id (V,): of all characters of its text."""
    added = np.zeros(tokenizer.size)
    biases = parse_bias(config.bias)
    if tokenizer.spelling is None:
        for char, value in biases.items():
            added[tokenizer.encode(char, "skip")] = value
    elif biases:
        _refuse_beyond_bytes(tokenizer, biases, "--bias")
        for one, symbol in enumerate(tokenizer.symbols()):
            text = symbol.decode("utf-8", "ignore")
            added[one] = sum(biases.get(char, 0.0) for char in text)
    return added
