"""A text file is read as it is, cut exactly, and what is wrong with it is said."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.data import corpus
from textgen.data import source as source_module
from textgen.data.corpus import Corpus, TextIdentity, read
from textgen.data.encodings import TextFormat
from textgen.data.source import Source
from textgen.errors import TextError
from textgen.tokenizers.char import CharTokenizer

BOM = b"\xef\xbb\xbf"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def corpus_of(text):
    return Corpus.of(text)


@pytest.fixture(autouse=True)
def cached(tmp_path, monkeypatch):
    """The folder of the cache."""
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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
    assert read(path).identity() == TextIdentity("corpus.txt", 6, digest)


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


def test_latin1_is_not_taken_for_utf16(tmp_path):
    assert "UTF-16" not in failing_bytes(tmp_path, "naïve".encode("latin-1")).fix


# The text as places in its alphabet


@st.composite
def stretches(draw):
    """A text and two places in it, in order."""
    text = draw(TEXTS)
    start, end = sorted(draw(st.integers(0, len(text))) for _ in range(2))
    return text, start, end


@given(stretches())
def test_a_stretch_is_what_a_string_would_give(stretch):
    text, start, end = stretch
    whole = corpus_of(text)
    assert len(whole) == len(text)
    assert whole.text == text
    assert whole.slice(start, end) == text[start:end]


@given(stretches(), st.integers(1, 4))
def test_pieces_join_to_the_stretch(stretch, size):
    text, start, end = stretch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "PIECE_CHARS", size)
        pieces = list(corpus_of(text).pieces(start, end))
    assert "".join(pieces) == text[start:end]
    assert all(0 < len(piece) <= size for piece in pieces)


@given(stretches())
def test_characters_are_counted_from_any_place_to_any(stretch):
    text, start, end = stretch
    whole = corpus_of(text)
    found = dict(zip(map(chr, whole.codepoints), whole.tally(start, end).tolist(), strict=True))
    assert {char: n for char, n in found.items() if n} == Counter(text[start:end])


@given(stretches())
def test_the_bytes_of_a_stretch_are_counted(stretch):
    text, start, end = stretch
    assert corpus_of(text).utf8_size(start, end) == len(text[start:end].encode())


@given(stretches().filter(lambda stretch: stretch[1] < stretch[2]))
def test_the_alphabet_of_a_stretch_is_that_of_its_text(stretch):
    text, start, end = stretch
    found, expected = (
        corpus_of(text).alphabet_of(start, end),
        CharTokenizer.from_text(text[start:end]),
    )
    assert found.codepoints.tolist() == expected.codepoints.tolist()
    assert found.counts.tolist() == expected.counts.tolist()


@given(stretches(), st.text(st.sampled_from("abé€\U0001f917"), min_size=1))
def test_ids_are_those_of_the_tokenizer_of_any_text(stretch, other):
    text, start, end = stretch
    tokenizer = CharTokenizer.from_text(other)
    ids = corpus_of(text).ids(tokenizer, start, end)
    expected = tokenizer.encode(text[start:end], "replace")
    assert len(ids) == len(expected)
    assert np.array_equal(np.asarray(ids), expected)
    if end > start:
        assert ids[0] == expected[0]
        assert ids[-2:].tolist() == expected[-2:].tolist()
        assert ids[np.array([[0, -1]])].tolist() == [[expected[0], expected[-1]]]


def test_the_smallest_type_holds_a_place():
    for size, dtype in ((1, "u1"), (256, "u1"), (257, "u2"), (70_000, "u4")):
        text = "".join(map(chr, range(0x10000, 0x10000 + size)))
        assert corpus_of(text).char_indices.dtype == dtype
        assert corpus_of(text).text == text


# Large texts


@pytest.fixture
def large(tmp_path, monkeypatch):
    """The path of a text that counts as large."""
    monkeypatch.setattr(corpus, "IN_MEMORY", 100)
    path = tmp_path / "large.txt"
    path.write_bytes(BOM + "né €\r\n".encode() * 50)
    return path


@pytest.fixture
def blocks(monkeypatch):
    """Read and count in pieces and blocks of a few bytes."""
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 7)
    monkeypatch.setattr(corpus, "COUNTED_CHARS", 20)


def reading_with(monkeypatch, workers):
    """Make large texts be read with the help of so many processes."""
    monkeypatch.setattr(corpus, "useful_workers", lambda size: workers)


def passes(monkeypatch):
    """Count from now on how often a text is read."""
    count, whole = Counter(), Source.pieces

    def pieces(self, progress=None):
        count["passes"] += 1
        return whole(self, progress)

    monkeypatch.setattr(Source, "pieces", pieces)
    return count


def same(one, other):
    return (
        one.text == other.text
        and one.identity() == other.identity()
        and (one.had_bom == other.had_bom and one.counts.tolist() == other.counts.tolist())
    )


def test_a_small_text_leaves_nothing_in_the_cache(tmp_path, cached):
    (tmp_path / "small.txt").write_bytes(b"abc" * 1000)
    assert not isinstance(read(tmp_path / "small.txt").char_indices, np.memmap)
    assert not cached.exists()


def test_a_large_text_is_the_same_text_in_the_cache(large, monkeypatch):
    found = read(large)
    assert isinstance(found.char_indices, np.memmap)
    monkeypatch.setattr(corpus, "IN_MEMORY", 1 << 20)
    assert same(found, read(large, verify=True))


def test_a_text_that_has_not_changed_is_not_read_again(large, monkeypatch):
    first = read(large)
    count = passes(monkeypatch)
    assert same(read(large), first)
    assert count["passes"] == 0


def test_a_text_that_was_changed_is_read_again(large, monkeypatch):
    read(large)
    data = large.read_bytes()
    large.write_bytes(data.replace("€".encode(), b"abc"))
    assert read(large).text == data.decode("utf-8-sig").replace("€", "abc")


def test_a_copy_is_read_once_to_see_that_it_is_one(large, tmp_path, monkeypatch):
    first = read(large)
    copy = tmp_path / "copy.txt"
    copy.write_bytes(large.read_bytes())
    count = passes(monkeypatch)
    assert read(copy).text == first.text
    assert count["passes"] == 1


def test_verify_reads_it_even_if_it_seems_unchanged(large, monkeypatch):
    first = read(large)
    count = passes(monkeypatch)
    assert same(read(large, verify=True), first)
    assert count["passes"] == 1


def test_a_damaged_array_is_made_again(large, cached, monkeypatch):
    text = read(large).text
    [path] = cached.glob("*.ids")
    path.write_bytes(path.read_bytes()[::-1])
    count = passes(monkeypatch)
    assert read(large).text == text
    assert count["passes"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        *({"codepoints": None}, {"codepoints": [10, 13]}, {"codepoints": "abc"}),
        *({"codepoints": [32, 10, 13, 110, 233, 8364]}, {"codepoints": [10, 13, 32, 110, 233, -1]}),
        *({"codepoints": [10, 13, 32, 110, 233, 1 << 40]}, {"counts": [50] * 5 + [51]}),
        {"counts": [2**70, -(2**70), 0, 0, 0, 300]},
        *({"counts": {}}, {"counts": [50.0] * 6}, {"sha256": 5}, {"bytes": "x"}, {"had_bom": 1}),
    ],
    ids=str,
)
def test_facts_that_somebody_has_altered_are_made_again(large, cached, monkeypatch, wrong):
    text = read(large).text
    [path] = set(cached.glob("*.json")) - {cached / "index.json"}
    record = json.loads(path.read_text())
    assert record["about"]["codepoints"] == [10, 13, 32, 110, 233, 8364]
    path.write_text(json.dumps(record | {"about": record["about"] | wrong}))
    count = passes(monkeypatch)
    assert read(large).text == text
    assert count["passes"] == 2


def test_the_same_bytes_in_another_encoding_are_another_text(large):
    text = large.read_bytes().decode("latin-1")
    assert read(large).text != text
    assert read(large, text_format=TextFormat("latin-1")).text == text
    assert read(large, text_format=TextFormat(newlines="lf")).text == large.read_text("utf-8-sig")


def test_several_files_are_one_text(tmp_path):
    for name, text in (("b.txt", "two"), ("a.txt", "one\n")):
        (tmp_path / name).write_text(text)
    found = read([tmp_path / "b.txt", tmp_path / "a.txt"])
    assert found.text == "two\none\n"
    assert found.paths() == [str(tmp_path / "b.txt"), str(tmp_path / "a.txt")]
    assert read(tmp_path).text == "one\ntwo"
    assert dict(found.report())["files"].startswith("2, one after the other: ")


def test_how_a_text_was_read_is_reported(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x\r\n")
    assert "read as" not in dict(read(tmp_path / "a.txt").report())
    report = dict(read(tmp_path / "a.txt", text_format=TextFormat(newlines="lf")).report())
    assert report["read as"] == "newlines lf"


# Several processes, and counts of blocks


def everything(text):
    """All that is read of a text, as what can be compared."""
    arrays = [text.codepoints, text.counts, text.char_indices]
    if text.blocks is not None:
        arrays += [text.blocks.edges, text.blocks.counts_NU]
    return [(array.dtype, array.tolist()) for array in arrays], text.identity(), text.had_bom


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("in_memory", [10, 1 << 20])
def test_any_number_of_workers_reads_the_same(
    large, tmp_path, blocks, monkeypatch, workers, in_memory
):
    monkeypatch.setattr(corpus, "IN_MEMORY", in_memory)
    names = ["large.txt", "empty.txt", "cr.txt", "end.txt"]
    (tmp_path / "empty.txt").write_bytes(BOM)
    (tmp_path / "cr.txt").write_bytes(BOM + BOM + "\U0001f917é\r".encode())
    (tmp_path / "end.txt").write_bytes("né".encode())
    paths = [tmp_path / name for name in names]
    alone = everything(read(paths, verify=True))
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "other"))
    count = passes(monkeypatch)
    reading_with(monkeypatch, workers)
    found = read(paths, verify=True)
    assert everything(found) == alone
    assert found.text == "né €\r\n" * 50 + "\ufeff\U0001f917é\rné"
    assert count["passes"] == 0  # of this process alone


@pytest.mark.slow
@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xe2\x82", b"\xed\xa0\x80"], ids=lambda data: data.hex()
)
def test_workers_leave_what_is_no_text_to_the_usual_error(tmp_path, monkeypatch, bad):
    data = b"one\ntwo\n" * 20 + bad
    expected = failing_bytes(tmp_path, data)
    reading_with(monkeypatch, 2)
    assert str(failing_bytes(tmp_path, data)) == str(expected)


@pytest.mark.slow
def test_a_file_that_changes_between_the_passes_of_workers_is_refused(large, monkeypatch):
    reading_with(monkeypatch, 2)
    whole = Source.undecoded
    monkeypatch.setattr(
        Source,
        "undecoded",
        lambda self, progress=None: (*whole(self, progress), large.write_bytes(b"other " * 99))[
            :-1
        ],
    )
    assert failing(large).problem == "changed while it was read"


@pytest.mark.skipif(os.name != "posix", reason="workers are for such systems")
def test_workers_that_cannot_start_are_done_without(large, monkeypatch):
    reading_with(monkeypatch, 2)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert read(large).text == "né €\r\n" * 50


@given(st.text(st.sampled_from("abé€\U0001f917\n"), min_size=50), st.data())
def test_with_counts_of_blocks_any_stretch_is_counted_the_same(tmp_path_factory, text, data):
    path = tmp_path_factory.getbasetemp() / "blocks.txt"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTGEN_CACHE", str(tmp_path_factory.getbasetemp() / "blocks"))
        patch.setattr(corpus, "IN_MEMORY", 10)
        patch.setattr(corpus, "COUNTED_CHARS", data.draw(st.integers(1, 30)))
        patch.setattr(source_module, "BLOCK_BYTES", data.draw(st.integers(4, 9)))
        found = [read(path, verify=True), read(path)]
    start, end = sorted(data.draw(st.integers(0, len(text))) for _ in range(2))
    for whole in found:
        counts = dict(
            zip(map(chr, whole.codepoints), whole.tally(start, end).tolist(), strict=True)
        )
        assert {char: n for char, n in counts.items() if n} == Counter(text[start:end])


def test_a_start_counts_few_characters_of_a_text_whose_blocks_are_counted(
    large, blocks, monkeypatch
):
    read(large)
    whole, counted = read(large), []
    assert len(whole.blocks.edges) > 10
    bincount = np.bincount
    monkeypatch.setattr(
        np, "bincount", lambda ids, **more: counted.append(len(ids)) or bincount(ids, **more)
    )
    whole.tally(5, 277)
    whole.alphabet_of(31, 290)
    # Up to a block at each end, which is a piece longer than it must be.
    assert sum(counted) <= 2 * 2 * (20 + 7)


@pytest.mark.parametrize(
    "wrong",
    [
        {"edges": None},
        {"edges": [0, 300.0]},
        {"edges": [0, 299]},
        {"edges": [1, 300]},
        {"edges": []},
    ],
    ids=str,
)
def test_counts_of_blocks_that_somebody_has_altered_are_made_again(
    large, blocks, cached, monkeypatch, wrong
):
    text = read(large)
    [path] = [path for path in cached.glob("*.json") if "edges" in path.read_text()]
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"about": record["about"] | wrong}))
    count = passes(monkeypatch)
    assert everything(read(large)) == everything(text)
    assert count["passes"] == 2
