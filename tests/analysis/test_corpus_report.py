"""What is said of a text before training: figures, examples, only the advice it calls for."""

import dataclasses
import json
import random
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.analysis import corpus_report as module
from textgen.analysis.corpus_report import (
    LONGEST_SHOWN,
    MOST_SHOWN,
    TextSource,
    count_missing,
    report_on_text,
    suggest,
)
from textgen.analysis.overlap import measure_overlap
from textgen.analysis.text_statistics import measure_statistics
from textgen.data.corpus import Corpus

SOURCE = TextSource("corpus.txt", bytes=1234, encoding="utf-8")
WORDS = ["the", "of", "and", "to", "in", "that", "was", "his", "he", "it", "with", "as", "had"]


def report_on(text, shares=(0.9, 0.05), source=SOURCE):
    return report_on_text(text, bounds_of(text, shares), source)


def bounds_of(text, shares):
    n = len(text)
    cuts = [0, int(shares[0] * n), int(sum(shares) * n), n]
    return {part: (cuts[i], cuts[i + 1]) for i, part in enumerate(("train", "val", "test"))}


def suggestions(train, val, test=""):
    """What a report suggests, without the figures to beat: these take most of its time."""
    overlap = measure_overlap(train, val) if val else None
    return list(suggest(measure_statistics(train + val + test), overlap))


def advice(text, shares=(0.9, 0.05)):
    parts = [text[slice(*bounds)] for bounds in bounds_of(text, shares).values()]
    return [suggestion.option for suggestion in suggestions(*parts)]


def value(report, label):
    return dict(report.lines())[label]


def prose(characters=150_000, seed=0, width=70, end="\n"):
    """Lines of words, none short, in paragraphs of very different sizes: what the defaults suit."""
    draw, lines = random.Random(seed), []
    while sum(map(len, lines)) + len(lines) < characters:
        for _ in range(draw.choice([1, 1, 2, 5, 30])):
            line = ""
            while len(line) < width:
                line += draw.choice(WORDS) + draw.choice(WORDS) + " "
            lines.append(line[:-1])
        lines.append("")
    return end.join(lines)[:characters]


def names(number, seed=0, repeated=0.0, length=7):
    """One name a line; a share of the lines repeats an earlier one."""
    draw, lines = random.Random(seed), []
    while len(lines) < number:
        again = lines and draw.random() < repeated
        letters = "".join(draw.choices("abcdefghijklmnoprstuvwyz", k=length))
        lines.append(draw.choice(lines) if again else letters)
    return "\n".join(lines) + "\n"


def poems(number, seed=0, lines=(4, 6), end="\n"):
    draw = random.Random(seed)
    return (end * 2).join(
        end.join(" ".join(draw.choices(WORDS, k=8)) for _ in range(draw.randint(*lines)))
        for _ in range(number)
    )


PROSE = prose(110_000)


# Advice


def test_a_text_that_the_defaults_suit_gets_no_advice():
    report = report_on(PROSE)
    assert advice(PROSE) == report.suggestions == []
    assert value(report, "suggestion") == "none: the defaults suit it"


@pytest.mark.parametrize("number, called_for", [(980, False), (1030, True)])
def test_a_large_alphabet_calls_for_other_units(number, called_for):
    text = PROSE + "".join(map(chr, range(0x4E00, 0x4E00 + number)))
    assert advice(text) == ["--tokenizer byte"] * called_for


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_carriage_returns_call_for_line_feeds(newline):
    text = PROSE[:-100] + newline + PROSE[-100:]
    [suggestion] = suggestions(text, "")
    assert suggestion.option == "--newlines lf"
    assert suggestion.because.startswith("1 line")


@pytest.mark.parametrize("other", ["\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_other_newlines_do_not(other):
    assert advice(PROSE[:-100] + other + PROSE[-100:]) == []


def test_two_spellings_of_a_character_call_for_one():
    both = PROSE + "\u00e9" + unicodedata.normalize("NFD", "\u00e9")
    assert advice(both) == ["--normalize nfc"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_one_spelling_of_each_character_does_not(form):
    text = PROSE + unicodedata.normalize(form, "\u00e9\u00e8\u00fc" * 9)
    assert measure_statistics(text).normalisation.is_nfc == (form == "NFC")
    assert advice(text) == []


@pytest.mark.parametrize("number, called_for", [(99_999, True), (100_000, False)])
def test_a_short_text_calls_for_little_time(number, called_for):
    assert advice(PROSE[:number]) == ["--minutes 1"] * called_for


def test_short_lines_without_long_ones_are_records():
    assert advice(names(15_000)) == ["--records lines"]


def test_short_lines_many_of_which_repeat_are_records_whatever_the_longest():
    long = "x" * 200 + "\n"
    assert advice(names(15_000) + long) == []
    assert "--records lines" in advice(names(15_000, repeated=0.1) + long)


@pytest.mark.parametrize("every, called_for", [(1000, True), (400, False), (10, False)])
def test_short_lines_with_empty_ones_among_them_are_not_records(every, called_for):
    lines = names(15_000).splitlines()
    lines = [line + "\n" * (i % every == 0) for i, line in enumerate(lines, 1)]
    assert ("--records lines" in advice("\n".join(lines))) == called_for


def test_lines_that_are_not_short_are_not_records():
    assert advice(names(4000, length=38)) == ["--records lines"]
    assert advice(names(4000, length=40)) == []


@pytest.mark.parametrize("number, called_for", [(19, False), (20, True)])
def test_a_few_lines_or_items_do_not_make_records(number, called_for):
    assert ("--records lines" in advice(names(number), (1, 0))) == called_for
    assert ("--records blank-line" in advice(poems(number), (1, 0))) == called_for


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_items_of_similar_size_between_blank_lines_are_records(end):
    assert "--records blank-line" in advice(poems(1000, end=end))


@pytest.mark.parametrize(
    "lines", [(1, 1), (1, 40), (200, 210)], ids=["single lines", "of any size", "very long"]
)
def test_other_texts_between_blank_lines_are_not_records(lines):
    options = advice(poems(40 if lines[0] == 200 else 200, lines=lines))
    assert not [option for option in options if option.startswith("--records")]


def test_a_copied_validation_part_is_said_to_flatter():
    copied, fresh = PROSE[5000:12_500], prose(7500, seed=1)
    half = copied[:3750] + fresh[:3750]
    for part, called_for in ((fresh, False), (half, True), (copied, True)):
        options = [suggestion.option for suggestion in suggestions(PROSE, part)]
        assert options == ["--val FILE"] * called_for


def test_names_in_both_parts_flatter_and_lines_of_prose_do_not():
    assert advice(names(15_000, repeated=0.02)) == ["--records lines"]
    assert advice(names(15_000, repeated=0.3)) == ["--records lines", "--val FILE"]
    spoken = PROSE.replace("\n\n", "\n}\n\n")
    cut = len(spoken) * 9 // 10
    assert measure_overlap(spoken[:cut], spoken[cut:]).copied_lines_share > 0.05
    assert suggestions(spoken[:cut], spoken[cut:]) == []


def test_a_text_of_which_nothing_is_held_out_is_not_said_to_flatter():
    text = names(15_000, repeated=0.3)
    assert advice(text, (1, 0)) == ["--records lines"]


# Parts


def test_missing_characters_are_those_that_training_lacks():
    assert count_missing("abc", "cdeexxx") == {"x": 3, "e": 2, "d": 1}
    assert list(count_missing("abc", "cdeexxx")) == ["x", "e", "d"]
    assert list(count_missing("", "ba")) == ["a", "b"]
    assert count_missing("abc", "cab") == count_missing("abc", "") == {}


def test_held_out_parts_that_are_empty_are_left_out():
    report = report_on("ab" * 50, (0.9, 0.1))
    assert list(report.overlaps) == list(report.missing) == ["val"]
    assert report.parts == {"train": 90, "val": 10, "test": 0}
    report = report_on("ab" * 50, (1.0, 0.0))
    assert report.overlaps == report.missing == {}
    assert report.baselines is None
    assert "to beat" not in dict(report.lines())


def test_each_held_out_part_is_compared_with_training():
    text = "abcdefghij" * 9 + "abcde" + "fghi!"
    report = report_on(text)
    assert {part: one.text for part, one in report.overlaps.items()} == {
        "val": "abcde",
        "test": "fghi",
    }
    assert report.missing == {"val": {}, "test": {"!": 1}}


# The whole


@pytest.mark.parametrize("text", ["", "x", "\n", "one line", "one line\n", "a\nb", "\ud800\0"])
@pytest.mark.parametrize("shares", [(0.9, 0.05), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_every_text_has_a_report(text, shares):
    report = report_on(text, shares)
    assert all(isinstance(one, str) for pair in report.lines() for one in pair)
    again = json.loads(json.dumps(report.to_json()))
    assert again == report.to_json()
    assert again["characters"]["number"] == len(text)
    assert again["lines"]["number"] == len(text.splitlines())


@given(st.text("ab\u00e9e\u0301\r\n \t\u4e00", max_size=30))
def test_json_and_lines_can_be_made_of_any_text(text):
    report = report_on(text, (0.5, 0.3))
    assert json.loads(json.dumps(report.to_json())) == report.to_json()
    assert len(report.lines()) > 10


def test_json_has_a_key_for_every_question():
    report = report_on(PROSE).to_json()
    assert list(report) == [
        *("text", "characters", "lines", "newlines", "final_newline", "items", "normalisation"),
        *("parts", "missing", "overlap", "baselines", "suggestions"),
    ]
    assert report["text"] == {
        "name": "corpus.txt",
        "bytes": 1234,
        "encoding": "utf-8",
        "had_bom": False,
    }
    assert report["overlap"]["val"]["spans"] == 5500 - 49
    assert report["missing"]["val"] == {"distinct": 0, "count": 0, "examples": []}


def test_the_terminal_is_told_the_figures(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    text = "one\ntwo\none\n" * 10 + "e\u0301\u00e9\tX\r\n"
    report = report_on(text, (0.95, 0.05))
    told = dict(report.lines())
    assert told["text"] == "corpus.txt, utf-8, 1,234 bytes"
    assert told["characters"] == "127, 11 different"
    assert told["rarer than 10"] == f"5 characters, {500 / 127:.2f} % of the text"
    assert told["rarest"] == "\t U+0009 <control>: 1"
    assert told["controls"] == "tabs 1, NUL 0, other 0"
    assert told["lines"] == "31, 0 of them empty"
    assert told["line lengths"] == "mean 3.1, median 3, longest 5, line 31"
    assert told["lines repeated"] == f"28, {2800 / 31:.2f} % of those not empty; 20 times: one"
    assert told["newlines"] == "LF 30, CRLF 1, one at the end"
    assert told["NFC"].startswith("no; ") and told["NFC"].endswith(": NFC 1, NFD 1, NFKC 1")
    first, second = told["in several ways"].split(" and ")
    assert first == "\u00e9 U+00E9 LATIN SMALL LETTER E WITH ACUTE: 1"
    assert second.startswith("e\u0301 U+0065 U+0301 ") and second.endswith(": 1")
    assert told["parts"] == "training 120, validation 7, test 0 characters"
    assert told["validation"] == "5 characters that training lacks, 5 times"
    assert told["to beat"].endswith("the first 7 characters of validation")
    bits = report.baselines.ngrams[2]
    assert told["after 2"] == f"{bits:.3f} ({bits * 7 / 9:.3f})"
    assert told["zstd"] == "not installed"
    assert told["PPMd"] == "not installed (pip install 'textgen-rnn[report]')"
    lines = (
        f"--records lines: 31 lines of 3 characters (median), {2800 / 31:.2f} % of them repeated"
    )
    assert told["suggestion"] == lines


def test_the_terminal_is_told_what_ppmd_makes_of_it():
    pytest.importorskip("pyppmd")
    report = report_on("one\ntwo\nune\u0301\n" * 40, (0.9, 0.1))
    ppmd, per_byte = report.baselines.ppmd, report.baselines.per_byte
    figures = f"{ppmd.bits:.3f} ({per_byte(ppmd.bits):.3f}), {ppmd.nats:.3f} nats"
    wanted = f"{figures}, after the last 504 bytes of training, order {ppmd.order}"
    assert value(report, "PPMd") == wanted


def test_a_byte_order_mark_is_reported():
    marked = dataclasses.replace(SOURCE, had_bom=True)
    assert value(report_on("abc", source=marked), "text").endswith("mark dropped")
    assert "mark" not in value(report_on("abc"), "text")


def test_long_lists_and_texts_are_cut_on_the_terminal():
    line = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    told = report_on((line + "\n") * 2 + line[:100], (0.5, 0.5)).lines()
    labels = [label for label, _ in told]
    begin = labels.index("rarest")
    assert [bool(label) for label in labels[begin : begin + MOST_SHOWN + 1]] == [
        True,
        *[False] * (MOST_SHOWN - 1),
        True,
    ]
    assert f"2 times: {line[:LONGEST_SHOWN]} ..." in dict(told)["lines repeated"]
    # The part for validation begins in the middle of a line: at character 351 of 702.
    both = line[50:] + "\n" + line[:50]
    words = f"longest span shared with training: {len(both)} characters: {both[:LONGEST_SHOWN]} ..."
    assert ("", words) in told


@pytest.mark.parametrize(
    ("lines", "percent"),
    [(["a", "b"], "0.00 %"), (["a", "a", *map(str, range(20_000))], "less than 0.01 %")],
)
def test_a_small_share_is_not_called_none(lines, percent):
    repeated = value(report_on("\n".join(lines), (1, 0)), "lines repeated")
    assert f", {percent} of those not empty" in repeated


def test_of_a_very_long_corpus_the_beginning_is_looked_at(monkeypatch):
    monkeypatch.setattr(module, "MOST_REPORTED_CHARS", 100)
    report = module.report_on_corpus(
        Corpus.of("a line of a text\n" * 30, Path("text.txt")), "0.8,0.2"
    )
    assert report.parts == {"train": 80, "val": 20, "test": 0}
    assert dict(report.lines())["text"] == (
        "text.txt, utf-8, 510 bytes, the first 100 of 510 characters"
    )
