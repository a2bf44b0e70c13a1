"""Spans of a text against plain Python sets and str.find; the index beside a run, whole or not."""

import dataclasses
import errno
import os
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from samples import refused, tiny

from textgen.checkpoint import span_index
from textgen.checkpoint.span_index import index_for, longest_copied, origin_of
from textgen.data import corpus
from textgen.data import spans as spans_module
from textgen.data.spans import PRIME, Spans
from textgen.errors import CheckpointError, TextError, UsageError
from textgen.files import tensorfile
from textgen.tokenizers.base import CODE_POINTS
from textgen.tokenizers.char import CharTokenizer

WORDS = "abba\u00e9b\nbaab\u00e9" * 3 + "\u00e9\u00e9a"
V = 5

# Few characters make repeats; a small block makes its borders fall everywhere.
texts = st.text("abc", max_size=40)
lengths = st.integers(1, 7)
blocks = st.sampled_from([1, 2, 5, 1000])


def to_ids(text, dtype=np.uint8):
    return np.array([ord(char) - 96 for char in text], dtype=dtype)


def naive_spans(ids, length):
    ids = [int(number) for number in ids]
    return {tuple(ids[i : i + length]) for i in range(len(ids) - length + 1)}


def naive_completing(ids, length, history_BL, vocab):
    spans = naive_spans(ids, length)
    rows = [[number for number in row if number >= 0] for row in history_BL.tolist()]
    recent = [tuple(row[len(row) - length + 1 :]) for row in rows]
    return [
        [len(row) >= length - 1 and (*end, number) in spans for number in range(vocab)]
        for row, end in zip(rows, recent, strict=True)
    ]


def horner(ids, base, modulus):
    """The hash as the docstring defines it, in Python's whole numbers."""
    value = 0
    for number in ids[:-1]:
        value = (value + int(number)) * base % modulus
    return value + int(ids[-1])


def naive_longest(text, output):
    """The length of the longest common span, and where the first of those in text is in output."""
    for length in range(min(len(text), len(output)), 0, -1):
        for start in range(len(text) - length + 1):
            if (place := output.find(text[start : start + length])) >= 0:
                return length, place
    return 0, 0


def histories(text, length):
    """Every end of text as a row, some of them too short, and rows that text does not hold."""
    ids = to_ids(text, np.int64)
    rows = [ids[:end] for end in range(len(ids) + 1)]
    rows += [np.append(row, 4) for row in rows] + [row[::-1] for row in rows]
    history_BL = np.full((len(rows), length + 2), -1)
    for row, known in zip(history_BL, rows, strict=True):
        known = known[-len(row) :]
        row[len(row) - len(known) :] = known
    return history_BL


def assert_completes_as_a_set_does(spans, text):
    history_BL = histories(text, spans.length)
    before = history_BL.copy()
    found_BV = spans.completing(history_BL, V)
    assert found_BV.dtype == bool
    assert found_BV.tolist() == naive_completing(to_ids(text), spans.length, history_BL, V)
    assert np.array_equal(history_BL, before)


# Spans


@given(texts, lengths, blocks)
@example("", 1, 1)
@example("a", 1, 1000)
@example("aaaa", 2, 1)
def test_completing_finds_what_a_set_of_the_spans_holds(text, length, block):
    with mock.patch.object(spans_module, "HASHED_AT_ONCE", block):
        spans = Spans.of(to_ids(text), length)
    assert len(spans.hashes) == len(naive_spans(to_ids(text), length))
    assert_completes_as_a_set_does(spans, text)


@pytest.mark.parametrize("number", range(5))
def test_a_span_too_few_or_one_too_many_is_noticed(number):
    """The check above must not be blind: each span of this text matters to it."""
    text = "abcabbcab"
    spans = Spans.of(to_ids(text), 3)
    assert len(spans.hashes) == 5
    with pytest.raises(AssertionError):
        assert_completes_as_a_set_does(Spans(3, np.delete(spans.hashes, number)), text)
    another = Spans.of(to_ids(text[number : number + 2] + "d"), 3).hashes
    with pytest.raises(AssertionError):
        assert_completes_as_a_set_does(Spans(3, np.union1d(spans.hashes, another)), text)


@pytest.mark.parametrize("length", [1, 2, 3, 50, 300])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_hashes_are_the_polynomial_in_whole_numbers(length, dtype):
    largest = min(np.iinfo(dtype).max, CODE_POINTS)
    ids = np.random.default_rng(length).integers(0, largest, 400, endpoint=True).astype(dtype)
    ids[200:350] = largest
    expected = {horner(span, spans_module.BASE, PRIME) for span in naive_spans(ids, length)}
    with mock.patch.object(spans_module, "HASHED_AT_ONCE", 64):
        assert Spans.of(ids, length).hashes.tolist() == sorted(expected)


edges = [0, 1, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**60, PRIME - 2, PRIME - 1]
below = st.sampled_from(edges) | st.integers(0, PRIME - 1)


@given(st.lists(st.tuples(below, below), min_size=1), st.integers(1, PRIME - 1))
@example([(a, b) for a in edges for b in edges], 2)
def test_products_and_powers_modulo_the_prime(pairs, base):
    a, b = np.array(pairs, dtype=np.uint64).T
    assert spans_module._product(a, b).tolist() == [x * y % PRIME for x, y in pairs]
    assert spans_module._powers(base, 21).tolist() == [pow(base, k, PRIME) for k in range(21)]


def test_the_largest_ids_and_a_long_span_complete_each_other():
    """Sums that passed 63 bits would miss the copy."""
    ids = np.full(20_000, CODE_POINTS)
    spans = Spans.of(ids, 20_000)
    found = spans.completing(ids[None, 1:], CODE_POINTS + 1)
    assert np.flatnonzero(found).tolist() == [CODE_POINTS]
    assert spans_module.LONGEST_SPAN * CODE_POINTS * 2**21 < 2**63


def test_spans_of_the_sequence_of_thue_and_morse_differ():
    """Modulo 2^64 the sequence and its opposite have one hash, whatever the odd base is."""
    sequence = np.array([i.bit_count() % 2 for i in range(2048)])
    opposite = 1 - sequence
    for base in (3, 31, 0x9E3779B97F4A7C15):
        assert horner(sequence, base, 2**64) % 2**64 == horner(opposite, base, 2**64) % 2**64
    spans = Spans.of(sequence, 2048)
    ends = np.stack([sequence[:-1], opposite[:-1]])
    assert spans.completing(ends, 2).tolist() == [[sequence[-1] == 0, sequence[-1] == 1], [0, 0]]
    for length in (64, 1000):
        spans = Spans.of(sequence, length)
        assert len(spans.hashes) == len(naive_spans(sequence, length))


@pytest.mark.parametrize("length", [1, 2, 4, 8])
def test_what_is_drawn_around_the_barred_ids_holds_no_span(length):
    random = np.random.default_rng(length)
    text = "".join(random.choice(list("abcd"), 400))
    spans = Spans.of(to_ids(text), length)
    output = to_ids(text, np.int64)[:0]
    for _ in range(300):
        padded = np.concatenate([np.full(length, -1), output])[None]
        free = np.flatnonzero(~spans.completing(padded, V)[0])
        output = np.append(output, random.choice(free[free > 0] if free.any() else free))
    drawn = "".join(chr(96 + number) for number in output)
    assert not [i for i in range(300) if len(s := drawn[i : i + length]) == length and s in text]
    assert length < 4 or any(drawn[i : i + length - 1] in text for i in range(300))


def test_a_length_beyond_the_text_completes_nothing_and_takes_no_memory():
    spans = Spans.of(to_ids("abc"), spans_module.LONGEST_SPAN)
    assert not spans.completing(np.ones((2, 3), np.int64), V).any()
    assert spans._powers.nbytes == 0


@pytest.mark.parametrize("length", [-1, 0, spans_module.LONGEST_SPAN + 1])
def test_an_impossible_length_is_an_error_of_the_option(length):
    with pytest.raises(UsageError, match="--novel"):
        Spans.of(to_ids("abc"), length)


# The longest copied span


@given(texts, st.text("abcd", max_size=12), blocks)
@example("", "", 1)
@example("abc", "abc", 1)
@example("aaaa", "aa", 1)
def test_longest_copied_is_what_find_finds(text, output, block):
    with mock.patch.object(spans_module, "HASHED_AT_ONCE", block):
        found = longest_copied(to_ids(text), to_ids(output, np.int64))
    assert found == naive_longest(text, output)


@given(texts, st.text("abcd", max_size=12))
def test_without_a_hash_worth_its_name_the_longest_is_found_all_the_same(text, output):
    """Every two spans have one hash here, so only comparing tells them apart."""
    with mock.patch.object(spans_module, "_product", lambda a, b: np.zeros_like(a)):
        alike = Spans.of(to_ids(text), 3).hashes
        assert len(alike) <= len(set("abc"))
        assert longest_copied(to_ids(text), to_ids(output)) == naive_longest(text, output)


def test_longest_copied_in_a_longer_text():
    random = np.random.default_rng(0)
    text, output = random.integers(1, 30, 50_000), random.integers(1, 30, 500)
    output[123:160] = text[40_000:40_037]
    output[122], output[160] = 31, 31
    assert longest_copied(text.astype(np.uint8), output) == (37, 123)


# The index beside a run


@dataclasses.dataclass
class Run:
    checkpoint: object
    best: object
    text: object

    def index(self, length=3, text=None):
        return index_for(self.best, self.checkpoint, length, text)

    def expected(self, length=3):
        ids = self.checkpoint.tokenizer.encode(self.text.read_text("utf-8"), "replace")
        return Spans.of(ids, length).hashes.tolist()

    def stored(self, length=3):
        return self.best.with_name(f"novel-{length}.safetensors")


@pytest.fixture
def run(tmp_path):
    """A run folder, which knows where its text is, with one character the training did not see."""
    text = tmp_path / "words.txt"
    text.write_text(WORDS, "utf-8", newline="")
    facts = {"corpus": corpus.read(text).identity(), "split": "0.9,0.1"}
    checkpoint = tiny(facts=facts)
    folder = tmp_path / "run"
    folder.mkdir()
    checkpoint.save(folder / "best.safetensors")
    resume = {"text": str(text), "config": {}}
    last = dataclasses.replace(checkpoint, facts={**facts, "resume": resume})
    last.save(folder / "last.safetensors")
    return Run(checkpoint, folder / "best.safetensors", text)


def failing(kind, run, *words, **options):
    with pytest.raises(kind) as caught:
        run.index(**options)
    for word in ("--novel", *words):
        assert word in str(caught.value)
    return caught.value


def test_the_index_is_made_stored_and_found_again_without_the_text(run):
    expected = run.expected()
    assert run.index().hashes.tolist() == expected
    assert os.listdir(run.best.parent).count("novel-3.safetensors") == 1
    run.text.unlink()
    before = run.stored().read_bytes()
    found = run.index()
    assert (found.length, found.hashes.tolist()) == (3, expected)
    assert_same_answers(found, expected)
    assert run.stored().read_bytes() == before


def assert_same_answers(found, hashes):
    history_BL = np.random.default_rng(0).integers(0, 4, (50, 2))
    made = Spans(found.length, np.array(hashes, np.uint64))
    answers = found.completing(history_BL, 4)
    assert answers.any()
    assert np.array_equal(answers, made.completing(history_BL, 4))


def test_an_index_that_stands_is_not_made_again(run):
    run.index()
    with mock.patch.object(Spans, "of", side_effect=AssertionError):
        run.index()
        with pytest.raises(AssertionError):
            run.index(length=4)


def test_each_length_has_its_own_file(run):
    for length in (2, 4, 2):
        assert run.index(length).hashes.tolist() == run.expected(length)
    assert run.stored(2).exists() and run.stored(4).exists()


def test_every_part_of_the_text_counts(run):
    """The validation part too, and a character that only stands there as an unknown one."""
    run.text.write_text("abbab" * 20 + "\u00e9z\u00e9", "utf-8")
    run.checkpoint.facts["corpus"] = corpus.read(run.text).identity()
    a, e, unknown = *run.checkpoint.tokenizer.encode("a\u00e9").tolist(), 0
    found = run.index().completing(np.array([[e, unknown], [a, e]]), 4)
    assert [np.flatnonzero(row).tolist() for row in found] == [[e], []]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other file", "other name"])
def test_a_damaged_index_is_made_anew(run, damage):
    run.index()
    whole = run.stored().read_bytes()
    damaged = {
        "flip": whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:],
        "cut": whole[:-8],
        "empty": b"",
        "other file": run.best.read_bytes(),
        "other name": whole.replace(b'"hashes"', b'"hushes"'),
    }
    run.stored().write_bytes(damaged[damage])
    refused(run.stored(), load=lambda path: Spans.load(path, origin_of(run.checkpoint, 3)))
    assert run.index().hashes.tolist() == run.expected()
    assert run.stored().read_bytes() == whole


@pytest.mark.parametrize(
    "hashes",
    [
        np.array([3, 2], np.uint64),
        np.array([2, 2], np.uint64),
        np.array([2, 3], np.int64),
        np.array([[2], [3]], np.uint64),
    ],
)
def test_hashes_that_cannot_be_searched_are_refused(run, hashes):
    origin = origin_of(run.checkpoint, 3)
    meta = {"format": tensorfile.FORMAT_VERSION, "novelty": origin}
    tensorfile.write_tensors(run.stored(), {"hashes": hashes}, meta)
    refused(run.stored(), "order", load=lambda path: Spans.load(path, origin))
    assert run.index().hashes.tolist() == run.expected()


def test_an_index_of_another_text_alphabet_length_or_hash_is_refused_and_made_anew(run):
    origin = origin_of(run.checkpoint, 3)
    others = [{**origin, key: "0" * 64} for key in ("text", "alphabet")]
    others += [{**origin, "length": 4}, {**origin, "base": 3}, {}, None]
    for other in others:
        Spans.of(np.array([1, 2, 3, 1, 2]), 3).save(run.stored(), other)
        refused(run.stored(), "another", load=lambda path: Spans.load(path, origin))
        assert run.index().hashes.tolist() == run.expected()
        assert Spans.load(run.stored(), origin).hashes.tolist() == run.expected()


def test_the_origin_tells_texts_alphabets_and_lengths_apart(run):
    origin = origin_of(run.checkpoint, 3)
    assert origin == origin_of(tiny(facts=run.checkpoint.facts, share=0.5), 3)
    letters = tiny(facts=run.checkpoint.facts, tokenizer=CharTokenizer.from_text("abc"))
    identity = {**run.checkpoint.facts["corpus"], "sha256": "0" * 64}
    other = tiny(facts={"corpus": identity})
    for changed in (origin_of(letters, 3), origin_of(other, 3), origin_of(run.checkpoint, 4)):
        assert changed != origin


def test_a_text_shorter_than_the_span_has_an_empty_index_that_is_stored_too(run):
    assert len(run.index(1000).hashes) == 0
    run.text.unlink()
    assert len(run.index(1000).hashes) == 0


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(run):
    refusal = OSError(errno.EROFS, "Read-only file system")
    with mock.patch("textgen.files.atomic.os.replace", side_effect=refusal) as replace:
        assert run.index().hashes.tolist() == run.expected()
    assert replace.called
    assert sorted(os.listdir(run.best.parent)) == ["best.safetensors", "last.safetensors"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission(run):
    run.best.parent.chmod(0o500)
    assert run.index().hashes.tolist() == run.expected()
    run.best.parent.chmod(0o700)


def test_a_folder_in_the_place_of_the_index(run):
    run.stored().mkdir()
    assert run.index().hashes.tolist() == run.expected()


def test_nothing_is_left_in_the_folder_of_textgen_itself(run, monkeypatch):
    monkeypatch.setattr(span_index, "PACKAGE", run.best.parent.parent)
    assert run.index().hashes.tolist() == run.expected()
    assert not run.stored().exists()


# The text is gone, or another


def test_a_text_that_is_gone_is_named_with_the_way_out(run):
    moved = run.text.rename(run.text.with_name("moved.txt"))
    failing(TextError, run, str(run.text), "no such file", "--novel-text FILE")
    assert run.index(text=str(moved)).length == 3
    assert run.index().length == 3


def test_a_text_that_was_changed_is_not_the_one_trained_on(run):
    run.text.write_text(WORDS + "b", "utf-8")
    failing(TextError, run, str(run.text), "not the text", "--novel-text FILE")
    assert not run.stored().exists()


@pytest.mark.parametrize("last", [None, b"", b"damaged" * 9])
def test_a_checkpoint_that_lies_alone_asks_for_the_text_by_name(run, last):
    path = run.best.with_name("last.safetensors")
    path.unlink() if last is None else path.write_bytes(last)
    failing(UsageError, run, str(run.best), "words.txt", "--novel-text FILE")
    assert run.index(text=run.text).hashes.tolist() == run.expected()


def test_a_last_without_training_state_does_not_know_either(run):
    run.checkpoint.save(run.best.with_name("last.safetensors"))
    failing(UsageError, run, "words.txt", "--novel-text FILE")


def test_a_wrong_text_is_never_ignored_even_where_an_index_stands(run):
    run.index()
    wrong = run.text.with_name("wrong.txt")
    failing(TextError, run, "wrong.txt", "no such file", text=wrong)
    wrong.write_text("abba", "utf-8")
    failing(TextError, run, "wrong.txt", "not the text", text=wrong)


@pytest.mark.parametrize("facts", [{}, {"corpus": None}, {"corpus": {"name": "words.txt"}}])
def test_a_model_that_does_not_say_what_it_read_cannot_avoid_it(run, facts):
    run.checkpoint = dataclasses.replace(run.checkpoint, facts=facts)
    failing(CheckpointError, run, "trained on", text=run.text)
