"""Learning curves as a run noted them, whatever became of its file."""

import json

import numpy as np
import pytest
from factories import call

from textgen.analysis.curves import read_curves
from textgen.errors import CheckpointError

LINE = {
    "step": 10,
    "chars_seen": 640,
    "train_nats": 2.5,
    "val_nats": 2.0,
    "network_nats": 2.25,
    "lr": 0.001,
    "grad_norm": 0.5,
    "chars_per_second": 1234.5,
}


def lines(*changes):
    return "".join(json.dumps(LINE | change) + "\n" for change in changes)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_figures_are_those_of_the_lines(run):
    (run / "metrics.jsonl").write_text(
        lines({}, {"step": 20, "val_nats": 1.5}, {"step": 30, "val_nats": 1.75})
    )
    curves = read_curves(run)
    assert curves.name == str(run)
    assert curves.steps_N.tolist() == [10, 20, 30]
    assert curves.val_nats_N.tolist() == [2.0, 1.5, 1.75]
    assert curves.rates_N.tolist() == [0.001] * 3 and curves.speeds_N[0] == 1234.5
    assert curves.best == 1


def test_a_checkpoint_stands_for_its_run(run):
    (run / "metrics.jsonl").write_text(lines({}))
    assert read_curves(run / "best.safetensors").chars_N.tolist() == [640]


def test_a_run_without_validation_has_no_best(run):
    (run / "metrics.jsonl").write_text(lines({"val_nats": None, "network_nats": None}))
    curves = read_curves(run)
    assert np.isnan(curves.val_nats_N).all() and curves.best is None


def test_a_line_that_was_cut_off_is_left_out(run):
    (run / "metrics.jsonl").write_text(lines({}, {"step": 20})[:-10])
    assert read_curves(run).steps_N.tolist() == [10]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "holds no metrics.jsonl"),
        ("", "no validation yet"),
        (lines({}) + "nonsense\n" + lines({}), "line 2"),
        (lines({"lr": "fast"}), "line 1: line.lr is 'fast'"),
        ("[1]\n", "line 1"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(run, content, words):
    if content is not None:
        (run / "metrics.jsonl").write_text(content)
    with pytest.raises(CheckpointError, match=words):
        read_curves(run)


@pytest.mark.slow
def test_the_command_draws_several_runs(run, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    (run / "metrics.jsonl").write_text(lines({}, {"step": 20, "val_nats": 1.5}))
    monkeypatch.chdir(run.parent)
    code, out, _ = call(capsys, "plot", "run", "run")
    assert code == 0
    assert out.splitlines() == ["run: best 1.5000 nats, 640 characters read"] * 2 + [
        "picture: curves.png"
    ]
    assert (run.parent / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_is_checked_before_the_runs(run, capsys):
    code, _, err = call(capsys, "plot", "nowhere", "--out", "curves.jpg")
    assert code == 2 and "curves.jpg" in err
    assert call(capsys, "plot", "nowhere", "--out", "curves.svg")[0] == 4
