"""A text coloured by how much each character surprised a model, as a page of HTML.

Pointing at a character shows the likeliest ones in its place and how the parts of a mixture judged
it. The text stands on the page as text, and is coloured where it is looked at, so that a megabyte
opens at once.

    >>> Path("page.html").write_text(render_surprise(surprise, checkpoint.tokenizer, "corpus.txt"))
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from textgen.analysis.pages import displayed, embed, names_of_ids, render
from textgen.analysis.surprise import Surprise
from textgen.tokenizers import Tokenizer

# Characters of a block that is coloured together; it ends with a line, or at twice as many.
COLOURED_CHARS = 2000
# What stands for a figure that there is not; costs end below it.
NOT_ASKED = 2**16 - 1


def render_surprise(surprise: Surprise, tokenizer: Tokenizer, title: str, model: str) -> str:
    """Return the page of a text.

    Args:
        surprise: what the model expected.
        tokenizer: the model's.
        title: what the text is called.
        model: what the model is called.
    """
    values = surprise_values(surprise, tokenizer)
    return render("surprise.html", title=displayed(title), model=displayed(model), **values)


def surprise_values(surprise: Surprise, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what the template of a coloured text shows."""
    surprise = surprise.by_character()
    mixed = bool((surprise.ngrams_weight_N != 0).any())
    return {
        "figures": list(_figures(surprise)),
        "mixed": mixed,
        "blocks": list(_blocks(surprise)),
        "data": embed(
            {
                "symbols": [displayed(name) for name in names_of_ids(tokenizer)],
                "likeliest_count": surprise.likeliest_NK.shape[1],
            },
            _columns(surprise, mixed),
        ),
    }


def _figures(surprise: Surprise) -> Iterator[tuple[str, str]]:
    figures = surprise.to_json()
    yield "characters", f"{figures['chars']:,}"
    yield "bits a character", f"{figures['bits_per_char']:.3f}"
    yield "nats a character", f"{figures['nats_per_char']:.3f}"
    yield "bits in all", f"{figures['bits']:,.0f}"
    likeliest = float((surprise.ranks_N == 1).mean())
    yield "the likeliest came", f"{100 * likeliest:.1f} %"
    if surprise.unknown_chars:
        yield "unknown characters", f"{surprise.unknown_chars:,}"


def _blocks(surprise: Surprise) -> Iterator[tuple[int, str]]:
    """Yield the index of each block's first id and the block's text."""
    ends, text = np.cumsum(surprise.chars_N), displayed(surprise.text)
    start = first = 0
    while start < len(text):
        end = min(len(text), start + 2 * COLOURED_CHARS)
        newline = text.find("\n", start + COLOURED_CHARS, end)
        end = newline + 1 if newline >= 0 else end
        # An id of several characters is not cut.
        last = int(np.searchsorted(ends, end))
        end = int(ends[last])
        yield first, text[start:end]
        start, first = end, last + 1


def _columns(surprise: Surprise, mixed: bool) -> dict[str, np.ndarray]:
    """Return the figures as small whole numbers: thousandths of a bit, of a probability."""
    id_type = np.uint8 if max(surprise.ids_N.max(), surprise.likeliest_NK.max()) < 256 else None
    columns = {
        "cost": _thousandths_of_bits(surprise.nats_N),
        "came": surprise.ids_N.astype(id_type or np.uint16),
        "rank": np.minimum(surprise.ranks_N, NOT_ASKED).astype(np.uint16),
        "likeliest": surprise.likeliest_NK.astype(id_type or np.uint16),
        "probability": np.rint(1000 * surprise.probabilities_NK).astype(np.uint16),
    }
    if (surprise.chars_N != 1).any():
        columns["chars"] = surprise.chars_N.astype(np.uint16)
    if mixed:
        columns["network"] = _thousandths_of_bits(surprise.network_nats_N)
        columns["ngrams"] = _thousandths_of_bits(surprise.ngrams_nats_N)
        columns["network_weight"] = _hundredths(surprise.network_weight_N)
        columns["ngrams_weight"] = _hundredths(surprise.ngrams_weight_N)
        columns["matched"] = surprise.matched_N.astype(np.uint8)
    return columns


def _thousandths_of_bits(nats_N: np.ndarray) -> np.ndarray:
    thousandths = np.rint(np.minimum(1000 * nats_N / math.log(2), NOT_ASKED - 1))
    return np.asarray(np.nan_to_num(thousandths, nan=NOT_ASKED).astype(np.uint16))


def _hundredths(weight_N: np.ndarray) -> np.ndarray:
    """Return weights as hundredths above -1, in a byte."""
    return np.asarray(np.clip(np.rint(100 * weight_N + 100), 0, 255).astype(np.uint8))
