"""What a checkpoint records comes back, and whatever else a file says is an error of one line."""

import dataclasses
import json

import pytest
from factories import full_checkpoint, resume_state
from hypothesis import given
from hypothesis import strategies as st

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.checkpoint.metadata import Metadata
from textgen.data.corpus import TextIdentity
from textgen.data.encodings import TextFormat
from textgen.errors import CheckpointError
from textgen.files.tensorfile import read_tensors, write_tensors

TEXT = TextIdentity("corpus.txt", 1000, "0" * 64)
OTHER = TextIdentity("other.txt", 9, "1" * 64)
WHOLE = Metadata(
    corpus=TEXT,
    test=OTHER,
    shares="0.9,0.05,0.05",
    text_format=TextFormat("utf-8", "lf", "nfc"),
    parts={"train": (0, 900), "val": (900, 1000), "test": (0, 9)},
    training={"hidden": 8, "window": 64},
    metrics={"val_nats": 1.5},
    versions={"textgen": "0.1.0"},
)


def through_json(metadata):
    return Metadata.from_json(json.loads(json.dumps(metadata.to_json())))


@pytest.mark.parametrize(
    "metadata",
    [
        WHOLE,
        Metadata(),
        Metadata(TEXT, OTHER, records="lines", record_counts={"train": 9, "val": 1, "test": 0}),
        Metadata(shares="1"),
        dataclasses.replace(WHOLE, read_before=(OTHER, TEXT)),
    ],
)
def test_metadata_come_back_through_json(metadata):
    assert through_json(metadata) == metadata


def test_the_keys_in_the_file_are_those_of_earlier_versions():
    assert WHOLE.to_json() == {
        "corpus": {"name": "corpus.txt", "size": 1000, "sha256": "0" * 64},
        "validation": None,
        "test": {"name": "other.txt", "size": 9, "sha256": "1" * 64},
        "split": "0.9,0.05,0.05",
        "records": None,
        "reading": {"encoding": "utf-8", "newlines": "lf", "normalize": "nfc"},
        "parts": {"train": (0, 900), "val": (900, 1000), "test": (0, 9)},
        "training": {"hidden": 8, "window": 64},
        "metrics": {"val_nats": 1.5},
        "versions": {"textgen": "0.1.0"},
    }
    assert Metadata().to_json() == {}


def test_the_split_follows_from_what_was_recorded():
    assert WHOLE.split.separate == {"test"}
    assert WHOLE.split.shares == "0.9,0.05,0.05"
    assert Metadata(TEXT, OTHER).split.separate == {"val"}
    assert Metadata(TEXT).split.bounds(10)["train"] == (0, 10)  # of an older file
    assert WHOLE.window == 64 and Metadata().window is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("corpus", "corpus.txt"),
        ("corpus", {"name": "corpus.txt", "size": -1, "sha256": ""}),
        ("corpus", {"name": "corpus.txt"}),
        ("split", "0.9,0.9"),
        ("split", 1),
        ("records", ["x"]),
        ("reading", {"encoding": "nonsense", "newlines": "lf", "normalize": "nfc"}),
        ("reading", {"encoding": "utf-8"}),
        ("parts", {"train": [0, 9], "val": [9, 5], "test": [0, 0]}),
        ("parts", {"train": [0, 9]}),
        ("items", {"train": 1.5, "val": 0, "test": 0}),
        ("training", []),
        ("metrics", 3),
        ("versions", "1"),
        ("read_before", "corpus.txt"),
        ("read_before", ["corpus.txt"]),
        ("read_before", [{"name": "corpus.txt", "size": "9", "sha256": ""}]),
    ],
)
def test_what_cannot_be_is_named(key, value):
    with pytest.raises(ValueError, match=rf"settings\.{key}"):
        Metadata.from_json({**WHOLE.to_json(), key: value})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=9)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "train", "steps", "every"]), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


def places(values, path=()):
    """Every key of nested objects, as a path."""
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, (*path, key))


@given(st.data())
def test_whatever_a_sealed_file_says_it_loads_or_is_refused_in_one_line(tmp_path_factory, data):
    """Its digest is right, so only the schema stands between it and the rest of the program."""
    path = tmp_path_factory.getbasetemp() / "sealed.safetensors"
    full_checkpoint(metadata=WHOLE, resume=resume_state()).save(path)
    tensors, settings = read_tensors(path)
    *parents, key = data.draw(st.sampled_from([*places(settings)]))
    values = settings
    for parent in parents:
        values = values[parent]
    values[key] = data.draw(VALUES)
    write_tensors(path, tensors, settings)
    try:
        loaded = Checkpoint.load(path)
    except CheckpointError as error:
        assert error.exit_code == 4 and "\n" not in str(error)
        return
    # What was believed can be used: nothing of it raises later.
    loaded.report(), loaded.metadata.split.bounds(100), loaded.resume.plan.validates_at(7)
    assert through_json(loaded.metadata) == loaded.metadata
