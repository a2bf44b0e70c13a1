"""Checkpoints of the present format, kept as they are: what they say must be readable for ever.

One for each kind of cell, units and text, and one that a run is resumed from. Beside them stands
what they write, what a text costs them, and the digest of their weights. A file is never made anew:
when the format changes, files of the new one join those of the old. They were made by

    PYTHONPATH=tests python tests/test_golden.py

which makes only what is missing, and thereby checks that whatever exists is left alone.
"""

import dataclasses
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import pytest

import textgen
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.config.train import TrainConfig
from textgen.data.fingerprints import fingerprint
from textgen.evaluation.evaluator import evaluate
from textgen.textmodel import TextModel
from textgen.training.setup import resume_setup

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = GOLDEN / "expected.json"
MOST_BYTES = 30_000
WORDS = ["the fox", "a café", "the river", "日本", "an owl", "the old man", "no one", "the cat"]
DOINGS = ["slept", "went by", "said nothing", "sang", "fell", "came home"]
TEXT = "".join(
    f"{WORDS[n % 8]} {DOINGS[n % 6]}" + (", " if n % 5 else ".\n") for n in range(0, 7 * 96, 7)
)
# Each with what is special about it. Networks are tiny, and read the text often.
KINDS = {
    "gru-char": {"cell": "gru", "ngrams": 6},
    "lstm-char-layers": {"cell": "lstm", "layers": 2, "ngrams": 1},
    "rnn-char-records": {"cell": "rnn", "records": "lines", "ngrams": 4},
    "gru-byte-half": {"cell": "gru", "tokenizer": "byte", "ngrams": 5},
    "lstm-byte-records": {"cell": "lstm", "tokenizer": "byte", "records": "lines", "ngrams": 1},
    "rnn-bpe": {"cell": "rnn", "tokenizer": "bpe", "vocab_size": 280, "ngrams": 4},
    "gru-unigram-records": {
        "cell": "gru", "tokenizer": "unigram", "vocab_size": 280, "records": "lines", "ngrams": 3,
    },
    "gru-char-last": {"cell": "gru", "ngrams": 4},
}  # fmt: skip


def make(kind, folder):
    """Train a model of a kind and return it."""
    (folder / "corpus.txt").write_text(TEXT, encoding="utf-8")
    sizes = {"hidden": 6, "embedding": 4, "batch": 4, "window": 16, "threads": 1, "lr": 0.02}
    config = TrainConfig(
        **{**sizes, **KINDS[kind]}, steps=150, init="none", precision="float32", split="0.8,0.1,0.1"
    )
    out = folder / kind
    if kind.endswith("-last"):
        steps = iter(range(60))
        with pytest.raises(textgen.Interrupted):
            stop = lambda: None if next(steps, None) is not None else 15  # noqa: E731
            textgen.train(folder / "corpus.txt", config, out=str(out), stop=stop)
        made = Checkpoint.load(out / "last.safetensors")
        config = dataclasses.replace(made.resume.config, out=None)
        resume = dataclasses.replace(made.resume, texts=("corpus.txt",), config=config)
        return dataclasses.replace(made, resume=resume)
    made = Checkpoint.load(textgen.train(folder / "corpus.txt", config, out=str(out)).best)
    if kind == "gru-char":
        return dataclasses.replace(made, fingerprint=fingerprint([TEXT]))
    return made


def describe(checkpoint):
    """What a checkpoint writes and what a text costs it, and the digest of its weights."""
    model = TextModel(checkpoint)
    weights = hashlib.sha256()
    for name in checkpoint.model.shapes():
        weights.update(checkpoint.weights[name].astype("<f4").tobytes())
    return {
        "greedy": model.sample("the fox ", length=40, temperature=0),
        "bits_per_char": model.score("the owl came home").bits_per_char,
        "weights": weights.hexdigest(),
        "report": dict(checkpoint.report())["model"],
    }


def main():
    """Make what is missing; say what was made."""
    expected = json.loads(EXPECTED.read_text("utf-8")) if EXPECTED.exists() else {}
    GOLDEN.mkdir(exist_ok=True)
    for kind in KINDS:
        path = GOLDEN / f"{kind}.safetensors"
        if path.exists():
            continue
        with tempfile.TemporaryDirectory() as name:
            made = make(kind, Path(name))
        made.save(path, "float16" if kind.endswith("-half") else "float32")
        assert path.stat().st_size <= MOST_BYTES, (kind, path.stat().st_size)
        expected[kind] = describe(Checkpoint.load(path))
        sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes\n")
    text = json.dumps(expected, indent=1, ensure_ascii=False, sort_keys=True)
    EXPECTED.write_text(text + "\n", encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_a_golden_checkpoint_loads_and_says_what_it_always_said(kind):
    path = GOLDEN / f"{kind}.safetensors"
    before = path.read_bytes()
    found = describe(Checkpoint.load(path))
    expected = json.loads(EXPECTED.read_text("utf-8"))[kind]
    assert found.pop("bits_per_char") == pytest.approx(expected.pop("bits_per_char"), rel=1e-5)
    assert found == expected
    # Reading never alters a file.
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_golden_checkpoint_finds_its_text_and_its_part(kind, tmp_path, one_core):
    text = tmp_path / "corpus.txt"
    text.write_text(TEXT, encoding="utf-8")
    result = evaluate(GOLDEN / f"{kind}.safetensors", text, part="val")
    assert 0 < result.bits_per_char < 8


def test_a_golden_run_is_resumed(tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT, encoding="utf-8")
    run = tmp_path / "run"
    run.mkdir()
    golden = GOLDEN / "gru-char-last.safetensors"
    (run / "last.safetensors").write_bytes(golden.read_bytes())
    setup = resume_setup(run, [tmp_path / "corpus.txt"], TrainConfig())
    assert (setup.trainer.step, setup.plan.steps) == (61, 150)
    assert setup.trainer.update(learning_rate=1e-3) < 4


def test_every_golden_file_is_known_and_small():
    files = {path.stem: path.stat().st_size for path in GOLDEN.glob("*.safetensors")}
    assert files.keys() == KINDS.keys() == json.loads(EXPECTED.read_text("utf-8")).keys()
    assert max(files.values()) <= MOST_BYTES


if __name__ == "__main__":
    main()
