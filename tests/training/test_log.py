"""What a run tells: lines for programs, samples as they are, and a terminal that is safe."""

import errno
import io
import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from textgen.errors import MachineError
from textgen.training.log import RunLog, ValidationRecord

RECORD = ValidationRecord(
    step=1200,
    epoch=0.5,
    seconds=12.5,
    chars_seen=10**6,
    train_nats=1.5,
    val_nats=2 * math.log(2),
    network_nats=3 * math.log(2),
    lr=1e-3,
    grad_norm=0.25,
    chars_per_second=12345.6,
)
UNKNOWN = {"val_nats": None, "network_nats": None}
SAMPLE = "ROMEO:\r\n\tThou\x1b[2J \u2028 né \U0001f600\n"


@pytest.fixture
def log(tmp_path):
    return RunLog(tmp_path, quiet=False)


def written(log, name="metrics.jsonl"):
    return (log.folder / name).read_bytes().decode("utf-8")


def record(step):
    return replace(RECORD, step=step)


def test_each_validation_is_one_line_of_strict_json(log):
    records = [record(100), replace(record(200), **UNKNOWN)]
    for one in records:
        log.validation(one, SAMPLE)
    lines = written(log).split("\n")
    assert lines.pop() == ""

    def refuse(name):
        raise AssertionError(name)

    assert [json.loads(line, parse_constant=refuse) for line in lines] == [
        one.to_json() for one in records
    ]


def test_a_figure_that_is_not_finite_never_reaches_the_file(log):
    with pytest.raises(ValueError, match="JSON"):
        log.validation(replace(RECORD, val_nats=math.nan), SAMPLE)
    assert not (log.folder / "metrics.jsonl").exists()


def test_samples_are_kept_exactly(log):
    log.validation(record(100), SAMPLE)
    log.validation(record(200), "x")
    expected = f"--- step 100 ---\n{SAMPLE}\n--- step 200 ---\nx\n"
    assert written(log, "samples.txt") == expected


def test_the_terminal_gets_figures_in_nats_and_bits_and_a_harmless_sample(log, capsys):
    log.validation(RECORD, SAMPLE)
    shown = capsys.readouterr().out
    assert "step 1,200" in shown
    assert "1.3863 nats/char (2.0000 bits)" in shown
    assert "12,346 chars/s" in shown
    assert not set(shown) & set("\x1b\r\u2028")
    assert r"\x1b[2J" in shown
    assert "né \U0001f600" in shown


def test_without_a_validation_part_no_figure_is_shown_for_it(log, capsys):
    log.validation(replace(RECORD, **UNKNOWN), "x")
    shown = capsys.readouterr().out
    assert "validation" not in shown and "alone" not in shown


def test_the_networks_figures_are_told_from_the_mixtures(log, capsys):
    log.validation(replace(RECORD, train_nats=math.log(2)), "x")
    assert capsys.readouterr().out.startswith(
        "step 1,200: network train 0.6931 nats/char (1.0000 bits), "
        "validation 1.3863 nats/char (2.0000 bits), network alone 2.0794 nats, "
    )


def test_a_network_without_ngrams_has_one_figure(log, capsys):
    log.validation(replace(RECORD, network_nats=RECORD.val_nats), "x")
    shown = capsys.readouterr().out
    assert "validation 1.3863" in shown and "alone" not in shown


def test_quiet_writes_files_and_says_nothing(tmp_path, capsys):
    log = RunLog(tmp_path, quiet=True)
    log.report([("text", "corpus.txt")], ["a note"])
    log.start(0, 10)
    log.step(1.0, 100.0)
    log.validation(RECORD, SAMPLE)
    log.summary(tmp_path / "best.safetensors", 1.0, 100, 2.0)
    log.close()
    assert capsys.readouterr() == ("", "")
    assert json.loads(written(log))["step"] == 1200


def test_the_progress_line_stays_out_of_files_and_pipes(log, capsys):
    log.start(0, 10)
    log.step(1.0, 100.0)
    log.close()
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_a_terminal(monkeypatch):
    """Make stderr a terminal for this test; in a fixture it would be undone before the test."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def draw_at_each_step(log):
    """Lift the limit of ten drawings a second, so that no test needs to wait."""
    log.bar.mininterval = 0


def test_on_a_terminal_the_progress_line_shows_where_training_is(log, monkeypatch):
    screen = on_a_terminal(monkeypatch)
    log.start(40, 100)
    assert "40/100" in screen.getvalue()
    assert "training" in screen.getvalue()
    log.validation(RECORD, "x")
    draw_at_each_step(log)
    log.step(1.0, 1234.0)
    log.step(2.0, 2345.0)
    shown = screen.getvalue()
    assert "42/100" in shown
    assert "train 2.0000" in shown
    assert "val 1.3863" in shown
    assert "2,345 chars/s" in shown
    log.close()


def test_before_the_first_validation_the_progress_line_has_no_figure_for_it(log, monkeypatch):
    screen = on_a_terminal(monkeypatch)
    log.start(0, None)
    draw_at_each_step(log)
    log.step(2.0, 1234.0)
    assert "train 2.0000" in screen.getvalue()
    assert "val" not in screen.getvalue()
    log.close()


def test_the_progress_line_is_taken_away_and_only_one_is_shown(log, monkeypatch):
    screen = on_a_terminal(monkeypatch)
    log.start(0, None)
    first = log.bar
    log.start(10, 100)
    assert first.disable
    second = log.bar
    log.close()
    assert second.disable
    assert screen.getvalue().endswith("\r")
    log.close()  # once more does no harm


def test_quiet_shows_no_progress_line_on_a_terminal_either(tmp_path, monkeypatch):
    screen = on_a_terminal(monkeypatch)
    log = RunLog(tmp_path, quiet=True)
    log.start(0, 10)
    log.step(1.0, 1.0)
    log.close()
    assert screen.getvalue() == ""


def test_the_report_names_labels_and_notes(log, capsys):
    log.report([("text", "a\x1bb")], ["short text"])
    assert capsys.readouterr().out == "text:        a\\x1bb\nnote:        short text\n"


def test_the_summary_says_how_good_and_what_next(log, capsys):
    best = log.folder / "best.safetensors"
    log.summary(best, 2 * math.log(2), 55770, 61.2)
    shown = capsys.readouterr().out
    assert "1.3863 nats/char (2.0000 bits) over 55,770 characters" in shown
    assert f"textgen sample {best}" in shown


def test_steps_that_are_done_again_are_forgotten(log):
    for step in (100, 200, 300):
        log.validation(record(step), "x")
    log.forget_after(200)
    assert [json.loads(line)["step"] for line in written(log).splitlines()] == [100, 200]
    assert sorted(path.name for path in log.folder.iterdir()) == ["metrics.jsonl", "samples.txt"]


def test_a_line_cut_off_by_a_crash_is_forgotten(log):
    log.validation(record(100), "x")
    with (log.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 200, "val')
    log.forget_after(10**9)
    log.validation(record(300), "x")
    assert [json.loads(line)["step"] for line in written(log).splitlines()] == [100, 300]


@pytest.mark.parametrize(
    "rest", [b"\0" * 30, b"\xff\xfe\n", b'{"step": 1' + b"0" * 400 + b"}\n", b"[" * 10**5 + b"\n"]
)
def test_what_a_power_cut_leaves_at_the_end_is_forgotten(log, rest):
    log.validation(record(100), "x")
    with (log.folder / "metrics.jsonl").open("ab") as file:
        file.write(rest)
    log.forget_after(10**9)
    assert [json.loads(line)["step"] for line in written(log).splitlines()] == [100]


def test_a_line_is_on_the_disk_before_anything_is_saved(log, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    log.validation(record(100), "x")
    assert synced == [
        (log.folder / name).stat().st_ino for name in ("metrics.jsonl", "samples.txt")
    ]


def test_samples_that_are_written_again_are_forgotten(log):
    for step in (100, 200, 300):
        log.validation(record(step), SAMPLE)
    whole = written(log, "samples.txt")
    log.forget_after(200)
    assert written(log, "samples.txt") == whole[: whole.index("--- step 300 ---")]
    log.validation(record(300), SAMPLE)
    assert written(log, "samples.txt") == whole


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.txt"])
@pytest.mark.parametrize("make", [Path.mkdir, getattr(os, "mkfifo", Path.mkdir)])
def test_what_is_no_file_is_named_and_nothing_waits_for_it(log, name, make):
    make(log.folder / name)
    with pytest.raises(MachineError, match=f"{name}: is not a regular file"):
        log.forget_after(100)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO])
def test_a_log_that_nobody_takes_ends_no_run(log, monkeypatch, capsys, number):
    class Failing(io.StringIO):
        def flush(self):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sys, "stdout", Failing())
    log.report([("model", "small")], [])
    log.validation(RECORD, "x")
    error = capsys.readouterr().err
    assert error.startswith("textgen: standard output cannot be written: ")
    assert error.endswith("; the run goes on\n") and error.count("\n") == 1
    assert json.loads(written(log))["step"] == RECORD.step


def test_nothing_to_forget_changes_no_file(log):
    log.forget_after(5)
    assert list(log.folder.iterdir()) == []
    log.validation(record(100), "x")
    before = (log.folder / "metrics.jsonl").stat()
    log.forget_after(100)
    after = (log.folder / "metrics.jsonl").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_folder_that_cannot_be_written_is_a_machine_error(tmp_path):
    log = RunLog(tmp_path / "missing", quiet=True)
    with pytest.raises(MachineError) as caught:
        log.validation(RECORD, "x")
    assert caught.value.subject == str(tmp_path / "missing" / "metrics.jsonl")
