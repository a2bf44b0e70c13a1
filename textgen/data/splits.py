"""Training, validation and test part of a text or of its records: the only place that cuts.

>>> split = Split("0.9,0.05,0.05")
>>> split.bounds(1000)
{'train': (0, 900), 'val': (900, 950), 'test': (950, 1000)}
>>> split.part("val", corpus)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from textgen.config import TrainConfig, split_shares
from textgen.data import records
from textgen.data.corpus import Corpus
from textgen.errors import counted

PARTS = ("train", "val", "test")
# Parts that may be texts of their own.
SEPARATE_PARTS = ("val", "test")

Bounds = dict[str, tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Stretch:
    """A stretch of a text, from the character `start` to before `end`."""

    corpus: Corpus
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Split:
    """How a text is cut into parts.

    Attributes:
        shares: of the text in each part, such as "0.9,0.05,0.05".
        records: what stands between two records of the text, None for a text without.
        separate: the parts, of "val" and "test", that are texts of their own.
    """

    shares: str
    records: str | None = None
    separate: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: TrainConfig) -> Split:
        """Return the split that a run's settings ask for."""
        separate = frozenset(part for part in SEPARATE_PARTS if getattr(config, part))
        return cls(config.split, config.records, separate)

    def bounds(self, n: int) -> Bounds:
        """Return where each part of n characters or records begins, and where it ends.

        The training part is exactly floor(share * n) of them, as nanoGPT cuts. Of two shares the
        second is validation, and the test part is empty; a single share of 1 trains on all. A
        validation text of its own leaves all to training; beside a test text of its own validation
        keeps its share, at the end.
        """
        if "val" in self.separate:
            return {"train": (0, n), "val": (0, 0), "test": (0, 0)}
        shares = [*split_shares(self.shares), Decimal(0), Decimal(0)]
        train_end = math.floor(shares[0] * n)
        val_end = n if shares[0] + shares[1] == 1 else math.floor((shares[0] + shares[1]) * n)
        if "test" in self.separate:
            train_end += n - val_end
            return {"train": (0, train_end), "val": (train_end, n), "test": (0, 0)}
        return {"train": (0, train_end), "val": (train_end, val_end), "test": (val_end, n)}

    def stretches(self, text: Corpus, others: Mapping[str, Corpus]) -> dict[str, Stretch]:
        """Return the parts of a text without records; others: the texts of separate parts."""
        bounds = self.bounds(len(text))
        parts = {part: Stretch(text, *bounds[part]) for part in PARTS}
        return parts | {part: Stretch(other, 0, len(other)) for part, other in others.items()}

    def record_parts(
        self, text: Corpus, others: Mapping[str, Corpus]
    ) -> tuple[dict[str, list[str]], list[str]]:
        """Return the different records of each part, and sentences about them.

        They are shuffled, the same way each time, before they are cut at the floor of their shares.
        """
        different, repeated = records.drop_repeated(self._records(text))
        notes = [f"{counted(repeated, 'repeated record')} left out"] if repeated else []
        shuffled = records.shuffle_records(different)
        bounds = self.bounds(len(shuffled))
        parts = {part: shuffled[start:end] for part, (start, end) in bounds.items()}
        for part, other in others.items():
            parts[part], _ = records.drop_repeated(self._records(other))
            if shared := len(set(parts["train"]) & set(parts[part])):
                notes.append(f"trained on too: {counted(shared, 'record')} of {other.path.name}")
        return parts, notes

    def part(self, name: str, text: Corpus) -> str | list[str]:
        """Return one part as a string, or its different records.

        text: all of it; where the part is separate, its own text.
        """
        others = {name: text} if name in self.separate else {}
        if self.records is not None:
            return self.record_parts(text, others)[0][name]
        stretch = self.stretches(text, others)[name]
        return stretch.corpus.slice(stretch.start, stretch.end)

    def _records(self, text: Corpus) -> list[str]:
        return records.split_records(text.text, self.records or "")
