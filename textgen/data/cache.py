"""Encoded texts kept between runs, in a folder that may be removed at any time.

A large text is encoded once; what comes out is kept under a key that says which text and which
units it holds, so it can never belong to another one. An index remembers which file had which
digest, so that a text that has not changed is not read again. The folder is $TEXTGEN_CACHE, else
textgen below $XDG_CACHE_HOME or ~/.cache.

    KEY.ids     the array, as it lies in memory
    KEY.json    its type and length, what its owner wants to know, and how to tell damage
    index.json  digests of files by path, size, time of change and inode

    >>> entry = store(key_of(sha256, "char"), pieces, np.dtype("u1"), room=5, about={})
    >>> entry.array()
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textgen.errors import MachineError, visible
from textgen.files import write_atomically, write_error

CACHE_FORMAT = 1  # of the arrays; in every key
SPARE = 1 << 26  # bytes that stay free on the disk
MOST_KNOWN = 1000  # files in the index


@dataclass(frozen=True)
class CacheEntry:
    """An array in the cache. about: what its owner stored beside it."""

    path: Path
    dtype: np.dtype[Any]
    length: int
    about: dict[str, Any]
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
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "textgen"


def key_of(*parts: str) -> str:
    """Return the key of what is described by the parts."""
    return hashlib.sha256(json.dumps([CACHE_FORMAT, *parts]).encode()).hexdigest()[:40]


def find_entry(key: str, verify: bool = False) -> CacheEntry | None:
    """Return the array of a key; None where there is none, and where it was damaged.

    A file that was touched since it was written counts as damaged; verify: read it through too.
    """
    path = folder() / f"{key}.ids"
    try:
        facts = json.loads(path.with_suffix(".json").read_bytes())
        if facts["written"] != _state(path):
            return None
        shape = np.dtype(facts["dtype"]), int(facts["length"])
        entry = CacheEntry(path, *shape, facts["about"], facts["crc"])
        if shape[0].kind != "u" or path.stat().st_size != shape[0].itemsize * shape[1]:
            return None
        return entry if not verify or entry.is_whole() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store(
    key: str, pieces: Iterable[np.ndarray], dtype: np.dtype[Any], room: int, about: dict[str, Any]
) -> CacheEntry:
    """Write an array that comes in pieces, of at most `room` numbers, and return it.

    Raises MachineError, before anything is written, when the disk lacks that room, and when the
    folder cannot be written.
    """
    path = folder() / f"{key}.ids"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
    facts = {"dtype": dtype.name, "length": length, "about": about, "crc": crc}
    facts["written"] = _state(path)
    write_atomically(path.with_suffix(".json"), [json.dumps(facts).encode()])
    return CacheEntry(path, dtype, length, about, crc)


def known(signature: object) -> str | None:
    """Return the digest that files with this signature had, None where nobody knows."""
    if signature is None:
        return None
    return _index().get(json.dumps(signature))


def remember(signature: object, sha256: str) -> None:
    """Note the digest of files; a cache that cannot be written forgets it."""
    if signature is None:
        return
    index = _index()
    name = json.dumps(signature)
    if index.get(name) == sha256:
        return
    index.pop(name, None)
    index[name] = sha256
    newest = dict(list(index.items())[-MOST_KNOWN:])
    with contextlib.suppress(OSError, MachineError):
        folder().mkdir(parents=True, exist_ok=True)
        write_atomically(folder() / "index.json", [json.dumps(newest).encode()])


def cached_texts() -> list[tuple[str, int]]:
    """Return what each array holds, in words, and its size in bytes."""
    found = []
    for path in sorted(folder().glob("*.ids")):
        entry = find_entry(path.stem)
        words = str(entry.about.get("name", "?")) if entry else "damaged"
        found.append((visible(words), path.stat().st_size))
    return found


def clear() -> int:
    """Remove all that the cache holds; return how many bytes that were."""
    freed = 0
    for pattern in ("*.ids", "*.json", "*.tmp-*"):
        for path in folder().glob(pattern):
            freed += path.stat().st_size
            try:
                path.unlink()
            except OSError as error:
                raise _cache_error(path, error) from error
    with contextlib.suppress(OSError):  # whatever else somebody put there stays
        folder().rmdir()
    return freed


def _index() -> dict[str, str]:
    try:
        index = json.loads((folder() / "index.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def _state(path: Path) -> list[int]:
    """Return what changes when somebody writes to a file, even one that puts its time back."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _check_room(place: Path, needed: int) -> None:
    free = shutil.disk_usage(place).free
    if free < needed + SPARE:
        problem = f"{needed:,} bytes are needed for the encoded text and {free:,} are free"
        raise MachineError(str(place), problem, "free some space, or set TEXTGEN_CACHE elsewhere")


def _cache_error(place: Path, error: OSError) -> MachineError:
    told = write_error(place, error)
    return MachineError(told.subject, told.problem, "set TEXTGEN_CACHE to a folder with room")
