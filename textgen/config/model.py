"""The sizes of a network: what a checkpoint records and what its weights must look like.

>>> ModelConfig(vocab=66, cell="gru", layers=1, hidden=512, embedding=64).parameters()
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from textgen.config.fields import check_fields, option
from textgen.errors import counted

# Blocks of H rows in the weights of a layer.
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
CELLS = tuple(GATES)


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of a network: V ids -> embedding E -> L layers of H units -> V logits.

    Attributes:
        vocab: V.
        cell: "rnn", "lstm" or "gru".
        layers: L.
        hidden: H.
        embedding: E.
        ngrams: characters in the longest n-gram of the counts that it is mixed with; 1: none.

    Raises:
        UsageError: if a size is out of its range.

    >>> ModelConfig(vocab=66, cell="gru", hidden=512).parameters()
    """

    vocab: int = option(2, "ids, <unk> included", low=2, high=sys.maxunicode + 2)
    cell: str = option("gru", "recurrent cell", choices=CELLS)
    layers: int = option(1, "recurrent layers", low=1, high=64)
    hidden: int = option(512, "units of a layer", low=1, high=16384)
    embedding: int = option(64, "size of a character's embedding", low=1, high=16384)
    ngrams: int = option(1, "characters in the longest n-gram; 1: none", low=1, high=64)

    def __post_init__(self) -> None:
        check_fields(self)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return every parameter's name and shape, in the order in which data passes them."""
        rows = GATES[self.cell] * self.hidden
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (self.vocab, self.embedding)}
        for layer in range(self.layers):
            width = self.hidden if layer else self.embedding
            shapes[f"layers.{layer}.weight_ih_l0"] = (rows, width)
            shapes[f"layers.{layer}.weight_hh_l0"] = (rows, self.hidden)
            shapes[f"layers.{layer}.bias_ih_l0"] = (rows,)
            shapes[f"layers.{layer}.bias_hh_l0"] = (rows,)
        shapes["head.weight"] = (self.vocab, self.hidden)
        shapes["head.bias"] = (self.vocab,)
        return shapes

    def describe(self) -> str:
        """Return the sizes in words."""
        layers = counted(self.layers, "layer")
        ngrams = f"; n-grams up to {self.ngrams}" if self.ngrams > 1 else ""
        return (
            f"{self.cell}, {layers} of {self.hidden}, embedding {self.embedding}, "
            f"{self.parameters():,} parameters{ngrams}"
        )

    def parameters(self) -> int:
        """Return the number of trained numbers."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def products(self) -> int:
        """Return the number of weights that take part in matrix products for each character."""
        return sum(
            math.prod(shape)
            for name, shape in self.shapes().items()
            if len(shape) == 2 and name != "embedding.weight"
        )
