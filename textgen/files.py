"""Files that are either the old one or the complete new one.

In the walk after `errors`. Everything textgen writes whole goes through `write_atomically`: a
temporary file beside the target, fsync, rename, fsync of the folder, so that a crash or a power
cut leaves a complete file, old or new.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from textgen.errors import MachineError, RunInUseError

try:
    import fcntl
except ImportError:  # Windows has no flock: two trainers in one folder are not detected there
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write chunks to path so that a reader sees the old file or the whole new one.

    Raises MachineError when the disk is full or the folder cannot be written; the old file is
    then untouched and no temporary file is left.
    """
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_error(path: Path | str, error: OSError) -> MachineError:
    """Return the MachineError for an OSError met while writing path."""
    fixes = {
        errno.ENOSPC: "free some space, then repeat",
        errno.EROFS: "choose a folder that can be written",
        errno.EACCES: "choose a folder that can be written",
        errno.ENOENT: "make the folder first",
    }
    reason = (error.strerror or str(error)).lower()
    fix = fixes.get(error.errno or 0, "check the disk and the path")
    return MachineError(str(path), f"cannot be written: {reason}", fix)


def sync_folder(folder: Path) -> None:
    """Make renames in folder durable; a no-op where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def shipped(folder: Path, name: str) -> Path | None:
    """Return a file that comes with textgen, None if it is missing.

    The one in `folder` of the current folder if there is one; else the one that was installed;
    else, where textgen runs from a checkout, the one in that folder of the checkout.
    """
    package = Path(__file__).parent
    places = (folder / name, package / "data" / name, package.parent / folder / name)
    return next((path for path in places if path.is_file()), None)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; raise RunInUseError when another process holds it.

    The kernel drops the lock with the process, so a dead trainer never blocks the next one.
    """
    if fcntl is None:
        yield
        return
    try:
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise write_error(folder / "lock", error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunInUseError(
                str(folder), "another process is training in it", "choose another --out"
            ) from error
        except OSError:
            pass  # a file system without locks, as some network ones are
        yield
