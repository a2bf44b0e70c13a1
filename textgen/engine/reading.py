"""Reading that adapts: a mixture that learns from each id after it has been paid for.

What a text says of itself predicts the rest of it: its names, its habits, whole lines of it. So
the ids that are read are counted like the training text, only double; the back-off and the weights
of the mixture climb the likelihood of each id; and beside the experts stand guesses: the id that
came last time after the same ids, or in the same word, or below the same sign. How often a guess
of its kind holds is counted, and it raises the score of that one id:

    score(c) = sum over i of w_i log p_i(c) + sum over guesses of c of v_g log(h_g / (1 - h_g))

with h_g the share of hits of guesses like g, and v_g a weight that is learned (Mahoney, Adaptive
weighing of context models for lossless data compression, 2005, has the like for bits).

Shapes: C kinds of counts, L lengths of contexts, V vocabulary, X experts with the network first, n
ids read, G guesses.

    >>> reader = Reader(ngrams, weights_WX, Signs.of(tokenizer))
    >>> reader.follow(first_id)
    >>> log_probabilities_V = reader.predict(logits_V)
    >>> reader.learn(next_id)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from textgen.engine.mixture import weight_rows
from textgen.engine.network import ignore_overflow, log_softmax
from textgen.engine.ngrams import EXPERTS, MANY_ROWS, NOVEL, PLAIN, NGrams, lengthen, smooth
from textgen.engine.stepper import Network, StepperState

# What an id that was read counts for, beside one of the training text.
NEW_COUNT = 2
# Contexts of this length and longer are found by comparing, shorter ones are counted.
LEAST_MATCH = 3
# Ids in which longer contexts are looked for; half of them are dropped when it is full.
CAPACITY = 1 << 18
# Rates at which the weights, the logarithms of the odds, and the weights of guesses climb.
WEIGHT_RATE, ODDS_RATE, GUESS_RATE = 0.004, 0.02, 0.002
# The weights that hold for all change slower than those of a class.
RATES_3 = WEIGHT_RATE * np.array([0.3, 1.0, 1.0])
# Lengths of contexts whose last follower is a guess.
GUESS_LENGTHS = (3, 4, 5, 6, 8, 11, 16, 24)
# Other contexts with a guess, see `Surroundings`.
SURROUNDINGS = 5
GUESSES = len(GUESS_LENGTHS) + SURROUNDINGS
# How often running a guess was the same: so many classes.
RUNS = 8
# Guesses of a class of which as many have been seen count less and less; a share stays inside.
MEMORY, LEAST_SHARE = 255, 1 / 512


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


class Reader:
    """Follows one text and learns from it.

    Args:
        ngrams: of the training text.
        weights_WX: the rows of weights of the mixture.
        signs: what the ids stand for.
    """

    def __init__(self, ngrams: NGrams, weights_WX: np.ndarray, signs: Signs) -> None:
        self.ngrams = ngrams
        self.weights_WX, self.odds_CLG = weights_WX.astype(np.float64), ngrams.odds_CLG.copy()
        self.spans_12K = ngrams.contexts.no_spans(1)
        self._read_ids: list[int] = []
        self._read_shared: list[int] = []
        self.recent = Recent(ngrams.vocab, ngrams.longest)
        self.surroundings = Surroundings(signs)
        self.guess_weights_G = np.full(GUESSES, 0.08)
        self.hits_GR, self.seen_GR = np.full((GUESSES, RUNS), 0.5), np.ones((GUESSES, RUNS))
        self._counts_of: dict[tuple[int, int], np.ndarray] = {}
        self._counts_CLV = np.zeros((2, 1, ngrams.vocab), dtype=np.int64)

    def learned(self) -> NGrams:
        """Return the n-grams of the training text and of what was read."""
        ids = np.array(self._read_ids, dtype=self.ngrams.contexts.next_ids.dtype)
        shared = np.array(self._read_shared, dtype=np.uint8)
        contexts = self.ngrams.contexts.with_text(ids, shared, NEW_COUNT)
        return NGrams(contexts, self.odds_CLG)

    def follow(self, next_id: int) -> None:
        """Count an id that was not predicted, such as the first of a text."""
        self._counts_CLV = self._count()
        self._move(next_id)

    @ignore_overflow
    def predict(self, logits_V: np.ndarray) -> np.ndarray:
        """Return the log-probabilities (V,) of the next id, given the network's scores of it."""
        self._counts_CLV = self._count()
        self._shares_CL1V, self._left_CL1, self._places_CL1 = smooth(
            self._counts_CLV[:, :, None], self.odds_CLG, 0
        )
        vocab, matched = self.ngrams.vocab, self._counts_CLV.shape[1] - 1
        experts_1XV = np.full((1, len(EXPERTS), vocab), 1 / vocab)
        lengthen(experts_1XV, self._shares_CL1V, self._left_CL1, 0, self.ngrams.longest)
        self._together_XV = np.empty((1 + len(EXPERTS), vocab))
        self._together_XV[0] = log_softmax(logits_V)
        np.log(experts_1XV[0], out=self._together_XV[1:])
        self._rows_3 = weight_rows(
            self._together_XV[None, 0], self._together_XV[None, 1:], np.array([matched])
        )[0]
        scores_V = self.weights_WX[self._rows_3].sum(axis=0) @ self._together_XV
        self._guess()
        np.add.at(scores_V, self._guessed, self.guess_weights_G[self._kinds] * self._stretched)
        self._scores_V = log_softmax(scores_V)
        return self._scores_V

    def learn(self, next_id: int) -> None:
        """Learn from the id that came after what `predict` said."""
        probabilities_V = np.exp(self._scores_V)
        slope_X = self._together_XV[:, next_id] - self._together_XV @ probabilities_V
        self.weights_WX[self._rows_3] += RATES_3[:, None] * slope_X
        self._learn_guesses(next_id, probabilities_V)
        self._learn_odds(next_id)
        self._move(next_id)

    def _count(self) -> np.ndarray:
        """Return the counts (C, L, V) of what followed the context of each length, from 0."""
        sizes_K = self.spans_12K[0, 1] - self.spans_12K[0, 0]
        kept = int(np.count_nonzero(sizes_K > MANY_ROWS))
        known = int(np.count_nonzero(sizes_K))
        matched = max(known, self.recent.matched())
        counts_CLV = np.zeros((2, matched + 1, self.ngrams.vocab), dtype=np.int64)
        for length in range(kept + 1):
            counts_CLV[:, length] = self._count_many(length)
        if known > kept:
            few_CL1V = self.ngrams.count_few(self.spans_12K, np.array([kept]), kept + 1, known)
            counts_CLV[:, kept + 1 : known + 1] = few_CL1V[:, :, 0]
        self.recent.add_to(counts_CLV)
        return counts_CLV

    def _count_many(self, length: int) -> np.ndarray:
        key = (length, int(self.spans_12K[0, 0, length - 1]) if length else 0)
        if key not in self._counts_of:
            self._counts_of[key] = self.ngrams.count_after(length, self.spans_12K[0])
        return self._counts_of[key]

    def _guess(self) -> None:
        """Note the guesses: which kinds there are, their classes, their ids, their stretched h."""
        guesses = [*self.recent.guesses(), *self.surroundings.guesses()]
        self._kinds, runs, self._guessed = np.array(guesses, dtype=np.int64).reshape(-1, 3).T
        self._runs = np.minimum(runs, RUNS) - 1
        hits = self.hits_GR[self._kinds, self._runs]
        self._stretched = np.log(hits / (1 - hits))

    def _learn_guesses(self, next_id: int, probabilities_V: np.ndarray) -> None:
        is_hit = (self._guessed == next_id).astype(np.float64)
        surprise = is_hit - probabilities_V[self._guessed]
        self.guess_weights_G[self._kinds] += GUESS_RATE * surprise * self._stretched
        place = self._kinds, self._runs
        self.seen_GR[place] = np.minimum(self.seen_GR[place] + 1, MEMORY)
        moved = self.hits_GR[place] + (is_hit - self.hits_GR[place]) / (self.seen_GR[place] + 0.5)
        self.hits_GR[place] = np.clip(moved, LEAST_SHARE, 1 - LEAST_SHARE)

    def _learn_odds(self, next_id: int) -> None:
        """Climb the likelihood of the id under the longest chain of each kind of counts.

        The derivative is that of module `backoff`, with shares (1 - e) q.
        """
        flat = self.odds_CLG.reshape(-1)
        for kind, cut in ((NOVEL, self.ngrams.longest), (PLAIN, EXPERTS[-1][1])):
            levels = min(cut or self.ngrams.longest, self._left_CL1.shape[1] - 1) + 1
            left = self._left_CL1[kind, :levels, 0].tolist()
            share = self._shares_CL1V[kind, :levels, 0, next_id].tolist()
            p, shorter = 1 / self.ngrams.vocab, []
            for e, q in zip(left, share, strict=True):
                shorter.append(p)
                p = e * p + q
            slopes, passed = [], 1 / p
            for e, q, low in zip(left[::-1], share[::-1], shorter[::-1], strict=True):
                slopes.append(passed * e * (low * (1 - e) - q))
                passed *= e
            places = self._places_CL1[kind, :levels, 0]
            flat[places] *= np.exp(ODDS_RATE * np.array(slopes[::-1]))

    def _move(self, next_id: int) -> None:
        """Count an id and go on behind it."""
        seen = np.flatnonzero(self._counts_CLV[PLAIN, :, next_id])
        shared = int(seen[-1]) if len(seen) else 0
        self._read_ids.append(next_id)
        self._read_shared.append(shared)
        self.recent.append(next_id, shared)
        self.surroundings.append(next_id)
        self.spans_12K = self.ngrams.contexts.extend(np.array([next_id]), self.spans_12K)


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
            self._short[context][PLAIN, next_id] += NEW_COUNT
            if shared <= length:
                self._short[context][NOVEL, next_id] += NEW_COUNT
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

    def add_to(self, counts_CLV: np.ndarray) -> None:
        """Add the counts after the present context, of each length, to those of a text."""
        for length in range(min(len(self._end) + 1, counts_CLV.shape[1])):
            short_CV = self._short.get(self._end[:length])
            if short_CV is not None:
                counts_CLV[:, length] += short_CV
        if not len(self._matches) or self.longest < LEAST_MATCH:
            return
        levels = counts_CLV.shape[1] - LEAST_MATCH
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
        sums_CLV = np.cumsum(changes_CLV[:, ::-1], axis=1)[:, ::-1]
        counts_CLV[:, LEAST_MATCH:] += NEW_COUNT * sums_CLV

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


class AdaptiveMixture:
    """A mixture that learns from what it measures, as a scorer of one text.

    Args:
        network: perhaps one that learns too.
        reader: it holds what was learnt.
    """

    def __init__(self, network: Network, reader: Reader) -> None:
        self.network, self.reader = network, reader

    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: StepperState
    ) -> tuple[np.ndarray, StepperState]:
        """Return nats_TB (float64) of predicting y_TB after x_TB, and the state after x_TB.

        There is one text, and each id is learnt from once its nats are counted.
        """
        if state is None:
            self.reader.follow(int(x_TB[0, 0]))
        logits_TBV, state = self.network.logits(x_TB, y_TB, state)
        nats_TB = np.empty(y_TB.shape)
        for t, next_id in enumerate(y_TB[:, 0].tolist()):
            nats_TB[t] = -self.reader.predict(logits_TBV[t, 0])[next_id]
            self.reader.learn(next_id)
        return nats_TB, state
