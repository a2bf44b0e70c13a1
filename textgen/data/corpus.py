"""A text as the indices of its characters in its own alphabet.

Text file -> corpus -> ids. A text is read twice, piece by piece: once to count its characters, once
to write each one's index in the alphabet, in the smallest type that holds it; of a large one the
pieces are decoded by several processes, with the same result. So a text of any size takes little
memory: a small one lies in memory, a large one in the cache, from which the system maps what is
used. Beside it lie the counts of its blocks, so that no start counts all of it again. Whatever is
cut from it is exact, and any tokenizer's ids follow from it.

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
from textgen.data.workers import WorkerError, Workers, useful_workers
from textgen.errors import TextError, counted
from textgen.tokenizers import CODE_POINTS, CharTokenizer, Ids, code_points

# Bytes of a text, unpacked; a larger one is kept in the cache.
IN_MEMORY = 1 << 25
# Characters handled at a time.
PIECE_CHARS = 1 << 20
# Characters after which a block ends whose counts are kept.
COUNTED_CHARS = 1 << 24
# Times: a character that occurs less is called rare, as little can be learnt of it.
RARE = 10


@dataclass(frozen=True)
class TextIdentity:
    """Which text it was: the name of its file, its size in bytes and their sha256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, eq=False)
class BlockCounts:
    """How often each character occurs in each of a text's blocks, N of them.

    Attributes:
        edges: (N + 1,) int64, where the blocks begin and the last one ends.
        counts_NU: uint32, in memory or mapped from the cache.
    """

    edges: np.ndarray
    counts_NU: np.ndarray


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
        blocks: the counts of its blocks, None for a text of one.
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
    blocks: BlockCounts | None = None

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
        if self.blocks is None:
            return self._tally_pieces(start, end)
        # The blocks that lie within, and what is left on both sides.
        edges = self.blocks.edges
        first, last = int(edges.searchsorted(start)), int(edges.searchsorted(end, "right")) - 1
        if first >= last:
            return self._tally_pieces(start, end)
        within = self.blocks.counts_NU[first:last].sum(axis=0, dtype=np.int64)
        before = self._tally_pieces(start, int(edges[first]))
        return np.asarray(within + before + self._tally_pieces(int(edges[last]), end))

    def _tally_pieces(self, start: int, end: int) -> np.ndarray:
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
        if not (are_whole_numbers(codepoints) and are_whole_numbers(counts)):
            return None
        if not (isinstance(sha256, str) and type(size) is int and isinstance(had_bom, bool)):
            return None
        rising = all(a < b for a, b in itertools.pairwise([-1, *codepoints, CODE_POINTS]))
        if not rising or len(counts) != len(codepoints) or sum(counts) != length:
            return None
        return cls(codepoints, counts, sha256, size, had_bom)

    def corpus(
        self, source: Source, char_indices: np.ndarray, blocks: BlockCounts | None
    ) -> Corpus:
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
            blocks,
        )


def are_whole_numbers(values: object) -> TypeGuard[list[int]]:
    """Tell whether values that come from a file are a list of integers from 0 on."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _load_stored(source: Source, sha256: str, verify: bool = False) -> Corpus | None:
    """Return the corpus of a digest from the cache, if it is there."""
    entry = cache.find_entry(_key_of(source, sha256), verify)
    if entry is None or (facts := _TextFacts.parse(entry.metadata, entry.length)) is None:
        return None
    blocks = None
    if entry.length > COUNTED_CHARS:
        key = _key_of(source, sha256, "counts of blocks")
        blocks = _parse_blocks(cache.find_entry(key, verify), facts)
        if blocks is None:
            return None
    return facts.corpus(source, entry.array(), blocks)


def _parse_blocks(entry: cache.CacheEntry | None, facts: _TextFacts) -> BlockCounts | None:
    """Return the counts in an entry of the cache, None where they are not those of this text."""
    edges = entry.metadata.get("edges") if entry else None
    if entry is None or not are_whole_numbers(edges) or len(edges) < 2:
        return None
    rising = all(a < b for a, b in itertools.pairwise(edges))
    N, U = len(edges) - 1, len(facts.codepoints)
    if not rising or (edges[0], edges[-1]) != (0, sum(facts.counts)) or entry.length != N * U:
        return None
    return BlockCounts(np.array(edges), entry.array().reshape(N, U))


def _key_of(source: Source, sha256: str, what: str = "characters") -> str:
    return cache.key_of(what, sha256, *map(str, to_json(source.text_format).values()))


def _encode(source: Source, signature: object, quiet: bool) -> Corpus:
    """Read a source twice and return its corpus, in memory or in the cache."""
    is_plain = source.text_format == DEFAULT and not any(path is STDIN for path in source.files)
    if is_plain and (number := useful_workers(source.size)):
        # Whatever is unusual is left to this process, which also knows how to say it.
        with contextlib.suppress(WorkerError):
            return _encode_with(source, signature, quiet, number)
    return _encode_with(source, signature, quiet, 0)


def _encode_with(source: Source, signature: object, quiet: bool, workers: int) -> Corpus:
    """Return the corpus of a source with the help of so many processes, 0 for none."""
    tally = _Tally()
    with _progress(source, "counting characters", quiet) as progress:
        if workers:
            with Workers("count", b"", workers) as counters:
                for result in counters.map(source.undecoded(progress)):
                    tally.add(*np.frombuffer(result, "<u4").reshape(2, -1))
        else:
            for piece in source.pieces(progress):
                tally.add(*_count(code_points(piece)))
    codepoints, length, sha256 = np.flatnonzero(tally.counts), tally.length, str(source.sha256)
    is_large = source.bytes > IN_MEMORY
    if is_large and (stored := _load_stored(source, sha256, verify=True)):
        cache.remember_digest(signature, sha256)
        return stored
    counts = tally.counts[codepoints].tolist()
    facts = _TextFacts(codepoints.tolist(), counts, sha256, source.bytes, source.had_bom)
    dtype = np.min_scalar_type(max(0, len(codepoints) - 1))
    table = np.zeros(int(codepoints[-1]) + 1 if length else 0, dtype)
    table[codepoints] = np.arange(len(codepoints))
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(_progress(source, "encoding", quiet))
        if workers:
            setup = dtype.char.encode() + table.tobytes()
            encoders = stack.enter_context(Workers("index", setup, workers))
            results = encoders.map(source.undecoded(progress))
            pieces = (np.frombuffer(result, dtype) for result in results)
        else:
            pieces = (table[code_points(piece)] for piece in source.pieces(progress))
        if not is_large:
            return facts.corpus(source, np.concatenate([np.zeros(0, dtype), *pieces]), None)
        # First, so that where the text is, its blocks are.
        blocks = _store_blocks(source, facts, tally) if length > COUNTED_CHARS else None
        metadata = {"name": str(source.name), **asdict(facts)}
        entry = cache.store(_key_of(source, sha256), pieces, dtype, length, metadata)
    cache.remember_digest(signature, sha256)
    return facts.corpus(source, entry.array(), blocks)


def _store_blocks(source: Source, facts: _TextFacts, tally: _Tally) -> BlockCounts | None:
    """Write the counts of a text's blocks into the cache, and return them."""
    key = _key_of(source, facts.sha256, "counts of blocks")
    edges, rows_NU = tally.blocks(np.array(facts.codepoints))
    room = (len(edges) - 1) * len(facts.codepoints)
    metadata = {"name": f"{source.name}: counts", "edges": edges}
    return _parse_blocks(cache.store(key, rows_NU, np.dtype("u4"), room, metadata), facts)


class _Tally:
    """How often each code point occurs in a text, and in each of its blocks.

    A block ends with the piece that fills it.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(CODE_POINTS, np.int64)
        self.length = 0
        self._block = np.zeros(CODE_POINTS, np.int64)
        self._edges = [0]
        # Of each block, the code points that it has and how often.
        self._blocks: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, codes: np.ndarray, counts: np.ndarray) -> None:
        """Count a piece: how often it has each of these code points."""
        self._block[codes] += counts
        self.length += int(counts.sum())
        if self.length - self._edges[-1] >= COUNTED_CHARS:
            self._end_block()
        self.counts[codes] += counts

    def blocks(self, codepoints: np.ndarray) -> tuple[list[int], Iterator[np.ndarray]]:
        """Return the edges of the blocks, and the counts (U,) of each."""
        if self.length > self._edges[-1]:
            self._end_block()

        def rows() -> Iterator[np.ndarray]:
            for codes, counts in self._blocks:
                row = np.zeros(len(codepoints), np.uint32)
                row[codepoints.searchsorted(codes)] = counts
                yield row

        return self._edges, rows()

    def _end_block(self) -> None:
        codes = np.flatnonzero(self._block)
        self._blocks.append((codes.astype(np.uint32), self._block[codes].astype(np.uint32)))
        self._edges.append(self.length)
        self._block[codes] = 0


def counter(_: bytes) -> Callable[[bytes], bytes]:
    """Return what counts the characters of a piece, for `Workers`: code points, then counts."""
    return lambda piece: np.stack(_count(code_points(piece.decode()))).astype("<u4").tobytes()


def encoder(setup: bytes) -> Callable[[bytes], bytes]:
    """Return what looks up the characters of a piece, for `Workers`.

    setup: the code of a type, then the index of each code point in that type.
    """
    table = np.frombuffer(setup[1:], setup[:1].decode())
    return lambda piece: table[code_points(piece.decode())].tobytes()


def _count(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which code points there are among codes, and how often."""
    counts = np.bincount(codes)
    occurring = np.flatnonzero(counts)
    return occurring, counts[occurring]


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
