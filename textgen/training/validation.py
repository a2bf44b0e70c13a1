"""The validation part of a run, and how good a model is on it while it is trained.

>>> validation = Validation(dataset, partner)
>>> nats = validation.nats(TorchStepper(network), 100_000, weights_WX)
>>> validation.per_character(nats)
"""

from __future__ import annotations

import numpy as np

from textgen.data import Dataset
from textgen.engine import Mixture, Network, NGrams, Scorer
from textgen.evaluation import protocols
from textgen.training.partner import MOST_KEPT, Partner, Replay


class Validation:
    """The ids held out; nats are those of the first n of them.

    Args:
        dataset: has the validation part.
        partner: what the network is mixed with, None for a network alone.
    """

    def __init__(self, dataset: Dataset, partner: Partner | None) -> None:
        self.ids, self.tokenizer = dataset.val, dataset.tokenizer
        self._ngrams = partner.ngrams if partner else None
        # What the n-grams said of so many ids, of which the same are measured again and again.
        self._replay: tuple[int, Replay] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def most(self) -> int:
        """Return how many ids can be measured again and again."""
        return min(len(self), MOST_KEPT // self.tokenizer.size) if self._ngrams else len(self)

    def nats(
        self, network: Network, number: int, weights_WX: np.ndarray | None = None
    ) -> np.ndarray:
        """Return what each of the first ids costs; the last record is read to its end.

        weights_WX: those of the mixture with the n-grams; None: the network alone.
        """
        if not len(self):
            return np.zeros(0)
        model: Scorer = network
        if weights_WX is not None and self._ngrams is not None:
            model = Mixture(network, self._remembering(self._ngrams, number), weights_WX)
        if (boundary_id := self.tokenizer.boundary_id) is None:
            ids = self.ids[:number]
            unknown = self.tokenizer.unknown_nats
            nats = protocols.streamed(model, ids, self.tokenizer.counts, unknown)
        else:
            ends = np.flatnonzero(np.asarray(self.ids) == boundary_id)
            last = min(len(ends) - 1, max(1, int(np.searchsorted(ends, number - 1))))
            nats = protocols.by_records(model, self.ids[: ends[last] + 1], self.tokenizer)
        return protocols.require_finite(nats)

    def _remembering(self, ngrams: NGrams, number: int) -> NGrams:
        """Return n-grams that remember what they said of the first ids, if it is not too much."""
        if number > self.most():
            return ngrams
        # Another number of ids is other streams.
        if self._replay is None or self._replay[0] != number:
            self._replay = number, Replay(ngrams)
        self._replay[1].rewind()
        return self._replay[1]

    def characters(self, number: int) -> int:
        """Return how many characters the first ids stand for."""
        return protocols.characters_in(self.tokenizer, self.ids[:number]) if len(self) else 0

    def per_character(self, nats: np.ndarray) -> float | None:
        """Return the mean over characters, of which an id may hold several or a part."""
        if not len(nats):
            return None
        return float(nats.sum()) / protocols.characters_in(self.tokenizer, self.ids[: len(nats)])
