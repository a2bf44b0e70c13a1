"""A text file as characters, their parts for training, validation and test, and what it is.

In the walk after `pieces`: text file -> corpus -> ids. Text is bytes until decoded: the file is
read whole and decoded as strict UTF-8, newlines untouched; a leading byte order mark is dropped
and reported.

    >>> corpus = read("corpus.txt")
    >>> corpus.part("val", "0.9,0.1")
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from textgen.errors import TextError
from textgen.notations import split_shares
from textgen.tokenizer import CharTokenizer

BOM = b"\xef\xbb\xbf"
PARTS = ("train", "val", "test")
PIECE = 1 << 16  # bytes of a text that is read piece by piece


@dataclass(frozen=True)
class Corpus:
    """A text and where it came from. sha256 and size are those of the file's bytes."""

    path: Path
    text: str
    sha256: str
    size: int
    had_bom: bool = False

    def bounds(self, split: str) -> dict[str, tuple[int, int]]:
        """Return each part's first character and the one after its last.

        The training part is exactly floor(share * n) characters, as nanoGPT cuts. Of two shares
        the second is validation, and the test part is empty.
        """
        shares = split_shares(split)
        n = len(self.text)
        cuts = [0, math.floor(shares[0] * n), math.floor((shares[0] + shares[1]) * n), n]
        if len(shares) == 2:
            cuts[2] = n
        return {part: (cuts[i], cuts[i + 1]) for i, part in enumerate(PARTS)}

    def part(self, name: str, split: str) -> str:
        """Return the text of the part "train", "val" or "test"."""
        start, end = self.bounds(split)[name]
        return self.text[start:end]

    def identity(self) -> dict[str, object]:
        """Return the name, size in bytes and sha256 that a checkpoint records."""
        return {"name": self.path.name, "size": self.size, "sha256": self.sha256}

    def require(self, identity: Mapping[str, Any]) -> None:
        """Raise TextError unless this is the text with that `identity`."""
        if self.sha256 != identity["sha256"]:
            problem = f"is not the text that was trained on ({identity['size']:,} bytes then)"
            raise TextError(str(self.path), problem, "name that text")

    def report(self) -> list[tuple[str, str]]:
        """Return what the text is, as (label, value) lines."""
        tokenizer = CharTokenizer.from_text(self.text)
        counts, alphabet = tokenizer.counts[1:], tokenizer.alphabet
        rare = [c for c, n in zip(alphabet, counts, strict=True) if n < 10]
        lines = [
            ("text", f"{self.path} ({self.size:,} bytes)"),
            ("characters", f"{len(self.text):,} in {self.text.count(chr(10)):,} lines"),
            ("alphabet", f"{len(alphabet):,} characters, {len(rare)} of them rarer than 10"),
        ]
        if self.had_bom:
            lines.append(("byte order mark", "dropped"))
        if returns := self.text.count("\r"):
            lines.append(("carriage returns", f"{returns:,}, kept as they are"))
        return lines


def read(path: str | Path, need: int = 1) -> Corpus:
    """Read a UTF-8 text file of at least `need` characters.

    Raises TextError when it is missing, a folder, too short, or not UTF-8 (with the byte offset
    and line of the first fault).
    """
    path = Path(path)
    return from_bytes(path, _read_bytes(path), need)


def from_bytes(path: Path, data: bytes, need: int = 1) -> Corpus:
    """Return the corpus in a file's bytes; path names it in errors, which are those of `read`."""
    body = data.removeprefix(BOM)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, body, error.start, len(data) - len(body)) from None
    if len(text) < need:
        problem = "empty" if not text else f"only {len(text)} character(s)"
        raise TextError(str(path), problem, f"give a text of at least {need} characters")
    digest = hashlib.sha256(data).hexdigest()
    return Corpus(path, text, digest, len(data), len(body) < len(data))


def read_pieces(path: Path, stream: BinaryIO | None = None) -> Iterator[str]:
    """Yield a text piece by piece, in constant memory, with the errors of `read`.

    stream: read this instead of the file; path names it in errors.
    """
    decoder, offset, lines = codecs.getincrementaldecoder("utf-8")(), 0, 0
    with contextlib.nullcontext(stream) if stream else _opened(path) as source:
        while True:
            block = source.read(PIECE)
            body = block.removeprefix(BOM) if not offset else block
            try:
                text = decoder.decode(body, final=not block)
            except UnicodeDecodeError as error:
                skipped = offset + len(block) - len(error.object)
                at = (error.start, skipped, lines)
                raise _not_utf8(path, error.object, *at, begins=not offset) from None
            offset, lines = offset + len(block), lines + body.count(b"\n")
            if text:
                yield text
            if not block:
                return


def _read_bytes(path: Path) -> bytes:
    with _opened(path) as source:
        return source.read()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if os.path.isdir(path):  # unlike Path's, os.path's questions never raise
        raise TextError(str(path), "is a folder", "name a text file")
    if os.path.exists(path) and not os.path.isfile(path):
        raise TextError(str(path), "is not a regular file", "name a text file")
    try:
        with path.open("rb") as source:
            yield source
    except (FileNotFoundError, ValueError):  # ValueError: a NUL in the name
        raise TextError(str(path), "no such file", "check the path") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TextError(str(path), f"cannot be read: {reason}", "check the file") from error


def _not_utf8(
    path: Path, body: bytes, offset: int, skipped: int, lines: int = 0, begins: bool = True
) -> TextError:
    line = lines + body.count(b"\n", 0, offset) + 1
    fix = "convert it to UTF-8, for example: iconv -f latin1 -t utf-8"
    if begins and body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        fix = "it looks like UTF-16; convert it: iconv -f utf-16 -t utf-8"
    where = f"at offset {offset + skipped:,} (line {line:,})"
    return TextError(str(path), f"byte 0x{body[offset]:02x} {where} is not UTF-8", fix)
