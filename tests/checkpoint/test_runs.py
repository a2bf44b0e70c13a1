"""A run's folder: never somebody else's, never without a whole checkpoint."""

import dataclasses
import errno
import os
from pathlib import Path

import numpy as np
import pytest
from factories import full_checkpoint, resume_state

from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.errors import CheckpointError, MachineError, UsageError
from textgen.files import assets, atomic


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs of these tests land in a folder of their own."""
    monkeypatch.chdir(tmp_path)


def state(step, resumable=True):
    """The checkpoint of a run after so many steps."""
    made = full_checkpoint(resume=resume_state(step) if resumable else None)
    weights = {name: np.full_like(array, step) for name, array in made.weights.items()}
    return dataclasses.replace(made, weights=weights)


def step_of(checkpoint):
    return checkpoint.resume.step


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def touch(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    os.utime(path, (seconds, seconds))
    return path


# New folders.


def test_a_run_is_named_after_its_text_and_then_numbered(tmp_path):
    text = tmp_path / "texts" / "corpus.txt"
    made = [runs.new_folder(text, None) for _ in range(3)]
    assert made == [runs.CHECKPOINTS / name for name in ("corpus", "corpus-2", "corpus-3")]
    assert all(folder.is_dir() for folder in made)


def test_a_gap_in_the_numbers_is_filled_and_nothing_is_taken_over(tmp_path):
    (runs.CHECKPOINTS / "corpus-3").mkdir(parents=True)
    (runs.CHECKPOINTS / "corpus").write_text("a file, not a folder")
    made = [runs.new_folder(tmp_path / "corpus.txt", None).name for _ in range(2)]
    assert made == ["corpus-2", "corpus-4"]


def test_a_wanted_folder_is_made_with_its_parents(tmp_path):
    assert runs.new_folder(tmp_path / "corpus.txt", "a/b/c").is_dir()


def test_the_disk_is_waited_for_when_folders_are_made(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(runs, "sync_folder", synced.append)
    (tmp_path / "a").mkdir()
    runs.new_folder(tmp_path / "corpus.txt", str(tmp_path / "a" / "b" / "c"))
    assert synced == [tmp_path / "a" / "b", tmp_path / "a"]


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_a_wanted_folder_that_exists_is_never_reused(tmp_path, kind):
    wanted = tmp_path / "run"
    if kind == "folder":
        wanted.mkdir()
    elif kind == "file":
        wanted.write_bytes(b"x")
    else:
        wanted.symlink_to("nowhere")
    with pytest.raises(UsageError, match="already exists") as caught:
        runs.new_folder(tmp_path / "corpus.txt", str(wanted))
    assert caught.value.subject == "--out"
    assert f"--resume {wanted}" in caught.value.fix


def test_what_a_killed_run_left_is_taken_over_and_nothing_else(tmp_path):
    wanted = tmp_path / "run"
    wanted.mkdir()
    for name in ("lock", "job", "last.safetensors.tmp-123"):
        (wanted / name).touch()
    assert runs.new_folder(tmp_path / "corpus.txt", str(wanted)) == wanted
    (wanted / "metrics.jsonl").touch()
    with pytest.raises(UsageError, match="already exists"):
        runs.new_folder(tmp_path / "corpus.txt", str(wanted))


@pytest.mark.parametrize("wanted", ["x" * 300, "file/below"])
def test_a_folder_that_cannot_be_made_is_a_machine_error(tmp_path, wanted):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MachineError):
        runs.new_folder(tmp_path / "corpus.txt", wanted)


@pytest.mark.parametrize("name", ["missing", "file", "x" * 5000, "a\0b"])
def test_only_a_folder_can_be_gone_on_with(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no such run"):
        runs.existing_folder(name)
    assert runs.existing_folder(str(tmp_path)) == tmp_path


# Saving and going on.


def test_the_last_state_is_saved_and_the_one_before_kept(tmp_path):
    for step in (1, 2, 3):
        runs.save_last(tmp_path, state(step))
    assert names(tmp_path) == ["last.safetensors", "previous.safetensors"]
    assert step_of(Checkpoint.load(tmp_path / "last.safetensors")) == 3
    assert step_of(Checkpoint.load(tmp_path / "previous.safetensors")) == 2


def test_the_one_before_is_kept_too_where_the_last_one_is_a_link(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.safetensors").symlink_to(tmp_path / "elsewhere")
    for step in (1, 2, 3):
        runs.save_last(tmp_path / "run", state(step))
    assert step_of(Checkpoint.load(tmp_path / "elsewhere")) == 3
    assert step_of(Checkpoint.load(tmp_path / "run" / "previous.safetensors")) == 2


def test_going_on_takes_the_last_state_and_says_nothing(tmp_path):
    runs.save_last(tmp_path, state(1))
    runs.save_last(tmp_path, state(2))
    found, _, sentence = runs.load_last(tmp_path)
    assert (step_of(found), sentence) == (2, None)


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "missing", "folder"])
def test_going_on_falls_back_to_the_state_before_and_says_so(tmp_path, damage):
    runs.save_last(tmp_path, state(1))
    runs.save_last(tmp_path, state(2))
    last = tmp_path / "last.safetensors"
    data = bytearray(last.read_bytes())
    data[-1] ^= 1
    last.unlink()
    if damage == "folder":
        last.mkdir()
    elif damage != "missing":
        last.write_bytes({"truncated": data[:-9], "one bit": data, "empty": b""}[damage])
    found, _, sentence = runs.load_last(tmp_path)
    assert step_of(found) == 1
    assert str(last) in sentence
    assert "previous.safetensors" in sentence


@pytest.mark.parametrize("damage", ["truncated", "link", "folder"])
def test_a_last_state_that_cannot_be_read_is_kept_beside_the_one_resumed_from(tmp_path, damage):
    runs.save_last(tmp_path, state(1))
    runs.save_last(tmp_path, state(2))
    last, unread = tmp_path / "last.safetensors", tmp_path / "unread.safetensors"
    data = last.read_bytes()[:-1]
    last.unlink()
    if damage == "folder":
        last.mkdir()
        (last / "file").write_bytes(data)
    elif damage == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        last.symlink_to("elsewhere")
    else:
        last.write_bytes(data)
    assert step_of(runs.load_last(tmp_path)[0]) == 1
    assert (unread / "file" if damage == "folder" else unread).read_bytes() == data
    runs.save_last(tmp_path, state(3))
    found, _, sentence = runs.load_last(tmp_path)
    assert (step_of(found), sentence) == (3, None)


def test_a_disk_that_cannot_be_read_for_a_moment_loses_no_state(tmp_path, monkeypatch):
    for step in (1, 2):
        runs.save_last(tmp_path, state(step))
    real = Checkpoint.load

    def failing(path):
        if path.name == "last.safetensors":
            raise CheckpointError(str(path), "cannot be read: input/output error", "check the file")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "load", failing)
        assert step_of(runs.load_last(tmp_path)[0]) == 1
    assert step_of(Checkpoint.load(tmp_path / "unread.safetensors")) == 2


def test_when_both_states_are_damaged_that_is_the_error(tmp_path):
    for name in ("last.safetensors", "previous.safetensors"):
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="previous"):
        runs.load_last(tmp_path)


def test_when_the_only_state_is_damaged_that_is_the_error(tmp_path):
    (tmp_path / "last.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="last"):
        runs.load_last(tmp_path)


def test_an_empty_folder_holds_nothing_to_go_on_from(tmp_path):
    with pytest.raises(CheckpointError, match="nothing to resume from"):
        runs.load_last(tmp_path)


def test_weights_without_a_training_state_can_only_start_a_new_run(tmp_path):
    state(1, resumable=False).save(tmp_path / "last.safetensors")
    with pytest.raises(CheckpointError, match="no training state") as caught:
        runs.load_last(tmp_path)
    assert "--init" in caught.value.fix


def full_disk(monkeypatch, after=0):
    """Let every sync of a file from then on report a full disk."""
    real, calls = os.fsync, iter(range(10**9))

    def fsync(handle):
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(atomic.os, "fsync", fsync)


@pytest.mark.parametrize("saved", [1, 2, 3])
def test_a_full_disk_leaves_the_last_state_whole_and_no_litter(tmp_path, monkeypatch, saved):
    for step in range(1, saved + 1):
        runs.save_last(tmp_path, state(step))
    with monkeypatch.context() as patch:
        full_disk(patch)
        for _ in range(3):
            with pytest.raises(MachineError, match="space"):
                runs.save_last(tmp_path, state(9))
    assert set(names(tmp_path)) <= {"last.safetensors", "previous.safetensors"}
    assert step_of(runs.load_last(tmp_path)[0]) == saved
    runs.save_last(tmp_path, state(10))
    assert set(names(tmp_path)) == {"last.safetensors", "previous.safetensors"}
    assert step_of(runs.load_last(tmp_path)[0]) == 10


def test_a_file_system_without_links_still_saves(tmp_path, monkeypatch):
    def no_links(*arguments):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(runs.os, "link", no_links)
    runs.save_last(tmp_path, state(1))
    runs.save_last(tmp_path, state(2))
    assert step_of(runs.load_last(tmp_path)[0]) == 2


def killed(monkeypatch, saves, moment, folder):
    """Save a state, dying at the moment-th change of the folder; return whether it came to that."""
    left = [moment]

    class Died(BaseException):
        pass

    def counted(call):
        def wrapper(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Died
            return call(*arguments, **options)

        return wrapper

    with monkeypatch.context() as patch:
        for name in ("link", "replace", "fsync", "unlink"):
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            runs.save_last(folder, state(saves))
        except Died:
            return True
    return False


def test_a_run_killed_at_any_moment_of_a_save_can_go_on(tmp_path, monkeypatch):
    moments = 0
    while True:
        folder = tmp_path / f"run-{moments}"
        folder.mkdir()
        runs.save_last(folder, state(1))
        runs.save_last(folder, state(2))
        died = killed(monkeypatch, 3, moments, folder)
        assert step_of(runs.load_last(folder)[0]) in (2, 3)
        if not died:
            break
        moments += 1
    assert moments >= 4  # link, rename, sync, rename at least


def test_what_is_kept_half_leaves_no_litter(tmp_path, monkeypatch):
    """The link was made, and could not be moved."""
    runs.save_last(tmp_path, state(1))
    real, left = os.replace, iter([OSError(errno.EIO, os.strerror(errno.EIO))])

    def replace(source, target):
        for error in left:
            raise error
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    runs.save_last(tmp_path, state(2))
    assert names(tmp_path) == ["last.safetensors"]


def test_a_folder_that_is_called_like_a_leftover_stays(tmp_path):
    (tmp_path / "old.tmp-1").mkdir()
    (tmp_path / "last.safetensors.tmp-123").write_bytes(b"half")
    runs.remove_leftovers(tmp_path)
    assert names(tmp_path) == ["old.tmp-1"]


def test_leftovers_of_a_killed_process_are_deleted_and_nothing_else(tmp_path):
    keep = ["best.safetensors", "lock", "metrics.jsonl", "notes.tmp", "samples.txt"]
    for name in (*keep, "last.safetensors.tmp-123", "metrics.jsonl.tmp-9"):
        (tmp_path / name).write_bytes(b"")
    runs.remove_leftovers(tmp_path)
    assert names(tmp_path) == keep


def test_the_folder_of_a_run_that_saved_nothing_is_discarded(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "lock").write_bytes(b"")
    runs.note_job(folder, "job 1")
    (folder / "last.safetensors.tmp-123").write_bytes(b"half")
    runs.discard_if_empty(folder)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors", "previous.safetensors"])
def test_a_folder_with_a_checkpoint_is_never_discarded(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "lock").write_bytes(b"")
    runs.discard_if_empty(tmp_path)
    assert names(tmp_path) == sorted([name, "lock"])


def test_what_somebody_put_into_an_empty_run_stays(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"mine")
    runs.discard_if_empty(tmp_path)
    assert (tmp_path / "notes.txt").read_bytes() == b"mine"


# The job that trains a run.


def test_the_run_of_a_job_is_found_where_it_saved_something(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "CHECKPOINTS", tmp_path)
    for number, folder in enumerate(["corpus", "corpus-2", "corpus[1]", "other"]):
        (tmp_path / folder).mkdir()
        runs.note_job(tmp_path / folder, f"job {number}")
    assert runs.folder_of_job(Path("corpus.txt"), None, "job 1") is None
    for folder in ("corpus", "corpus-2", "corpus[1]", "other"):
        (tmp_path / folder / runs.LAST).touch()
    (tmp_path / "corpus-3").mkdir()
    (tmp_path / "corpus-4").touch()
    assert runs.folder_of_job(Path("corpus.txt"), None, "job 1") == tmp_path / "corpus-2"
    assert runs.folder_of_job(Path("corpus[1].txt"), None, "job 2") == tmp_path / "corpus[1]"
    # That of another text, or of another job, is not taken over.
    assert runs.folder_of_job(Path("corpus.txt"), None, "job 3") is None
    other = str(tmp_path / "other")
    assert runs.folder_of_job(Path("corpus.txt"), other, "job 3") == tmp_path / "other"
    assert runs.folder_of_job(Path("corpus.txt"), other, "job 1") is None


# Finding a checkpoint.


def test_a_run_means_its_best_checkpoint_and_a_file_itself(tmp_path):
    best = touch(tmp_path / "run" / "best.safetensors", 1)
    assert runs.find_checkpoint(tmp_path / "run") == best
    assert runs.find_checkpoint(str(best)) == best


def test_what_ships_goes_by_its_name_unless_a_file_or_run_has_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "shipped", lambda folder, name: Path("installed", name))
    assert runs.find_checkpoint("base-en") == Path("installed/base-en.safetensors")
    assert runs.find_checkpoint("demo") == Path("installed/demo.safetensors")
    assert runs.find_checkpoint("other") == Path("other")
    best = touch(tmp_path / "demo" / "best.safetensors", 1)
    assert runs.find_checkpoint("demo").samefile(best)


def test_a_run_that_was_never_validated_has_no_best(tmp_path):
    touch(tmp_path / "last.safetensors", 1)
    with pytest.raises(CheckpointError, match=r"no best\.safetensors"):
        runs.find_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["missing", "x" * 5000, "a\0b"])
def test_a_name_that_is_no_folder_is_left_to_the_reader(tmp_path, name):
    path = runs.find_checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError):
        Checkpoint.load(path)


def test_the_newest_run_is_the_one_whose_best_was_written_last(tmp_path):
    for name, seconds in (("b", 300), ("a", 200), ("c", 100)):
        touch(tmp_path / name / "best.safetensors", seconds)
    touch(tmp_path / "d" / "last.safetensors", 900)  # never validated
    touch(tmp_path / "demo.safetensors", 999)
    (tmp_path / "e" / "best.safetensors").mkdir(parents=True)
    assert runs.newest_checkpoint(tmp_path) == tmp_path / "b" / "best.safetensors"


def test_without_a_run_it_is_the_demo(tmp_path):
    touch(tmp_path / "d" / "last.safetensors", 900)
    demo = touch(tmp_path / "demo.safetensors", 1)
    assert runs.newest_checkpoint(tmp_path) == demo


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_without_any_checkpoint_it_says_how_to_make_one(tmp_path, monkeypatch, folder):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(assets, "__file__", str(tmp_path / "package" / "files" / "assets.py"))
    with pytest.raises(CheckpointError, match="no checkpoint found") as caught:
        runs.newest_checkpoint(tmp_path / folder)
    assert "textgen train" in caught.value.fix


def test_the_demo_that_was_installed_with_the_package_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "__file__", str(tmp_path / "package" / "files" / "assets.py"))
    demo = touch(tmp_path / "package" / "assets" / "demo.safetensors", 1)
    assert runs.newest_checkpoint(tmp_path / "missing") == demo


def test_a_model_is_called_as_its_run_or_its_file(tmp_path, monkeypatch):
    assert runs.model_name(tmp_path / "corpus-2" / "best.safetensors") == "corpus-2"
    assert runs.model_name(tmp_path / "models" / "demo.safetensors") == "demo"
    (tmp_path / "corpus").mkdir()
    monkeypatch.chdir(tmp_path / "corpus")
    assert runs.model_name(Path("last.safetensors")) == "corpus"
