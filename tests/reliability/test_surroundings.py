"""A part of the attacks through what surrounds the command line; `surroundings` has them all."""

import os

import pytest
from reliability import surroundings

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@pytest.mark.slow
def test_one_attack_of_each_kind_ends_cleanly():
    # Without those that import torch.
    table = [attack for attack in surroundings.attacks() if not attack.words.startswith("train")]
    kinds = {(attack.streams[:9], attack.code): attack for attack in reversed(table)}
    assert len(kinds) > 8
    assert surroundings.try_attacks(list(kinds.values())) == {}


def test_the_checks_see_what_is_unclean(tmp_path):
    surroundings.prepare(tmp_path)
    wrong = surroundings.Attack("nothing", code=3)
    code, silent = surroundings.faults_of(wrong, tmp_path)
    assert "exit code 2 instead of 3" in code and "1 lines of errors" in silent
