"""Standard streams that are missing, full, or a terminal's; and what the surroundings lack."""

import ast
import errno
import io
import json
import os
import sys
from pathlib import Path

import pytest
from factories import call

from textgen.cli import terminal
from textgen.cli.app import main
from textgen.errors import MachineError

CLI = Path(terminal.__file__).parent


class Failing(io.StringIO):
    """A stream that cannot be written to."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_commands_print_through_one_door(path):
    if path.stem == "terminal":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("print", "sys.stdout.write", "sys.stderr.write")


@pytest.mark.parametrize("show", [lambda: terminal.show(["a"]), lambda: terminal.show_json(1)])
def test_a_full_disk_behind_standard_output_is_named(monkeypatch, show):
    monkeypatch.setattr(sys, "stdout", Failing(errno.ENOSPC))
    with pytest.raises(MachineError, match="standard output: cannot be written: no space left"):
        show()
    monkeypatch.setattr(sys, "stdout", Failing(errno.EPIPE))
    with pytest.raises(BrokenPipeError):
        show()


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["corpus", "list"], ["info", "demo"]])
@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 5), (errno.EPIPE, 141)])
def test_every_command_ends_with_the_code_of_its_stream(monkeypatch, capsys, words, number, code):
    monkeypatch.setattr(sys, "stdout", Failing(number))
    assert main(words) == code
    error = capsys.readouterr().err
    assert error.count("\n") == (code == 5) and error.startswith(
        "textgen: error: "[: 20 * (code == 5)]
    )


def test_what_cannot_be_said_on_standard_error_ends_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Failing(errno.ENOSPC))
    assert main(["nothing"]) == 2
    assert main(["sample", "demo", "--length", "3"]) == 0
    assert len(capsys.readouterr().out) == 3


def test_missing_streams_are_replaced(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["sample", "demo", "--length", "3"]) == 0
    assert sys.stdin.read() == ""
    for name in ("stdin", "stdout", "stderr"):
        getattr(sys, name).close()


def test_json_on_a_terminal_is_ascii_and_exact(monkeypatch):
    text = "\x9b31m \u202e \u2028 é"
    for stream in (Screen(), io.StringIO()):
        monkeypatch.setattr(sys, "stdout", stream)
        terminal.show_json(text)
        assert json.loads(stream.getvalue()) == text
        assert stream.getvalue().isascii() == stream.isatty()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files", "a.txt"), ["a.txt: too many open files"]),
        (OSError(errno.EIO, "Input/output error"), ["system: input/output error"]),
        (ModuleNotFoundError("No module named 'tqdm'", name="tqdm"), ["tqdm", "pip install tqdm"]),
        (ImportError("libgomp.so.1: cannot open"), ["a library", "libgomp.so.1"]),
        (MemoryError(), ["memory: there is not enough"]),
    ],
    ids=repr,
)
def test_what_the_surroundings_lack_is_one_line(monkeypatch, capsys, error, words):
    def fail(_arguments):
        raise error

    monkeypatch.setattr("textgen.cli.info.run", fail)
    code, out, said = call(capsys, "info", "a.txt")
    assert (code, out) == (5, "")
    assert said.startswith("textgen: error: ") and said.count("\n") == 1
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("x", name="textgen.nothing"), ValueError("a bug")], ids=repr
)
def test_a_mistake_in_textgen_is_not_blamed_on_the_surroundings(monkeypatch, error):
    def fail(_arguments):
        raise error

    monkeypatch.setattr("textgen.cli.info.run", fail)
    with pytest.raises(type(error)):
        main(["info", "a.txt"])


def test_a_current_folder_that_is_gone_is_an_error(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, out, error = call(capsys, "train", "a.txt")
    assert (code, out) == (5, "") and "the current folder: cannot be used" in error
    assert call(capsys, "--version")[0] == 0
