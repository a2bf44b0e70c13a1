"""Files packed by gzip, xz or zstd as the bytes that were packed.

Bytes of a file -> bytes of a text. What is packed is recognised by its first bytes, never by its
name. Everything is unpacked piece by piece in constant memory, checksums are verified, and a file
that unpacks to far more than any text would is refused.

    >>> b"".join(unpacked("corpus.txt.gz", iter([gzip.compress(b"text")])))
    b'text'
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol

from textgen.errors import TextError

MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
# Bytes that are handed on at a time, or somewhat more.
READ_AT_ONCE = 1 << 20
# Packed bytes given to a decoder at a time: zstd can make 32,768 bytes of each, and what comes out
# of one slice is held in memory.
SLICE = 512
# Bytes that one file may unpack to: more than any text that a character model is trained on.
MOST_UNPACKED = 1 << 37
# A packed byte stands for at most so many bytes of a real text, however repetitive, once more than
# the trusted bytes have come out; a bomb's stands for more.
HIGHEST_RATIO = 1000
TRUSTED_BYTES = 1 << 30
# Bytes of memory that xz may ask for: its strongest preset takes a quarter of it, and a header can
# claim up to 4 GiB.
MOST_MEMORY = 1 << 28
REPAIR = "fetch or pack it again"


class _Decoder(Protocol):
    """What unpacks one member of a packed file, of which several may follow each other."""

    @property
    def eof(self) -> bool:
        """Whether the member has ended."""

    @property
    def unused_data(self) -> bytes:
        """The bytes that came after its end."""

    def decompress(self, data: bytes, /) -> bytes:
        """Return what further packed bytes unpack to."""


def unpacked(name: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a file, unpacked if they are packed; all members of it, if several.

    Args:
        name: of the file, for errors.
        blocks: the file's bytes as they lie on the disk, in any pieces.

    Raises:
        TextError: the packed bytes are damaged, end too early or unpack to too much, or the package
            that unpacks them is not installed.
    """
    head, longest = b"", max(map(len, MAGIC))
    for block in blocks:
        head += block
        if len(head) >= longest:
            break
    kind = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    everything = chain([head] if head else [], blocks)
    yield from everything if kind is None else _joined(_decompressed(name, kind, everything))


def _decompressed(name: str, kind: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what each slice of the packed bytes unpacks to."""
    unpacker = _Unpacker(name, kind)
    for block in blocks:
        for start in range(0, len(block), SLICE):
            yield from unpacker.feed(block[start : start + SLICE])
    unpacker.check_end()


class _Unpacker:
    """Unpacks the members of a file one after the other, and refuses damage and bombs.

    The file objects of the standard library and of zstandard would do the same in fewer lines, but
    less strictly: xz's drops what follows zeros or damage behind a member and knows no limit of
    memory, and zstandard's takes a file that is cut off for a whole one.
    """

    def __init__(self, name: str, kind: str) -> None:
        self._name, self._kind = name, kind
        self._new_decoder, self._damage = _decoder_of(name, kind)
        self._decoder = self._new_decoder()
        self._read = self._made = 0

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Yield what further packed bytes unpack to."""
        self._read += len(packed)
        while packed:
            if self._decoder.eof:
                # Zeros may fill up a file, between its members and at its end.
                if not (packed := packed.lstrip(b"\0")):
                    return
                self._decoder = self._new_decoder()
            yield self._decompress(packed)
            packed = self._decoder.unused_data if self._decoder.eof else b""

    def check_end(self) -> None:
        """Raise TextError unless the last member has ended."""
        if not self._decoder.eof:
            problem = f"is a {self._kind} file that ends too early, after {self._read:,} bytes"
            raise TextError(self._name, problem, REPAIR)

    def _decompress(self, packed: bytes) -> bytes:
        try:
            piece = self._decoder.decompress(packed)
        except self._damage as error:
            where = f"in the first {self._read:,} bytes"
            problem = f"is a damaged {self._kind} file: {error} ({where})"
            raise TextError(self._name, problem, REPAIR) from None
        self._made += len(piece)
        if self._made > min(MOST_UNPACKED, max(TRUSTED_BYTES, HIGHEST_RATIO * self._read)):
            problem = f"{self._read:,} packed bytes unpack to {self._made:,} or more"
            raise TextError(self._name, problem, "unpack it first, if that is right")
        return piece


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces joined to blocks of at least READ_AT_ONCE bytes, and what remains."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= READ_AT_ONCE:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


def _decoder_of(name: str, kind: str) -> tuple[Callable[[], _Decoder], type[Exception]]:
    """Return what makes the decoder of a member, and the exception that it raises on damage."""
    try:
        if kind == "gzip":
            return lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), zlib.error
        if kind == "xz":
            import lzma

            return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MOST_MEMORY), lzma.LZMAError
        import zstandard

        return lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError
    except ImportError as error:
        fix = "pip install 'textgen-rnn[zst]'" if kind == "zstd" else "unpack it first"
        problem = f"is packed with {kind}, and this Python has no {error.name}"
        raise TextError(name, problem, fix) from None
