"""What a run is resumed from comes back, and what cannot be is named."""

import dataclasses
import json

import pytest
from factories import resume_state

from textgen.checkpoint.resume import ResumeState


def test_the_state_comes_back_through_json():
    state = resume_state(tensors={})
    assert ResumeState.from_json(json.loads(json.dumps(state.to_json())), {}) == state


def test_older_files_name_a_single_text_and_leave_out_what_was_not_known_yet():
    values = resume_state(texts=["a.txt"]).to_json()
    [values["text"]] = values.pop("texts")
    values["progress"] = {"seconds": 2.0}
    state = ResumeState.from_json(values, {})
    assert state.texts == ("a.txt",)
    assert (state.progress.seconds, state.progress.best_nats) == (2.0, None)


def test_each_part_says_where_its_text_is():
    state = resume_state(texts=["a.txt", "b.txt"])
    config = dataclasses.replace(state.config, val="val.txt")
    state = dataclasses.replace(state, config=config)
    assert state.paths_of("train") == state.paths_of("test") == ["a.txt", "b.txt"]
    assert state.paths_of("val") == ["val.txt"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("threads",), 0),
        (("threads",), 10**9),
        (("threads",), "8"),
        (("step",), 1.5),
        (("step",), -1),
        (("plan", "every"), 0),
        (("plan", "warmup"), 0),
        (("plan", "val_chars"), -1),
        (("config", "dropout"), 2),
        (("config", "nonsense"), 1),
        (("texts",), [1]),
        (("progress", "best"), "low"),
        (("progress", "train"), [1]),
        (("progress", "seconds"), -1),
    ],
)
def test_what_cannot_be_is_named(path, value):
    values = resume_state().to_json()
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ValueError, match=r"^resume"):
        ResumeState.from_json(values, {})
