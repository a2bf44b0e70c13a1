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

import itertools

import numpy as np

from textgen.engine.threads import in_threads

# Bits of the numbers that several ids are packed into for sorting.
WORD = 64
# Rows that are handled at a time where they are not sorted.
BLOCK_ROWS = 1 << 17
# Rows of a block for each id, so that the counts of all blocks take less room than the rows.
COUNTS_SHARE = 16
# Rows that are sorted at a time, so that they fit into the caches of a core (docs/log.md, "n-grams
# sorted in shares"). How many shares there are at most.
SHARE_ROWS, MOST_SHARES = 1 << 17, 1 << 12


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
    def of(
        cls, ids: np.ndarray, vocab: int, longest: int, threads: int | None = None
    ) -> SortedContexts:
        """Return the contexts of a text.

        Args:
            ids: (n,), perhaps none; of an unsigned type.
            vocab: V; all ids are below it.
            longest: K.
            threads: how many sort; by default as many as there are cores. They all give the same.
        """
        if not len(ids):
            return cls(ids, np.zeros(0, dtype=np.uint8), vocab, longest)
        order = sort_contexts(ids, vocab, longest, threads)
        next_ids = ids[order]
        shared = shared_lengths(ids, order, next_ids, vocab, longest, threads)
        return cls(next_ids, shared, vocab, longest)

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


def sort_rows(
    next_ids: np.ndarray, vocab: int, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (n,) in the order of the ids that follow them, and how many follow each (V,).

    That is a stable argsort, block by block: all at once takes four times the memory.
    """
    blocks = _blocks(len(next_ids), max(BLOCK_ROWS, COUNTS_SHARE * vocab))
    counts = np.zeros((len(blocks) + 1, vocab), dtype=np.int64)
    for number, (first, last) in enumerate(blocks):
        counts[number + 1] = np.bincount(next_ids[first:last], minlength=vocab)
    total = counts.sum(axis=0)
    # Where the rows of each id begin, and from which of them on they are this block's.
    offsets = np.cumsum(counts[:-1], axis=0) + (np.cumsum(total) - total)
    rows = np.empty(len(next_ids), dtype=np.int32)

    def sort_block(number: int) -> None:
        first, last = blocks[number]
        order = np.argsort(next_ids[first:last], kind="stable")
        own = counts[number + 1]
        shift = offsets[number] - (np.cumsum(own) - own)
        rows[np.arange(len(order)) + np.repeat(shift, own)] = order + first

    in_threads(sort_block, range(len(blocks)), threads)
    return rows, total


def sort_contexts(
    ids: np.ndarray, vocab: int, longest: int, threads: int | None = None
) -> np.ndarray:
    """Return the places (n,) of a text in the order of the ids before them, newest first.

    At least their newest `longest` ids are compared; places that agree in all that was compared
    stand in the order of the text. As many ids as fit into a word are sorted at once; then the
    ranks of what is still tied are sorted together with the ranks so many ids further back, which
    doubles what is compared (Manber & Myers, Suffix arrays, 1990). Each is done share by share,
    where a share is small enough for the caches of a core, and comes out the same in any number of
    threads.
    """
    order, begins = _sort_words(_words(ids, vocab, threads), threads)
    known = WORD // _bits(vocab)
    while known < longest and not begins.all():
        ranks = np.empty(len(ids), dtype=np.int32)
        shares = _whole_groups(begins)

        def rank(share: tuple[int, int], ranks: np.ndarray = ranks) -> None:
            first, last = share
            ranks[order[first:last]] = _groups(begins[first:last]) + first

        def refine(share: tuple[int, int], ranks: np.ndarray = ranks, known: int = known) -> None:
            first, last = share
            begins_here = begins[first:last]
            # Rows whose context is not yet alone.
            tied = np.flatnonzero(~(begins_here & np.append(begins_here[1:], True)))
            if not len(tied):
                return
            places = order[first:last][tied]
            keys = _groups(begins_here)[tied].astype(np.uint64) << np.uint64(32)
            keys |= ranks.take(places - np.int32(known), mode="wrap").astype(np.uint64)
            resorted = _stable_argsort(keys)
            order[first:last][tied] = places[resorted]
            keys = keys[resorted]
            begins_here[tied[1:]] = keys[1:] != keys[:-1]

        in_threads(rank, shares, threads)
        in_threads(refine, shares, threads)
        known *= 2
    return order


def _sort_words(words: np.ndarray, threads: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the places (n,) in the order of their words, and which begins a word (n,)."""
    n = len(words)
    # Cut at words of a sample, so that all shares are about as large.
    number = min(-(-n // SHARE_ROWS), MOST_SHARES)
    sample = np.sort(words[:: max(1, n // (64 * number))])
    cuts = sample[len(sample) * np.arange(1, number) // number]
    share_of = np.empty(n, dtype=np.uint16)

    def divide(block: tuple[int, int]) -> None:
        share_of[slice(*block)] = cuts.searchsorted(words[slice(*block)], side="right")

    in_threads(divide, _blocks(n), threads)
    order, counts = sort_rows(share_of, number, threads)
    begins = np.empty(n, dtype=bool)
    ends = np.cumsum(counts).tolist()

    def sort_share(share: tuple[int, int]) -> None:
        first, last = share
        if first == last:
            return
        places = order[first:last].copy()
        words_here = words[places]
        resorted = _stable_argsort(words_here)
        order[first:last] = places[resorted]
        words_here = words_here[resorted]
        # No word lies in two shares.
        begins[first] = True
        np.not_equal(words_here[1:], words_here[:-1], out=begins[first + 1 : last])

    in_threads(sort_share, list(zip([0, *ends[:-1]], ends, strict=True)), threads)
    return order, begins


def _stable_argsort(keys: np.ndarray) -> np.ndarray:
    """Return the order of 64-bit numbers, equal ones as they stood.

    By the lower half, then by the upper one, each with its place below it: numpy sorts different
    numbers many times as fast as it finds the order of numbers that may be equal.
    """
    half = np.uint64(32)
    places = np.arange(len(keys), dtype=np.uint64)
    by_lower = keys << half
    by_lower |= places
    by_lower.sort()
    order = by_lower.astype(np.uint32)
    by_upper = keys[order]
    by_upper >>= half
    by_upper <<= half
    by_upper |= places
    by_upper.sort()
    return order[by_upper.astype(np.uint32)]


def _groups(begins: np.ndarray) -> np.ndarray:
    """Return for each row the row in which its group begins."""
    groups = np.where(begins, np.arange(len(begins), dtype=np.int32), 0)
    return np.asarray(np.maximum.accumulate(groups, out=groups))


def _whole_groups(begins: np.ndarray) -> list[tuple[int, int]]:
    """Return the rows in shares that begin where a group does."""
    edges, n = [0], len(begins)
    while edges[-1] < n:
        edge = min(edges[-1] + SHARE_ROWS, n)
        # Most groups are short: look a little further, then further.
        step = 64
        while edge < n and not begins[edge]:
            ahead = begins[edge : edge + step]
            edge += int(ahead.argmax()) if ahead.any() else len(ahead)
            step *= 2
        edges.append(edge)
    return list(itertools.pairwise(edges))


def shared_lengths(
    ids: np.ndarray,
    order: np.ndarray,
    next_ids: np.ndarray,
    vocab: int,
    longest: int,
    threads: int | None = None,
) -> np.ndarray:
    """Return `shared` of `SortedContexts` for places in order and the ids that follow them."""
    bits = _bits(vocab)
    per_word = WORD // bits
    words = _words(ids, vocab, threads)
    rows, _ = sort_rows(next_ids, vocab, threads)
    shared = np.zeros(len(ids), dtype=np.uint8)

    def compare(block: tuple[int, int]) -> None:
        first, last = block
        # From the row before on, which the first one is compared with.
        rows_here = rows[max(0, first - 1) : last]
        places, followed = order[rows_here], next_ids[rows_here]
        alike = np.flatnonzero(followed[1:] == followed[:-1]) + 1
        words_here = words[places]
        difference = words_here[alike] ^ words_here[alike - 1]
        lengths = np.zeros(len(places), dtype=np.uint8)
        for back in range(0, longest, per_word):
            if back:
                one, other = (
                    words.take(places[each] - np.int32(back), mode="wrap")
                    for each in (alike, alike - 1)
                )
                difference = one ^ other
            same = np.minimum(_leading_zeros(difference) // bits, per_word)
            lengths[alike] += same.astype(np.uint8)
            alike = alike[difference >> np.uint64(WORD - bits * per_word) == 0]
            if not len(alike):
                break
        shared[rows_here[lengths > 0]] = np.minimum(lengths[lengths > 0], longest)

    in_threads(compare, _blocks(len(ids)), threads)
    return shared


def _leading_zeros(numbers: np.ndarray) -> np.ndarray:
    """Return how many of the highest bits of 64-bit numbers are 0, more than 64 for a 0.

    Told by the exponent of the number as a float, for which the bit after its highest is cleared:
    so it is not rounded up.
    """
    floats = (numbers & ~(numbers >> np.uint64(1))).astype(np.float64)
    exponents = floats.view(np.int64) >> 52
    return np.asarray(WORD - 1 + 1023 - exponents)


def _bits(vocab: int) -> int:
    return max(1, (vocab - 1).bit_length())


def _words(ids: np.ndarray, vocab: int, threads: int | None) -> np.ndarray:
    """Return the ids before each place as one number (n,), the newest in the highest bits."""
    bits = _bits(vocab)
    per_word = WORD // bits
    ring = np.concatenate([ids.take(np.arange(-per_word, 0), mode="wrap"), ids])
    words = np.zeros(len(ids), dtype=np.uint64)

    def pack(block: tuple[int, int]) -> None:
        first, last = block
        for back in range(1, per_word + 1):
            before = ring[first + per_word - back : last + per_word - back]
            words[first:last] |= before.astype(np.uint64) << np.uint64(WORD - bits * back)

    in_threads(pack, _blocks(len(ids)), threads)
    return words


def _blocks(n: int, size: int | None = None) -> list[tuple[int, int]]:
    """Return where each block of rows begins and ends."""
    size = size or BLOCK_ROWS
    return [(first, min(first + size, n)) for first in range(0, n, size)]
