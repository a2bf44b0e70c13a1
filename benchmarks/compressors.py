"""What file compressors make of a text: python benchmarks/compressors.py TEXT [TEXT ...].

PPMd at its best order to 32 and, where the command is installed, `zpaq -m5`. Each is charged what
the first 200,000 characters of the last tenth add to the first nine tenths, in nats a character.
Compressors learn from what they have read, so that compares with a model that goes on learning
(`adaptive`). The order is chosen on what is measured. Prints a table, writes
results/compressors.json. Takes a minute or two for ten megabytes.

zpaq makes its tables the larger the longer the text is, by powers of two. Where that happens within
the measured characters, a difference of sizes is no cost of them: the longer text can even pack
smaller. Then the differences on both sides are added up, and the few characters between are left
out (`stretches`). The archives say what tables they were made with, and that is compared too.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from common import save
from report import COMPRESSORS, table

from textgen.analysis.baselines import measure_ppmd
from textgen.data import corpus
from textgen.data.splits import Split
from textgen.tokenizers import utf8

SPLIT = "0.9,0.1"
MEASURED_CHARS = 200_000
PPMD_ORDERS = (4, 5, 6, 7, 8, 10, 12, 16, 24, 32)
# Bytes of training that are read: PPMd's memory ends at 4 GiB, a block of zpaq's at 64 MiB.
MOST_BYTES = 60_000_000
# zpaq's tables are the smallest for blocks below 2^20 bytes less 4,095.
SMALLEST_TABLES, ROUNDED_UP = 20, 4095
# A block of zpaq's holds 4 bytes more for each fragment, of 4,096 bytes or more, and 12 at its end.
BYTES_PER_EXTRA, MOST_EXTRA = 1024, 20


def read_parts(text: Path) -> tuple[str, str]:
    """Return the training part of a text, and the beginning of the validation part."""
    whole = corpus.read(text)
    bounds = Split(SPLIT).bounds(len(whole))
    begin, end = bounds["val"]
    return whole.slice(*bounds["train"]), whole.slice(begin, min(end, begin + MEASURED_CHARS))


def measure_compressors(text: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each compressor that is installed."""
    train, val = (part.encode() for part in read_parts(text))
    train = train[-MOST_BYTES:]
    chars, start = utf8.count_characters(val), time.monotonic()
    if ppmd := measure_ppmd(train, val, chars, PPMD_ORDERS):
        row = {"model": f"PPMd, order {ppmd.order}", "adaptive": ppmd.nats, "chars": chars}
        yield row | {"seconds": time.monotonic() - start}
    start = time.monotonic()
    if shutil.which("zpaq"):
        row = {"model": "zpaq -m5", **measure_zpaq(train, val)}
        yield row | {"seconds": time.monotonic() - start}


def measure_zpaq(train: bytes, val: bytes) -> dict[str, Any]:
    """Return nats a character and the characters measured, of stretches with the same tables."""
    text = train + val
    nats, chars = 0.0, 0
    for shorter, longer in stretches(len(train), len(text)):
        before, after = pack(text[:shorter]), pack(text[:longer])
        if before.models == after.models:
            nats += (after.bytes - before.bytes) * 8 * math.log(2)
            chars += utf8.count_characters(text[shorter:longer])
    return {"adaptive": nats / chars, "chars": chars} if chars else {}


def stretches(train: int, whole: int) -> list[tuple[int, int]]:
    """Return the pairs of lengths in bytes, from train to whole, between which tables stay alike.

    There are two where zpaq's tables grow on the way, with a gap between: how long the block of a
    text becomes is known but for the fragments that it is cut into.
    """
    longest_block = whole + whole // BYTES_PER_EXTRA + MOST_EXTRA
    if table_bits(train) == table_bits(longest_block):
        return [(train, whole)]
    larger = (1 << (table_bits(longest_block) - 1)) - ROUNDED_UP
    smaller = larger - larger // BYTES_PER_EXTRA - MOST_EXTRA - 1
    pairs = [(train, min(smaller, whole)), (max(larger, train), whole)]
    return [(shorter, longer) for shorter, longer in pairs if shorter < longer]


def table_bits(block: int) -> int:
    """Return what zpaq sizes its tables by: the bits of a block's length, rounded up."""
    return max((block + ROUNDED_UP).bit_length(), SMALLEST_TABLES)


class Archive(NamedTuple):
    """An archive's size, and the models of its blocks, which hold the sizes of their tables."""

    bytes: int
    models: list[bytes]


def pack(data: bytes) -> Archive:
    """Return what `zpaq -m5` makes of data, on one core."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "text").write_bytes(data)
        command = ["zpaq", "add", "archive.zpaq", "text", "-m5", "-t1"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        archive = Path(folder, "archive.zpaq").read_bytes()
    return Archive(len(archive), read_models(archive))


def read_models(archive: bytes) -> list[bytes]:
    """Return the header of each block, which follows "zPQ", the level, 1 and its length."""
    begins = [found.end() for found in re.finditer(rb"zPQ[\x01\x02]\x01", archive)]
    return [
        archive[begin + 2 : begin + 2 + int.from_bytes(archive[begin : begin + 2], "little")]
        for begin in begins
    ]


def main() -> None:
    """Measure every text, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    rows = []
    for text in parser.parse_args().texts:
        rows += [{"text": text.stem, **row} for row in measure_compressors(text)]
    save("compressors", rows)
    print(table(rows, COMPRESSORS))


if __name__ == "__main__":
    main()
