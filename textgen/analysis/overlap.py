"""What a part of a text shares with the training part: the validation figure's blind spot.

A part that the training part holds too can be predicted from memory, and a figure measured on it
says little. Three questions are answered, all exactly: how long the longest span is that occurs in
both, how many spans of 50 characters do, and how many lines.

    >>> measure_overlap("to be or not to be", "let it be or not")
    Overlap(longest=10, text='be or not', ...)

Spans are found by their hashes, those of `spans`: equal spans have equal hashes, so nothing is
overlooked, and what has equal hashes is compared character by character before it counts. For the
longest span the length is bisected, as where a span is shared the shorter ones in it are too; and
once spans of a length are shared, only what they cover is read again for longer ones.

Shapes: n characters of the training part, m of the other part; code points are integers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from textgen.data import SPAN_CHARS, longest_shared, mark_copied
from textgen.tokenizers import code_points

# Characters of the longest span in JSON.
LONGEST_QUOTE = 1_000


@dataclass(frozen=True)
class Overlap:
    """What a part has in common with the training part.

    longest: characters of the longest span in both; text: that span, of several the first in the
    part. spans: of SPAN_CHARS characters, one begins at each position; copied_spans: those that
    the training part has. lines: that are not empty; copied_lines: those that it has too.
    """

    longest: int
    text: str
    spans: int
    copied_spans: int
    lines: int
    copied_lines: int

    @property
    def copied_spans_share(self) -> float:
        """The share of the part's spans that the training part has too; 0 without spans."""
        return self.copied_spans / max(1, self.spans)

    @property
    def copied_lines_share(self) -> float:
        """The share of the part's lines that the training part has too; 0 without lines."""
        return self.copied_lines / max(1, self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return all figures, and the beginning of the longest span."""
        shares = {
            "copied_spans_share": self.copied_spans_share,
            "copied_lines_share": self.copied_lines_share,
        }
        return asdict(self) | {"text": self.text[:LONGEST_QUOTE], "span": SPAN_CHARS} | shares


def measure_overlap(train: str, part: str) -> Overlap:
    """Return what part shares with the training part."""
    train_codes, part_codes = (code_points(text).astype(np.uint32) for text in (train, part))
    longest = longest_shared(train_codes, part_codes)
    train_lines = set(train.split("\n"))
    lines = [line for line in part.split("\n") if line.rstrip("\r")]
    return Overlap(
        longest=len(longest),
        text="".join(map(chr, longest)),
        spans=max(0, len(part) - SPAN_CHARS + 1),
        copied_spans=int(mark_copied(train_codes, part_codes, SPAN_CHARS).sum()),
        lines=len(lines),
        copied_lines=sum(line in train_lines for line in lines),
    )
