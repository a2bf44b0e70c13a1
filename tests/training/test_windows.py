"""Windows on a device are those of the streams, wherever the text lies."""

import numpy as np
import pytest
import torch
from fake_cuda import CUDA, MEMORY, fake_cuda, needs_fake_cuda
from hypothesis import given
from hypothesis import strategies as st

from textgen.data.corpus import MappedIds
from textgen.data.streams import RecordStreams, Streams
from textgen.training import windows
from textgen.training.windows import Windows

CPU = torch.device("cpu")


def mapped(length, dtype, seed=0):
    """The ids of a text of so many characters, looked up through a table."""
    random = np.random.default_rng(seed)
    alphabet = min(300, np.iinfo(dtype).max)
    indices = random.integers(0, alphabet, length).astype(dtype)
    return MappedIds(indices, random.permutation(alphabet).astype(np.int32))


def assert_same(windows, streams):
    for epoch in range(2):
        for index in range(streams.windows):
            x_TB, y_TB, reset_B = streams.window_at(epoch, index)
            window = windows.at(epoch, index)
            assert window.x_TB.dtype == window.y_TB.dtype == torch.int64
            np.testing.assert_array_equal(window.x_TB.numpy(), x_TB)
            np.testing.assert_array_equal(window.y_TB.numpy(), y_TB)
            if window.keep_B is None:
                assert not reset_B.any()
            else:
                np.testing.assert_array_equal(window.keep_B.numpy(), ~reset_B)


@given(
    st.integers(2, 200),
    st.integers(1, 9),
    st.integers(1, 20),
    st.sampled_from([np.uint8, np.uint16, np.uint32, np.int64]),
    st.booleans(),
    st.booleans(),
)
def test_windows_are_those_of_the_streams(length, batch, window, dtype, holds_text, is_mapped):
    ids = mapped(length, dtype) if is_mapped else np.asarray(mapped(length, dtype))
    streams = Streams(ids, batch, window, seed=length)
    assert_same(Windows(streams, CPU, holds_text), streams)


@given(st.integers(2, 9), st.integers(0, 9))
def test_rows_of_a_share_are_gathered_alone(batch, first):
    streams = Streams(mapped(300, np.uint16), batch, 5, seed=1)
    streams = streams.of_rows(slice(min(first, streams.batch - 1), streams.batch))
    assert_same(Windows(streams, CPU, True), streams)


@pytest.mark.parametrize("holds_text", [None, True])
def test_records_are_sent_window_by_window(holds_text):
    ids = np.array([0, 3, 4, 0, 5, 0, 6, 7, 8, 0, 2, 0])
    streams = RecordStreams(ids, 0, 3, 2, seed=0)
    assert_same(Windows(streams, CPU, holds_text), streams)


def test_a_text_is_sent_in_pieces(monkeypatch):
    monkeypatch.setattr(windows, "PIECE", 7)
    streams = Streams(mapped(100, np.uint16), 4, 5, seed=1)
    assert_same(Windows(streams, CPU, True), streams)


@needs_fake_cuda
@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_on_a_gpu_nothing_waits_and_a_text_that_fits_is_sent_once(monkeypatch, fits, dtype):
    streams = Streams(mapped(1000, dtype), 4, 5, seed=1)
    bytes_of_text = 1000 * (1 if dtype == np.uint8 else 4)
    monkeypatch.setattr(windows, "TEXT_SHARE", (bytes_of_text - (not fits)) / MEMORY[0])
    asked = []
    window_at = Streams.window_at
    monkeypatch.setattr(Streams, "window_at", lambda *a: asked.append(a) or window_at(*a))
    with fake_cuda() as watch:
        on_gpu = Windows(streams, CUDA)
        watch.waits.clear()
        x_TB, y_TB, keep_B = on_gpu.at(0, 0)
        assert {x_TB.device, y_TB.device, keep_B.device} == {CUDA}
        assert x_TB.shape == y_TB.shape == (5, 4) and keep_B.shape == (4,)
        assert x_TB.dtype == y_TB.dtype == torch.int64 and keep_B.dtype == torch.bool
        assert not watch.waits
    assert bool(asked) is not fits
