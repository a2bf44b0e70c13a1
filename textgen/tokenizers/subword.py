r"""Pieces of words as ids: a SentencePiece model, made so that every text comes back as it was.

The library sentencepiece is imported when it is needed. Two things that it does are kept from
happening: it writes a space as U+2581, so a text is split at that character, and its bytes stand in
its place; and its decoder alters spaces, so each id's bytes come from a table of our own. What a
text has that the model lacks is spelled in bytes.

    >>> tokenizer, note = SentencePieceTokenizer.train("to be, or not to be", vocab_size=280)
    >>> tokenizer.decode(tokenizer.encode("not\tto  be\u2581"))
    'not\tto  be\u2581'
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from textgen.errors import MachineError, UsageError
from textgen.tokenizers.base import Ids, describe_boundary
from textgen.tokenizers.byte import ByteUnits, replace_surrogates
from textgen.tokenizers.sentencepiece_model import LOSSLESS, SPACE, first_byte_id, read_model

# Pieces: the fewest are <unk>, 256 bytes and some characters; of a large alphabet the usual number
# would be characters alone, so such a text gets the most.
FEWEST_PIECES, USUAL_PIECES, MOST_PIECES = 270, 1000, 4000
# Characters of a block of text that is learnt from.
LONGEST_BLOCK = 4000
# Bytes that are learnt from; more change the pieces little.
MOST_LEARNT_BYTES = 3_000_000
# Characters encoded at a time, so that a long text needs little extra memory.
CHARS_AT_ONCE = 1 << 16
# NUL and the library's own signs, which it cannot learn from.
BARRED = re.compile("[\\0\u2581\u2585]+")


class SentencePieceTokenizer(ByteUnits):
    """One id a piece of a SentencePiece model; the attributes are `Tokenizer`'s and two more.

    model: its bytes. pieces: what it says of its pieces, the boundary not among them.

    Id 0 is <unk> and never used: what is no piece is spelled in bytes.
    """

    kind, noun = "sentencepiece", "pieces"

    def __init__(
        self, model: bytes, counts: np.ndarray | None = None, marked: bool = False
    ) -> None:
        """Take a model.

        Args:
            model: its bytes, as sentencepiece writes them.
            counts: (V,) uint64, how often the training text held each id; by default never.
            marked: whether there is an id more, the boundary between records.

        Raises:
            ValueError: the model is not a lossless one; it says why.
            MachineError: sentencepiece is missing.
        """
        self.pieces = read_model(model)
        self.model_type = self.pieces.model_type
        super().__init__(self.pieces.units, counts, marked)
        self.model = model
        try:
            self._encode = _library().SentencePieceProcessor(model_proto=model).encode
        except (RuntimeError, OSError, TypeError) as error:
            raise ValueError(f"sentencepiece refuses its model: {error}") from None
        first = first_byte_id(self.pieces.units)
        self._space_ids = [first + byte for byte in SPACE.encode()]

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        model_type: str = "bpe",
        vocab_size: int | None = None,
        seed: int = 0,
        marked: bool = False,
    ) -> tuple[SentencePieceTokenizer, str | None]:
        """Learn a tokenizer from text.

        Args:
            text: the text, whole or in pieces.
            model_type: "bpe" or "unigram".
            vocab_size: how many pieces, the boundary not counted; fewer where the text has no
                more. Default: 1,000, for a large alphabet 4,000. Of a large alphabet the rarer
                characters are spelled in bytes.
            seed: decides which blocks of a long text are learnt from.
            marked: whether an id stands between records.

        Returns:
            The tokenizer, and a sentence for the user about it or None.

        Raises:
            UsageError: vocab_size is too small for the 256 bytes.
            TextError: the text holds half of a surrogate pair.
            MachineError: sentencepiece is missing.
        """
        texts = [text] if isinstance(text, str) else text
        blocks, note = sample_blocks([*learnable_blocks(texts)], seed)
        if vocab_size and vocab_size < FEWEST_PIECES:
            problem = f"{vocab_size:,} pieces are 256 bytes and hardly a character"
            raise UsageError("--vocab-size", problem, f"give {FEWEST_PIECES} or more")
        blocks, vocab_size = _replace_rare(blocks, vocab_size)
        model = io.BytesIO()
        settings = {"model_type": model_type, "vocab_size": vocab_size, **LOSSLESS}
        # The last block makes sure that there is a piece for the space.
        _library().SentencePieceTrainer.train(
            sentence_iterator=iter([*blocks, " "]), model_writer=model, **settings
        )
        tokenizer = cls(model.getvalue(), marked=marked)
        learnt = len(tokenizer.units) - marked
        notes = [f"{learnt:,} pieces: the text has no more"] if learnt < vocab_size else []
        return tokenizer, "; ".join(notes + ([note] if note else [])) or None

    def encode(
        self, text: str, unknown: str = "error", subject: str = "text", before: int = 0
    ) -> Ids:
        """Return the ids (n,) of text; see `Tokenizer.encode` for the arguments and errors.

        Long text is cut, at the ends of lines where it has them: there a cut changes no id.
        """
        ids_of_blocks = [np.zeros(0, dtype=self.dtype)]
        for block in cut_blocks(replace_surrogates(text, unknown, subject, before), CHARS_AT_ONCE):
            ids: list[int] = []
            for number, part in enumerate(block.split(SPACE)):
                ids += self._space_ids if number else []
                ids += self._encode(part) if part else []
            ids_of_blocks.append(np.array(ids, dtype=self.dtype))
        return np.concatenate(ids_of_blocks)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays from which `from_tensors` makes it again."""
        return {"model": np.frombuffer(self.model, dtype=np.uint8), "counts": self.counts}

    def describe(self) -> str:
        """Return what its ids are, in words."""
        pieces = len(self.units) - (self.boundary_id is not None)
        return f"{pieces:,} pieces (sentencepiece, {self.model_type})" + describe_boundary(
            self.boundary_id
        )


def _replace_rare(blocks: list[str], vocab_size: int | None) -> tuple[list[str], int]:
    """Return blocks without the characters too rare to be pieces, and the number of pieces.

    At least a quarter of them is left to longer ones. A newline, which is never part of a longer
    piece, stands where a character was.
    """
    counts = Counter("".join([*blocks, " "]))
    size = vocab_size or (USUAL_PIECES if len(counts) <= USUAL_PIECES // 3 else MOST_PIECES)
    kept = {char for char, _ in counts.most_common((size - 260) * 3 // 4)}
    rare = {ord(char): "\n" for char in counts.keys() - kept}
    return [block.translate(rare) for block in blocks] if rare else blocks, size


def cut_blocks(text: str, longest: int) -> Iterator[str]:
    """Yield text in blocks, cut behind a newline, else before a space, else anywhere."""
    start = 0
    while len(text) - start > longest:
        end = text.rfind("\n", start, start + longest) + 1
        end = end or text.rfind(" ", start + 1, start + longest)
        end = end if end > start else start + longest
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def learnable_blocks(texts: Iterable[str]) -> Iterator[str]:
    """Yield what sentencepiece can learn from."""
    for text in texts:
        for part in BARRED.split(replace_surrogates(text, "error", "text", 0)):
            yield from cut_blocks(part, LONGEST_BLOCK)


def sample_blocks(blocks: list[str], seed: int) -> tuple[list[str], str | None]:
    """Return the blocks that are learnt from, in their order, and a sentence about it or None."""
    sizes = np.array([len(block.encode()) for block in blocks], dtype=np.int64)
    total = int(sizes.sum())
    if total <= MOST_LEARNT_BYTES:
        return blocks, None
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(blocks))
    kept = np.sort(order[np.cumsum(sizes[order]) <= MOST_LEARNT_BYTES])
    share = f"{MOST_LEARNT_BYTES / 1e6:.0f} of {total / 1e6:,.0f} MB"
    return [blocks[i] for i in kept], f"learnt from {share}, drawn at random"


def _library() -> Any:
    try:
        import sentencepiece
    except ImportError:
        fix = "pip install sentencepiece"
        raise MachineError("tokenizer", "pieces need sentencepiece", fix) from None
    return sentencepiece
