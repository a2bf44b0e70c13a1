"""What a power cut leaves of a run, on a file system that may do whatever POSIX allows.

A run is recorded: what its files hold, which names its folders have, and when it waits for the
disk. From the record follow the states that a disk may be in after a power cut at any moment.
Bytes that were not synced may be there, missing, cut short, or zeros; a name that was made, moved
or removed in a folder that was not synced since may be there or not, whatever became of others.

In each of these states nothing may be lost: a file that was saved is there as it was, or whole and
newer, and the run can be resumed from it and ends as if nothing had happened.
"""

import contextlib
import itertools
import os
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from reliability.tiny import (
    OPTIONS,
    VALIDATIONS,
    differences,
    outcome,
    saved_step,
    scratch,
    short_validations,
    write_text,
)

import textgen
from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.training.log import RunLog

STEPS = 8
# What changes a folder, by its name in os.
CHANGING = ("replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir", "symlink")
# Of names that wait for the disk, how many are combined in every way.
MOST_NAMES = 7
FOLDER = object()


class Names(NamedTuple):
    """A change of names at once: the file (a number) that each path leads to, None for none."""

    changes: dict


class Content(NamedTuple):
    """What a file holds from now on, perhaps not yet on the disk."""

    file: int
    data: bytes


class Synced(NamedTuple):
    """The disk has what a file holds, or the names in a folder."""

    what: object


class Saved(NamedTuple):
    """A program was told that a path holds this for good."""

    path: str
    data: bytes


class Recorder:
    """What happens below a folder while `recording`, as a list of the above.

    It compares what lies there before and after each call that changes names or waits for the disk,
    so it does not matter how files are opened and written.
    """

    def __init__(self, root):
        self.root, self.log = root, []
        self.files, self.names, self.held = {}, {}, {}

    @contextlib.contextmanager
    def recording(self):
        """Record what happens inside a `with`."""
        save = Checkpoint.save

        def noted_save(checkpoint, path, *arguments):
            save(checkpoint, path, *arguments)
            self.log.append(Saved(self._relative(path), Path(path).read_bytes()))

        with contextlib.ExitStack() as stack:
            for name in CHANGING:
                stack.enter_context(mock.patch.object(os, name, self._noted(getattr(os, name))))
            stack.enter_context(mock.patch.object(os, "fsync", self._noted_sync(os.fsync)))
            stack.enter_context(mock.patch.object(Checkpoint, "save", noted_save))
            yield
        self._look()

    def _relative(self, path):
        return str(Path(path).relative_to(self.root))

    def _noted(self, call):
        def noted(*arguments, **options):
            self._look()
            try:
                return call(*arguments, **options)
            finally:
                self._look(at_once=True)

        return noted

    def _noted_sync(self, call):
        def noted(descriptor):
            self._look()
            call(descriptor)
            inode = os.fstat(descriptor).st_ino
            folders = {os.stat(self.root).st_ino: "."}
            for path, (number, file) in self.names.items():
                if file is FOLDER:
                    folders[number] = path
            if inode in folders:
                self.log.append(Synced(folders[inode]))
            else:
                files = {number: file for number, file in self.names.values()}
                self.log.append(Synced(files[inode]))

        return noted

    def _look(self, at_once=False):
        """Note what is new below the folder; at_once: as one change."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            number = path.stat().st_ino
            known = {n: file for n, file in self.names.values()} | {
                n: file for n, file in found.values()
            }
            file = FOLDER if path.is_dir() else known.get(number, len(self.held))
            found[self._relative(path)] = number, file
            if file is not FOLDER and self.held.get(file) != (data := path.read_bytes()):
                self.held[file] = data
                self.log.append(Content(file, data))
        gone = [path for path in self.names if path not in found]
        new = {path: e[1] for path, e in found.items() if self.names.get(path) != e}
        changes = dict.fromkeys(gone) | new
        self.names = found
        if at_once and changes:
            self.log.append(Names(changes))
        else:
            self.log += [Names({path: file}) for path, file in changes.items()]


class Disk:
    """What a disk surely has at a moment of a record, and what it may have."""

    def __init__(self):
        self.names, self.waiting = {}, []
        self.synced, self.written = {}, {}

    def note(self, entry):
        """Let the next thing of a record happen."""
        if isinstance(entry, Names):
            self.waiting.append(entry.changes)
        elif isinstance(entry, Content):
            self.written.setdefault(entry.file, []).append(entry.data)
        elif isinstance(entry, Synced) and isinstance(entry.what, int):
            if entry.what in self.written:
                self.synced[entry.what] = self.written.pop(entry.what)[-1]
        elif isinstance(entry, Synced):
            self._sync_names(entry.what)

    def _sync_names(self, folder):
        later = []
        for changes in self.waiting:
            if all((os.path.dirname(path) or ".") == folder for path in changes):
                apply(self.names, changes)
            else:
                later.append(changes)
        self.waiting = later

    def states(self):
        """Yield what may be there after a power cut: the bytes of each path, None for a folder."""
        for kept in self._subsets():
            names = dict(self.names)
            for changes in kept:
                apply(names, changes)
            reached = {path: file for path, file in names.items() if is_reached(path, names)}
            # What a temporary file holds, nothing reads.
            files = {file for path, file in reached.items() if ".tmp-" not in path}
            files = sorted(files - {FOLDER})
            for contents in itertools.product(*map(self._contents, files)):
                held = dict(zip(files, contents, strict=True))
                yield {
                    path: None if file is FOLDER else held.get(file, b"")
                    for path, file in reached.items()
                }

    def _subsets(self):
        """Yield every subset of the changes of names that wait for the disk, in their order."""
        early, late = self.waiting[:-MOST_NAMES], self.waiting[-MOST_NAMES:]
        for number in range(len(late) + 1):
            for kept in itertools.combinations(late, number):
                yield [*early, *kept]

    def _contents(self, file):
        """All that a file may hold."""
        synced = self.synced.get(file, b"")
        found = [synced]
        for data in self.written.get(file, []):
            # What was added to is still there.
            same = len(synced) if data.startswith(synced) else 0
            middle = (same + len(data)) // 2
            # Whole, nothing but its length, its first half, its second half.
            found += [data, data[:same] + bytes(len(data) - same), data[:middle]]
            found.append(data[:same] + bytes(middle - same) + data[middle:])
        return list(dict.fromkeys(found))


def apply(names, changes):
    """Let a change of names happen."""
    for path, file in changes.items():
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file


def is_reached(path, names):
    """Tell whether the folders that a path lies in are there."""
    parents = [str(parent) for parent in Path(path).parents][:-1]
    return all(names.get(parent) is FOLDER for parent in parents)


class Record(NamedTuple):
    """A run that was recorded, and what it ended in."""

    log: list
    run: str
    expected: dict


def record(folder):
    """Record a run from the making of its folder to its end."""
    root = folder / "recorded"
    root.mkdir()
    text = write_text(folder)
    recorder = Recorder(root)
    run = root / "new" / "run"
    with recorder.recording():
        textgen.train(text, out=str(run), steps=STEPS, **OPTIONS)
    return Record(recorder.log, "new/run", outcome(run))


def moments(log):
    """Yield the disk after each thing of a record, and how often each path was saved by then."""
    disk, saved = Disk(), {}
    for entry in log:
        if isinstance(entry, Saved):
            saved[entry.path] = saved.get(entry.path, 0) + 1
        else:
            disk.note(entry)
        yield disk, saved


class Versions:
    """What may stand in the files of a run, told from its record."""

    def __init__(self, record):
        self.record, self.of = record, {}
        for entry in record.log:
            if isinstance(entry, Saved):
                self.of.setdefault(entry.path, []).append(entry.data)

    def lost(self, state, saved):
        """What is missing or wrong in a state after so many saves of each path, "" if nothing."""
        for path, versions in self.of.items():
            done = saved.get(path, 0)
            found = state.get(path)
            if done == 0 and found is None:
                continue
            if found not in versions[max(0, done - 1) :]:
                return f"{path} is {'not there' if found is None else 'damaged or old'}"
        previous = state.get(f"{self.record.run}/{runs.PREVIOUS}")
        if previous not in (None, *self.of[f"{self.record.run}/{runs.LAST}"]):
            return "previous is damaged"
        return ""


def lay_out(state, folder):
    """Make files and folders as they are in a state."""
    for path, data in sorted(state.items()):
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)


def log_lacks(run):
    """What the logs lack of the validations before the step that is resumed from, "" if nothing."""
    step = saved_step(run)
    if step is None:
        return ""
    RunLog(run, quiet=True).forget_after(step)
    path, samples = run / runs.METRICS, run / "samples.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    written = samples.read_bytes().count(b"--- step ") if samples.exists() else 0
    due = step // (STEPS // VALIDATIONS)
    if len(lines) != due or written < due:
        return f"{len(lines)} validations and {written} samples at step {step}"
    return ""


def wrong_after(state, record, saved, versions, resume):
    """What is wrong after a power cut that left a state, "" if nothing."""
    if wrong := versions.lost(state, saved):
        return wrong
    with scratch() as folder:
        lay_out(state, Path(folder))
        run = Path(folder, record.run)
        if wrong := log_lacks(run):
            return wrong
        if resume and saved_step(run) is not None:
            textgen.train(resume=run)
            return ", ".join(differences(outcome(run), record.expected))
    return ""


def power_cuts(record, resume=lambda number: False):
    """Yield what is wrong in every state after a power cut at every moment, "" if nothing.

    resume: whether the run is resumed to its end in the state of a number; it takes a while.
    """
    versions, seen = Versions(record), set()
    for disk, saved in moments(record.log):
        for state in disk.states():
            key = tuple(sorted(state.items(), key=str)), tuple(sorted(saved.items()))
            if key not in seen:
                seen.add(key)
                yield wrong_after(state, record, saved, versions, resume(len(seen)))


def possible(record):
    """All states after a power cut, without what nobody reads."""
    return {
        (
            frozenset(item for item in state.items() if ".tmp-" not in item[0]),
            *sorted(saved.items()),
        )
        for disk, saved in moments(record.log)
        for state in disk.states()
    }


def sabotages(record, every=1):
    """Yield the record without one wait for the disk, for every n-th of them, and what is left out.

    Not where that allows nothing new, as where the same file was saved twice.
    """
    allowed = possible(record)
    waits = [number for number, entry in enumerate(record.log) if isinstance(entry, Synced)]
    for number in waits[::every]:
        without = record._replace(log=record.log[:number] + record.log[number + 1 :])
        if not possible(without) <= allowed:
            yield without, record.log[number]


def run(resume_every=3, sabotage_every=1, report=print):
    """Try every state of the disk after a power cut at every moment of a run.

    Returns how many were tried and how many lost nothing; in one of so many the run is resumed to
    its end. And how many waits for the disk were left out of the record, which must be noticed.
    """
    total, noticed = {"tried": 0, "clean": 0}, {"tried": 0, "clean": 0}
    with scratch() as folder, short_validations():
        recorded = record(Path(folder).resolve())
        for wrong in power_cuts(recorded, lambda number: number % resume_every == 0):
            total["tried"] += 1
            total["clean"] += not wrong
            if wrong:
                report(f"state {total['tried']} after a power cut: {wrong}")
        for sabotaged, entry in sabotages(recorded, sabotage_every):
            found = any(power_cuts(sabotaged))
            noticed["tried"] += 1
            noticed["clean"] += found
            if not found:
                report(f"nothing noticed that the disk was not waited for: {entry}")
    return {
        "a state of the disk after a power cut": total,
        "a wait for the disk left out, noticed": noticed,
    }
