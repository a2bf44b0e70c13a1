"""SentencePiece's pieces as ids: every text comes back, whatever the library does to it."""

import functools
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from textgen.errors import MachineError, TextError, UsageError
from textgen.tokenizers import byte, subword
from textgen.tokenizers.subword import (
    SentencePieceTokenizer,
    cut_blocks,
    learnable_blocks,
    sample_blocks,
)
from textgen.tokenizers.utf8 import BETWEEN_CHARACTERS

ROOT = Path(byte.__file__).parent.parent.parent


def invent_words(number):
    """Lines of invented words, the shorter ones more often."""
    random = np.random.default_rng(0)
    syllables = [first + vowel for first in "bcdfghklmnprstvw" for vowel in "aeiou"]
    words = ["".join(random.choice(syllables, 1 + i // 100)) for i in range(400)]
    chosen = random.choice(words, number, p=np.arange(400, 0, -1) / 80_200).tolist()
    return "\n".join(" ".join(chosen[i : i + 9]) for i in range(0, number, 9))


TEXT = (ROOT / "LICENSE").read_text("utf-8") + invent_words(1200) + "\t\u00e9, 日本  😀.\r\n"
DNA = "ACGTTGCA" * 50  # no space, no newline
TYPES = ["bpe", "unigram"]

TRICKY = [
    "",
    " ",
    "  leading, trailing  ",
    "\u2581",
    "\u2581 \u2581\u2581",  # what the library writes for a space, beside spaces
    "a\u2585b",  # what the library writes for the unknown
    "a\nb\tc\rd\r\n\n\n",
    "\0a\0",
    "\ufeffa\ufeff",
    "e\u0301 \u0301",  # lone combining marks
    "\N{MAN}\u200d\N{WOMAN}",
    "<0xE2><0x96><0x81> <unk>",
    "\u3000\xa0\u2003",  # other spaces
    "AC GT",
    "日本語 is new",
    "\U0010ffff\uffff",
]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("".join(TRICKY)))


@functools.cache
def made(model_type="bpe", text=TEXT, size=500):
    tokenizer, _ = SentencePieceTokenizer.train(text, model_type, size)
    return tokenizer.with_counts(np.ones(tokenizer.size, np.uint64))


EVERY = [(model_type, text) for model_type in TYPES for text in (TEXT, DNA)]


def assert_lossless(tokenizer, text):
    ids = tokenizer.encode(text)
    assert ids.dtype == tokenizer.dtype == np.uint16
    assert tokenizer.decode(ids) == text
    assert tokenizer.chars_V[ids].sum() == len(text)
    decoder = tokenizer.decoder()
    streamed = [decoder.feed(one) for one in ids.tolist()]
    assert "".join(streamed) == text
    assert decoder.pending == b""
    state = BETWEEN_CHARACTERS
    for one in ids.tolist():
        assert tokenizer.spelling.allowed_SV[state, one]
        state = tokenizer.spelling.next_SV[state, one]


@pytest.mark.parametrize("text", TRICKY, ids=ascii)
def test_tricky_text_comes_back_as_it_was(text):
    for model_type, learnt in EVERY:
        assert_lossless(made(model_type, learnt), text)


@given(ANY_TEXT, st.sampled_from(EVERY))
@example("\u2581 ", EVERY[0])
def test_any_text_comes_back_as_it_was(text, one):
    assert_lossless(made(*one), text)


@pytest.mark.slow
def test_every_code_point_comes_back():
    text = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    assert made().decode(made().encode(text)) == text


def test_the_library_s_own_decoder_would_break_a_streamed_character():
    tokenizer = made()
    ids = tokenizer.encode("ß").tolist()  # which the text has not: two bytes
    library = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    assert "".join(library.decode([one]) for one in ids) == "\ufffd\ufffd"
    decoder = tokenizer.decoder()
    assert [decoder.feed(one) for one in ids] == ["", "ß"]


@given(st.lists(st.integers(0, 499), max_size=30))
def test_any_ids_become_what_python_makes_of_their_bytes(ids):
    tokenizer = made()
    symbols = tokenizer.symbols()
    expected = b"".join(symbols[one] for one in ids).decode("utf-8", "replace")
    assert tokenizer.decode(ids) == expected
    decoder = tokenizer.decoder()
    assert "".join(decoder.feed(one) for one in ids) + decoder.flush() == expected


# Learning


@pytest.mark.parametrize("model_type", TYPES)
def test_it_is_smaller_than_the_text_and_the_same_every_time(model_type):
    one, note = SentencePieceTokenizer.train(TEXT, model_type, 500)
    again, _ = SentencePieceTokenizer.train(TEXT, model_type, 500)
    assert one.model == again.model
    assert (one.size, one.model_type, note) == (500, model_type, None)
    assert len(one.encode(TEXT)) < len(TEXT) / 1.5
    assert model_type in one.describe()


def test_learning_from_parts_is_learning_from_the_text():
    lines = TEXT.splitlines(keepends=True)
    parts, _ = SentencePieceTokenizer.train(lines, "bpe", 500)
    assert_lossless(parts, TEXT)
    assert parts.size == 500


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("text", ["", "a", "\u2581\u2585\0", DNA, TEXT[:40]], ids=ascii)
def test_a_short_text_has_fewer_pieces_and_that_is_said(model_type, text):
    tokenizer, note = SentencePieceTokenizer.train(text, model_type, 5000)
    assert tokenizer.size < 400
    assert f"{tokenizer.size} pieces" in note
    assert_lossless(tokenizer, "any text: \u2581 é")


def test_fewer_pieces_than_bytes_are_refused_with_the_least():
    with pytest.raises(UsageError, match="give 270 or more"):
        SentencePieceTokenizer.train(TEXT, "bpe", 269)
    assert SentencePieceTokenizer.train(TEXT, "bpe", 270)[0].size > 264


@pytest.mark.parametrize("model_type", TYPES)
def test_of_a_large_alphabet_the_rarer_characters_are_spelled_in_bytes(model_type):
    """400 characters, the later ones rarer, as 560 pieces: three quarters of 300 may be one."""
    characters = [chr(0x4E00 + number) for number in range(400)]
    text = "".join(char * (401 - number) for number, char in enumerate(characters))
    tokenizer, _ = SentencePieceTokenizer.train(text, model_type, 560)
    assert_lossless(tokenizer, text)
    lengths = [len(tokenizer.encode("\n" + char)) for char in characters]
    assert lengths[:224] == [2] * 224
    assert lengths[226:] == [4] * 174


def test_a_large_alphabet_has_more_pieces_by_default():
    alphabet = "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    assert SentencePieceTokenizer.train(alphabet * 50)[0].size > 1000
    assert SentencePieceTokenizer.train(alphabet[:300] * 50)[0].size <= 1000


def test_of_a_long_text_blocks_are_drawn_by_seed(monkeypatch):
    monkeypatch.setattr(subword, "MOST_LEARNT_BYTES", 9000)
    text = "".join(f"{number} bottles of beer\n" for number in range(2000))
    kept = [sample_blocks([*learnable_blocks([text])], seed) for seed in (0, 0, 1)]
    assert kept[0] == kept[1] != kept[2]
    blocks, note = kept[0]
    assert "drawn" in note
    assert 4000 < sum(map(len, blocks)) <= 9000
    assert [text.index(block) for block in blocks] == sorted(map(text.index, blocks))


def test_what_is_learnt_from_is_short_and_without_the_library_s_own_signs():
    text = "a\u2581b\u2585c\0" + "x" * 9000 + "\n" + "y" * 10
    blocks = [*learnable_blocks([text])]
    assert blocks == ["a", "b", "c", "x" * 4000, "x" * 4000, "x" * 1000 + "\n" + "y" * 10]


def test_half_of_a_surrogate_pair_cannot_be_learnt_nor_encoded():
    with pytest.raises(TextError):
        SentencePieceTokenizer.train("a\ud800", "bpe", 300)
    with pytest.raises(TextError, match="position 2 "):
        made().encode("a\ud800")
    assert made().decode(made().encode("a\ud800", "replace")) == "a\ufffd"


# Blocks


@given(st.text("ab \n", max_size=60), st.integers(1, 20))
def test_a_text_that_is_cut_is_the_same_text_in_blocks_that_are_short(text, longest):
    blocks = [*cut_blocks(text, longest)]
    assert "".join(blocks) == text
    assert all(0 < len(block) <= longest for block in blocks)
    for block, after in itertools.pairwise(blocks):
        assert block.endswith("\n") or after.startswith(" ") or len(block) == longest


@pytest.mark.parametrize("model_type", TYPES)
def test_a_cut_at_a_newline_or_space_changes_no_id(monkeypatch, model_type):
    text = TEXT
    whole = made(model_type).encode(text)
    monkeypatch.setattr(subword, "CHARS_AT_ONCE", 40)
    assert made(model_type).encode(text).tolist() == whole.tolist()
    monkeypatch.setattr(subword, "CHARS_AT_ONCE", 3)  # within words too
    assert_lossless(made(model_type), text)


def test_two_pieces_of_one_name_are_the_library_s_to_refuse():
    model = bytearray(made().model)
    pairs = [unit for unit in made().symbols() if len(unit) == 2 and unit.isalpha()]
    # Each a field of two bytes that occurs nowhere else in the model.
    one, other = [f for unit in pairs if model.count(f := b"\n\x02" + unit) == 1][:2]
    model[:] = model.replace(other, one)
    with pytest.raises(ValueError, match="refuses"):
        SentencePieceTokenizer(bytes(model))


# The library


def test_what_needs_no_pieces_never_imports_the_library():
    words = (
        "import sys, textgen, textgen.tokenizers\nfrom textgen.tokenizers import ByteTokenizer\n"
    )
    words += "model = textgen.load('checkpoints/demo.safetensors')\n"
    words += "model.sample(length=3, seed=1), ByteTokenizer().encode('a')\n"
    words += "assert 'sentencepiece' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", words], check=True, cwd=ROOT)


def test_a_missing_library_is_named_with_what_to_install(monkeypatch):
    model = made().model
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    for call in (lambda: SentencePieceTokenizer(model), lambda: SentencePieceTokenizer.train("a")):
        with pytest.raises(MachineError, match="pip install sentencepiece") as caught:
            call()
        assert caught.value.exit_code == 5
