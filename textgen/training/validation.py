"""The validation part of a run, and how good a model is on it while it is trained.

The n-grams' costs are the same at each validation, and the share that they get in the mixture is
the one that suits the network's costs.

    >>> held = Validation(material, ngrams)
    >>> costs = held.costs(TorchStepper(network), 100_000)
    >>> nats, share = held.mixed(costs)
"""

from __future__ import annotations

import numpy as np

from textgen.data import Dataset
from textgen.engine import NGrams, best_ngram_weight, mix, stepper
from textgen.evaluation import protocols


class Validation:
    """The ids held out; costs are of the first n of them, in nats."""

    def __init__(self, material: Dataset, ngrams: NGrams | None) -> None:
        self.ids, self.tokenizer, self.ngrams = material.val, material.tokenizer, ngrams
        self._ngram_costs: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def costs(self, stepper: stepper.Scorer, number: int) -> np.ndarray:
        """Return what a model pays for each of the first ids; the last item is read to its end."""
        if not len(self):
            return np.zeros(0)
        if (mark := self.tokenizer.boundary_id) is None:
            ids = self.ids[:number]
            unknown = self.tokenizer.unknown_nats
            costs = protocols.streamed(stepper, ids, self.tokenizer.counts, unknown)
        else:
            marks = np.flatnonzero(np.asarray(self.ids) == mark)
            end = marks[min(len(marks) - 1, max(1, int(np.searchsorted(marks, number - 1))))]
            costs = protocols.by_records(stepper, self.ids[: end + 1], self.tokenizer)
        return protocols.finite(costs)

    def mixed(self, costs: np.ndarray) -> tuple[float | None, float | None]:
        """Return the nats per character of the mixture with the n-grams, and their share in it."""
        share = None
        if self.ngrams and len(costs):
            if self._ngram_costs is None:
                self._ngram_costs = self.costs(self.ngrams, len(costs))
            share = best_ngram_weight(costs, self._ngram_costs)
            costs = -mix(-costs, -self._ngram_costs, share)
        return self.per_character(costs), share

    def per_character(self, costs: np.ndarray) -> float | None:
        """Return the mean over characters, of which an id may hold several or a part."""
        if not len(costs):
            return None
        return float(costs.sum()) / protocols.characters_in(self.tokenizer, self.ids[: len(costs)])
