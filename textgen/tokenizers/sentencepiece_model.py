r"""A SentencePiece model as bytes: read without the library; nothing in it is trusted.

A checkpoint from somebody else holds such a model, which the library would take with whatever it
says: normalisation by tables of its own, for instance. So it is read here first, a message of
protocol buffers, and refused unless it is of the lossless kind that we make. Source:
sentencepiece_model.proto, whose field numbers stand below.

    >>> read_model(model).units[1]
    b'\n'
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

# What sentencepiece writes for a space.
SPACE = "\u2581"
MODEL_TYPES: dict[Any, str] = {1: "unigram", 2: "bpe"}

# How a model is made so that every text comes back as it was (whatever the other settings are).
LOSSLESS: dict[str, Any] = {
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "byte_fallback": True,
    "character_coverage": 1.0,
    "max_sentence_length": 1 << 20,
    "user_defined_symbols": ["\n", "\t", "\r"],
    "hard_vocab_limit": False,
    "num_threads": 1,
    "minloglevel": 2,
    **{"unk_id": 0, "bos_id": -1, "eos_id": -1, "pad_id": -1},
}

# Fields of a model, of a piece, of the trainer and of the normalizer, and the types of a piece.
MODEL_PIECES, MODEL_TRAINER, MODEL_NORMALIZER = 1, 2, 3
PIECE_TEXT, PIECE_SCORE, PIECE_TYPE = 1, 2, 3
MODEL_TYPE, AS_SUFFIX, FALLBACK = 3, 24, 35
TABLES, PREFIX, SHORTEN, ESCAPE, RULES = 2, 3, 4, 5, 6
NORMAL, UNKNOWN_PIECE, USER_DEFINED, BYTE = 1, 2, 4, 6
BYTE_NAMES = {b"<0x%02X>" % byte: byte for byte in range(256)}


class PieceModel(NamedTuple):
    """What a model says of its pieces.

    model_type: "bpe" or "unigram". units: what each id stands for, b"" for <unk>, id 0. scores: of
    each piece, numbers of float32. kinds: NORMAL, UNKNOWN_PIECE, USER_DEFINED or BYTE.
    """

    model_type: str
    units: list[bytes]
    scores: list[float]
    kinds: list[int]


def read_model(model: bytes) -> PieceModel:
    """Return what a model says of its pieces.

    Raises:
        ValueError: it is not a model of the lossless kind; it says why.
    """
    pieces: list[tuple[bytes, float, int]] = []
    others: dict[int, dict[int, Any]] = {}
    for number, value in _fields(model):
        if not isinstance(value, bytes) or number > MODEL_NORMALIZER or number in others:
            raise ValueError("its model of pieces has an unexpected part")
        if number == MODEL_PIECES:
            pieces.append(_piece(dict(_fields(value)), len(pieces)))
        else:
            others[number] = dict(_fields(value))
    trainer, normalizer = others.get(MODEL_TRAINER, {}), others.get(MODEL_NORMALIZER, {})
    model_type = MODEL_TYPES.get(trainer.get(MODEL_TYPE, 1))
    lossless = (
        model_type is not None
        and trainer.get(FALLBACK) == 1
        and not trainer.get(AS_SUFFIX)
        and not any(normalizer.get(field) for field in (TABLES, RULES))
        and normalizer.get(PREFIX) == normalizer.get(SHORTEN) == 0
        and normalizer.get(ESCAPE, 1) == 1
    )
    if not lossless:
        raise ValueError("its model of pieces does not keep every text as it is")
    units = [unit for unit, _, _ in pieces]
    kinds = [kind for _, _, kind in pieces]
    byte_units = [unit for unit, _, kind in pieces if kind == BYTE]
    has_space = any(unit == b" " and kind == NORMAL for unit, _, kind in pieces)
    if byte_units != [bytes([byte]) for byte in range(256)] or not has_space:
        raise ValueError("its model of pieces lacks bytes or the space")
    first = first_byte_id(units)
    if kinds[first : first + 256] != [BYTE] * 256:
        raise ValueError("its model of pieces has its bytes apart")
    return PieceModel(str(model_type), units, [score for _, score, _ in pieces], kinds)


def first_byte_id(units: list[bytes]) -> int:
    """Return the id of the byte 0; the other bytes follow it."""
    return units.index(b"\0")


def _piece(fields: dict[int, Any], index: int) -> tuple[bytes, float, int]:
    """Return what a piece stands for, its score and its kind."""
    name, kind = fields.get(PIECE_TEXT, b""), fields.get(PIECE_TYPE, NORMAL)
    packed_score = fields.get(PIECE_SCORE, bytes(4))
    problem = f"its model of pieces is damaged at piece {index}"
    if not (isinstance(name, bytes) and name):
        raise ValueError(problem)
    if not (isinstance(packed_score, bytes) and len(packed_score) == 4):
        raise ValueError(problem)
    (score,) = struct.unpack("<f", packed_score)
    if not math.isfinite(score) or (kind == UNKNOWN_PIECE) != (index == 0):
        raise ValueError(problem)
    if kind == UNKNOWN_PIECE:
        return b"", score, kind
    if kind == BYTE and name in BYTE_NAMES:
        return bytes([BYTE_NAMES[name]]), score, kind
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(problem) from None
    # The library takes a piece called like a byte for that byte, and never finds a plain space.
    if kind not in (NORMAL, USER_DEFINED) or name in BYTE_NAMES or {"\0", " "} & set(text):
        raise ValueError(problem)
    return text.replace(SPACE, " ").encode(), score, kind


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and value of each field of a message: an integer, or bytes."""
    position = 0
    while position < len(data):
        key, position = _integer(data, position)
        wire_type = key & 7
        if wire_type == 0:
            value, position = _integer(data, position)
            yield key >> 3, value
            continue
        if wire_type == 2:
            size, position = _integer(data, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise ValueError("its model of pieces is damaged")
        if size > len(data) - position:
            raise ValueError("its model of pieces is cut off")
        yield key >> 3, data[position : position + size]
        position += size


def _integer(data: bytes, position: int) -> tuple[int, int]:
    """Return an integer, seven bits a byte and lowest first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("its model of pieces is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("its model of pieces is damaged")
