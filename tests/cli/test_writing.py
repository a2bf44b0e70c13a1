"""`textgen sample` from its options to its bytes: primes, formats, files, ends, a conversation."""

import io
import itertools
import json
import os
import re
import select
import stat
import subprocess
import sys

import numpy as np
import pytest
from factories import call, learn_tokenizer, random_checkpoint

import textgen
from textgen.checkpoint.metadata import Metadata
from textgen.cli import writing
from textgen.cli.interactive import Session
from textgen.config.sample import SampleConfig
from textgen.data import source
from textgen.data.corpus import Corpus
from textgen.tokenizers.char import CharTokenizer

WORDS = 'It was a bad cab. "A dad faced 12 cabs" he said\nand added:\n\n3 decades!\n'
LETTERS = CharTokenizer.from_text(WORDS)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An untrained model, model.safetensors, in the current folder."""
    metadata = Metadata(Corpus.of(WORDS, tmp_path / "words.txt").identity())
    checkpoint = random_checkpoint(LETTERS, metadata, scale=0.6)
    checkpoint.save(tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(home):
    return textgen.load(home / "model.safetensors")


@pytest.fixture
def sample(home, capsys):
    """Call textgen sample in this process; return its code, standard output and error."""

    def run(*words):
        # Beams draw nothing.
        seed = [] if "--beams" in words else ["--seed", 5]
        return call(capsys, "sample", "model.safetensors", "--length", 30, *seed, *words)

    return run


@pytest.fixture
def wrote(sample):
    """Call textgen sample, which succeeds; return its standard output."""

    def call(*words):
        code, out, err = sample(*words)
        assert code == 0, err
        return out

    return call


def typed(monkeypatch, data):
    """Let standard input hold these bytes."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def refused(result, code, *named, out=""):
    """An error in one line with its code, a fix, and nothing else written."""
    got, written, err = result
    last = err.splitlines()[-1]
    assert (got, written) == (code, out), err
    assert last.startswith("textgen: error: ") and "Traceback" not in err
    assert re.search(r" \(.+\)$", last)
    for word in named:
        assert word in last, err


# Several primes


def test_each_line_of_a_file_is_a_prime(home, model, wrote):
    (home / "primes.txt").write_text("It was\na dad\ncabs\n")
    texts = wrote("--primes", "primes.txt").split(writing.TEXT_SEPARATOR)
    assert texts == model.batch(primes=["It was", "a dad", "cabs"], length=30, seed=5)


@pytest.mark.parametrize(
    ("lines", "primes"),
    [
        ("a\nb", ["a", "b"]),
        ("a\nb\n", ["a", "b"]),
        ("a\n\nb\n", ["a", "", "b"]),
        ("a\nb\n\n", ["a", "b", ""]),
        ("\n", [""]),
        (r"a\nb\\" + "\n", ["a\nb\\"]),
        ("\ufeffa\nb", ["a", "b"]),
    ],
)
def test_lines_are_unescaped_and_the_last_newline_ends_the_last(home, wrote, lines, primes):
    (home / "primes.txt").write_bytes(lines.encode())
    options = ["--primes", "primes.txt", "--format", "jsonl", "--unknown", "skip"]
    found = [json.loads(line) for line in wrote(*options).splitlines()]
    assert [one["prime"] for one in found] == primes


def test_num_texts_are_written_for_each_prime(home, model, wrote):
    (home / "primes.txt").write_text("It\na")
    texts = wrote("--primes", "primes.txt", "--num", 3).split(writing.TEXT_SEPARATOR)
    assert texts == model.batch(primes=["It", "a"], num=3, length=30, seed=5)
    assert len(set(texts)) == 6


def test_a_single_line_is_streamed_like_a_prime(home, wrote):
    (home / "primes.txt").write_text("It was")
    assert wrote("--primes", "primes.txt") == wrote("--prime", "It was")


def test_files_of_primes_have_the_errors_of_texts(home, sample):
    refused(sample("--primes", "missing.txt"), 3, "missing.txt", "no such file")
    (home / "empty.txt").touch()
    refused(sample("--primes", "empty.txt"), 3, "empty.txt", "empty")
    (home / "primes.txt").write_text("It\naß\n")
    refused(sample("--primes", "primes.txt"), 3, "'ß'")


def test_texts_of_several_primes_are_those_written_one_by_one(home, wrote):
    """A row is a number: the second of two primes draws as the second text of one."""
    (home / "primes.txt").write_text("It\nIt")
    assert wrote("--primes", "primes.txt") == wrote("--prime", "It", "--num", 2)


# JSON


def test_a_line_of_json_is_written_for_each_text(model, wrote):
    out = wrote("--format", "jsonl", "--prime", "It", "--num", 4)
    found = [json.loads(line) for line in out.split("\n")[:-1]]
    expected = list(model.texts(["It"], num=4, length=30, seed=5))
    assert [one["text"] for one in found] == [one.text for one in expected]
    assert [one["row"] for one in found] == [0, 1, 2, 3]
    for one in found:
        assert set(one) == {"text", "prime", "seed", "row", "nats_per_char", "end"}
        assert (one["prime"], one["seed"], one["end"]) == ("It", 5, "length")
        nats = model.score("It" + one["text"]).nats[2:]
        assert one["nats_per_char"] == pytest.approx(nats.mean(), abs=1e-5)


def test_a_single_text_may_be_json_too(wrote):
    (line,) = wrote("--format", "jsonl").splitlines()
    assert wrote("--prime", "") == json.loads(line)["text"]


def test_newlines_quotes_and_other_alphabets_stay_on_their_line(home, wrote):
    (home / "primes.txt").write_text('a"\\n\\t\u2028é"\n')
    out = wrote("--primes", "primes.txt", "--format", "jsonl", "--unknown", "skip")
    assert out.count("\n") == 1 and "é" in out
    assert json.loads(out)["prime"] == 'a"\n\t\u2028é"'


@pytest.mark.parametrize("filters", [[], ["--top-k", 3, "--temperature", 0.4]])
def test_log_probs_are_what_the_model_scores_the_text_at(model, wrote, filters):
    out = wrote("--format", "jsonl", "--logprobs", "--prime", "a", "--num", 2, *filters)
    for line in out.splitlines():
        one = json.loads(line)
        nats = model.score("a" + one["text"]).nats[1:]
        assert len(one["log_probs"]) == 30
        np.testing.assert_allclose(one["log_probs"], -nats, rtol=0, atol=1e-5)


def test_json_says_why_each_text_ended(wrote):
    out = wrote("--format", "jsonl", "--num", 20, "--until", "line", "--stop", "c", "--length", 12)
    ends = [json.loads(line)["end"] for line in out.splitlines()]
    assert set(ends) == {"line", "stop", "length"}


def test_a_format_that_is_not_there_names_the_nearest(sample):
    refused(sample("--format", "json"), 2, "--format", "did you mean jsonl?")


# Files


def test_each_text_goes_to_a_file_of_its_own(home, model, wrote):
    assert wrote("--out-dir", "new/texts", "--num", 3, "--prime", "It") == ""
    files = sorted((home / "new" / "texts").iterdir())
    assert [path.name for path in files] == ["00001.txt", "00002.txt", "00003.txt"]
    expected = model.batch("It", num=3, length=30, seed=5)
    assert [path.read_bytes().decode() for path in files] == expected


def test_each_file_may_be_json(home, wrote):
    (home / "texts").mkdir()
    wrote("--out-dir", "texts", "--num", 2, "--format", "jsonl", "--logprobs")
    files = sorted((home / "texts").iterdir())
    assert [path.name for path in files] == ["00001.json", "00002.json"]
    found = [json.loads(path.read_text()) for path in files]
    assert [one["row"] for one in found] == [0, 1]
    assert [len(one["log_probs"]) for one in found] == [30, 30]


def test_a_single_text_may_go_to_a_folder(home, wrote):
    wrote("--out-dir", "texts", "--prime", "It")
    (path,) = (home / "texts").iterdir()
    assert path.read_text() == wrote("--prime", "It")


def test_a_folder_that_holds_something_is_left_alone(home, sample):
    (home / "texts").mkdir()
    (home / "texts" / "mine.txt").write_text("mine")
    refused(sample("--out-dir", "texts", "--num", 2), 2, "--out-dir", "texts is not empty")
    assert [path.name for path in (home / "texts").iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made_is_an_error(home, sample):
    (home / "texts").write_text("mine")
    refused(sample("--out-dir", "texts"), 5, "texts")
    refused(sample("--out-dir", "texts/below"), 5, "texts")
    assert (home / "texts").read_text() == "mine"


@pytest.mark.parametrize("words", [[], ["--num", 3], ["--num", 2, "--format", "jsonl"]])
def test_out_holds_what_would_have_been_printed(home, wrote, words):
    assert wrote("--prime", "It", "--out", "text.txt", *words) == ""
    assert (home / "text.txt").read_bytes().decode() == wrote("--prime", "It", *words)


def test_out_keeps_the_old_file_when_something_goes_wrong(home, sample):
    (home / "text.txt").write_text("old")
    refused(sample("--prime", "ß", "--out", "text.txt"), 3, "'ß'")
    assert (home / "text.txt").read_text() == "old"
    assert sorted(path.name for path in home.iterdir()) == ["model.safetensors", "text.txt"]


# Where --out leads


PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


@pytest.fixture
def pipe(home):
    """A named pipe, `pipe`, and a reader of it that never waits."""
    os.mkfifo(home / "pipe")
    reader = os.open(home / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with open(reader, "rb", buffering=0) as file:
        yield file


@PIPES
@pytest.mark.parametrize("words", [[], ["--num", 3], ["--num", 2, "--format", "jsonl"]], ids=str)
def test_a_named_pipe_is_written_into(home, wrote, pipe, words):
    assert wrote("--prime", "It", "--out", "pipe", *words) == ""
    assert pipe.readall().decode() == wrote("--prime", "It", *words)
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


@PIPES
def test_a_named_pipe_whose_reader_leaves_ends_quietly(home, pipe):
    command = [sys.executable, "-m", "textgen", "sample", "model.safetensors"]
    command += ["--length", "1000000", "--out", "pipe"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as child:
        assert select.select([pipe], [], [], 60)[0]
        pipe.close()
        error = child.communicate(timeout=60)[1]
    assert child.returncode == 141
    assert error.count(b"\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_is_an_error_in_one_line(home, sample):
    (home / "link").symlink_to("/dev/full")
    refused(sample("--out", "link"), 5, "link", "no space left")
    assert (home / "link").is_char_device()


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs /dev/stdout")
@pytest.mark.parametrize("more", [">", ">>", "| cat >"])
def test_standard_output_by_its_name_is_gone_on_with(home, wrote, more):
    (home / "link").symlink_to("/dev/stdout")
    sample = f"{sys.executable} -m textgen sample model.safetensors --length 30 --seed 5"
    line = f"{{ echo head; {sample} --out link; echo tail; }} {more} all.txt"
    subprocess.run(["bash", "-c", line], check=True, cwd=home, capture_output=True)
    assert (home / "all.txt").read_text() == f"head\n{wrote()}tail\n"


def test_out_follows_a_link_and_keeps_the_permissions(home, wrote):
    (home / "real").mkdir()
    (home / "real" / "text.txt").write_text("old")
    (home / "real" / "text.txt").chmod(0o600)
    (home / "link").symlink_to("real/text.txt")
    (home / "dangling").symlink_to("real/new.txt")
    expected = wrote("--prime", "It")
    for name, target in {"link": "real/text.txt", "dangling": "real/new.txt"}.items():
        wrote("--prime", "It", "--out", name)
        assert os.readlink(name) == target
        assert (home / target).read_text() == expected
    assert stat.S_IMODE((home / "real" / "text.txt").stat().st_mode) == 0o600
    assert sorted(os.listdir("real")) == ["new.txt", "text.txt"]


@pytest.mark.parametrize("option", ["--out", "--out-dir"])
def test_a_name_with_a_nul_is_an_error(home, sample, option):
    refused(sample(option, "a\0b"), 2, r"a\x00b")
    assert os.listdir() == ["model.safetensors"]


@pytest.mark.parametrize("name", [".", "..", "folder", "ring", "missing/a.txt"])
def test_what_is_no_place_for_a_text_is_an_error(home, sample, name):
    (home / "folder").mkdir()
    (home / "ring").symlink_to("ring")
    refused(sample("--out", name), 5, f"{name}: cannot be written")
    assert sorted(os.listdir()) == ["folder", "model.safetensors", "ring"]


# A prime of any size


@pytest.fixture(params=["file", "standard input"])
def prime_file(request, home, monkeypatch):
    """A way to give a prime in a file: by its name, or as standard input."""

    def give(data):
        data = data if isinstance(data, bytes) else data.encode()
        if request.param == "file":
            (home / "prime.txt").write_bytes(data)
            return "prime.txt"
        typed(monkeypatch, data)
        return "-"

    return give


@pytest.mark.parametrize("piece", [3, 7, 1 << 16])
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--num", 2],
        ["--format", "jsonl"],
        ["--out-dir", "texts"],
        ["--best-of", 3],
        ["--beams", 3],
        ["--no-repeat-ngram", 3],
    ],
    ids=str,
)
def test_a_prime_from_a_file_is_the_prime(home, wrote, prime_file, monkeypatch, piece, words):
    monkeypatch.setattr(source, "BLOCK_BYTES", piece)

    def outcome(*prime):
        out = wrote(*prime, *words)
        for path in sorted((home / "texts").glob("*")):
            out += path.read_text()
            path.unlink()
        return out

    prime = 'It was a bad cab. "A dad'
    expected = outcome("--prime", prime)
    assert prime in expected or prime.replace('"', '\\"') in expected
    assert outcome("--prime-file", prime_file(prime)) == expected


@pytest.mark.parametrize("look_back", [100, 3000])
def test_a_long_prime_is_looked_back_on_as_far_as_the_option_says(wrote, prime_file, look_back):
    prime = "".join(np.random.default_rng(0).choice(list("abcde"), 2500))
    words = ["--look-back", look_back, "--no-repeat-ngram", 4, "--only", "a-e", "--length", 60]
    expected = wrote("--prime", prime, *words)
    assert wrote("--prime-file", prime_file(prime), *words) == expected


@pytest.mark.parametrize("piece", [3, 4, 5, 6, 7])
def test_characters_cut_by_the_end_of_a_piece_come_out_whole(wrote, prime_file, monkeypatch, piece):
    monkeypatch.setattr(source, "BLOCK_BYTES", piece)
    prime = "aéb€c\U0001f917d\ufeffe"
    out = wrote("--prime-file", prime_file("\ufeff" + prime), "--unknown", "skip")
    assert out.startswith(prime) and len(out) == len(prime) + 30
    assert out.removeprefix(prime) == wrote("--prime", "abcde").removeprefix("abcde")


def test_a_prime_file_is_taken_as_it_is(wrote, prime_file):
    """Nothing is unescaped, and its last newline belongs to it."""
    out = wrote("--prime-file", prime_file("a\\n\n"), "--unknown", "skip")
    assert out.startswith("a\\n\n")


def test_an_empty_prime_file_is_no_prime(wrote, prime_file):
    assert wrote("--prime-file", prime_file("")) == wrote()
    assert wrote("--prime-file", prime_file(""), "--num", 2) == wrote("--num", 2)


@pytest.mark.parametrize("words", [[], ["--num", 2]])
def test_bytes_that_are_not_utf8_are_named_with_their_offset_and_line(
    sample, prime_file, monkeypatch, words
):
    monkeypatch.setattr(source, "BLOCK_BYTES", 8)
    data = "It was\na bad caé\n".encode() + b"cab\xff"
    code, _, err = sample("--prime-file", prime_file(data), *words)
    assert code == 3
    assert "byte 0xff at offset 21 (line 3) is not UTF-8" in err
    assert ("stdin" in err) != ("prime.txt" in err)


def test_an_unknown_character_is_named_at_its_position_in_the_file(sample, prime_file, monkeypatch):
    monkeypatch.setattr(source, "BLOCK_BYTES", 4)
    code, _, err = sample("--prime-file", prime_file("It was a bad cab\ndad ß a"))
    assert code == 3 and "'ß'" in err
    assert "position 22 " in err


def test_a_prime_file_that_is_missing_is_an_error(sample):
    for words in ([], ["--num", 2]):
        refused(sample("--prime-file", "missing.txt", *words), 3, "missing.txt", "no such file")


def test_a_prime_is_shown_while_it_is_still_being_read(wrote, capsys, monkeypatch):
    """However long it is: who reads the output gets each piece as it comes."""
    shown, pieces = [], [b"It was", b" a bad", b" cab"]

    class Source:
        def read(self, size):
            shown.append(capsys.readouterr().out)
            return pieces.pop(0) if pieces else b""

    monkeypatch.setattr(sys, "stdin", type("Input", (), {"buffer": Source(), "isatty": bool}))
    rest = wrote("--prime-file", "-")
    assert shown == ["", "It was", " a bad", " cab"]
    assert "It was a bad cab" + rest == wrote("--prime", "It was a bad cab")


# What cannot be combined

EXCLUSIONS = [
    (["--prime", "a", "--prime-file", "p.txt"], ["--prime-file", "--prime"]),
    (["--prime", "a", "--primes", "p.txt"], ["--primes", "--prime"]),
    (["--prime-file", "p.txt", "--primes", "p.txt"], ["--primes", "--prime-file"]),
    (["--mirostat", 2, "--top-k", 3], ["--mirostat", "--top-k"]),
    (["--mirostat", 2, "--top-p", 0.5], ["--mirostat", "--top-p"]),
    (["--mirostat", 2, "--eta-cutoff", 0.1], ["--mirostat", "--eta-cutoff"]),
    (["--beams", 2, "--temperature", 0.5], ["--beams", "--temperature"]),
    (["--beams", 2, "--min-p", 0.5], ["--beams", "--min-p"]),
    (["--beams", 2, "--mirostat", 2], ["--beams", "--mirostat"]),
    (["--beams", 2, "--best-of", 2], ["--beams", "--best-of"]),
    (["--beams", 2, "--novel", 9], ["--novel", "--beams"]),
    (["--beams", 2, "--match", "a"], ["--match", "--beams"]),
    (["--match", "a", "--stop", "a"], ["--match", "--stop"]),
    (["--match", "a", "--until", "line"], ["--match", "--until"]),
    (["--match", "a", "--lines", 1], ["--match", "--lines"]),
    (["--match", "a", "--novel", 9], ["--match", "--novel"]),
    (["--beams", 2, "--seed", 0], ["--beams", "--seed"]),
    (["--interactive", "--format", "jsonl"], ["--interactive", "--format"]),
    (["--look-back", 50], ["--look-back", "does nothing without", "--novel"]),
    (["--mirostat-rate", 0.1], ["--mirostat-rate", "does nothing without --mirostat"]),
    (["--beams", 2, "--num", 3], ["--num", "3 texts cannot come from 2 beams"]),
    (["--novel", 9, "--look-back", 8], ["--novel", "--look-back"]),
]


@pytest.mark.parametrize(
    ("words", "named"), EXCLUSIONS, ids=lambda value: " ".join(map(str, value))
)
def test_options_that_exclude_each_other_are_refused(home, sample, words, named):
    (home / "p.txt").write_text("a")
    refused(sample(*words), 2, *named)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--ban", "z-a"], ["--ban", "a-z"]),
        (["--only", "xyz"], ["--only"]),
        (["--bias", "a"], ["--bias", "'a'"]),
        (["--until", "word"], ["--until", "sentence"]),
        (["--lines", "0"], ["--lines", "at least 1"]),
        (["--temperature", "0.5:-1"], ["--temperature", "at least 0"]),
        (["--temperature", "0.5:1:2"], ["--temperature"]),
        (["--stop", ""], ["--stop", "empty"]),
        (["--best-of", "0"], ["--best-of", "at least 1"]),
        (["--no-repeat-ngram", "0"], ["--no-repeat-ngram"]),
        (["--look-back", "0"], ["--look-back"]),
    ],
    ids=str,
)
def test_values_that_cannot_be_are_refused(sample, words, named):
    refused(sample(*words), 2, *named)


# A pattern


@pytest.mark.parametrize(
    "words", [["--prime", "a"], ["--num", 2], ["--format", "jsonl"], ["--best-of", 2]], ids=str
)
def test_a_pattern_without_a_match_is_refused_before_any_output(sample, words):
    result = sample("--match", r"\d{31}", *words)
    refused(result, 2, "--match", "needs 31 characters", "--length is 30")
    refused(sample("--match", "(xyz)+", *words), 2, "--match", "no text of this model's")
    refused(sample("--match", "(a", *words), 2, "--match", "unterminated")


def test_a_pattern_without_a_match_is_refused_before_a_prime_is_shown(sample, prime_file):
    refused(sample("--match", r"\d{31}", "--prime-file", prime_file("It was")), 2, "--match")


def test_a_refused_pattern_leaves_no_folder_behind(home, sample):
    refused(sample("--match", r"\d{31}", "--out-dir", "texts"), 2, "--match")
    assert not (home / "texts").exists()


def test_every_text_matches_the_pattern(wrote):
    out = wrote("--match", r"[a-f]+ \d\d?", "--num", 6, "--format", "jsonl", "--prime", "It was ")
    for line in out.splitlines():
        assert re.fullmatch(r"[a-f]+ \d\d?", json.loads(line)["text"])
    assert re.fullmatch(r"It \d{4}", wrote("--match", r"\d{4}", "--prime", "It "))


# Where a text ends


def free(wrote, *words):
    """A text long enough to hold an end, and the words that give it."""
    words = ["--length", 400, "--temperature", 1.5, "--prime", "It", *words]
    return wrote(*words).removeprefix("It"), words


def test_until_line_ends_before_the_first_newline_behind_something_visible(wrote):
    text, words = free(wrote)
    line = re.match(r"\s*[^\n]*\S[^\n]*(?=\n)", text)[0]
    assert wrote(*words, "--until", "line") == "It" + line


def test_until_sentence_ends_with_the_full_stop_and_its_quotation_marks(wrote):
    text, words = free(wrote, "--bias", ".:1.5", "--bias", " :1")
    sentence = re.match(r'.*?\S.*?[.!]["]*(?=\s)', text, re.DOTALL)[0]
    assert wrote(*words, "--until", "sentence") == "It" + sentence


def test_until_paragraph_ends_before_the_first_empty_line(wrote):
    """In the first of some texts whose first paragraph has several lines."""
    for seed in range(20):
        text, words = free(wrote, "--bias", r"\n:2", "--seed", seed)
        paragraph = re.match(r"\s*\S.*?(?=\n\n)", text, re.DOTALL)[0]
        if "\n" in paragraph.strip():
            break
    assert "\n" in paragraph.strip()
    assert wrote(*words, "--until", "paragraph") == "It" + paragraph


@pytest.mark.parametrize("lines", [1, 2, 5])
def test_lines_are_counted(wrote, lines):
    text, words = free(wrote)
    expected = "\n".join(text.split("\n")[:lines])
    assert wrote(*words, "--lines", lines) == "It" + expected


def test_the_earliest_of_several_stop_texts_ends_the_text(wrote):
    text, words = free(wrote)
    places = [text.index(stop) for stop in ("d", "b", "\n")]
    stops = itertools.chain(*(["--stop", stop] for stop in ("d", "b", r"\n")))
    assert wrote(*words, *stops) == "It" + text[: min(places)]


def test_bans_and_ranges_are_unescaped(wrote):
    text, words = free(wrote)
    assert "\n" in text
    assert "\n" not in wrote(*words, "--ban", r"\n")
    only = wrote(*words, "--only", r"a-c\n").removeprefix("It")
    assert set(only) == set("abc\n")
    assert wrote(*words, "--bias", r"\n:99").removeprefix("It").strip("\n") == ""


# Copies


def test_the_longest_copied_span_is_reported(home, sample):
    (home / "words.txt").write_text(WORDS)
    code, out, err = sample("--novel", 3, "--novel-text", "words.txt", "--prime", "It")
    assert code == 0
    longest = max(
        (out[i:j] for i in range(2, len(out)) for j in range(i, len(out) + 1) if out[i:j] in WORDS),
        key=len,
    )
    assert f"longest span copied from the training text: {len(longest)} character" in err
    assert len(longest) < 3
    assert sample("--novel", 3, "--prime", "It")[1] == out  # from the index
    code, _, err = sample("--prime", "It")
    assert "longest" not in err


def test_a_training_text_that_is_not_known_is_an_error(sample):
    refused(sample("--novel", 3), 2, "words.txt", "--novel-text")


# A conversation


def test_a_conversation_through_a_pipe(model, sample, monkeypatch):
    typed(monkeypatch, b"It was\n\n:2\n1\n:undo\n:show\n")
    code, out, err = sample("--interactive")
    session = Session(model, SampleConfig(length=30), 5)
    lines = ["It was", "", ":2", "1", ":undo", ":show"]
    expected = "".join("".join(session.reply(line)) for line in lines)
    assert (code, out) == (0, expected)
    assert err.count("\n") == 1 and "seed 5" in err


def test_a_conversation_of_nothing_ends_at_once(sample, monkeypatch):
    typed(monkeypatch, b"")
    assert sample("--interactive")[:2] == (0, "")


def test_a_conversation_takes_the_options(sample, monkeypatch):
    typed(monkeypatch, b"It was\n")
    out = sample("--interactive", "--only", "a-c", "--length", 50)[1]
    assert set(out.removeprefix("It was").strip("\n")) == set("abc")


def test_errors_of_a_conversation_are_lines_and_end_nothing(sample, monkeypatch):
    typed(monkeypatch, "ß\n:foo\n:set --top-k 0\nIt\n".encode())
    code, out, err = sample("--interactive")
    assert code == 0 and out.startswith("It") and len(out) == 33
    assert [line.startswith("textgen: error: ") for line in err.splitlines()] == [False] + [
        True
    ] * 3


def test_a_conversation_with_bytes_that_are_not_utf8_is_no_bug(sample, monkeypatch):
    typed(monkeypatch, b"It\n\xff\n")
    code, _, err = sample("--interactive")
    assert code in (0, 3) and "textgen: error: " in err


@pytest.mark.parametrize("words", [["--prime", "It"], ["--prime-file", "prime.txt"]])
def test_a_conversation_begins_with_the_prime_or_refuses_it(home, sample, monkeypatch, words):
    (home / "prime.txt").write_text("It")
    typed(monkeypatch, b":show\n")
    code, out, err = sample("--interactive", *words)
    assert (code == 0 and "It" in out) or (code == 2 and "--interactive" in err)


def process(home, command, **settings):
    line = f"{sys.executable} -m textgen sample model.safetensors {command}"
    return subprocess.run(["bash", "-c", line], capture_output=True, cwd=home, **settings)


def test_a_conversation_is_utf8_whatever_the_locale(home):
    settings = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = "--interactive --unknown skip --length 3"
    done = process(home, command, input="aé€\n".encode(), env={**os.environ, **settings})
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().startswith("aé€")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_conversation_with_a_full_disk_is_an_error(home):
    done = process(home, "--interactive > /dev/full", input=b"It\n")
    assert done.returncode == 5 and b"no space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_conversation_whose_reader_is_gone_ends_quietly(home):
    done = process(home, "--interactive --length 100000 | head -c 10; exit ${PIPESTATUS[0]}",
                   input=b"It\n")  # fmt: skip
    assert done.returncode == 141 and len(done.stdout) == 10
    assert done.stderr.count(b"\n") == 1


# Bytes and pieces


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram"])
def test_a_model_of_bytes_or_pieces_writes_what_was_asked(home, sample, kind):
    random_checkpoint(learn_tokenizer(kind, "the cat é 日本 😀\n" * 9)).save(
        home / "model.safetensors"
    )
    (home / "prime.txt").write_text("the cat é", "utf-8")
    code, out, _ = sample("--prime-file", "prime.txt")
    assert code == 0
    assert out.startswith("the cat é")
    assert len(out.removesuffix("\n")) >= 9 + 29
    code, out, _ = sample("--num", 3, "--format", "jsonl", "--logprobs", "--stop", "at")
    for line in out.splitlines():
        found = json.loads(line)
        assert "at" not in found["text"]
        assert len(found["text"]) <= 30
        if kind == "byte":
            assert len(found["log_probs"]) == len(found["text"].encode())
    for words in (["--match", "a"], ["--novel", 3] if kind != "byte" else ["--ban", "é"]):
        code, out, error = sample(*words)
        assert (code, out) == (2, "") or "does not say" in error
        assert words[0] in error


def test_two_runs_give_the_same_bytes(home, sample):
    random_checkpoint(learn_tokenizer("bpe", "the cat é 日本 😀\n" * 9)).save(
        home / "model.safetensors"
    )
    assert sample("--num", 4) == sample("--num", 4)
