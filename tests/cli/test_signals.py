"""A signal ends a command in order, unless it is ignored."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from textgen.cli import signals
from textgen.cli.app import main
from textgen.cli.signals import STOPPING, Terminated, signals_raised, signals_taken_by
from textgen.cli.train import catch_signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def handlers():
    return [signal.getsignal(number) for number in STOPPING]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, Terminated),
        (signal.SIGHUP, Terminated),
    ],
)
def test_a_signal_is_raised_and_noted(number, kind):
    before = handlers()
    received = []
    with pytest.raises(kind), signals_raised(received):
        signal.raise_signal(number)
    assert received == [number] and handlers() == before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_raised(received := []):
            signal.raise_signal(signal.SIGHUP)
        assert received == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_leaves_signals_alone():
    before, seen = handlers(), []

    def work():
        with signals_taken_by(lambda number, frame: None):
            seen.extend(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("becomes", [None, AttributeError("module 'numpy' has no 'matrix'")])
def test_a_command_ends_with_the_code_of_the_signal(monkeypatch, capsys, number, becomes):
    def run(_arguments):
        try:
            signal.raise_signal(number)
        except BaseException:
            if becomes is None:
                raise
            # As an extension does that is interrupted while it is imported.
            raise becomes from None

    monkeypatch.setattr("textgen.cli.info.run", run)
    assert main(["info", "a.txt"]) == 128 + number
    assert capsys.readouterr() == ("", "")


def test_what_a_callback_swallows_is_raised_again(monkeypatch):
    monkeypatch.setattr(signals, "RAISED_EVERY", 0.01)
    with pytest.raises(Terminated), signals_raised(received := []):
        for _ in range(3):
            try:
                if not received:
                    signal.raise_signal(signal.SIGTERM)
                time.sleep(10)
            except Terminated:
                pass
        time.sleep(10)
    time.sleep(0.05)
    assert received == [signal.SIGTERM]


def test_a_second_signal_ends_training_at_once(monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with catch_signals() as stop:
        assert stop() is None
        signal.raise_signal(signal.SIGINT)
        assert stop() == signal.SIGINT and codes == []
        assert "once more to stop at once" in capsys.readouterr().err
        signal.raise_signal(signal.SIGTERM)
        assert codes == [143]


@pytest.mark.slow
def test_a_text_that_is_ended_leaves_no_temporary_file(tmp_path):
    (tmp_path / "text.txt").write_text("old")
    words = ["sample", "demo", "--length", "10000000", "--out", "text.txt"]
    command = [sys.executable, "-m", "textgen", *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as child:
        while len(os.listdir(tmp_path)) < 2 and child.poll() is None:
            time.sleep(0.01)
        child.terminate()
        assert child.wait(timeout=60) == 143
    assert os.listdir(tmp_path) == ["text.txt"]
    assert (tmp_path / "text.txt").read_text() == "old"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_training_that_has_not_begun_ends_at_once(tmp_path, number, code):
    words = ["train", "-", "--out", "run", "--init", "none"]
    command = [sys.executable, "-m", "textgen", *words]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as child:
        # Its text never ends: it is read, and then waited for.
        child.stdin.write(b"some text " * 10**5)
        child.stdin.flush()
        # Between two reads of one block Python does not look for signals, and one that comes just
        # then waits for the next block.
        time.sleep(0.5)
        child.send_signal(number)
        try:
            ended = child.wait(timeout=60)
        finally:
            child.kill()
        # Python may end itself by SIGINT, which a shell tells as the same code.
        assert ended in (code, -number)
        assert child.stderr.read() == b""
        child.stdin.close()
    assert os.listdir(tmp_path) == []
