"""What samples copy, against searches that look at every place."""

import json

import numpy as np
import pytest
from factories import call, usage_error
from hypothesis import given
from hypothesis import strategies as st

from textgen.analysis.novelty import SPAN_LENGTHS, is_one_edit, measure_novelty
from textgen.errors import TextError

WORDS = ["the", "cat", "sat", "on", "a", "mat", "dog", "ran", "out", "red", "big", "it"]


def prose(seed, words=3000):
    """Lines of words that are drawn alike, so that long runs are never shared by chance."""
    drawn = np.random.default_rng(seed).choice(WORDS, words)
    return "\n".join(" ".join(drawn[i : i + 12]) for i in range(0, words, 12)) + "\n"


CORPUS = prose(1)


def test_a_copied_passage_is_found_with_its_places():
    passage = CORPUS[5000:5200]
    samples = "one line\n" + passage + "\nanother line\n"
    first = measure_novelty(samples, CORPUS).spans[0]
    assert first.text in samples and first.text in CORPUS
    assert passage in first.text and first.chars == len(first.text)
    assert first.sample_line == samples[: samples.index(first.text)].count("\n") + 1
    assert CORPUS[first.corpus_offset :].startswith(first.text)
    assert first.corpus_line == CORPUS[: first.corpus_offset].count("\n") + 1


def test_spans_are_the_longest_and_each_once():
    passages = CORPUS[100:300], CORPUS[4000:4100]
    novelty = measure_novelty("#".join([*passages, passages[0]]), CORPUS, top=5)
    assert [span.text for span in novelty.spans] == list(passages)


def shared_by_hand(train, text, length):
    """The share of the runs of a text that stand in another, looked up one by one."""
    runs = [text[i : i + length] for i in range(len(text) - length + 1)]
    return sum(run in train for run in runs) / len(runs) if runs else None


@given(st.text("ab\n", min_size=5, max_size=80), st.text("ab\n", min_size=5, max_size=60))
def test_shares_are_those_of_a_search_at_every_place(corpus, samples):
    novelty = measure_novelty(samples, corpus, held_out=samples[::-1])
    for share in novelty.shares:
        assert share.of_samples == shared_by_hand(corpus, samples, share.chars)
        assert share.of_held_out == shared_by_hand(corpus, samples[::-1], share.chars)


def test_without_held_out_text_both_are_held_against_the_first_nine_tenths():
    novelty = measure_novelty(prose(2, 600), CORPUS)
    train, held_out = CORPUS[: -len(CORPUS) // 10 + 1], CORPUS[-(len(CORPUS) // 10) :]
    by_length = {share.chars: share for share in novelty.shares}
    for length in (5, 20):
        expected = shared_by_hand(train, held_out, length)
        assert by_length[length].of_held_out == pytest.approx(expected, abs=0.02)
        expected = shared_by_hand(train, prose(2, 600), length)
        assert by_length[length].of_samples == pytest.approx(expected, abs=0.02)


def test_the_verdict_tells_copies_from_text_of_the_same_kind():
    new = measure_novelty(prose(2), CORPUS, held_out=prose(3))
    assert not new.copies and "no more than" in new.verdict()
    copied = measure_novelty(prose(2) + CORPUS[:2000], CORPUS, held_out=prose(3))
    assert copied.copies and copied.verdict().startswith("copies: 15.1 %")
    short = measure_novelty("the cat", CORPUS)
    assert short.telling.chars == 5


def test_records_are_copied_near_or_repeated():
    corpus = "anna\nbob\ncarla\ndaniel\n" * 2
    novelty = measure_novelty("anna\nbobo\nbobo\ncarl\ndanjel\nzoe\nab\n", corpus, records="lines")
    records = novelty.records
    assert (records.records, records.copied, records.repeated) == (7, 1, 1)
    assert [tuple(pair) for pair in records.near] == [
        ("bobo", "bob"),
        ("carl", "carla"),
        ("danjel", "daniel"),
    ]


def test_records_are_held_out_from_all_over_the_corpus():
    """The end of a sorted list is unlike its beginning."""
    corpus = "".join(f"{letter}{number:05}\n" for letter in "ab" for number in range(200))
    held = measure_novelty("a00001\n" * 3, corpus, records="lines")
    assert held.held_out.startswith("a tenth of the records")
    plain = measure_novelty("a00001\n" * 3, corpus)
    assert plain.held_out.startswith("the last tenth")
    assert held.shares[0].of_held_out != plain.shares[0].of_held_out


def edits(one, other):
    """The edit distance, by the table that defines it."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


@given(st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_one_edit_is_a_distance_of_one(one, other):
    assert is_one_edit(one, other) == (edits(one, other) == 1)


@given(
    st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=6),
    st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=6),
)
def test_near_records_are_those_that_all_pairs_show(written, known):
    samples, corpus = ("\n".join(records) + "\n" * 5 for records in (written, known))
    found = measure_novelty(samples, corpus, records="lines").records
    near = {w for w in written if w not in known and any(edits(w, k) == 1 for k in known)}
    assert {pair.sample for pair in found.near} == near
    assert all(edits(*pair) == 1 and pair.corpus in known for pair in found.near)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(TextError, match="samples: 2 characters"):
        measure_novelty("ab", CORPUS)
    with pytest.raises(TextError, match="corpus: 0 characters"):
        measure_novelty("abcdef", "")
    assert usage_error(measure_novelty, "abcdef", CORPUS, top=0).subject == "--top"


class TestCommand:
    @pytest.fixture
    def files(self, tmp_path):
        (tmp_path / "corpus.txt").write_text(CORPUS)
        (tmp_path / "samples.txt").write_text("a \x1b[31m b\n" + CORPUS[:200])
        return tmp_path / "samples.txt", "--corpus", tmp_path / "corpus.txt"

    def test_tables_and_verdict(self, files, capsys):
        code, out, _ = call(capsys, "novelty", *files)
        assert code == 0
        assert out.splitlines()[2].split()[:2] == ["200", "2"]
        assert f"{SPAN_LENGTHS[-1]:>7}" in out and out.splitlines()[-1].startswith("copies: ")

    def test_json_is_what_the_library_says(self, files, capsys):
        _, out, _ = call(capsys, "novelty", *files, "--json", "--records", "lines", "--top", 1)
        samples, _, corpus = files
        expected = measure_novelty(samples.read_text(), corpus.read_text(), None, "lines", 1)
        assert json.loads(out) == json.loads(json.dumps(expected.to_json()))

    def test_the_corpus_must_be_named(self, files, capsys):
        code, _, err = call(capsys, "novelty", files[0])
        assert code == 2 and "--corpus" in err
