"""A text file is read as it is, cut exactly, and what is wrong with it is said."""

import hashlib
import io
import os
import tracemalloc
from fractions import Fraction
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textgen import corpus
from textgen.corpus import Corpus, read, read_pieces
from textgen.errors import TextError
from textgen.tokenizer import CharTokenizer

BOM = b"\xef\xbb\xbf"
DAMAGED = [b"a", b"\n", "é€".encode(), BOM, b"\xff", b"\xe2\x82", b"\xf0\x9f", b"\xfe", b"\xed\xa0"]


def corpus_of(text):
    return Corpus(Path("text"), text, "", len(text))


def failing(path, **options):
    with pytest.raises(TextError) as caught:
        read(path, **options)
    error = caught.value
    assert error.exit_code == 3
    assert error.fix
    assert "\n" not in str(error)
    return error


def failing_bytes(tmp_path, data, **options):
    path = tmp_path / "corpus.txt"
    path.write_bytes(data)
    error = failing(path, **options)
    assert error.subject == str(path)
    return error


@st.composite
def splits(draw):
    """Two or three shares as thousandths or finer that sum to 1, as text and as fractions."""
    unit = 10 ** draw(st.integers(1, 9))
    train = draw(st.integers(1, unit))
    val = draw(st.integers(0, unit - train)) if draw(st.booleans()) else unit - train
    numbers = [train, val] if train + val == unit else [train, val, unit - train - val]
    digits = len(str(unit)) - 1
    words = [f"{n // unit}.{n % unit:0{digits}d}" for n in numbers]
    return ",".join(words), [Fraction(n, unit) for n in numbers]


def assert_exact_parts(text, split, shares):
    n = len(text)
    train = int(shares[0] * n)  # of a fraction, so exactly the floor
    val = int((shares[0] + shares[1]) * n) if len(shares) == 3 else n
    assert corpus_of(text).bounds(split) == {"train": (0, train), "val": (train, val)} | {
        "test": (val, n)
    }


@given(st.integers(0, 300_000), splits())
def test_parts_are_cut_at_exactly_the_floor_of_their_share(n, split):
    assert_exact_parts("x" * n, *split)


def test_the_check_of_the_cuts_notices_arithmetic_in_floats(monkeypatch):
    shares = [Fraction(29, 100), Fraction(71, 100)]
    assert_exact_parts("x" * 100, "0.29,0.71", shares)  # 0.29 * 100 is 28.999999999999996
    monkeypatch.setattr(corpus, "split_shares", lambda split: tuple(map(float, split.split(","))))
    with pytest.raises(AssertionError):
        assert_exact_parts("x" * 100, "0.29,0.71", shares)


@given(st.text(), splits())
def test_parts_are_in_order_and_together_the_text(text, split):
    whole = corpus_of(text)
    parts = [whole.part(name, split[0]) for name in ("train", "val", "test")]
    assert "".join(parts) == text
    if len(split[1]) == 2:
        assert parts[2] == ""


def test_tiny_shakespeare_is_cut_as_nanogpt_cuts_it():
    bounds = corpus_of("x" * 1_115_394).bounds("0.9,0.1")
    assert bounds["train"] == (0, 1_003_854)
    assert bounds["val"] == (1_003_854, 1_115_394)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.booleans())
def test_a_file_comes_back_byte_for_byte(tmp_path_factory, text, marked):
    path = tmp_path_factory.getbasetemp() / "round-trip.txt"
    data = (BOM if marked else b"") + text.encode("utf-8")
    path.write_bytes(data)
    if data == BOM:
        return
    found = read(path)
    ids = CharTokenizer.from_text(found.text)
    again = ids.decode(ids.encode(found.text)).encode("utf-8")
    assert (BOM if found.had_bom else b"") + again == data
    assert found.size == len(data)
    assert found.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "text", ["a\r\nb\rc\n\r", "\0\x0b\x0c\x1c\x85\u2028\u2029", "a\ufeffb", "\U0010ffff\uffff"]
)
def test_newlines_and_odd_characters_are_kept(tmp_path, text):
    path = tmp_path / "corpus.txt"
    path.write_bytes(text.encode("utf-8"))
    assert read(path).text == text


def test_one_leading_byte_order_mark_is_dropped_and_reported(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(BOM + BOM + b"abc")
    found = read(path)
    assert found.text == "\ufeffabc"
    assert found.had_bom
    assert ("byte order mark", "dropped") in found.report()


def test_a_text_without_a_mark_reports_none(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"abc")
    assert "byte order mark" not in dict(read(path).report())


def test_the_identity_is_the_name_and_the_bytes_but_not_the_place(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(BOM + "né".encode())
    digest = hashlib.sha256(BOM + "né".encode()).hexdigest()
    assert read(path).identity() == {"name": "corpus.txt", "size": 6, "sha256": digest}


def test_the_report_counts_characters_lines_and_rare_ones(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(("a" * 1200 + "b" * 9 + "\n" * 10 + "\r" * 11).encode())
    report = dict(read(path).report())
    assert report["characters"] == "1,230 in 10 lines"
    assert report["alphabet"] == "4 characters, 1 of them rarer than 10"
    assert report["carriage returns"].startswith("11,")


def test_a_missing_file_is_named(tmp_path):
    error = failing(tmp_path / "missing.txt")
    assert error.subject == str(tmp_path / "missing.txt")
    assert error.problem == "no such file"


def test_a_folder_is_no_text(tmp_path):
    assert failing(tmp_path).problem == "is a folder"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert failing(tmp_path / "pipe").problem == "is not a regular file"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no devices here")
def test_an_endless_device_is_refused():
    assert failing("/dev/zero").problem == "is not a regular file"


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "corpus.txt/below"])
def test_an_impossible_name_is_an_error_like_any_other(tmp_path, name):
    (tmp_path / "corpus.txt").write_bytes(b"abc")
    failing(tmp_path / name)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_says_so(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"abc")
    path.chmod(0)
    assert "permission denied" in failing(path).problem


@pytest.mark.parametrize("data", [b"", BOM])
def test_an_empty_file_is_called_empty(tmp_path, data):
    assert failing_bytes(tmp_path, data, need=2).problem == "empty"


def test_a_text_that_is_too_short_says_how_long_it_must_be(tmp_path):
    error = failing_bytes(tmp_path, "é".encode(), need=2)
    assert "1 character" in error.problem
    assert "2 characters" in error.fix
    assert read(tmp_path / "corpus.txt", need=1).text == "é"


@pytest.mark.parametrize(
    "bad",
    [b"\xff", b"\x80", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8"],
    ids=lambda data: data.hex(),
)
@pytest.mark.parametrize("before", [b"", b"\none\ntwo\r\nthree ", b"x" * 65535 + b"\n"])
@pytest.mark.parametrize("mark", [b"", BOM])
def test_bytes_that_are_not_utf8_are_found_at_their_offset_and_line(tmp_path, mark, before, bad):
    error = failing_bytes(tmp_path, mark + before + bad + b"\nmore\n")
    offset, line = len(mark) + len(before), 1 + before.count(b"\n")
    words = f"byte 0x{bad[0]:02x} at offset {offset:,} (line {line:,}) is not UTF-8"
    assert error.problem == words


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_with_a_mark_is_recognised(tmp_path, encoding):
    text = "some text" if encoding == "utf-16" else "\ufeffsome text"
    assert "UTF-16" in failing_bytes(tmp_path, text.encode(encoding)).fix


def test_bytes_are_read_like_the_file_that_holds_them(tmp_path):
    path = tmp_path / "corpus.txt"
    for data in (BOM + "né\r\n".encode(), b"x"):
        path.write_bytes(data)
        assert corpus.from_bytes(path, data) == read(path)
    with pytest.raises(TextError, match="empty"):
        corpus.from_bytes(path, b"")


def test_latin1_is_not_taken_for_utf16(tmp_path):
    assert "UTF-16" not in failing_bytes(tmp_path, "naïve".encode("latin-1")).fix


# Piece by piece

texts = st.text(st.sampled_from("aé€\U0001f917\ufeff\r\n\0"), max_size=30)
sizes = st.sampled_from([3, 4, 5, 7, 100])  # of a piece: no piece is shorter than the mark


def pieces_of(data, size):
    with mock.patch.object(corpus, "PIECE", size):
        return list(read_pieces(Path("text"), io.BytesIO(data)))


@given(texts, st.booleans(), sizes)
def test_pieces_join_to_the_text_wherever_characters_are_cut(text, marked, size):
    pieces = pieces_of((BOM if marked else b"") + text.encode(), size)
    assert "".join(pieces) == (text if marked else text.removeprefix("\ufeff"))
    assert all(pieces)
    assert all(len(piece.encode()) < size + 4 for piece in pieces)


@given(st.lists(st.sampled_from(DAMAGED), max_size=12).map(b"".join), sizes)
@example(b"aaa\xff\xfe", 3)  # which begins like UTF-16, but not the text
@example("aé\n€".encode() + b"\xe2", 3)
def test_pieces_have_the_errors_of_the_whole(data, size):
    """The same byte, offset, line and fix; and what comes before the fault is still read."""
    try:
        expected = corpus.from_bytes(Path("text"), data, need=0).text
    except TextError as error:
        with pytest.raises(TextError) as caught:
            pieces_of(data, size)
        assert str(caught.value) == str(error)
    else:
        assert "".join(pieces_of(data, size)) == expected


def test_what_comes_before_a_fault_is_read():
    with mock.patch.object(corpus, "PIECE", 4):
        pieces = read_pieces(Path("text"), io.BytesIO(b"abcdefghij\xff"))
        assert [next(pieces), next(pieces)] == ["abcd", "efgh"]
        with pytest.raises(TextError, match="offset 10 "):
            next(pieces)


def test_a_file_is_read_in_pieces_and_closed(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(BOM + "né\r\n".encode() * 50_000)
    pieces = list(read_pieces(path))
    assert "".join(pieces) == read(path).text
    assert len(pieces) == -(-path.stat().st_size // corpus.PIECE)


def test_a_text_without_a_character_has_no_pieces():
    assert pieces_of(b"", 3) == pieces_of(BOM, 3) == []


def test_a_piece_is_not_read_before_it_is_asked_for():
    stream = io.BytesIO(b"abcdefgh")
    with mock.patch.object(corpus, "PIECE", 3):
        pieces = read_pieces(Path("text"), stream)
        assert stream.tell() == 0
        assert next(pieces) == "abc" and stream.tell() == 3
        assert next(pieces) == "def" and stream.tell() == 6


def test_a_stream_of_any_length_is_read_in_constant_memory():
    class Endless:
        def __init__(self, blocks):
            self.blocks = blocks

        def read(self, size):
            self.blocks -= 1
            return "é".encode() * (size // 2) if self.blocks >= 0 else b""

    tracemalloc.start()
    count = sum(len(piece) for piece in read_pieces(Path("text"), Endless(200)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 200 * corpus.PIECE // 2
    assert peak < 10 * corpus.PIECE


@pytest.mark.parametrize("name", ["missing.txt", ".", "a\0b"])
def test_a_file_that_is_not_there_has_the_error_of_read(tmp_path, name):
    error = failing(tmp_path / name)
    with pytest.raises(TextError) as caught:
        next(read_pieces(tmp_path / name))
    assert str(caught.value) == str(error)
