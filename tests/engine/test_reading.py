"""Reading that adapts: what was read counts, and nothing is known before it has been paid for."""

import numpy as np
import pytest
from factories import random_engine

from textgen.engine import backoff, recent
from textgen.engine import reading as module
from textgen.engine.mixture import mix, usual_weights
from textgen.engine.network import log_softmax
from textgen.engine.ngrams import NGrams
from textgen.engine.reading import AdaptiveMixture, Corrections, Guesses, Reader
from textgen.engine.recent import GUESSES, Signs
from textgen.engine.smoothing import EXPERTS, lengthen, smooth
from textgen.evaluation.protocols import stateful
from textgen.tokenizers.char import CharTokenizer

VOCAB, LONGEST = 5, 6
SIGNS = Signs(np.array([False, True, True, True, False]), newline=4)


def random_ids(n, seed=0):
    return np.random.default_rng(seed).integers(0, VOCAB, n)


def repeating(n, seed=0):
    """Ids in which the same dozen stretches come again and again."""
    draws = np.random.default_rng(seed)
    stretches = [draws.integers(0, VOCAB, 9) for _ in range(12)]
    return np.concatenate([stretches[i] for i in draws.integers(0, 12, n // 9 + 1)])[:n]


def reader_of(ids):
    return Reader(NGrams.count(ids, VOCAB, LONGEST), usual_weights(), SIGNS)


def read(reader, ids, logits):
    """Return the log-probabilities before each of ids but the first."""
    reader.follow(int(ids[0]))
    said = []
    for next_id, logits_V in zip(ids[1:].tolist(), logits, strict=False):
        said.append(reader.predict(logits_V).copy())
        reader.learn(next_id)
    return np.array(said)


@pytest.mark.parametrize("text", ["random", "repeating"])
def test_probabilities_sum_to_one(text):
    ids = {"random": random_ids, "repeating": repeating}[text](400, seed=1)
    logits = np.random.default_rng(2).normal(size=(400, VOCAB))
    said = read(reader_of(random_ids(300)), ids, logits)
    np.testing.assert_allclose(np.exp(said).sum(axis=1), 1, rtol=1e-12)


def test_what_comes_later_is_not_known_before():
    logits = np.zeros((300, VOCAB))
    ids, other = repeating(300, seed=3), repeating(300, seed=3)
    other[200:] = random_ids(100, seed=4)
    first, second = (read(reader_of(random_ids(300)), one, logits) for one in (ids, other))
    assert np.array_equal(first[:200], second[:200])
    assert not np.array_equal(first[201:], second[201:])


def common(left, right):
    """How many of the newest ids two contexts, newest first, have in common."""
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def naive_counts(train, text):
    """Both counts of what followed the present context of each length, by looking everywhere."""
    n = len(train)
    places = [
        ([int(train[(i - 1 - back) % n]) for back in range(LONGEST)], int(train[i]))
        for i in range(n)
    ]
    weights, shared = [1] * n, []
    for i, (context, next_id) in enumerate(places):
        alike = [common(context, c) for c, other in places[:i] if other == next_id]
        shared.append(max(alike, default=0))
    for i, next_id in enumerate(text):
        context = [int(one) for one in text[:i][::-1][:LONGEST]]
        alike = [common(context, c) for c, other in places if other == next_id]
        places.append((context, int(next_id)))
        weights.append(module.NEW_COUNT)
        shared.append(max(alike, default=0))
    present = [int(one) for one in text[::-1][:LONGEST]]
    counts_CLV = np.zeros((2, LONGEST + 1, VOCAB), dtype=np.int64)
    for (context, next_id), weight, length_shared in zip(places, weights, shared, strict=True):
        for length in range(common(present, context) + 1):
            counts_CLV[1, length, next_id] += weight
            counts_CLV[0, length, next_id] += weight * (length_shared <= length)
    return counts_CLV


@pytest.mark.parametrize("text", [random_ids(40, seed=5), repeating(60, seed=6)])
def test_what_was_read_counts_double_beside_the_training_text(text, monkeypatch):
    """With nothing learned but counts, it is the mixture of experts on counts made naively.

    Novel counts mark one of several alike, and which one depends on the order they are looked at;
    how many there are after a context does not.
    """
    monkeypatch.setattr(module, "RATES_4", np.zeros(4))
    monkeypatch.setattr(backoff, "ODDS_RATE", 0.0)
    for rate in ("GUESS_RATE", "CORRECTION_RATE", "FIRST_GUESS_WEIGHT"):
        monkeypatch.setattr(module, rate, 0.0)
    train, logits_V = random_ids(50, seed=7), np.random.default_rng(8).normal(size=VOCAB)
    reader = reader_of(train)
    said = read(reader, text, [logits_V] * len(text))
    for count in range(1, len(text), 7):
        counts_CLV = naive_counts(train, text[:count].tolist())
        matched = int(np.flatnonzero(counts_CLV[1].sum(axis=1))[-1])
        shares, left, _ = smooth(counts_CLV[:, :, None], reader.ngrams.odds_CLG, 0)
        experts_1XV = np.full((1, len(EXPERTS), VOCAB), 1 / VOCAB)
        lengthen(experts_1XV, shares, left, 0, LONGEST)
        expected = mix(logits_V[None], np.log(experts_1XV), np.array([matched]), usual_weights())
        np.testing.assert_allclose(said[count - 1], expected[0], atol=1e-9)


def test_a_text_that_repeats_itself_becomes_cheap():
    ids, logits = repeating(1500, seed=9), np.zeros((1500, VOCAB))
    said = read(reader_of(random_ids(500)), ids, logits)
    nats = -said[np.arange(1499), ids[1:]]
    assert nats[:100].mean() > 1.2
    # A choice among twelve at every ninth id would cost .28.
    assert nats[-300:].mean() < 0.45


def cost(ids, monkeypatch, **changes):
    """Return the nats of ids but the first, where reading has other constants."""
    with monkeypatch.context() as patch:
        for name, value in changes.items():
            patch.setattr(module, name, value)
        said = read(reader_of(random_ids(500)), ids, np.zeros((len(ids), VOCAB)))
    return -said[np.arange(len(ids) - 1), ids[1:]].mean()


def test_what_reading_learns_helps_where_words_come_again(monkeypatch):
    """Each of guesses, corrections, and weights."""
    ids = repeating(1500, seed=10)
    usual = cost(ids, monkeypatch)
    assert usual < cost(ids, monkeypatch, GUESS_RATE=0.0, FIRST_GUESS_WEIGHT=0.0)
    assert usual < cost(ids, monkeypatch, CORRECTION_RATE=0.0)
    assert usual < cost(ids, monkeypatch, RATES_4=np.zeros(4))


def test_a_correction_is_what_the_derivative_asks_for():
    """By hand: of two ids that came in one context, each goes up by the rate when it comes."""
    corrections, rate = Corrections(), module.CORRECTION_RATE
    halves_V = np.full(VOCAB, 0.5)
    for next_id in (1, 2):
        corrections.add_to(np.zeros(VOCAB), [(4,)])
        corrections.learn(next_id, halves_V)
    scores_V = np.zeros(VOCAB)
    corrections.add_to(scores_V, [(3,), (4,)])
    np.testing.assert_allclose(scores_V, [0, rate * 0.5, rate, 0, 0])


def test_guesses_that_hold_raise_a_score_and_those_that_fail_lower_it():
    guesses, probabilities_V = Guesses(), np.full(VOCAB, 1 / VOCAB)
    for _ in range(50):
        guesses.add_to(np.zeros(VOCAB), [(0, 1, 2), (GUESSES - 1, 3, 4)])
        guesses.learn(2, probabilities_V)
    scores_V = np.zeros(VOCAB)
    guesses.add_to(scores_V, [(0, 1, 1), (GUESSES - 1, 3, 3), (1, 1, 4)])
    assert scores_V[1] > 0 > scores_V[3]
    assert scores_V[4] == 0


def test_as_a_scorer_it_charges_what_the_reader_says_step_by_step():
    tokenizer = CharTokenizer.from_text("abcd\n" * 9)
    network, ids = random_engine(tokenizer, scale=0.5), random_ids(80, seed=11) + 1
    ngrams = NGrams.count(random_ids(300, seed=12) + 1, tokenizer.size, LONGEST)
    signs = Signs.of_symbols(tokenizer.symbols())
    model = AdaptiveMixture(network, Reader(ngrams, usual_weights(), signs))
    nats = stateful(model, ids, tokenizer.counts, 0)
    logits_TBV, _ = network.logits(ids[:-1, None], ids[1:, None], None)
    said = read(Reader(ngrams, usual_weights(), signs), ids, logits_TBV[:, 0])
    np.testing.assert_allclose(nats[1:], -said[np.arange(79), ids[1:]], rtol=1e-9)


def test_what_was_learned_predicts_the_text_better():
    ids = repeating(900, seed=13)
    reader = reader_of(random_ids(500))
    read(reader, ids[:600], np.zeros((600, VOCAB)))
    before, after = (
        ngrams.nats(ids[600:-1, None], ids[601:, None], None)[0].mean()
        for ngrams in (reader.ngrams, reader.learned()[0])
    )
    assert after < 0.7 * before


def test_a_text_of_one_period_predicts_itself_from_the_half_that_is_kept(monkeypatch):
    monkeypatch.setattr(recent, "CAPACITY", 64)
    ids = np.tile(random_ids(16, seed=14), 30)
    said = read(reader_of(random_ids(100)), ids, np.zeros((len(ids), VOCAB)))
    nats = -said[np.arange(len(ids) - 1), ids[1:]]
    assert nats[200:].max() < 0.5


def test_a_network_that_diverged_gives_no_number_and_no_warning():
    reader = reader_of(random_ids(100))
    reader.follow(1)
    assert np.isnan(reader.predict(np.full(VOCAB, np.nan))).all()
    assert log_softmax(np.zeros(VOCAB)).shape == (VOCAB,)
