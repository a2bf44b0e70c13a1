"""Make checkpoints/base-en.safetensors, the network that English runs start from: make base.

    make base WIKIPEDIA=enwiki.txt.xz

It reads the novels and the prose of the registry, and articles of the English Wikipedia where a
plain text of them is given: title, empty line, paragraphs, two empty lines. What it writes and
trains lies in corpora/base-en and checkpoints/base-en-run; interrupted, it goes on where it was.
Hours on two cores, minutes on a GPU.

Books come in one form here and in another one there. So paragraphs are set in lines of one length
or another, or not at all, and quotation marks are made straight or curly; the figure to reach is
that of articles as they are, which the network has not read.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import re
import string
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from textgen.checkpoint import Checkpoint
from textgen.cli import main
from textgen.data import fingerprints, read, registry
from textgen.files import write_output

BOOKS = ("english-novels", "english-prose")
TEXTS, RUN = Path("corpora/base-en"), Path("checkpoints/base-en-run")
BASE = Path("checkpoints/base-en.safetensors")
# What the base can read and write: paragraphs with other characters are left out.
LETTERS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýŒœ"
SIGNS = "‘’“”–—…•°£€§½×"
ALPHABET = frozenset("\n" + string.printable[:95] + LETTERS + SIGNS)
# Characters of Wikipedia that are read, and articles that are held out.
MOST_OF_WIKIPEDIA, HELD_OUT = 26_500_000, 250
# An article of fewer characters says little; of books so many stay together.
SHORT_ARTICLE, PIECE = 200, 6000
STRAIGHT = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "—": "--"})
# The learning rate falls to its end over a single pass.
SETTINGS = (
    "--init none --hidden 1024 --window 128 --batch 32 --ngrams 1 --weight-decay 0.1 --epochs 1"
)


def make() -> None:
    """Write the texts, train on them, and pack what has been trained."""
    parser = argparse.ArgumentParser(description="Make checkpoints/base-en.safetensors.")
    parser.add_argument("--wikipedia", type=Path, help="articles of the English Wikipedia")
    arguments = parser.parse_args()
    train, held_out = TEXTS / "base-en.txt", TEXTS / "held-out.txt"
    if not train.exists():
        write_texts(arguments.wikipedia, train, held_out)
    if RUN.exists():
        words = ["--resume", str(RUN)]
    else:
        words = [str(train), "--val", str(held_out), "--out", str(RUN), *SETTINGS.split()]
    # As the command does it: Ctrl-C saves.
    if code := main(["train", *words]):
        sys.exit(code)
    pack(train)


def write_texts(wikipedia: Path | None, train: Path, held_out: Path) -> None:
    """Write what is read and what is held out, each piece in its dress, in a fixed order."""
    dice = random.Random(0)
    pieces = [dress(piece, dice) for name in BOOKS for piece in book_pieces(registry.build(name))]
    kept = pieces[::100]
    if wikipedia is None:
        print("note: without --wikipedia the base reads books alone")
        pieces = [piece for number, piece in enumerate(pieces) if number % 100]
    else:
        articles = list(wikipedia_articles(wikipedia))
        kept = ["\n\n".join([title, "\n".join(rest)]) for title, *rest in articles[-HELD_OUT:]]
        del articles[-HELD_OUT:]
        dice.shuffle(articles)
        room = MOST_OF_WIKIPEDIA
        for title, *paragraphs in articles:
            room -= sum(map(len, paragraphs))
            if room < 0:
                break
            pieces.append(f"{title}\n\n{dress(paragraphs, dice)}")
    dice.shuffle(pieces)
    TEXTS.mkdir(parents=True, exist_ok=True)
    for path, texts in ((held_out, kept), (train, pieces)):
        write_output(path, [("\n\n\n".join(texts) + "\n").encode()])


def book_pieces(path: Path) -> Iterator[list[str]]:
    """Yield the paragraphs of books, some pages at a time, each on a single line unless verse."""
    piece: list[str] = []
    for block in re.split(r"\n\s*\n", path.read_text("utf-8")):
        is_verse = re.search(r"\n {3,}\S", block)
        paragraph = block.strip("\n") if is_verse else " ".join(block.split())
        if paragraph and ALPHABET.issuperset(paragraph):
            piece.append(paragraph)
        if sum(map(len, piece)) > PIECE:
            yield piece
            piece = []
    yield piece


def wikipedia_articles(path: Path) -> Iterator[list[str]]:
    """Yield the title and the paragraphs of each article."""
    text = read(path).text.replace("\u00a0", " ")
    for article in text.split("\n\n\n"):
        title, _, body = article.strip("\n").partition("\n\n")
        paragraphs = [line.strip() for line in body.split("\n")]
        paragraphs = [line for line in paragraphs if line and ALPHABET.issuperset(line)]
        if sum(map(len, paragraphs)) >= SHORT_ARTICLE and ALPHABET.issuperset(title):
            yield [title, *paragraphs]


def dress(paragraphs: list[str], dice: random.Random) -> str:
    """Return paragraphs as one of many editions would print them."""
    quotes, layout = dice.random(), dice.random()
    if quotes < 0.25:
        paragraphs = [curly(paragraph) for paragraph in paragraphs]
    elif quotes < 0.4:
        paragraphs = [paragraph.translate(STRAIGHT) for paragraph in paragraphs]
    if layout < 0.4:
        width = dice.randint(58, 80)
        fill = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False).fill
        return "\n\n".join(map(fill, paragraphs))
    return ("\n\n" if layout < 0.6 else "\n").join(paragraphs)


def curly(text: str) -> str:
    """Return a text with curly quotation marks."""
    text = re.sub(r'(^|[\s(\[—–-])"', r"\1“", text).replace('"', "”")
    return re.sub(r"(^|[\s(\[—–“-])'", r"\1‘", text).replace("'", "’")


def pack(train: Path) -> None:
    """Write the base: the best weights as float16, and the fingerprint of what they have read."""
    best = Checkpoint.load(RUN / "best.safetensors")
    text = read(train)
    pieces = text.pieces(0, len(text))
    known = fingerprints.fingerprint(pieces)
    dataclasses.replace(best, fingerprint=known).save(BASE, "float16")
    print(f"wrote {BASE}: {BASE.stat().st_size:,} bytes")


if __name__ == "__main__":
    make()
