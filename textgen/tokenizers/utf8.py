r"""UTF-8 as an automaton: which ids may follow which, so that only whole characters are written.

A tokenizer whose ids stand for bytes, or for texts of any length, has a `Spelling`; one whose every
id is a character needs none.

Shapes: S states, V ids.

    >>> spelling = Spelling([b"a", b"\xc3", b"\xa9"], boundary_id=None)
    >>> spelling.allowed_SV[spelling.state(b"\xc3")].tolist()
    [False, False, True]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The state between two characters.
BETWEEN_CHARACTERS = 0
# The state to which no text in UTF-8 leads.
DEAD = 8

# State, first and last byte, state after them. In 1, 2 and 3 so many bytes of the character are to
# come, in 4 to 7 the next one has a narrower range. Source: The Unicode Standard, table 3-7.
RANGES = (
    *((0, 0x00, 0x7F, 0), (0, 0xC2, 0xDF, 1), (0, 0xE0, 0xE0, 4), (0, 0xE1, 0xEC, 2)),
    *((0, 0xED, 0xED, 5), (0, 0xEE, 0xEF, 2), (0, 0xF0, 0xF0, 6), (0, 0xF1, 0xF3, 3)),
    *((0, 0xF4, 0xF4, 7), (1, 0x80, 0xBF, 0), (2, 0x80, 0xBF, 1), (3, 0x80, 0xBF, 2)),
    *((4, 0xA0, 0xBF, 1), (5, 0x80, 0x9F, 1), (6, 0x90, 0xBF, 2), (7, 0x80, 0x8F, 2)),
)


def _make_table() -> list[list[int]]:
    rows = [[DEAD] * 256 for _ in range(DEAD + 1)]
    for state, first, last, after in RANGES:
        rows[state][first : last + 1] = [after] * (last + 1 - first)
    return rows


# NEXT[state][byte] is the state after the byte.
NEXT = _make_table()


def advance(state: int, data: bytes) -> int:
    """Return the state after data, DEAD where no text in UTF-8 continues like that."""
    for byte in data:
        state = NEXT[state][byte]
    return state


def count_characters(data: bytes) -> int:
    """Return how many characters begin in data: bytes that continue none."""
    return sum(byte & 0xC0 != 0x80 for byte in data)


class Spelling:
    """What each id does to a text in UTF-8.

    Attributes:
        next_SV: int8, the state after each id in each state and in DEAD.
        allowed_SV: bool, whether that state is not DEAD.
    """

    def __init__(self, symbols: Sequence[bytes], boundary_id: int | None) -> None:
        """Take what each id stands for, and the id between records if there is one."""
        rows = [[advance(state, symbol) for symbol in symbols] for state in range(DEAD + 1)]
        self.next_SV = np.array(rows, dtype=np.int8)
        if boundary_id is not None:
            self.next_SV[:, boundary_id] = DEAD
            self.next_SV[BETWEEN_CHARACTERS, boundary_id] = BETWEEN_CHARACTERS
        self.allowed_SV = self.next_SV != DEAD

    def state(self, pending: bytes) -> int:
        """Return the state after the bytes of a character that is not whole yet."""
        state = advance(BETWEEN_CHARACTERS, pending)
        return BETWEEN_CHARACTERS if state == DEAD else state
