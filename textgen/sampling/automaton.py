"""The states of a regular expression: the search behind `regex`.

A parsed pattern becomes nodes, and sets of threads at nodes become the states of a table.

    >>> automaton = Automaton("'a*'", tree, flags, pieces)
    >>> class_V = automaton.classify(tokenizer.codepoints, tokenizer.counts > 0)
    >>> table_SK, distance_S = automaton.table(int(class_V.max()) + 1)

Shapes: V ids, S states, K classes of characters, N sets of characters.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from textgen.errors import UsageError

STATES = 20_000  # of an automaton, at most; uint16 holds their numbers
STEPS = 3_000_000  # of finding the states, at most; takes about a second
PART = 30  # steps that a part of a pattern counts as, once for each repetition
SMALLER = "use smaller counts, or let a character that a repeated set lacks follow it"
FAR = 1 << 62  # the distance of a state from which nothing matches

END, DONE = 0, 1  # nodes: the end of the text, the end of a lookahead
EVERY = 0  # the set of all characters, which a lookahead that is done reads on
NONE: frozenset[Any] = frozenset()
FLAGS = {"CASE_INSENSITIVE": re.IGNORECASE, "SINGLE_LINE": re.DOTALL}  # interegular's names

Thread = tuple[int, frozenset[Any]]  # a node, and the open lookaheads: (negated, their threads)
ThreadSet = frozenset[Thread]


class _Node(NamedTuple):
    """A point of a pattern: reads a character of a set, or nothing, and leads on.

    look: a lookahead that has to hold from here on: whether negated, and the node it begins at.
    """

    ways: tuple[int, ...]
    reads: int | None = None
    look: tuple[bool, int] | None = None


class Automaton:
    """The nodes of a pattern (Thompson, 1968), and the search for its states.

    A state is a set of threads, each at a node. A thread lives while the lookaheads that it has
    met go on; these are sets of threads too, so a lookahead may hold others.

    interegular could make the states as well, but without a limit: on (a|b)*a(a|b){30} it works
    until memory ends. And its lookaheads end with their group.
    """

    def __init__(self, shown: str, tree: Any, flags: int, pieces: dict[str, str]) -> None:
        self._nodes = [_Node(()), _Node((DONE,), EVERY)]
        self._sets: dict[tuple[str, int], int] = {}  # (piece, flags): number
        self._shown, self._pieces, self._steps = shown, pieces, 0
        self._first = self._build(tree, flags, END)
        self._classes: list[list[int]] = []  # of each set
        # Many threads meet the same nodes and lookaheads.
        self._closed, self._ahead = cache(self._close), cache(self._follow)

    def _build(self, tree: Any, flags: int, after: int) -> int:
        """Return the node at which tree begins, when node `after` follows it."""
        self._spend(PART)
        match type(tree).__name__.strip("_"):  # by name, as the classes are imported in _parse
            case "Pattern":
                flags |= sum(FLAGS.get(one.name, 0) for one in tree.added_flags)
                flags &= ~sum(FLAGS.get(one.name, 0) for one in tree.removed_flags)
                return self._add(*(self._build(one, flags, after) for one in tree.options))
            case "Concatenation":
                for part in reversed(tree.parts):
                    after = self._build(part, flags, after)
                return after
            case "Repeated":
                return self._repeat(tree, flags, after)
            case "NonCapturing" if tree.backwards:
                raise self._refused("looks behind", "look ahead instead, with (?= or (?!")
            case "NonCapturing":
                return self._add(after, look=(tree.negate, self._build(tree.inner, flags, DONE)))
            case "EmptyCls":  # (?i)
                return after
            case kind:
                char = "." if kind == "DotCls" else "".join(tree.chars)
                key = self._pieces.get(char, char), flags & (re.IGNORECASE | re.DOTALL)
                return self._add(after, reads=self._sets.setdefault(key, len(self._sets) + 1))

    def _repeat(self, tree: Any, flags: int, after: int) -> int:
        if type(tree.base) is type(tree):  # interegular reads x*+ as (x*)+
            raise self._refused("has a possessive count", "leave the second + out")
        if tree.max is None:
            loop = self._add()
            self._nodes[loop] = _Node((self._build(tree.base, flags, loop), after))
            after = loop
        else:
            end = after
            for _ in range(tree.max - tree.min):
                after = self._add(self._build(tree.base, flags, after), end)
        for _ in range(tree.min):
            after = self._build(tree.base, flags, after)
        return after

    def _add(self, *ways: int, **more: Any) -> int:
        self._nodes.append(_Node(ways, **more))
        return len(self._nodes) - 1

    def classify(self, codepoints: np.ndarray, allowed_V: np.ndarray) -> np.ndarray:
        """Return the class of each id (V,): ids that are in the same sets share one."""
        text = "".join(map(chr, codepoints.tolist()))
        members_NV = np.zeros((len(self._sets) + 1, len(allowed_V)), dtype=bool)
        for row, (piece, flags) in zip(members_NV[1:], self._sets, strict=True):
            row[[found.end() for found in re.finditer(piece, text, flags)]] = True
        members_NV &= allowed_V
        members_NV[EVERY] = True
        bits_V = np.packbits(members_NV, axis=0).T
        class_V = np.unique(bits_V, axis=0, return_inverse=True)[1].reshape(-1)
        self._classes = [np.unique(class_V[row]).tolist() for row in members_NV]
        return class_V

    def table(self, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the next state of each state and class (S, K), and the distances (S,).

        State 0 is that without threads; 1 is the first.
        """
        states: list[ThreadSet] = [NONE, self._closed((self._first, NONE))]
        numbers = {states[1]: 1} | {NONE: 0}
        rows, before = [], defaultdict(set)
        for state, threads in enumerate(states):  # which grows meanwhile
            row = np.zeros(classes, dtype=np.uint16)
            for one, following in self._follow(threads).items():
                target = numbers.setdefault(following, len(states))
                if target == STATES:
                    raise self._refused(f"needs more than {STATES:,} states", SMALLER)
                if target == len(states):
                    states.append(following)
                row[one] = target
                before[target].add(state)
            rows.append(row)
        accepting = [state for state, threads in enumerate(states) if _accepts(threads)]
        return np.stack(rows), _distances(accepting, before, len(states))

    def _follow(self, threads: ThreadSet) -> dict[int, ThreadSet]:
        """Return the threads after one more character, for each class that leads on."""
        parts: dict[int, list[ThreadSet]] = defaultdict(list)
        for node, looks in threads:
            ways, reads, _ = self._nodes[node]
            for one in self._classes[reads] if reads is not None else ():
                still = _settle((no, self._ahead(inner).get(one, NONE)) for no, inner in looks)
                if still is not None:
                    parts[one].append(self._closed((ways[0], still)))
        united = sum(len(part) for found in parts.values() for part in found[1:])
        self._spend(len(threads) + sum(map(len, parts.values())) + united)
        return {one: found[0].union(*found[1:]) for one, found in parts.items()}

    def _close(self, thread: Thread) -> ThreadSet:
        """Return the threads that read a character next, or end, as far as thread leads."""
        todo, seen, found = [thread], {thread}, []
        while todo:
            node, looks = one = todo.pop()
            ways, reads, look = self._nodes[node]
            if reads is not None or node == END:
                found.append(one)
                continue
            if look:
                still = _settle([*looks, (look[0], self._closed((look[1], NONE)))])
                if still is None:
                    continue
                looks = still
            further = {(way, looks) for way in ways} - seen
            todo += further
            seen |= further
        self._spend(len(seen))
        return frozenset(found)

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > STEPS:
            raise self._refused(f"takes more than {STEPS:,} steps to work out", SMALLER)

    def _refused(self, problem: str, fix: str) -> UsageError:
        return UsageError("--match", f"{self._shown} {problem}", fix)


def _settle(looks: Iterable[tuple[bool, ThreadSet]]) -> frozenset[Any] | None:
    """Return the lookaheads that are still open; None if one has failed."""
    still = set()
    for negated, threads in looks:
        if threads and (DONE, NONE) not in threads:
            still.add((negated, threads))
        elif bool(threads) == negated:
            return None
    return frozenset(still)


def _accepts(threads: ThreadSet) -> bool:
    """Return whether a text may end here, and with it all open lookaheads."""
    return any(
        node in (END, DONE) and all(negated != _accepts(inner) for negated, inner in looks)
        for node, looks in threads
    )


def _distances(accepting: list[int], before: dict[int, set[int]], states: int) -> np.ndarray:
    """Return the fewest characters from each state to an accepting one, breadth first."""
    distance_S = np.full(states, FAR)
    distance_S[accepting] = 0
    for state in accepting:  # which grows meanwhile
        nearer = [one for one in before[state] if distance_S[one] == FAR]
        distance_S[nearer] = distance_S[state] + 1
        accepting += nearer
    return distance_S
