"""The validation part of a run, and how good a model is on it while it is trained.

The n-grams' nats are the same at each validation, and the weight that they get in the mixture is
the one that suits the network's nats.

    >>> validation = Validation(dataset, ngrams)
    >>> network_nats = validation.nats(TorchStepper(network), 100_000)
    >>> nats_per_char, ngram_weight = validation.mix(network_nats)
"""

from __future__ import annotations

import numpy as np

from textgen.data import Dataset
from textgen.engine import NGrams, Scorer, best_ngram_weight, mix
from textgen.evaluation import protocols


class Validation:
    """The ids held out; nats are those of the first n of them."""

    def __init__(self, dataset: Dataset, ngrams: NGrams | None) -> None:
        self.ids, self.tokenizer, self.ngrams = dataset.val, dataset.tokenizer, ngrams
        self._ngram_nats: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def nats(self, model: Scorer, number: int) -> np.ndarray:
        """Return what each of the first ids costs a model; the last record is read to its end."""
        if not len(self):
            return np.zeros(0)
        if (boundary_id := self.tokenizer.boundary_id) is None:
            ids = self.ids[:number]
            unknown = self.tokenizer.unknown_nats
            nats = protocols.streamed(model, ids, self.tokenizer.counts, unknown)
        else:
            ends = np.flatnonzero(np.asarray(self.ids) == boundary_id)
            last = min(len(ends) - 1, max(1, int(np.searchsorted(ends, number - 1))))
            nats = protocols.by_records(model, self.ids[: ends[last] + 1], self.tokenizer)
        return protocols.require_finite(nats)

    def characters(self, number: int) -> int:
        """Return how many characters the first ids stand for."""
        return protocols.characters_in(self.tokenizer, self.ids[:number]) if len(self) else 0

    def mix(self, network_nats: np.ndarray) -> tuple[float | None, float | None]:
        """Return the nats per character of the mixture with the n-grams, and their weight in it.

        None where there is no validation part; the weight also where there are no n-grams.
        """
        if self.ngrams is None or not len(network_nats):
            return self.per_character(network_nats), None
        if self._ngram_nats is None:
            self._ngram_nats = self.nats(self.ngrams, len(network_nats))
        weight = best_ngram_weight(network_nats, self._ngram_nats)
        return self.per_character(-mix(-network_nats, -self._ngram_nats, weight)), weight

    def per_character(self, nats: np.ndarray) -> float | None:
        """Return the mean over characters, of which an id may hold several or a part."""
        if not len(nats):
            return None
        return float(nats.sum()) / protocols.characters_in(self.tokenizer, self.ids[: len(nats)])
