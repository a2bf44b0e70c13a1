"""What a text is made of, against str methods, loops over its characters, and unicodedata."""

import json
import re
import statistics
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textgen.analysis.text_statistics import (
    UNICODE_FORMS,
    Items,
    code_points_of,
    count_newlines,
    count_segments,
    describe_characters,
    measure_characters,
    measure_items,
    measure_lines,
    measure_normalisation,
    measure_statistics,
    names_of,
)

KINDS = ["LF", "CRLF", "CR", "VT", "FF", "NEL", "U+2028", "U+2029"]
texts = st.text("ab \t\n\r\x0b\x0c\x85\u2028\u2029", max_size=40)

# Letters, marks of several classes, jamo and syllables, halfwidth forms, what has two code points
# (the ohm and angstrom signs), what is excluded from composition, and a mark that decomposes.
MARKED = "aeqAo\u0301\u0308\u0323\u0327\u00e9\u1e69\u212b\u2126\u00c5\u03a9\u0344\u0958\u093c\u0915"
MARKED += "\u1100\u1161\u11a8\uac00\uac01\uff76\uff9e\uffc2\uffa1\u0b47\u0b3e\u09c7\u09be\ufb01"
MARKED += "\u1e9b\u0f73\u0f71\u0f72\U0001d15e\U00011099\U000110ba\u3131\ufdfa \n"
marked = st.text(st.sampled_from(MARKED) | st.characters(), max_size=12)


def naive_lines(text):
    """Every line without its newline; nothing but a line feed ends one."""
    lines = text.split("\n")
    ends = lines[:-1]
    return [line.removesuffix("\r") for line in ends] + lines[-1:] * bool(lines[-1])


def normalisation(text):
    return measure_normalisation(text, Counter(text))


@given(texts)
@example("")
@example("x")
@example("one line\n")
@example("no newline\r")
@example("\r\n\r\n")
def test_lines_are_counted_as_a_loop_over_them_does(text):
    lines = naive_lines(text)
    full = [line for line in lines if line]
    seen, repeated = set(), 0
    for line in full:
        repeated += line in seen
        seen.add(line)
    found = measure_lines(text)
    assert found.number == len(lines)
    assert found.empty == len(lines) - len(full)
    assert found.repeated == repeated
    assert found.repeated_share == (repeated / len(full) if full else 0)
    assert found.trailing_space == sum(line.endswith((" ", "\t")) for line in lines)
    if lines:
        lengths = [len(line) for line in lines]
        assert found.mean == pytest.approx(statistics.mean(lengths))
        assert found.median == statistics.median(lengths)
        assert found.longest == max(lengths)
        assert found.longest_at == lengths.index(max(lengths)) + 1
    else:
        assert (found.mean, found.median, found.longest, found.longest_at) == (0, 0, 0, 0)
    assert (found.most_repeated_count > 1) == (repeated > 0)
    if repeated:
        assert found.most_repeated_count == max(map(full.count, full))
        assert full.count(found.most_repeated) == found.most_repeated_count


@given(texts)
def test_newlines_are_counted_as_a_walk_over_the_characters_does(text):
    names = dict(zip("\n\r\x0b\x0c\x85\u2028\u2029", [KINDS[0], *KINDS[2:]], strict=True))
    wanted, place = dict.fromkeys(KINDS, 0), 0
    while place < len(text):
        both = text[place : place + 2] == "\r\n"
        kind = "CRLF" if both else names.get(text[place])
        if kind:
            wanted[kind] += 1
        place += 1 + both
    assert count_newlines(text) == wanted


@pytest.mark.parametrize(
    "text, final", [("", False), ("a", False), ("a\n", True), ("a\r\n", True), ("a\r", True)]
)
def test_a_newline_at_the_end_is_told(text, final):
    assert measure_statistics(text).final_newline is final


@pytest.mark.slow
@given(st.text(max_size=60))
def test_characters_are_counted_and_the_rarest_come_first(text):
    found = measure_characters(text)
    assert found.number == len(text)
    assert found.counts == Counter(text)
    order = [(count, one) for one, count in found.counts.items()]
    assert order == sorted(order)


def test_rare_characters_are_those_below_ten():
    found = measure_characters("a" * 80 + "b" * 10 + "c" * 9 + "d")
    assert found.rare == 2
    assert found.rare_share == 0.1
    assert measure_characters("").rare_share == 0


def test_controls_are_c0_and_c1_without_what_lays_out_text():
    found = measure_characters("a\t\t\n\r\0\0\0\x1b\x7f\x85\x0c\u200b\u2028")
    assert (found.tabs, found.nuls, found.controls) == (2, 3, 7)


@given(st.text("a \t\r\n", max_size=40))
@example("a\n\na\n\n\na")
@example("\n\na\r\n\r\na\r\n")
def test_items_are_what_stands_between_blank_lines(text):
    lines = "\n".join(naive_lines(text))
    items = [item for one in re.split(r"(?m)^[ \t]*(?:\n|\Z)", lines) if (item := one.strip("\n"))]
    sizes = [len(item) for item in items]
    if not items:
        assert measure_items(text) == Items(0, 0, 0, 0, 0)
        return
    found = measure_items(text)
    assert found.number == len(items)
    assert found.median == statistics.median(sizes)
    assert (found.short, found.long) == tuple(np.percentile(sizes, [10, 90]))
    assert found.median_lines == statistics.median(item.count("\n") + 1 for item in items)


@given(marked)
@example("\u0301e")  # begins with a mark
@example("\uff76\uff9e")
@example("\u1100\u1161\u11a8")
@example("q\u0323\u0301q\u0301\u0323")
def test_the_form_of_a_text_is_made_of_the_forms_of_its_segments(text):
    """Of every form, in the order of the text; so nothing that belongs together is cut."""
    counted = count_segments(text, Counter(text))
    assert sum(len(one) * number for one, number in counted.items()) == len(text)
    rest, pieces = text, []
    while rest:
        ends = [n for n in range(1, len(rest) + 1) if rest[:n] in counted]
        # The longest one that stands in the text as a whole segment.
        piece = rest[: max(ends)]
        pieces.append(piece)
        rest = rest[len(piece) :]
    for form in (*UNICODE_FORMS, "NFKD"):
        made = "".join(unicodedata.normalize(form, piece) for piece in pieces)
        assert made == unicodedata.normalize(form, text)


@given(marked)
def test_nfc_is_what_unicodedata_says(text):
    found = normalisation(text)
    assert found.is_nfc == unicodedata.is_normalized("NFC", text)
    for form in UNICODE_FORMS:
        assert (found.changed[form] == 0) == unicodedata.is_normalized(form, text)


def test_segments_are_not_longer_than_they_must_be():
    text = "ae\u0301\u0323 \uac00\u11a8x\n\u00e9e"
    wanted = ["a", "e\u0301\u0323", " ", "\uac00\u11a8", "x", "\n", "\u00e9", "e"]
    assert count_segments(text, Counter(text)) == Counter(wanted)


def test_every_changed_character_counts_once_with_its_marks():
    found = normalisation("e\u0301 \u00e9 e\u0301 \ufb01 q\u0301\u0323 \u212b")
    # NFC: twice e and acute, the marks in the wrong order, the angstrom sign.
    # NFD: the composed e, the marks, the sign; NFKC: as NFC, and the ligature.
    assert found.changed == {"NFC": 4, "NFD": 3, "NFKC": 5}


def test_what_is_written_in_two_ways_is_listed_with_its_counts():
    found = normalisation("\u00e9" * 3 + "e\u0301" * 2 + "\u00fc\u00fc" + "\u212b\u00c5A\u030a")
    assert found.spellings == [
        {"\u00e9": 3, "e\u0301": 2},
        {"\u00c5": 1, "\u212b": 1, "A\u030a": 1},
    ]


@pytest.mark.parametrize("text", ["", "plain\n", "\u00e9\u00e8", "e\u0301e\u0301", "\u212b"])
def test_what_is_written_in_one_way_is_not_listed(text):
    assert normalisation(text).spellings == []


def test_names_and_code_points_are_those_of_unicode():
    assert (code_points_of("e\u0301"), code_points_of("\U0001f917")) == ("U+0065 U+0301", "U+1F917")
    assert names_of("e\u0301") == "LATIN SMALL LETTER E, COMBINING ACUTE ACCENT"
    kinds = {
        "\n": "control",
        "\ue000": "private use",
        "\ud800": "surrogate",
        "\uffff": "unassigned",
    }
    for character, kind in kinds.items():
        assert names_of(character) == f"<{kind}>"


def test_json_holds_a_hundred_examples_at_most():
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 150)))
    text += "".join(chr(code) + unicodedata.normalize("NFD", chr(code)) for code in range(192, 198))
    made = measure_statistics(text + "x" * 3000 + "\n" + "x" * 3000).to_json()
    assert json.loads(json.dumps(made)) == made
    assert made["characters"]["distinct"] == len(set(text)) + 2
    assert len(made["characters"]["rarest"]) == 100
    assert made["characters"]["rarest"][0]["count"] == 1
    assert made["normalisation"]["in_several_spellings"] == 6
    assert len(made["normalisation"]["spellings"]) == 6
    assert made["newlines"]["LF"] == 1
    assert len(measure_statistics("x" * 3000 + "\n" + "x" * 3000).lines.most_repeated) == 3000
    assert (
        len(measure_statistics(("x" * 3000 + "\n") * 2).to_json()["lines"]["most_repeated"]) == 1000
    )


def test_a_described_character_has_its_name_code_and_count():
    assert describe_characters({"e\u0301": 3}) == [
        {
            "text": "e\u0301",
            "code": "U+0065 U+0301",
            "name": "LATIN SMALL LETTER E, COMBINING ACUTE ACCENT",
            "count": 3,
        }
    ]
