"""Bytes as ids, against Python's str.encode and bytes.decode."""

import functools

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from textgen.errors import TextError
from textgen.tokenizers.base import BOUNDARY
from textgen.tokenizers.byte import ByteTokenizer

BYTES = ByteTokenizer()
IDS = st.lists(st.integers(0, 255), max_size=30)


@given(st.text())
def test_ids_are_the_bytes_of_utf8_and_come_back_as_the_text(text):
    ids = BYTES.encode(text)
    assert ids.tolist() == list(text.encode("utf-8"))
    assert ids.dtype == BYTES.dtype == np.uint8
    assert BYTES.decode(ids) == text
    assert BYTES.chars_V[ids].sum() == len(text)


def streamed(tokenizer, ids):
    """What the decoder gives for each id, and at the end."""
    decoder = tokenizer.decoder()
    return [*(decoder.feed(one) for one in ids), decoder.flush()]


@given(IDS)
def test_any_ids_become_what_python_makes_of_their_bytes(ids):
    expected = bytes(ids).decode("utf-8", "replace")
    assert BYTES.decode(ids) == expected
    assert "".join(streamed(BYTES, ids)) == expected


@given(st.text())
def test_a_stream_holds_whole_characters_each_with_its_last_byte(text):
    *pieces, rest = streamed(BYTES, text.encode())
    assert "".join(pieces) == text
    assert rest == ""
    lengths = [len(char.encode()) for char in text]
    expected = [
        piece for n, char in zip(lengths, text, strict=True) for piece in ["", "", "", char][-n:]
    ]
    assert pieces == expected


def test_a_decoder_says_what_it_holds_back_and_forgets_it_at_the_end():
    decoder = BYTES.decoder()
    assert decoder.read("é".encode() + b"\xe2\x82") == "é"
    assert decoder.pending == b"\xe2\x82"
    assert decoder.flush() == "\ufffd"
    assert decoder.pending == b""
    assert decoder.feed(97) == "a"


def test_half_of_a_surrogate_pair_is_named_dropped_or_replaced():
    with pytest.raises(TextError, match="position 13 ") as caught:
        BYTES.encode("ab\udc80c", subject="--prime", before=10)
    assert caught.value.exit_code == 3
    assert caught.value.subject == "--prime"
    assert "--unknown skip" in caught.value.fix
    assert BYTES.encode("ab\udc80c", "skip").tolist() == [97, 98, 99]
    assert BYTES.decode(BYTES.encode("ab\udc80c", "replace")) == "ab\ufffdc"


def test_a_boundary_is_one_more_id_that_stands_for_no_text():
    marked = ByteTokenizer(marked=True)
    assert (marked.size, marked.boundary_id, marked.dtype) == (257, 256, np.uint16)
    assert len(marked.counts) == 257
    assert marked.decode([97, 256, 98]) == "".join(streamed(marked, [97, 256, 98])) == "ab"
    assert marked.symbols() == [*BYTES.symbols(), BOUNDARY]
    assert marked.chars_V[256] == 0
    assert marked.encode("é").tolist() == [195, 169]
    assert marked.encode("é").dtype == np.uint16
    assert "boundary" in marked.describe()
    assert BYTES.boundary_id is None


def test_counts_are_those_it_is_given_and_a_copy_has_others():
    counted = BYTES.with_counts(np.arange(256))
    assert counted.counts.tolist() == list(range(256))
    assert counted.counts.dtype == np.uint64
    assert not BYTES.counts.any()
    assert counted.encode("a").tolist() == [97]


def test_a_symbol_is_a_byte():
    assert BYTES.symbols() == [bytes([i]) for i in range(256)]


@given(st.text())
@example("Unicode €.")
@example("\0\r\n\ufeff\U0010ffff<s> <extra_id>")
def test_ids_are_those_of_byt5_shifted_by_its_own_three(text):
    """ByT5's first three ids are <pad>, </s> and <unk>; its special words are none of ours."""
    byt5 = byt5_tokenizer()
    assume(not any(word in text for word in byt5.all_special_tokens))
    shifted = [int(one) + 3 for one in BYTES.encode(text)]
    assert byt5(text, add_special_tokens=False)["input_ids"] == shifted
    assert byt5.decode(shifted) == text


@functools.cache
def byt5_tokenizer():
    reason = "transformers is in the extra oracle"
    return pytest.importorskip("transformers", reason=reason).ByT5Tokenizer()
