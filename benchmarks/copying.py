"""How much of what a model writes stands in its training text: python benchmarks/copying.py RUN.

A checkpoint or run folder writes 80 texts of 2,500 characters at temperature 0.8, without a prime.
Beside them stand as many characters of text that was held out, in pieces of the same length, other
checkpoints, and texts in files, as `textgen sample OTHER --num 80 --length 2500 --temperature 0.8
--seed 0 --format jsonl --out FILE` writes them: so a model of another version can stand beside.

At each character the longest match is the longest span that ends there and occurs in the training
text; it does not reach over the beginning of a piece. The figures are the longest of all, the mean
over all characters, and the share of the characters in matches of so many characters and more.
Prints a table, writes results/copying-TEXT.json. Takes a minute or two.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import save
from report import COPYING, table

from textgen.checkpoint import runs
from textgen.checkpoint.checkpoint import Checkpoint
from textgen.checkpoint.training_text import part_of
from textgen.engine.contexts import sort_contexts
from textgen.errors import TextError
from textgen.textmodel import load
from textgen.tokenizers import code_points

TEXTS, LENGTH, TEMPERATURE = 80, 2500, 0.8
# Shorter spans are shared by chance and by grammar.
COPIED = (20, 30)


def measure_copying(train: str, pieces: Sequence[str]) -> dict[str, Any]:
    """Return the figures of pieces of text against a training text."""
    lengths = match_lengths(train, pieces)
    row = {"chars": len(lengths), "longest": int(lengths.max()), "mean": float(lengths.mean())}
    return row | {f"copied_{n}": share_inside(lengths, n) for n in COPIED}


def match_lengths(train: str, pieces: Sequence[str]) -> np.ndarray:
    """Return, for each character of the pieces, the longest match with train that ends there.

    All places of both are sorted by what stands before them. A place's longest match is then with
    the nearest place of train above or below it.
    """
    codes = [code_points(text).astype(np.uint32) for text in (train, *pieces)]
    alphabet, ids = np.unique(np.concatenate(codes), return_inverse=True)
    ends = np.cumsum([len(part) for part in codes])
    # After each part stands a number of its own, so that no match reaches over an end.
    vocab = len(alphabet) + len(codes)
    ids = np.insert(ids, ends, np.arange(len(alphabet), vocab))
    ids = ids.astype(np.min_scalar_type(vocab - 1))
    order = sort_contexts(ids, vocab, len(ids))
    rows = np.arange(len(ids))
    of_train = order <= ends[0]
    above = np.maximum.accumulate(np.where(of_train, rows, -1))
    below = np.minimum.accumulate(np.where(of_train, rows, len(ids))[::-1])[::-1]
    wanted = np.flatnonzero(~of_train)
    longest = np.zeros(len(ids), dtype=np.int64)
    for nearest in (above[wanted], below[wanted]):
        exists = (nearest >= 0) & (nearest < len(ids))
        places, others = order[wanted[exists]], order[nearest[exists]]
        longest[places] = np.maximum(longest[places], count_common(ids, places, others))
    # The match that ends with a character stands at the place after it.
    firsts = np.arange(len(ends))[1:] + ends[:-1]
    at = [
        np.arange(first, first + len(part)) for first, part in zip(firsts, codes[1:], strict=True)
    ]
    return np.asarray(longest[np.concatenate(at) + 1])


def count_common(ids: np.ndarray, places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how many ids before each place are the same as those before the other one."""
    common = np.zeros(len(places), dtype=np.int64)
    alike = np.arange(len(places))
    while len(alike):
        back = common[alike] + 1
        alike = alike[ids[places[alike] - back] == ids[others[alike] - back]]
        common[alike] += 1
    return common


def share_inside(lengths: np.ndarray, least: int) -> float:
    """Return the share of characters that lie in matches of so many characters and more."""
    change = np.zeros(len(lengths) + 1, dtype=np.int64)
    ends = np.flatnonzero(lengths >= least)
    np.add.at(change, ends + 1, -1)
    np.add.at(change, ends + 1 - lengths[ends], 1)
    return float(np.count_nonzero(np.cumsum(change[:-1])) / len(lengths))


def write_pieces(model: Path, seed: int) -> list[str]:
    """Return what a model writes."""
    return load(model).batch(num=TEXTS, length=LENGTH, temperature=TEMPERATURE, seed=seed)


def read_pieces(file: Path) -> list[str]:
    """Return the texts in a file of `textgen sample --format jsonl`."""
    return [json.loads(line)["text"] for line in file.read_text("utf-8").split("\n") if line]


def cut_pieces(text: str) -> list[str]:
    """Return as much of a text as a model writes, cut into pieces of that length."""
    return [text[at : at + LENGTH] for at in range(0, min(len(text), TEXTS * LENGTH), LENGTH)]


def read_parts(model: Path, text: Path | None) -> tuple[str, str]:
    """Return what a model was trained on, and what was held out."""
    path = runs.find_checkpoint(model)
    metadata = Checkpoint.load(path).metadata

    def part(name: str) -> str:
        try:
            passage = part_of(path, metadata, name, text)
        except TextError:
            if name == "train":
                raise
            return ""
        return passage if isinstance(passage, str) else "\n".join(passage)

    return part("train"), part("val") + part("test")


def measure_all(
    arguments: argparse.Namespace, train: str, held_out: str
) -> Iterator[dict[str, Any]]:
    """Yield a row for the run, for each that stands beside it, and for the text held out."""
    yield {"model": "textgen"} | measure_copying(train, write_pieces(arguments.run, arguments.seed))
    for name, path in arguments.beside:
        is_model = path.is_dir() or path.suffix == ".safetensors"
        pieces = write_pieces(path, arguments.seed) if is_model else read_pieces(path)
        yield {"model": name} | measure_copying(train, pieces)
    if held_out:
        yield {"model": "held-out text"} | measure_copying(train, cut_pieces(held_out))


def named_path(word: str) -> tuple[str, Path]:
    """Return the parts of NAME=PATH."""
    name, _, path = word.partition("=")
    return name, Path(path)


def main() -> None:
    """Measure all, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--text", type=Path, help="the training text, if it has moved")
    parser.add_argument("--beside", type=named_path, nargs="+", default=[], metavar="NAME=PATH")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    metadata = Checkpoint.load(runs.find_checkpoint(arguments.run)).metadata
    rows = list(measure_all(arguments, *read_parts(arguments.run, arguments.text)))
    name = Path(metadata.corpus.name).stem if metadata.corpus else arguments.run.stem
    save(f"copying-{name}", rows)
    print(table(rows, COPYING))


if __name__ == "__main__":
    main()
