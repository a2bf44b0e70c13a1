"""N-grams against exact fractions, counted by scanning the text's ring for each context."""

import functools
import tracemalloc
import zlib
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.engine import ngrams as module
from textgen.engine.ngrams import NGrams
from textgen.engine.smoothing import DISCOUNTS_C4, EXPERTS, NOVEL, no_odds


class Naive:
    """The chains of the module's docstring, in fractions.

    What the text is followed by is counted anew for each context. A context counts its ids once
    for each id that stands before it (NOVEL, but for the longest ones) or as often as they occur.
    """

    def __init__(self, ids, vocab, longest, odds_CLG):
        self.ids, self.vocab, self.longest, self.odds_CLG = ids, vocab, longest, odds_CLG
        self.level = functools.cache(self.level)

    def counts(self, kind, context):
        """How often each id follows a context, newest first."""
        n, k = len(self.ids), len(context)
        grams = [tuple(self.ids[(place - back) % n] for back in range(k + 2)) for place in range(n)]
        grams = [gram for gram in grams if gram[1 : k + 1] == context]
        if kind == NOVEL and k < self.longest:
            grams = set(grams)
        return Counter(gram[0] for gram in grams)

    def level(self, kind, context):
        """e and the q of each id after a context; None for one that never occurs."""
        counts = self.counts(kind, context)
        if not counts:
            return None
        total, distinct = sum(counts.values()), len(counts)
        less = {c: Fraction(DISCOUNTS_C4[kind, min(n, 3)]) for c, n in counts.items()}
        left = sum(less.values()) / total
        # floor(1.5 log2 of the distinct ids) and floor(log2 of all) of a text of few.
        group = min(((distinct**3).bit_length() - 1) // 2, 7) * 8
        group += total.bit_length() - 1
        odds = Fraction(self.odds_CLG[kind, len(context), group]) * left / (1 - left)
        kept = {c: n - less[c] for c, n in counts.items()}
        return odds / (1 + odds), {c: n / sum(kept.values()) for c, n in kept.items()}

    def after(self, read):
        """The probabilities (X, V) of the experts after ids, oldest first."""
        return np.array([self.chain(kind, cut, read) for kind, cut in EXPERTS])

    def chain(self, kind, cut, read):
        p = [Fraction(1, self.vocab)] * self.vocab
        deepest = min(self.longest if cut is None else cut, self.longest, len(read))
        for length in range(deepest + 1):
            level = self.level(kind, tuple(read[::-1][:length]))
            if level is None:
                break
            e, q = level
            p = [e * p[c] + (1 - e) * q.get(c, 0) for c in range(self.vocab)]
        return [float(one) for one in p]


def random_ids(n, vocab=5, seed=0):
    """Uneven, so that n-grams occur once, twice, three times and more often."""
    draws = np.random.default_rng(seed).random(n)
    return np.minimum(vocab * draws**2, vocab - 1).astype(np.int64)


def random_odds(longest, seed=0):
    draws = np.random.default_rng(seed).normal(size=no_odds(longest).shape)
    return np.exp(draws).astype(np.float32).astype(np.float64)


def counted(n=300, vocab=5, longest=6, seed=0):
    """N-grams of a random text, with odds as if they were learned."""
    contexts = NGrams.count(random_ids(n, vocab, seed), vocab, longest).contexts
    return NGrams(contexts, random_odds(longest, seed))


def columns(rows, n, vocab=5, seed=9):
    return np.random.default_rng(seed).integers(0, vocab, (n, rows))


@st.composite
def texts(draw):
    vocab = draw(st.integers(2, 5))
    ids = draw(st.lists(st.integers(0, vocab - 1), min_size=1, max_size=30))
    return ids, vocab, draw(st.integers(0, 11))


@given(texts(), st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 99))
def test_probabilities_are_those_of_the_fractions(text, read, seed):
    ids, vocab, longest = text
    read = [one % vocab for one in read]
    odds_CLG = random_odds(longest, seed)
    model = NGrams(NGrams.count(np.array(ids), vocab, longest).contexts, odds_CLG)
    naive, state = Naive(ids, vocab, longest, odds_CLG), None
    for length, next_id in enumerate(read, 1):
        logs_BXV, state = model.step(np.array([next_id]), state)
        np.testing.assert_allclose(logs_BXV[0], np.log(naive.after(read[:length])), rtol=1e-9)


@pytest.mark.parametrize("longest", [0, 1, 4, 5, 12])
def test_probabilities_of_a_text_whose_counts_are_of_every_size(longest):
    ids = [*random_ids(60, 4), *[2, 3, 1, 0, 2] * 8]
    odds_CLG = random_odds(longest)
    model = NGrams(NGrams.count(np.array(ids), 4, longest).contexts, odds_CLG)
    naive = Naive(ids, 4, longest, odds_CLG)
    for read in (ids[:1], ids[-20:], ids[30:37], [2, 3, 1, 0, 2] * 3, [0, 0, 0, 0, 0, 0]):
        logs_BXV, _ = model.read(np.array(read), 1, None)
        np.testing.assert_allclose(logs_BXV[0], np.log(naive.after(read)), rtol=1e-9)


def test_the_comparison_notices_plain_counts_in_the_place_of_novel_ones():
    ids = [int(one) for one in random_ids(40)]
    naive = Naive(ids, 5, 4, no_odds(4))
    after = naive.after(ids[:6])
    assert np.abs(after[0] - naive.chain(1 - NOVEL, 4, ids[:6])).max() > 0.01


def test_one_id_of_context_by_hand():
    # The ring 1 2 1 0 has the pairs 12, 21, 10 and 01, so all ids are followed once or twice.
    # The novel counts of the empty context are the ids that stand before: of 0 one, 1 two, 2 one;
    # after 1 come 2 and 0, once each. D is 0.93 of a one and 1.45 of a two.
    model = NGrams.count(np.array([1, 2, 1, 0]), vocab=3, longest=1)
    e = (0.93 + 1.45 + 0.93) / 4
    short = np.array([e / 3 + 0.07 / 4, e / 3 + 0.55 / 4, e / 3 + 0.07 / 4])
    after = 0.93 * short + np.array([0.07, 0, 0.07]) / 2
    logs_BXV, _ = model.step(np.array([1]), None)
    np.testing.assert_allclose(np.exp(logs_BXV[0, 0]), after, rtol=1e-12)


@given(texts(), st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_probabilities_sum_to_one_and_none_is_zero(text, rows):
    ids, vocab, longest = text
    model, state = NGrams.count(np.array(ids), vocab, longest), None
    for _ in range(longest + 1):
        logs_BXV, state = model.step(np.array(rows) % vocab, state)
        assert np.isfinite(logs_BXV).all()
        np.testing.assert_allclose(np.exp(logs_BXV).sum(axis=2), 1, atol=1e-9)


@given(st.integers(0, 12), st.integers(1, 30), st.integers(0, 30), st.integers(0, 99))
def test_step_read_and_along_agree_wherever_the_text_is_cut(longest, n, cut, seed):
    model, ids = counted(longest=longest), random_ids(n, seed=seed)
    cut = min(cut, n)
    steps, state = [], None
    for one in ids:
        logs_BXV, state = model.step(np.array([one]), state)
        steps.append(logs_BXV[0])
    pieces, before = [], None
    for span in (slice(0, cut), slice(cut, n)):
        if len(ids[span]):
            experts_NXV, matched_N, before = model.along(ids[span, None], before)
            assert len(matched_N) == len(experts_NXV)
            pieces.append(experts_NXV)
    # A text alone is added up in another order than several.
    np.testing.assert_allclose(np.concatenate(pieces), np.array(steps), rtol=0, atol=1e-12)
    assert np.array_equal(before[0][0], state[0][0])
    before = model.read(ids[:cut], 1, None)[1] if cut else None
    if cut < n:
        logs_BXV, before = model.read(ids[cut:], 1, before)
        np.testing.assert_allclose(logs_BXV[0], steps[-1], rtol=0, atol=1e-12)
    assert np.array_equal(before[0][0], state[0][0])


def test_nats_are_those_of_the_longest_contexts():
    model, ids = counted(), random_ids(40, seed=3)
    experts_NXV, _, _ = model.along(ids[:-1, None], None)
    nats_TB, _ = model.nats(ids[:-1, None], ids[1:, None], None)
    assert np.array_equal(nats_TB[:, 0], -experts_NXV[np.arange(39), 0, ids[1:]])


@pytest.mark.parametrize("block", [1, 100, 1 << 19])
def test_rows_of_a_batch_do_not_know_each_other(block, monkeypatch):
    model, ids_TB = counted(n=2000), columns(rows=4, n=20)
    whole = model.along(ids_TB, None)[0].reshape(20, 4, len(EXPERTS), 5)
    monkeypatch.setattr(module, "BLOCK", block)
    experts_NXV, matched_N, state = model.along(ids_TB, None)
    np.testing.assert_allclose(experts_NXV.reshape(whole.shape), whole, rtol=0, atol=1e-12)
    for b in range(4):
        alone_NXV, own_N, own = model.along(ids_TB[:, b : b + 1], None)
        np.testing.assert_allclose(whole[:, b], alone_NXV, rtol=0, atol=1e-12)
        assert np.array_equal(matched_N.reshape(20, 4)[:, b], own_N)
        assert np.array_equal(state[0][0][b], own[0][0][0])


def test_reading_feeds_the_same_text_to_every_row():
    model, ids = counted(), random_ids(4)
    _, state = model.step(np.array([1, 4, 2]), None)
    logs_BXV, _ = model.read(ids, 3, state)
    for b, one in enumerate([1, 4, 2]):
        alone_BXV, _ = model.read(np.array([one, *ids]), 1, None)
        np.testing.assert_allclose(logs_BXV[b], alone_BXV[0], rtol=0, atol=1e-12)


def test_matched_is_how_far_back_the_text_agrees():
    model = NGrams.count(np.array([1, 2, 3, 4, 1, 2, 0]), vocab=6, longest=4)
    for read, length in (([5], 0), ([5, 2], 1), ([3, 1, 2], 2), ([2, 3, 4, 1, 2], 4)):
        _, matched_N, _ = model.along(np.array(read)[:, None], None)
        assert matched_N[-1] == length


def test_the_state_is_a_value_that_can_be_put_back_to_the_beginning():
    model, ids_TB = counted(), columns(rows=3, n=9)
    _, _, state = model.along(ids_TB[:-1], None)
    ((spans,),) = state
    kept = spans.copy()
    first, _ = model.step(ids_TB[-1], state)
    model.read(ids_TB[:, 0], 3, state)
    model.along(ids_TB, state)
    assert np.array_equal(spans, kept)
    assert np.array_equal(model.step(ids_TB[-1], state)[0], first)
    spans[0] = 0  # as a protocol does with the stream that begins the text
    found = model.step(ids_TB[-1], state)[0]
    assert np.array_equal(found[:1], model.step(ids_TB[-1, :1], None)[0])
    assert np.array_equal(found[1:], first[1:])
    zeros = model.step(ids_TB[0], model.initial_state(3))[0]
    assert np.array_equal(model.step(ids_TB[0], None)[0], zeros)


# Contexts of many rows


@pytest.mark.parametrize("most_kept", [0, 1000, 1 << 30])
@pytest.mark.parametrize("many", [0, 1, 10, 100])
def test_contexts_of_many_rows_are_as_likely_followed_as_others(many, most_kept, monkeypatch):
    ids_TB = columns(rows=3, n=60)
    monkeypatch.setattr(module, "MANY_ROWS", 10**6)
    expected, _, _ = counted(n=600).along(ids_TB, None)
    monkeypatch.setattr(module, "MANY_ROWS", many)
    monkeypatch.setattr(module, "MOST_PROBABILITY_BYTES", most_kept)
    model = counted(n=600)
    for _ in range(2):  # made, and remembered
        found, _, _ = model.along(ids_TB, None)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    alone = [model.along(ids_TB[:, b : b + 1], None)[0] for b in range(3)]
    assert np.array_equal(found.reshape(60, 3, -1, 5), np.stack(alone, axis=1))


def test_ids_of_any_integer_type_are_read_alike():
    ids = random_ids(200)
    model = NGrams.count(ids.astype(np.uint8), 5, 12)
    expected, _ = NGrams.count(ids, 5, 12).read(ids[-20:], 1, None)
    assert np.array_equal(model.read(ids[-20:].astype(np.uint8), 1, None)[0], expected)


def test_a_text_costs_its_own_ngrams_little_and_another_one_more():
    ids = np.tile([1, 2, 3, 4, 2], 40)[:, None]
    model = NGrams.count(ids[:, 0], 5, 4)
    own, _ = model.nats(ids[:-1], ids[1:], None)
    backwards, _ = model.nats(ids[:0:-1], ids[-2::-1], None)
    assert own[10:].mean() < 0.1 < 1 < backwards.mean()


def test_an_expert_forgets_what_stands_before_its_longest_context():
    model = counted(longest=12, n=600)
    ids = random_ids(13, seed=2)
    logs_XV = model.read(ids, 1, None)[0][0]
    for expert, (_, cut) in enumerate(EXPERTS):
        if cut is not None:
            short_XV = model.read(ids[-cut:], 1, None)[0][0]
            np.testing.assert_allclose(short_XV[expert], logs_XV[expert], rtol=1e-12)


# In a file


def again(model, **changes):
    return NGrams.from_tensors({**model.tensors(), **changes}, model.vocab, model.longest)


def assert_same(model, other):
    ids_TB = columns(2, 30, model.vocab)
    for one, two in zip(model.along(ids_TB, None)[:2], other.along(ids_TB, None)[:2], strict=True):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("vocab", [2, 5, 256, 257, 70_000])
def test_ngrams_made_again_from_their_tensors_are_the_same(vocab):
    model = counted(n=100 if vocab > 300 else 2000, vocab=vocab, longest=4)
    found = again(model)
    assert np.array_equal(found.contexts.next_ids, model.contexts.next_ids)
    assert np.array_equal(found.contexts.shared, model.contexts.shared)
    assert np.array_equal(found.odds_CLG, model.odds_CLG)
    if vocab < 300:
        assert_same(model, found)


@pytest.mark.parametrize("ids", [np.zeros(1, int), np.zeros(100_000, int), np.arange(256)])
def test_what_packs_very_well_or_not_at_all_is_kept_too(ids):
    model = NGrams.count(ids, 256, 3)
    assert_same(model, again(model))


def test_what_packs_to_as_many_bytes_as_it_has_is_kept_too():
    sizes = set()
    for seed in range(60):
        model = NGrams.count(random_ids(20 + seed, 16, seed), 16, 3)
        data = model.contexts.next_ids.tobytes()
        sizes.add(len(zlib.compress(data, module.PACK_LEVEL)) - len(data))
        assert np.array_equal(again(model).contexts.next_ids, model.contexts.next_ids)
    assert 0 in sizes


def packed(data):
    return np.frombuffer(zlib.compress(data), dtype=np.uint8)


def bent(number):
    odds_CLG = no_odds(4).astype(np.float32)
    odds_CLG[1, 2, 3] = number
    return odds_CLG


# Of a text of 2,000 ids below 5, with contexts of up to 4.
NEXT = packed(bytes([0, 1, 2, 3, 4] * 400))
DAMAGE = {
    "fewer": {"size": np.array([1999], np.uint64)},
    "more": {"size": np.array([2001], np.uint64)},
    "none": {"size": np.array([0], np.uint64)},
    "most": {"size": np.array([2**64 - 1], np.uint64)},
    "no size": {"size": np.zeros(0, np.uint64)},
    "two sizes": {"size": np.array([2000, 2000], np.uint64)},
    "infinite size": {"size": np.array([np.inf])},
    "not a number": {"size": np.array([np.nan])},
    "negative size": {"size": np.array([-2000])},
    "id beyond the vocabulary": {"next": packed(bytes([0, 1, 2, 3, 5] * 400))},
    "raw id beyond the vocabulary": {"next": np.full(2000, 5, np.uint8)},
    "other numbers": {"next": np.zeros(1000, np.uint16)},
    "empty": {"next": np.zeros(0, np.uint8)},
    "no stream": {"shared": np.full(100, 7, np.uint8)},
    "truncated": {"next": NEXT[:-9]},
    "without its checksum": {"next": NEXT[:-4]},
    "wrong checksum": {"next": np.append(NEXT[:-1], NEXT[-1] ^ np.uint8(1))},
    "bytes behind": {"next": np.append(NEXT, np.uint8(0))},
    "too long a stream": {"next": packed(bytes([0, 1, 2, 3, 4] * 401))},
    "odds of zero": {"odds": bent(0)},
    "negative odds": {"odds": bent(-1)},
    "odds that are lost beside 1": {"odds": bent(1e-17)},
    "odds too large to be": {"odds": bent(1e30)},
    "infinite odds": {"odds": bent(np.inf)},
    "odds that are no number": {"odds": bent(np.nan)},
    "odds of another length": {"odds": no_odds(3).astype(np.float32)},
    "another array": {"more": np.zeros(1)},
}


@pytest.fixture(scope="module")
def stored():
    return counted(n=2000, longest=4)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_tensors_are_refused(stored, damage):
    with pytest.raises(ValueError, match="n-grams"):
        again(stored, **DAMAGE[damage])
    assert_same(stored, again(stored, next=packed(stored.contexts.next_ids.tobytes())))


@pytest.mark.parametrize("name", ["next", "shared", "size", "odds"])
def test_missing_tensors_are_refused(stored, name):
    tensors = stored.tensors()
    del tensors[name]
    with pytest.raises(ValueError, match="n-grams"):
        NGrams.from_tensors(tensors, 5, 4)


BOMB = packed(bytes(20_000_000))


@pytest.mark.parametrize("claimed", [2000, 20_000_000, 10**15], ids="{:,}".format)
def test_a_small_array_is_never_unpacked_to_a_huge_one(stored, claimed):
    assert 4 * module.MOST_RATIO * BOMB.size < 20_000_000
    size = np.array([claimed], np.uint64)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="n-grams"):
            again(stored, size=size, next=BOMB, shared=BOMB)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
