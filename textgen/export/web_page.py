"""A model inside one page of HTML: weights, n-grams and a sampler in plain JavaScript.

The page needs no network and forbids every request. Its weights are rounded, to 16 bits or 8 with
a scale for each row; `SharedPage.checkpoint` has the same ones, so that what the page writes can be
compared.

    >>> Path("page.html").write_text(share_page(Checkpoint.load(path), "Shakespeare").html)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textgen.analysis import names_of_ids, pages
from textgen.checkpoint import Checkpoint
from textgen.config import SampleConfig
from textgen.engine import NGrams, first_distribution, mixture, smoothing, weights_for_writing
from textgen.errors import CheckpointError
from textgen.sampling import Constraints
from textgen.tokenizers import SentencePieceTokenizer, Tokenizer, sentencepiece_model

PAGE_FOLDER = Path(__file__).parent / "page"
# What the columns of a page can number.
MOST_IDS = 1 << 16
# The largest of the whole numbers that 8 bits stand for, of both signs.
LARGEST_BYTE = 127
# The controls: name, label, least, most, step and value.
DEFAULTS = SampleConfig()
PAGE_CONTROLS = (
    ("chars", "characters to write", 1, 100000, 1, 400),
    ("temperature", "temperature", 0, 5, 0.05, DEFAULTS.temperature),
    ("top-k", "top-k (0: off)", 0, 1000, 1, 0),
    ("top-p", "top-p", 0.01, 1, 0.01, 1),
    ("min-p", "min-p", 0, 1, 0.01, 0),
    ("repetition", "repetition penalty", 0.5, 5, 0.05, 1),
    ("seed", "seed (empty: a new one)", 0, 2**32 - 1, 1, ""),
)


@dataclass(frozen=True)
class SharedPage:
    """A page, and the checkpoint with the weights that it holds."""

    html: str
    checkpoint: Checkpoint


def share_page(
    checkpoint: Checkpoint, title: str, int8: bool = False, others: Mapping[str, str] | None = None
) -> SharedPage:
    """Return the page of a model.

    Args:
        checkpoint: of any kind.
        title: of the page.
        int8: round weights to 8 bits instead of 16.
        others: links to pages of other models, by what they are called.

    Raises:
        CheckpointError: the model has too many ids.
    """
    tokenizer = checkpoint.tokenizer
    if tokenizer.size > MOST_IDS:
        problem = f"has {tokenizer.size:,} {tokenizer.noun}, and a page at most {MOST_IDS:,}"
        raise CheckpointError(title, problem, "train one with a smaller --vocab-size")
    columns: dict[str, np.ndarray] = {}
    parameters: dict[str, dict[str, Any]] = {}
    weights: dict[str, np.ndarray] = {}
    for number, (name, array) in enumerate(sorted(checkpoint.weights.items())):
        column = f"parameter{number}"
        parameters[name], weights[name] = _pack(array, column, int8, columns)
    values = {
        "sizes": dataclasses.asdict(checkpoint.model),
        "parameters": parameters,
        "tokenizer": _tokenizer_values(tokenizer, columns),
        "ngrams": _ngram_values(checkpoint.ngrams, columns),
        "mixing": _mixing_values(checkpoint),
    }
    html = pages.render(
        "share.html",
        PAGE_FOLDER,
        title=pages.displayed(title),
        others={pages.displayed(name): link for name, link in (others or {}).items()},
        about=pages.displayed(describe(checkpoint)),
        controls=PAGE_CONTROLS,
        data=pages.embed(values, columns),
    )
    return SharedPage(html, dataclasses.replace(checkpoint, weights=weights))


def describe(checkpoint: Checkpoint) -> str:
    """Return what a visitor should know of a model."""
    metadata = checkpoint.metadata
    trained = ""
    if text := metadata.corpus:
        trained = f", trained on {text.name} ({text.size:,} bytes)"
    nats = (metadata.metrics or {}).get("val_nats")
    figure = f". Held-out text costs it {nats:.3f} nats a character" if nats else ""
    return f"A model of {checkpoint.tokenizer.noun}{trained}{figure}. Nothing leaves this page."


def _pack(
    array: np.ndarray, column: str, int8: bool, columns: dict[str, np.ndarray]
) -> tuple[dict[str, Any], np.ndarray]:
    """Put a parameter into columns; return where it is, and what it has become."""
    if array.ndim == 1:
        columns[column] = array.astype("<f4").view("<u2")
        return {"column": column, "bits": 32}, array
    place = {"column": column, "rows": array.shape[0], "width": array.shape[1]}
    if not int8:
        halves = array.astype("<f2")
        columns[column] = halves.view("<u2")
        return place | {"bits": 16}, halves.astype(array.dtype)
    scales = (np.abs(array).max(axis=1) / LARGEST_BYTE).astype("<f4")
    scales[scales == 0] = 1
    whole = np.rint(array / scales[:, None]).clip(-LARGEST_BYTE, LARGEST_BYTE)
    columns[column] = (whole + LARGEST_BYTE + 1).astype(np.uint8)
    columns[f"{column}_scales"] = scales.view("<u2")
    return place | {"bits": 8}, (whole * scales[:, None]).astype(array.dtype)


def _tokenizer_values(tokenizer: Tokenizer, columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what a page has to know of ids, and put tables of them into columns."""
    units: list[str | int] = [symbol.decode("utf-8", "ignore") for symbol in tokenizer.symbols()]
    kind, defined = tokenizer.kind, []
    if isinstance(tokenizer, SentencePieceTokenizer):
        pieces = tokenizer.pieces
        kind, symbol_kind = pieces.model_type, sentencepiece_model.USER_DEFINED
        defined = [index for index, each in enumerate(pieces.kinds) if each == symbol_kind]
        columns["scores"] = np.array(pieces.scores, "<f4").view("<u2")
    if tokenizer.spelling is not None:
        first_byte = sentencepiece_model.first_byte_id(tokenizer.symbols())
        units[first_byte : first_byte + 256] = range(256)
        columns["allowed"] = tokenizer.spelling.allowed_SV.astype(np.uint8)
        columns["spelling"] = tokenizer.spelling.next_SV.astype(np.uint8)
    allowed_V = Constraints.of(tokenizer, DEFAULTS).allowed_V
    return {
        "type": kind,
        "vocab": tokenizer.size,
        "units": units,
        "defined": defined,
        "names": [pages.displayed(name) for name in names_of_ids(tokenizer)],
        "boundary": tokenizer.boundary_id,
        "unknownNats": tokenizer.unknown_nats,
        "first": first_distribution(tokenizer.counts).tolist(),
        "barred": (~allowed_V).tolist(),
    }


def _ngram_values(ngrams: NGrams | None, columns: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """Return how the n-grams count, and put them into columns."""
    if ngrams is None:
        return None
    columns["next"], columns["shared"] = ngrams.contexts.next_ids, ngrams.contexts.shared
    columns["odds"] = ngrams.odds_CLG.astype("<f4").view("<u2")
    return {
        "vocab": ngrams.vocab,
        "longest": ngrams.longest,
        "heeded": min(mixture.WRITING_LENGTH, ngrams.longest),
        "experts": smoothing.EXPERTS,
        "discounts": smoothing.DISCOUNTS_C4.tolist(),
        "classes": smoothing.CLASSES,
        "distinct_classes": smoothing.DISTINCT_CLASSES.tolist(),
        "total_classes": smoothing.TOTAL_CLASSES.tolist(),
    }


def _mixing_values(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Return the weights of the mixture that writes, and where its rows stand."""
    if checkpoint.ngrams is None or checkpoint.mixing is None:
        return None
    rows = weights_for_writing(checkpoint.mixing.astype(np.float64)).tolist()
    return {
        "rows": rows,
        "sure": mixture.SURE,
        "lengths": mixture.LENGTHS,
        "agreement": mixture.AGREEMENT,
        "match": mixture.MATCH,
    }


def rounding_cost(page: SharedPage, checkpoint: Checkpoint, text: str) -> Iterator[float]:
    """Yield what a text costs before the weights were rounded and after, in nats a character."""
    from textgen.textmodel import TextModel

    for each in (checkpoint, page.checkpoint):
        yield TextModel(each).score(text).nats_per_char
