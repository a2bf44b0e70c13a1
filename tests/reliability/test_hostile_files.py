"""Files that lie load or are refused, whatever they say; and the fuzzer would notice if not."""

import pytest

pytest.importorskip("resource", reason="memory and time are limited by means of Unix")

from reliability import hostile_files

from textgen.checkpoint import checkpoint
from textgen.checkpoint.resume import ResumeState

# Each kind of cell, units, n-grams and text at least once; `make reliability` takes all.
SOME = [
    {"cell": "gru", "tokenizer": "char", "records": None, "ngrams": 4},
    {"cell": "lstm", "tokenizer": "byte", "records": "lines", "ngrams": 1},
    {"cell": "rnn", "tokenizer": "bpe", "records": None, "ngrams": 4},
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """What is mutated, made once."""
    folder = tmp_path_factory.mktemp("hostile")
    return folder, hostile_files.make_sources(folder, SOME)


@pytest.mark.slow
def test_whatever_a_file_says_it_is_used_or_refused(sources):
    found = hostile_files.try_mutants(*sources, count=200, seed=0)
    assert found["findings"] == []
    # It went deep: about a third of the mutants load, and the others are refused in many ways.
    outcomes = found["outcomes"]
    assert outcomes["load fine"] > 35 and outcomes["load CheckpointError"] > 70
    assert outcomes["resume fine"] > 10 and outcomes["eval fine"] > 30


@pytest.mark.parametrize(
    ("owner", "name", "blind"),
    [
        (ResumeState, "require_fit", lambda state, model, has_boundary: None),
        (checkpoint, "_weights", lambda tensors, model: tensors),
    ],
)
@pytest.mark.slow
def test_the_fuzzer_notices_a_schema_that_is_not_checked(sources, monkeypatch, owner, name, blind):
    monkeypatch.setattr(owner, name, blind)
    found = hostile_files.try_mutants(*sources, count=300, seed=1, enough=1)
    assert found["findings"]
