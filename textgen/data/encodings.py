r"""Bytes as characters: the encoding, and what is done to newlines and composed characters.

Bytes -> characters, in pieces cut anywhere and in constant memory. Decoding is strict. A byte that
is not text is named with its place, and the likely encoding is told from the bytes around it.

    >>> Reading(newlines="lf").of("one\r\ntwo\r")
    'one\ntwo\n'
"""

from __future__ import annotations

import codecs
import difflib
import functools
import itertools
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from encodings.aliases import aliases

from textgen.config import NEWLINE_CHOICES, NORMALIZE_CHOICES, TrainConfig, check_choice
from textgen.errors import TextError, UsageError

BYTE_ORDER_MARKS = {  # the byte order marks; UTF-32's first, as it begins with UTF-16's
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
KEEPS_MARK = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")  # of Python's decoders
NEEDS_MARK = ("utf-16", "utf-32")
# Notations inside other texts; some make lone surrogates, some cannot be read in pieces.
NO_FILES = ("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7")
MOST_HELD_BACK = 1 << 20  # characters that may be held back until it is known what they compose to
SAMPLE_BYTES = 1 << 16  # bytes from which an encoding is guessed
# Of each four bytes: those of which more than this share are zeros, and those that hardly ever are.
WIDE = (
    ("utf-32-le", 0.9, (2, 3), (0,)),
    ("utf-32-be", 0.9, (0, 1), (3,)),
    ("utf-16-le", 0.05, (1, 3), (0, 2)),
    ("utf-16-be", 0.05, (0, 2), (1, 3)),
)
UNDEFINED_IN_1252 = b"\x81\x8d\x8f\x90\x9d"
CONTROLS = bytes(set(range(0x20)) - set(b"\t\n\r")) + b"\x7f"


@dataclass(frozen=True)
class TextFormat:
    """How bytes become characters; a checkpoint records it. Raises UsageError when made.

    encoding: any of Python's that files are written in, kept under Python's own name for it;
    newlines: "lf" makes one of CR LF and of a lone CR; normalize: "nfc" composes characters.
    """

    encoding: str = "utf-8"
    newlines: str = "keep"
    normalize: str = "none"

    def __post_init__(self) -> None:
        if (known := _known(self.encoding)) is None:
            problem = f"{self.encoding!r} is no encoding of text files that Python knows"
            names = sorted({name.replace("_", "-") for name in (*aliases, *aliases.values())})
            close = difflib.get_close_matches(str(self.encoding).lower(), names, 10, 0.5)
            fix = next((f"did you mean {one}?" for one in close if _known(one)), "try utf-8")
            raise UsageError("--encoding", problem, fix)
        object.__setattr__(self, "encoding", known.removesuffix("-sig"))  # it is dropped anyway
        check_choice("--newlines", self.newlines, NEWLINE_CHOICES)
        check_choice("--normalize", self.normalize, NORMALIZE_CHOICES)

    def of(self, text: str) -> str:
        """Return text as it would have been read from a file."""
        if self.newlines == "lf":
            text = _with_lf(text)
        return text if self.normalize == "none" else unicodedata.normalize("NFC", text)


def _known(encoding: str) -> str | None:
    """Return Python's name of an encoding, None unless files of text are written in it."""
    try:
        name = codecs.lookup(encoding).name
        if name in NO_FILES:
            return None
        "".encode(encoding)  # LookupError: from bytes to bytes, as base64 is
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError, TypeError):
        return None
    return name


def has_mark(head: bytes, reading: TextFormat) -> bool:
    """Say whether a text's first four bytes begin with the encoding's byte order mark."""
    if reading.encoding in KEEPS_MARK:
        return head.startswith("\ufeff".encode(reading.encoding))
    return _marked(head) == reading.encoding


def decoded(
    name: str,
    reading: TextFormat,
    blocks: Iterator[bytes],
    again: Callable[[], Iterator[bytes]],
) -> Iterator[str]:
    """Yield the characters in a file's bytes, without a leading byte order mark.

    again: the bytes once more, asked for when they turn out not to be text. Raises TextError,
    naming name, with the offset and line of the first such byte and a guess of the encoding.
    """
    pieces = _decoded(name, reading, blocks, again)
    if reading.newlines == "lf":
        pieces = _all_with_lf(pieces)
    return pieces if reading.normalize == "none" else _composed(name, pieces)


def _decoded(
    name: str, reading: TextFormat, blocks: Iterator[bytes], again: Callable[[], Iterator[bytes]]
) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(reading.encoding)()
    offset, marked = 0, reading.encoding in KEEPS_MARK
    for block in itertools.chain(blocks, [b""]):
        offset += len(block)
        try:
            piece = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            place = offset - len(error.object) + error.start
            byte = error.object[error.start]
            raise _not_text(name, reading, again, place, byte) from None
        except UnicodeError:  # what Python 3.12 raises where UTF-16 has no mark
            raise _not_text(name, reading, again, 0, 0) from None
        if piece and marked:
            piece, marked = piece.removeprefix("\ufeff"), False
        if piece:
            yield piece


def _with_lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _all_with_lf(pieces: Iterator[str]) -> Iterator[str]:
    held = ""
    for piece in pieces:
        piece = held + piece
        held = "\r" if piece.endswith("\r") else ""  # a line feed may follow
        if piece := piece.removesuffix("\r"):
            yield _with_lf(piece)
    if held:
        yield "\n"


def _composed(name: str, pieces: Iterator[str]) -> Iterator[str]:
    """Yield pieces in Unicode's normalisation form C, which is that of the whole (UAX 15)."""
    held = ""
    for piece in pieces:
        piece = held + piece
        cut = len(piece) - 1
        while cut and not _stands_alone(piece[cut]):
            cut -= 1
        if len(piece) - cut > MOST_HELD_BACK:
            problem = f"holds more than {MOST_HELD_BACK:,} combining characters in a row"
            raise TextError(name, problem, "leave --normalize away, or check the file")
        held = piece[cut:]
        if cut:
            yield unicodedata.normalize("NFC", piece[:cut])
    if held:
        yield unicodedata.normalize("NFC", held)


def _stands_alone(char: str) -> bool:
    """Say whether nothing before char can change what it, and all that follows, composes to.

    So it is when the first character that it decomposes to is a starter and the second half of no
    composition.
    """
    if char.isascii():
        return True
    first = unicodedata.normalize("NFD", char)[0]
    if unicodedata.combining(first) or "\u1160" <= first <= "\u11ff":  # Hangul vowels and finals
        return False
    return first not in _second_halves()


@functools.cache
def _second_halves() -> frozenset[str]:
    """Return every character but Hangul's that composes with one before it."""
    every = (unicodedata.decomposition(chr(code)) for code in range(sys.maxunicode + 1))
    pairs = (words.split() for words in every if words and not words.startswith("<"))
    return frozenset(chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2)


def _not_text(
    name: str, reading: TextFormat, again: Callable[[], Iterator[bytes]], offset: int, byte: int
) -> TextError:
    """Return the error for a byte that is not text; offset counts from the text's first byte."""
    head, around = _around(again(), offset)
    fix = _fix(reading.encoding, head, around)
    if reading.encoding in NEEDS_MARK and not has_mark(head[:4], reading):
        return TextError(name, f"has no byte order mark, which {reading.encoding} needs", fix)
    decoder = codecs.getincrementaldecoder(reading.encoding)("replace")
    line, at = 1, 0
    for block in again():
        line += decoder.decode(block[: offset - at]).count("\n")
        at += len(block)
        if at >= offset:
            break
    told = "UTF-8" if reading.encoding == "utf-8" else reading.encoding
    problem = f"byte 0x{byte:02x} at offset {offset:,} (line {line:,}) is not {told}"
    return TextError(name, problem, fix)


def _around(blocks: Iterator[bytes], offset: int) -> tuple[bytes, bytes]:
    """Return the first SAMPLE bytes of a text, and as many on each side of offset."""
    head, around, at = b"", b"", 0
    for block in blocks:
        head += block[: SAMPLE_BYTES - len(head)]
        around += block[max(offset - SAMPLE_BYTES - at, 0) : max(offset + SAMPLE_BYTES - at, 0)]
        at += len(block)
        if at >= offset + SAMPLE_BYTES:
            break
    return head, around


def _fix(encoding: str, head: bytes, around: bytes) -> str:
    """Return what to do about bytes that are not in encoding, from those around the first fault."""
    wide, in_utf8 = _wide(head), encoding == "utf-8"
    if wide and not encoding.startswith(wide):
        return f"it looks like {wide[:6].upper()}: --encoding {wide}"
    zeros = b"\0" in head and not encoding.startswith(("utf-16", "utf-32"))
    if zeros and 10 * len(head.translate(None, CONTROLS)) < 9 * len(head):
        return "it does not look like text; check the file"
    if _marked(head) == "utf-8" or _mostly_utf8(head + around):
        otherwise = "it looks like UTF-8: --encoding utf-8"
        return "most of it is UTF-8: correct the file there" if in_utf8 else otherwise
    if not in_utf8:
        return "check the --encoding, or correct the file there"
    high = set(head + around) & set(range(0x80, 0xA0))
    if high and not high & set(UNDEFINED_IN_1252):
        return "it may be Windows-1252: --encoding cp1252"
    return "it may be Latin-1: --encoding latin-1"


def _marked(head: bytes) -> str | None:
    return next(
        (family for mark, family in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None
    )


def _wide(head: bytes) -> str | None:
    """Return the encoding of 2 or 4 bytes a character that a text begins in, None if in none.

    Told by its mark, or by where zeros are: one half of most characters, and never the other.
    """
    family = _marked(head)
    if family not in (None, "utf-8"):
        return family
    head = head[: len(head) // 4 * 4]
    zeros = [head[place::4].count(0) / max(len(head) // 4, 1) for place in range(4)]
    for encoding, share, full, empty in WIDE:
        if all(zeros[i] > share for i in full) and all(zeros[i] < 0.05 for i in empty):
            return encoding
    return None


def _mostly_utf8(sample: bytes) -> bool:
    """Say whether more characters outside ASCII can be read as UTF-8 than cannot."""
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = len(text) - len(text.encode("ascii", "ignore")) - bad
    return good > bad or not bad


def text_format_of(config: TrainConfig) -> TextFormat:
    """Return how the bytes of the files that config speaks of become characters."""
    return TextFormat(config.encoding, config.newlines, config.normalize)
