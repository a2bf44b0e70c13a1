"""Text to ids and back: nothing is lost, and nothing unknown passes silently."""

import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textgen.errors import TextError
from textgen.tokenizers import char as tokenizer_module
from textgen.tokenizers.base import UNKNOWN
from textgen.tokenizers.char import CharTokenizer

TRICKY = [
    "\ufeffa\ufeffb",  # byte order marks, leading and inside
    "a\r\nb\rc\nd",
    "\0\x1b\x7f\x85",
    "\u2028\u2029\x0b\x0c",
    "\U0010ffff\U00010000\uffff\ufffe",
    "e\u0301 \u00e9 \u1e9b\u0323",  # combining marks beside composed letters
    "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}",
    "\ud83d\udcff\udfff\ud800",  # lone surrogates, and two that look like a pair
    "\ufffd<unk>",
    "aaaa",
]
ANY_TEXT = st.text(st.characters() | st.sampled_from(sorted(set("".join(TRICKY)))))


def assert_lossless(text):
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert ids.min(initial=1) >= 1
    assert ids.max(initial=1) < tokenizer.size or not text


@pytest.mark.parametrize("text", TRICKY, ids=ascii)
def test_tricky_text_comes_back_as_it_was(text):
    assert_lossless(text)


@given(ANY_TEXT)
@example("")
def test_any_text_comes_back_as_it_was(text):
    assert_lossless(text)


@given(st.text(), st.data())
def test_any_text_over_the_alphabet_comes_back_as_it_was(text, data):
    tokenizer = CharTokenizer.from_text(text)
    other = data.draw(st.text(st.sampled_from(sorted(set(text))) if text else st.nothing()))
    assert tokenizer.decode(tokenizer.encode(other)) == other


@given(ANY_TEXT)
def test_ids_are_the_places_of_the_characters_in_sorted_order(text):
    tokenizer = CharTokenizer.from_text(text)
    alphabet = sorted(set(text))
    place = {char: i for i, char in enumerate(alphabet, 1)}
    assert tokenizer.encode(text).tolist() == [place[char] for char in text]
    assert tokenizer.alphabet == "".join(alphabet)
    assert tokenizer.size == len(alphabet) + 1


@given(ANY_TEXT, st.randoms(use_true_random=False))
def test_the_alphabet_depends_on_the_set_of_characters_alone(text, random):
    shuffled = random.sample(text, len(text)) + sorted(set(text))
    one, other = CharTokenizer.from_text(text), CharTokenizer.from_text("".join(shuffled))
    assert one.codepoints.tolist() == other.codepoints.tolist()


@given(ANY_TEXT)
def test_counts_say_how_often_the_text_held_each_id(text):
    tokenizer = CharTokenizer.from_text(text)
    counted = Counter(tokenizer.encode(text).tolist())
    assert tokenizer.counts.tolist() == [counted[i] for i in range(tokenizer.size)]
    assert tokenizer.counts.dtype == np.uint64


@pytest.mark.parametrize(
    ("characters", "dtype"),
    [(1, "uint8"), (255, "uint8"), (256, "uint16"), (65535, "uint16"), (65536, "uint32")],
)
def test_ids_have_the_smallest_unsigned_type_that_holds_them(characters, dtype):
    text = "".join(map(chr, range(characters)))
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    assert ids.dtype == dtype
    assert ids.tolist() == list(range(1, characters + 1))
    assert tokenizer.decode(ids) == text


def test_every_code_point_of_unicode_has_a_way_there_and_back():
    text = "".join(map(chr, range(0x110000)))
    tokenizer = CharTokenizer.from_text(text)
    assert tokenizer.size == 0x110000 + 1
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("block", [1, 3, 4, 5, 1000])
def test_the_size_of_a_block_changes_nothing(monkeypatch, block):
    text = "to be, or not to be\N{PARTY POPPER}"
    whole = CharTokenizer.from_text(text)
    ids = whole.encode(text)
    monkeypatch.setattr(tokenizer_module, "ENCODED_AT_ONCE", block)
    pieces = CharTokenizer.from_text(text)
    assert pieces.codepoints.tolist() == whole.codepoints.tolist()
    assert pieces.counts.tolist() == whole.counts.tolist()
    assert pieces.encode(text).tolist() == ids.tolist()


def test_an_unknown_character_is_an_error_that_names_it_and_its_place():
    tokenizer = CharTokenizer.from_text("abc")
    with pytest.raises(TextError) as caught:
        tokenizer.encode("abßßc", subject="--prime")
    assert caught.value.exit_code == 3
    assert caught.value.subject == "--prime"
    for words in ("'ß'", "U+00DF", "LATIN SMALL LETTER SHARP S", "position 3", "3 characters"):
        assert words in caught.value.problem
    assert "skip" in caught.value.fix
    assert "replace" in caught.value.fix


def test_an_unknown_control_character_is_shown_as_its_escape():
    with pytest.raises(TextError) as caught:
        CharTokenizer.from_text("abc").encode("a\x1b[2J")
    assert "\x1b" not in str(caught.value)
    assert "U+001B" in str(caught.value)


def test_an_unknown_character_far_away_is_found_at_its_place(monkeypatch):
    monkeypatch.setattr(tokenizer_module, "ENCODED_AT_ONCE", 10)
    with pytest.raises(TextError, match="position 1235 "):
        CharTokenizer.from_text("abc").encode("abc" * 411 + "a" + "\U0010ffff")


@pytest.mark.parametrize(("text", "hinted"), [("caf\u00e9", True), ("cafe!", False)])
def test_decomposed_text_gets_a_hint_to_compose_it(text, hinted):
    with pytest.raises(TextError) as caught:
        CharTokenizer.from_text("caf\u00e9").encode(unicodedata.normalize("NFD", text))
    assert ("NFC" in caught.value.fix) == hinted


@pytest.mark.parametrize("char", ["\0", "`", "d", "\x7f", "\u0100", "\U0010ffff", "\ud800"])
def test_a_character_below_between_or_above_the_alphabet_is_unknown(char):
    tokenizer = CharTokenizer.from_text("abce")
    assert tokenizer.encode(char, "replace").tolist() == [UNKNOWN]
    with pytest.raises(TextError):
        tokenizer.encode(char)


@given(st.text(st.sampled_from("abc"), min_size=1), st.text(st.sampled_from("abcdé\U0001f600\0")))
def test_skip_drops_and_replace_marks_what_is_unknown(known, text):
    tokenizer = CharTokenizer.from_text(known)
    skipped = tokenizer.encode(text, "skip")
    replaced = tokenizer.encode(text, "replace")
    assert tokenizer.decode(skipped) == "".join(c for c in text if c in known)
    assert tokenizer.decode(replaced) == "".join(c if c in known else "\ufffd" for c in text)
    assert skipped.dtype == replaced.dtype == tokenizer.encode(known).dtype


def test_the_place_kept_for_unknown_characters_is_no_character_of_the_text():
    tokenizer = CharTokenizer.from_text("a\ufffd")
    assert UNKNOWN not in tokenizer.encode("a\ufffd")


def test_empty_text_is_no_ids():
    assert CharTokenizer.from_text("abc").encode("").tolist() == []
    assert CharTokenizer.from_text("abc").decode([]) == ""
    assert CharTokenizer.from_text("").size == 1
