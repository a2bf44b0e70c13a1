"""How good a model is, in nats and bits, counted so that the figures can be compared.

It knows a model only as a `Stepper`, which both the torch model and the numpy engine are, so that
both are measured by the same code.

Nats are counted for ids and divided by characters, of which an id may hold several or a part: so
models of characters, bytes and pieces compare.

Two protocols: `stateful` reads the text once, in one stream from the zero state, and counts
every character; `nanogpt` averages over random windows of 256 ids from an empty state, as nanoGPT's
estimate_loss does. `streamed` is a fast estimate of `stateful` for use while training.

Shapes: T time steps, B streams; nats_TB[t, b] is the cost of y_TB[t, b] after x_TB[:t + 1, b].

    >>> evaluate(model, tokenizer, text, "stateful").bits_per_char
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from textgen.data import IGNORED, Records, framed
from textgen.engine import Scorer, first_distribution
from textgen.errors import NumericsError, TextError
from textgen.tokenizers import UNKNOWN, CharTokenizer, Tokenizer

CHUNK = 256  # time steps computed at a time
RECORDS_AT_ONCE, IDS_AT_ONCE = (
    256,
    16 * CHUNK,
)  # items read side by side, and ids of all of them at a time
WARM_UP_CHARS = 256  # uncounted characters before a stream of `streamed`
NATS_PER_CODE_POINT = CharTokenizer.unknown_nats  # nats for naming one of Unicode's code points
NANOGPT_WINDOW, NANOGPT_BATCH, NANOGPT_BATCHES = 256, 64, 200


@dataclass(frozen=True)
class Score:
    """How likely a model finds a text.

    Attributes:
        nats: (n,), what each of the text's n ids costs. An id is a character, or, for a model of
            other units, a byte or a piece.
        nats_per_char: their sum over the number of characters.
        bits_per_char: the same in bits.
        unknown_chars: characters outside the model's alphabet.
    """

    nats: np.ndarray
    nats_per_char: float
    bits_per_char: float
    unknown_chars: int


@dataclass(frozen=True)
class Result:
    """Nats per character over counted characters, and the same in other units.

    unknown_chars of the characters are outside the alphabet of a model of characters; each costs
    the nats of <unk> plus ln 1,114,112 for saying which. bits_per_byte divides by the text's UTF-8
    bytes.
    dynamic_nats_per_char: under dynamic evaluation, with the learning rate and decay beside it.
    """

    protocol: str
    nats_per_char: float
    chars: int
    unknown_chars: int
    bytes_per_char: float
    dynamic_nats_per_char: float | None = None
    dynamic_lr: float | None = None
    dynamic_decay: float | None = None

    @property
    def bits_per_char(self) -> float:
        """Bits per character."""
        return self.nats_per_char / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte, the figure that compares across tokenizers."""
        return self.bits_per_char / self.bytes_per_char

    @property
    def perplexity(self) -> float:
        """exp(nats per character)."""
        return math.exp(min(self.nats_per_char, 700))

    def to_json(self) -> dict[str, Any]:
        """Return all figures under the names that the command line documents."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        del values["bytes_per_char"]
        for name in ("bits_per_char", "bits_per_byte", "perplexity"):
            values[name] = getattr(self, name)
        if self.dynamic_nats_per_char is not None:
            values["dynamic_bits_per_char"] = self.dynamic_nats_per_char / math.log(2)
        return values


def measure_text(model: Scorer, tokenizer: Tokenizer, text: str, protocol: str) -> Result:
    """Return how well model predicts text (at least 1 character) under one of PROTOCOLS."""
    ids = ids_of(tokenizer, text)
    if protocol == "nanogpt" and len(ids) <= NANOGPT_WINDOW:
        problem = f"{len(ids)} {tokenizer.noun} are too few for windows of {NANOGPT_WINDOW}"
        raise TextError("--protocol nanogpt", problem, "use --protocol stateful")
    costs = finite(PROTOCOLS[protocol](model, ids, tokenizer.counts, tokenizer.unknown_nats))
    chars = len(text)
    if protocol == "nanogpt":
        chars = sum(int(tokenizer.chars_V[block_TB[1:]].sum()) for block_TB in nanogpt_windows(ids))
    bytes_per_char = len(text.encode("utf-8", "surrogatepass")) / len(text)
    unknown = _count_unknown(tokenizer, ids)
    return Result(protocol, float(costs.sum()) / chars, chars, unknown, bytes_per_char)


def score_text(model: Scorer, tokenizer: Tokenizer, text: str) -> Score:
    """Return what a text costs, read from the zero state.

    Args:
        model: what predicts the next id.
        tokenizer: the model's.
        text: at least one character. A model of records reads it as one, whose end costs too.

    Raises:
        TextError: if it is empty, or cannot be encoded.
        NumericsError: if the model's scores are not finite.
    """
    if not text:
        raise TextError("text", "empty", "give at least 1 character")
    if tokenizer.boundary_id is None:
        ids = ids_of(tokenizer, text)
        nats = stateful(model, ids, tokenizer.counts, tokenizer.unknown_nats)
    else:
        ids = framed_ids(tokenizer, [text])
        nats = by_records(model, ids, tokenizer)[1:]
    mean = float(finite(nats).sum()) / characters_in(tokenizer, ids)
    return Score(nats, mean, mean / math.log(2), _count_unknown(tokenizer, ids))


def ids_of(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Return the ids of a text that is measured: what has none is <unk>, and paid for as such.

    Raises TextError for what can be neither encoded nor paid for.
    """
    return tokenizer.encode(text, _policy(tokenizer))


def framed_ids(tokenizer: Tokenizer, items: list[str]) -> np.ndarray:
    """Return the ids of items that are measured, framed; the rules of `ids_of`."""
    return framed(items, tokenizer, _policy(tokenizer))


def _count_unknown(tokenizer: Tokenizer, ids: np.ndarray) -> int:
    return int((ids == UNKNOWN).sum()) if tokenizer.unknown_nats else 0


def _policy(tokenizer: Tokenizer) -> str:
    return "replace" if tokenizer.unknown_nats else "error"


def finite(costs: np.ndarray) -> np.ndarray:
    """Return costs; raise NumericsError when one of them is not a finite number."""
    if not np.isfinite(costs).all():
        place = int(np.argmin(np.isfinite(costs)))
        problem = f"the model's score of character {place + 1:,} is not finite"
        raise NumericsError("evaluation", problem, "the model diverged; use an earlier checkpoint")
    return costs


def stateful(
    model: Scorer, ids: np.ndarray, counts: np.ndarray, unknown_nats: float = NATS_PER_CODE_POINT
) -> np.ndarray:
    """Return each id's nats (n,), read as one stream from the zero state.

    ids: (n,), n >= 1. The first one costs what the training counts (V,) say, so that n ids give n
    costs. unknown_nats: what is added where an id is 0, see `Tokenizer`.
    """
    costs = np.empty(len(ids))
    costs[0] = -np.log(first_distribution(counts)[ids[0]])
    state = None
    for start in range(0, len(ids) - 1, CHUNK):
        piece = ids[start : start + CHUNK + 1].astype(np.int64)[:, None]
        nats_TB, state = model.nats(piece[:-1], piece[1:], state)
        costs[start + 1 : start + len(piece)] = nats_TB[:, 0]
    return np.asarray(costs + unknown_costs(ids, unknown_nats))


def streamed(
    model: Scorer, ids: np.ndarray, counts: np.ndarray, unknown_nats: float = NATS_PER_CODE_POINT
) -> np.ndarray:
    """Return each id's nats (n,), read as up to 16 streams at once; arguments as of `stateful`.

    Each stream is warmed, uncounted, on the 256 characters before it; the first one starts from
    the zero state. It approaches `stateful` as far as a model forgets what is further back.
    """
    n = len(ids)
    streams = max(1, min(16, n // (4 * WARM_UP_CHARS)))
    length = -(-n // streams)
    starts_B = np.arange(streams) * length
    costs = np.empty((length, streams))

    def targets(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        positions_TB = starts_B + np.arange(first, last)[:, None]
        return ids[np.clip(positions_TB - 1, 0, n - 1)], ids[np.clip(positions_TB, 0, n - 1)]

    x_TB, y_TB = targets(-WARM_UP_CHARS, 1)
    nats_TB, state = model.nats(x_TB.astype(np.int64), y_TB.astype(np.int64), None)
    costs[0] = nats_TB[-1]
    costs[0, 0] = -np.log(first_distribution(counts)[ids[0]])
    for layer in state:
        for part in layer:
            part[0] = 0  # the first stream was warmed on nothing
    for first in range(1, length, CHUNK):
        last = min(first + CHUNK, length)
        x_TB, y_TB = targets(first, last)
        costs[first:last], state = model.nats(x_TB.astype(np.int64), y_TB.astype(np.int64), state)
    return np.asarray(costs.T.reshape(-1)[:n] + unknown_costs(ids, unknown_nats))


def nanogpt(
    model: Scorer, ids: np.ndarray, counts: np.ndarray, unknown_nats: float = NATS_PER_CODE_POINT
) -> np.ndarray:
    """Return the nats of 200 batches of 64 windows of 256 ids, each from an empty state.

    counts is unused: an empty state has no first character to charge. Needs n > 256 ids. Source:
    nanoGPT, estimate_loss.
    """
    costs = []
    for block_TB in nanogpt_windows(ids):
        nats_TB, _ = model.nats(block_TB[:-1], block_TB[1:], None)
        costs.append((nats_TB + unknown_costs(block_TB[1:], unknown_nats)).reshape(-1))
    return np.concatenate(costs)


def nanogpt_windows(ids: np.ndarray) -> Iterator[np.ndarray]:
    """Yield what `nanogpt` reads: blocks (257, 64), at random starts, the same at every call."""
    draws = np.random.Generator(np.random.Philox(key=NANOGPT_WINDOW))
    for _ in range(NANOGPT_BATCHES):
        starts_B = draws.integers(0, len(ids) - NANOGPT_WINDOW, NANOGPT_BATCH)
        yield ids[starts_B + np.arange(NANOGPT_WINDOW + 1)[:, None]].astype(np.int64)


def unknown_costs(ids: np.ndarray, unknown_nats: float) -> np.ndarray:
    """Return unknown_nats where ids is 0, else 0: the price of saying which character it was."""
    return np.where(ids == UNKNOWN, unknown_nats, 0.0)


def measure_records(model: Scorer, tokenizer: Tokenizer, items: list[str]) -> Result:
    """Return how well model predicts items, at least one, each from its beginning to its end.

    The end of an item counts as a character of one byte, as the newline between two would.
    """
    ids = framed_ids(tokenizer, items)
    costs = finite(by_records(model, ids, tokenizer))
    chars = characters_in(tokenizer, ids)
    size = sum(len(item.encode("utf-8", "surrogatepass")) for item in items) + len(items)
    unknown = _count_unknown(tokenizer, ids)
    return Result("items", float(costs.sum()) / chars, chars, unknown, size / chars)


def by_records(model: Scorer, ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Return the nats (n,) of framed ids, each item read from the zero state.

    The first mark costs nothing. Items of like length are read side by side.
    """
    assert tokenizer.boundary_id is not None
    items = Records.of(ids, tokenizer.boundary_id)
    order = np.argsort(items.lengths, kind="stable")
    costs = np.zeros(len(ids))
    for first in range(0, len(order), RECORDS_AT_ONCE):
        rows = order[first : first + RECORDS_AT_ONCE]
        state, longest = None, int(items.lengths[rows].max())
        chunk = IDS_AT_ONCE // len(rows)
        for start in range(0, longest, chunk):
            end = min(longest, start + chunk)
            x_TB, y_TB = items.window(ids, rows, start, end)
            counted = y_TB != IGNORED
            nats_TB, state = model.nats(x_TB, np.where(counted, y_TB, 0), state)
            places = items.starts[rows] + np.arange(start, end)[:, None] + 1
            costs[places[counted]] = nats_TB[counted]
    return np.asarray(costs + unknown_costs(ids, tokenizer.unknown_nats))


def characters_in(tokenizer: Tokenizer, ids: np.ndarray) -> int:
    """Return how many characters ids stand for; the mark that ends an item counts as one."""
    ends = 0 if tokenizer.boundary_id is None else int((ids == tokenizer.boundary_id).sum()) - 1
    return int(tokenizer.chars_V[ids].sum()) + ends


PROTOCOLS = {"stateful": stateful, "nanogpt": nanogpt, "streamed": streamed}
