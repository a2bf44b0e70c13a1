"""What one option can say in a notation of its own: shares, ranges of characters, biases.

Each takes what the user wrote and returns what it means.

    >>> expand("a-e!", "--only")
    'abcde!'
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation

from textgen.errors import UsageError

LARGEST_BIAS = 1000  # e to that power is beyond any ratio of probabilities


def split_shares(split: str) -> tuple[Decimal, ...]:
    """Return the shares of a split such as "0.9,0.1", at most three; raise UsageError.

    Decimals, not floats, so that 0.9 cuts n characters at exactly floor(0.9 n).
    """
    try:
        shares = tuple(Decimal(part) for part in split.split(","))
    except InvalidOperation:
        raise UsageError("--split", f"{split!r} is not numbers", "write 0.9,0.05,0.05") from None
    if len(shares) > 3 or not all(s.is_finite() and 0 <= s <= 1 for s in shares):
        raise UsageError("--split", f"{split!r} is not 1 to 3 shares", "write 0.9,0.05,0.05")
    if shares[0] == 0 or sum(shares) != 1:
        problem = f"{split!r} sums to {sum(shares)}, with {shares[0]} for training"
        raise UsageError("--split", problem, "give training a share and let all sum to 1")
    return shares


def expand(characters: str, subject: str) -> str:
    """Return characters with ranges such as a-z written out; a - at either end stands for itself.

    Raises UsageError, naming subject, for a range that runs backwards.
    """
    found, place = [], 0
    while place < len(characters):
        first = characters[place]
        if characters[place + 1 : place + 2] == "-" and place + 2 < len(characters):
            last = characters[place + 2]
            if last < first:
                problem = f"the range {first}-{last} runs backwards"
                raise UsageError(subject, problem, f"write {last}-{first}")
            found += [chr(code) for code in range(ord(first), ord(last) + 1)]
            place += 3
        else:
            found.append(first)
            place += 1
    return "".join(found)


def parse_bias(biases: tuple[str, ...]) -> dict[str, float]:
    """Return what to add to the score of each character; later entries win; raise UsageError."""
    found = {}
    for one in biases:
        characters, colon, number = one.rpartition(":")
        try:
            value = float(number) if colon and characters else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or abs(value) > LARGEST_BIAS:
            problem = f"{one!r} is not CHARS:X with X from -{LARGEST_BIAS} to {LARGEST_BIAS}"
            raise UsageError("--bias", problem, 'write for example "a-z:-1.5"')
        found.update(dict.fromkeys(expand(characters, "--bias"), value))
    return found


def unescape(text: str) -> str:
    r"""Return text with \n, \t and \\ replaced by what they stand for."""
    return re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t"}.get(match[1], "\\"), text)


def schedule(text: str) -> float | tuple[float, float]:
    """Return the number or the two numbers of X or X:Y."""
    first, colon, last = text.partition(":")
    return (float(first), float(last)) if colon else float(first)
