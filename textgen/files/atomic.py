"""Files that are either the old one or the complete new one.

Everything textgen writes whole goes through `write_atomically`: a temporary file beside the target,
fsync, rename, fsync of the folder, so that a crash or a power cut leaves a complete file, old or
new. What a user names goes through `write_output`, which follows links to such a file and knows
pipes and devices.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from textgen.errors import MachineError, RunInUseError, UsageError, reason_of

try:
    import fcntl
except ImportError:
    # Windows has no flock: two trainers in one folder are not detected there.
    fcntl = None  # type: ignore[assignment]


# Of a folder that `locked` holds; it stays there.
LOCK = "lock"


def write_output(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write chunks to where a user says.

    A file is replaced as `write_atomically` does it, also where a symbolic link leads to it. A
    pipe, a terminal or another device gets the chunks as they come; so does the file that standard
    output or error goes to, as /dev/stdout may be one that others write to as well.

    Args:
        path: a file, a link, a pipe or a device.
        chunks: the content, in order.

    Raises:
        UsageError: path cannot be the name of a file.
        MachineError: it cannot be written.
        BrokenPipeError: the reader of a pipe has left.
    """
    check_name(path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        status = None
    except OSError as error:
        raise write_error(path, error) from error
    stream = _standard_stream(status) if status else None
    if stream is not None or (status and not stat.S_ISREG(status.st_mode)):
        _write_through(path, stream, chunks)
    else:
        write_atomically(Path(os.path.realpath(path)) if path.is_symlink() else path, chunks)


def check_name(path: Path) -> None:
    """Check that path can be the name of a file.

    Raises:
        UsageError: it cannot, such as one with a NUL in it.
    """
    try:
        os.lstat(path)
    except ValueError as error:
        raise UsageError(str(path), "is not a file name", "name another file") from error
    except OSError:
        pass


def _standard_stream(status: os.stat_result) -> int | None:
    """Return the descriptor of standard output or error if that is the file with this status."""
    for descriptor in (1, 2):
        # A closed stream has no status.
        with contextlib.suppress(OSError):
            if os.path.samestat(status, os.fstat(descriptor)):
                return descriptor
    return None


def _write_through(path: Path, stream: int | None, chunks: Iterable[bytes | memoryview]) -> None:
    """Write chunks into what is at path, or into an open descriptor of it, as they come."""
    try:
        target = path if stream is None else os.dup(stream)
        with open(target, "wb", buffering=0) as file:
            for chunk in chunks:
                rest = memoryview(chunk)
                # A pipe may take less than it is given.
                while rest:
                    rest = rest[os.write(file.fileno(), rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise write_error(path, error) from error


def write_atomically(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write chunks to path so that a reader sees the old file or the whole new one.

    The new file has the permissions of the old one.

    Args:
        path: of the file.
        chunks: the content, in order.

    Raises:
        MachineError: the disk is full or the folder cannot be written; the old file is then
            untouched and no temporary file is left.
    """
    # A file name has room for so much of the other.
    temporary = path.with_name(f"{path.name[:60]}.tmp-{os.getpid()}")
    try:
        # What a process of that number left, or a link that somebody put there to be followed.
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            # A new file has the permissions that the umask leaves.
            with contextlib.suppress(FileNotFoundError):
                temporary.chmod(path.stat().st_mode & 0o777)
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
    """Return the MachineError for an OSError met while writing path.

    Args:
        path: what could not be written, as the error names it.
        error: why.
    """
    fixes = {
        errno.ENOSPC: "free some space, then repeat",
        errno.EROFS: "choose a folder that can be written",
        errno.EACCES: "choose a folder that can be written",
        errno.ENOENT: "make the folder first",
        errno.EISDIR: "name a file",
        errno.EPIPE: "start its reader again",
    }
    fix = fixes.get(error.errno or 0, "check the disk and the path")
    return MachineError(str(path), f"cannot be written: {reason_of(error)}", fix)


def sync_folder(folder: Path) -> None:
    """Make renames in folder durable; a no-op where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock inside a `with`.

    The kernel drops the lock with the process, so a dead trainer never blocks the next one.

    Raises:
        RunInUseError: another process holds it.
        MachineError: the folder cannot be written.
    """
    if fcntl is None:
        yield
        return
    try:
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise write_error(folder / LOCK, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunInUseError(
                str(folder), "another process is training in it", "choose another --out"
            ) from error
        except OSError:
            # A file system without locks, as some network ones are.
            pass
        yield
