"""A text as the indices of its characters in its own alphabet.

Text file -> corpus -> ids. A text is read twice, piece by piece: once to count its characters, once
to write each one's index in the alphabet, in the smallest type that holds it. So a text of any size
takes little memory: a small one lies in memory, a large one in the cache, from which the system
maps what is used. Whatever is cut from it is exact, and any tokenizer's ids follow from it.

Shapes: n characters, U different ones.

    >>> corpus = read("corpus.txt")
    >>> corpus.slice(0, 20)
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from textgen.config import to_json
from textgen.data import cache
from textgen.data.encodings import TextFormat
from textgen.data.source import DEFAULT, STDIN, Source
from textgen.errors import TextError, counted
from textgen.tokenizers import CODE_POINTS, CharTokenizer, Ids, code_points

# Bytes of a text, unpacked; a larger one is kept in the cache.
IN_MEMORY = 1 << 25
# Characters handled at a time.
PIECE_CHARS = 1 << 20
# Times: a character that occurs less is called rare, as little can be learnt of it.
RARE = 10


@dataclass(frozen=True)
class TextIdentity:
    """Which text it was: the name of its file, its size in bytes and their sha256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text and where it came from.

    Attributes:
        path: what was named, the first of several.
        codepoints: (U,) uint32, its different characters, rising.
        counts: (U,) how often each occurs.
        char_indices: (n,) the index in codepoints of each character, in the smallest unsigned type;
            in memory or mapped from the cache.
        sha256: of the file's bytes, of several files see `Source`.
        size: bytes of all files, unpacked.
        had_bom: whether a byte order mark was dropped.
        text_format: how bytes became characters.
        files: in the order in which they were read.
    """

    path: Path
    codepoints: np.ndarray
    counts: np.ndarray
    char_indices: np.ndarray
    sha256: str
    size: int
    had_bom: bool = False
    text_format: TextFormat = DEFAULT
    files: tuple[Path, ...] = ()

    @classmethod
    def of(cls, text: str, path: Path = Path("text")) -> Corpus:
        """Return the corpus of a text in memory."""
        codepoints, char_indices, counts = np.unique(
            code_points(text), return_inverse=True, return_counts=True
        )
        dtype = np.min_scalar_type(max(0, len(codepoints) - 1))
        data = text.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(data).hexdigest()
        return cls(path, codepoints, counts, char_indices.astype(dtype), digest, len(data))

    def __len__(self) -> int:
        return len(self.char_indices)

    @property
    def text(self) -> str:
        """All of it, as one string."""
        return self.slice(0, len(self))

    def slice(self, start: int, end: int) -> str:
        """Return the characters from `start` to before `end`."""
        return _string(self.codepoints, self.char_indices[start:end])

    def pieces(self, start: int, end: int) -> Iterator[str]:
        """Yield the same piece by piece."""
        for begin in range(start, end, PIECE_CHARS):
            yield self.slice(begin, min(end, begin + PIECE_CHARS))

    def tally(self, start: int, end: int) -> np.ndarray:
        """Return how often each character occurs from `start` to before `end`: (U,) int64."""
        n = len(self)
        # Of more than half of the text it is quicker to count what is left out.
        if 2 * (end - start) > n:
            return np.asarray(self.counts - self.tally(0, start) - self.tally(end, n))
        counts = np.zeros(len(self.codepoints), np.int64)
        for begin in range(start, end, PIECE_CHARS):
            piece = self.char_indices[begin : min(end, begin + PIECE_CHARS)]
            counts += np.bincount(piece, minlength=len(counts))
        return counts

    def utf8_size(self, start: int, end: int) -> int:
        """Return how many bytes of UTF-8 a stretch is."""
        lengths = sum((self.codepoints >= first).astype(int) for first in (0, 0x80, 0x800, 0x10000))
        return int(self.tally(start, end) @ lengths)

    def alphabet_of(self, start: int, end: int) -> CharTokenizer:
        """Return the tokenizer of the characters from `start` to before `end`."""
        counts = self.tally(start, end)
        occurs = counts > 0
        return CharTokenizer(self.codepoints[occurs], np.concatenate(([0], counts[occurs])))

    def ids(self, tokenizer: CharTokenizer, start: int, end: int) -> MappedIds:
        """Return the ids of the characters from `start` to before `end`, 0 for unknown ones."""
        alphabet = _string(self.codepoints, np.arange(len(self.codepoints)))
        return MappedIds(self.char_indices[start:end], tokenizer.encode(alphabet, "replace"))

    def paths(self) -> list[str]:
        """Return where its files are, in their order; "-" is standard input."""
        return ["-" if path is STDIN else str(path.resolve()) for path in self.files]

    def identity(self) -> TextIdentity:
        """Return what a checkpoint records of the text."""
        return TextIdentity(self.path.name, self.size, self.sha256)

    def require(self, identity: TextIdentity) -> None:
        """Raise TextError unless this is the text with that `identity`."""
        if self.sha256 != identity.sha256:
            problem = f"is not the text that was trained on ({identity.size:,} bytes then)"
            raise TextError(str(self.path), problem, "name that text")

    def report(self) -> list[tuple[str, str]]:
        """Return what the text is, as (label, value) lines."""
        rare = int((self.counts < RARE).sum())
        lines = [("text", f"{self.path} ({counted(self.size, 'byte')})")]
        if len(self.files) > 1:
            names = ", ".join(str(path) for path in self.files[:3])
            more = ", ..." if len(self.files) > 3 else ""
            lines.append(("files", f"{len(self.files):,}, one after the other: {names}{more}"))
        alphabet = counted(len(self.codepoints), "character")
        lines += [
            ("characters", f"{len(self):,} in {counted(self._count(10), 'line')}"),
            ("alphabet", f"{alphabet}, {rare} of them rarer than {RARE}"),
        ]
        usual = to_json(DEFAULT)
        unusual = [f"{k} {v}" for k, v in to_json(self.text_format).items() if v != usual[k]]
        if unusual:
            lines.append(("read as", ", ".join(unusual)))
        if self.had_bom:
            lines.append(("byte order mark", "dropped"))
        if returns := self._count(13):
            lines.append(("carriage returns", f"{returns:,}, kept as they are"))
        return lines

    def _count(self, code: int) -> int:
        return int(self.counts[self.codepoints == code].sum())


@dataclass(frozen=True, eq=False)
class MappedIds:
    """The ids (n,) of a text, looked up when they are asked for.

    Attributes:
        char_indices: (n,) of the text's characters in its alphabet.
        table: (U,) the id of each character of that alphabet.
    """

    char_indices: np.ndarray
    table: np.ndarray

    def __len__(self) -> int:
        return len(self.char_indices)

    def __getitem__(self, key: Any) -> Any:
        """Return the ids at an index, a slice or an array of indices."""
        return self.table[self.char_indices[key]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Ids:
        """Return all of them as an array."""
        return np.asarray(self.table[self.char_indices], dtype)


def read(
    paths: str | Path | Sequence[str | Path],
    need: int = 1,
    text_format: TextFormat = DEFAULT,
    glob: str | None = None,
    quiet: bool = True,
    verify: bool = False,
) -> Corpus:
    """Read the text in one or more files, folders or standard input.

    Args:
        paths: one or several, in the order of the text; "-" is standard input.
        need: how many characters it has at least.
        text_format: how bytes become characters.
        glob: which files of folders; by default those whose names end in .txt.
        quiet: whether to show no progress.
        verify: whether to read the files even where the cache knows them.

    Raises:
        UsageError: nothing is named, a file is named twice, or glob is given without a folder.
        TextError: a file is missing, damaged or not in its encoding, or the text is too short.
        MachineError: the text is large, and the cache cannot be written.
    """
    listed = paths if isinstance(paths, Sequence) and not isinstance(paths, str) else [paths]
    with Source(listed, text_format, glob) as source:
        # Before it is read: what changes meanwhile then shows.
        signature = source.signature()
        sha256 = None if verify else cache.recall_digest(signature)
        corpus = _load_stored(source, sha256) if sha256 else None
        corpus = corpus or _encode(source, signature, quiet)
    if len(corpus) < need:
        problem = f"only {counted(len(corpus), 'character')}" if len(corpus) else "empty"
        fix = f"give a text of at least {counted(need, 'character')}"
        raise TextError(str(source.name), problem, fix)
    return corpus


@dataclass(frozen=True)
class _TextFacts:
    """What the cache keeps beside the indices of a text's characters."""

    codepoints: list[int]
    counts: list[int]
    sha256: str
    bytes: int
    had_bom: bool

    @classmethod
    def parse(cls, metadata: Mapping[str, Any], length: int) -> _TextFacts | None:
        """Return the facts of a text of `length` characters, None where they make no sense."""
        codepoints, counts = metadata.get("codepoints"), metadata.get("counts")
        sha256, size, had_bom = (metadata.get(key) for key in ("sha256", "bytes", "had_bom"))
        if not (_are_whole_numbers(codepoints) and _are_whole_numbers(counts)):
            return None
        if not (isinstance(sha256, str) and type(size) is int and isinstance(had_bom, bool)):
            return None
        rising = all(a < b for a, b in itertools.pairwise([-1, *codepoints, CODE_POINTS]))
        if not rising or len(counts) != len(codepoints) or sum(counts) != length:
            return None
        return cls(codepoints, counts, sha256, size, had_bom)

    def corpus(self, source: Source, char_indices: np.ndarray) -> Corpus:
        """Return the corpus of a source whose characters have these indices."""
        return Corpus(
            source.name,
            np.array(self.codepoints, np.uint32),
            np.array(self.counts, np.int64),
            char_indices,
            self.sha256,
            self.bytes,
            self.had_bom,
            source.text_format,
            tuple(source.files),
        )


def _are_whole_numbers(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _load_stored(source: Source, sha256: str, verify: bool = False) -> Corpus | None:
    """Return the corpus of a digest from the cache, if it is there."""
    entry = cache.find_entry(_key_of(source, sha256), verify)
    if entry is None or (facts := _TextFacts.parse(entry.metadata, entry.length)) is None:
        return None
    return facts.corpus(source, entry.array())


def _key_of(source: Source, sha256: str) -> str:
    return cache.key_of("characters", sha256, *map(str, to_json(source.text_format).values()))


def _encode(source: Source, signature: object, quiet: bool) -> Corpus:
    """Read a source twice and return its corpus, in memory or in the cache."""
    counts = _count_characters(source, quiet)
    codepoints, length, sha256 = np.flatnonzero(counts), int(counts.sum()), str(source.sha256)
    is_large = source.bytes > IN_MEMORY
    if is_large and (stored := _load_stored(source, sha256, verify=True)):
        cache.remember_digest(signature, sha256)
        return stored
    facts = _TextFacts(
        codepoints.tolist(), counts[codepoints].tolist(), sha256, source.bytes, source.had_bom
    )
    dtype = np.min_scalar_type(max(0, len(codepoints) - 1))
    table = np.zeros(int(codepoints[-1]) + 1 if length else 0, dtype)
    table[codepoints] = np.arange(len(codepoints))
    with _progress(source, "encoding", quiet) as progress:
        pieces = (table[code_points(piece)] for piece in source.pieces(progress))
        if is_large:
            metadata = {"name": str(source.name), **asdict(facts)}
            key = _key_of(source, sha256)
            char_indices = cache.store(key, pieces, dtype, length, metadata).array()
            cache.remember_digest(signature, sha256)
        else:
            char_indices = np.concatenate([np.zeros(0, dtype), *pieces])
    return facts.corpus(source, char_indices)


def _count_characters(source: Source, quiet: bool) -> np.ndarray:
    """Return how often each code point occurs: (CODE_POINTS,)."""
    counts = np.zeros(CODE_POINTS, np.int64)
    with _progress(source, "counting characters", quiet) as progress:
        for piece in source.pieces(progress):
            counts_of_piece = np.bincount(code_points(piece))
            counts[: len(counts_of_piece)] += counts_of_piece
    return counts


@contextlib.contextmanager
def _progress(source: Source, what: str, quiet: bool) -> Iterator[Callable[[int], object] | None]:
    """Show a progress bar over the bytes of a large source, on a terminal only."""
    if quiet or source.size < IN_MEMORY or not sys.stderr.isatty():
        yield None
        return
    # It costs the start of every other command 50 ms.
    from tqdm import tqdm

    with tqdm(total=source.size, desc=what, unit="B", unit_scale=True, leave=False) as bar:
        yield bar.update


def _string(codepoints: np.ndarray, char_indices: np.ndarray) -> str:
    """Return the characters that have these indices in an alphabet."""
    if len(codepoints) and codepoints[-1] < 128:
        return str(codepoints.astype(np.uint8)[char_indices].tobytes(), "ascii")
    return str(codepoints.astype("<u4")[char_indices].tobytes(), "utf-32-le", "surrogatepass")
