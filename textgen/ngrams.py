"""Which rows of a table stand for the last few characters.

In the walk after `runs`, before the two things that read such a table, `engine` and `model`. The
input of the first layer is the character's embedding and, for each n from 2 up to the model's
`ngrams`, a row that belongs to its last n characters. A lookup costs next to nothing, and spares
the recurrent layer to learn by heart what follows "q" or "Rom". Where there are more n-grams than
rows, several share one (Mikolov et al., 2011, feed such features to the output; here to the input).

Shapes: arrays of ids may be numpy's or torch's, of any one shape; int64, which may wrap around.

    >>> indices([np.array([5]), np.array([7])], ModelConfig(vocab=10, ngrams=2, buckets=100))
    [array([57])]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textgen.config import ModelConfig

MIX = 0x9E3779B1  # 2^32 over the golden ratio, an odd multiplier that spreads keys (Knuth)


def indices(last: Sequence[Any], model: ModelConfig) -> list[Any]:
    """Return for each n = 2 ... model.ngrams the row of the table at every position.

    last: the ids at the positions, those one before, two before, ... (model.ngrams arrays);
    0 stands for "nothing before".
    """
    rows, key, start = [], last[0], 0
    for n, size in enumerate(model.ngram_rows(), 2):
        key = key * model.vocab + last[n - 1]
        hashed = model.vocab**n > size
        rows.append(start + (((key * MIX) >> 13) % size if hashed else key))
        start += size
    return rows
