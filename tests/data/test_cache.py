"""An array in the cache is the one that was stored, or it is not there."""

import json
import os
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.data import cache
from textgen.errors import MachineError

ABOUT = {"name": "corpus.txt", "codepoints": [10, 97]}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(key="key", numbers=(1, 2, 3), dtype="u1", pieces=2):
    parts = np.array_split(np.array(numbers, dtype), pieces)
    return cache.store(key, parts, np.dtype(dtype), len(numbers), ABOUT)


@given(st.lists(st.integers(0, 2**16 - 1)), st.sampled_from(["u2", "u4"]), st.integers(1, 5))
def test_an_array_comes_back_as_it_was_stored(numbers, dtype, pieces):
    stored("same", numbers, dtype, pieces)
    entry = cache.find_entry("same", verify=True)
    assert entry.array().dtype == dtype
    assert entry.array().tolist() == numbers
    assert entry.metadata == ABOUT


def test_an_array_is_mapped_and_not_read():
    stored()
    assert isinstance(cache.find_entry("key").array(), np.memmap)


def test_it_may_be_shorter_than_the_room_that_was_asked_for():
    cache.store("key", [np.array([7], "u1")], np.dtype("u1"), 1000, {})
    assert cache.find_entry("key").array().tolist() == [7]


def test_what_was_never_stored_is_not_there(folder):
    assert cache.find_entry("key") is None
    assert not folder.exists()  # asking leaves no trace


def damage_by_a_bit(path):
    data = bytearray(path.read_bytes())
    data[1] ^= 1
    path.write_bytes(data)


def damage_and_put_the_time_back(path):
    before = path.stat()
    damage_by_a_bit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1])


def replace_by_a_copy(path):
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes()[::-1])
    before = path.stat()
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    copy.replace(path)


@pytest.mark.parametrize(
    "damage",
    [damage_by_a_bit, damage_and_put_the_time_back, cut_short, replace_by_a_copy, os.remove],
    ids=lambda function: getattr(function, "__name__", "remove"),
)
def test_a_file_that_was_touched_is_not_there(folder, damage):
    stored()
    damage(folder / "key.ids")
    assert cache.find_entry("key") is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"dtype": "f4"}', "null", "[" * 100_000, '{"written":' * 100_000],
    ids=lambda text: text[:12],
)
def test_facts_that_make_no_sense_are_as_none(folder, text):
    stored()
    (folder / "key.json").write_text(text)
    assert cache.find_entry("key") is None


def test_facts_of_another_length_or_type_are_refused(folder):
    stored()
    path = folder / "key.json"
    good = json.loads(path.read_text())
    for wrong in (
        *({"length": 2}, {"length": 4}, {"length": None}, {"length": "x"}, {"length": 1e999}),
        *({"dtype": "u2"}, {"dtype": "i1"}, {"dtype": "O"}, {"dtype": 5}, {"dtype": []}),
        *({"dtype": "u1,("}, {"dtype": "uint8,uint8"}, {"dtype": "float64"}, {"dtype": "a3"}),
        *({"length": 3.0}, {"length": "3"}, {"length": True}, {"written": None}, {"written": {}}),
        *({"about": None}, {"about": 5}, {"about": "x"}, {"crc": None}, {"crc": "x"}),
    ):
        path.write_text(json.dumps(good | wrong))
        assert cache.find_entry("key") is None, wrong
    path.write_text(json.dumps(good))
    assert cache.find_entry("key") is not None


def test_verify_reads_the_array_through(folder):
    stored()
    path = folder / "key.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"crc": 1}))
    assert cache.find_entry("key") is not None  # the check would be blind without the next line
    assert cache.find_entry("key", verify=True) is None


def test_an_interrupted_write_leaves_nothing(folder):
    def pieces():
        yield np.zeros(10, "u1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.store("key", pieces(), np.dtype("u1"), 20, {})
    assert cache.find_entry("key") is None
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_written(folder, monkeypatch):
    monkeypatch.setattr(
        cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": cache.SPARE_BYTES + 5})
    )
    assert stored("fits", range(5)).length == 5
    with pytest.raises(MachineError) as caught:
        stored("large", range(6))
    assert caught.value.exit_code == 5
    assert "6 bytes are needed" in caught.value.problem
    assert "TEXTGEN_CACHE" in caught.value.fix
    assert not (folder / "large.ids").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(MachineError) as caught:
        stored()
    assert "TEXTGEN_CACHE" in caught.value.fix
    cache.remember_digest(["a"], "digest")  # what only saves time is done without
    assert cache.recall_digest(["a"]) is None


def test_keys_differ_with_each_part_and_with_where_one_ends():
    keys = [cache.key_of(*parts) for parts in (("a", "b"), ("ab",), ("a",), ("b", "a"), ("ab", ""))]
    assert len(set(keys)) == 5


def test_a_digest_is_known_by_the_whole_signature():
    signature = [["/text", 5, 1, 2], {"encoding": "utf-8"}]
    cache.remember_digest(signature, "digest")
    assert cache.recall_digest(signature) == "digest"
    assert cache.recall_digest([["/text", 5, 1, 3], {"encoding": "utf-8"}]) is None
    assert cache.recall_digest(None) is None


def test_the_index_keeps_the_files_of_late(monkeypatch):
    monkeypatch.setattr(cache, "MOST_REMEMBERED", 2)
    for name in "abc":
        cache.remember_digest([name], name)
    assert [cache.recall_digest([name]) for name in "abc"] == [None, "b", "c"]


def test_a_damaged_index_is_as_none(folder):
    cache.remember_digest(["a"], "digest")
    for text in ("[1]", "5", "{", "[" * 100_000, '{"[\\"a\\"]": 5}', '{"[\\"a\\"]": null}'):
        (folder / "index.json").write_text(text)
        assert cache.recall_digest(["a"]) is None
    cache.remember_digest(["a"], "digest")
    assert cache.recall_digest(["a"]) == "digest"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_nobody_else_may_look_into_the_folder(folder):
    stored()
    assert folder.stat().st_mode & 0o777 == 0o700
    cache.clear()
    cache.remember_digest(["a"], "digest")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_clearing_removes_what_is_ours_and_says_how_much(folder):
    stored()
    cache.remember_digest(["a"], "digest")
    (folder / "notes.txt").write_text("mine")
    size = sum(path.stat().st_size for path in folder.iterdir()) - 4
    assert cache.cached_texts() == [("corpus.txt", 3)]
    assert cache.clear() == size
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    assert cache.clear() == 0
    assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the names of Linux")
def test_by_default_the_cache_lies_where_the_system_says(monkeypatch, tmp_path):
    monkeypatch.delenv("TEXTGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "textgen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "textgen"
