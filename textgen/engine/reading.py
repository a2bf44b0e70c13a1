"""Reading that adapts: a mixture that learns from each id after it has been paid for.

What a text says of itself predicts the rest of it: its names, its habits, whole lines of it. So
the ids that are read are counted like the training text, only double, and apart from it too, as a
further expert; the back-off and the weights of the mixture climb the likelihood of each id. Two
things are added to the scores of the experts:

    score(c) = sum over i of w_i log p_i(c)
             + sum over guesses of c of v_g log(h_g / (1 - h_g))
             + sum over contexts x of a_x(c)

A guess is the id that came last time after the same ids, or in the same word, or below the same
sign; h_g is the share of hits of guesses like it, and v_g a weight that is learned (Mahoney,
Adaptive weighing of context models for lossless data compression, 2005, has the like for bits).
a_x(c) corrects what the experts say of an id that came in a short context, or after the beginning
of the same word: it goes up when the id comes there and down by how likely it was said to be.

Shapes: C kinds of counts, L lengths of contexts, V vocabulary, X experts with the network first and
the text that is read last, n ids read, W rows of weights.

    >>> reader = Reader(ngrams, weights_WX, Signs.of_symbols(tokenizer.symbols()))
    >>> reader.follow(first_id)
    >>> log_probabilities_V = reader.predict(logits_V)
    >>> reader.learn(next_id)
"""

from __future__ import annotations

import numpy as np

from textgen.engine.backoff import climb_odds
from textgen.engine.mixture import ROWS, weight_rows
from textgen.engine.network import ignore_overflow, log_softmax
from textgen.engine.ngrams import MANY_ROWS, NGrams
from textgen.engine.recent import GUESSES, RUNS, Recent, Signs, Surroundings
from textgen.engine.smoothing import EXPERTS, NOVEL, PLAIN, lengthen, smooth
from textgen.engine.stepper import Network, StepperState

# What an id that was read counts for, beside one of the training text.
NEW_COUNT = 2
# Rates at which the weights, the weights of guesses and the corrections climb. Found by trial
# (docs/log.md, "what reading learns").
WEIGHT_RATE, GUESS_RATE, CORRECTION_RATE = 0.001, 0.002, 0.05
# Of the weights for all, for an agreement, for a length, and for the newest id: what holds for all
# changes slowest.
RATES_4 = WEIGHT_RATE * np.array([0.3, 1.0, 1.0, 3.0])
# Guesses of a class of which as many have been seen count less and less; a share stays inside.
MEMORY, LEAST_SHARE = 255, 1 / 512
# The weight that guesses begin with.
FIRST_GUESS_WEIGHT = 0.08


class Reader:
    """Follows one text and learns from it.

    Args:
        ngrams: of the training text.
        weights_WX: the rows of weights of the mixture.
        signs: what the ids stand for.
    """

    def __init__(self, ngrams: NGrams, weights_WX: np.ndarray, signs: Signs) -> None:
        self.ngrams = ngrams
        # A row for each newest id, and a column for the expert on the text that is read.
        self._weights_WX = np.pad(weights_WX.astype(np.float64), ((0, ngrams.vocab), (0, 1)))
        self.odds_CLG, self._recent_odds_CLG = ngrams.odds_CLG.copy(), np.ones_like(ngrams.odds_CLG)
        self.spans_12K = ngrams.contexts.no_spans(1)
        self._read_ids: list[int] = []
        self._read_shared: list[int] = []
        self.recent = Recent(ngrams.vocab, ngrams.longest)
        self.surroundings = Surroundings(signs)
        self.guesses, self.corrections = Guesses(), Corrections()
        self._counts_of: dict[tuple[int, int], np.ndarray] = {}
        self._counts_CLV = np.zeros((2, 1, ngrams.vocab), dtype=np.int64)

    def learned(self) -> tuple[NGrams, np.ndarray]:
        """Return the n-grams of the training text and of what was read, and the mixture's weights.

        Guesses, corrections and the expert on what was read alone are no part of a mixture.
        """
        ids = np.array(self._read_ids, dtype=self.ngrams.contexts.next_ids.dtype)
        shared = np.array(self._read_shared, dtype=np.uint8)
        contexts = self.ngrams.contexts.with_text(ids, shared, NEW_COUNT)
        return NGrams(contexts, self.odds_CLG), self._weights_WX[:ROWS, :-1].copy()

    def follow(self, next_id: int) -> None:
        """Count an id that was not predicted, such as the first of a text."""
        self._counts_CLV = self._count(self.recent.counts())
        self._move(next_id)

    @ignore_overflow
    def predict(self, logits_V: np.ndarray) -> np.ndarray:
        """Return the log-probabilities (V,) of the next id, given the network's scores of it."""
        recent_CLV = self.recent.counts()
        self._counts_CLV = self._count(recent_CLV)
        self._smoothed = smooth(self._counts_CLV[:, :, None], self.odds_CLG, 0)
        self._recently = smooth(recent_CLV[:, :, None], self._recent_odds_CLG, 0)
        self._together_XV = self._ask_experts(logits_V)
        self._rows_4 = self._find_rows()
        scores_V = self._weights_WX[self._rows_4].sum(axis=0) @ self._together_XV
        self.guesses.add_to(scores_V, [*self.recent.guesses(), *self.surroundings.guesses()])
        self.corrections.add_to(scores_V, self.surroundings.contexts())
        self._scores_V = log_softmax(scores_V)
        return self._scores_V

    def learn(self, next_id: int) -> None:
        """Learn from the id that came after what `predict` said."""
        probabilities_V = np.exp(self._scores_V)
        slope_X = self._together_XV[:, next_id] - self._together_XV @ probabilities_V
        self._weights_WX[self._rows_4] += RATES_4[:, None] * slope_X
        self.guesses.learn(next_id, probabilities_V)
        self.corrections.learn(next_id, probabilities_V)
        longest, longest_plain = self.ngrams.longest, EXPERTS[-1][1]
        climb_odds(self.odds_CLG, self._smoothed, NOVEL, longest, next_id)
        climb_odds(self.odds_CLG, self._smoothed, PLAIN, longest_plain or longest, next_id)
        climb_odds(self._recent_odds_CLG, self._recently, PLAIN, longest, next_id)
        self._move(next_id)

    def _count(self, recent_CLV: np.ndarray) -> np.ndarray:
        """Return counts (C, L, V) of what followed the context of each length, from 0.

        recent_CLV: those in what was read.
        """
        sizes_K = self.spans_12K[0, 1] - self.spans_12K[0, 0]
        kept = int(np.count_nonzero(sizes_K > MANY_ROWS))
        known = int(np.count_nonzero(sizes_K))
        levels = max(known + 1, recent_CLV.shape[1])
        counts_CLV = np.zeros((2, levels, self.ngrams.vocab), dtype=np.int64)
        for length in range(kept + 1):
            counts_CLV[:, length] = self._count_many(length)
        if known > kept:
            few_CL1V = self.ngrams.count_few(self.spans_12K, np.array([kept]), kept + 1, known)
            counts_CLV[:, kept + 1 : known + 1] = few_CL1V[:, :, 0]
        counts_CLV[:, : recent_CLV.shape[1]] += NEW_COUNT * recent_CLV
        return counts_CLV

    def _count_many(self, length: int) -> np.ndarray:
        key = (length, int(self.spans_12K[0, 0, length - 1]) if length else 0)
        if key not in self._counts_of:
            self._counts_of[key] = self.ngrams.count_after(length, self.spans_12K[0])
        return self._counts_of[key]

    def _ask_experts(self, logits_V: np.ndarray) -> np.ndarray:
        """Return what the network, the n-grams and the text that is read say, (X, V)."""
        vocab, longest = self.ngrams.vocab, self.ngrams.longest
        experts_1XV = np.full((1, len(EXPERTS), vocab), 1 / vocab)
        shares_CL1V, left_CL1, _ = self._smoothed
        lengthen(experts_1XV, shares_CL1V, left_CL1, 0, longest)
        recent_V = np.full(vocab, 1 / vocab)
        shares_CL1V, left_CL1, _ = self._recently
        for left, shares_V in zip(left_CL1[PLAIN, :, 0], shares_CL1V[PLAIN, :, 0], strict=True):
            recent_V *= left
            recent_V += shares_V
        together_XV = np.empty((self._weights_WX.shape[1], vocab))
        together_XV[0] = log_softmax(logits_V)
        np.log(experts_1XV[0], out=together_XV[1:-1])
        np.log(recent_V, out=together_XV[-1])
        return together_XV

    def _find_rows(self) -> np.ndarray:
        """Return which rows of weights hold now (4,)."""
        matched = np.array([self._counts_CLV.shape[1] - 1])
        rows_3 = weight_rows(self._together_XV[None, 0], self._together_XV[None, 1:], matched)[0]
        return np.append(rows_3, ROWS + self._read_ids[-1])

    def _move(self, next_id: int) -> None:
        """Count an id and go on behind it."""
        seen = np.flatnonzero(self._counts_CLV[PLAIN, :, next_id])
        shared = int(seen[-1]) if len(seen) else 0
        self._read_ids.append(next_id)
        self._read_shared.append(shared)
        self.recent.append(next_id, shared)
        self.surroundings.append(next_id)
        self.spans_12K = self.ngrams.contexts.extend(np.array([next_id]), self.spans_12K)


class Guesses:
    """How far guesses of each kind, so often running the same, can be trusted."""

    def __init__(self) -> None:
        self.weights = np.full(GUESSES, FIRST_GUESS_WEIGHT)
        self._hits, self._seen = np.full((GUESSES, RUNS), 0.5), np.ones((GUESSES, RUNS))

    def add_to(self, scores_V: np.ndarray, guesses: list[tuple[int, int, int]]) -> None:
        """Raise the scores of guessed ids; guesses: kind, how often running, id."""
        self._kinds, runs, self._guessed = np.array(guesses, dtype=np.int64).reshape(-1, 3).T
        self._places = self._kinds, np.minimum(runs, RUNS) - 1
        hits = self._hits[self._places]
        self._stretched = np.log(hits / (1 - hits))
        np.add.at(scores_V, self._guessed, self.weights[self._kinds] * self._stretched)

    def learn(self, next_id: int, probabilities_V: np.ndarray) -> None:
        """Learn which guesses were right."""
        is_hit = (self._guessed == next_id).astype(np.float64)
        surprise = is_hit - probabilities_V[self._guessed]
        self.weights[self._kinds] += GUESS_RATE * surprise * self._stretched
        seen = self._seen[self._places] = np.minimum(self._seen[self._places] + 1, MEMORY)
        moved = self._hits[self._places]
        moved += (is_hit - moved) / (seen + 0.5)
        self._hits[self._places] = np.clip(moved, LEAST_SHARE, 1 - LEAST_SHARE)


class Corrections:
    """What is added to the scores of ids in the contexts in which they have come."""

    def __init__(self) -> None:
        self._of_context: dict[tuple[int | None, ...], dict[int, float]] = {}
        self._present: list[dict[int, float]] = []

    def add_to(self, scores_V: np.ndarray, contexts: list[tuple[int | None, ...]]) -> None:
        """Correct the scores of ids in the contexts that hold now."""
        self._present = [self._of_context.setdefault(context, {}) for context in contexts]
        for corrections in self._present:
            scores_V[list(corrections)] += list(corrections.values())

    def learn(self, next_id: int, probabilities_V: np.ndarray) -> None:
        """Learn from the id that came, given how likely each was said to be."""
        for corrections in self._present:
            for known in corrections:
                corrections[known] -= CORRECTION_RATE * float(probabilities_V[known])
            corrections[next_id] = corrections.get(next_id, 0.0) + CORRECTION_RATE


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
