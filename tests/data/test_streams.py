"""Streams of windows: in order, without overlap, nothing left out, the same at every call."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textgen.data import streams as streams_module
from textgen.data.streams import Streams

SIZES = (st.integers(2, 400), st.integers(1, 40), st.integers(1, 80), st.integers(0, 2**63))


def places(n, batch, window, seed=0):
    """Streams over a text whose ids are the places of its characters."""
    return Streams(np.arange(n, dtype=np.uint32), batch, window, seed)


def assert_sound_epoch(streams, n, epoch):
    """All that must hold of the windows of one epoch over the ids 0 ... n - 1."""
    trained = []
    before = None
    for index in range(streams.windows):
        x_TB, y_TB, reset_B = streams.window_at(epoch, index)
        assert x_TB.shape == y_TB.shape == (streams.window, streams.batch)
        assert x_TB.dtype == y_TB.dtype == np.int64
        assert reset_B.shape == (streams.batch,)
        assert reset_B.dtype == bool
        assert (y_TB == x_TB + 1).all(), "a target is the character after its input"
        assert (np.diff(x_TB, axis=0) == 1).all(), "a row is unbroken text"
        if before is not None:
            assert (x_TB[0] == before[-1] + 1).all(), "a row goes on where it stopped"
        before = x_TB
        trained += y_TB.flatten().tolist()
    assert len(trained) == len(set(trained)), "a character is trained on once an epoch"
    assert set(trained) <= set(range(1, n))


@given(*SIZES, st.integers(0, 1000))
@example(2, 1, 1, 0, 0)
@example(2, 40, 80, 2**63, 0)
@example(400, 40, 10, 0, 10**6)
def test_every_epoch_of_any_text_is_sound(n, batch, window, seed, epoch):
    assert_sound_epoch(places(n, batch, window, seed), n, epoch)


@pytest.mark.parametrize("n", range(2, 26))
def test_every_epoch_of_every_short_text_is_sound(n):
    for batch in (1, 2, 5):
        for window in (1, 2, 7, 30):
            for epoch in range(3):
                assert_sound_epoch(places(n, batch, window), n, epoch)


@pytest.mark.parametrize("break_it", ["shift", "shuffle", "overlap"])
def test_the_check_of_an_epoch_notices_broken_windows(monkeypatch, break_it):
    whole = Streams.window_at

    def broken(self, epoch, index):
        x_TB, y_TB, reset_B = whole(self, epoch, 0 if break_it == "overlap" else index)
        if break_it == "shift":
            y_TB = x_TB
        if break_it == "shuffle":
            x_TB, y_TB = np.roll(x_TB, index, axis=1), np.roll(y_TB, index, axis=1)
        return x_TB, y_TB, reset_B

    assert_sound_epoch(places(100, 3, 5), 100, 0)
    monkeypatch.setattr(Streams, "window_at", broken)
    with pytest.raises(AssertionError):
        assert_sound_epoch(places(100, 3, 5), 100, 0)


@given(*SIZES)
def test_batch_and_window_only_shrink_and_only_for_short_texts(n, batch, window, seed):
    streams = places(n, batch, window, seed)
    assert 1 <= streams.batch <= batch
    assert 1 <= streams.window <= window
    assert streams.chars_per_step == streams.batch * streams.window
    if n > batch * window:
        assert (streams.batch, streams.window) == (batch, window)


@given(*SIZES)
def test_a_text_is_used_up_to_a_little_more_than_one_window_a_stream(n, batch, window, seed):
    streams = places(n, batch, window, seed)
    left_out = n - 1 - streams.windows * streams.chars_per_step
    assert 0 <= left_out < 1.5 * streams.chars_per_step + streams.batch


@pytest.mark.parametrize("n", range(2, 24))
def test_every_character_of_a_short_text_is_trained_on_in_time(n):
    for batch in (1, 3):
        for window in (1, 3, 8):
            streams = places(n, batch, window, seed=n)
            missing = set(range(1, n))  # the first one is never a target
            for epoch in range(300):
                for index in range(streams.windows):
                    missing -= set(streams.window_at(epoch, index)[1].flatten().tolist())
                if not missing:
                    break
            assert not missing, (batch, window)


@given(*SIZES, st.randoms(use_true_random=False))
def test_a_window_is_the_same_whatever_was_asked_before(n, batch, window, seed, random):
    one, other = places(n, batch, window, seed), places(n, batch, window, seed)
    positions = [(e, i) for e in range(3) for i in range(min(one.windows, 4))]
    first = {position: one.window_at(*position) for position in positions}
    random.shuffle(positions)
    for position in positions:
        for a, b in zip(first[position], other.window_at(*position), strict=True):
            assert np.array_equal(a, b)


def test_windows_are_copies_that_may_be_changed():
    streams = places(100, 2, 5)
    x_TB, y_TB, reset_B = streams.window_at(0, 1)
    x_TB[:], y_TB[:], reset_B[:] = -1, -2, True
    assert (streams.window_at(0, 1)[0] >= 0).all()
    assert (streams.ids == np.arange(100)).all()


@given(*SIZES[:3], st.integers(0, 2000))
def test_the_position_of_a_step_counts_windows_and_epochs(n, batch, window, step):
    streams = places(n, batch, window)
    epoch = index = 0
    for _ in range(step):
        index += 1
        if index == streams.windows:
            epoch, index = epoch + 1, 0
    assert streams.position(step) == (epoch, index)


def test_epochs_start_at_different_offsets_and_seeds_differ():
    streams = places(10_000, 4, 64)
    starts = {int(streams.window_at(epoch, 0)[0][0, 0]) for epoch in range(50)}
    assert len(starts) > 25
    others = {int(places(10_000, 4, 64, seed).window_at(0, 0)[0][0, 0]) for seed in range(50)}
    assert len(others) > 25


def resets(streams, epoch, count):
    return np.array([streams.window_at(epoch, index)[2] for index in range(1, count + 1)])


@given(*SIZES, st.integers(0, 50))
def test_every_stream_starts_an_epoch_from_the_zero_state(n, batch, window, seed, epoch):
    assert places(n, batch, window, seed).window_at(epoch, 0)[2].all()


def test_later_resets_are_one_in_a_hundred_and_independent():
    reset_NB = resets(places(100_001, 100, 1), 0, 990)
    n = reset_NB.size  # 99,000 draws: 990 expected, standard deviation 31
    assert abs(reset_NB.sum() - 0.01 * n) < 160
    for one, other in ((reset_NB[1:], reset_NB[:-1]), (reset_NB[:, 1:], reset_NB[:, :-1])):
        assert (one & other).sum() < 35  # 10 expected: neighbours in time, neighbours in a batch


def test_resets_differ_between_epochs_and_seeds():
    here = resets(places(10_001, 100, 1), 0, 90)
    assert (here != resets(places(10_001, 100, 1), 1, 90)).any()
    assert (here != resets(places(10_001, 100, 1, seed=1), 0, 90)).any()


def test_without_a_probability_only_the_first_window_resets(monkeypatch):
    monkeypatch.setattr(streams_module, "RESET_PROBABILITY", 0.0)
    assert not resets(places(10_001, 100, 1), 0, 90).any()


# Rows that processes share


@given(*SIZES, st.integers(1, 5), st.data())
def test_the_rows_of_all_shares_are_the_whole_window(n, batch, window, seed, shares, data):
    streams = places(n, batch, window, seed)
    cuts = data.draw(st.lists(st.integers(0, streams.batch), min_size=shares, max_size=shares))
    cuts = [0, *sorted(cuts), streams.batch]
    position = data.draw(st.integers(0, 3)), data.draw(st.integers(0, streams.windows - 1))
    whole = streams.window_at(*position)
    parts = [streams.of_rows(slice(a, b)).window_at(*position) for a, b in pairwise(cuts)]
    for array, *pieces in zip(whole, *parts, strict=True):
        assert np.array_equal(np.concatenate(pieces, axis=-1), array)
    assert streams.targets_at(*position) == whole[1].size


def test_a_share_reads_its_own_part_of_the_text_alone():
    class Watched(np.ndarray):
        def __getitem__(self, key):
            seen.append(key)
            return np.asarray(self)[key]

    seen = []
    streams = Streams(np.arange(10_000, dtype=np.uint32).view(Watched), 8, 16, seed=0)
    for index in range(streams.windows):
        streams.of_rows(slice(2, 4)).window_at(0, index)
    # A quarter of the text, and a little for the offset and the next ids.
    read = np.concatenate([places.ravel() for places in seen])
    assert np.ptp(read) < 10_000 / 4 + 16
