"""The folder of a run: which files it has, how they are replaced, and how a run is found.

best.safetensors      the weights that validated best
last.safetensors      the newest weights, with all that resuming needs
previous.safetensors  the `last` before it, for when `last` is damaged
unread.safetensors    a `last` that could not be read: `previous` took its place
metrics.jsonl         one line per validation
samples.txt           the text written at each validation
job                   of several processes: what torchrun calls them, for when it restarts them

>>> newest_checkpoint(Path("checkpoints"))
"""

from __future__ import annotations

import contextlib
import glob
import os
from pathlib import Path

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.checkpoint.resume import ResumeState
from textgen.errors import CheckpointError, UsageError
from textgen.files import LOCK, shipped, sync_folder, write_atomically, write_error

CHECKPOINTS = Path("checkpoints")
DEMO = "demo.safetensors"
# The names of models that come with textgen.
SHIPPED = ("demo", "base-en")
BEST, LAST, PREVIOUS = "best.safetensors", "last.safetensors", "previous.safetensors"
UNREAD = "unread.safetensors"
METRICS = "metrics.jsonl"
JOB = "job"
# Temporary files of a process that was killed.
LEFTOVERS = "*.tmp-*"


def new_folder(text: Path, out: str | None) -> Path:
    """Make and return the folder of a new run; never one that holds something.

    By default it is checkpoints/NAME after the text, or the next free NAME-2, NAME-3, ... `out` may
    hold what a run left that was killed before its first save: lock it before anything else.
    Raises UsageError when `out` holds more, MachineError when it cannot be made.
    """
    folder = Path(out) if out else CHECKPOINTS / text.stem
    number = 1
    while True:
        try:
            _make_durably(folder)
            return folder
        except FileExistsError:
            if out and _is_left_over(folder):
                return folder
            if out:
                fix = f"choose another --out, or resume it: textgen train --resume {out}"
                raise UsageError("--out", f"{out} already exists", fix) from None
            number += 1
            folder = CHECKPOINTS / f"{text.stem}-{number}"
        except OSError as error:
            raise write_error(folder, error) from error


def _make_durably(folder: Path) -> None:
    """Make a folder with its parents, so that a power cut leaves it where it is."""
    made = [folder, *(parent for parent in folder.parents if not os.path.lexists(parent))]
    folder.mkdir(parents=True)
    for path in made:
        # A folder that may not be read cannot be synced; what is saved in it says more.
        with contextlib.suppress(OSError):
            sync_folder(path.parent)


def _is_left_over(folder: Path) -> bool:
    """Tell whether a folder holds nothing but what a killed run may leave."""
    try:
        found = [path.name in (LOCK, JOB) or path.match(LEFTOVERS) for path in folder.iterdir()]
    # A file, or a folder that cannot be read.
    except OSError:
        return False
    return bool(found) and all(found)


def note_job(folder: Path, job: str) -> None:
    """Write into a run's folder by which job it is trained, for when that is started again."""
    write_atomically(folder / JOB, [job.encode()])


def folder_of_job(text: Path, out: str | None, job: str) -> Path | None:
    """Return the folder which a job has noted for a run on a text; None where it saved nothing.

    Args:
        text: the first of its files.
        out: the folder that was asked for.
        job: as it was noted.
    """
    folders = [Path(out)] if out else list(CHECKPOINTS.glob(f"{glob.escape(text.stem)}*"))
    for folder in folders:
        # A folder that cannot be read is nobody's.
        with contextlib.suppress(OSError, UnicodeError):
            if (folder / JOB).read_text("utf-8") == job and (folder / LAST).exists():
                return folder
    return None


def existing_folder(name: str | Path) -> Path:
    """Return the folder of a run; raise CheckpointError when there is none."""
    folder = Path(name)
    # Unlike Path.is_dir, it never raises.
    if not os.path.isdir(folder):
        raise CheckpointError(str(folder), "no such run", "name a folder below checkpoints")
    return folder


def resumable_folder(name: str | Path) -> Path:
    """Return the folder of a run to resume; raise CheckpointError when none can be.

    Nothing is written there.
    """
    folder = existing_folder(name)
    if not (folder / LAST).exists() and not (folder / PREVIOUS).exists():
        fix = "start again: textgen train"
        raise CheckpointError(str(folder), "holds nothing to resume from", fix)
    return folder


def folder_of(name: str | Path) -> Path:
    """Return the folder of a run that is named itself, or by a file in it.

    Raises CheckpointError where no run is.
    """
    path = Path(name)
    folder = path.parent if os.path.isfile(path) else existing_folder(path)
    if not any((folder / file).exists() for file in (METRICS, BEST, LAST, PREVIOUS)):
        raise CheckpointError(str(path), "is no run, nor in the folder of one", "name a run folder")
    return folder


def discard_if_empty(folder: Path) -> None:
    """Delete the folder of a run that ended before anything of it was saved."""
    # Unlike Path.exists, it never raises.
    if any(os.path.exists(folder / name) for name in (BEST, LAST, PREVIOUS)):
        return
    # Whatever else somebody put there stays.
    with contextlib.suppress(OSError):
        remove_leftovers(folder)
        for name in (LOCK, JOB):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def save_last(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `last`; the one before becomes `previous`. At every moment one of them is whole."""
    last, previous = folder / LAST, folder / PREVIOUS
    if os.path.exists(last):
        # A file system without links keeps no previous.
        with contextlib.suppress(OSError):
            _keep(last, previous)
    checkpoint.save(last)


def _keep(last: Path, previous: Path) -> None:
    """Let `previous` be the same file as `last`."""
    spare = previous.with_name(f"{PREVIOUS}.tmp-{os.getpid()}")
    spare.unlink(missing_ok=True)
    try:
        # Resolved, as a link to a link would lead to the new `last`.
        os.link(last.resolve(), spare)
        os.replace(spare, previous)
    finally:
        # It is still there where both were one file already.
        spare.unlink(missing_ok=True)


def load_last(folder: Path) -> tuple[Checkpoint, ResumeState, str | None]:
    """Return what to resume from, and a sentence if that had to be `previous`.

    `previous` then takes the place of a `last` that cannot be read, which is kept as `unread`: a
    newer textgen may read it, or a disk that failed for a moment. So call it with the folder
    locked. Raises CheckpointError when the folder holds nothing to resume from.
    """
    last, previous = resumable_folder(folder) / LAST, folder / PREVIOUS
    try:
        return *_load_resumable(last), None
    except CheckpointError as error:
        if not previous.exists():
            raise
        resumable = _load_resumable(previous)
        # Otherwise the next save would make that one `previous`.
        with contextlib.suppress(OSError):
            if os.path.lexists(last):
                os.replace(last, folder / UNREAD)
            os.replace(previous, last)
        return *resumable, f"{error}; resuming from {PREVIOUS}"


def _load_resumable(path: Path) -> tuple[Checkpoint, ResumeState]:
    checkpoint = Checkpoint.load(path)
    if checkpoint.resume is None:
        fix = f"start a new run from these weights: --init {path}"
        raise CheckpointError(str(path), "has no training state", fix)
    return checkpoint, checkpoint.resume


def find_checkpoint(name: str | Path) -> Path:
    """Return the checkpoint file that a user means: a file, a run folder, or one that ships.

    The models that come with textgen go by their names: demo, base-en.
    """
    path = Path(name)
    # Unlike Path.is_dir, it never raises.
    if os.path.isdir(path):
        best = path / BEST
        if not best.exists():
            fix = "name a run that has been validated"
            raise CheckpointError(str(path), f"holds no {BEST}", fix)
        return best
    if not os.path.lexists(path) and str(name) in SHIPPED:
        return shipped(CHECKPOINTS, f"{name}.safetensors") or path
    return path


def model_name(path: Path) -> str:
    """Return what a checkpoint is called, without saying where it is: as its run, or itself."""
    is_of_run = path.name in (BEST, LAST, PREVIOUS)
    return path.resolve().parent.name if is_of_run else path.stem


def newest_checkpoint(folder: Path = CHECKPOINTS) -> Path:
    """Return the best checkpoint of the newest run below folder, else a demo.

    Newest is the run whose best.safetensors was written last. The demo is the one in folder, or
    the one that was installed with textgen.
    """
    runs = [path for path in folder.glob(f"*/{BEST}") if path.is_file()]
    if runs:
        return max(runs, key=lambda path: path.stat().st_mtime_ns)
    if demo := shipped(folder, DEMO):
        return demo
    fix = "train one: textgen train corpus.txt"
    raise CheckpointError(str(folder), "no checkpoint found", fix)


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed process left; call it with the folder locked."""
    for leftover in folder.glob(LEFTOVERS):
        # A folder is nobody's temporary file.
        with contextlib.suppress(OSError):
            leftover.unlink()


def text_paths(checkpoint: Path, part: str = "train") -> list[str] | None:
    """Return where the text is that the run around a checkpoint was trained or validated on.

    None where nobody knows. Raises CheckpointError when `last`, which says it, is damaged.
    """
    last = checkpoint.with_name(LAST)
    resume = Checkpoint.load(last).resume if last.exists() else None
    return resume.paths_of(part) if resume else None
