"""A file is the old one or the new one, whatever happens; a folder has one owner."""

import errno
import os
import select
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from textgen.errors import MachineError, RunInUseError, UsageError
from textgen.files import assets, atomic
from textgen.files.atomic import locked, write_atomically, write_output

OLD, NEW = b"the old text", b"the new text, which is longer"


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


def assert_only_old(path):
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == OLD


def run_child(code, *arguments, **options):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_chunks_of_every_kind_are_written_in_order(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, iter([b"ab", memoryview(b"cd"), b"", b"e"]))
    assert path.read_bytes() == b"abcde"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_exists_is_replaced_whole(target):
    write_atomically(target, [NEW])
    assert target.read_bytes() == NEW
    assert len(list(target.parent.iterdir())) == 1


def test_no_file_stays_open(target):
    def lowest_free():
        handle = os.dup(1)
        os.close(handle)
        return handle

    before = lowest_free()
    for _ in range(3):
        write_atomically(target, [NEW])
        with locked(target.parent):
            pass
    assert lowest_free() == before


def interrupt(write, path, error):
    def chunks():
        yield NEW[:5]
        raise error

    with pytest.raises(type(error)):
        write(path, chunks())
    assert_only_old(path)


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()], ids=repr)
def test_an_exception_in_the_middle_leaves_the_old_file(target, error):
    interrupt(write_atomically, target, error)


def test_the_check_of_an_interrupted_write_notices_a_naive_writer(target):
    def naive(path, chunks):
        with path.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)

    with pytest.raises(AssertionError):
        interrupt(naive, target, RuntimeError("bug"))


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EIO, "input/output error"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_a_failing_disk_is_a_machine_error_and_the_old_file_stays(
    target, monkeypatch, call, number, words
):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(MachineError, match=words) as caught:
        write_atomically(target, [NEW])
    assert caught.value.exit_code == 5
    assert caught.value.subject == str(target)
    assert_only_old(target)


def test_a_full_disk_says_how_to_go_on(target, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(MachineError) as caught:
        write_atomically(target, [NEW])
    assert "space" in caught.value.fix


def test_a_limit_that_the_kernel_sets_on_a_file_leaves_the_old_one(target):
    code = """
import resource, sys
from pathlib import Path
from textgen.files import write_atomically
from textgen.errors import MachineError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path(sys.argv[1]), [b"x" * 600, b"y" * 600])
except MachineError as error:
    sys.exit(error.exit_code)
"""
    pytest.importorskip("resource")
    assert run_child(code, target).returncode == 5
    assert_only_old(target)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    path = tmp_path / "missing" / "file"
    with pytest.raises(MachineError, match="no such file or directory") as caught:
        write_atomically(path, [NEW])
    assert caught.value.subject == str(path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_a_machine_error(target):
    target.parent.chmod(0o500)
    try:
        with pytest.raises(MachineError, match="permission denied"):
            write_atomically(target, [NEW])
        assert_only_old(target)
    finally:
        target.parent.chmod(0o700)


def test_a_folder_in_the_file_s_place_is_a_machine_error_and_stays(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(MachineError):
        write_atomically(tmp_path / "file", [NEW])
    assert (tmp_path / "file").is_dir()
    assert len(list(tmp_path.iterdir())) == 1


def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_return(target, monkeypatch):
    """The order that survives a power cut: file synced whole, renamed, folder synced."""
    order = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle):
        status = os.fstat(handle)
        kind = "folder" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes"
        order.append(f"sync {kind}")
        real_fsync(handle)

    def replace(source, destination):
        order.append("rename")
        real_replace(source, destination)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(atomic.os, "replace", replace)
    write_atomically(target, [NEW[:4], NEW[4:]])
    assert order == [f"sync {len(NEW)} bytes", "rename", "sync folder"]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("moment", "left"),
    [("chunks", OLD), ("fsync", OLD), ("replace", OLD), ("sync_folder", NEW)],
)
def test_a_process_killed_at_any_moment_leaves_a_whole_file(target, moment, left):
    code = """
import os, signal, sys
from pathlib import Path
from pathlib import Path

from textgen.files import atomic
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
def chunks():
    yield sys.argv[3].encode()[:5]
    if sys.argv[2] == "chunks":
        die()
    yield sys.argv[3].encode()[5:]
if sys.argv[2] != "chunks":
    setattr(atomic if sys.argv[2] == "sync_folder" else os, sys.argv[2], die)
atomic.write_atomically(Path(sys.argv[1]), chunks())
"""
    child = run_child(code, target, moment, NEW.decode())
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert target.read_bytes() == left


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "file", [NEW])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o444, 0o755])
@pytest.mark.parametrize("write", [write_atomically, write_output])
def test_a_file_that_is_replaced_keeps_its_permissions(target, write, mode):
    target.chmod(mode)
    write(target, [NEW])
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert target.read_bytes() == NEW


def test_a_link_that_somebody_planted_is_not_followed(target):
    victim = target.with_name("victim")
    victim.write_bytes(OLD)
    planted = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    planted.symlink_to(victim)
    write_atomically(target, [NEW])
    assert (target.read_bytes(), victim.read_bytes()) == (NEW, OLD)
    assert not planted.is_symlink()


@pytest.mark.parametrize("name", ["n" * 255, "\U0001f600" * 63, "é" * 127])
def test_the_longest_names_are_written(tmp_path, name):
    write_atomically(tmp_path / name, [NEW])
    assert os.listdir(tmp_path) == [name]


# What a user names


def test_an_output_file_is_replaced_whole_or_not_at_all(target):
    interrupt(write_output, target, KeyboardInterrupt())
    write_output(target, [NEW])
    assert target.read_bytes() == NEW


def test_an_output_behind_links_is_replaced_whole_or_not_at_all(target):
    links = target.parent.parent / f"{target.parent.name}-links"
    links.mkdir()
    (links / "second").symlink_to(target)
    (links / "first").symlink_to("second")
    before = target.stat().st_ino

    def chunks():
        yield NEW
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_output(links / "first", chunks())
    assert_only_old(target)
    write_output(links / "first", [NEW])
    assert target.read_bytes() == NEW
    # A reader keeps the old file.
    assert target.stat().st_ino != before
    assert all(path.is_symlink() for path in links.iterdir())


def test_an_output_behind_a_dangling_link_is_made(tmp_path):
    (tmp_path / "link").symlink_to("new")
    write_output(tmp_path / "link", [NEW])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new").read_bytes() == NEW
    (tmp_path / "other").symlink_to("missing/new")
    with pytest.raises(MachineError, match="no such file or directory"):
        write_output(tmp_path / "other", [NEW])


def test_a_terminal_is_written_to(tmp_path):
    pytest.importorskip("tty")
    master, slave = os.openpty()
    try:
        # Through a link, so that no mistake here can replace a device.
        (tmp_path / "link").symlink_to(os.ttyname(slave))
        write_output(tmp_path / "link", [b"some", memoryview(b" text")])
        shown = b""
        while len(shown) < 9 and select.select([master], [], [], 60)[0]:
            shown += os.read(master, 100)
        assert shown == b"some text"
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no such device here")
def test_a_device_stays_a_device(tmp_path):
    (tmp_path / "link").symlink_to("/dev/null")
    before = os.stat("/dev/null")
    write_output(tmp_path / "link", [NEW])
    assert os.path.samestat(os.stat("/dev/null"), before)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.fixture
def pipe(tmp_path):
    """A named pipe and its reader, which never waits."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with open(reader, "rb", buffering=0) as file:
        yield tmp_path / "pipe", file


def test_a_pipe_gets_each_chunk_at_once(pipe):
    path, reader = pipe
    seen = []

    def chunks():
        for chunk in (b"ab", b"", memoryview(b"cd")):
            yield chunk
            seen.append(reader.read(100))

    write_output(path, chunks())
    assert seen == [b"ab", None, b"cd"]
    # The end, as the writer is gone.
    assert reader.read(100) == b""


def test_a_pipe_takes_more_than_it_holds(pipe):
    path, reader = pipe
    content = bytes(range(256)) * 2000
    writer = threading.Thread(target=write_output, args=(path, [content]))
    writer.start()
    select.select([reader], [], [], 60)
    os.set_blocking(reader.fileno(), True)
    assert reader.readall() == content
    writer.join()


def test_a_reader_that_leaves_is_told_apart_from_a_full_disk(pipe):
    path, reader = pipe

    def chunks():
        yield NEW
        reader.close()
        yield NEW

    with pytest.raises(BrokenPipeError):
        write_output(path, chunks())


def test_an_exception_in_the_middle_ends_what_a_reader_sees(pipe):
    path, reader = pipe

    def chunks():
        yield b"ab"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_output(path, chunks())
    assert reader.readall() == b"ab"


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_what_is_no_file_name_is_a_usage_error(tmp_path, name):
    if os.name == "nt" and "\0" not in name:
        pytest.skip("such a name is one there")
    with pytest.raises(UsageError, match="is not a file name"):
        write_output(tmp_path / name, [NEW])


def test_a_reader_beside_the_writer_sees_the_old_or_the_new_file(target):
    versions = [OLD * 5000, NEW * 5000]
    write_atomically(target, [versions[0]])
    begun, done = threading.Event(), threading.Event()
    seen = set()

    def read():
        while not done.is_set():
            seen.add(target.read_bytes())
            begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert begun.wait(60), "the reader never read"
        for turn in range(60):
            chosen = versions[turn % 2]
            write_atomically(target, [chosen[i : i + 999] for i in range(0, len(chosen), 999)])
    finally:
        # Otherwise a failed write would leave the reader, and so the whole suite, running forever.
        done.set()
        reader.join()
    assert seen
    assert seen <= set(versions)


HOLD_LOCK = """
import sys, time
from pathlib import Path
from textgen.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path."""
    pytest.importorskip("fcntl")
    command = [sys.executable, "-c", HOLD_LOCK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_that_another_process_holds_is_in_use(tmp_path, holder):
    with pytest.raises(RunInUseError) as caught, locked(tmp_path):
        pytest.fail("both hold the lock")
    assert caught.value.exit_code == 6
    assert caught.value.subject == str(tmp_path)


def test_the_lock_of_a_dead_process_is_free(tmp_path, holder):
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        pass


def test_two_owners_in_one_process_exclude_each_other(tmp_path):
    pytest.importorskip("fcntl")
    with locked(tmp_path), pytest.raises(RunInUseError), locked(tmp_path):
        pytest.fail("both hold the lock")


def test_the_lock_is_free_again_after_an_exception(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_hold_a_lock_is_a_machine_error(tmp_path):
    pytest.importorskip("fcntl")
    with pytest.raises(MachineError), locked(tmp_path / "missing"):
        pytest.fail("locked a folder that does not exist")


def test_shipped_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = assets.shipped(Path("corpora"), "corpora.toml")
    assert found is not None and "tiny-shakespeare" in found.read_text("utf-8")
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "corpora.toml").touch()
    assert assets.shipped(Path("corpora"), "corpora.toml") == Path("corpora/corpora.toml")
    assert assets.shipped(Path("corpora"), "absent.toml") is None
