"""Files, folders and standard input are one text, the same each time, or an error says why."""

import gzip
import hashlib
import io
import itertools
import json
import lzma
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.data import source as source_module
from textgen.data.encodings import TextFormat
from textgen.data.source import Source
from textgen.errors import MachineError, TextError, UsageError

BOM = b"\xef\xbb\xbf"
PIECE = source_module.BLOCK_BYTES
AGAIN = "repeat when nothing writes to it"


def text_of(*paths, **options):
    with Source(paths, **options) as source:
        return "".join(source.pieces())


def failing(*paths, kind=TextError, **options):
    with pytest.raises(kind) as caught:
        text_of(*paths, **options)
    error = caught.value
    assert error.exit_code == {TextError: 3, UsageError: 2, MachineError: 5}[kind]
    assert error.fix
    assert "\n" not in str(error)
    return error


@pytest.fixture
def write(tmp_path):
    """Write files below the test's folder."""

    def write(name, data):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


@pytest.fixture
def piped(monkeypatch):
    """Stand in for what is piped into standard input."""

    def piped(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return piped


# One file

characters = st.characters(exclude_categories=["Cs"])


@given(st.text(characters, max_size=40), st.booleans(), st.integers(1, 9))
def test_a_file_comes_back_byte_for_byte(tmp_path_factory, text, marked, size):
    path = tmp_path_factory.getbasetemp() / "round-trip.txt"
    data = (BOM if marked else b"") + text.encode()
    path.write_bytes(data)
    with mock.patch.object(source_module, "BLOCK_BYTES", size):
        source = Source([path])
        assert source.sha256 is None
        for _ in range(2):
            again = "".join(source.pieces()).encode()
            assert (BOM if source.had_bom else b"") + again == data
    assert source.had_bom == data.startswith(BOM)
    assert source.sha256 == hashlib.sha256(data).hexdigest()
    assert source.size == source.bytes == len(data)


def test_a_file_is_read_in_pieces_as_they_are_asked_for(write, monkeypatch):
    source = Source([write("corpus.txt", "abcdefghijklmno")])
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 6)
    read = []
    pieces = source.pieces(read.append)
    assert read == []
    assert next(pieces) == "abcdef" and read == [6]
    assert next(pieces) == "ghijkl" and read == [6, 6]
    assert list(pieces) == ["mno"] and read == [6, 6, 3]


def test_a_reading_that_is_given_up_leaves_nothing_open(write, monkeypatch):
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 3)
    source = Source([write("corpus.txt", "abcdefgh")])
    pieces = source.pieces()
    next(pieces)
    pieces.close()  # an open file would be a warning, which is an error here
    assert source.sha256 is None
    assert "".join(source.pieces()) == "abcdefgh"


def test_two_readings_at_once_do_not_disturb_each_other(write, piped, monkeypatch):
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 3)
    piped(b"12345678")
    with Source([write("corpus.txt", "abcdefgh"), "-"]) as source:
        pairs = list(itertools.zip_longest(source.pieces(), source.pieces()))
    assert all(first == second for first, second in pairs)
    assert "".join(first for first, _ in pairs) == "abcdefgh\n12345678"


def test_a_large_file_is_read_in_constant_memory(write):
    path = write("corpus.txt", "é\r\n" * 4_000_000)
    source = Source([path], TextFormat("utf-8", "lf", "nfc"))
    tracemalloc.start()
    count = sum(len(piece) for piece in source.pieces())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 8_000_000
    assert peak < 8 * PIECE


def test_the_reading_is_that_of_primes(write):
    reading = TextFormat("cp1252", "lf", "nfc")
    assert (
        text_of(write("corpus.txt", "é\r\n\x80".encode("latin-1")), text_format=reading) == "é\n€"
    )
    assert reading.apply("e\u0301\r") == "é\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp1252", "latin-1", "shift_jis"])
def test_other_encodings_come_back(write, encoding):
    text = "ソフト 漢字\n" if encoding == "shift_jis" else "naïve Größe\r\n"
    source = Source([write("corpus.txt", text.encode(encoding))], TextFormat(encoding))
    assert "".join(source.pieces()) == text
    assert source.had_bom == encoding.startswith("utf")


@pytest.mark.parametrize("offset", [0, PIECE - 2, PIECE - 1, PIECE, PIECE + 1])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\xaf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xe2\x82"])
def test_bytes_that_are_not_utf8_are_found_at_their_offset_and_line(write, offset, bad):
    before = (b"x" * 15 + b"\n") * (PIECE // 16 + 1)
    path = write("corpus.txt", before[:offset] + bad + b"\nmore")
    error = failing(path)
    assert error.subject == str(path)
    line = offset // 16 + 1
    words = f"byte 0x{bad[0]:02x} at offset {offset:,} (line {line:,}) is not UTF-8"
    assert error.problem == words
    assert "--encoding" in error.fix


def test_an_unknown_encoding_is_a_usage_error():
    with pytest.raises(UsageError, match="--encoding: 'utf-9' is not an encoding"):
        TextFormat("utf-9")


# Packed files


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("size", [1, 5, PIECE])
def test_a_packed_file_is_the_text_that_was_packed(write, pack, size, monkeypatch):
    monkeypatch.setattr(source_module, "BLOCK_BYTES", size)
    data = BOM + "né\r\n".encode() * 30
    packed = pack(data[:50]) + pack(data[50:])  # two members, the border inside a character
    source = Source([write("named-anything", packed)])
    read = []
    assert "".join(source.pieces(read.append)).encode() == data[3:]
    assert (source.size, source.bytes, source.had_bom) == (len(packed), len(data), True)
    assert sum(read) == source.size
    assert source.sha256 == hashlib.sha256(data).hexdigest()  # so it is the text it was


def test_a_packed_text_may_be_in_any_encoding(write):
    path = write("corpus.txt", gzip.compress("naïve".encode("utf-16")))
    assert text_of(path, text_format=TextFormat("utf-16")) == "naïve"


def test_the_place_of_a_fault_is_that_in_the_unpacked_text(write):
    error = failing(write("corpus.gz", gzip.compress(b"one\n" * 1000 + b"\xff")))
    assert error.problem == "byte 0xff at offset 4,000 (line 1,001) is not UTF-8"


def test_a_packed_file_that_is_cut_off_is_named(write):
    path = write("corpus.txt.gz", gzip.compress(b"words and more words")[:-5])
    error = failing(path)
    assert error.subject == str(path)
    assert "ends too early" in error.problem


# Several files


@pytest.mark.parametrize(
    "texts, whole",
    [
        (["a", "b"], "a\nb"),
        (["a\n", "b\n"], "a\nb\n"),
        (["a\r\n", "b"], "a\r\nb"),
        (["a\r", "b"], "a\rb"),
        (["", "a", "", "b", ""], "a\nb\n"),
        (["", ""], ""),
        (["a\n\n", "b"], "a\n\nb"),
        (["\ufeffa", "\ufeffb"], "a\nb"),
        (["a\u2028", "b"], "a\u2028\nb"),
    ],
)
def test_a_newline_comes_between_files_only_where_none_is(write, texts, whole):
    paths = [write(f"{i}.txt", text) for i, text in enumerate(texts)]
    with Source(paths) as source:
        pieces = list(source.pieces())
        assert source.files == paths
        assert source.size == source.bytes == sum(len(text.encode()) for text in texts)
    assert "".join(pieces) == whole
    assert all(pieces)


def test_newlines_and_marks_of_each_file_count(write):
    paths = [write("1", b"a\r"), write("2", BOM + b"\nb"), write("3", gzip.compress(b"c"))]
    with Source(paths, TextFormat(newlines="lf")) as source:
        assert "".join(source.pieces()) == "a\n\nb\nc"
        assert source.had_bom


def test_a_fault_names_the_file_that_it_is_in(write):
    paths = [write("one.txt", "a\n"), write("two.txt", b"b\xff"), write("three.txt", "c")]
    error = failing(*paths)
    assert error.subject == str(paths[1])
    assert "offset 1 (line 1)" in error.problem


@pytest.mark.parametrize("other", ["a.txt", "./a.txt", "b/../a.txt", "link.txt", "."])
def test_a_file_that_is_named_twice_is_refused(write, tmp_path, other):
    path = write("a.txt", "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "link.txt").symlink_to(path)
    if other == ".":
        (tmp_path / "link.txt").unlink()
    error = failing(path, os.path.join(tmp_path, other), kind=UsageError)
    assert error.problem == "is named twice"
    assert Path(error.subject).resolve() == path.resolve()


def test_no_file_at_all_is_a_usage_error():
    failing(kind=UsageError)


# What the sha256 is of


def test_the_digest_of_several_files_depends_on_bytes_borders_and_reading(write):
    def digest(*texts, **reading):
        paths = [write(f"{i}", text) for i, text in enumerate(texts)]
        source = Source(paths, TextFormat(**reading))
        list(source.pieces())
        return source.sha256

    texts = [("ab", ""), ("a", "b"), ("", "ab"), ("ab",), ("ab\n", ""), ("b", "a"), ("ab", "", "")]
    readings = [{}, {"newlines": "lf"}, {"normalize": "nfc"}, {"encoding": "latin-1"}]
    digests = [digest(*one, **reading) for one in texts for reading in readings]
    assert len(set(digests)) == len(digests)
    assert all(len(one) == 64 for one in digests)
    assert digest("a", "b") == digest(gzip.compress(b"a"), "b")
    assert digest("ab", encoding="utf8") == hashlib.sha256(b"ab").hexdigest()


# Folders


@pytest.fixture
def folder(write, tmp_path):
    for name in ("b.txt", "a/z.txt", "a.txt", "a/b/c.txt", "é.txt", "notes.md", "B.TXT", "a/x.md"):
        write(f"texts/{name}", f"<{name}>\n")
    for name in (".hidden.txt", ".git/x.txt", "a/.cache/y.txt"):
        write(f"texts/{name}", "hidden")
    return tmp_path / "texts"


def test_a_folder_is_the_texts_below_it_in_order(folder):
    names = ["a.txt", "a/b/c.txt", "a/z.txt", "b.txt", "é.txt"]
    with Source([folder]) as source:
        assert source.files == [folder / name for name in names]
        assert "".join(source.pieces()) == "".join(f"<{name}>\n" for name in names)
        assert source.name == folder


@pytest.mark.parametrize(
    "glob, names",
    [
        ("*.md", ["a/x.md", "notes.md"]),
        ("**/*.md", ["a/x.md", "notes.md"]),
        ("a/*.txt", ["a/z.txt"]),
        ("?.txt", ["a.txt", "a/b/c.txt", "a/z.txt", "b.txt", "é.txt"]),
        ("[ab].*", ["a.txt", "b.txt"]),
    ],
)
def test_glob_chooses_the_files_of_a_folder(folder, glob, names):
    assert Source([str(folder)], glob=glob).files == [folder / name for name in names]


def test_files_and_folders_come_in_the_order_of_their_names_on_the_command_line(folder, write):
    last = write("0.md", "0")
    first = write("z.txt", "z")
    source = Source([first, folder / "a", last], glob="*.txt")
    assert source.files == [first, folder / "a/b/c.txt", folder / "a/z.txt", last]


@pytest.mark.parametrize("glob, fix", [(None, "--glob '*.md'"), ("*.rst", "--glob '*.md'")])
def test_a_folder_without_a_text_says_what_was_looked_for(write, tmp_path, glob, fix):
    for name in ("1.md", "2.md", "3.py", ".4.txt"):
        write(f"texts/{name}", "a")
    error = failing(tmp_path / "texts", glob=glob)
    assert error.subject == str(tmp_path / "texts")
    assert error.problem == f"no file below it matches {glob or '*.txt'!r}"
    assert fix in error.fix


def test_an_empty_folder_has_no_text(tmp_path):
    assert "--glob" in failing(tmp_path).fix


@pytest.mark.parametrize("paths", [["a.txt"], ["-"], ["a.txt", "b.txt"]])
def test_glob_without_a_folder_is_refused(write, tmp_path, monkeypatch, piped, paths):
    monkeypatch.chdir(tmp_path)
    write("a.txt", "a"), write("b.txt", "b"), piped(b"text")
    assert failing(*paths, glob="*.txt", kind=UsageError).subject == "--glob"


def test_a_glob_that_is_no_pattern_is_refused(folder):
    assert failing(folder, glob="", kind=UsageError).subject == "--glob"


def test_links_to_folders_are_not_followed_so_that_a_ring_ends(folder):
    (folder / "a" / "ring").symlink_to(folder)
    assert len(Source([folder]).files) == 5


def test_a_link_that_leads_nowhere_is_not_left_out_in_silence(folder):
    (folder / "c.txt").symlink_to(folder / "gone.txt")
    error = failing(folder)
    assert (error.subject, error.problem) == (str(folder / "c.txt"), "no such file")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read anything")
def test_a_folder_that_may_not_be_listed_says_so(folder):
    (folder / "a").chmod(0)
    assert "permission denied" in failing(folder).problem
    (folder / "a").chmod(0o700)


def test_a_folder_below_that_cannot_be_listed_says_so(folder, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    error = failing(folder)
    assert error.subject == str(folder / "a" / "b")
    assert error.problem == "cannot be read: permission denied"


@pytest.mark.parametrize(
    "path, name", [("corpus.txt", "corpus.txt"), ("x/poems/", "poems"), (".", None), ("x/..", None)]
)
def test_the_name_is_that_of_the_first_argument(write, tmp_path, monkeypatch, path, name):
    write("corpus.txt", "a"), write("x/poems/a.txt", "a"), write("z.txt", "z")
    monkeypatch.chdir(tmp_path)
    other = [] if name is None else ["z.txt"]
    assert Source([path, *other]).name.name == (name or tmp_path.name)


# Standard input


def test_standard_input_can_be_read_as_often_as_wanted(piped):
    piped(BOM + b"one\r\ntwo")
    with Source(["-"]) as source:
        assert (source.name, source.files) == (Path("stdin"), [Path("stdin")])
        read = []
        for _ in range(2):
            assert "".join(source.pieces(read.append)) == "one\r\ntwo"
        assert source.size == source.bytes == 11
        assert read == [11, 11]
        assert source.had_bom
        assert source.sha256 == hashlib.sha256(BOM + b"one\r\ntwo").hexdigest()
        assert source.signature() is None


@pytest.mark.parametrize("kept", [1, 1 << 25])
def test_standard_input_is_kept_in_memory_or_on_the_disk(piped, write, kept, monkeypatch):
    monkeypatch.setattr(source_module, "SPOOLED_BYTES", kept)
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 7)
    piped(gzip.compress(b"two" * 100))
    with Source([write("one.txt", "one"), "-", write("three.txt", "three")]) as source:
        assert "".join(source.pieces()) == "one\n" + "two" * 100 + "\nthree"
        assert "".join(source.pieces()) == "one\n" + "two" * 100 + "\nthree"
        assert source.size == 8 + len(gzip.compress(b"two" * 100))


def test_a_fault_in_standard_input_is_named(piped):
    piped(b"one\n\xff")
    error = failing("-")
    assert error.subject == "stdin"
    assert error.problem == "byte 0xff at offset 4 (line 2) is not UTF-8"


def test_standard_input_twice_is_refused(piped):
    piped(b"text")
    assert failing("-", "-", kind=UsageError).subject == "-"


def test_nothing_piped_in_is_an_error_with_a_fix(monkeypatch):
    terminal = mock.Mock(**{"isatty.return_value": True})
    for stdin in (terminal, None):
        monkeypatch.setattr(sys, "stdin", stdin)
        error = failing("-")
        assert error.problem == "nothing was piped in"
        assert "cat FILE |" in error.fix


def test_a_file_named_like_standard_input_is_a_file(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("-", "a dash"), write("stdin", "a name")
    assert text_of("./-", "stdin") == "a dash\na name"


def test_a_broken_pipe_is_told(monkeypatch):
    broken = mock.Mock(**{"isatty.return_value": False})
    broken.buffer.read.side_effect = OSError(5, "Input/output error")
    monkeypatch.setattr(sys, "stdin", broken)
    error = failing("-")
    assert (error.subject, error.problem) == ("stdin", "cannot be read: input/output error")


def test_no_room_for_standard_input_is_told(piped, monkeypatch):
    class Full(source_module.tempfile.SpooledTemporaryFile):
        def write(self, data):
            raise OSError(28, "No space left on device")

    piped(b"text")
    monkeypatch.setattr(source_module.tempfile, "SpooledTemporaryFile", Full)
    error = failing("-", kind=MachineError)
    assert "no space left" in error.problem


def test_a_real_pipe_is_read(write):
    code = (
        "from textgen.data import Source\nwith Source(['-']) as s:\n"
        " print(ascii(''.join(s.pieces()) + ''.join(s.pieces())), s.size)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], input="é\r\n".encode(), capture_output=True
    )
    assert done.stderr == b""
    assert done.stdout.decode().strip() == r"'\xe9\r\n\xe9\r\n' 4"


# What is no text file


def test_a_missing_file_is_named(tmp_path):
    error = failing(tmp_path / "missing.txt")
    assert error.subject == str(tmp_path / "missing.txt")
    assert (error.problem, error.fix) == ("no such file", "check the path")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "corpus.txt/below"])
def test_an_impossible_name_is_an_error_like_any_other(write, tmp_path, name):
    write("corpus.txt", "abc")
    failing(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    error = failing(tmp_path / "pipe")
    assert (error.problem, error.fix) == ("is not a regular file", "pipe it in: -")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no devices here")
def test_an_endless_device_is_refused():
    error = failing("/dev/zero")
    assert (error.problem, error.fix) == ("is not a regular file", "name a text file")


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="no such device here")
def test_standard_input_by_its_other_name_is_refused():
    code = "from textgen.data import Source\nSource(['/dev/stdin'])"
    done = subprocess.run([sys.executable, "-c", code], input=b"text", capture_output=True)
    assert b"TextError: /dev/stdin: is not a regular file (pipe it in: -)" in done.stderr


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_says_so(write):
    path = write("corpus.txt", "abc")
    path.chmod(0)
    assert "permission denied" in failing(path).problem


def test_a_disk_that_fails_while_it_is_read_is_told(write, monkeypatch):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    path = write("corpus.txt", "abc")
    monkeypatch.setattr(Path, "open", lambda *_, **__: Failing())
    assert failing(path).problem == "cannot be read: input/output error"


def test_what_a_progress_bar_raises_is_not_blamed_on_the_file(write):
    def broken(count):
        raise BrokenPipeError("the terminal is gone")

    with pytest.raises(BrokenPipeError):
        list(Source([write("corpus.txt", "abc")]).pieces(broken))


# Changes


@pytest.mark.parametrize("data", [b"xyz", b"abcd", b"ab", b"", gzip.compress(b"xyz", mtime=0)])
def test_a_file_that_changes_between_two_readings_is_told(write, data):
    paths = [write("one.txt", "one"), write("two.txt", "abc")]
    source = Source(paths)
    list(source.pieces())
    before = source.sha256
    write("two.txt", data)
    with pytest.raises(TextError) as caught:
        list(source.pieces())
    error = caught.value
    assert (error.subject, error.problem) == (str(paths[1]), "changed while it was read")
    assert error.fix == AGAIN
    assert source.sha256 == before
    write("two.txt", "abc")
    assert "".join(source.pieces()) == "one\nabc"


def test_a_file_that_goes_away_or_becomes_a_folder_is_told(write):
    path = write("one.txt", "one")
    source = Source([path])
    path.unlink()
    with pytest.raises(TextError, match="no such file"):
        list(source.pieces())
    with pytest.raises(TextError, match="no such file"):
        source.signature()
    path.mkdir()
    with pytest.raises(TextError, match="is a folder"):
        list(source.pieces())


def test_the_signature_is_the_same_until_something_changes(write, tmp_path):
    paths = [write("texts/one.txt", "one"), write("texts/two.txt", "two")]
    first = Source([tmp_path / "texts"]).signature()
    assert first == Source([tmp_path / "texts"]).signature() == json.loads(json.dumps(first))
    status = paths[0].stat()
    assert first[0] == [str(paths[0]), 3, status.st_mtime_ns, status.st_ino]

    def changes(reading=source_module.DEFAULT):
        return Source([tmp_path / "texts"], reading).signature() != first

    assert changes(TextFormat("latin-1")) and changes(TextFormat(newlines="lf"))
    os.utime(paths[0], ns=(1, status.st_mtime_ns + 1))
    assert changes()
    os.utime(paths[0], ns=(1, status.st_mtime_ns))
    assert not changes()
    extra = write("texts/three.txt", "three")
    assert changes()
    extra.unlink()
    replacement = write("new", "one")
    os.utime(replacement, ns=(1, status.st_mtime_ns))
    os.replace(replacement, paths[0])
    assert changes()


def test_the_signature_does_not_depend_on_the_current_folder(write, tmp_path, monkeypatch):
    path = write("one.txt", "one")
    monkeypatch.chdir(tmp_path)
    assert Source(["one.txt"]).signature() == Source([path]).signature()
