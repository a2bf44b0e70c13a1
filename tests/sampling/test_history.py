"""The look-back against a plain list of everything that was ever added."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.sampling.filters import NOTHING, History

VOCAB = 5


@st.composite
def stories(draw, most=40):
    """What stands in the rows to begin with, what is added to them, and the size kept."""
    rows = draw(st.integers(1, 3))
    ids = st.lists(st.integers(0, VOCAB - 1), min_size=rows, max_size=rows)
    before = draw(st.lists(ids, max_size=12))
    added = draw(st.lists(ids, max_size=most))
    missing = draw(st.lists(st.integers(0, len(before)), min_size=rows, max_size=rows))
    start_BL = np.array(before, dtype=np.int64).reshape(len(before), rows).T.copy()
    for row, count in enumerate(missing):
        start_BL[row, :count] = NOTHING
    return start_BL, added, draw(st.integers(1, 9))


def latest(columns, size):
    """The last columns as rows of exactly `size` ids, filled up from the left."""
    rows = [list(row) for row in zip(*columns, strict=True)]
    return [([NOTHING] * size + row)[-size:] for row in rows]


def recount(rows):
    return [[row.count(one) for one in range(VOCAB)] for row in rows]


@given(stories())
def test_the_latest_ids_and_their_counts_are_those_of_a_plain_list(story):
    start_BL, added, size = story
    history = History(start_BL, size, VOCAB)
    columns = start_BL.T.tolist()
    if not columns:
        columns = [[NOTHING] * len(start_BL)]
    for ids in [None, *added]:
        if ids is not None:
            history.add(np.array(ids))
            columns.append(ids)
        expected = latest(columns, size)
        assert history.ids_BL.tolist() == expected
        assert history.counts_BV.tolist() == recount(expected)


def assert_views_stay(start_BL, added, size):
    history = History(start_BL, size, VOCAB)
    views, copies = [history.ids_BL], [history.ids_BL.copy()]
    for ids in added:
        history.add(np.array(ids))
        views.append(history.ids_BL)
        copies.append(history.ids_BL.copy())
    assert all(np.array_equal(*pair) for pair in zip(views, copies, strict=True))


@given(stories())
def test_views_stay_what_they_are_while_ids_are_added(story):
    assert_views_stay(*story)


def test_a_history_that_moves_its_ids_in_place_is_noticed(monkeypatch):
    def add(self, ids_B):
        self._room[:, : self.size - 1] = self._room[:, 1 : self.size].copy()
        self._room[:, self.size - 1] = ids_B

    monkeypatch.setattr(History, "add", add)
    with pytest.raises(AssertionError):
        assert_views_stay(np.array([[0, 1]]), [[2]], 2)


@given(stories())
def test_the_array_to_begin_with_is_neither_changed_nor_looked_at_again(story):
    start_BL, added, size = story
    before = start_BL.copy()
    history, other = History(start_BL, size, VOCAB), History(before, size, VOCAB)
    for ids in added:
        history.add(np.array(ids))
    assert np.array_equal(start_BL, before)
    before[:] = 3
    for ids in added:
        other.add(np.array(ids))
    assert np.array_equal(history.ids_BL, other.ids_BL)


@given(stories(), st.integers(0, 30))
def test_a_history_goes_on_from_the_ids_of_another(story, more):
    start_BL, added, size = story
    once = History(start_BL, size, VOCAB)
    for ids in added:
        once.add(np.array(ids))
    again = History(once.ids_BL, size, VOCAB)
    for number in range(more):
        ids = np.full(len(start_BL), number % VOCAB)
        once.add(ids)
        again.add(ids)
    assert np.array_equal(once.ids_BL, again.ids_BL)
    assert np.array_equal(once.counts_BV, again.counts_BV)


@given(stories())
def test_ids_are_kept_where_nobody_counts_them(story):
    start_BL, added, size = story
    counted, not_counted = (History(start_BL, size, VOCAB, one) for one in (True, False))
    for ids in added:
        counted.add(np.array(ids))
        not_counted.add(np.array(ids))
    assert np.array_equal(counted.ids_BL, not_counted.ids_BL)


def test_a_row_that_has_read_nothing_has_no_ids_and_no_counts():
    history = History(np.empty((2, 0), dtype=np.int64), 3, VOCAB)
    assert history.ids_BL.tolist() == [[NOTHING] * 3] * 2
    assert not history.counts_BV.any()


def test_a_look_back_of_one_holds_the_newest_alone():
    history = History(np.array([[0, 1, 2]]), 1, VOCAB)
    seen = [history.ids_BL.tolist()]
    for one in (3, 3, 4):
        history.add(np.array([one]))
        seen.append(history.ids_BL.tolist())
    assert seen == [[[2]], [[3]], [[3]], [[4]]]
    assert history.counts_BV.tolist() == [[0, 0, 0, 0, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_ids_of_any_integer_type_are_added(dtype):
    history = History(np.array([[4, 200]], dtype=dtype), 3, 256)
    history.add(np.array([7], dtype=dtype))
    assert history.ids_BL.tolist() == [[4, 200, 7]]
    assert np.flatnonzero(history.counts_BV[0]).tolist() == [4, 7, 200]


def test_memory_does_not_grow_with_the_text():
    def held(history):
        arrays = [one for one in vars(history).values() if isinstance(one, np.ndarray)]
        roots = [one if one.base is None else one.base for one in arrays]
        return sum({id(root): root.nbytes for root in roots}.values())

    history = History(np.array([[0], [1]]), 16, VOCAB)
    before = held(history)
    for number in range(2000):
        history.add(np.array([number % VOCAB, 0]))
        assert held(history) == before
    assert before <= 8 * 2 * (2 * 16 + VOCAB + 2)
    assert history.counts_BV.sum(1).tolist() == [16, 16]
