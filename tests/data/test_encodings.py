"""Characters come out of bytes as Python reads the whole, wherever the pieces are cut."""

import codecs
import io
import sys
import tracemalloc
import unicodedata
import zlib
from encodings.aliases import aliases

import pytest
from factories import composing_pairs
from hypothesis import example, given
from hypothesis import strategies as st

from textgen.data import encodings
from textgen.data.encodings import TextFormat, decoded, has_mark
from textgen.errors import TextError, UsageError

BOM = b"\xef\xbb\xbf"
DAMAGED = [b"a", b"\n", "é€".encode(), BOM, b"\xff", b"\xe2\x82", b"\xf0\x9f", b"\xfe", b"\xed\xa0"]
sizes = st.integers(1, 12)  # of a piece in bytes
SIXTY_FOUR_KB = 1 << 16


def pieces_of(data, size=1 << 20, **reading):
    def blocks():
        return (data[i : i + size] for i in range(0, len(data), size))

    return list(decoded("text", TextFormat(**reading), blocks(), blocks))


def failing(data, size=1 << 20, **reading):
    with pytest.raises(TextError) as caught:
        pieces_of(data, size, **reading)
    error = caught.value
    assert (error.exit_code, error.subject) == (3, "text")
    assert "\n" not in str(error)
    return error


# Names


@pytest.mark.parametrize(
    "name, known", [("UTF8", "utf-8"), ("utf-8-sig", "utf-8"), ("latin1", "iso8859-1")]
)
def test_an_encoding_has_one_name(name, known):
    assert TextFormat(name).encoding == known
    assert TextFormat(name) == TextFormat(known)


@pytest.mark.parametrize(
    "name, close",
    [
        ("utf-9", "utf-8"),
        ("latin-11", "latin-1"),
        ("Windows-1252x", "windows-1252"),
        ("shift-jisx", "shift-jis"),
    ],
)
def test_an_unknown_encoding_has_a_close_name_in_its_error(name, close):
    with pytest.raises(UsageError) as caught:
        TextFormat(name)
    error = caught.value
    assert (error.exit_code, error.subject) == (2, "--encoding")
    assert repr(name) in error.problem
    assert error.fix == f"did you mean {close}?"


@pytest.mark.parametrize(
    "name",
    [
        *("", "zzz", "a\0b", "\ud800", "x" * 5000, "../utf_8", "aliases", 5, None),
        *("hex", "base64", "rot13", "zlib", "bz2", "uu", "quopri"),  # not of text
        *("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf-7"),
    ],
)
def test_what_no_file_is_written_in_is_no_encoding(name):
    with pytest.raises(UsageError, match="--encoding"):
        TextFormat(name)


@pytest.mark.parametrize("option, value", [("newlines", "crlf"), ("normalize", "nfd")])
def test_the_other_choices_are_checked(option, value):
    with pytest.raises(UsageError) as caught:
        TextFormat(**{option: value})
    assert caught.value.subject == f"--{option}"


# Encodings


def accepted(encoding):
    """The name under which an encoding is kept, as a set; empty where it is refused."""
    try:
        return {TextFormat(encoding).encoding}
    except UsageError:
        return set()


ENCODINGS = sorted(set().union(*map(accepted, {*aliases.values(), "utf_8"})))


def alphabet(encoding):
    """Some characters that come back when they are encoded on their own."""
    found = []
    for char in map(chr, [*range(1, 0x600), *range(0x2010, 0xD7A0, 23), 0x1F600, 0x20000]):
        try:
            if char.encode(encoding).decode(encoding) == char:
                found.append(char)
        except UnicodeError:
            pass
    return found


def test_all_of_pythons_encodings_of_files_are_known():
    assert len(ENCODINGS) > 80
    assert {"utf-8", "utf-16", "utf-32-be", "cp1252", "iso8859-1", "shift_jis", "gb18030"} <= set(
        ENCODINGS
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_pieces_are_what_python_decodes_at_once(encoding):
    chars = alphabet(encoding)
    text = "".join(chars[zlib.crc32(b"%d" % i) % len(chars)] for i in range(200))
    text = "A" + text.replace("\x1b", "") + "Z"
    data = text.encode(encoding)
    assert data.decode(encoding) == text
    for size in (1, 2, 3, 7, 1000):
        assert "".join(pieces_of(data, size, encoding=encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp1252", "latin-1", "shift_jis"])
@given(data=st.data(), size=sizes)
def test_a_text_in_another_encoding_comes_back(encoding, data, size):
    characters = st.sampled_from("aé€\n\r\0ｱ漢字ÿ😀")
    text = data.draw(st.text(characters, max_size=20))
    whole = text.encode(encoding, "ignore")
    expected = whole.decode(encoding)
    assert "".join(pieces_of(whole, size, encoding=encoding)) == expected


@given(st.text("aé€\U0001f917\ufeff\r\n\0", max_size=30), st.booleans(), sizes)
def test_utf8_comes_back_wherever_characters_are_cut(text, marked, size):
    pieces = pieces_of((BOM if marked else b"") + text.encode(), size)
    assert "".join(pieces) == (text if marked else text.removeprefix("\ufeff"))
    assert all(pieces)
    assert all(len(piece.encode()) < size + 4 for piece in pieces)


def test_every_character_can_be_read():
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]))
    assert "".join(pieces_of(text.encode(), 9999)) == text


# Byte order marks


@pytest.mark.parametrize("encoding", encodings.KEEPS_MARK)
@given(size=sizes)
def test_one_leading_mark_is_dropped_and_known_of(encoding, size):
    data = "\ufeff\ufeffa\ufeff".encode(encoding)
    assert "".join(pieces_of(data, size, encoding=encoding)) == "\ufeffa\ufeff"
    assert has_mark(data[:4], TextFormat(encoding))
    assert not has_mark("a\ufeff".encode(encoding)[:4], TextFormat(encoding))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@given(size=sizes)
def test_the_mark_tells_the_order_of_bytes(encoding, size):
    for order in ("-le", "-be"):
        data = "\ufeffaé\ufeff".encode(encoding + order)
        assert "".join(pieces_of(data, size, encoding=encoding)) == "aé\ufeff"
        assert has_mark(data[:4], TextFormat(encoding))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["-le", "-be"])
@pytest.mark.parametrize("size", [1, 100])
def test_without_a_mark_the_order_is_guessed_for_the_user_not_for_the_text(encoding, order, size):
    data = "naïve words without a mark".encode(encoding + order)
    error = failing(data, size, encoding=encoding)
    assert error.problem == f"has no byte order mark, which {encoding} needs"
    assert error.fix == f"it looks like {encoding.upper()}: --encoding {encoding}{order}"


@pytest.mark.parametrize("encoding, data", [("cp1252", BOM), ("gb18030", b"\x841\x953")])
def test_other_encodings_have_no_mark(encoding, data):
    assert pieces_of(data, encoding=encoding) == [data.decode(encoding)]
    assert not has_mark(data, TextFormat(encoding))


# Newlines


@given(st.text("a\r\né\u2028\x85", max_size=20), sizes)
@example("a\r", 2)
def test_newlines_become_line_feeds_wherever_they_are_cut(text, size):
    """As Python's universal newlines are."""
    expected = io.StringIO(text, newline=None).read()
    assert "".join(pieces_of(text.encode(), size, newlines="lf")) == expected
    assert TextFormat(newlines="lf").apply(text) == expected


@given(st.text("a\r\n", max_size=10))
def test_newlines_are_kept_unless_asked(text):
    assert "".join(pieces_of(text.encode(), 3)) == TextFormat().apply(text) == text


# Composition

PAIRS = composing_pairs()
JAMO = "\u1100\u1112\u1160\u1161\u1175\u1176\u11a7\u11a8\u11c2\u11ff\uac00\uac01\ud7a3"
MARKS = "\u0300\u0301\u0307\u0323\u0338\u0344\u0345\u0308\u0f71\u0f72\u0f73\u0f74\u0f75\u3099"
OTHERS = "aeA=<\n é\u212b\u2126Åǖ\u0958\ufb1d\ufb2a\u0dd9\u0dcf\u0dca\u0ddd\U00011099\U000110ba漢"
composing = st.text(
    st.sampled_from(JAMO + MARKS + OTHERS)
    | st.sampled_from(sorted({char for pair in PAIRS for char in pair}))
    | st.characters(exclude_categories=["Cs"]),
    max_size=25,
)


@given(composing, sizes)
def test_pieces_compose_to_what_the_whole_composes_to(text, size):
    text = "x" + text  # no byte order mark
    expected = unicodedata.normalize("NFC", text)
    assert TextFormat(normalize="nfc").apply(text) == expected
    pieces = pieces_of(text.encode(), size, normalize="nfc")
    assert "".join(pieces) == expected
    assert all(pieces)


@given(composing)
def test_composition_and_newlines_go_together(text):
    expected = unicodedata.normalize("NFC", io.StringIO("x" + text, newline=None).read())
    pieces = pieces_of(("x" + text).encode(), 3, newlines="lf", normalize="nfc")
    assert "".join(pieces) == expected == TextFormat("utf-8", "lf", "nfc").apply("x" + text)


def test_a_run_without_an_end_is_an_error_not_all_of_memory(monkeypatch):
    text = "e" + "\u0301" * 50 + "x"
    expected = unicodedata.normalize("NFC", text)
    for held, size in ((51, 1), (51, 7), (100, 100)):
        monkeypatch.setattr(encodings, "MOST_HELD_BACK", held)
        assert "".join(pieces_of(text.encode(), size, normalize="nfc")) == expected
    monkeypatch.setattr(encodings, "MOST_HELD_BACK", 40)
    error = failing(text.encode(), 7, normalize="nfc")
    assert error.problem == "holds more than 40 combining characters in a row"
    assert "--normalize" in error.fix


# Bytes that are no text


def place(data, encoding="utf-8"):
    """What Python says of the whole: the byte, its offset and its line."""
    with pytest.raises(UnicodeDecodeError) as caught:
        data.decode(encoding)
    start = caught.value.start
    line = data[:start].decode(encoding).count("\n") + 1
    return f"byte 0x{data[start]:02x} at offset {start:,} (line {line:,})"


@given(st.lists(st.sampled_from(DAMAGED), max_size=12).map(b"".join), sizes)
@example(b"aaa\xff\xfe", 3)  # which begins like UTF-16, but not the text
@example("aé\n€".encode() + b"\xe2", 3)
def test_the_first_fault_is_where_python_finds_it(data, size):
    try:
        expected = data.decode()
    except UnicodeDecodeError:
        error = failing(data, size)
        assert error.problem == f"{place(data)} is not UTF-8"
        assert str(error) == str(failing(data))  # the fix too does not depend on the pieces
    else:
        assert "".join(pieces_of(data, size)) == expected.removeprefix("\ufeff")


BAD = [b"\xff", b"\x80", b"\xc0\xaf", b"\xe2\x82", b"\xf4\x90\x80\x80", b"\xf8", b"\xe0\x80\xaf"]
SURROGATES = [b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80"]  # alone, and a pair as in CESU-8


@pytest.mark.parametrize("bad", BAD + SURROGATES, ids=lambda data: data.hex())
@pytest.mark.parametrize("offset", [0, 99, 100, 101, 199, 200])
@pytest.mark.parametrize("mark", [b"", BOM])
def test_bytes_that_are_not_utf8_are_found_at_the_border_of_pieces(bad, offset, mark):
    before = mark + (b"one\ntwo\r\n" * 40)[: max(offset - len(mark), 0)]
    data = before + bad + b"\nmore\n" * 40
    line = before.count(b"\n") + 1
    words = f"byte 0x{bad[0]:02x} at offset {len(before):,} (line {line:,}) is not UTF-8"
    assert failing(data, 100).problem == words


@pytest.mark.parametrize(
    "encoding, data",
    [
        ("cp1252", b"one\ntw\x81o"),
        ("ascii", b"one\ntw\xe9o"),
        ("shift_jis", "漢字\n漢".encode("shift_jis") + b"\xff\n"),
        ("utf-16", "one\ntwo".encode("utf-16") + b"\x00\xd8a\0"),
        ("utf-16-be", "one\ntwo".encode("utf-16-be") + b"\xdc\x00\0a"),
        ("utf-32-le", "one\ntwo".encode("utf-32-le") + b"\0\0\x11\0"),
        ("utf-16-le", "one\ntwo".encode("utf-16-le") + b"a"),
        ("euc_kr", "한글\n".encode("euc_kr") + b"\xff"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_bytes_that_are_not_in_another_encoding_are_found_too(encoding, data, size):
    error = failing(data, size, encoding=encoding)
    assert error.problem == f"{place(data, encoding)} is not {encoding}"
    assert "--encoding" in error.fix


def test_what_comes_before_a_fault_is_read():
    blocks = [b"abcd", b"efgh", b"ij\xff"]
    pieces = decoded("text", TextFormat(), iter(blocks), lambda: iter(blocks))
    assert [next(pieces), next(pieces)] == ["abcd", "efgh"]
    with pytest.raises(TextError, match="offset 10 "):
        next(pieces)


def test_a_text_without_a_character_has_no_pieces():
    assert pieces_of(b"") == pieces_of(BOM) == pieces_of(b"\xff\xfe", encoding="utf-16") == []


def test_a_stream_of_any_length_is_read_in_constant_memory():
    blocks = ("é\r\n".encode() * 5000 for _ in range(2000))
    tracemalloc.start()
    reading = TextFormat("utf-8", "lf", "nfc")
    count = sum(len(piece) for piece in decoded("text", reading, blocks, lambda: iter([])))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2 * 5000 * 2000
    assert peak < 500_000


# What it may be instead

GERMAN = "Größe und Höhe „vermutlich“ – naïve Fälle, über €5.\n"
NO_TEXT = "it does not look like text; check the file"
MOSTLY = "most of it is UTF-8: correct the file there"
CP1252 = "it may be Windows-1252: --encoding cp1252"
LATIN = "it may be Latin-1: --encoding latin-1"
PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89"
    b"\0\0\0\rIDATx\xdac\xf8\xcf\xc0\xf0\x1f\0\5\0\1\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82"
)


@pytest.mark.parametrize(
    "data, fix",
    [
        (GERMAN.encode("utf-16"), "it looks like UTF-16: --encoding utf-16"),
        (
            codecs.BOM_UTF16_BE + GERMAN.encode("utf-16-be"),
            "it looks like UTF-16: --encoding utf-16",
        ),
        (GERMAN.encode("utf-16-le"), "it looks like UTF-16: --encoding utf-16-le"),
        (GERMAN.encode("utf-16-be"), "it looks like UTF-16: --encoding utf-16-be"),
        (GERMAN.encode("utf-32"), "it looks like UTF-32: --encoding utf-32"),
        (GERMAN.encode("utf-32-le"), "it looks like UTF-32: --encoding utf-32-le"),
        (GERMAN.encode("utf-32-be"), "it looks like UTF-32: --encoding utf-32-be"),
        (GERMAN.encode("cp1252"), CP1252),
        (GERMAN.encode("latin-1", "ignore"), LATIN),
        (b"naive \xe9 with \x81 and \x80\n", LATIN),
        (PNG, NO_TEXT),
        (b"\x7fELF\2\1\1" + bytes(range(256)) * 30, NO_TEXT),
        (GERMAN.encode() + b"\xff" + GERMAN.encode(), MOSTLY),
        (GERMAN.encode() + "é".encode()[:1], MOSTLY),
        (BOM + b"words\xff", MOSTLY),
        (b"a NUL\0 and other \1 are characters, and this is not: \xe9", LATIN),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_the_fix_guesses_what_it_is(data, fix, size):
    assert failing(data, size).fix == fix


@pytest.mark.parametrize("text", ["Привет, мир! Как дела?\n" * 9, "word " * 9 + "é\n"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_utf16_and_utf32_are_told_by_their_zeros(text, encoding):
    """Where they are no UTF-8 already: those of ASCII alone are, and are kept as they are."""
    data = (text + "ÿ").encode(encoding)
    assert failing(data).fix == f"it looks like {encoding[:6].upper()}: --encoding {encoding}"


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_the_guess_looks_around_the_fault_however_far_it_is(size):
    far = b"x" * (5 * SIXTY_FOUR_KB)
    assert failing(far + GERMAN.encode("cp1252"), size).fix == CP1252
    assert failing(far + b"\xe9\n", size).fix == LATIN
    assert failing(far + GERMAN.encode() + b"\xff", size).fix == MOSTLY
    assert failing(far + b"\xff" + far + GERMAN.encode(), size).fix == LATIN


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16", "shift_jis"])
def test_utf8_that_is_read_as_something_else_is_recognised(encoding):
    data = ("Ёж\u0401 и 漢字 Привет \u201cÁÍ\u201d\n" * 3).encode()
    assert failing(data, encoding=encoding).fix == "it looks like UTF-8: --encoding utf-8"


def test_ascii_that_is_read_as_utf16_is_recognised():
    error = failing(b"plain words", encoding="utf-16")
    assert error.problem == "has no byte order mark, which utf-16 needs"
    assert error.fix == "it looks like UTF-8: --encoding utf-8"


def test_a_damaged_text_in_its_own_encoding_is_not_guessed_to_be_in_it():
    data = GERMAN.encode("utf-16") + b"\x00\xdca\0"
    assert failing(data, encoding="utf-16").fix == "check the --encoding, or correct the file there"


def test_guessing_keeps_little_of_the_text_and_reads_no_more_than_it_needs():
    read = []

    def again():
        for _ in range(1000):
            read.append(1)
            yield b"x" * SIXTY_FOUR_KB

    blocks = [b"x" * SIXTY_FOUR_KB] * 100 + [b"\xff"]
    tracemalloc.start()
    with pytest.raises(TextError, match="offset 6,553,600 "):
        for _ in decoded("text", TextFormat(), iter(blocks), again):
            pass
    assert tracemalloc.get_traced_memory()[1] < 20 * SIXTY_FOUR_KB
    tracemalloc.stop()
    assert len(read) <= 100 + 102
