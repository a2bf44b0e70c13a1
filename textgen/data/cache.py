"""Encoded texts kept between runs, in a folder that may be removed at any time.

A large text is encoded once; what comes out is kept under a key that says which text and which
units it holds, so it can never belong to another one. An index remembers which file had which
digest, so that a text that has not changed is not read again. What somebody else has written there,
or damaged, counts as missing. The folder is $TEXTGEN_CACHE, else where the system keeps caches: on
Linux textgen below $XDG_CACHE_HOME or ~/.cache.

    KEY.ids     the array, as it lies in memory
    KEY.json    its type and length, what its owner wants to know, and how to tell damage
    index.json  digests of files by path, size, time of change and inode

    >>> entry = store(key_of(sha256, "char"), pieces, np.dtype("u1"), room=5, metadata={})
    >>> entry.array()
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textgen.errors import MachineError, visible
from textgen.files import JsonObject, write_atomically, write_error

# The version of the arrays; a part of every key.
CACHE_FORMAT = 1
# What the numbers of an array may be.
INDEX_TYPES = ("uint8", "uint16", "uint32")
# Bytes that stay free on the disk, so that a run can still save its checkpoints.
SPARE_BYTES = 1 << 26
# Files that the index remembers: its JSON stays below a megabyte and is read in a millisecond.
MOST_REMEMBERED = 1000
# Only the user may look into the cache: the texts in it may be private.
FOLDER_MODE = 0o700


@dataclass(frozen=True)
class CacheEntry:
    """An array in the cache.

    Attributes:
        path: of its file.
        dtype: of its numbers, unsigned integers.
        length: n, how many numbers it has.
        metadata: what its owner stored beside it, as JSON holds it; the owner checks it.
        crc: the CRC-32 of its bytes.
    """

    path: Path
    dtype: np.dtype[Any]
    length: int
    metadata: dict[str, Any]
    crc: int

    def array(self) -> np.ndarray:
        """Return the array (n,), mapped from the disk."""
        if not self.length:
            return np.zeros(0, self.dtype)
        return np.memmap(self.path, self.dtype, "r", shape=(self.length,))

    def is_whole(self) -> bool:
        """Read the array through and tell whether it is what was stored."""
        crc = 0
        with self.path.open("rb") as file:
            while block := file.read(1 << 22):
                crc = zlib.crc32(block, crc)
        return crc == self.crc


def folder() -> Path:
    """Return the folder of the cache; it need not exist."""
    if chosen := os.environ.get("TEXTGEN_CACHE"):
        return Path(chosen)
    # Imported when it is needed: reading and writing text without a large corpus needs no cache.
    import platformdirs

    return platformdirs.user_cache_path("textgen", appauthor=False)


def key_of(*parts: str) -> str:
    """Return the key of what is described by the parts."""
    return hashlib.sha256(json.dumps([CACHE_FORMAT, *parts]).encode()).hexdigest()[:40]


def find_entry(key: str, verify: bool = False) -> CacheEntry | None:
    """Return the array of a key; None where there is none, and where it was damaged.

    A file that was touched since it was written counts as damaged.

    Args:
        key: as `key_of` makes it.
        verify: whether to read the array through too.
    """
    path = folder() / f"{key}.ids"
    try:
        record = _read_json(path.with_suffix(".json"))
        if record.array("written") != _stamp_of(path) or record.text("dtype") not in INDEX_TYPES:
            return None
        entry = CacheEntry(
            path,
            np.dtype(record.text("dtype")),
            record.integer("length"),
            dict(record.object("about").values),
            record.integer("crc"),
        )
        if path.stat().st_size != entry.dtype.itemsize * entry.length:
            return None
        return entry if not verify or entry.is_whole() else None
    except (OSError, ValueError):
        return None


def store(
    key: str,
    pieces: Iterable[np.ndarray],
    dtype: np.dtype[Any],
    room: int,
    metadata: dict[str, Any] | Callable[[], dict[str, Any]],
) -> CacheEntry:
    """Write an array that comes in pieces and return it.

    Args:
        key: as `key_of` makes it.
        pieces: the array's numbers in order.
        dtype: of the array, an unsigned integer.
        room: how many numbers there are at most.
        metadata: what JSON can hold, to be found beside the array, or what returns it when all
            pieces were written; its "name" is shown to users.

    Raises:
        MachineError: the disk lacks that room, which is checked before anything is written, or the
            folder cannot be written.
    """
    path = folder() / f"{key}.ids"
    try:
        path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        _check_room(path.parent, dtype.itemsize * room)
    except OSError as error:
        raise _cache_error(path.parent, error) from error
    crc = length = 0

    def blocks() -> Iterator[memoryview]:
        nonlocal crc, length
        for piece in pieces:
            length += len(piece)
            block = np.ascontiguousarray(piece, dtype).view(np.uint8).data
            crc = zlib.crc32(block, crc)
            yield block

    write_atomically(path, blocks())
    about = metadata() if callable(metadata) else metadata
    record = {"dtype": dtype.name, "length": length, "about": about, "crc": crc}
    record["written"] = _stamp_of(path)
    write_atomically(path.with_suffix(".json"), [json.dumps(record).encode()])
    return CacheEntry(path, dtype, length, about, crc)


def recall_digest(signature: object) -> str | None:
    """Return the digest that files with this signature had, None where none is remembered.

    Args:
        signature: what `Source.signature` returns; None is never remembered.
    """
    if signature is None:
        return None
    return _read_index().get(json.dumps(signature))


def remember_digest(signature: object, sha256: str) -> None:
    """Note the digest of files; a cache that cannot be written forgets it."""
    if signature is None:
        return
    index = _read_index()
    name = json.dumps(signature)
    if index.get(name) == sha256:
        return
    index.pop(name, None)
    index[name] = sha256
    newest = dict(list(index.items())[-MOST_REMEMBERED:])
    with contextlib.suppress(OSError, MachineError):
        folder().mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        write_atomically(folder() / "index.json", [json.dumps(newest).encode()])


def cached_texts() -> list[tuple[str, int]]:
    """Return what each array holds, in words, and its size in bytes."""
    listed = []
    for path in sorted(folder().glob("*.ids")):
        entry = find_entry(path.stem)
        name = str(entry.metadata.get("name", "?")) if entry else "damaged"
        listed.append((visible(name), path.stat().st_size))
    return listed


def clear() -> int:
    """Remove all that the cache holds; return how many bytes that were.

    Raises:
        MachineError: a file cannot be removed.
    """
    freed = 0
    for pattern in ("*.ids", "*.json", "*.tmp-*"):
        for path in folder().glob(pattern):
            freed += path.stat().st_size
            try:
                path.unlink()
            except OSError as error:
                raise _cache_error(path, error) from error
    # Whatever else somebody put there stays, and the folder with it.
    with contextlib.suppress(OSError):
        folder().rmdir()
    return freed


def _read_json(path: Path) -> JsonObject:
    """Return the object in a file; raise ValueError for anything else in it."""
    try:
        return JsonObject(json.loads(path.read_bytes()), str(path))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def _read_index() -> dict[str, str]:
    """Return the digests of the index by signature; of a damaged one what can be used."""
    try:
        index = _read_json(folder() / "index.json").values
    except (OSError, ValueError):
        return {}
    return {name: sha256 for name, sha256 in index.items() if isinstance(sha256, str)}


def _stamp_of(path: Path) -> list[int]:
    """Return what changes when somebody writes to a file, even one that puts its time back."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _check_room(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target).free
    if free < needed + SPARE_BYTES:
        problem = f"{needed:,} bytes are needed for the encoded text and {free:,} are free"
        raise MachineError(str(target), problem, "free some space, or set TEXTGEN_CACHE elsewhere")


def _cache_error(path: Path, error: OSError) -> MachineError:
    usual = write_error(path, error)
    return MachineError(usual.subject, usual.problem, "set TEXTGEN_CACHE to a folder with room")
