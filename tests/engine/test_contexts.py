"""Sorted contexts against a plain search over a text that is read as a ring."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textgen.engine import contexts as contexts_module
from textgen.engine.contexts import SortedContexts, shared_lengths, sort_contexts, sort_rows


def before(ids, place, length):
    """The ids before a place of the ring, newest first."""
    return tuple(ids[(place - back) % len(ids)] for back in range(1, length + 1))


def as_ids(ids, vocab):
    return np.array(ids, dtype=np.min_scalar_type(vocab - 1))


@st.composite
def rings(draw):
    """(ids, vocab, longest): few distinct ids, so that contexts come again, of any alphabet."""
    vocab = draw(st.integers(2, 70_000))
    known = draw(st.lists(st.integers(0, vocab - 1), min_size=1, max_size=4))
    period = draw(st.lists(st.sampled_from(known), min_size=1, max_size=40))
    ids = (period * draw(st.integers(1, 8)))[:300]
    ids += draw(st.lists(st.sampled_from(known), max_size=300 - len(ids)))
    return ids, vocab, draw(st.integers(1, 12))


LONG_TIES = ([0] * 150 + [1] * 150, 2, 12), ([5], 6, 3), ([3, 3, 3], 4, 12), ([0], 1, 2)


def every(*cases):
    """The cases as examples of a property."""

    def add(test):
        for case in cases:
            test = example(case)(test)
        return test

    return add


def every_in_shares(*cases):
    """The same, each in shares and blocks of 3 and 5 rows."""

    def add(test):
        for case in cases:
            test = example(case, 3, 5)(test)
        return test

    return add


@given(rings())
@every(*LONG_TIES)
def test_places_stand_in_the_order_of_the_ids_before_them(ring):
    ids, vocab, longest = ring
    order = sort_contexts(as_ids(ids, vocab), vocab, longest).tolist()
    assert sorted(order) == list(range(len(ids)))
    contexts = [before(ids, place, longest) for place in order]
    assert contexts == sorted(contexts)


@pytest.mark.parametrize("vocab", [2, 3, 128, 257, 70_000])
def test_contexts_are_compared_far_beyond_what_a_machine_word_holds(vocab):
    ids = ([vocab - 1] * 70 + [0]) * 3 + [vocab - 1] * 65
    order = sort_contexts(as_ids(ids, vocab), vocab, 64).tolist()
    contexts = [before(ids, place, 64) for place in order]
    assert contexts == sorted(contexts)


@pytest.mark.slow
@settings(max_examples=25)
@given(rings(), st.integers(1, 20), st.integers(1, 20))
@every_in_shares(*LONG_TIES)
def test_any_number_of_threads_sorts_and_compares_to_the_same_bits(ring, rows, blocks):
    ids, vocab, longest = ring
    array = as_ids(ids, vocab)
    # As many ids as fit into a word are compared at once, then twice as many, and so on.
    compared = 64 // max(1, (vocab - 1).bit_length())
    while compared < longest:
        compared *= 2
    expected = sorted(range(len(ids)), key=lambda place: (before(ids, place, compared), place))
    alone = SortedContexts.of(array, vocab, longest, threads=1)
    assert sort_contexts(array, vocab, longest, threads=1).tolist() == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts_module, "SHARE_ROWS", rows)
        patch.setattr(contexts_module, "BLOCK_ROWS", blocks)
        for threads in (1, 2, 3, 7):
            assert sort_contexts(array, vocab, longest, threads).tolist() == expected
            found = SortedContexts.of(array, vocab, longest, threads)
            assert np.array_equal(found.next_ids, alone.next_ids)
            assert np.array_equal(found.shared, alone.shared)
            assert (found.next_ids.dtype, found.shared.dtype) == (array.dtype, np.uint8)


@given(rings())
@every(*LONG_TIES)
def test_shared_is_what_a_context_has_in_common_with_the_last_one_before_the_same_id(ring):
    ids, vocab, longest = ring
    array = as_ids(ids, vocab)
    order = sort_contexts(array, vocab, longest)
    shared = shared_lengths(array, order, array[order], vocab, longest)
    last = {}
    for place, found in zip(order.tolist(), shared.tolist(), strict=True):
        context = before(ids, place, longest)
        other = last.get(ids[place], ())
        pairs = zip(context, other, strict=bool(other))
        alike = [one == two for one, two in pairs] + [False]
        assert found == (alike.index(False) if other else 0)
        last[ids[place]] = context


@given(rings(), st.data())
def test_a_span_holds_the_places_after_a_context_and_no_others(ring, data):
    ids, vocab, longest = ring
    contexts = SortedContexts.of(as_ids(ids, vocab), vocab, longest)
    # Mostly a stretch of the ring itself, with an id at the end that may be wrong.
    start = data.draw(st.integers(0, len(ids) - 1))
    read = [ids[(start + i) % len(ids)] for i in range(data.draw(st.integers(0, 14)))]
    read.append(data.draw(st.integers(0, vocab - 1) | st.sampled_from(ids)))
    spans = contexts.no_spans(1)
    for next_id in read:
        spans = contexts.extend(np.array([next_id]), spans)
    assert spans.shape == (1, 2, longest)
    for length in range(1, longest + 1):
        first, last = spans[0, :, length - 1].tolist()
        wanted = tuple(read[::-1][:length])
        follow = [
            ids[place] for place in range(len(ids)) if before(ids, place, len(wanted)) == wanted
        ]
        # A context of which only a part was read yet is unknown.
        expected = sorted(follow) if len(wanted) == length else []
        assert sorted(contexts.next_ids[first:last].tolist()) == expected


@given(rings(), st.data())
def test_contexts_made_again_from_what_is_kept_of_them_find_the_same(ring, data):
    ids, vocab, longest = ring
    contexts = SortedContexts.of(as_ids(ids, vocab), vocab, longest)
    again = SortedContexts(contexts.next_ids, contexts.shared, vocab, longest)
    assert len(again) == len(contexts) == len(ids)
    one, other = contexts.no_spans(2), again.no_spans(2)
    for _ in range(4):
        ids_B = np.array(data.draw(st.tuples(*[st.sampled_from(ids)] * 2)))
        one, other = contexts.extend(ids_B, one), again.extend(ids_B, other)
        assert np.array_equal(one, other)


def test_rows_are_followed_each_on_its_own():
    ids = np.random.default_rng(0).integers(0, 4, 300).astype(np.uint8)
    contexts = SortedContexts.of(ids, 4, 5)
    read_TB = np.random.default_rng(1).integers(0, 4, (9, 3))
    together = contexts.no_spans(3)
    alone = [contexts.no_spans(1) for _ in range(3)]
    for ids_B in read_TB:
        kept = together.copy()
        after = contexts.extend(ids_B, together)
        assert np.array_equal(together, kept)  # a state is a value
        alone = [contexts.extend(ids_B[b : b + 1], one) for b, one in enumerate(alone)]
        assert np.array_equal(after, np.concatenate(alone))
        together = after


def test_without_any_context_there_are_no_spans():
    contexts = SortedContexts.of(np.array([1, 0, 1], dtype=np.uint8), 2, 0)
    assert contexts.extend(np.array([1]), contexts.no_spans(1)).shape == (1, 2, 0)
    assert sorted(contexts.next_ids.tolist()) == [0, 1, 1]


@pytest.mark.parametrize(
    ("vocab", "n", "more", "longest"),
    [(3, 60, 20, 4), (5, 200, 50, 6), (2, 40, 3, 5), (2, 30, 1, 4)],
)
def test_a_second_text_stands_among_the_first_as_often_as_it_counts(vocab, n, more, longest):
    draws = np.random.default_rng(n)
    texts = [as_ids(draws.integers(0, vocab, size), vocab) for size in (n, more)]
    first, second = (
        [(before(ids.tolist(), i, longest), int(ids[i])) for i in range(len(ids))] for ids in texts
    )

    def shared(i):
        context, next_id = second[i]
        alike = [c for c, other in first + second[:i] if other == next_id]
        return max((common(context, c) for c in alike), default=0)

    def common(left, right):
        return next((k for k in range(longest) if left[k] != right[k]), longest)

    lengths = np.array([shared(i) for i in range(more)], dtype=np.uint8)
    contexts = SortedContexts.of(texts[0], vocab, longest).with_text(texts[1], lengths, 2)
    spans = contexts.no_spans(1)
    read: list[int] = []
    for next_id in [*texts[0][:15].tolist(), *texts[1].tolist()]:
        read = [next_id, *read]
        spans = contexts.extend(np.array([next_id]), spans)
        for length in range(1, min(longest, len(read) + 1)):
            wanted = tuple(read[:length])
            if len(wanted) < length:
                continue
            start, end = spans[0, :, length - 1]
            following = contexts.next_ids[start:end]
            expected = [y for c, y in first + 2 * second if c[:length] == wanted]
            assert sorted(following.tolist()) == sorted(expected)
            novel = following[contexts.shared[start:end] <= length]
            for one in set(expected):
                old = {c[: length + 1] for c, y in first if c[:length] == wanted and y == one}
                new = {c[: length + 1] for c, y in second if c[:length] == wanted and y == one}
                assert (novel == one).sum() == len(old) + 2 * len(new - old)


@given(st.data(), st.integers(2, 9), st.integers(1, 5))
def test_rows_are_sorted_alike_in_blocks_and_at_once(data, vocab, size):
    ids = np.array(data.draw(st.lists(st.integers(0, vocab - 1))), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts_module, "BLOCK_ROWS", size)
        patch.setattr(contexts_module, "COUNTS_SHARE", 1)
        rows, counts = sort_rows(ids, vocab)
    assert rows.tolist() == np.argsort(ids, kind="stable").tolist()
    assert counts.tolist() == np.bincount(ids, minlength=vocab).tolist()
