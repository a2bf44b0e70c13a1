r"""Text that matches a regular expression: its states, and how far each is from a match.

The whole new text has to match, as in `re.fullmatch`. A pattern becomes a deterministic automaton
over classes of characters that it does not tell apart; the distance of each state from the nearest
match, in characters of the model, steers the draw: no character is allowed from which a match is
out of reach.

    >>> pattern = Pattern.compile(r"\d{4}-\d{2}", tokenizer.codepoints, tokenizer.counts > 0)
    >>> pattern.reaches(100)
    >>> digits_BV = pattern.allowed(np.array([pattern.start]), remaining=100)

Understood, each as Python's `re` understands it:

    x . \. \n \x41 \u00e9 \N{BULLET}    characters; . is any but the newline, with (?s) any
    \d \w \s \D \W \S                   those of Unicode that the model has
    [abc] [a-z] [^eE] []x] [\w-]        sets
    xy x|y (x) (?:x) (?P<name>x)        sequences, alternatives, groups
    x* x+ x? x{3} x{2,} x{,5} x{2,5}    counts; a ? behind them changes nothing here
    (?=x) (?!x)                         lookahead, also beyond its group and inside another
    (?i) (?s) (?m) (?i:x) (?-i:x)       flags; (?m) changes nothing here
    ^ at the beginning, $ at the end    change nothing here
    (?#comment)                         is passed over

Refused: lookbehind, references to groups, conditions, atomic groups, possessive counts (x*+), a
count of lookaheads, the flags a, L, u and x, other anchors (\b \B \A \Z; ^ and $ elsewhere), and
what needs more than 20,000 states.

Shapes: V ids, B rows, S states, K classes of characters.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from typing import Any

import numpy as np

from textgen.errors import MachineError, UsageError
from textgen.sampling.automaton import FAR, Automaton

LONGEST_QUOTED = 80  # characters of a pattern that an error repeats

# interegular 0.3.3 reads some pieces otherwise than `re` without a word ([]x], [\D\W], x{}, \w and
# (?i) beyond ASCII), and others not at all. So each becomes one character before it parses, and
# `re` itself says which characters the piece stands for. What is not in the group falls away.
PIECES = re.compile(
    r"""( \\ (?: x.{2} | u.{4} | U.{8} | N\{[^}]*\} | 0[0-7]{0,2} | [1-7][0-7]{2} | [^1-9AbBZz] )
        | \[ \^? \]? (?: \\. | [^]\\] )* \]
        | \{ (?! [0-9]+ (?: ,[0-9]* )? \} | ,[0-9]*\} )  # a brace that begins no count
        )
    | \(\?\# [^)]* \) | \A\^ | \$\Z""",
    re.VERBOSE | re.DOTALL,
)


class Regex:
    """A regular expression over a model's characters, as a table of states.

    start: the state before the first character.
    """

    def __init__(
        self, shown: str, class_V: np.ndarray, table_SK: np.ndarray, distance_S: np.ndarray
    ) -> None:
        self.start = 1
        self._shown, self._class_V = shown, class_V
        self._table_SK, self._distance_S = table_SK, distance_S

    @classmethod
    def compile(cls, regex: str, codepoints: np.ndarray, allowed_V: np.ndarray) -> Regex:
        """Return the states of regex, as a rule in milliseconds.

        codepoints: (V-1,) uint32, the characters of ids 1 to V-1. allowed_V: bool, which ids may
        be drawn at all; the others lead nowhere, nor does id 0.
        Raises UsageError, within seconds where regex is too large; MachineError without
        interegular.
        """
        shown = f"'{regex}'" if len(regex) <= LONGEST_QUOTED else f"'{regex[:LONGEST_QUOTED]}...'"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # [[ may mean a nested set one day
                automaton = Automaton(shown, *_parse(shown, regex))
                class_V = automaton.classify(codepoints, allowed_V)
            table_SK, distance_S = automaton.table(int(class_V.max()) + 1)
        except RecursionError:
            problem = f"{shown} is nested too deeply"
            raise UsageError("--match", problem, "use fewer brackets") from None
        return cls(shown, class_V, table_SK, distance_S)

    def reaches(self, length: int) -> None:
        """Raise UsageError if no text of at most length characters matches."""
        shortest = int(self._distance_S[self.start])
        if shortest == FAR:
            problem = f"no text of this model's characters matches {self._shown}"
            raise UsageError("--match", problem, "ask for characters that the training text held")
        if shortest > length:
            problem = f"{self._shown} needs {shortest:,} characters, --length is {length:,}"
            raise UsageError("--match", problem, f"give --length {shortest} or more")

    def allowed(self, states_B: np.ndarray, remaining: int) -> np.ndarray:
        """Return which characters (B, V) leave a match within reach.

        remaining: characters left to write, the one to be chosen included. A row without any is at
        the end of its text, which matches if all its characters were allowed.
        """
        near_BK = self._distance_S[self._table_SK[states_B]] < remaining
        return np.asarray(near_BK[:, self._class_V])

    def step(self, states_B: np.ndarray, ids_B: np.ndarray) -> np.ndarray:
        """Return the states (B,) after one more character each; from one not allowed no way on."""
        return np.asarray(self._table_SK[states_B, self._class_V[ids_B]])

    def accepts(self, state: int) -> bool:
        """Return whether the text that led to state matches."""
        return bool(self._distance_S[state] == 0)


def _parse(shown: str, regex: str) -> tuple[Any, int, dict[str, str]]:
    """Return regex as interegular's tree, its flags, and the pieces that characters stand for."""
    try:
        from interegular import patterns
    except ImportError:
        fix = "pip install 'textgen-rnn[match]'"
        raise MachineError("--match", "patterns need interegular", fix) from None
    try:
        flags = re.compile(regex).flags
    except (re.error, ValueError, OverflowError) as error:
        fix = r"put a \ before characters that mean themselves"
        raise UsageError("--match", f"{shown} is malformed: {error}", fix) from None
    free = (char for char in map(chr, range(0xE000, 0x110000)) if char not in regex)
    names: dict[str, str] = defaultdict(lambda: next(free))
    text = PIECES.sub(lambda found: names[found[1]] if found[1] else "", regex)
    try:
        # Its parse_pattern would also simplify, which loses the flags of ((?-i:x)).
        parser: Any = patterns._ParsePattern(text)
        tree = parser.parse()
    except (patterns.Unsupported, patterns.InvalidSyntax) as error:
        problem = f"{shown} has a part that is not supported" + f": {error}" * bool(str(error))
        raise UsageError("--match", problem, "leave it out, or say it in another way") from None
    return tree, flags, {name: piece for piece, name in names.items()}
