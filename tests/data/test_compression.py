"""What was packed comes out as it went in, or an error says why not."""

import gzip
import io
import lzma
import sys
import tracemalloc
import zlib
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.data import compression
from textgen.data.compression import unpacked
from textgen.errors import TextError

zstandard = pytest.importorskip("zstandard")


def zst(data):
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


PACKERS = {"gzip": gzip.compress, "xz": lzma.compress, "zstd": zst}
TEXT = b"".join(b"line %d of a text that is packed\n" % i for i in range(200))
kinds = pytest.mark.parametrize("kind", PACKERS)
pieces = st.integers(1, 40)


def cut(data, size):
    return (data[i : i + size] for i in range(0, len(data), size))


def joined(data, size=1 << 20):
    return b"".join(unpacked("name", cut(data, size)))


def failing(data, size=1 << 20):
    with pytest.raises(TextError) as caught:
        joined(data, size)
    error = caught.value
    assert (error.exit_code, error.subject) == (3, "name")
    return error


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), pieces, pieces, pieces)
@pytest.mark.parametrize("kind", PACKERS)
def test_all_members_come_out_whatever_the_pieces(kind, members, block, size, slice_):
    data = b"".join(map(PACKERS[kind], members))
    with mock.patch.multiple(compression, READ_AT_ONCE=size, SLICE=slice_):
        found = list(unpacked("name", cut(data, block)))
    assert b"".join(found) == b"".join(members)
    assert all(found)
    assert all(len(piece) >= size for piece in found[:-1])


@given(st.binary(max_size=40), pieces)
def test_what_is_not_packed_comes_as_it_is(data, size):
    if not data.startswith(tuple(compression.MAGIC)):
        assert joined(data, size) == data


@pytest.mark.parametrize("data", [b"", b"\x1f", b"\xfd7zXZ", b"\x28\xb5", b"\x1e\x8b\x08"])
def test_half_a_magic_number_is_none(data):
    assert joined(data) == data


@kinds
def test_a_file_that_is_cut_off_anywhere_is_told(kind):
    data = PACKERS[kind](TEXT)
    magic = next(len(magic) for magic, name in compression.MAGIC.items() if name == kind)
    for end in range(magic, len(data)):
        error = failing(data[:end])
        assert error.problem == f"is a {kind} file that ends too early, after {end:,} bytes"
        assert "again" in error.fix


@kinds
def test_a_second_member_that_is_cut_off_is_told(kind):
    first, second = PACKERS[kind](b"one"), PACKERS[kind](TEXT)
    assert joined(first + second) == b"one" + TEXT
    for end in range(1, len(second), 7):
        assert "ends too early" in failing(first + second[:end]).problem


@kinds
def test_a_byte_that_has_changed_is_noticed(kind):
    """Or it stood for nothing that was packed, such as the time in the header of gzip."""
    data, noticed = PACKERS[kind](TEXT), 0
    for place in range(8, len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        try:
            assert joined(bytes(damaged)) == TEXT
        except TextError as error:
            noticed += 1
            assert f"{kind} file" in error.problem
    assert noticed > 0.9 * (len(data) - 8)


@kinds
def test_what_follows_a_packed_text_is_not_dropped_in_silence(kind):
    data = PACKERS[kind](TEXT)
    assert f"is a damaged {kind} file" in failing(data + b"and so on, for some more bytes").problem


@kinds
def test_zeros_may_fill_up_a_file_behind_any_member(kind):
    """Archives on tapes are filled up so."""
    data = PACKERS[kind](TEXT)
    assert joined(data + bytes(1000)) == TEXT
    assert joined(data + bytes(8) + data + bytes(3)) == TEXT * 2


def test_frames_that_zstd_skips_are_skipped():
    skipped = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
    assert joined(zst(b"one") + skipped + zst(b"two")) == b"onetwo"
    assert joined(zst(b"one") + skipped) == b"one"


def test_other_programs_files_are_read():
    """Made without a checksum, with a name in the header, streamed without a size."""
    named = io.BytesIO()
    with gzip.GzipFile("corpus.txt", "wb", fileobj=named) as file:
        file.write(TEXT)
    assert joined(named.getvalue()) == TEXT
    raw = zlib.compressobj(wbits=31, level=0)
    assert joined(raw.compress(TEXT) + raw.flush()) == TEXT
    assert joined(lzma.compress(TEXT, check=lzma.CHECK_NONE)) == TEXT
    stream = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    assert joined(stream.compress(TEXT) + stream.flush()) == TEXT


@kinds
def test_a_bomb_is_refused_with_both_numbers(kind, monkeypatch):
    data = PACKERS[kind](bytes(3_000_000))
    monkeypatch.setattr(compression, "HIGHEST_RATIO", 100)
    monkeypatch.setattr(compression, "TRUSTED_BYTES", 3_000_000)
    assert joined(data) == bytes(3_000_000)
    monkeypatch.setattr(compression, "TRUSTED_BYTES", 1_000_000)
    error = failing(data)
    read, made = [int(word.replace(",", "")) for word in error.problem.split() if word[0].isdigit()]
    assert made > 1_000_000 and made > 100 * read and read <= len(data)
    assert "unpack it first" in error.fix


@kinds
def test_what_unpacks_well_but_not_too_well_is_read(kind, monkeypatch):
    monkeypatch.setattr(compression, "TRUSTED_BYTES", 1000)
    monkeypatch.setattr(compression, "HIGHEST_RATIO", 2 * len(TEXT) // len(PACKERS[kind](TEXT)) + 1)
    assert joined(PACKERS[kind](TEXT)) == TEXT


@kinds
def test_more_than_the_most_is_refused_however_it_is_packed(kind, monkeypatch):
    monkeypatch.setattr(compression, "MOST_UNPACKED", len(TEXT))
    assert joined(PACKERS[kind](TEXT)) == TEXT
    assert "unpack it first" in failing(PACKERS[kind](TEXT + b"!")).fix


def test_a_dictionary_of_xz_cannot_take_all_memory(monkeypatch):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26}]
    data = lzma.compress(TEXT, filters=filters)
    assert joined(data) == TEXT
    monkeypatch.setattr(compression, "MOST_MEMORY", 1 << 24)
    assert "emory" in failing(data).problem


@pytest.mark.slow
@kinds
def test_unpacking_takes_constant_memory(kind):
    data = PACKERS[kind](bytes(100_000_000))
    tracemalloc.start()
    size = sum(len(piece) for piece in unpacked("name", cut(data, 1 << 16)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 100_000_000
    assert peak < 50_000_000


@pytest.mark.parametrize(
    "module, kind, fix",
    [("zstandard", "zstd", "pip install 'textgen-rnn[zst]'"), ("lzma", "xz", "unpack it first")],
)
def test_a_package_that_is_missing_is_named(module, kind, fix, monkeypatch):
    data = PACKERS[kind](TEXT)
    monkeypatch.setitem(sys.modules, module, None)
    error = failing(data)
    assert error.problem == f"is packed with {kind}, and this Python has no {module}"
    assert error.fix == fix
