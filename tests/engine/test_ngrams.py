"""N-grams against a count by dictionaries and loops, and against a calculation by hand."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.config.model import ModelConfig
from textgen.engine import ngrams
from textgen.engine.ngrams import NGrams, fits_model, longest_order


class Naive:
    """Interpolated modified Kneser-Ney after Chen & Goodman (1998), read off the text itself.

    The longest n-grams count how often they occur; a shorter one counts the different characters
    that stand to its left. Before the text stand zeros.
    """

    def __init__(self, ids, vocab, order):
        self.vocab, self.order = vocab, order
        text = [0] * (order - 1) + [int(one) for one in ids]
        ends = range(order, len(text) + 1)
        self.counts = {order: Counter(tuple(text[end - order : end]) for end in ends)}
        for length in range(1, order):
            left = defaultdict(set)
            for end in ends:
                left[tuple(text[end - length : end])].add(text[end - length - 1])
            self.counts[length] = {gram: len(ones) for gram, ones in left.items()}
        self.less = {length: self.discounts(length) for length in self.counts}

    def discounts(self, length):
        n = [0] * 5
        for number in self.counts[length].values():
            if number <= 4:
                n[number] += 1
        n1, n2, n3, n4 = (max(1, number) for number in n[1:])
        y = n1 / (n1 + 2 * n2)
        estimates = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        clipped = [min(max(d, 0.1), 0.9 * k) for k, d in enumerate(estimates, 1)]
        return {1: clipped[0], 2: clipped[1], 3: clipped[2]}

    def probability(self, one, before, length=None):
        """P(one | before), before a tuple of ids, oldest first."""
        length = self.order if length is None else length
        if length == 0:
            return 1 / self.vocab
        context = before[len(before) - length + 1 :]
        shorter = self.probability(one, before, length - 1)
        family = {g: n for g, n in self.counts[length].items() if g[:-1] == context}
        if not family:
            return shorter
        less = {gram: self.less[length][min(n, 3)] for gram, n in family.items()}
        total = sum(family.values())
        gram = (*context, one)
        own = (family[gram] - less[gram]) / total if gram in family else 0
        return own + sum(less.values()) / total * shorter

    def after(self, ids):
        """The probabilities of all characters after ids, read from nothing."""
        before = tuple([0] * (self.order - 1) + [int(one) for one in ids])
        return [self.probability(one, before) for one in range(self.vocab)]


def random_ids(n, vocab=5, seed=0):
    """Uneven, so that n-grams occur once, twice, three times and more often."""
    draws = np.random.default_rng(seed).random(n)
    return np.minimum(vocab * draws**2, vocab - 1).astype(np.int64)


def made(n=300, vocab=5, order=4, seed=0):
    return NGrams.count(random_ids(n, vocab, seed), vocab, order)


def columns(rows, n, vocab=5, seed=9):
    return np.random.default_rng(seed).integers(0, vocab, (n, rows))


@st.composite
def texts(draw):
    vocab = draw(st.integers(2, 5))
    return vocab, draw(st.integers(2, 5)), draw(st.lists(st.integers(0, vocab - 1), min_size=1))


@given(texts(), st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_probabilities_are_those_of_the_dictionaries(text, read):
    vocab, order, ids = text
    read = np.array(read) % vocab
    expected = Naive(ids, vocab, order).after(read)
    logs_BV, _ = NGrams.count(np.array(ids), vocab, order).read(read, 1, None)
    np.testing.assert_allclose(np.exp(logs_BV[0]), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_probabilities_of_a_text_long_enough_for_every_discount(order):
    ids = random_ids(600, 6)
    naive, counted = Naive(ids, 6, order), NGrams.count(ids, 6, order)
    assert all(d not in (0.1, 0.9, 1.8, 2.7) for d in naive.less[order].values())  # none is clipped
    for read in (ids[:1], ids[40:47], ids[-9:], random_ids(7, 6, seed=3), np.array([5, 5, 5, 5])):
        logs_BV, _ = counted.read(read, 1, None)
        np.testing.assert_allclose(np.exp(logs_BV[0]), naive.after(read), rtol=1e-12)


@given(texts(), st.lists(st.integers(0, 4), min_size=2, max_size=12))
def test_nats_are_those_of_the_dictionaries(text, read):
    vocab, order, ids = text
    read = np.array(read) % vocab
    naive = Naive(ids, vocab, order)
    chances = [naive.after(read[:i])[read[i]] for i in range(1, len(read))]
    nats_TB, _ = NGrams.count(np.array(ids), vocab, order).nats(
        read[:-1, None], read[1:, None], None
    )
    np.testing.assert_allclose(nats_TB[:, 0], -np.log(chances), rtol=1e-12)


def test_the_comparison_notices_raw_counts_of_the_shorter_ngrams():
    ids = random_ids(80)
    naive = Naive(ids, 5, 2)
    naive.counts[1] = Counter((int(one),) for one in ids)
    logs_BV, _ = NGrams.count(ids, 5, 2).read(ids[:3], 1, None)
    assert np.abs(np.exp(logs_BV[0]) - naive.after(ids[:3])).max() > 0.01


def test_bigrams_of_three_characters_by_hand():
    # aba is 0|1 2 1: the bigrams 01, 12 and 21, once each; n1 = 3, no other, so D1 = 3/5.
    # a has the left neighbours 0 and b, b has a: n1 = n2 = 1, so D1 = 1/3 and D2 = 1.
    # P(.) = (0, 2 - 1, 1 - 1/3) / 3 + (1 + 1/3) / 3 / 3 = (4, 13, 10) / 27
    # P(.|a) = (0, 0, 1 - 3/5) + 3/5 P(.), and so on.
    counted = NGrams.count(np.array([1, 2, 1]), vocab=3, order=2)
    after = {one: np.exp(counted.step(np.array([one]), None)[0][0]) for one in range(3)}
    np.testing.assert_allclose(after[0], np.array([4, 31, 10]) / 45)
    np.testing.assert_allclose(after[1], np.array([4, 13, 28]) / 45)
    np.testing.assert_allclose(after[2], np.array([4, 31, 10]) / 45)


@given(texts(), st.data())
def test_probabilities_sum_to_one_and_none_is_zero(text, data):
    vocab, order, ids = text
    rows = data.draw(st.lists(st.integers(0, vocab - 1), min_size=1, max_size=4))
    counted, state = NGrams.count(np.array(ids), vocab, order), None
    for _ in range(order + 1):
        logs_BV, state = counted.step(np.array(rows), state)
        assert np.isfinite(logs_BV).all()
        np.testing.assert_allclose(np.exp(logs_BV).sum(axis=1), 1, rtol=1e-12)


@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 30), st.integers(0, 99))
def test_step_read_and_nats_agree_wherever_the_text_is_cut(order, n, cut, seed):
    counted, ids = made(order=order), random_ids(n + 1, seed=seed)
    cut = min(cut, n)
    steps, state = [], None
    for one in ids[:-1]:
        logs_BV, state = counted.step(np.array([one]), state)
        steps.append(logs_BV[0])
    costs = -np.array(steps)[np.arange(n), ids[1:]]
    x_TB, y_TB = ids[:-1, None], ids[1:, None]
    before, pieces = None, []
    for span in (slice(0, cut), slice(cut, n)):
        if len(x_TB[span]):
            nats_TB, before = counted.nats(x_TB[span], y_TB[span], before)
            pieces.append(nats_TB[:, 0])
    np.testing.assert_allclose(np.concatenate(pieces), costs, rtol=1e-12)
    assert np.array_equal(before[0][0], state[0][0])
    before = counted.read(ids[:cut], 1, None)[1] if cut else None
    if cut < n:
        logs_BV, before = counted.read(ids[cut:-1], 1, before)
        assert np.array_equal(logs_BV[0], steps[-1])
    assert np.array_equal(before[0][0], state[0][0])


def test_rows_of_a_batch_do_not_know_each_other():
    counted, ids_TB = made(), columns(rows=4, n=20)
    nats_TB, state = counted.nats(ids_TB[:-1], ids_TB[1:], None)
    logs_BV, _ = counted.step(ids_TB[-1], state)
    for b in range(4):
        row = slice(b, b + 1)
        alone_TB, own = counted.nats(ids_TB[:-1, row], ids_TB[1:, row], None)
        assert np.array_equal(nats_TB[:, row], alone_TB)
        assert np.array_equal(logs_BV[row], counted.step(ids_TB[-1, row], own)[0])


def test_reading_feeds_the_same_text_to_every_row():
    counted, ids = made(), random_ids(6)
    _, state = counted.step(np.array([1, 4, 2]), None)
    logs_BV, after = counted.read(ids[:2], 3, state)
    for b, one in enumerate([1, 4, 2]):
        alone, _ = counted.read(np.array([one, *ids[:2]]), 1, None)
        assert np.array_equal(logs_BV[b], alone[0])
    assert after[0][0].shape == (3, 3)


@pytest.mark.parametrize("order", [2, 5])
def test_the_state_has_the_shape_of_a_network_s_and_is_a_value(order):
    counted, ids_TB = made(order=order), columns(rows=3, n=9)
    states = [counted.initial_state(3), counted.step(ids_TB[0], None)[1]]
    states += [counted.read(ids_TB[:, 0], 3, None)[1]]
    states += [counted.nats(ids_TB[:-1], ids_TB[1:], None)[1]]
    for state in states:
        ((part,),) = state
        assert part.shape == (3, order - 1)
        kept = part.copy()
        first, _ = counted.step(ids_TB[1], state)
        counted.read(ids_TB[1:, 0], 3, state)
        counted.nats(ids_TB[:-1], ids_TB[1:], state)
        assert np.array_equal(part, kept)
        assert np.array_equal(counted.step(ids_TB[1], state)[0], first)
    assert not states[0][0][0].any()
    zeros = counted.step(ids_TB[0], counted.initial_state(3))[0]
    assert np.array_equal(counted.step(ids_TB[0], None)[0], zeros)


def test_a_stream_can_be_put_back_to_the_beginning():
    counted, ids_TB = made(), columns(rows=2, n=9)
    _, state = counted.nats(ids_TB[:-1], ids_TB[1:], None)
    state[0][0][0] = 0  # as `measure.streamed` does with the row that begins the text
    logs_BV, _ = counted.step(ids_TB[-1], state)
    assert np.array_equal(logs_BV[:1], counted.step(ids_TB[-1, :1], None)[0])


def test_small_ids_of_any_integer_type_are_read_alike():
    ids = random_ids(200, 5)
    counted = NGrams.count(ids.astype(np.uint8), 5, 16)  # whose numbers do not fit 8 bits
    assert np.array_equal(counted.grams, NGrams.count(ids, 5, 16).grams)
    expected, _ = counted.read(ids[-20:], 1, None)
    assert np.array_equal(counted.read(ids[-20:].astype(np.uint8), 1, None)[0], expected)


@pytest.mark.parametrize("vocab", [2, 3, 10, 66, 128, 512, 10_000, 1_114_113])
def test_the_longest_ngrams_are_whole_numbers_of_63_bits(vocab):
    assert vocab ** longest_order(vocab) <= 2**63 < vocab ** (longest_order(vocab) + 1)
    assert longest_order(vocab) >= 3


@pytest.mark.parametrize("vocab", [15, 66, 128, 512])
def test_ngrams_at_the_limit_are_counted_right(vocab):
    order = min(16, longest_order(vocab))
    ids = np.tile([vocab - 1, vocab - 2, vocab - 1, 0], 12)
    naive, counted = Naive(ids, vocab, order), NGrams.count(ids, vocab, order)
    assert (counted.grams[1:] > counted.grams[:-1]).all()
    for read in (ids[:1], ids, np.full(20, vocab - 1)):
        logs_BV, state = counted.read(read, 1, None)
        np.testing.assert_allclose(np.exp(logs_BV[0]), naive.after(read), rtol=1e-12)
        y = np.array([[vocab - 1]])
        nats_TB, _ = counted.nats(read[-1:, None], y, counted.read(read, 1, None)[1])
        both = counted.step(read[-1:], state)[0]
        np.testing.assert_allclose(nats_TB[0, 0], -both[0, vocab - 1])


@pytest.mark.parametrize("ids", [[0], [1], [1, 1], [1, 0], [0, 1]], ids=str)
@pytest.mark.parametrize("order", [2, 3, 16])
def test_the_shortest_texts_of_the_smallest_alphabet_are_counted(ids, order):
    naive, counted = Naive(ids, 2, order), NGrams.count(np.array(ids), 2, order)
    for read in ([0], [1], [1, 0, 1]):
        logs_BV, _ = counted.read(np.array(read), 1, None)
        np.testing.assert_allclose(np.exp(logs_BV[0]), naive.after(read), rtol=1e-12)


def test_of_a_long_text_the_last_characters_count(monkeypatch):
    ids = random_ids(300)
    monkeypatch.setattr(ngrams, "MOST_CHARS", 100)
    counted, last = NGrams.count(ids, 5, 3), NGrams.count(ids[-100:], 5, 3)
    assert counted.counts.sum() == 100
    assert np.array_equal(counted.grams, last.grams)
    assert np.array_equal(counted.counts, last.counts)


def test_ngrams_made_again_from_what_is_stored_answer_the_same():
    counted, ids_TB = made(), columns(rows=2, n=30)
    again = NGrams(counted.grams.copy(), counted.counts.copy(), 5, 4)
    assert np.array_equal(
        again.nats(ids_TB[:-1], ids_TB[1:], None)[0], counted.nats(ids_TB[:-1], ids_TB[1:], None)[0]
    )
    assert np.array_equal(again.step(ids_TB[0], None)[0], counted.step(ids_TB[0], None)[0])


def test_what_is_stored_takes_the_smallest_numbers_that_hold_it():
    assert made(order=3).grams.dtype == np.uint8  # 125 of them
    assert made(order=4).grams.dtype == np.uint16
    assert made(order=16).grams.dtype == np.uint64
    assert made().counts.dtype == np.uint8
    assert NGrams.count(np.ones(1000, int), 2, 2).counts.dtype == np.uint16


def test_a_text_costs_its_own_ngrams_little_and_another_one_more():
    ids = np.tile([1, 2, 3, 4, 2], 40)[:, None]
    counted = NGrams.count(ids[:, 0], 5, 4)
    own, _ = counted.nats(ids[:-1], ids[1:], None)
    reversed_, _ = counted.nats(ids[:0:-1], ids[-2::-1], None)
    assert own[10:].mean() < 0.1 < 1 < reversed_.mean()


MODEL = ModelConfig(vocab=5, hidden=2, embedding=2, ngrams=4)


@pytest.mark.parametrize("order", [2, 4, 16])
def test_what_was_counted_fits(order):
    counted = made(order=order)
    model = ModelConfig(vocab=5, hidden=2, embedding=2, ngrams=order)
    assert fits_model(counted.grams, counted.counts, model)


@pytest.mark.parametrize(
    "damage",
    [
        lambda grams, counts: (grams[::-1], counts),
        lambda grams, counts: (np.concatenate([grams[:1], grams[:-1]]), counts),
        lambda grams, counts: (grams.astype(np.int64), counts),
        lambda grams, counts: (grams.astype(np.float32), counts),
        lambda grams, counts: (grams, counts.astype(np.int64)),
        lambda grams, counts: (grams, counts.astype(np.float64)),
        lambda grams, counts: (np.append(grams[:-1], grams.dtype.type(5**4)), counts),
        lambda grams, counts: (grams[:0], counts[:0]),
        lambda grams, counts: (grams, np.append(counts[:-1], counts.dtype.type(0))),
        lambda grams, counts: (grams, counts[:-1]),
        lambda grams, counts: (grams[:-1], counts),
        lambda grams, counts: (grams[None], counts[None]),
        lambda grams, counts: (grams, counts[:, None]),
        lambda grams, counts: (grams[0], counts[0]),
        lambda grams, counts: (grams, np.full(len(counts), 2**64 - 1, np.uint64)),
        lambda grams, counts: (grams, np.full(len(counts), 2**62, np.uint64)),
    ],
    ids=[
        *("falling", "twice", "signed", "float", "signed-counts", "float-counts", "too-large"),
        *("empty", "zero", "short-counts", "short-grams", "matrices", "matrix-of-counts"),
        *("scalars", "negative-if-signed", "overflowing-sums"),
    ],
)
def test_what_cannot_be_ngrams_does_not_fit(damage):
    counted = made(order=4)
    assert fits_model(counted.grams, counted.counts, MODEL)
    assert not fits_model(*damage(counted.grams, counted.counts), MODEL)


def test_ngrams_too_long_for_numbers_do_not_fit():
    counted = made(order=4)
    vocab = 10_000  # whose n-grams of 5 are no numbers of 63 bits
    for order, answer in ((4, True), (5, False), (16, False)):
        model = ModelConfig(vocab=vocab, hidden=2, embedding=2, ngrams=order)
        assert fits_model(counted.grams, counted.counts, model) is answer
