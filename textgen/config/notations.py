"""What one option can say in a notation of its own: shares, ranges of characters, biases.

Each takes what the user wrote and returns what it means.

    >>> expand("c-e!a-d", "--only")
    '!abcde'
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from textgen.errors import UsageError

if TYPE_CHECKING:
    from decimal import Decimal

# e to that power is beyond any ratio of probabilities.
LARGEST_BIAS = 1000


def split_shares(split: str) -> tuple[Decimal, ...]:
    """Return the shares of a split such as "0.9,0.1", at most three; raise UsageError.

    Decimals, not floats, so that 0.9 cuts n characters at exactly floor(0.9 n).
    """
    # Imported when a split is read: --help shall be at once.
    from decimal import Decimal, InvalidOperation

    try:
        shares = tuple(Decimal(part) for part in split.split(","))
    except InvalidOperation:
        raise UsageError(
            "--split", f"{split!r} is not a list of numbers", "write 0.9,0.05,0.05"
        ) from None
    if len(shares) > 3 or not all(s.is_finite() and 0 <= s <= 1 for s in shares):
        raise UsageError(
            "--split",
            f"{split!r} is not one to three shares between 0 and 1",
            "write 0.9,0.05,0.05",
        )
    if shares[0] == 0 or sum(shares) != 1:
        problem = f"{split!r} sums to {sum(shares)}, with {shares[0]} for training"
        raise UsageError("--split", problem, "give training a share above 0, and let the sum be 1")
    return shares


def expand(characters: str, subject: str) -> str:
    """Return the characters that are named, each once and in the order of their code points.

    a-z is a range; a - at either end stands for itself. Raises UsageError, naming subject, for a
    range that runs backwards.
    """
    expanded: list[str] = []
    # Ranges that overlap are written out once: hundreds of them may name all of Unicode.
    unwritten = 0
    for first, last in sorted(_ranges(characters, subject)):
        expanded += map(chr, range(max(first, unwritten), last + 1))
        unwritten = max(unwritten, last + 1)
    return "".join(expanded)


def _ranges(characters: str, subject: str) -> Iterator[tuple[int, int]]:
    """Yield the first and the last code point of each range; a character is a range of one."""
    for match in re.finditer(".-.|.", characters, re.DOTALL):
        first, last = match[0][0], match[0][-1]
        if last < first:
            problem = f"the range {first}-{last} runs backwards"
            raise UsageError(subject, problem, f"write {last}-{first}")
        yield ord(first), ord(last)


# A config that is copied with a change is checked again, and a bias may name all of Unicode.
@functools.lru_cache(maxsize=1)
def parse_bias(biases: tuple[str, ...]) -> Mapping[str, float]:
    """Return what to add to the score of each character; later entries win; raise UsageError."""
    ranges: list[tuple[int, int, float]] = []
    for bias in biases:
        characters, colon, number = bias.rpartition(":")
        try:
            value = float(number) if colon and characters else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or abs(value) > LARGEST_BIAS:
            problem = f"{bias!r} is not CHARS:X with X between -{LARGEST_BIAS} and {LARGEST_BIAS}"
            raise UsageError("--bias", problem, 'for example: "a-z:-1.5"')
        ranges += [(first, last, value) for first, last in _ranges(characters, "--bias")]
    # Between two cuts all characters are in the same ranges; each is written out once.
    cuts = sorted({cut for first, last, _ in ranges for cut in (first, last + 1)})
    added: dict[str, float] = {}
    for start, end in itertools.pairwise(cuts):
        latest = (value for first, last, value in reversed(ranges) if first <= start <= last)
        if not math.isnan(value := next(latest, math.nan)):
            added.update(dict.fromkeys(map(chr, range(start, end)), value))
    return MappingProxyType(added)


def unescape(text: str) -> str:
    r"""Return text with \n, \t and \\ replaced by what they stand for."""
    return re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t"}.get(match[1], "\\"), text)


def schedule(text: str) -> float | tuple[float, float]:
    """Return the number or the two numbers of X or X:Y."""
    first, colon, last = text.partition(":")
    return (float(first), float(last)) if colon else float(first)
