"""The sample of a text's spans, against the plain question whether they stand in the other text."""

import random
import textwrap

import numpy as np
import pytest

from textgen.data import fingerprints

WORDS = [f"{a}{b}{c}" for a in "bdgklmnprst" for b in "aeiou" for c in "lmnrstx"]


def prose(seed, words=12_000):
    """Return text that no two seeds share."""
    drawn = random.Random(seed).choices(WORDS, k=words)
    return "".join(word + (". " if i % 11 == 10 else " ") for i, word in enumerate(drawn))


def test_a_text_knows_all_of_its_own_stretches():
    text = prose(1)
    known = fingerprints.fingerprint([text])
    found = fingerprints.find_overlap(known, text[7000:21000])
    assert found.spans > 40 and found.known == found.spans and found.share == 1.0


def test_another_text_shares_nothing():
    known = fingerprints.fingerprint([prose(1)])
    found = fingerprints.find_overlap(known, prose(2))
    assert found.spans > 100 and found.share == 0.0


def test_half_a_copy_is_about_a_half():
    known = fingerprints.fingerprint([prose(1)])
    mixed = prose(1)[:15_000] + prose(2)[:15_000]
    assert fingerprints.find_overlap(known, mixed).share == pytest.approx(0.5, abs=0.15)


def test_another_edition_is_found_out():
    text = prose(3)
    other = (
        textwrap.fill(text.upper(), 61).replace("\n", "\r\n    ").replace(".", " \u201d \u2014 ")
    )
    assert fingerprints.find_overlap(fingerprints.fingerprint([text]), other).share == 1.0


def test_pieces_make_no_difference():
    text = prose(4)
    cut = [text[:11], text[11:11], text[11:30_000], text[30_000:]]
    whole = fingerprints.fingerprint([text])
    assert np.array_equal(fingerprints.fingerprint(cut), whole)
    assert whole.dtype == np.uint32 and (np.diff(whole.astype(np.int64)) > 0).all()


def test_a_sample_is_one_span_in_many():
    letters = sum(map(str.isalnum, prose(5)))
    expected = letters / fingerprints.ONE_IN
    assert len(fingerprints.fingerprint([prose(5)])) == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize("text", ["", "short", "...\n---", "\ud800" * 50])
def test_what_has_no_spans_has_no_share(text):
    known = fingerprints.fingerprint([prose(1)])
    assert fingerprints.find_overlap(known, text).share == 0.0
    assert fingerprints.find_overlap(fingerprints.fingerprint([text]), prose(1)).known == 0


def test_a_single_span_does_not_tell():
    assert fingerprints.SharedSpans(spans=1, known=1).share == 0.0
    assert fingerprints.SharedSpans(spans=4, known=2).share == 0.5
