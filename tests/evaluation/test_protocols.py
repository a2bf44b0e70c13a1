"""Figures of quality, counted by a loop that feeds one character at a time, and by hand."""

import json
import math

import numpy as np
import pytest
from factories import learn_tokenizer, with_counts_of
from hypothesis import given
from hypothesis import strategies as st

from textgen.data import records
from textgen.errors import TextError
from textgen.evaluation import protocols
from textgen.evaluation.protocols import Result, measure_text
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer

WHICH = math.log(1_114_112)  # nats for naming one of Unicode's code points


class Uniform:
    """Finds all V ids equally likely."""

    def __init__(self, vocab):
        self.vocab = vocab

    def nats(self, x_TB, y_TB, state):
        state = state or ((np.zeros((x_TB.shape[1], 1)),),)
        return np.full(x_TB.shape, math.log(self.vocab)), state


class Counting:
    """Its costs depend on the character, the one before, and how many it has ever read."""

    def nats(self, x_TB, y_TB, state):
        assert x_TB.size, "asked for nothing"
        seen_B1 = state[0][0].copy() if state else np.zeros((x_TB.shape[1], 1))
        nats_TB = np.empty(x_TB.shape)
        for t in range(len(x_TB)):
            seen_B1 = seen_B1 + 1
            nats_TB[t] = 1 + x_TB[t] + 0.01 * y_TB[t] + 1e-4 * seen_B1[:, 0]
        return nats_TB, ((seen_B1,),)


class Recent:
    """Its costs depend on the last `memory` characters and on nothing older."""

    def __init__(self, memory):
        self.memory = memory

    def nats(self, x_TB, y_TB, state):
        last_BM = state[0][0] if state else np.zeros((x_TB.shape[1], self.memory))
        nats_TB = np.empty(x_TB.shape)
        for t in range(len(x_TB)):
            last_BM = np.concatenate([last_BM[:, 1:], x_TB[t][:, None]], axis=1)
            weights_M = 1 / np.arange(2, self.memory + 2)
            nats_TB[t] = 0.5 + (last_BM * weights_M).sum(axis=1) + 0.1 * y_TB[t]
        return nats_TB, ((last_BM,),)


class Forgetful(Counting):
    """A model whose caller loses the state."""

    def nats(self, x_TB, y_TB, state):
        return super().nats(x_TB, y_TB, None)


def counts_of(*numbers):
    return np.array(numbers, dtype=np.uint64)


COUNTS = counts_of(0, 5, 3, 2, 1)


def some_ids(n, seed=0, vocab=5, low=1):
    return np.random.default_rng(seed).integers(low, vocab, n).astype(np.uint8)


def one_at_a_time(model, ids, counts, first=0, start=0):
    """Costs of ids[first:] by a loop over characters, from the zero state at `start`."""
    costs, state = [], None
    for i in range(start, len(ids)):
        if i == start == 0:
            share = (int(counts[ids[0]]) + 1) / sum(int(count) + 1 for count in counts)
            cost = -math.log(share)
        elif i > start:
            x, y = int(ids[i - 1]), int(ids[i])
            nats_TB, state = model.nats(np.array([[x]]), np.array([[y]]), state)
            cost = float(nats_TB[0, 0])
        if i >= first:
            costs.append(cost + (WHICH if ids[i] == 0 else 0.0))
    return np.array(costs)


def test_the_first_character_costs_what_the_counts_say():
    tokenizer = CharTokenizer.from_text("aab")  # <unk>, a, b: (0 + 1, 2 + 1, 1 + 1) of 6
    cost = {
        text: measure_text(Uniform(3), tokenizer, text, "stateful").nats_per_char for text in "abx"
    }
    assert cost["a"] == pytest.approx(math.log(6 / 3))
    assert cost["b"] == pytest.approx(math.log(6 / 2))
    assert cost["x"] == pytest.approx(math.log(6 / 1) + WHICH)


def test_a_uniform_model_costs_the_logarithm_of_the_vocabulary():
    tokenizer = CharTokenizer.from_text("abc")  # the first is one of 1 + 2 + 2 + 2
    result = measure_text(Uniform(4), tokenizer, "abcabcabc", "stateful")
    assert result.nats_per_char == pytest.approx((math.log(7 / 2) + 8 * math.log(4)) / 9)
    assert result.chars == 9
    assert result.unknown_chars == 0


def test_a_character_outside_the_alphabet_costs_unk_and_its_name():
    tokenizer = CharTokenizer.from_text("ab")
    result = measure_text(Uniform(3), tokenizer, "aXb\ud800", "stateful")
    nats = math.log(5 / 2) + (math.log(3) + WHICH) + math.log(3) + (math.log(3) + WHICH)
    assert result.nats_per_char == pytest.approx(nats / 4)
    assert (result.chars, result.unknown_chars) == (4, 2)


def assert_counts_every_character_in_one_stream(model, n):
    ids = some_ids(n, low=0)
    expected = one_at_a_time(Counting(), ids, COUNTS)
    assert protocols.stateful(model, ids, COUNTS) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 255, 256, 257, 258, 512, 513, 514, 1000])
def test_stateful_is_the_loop_over_characters(n):
    assert_counts_every_character_in_one_stream(Counting(), n)


def test_the_check_of_stateful_notices_a_lost_state():
    with pytest.raises(AssertionError):
        assert_counts_every_character_in_one_stream(Forgetful(), 1000)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 1000))
def test_the_size_of_a_chunk_changes_nothing(n, chunk, seed):
    ids = some_ids(n, seed, low=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocols, "CHUNK", chunk)
        chunked = protocols.stateful(Counting(), ids, COUNTS)
        streamed = protocols.streamed(Counting(), ids, COUNTS)
    expected = one_at_a_time(Counting(), ids, COUNTS)
    assert chunked == pytest.approx(expected, rel=1e-12)
    assert streamed == pytest.approx(expected, rel=1e-12)  # a short text is one stream


@pytest.mark.parametrize(
    "n, memory",
    [(2048, 1), (2049, 1), (3077, 1)]
    + [(n, 5) for n in (2048, 2049, 3077, 16384, 16385, 16400, 20011)],
)
def test_streamed_is_stateful_for_a_model_that_forgets(n, memory):
    ids = some_ids(n, low=0)
    stateful = protocols.stateful(Recent(memory), ids, COUNTS)
    assert protocols.streamed(Recent(memory), ids, COUNTS) == pytest.approx(stateful, rel=1e-12)


def test_streamed_has_no_seam_at_a_chunk(monkeypatch):
    ids = some_ids(5000, low=0)
    monkeypatch.setattr(protocols, "CHUNK", 17)
    stateful = protocols.stateful(Recent(2), ids, COUNTS)
    assert protocols.streamed(Recent(2), ids, COUNTS) == pytest.approx(stateful, rel=1e-12)


@pytest.mark.slow
def test_the_first_stream_starts_from_the_zero_state_and_the_others_are_warm():
    ids = some_ids(16 * 1100)
    costs = protocols.streamed(Counting(), ids, COUNTS)
    exact = one_at_a_time(Counting(), ids, COUNTS)
    assert costs[:1100] == pytest.approx(exact[:1100], rel=1e-12)
    for start in range(1100, len(ids), 1100):
        plain = 1 + int(ids[start - 1]) + 0.01 * int(ids[start])
        seen = round((costs[start] - plain) * 1e4)  # how many characters its stream had read
        assert 256 <= seen <= 257
        warmed = one_at_a_time(Counting(), ids[: start + 1100], COUNTS, start, start - seen)
        assert costs[start : start + 1100] == pytest.approx(warmed, rel=1e-12)


def test_streamed_leaves_the_model_s_callers_their_states():
    ids = some_ids(5000)
    first = protocols.streamed(Counting(), ids, COUNTS)
    assert np.array_equal(first, protocols.streamed(Counting(), ids, COUNTS))


def test_bits_per_byte_share_the_bits_among_the_utf8_bytes():
    text = "né€\U0001d11e"  # 1 + 2 + 3 + 4 bytes
    tokenizer = CharTokenizer.from_text(text)
    result = measure_text(Uniform(5), tokenizer, text, "stateful")
    bits = math.log2(9 / 2) + 3 * math.log2(5)  # the first is one of 1 + 4 x 2
    assert result.bits_per_byte * 10 == pytest.approx(bits)
    assert result.bits_per_char * 4 == pytest.approx(bits)


def test_units_by_hand():
    result = Result("stateful", 2 * math.log(2), 10, 0, 1.25)
    assert result.bits_per_char == pytest.approx(2)
    assert result.bits_per_byte == pytest.approx(1.6)
    assert result.perplexity == pytest.approx(4)


def test_json_holds_every_figure_and_no_infinity():
    values = Result("stateful", 1e6, 10, 3, 1.0).to_json()
    assert set(values) == {
        *("protocol", "nats_per_char", "chars", "unknown_chars"),
        *("bits_per_char", "bits_per_byte", "perplexity"),
    }
    json.dumps(values, allow_nan=False)


class Recorder(Uniform):
    """Keeps what it was asked."""

    def __init__(self, vocab):
        super().__init__(vocab)
        self.calls = []

    def nats(self, x_TB, y_TB, state):
        self.calls.append((x_TB, y_TB, state))
        return super().nats(x_TB, y_TB, state)


def windows_of(n):
    """What `nanogpt` reads of a text whose ids are the places of its characters."""
    recorder = Recorder(7)
    costs = protocols.nanogpt(recorder, np.arange(1, n + 1), COUNTS)
    assert len(costs) == 200 * 64 * 256
    return recorder.calls


def test_nanogpt_reads_200_batches_of_64_windows_inside_the_text_from_nothing():
    calls = windows_of(1000)
    assert len(calls) == 200
    for x_TB, y_TB, state in calls:
        assert state is None
        assert x_TB.shape == y_TB.shape == (256, 64)
        assert (y_TB == x_TB + 1).all()
        assert (np.diff(x_TB, axis=0) == 1).all()
    starts = np.concatenate([x_TB[0] for x_TB, _, _ in calls])
    assert starts.min() == 1
    assert starts.max() + 256 == 1000  # the last target is the last character
    assert len(np.unique(starts)) == 1000 - 256  # 12,800 draws of 744


def test_nanogpt_reads_the_same_windows_at_every_call():
    np.random.seed(1)  # the global generator must not matter
    first = windows_of(600)
    np.random.seed(2)
    again = windows_of(600)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=True))


def test_nanogpt_charges_for_unknown_characters_too():
    ids = np.ones(257, dtype=np.uint8)
    ids[100] = 0  # every window is the whole text, so each holds it once
    costs = protocols.nanogpt(Uniform(5), ids, COUNTS)
    assert costs.mean() == pytest.approx(math.log(5) + WHICH / 256)


def test_nanogpt_needs_a_window_and_one_character():
    tokenizer = CharTokenizer.from_text("ab")
    assert measure_text(Uniform(3), tokenizer, "a" * 257, "nanogpt").nats_per_char == pytest.approx(
        math.log(3)
    )
    with pytest.raises(TextError, match="256 characters are too few") as caught:
        measure_text(Uniform(3), tokenizer, "a" * 256, "nanogpt")
    assert caught.value.exit_code == 3
    assert "stateful" in caught.value.fix


@pytest.mark.parametrize("protocol", ["stateful", "streamed", "nanogpt"])
def test_every_protocol_hands_the_model_what_an_index_needs(protocol):
    recorder = Recorder(5)
    measure_text(recorder, CharTokenizer.from_text("abcd"), "abcd" * 700, protocol)
    for x_TB, y_TB, _ in recorder.calls:
        assert x_TB.dtype == y_TB.dtype == np.int64
        assert x_TB.shape == y_TB.shape


# Bytes and pieces: their costs are divided by characters


def test_bytes_cost_their_nats_and_are_divided_by_characters():
    text = "né€\U0001d11e"  # 1 + 2 + 3 + 4 bytes
    result = measure_text(Uniform(256), with_counts_of(ByteTokenizer(), "nn"), text, "stateful")
    nats = math.log((2 + 256) / 3) + 9 * math.log(256)  # n was counted twice, of 2 + 256
    assert result.nats_per_char == pytest.approx(nats / 4)
    assert result.bits_per_byte == pytest.approx(nats / math.log(2) / 10)
    assert (result.chars, result.unknown_chars) == (4, 0)


@pytest.mark.parametrize("protocol", ["stateful", "streamed", "nanogpt"])
def test_the_byte_0_is_a_byte_like_any_other(protocol):
    text = "\0a" * 200
    result = measure_text(Uniform(256), with_counts_of(ByteTokenizer(), text), text, protocol)
    assert result.nats_per_char < math.log(256) + 0.01
    assert result.unknown_chars == 0


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram"])
def test_the_costs_of_all_ids_are_shared_among_the_characters(kind):
    text = "the cat, the hat: é 日本 😀\n" * 30
    tokenizer = learn_tokenizer(kind, text)
    text += "new: ß\u2581"
    ids = tokenizer.encode(text)
    expected = one_at_a_time(Counting(), ids.astype(int), tokenizer.counts)
    expected = (expected - WHICH * (ids == 0)).sum() / len(text)
    for protocol in ("stateful", "streamed"):
        result = measure_text(Counting(), tokenizer, text, protocol)
        assert result.nats_per_char == pytest.approx(expected, rel=1e-12)
        assert result.chars == len(text)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_nanogpt_counts_the_characters_that_begin_in_its_windows(kind):
    text = "the cat, the hat: é 日本 😀\n" * 60
    tokenizer = learn_tokenizer(kind, text)
    recorder = Recorder(tokenizer.size)
    result = measure_text(recorder, tokenizer, text, "nanogpt")
    symbols = tokenizer.symbols()
    chars = 0
    for _, y_TB, _ in recorder.calls:
        for ids in y_TB.T:
            data = b"".join(symbols[one] for one in ids)
            chars += sum(byte < 0x80 or byte >= 0xC0 for byte in data)
    assert result.chars == chars
    assert result.nats_per_char == pytest.approx(200 * 64 * 256 * math.log(tokenizer.size) / chars)


def test_a_window_of_bytes_is_asked_for_by_that_name():
    with pytest.raises(TextError, match="256 bytes are too few"):
        measure_text(Uniform(256), ByteTokenizer(), "a" * 256, "nanogpt")


def test_what_can_be_neither_encoded_nor_paid_for_is_refused():
    with pytest.raises(TextError, match="surrogate"):
        measure_text(Uniform(256), ByteTokenizer(), "a\ud800", "stateful")


# Items


def framed_items(items):
    tokenizer = CharTokenizer.from_text("".join(items), marked=True)
    return tokenizer, records.frame_records(items, tokenizer)


@given(st.lists(st.text(st.sampled_from("abc"), min_size=1, max_size=300), min_size=1, max_size=9))
def test_each_item_is_read_from_the_zero_state_to_its_end(items):
    """As if each were alone: whatever stands beside it and however long the others are."""
    tokenizer, ids = framed_items(items)
    costs = protocols.by_records(Counting(), ids, tokenizer)
    expected = [0.0]
    for item in items:
        _, alone = framed_items([item])
        alone = records.frame_records([item], tokenizer).astype(int)[:, None]
        nats_TB, _ = Counting().nats(alone[:-1], alone[1:], None)
        expected += nats_TB[:, 0].tolist()
    np.testing.assert_allclose(costs, expected, rtol=1e-12)


def test_the_check_of_items_notices_a_state_that_is_carried_over():
    tokenizer, ids = framed_items(["ab", "ab"])
    apart = protocols.by_records(Counting(), ids, tokenizer)
    whole = ids.astype(int)[:, None]
    carried, _ = Counting().nats(whole[:-1], whole[1:], None)
    assert not np.allclose(apart[1:], carried[:, 0])


def test_figures_of_items_count_their_ends():
    tokenizer, _ = framed_items(["aé", "b"])
    result = protocols.measure_records(Uniform(8), tokenizer, ["aé", "b"])
    assert result.chars == 5  # three, and two ends
    assert result.nats_per_char == pytest.approx(math.log(8))
    assert result.bits_per_byte == pytest.approx(3 * 5 / 6)


def test_unknown_characters_of_items_are_paid_for():
    tokenizer, _ = framed_items(["ab"])
    result = protocols.measure_records(Uniform(4), tokenizer, ["x"])
    assert result.unknown_chars == 1
    assert result.nats_per_char == pytest.approx((2 * math.log(4) + WHICH) / 2)


def test_characters_of_ids_are_counted_with_the_ends_of_items():
    tokenizer, ids = framed_items(["ab", "c"])
    assert protocols.characters_in(tokenizer, ids) == 5
    assert protocols.characters_in(ByteTokenizer(), ByteTokenizer().encode("é€")) == 2
