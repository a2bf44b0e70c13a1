r"""Which characters compose with the one before: where a text may be cut, and where it may not.

>>> joins_previous("\u0301"), joins_previous("e")
(True, False)
"""

from __future__ import annotations

import functools
import sys
import unicodedata


def joins_previous(character: str) -> bool:
    """Say whether a normal form may join the character to those before it, or move it among them.

    Before any other character a text may be cut: its NFC, NFD, NFKC or NFKD is that of its pieces,
    one after the other. Source: Unicode Standard Annex 15, "Stable Code Points".

    Args:
        character: one character.
    """
    if character.isascii():
        return False
    first_of_forms = {unicodedata.normalize(form, character)[0] for form in ("NFD", "NFKD")}
    return any(unicodedata.combining(first) for first in first_of_forms) or not (
        first_of_forms.isdisjoint(_second_halves())
    )


@functools.cache
def _second_halves() -> frozenset[str]:
    """Return the characters that may be the second of two that are composed to one."""
    every = (unicodedata.decomposition(chr(code)) for code in range(sys.maxunicode + 1))
    # A tag in angle brackets marks a compatibility decomposition, which nothing composes again.
    pairs = (fields.split() for fields in every if fields and not fields.startswith("<"))
    canonical = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2}
    # Vowels and final consonants of Hangul compose by arithmetic and stand in no table.
    hangul = map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)))
    return frozenset(canonical.union(hangul))
