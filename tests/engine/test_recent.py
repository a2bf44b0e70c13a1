"""What was read so far: counts after contexts, guesses, and what ids stand for."""

import numpy as np
import pytest

from textgen.engine import recent as module
from textgen.engine.recent import GUESS_LENGTHS, Recent, Signs, Surroundings

VOCAB, LONGEST = 4, 6
SIGNS = Signs(np.array([False, True, True, False]), newline=3)


def follow(ids):
    recent = Recent(VOCAB, LONGEST)
    for next_id in ids:
        recent.append(next_id, shared=0)
    return recent


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_looking_everywhere(seed):
    ids = np.random.default_rng(seed).integers(0, VOCAB, 60).tolist()
    counts_CLV = follow(ids).counts()
    expected_LV = np.zeros((LONGEST + 1, VOCAB), dtype=int)
    for place, next_id in enumerate(ids):
        for length in range(min(place, LONGEST) + 1):
            if ids[place - length : place] == ids[len(ids) - length :]:
                expected_LV[length, next_id] += 1
    levels = counts_CLV.shape[1]
    assert np.array_equal(counts_CLV[1], expected_LV[:levels])
    # Nothing was known before, so each id is novel after all of its contexts.
    assert np.array_equal(counts_CLV[0], expected_LV[:levels])
    assert not expected_LV[levels:].any()


def test_an_id_is_novel_only_after_contexts_shorter_than_shared():
    recent = Recent(VOCAB, LONGEST)
    for next_id, shared in zip([0, 1, 2, 0, 1], [0, 0, 2, 0, 1], strict=True):
        recent.append(next_id, shared)
    # After 0 1 came 2, which shared a context of two ids.
    assert recent.counts()[:, :, 2].tolist() == [[0, 0, 1], [1, 1, 1]]


def test_guesses_are_the_ids_that_came_last_and_how_often_running():
    recent = follow([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 1, 0, 1, 2])
    # After 0 1 2 came 3, 3, and last 1.
    assert recent.guesses() == [(0, 1, 1)]
    recent = follow([0, 1, 2, 3] * 4)
    assert recent.guesses()[0] == (0, 3, 0)
    assert len(recent.guesses()) == sum(length <= 12 for length in GUESS_LENGTHS)


def test_half_is_dropped_when_there_is_no_more_room(monkeypatch):
    monkeypatch.setattr(module, "CAPACITY", 64)
    recent = Recent(VOCAB, LONGEST)
    for next_id in [0, 1, 2, 3] * 100:
        recent.append(next_id, 0)
        assert recent.count <= 64
    assert recent.matched() == LONGEST


def test_surroundings_guess_in_words_and_correct_after_ids_and_words():
    surroundings = Surroundings(SIGNS)
    # The word 1 2, an end of line, and the word again up to its first id.
    for next_id in [1, 2, 3, 1]:
        surroundings.append(next_id)
    assert (len(GUESS_LENGTHS), 1, 2) in surroundings.guesses()
    newest, pair, triple, word = surroundings.contexts()
    assert (newest, pair, triple) == ((1,), (1, 3), (1, 3, 2))
    surroundings.append(2)
    surroundings.append(3)
    surroundings.append(1)
    assert surroundings.contexts()[3] == word


def test_signs_of_characters_and_bytes():
    signs = Signs.of_symbols([b"", b"a", b"7", b"\n", b" ", "é".encode(), b"\xc3"])
    assert signs.is_word_V.tolist() == [False, True, True, False, False, True, True]
    assert signs.newline == 3
    assert Signs.of_symbols([b"", b"a"]).newline == -1
