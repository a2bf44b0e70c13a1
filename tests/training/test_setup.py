"""What a run needs before its first step: products in bfloat16 where a CPU has them."""

import pytest

import textgen
from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.errors import MachineError, TextgenError, UsageError
from textgen.training import setup

SIZES = {"cell": "gru", "hidden": 8, "embedding": 4, "batch": 2, "window": 8, "threads": 1}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("the cat sat on the mat\n" * 60, encoding="utf-8")
    return path


@pytest.fixture
def bfloat16(monkeypatch):
    """Make the CPU one that has products of bfloat16 numbers, or one that lacks them.

    Where it really lacks them the layers take the plain product, which is slow and right.
    """
    return lambda has: monkeypatch.setattr(setup, "can_pack", lambda dtype: has)


def precision_of(folder):
    return Checkpoint.load(folder / runs.LAST).metadata.training["precision"]


def test_a_cpu_with_bfloat16_trains_in_it(corpus, tmp_path, bfloat16):
    bfloat16(True)
    textgen.train(corpus, out=str(tmp_path / "run"), precision="bfloat16", steps=3, **SIZES)
    assert precision_of(tmp_path / "run") == "bfloat16"


def test_bfloat16_on_a_cpu_without_it_is_an_error_of_the_machine(corpus, tmp_path, bfloat16):
    bfloat16(False)
    with pytest.raises(MachineError, match="--precision") as caught:
        textgen.train(corpus, out=str(tmp_path / "run"), precision="bfloat16", steps=3, **SIZES)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "run").exists()


def test_no_precision_is_chosen_that_the_cpu_lacks(corpus, tmp_path, bfloat16):
    bfloat16(False)
    textgen.train(corpus, out=str(tmp_path / "run"), steps=3, **SIZES)
    assert precision_of(tmp_path / "run") == "float32"


def test_a_run_in_bfloat16_goes_on_in_float32_where_the_cpu_lacks_it(
    corpus, tmp_path, bfloat16, capsys
):
    bfloat16(True)
    with pytest.raises(TextgenError, match="stopped at step 2"):
        options = {"precision": "bfloat16", "steps": 4, "stop": stop_after(2)}
        textgen.train(corpus, out=str(tmp_path / "run"), **options, **SIZES)
    bfloat16(False)
    result = textgen.train(resume=tmp_path / "run", quiet=False)
    assert "float32, as this CPU has none in bfloat16: no longer exact" in "".join(
        capsys.readouterr()
    )
    assert result.steps == 4
    assert precision_of(tmp_path / "run") == "float32"


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_only_the_gru_has_products_in_bfloat16(corpus, tmp_path, bfloat16, cell):
    bfloat16(True)
    sizes = {**SIZES, "cell": cell, "steps": 2}
    with pytest.raises(UsageError, match="only a GRU"):
        textgen.train(corpus, out=str(tmp_path / "run"), precision="bfloat16", **sizes)
    textgen.train(corpus, out=str(tmp_path / "run"), **sizes)
    assert precision_of(tmp_path / "run") == "float32"


def stop_after(steps):
    """A `stop` that asks the run to end after so many steps."""
    left = iter(range(steps - 1, -1, -1))
    return lambda: 15 if next(left, 0) == 0 else None
