"""Hard limits: what may be written at all, whatever the model and the filters say.

Bans, a regular expression that the text has to match, spans that it must not copy. A text that may
not be continued has ended.

Shapes: B rows of text, V vocabulary.

    >>> constraints = Constraints.of(tokenizer, SampleConfig(ban="eE"))
    >>> steps = generate(engine, tokenizer, config, constraints=constraints)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from textgen.config import SampleConfig, expand, parse_bias
from textgen.data import Spans
from textgen.errors import UsageError
from textgen.sampling.filters import History
from textgen.tokenizers import BOUNDARY, UNKNOWN, ByteTokenizer, CharTokenizer, Spelling, Tokenizer

if TYPE_CHECKING:
    from textgen.sampling.regex import Regex


class Constraint(Protocol):
    """A hard limit on what may be written, for as long as the rows of one `generate` grow."""

    # Why a text ends that cannot be continued.
    reason: str

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
        self.states_B = np.array([spelling.state(begun) for begun in pending])

    def allowed(self, history: History, remaining: int) -> np.ndarray:
        """Return which ids (B, V) continue a character, or begin one where none is begun."""
        return np.asarray(self.spelling.allowed_SV[self.states_B])

    def add(self, ids_B: np.ndarray) -> None:
        """Go on to the next states."""
        self.states_B = self.spelling.next_SV[self.states_B, ids_B]


class MatchesRegex:
    """The limit of `sample --match`: every row is on the way to a match."""

    reason = "match"

    def __init__(self, regex: Regex, rows: int) -> None:
        self.regex = regex
        self.states_B = np.full(rows, regex.start)

    def allowed(self, history: History, remaining: int) -> np.ndarray:
        """Return which ids (B, V) leave a match within reach of the remaining characters."""
        return self.regex.allowed(self.states_B, remaining)

    def add(self, ids_B: np.ndarray) -> None:
        """Go on to the next states."""
        self.states_B = self.regex.step(self.states_B, ids_B)


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


@dataclass(frozen=True)
class Constraints:
    """What the texts of one request may hold, made once and shared by all of them.

    allowed_V: bool, which ids may be drawn at all. bias_V: float64, what --bias adds to their
    scores. spelling: which bytes may follow each other, None where every id is a character.
    regex: what a text has to match. spans: what no text may complete.
    """

    allowed_V: np.ndarray
    bias_V: np.ndarray
    spelling: Spelling | None = None
    regex: Regex | None = None
    spans: Spans | None = None

    @classmethod
    def of(
        cls, tokenizer: Tokenizer, config: SampleConfig, spans: Spans | None = None
    ) -> Constraints:
        """Return what config asks for.

        Args:
            tokenizer: of the model that writes.
            config: of which ban, only, bias, match and length count.
            spans: those that --novel must not complete, None without --novel.

        Raises:
            UsageError: where nothing is left to write, or the model cannot do what is asked.
        """
        allowed_V = _allowed_ids(tokenizer, config)
        bias_V = _bias(tokenizer, config)
        regex = _regex(tokenizer, config, allowed_V)
        return cls(allowed_V, bias_V, tokenizer.spelling, regex, spans)

    def for_rows(self, pending: Sequence[bytes]) -> list[Constraint]:
        """Return what steers rows of text as they grow.

        Args:
            pending: of each row the bytes of a character that is not whole yet.
        """
        constraints: list[Constraint] = []
        if self.spelling is not None:
            constraints.append(WholeCharacters(self.spelling, pending))
        if self.regex is not None:
            constraints.append(MatchesRegex(self.regex, len(pending)))
        if self.spans is not None:
            constraints.append(CopiesNothing(self.spans))
        return constraints


def _regex(tokenizer: Tokenizer, config: SampleConfig, allowed_V: np.ndarray) -> Regex | None:
    """Return the states of --match; raise UsageError where no text of --length matches."""
    if config.match is None:
        return None
    if not isinstance(tokenizer, CharTokenizer):
        problem = f"works with characters, this model writes {tokenizer.noun}"
        raise UsageError("--match", problem, "leave it out")
    # Imported for --match alone, so that other text comes sooner.
    from textgen.sampling.regex import Regex

    regex = Regex.compile(config.match, tokenizer.codepoints, allowed_V)
    regex.check_length(config.length)
    return regex


def _allowed_ids(tokenizer: Tokenizer, config: SampleConfig) -> np.ndarray:
    """Return which ids (V,) may be drawn at all; raise UsageError if none may.

    The boundary, which ends a record, is allowed whatever is banned, but not with a regular
    expression, which ends a text itself.
    """
    allowed = np.asarray(tokenizer.counts > 0)
    if tokenizer.boundary_id is not None:
        allowed[tokenizer.boundary_id] = False
    if tokenizer.spelling is None:
        allowed[UNKNOWN] = False
        _restrict_characters(tokenizer, config, allowed)
    else:
        _restrict_pieces(tokenizer, config, allowed)
    if not allowed.any():
        option = "--only" if config.only else "--ban"
        number = sum(symbol not in (b"", BOUNDARY) for symbol in tokenizer.symbols())
        known = f"none of the model's {number} {tokenizer.noun}"
        raise UsageError(option, f"leaves {known} to write", "allow some of them")
    if tokenizer.boundary_id is not None:
        allowed[tokenizer.boundary_id] = config.match is None
    return allowed


def _restrict_characters(tokenizer: Tokenizer, config: SampleConfig, allowed: np.ndarray) -> None:
    if config.only:
        only = np.zeros_like(allowed)
        only[tokenizer.encode(expand(config.only, "--only"), "skip")] = True
        allowed &= only
    allowed[tokenizer.encode(expand(config.ban, "--ban"), "skip")] = False


def _restrict_pieces(tokenizer: Tokenizer, config: SampleConfig, allowed: np.ndarray) -> None:
    """Bar ids whose text holds a banned character, or one beyond --only.

    A single byte of several that make a character is barred if it begins a banned one, and by
    every --only.
    """
    banned, only = (_named_characters(tokenizer, config, option) for option in ("ban", "only"))
    first_bytes = {char.encode("utf-8", "replace")[:1] for char in banned if not char.isascii()}
    for index, symbol in enumerate(tokenizer.symbols()):
        text = symbol.decode("utf-8", "ignore")
        wrong = not banned.isdisjoint(text) or symbol in first_bytes
        if wrong or not symbol or (config.only and not (text and only.issuperset(text))):
            allowed[index] = False


def _named_characters(tokenizer: Tokenizer, config: SampleConfig, option: str) -> set[str]:
    """Return the characters that --ban or --only names; UsageError if bytes cannot be told so."""
    characters = set(expand(getattr(config, option), f"--{option}"))
    _refuse_beyond_bytes(tokenizer, characters, f"--{option}")
    return characters


def _refuse_beyond_bytes(tokenizer: Tokenizer, characters: Iterable[str], subject: str) -> None:
    beyond = sorted(char for char in characters if not char.isascii())
    if tokenizer.kind == ByteTokenizer.kind and beyond:
        problem = f"{beyond[0]!r} is several bytes, and this model writes bytes"
        raise UsageError(subject, problem, "name characters of ASCII only")


def _bias(tokenizer: Tokenizer, config: SampleConfig) -> np.ndarray:
    """Return what --bias adds to the score of each id (V,): of all characters of its text."""
    added = np.zeros(tokenizer.size)
    biases = parse_bias(config.bias)
    if biases:
        if tokenizer.spelling is not None:
            _refuse_beyond_bytes(tokenizer, biases, "--bias")
        for index, symbol in enumerate(tokenizer.symbols()):
            text = symbol.decode("utf-8", "ignore")
            added[index] = sum(biases.get(char, 0.0) for char in text)
    return added
