"""One or more files, folders, packed files and standard input as one text.

Files -> characters. The text comes in pieces, in constant memory, as often as it is asked for; that
the files are still the same is checked each time.

    >>> with Source(["poems", "plays.txt.gz", "-"]) as source:
    ...     for piece in source.pieces():
    ...         print(piece, end="")
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, AnyStr

from textgen.data.compression import unpacked
from textgen.data.encodings import TextFormat, decoded, has_mark, whole_characters
from textgen.errors import TextError, UsageError, reason_of
from textgen.files import write_error

__all__ = ["Source", "TextFormat"]

DEFAULT = TextFormat()
# This object, not its name, stands for standard input.
STDIN = Path("stdin")
# Bytes that are read at a time.
BLOCK_BYTES = 1 << 20
# Bytes of standard input that are kept in memory; more go to the disk.
SPOOLED_BYTES = 1 << 25
# What is read of a folder.
TEXT_FILES = "*.txt"


class Source:
    """One or more files as one text.

    A folder stands for all files below it that match glob, ordered by their paths below it; hidden
    ones are skipped, links to folders are not followed. "-" is standard input, kept until `close`
    so that it can be read again. Files packed by gzip, xz or zstd are unpacked. A newline is added
    after a file, except the last, only if the file has characters and ends in none.

    Attributes:
        files: in the order in which they are read.
        name: of the first argument.
        text_format: how bytes become characters.
        sha256: after a full pass, of the bytes when it is one file read in the default format,
            whether packed or not, else of each file's length and sha256 and the format.
        bytes: after a full pass, how many there are, unpacked.
        had_bom: after a full pass, whether a byte order mark was dropped.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        text_format: TextFormat = DEFAULT,
        glob: str | None = None,
    ) -> None:
        """Name the files; each is looked at but none is read.

        Args:
            paths: files, folders, or "-" for standard input, in the order of the text.
            text_format: how bytes become characters.
            glob: which files of folders; by default those whose names end in .txt.

        Raises:
            UsageError: nothing is named, a file is named twice, or glob is given without a folder.
            TextError: a file is missing or not a regular one, or a folder holds none that matches.
        """
        if not paths:
            raise UsageError("FILE", "no text is named", "name a file, a folder, or - for stdin")
        self.text_format = text_format
        self.files: list[Path] = []
        folders = 0
        for path in paths:
            if str(path) == "-":
                self.files.append(_stdin())
            # Unlike Path's, os.path's questions never raise.
            elif os.path.isdir(path):
                folders += 1
                self.files += _files_below(Path(path), TEXT_FILES if glob is None else glob)
            else:
                self.files.append(Path(path))
        if glob is not None and not folders:
            raise UsageError("--glob", "is for folders, and none is named", "leave it out")
        first = STDIN if str(paths[0]) == "-" else Path(paths[0])
        self.name = first if first.name not in ("", "..") else first.resolve()
        self._on_disk = sum(_stat(path).st_size for path in self.files if path is not STDIN)
        _refuse_twice(self.files)
        self._spool: tempfile.SpooledTemporaryFile[bytes] | None = None
        # Whether standard input has come to its end.
        self._drained = False
        self._seen: list[tuple[int, str]] = []
        self.sha256: str | None = None
        self.bytes = 0
        self.had_bom = False

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was kept of standard input, which cannot be read again then."""
        if self._spool is not None:
            self._spool.close()

    @property
    def size(self) -> int:
        """Return the bytes of all files as they lie on the disk; standard input is read for it."""
        if not any(path is STDIN for path in self.files):
            return self._on_disk
        return self._on_disk + sum(map(len, self._blocks(STDIN)))

    def signature(self) -> list[Any] | None:
        """Return what tells, without reading them, that files and format are still the same.

        Take it before the text is read: what changes afterwards then shows.

        Returns:
            A list that JSON can hold: of each file its absolute path, size, time of change in
            nanoseconds and inode, then the format. None where standard input is read.
        """
        if any(path is STDIN for path in self.files):
            return None
        stamps: list[Any] = []
        for path in self.files:
            status = _stat(path)
            stamp = [os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ino]
            stamps.append(stamp)
        return [*stamps, list(dataclasses.astuple(self.text_format))]

    def pieces(self, progress: Callable[[int], object] | None = None) -> Iterator[str]:
        """Yield the text in pieces, none of them empty, from its beginning.

        Args:
            progress: told the number of bytes after each read from the disk; they add up to `size`.

        Raises:
            TextError: a file cannot be read, is damaged, holds bytes that are not text, or is not
                what it was in an earlier pass.
        """

        def characters(path: Path, blocks: Iterator[bytes]) -> Iterator[str]:
            again = partial(self._unpacked, path)
            return decoded(str(path), self.text_format, blocks, again)

        return self._pass(characters, "\n", ("\n", "\r"), progress)

    def undecoded(self, progress: Callable[[int], object] | None = None) -> Iterator[bytes]:
        """Yield the same pieces as bytes that are still to be decoded, from UTF-8 kept as it is.

        Args:
            progress: as for `pieces`.

        Raises:
            TextError: a file cannot be read, is damaged, or is not what it was in an earlier pass;
                that it is UTF-8 is left to whoever decodes it.
        """

        def cut(_: Path, blocks: Iterator[bytes]) -> Iterator[bytes]:
            return whole_characters(blocks)

        return self._pass(cut, b"\n", (b"\n", b"\r"), progress)

    def _pass(
        self,
        convert: Callable[[Path, Iterator[bytes]], Iterator[AnyStr]],
        newline: AnyStr,
        line_ends: tuple[AnyStr, ...],
        progress: Callable[[int], object] | None,
    ) -> Iterator[AnyStr]:
        """Yield what is made of each file's bytes, and a newline after a file that lacks one."""
        seen: list[tuple[int, str]] = []
        had_bom = ends_a_line = False
        for i, path in enumerate(self.files):
            if i and not ends_a_line:
                yield newline
            ends_a_line, tally = True, _Tally()
            for piece in convert(path, tally.watch(self._unpacked(path, progress))):
                ends_a_line = piece.endswith(line_ends)
                yield piece
            had_bom |= has_mark(tally.head, self.text_format)
            seen.append((tally.length, tally.sha256.hexdigest()))
            if self._seen and self._seen[i] != seen[i]:
                fix = "repeat when nothing writes to it"
                raise TextError(str(path), "changed while it was read", fix)
        self._seen, self.had_bom, self.bytes = seen, had_bom, sum(length for length, _ in seen)
        self.sha256 = (
            seen[0][1] if len(seen) == 1 and self.text_format == DEFAULT else self._digest()
        )

    def _digest(self) -> str:
        record = {"files": self._seen, "reading": dataclasses.astuple(self.text_format)}
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

    def _unpacked(
        self, path: Path, progress: Callable[[int], object] | None = None
    ) -> Iterator[bytes]:
        return unpacked(str(path), self._blocks(path, progress))

    def _blocks(
        self, path: Path, progress: Callable[[int], object] | None = None
    ) -> Iterator[bytes]:
        """Yield a file's bytes as they lie on the disk."""
        with contextlib.ExitStack() as stack:
            if path is STDIN:
                read = self._from_spool
            else:
                _stat(path)
                with _errors_of(path):
                    file = stack.enter_context(path.open("rb", buffering=0))
                read = partial(_read_at, file)
            offset = 0
            while True:
                with _errors_of(path):
                    block = read(offset)
                if not block:
                    return
                offset += len(block)
                if progress:
                    progress(len(block))
                yield block

    def _from_spool(self, offset: int) -> bytes:
        """Return a block of standard input, reading on where nobody has been yet.

        So a first pass has each piece as soon as it comes.
        """
        if self._spool is None:
            self._spool = tempfile.SpooledTemporaryFile(max_size=SPOOLED_BYTES)  # noqa: SIM115 - `close`
        block = _read_at(self._spool, offset)
        if not block and not self._drained:
            block = sys.stdin.buffer.read(BLOCK_BYTES)
            self._drained = not block
            try:
                # The last reading left it at its end.
                self._spool.write(block)
            except OSError as error:
                raise write_error("the temporary folder", error) from error
        return block


def _read_at(file: IO[bytes], offset: int) -> bytes:
    # Several passes may share a file.
    file.seek(offset)
    return file.read(BLOCK_BYTES)


class _Tally:
    """What one pass over a file's unpacked bytes finds out about them."""

    def __init__(self) -> None:
        self.length = 0
        self.head = b""
        self.sha256 = hashlib.sha256()

    def watch(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield blocks as they are."""
        for block in blocks:
            self.head += block[: 4 - len(self.head)]
            self.length += len(block)
            self.sha256.update(block)
            yield block


def _stdin() -> Path:
    """Return what stands for standard input; raise TextError when nothing can come from it."""
    if sys.stdin is None or sys.stdin.isatty():
        fix = "pipe a text in, for example: cat FILE | textgen train -"
        raise TextError(str(STDIN), "nothing was piped in", fix)
    return STDIN


def _files_below(folder: Path, glob: str) -> list[Path]:
    """Return the files below folder that match glob, ordered by their paths below it."""
    matching, other_suffixes = {}, Counter[str]()
    for parent, folders, names in os.walk(folder, onerror=partial(_refuse, folder)):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            path = Path(parent, name)
            inside = PurePosixPath(path.relative_to(folder).as_posix())
            if _matches(inside, glob):
                matching[str(inside)] = path
            else:
                other_suffixes[path.suffix] += 1
    if matching:
        return [matching[inside] for inside in sorted(matching)]
    likely = "*" + max(sorted(other_suffixes), key=other_suffixes.__getitem__, default=".md")
    problem = f"no file below it matches {glob!r}"
    raise TextError(str(folder), problem, f"choose others, for example --glob {likely!r}")


def _matches(path: PurePosixPath, glob: str) -> bool:
    try:
        return path.match(glob.removeprefix("**/"))
    except ValueError as error:
        fix = "write for example --glob '*.md'"
        raise UsageError("--glob", f"{glob!r} is not a valid pattern", fix) from error


def _refuse_twice(files: Sequence[Path]) -> None:
    seen = set()
    for path in files:
        real = "-" if path is STDIN else os.path.normcase(os.path.realpath(path))
        if real in seen:
            raise UsageError("-" if path is STDIN else str(path), "is named twice", "name it once")
        seen.add(real)


def _stat(path: Path) -> os.stat_result:
    """Return the status of a regular file; raise TextError for anything else."""
    with _errors_of(path):
        status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise TextError(str(path), "is a folder", "name a text file")
    if not stat.S_ISREG(status.st_mode):
        streams = stat.S_ISFIFO(status.st_mode) or str(path).startswith(("/dev/std", "/dev/fd/"))
        fix = "pipe it in: -" if streams else "name a text file"
        raise TextError(str(path), "is not a regular file", fix)
    return status


def _refuse(folder: Path, error: OSError) -> None:
    """Raise TextError for a folder that cannot be listed: what is in it would be missing."""
    with _errors_of(Path(error.filename or folder)):
        raise error


@contextlib.contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Raise TextError for what goes wrong with a file inside."""
    try:
        yield
    # ValueError: a NUL in the name.
    except (FileNotFoundError, ValueError):
        raise TextError(str(path), "no such file", "check the path") from None
    except OSError as error:
        raise TextError(
            str(path), f"cannot be read: {reason_of(error)}", "check the file"
        ) from error
