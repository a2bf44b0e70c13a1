r"""A text as records, such as names or poems: each learnt from its beginning to its end.

The ids of records stand one after the other with a boundary before the first, between two and after
the last: what a model reads before a record's first character and has to predict after its last.
The state is zero at the beginning of each.

Shapes: K records, B rows, T time steps.

    >>> split_records("ann\nbob\nann\n", "lines")
    ['ann', 'bob', 'ann']
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from textgen.tokenizers import Tokenizer

# Separators that have a name, as regular expressions.
SEPARATORS = {"lines": r"\r?\n", "blank-line": r"\r?\n(?:[ \t]*\r?\n)+"}
# A target that does not count, where a row's record has ended.
IGNORED = -1


def split_records(text: str, separator: str) -> list[str]:
    """Return the records of text, without the newlines around them and without empty ones.

    Args:
        text: what is split.
        separator: a name in SEPARATORS, or the text between two records.
    """
    pattern = SEPARATORS.get(separator, re.escape(separator))
    return [record for part in re.split(pattern, text) if (record := part.strip("\r\n"))]


def drop_repeated(records: list[str]) -> tuple[list[str], int]:
    """Return each record once, in the order of first occurrence, and how many were left out."""
    different = list(dict.fromkeys(records))
    return different, len(records) - len(different)


def shuffle_records(records: list[str]) -> list[str]:
    """Return records in an order that is always the same and has nothing to do with their own.

    A list is often sorted, and its end is then unlike its beginning.
    """
    order = np.random.Generator(np.random.Philox(key=len(records))).permutation(len(records))
    return [records[i] for i in order]


def frame_records(records: list[str], tokenizer: Tokenizer, unknown: str = "error") -> np.ndarray:
    """Return the ids (n,) of records with the tokenizer's boundary around each.

    Args:
        records: at least one.
        tokenizer: one with a boundary_id.
        unknown: what becomes of what has no id; see `Tokenizer.encode`.

    Raises:
        TextError: unknown is "error", and something in a record has no id.
    """
    boundary = np.array([tokenizer.boundary_id], tokenizer.dtype)
    parts = [boundary]
    for record in records:
        parts += [tokenizer.encode(record, unknown), boundary]
    return np.concatenate(parts)


@dataclass(frozen=True)
class Records:
    """Where the records of framed ids (n,) lie.

    Attributes:
        starts: (K,) the index of the boundary before each.
        lengths: (K,) what is to be predicted: the ids of the record and the boundary behind it.
    """

    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, boundary_id: int) -> Records:
        """Return the records that boundaries frame."""
        boundaries = np.flatnonzero(np.asarray(ids) == boundary_id)
        return cls(boundaries[:-1], np.diff(boundaries))

    def window(
        self, ids: np.ndarray, rows: np.ndarray, first: int, end: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return x_TB and y_TB, int64, of the steps from `first` to before `end` of some records.

        Args:
            ids: (n,) framed.
            rows: (B,) which records.
            first: the first step, counted from the boundary before each record.
            end: the step after the last.

        Returns:
            x_TB, what is read, and y_TB, what is to be predicted: IGNORED where a record has ended.
        """
        steps_T1 = np.arange(first, end)[:, None]
        inside_TB = steps_T1 < self.lengths[rows]
        indices_TB = np.where(inside_TB, self.starts[rows] + steps_T1, 0)
        x_TB = np.asarray(ids[indices_TB]).astype(np.int64)
        y_TB = np.asarray(ids[indices_TB + 1]).astype(np.int64)
        return x_TB, np.where(inside_TB, y_TB, IGNORED)
