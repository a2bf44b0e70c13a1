"""A SentencePiece model read without the library, against the library itself and its enemies."""

import functools
import io
import struct

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from textgen.tokenizers.sentencepiece_model import (
    LOSSLESS,
    MODEL_TYPES,
    USER_DEFINED,
    read_model,
)

TEXT = "the cat sat on the mat\tand the dog\nsat on the log\r\n" * 20


@functools.cache
def model(model_type="bpe", **changes):
    written = io.BytesIO()
    settings = {**LOSSLESS, "model_type": model_type, "vocab_size": 300, **changes}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([TEXT]), model_writer=written, **settings
    )
    return written.getvalue()


@pytest.mark.parametrize("model_type", MODEL_TYPES.values())
def test_its_units_are_the_pieces_that_the_library_sees(model_type):
    library = sentencepiece.SentencePieceProcessor(model_proto=model(model_type))
    found = read_model(model(model_type))
    assert found.model_type == model_type
    assert len(found.units) == library.get_piece_size()
    for one, unit in enumerate(found.units):
        piece = library.id_to_piece(one)
        assert found.scores[one] == library.get_score(one)
        assert (found.kinds[one] == USER_DEFINED) == (piece in LOSSLESS["user_defined_symbols"])
        if library.is_unknown(one):
            assert (one, unit) == (0, b"")
        elif library.is_byte(one):
            assert piece == f"<0x{unit.hex().upper()}>"
        else:
            assert unit.decode() == piece.replace("\u2581", " ")


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "char"},
        {"model_type": "word"},
        {"normalization_rule_name": "nmt_nfkc"},
        {"add_dummy_prefix": True},
        {"remove_extra_whitespaces": True},
        {"byte_fallback": False},
        {"treat_whitespace_as_suffix": True},
        {"bos_id": 1},
        {"control_symbols": ["<c>"]},
    ],
    ids=str,
)
def test_a_model_made_in_another_way_is_refused(changes):
    with pytest.raises(ValueError, match="its model of pieces"):
        read_model(model.__wrapped__(**changes))


def integer(value):
    """An integer as protocol buffers write it."""
    low = bytearray()
    while value > 127:
        low.append(value & 127 | 128)
        value >>= 7
    return bytes([*low, value])


def field(number, value):
    if isinstance(value, int):
        return integer(number << 3) + integer(value)
    if isinstance(value, float):
        return integer(number << 3 | 5) + struct.pack("<f", value)
    return integer(number << 3 | 2) + integer(len(value)) + value


def piece(text, score=-1.0, kind=1):
    return field(1, field(1, text) + field(2, score) + field(3, kind))


HEAD = piece(b"<unk>", 0.0, 2)
BYTES = b"".join(piece(b"<0x%02X>" % byte, 0.0, 6) for byte in range(256))
SPACE = piece("\u2581".encode())
TRAINER = field(2, field(3, 2) + field(35, 1))
NORMALIZER = field(3, field(3, 0) + field(4, 0))


def test_a_model_written_by_hand_is_read():
    whole = HEAD + piece(b"\n", 0.0, 4) + BYTES + SPACE + piece(b"ab") + TRAINER + NORMALIZER
    found = read_model(whole)
    assert found.model_type == "bpe"
    assert found.kinds == [2, 4, *[6] * 256, 1, 1]
    assert found.scores == [*[0.0] * 258, -1.0, -1.0]
    assert found.units == [b"", b"\n", *(bytes([byte]) for byte in range(256)), b" ", b"ab"]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [BYTES, SPACE, TRAINER, NORMALIZER],
        [HEAD, SPACE, TRAINER, NORMALIZER],
        [HEAD, BYTES, TRAINER, NORMALIZER],
        [HEAD, HEAD, BYTES, SPACE, TRAINER, NORMALIZER],
        [HEAD, BYTES, BYTES, SPACE, TRAINER, NORMALIZER],
        [HEAD, BYTES[:1700], SPACE, BYTES[1700:], TRAINER, NORMALIZER],
        [HEAD, BYTES, SPACE, piece(b""), TRAINER, NORMALIZER],
        [HEAD, BYTES, SPACE, piece(b"\xff"), TRAINER, NORMALIZER],
        [HEAD, BYTES, SPACE, piece(b"a\0"), TRAINER, NORMALIZER],
        [HEAD, BYTES, SPACE, piece(b"a", float("nan")), TRAINER, NORMALIZER],
        [HEAD, BYTES, SPACE, piece(b"a", float("inf")), TRAINER, NORMALIZER],
        [HEAD, BYTES, SPACE, piece(b"a", kind=3), TRAINER, NORMALIZER],
        [HEAD, BYTES, SPACE, piece(b"a b"), TRAINER, NORMALIZER],
        [HEAD, BYTES, SPACE, piece(b"<0x41>"), TRAINER, NORMALIZER],
        [HEAD, BYTES, SPACE, piece(b"<0xZZ>", kind=6), TRAINER, NORMALIZER],
        [HEAD, BYTES, SPACE, TRAINER],
        [HEAD, BYTES, SPACE, NORMALIZER],
        [HEAD, BYTES, SPACE, TRAINER, TRAINER, NORMALIZER],
        [HEAD, BYTES, SPACE, field(2, field(3, 4) + field(35, 1)), NORMALIZER],
        [HEAD, BYTES, SPACE, TRAINER, field(3, field(3, 0) + field(4, 0) + field(2, b"x"))],
        [HEAD, BYTES, SPACE, TRAINER, field(3, field(3, b"") + field(4, b""))],
        [HEAD, BYTES, SPACE, TRAINER, field(3, field(3, 0) + field(4, 0) + field(5, 0))],
        [HEAD, BYTES, SPACE, TRAINER, NORMALIZER, field(5, b"")],
        [HEAD, BYTES, SPACE, TRAINER, NORMALIZER, field(1, 7)],
        [HEAD, BYTES, SPACE, TRAINER, NORMALIZER, b"\x0a\x7fcut off"],
        [HEAD, BYTES, SPACE, TRAINER, NORMALIZER, b"\x0a"],
        [HEAD, BYTES, SPACE, TRAINER, NORMALIZER, b"\x80" * 20],
        [HEAD, BYTES, SPACE, TRAINER, NORMALIZER, b"\x0b"],
    ],
    ids=range(29),
)
def test_a_model_that_says_anything_else_is_refused(parts):
    with pytest.raises(ValueError, match="its model of pieces"):
        read_model(b"".join(parts))


@given(st.data())
def test_any_bytes_are_refused_or_read_without_harm(data):
    whole = model()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    mutant = whole[:start] + data.draw(st.binary(max_size=20)) + whole[end:]
    try:
        units = read_model(mutant).units
    except ValueError as error:
        assert "its model of pieces" in str(error)
        return
    assert all(isinstance(unit, bytes) for unit in units)
