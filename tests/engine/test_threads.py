"""Threads of products by the rule, a caller's left as they were; shares of work all done."""

import os

import pytest
from threadpoolctl import ThreadpoolController

from textgen.engine.threads import Threads, in_threads, sampling_threads


def threads():
    return {
        one["num_threads"] for one in ThreadpoolController().info() if one["user_api"] == "blas"
    }


@pytest.fixture(autouse=True)
def three():
    """A number that the rule never gives, so that whose threads they are can be told."""
    with ThreadpoolController().limit(limits=3, user_api="blas"):
        yield


@pytest.mark.parametrize("number", [1, 2])
def test_threads_are_set_inside_and_put_back_after(number):
    with Threads(number):
        assert threads() == {number}
    assert threads() == {3}


def test_threads_are_put_back_after_an_error():
    with pytest.raises(KeyError), Threads(1):
        raise KeyError
    assert threads() == {3}


def test_one_within_another_puts_back_what_it_found():
    outer, inner = Threads(2), Threads(1)
    with outer:
        with inner, outer:
            assert threads() == {2}
        assert threads() == {2}
    assert threads() == {3}


def test_items_are_made_with_our_threads_and_used_with_the_caller_s():
    made = (threads() for _ in range(3))
    found = [(one, threads()) for one in Threads(1).each(made)]
    assert found == [({1}, {3})] * 3


def test_a_generator_that_is_left_alone_leaves_nothing_set():
    going = Threads(1).each(iter([1, 2, 3]))
    assert next(going) == 1
    assert threads() == {3}
    assert next(going) == 2


def test_small_models_have_one_thread_and_large_ones_two():
    several = min(2, os.cpu_count())
    found = [sampling_threads(size) for size in (1, 500_000, 700_000, 10**9)]
    assert found == [1, 1, several, several]


@pytest.mark.parametrize("number", [1, 2, 7, None])
def test_each_share_is_done_once(number):
    done = []
    in_threads(done.append, range(20), number)
    assert sorted(done) == list(range(20))
    in_threads(done.append, [], number)
    assert len(done) == 20


@pytest.mark.parametrize("number", [1, 3])
def test_an_error_in_one_share_is_raised(number):
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda share: 1 // share, [2, 1, 0, 1, 2], number)
