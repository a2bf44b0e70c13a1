"""A deterministic automaton from the nodes of an expression: the search behind `regex`.

Nodes are added from the end of the text backwards; sets of threads at nodes become the states of a
table.

    >>> automaton = Automaton("'a*'")
    >>> loop = automaton.add()
    >>> automaton.replace(loop, automaton.add(loop, reads=1), END)
    >>> class_V = automaton.classify(members_NV)
    >>> next_SK, distance_S = automaton.find_states(loop)

Shapes: V ids, S states, K classes of ids, N sets of ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np

from textgen.errors import UsageError

# What an automaton may hold; uint16 holds their numbers.
MOST_STATES = 20_000
# Of finding the states, which takes about a second then. Some expressions, such as
# (a|b)*a(a|b){30}, would otherwise go on until the memory ends.
MOST_STEPS = 3_000_000
USE_SMALLER = "use smaller counts, or let a character that a repeated set lacks follow it"
# The distance of a state from which nothing matches.
UNREACHABLE = 1 << 62

# Nodes: the end of the text, the end of a lookahead.
END, DONE = 0, 1
# The set of all ids, which a lookahead that is done reads on.
EVERY = 0

# The open lookaheads of a thread, each whether it is negated, and its own threads.
Lookaheads = frozenset[tuple[bool, "ThreadSet"]]
# A node, and the lookaheads that have to hold from there on.
Thread = tuple[int, Lookaheads]
ThreadSet = frozenset[Thread]
NO_LOOKAHEADS: Lookaheads = frozenset()
NO_THREADS: ThreadSet = frozenset()


class Node(NamedTuple):
    """A point of an expression: reads a character of a set, or nothing, and leads on.

    lookahead: what has to hold from here on: whether negated, and the node it begins at.
    """

    ways: tuple[int, ...]
    reads: int | None = None
    lookahead: tuple[bool, int] | None = None


class Automaton:
    """The nodes of an expression (Thompson, 1968), and the search for its states.

    A state is a set of threads, each at a node. A thread lives while the lookaheads that it has
    met go on; these are sets of threads too, so a lookahead may hold others.

    quoted: the expression, as errors show it.
    """

    def __init__(self, quoted: str) -> None:
        self._quoted = quoted
        self._nodes = [Node(()), Node((DONE,), EVERY)]
        self._steps = 0
        # Of each set the classes of its ids.
        self._classes: list[list[int]] = []
        # Many threads meet the same nodes and lookaheads.
        self._closed, self._ahead = cache(self._close), cache(self._follow)

    def add(
        self, *ways: int, reads: int | None = None, lookahead: tuple[bool, int] | None = None
    ) -> int:
        """Add a node and return its number."""
        self._nodes.append(Node(ways, reads, lookahead))
        return len(self._nodes) - 1

    def replace(self, node: int, *ways: int) -> None:
        """Let a node lead elsewhere, as a loop does that leads back to itself."""
        self._nodes[node] = Node(ways)

    def classify(self, members_NV: np.ndarray) -> np.ndarray:
        """Return the class of each id (V,): ids that are in the same sets share one."""
        bits_V = np.packbits(members_NV, axis=0).T
        class_V = np.unique(bits_V, axis=0, return_inverse=True)[1].reshape(-1)
        self._classes = [np.unique(class_V[members_V]).tolist() for members_V in members_NV]
        return class_V

    def find_states(self, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the next state of each state and class (S, K), and the distances (S,).

        State 0 is that without threads; 1 is that at the node `first`.
        """
        classes = len(self._classes[EVERY])
        states: list[ThreadSet] = [NO_THREADS, self._closed((first, NO_LOOKAHEADS))]
        numbers = {NO_THREADS: 0, states[1]: 1}
        rows, sources = [], defaultdict(set)
        # The list grows while it is gone through.
        for state, threads in enumerate(states):
            next_K = np.zeros(classes, dtype=np.uint16)
            for character_class, following in self._follow(threads).items():
                target = numbers.setdefault(following, len(states))
                if target == MOST_STATES:
                    raise self.refused(f"needs more than {MOST_STATES:,} states", USE_SMALLER)
                if target == len(states):
                    states.append(following)
                next_K[character_class] = target
                sources[target].add(state)
            rows.append(next_K)
        accepting = [state for state, threads in enumerate(states) if _accepts(threads)]
        return np.stack(rows), _distances(accepting, sources, len(states))

    def _follow(self, threads: ThreadSet) -> dict[int, ThreadSet]:
        """Return the threads after one more character, for each class that leads on."""
        parts: dict[int, list[ThreadSet]] = defaultdict(list)
        for node, lookaheads in threads:
            ways, reads, _ = self._nodes[node]
            for character_class in self._classes[reads] if reads is not None else ():
                still_open = _settle(
                    (negated, self._ahead(inner).get(character_class, NO_THREADS))
                    for negated, inner in lookaheads
                )
                if still_open is not None:
                    parts[character_class].append(self._closed((ways[0], still_open)))
        united = sum(len(part) for sets in parts.values() for part in sets[1:])
        self.spend(len(threads) + sum(map(len, parts.values())) + united)
        return {key: sets[0].union(*sets[1:]) for key, sets in parts.items()}

    def _close(self, thread: Thread) -> ThreadSet:
        """Return the threads that read a character next, or end, as far as thread leads."""
        todo, seen, closed = [thread], {thread}, []
        while todo:
            node, lookaheads = thread = todo.pop()
            ways, reads, lookahead = self._nodes[node]
            if reads is not None or node == END:
                closed.append(thread)
                continue
            if lookahead:
                negated, first = lookahead
                still_open = _settle([*lookaheads, (negated, self._closed((first, NO_LOOKAHEADS)))])
                if still_open is None:
                    continue
                lookaheads = still_open
            further = {(way, lookaheads) for way in ways} - seen
            todo += further
            seen |= further
        self.spend(len(seen))
        return frozenset(closed)

    def spend(self, steps: int) -> None:
        """Count steps; raise UsageError when there were too many."""
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise self.refused(f"takes more than {MOST_STEPS:,} steps to work out", USE_SMALLER)

    def refused(self, problem: str, fix: str) -> UsageError:
        """Return the error that says what is wrong with the expression."""
        return UsageError("--match", f"{self._quoted} {problem}", fix)


def _settle(lookaheads: Iterable[tuple[bool, ThreadSet]]) -> Lookaheads | None:
    """Return the lookaheads that are still open; None if one has failed."""
    still_open = set()
    for negated, threads in lookaheads:
        if threads and (DONE, NO_LOOKAHEADS) not in threads:
            still_open.add((negated, threads))
        elif bool(threads) == negated:
            return None
    return frozenset(still_open)


def _accepts(threads: ThreadSet) -> bool:
    """Return whether a text may end here, and with it all open lookaheads."""
    return any(
        node in (END, DONE) and all(negated != _accepts(inner) for negated, inner in lookaheads)
        for node, lookaheads in threads
    )


def _distances(accepting: list[int], sources: dict[int, set[int]], states: int) -> np.ndarray:
    """Return the fewest characters from each state to an accepting one, breadth first."""
    distance_S = np.full(states, UNREACHABLE)
    distance_S[accepting] = 0
    # The list grows while it is gone through.
    for state in accepting:
        nearer = [source for source in sources[state] if distance_S[source] == UNREACHABLE]
        distance_S[nearer] = distance_S[state] + 1
        accepting += nearer
    return distance_S
