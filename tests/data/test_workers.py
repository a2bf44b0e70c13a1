"""Workers give what one process would, in its order, or say that they cannot."""

import os

import numpy as np
import pytest

from textgen.data.corpus import counter
from textgen.data.workers import WorkerError, Workers, available_cores, useful_workers

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [1, 3])
def test_results_come_in_the_order_of_the_pieces(number):
    pieces = [letter.encode() * count for letter in "zaé€\U0001f917" for count in (1, 2, 70)]
    with Workers("count", b"", number) as workers:
        found = list(workers.map(pieces))
    alone = counter(b"")
    assert found == [alone(piece) for piece in pieces]
    assert [np.frombuffer(result, "<u4").tolist() for result in found[:2]] == [[122, 1], [122, 2]]


def test_without_pieces_there_are_no_results():
    with Workers("count", b"", 2) as workers:
        assert list(workers.map([])) == []


def test_a_piece_that_cannot_be_done_is_told():
    with Workers("count", b"", 2) as workers, pytest.raises(WorkerError, match="utf-8"):
        list(workers.map([b"good", b"\xff", b"good"]))


def test_what_cannot_be_made_of_the_setup_is_told():
    with Workers("encode", b"no model", 1) as workers, pytest.raises(WorkerError):
        list(workers.map([b"good"]))


def test_a_small_text_is_read_alone():
    assert useful_workers(1000) == 0
    assert useful_workers(1 << 40) in (0, *range(4, available_cores() + 1))


def test_available_cores_are_those_this_process_may_use(monkeypatch):
    assert 1 <= available_cores() <= os.cpu_count()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5, 7}, raising=False)
    assert available_cores() == 3


def test_cores_are_counted_where_affinity_is_unknown(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1
