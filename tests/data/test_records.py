"""Items are cut exactly, and every window shows each from its beginning, from the zero state."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.data import records
from textgen.data.records import IGNORED, Records
from textgen.data.streams import RecordStreams

BOUNDARY = 99
ITEMS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=30)


def framed(items):
    flat = [BOUNDARY]
    for item in items:
        flat += [*item, BOUNDARY]
    return np.array(flat, np.uint8)


def test_lines_are_items():
    assert records.split_records("ann\nbob\r\n\n  x \nann\n", "lines") == [
        "ann",
        "bob",
        "  x ",
        "ann",
    ]


def test_a_blank_line_may_hold_blanks_and_come_in_numbers():
    text = "X:1\nabc\n\nX:2\r\n\r\ndef\n \t\n\n\nX:3\n"
    assert records.split_records(text, "blank-line") == ["X:1\nabc", "X:2", "def", "X:3"]


def test_any_text_can_stand_between_items():
    assert records.split_records("a.c<|>\n\nb<|>", "<|>") == ["a.c", "b"]
    assert records.split_records("a.b.c", ".") == ["a", "b", "c"]  # it is no pattern


@given(st.text(st.sampled_from("ab\n\r "), max_size=40))
def test_no_item_is_empty_or_begins_or_ends_with_a_newline(text):
    for how in ("lines", "blank-line", "ab"):
        items = records.split_records(text, how)
        assert all(items)
        assert not any(re.match(r"[\r\n]|.*[\r\n]\Z", item, re.DOTALL) for item in items)
        letters = "".join(items).replace("\n", "").replace("\r", "")
        if how == "lines":
            assert letters == re.sub(r"[\r\n]", "", text)


def test_repeated_items_are_taken_once_and_counted():
    assert records.drop_repeated(["b", "a", "b", "b"]) == (["b", "a"], 2)


@given(st.lists(st.text(min_size=1), unique=True))
def test_the_order_of_items_is_mixed_the_same_way_each_time(items):
    mixed = records.shuffle_records(items)
    assert sorted(mixed) == sorted(items)
    assert records.shuffle_records(items) == mixed


def test_a_sorted_list_is_mixed():
    names = [f"{number:04}" for number in range(1000)]
    places = [names.index(name) for name in records.shuffle_records(names)[900:]]
    assert 400 < sum(places) / 100 < 600


@given(ITEMS)
def test_items_of_framed_ids_begin_at_their_marks(items):
    found = Records.of(framed(items), BOUNDARY)
    assert found.lengths.tolist() == [len(item) + 1 for item in items]
    for start, item in zip(found.starts, items, strict=True):
        assert framed(items)[start : start + len(item) + 2].tolist() == [BOUNDARY, *item, BOUNDARY]


def rows_of_an_epoch(streams, epoch):
    """Follow each row through an epoch: what it read and foretold from each reset to the next."""
    read = []
    rows = [None] * streams.batch
    for index in range(streams.windows):
        x_TB, y_TB, reset_B = streams.window_at(epoch, index)
        assert x_TB.shape == y_TB.shape
        assert len(x_TB) <= streams.window
        for row in range(streams.batch):
            if reset_B[row]:
                rows[row] = ([], [])
                read.append(rows[row])
            counted = y_TB[:, row] != IGNORED
            rows[row][0].extend(x_TB[counted, row].tolist())
            rows[row][1].extend(y_TB[counted, row].tolist())
    return [one for one in read if one[0]]


@given(ITEMS, st.integers(1, 8), st.integers(1, 9), st.integers(0, 3), st.integers(0, 2))
def test_an_epoch_shows_every_item_once_whole_and_from_its_mark(items, batch, window, seed, epoch):
    streams = RecordStreams(framed(items), BOUNDARY, batch, window, seed)
    read = rows_of_an_epoch(streams, epoch)
    assert all(x[0] == BOUNDARY and x[1:] == y[:-1] and y[-1] == BOUNDARY for x, y in read)
    assert sorted(y[:-1] for _, y in read) == sorted(items)


def test_epochs_differ_and_repeat_with_their_seed():
    ids = framed([[one] * 3 for one in range(10)] * 5)
    order = [
        rows_of_an_epoch(RecordStreams(ids, BOUNDARY, 4, 8, s), e)
        for s, e in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert order[0] == order[1]
    assert order[0] != order[2]
    assert order[0] != order[3]


def test_rows_of_a_window_are_of_like_length():
    """Little of a window is wasted."""
    lengths = np.random.default_rng(0).integers(1, 40, 5000)
    streams = RecordStreams(framed([[1] * n for n in lengths]), BOUNDARY, 64, 64, 0)
    room = used = 0
    for index in range(streams.windows):
        _, y_TB, _ = streams.window_at(0, index)
        room, used = room + y_TB.size, used + int((y_TB != IGNORED).sum())
    assert used == (lengths + 1).sum()
    assert used / room > 0.95
    assert streams.chars_per_step == pytest.approx(used / streams.windows, abs=1)


@given(ITEMS, st.integers(1, 8), st.integers(1, 9), st.integers(0, 3), st.integers(1, 4))
def test_shares_of_the_rows_are_the_whole_window_and_its_targets_are_known(
    items, batch, window, seed, shares
):
    streams = RecordStreams(framed(items), BOUNDARY, batch, window, seed)
    cuts = [streams.batch * share // shares for share in range(shares + 1)]
    for index in range(streams.windows):
        whole = streams.window_at(1, index)
        parts = [streams.of_rows(slice(a, b)).window_at(1, index) for a, b in pairwise(cuts)]
        for array, *pieces in zip(whole, *parts, strict=True):
            assert np.array_equal(np.concatenate(pieces, axis=-1), array)
        assert streams.targets_at(1, index) == (whole[1] != IGNORED).sum()
