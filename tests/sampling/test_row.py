"""Texts of bytes and pieces as they grow: whole characters, exact lengths, ends within a piece."""

import functools
import itertools

import numpy as np
import pytest
from factories import learn_tokenizer, random_checkpoint, with_counts_of
from hypothesis import given
from hypothesis import strategies as st

from textgen.checkpoint.loading import make_engine
from textgen.config.sample import SampleConfig
from textgen.evaluation import protocols
from textgen.sampling.batch import write_texts
from textgen.sampling.generator import begin, generate, read_prime
from textgen.sampling.row import Row, select_ids
from textgen.sampling.stopping import StopMatcher
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer
from textgen.tokenizers.subword import SentencePieceTokenizer

# Every piece of bpe that a text of 60 characters may need, and characters of 1 to 4 bytes.
WORDS = "the cat sat. The hat, the mat!\nA bad cab é ü 日本語 😀 the end\n\n" * 9
KINDS = ["byte", "bpe", "unigram"]


@functools.cache
def model(kind):
    """A tokenizer and a network that finds everything about equally likely."""
    tokenizer = learn_tokenizer(kind, WORDS)
    if kind != "byte":  # a text in which some characters were spelled in bytes
        tokenizer = with_counts_of(tokenizer, WORDS + "ßñ€𝄞")
    return tokenizer, make_engine(random_checkpoint(tokenizer, hidden=4, embedding=3))


def config(**options):
    return SampleConfig(**{"temperature": 1.0, "seed": 1, "length": 40, **options})


def steps_of(kind, cfg, start=None, rows=None):
    tokenizer, engine = model(kind)
    return list(generate(engine, tokenizer, cfg, start, rows))


def joined(steps):
    return ["".join(pieces) for pieces in zip(*(step.pieces for step in steps), strict=True)]


def assert_whole(kind, cfg):
    """All rows are the beginnings of what the drawn bytes say, decoded by Python."""
    tokenizer, _ = model(kind)
    symbols = tokenizer.symbols()
    steps = steps_of(kind, cfg)
    for row, text in enumerate(joined(steps)):
        data = b"".join(symbols[step.ids_B[row]] for step in steps)
        assert len(text) == cfg.length
        assert data.decode("utf-8", "ignore")[: cfg.length] == text
        assert "\ufffd" not in text
    for step in steps:
        assert not any("\ufffd" in piece for piece in step.pieces)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"temperature": 5.0}, {"temperature": 0.0}, {"top_k": 3}])
def test_texts_are_whole_characters_and_as_many_as_asked(kind, options):
    for length in (1, 2, 7, 40):
        assert_whole(kind, config(num=4, length=length, **options))


def test_a_row_without_a_way_to_finish_its_character_ends_before_it():
    """Counts that no text can have: a character is begun that nothing continues."""
    counts = np.zeros(256, np.uint64)
    counts[[0x61, 0xC3]] = 1
    tokenizer = ByteTokenizer(counts)
    engine = make_engine(random_checkpoint(tokenizer))
    steps = list(generate(engine, tokenizer, config(num=5, length=30)))
    assert steps[-1].ends == ["spelling"] * 5
    assert {*"".join(joined(steps))} <= {"a"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_character_follows_the_counts_of_what_may_begin_one(kind):
    tokenizer, _ = model(kind)
    steps = steps_of(kind, config(num=2000, length=1))
    drawn = np.bincount(steps[0].ids_B, minlength=tokenizer.size)
    weights = (tokenizer.counts + 1.0) * (tokenizer.counts > 0)
    weights *= [symbol[:1] == b"" or symbol[0] & 0xC0 != 0x80 for symbol in tokenizer.symbols()]
    expected = 2000 * weights / weights.sum()
    often = expected > 5
    assert (drawn[weights == 0] == 0).all()
    chi = ((drawn - expected)[often] ** 2 / expected[often]).sum()
    assert chi < often.sum() + 5 * np.sqrt(2 * often.sum())


# Going on


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_in_parts_is_the_text(kind):
    """Wherever it is cut: within a piece, whose other characters come first then."""
    whole = joined(steps_of(kind, config(length=40)))
    cut_within = 0
    for length in range(41):
        first = steps_of(kind, config(length=length))
        after = first[-1].continuation
        cut_within += any(after.unwritten_bytes)
        second = joined(steps_of(kind, config(length=40 - length), after))
        assert joined(first)[0] + second[0] == whole[0]
    assert (cut_within > 0) == (kind != "byte")


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_is_left_within_a_character_goes_on_there(kind):
    steps = steps_of(kind, config(length=40))
    whole = joined(steps)[0]
    for number, step in enumerate(steps):
        before = "".join(one.pieces[0] for one in steps[: number + 1])
        left = 40 - len(before)
        if left:
            assert (
                before + joined(steps_of(kind, config(length=left), step.continuation))[0] == whole
            )


def with_unwritten(place):
    return place._replace(unwritten_bytes=(b"rest",))


def test_a_rest_longer_than_the_text_needs_no_draw():
    tokenizer, engine = model("bpe")
    start = with_unwritten(begin(engine, tokenizer, ["the"], config()))
    steps = list(generate(engine, tokenizer, config(length=3), start))
    assert [step.pieces for step in steps] == [["res"]]
    assert steps[0].ends == ["length"]
    assert steps[0].continuation.unwritten_bytes == (b"t",)
    assert steps[0].continuation.position == start.position


@pytest.mark.parametrize("kind", KINDS)
def test_a_prime_takes_the_place_of_a_rest_and_nothing_does_not(kind):
    tokenizer, engine = model(kind)
    place = with_unwritten(begin(engine, tokenizer, ["the"], config()))
    assert read_prime(engine, tokenizer, [""], config(), place).unwritten_bytes == (b"rest",)
    assert read_prime(engine, tokenizer, [" cat"], config(), place).unwritten_bytes == ()


# Ends


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {"stop": ("a",)},
        {"stop": ("th", "at", "é")},
        {"stop": ("e c", "t,")},
        {"until": "sentence"},
        {"until": "line"},
        {"until": "paragraph"},
        {"lines": 2},
    ],
    ids=str,
)
def test_an_end_within_a_piece_cuts_the_text_there(kind, options):
    """The draws are those of the text without an end, which is cut as one text."""
    whole = joined(steps_of(kind, config(num=12, length=60)))
    steps = steps_of(kind, config(num=12, length=60, **options))
    for row, text in enumerate(joined(steps)):
        ending = StopMatcher(config(**options))
        expected = ending.feed(whole[row]) + ending.flush()
        assert text == expected
        assert steps[-1].ends[row] == (ending.reason or "length")


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_behind_an_end_in_a_piece_is_what_the_text_goes_on_with(kind):
    whole = joined(steps_of(kind, config(length=60)))[0]
    for stop in {*whole[:50]}:
        steps = steps_of(kind, config(length=60, stop=(stop,)))
        before = joined(steps)[0]
        left = 60 - len(before) - 1
        if left:
            after = joined(steps_of(kind, config(length=left), steps[-1].continuation))[0]
            assert before + stop + after == whole


# Rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"temperature": (0.2, 3.0)}, {"stop": ("a",)}], ids=str)
def test_a_row_of_a_batch_is_the_row_alone(kind, options):
    """Rows have written differently many characters after so many ids."""
    tokenizer, engine = model(kind)
    cfg = config(num=6, **options)
    together = joined(steps_of(kind, cfg))
    for row, text in enumerate(together):
        start = begin(engine, tokenizer, [""], cfg)
        assert joined(steps_of(kind, cfg, start, range(row, row + 1))) == [text]


@pytest.mark.parametrize("kind", KINDS)
def test_a_temperature_on_its_way_depends_on_the_characters_written(kind):
    """From 9 to 0: a text whose first characters come as its rest begins where they end."""
    tokenizer, engine = model(kind)
    place = begin(engine, tokenizer, ["the"], config())._replace(unwritten_bytes=(b"x" * 39,))
    last = joined(steps_of(kind, config(temperature=(9.0, 0.0)), place))[0][39:]
    greedy = joined(steps_of(kind, config(temperature=0.0), place))[0][39:]
    assert last == greedy


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", [{"repetition_penalty": 1.5}, {"no_repeat_ngram": 2}], ids=str)
def test_penalties_look_back_on_ids(kind, penalty):
    assert_whole(kind, config(num=3, look_back=20, **penalty))
    if "no_repeat_ngram" in penalty and kind != "byte":
        steps = steps_of(kind, config(length=15, **penalty))
        ids = [int(step.ids_B[0]) for step in steps]
        pairs = [*itertools.pairwise(ids)]
        assert len(pairs) == len({*pairs})


# Log-probabilities


@pytest.mark.parametrize("kind", [*KINDS, "char"])
def test_log_probs_are_those_of_the_ids_that_the_text_is_written_with(kind):
    if kind == "char":
        tokenizer = CharTokenizer.from_text(WORDS)
        engine = make_engine(random_checkpoint(tokenizer))
    else:
        tokenizer, engine = model(kind)
    cfg = config(num=3, length=25, temperature=0.7, stop=("!",))
    steps = list(generate(engine, tokenizer, cfg))
    for row, text in enumerate(write_texts(engine, tokenizer, [""], cfg)):
        ids = np.array([step.ids_B[row] for step in steps])[: len(text.log_probs)]
        drawn = [tokenizer.symbols()[one] for one in ids]
        assert b"".join(drawn).startswith(text.text.encode())
        assert len(b"".join(drawn[:-1])) < max(1, len(text.text.encode()))
        nats = protocols.stateful(engine, ids, tokenizer.counts, 0.0) if len(ids) else np.zeros(0)
        np.testing.assert_allclose(-text.log_probs, nats, rtol=1e-5, atol=1e-5)
        assert text.nats_per_char == pytest.approx(nats.sum() / max(1, len(text.text)), rel=1e-5)


@given(st.text(st.sampled_from("aé日😀"), max_size=12), st.integers(0, 12), st.binary(max_size=4))
def test_ids_belong_to_a_text_up_to_its_last_character(text, length, junk):
    tokenizer = ByteTokenizer()
    junk = bytes(byte & 0x7F for byte in junk)  # what ended rows draw begins a character
    ids = np.frombuffer(text.encode() + junk, dtype=np.uint8)
    kept = select_ids(tokenizer, ids, text[:length])
    assert bytes(ids[kept]) == text[:length].encode()


@pytest.mark.parametrize("kind", [*KINDS, "marked"])
def test_a_text_of_nothing_has_no_log_probs(kind):
    if kind == "marked":  # whose last id begins no character
        tokenizer = with_counts_of(ByteTokenizer(marked=True), WORDS)
        engine = make_engine(random_checkpoint(tokenizer))
    else:
        tokenizer, engine = model(kind)
    (text,) = write_texts(engine, tokenizer, ["the"], config(length=0))
    assert (text.text, len(text.log_probs), text.nats_per_char) == ("", 0, 0.0)


# A row by itself


def fed(row, token_id):
    row.feed(token_id)
    return row.take_text()


def test_a_copy_grows_on_its_own():
    tokenizer = ByteTokenizer()
    row = Row(tokenizer, config(length=3, stop=("xy",)))
    assert fed(row, 0xC3) == ""
    other = row.copy()
    assert (fed(row, 0xA9), row.left) == ("é", 2)
    assert (other.pending, other.left) == (b"\xc3", 3)
    assert fed(other, 0xBC) == "ü"
    assert fed(other, ord("x")) == ""
    third = other.copy()
    assert (fed(third, ord("y")), third.end) == ("", "stop")
    assert (fed(other, ord("z")), other.end) == ("xz", "length")


def test_text_is_taken_once():
    row = Row(ByteTokenizer(), config(length=9))
    row.begin("né".encode()[:2])
    row.feed(0xA9)
    assert (row.take_text(), row.take_text(), row.left) == ("né", "", 7)


def test_a_mark_is_never_drawn_and_writes_nothing():
    tokenizer = with_counts_of(ByteTokenizer(marked=True), WORDS)
    counts = tokenizer.counts.copy()
    counts[tokenizer.boundary_id] = 10**9
    tokenizer = tokenizer.with_counts(counts)
    engine = make_engine(random_checkpoint(tokenizer))
    steps = list(generate(engine, tokenizer, config(num=5)))
    assert all(tokenizer.boundary_id not in step.ids_B for step in steps)
    assert [len(text) for text in joined(steps)] == [40] * 5


def test_pieces_that_were_learnt_elsewhere_write_only_what_the_training_held():
    tokenizer, _ = SentencePieceTokenizer.train(WORDS, "bpe", 400)
    tokenizer = with_counts_of(tokenizer, "the cat")
    engine = make_engine(random_checkpoint(tokenizer))
    text = joined(generate(engine, tokenizer, config(length=200)))[0]
    held = {tokenizer.decode([one]) for one in tokenizer.encode("the cat")}
    assert {*text} <= {*"".join(held)}
