"""All contexts of a text, of every length, in order: the index beneath the n-grams.

Each place of a text has a context, the ids before it, newest first. Sorted, the contexts that begin
alike stand side by side, so that all places after one context of any length are one span of rows.
What a row keeps is the id that follows its context; those ids in this order are the Burrows-Wheeler
transform of the text read backwards, and they are all that is needed to walk on (Ferragina &
Manzini, Opportunistic data structures with applications, 2000): of the rows followed by an id c,
the i-th is the one whose place follows the i-th row that begins with c. So the span of a context
with c appended is

    [starts[c] + rank(c, first), starts[c] + rank(c, last))

where rank(c, r) counts the rows before r that are followed by c,
and the spans of the contexts of all lengths, one id later, are one binary search.

The text is read as a ring: its first id stands after its last, so that no place is special.

Shapes: n ids of the text, B rows of texts that are followed, K the longest context. Spans (B, 2, K)
are the first rows and those behind the last rows of the contexts of length 1 to K; zeros, which are
empty spans, stand for a text of which nothing was read.

    >>> contexts = SortedContexts.of(ids, vocab=66, longest=15)
    >>> spans_B2K = contexts.extend(np.array([5]), contexts.no_spans(1))
"""

from __future__ import annotations

import numpy as np

# Bits of the numbers that several ids are packed into for sorting.
WORD = 64
# Rows that are compared at a time.
BLOCK_ROWS = 1 << 20


class SortedContexts:
    """The contexts of a text in order, by the ids that follow them.

    Args:
        next_ids: (n,) the id that follows each context.
        shared: (n,) how many ids each context has in common with the last one before it that is
            followed by the same id, at most `longest`; 0 for the first one.
        vocab: V.
        longest: K, perhaps 0.
    """

    def __init__(self, next_ids: np.ndarray, shared: np.ndarray, vocab: int, longest: int) -> None:
        self.next_ids, self.shared, self.vocab, self.longest = next_ids, shared, vocab, longest
        rows, counts = sort_rows(next_ids, vocab)
        self.starts = np.concatenate([[0], np.cumsum(counts)]).tolist()
        # The rows followed by each id.
        self._followed = [rows[a:b] for a, b in zip(self.starts, self.starts[1:], strict=False)]

    @classmethod
    def of(cls, ids: np.ndarray, vocab: int, longest: int) -> SortedContexts:
        """Return the contexts of a text.

        Args:
            ids: (n,), n >= 1; of an unsigned type.
            vocab: V; all ids are below it.
            longest: K.
        """
        order = sort_contexts(ids, vocab, longest)
        next_ids = ids[order]
        return cls(next_ids, shared_lengths(ids, order, next_ids, vocab, longest), vocab, longest)

    def __len__(self) -> int:
        return len(self.next_ids)

    def no_spans(self, rows: int) -> np.ndarray:
        """Return the spans of B texts of which nothing was read."""
        return np.zeros((rows, 2, self.longest), dtype=np.int32)

    def extend(self, ids_B: np.ndarray, spans_B2K: np.ndarray) -> np.ndarray:
        """Return the spans after one more id of each text."""
        if not self.longest:
            return spans_B2K
        # A context of length k begins with one of length k - 1, the shortest with any row.
        shorter_B2K = np.empty_like(spans_B2K)
        shorter_B2K[:, 0, 0], shorter_B2K[:, 1, 0] = 0, len(self.next_ids)
        shorter_B2K[:, :, 1:] = spans_B2K[:, :, :-1]
        after_B2K = np.zeros_like(spans_B2K)
        for row, next_id in enumerate(ids_B.tolist()):
            known = np.count_nonzero(shorter_B2K[row, 1] > shorter_B2K[row, 0])
            searched = self._followed[next_id].searchsorted(shorter_B2K[row, :, :known])
            after_B2K[row, :, :known] = searched + self.starts[next_id]
        return after_B2K

    def extend_along(self, x_TB: np.ndarray, spans_B2K: np.ndarray) -> np.ndarray:
        """Return the spans (T, B, 2, K) after each of x_TB, which are read one after the other."""
        spans_TB2K = np.empty((len(x_TB), *spans_B2K.shape), dtype=spans_B2K.dtype)
        for t, ids_B in enumerate(x_TB):
            spans_TB2K[t] = spans_B2K = self.extend(ids_B, spans_B2K)
        return spans_TB2K

    def with_text(self, ids: np.ndarray, shared: np.ndarray, copies: int) -> SortedContexts:
        """Return these contexts and, among them, those of a second text, each several times.

        Args:
            ids: (n,) the second text, a ring of its own.
            shared: (n,) for each place how many ids its context has in common with any other one
                of either text that is followed by the same id.
            copies: how often each of its contexts counts.
        """
        # Where each context would stand: the place of the one before it, taken along by its id. It
        # no longer depends on where it began once as many ids as the longest context were read.
        around = np.tile(ids, 1 + -(-self.longest // len(ids)))
        points, point = np.empty(len(around), dtype=np.int64), 0
        for place, next_id in enumerate(around.tolist()):
            points[place] = point
            point = self.starts[next_id] + int(self._followed[next_id].searchsorted(point))
        points = points[-len(ids) :]
        order = sort_contexts(ids, self.vocab, self.longest)
        order = np.repeat(order[np.argsort(points[order], kind="stable")], copies)
        next_ids = np.insert(self.next_ids, points[order], ids[order])
        return SortedContexts(
            next_ids, np.insert(self.shared, points[order], shared[order]), self.vocab, self.longest
        )


def sort_rows(next_ids: np.ndarray, vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (n,) in the order of the ids that follow them, and how many follow each (V,).

    That is a stable argsort, block by block: all at once takes four times the memory.
    """
    blocks = range(0, len(next_ids), BLOCK_ROWS)
    counts_of = [np.bincount(next_ids[b : b + BLOCK_ROWS], minlength=vocab) for b in blocks]
    counts = sum(counts_of, np.zeros(vocab, dtype=np.int64))
    rows = np.empty(len(next_ids), dtype=np.int32)
    ends = np.cumsum(counts) - counts
    for begin, counts_of_block in zip(blocks, counts_of, strict=True):
        order = np.argsort(next_ids[begin : begin + BLOCK_ROWS], kind="stable")
        # Where the rows of each id go on, less where they begin in this block.
        shift = ends - (np.cumsum(counts_of_block) - counts_of_block)
        rows[np.arange(len(order)) + np.repeat(shift, counts_of_block)] = order + begin
        ends += counts_of_block
    return rows, counts


def sort_contexts(ids: np.ndarray, vocab: int, longest: int) -> np.ndarray:
    """Return the places (n,) of a text in the order of the ids before them, newest first.

    At least their newest `longest` ids are compared. As many ids as fit into a word are sorted at
    once; then the ranks of what is still tied are sorted together with the ranks so many ids
    further back, which doubles what is compared (Manber & Myers, Suffix arrays, 1990).
    """
    known = WORD // _bits(vocab)
    words = _words(ids, vocab)
    order = np.argsort(words, kind="stable")
    words = words[order]
    begins = np.ones(len(ids), dtype=bool)
    np.not_equal(words[1:], words[:-1], out=begins[1:])
    del words
    order = order.astype(np.int32)
    while known < longest:
        # Rows whose context is not yet alone.
        tied = np.flatnonzero(~(begins & np.append(begins[1:], True))).astype(np.int32)
        if not len(tied):
            break
        groups = np.where(begins, np.arange(len(ids), dtype=np.int32), 0)
        np.maximum.accumulate(groups, out=groups)
        ranks = np.empty_like(groups)
        ranks[order] = groups
        places = order[tied]
        keys = groups[tied].astype(np.int64) << 32
        del groups
        keys |= ranks[(places - known) % len(ids)]
        del ranks
        resorted = np.argsort(keys, kind="stable")
        order[tied] = places[resorted]
        keys = keys[resorted]
        begins[tied[1:]] = keys[1:] != keys[:-1]
        known *= 2
    return order


def shared_lengths(
    ids: np.ndarray, order: np.ndarray, next_ids: np.ndarray, vocab: int, longest: int
) -> np.ndarray:
    """Return `shared` of `SortedContexts` for places in order and the ids that follow them."""
    bits = _bits(vocab)
    per_word = WORD // bits
    words = _words(ids, vocab)
    rows = np.argsort(next_ids, kind="stable").astype(np.int32)
    places, followed = order[rows], next_ids[rows]
    lengths = np.zeros(len(ids), dtype=np.uint8)
    alike = np.flatnonzero(followed[1:] == followed[:-1]).astype(np.int32) + 1
    del followed
    # In blocks, since numbers of 64 bits take most of the room.
    for start in range(0, len(alike), BLOCK_ROWS):
        block = alike[start : start + BLOCK_ROWS]
        for back in range(0, longest, per_word):
            difference = words[(places[block] - back) % len(ids)]
            difference ^= words[(places[block - 1] - back) % len(ids)]
            same = np.minimum(_leading_zeros(difference) // bits, per_word)
            lengths[block] += same.astype(np.uint8)
            block = block[difference >> np.uint64(WORD - bits * per_word) == 0]
    shared = np.empty_like(lengths)
    shared[rows] = np.minimum(lengths, longest)
    return shared


def _leading_zeros(numbers: np.ndarray) -> np.ndarray:
    """Return how many of the highest bits of 64-bit numbers are 0; destroys the numbers' copy."""
    filled = numbers.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        filled |= filled >> np.uint64(shift)
    return np.asarray(WORD - np.bitwise_count(filled).astype(np.int64))


def _bits(vocab: int) -> int:
    return max(1, (vocab - 1).bit_length())


def _words(ids: np.ndarray, vocab: int) -> np.ndarray:
    """Return the ids before each place as one number (n,), the newest in the highest bits."""
    bits = _bits(vocab)
    words = np.zeros(len(ids), dtype=np.uint64)
    for back in range(1, WORD // bits + 1):
        words |= np.roll(ids, back).astype(np.uint64) << np.uint64(WORD - bits * back)
    return words
