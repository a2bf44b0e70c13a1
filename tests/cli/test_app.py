"""The command line as a user meets it: what is printed where, and with which exit code."""

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

import pytest
from factories import call, random_checkpoint

import textgen
from textgen.checkpoint import training_text
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.cli.app import exit_code_of
from textgen.config.train import TrainConfig
from textgen.errors import TextError
from textgen.evaluation import protocols
from textgen.tokenizers.char import CharTokenizer
from textgen.training.setup import start_setup

TEXT = "It was a bright cold day in April, and the clocks were striking thirteen.\n" * 30


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished tiny run, and its text."""
    folder = tmp_path_factory.mktemp("run")
    text = folder / "corpus.txt"
    text.write_text(TEXT)
    options = {"steps": 60, "hidden": 16, "batch": 2, "window": 16, "threads": 1, "lr": 0.02}
    return textgen.train(text, out=str(folder / "checkpoints" / "corpus"), **options).folder


@pytest.fixture
def home(run, monkeypatch):
    """The folder that holds corpus.txt and checkpoints/corpus, as the current one."""
    monkeypatch.chdir(run.parent.parent)
    return run.parent.parent


def process(*words, **settings):
    command = [sys.executable, "-m", "textgen", *map(str, words)]
    return subprocess.run(command, capture_output=True, **settings)


class TestSample:
    def test_the_newest_run_is_taken_and_named(self, home, capsys):
        code, out, err = call(capsys, "sample", "--length", 20)
        assert (code, len(out)) == (0, 20)
        assert re.fullmatch(
            r"textgen: checkpoints/corpus/best.safetensors, seed \d+, 1 thread\n", err
        )

    def test_the_printed_seed_gives_the_text_again(self, home, capsys):
        _, first, err = call(capsys, "sample", "--length", 50)
        seed = re.search(r"seed (\d+)", err)[1]
        assert call(capsys, "sample", "--length", 50, "--seed", seed)[1] == first

    def test_two_calls_without_a_seed_differ(self, home, capsys):
        texts = {call(capsys, "sample", "--length", 50, "--temperature", 2)[1] for _ in range(3)}
        assert len(texts) == 3

    def test_library_and_command_line_write_the_same(self, home, run, capsys):
        model = textgen.load(run)
        options = {"length": 80, "temperature": 0.9, "top_k": 8, "top_p": 0.95, "min_p": 0.01}
        written = model.sample("It was", seed=7, **options)
        streamed = "It was" + "".join(model.stream("It was", seed=7, **options))
        words = [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
        printed = call(capsys, "sample", run, "--prime", "It was", "--seed", 7, *words)[1]
        assert printed == written == streamed

    def test_length_counts_new_characters_and_the_prime_comes_first(self, home, capsys):
        out = call(capsys, "sample", "--prime", "It was", "--length", 10)[1]
        assert out.startswith("It was") and len(out) == 16
        assert call(capsys, "sample", "--prime", "It was", "--length", 0)[1] == "It was"

    def test_prime_and_stop_are_unescaped(self, home, capsys):
        # What a model trained for a moment writes differs by machine: take a line of its own text.
        for seed in range(100):
            words = ["sample", "--prime", r"thirteen.\n", "--length", 200, "--seed", seed]
            prime, *lines = call(capsys, *words)[1].split("\n")
            if len(lines) > 1:
                break
        assert prime == "thirteen." and len(lines) > 1
        assert call(capsys, *words, "--stop", r"\n")[1] == f"{prime}\n{lines[0]}"

    def test_prime_from_a_file_and_from_standard_input(self, home, capsys):
        (home / "prime.txt").write_text("It was a\n")
        out = call(capsys, "sample", "--prime-file", "prime.txt", "--length", 5)[1]
        assert out.startswith("It was a\n")
        done = process("sample", "--prime-file", "-", "--length", 5, input=b"the clocks", cwd=home)
        assert done.stdout.startswith(b"the clocks") and len(done.stdout) == 15

    def test_several_texts(self, home, capsys):
        out = call(capsys, "sample", "--num", 3, "--length", 20, "--seed", 1)[1]
        texts = out.split("\n" + "-" * 40 + "\n")
        assert [len(text) for text in texts] == [20, 20, 20] and len(set(texts)) == 3

    def test_temperature_zero_is_the_same_for_all_seeds(self, home, capsys):
        words = ["sample", "--prime", "It", "--temperature", 0, "--length", 40, "--seed"]
        assert call(capsys, *words, 1)[1] == call(capsys, *words, 2)[1]

    def test_out_writes_a_file_and_nothing_else(self, home, capsys):
        code, out, _ = call(capsys, "sample", "--out", "text.txt", "--length", 30, "--seed", 3)
        assert (code, out) == (0, "")
        printed = call(capsys, "sample", "--length", 30, "--seed", 3)[1]
        assert (home / "text.txt").read_text() == printed

    def test_unknown_characters_of_the_prime(self, home, capsys):
        code, out, err = call(capsys, "sample", "--prime", "It wäs", "--length", 5)
        assert (code, out) == (3, "")
        assert "'ä' (U+00E4" in err and "position 5" in err and "--unknown skip" in err
        for policy in ("skip", "replace"):
            words = ["--unknown", policy, "--length", 5]
            assert call(capsys, "sample", "--prime", "It wäs", *words)[0] == 0

    def test_a_closed_pipe_ends_quietly(self, home):
        command = f"{sys.executable} -m textgen sample --length 100000 | head -c 10"
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, cwd=home
        )
        assert done.returncode == 141 and len(done.stdout) == 10
        assert done.stderr.count(b"\n") == 1  # the line that names checkpoint and seed

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
    def test_a_full_disk_behind_standard_output_is_an_error(self, home):
        command = f"{sys.executable} -m textgen sample --length 10 > /dev/full"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=home)
        assert done.returncode == 5 and "no space left" in done.stderr
        assert "Traceback" not in done.stderr

    def test_text_is_utf8_whatever_the_locale(self, tmp_path):
        checkpoint(tmp_path / "m.safetensors", "äöü€\n")
        settings = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        done = process(
            "sample", tmp_path / "m.safetensors", "--length", 50, env={**os.environ, **settings}
        )
        assert done.returncode == 0 and set(done.stdout.decode()) <= set("äöü€\n")


def checkpoint(path, alphabet):
    """Write an untrained model over an alphabet."""
    random_checkpoint(CharTokenizer.from_text(alphabet)).save(path)


def on_terminal(*words):
    """Run the command line with a terminal as its output; return what reached the terminal."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "textgen", *map(str, words)]
    child = subprocess.Popen(command, stdout=follower, stderr=subprocess.DEVNULL)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # Linux says EIO when the other end is gone
            break
        if not piece:
            break
        shown += piece
    assert child.wait(timeout=60) == 0
    os.close(leader)
    return shown.replace(b"\r\n", b"\n").decode()


@pytest.mark.slow
def test_a_terminal_gets_no_control_characters_and_a_pipe_gets_all(tmp_path):
    dangerous = "\x00\x07\x08\x1b\x7f\x85\x9b\r\u202e"
    checkpoint(tmp_path / "m.safetensors", dangerous + "ab\t\n\u200d")
    words = ["sample", tmp_path / "m.safetensors", "--length", 400, "--seed", 5]
    shown = on_terminal(*words, "--temperature", 1)
    assert not set(shown) & set(dangerous)
    assert r"\x1b" in shown and r"\u202e" in shown and "\t" in shown and "\u200d" in shown
    piped = process(*words, "--temperature", 1).stdout.decode()
    assert len(piped) == 400 and set(dangerous) <= set(piped)


@pytest.mark.usefixtures("one_core")
class TestEval:
    def test_json_has_the_documented_keys(self, home, run, capsys):
        code, out, _ = call(capsys, "eval", run, "corpus.txt", "--json")
        assert code == 0
        assert set(json.loads(out)) == {
            "nats_per_char", "bits_per_char", "bits_per_byte", "perplexity", "chars",
            "unknown_chars", "protocol",
        }  # fmt: skip

    def test_parts_are_those_of_the_recorded_split(self, home, run, capsys):
        n = len(TEXT)
        for part, text in [("train", TEXT[: n * 9 // 10]), ("test", TEXT[n * 95 // 100 :])]:
            out = call(capsys, "eval", run, "--part", part, "--json")[1]
            (home / "part.txt").write_text(text)
            alone = call(capsys, "eval", run / "best.safetensors", "part.txt", "--json")[1]
            assert json.loads(out) == json.loads(alone)

    def test_the_figure_is_the_score_of_the_text(self, home, run, capsys):
        out = json.loads(call(capsys, "eval", run, "corpus.txt", "--json")[1])
        score = textgen.load(run).score(TEXT)
        assert out["nats_per_char"] == pytest.approx(score.nats_per_char, abs=1e-5)
        assert out["chars"] == len(TEXT)

    def test_nanogpt_protocol(self, home, run, capsys, monkeypatch):
        monkeypatch.setattr(protocols, "NANOGPT_BATCHES", 1)
        words = ["eval", run, "corpus.txt", "--protocol", "nanogpt", "--json"]
        out = json.loads(call(capsys, *words)[1])
        assert out["protocol"] == "nanogpt" and out["chars"] == 64 * 256

    def test_errors(self, home, run, capsys):
        assert call(capsys, "eval", run)[0] == 2
        assert call(capsys, "eval", run, "--part", "vla")[2].endswith("(did you mean val?)\n")
        (home / "other.txt").write_text("something else")
        code, _, err = call(capsys, "eval", run, "other.txt", "--part", "val")
        assert code == 3 and "not the text that was trained on" in err


class TestInfo:
    def test_a_checkpoint(self, run, capsys):
        out = call(capsys, "info", run)[1]
        assert "gru, 1 layer of 16" in out and "corpus.txt" in out and str(run) not in out

    def test_a_text(self, home, capsys):
        out = call(capsys, "info", "corpus.txt")[1]
        assert f"{len(TEXT):,} in 30 lines" in out and "alphabet" in out


class TestPlot:
    @pytest.mark.slow
    def test_the_picture_is_in_the_current_folder_and_named(self, home, capsys):
        pytest.importorskip("matplotlib", reason="pictures need the extra plot")
        code, out, err = call(capsys, "plot", "checkpoints/corpus")
        assert (code, out, err) == (0, "", "textgen: the picture is in curves.png\n")
        assert (home / "curves.png").read_bytes().startswith(b"\x89PNG")

    @pytest.mark.slow
    def test_several_runs_go_into_the_file_that_is_named(self, home, run, capsys):
        pytest.importorskip("matplotlib", reason="pictures need the extra plot")
        words = ["plot", run, run / "best.safetensors", "--out", "both.svg"]
        assert call(capsys, *words) == (0, "", "")
        assert b"<svg" in (home / "both.svg").read_bytes()

    @pytest.mark.parametrize(
        ("words", "expected", "message"),
        [
            (["no-run", "--out", "p.gif"], 2, "--out: 'p.gif' does not end in .png or .svg"),
            (["no-run", "--out", ""], 2, "does not end in"),
            (["no-run"], 4, "no-run: no such run"),
            (["corpus.txt"], 4, "corpus.txt: is no run"),
            (["demo"], 4, "demo: no such run"),
        ],
    )
    def test_what_cannot_be_drawn_is_an_error(self, home, capsys, words, expected, message):
        pytest.importorskip("matplotlib", reason="pictures need the extra plot")
        code, out, err = call(capsys, "plot", *words)
        assert (code, out) == (expected, "") and message in err and err.count("\n") == 1


class TestTrain:
    def test_what_is_said_before_and_after(self, home, capsys):
        words = ["train", "corpus.txt", "--steps", 10, "--hidden", 8, "--threads", 1]
        words += ["--out", home / "said"]
        code, out, err = call(capsys, *words)
        assert code == 0 and err == ""  # no progress line without a terminal
        for word in ("characters:", "alphabet:", "split:", "model:", "step 10:", "validation:"):
            assert word in out, word
        assert f"textgen sample {home / 'said' / 'best.safetensors'}" in out

    def test_numbers_stand_with_their_nouns(self, home, capsys):
        words = ["train", "corpus.txt", "--steps", 1, "--batch", 1, "--hidden", 4, "--threads", 1]
        out = call(capsys, *words, "--out", home / "counted")[1]
        for words in ("1 layer of 4", "1 stream, windows", "1 step (", "epochs), 1 thread, cpu"):
            assert words in out, words
        assert "(s)" not in out

    @pytest.mark.parametrize(
        ("minutes", "shown"), [(0.5, "0.5 minutes"), (1, "1 minute"), (2, "2 minutes")]
    )
    def test_the_budget_is_said(self, home, minutes, shown):
        config = TrainConfig(minutes=minutes, hidden=4, threads=2, device="cpu")
        said = dict(start_setup("corpus.txt", config).describe())
        assert said["budget"] == f"{shown}, 2 threads, cpu"

    @pytest.mark.slow
    def test_a_terminal_shows_progress(self, home):
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        command = [sys.executable, "-m", "textgen", "train", "corpus.txt", "--steps", "100"]
        command += ["--hidden", "8", "--threads", "1", "--batch", "2", "--window", "8"]
        command += ["--out", str(home / "shown")]
        child = subprocess.Popen(command, stderr=follower, stdout=subprocess.DEVNULL, cwd=home)
        os.close(follower)
        shown = ""
        try:
            while piece := os.read(leader, 4096):
                shown += piece.decode()
        except OSError:
            pass
        assert child.wait(timeout=60) == 0
        assert re.search(r"/100 .*train \d\.\d+ nats/char \(\d\.\d+ bits\), val \d", shown)
        assert "chars/s" in shown and "left" in shown

    def test_a_run_of_an_hour_ago_is_not_newer(self, home, capsys):
        old = home / "checkpoints" / "old"
        textgen.train(home / "corpus.txt", out=str(old), steps=1, hidden=4)
        os.utime(old / "best.safetensors", (time.time() - 3600,) * 2)
        assert "checkpoints/corpus/" in call(capsys, "sample", "--length", 1)[2]


class TestTexts:
    """Texts of other kinds than one file of characters."""

    SMALL = ("--hidden", 8, "--batch", 2, "--window", 8, "--threads", 1, "--steps", 4)

    @pytest.fixture
    def names(self, tmp_path, monkeypatch):
        """A folder with a list of names, as the current one."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
        found = [a + b + c for a in "AEJ" for b in ("nn", "v", "l") for c in ("a", "e", "is")]
        (tmp_path / "names.txt").write_text("\n".join(found) + "\n")
        return tmp_path

    def test_a_list_gives_items(self, names, capsys):
        code, out, _ = call(capsys, "train", "names.txt", "--records", "lines", *self.SMALL)
        assert code == 0
        found = (names / "names.txt").read_text().split()
        words = ("--num", 12, "--unique", "--unseen", "--seed", 1)
        code, out, _ = call(capsys, "sample", *words)
        written = out.split("\n")
        assert (code, len(written), written[-1]) == (0, 13, "")
        assert len(set(written[:-1])) == 12
        assert not set(written[:-1]) & set(found)
        assert call(capsys, "eval", "checkpoints/names", "--part", "val", "--json")[0] == 0

    def test_what_stands_between_items_is_unescaped(self, names, capsys):
        (names / "jokes.txt").write_text("".join(f"joke {n}\nof two lines\n%\n" for n in range(40)))
        words = ("--records", r"\n%\n", "--split", "0.5,0.5")
        code, _, _ = call(capsys, "train", "jokes.txt", *words, *self.SMALL)
        assert code == 0
        metadata = Checkpoint.load(names / "checkpoints" / "jokes" / "best.safetensors").metadata
        assert (metadata.records, metadata.record_counts["train"]) == ("\n%\n", 20)
        items = training_text.known_records(names / "checkpoints/jokes/best.safetensors", metadata)
        assert "joke 7\nof two lines" in items

    def test_where_there_are_no_more_items_that_is_said(self, names, capsys, monkeypatch):
        monkeypatch.setattr("textgen.sampling.batch.MOST_DRAWN", 2)
        call(capsys, "train", "names.txt", "--records", "lines", *self.SMALL)
        words = ("--num", 50, "--unique", "--seed", 1, "--length", 1)
        code, out, err = call(capsys, "sample", *words)
        found = out.rstrip("\n").split("\n")
        assert code == 0
        assert len(found) == len(set(found)) < 50
        assert f"found {len(found)} of 50" in err

    def test_items_are_asked_of_a_model_of_items_only(self, home, capsys):
        code, _, err = call(capsys, "sample", "--unseen", "--num", 2)
        assert code == 2 and "--unseen: is for records" in err

    @pytest.mark.slow
    def test_files_folders_and_standard_input(self, names, capsys, monkeypatch):
        (names / "more").mkdir()
        (names / "more" / "a.md").write_text("some words\n" * 20)
        words = ("train", "names.txt", "more", "--glob", "*.md", "--out", "run", *self.SMALL)
        code, out, _ = call(capsys, *words)
        assert code == 0
        assert "files:       2, one after the other: names.txt, more/a.md" in out

        def pipe(data, *words):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
            return call(capsys, "train", *words)

        code, out, err = pipe(b"piped words\n" * 40, "-", "--out", "piped", *self.SMALL)
        assert code == 0, err
        assert "characters:  480 in 40 lines" in out
        words = ("--resume", "piped", "--steps", 6)
        assert pipe(b"other words\n" * 40, *words)[0] == 3
        assert pipe(b"piped words\n" * 40, *words)[0] == 0

    def test_a_prime_is_read_as_the_text_was(self, names, capsys):
        (names / "text.txt").write_bytes("cafe\u0301 noir\r\n".encode() * 30)
        words = ("--newlines", "lf", "--normalize", "nfc")
        assert call(capsys, "train", "text.txt", *words, *self.SMALL)[0] == 0
        prime = ("--prime", "cafe\u0301\r\n", "--length", 1)
        code, out, err = call(capsys, "sample", *prime)
        assert code == 0, err
        assert out.startswith("caf\u00e9\n")
        (names / "prime.txt").write_bytes("cafe\u0301\r\n".encode())
        code, out, err = call(capsys, "sample", "--prime-file", "prime.txt", "--length", 1)
        assert out.startswith("caf\u00e9\n")
        assert textgen.load("checkpoints/text").sample("cafe\u0301", length=0) == "caf\u00e9"

    def test_a_report_is_said_or_dumped(self, names, capsys):
        code, out, _ = call(capsys, "corpus", "report", "names.txt")
        assert code == 0
        assert "lines:                 27, 0 of them empty" in out
        code, out, _ = call(capsys, "corpus", "report", "names.txt", "--json", "--split", "0.5,0.5")
        assert code == 0
        half = len((names / "names.txt").read_text()) // 2
        assert json.loads(out)["parts"]["train"] == half

    def test_the_cache_is_listed_and_cleared(self, names, capsys, monkeypatch):
        monkeypatch.setattr("textgen.data.corpus.IN_MEMORY", 10)
        assert call(capsys, "train", "names.txt", *self.SMALL)[0] == 0
        code, out, _ = call(capsys, "corpus", "cache")
        assert code == 0
        folder, entry = out.rstrip("\n").split("\n")
        assert folder == str(names / "cache")
        assert entry.strip() == f"{(names / 'names.txt').stat().st_size} bytes  names.txt"
        code, out, _ = call(capsys, "corpus", "cache", "--clear")
        assert code == 0 and "bytes removed" in out
        assert not (names / "cache").exists()


class TestErrors:
    """One line, the exit code, and what it names."""

    CASES = (
        (["train", "missing.txt"], 3, ["missing.txt", "no such file"]),
        (["train", ".", "--glob", "*.tex"], 3, ["no file below it matches '*.tex'"]),
        (["train", "empty.txt"], 3, ["empty"]),
        (["train", "latin1.txt"], 3, ["byte 0xe4", "offset 7", "line 2"]),
        (["train"], 2, ["FILE"]),
        (["train", "corpus.txt", "--hiden", "5"], 2, ["--hiden", "did you mean --hidden?"]),
        (["train", "corpus.txt", "--cell", "grru"], 2, ["--cell", "did you mean gru?"]),
        (["train", "corpus.txt", "--hidden", "0"], 2, ["--hidden", "at least 1"]),
        (["train", "corpus.txt", "--hidden", "big"], 2, ["--hidden", "big"]),
        (["train", "corpus.txt", "--lr", "nan"], 2, ["--lr", "finite"]),
        (["train", "corpus.txt", "--dropout", "1"], 2, ["--dropout", "below 1"]),
        (["train", "corpus.txt", "--split", "0.9,0.2"], 2, ["--split", "sums to 1.1"]),
        (["train", "corpus.txt", "--steps", "5", "--minutes", "1"], 2, ["--steps", "--minutes"]),
        (["train", "corpus.txt", "--out", "checkpoints/corpus"], 2, ["--out", "already exists"]),
        (["train", "corpus.txt", "--device", "cuda"], 5, ["--device cuda", "--device cpu"]),
        (["train", "corpus.txt", "--out", "corpus.txt/x"], 5, ["corpus.txt/x"]),
        (["train", "--resume", "checkpoints/corpus", "--lr", "1"], 2, ["--lr", "be changed"]),
        (["train", "--resume", "nothing"], 4, ["nothing", "no such run"]),
        (["trian"], 2, ["trian", "did you mean train?"]),
        (["--verison"], 2, ["--verison", "--version"]),
        (["sample", "--temperature", "-1"], 2, ["--temperature", "at least 0"]),
        (["sample", "--temperature", "hot"], 2, ["--temperature", "hot"]),
        (["sample", "--top-k", "0"], 2, ["--top-k"]),
        (["sample", "--top-p", "1.5"], 2, ["--top-p"]),
        (["sample", "--min-p", "-0.1"], 2, ["--min-p"]),
        (["sample", "--stop", ""], 2, ["--stop"]),
        (["sample", "--num", "0"], 2, ["--num"]),
        (["sample", "--prime", "a", "--prime-file", "b"], 2, ["--prime-file", "--prime"]),
        (["sample", "--stpo", "x"], 2, ["--stpo", "did you mean --stop?"]),
        (["sample", "--until", "sentense"], 2, ["--until", "did you mean sentence?"]),
        (["sample", "--temperature", "1:hot"], 2, ["--temperature", "1:hot"]),
        (["sample", "--bias", "a"], 2, ["--bias", "'a'"]),
        (["sample", "--beams", "2", "--top-k", "3"], 2, ["--beams", "--top-k"]),
        (["sample", "--num", "3", "--beams", "2"], 2, ["--num", "from 2 beams"]),
        (["sample", "--format", "jsno"], 2, ["--format", "did you mean jsonl?"]),
        (["sample", "--primes", "missing.txt"], 3, ["missing.txt", "no such file"]),
        (["sample", "--primes", "latin1.txt"], 3, ["byte 0xe4", "offset 7", "line 2"]),
        (["sample", "--prime-file", "missing.txt"], 3, ["missing.txt"]),
        (["sample", "missing.safetensors"], 4, ["missing.safetensors", "no such file"]),
        (["sample", "corpus.txt"], 4, ["corpus.txt", "not a textgen checkpoint"]),
        (["sample", "cut.safetensors"], 4, ["cut.safetensors", "truncated"]),
        (["sample", "newer.safetensors"], 4, ["newer", "pip install -U"]),
        (["sample", "--device", "cuda"], 5, ["cuda"]),
        (["sample", "--device", "gpu"], 2, ["--device"]),
        (["eval", "missing", "corpus.txt"], 4, ["missing"]),
        (["info", "missing.txt"], 3, ["missing.txt"]),
        (["corpus", "build", "shakespere"], 2, ["shakespeare"]),
        (["corpus", "make"], 2, ["make"]),
    )  # fmt: skip

    def test_a_lack_of_memory_is_one_line(self, capsys, monkeypatch):
        def run(_arguments):
            raise MemoryError

        monkeypatch.setattr("textgen.cli.info.run", run)
        code, out, err = call(capsys, "info", "a.txt")
        assert (code, out) == (5, "")
        assert err.startswith("textgen: error: memory: ") and err.count("\n") == 1

    @pytest.mark.parametrize("words, code, named", CASES, ids=lambda value: str(value)[:40])
    def test_one_line_with_the_code(self, home, capsys, words, code, named):
        (home / "empty.txt").touch()
        (home / "latin1.txt").write_bytes("a line\nä".encode("latin-1"))
        whole = (home / "checkpoints/corpus/best.safetensors").read_bytes()
        (home / "cut.safetensors").write_bytes(whole[:-7])
        newer = whole.replace(rb"\"format\":1", rb"\"format\":9")
        assert newer != whole
        (home / "newer.safetensors").write_bytes(newer)
        before = sorted(home.rglob("*"))
        got, out, err = call(capsys, *words)
        assert (got, out) == (code, ""), err
        assert err.startswith("textgen: error: ") and err.count("\n") == 1, err
        assert re.search(r" \(.+\)\n$", err), "names a fix"
        for word in named:
            assert word in err, err
        assert sorted(home.rglob("*")) == before

    def test_no_checkpoint_at_all(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("textgen.checkpoint.runs.DEMO", "absent.safetensors")
        code, _, err = call(capsys, "sample")
        assert code == 4 and "no checkpoint found" in err

    def test_hostile_names_stay_on_one_line(self, tmp_path, capsys):
        name = tmp_path / "a\n\x1b[31mred\x1b]0;title\x07.txt"
        code, _, err = call(capsys, "train", name)
        assert code == 3 and err.count("\n") == 1 and "\x1b" not in err and "\x07" not in err


class TestHelp:
    def test_every_option_is_explained(self, capsys):
        code, out, _ = call(capsys, "train", "--help")
        assert code == 0
        for option in ("--cell", "--minutes", "--resume", "--split", "--patience", "--init"):
            assert option in out

    def test_options_of_sampling_stand_under_headings(self, capsys):
        code, out, _ = call(capsys, "sample", "--help")
        assert code == 0
        parts = dict(re.findall(r"^(\w[\w -]+):\n(.*?)(?=^\w|\Z)", out, re.M | re.S))
        for title, options in {
            "options": ["--prime", "--length", "--temperature X[:Y]", "--top-k", "--seed"],
            "where to end": ["--stop", "--until sentence|line|paragraph", "--lines"],
            "which characters": ["--ban", "--only", "--bias", "--match"],
            "against repetition": ["--repetition-penalty", "--no-repeat-ngram", "--novel"],
            "other cut-offs": ["--typical-p", "--mirostat"],
            "search for likely text": ["--best-of", "--beams", "--length-penalty"],
            "input and output": ["--unknown", "--prime-file", "--primes", "--format text|jsonl"],
        }.items():
            for option in options:
                assert f"  {option}" in parts[title], (title, option)

    def test_no_command_prints_the_help(self, capsys):
        code, out, _ = call(capsys)
        assert code == 0 and "textgen train corpus.txt" in out

    def test_version(self, capsys):
        assert call(capsys, "--version")[1] == f"textgen {textgen.__version__}\n"


@pytest.mark.parametrize(
    ("command", "rank", "is_told", "silent"),
    [
        ("train", None, None, False),
        ("train", "0", None, False),
        ("train", "1", None, True),
        ("train", "1", False, False),
        ("train", "0", True, True),
        # Nobody else does the same.
        ("sample", "1", None, False),
    ],
)
def test_of_several_processes_one_tells_an_error(
    monkeypatch, capsys, command, rank, is_told, silent
):
    for name in ("RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
        if rank:
            monkeypatch.setenv(name, rank)
    error = TextError("a.txt", "is empty", "write it")
    error.is_told = is_told
    assert exit_code_of(error, [], command) == 3
    assert capsys.readouterr().err == ("" if silent else f"textgen: error: {error}\n")
