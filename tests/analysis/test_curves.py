"""The learning curves of a run: what stands in its metrics.jsonl, and what became of it."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import textgen
from textgen.analysis.curves import METRICS_COLUMNS, compare_curves, read_curves
from textgen.checkpoint import runs
from textgen.errors import CheckpointError

FIGURES = {"train_nats": 2.5, "lr": 0.001, "grad_norm": 0.3, "chars_per_second": 1e4}


def line(step, **figures):
    """A line of metrics.jsonl."""
    return json.dumps({"step": step, "chars_seen": 64 * step, **FIGURES, **figures})


@pytest.fixture
def write(tmp_path):
    """Write metrics.jsonl and return the folder of its run."""

    def written(*lines, end="\n", name="run"):
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / runs.METRICS).write_text("\n".join(lines) + end, encoding="utf-8")
        return folder

    return written


def refused(run):
    with pytest.raises(CheckpointError) as caught:
        read_curves(run)
    return caught.value


@pytest.mark.slow
def test_curves_are_what_a_run_has_logged(tmp_path):
    text = tmp_path / "corpus.txt"
    text.write_text("the cat sat on the mat\n" * 60)
    sizes = {"hidden": 8, "embedding": 4, "batch": 2, "window": 8, "threads": 1, "steps": 10}
    result = textgen.train(text, out=str(tmp_path / "mats"), **sizes)
    logged = [json.loads(x) for x in (result.folder / "metrics.jsonl").read_text().splitlines()]
    curves = read_curves(result.folder)
    assert curves.name == "mats"
    assert curves.steps_N.tolist() == [x["step"] for x in logged] == list(range(1, 11))
    for field, key in METRICS_COLUMNS.items():
        assert getattr(curves, field).tolist() == [x[key] for x in logged], key
    best = curves.best()
    assert curves.val_nats_N[best] == min(x["val_nats"] for x in logged)
    assert (curves.chars_N == 16 * curves.steps_N).all()


def test_a_file_of_a_run_names_it_too(write):
    folder = write(line(1))
    (folder / runs.BEST).write_bytes(b"")
    for path in (folder, folder / runs.BEST, folder / runs.METRICS):
        assert read_curves(path).steps_N.tolist() == [1]


def test_the_current_folder_has_a_name(write, monkeypatch):
    folder = write(line(1), name="here")
    monkeypatch.chdir(folder)
    assert read_curves(folder.relative_to(folder)).name == "here"


def test_what_there_is_no_figure_for_is_nan_and_never_the_best(write):
    run = write(
        line(1, val_nats=None),
        line(2, val_nats=math.nan),
        line(3, val_nats=2.0, lr=-math.inf),
        line(4, val_nats=1.5, network_nats=1.7),
        line(5, val_nats=1.5),
        line(6),
    )
    curves = read_curves(run)
    assert np.isnan(curves.val_nats_N).tolist() == [True, True, False, False, False, True]
    assert math.isnan(curves.learning_rate_N[2]) and curves.learning_rate_N[3] == 0.001
    assert curves.network_nats_N[3] == 1.7
    assert curves.best() == 3


def test_without_a_validation_part_nothing_is_the_best(write):
    assert read_curves(write(line(1), line(2))).best() is None


def test_a_run_without_a_validation_has_no_points(tmp_path):
    (tmp_path / runs.LAST).write_bytes(b"")
    curves = read_curves(tmp_path)
    assert curves.best() is None
    assert [len(getattr(curves, field)) for field in ("steps_N", *METRICS_COLUMNS)] == [0] * 8


@pytest.mark.parametrize("name", ["missing", "folder", "folder/corpus.txt"])
def test_what_is_no_run_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "corpus.txt").write_text("text")
    assert refused(tmp_path / name).exit_code == 4


@given(st.lists(st.integers(0, 9), max_size=20))
def test_lines_that_were_made_again_replace_those_before(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("run")
    lines = [line(step, val_nats=place) for place, step in enumerate(steps)]
    (folder / runs.METRICS).write_text("".join(text + "\n" for text in lines))
    # What stays is below everything that comes after it.
    kept = [p for p, step in enumerate(steps) if all(step < later for later in steps[p + 1 :])]
    curves = read_curves(folder)
    assert curves.val_nats_N.tolist() == kept
    assert curves.steps_N.tolist() == [steps[place] for place in kept]


@pytest.mark.parametrize("torn", ['{"step": 2, "val', "{", '{"step": 2, "chars_seen": 12', "2"])
def test_a_last_line_that_a_crash_cut_off_does_not_count(write, torn):
    assert read_curves(write(line(1), torn, end="")).steps_N.tolist() == [1]


@pytest.mark.parametrize(
    "damaged",
    [
        "{",
        "",
        "[1]",
        "null",
        line("2"),
        line(-1),
        line(2.5),
        line(10**40),
        line(2, lr="high"),
        line(2, val_nats=True),
        line(2, train_nats=10**400),
        "[" * 100_000,
        '{"step": 2}\ud800',
    ],
    ids=range(13),
)
def test_any_other_damaged_line_is_an_error_that_names_it(write, damaged):
    folder = write(line(1), "x", line(3))
    text = f"{line(1)}\n{damaged}\n{line(3)}\n".encode("utf-8", "surrogatepass")
    (folder / runs.METRICS).write_bytes(text)
    error = refused(folder)
    assert error.subject == str(folder / runs.METRICS)
    assert "line 2" in error.problem and error.fix == "remove that line"
    # A line that ends is not one that was cut off.
    (folder / runs.METRICS).write_bytes(text.rpartition(line(3).encode())[0])
    assert "line 2" in refused(folder).problem


def test_runs_of_one_name_are_told_apart_by_their_paths(write):
    folders = [write(line(1), name=name) for name in ("a/run", "b/run", "b/other")]
    names = [curves.name for curves in compare_curves(folders)]
    assert names == [str(folders[0]), str(folders[1]), "other"]
