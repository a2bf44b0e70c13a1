"""A small part of what `make reliability` tries: kills, full disks, power cuts, exact resuming.

docs/reliability.md says what is promised.
"""

import os

import pytest
from reliability import (
    exact_resume,
    flipped_bits,
    full_disk,
    kill_points,
    power_cuts,
    random_kills,
    round_trips,
)
from reliability.forked import Forks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked"),
]


@pytest.fixture(scope="module")
def forks():
    with Forks() as forks:
        yield forks


@pytest.fixture
def complaints():
    return []


def assert_all_clean(rows, complaints):
    """Nothing was wrong, and something was tried; skipped where it cannot be."""
    if not rows:
        pytest.skip(" ".join(complaints))
    assert not complaints
    for row in rows.values():
        assert row["clean"] == row["tried"] > 0


def test_a_run_killed_at_system_calls_of_its_saves_loses_nothing(forks, complaints):
    rows = kill_points.run(every=97, report=complaints.append, forks=forks)
    assert_all_clean(rows, complaints)


def test_a_power_cut_loses_nothing_and_a_wait_left_out_is_noticed(complaints):
    rows = power_cuts.run(resume_every=20, sabotage_every=7, report=complaints.append)
    assert_all_clean(rows, complaints)


def test_a_run_on_a_full_disk_says_so_and_loses_nothing(forks, complaints):
    rows = full_disk.run(sizes=(20, 52), report=complaints.append, forks=forks)
    assert_all_clean(rows, complaints)


def test_a_run_stopped_anywhere_ends_bit_for_bit_as_without(complaints):
    rows = exact_resume.run(["lstm"], [0.3], [2], ["records"], report=complaints.append)
    assert_all_clean(rows, complaints)


def test_a_run_killed_at_random_moments_ends_bit_for_bit_as_without(forks, complaints):
    rows = random_kills.run(3, fresh=False, steps=60, report=complaints.append, forks=forks)
    assert_all_clean(rows, complaints)


def test_a_flipped_bit_is_noticed(complaints):
    assert_all_clean(flipped_bits.run(every=61, report=complaints.append), complaints)


def test_every_character_comes_back(complaints):
    assert_all_clean(round_trips.run(every=7, report=complaints.append), complaints)
