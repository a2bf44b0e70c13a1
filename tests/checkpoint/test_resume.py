"""What a run is resumed from comes back, and what cannot be is named."""

import dataclasses
import json

import numpy as np
import pytest
from factories import resume_state

from textgen.checkpoint.resume import ResumeState
from textgen.config.model import CELLS, ModelConfig


def test_the_state_comes_back_through_json():
    state = resume_state(tensors={})
    assert ResumeState.from_json(json.loads(json.dumps(state.to_json())), {}) == state


def test_older_files_name_a_single_text_and_leave_out_what_was_not_known_yet():
    values = resume_state(texts=["a.txt"]).to_json()
    [values["text"]] = values.pop("texts")
    values["progress"] = {"seconds": 2.0}
    del values["ranks"]
    state = ResumeState.from_json(values, {})
    assert (state.texts, state.ranks) == (("a.txt",), 1)
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
        (("ranks",), 0),
        (("ranks",), 10**6),
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
        (("step",), 11),
        (("texts",), []),
        (("config", "encoding"), "base64"),
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


MODEL = ModelConfig(4, "gru", 1, 2, 2, 3)


def test_the_state_of_a_network_fits_it():
    for cell in CELLS:
        resume_state(cell=cell).require_fit(dataclasses.replace(MODEL, cell=cell), False)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("exp_avg.head.bias", lambda array: None),
        ("exp_avg_sq.head.bias", lambda array: array[:-1]),
        ("exp_avg_sq.embedding.weight", lambda array: -array),
        ("exp_avg.layers.0.weight_hh_l0", np.transpose),
        ("exp_avg.head.weight", lambda array: array.astype(np.float64)),
        ("exp_avg.head.weight", lambda array: array.astype(np.uint16)),
        ("state.0.0", lambda array: None),
        ("state.0.0", lambda array: array[0]),
        ("state.0.0", lambda array: array[:, :1]),
        ("state.0.1", lambda _: np.zeros((2, 2), np.float32)),
        ("state.1.0", lambda _: np.zeros((2, 2), np.float32)),
        ("seen", lambda _: np.zeros(2, np.float32)),
    ],
)
def test_tensors_that_are_not_of_the_network_are_named(name, change):
    state = resume_state()
    changed = change(state.tensors.get(name))
    tensors = {key: array for key, array in state.tensors.items() if key != name}
    tensors |= {} if changed is None else {name: changed}
    with pytest.raises(ValueError, match=rf"^resume\.{name} "):
        dataclasses.replace(state, tensors=tensors).require_fit(MODEL, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("cell", "lstm"), ("layers", 2), ("hidden", 3), ("embedding", None), ("ngrams", 2),
     ("records", "lines")],
)  # fmt: skip
def test_settings_that_are_not_of_the_network_are_named(name, value):
    state = resume_state()
    config = dataclasses.replace(state.config, **{name: value})
    with pytest.raises(
        ValueError, match=rf"^resume\.config\.{name} is {value!r}".replace("'", "'?")
    ):
        dataclasses.replace(state, config=config).require_fit(MODEL, False)
