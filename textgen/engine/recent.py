"""What was read so far: what followed the present context in it, and what came in its like.

A reader that adapts asks three things of it: the counts of what followed contexts of each length,
guesses (the id that came last after the same ids, in the same word, below the same sign), and the
contexts in which corrections are learned.

Shapes: C kinds of counts, L lengths of contexts, V vocabulary, K longest context.

    >>> recent = Recent(vocab=66, longest=15)
    >>> recent.append(5, shared=0)
    >>> counts_CLV = recent.counts()
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from textgen.engine.smoothing import NOVEL, PLAIN

# Contexts of this length and longer are found by comparing, shorter ones are counted.
LEAST_MATCH = 3
# Ids in which longer contexts are looked for; half of them are dropped when it is full.
CAPACITY = 1 << 18
# Lengths of contexts whose last follower is a guess.
GUESS_LENGTHS = (3, 4, 5, 6, 8, 11, 16, 24)
# Other contexts with a guess, see `Surroundings`.
SURROUNDINGS = 5
GUESSES = len(GUESS_LENGTHS) + SURROUNDINGS
# How often running a guess was the same: so many classes.
RUNS = 8


@dataclass(frozen=True)
class Signs:
    """What ids stand for, as far as it matters here.

    is_word_V: whether an id is part of a word. newline: the id that ends a line; -1: none does.
    """

    is_word_V: np.ndarray
    newline: int

    @classmethod
    def of_symbols(cls, symbols: list[bytes]) -> Signs:
        """Return those of a tokenizer's symbols, in UTF-8; a part of a character is of a word."""
        texts = [symbol.decode("utf-8", "surrogateescape") for symbol in symbols]
        is_word_V = np.array([text.isalnum() or "\udc80" <= text <= "\udcff" for text in texts])
        return cls(is_word_V, symbols.index(b"\n") if b"\n" in symbols else -1)


class Recent:
    """The ids that were read, and what followed the present context among them.

    Args:
        vocab: V.
        longest: K, the longest context.
    """

    def __init__(self, vocab: int, longest: int) -> None:
        self.vocab, self.longest = vocab, longest
        self.count = 0
        self._ids = np.zeros(CAPACITY, dtype=np.min_scalar_type(vocab - 1))
        # Of each place, how many ids before it are those before the present end.
        self._alike = np.zeros(CAPACITY + 1, dtype=np.uint8)
        # Of each place, how long the longest context was that had been followed by its id.
        self._shared = np.zeros(CAPACITY, dtype=np.uint8)
        # Counts (C, V) after the shortest contexts.
        self._short: dict[tuple[int, ...], np.ndarray] = {}
        self._end: tuple[int, ...] = ()
        self._matches = np.zeros(0, dtype=np.int64)
        self._lengths = np.zeros(0, dtype=np.int64)

    def append(self, next_id: int, shared: int) -> None:
        """Count an id; shared: the longest context that it had been seen after."""
        for length in range(len(self._end) + 1):
            context = self._end[:length]
            if context not in self._short:
                self._short[context] = np.zeros((2, self.vocab), dtype=np.int64)
            self._short[context][PLAIN, next_id] += 1
            if shared <= length:
                self._short[context][NOVEL, next_id] += 1
        if self.count == CAPACITY:
            self._drop_half()
        here = self.count
        self._ids[here], self._shared[here] = next_id, shared
        # A context that goes on alike is one longer, behind the id; any other one begins anew.
        longer = np.minimum(self._alike[:here], 254)
        longer += 1
        longer *= self._ids[:here] == next_id
        self._alike[1 : here + 1] = longer
        self._alike[here + 1] = 0
        self.count = here + 1
        self._end = (next_id, *self._end)[: LEAST_MATCH - 1]
        self._matches = np.flatnonzero(self._alike[: here + 1] >= LEAST_MATCH)
        self._matches = self._matches[self._matches <= here]
        self._lengths = self._alike[self._matches].astype(np.int64)

    def matched(self) -> int:
        """Return the length of the longest context that was read before, at most K."""
        if len(self._lengths):
            return min(int(self._lengths.max()), self.longest)
        lengths = range(len(self._end), 0, -1)
        known = next((length for length in lengths if self._end[:length] in self._short), 0)
        return min(known, self.longest)

    def counts(self) -> np.ndarray:
        """Return how often ids followed the present context, (C, L, V), of each length it has."""
        counts_CLV = np.zeros((2, self.matched() + 1, self.vocab), dtype=np.int64)
        for length in range(min(len(self._end) + 1, counts_CLV.shape[1])):
            short_CV = self._short.get(self._end[:length])
            if short_CV is not None:
                counts_CLV[:, length] = short_CV
        if len(self._matches) and self.longest >= LEAST_MATCH:
            counts_CLV[:, LEAST_MATCH:] = self._count_matches(counts_CLV.shape[1] - LEAST_MATCH)
        return counts_CLV

    def _count_matches(self, levels: int) -> np.ndarray:
        """Return the counts after contexts of LEAST_MATCH ids and on, of so many lengths."""
        ids = self._ids[self._matches].astype(np.int64)
        level = np.minimum(self._lengths, self.longest) - LEAST_MATCH
        shared = self._shared[self._matches].astype(np.int64) - LEAST_MATCH
        is_novel = shared <= level
        changes_CLV = np.empty((2, levels, self.vocab), dtype=np.int64)
        size = levels * self.vocab
        keys = level * self.vocab + ids
        changes_CLV[PLAIN] = np.bincount(keys, minlength=size).reshape(levels, -1)
        novel = np.bincount(keys[is_novel], minlength=size)
        is_late = is_novel & (shared > 0)
        novel -= np.bincount((shared[is_late] - 1) * self.vocab + ids[is_late], minlength=size)
        changes_CLV[NOVEL] = novel.reshape(levels, -1)
        return np.asarray(np.cumsum(changes_CLV[:, ::-1], axis=1)[:, ::-1])

    def guesses(self) -> list[tuple[int, int, int]]:
        """Return what came last after contexts of several lengths: kind, how often running, id."""
        found = []
        places, lengths = self._matches, self._lengths
        for kind, length in enumerate(GUESS_LENGTHS):
            if length > LEAST_MATCH:
                places, lengths = places[lengths >= length], lengths[lengths >= length]
            if not len(places):
                break
            latest = self._ids[places[-RUNS:]].tolist()[::-1]
            run = 1
            while run < len(latest) and latest[run] == latest[0]:
                run += 1
            found.append((kind, run, latest[0]))
        return found

    def _drop_half(self) -> None:
        half = CAPACITY // 2
        for array in (self._ids, self._shared):
            array[:half] = array[half:]
        self._alike[: half + 1] = self._alike[half:]
        self.count = half


class Surroundings:
    """What came last in the same word, after the same ids but the newest, below the same sign."""

    def __init__(self, signs: Signs) -> None:
        self.is_word, self.newline = signs.is_word_V.tolist(), signs.newline
        self._last: list[dict[tuple[int, ...], tuple[int, int]]] = [{} for _ in range(SURROUNDINGS)]
        self._keys: tuple[tuple[int, ...], ...] = ()
        self._newest = (0, 0, 0, 0)
        self._word, self._word_before = 0, 0
        self._line_above: list[int] = []
        self._line: list[int] = []

    def append(self, next_id: int) -> None:
        """Note what came, and go on behind it."""
        for last, key in zip(self._last, self._keys, strict=False):
            before, run = last.get(key, (next_id, 0))
            last[key] = (next_id, run + 1 if before == next_id else 1)
        self._newest = (next_id, *self._newest[:3])
        if self.is_word[next_id]:
            self._word = hash((self._word, next_id))
        elif self._word:
            self._word_before, self._word = self._word, 0
        if next_id == self.newline:
            self._line_above, self._line = self._line, []
        elif self.newline >= 0:
            self._line.append(next_id)
        column = len(self._line)
        above = self._line_above[column] if column < len(self._line_above) else -1
        _, second, third, fourth = self._newest
        self._keys = (
            (self._word,),
            (self._word, self._word_before),
            (second, third),
            (second, third, fourth),
            (column, above, next_id),
        )

    def guesses(self) -> list[tuple[int, int, int]]:
        """Return the guesses: kind, how often running, id."""
        found = []
        for kind, (last, key) in enumerate(zip(self._last, self._keys, strict=False)):
            if key in last:
                next_id, run = last[key]
                found.append((len(GUESS_LENGTHS) + kind, run, next_id))
        return found

    def contexts(self) -> list[tuple[int | None, ...]]:
        """Return the contexts in which corrections are learned: the newest ids, and the word."""
        first, second, third, _ = self._newest
        return [(first,), (first, second), (first, second, third), (None, self._word)]
