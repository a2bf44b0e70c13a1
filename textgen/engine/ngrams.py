"""Probabilities of the next id from n-grams of every length, with back-off learned from the text.

It is counted in seconds, memorises what a network needs many passes to learn, and is wrong in other
places: mixed with a network (module `mixture`) it is worth many times the training (docs/log.md).

Module `smoothing` has the probabilities, which come from the counts that are found here. The chains
of contexts are the experts that a mixture weighs (`EXPERTS`).

Shapes: B rows, T time steps, V vocabulary, X experts, K longest context; L lengths of contexts,
C the two kinds of counts. Spans (B, 2, K) are those of module `contexts`; they are the state.

    >>> ngrams = NGrams.count(ids, vocab=66, longest=15)
    >>> log_probabilities_BXV, state = ngrams.step(np.array([5]), None)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from textgen.engine.contexts import SortedContexts
from textgen.engine.smoothing import (
    EXPERTS,
    NOVEL,
    PLAIN,
    lengthen,
    no_odds,
    smooth,
    smooth_one,
)
from textgen.engine.stepper import ids_of_rows

NGramState = tuple[tuple[np.ndarray, ...], ...]

# A context with more rows than this has its probabilities kept when they are first asked for.
KEPT_ROWS = 32
# One with more rows than this is counted alone, others together with those beside them.
MANY_ROWS = 512
# Bytes of such probabilities kept; beyond them they are forgotten and made again.
MOST_PROBABILITY_BYTES = 128 << 20
# Compression of what is saved: the highest level saves a tenth more and takes six times as long. No
# text is packed more than that: a small file must not fill the memory, and texts reach 4.
PACK_LEVEL, MOST_RATIO = 1, 8
# Factors of odds in a file: none that is learned comes near it, and sums of 1 and less lose it.
MOST_ODDS = 1e9
# Numbers of counts in one block of rows.
BLOCK = 1 << 19


class Sliceable(Protocol):
    """Ids (n,) that need not lie in memory."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return the ids of a slice as an array."""
        ...


class NGrams:
    """The n-grams of a text as experts on its next id.

    Args:
        contexts: of the text.
        odds_CLG: factors of the odds of e for each kind of counts, length of contexts from 0 to K,
            and class of a context; by default 1.
        heeded: contexts above this length are not heeded; by default all are.
    """

    def __init__(
        self,
        contexts: SortedContexts,
        odds_CLG: np.ndarray | None = None,
        heeded: int | None = None,
    ) -> None:
        self.contexts = contexts
        self.odds_CLG = no_odds(contexts.longest) if odds_CLG is None else odds_CLG
        self.vocab, self.longest = contexts.vocab, contexts.longest
        self.heeded = self.longest if heeded is None else min(heeded, self.longest)
        self._odds: list[list[list[float]]] = self.odds_CLG.tolist()
        self._next_ids, self._shared = contexts.next_ids, contexts.shared
        self._kept: dict[tuple[int, int], np.ndarray] = {}

    @classmethod
    def count(cls, ids: Sliceable, vocab: int, longest: int) -> NGrams:
        """Return the n-grams of ids (n,), n >= 1, with Kneser-Ney's own back-off."""
        ids = np.asarray(ids[:]).astype(np.min_scalar_type(vocab - 1))
        return cls(SortedContexts.of(ids, vocab, longest))

    @cached_property
    def _packed(self) -> tuple[np.ndarray, np.ndarray]:
        """The contexts' arrays as they are saved; a run saves them many times."""
        return _pack(self.contexts.next_ids), _pack(self.contexts.shared)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return what `from_tensors` makes the n-grams from."""
        next_ids, shared = self._packed
        return {
            "next": next_ids,
            "shared": shared,
            "size": np.array([len(self.contexts)], dtype=np.uint64),
            "odds": self.odds_CLG.astype(np.float32),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], vocab: int, longest: int) -> NGrams:
        """Return the n-grams in arrays that come from a file; raise ValueError for damaged ones."""
        names = {"next", "shared", "size", "odds"}
        if set(tensors) != names:
            raise ValueError(f"its n-grams have {sorted(tensors)}, not {sorted(names)}")
        if tensors["size"].shape != (1,) or tensors["size"].dtype.kind != "u":
            raise ValueError("the size of its n-grams is not a number")
        size, odds_CLG = int(tensors["size"][0]), tensors["odds"].astype(np.float64)
        within = (odds_CLG >= 1 / MOST_ODDS) & (odds_CLG <= MOST_ODDS)
        if odds_CLG.shape != no_odds(longest).shape or not within.all():
            raise ValueError(f"the back-off of its n-grams does not fit a length of {longest + 1}")
        next_ids = _unpack(tensors["next"], size, np.min_scalar_type(vocab - 1))
        shared = _unpack(tensors["shared"], size, np.dtype(np.uint8))
        if next_ids.max() >= vocab:
            raise ValueError(f"its n-grams have ids beyond a vocabulary of {vocab:,}")
        return cls(SortedContexts(next_ids, shared, vocab, longest), odds_CLG)

    def initial_state(self, rows: int) -> NGramState:
        """Return the state of B rows that have read nothing."""
        return ((self.contexts.no_spans(rows),),)

    def step(self, ids_B: np.ndarray, state: NGramState | None) -> tuple[np.ndarray, NGramState]:
        """Return the experts' log-probabilities (B, X, V) of the id after ids_B, and the state."""
        spans_B2K = self.contexts.extend(ids_B, (state or self.initial_state(len(ids_B)))[0][0])
        return self.log_probabilities(spans_B2K), ((spans_B2K,),)

    def read(
        self, ids: np.ndarray, rows: int, state: NGramState | None
    ) -> tuple[np.ndarray, NGramState]:
        """Return the last log-probabilities and the state after ids; see `Stepper.read`."""
        spans_B2K = (state or self.initial_state(rows))[0][0]
        # Whatever stands further back than the longest context is forgotten.
        for ids_B in ids_of_rows(ids[-max(1, self.longest) :], rows):
            spans_B2K = self.contexts.extend(ids_B, spans_B2K)
        return self.log_probabilities(spans_B2K), ((spans_B2K,),)

    def along(
        self, x_TB: np.ndarray, state: NGramState | None
    ) -> tuple[np.ndarray, np.ndarray, NGramState]:
        """Return log-probabilities (T B, X, V) after each of x_TB, lengths matched, the state."""
        spans_B2K = (state or self.initial_state(x_TB.shape[1]))[0][0]
        spans_TB2K = self.contexts.extend_along(x_TB, spans_B2K)
        spans_N2K = spans_TB2K.reshape(x_TB.size, 2, self.longest)
        experts_NXV = np.concatenate(
            [self.log_probabilities(spans_N2K[block]) for block in self.row_blocks(len(spans_N2K))]
        )
        return experts_NXV, self.matched(spans_N2K), ((spans_TB2K[-1],),)

    def row_blocks(self, rows: int) -> Iterator[slice]:
        """Yield rows in stretches for which there is room for the counts of all lengths."""
        return blocks((rows, 1), 2 * max(1, self.longest) * self.vocab)

    def nats(
        self, x_TB: np.ndarray, y_TB: np.ndarray, state: NGramState | None
    ) -> tuple[np.ndarray, NGramState]:
        """Return nats_TB of predicting y_TB after x_TB by the longest contexts, and the state."""
        nats_TB = np.empty(y_TB.shape)
        for part in blocks(y_TB.shape, self.vocab):
            experts_NXV, _, state = self.along(x_TB[part], state)
            y_N = y_TB[part].reshape(-1)
            nats_TB[part] = -experts_NXV[np.arange(len(y_N)), 0, y_N].reshape(y_TB[part].shape)
        return nats_TB, state or self.initial_state(y_TB.shape[1])

    def matched(self, spans_B2K: np.ndarray) -> np.ndarray:
        """Return how many of the newest ids (B,) are a context of the text."""
        return np.asarray(np.count_nonzero(spans_B2K[:, 1] > spans_B2K[:, 0], axis=1))

    def log_probabilities(self, spans_B2K: np.ndarray) -> np.ndarray:
        """Return the experts' log-probabilities (B, X, V) after contexts."""
        sizes_BK = (spans_B2K[:, 1] - spans_B2K[:, 0])[:, : self.heeded]
        kept_B = np.count_nonzero(sizes_BK > KEPT_ROWS, axis=1)
        probabilities_BXV = np.stack(
            [
                self._probabilities(length, spans_2K)
                for length, spans_2K in zip(kept_B.tolist(), spans_B2K, strict=True)
            ]
        )
        shortest, deepest = int(kept_B.min()) + 1, int(np.count_nonzero(sizes_BK, axis=1).max())
        if len(spans_B2K) == 1:
            self._lengthen_one(probabilities_BXV[0], spans_B2K[0], shortest, deepest)
        elif deepest >= shortest:
            counts_CLBV = self.count_few(spans_B2K, kept_B, shortest, deepest)
            self._lengthen(probabilities_BXV, counts_CLBV, shortest)
        return np.asarray(np.log(probabilities_BXV, out=probabilities_BXV))

    def _probabilities(self, length: int, spans_2K: np.ndarray) -> np.ndarray:
        """Return the experts' probabilities (X, V) after a context of many rows, from its spans."""
        key = (length, int(spans_2K[0, length - 1]) if length else 0)
        probabilities_XV = self._kept.get(key)
        if probabilities_XV is None:
            probabilities_XV = self._make_probabilities(length, spans_2K)
            if (len(self._kept) + 1) * probabilities_XV.nbytes > MOST_PROBABILITY_BYTES:
                self._kept.clear()
            self._kept[key] = probabilities_XV
        return probabilities_XV

    def _make_probabilities(self, length: int, spans_2K: np.ndarray) -> np.ndarray:
        if not length:
            probabilities_XV = np.full((len(EXPERTS), self.vocab), 1 / self.vocab)
        else:
            probabilities_XV = self._probabilities(length - 1, spans_2K).copy()
            if spans_2K[1, length - 1] - spans_2K[0, length - 1] <= MANY_ROWS:
                self._lengthen_one(probabilities_XV, spans_2K, length, length)
                return probabilities_XV
        counts_CV = self.count_after(length, spans_2K)
        self._lengthen(probabilities_XV[None], counts_CV[:, None, None], length)
        return probabilities_XV

    def count_after(self, length: int, spans_2K: np.ndarray) -> np.ndarray:
        """Return both counts (C, V) of what follows the context of a length."""
        first, last = spans_2K[:, length - 1].tolist() if length else (0, len(self.contexts))
        counts_CV = np.zeros((2, self.vocab), dtype=np.int64)
        # In blocks, since numpy counts numbers of 64 bits.
        for begin in range(first, last, BLOCK):
            rows = slice(begin, min(last, begin + BLOCK))
            next_ids = self.contexts.next_ids[rows]
            novel = next_ids[self.contexts.shared[rows] <= length]
            for kind, ids in ((NOVEL, novel), (PLAIN, next_ids)):
                counts_CV[kind] += np.bincount(ids, minlength=self.vocab)
        return counts_CV

    def count_few(
        self, spans_B2K: np.ndarray, kept_B: np.ndarray, shortest: int, deepest: int
    ) -> np.ndarray:
        """Return the counts (C, L, B, V) after contexts of the lengths shortest to deepest.

        Only of lengths above kept_B; the others are 0. All rows of a longer context are rows of the
        shorter ones, so each is counted at the longest and sums go from long to short.
        """
        firsts_BL, lasts_BL = (
            spans_B2K[:, 0, shortest - 1 : deepest],
            spans_B2K[:, 1, shortest - 1 : deepest],
        )
        sizes_BL = lasts_BL - firsts_BL
        sizes_BL *= np.arange(shortest, deepest + 1) > kept_B[:, None]
        # The widest span of each row of texts; where its rows stand when all are one after another.
        widest_B = sizes_BL.argmax(axis=1)
        every_B = np.arange(len(widest_B))
        sizes_B = sizes_BL[every_B, widest_B]
        ends_B = np.cumsum(sizes_B)
        offsets_B = ends_B - sizes_B - firsts_BL[every_B, widest_B]
        total = int(ends_B[-1])
        text = np.repeat(every_B, sizes_B)
        rows = np.arange(total)
        rows -= offsets_B[text]
        # How many of the wanted spans a row lies in, and so in which is the longest context.
        inside = np.nonzero(sizes_BL)
        begins, ends = (
            edges_BL[inside] + offsets_B[inside[0]] for edges_BL in (firsts_BL, lasts_BL)
        )
        depth = np.bincount(begins, minlength=total + 1)
        depth -= np.bincount(ends, minlength=total + 1)
        level = np.cumsum(depth[:-1])
        lowest = (kept_B + 1 - shortest)[text]
        level += lowest
        ids = self.contexts.next_ids[rows] + text * self.vocab
        width, levels = len(every_B) * self.vocab, deepest - shortest + 1
        # A row counts from one level, for novel counts that of what it shares, to its deepest.
        novel_from = np.maximum(self.contexts.shared[rows].astype(np.int64) - shortest, lowest)
        is_novel = novel_from < level
        counts_CLW = np.empty((2, levels + 1, width), dtype=np.int64)
        for kind, below, deep, following in (
            (NOVEL, novel_from[is_novel], level[is_novel], ids[is_novel]),
            (PLAIN, lowest, level, ids),
        ):
            changes = np.bincount(deep * width + following, minlength=(levels + 1) * width)
            changes -= np.bincount(below * width + following, minlength=(levels + 1) * width)
            counts_CLW[kind] = changes.reshape(levels + 1, width)
        sums_CLW = np.cumsum(counts_CLW[:, :0:-1], axis=1)[:, ::-1]
        return np.asarray(sums_CLW.reshape(2, levels, -1, self.vocab))

    def _lengthen_one(
        self, probabilities_XV: np.ndarray, spans_2K: np.ndarray, shortest: int, deepest: int
    ) -> None:
        """Do for one text and contexts of few rows what `count_few` and `_lengthen` do for many.

        In plain numbers, since to call numpy takes longer than to add up a dozen of them.
        """
        firsts, lasts = spans_2K.tolist()
        scales, added = [1.0] * len(EXPERTS), [dict[int, float]() for _ in EXPERTS]
        for length in range(shortest, deepest + 1):
            rows = slice(firsts[length - 1], lasts[length - 1])
            ids, shared = self._next_ids[rows].tolist(), self._shared[rows].tolist()
            novel = [i for i, common in zip(ids, shared, strict=True) if common <= length]
            said = [
                smooth_one(ids, kind, self._odds[kind][length])
                for kind, ids in ((NOVEL, novel), (PLAIN, ids))
            ]
            for expert, (kind, cut) in enumerate(EXPERTS):
                left, shares = said[kind]
                if left == 1 or length > (cut or length):
                    continue
                scales[expert] *= left
                probabilities = added[expert]
                for known in probabilities:
                    probabilities[known] *= left
                for known, share in shares.items():
                    probabilities[known] = probabilities.get(known, 0.0) + share
        for expert, probabilities in enumerate(added):
            if probabilities:
                probabilities_V = probabilities_XV[expert]
                probabilities_V *= scales[expert]
                probabilities_V[list(probabilities)] += list(probabilities.values())

    def _lengthen(
        self, probabilities_BXV: np.ndarray, counts_CLBV: np.ndarray, shortest: int
    ) -> None:
        """Turn probabilities after shorter contexts into those after longer ones, in place.

        counts_CLBV: after the contexts of length `shortest` and on.
        """
        shares_CLBV, left_CLB, _ = smooth(counts_CLBV, self.odds_CLG, shortest)
        lengthen(probabilities_BXV, shares_CLBV, left_CLB, shortest, self.longest)


def _pack(array: np.ndarray) -> np.ndarray:
    """Return an array's bytes, compressed where they are fewer so and not too few to be read."""
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    packed = zlib.compress(data, PACK_LEVEL)
    # What has all its bytes is read as not compressed.
    is_fit = len(packed) < len(data) <= MOST_RATIO * len(packed)
    return np.frombuffer(packed if is_fit else data, dtype=np.uint8)


def _unpack(packed: np.ndarray, size: int, dtype: np.dtype) -> np.ndarray:
    """Return the array of `_pack`; raise ValueError where it is not (size,).

    What is unpacked takes at most MOST_RATIO times the room of what is in the file.
    """
    expected = size * dtype.itemsize
    if packed.dtype != np.uint8 or not 0 < expected <= MOST_RATIO * packed.size:
        raise ValueError(f"its n-grams are not those of {size:,} ids")
    data = packed.tobytes()
    if len(data) != expected:
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(data, expected)
            more = unpacker.decompress(unpacker.unconsumed_tail, 1)
        except zlib.error as error:
            raise ValueError(f"its n-grams are damaged: {error}") from None
        if len(data) != expected or more or not unpacker.eof or unpacker.unused_data:
            raise ValueError(f"its n-grams are not those of {size:,} ids")
    return np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype)


def blocks(shape_TB: tuple[int, ...], numbers: int) -> Iterator[slice]:
    """Yield the steps in stretches for which there is room for so many numbers of each id."""
    steps, rows = shape_TB
    size = max(1, BLOCK // (rows * numbers))
    for start in range(0, steps, size):
        yield slice(start, start + size)
