r"""Bytes as characters: the encoding, and what is done to newlines and composed characters.

Bytes -> characters, in pieces cut anywhere and in constant memory. Decoding is strict. A byte that
is not text is named with its offset, and the likely encoding is told from the bytes around it.

    >>> TextFormat(newlines="lf").apply("one\r\ntwo\r")
    'one\ntwo\n'
"""

from __future__ import annotations

import codecs
import difflib
import io
import itertools
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from encodings.aliases import aliases

from textgen.config import NEWLINE_CHOICES, NORMALIZE_CHOICES, TrainConfig, check_choice
from textgen.data.unicode import joins_previous
from textgen.errors import TextError, UsageError

# UTF-32's come first, as they begin with UTF-16's.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Python's decoders of these leave a byte order mark in the text.
KEEPS_MARK = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
NEEDS_MARK = ("utf-16", "utf-32")
# Notations inside other texts; some make lone surrogates, some cannot be read in pieces.
NO_FILES = ("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7")
# Characters that may be held back until it is known what they compose to: no text has so many
# combining characters in a row, and a file that has must not fill the memory.
MOST_HELD_BACK = 1 << 20
# Bytes from which an encoding is guessed.
SAMPLE_BYTES = 1 << 16
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
    """How bytes become characters; a checkpoint records it.

    Args:
        encoding: any of Python's that files are written in, kept under Python's own name for it.
        newlines: "keep", or "lf", which makes one of CR LF and of a lone CR.
        normalize: "none", or "nfc", which composes characters.

    Raises:
        UsageError: one of them is not such a choice.
    """

    encoding: str = "utf-8"
    newlines: str = "keep"
    normalize: str = "none"

    def __post_init__(self) -> None:
        if (name := _python_name(self.encoding)) is None:
            problem = f"{self.encoding!r} is not an encoding of text files that Python knows"
            names = sorted({name.replace("_", "-") for name in (*aliases, *aliases.values())})
            close = difflib.get_close_matches(str(self.encoding).lower(), names, 10, 0.5)
            likely = next(filter(_python_name, close), None)
            fix = f"did you mean {likely}?" if likely else "try utf-8"
            raise UsageError("--encoding", problem, fix)
        # A byte order mark is dropped anyway.
        object.__setattr__(self, "encoding", name.removesuffix("-sig"))
        check_choice("--newlines", self.newlines, NEWLINE_CHOICES)
        check_choice("--normalize", self.normalize, NORMALIZE_CHOICES)

    @classmethod
    def of(cls, config: TrainConfig) -> TextFormat:
        """Return the format of the files that a training run reads.

        Raises:
            UsageError: the config names no encoding that files are written in.
        """
        return cls(config.encoding, config.newlines, config.normalize)

    def apply(self, text: str) -> str:
        """Return text as it would have been read from a file."""
        if self.newlines == "lf":
            text = _newline_decoder().decode(text, final=True)
        return text if self.normalize == "none" else unicodedata.normalize("NFC", text)


def _python_name(encoding: str) -> str | None:
    """Return Python's name of an encoding, None unless files of text are written in it."""
    try:
        name = codecs.lookup(encoding).name
        if name in NO_FILES:
            return None
        # LookupError: from bytes to bytes, as base64 is.
        "".encode(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError, TypeError):
        return None
    return name


def has_mark(head: bytes, text_format: TextFormat) -> bool:
    """Say whether a text's first four bytes begin with the encoding's byte order mark."""
    if text_format.encoding in KEEPS_MARK:
        return head.startswith("\ufeff".encode(text_format.encoding))
    return _family_of_mark(head) == text_format.encoding


def decoded(
    name: str,
    text_format: TextFormat,
    blocks: Iterator[bytes],
    again: Callable[[], Iterator[bytes]],
) -> Iterator[str]:
    """Yield the characters in a file's bytes, without a leading byte order mark.

    Args:
        name: of the file, for errors.
        text_format: how they become characters.
        blocks: the bytes, in any pieces.
        again: gives the bytes once more, when they turn out not to be text.

    Raises:
        TextError: a byte is not text; its offset and line are named, and a likely encoding.
    """
    pieces = _decode(name, text_format, blocks, again)
    if text_format.newlines == "lf":
        pieces = _translate_newlines(pieces)
    return pieces if text_format.normalize == "none" else _compose(name, pieces)


def whole_characters(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a file in UTF-8 cut between characters, without a byte order mark.

    They are not checked: what is no UTF-8 is somewhere among them.

    Args:
        blocks: the bytes, in any pieces.
    """
    rest, is_first = b"", True
    for block in blocks:
        block = rest + block
        if is_first and len(block) < len(codecs.BOM_UTF8):
            rest = block
            continue
        if is_first:
            block, is_first = block.removeprefix(codecs.BOM_UTF8), False
        cut = len(block) - _begun(block[-3:])
        rest = block[cut:]
        if cut:
            yield block[:cut]
    if rest:
        yield rest


def _begun(tail: bytes) -> int:
    """Return how many of the last bytes belong to a character of UTF-8 that is not whole."""
    for back, byte in enumerate(reversed(tail), 1):
        if byte & 0xC0 != 0x80:
            length = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
            return back if length > back else 0
    return 0


def _decode(
    name: str,
    text_format: TextFormat,
    blocks: Iterator[bytes],
    again: Callable[[], Iterator[bytes]],
) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(text_format.encoding)()
    offset, may_begin_with_mark = 0, text_format.encoding in KEEPS_MARK
    for block in itertools.chain(blocks, [b""]):
        offset += len(block)
        try:
            piece = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            fault = offset - len(error.object) + error.start
            byte = error.object[error.start]
            raise _not_text(name, text_format, again, fault, byte) from None
        except UnicodeError:
            # Python 3.12 raises it where UTF-16 has no mark.
            raise _not_text(name, text_format, again, 0, 0) from None
        if piece and may_begin_with_mark:
            piece, may_begin_with_mark = piece.removeprefix("\ufeff"), False
        if piece:
            yield piece


def _newline_decoder() -> io.IncrementalNewlineDecoder:
    return io.IncrementalNewlineDecoder(None, translate=True)


def _translate_newlines(pieces: Iterator[str]) -> Iterator[str]:
    """Yield pieces with a line feed for each CR LF and each lone CR, also where it was cut."""
    decoder = _newline_decoder()
    for piece in pieces:
        if translated := decoder.decode(piece):
            yield translated
    if rest := decoder.decode("", final=True):
        yield rest


def _compose(name: str, pieces: Iterator[str]) -> Iterator[str]:
    """Yield pieces in Unicode's normal form C, which joined is that of the whole text."""
    held = ""
    for piece in pieces:
        piece = held + piece
        cut = len(piece) - 1
        while cut and joins_previous(piece[cut]):
            cut -= 1
        if len(piece) - cut > MOST_HELD_BACK:
            problem = f"holds more than {MOST_HELD_BACK:,} combining characters in a row"
            raise TextError(name, problem, "leave --normalize out, or check the file")
        held = piece[cut:]
        if cut:
            yield unicodedata.normalize("NFC", piece[:cut])
    if held:
        yield unicodedata.normalize("NFC", held)


def _not_text(
    name: str, text_format: TextFormat, again: Callable[[], Iterator[bytes]], offset: int, byte: int
) -> TextError:
    """Return the error for a byte that is not text; offset counts from the text's first byte."""
    head, around = _around(again(), offset)
    fix = _suggest_fix(text_format.encoding, head, around)
    if text_format.encoding in NEEDS_MARK and not has_mark(head[:4], text_format):
        return TextError(name, f"has no byte order mark, which {text_format.encoding} needs", fix)
    decoder = codecs.getincrementaldecoder(text_format.encoding)("replace")
    line, position = 1, 0
    for block in again():
        line += decoder.decode(block[: offset - position]).count("\n")
        position += len(block)
        if position >= offset:
            break
    expected = "UTF-8" if text_format.encoding == "utf-8" else text_format.encoding
    problem = f"byte 0x{byte:02x} at offset {offset:,} (line {line:,}) is not {expected}"
    return TextError(name, problem, fix)


def _around(blocks: Iterator[bytes], offset: int) -> tuple[bytes, bytes]:
    """Return the first SAMPLE_BYTES of a text, and as many on each side of offset."""
    head, around, position = b"", b"", 0
    for block in blocks:
        head += block[: SAMPLE_BYTES - len(head)]
        first, last = offset - SAMPLE_BYTES - position, offset + SAMPLE_BYTES - position
        around += block[max(first, 0) : max(last, 0)]
        position += len(block)
        if position >= offset + SAMPLE_BYTES:
            break
    return head, around


def _suggest_fix(encoding: str, head: bytes, around: bytes) -> str:
    """Return what to do about bytes that are not in encoding, from those around the first fault."""
    wide, in_utf8 = _wide_encoding(head), encoding == "utf-8"
    if wide and not encoding.startswith(wide):
        return f"it looks like {wide[:6].upper()}: --encoding {wide}"
    zeros = b"\0" in head and not encoding.startswith(("utf-16", "utf-32"))
    if zeros and 10 * len(head.translate(None, CONTROLS)) < 9 * len(head):
        return "it does not look like text; check the file"
    if _family_of_mark(head) == "utf-8" or _mostly_utf8(head + around):
        otherwise = "it looks like UTF-8: --encoding utf-8"
        return "most of it is UTF-8: correct the file there" if in_utf8 else otherwise
    if not in_utf8:
        return "check the --encoding, or correct the file there"
    high = set(head + around) & set(range(0x80, 0xA0))
    if high and not high & set(UNDEFINED_IN_1252):
        return "it may be Windows-1252: --encoding cp1252"
    return "it may be Latin-1: --encoding latin-1"


def _family_of_mark(head: bytes) -> str | None:
    """Return the encoding whose byte order mark a text begins with."""
    return next(
        (family for mark, family in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None
    )


def _wide_encoding(head: bytes) -> str | None:
    """Return the encoding of 2 or 4 bytes a character that a text begins in, None if in none.

    Told by its mark, or by where zeros are: one half of most characters, and never the other.
    """
    family = _family_of_mark(head)
    if family not in (None, "utf-8"):
        return family
    head = head[: len(head) // 4 * 4]
    zeros = [head[i::4].count(0) / max(len(head) // 4, 1) for i in range(4)]
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
