"""What compressors are charged in the benchmarks, and what counts as copied."""

import argparse
import importlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
TINY_SHAKESPEARE = 1_003_854, 1_115_394


@pytest.fixture(scope="module", autouse=True)
def benchmarks_can_be_imported():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield


@pytest.fixture(scope="module")
def compressors(benchmarks_can_be_imported):
    return importlib.import_module("compressors")


def lg(n):
    """Count the bits of n as libzpaq does: how often it can be halved."""
    return 0 if n == 0 else 1 + lg(n // 2)


def table_size(block):
    """What libzpaq adds to the sizes of its tables, for a block of so many bytes."""
    return max(lg(block + 4095) - 20, 0)


def possible_blocks(length):
    """The shortest and the longest block that a text becomes: 4 bytes a fragment, 12 at the end."""
    return length, length + 4 * (length // 4096 + 1) + 12


@given(st.integers(1, 60_000_000), st.integers(1, 800_000))
@example(TINY_SHAKESPEARE[0], TINY_SHAKESPEARE[1] - TINY_SHAKESPEARE[0])
@example((1 << 20) - 4096, 1)
@example((1 << 20) - 4095, 200_000)
@example((1 << 20) - 6000, 1905)
def test_within_a_stretch_tables_have_one_size(compressors, train, added):
    whole, end = train + added, train
    pairs = compressors.stretches(train, whole)
    for shorter, longer in pairs:
        blocks = [*possible_blocks(shorter), *possible_blocks(longer)]
        assert len(set(map(table_size, blocks))) == 1
        assert end <= shorter < longer <= whole
        end = longer
    # What is left out lies around one place and is about a thousandth.
    assert sum(longer - shorter for shorter, longer in pairs) >= added - whole // 1000 - 25
    if table_size(train) == table_size(possible_blocks(whole)[1]):
        assert pairs == [(train, whole)]


def test_tiny_shakespeare_lies_on_both_sides(compressors):
    train, whole = TINY_SHAKESPEARE
    (begin, below), (above, end) = compressors.stretches(train, whole)
    assert (begin, above, end) == (train, 2**20 - 4095, whole)
    assert 1_043_000 < below < above


def test_a_change_of_tables_is_charged_to_no_character(compressors, monkeypatch):
    """Stand-in: two bits a byte; larger tables save a tenth of all that was read."""

    def pack(data):
        size = table_size(len(data))
        return compressors.Archive(len(data) // 4 - size * len(data) // 10, [bytes([size])])

    monkeypatch.setattr(compressors, "pack", pack)
    train, whole = TINY_SHAKESPEARE
    found = compressors.measure_zpaq(b"a" * train, b"b" * (whole - train))
    pairs = compressors.stretches(train, whole)
    bytes_added = [pack(b"a" * m).bytes - pack(b"a" * n).bytes for n, m in pairs]
    assert all(added > 0 for added in bytes_added)
    assert found["chars"] == sum(m - n for n, m in pairs) > 110_000
    assert found["adaptive"] == sum(bytes_added) * 8 * math.log(2) / found["chars"]


def test_stretches_with_other_models_have_no_figure(compressors, monkeypatch):
    def pack(data):
        return compressors.Archive(len(data), [bytes([len(data)])])

    monkeypatch.setattr(compressors, "pack", pack)
    assert compressors.measure_zpaq(b"a" * 10, b"b" * 10) == {}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("zpaq"), reason="zpaq is not installed")
def test_archives_tell_the_size_of_their_tables(compressors):
    data = np.random.default_rng(0).integers(97, 101, 1_060_000, dtype=np.uint8).tobytes()
    (begin, below), (above, _) = compressors.stretches(10_000, len(data))
    short, long, longer = (compressors.pack(data[:n]).models for n in (begin, below, above))
    assert short == long != longer


def test_compressors_read_the_beginning_of_the_last_tenth(compressors, monkeypatch, tmp_path):
    pytest.importorskip("pyppmd")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(compressors, "MEASURED_CHARS", 30)
    text = tmp_path / "text.txt"
    text.write_bytes(("é\r\n" * 300).encode())
    train, val = compressors.read_parts(text)
    assert (train, val) == ("é\r\n" * 270, "é\r\n" * 10)
    (row,) = compressors.measure_compressors(text)
    assert row["model"].startswith("PPMd, order ") and row["chars"] == 30


def test_models_are_measured_on_what_compressors_are(compressors, monkeypatch, tmp_path):
    quality = importlib.import_module("quality")
    monkeypatch.setattr(compressors, "MEASURED_CHARS", 30)
    (tmp_path / "text.txt").write_bytes(("é\r\n" * 300).encode())

    def evaluate(run, file, *words):
        assert Path(file).read_bytes() == ("é\r\n" * 10).encode()
        assert words == ("--adaptive", "--dynamic")
        figures = zip(quality.ADAPTIVE_KEYS.values(), (1.5, 1.4), strict=True)
        return {"nats_per_char": 2.0, **dict(figures)}

    monkeypatch.setattr(quality, "evaluate_run", evaluate)
    found = quality.measure_adaptive(tmp_path, tmp_path / "text.txt", ["--dynamic"])
    assert found == {"static": 2.0, "adaptive": 1.5, "adaptive_dynamic": 1.4}


def longest_ending(train, text, end):
    """The longest span of text before `end` that train holds, by trying every one."""
    return max((n for n in range(1, end + 1) if text[end - n : end] in train), default=0)


@given(st.text("ab", min_size=1), st.lists(st.text("abc", min_size=1), min_size=1, max_size=3))
@example("abab", ["abababab", "ab"])
@example("a", ["b"])
def test_matches_are_those_of_a_naive_loop(train, pieces):
    copying = importlib.import_module("copying")
    found = copying.match_lengths(train, pieces).tolist()
    assert found == [longest_ending(train, t, i + 1) for t in pieces for i in range(len(t))]


@given(st.text("ab", min_size=1), st.text("abc", min_size=1), st.integers(1, 6))
def test_share_inside_is_that_of_a_naive_loop(train, text, least):
    copying = importlib.import_module("copying")
    inside = set()
    for begin in range(len(text) - least + 1):
        if text[begin : begin + least] in train:
            inside.update(range(begin, begin + least))
    found = copying.share_inside(copying.match_lengths(train, [text]), least)
    assert found == len(inside) / len(text)


def test_the_scoreboard_stands_between_its_comments_however_often_it_is_made(monkeypatch, tmp_path):
    report = importlib.import_module("report")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "RELIABILITY_PAGE", page)
    # Without results it stays as it is.
    assert report.reliability_page() == page.read_text()
    names = ("date", "commit", "cpu", "cores", "python", "torch")
    rows = [{"what": "a kill", "tried": 1234, "clean": 1233}]
    data = {"command": "x", "facts": dict.fromkeys(names, "y"), "seconds": 300, "rows": rows}
    (tmp_path / "reliability.json").write_text(json.dumps(data))
    made = report.reliability_page()
    assert made.startswith("before\n") and made.endswith("\nafter\n") and "old" not in made
    assert "| a kill | 1,234 | 1,233 |" in made and "5 minutes" in made
    page.write_text(made)
    assert report.reliability_page() == made


@pytest.fixture
def gpu(benchmarks_can_be_imported):
    return importlib.import_module("gpu")


def test_without_cuda_the_benchmark_of_a_gpu_says_what_is_missing(gpu, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 5
    said = capsys.readouterr().err
    assert "--device cuda" in said and said.count("\n") == 1


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_runs_dry_and_writes_nothing(gpu, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gpu, "measure_gflops", lambda device: 8.0)
    monkeypatch.setattr(gpu, "save", lambda *a, **k: pytest.fail("a dry run writes nothing"))
    assert gpu.main(["--dry"]) == 0
    said = capsys.readouterr().out
    for size in ("lstm | 1 | 8 | 4", "gru | 1 | 8 | 4", "lstm | 2 | 8 | 4", "gru | 2 | 8 | 4"):
        assert size in said
    assert said.count("True") == 2


def test_without_time_no_size_is_measured(gpu, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "SPEED_SECONDS", -1)
    assert not list(gpu.measure_speed(torch.device("cpu"), gpu.DRY, 1.0))


def test_texts_to_train_on_with_a_gpu(gpu, tmp_path):
    (tmp_path / "wiki").write_bytes("äöü".encode() * 9)
    gpu.WIKIPEDIA_BYTES, before = 5, gpu.WIKIPEDIA_BYTES
    arguments = argparse.Namespace(
        shakespeare=tmp_path / "s.txt", corpora=tmp_path, wikipedia=tmp_path / "wiki"
    )
    runs = list(gpu.wanted_runs(arguments, tmp_path))
    gpu.WIKIPEDIA_BYTES = before
    assert [(path.name, minutes) for path, minutes in runs] == [
        ("s.txt", 3),
        ("war_and_peace.txt", 5),
        ("wikipedia.txt", 9),
    ]
    assert runs[2][0].read_text("utf-8") == "äö"


def test_the_page_says_that_no_gpu_was_measured_until_one_is(monkeypatch, tmp_path):
    report = importlib.import_module("report")
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    assert "Not run yet" in report.gpu_section()
    names = ("date", "commit", "cpu", "cores", "python", "torch")
    row = {"cell": "lstm", "layers": 1, "hidden": 512, "batch": 64, "textgen": 1e6, "share": 0.1}
    run = {"text": "t", "minutes": 3.0, "seconds": 180.0, "chars_seen": 5, "stateful": 1.4}
    data = {"command": "x", "facts": dict.fromkeys(names, "y"), "peak_gflops": 5e5, "gpu": "G"}
    data |= {"cuda": "13.0", "cudnn": "9", "rows": [{**row, "bare": 1.25}], "runs": [run]}
    data["checks"] = [{"check": "same", "holds": "True"}]
    (tmp_path / "gpu.json").write_text(json.dumps(data))
    made = report.gpu_section()
    assert (
        "On one G, CUDA 13.0" in made
        and "| lstm | 1 | 512 | 64 | 1,000,000 | 0.100 | 1.25 |" in made
    )
    assert "| same | True |" in made and "| t | 3 | 180.0 | 5 | 1.4000 |" in made
