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
from typing import Protocol

from textgen.errors import TextError

MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
READ_AT_ONCE = 1 << 20  # bytes that are handed on at a time, or somewhat more
SLICE = 512  # packed bytes given to a decoder at a time: zstd makes up to 32,768 of each
UNPACKED = 1 << 37  # bytes that one file may unpack to
RATIO = 1000  # bytes that a packed byte may stand for ...
TRUSTED = 1 << 30  # ... once so many have come out
MEMORY = 1 << 28  # bytes that xz may ask for
REPAIR = "fetch or pack it again"


class _Member(Protocol):
    """The decoder of one member of a packed file, of which several may follow each other."""

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

    blocks: the file's bytes as they lie on the disk, in any pieces. Raises TextError, naming name,
    when the packed bytes are damaged, end too early, unpack to too much, or need a package that is
    not installed.
    """
    head, longest = b"", max(map(len, MAGIC))
    for block in blocks:
        head += block
        if len(head) >= longest:
            break
    kind = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    if kind is not None:
        yield from _gathered(_unpacked(name, kind, head, blocks))
        return
    if head:
        yield head
    yield from blocks


def _unpacked(name: str, kind: str, head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what each slice of the packed bytes unpacks to."""
    new, fault = _decoder(name, kind)
    read = made = 0
    try:
        member = new()
        for data in _slices(head, blocks):
            read += len(data)
            while data:
                if member.eof:  # zeros may fill up a gzip or xz file
                    if not (data := data.lstrip(b"\0")):
                        break
                    member = new()
                piece = member.decompress(data)
                data = member.unused_data if member.eof else b""
                made += len(piece)
                if made > UNPACKED or made > max(TRUSTED, RATIO * read):
                    problem = f"{read:,} packed bytes unpack to {made:,} or more"
                    raise TextError(name, problem, "unpack it first, if that is right")
                yield piece
        if not member.eof:
            problem = f"is a {kind} file that ends too early, after {read:,} bytes"
            raise TextError(name, problem, REPAIR)
    except fault as error:
        problem = f"is a damaged {kind} file: {error} (in the first {read:,} bytes)"
        raise TextError(name, problem, REPAIR) from None


def _slices(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    block: bytes | None = head
    while block is not None:
        for start in range(0, len(block), SLICE):
            yield block[start : start + SLICE]
        block = next(blocks, None)


def _gathered(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield parts joined to pieces of at least PIECE bytes, and what remains."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= READ_AT_ONCE:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


def _decoder(name: str, kind: str) -> tuple[Callable[[], _Member], type[Exception]]:
    """Return what makes a member's decoder, and the exception that it raises on damage."""
    try:
        if kind == "gzip":
            return lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), zlib.error
        if kind == "xz":
            import lzma

            return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MEMORY), lzma.LZMAError
        import zstandard

        return lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError
    except ImportError as error:
        fix = "pip install 'textgen-rnn[zst]'" if kind == "zstd" else "unpack it first"
        problem = f"is packed with {kind}, and this Python has no {error.name}"
        raise TextError(name, problem, fix) from None
