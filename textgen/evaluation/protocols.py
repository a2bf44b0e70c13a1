"""How good a model is, in nats and bits, counted so that the figures can be compared.

It knows a model only as a `Scorer`, which the torch model, the numpy engine, n-grams and mixtures
all are, so that one piece of code measures them all.

Nats are counted for ids and divided by characters, of which an id may hold several or a part: so
models of characters, bytes and pieces compare.

Protocols: `stateful` reads the text once, in one stream from the zero state, and counts every
character; `nanogpt` averages over random windows of 256 ids from an empty state, as nanoGPT's
estimate_loss does; `streamed` is a fast estimate of `stateful`, made for use while training.
Records are each read from the zero state (`by_records`).

Shapes: T time steps, B streams; nats_TB[t, b] is the cost of y_TB[t, b] after x_TB[:t + 1, b].

    >>> measure_text(model, tokenizer, text, "stateful").bits_per_char
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from textgen.data import IGNORED, Records, frame_records
from textgen.engine import Scorer, first_distribution
from textgen.errors import NumericsError, TextError
from textgen.tokenizers import UNKNOWN, CharTokenizer, Tokenizer

# Time steps computed at a time: enough for large matrix products, few enough to stay in cache.
CHUNK = 256
# Records read side by side, and ids of all of them at a time: as many as 16 streams have.
RECORDS_AT_ONCE = 256
IDS_AT_ONCE = 16 * CHUNK
# Uncounted ids before a stream of `streamed`; the state then is about that of one stream.
WARM_UP_IDS = 256
# Streams of `streamed`, as far as each is several times as long as its warm-up.
SIDE_BY_SIDE, WARM_UPS_IN_STREAM = 16, 4
# What it costs to say which of Unicode's code points a character outside the alphabet is.
NATS_PER_CODE_POINT = CharTokenizer.unknown_nats
# The sizes of nanoGPT's estimate_loss, for figures that compare.
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

    Attributes:
        protocol: how they were counted; "items" for a model of records.
        nats_per_char: their mean.
        chars: the counted characters.
        unknown_chars: those of them outside the alphabet of a model of characters; each costs the
            nats of <unk> plus ln 1,114,112 for saying which.
        bytes_per_char: UTF-8 bytes of the text per character.
        dynamic_nats_per_char: nats_per_char while the network learned from what it had read, if
            that was asked for.
        adaptive_nats_per_char: while the n-grams and the mixture did.
        adaptive_dynamic_nats_per_char: while all of them did.
        dynamic_lr: the learning rate of that evaluation.
        dynamic_decay: how much of what was learnt it forgets at each update.
    """

    protocol: str
    nats_per_char: float
    chars: int
    unknown_chars: int
    bytes_per_char: float
    dynamic_nats_per_char: float | None = None
    adaptive_nats_per_char: float | None = None
    adaptive_dynamic_nats_per_char: float | None = None
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
        for name in ("dynamic", "adaptive", "adaptive_dynamic"):
            if (nats := values.get(f"{name}_nats_per_char")) is not None:
                values[f"{name}_bits_per_char"] = nats / math.log(2)
        return values


def measure_text(
    model: Scorer,
    tokenizer: Tokenizer,
    text: str,
    protocol: str,
    batches: int | None = None,
) -> Result:
    """Return how well a model predicts a text (at least 1 character) under one of PROTOCOLS.

    batches: of the protocol nanogpt; fewer than its 200 take less time, and do not quite compare.
    """
    ids = ids_of(tokenizer, text)
    if protocol == "nanogpt" and len(ids) <= NANOGPT_WINDOW:
        problem = f"{len(ids)} {tokenizer.noun} are too few for windows of {NANOGPT_WINDOW}"
        raise TextError("--protocol nanogpt", problem, "use --protocol stateful")
    measure, chars = PROTOCOLS[protocol], len(text)
    if protocol == "nanogpt":
        measure = partial(nanogpt, batches=batches)
        windows = nanogpt_windows(ids, batches)
        chars = sum(int(tokenizer.chars_V[block_TB[1:]].sum()) for block_TB in windows)
    nats = require_finite(measure(model, ids, tokenizer.counts, tokenizer.unknown_nats))
    bytes_per_char = len(text.encode("utf-8", "surrogatepass")) / len(text)
    unknown = _count_unknown(tokenizer, ids)
    return Result(protocol, float(nats.sum()) / chars, chars, unknown, bytes_per_char)


def measure_records(model: Scorer, tokenizer: Tokenizer, records: list[str]) -> Result:
    """Return how well a model predicts records, at least one, each from its beginning to its end.

    The end of a record counts as a character of one byte, as the newline between two would.
    """
    ids = framed_ids(tokenizer, records)
    nats = require_finite(by_records(model, ids, tokenizer))
    chars = characters_in(tokenizer, ids)
    size = sum(len(record.encode("utf-8", "surrogatepass")) for record in records) + len(records)
    unknown = _count_unknown(tokenizer, ids)
    return Result("items", float(nats.sum()) / chars, chars, unknown, size / chars)


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
    mean = float(require_finite(nats).sum()) / characters_in(tokenizer, ids)
    return Score(nats, mean, mean / math.log(2), _count_unknown(tokenizer, ids))


def ids_of(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Return the ids of a text that is measured: what has none is <unk>, and paid for as such.

    Raises TextError for what can be neither encoded nor paid for.
    """
    return tokenizer.encode(text, _policy(tokenizer))


def framed_ids(tokenizer: Tokenizer, records: list[str]) -> np.ndarray:
    """Return the ids of records that are measured, framed; the rules of `ids_of`."""
    return frame_records(records, tokenizer, _policy(tokenizer))


def characters_in(tokenizer: Tokenizer, ids: np.ndarray) -> int:
    """Return how many characters ids stand for; the boundary that ends a record counts as one."""
    ends = 0 if tokenizer.boundary_id is None else int((ids == tokenizer.boundary_id).sum()) - 1
    return int(tokenizer.chars_V[ids].sum()) + ends


def require_finite(nats: np.ndarray) -> np.ndarray:
    """Return nats; raise NumericsError when one of them is not a finite number."""
    if not np.isfinite(nats).all():
        index = int(np.argmin(np.isfinite(nats)))
        problem = f"the model's score of id {index + 1:,} of those measured is not finite"
        raise NumericsError("evaluation", problem, "the model diverged; use an earlier checkpoint")
    return nats


def _count_unknown(tokenizer: Tokenizer, ids: np.ndarray) -> int:
    return int((ids == UNKNOWN).sum()) if tokenizer.unknown_nats else 0


def _policy(tokenizer: Tokenizer) -> str:
    return "replace" if tokenizer.unknown_nats else "error"


def stateful(
    model: Scorer, ids: np.ndarray, counts: np.ndarray, unknown_nats: float = NATS_PER_CODE_POINT
) -> np.ndarray:
    """Return each id's nats (n,), read as one stream from the zero state.

    Args:
        model: what predicts the next id.
        ids: (n,), n >= 1.
        counts: (V,), how often each id is in the training text. The first id costs what they say,
            so that n ids give n figures.
        unknown_nats: what is added where an id is 0, see `Tokenizer`.
    """
    nats = np.empty(len(ids))
    nats[0] = -np.log(first_distribution(counts)[ids[0]])
    state = None
    for start in range(0, len(ids) - 1, CHUNK):
        chunk_T1 = ids[start : start + CHUNK + 1].astype(np.int64)[:, None]
        nats_T1, state = model.nats(chunk_T1[:-1], chunk_T1[1:], state)
        nats[start + 1 : start + len(chunk_T1)] = nats_T1[:, 0]
    return np.asarray(nats + _nats_of_unknown(ids, unknown_nats))


def streamed(
    model: Scorer, ids: np.ndarray, counts: np.ndarray, unknown_nats: float = NATS_PER_CODE_POINT
) -> np.ndarray:
    """Return each id's nats (n,), read as up to 16 streams at once; arguments as of `stateful`.

    Each stream is warmed, uncounted, on the 256 ids before it; the first one starts from
    the zero state. It approaches `stateful` as far as a model forgets what is further back.
    """
    n = len(ids)
    streams = max(1, min(SIDE_BY_SIDE, n // (WARM_UPS_IN_STREAM * WARM_UP_IDS)))
    length = -(-n // streams)
    starts_B = np.arange(streams) * length
    nats_TB = np.empty((length, streams))

    warm_nats_TB, state = model.nats(*_stream_window(ids, starts_B, -WARM_UP_IDS, 1), None)
    nats_TB[0] = warm_nats_TB[-1]
    nats_TB[0, 0] = -np.log(first_distribution(counts)[ids[0]])
    # Nothing stands before the first stream: it begins at the zero state.
    for layer in state:
        for part in layer:
            part[0] = 0
    for first in range(1, length, CHUNK):
        last = min(first + CHUNK, length)
        window = _stream_window(ids, starts_B, first, last)
        nats_TB[first:last], state = model.nats(*window, state)
    return np.asarray(nats_TB.T.reshape(-1)[:n] + _nats_of_unknown(ids, unknown_nats))


def _stream_window(
    ids: np.ndarray, starts_B: np.ndarray, first: int, last: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return x_TB and y_TB of the targets from `first` to before `last` of each stream."""
    positions_TB = starts_B + np.arange(first, last)[:, None]
    x_TB, y_TB = (
        ids[np.clip(at_TB, 0, len(ids) - 1)] for at_TB in (positions_TB - 1, positions_TB)
    )
    return x_TB.astype(np.int64), y_TB.astype(np.int64)


def nanogpt(
    model: Scorer,
    ids: np.ndarray,
    counts: np.ndarray,
    unknown_nats: float = NATS_PER_CODE_POINT,
    batches: int | None = None,
) -> np.ndarray:
    """Return the nats of 200 batches of 64 windows of 256 ids, each from an empty state.

    counts is unused: an empty state has no first character to charge. Needs n > 256 ids. Source:
    nanoGPT, estimate_loss.
    """
    nats = []
    for block_TB in nanogpt_windows(ids, batches):
        nats_TB, _ = model.nats(block_TB[:-1], block_TB[1:], None)
        nats.append((nats_TB + _nats_of_unknown(block_TB[1:], unknown_nats)).reshape(-1))
    return np.concatenate(nats)


def nanogpt_windows(ids: np.ndarray, batches: int | None = None) -> Iterator[np.ndarray]:
    """Yield what `nanogpt` reads: blocks (257, 64), at random starts, the same at every call."""
    draws = np.random.Generator(np.random.Philox(key=NANOGPT_WINDOW))
    for _ in range(batches or NANOGPT_BATCHES):
        starts_B = draws.integers(0, len(ids) - NANOGPT_WINDOW, NANOGPT_BATCH)
        yield ids[starts_B + np.arange(NANOGPT_WINDOW + 1)[:, None]].astype(np.int64)


def by_records(model: Scorer, ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Return the nats (n,) of framed ids, each record read from the zero state.

    The first boundary costs nothing. Records of like length are read side by side.
    """
    # Framed ids begin with the boundary.
    records = Records.of(ids, int(ids[0]))
    order = np.argsort(records.lengths, kind="stable")
    nats = np.zeros(len(ids))
    for first in range(0, len(order), RECORDS_AT_ONCE):
        _measure_rows(model, ids, records, order[first : first + RECORDS_AT_ONCE], nats)
    return np.asarray(nats + _nats_of_unknown(ids, tokenizer.unknown_nats))


def _measure_rows(
    model: Scorer, ids: np.ndarray, records: Records, rows: np.ndarray, nats: np.ndarray
) -> None:
    """Write what some records cost into nats (n,), read side by side until the longest ends."""
    state, longest = None, int(records.lengths[rows].max())
    chunk = IDS_AT_ONCE // len(rows)
    for start in range(0, longest, chunk):
        end = min(longest, start + chunk)
        x_TB, y_TB = records.window(ids, rows, start, end)
        counted_TB = y_TB != IGNORED
        nats_TB, state = model.nats(x_TB, np.where(counted_TB, y_TB, 0), state)
        indices_TB = records.starts[rows] + np.arange(start, end)[:, None] + 1
        nats[indices_TB[counted_TB]] = nats_TB[counted_TB]


def _nats_of_unknown(ids: np.ndarray, unknown_nats: float) -> np.ndarray:
    """Return unknown_nats where ids is 0, else 0: the price of saying which character it was."""
    return np.where(ids == UNKNOWN, unknown_nats, 0.0)


PROTOCOLS = {"stateful": stateful, "nanogpt": nanogpt, "streamed": streamed}
