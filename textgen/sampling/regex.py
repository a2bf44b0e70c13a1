r"""Text that matches a regular expression: its states, and how far each is from a match.

The whole new text has to match, as in `re.fullmatch`. Python's own parser reads the expression, and
it becomes a deterministic automaton over classes of characters that it does not tell apart. The
distance of each state from the nearest match, in characters of the model, steers the draw: no
character is allowed from which a match is out of reach.

    >>> regex = Regex.compile(r"\d{4}-\d{2}", tokenizer.codepoints, tokenizer.counts > 0)
    >>> regex.check_length(100)
    >>> digits_BV = regex.allowed(np.array([regex.start]), remaining=100)

Understood, each as Python's `re` understands it:

    x . \. \n \x41 \u00e9 \N{BULLET}    characters; . is any but the newline, with (?s) any
    \d \w \s \D \W \S                   those of Unicode that the model has; with (?a) of ASCII
    [abc] [a-z] [^eE] []x] [\w-]        sets
    xy x|y (x) (?:x) (?P<name>x)        sequences, alternatives, groups
    x* x+ x? x{3} x{2,} x{,5} x{2,5}    counts; a ? behind them changes nothing here
    (?=x) (?!x)                         lookahead, also beyond its group and inside another
    (?i) (?s) (?x) (?a) (?i:x) (?-i:x)  flags; (?m) and (?u) change nothing here
    ^ at the beginning, $ at the end    change nothing here
    (?#comment)                         is passed over

Refused: lookbehind, references to groups, conditions, atomic groups, possessive counts (x*+), other
anchors (\b \B \A \Z; ^ and $ elsewhere), and what needs more than 20,000 states.

Shapes: V ids, B rows, S states, K classes of characters, N sets of them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

# CPython's parser of regular expressions, under these names since 3.11. It is not public; this is
# the only place that knows it.
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np

from textgen.errors import UsageError
from textgen.sampling.automaton import DONE, END, EVERY, UNREACHABLE, Automaton

# Characters of an expression that an error repeats.
LONGEST_QUOTED = 80
# What a part of an expression counts as, once for each repetition: about as long as so many steps.
STEPS_OF_A_PART = 30

CATEGORIES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_NOT_WORD: r"\W",
}
# A flag of these takes the place of another one.
ALPHABETS = re.ASCII | re.UNICODE
# What decides which characters a set holds.
FLAGS_OF_SETS = re.IGNORECASE | re.DOTALL | re.ASCII
UNSUPPORTED = {
    op.AT: "an anchor",
    op.GROUPREF: "a reference to a group",
    op.GROUPREF_EXISTS: "a condition",
    op.ATOMIC_GROUP: "an atomic group",
}


class Regex:
    """A regular expression over a model's characters, as a table of states.

    start: the state before the first character.
    """

    start = 1

    def __init__(
        self, quoted: str, class_V: np.ndarray, next_SK: np.ndarray, distance_S: np.ndarray
    ) -> None:
        self._quoted, self._class_V = quoted, class_V
        self._next_SK, self._distance_S = next_SK, distance_S

    @classmethod
    def compile(cls, regex: str, codepoints: np.ndarray, allowed_V: np.ndarray) -> Regex:
        """Return the states of a regular expression, as a rule in milliseconds.

        Args:
            regex: in the syntax of `re`.
            codepoints: (V-1,) uint32, the characters of ids 1 to V-1.
            allowed_V: bool, which ids may be drawn at all; the others lead nowhere, nor does id 0.

        Raises:
            UsageError: where it is not a valid expression, has a part that is not supported, or is
                too large, which is found out within seconds.
        """
        quoted = f"'{regex}'" if len(regex) <= LONGEST_QUOTED else f"'{regex[:LONGEST_QUOTED]}...'"
        try:
            parts, flags = _parse(quoted, regex)
            builder = Builder(Automaton(quoted))
            first = builder.add_sequence(parts, flags, END)
            class_V = builder.automaton.classify(builder.members(codepoints, allowed_V))
            next_SK, distance_S = builder.automaton.find_states(first)
        except RecursionError:
            problem = f"{quoted} is nested too deeply"
            raise UsageError("--match", problem, "use fewer brackets") from None
        return cls(quoted, class_V, next_SK, distance_S)

    def check_length(self, length: int) -> None:
        """Raise UsageError if no text of at most length characters matches."""
        shortest = int(self._distance_S[self.start])
        if shortest == UNREACHABLE:
            problem = f"no text of this model's characters matches {self._quoted}"
            raise UsageError("--match", problem, "ask for characters that the training text held")
        if shortest > length:
            problem = f"{self._quoted} needs {shortest:,} characters, --length is {length:,}"
            raise UsageError("--match", problem, f"give --length {shortest} or more")

    def allowed(self, states_B: np.ndarray, remaining: int) -> np.ndarray:
        """Return which characters (B, V) leave a match within reach.

        remaining: characters left to write, the one to be chosen included. A row without any is at
        the end of its text, which matches if all its characters were allowed.
        """
        near_BK = self._distance_S[self._next_SK[states_B]] < remaining
        return np.asarray(near_BK[:, self._class_V])

    def step(self, states_B: np.ndarray, ids_B: np.ndarray) -> np.ndarray:
        """Return the states (B,) after one more character each; from one not allowed no way on."""
        return np.asarray(self._next_SK[states_B, self._class_V[ids_B]])

    def accepts(self, state: int) -> bool:
        """Return whether the text that led to state matches."""
        return bool(self._distance_S[state] == 0)


class Builder:
    """What makes the nodes of an automaton from the parts of an expression.

    A part is what `re` parsed: an operation and its argument.
    """

    def __init__(self, automaton: Automaton) -> None:
        self.automaton = automaton
        # The number of each set, by its source and its flags.
        self._sets: dict[tuple[str, int], int] = {}

    def add_sequence(self, parts: Sequence[Any], flags: int, after: int) -> int:
        """Return the node at which parts begin, when node `after` follows them."""
        self.automaton.spend(STEPS_OF_A_PART * max(1, len(parts)))
        for operation, argument in reversed(parts):
            after = self._add_part(operation, argument, flags, after)
        return after

    def _add_part(self, operation: Any, argument: Any, flags: int, after: int) -> int:
        match operation:
            case op.LITERAL | op.NOT_LITERAL | op.ANY | op.IN:
                key = _source_of_set(operation, argument), flags & FLAGS_OF_SETS
                number = self._sets.setdefault(key, len(self._sets) + 1)
                return self.automaton.add(after, reads=number)
            case op.SUBPATTERN:
                _, added, removed, parts = argument
                kept = flags & ~ALPHABETS if added & ALPHABETS else flags
                return self.add_sequence(parts, (kept | added) & ~removed, after)
            case op.BRANCH:
                _, branches = argument
                ways = [self.add_sequence(branch, flags, after) for branch in branches]
                return self.automaton.add(*ways)
            case op.MAX_REPEAT | op.MIN_REPEAT:
                fewest, most, parts = argument
                return self._add_repeat(fewest, most, parts, flags, after)
            case op.ASSERT | op.ASSERT_NOT if argument[0] > 0:
                inner = self.add_sequence(argument[1], flags, DONE)
                return self.automaton.add(after, lookahead=(operation == op.ASSERT_NOT, inner))
            # An empty negative lookahead, which never holds.
            case op.FAILURE:
                return self.automaton.add()
        raise self._unsupported(operation)

    def _add_repeat(self, fewest: int, most: int, parts: Any, flags: int, after: int) -> int:
        if most == op.MAXREPEAT:
            loop = self.automaton.add()
            self.automaton.replace(loop, self.add_sequence(parts, flags, loop), after)
            after = loop
        else:
            end = after
            for _ in range(most - fewest):
                after = self.automaton.add(self.add_sequence(parts, flags, after), end)
        for _ in range(fewest):
            after = self.add_sequence(parts, flags, after)
        return after

    def members(self, codepoints: np.ndarray, allowed_V: np.ndarray) -> np.ndarray:
        """Return which ids each set holds (N, V); the first is the set of all."""
        text = "".join(map(chr, codepoints.tolist()))
        members_NV = np.zeros((len(self._sets) + 1, len(allowed_V)), dtype=bool)
        for members_V, (source, flags) in zip(members_NV[1:], self._sets, strict=True):
            # The id of a character is its place in text, counted from 1.
            members_V[[match.end() for match in re.finditer(source, text, flags)]] = True
        members_NV &= allowed_V
        members_NV[EVERY] = True
        return members_NV

    def _unsupported(self, operation: Any) -> UsageError:
        if operation in (op.ASSERT, op.ASSERT_NOT):
            return self.automaton.refused("looks behind", "look ahead instead, with (?= or (?!")
        if operation == op.POSSESSIVE_REPEAT:
            return self.automaton.refused("has a possessive count", "leave the second + out")
        part = UNSUPPORTED.get(operation, str(operation).lower())
        problem = f"has a part that is not supported: {part}"
        return self.automaton.refused(problem, "leave it out, or say it in another way")


def _parse(quoted: str, regex: str) -> tuple[list[Any], int]:
    """Return the parts of an expression, each (operation, argument), and its flags."""
    try:
        with warnings.catch_warnings():
            # [[ may mean a nested set one day.
            warnings.simplefilter("ignore", FutureWarning)
            tree = _parser.parse(regex)
    except (re.error, ValueError, OverflowError) as error:
        fix = r"put a \ before characters that mean themselves"
        raise UsageError("--match", f"{quoted} is malformed: {error}", fix) from None
    return _without_anchors(tree), tree.state.flags


def _without_anchors(parts: Sequence[Any]) -> list[Any]:
    """Return an expression without ^ at its beginning and $ at its end, where they always hold."""
    begin = 1 if len(parts) and parts[0] == (op.AT, op.AT_BEGINNING) else 0
    end = len(parts) - (len(parts) > begin and parts[-1] == (op.AT, op.AT_END))
    inner = list(parts[begin:end])
    if len(inner) == 1 and inner[0][0] == op.BRANCH:
        return [(op.BRANCH, (None, [_without_anchors(branch) for branch in inner[0][1][1]]))]
    return inner


def _source_of_set(operation: Any, argument: Any) -> str:
    """Return an expression for what reads one character, so that `re` says which those are."""
    match operation:
        case op.ANY:
            return "."
        case op.IN:
            return f"[{''.join(_source_of_item(*item) for item in argument)}]"
        case op.NOT_LITERAL:
            return f"[^{_escape(argument)}]"
    return _escape(argument)


def _source_of_item(operation: Any, argument: Any) -> str:
    match operation:
        case op.NEGATE:
            return "^"
        case op.CATEGORY:
            return CATEGORIES[argument]
        case op.RANGE:
            return "-".join(map(_escape, argument))
    return _escape(argument)


def _escape(code_point: int) -> str:
    return f"\\U{code_point:08x}"
