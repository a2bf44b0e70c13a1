"""The n-grams of a run and what weighs them: nothing is fitted on what a part has read."""

from itertools import pairwise

import naive
import numpy as np
import pytest
from factories import random_engine, small_sizes

from textgen.config.train import TrainConfig
from textgen.data.dataset import load_dataset
from textgen.engine.mixture import Mixture, usual_weights
from textgen.engine.network import Engine
from textgen.engine.ngrams import NGrams
from textgen.training import partner as module
from textgen.training.partner import (
    Replay,
    Witness,
    choose_stretches,
    cut_at_record,
    make_partner,
    read_ids,
    set_aside,
)
from textgen.training.setup import start_setup

WORDS = ["the cat ", "sat on ", "the mat ", "and ran. ", "\n"]


def text(n, seed=0):
    draws = np.random.default_rng(seed)
    return "".join(WORDS[i] for i in draws.integers(0, len(WORDS), n))[:n]


def dataset(tmp_path, content=None, **options):
    path = tmp_path / "text.txt"
    path.write_text(text(30_000) if content is None else content)
    return load_dataset([path], TrainConfig(**{"split": "0.9,0.1", **options}))


def rest_of(data, **limits):
    """The training part without what is kept from the network."""
    return choose_stretches(data.train, data.tokenizer, **limits).rest


def partner_of(data, longest, **limits):
    """The n-grams of a training part."""
    stretches = choose_stretches(data.train, data.tokenizer, **limits)
    return make_partner(stretches, data.tokenizer, longest)


def records(n=3000, seed=0):
    draws = np.random.default_rng(seed)
    return "\n".join(text(40, seed)[: draws.integers(3, 20)] + str(i) for i in range(n))


@pytest.fixture
def made(tmp_path):
    """A training part of characters, its partner, and a network of random weights."""
    data = dataset(tmp_path)
    partner = partner_of(data, 7)
    return data, partner, random_engine(data.tokenizer, scale=0.3)


def cost(model, ids, tokenizer):
    """What ids cost a model, all but the first."""
    return read_ids(model, ids, tokenizer)[1:].mean()


# A word of its own makes up the last of the stretches that are kept.
WITH_OWN_WORD = text(28_035) + "XYZQ" * 45 + text(1785)


# What is kept


def test_stretches_from_all_over_are_kept_and_all_is_counted_in_the_end(made):
    data, partner, _ = made
    n = len(data.train)
    size = n // 20 // 8
    # Each is in the middle of an eighth.
    ends = [n * stretch // 8 - (n - n // 20) // 16 for stretch in range(1, 9)]
    ids, is_kept = np.asarray(data.train), np.zeros(n, dtype=bool)
    for end in ends:
        is_kept[end - size : end] = True
    assert np.array_equal(partner.kept, ids[is_kept])
    assert np.array_equal(np.asarray(rest_of(data)), ids[~is_kept])
    expected = NGrams.count(data.train, data.tokenizer.size, 7)
    assert np.array_equal(partner.ngrams.contexts.next_ids, expected.contexts.next_ids)
    assert not np.array_equal(partner.ngrams.odds_CLG, expected.odds_CLG)
    assert partner.seconds_per_id > 0


@pytest.mark.parametrize("n", [2, 500, 19_000])
def test_of_a_small_text_nothing_is_kept_and_the_weights_are_the_usual_ones(tmp_path, n):
    data = dataset(tmp_path, text(n), split="1")
    partner = partner_of(data, 3)
    assert len(partner.kept) == partner.seconds_per_id == 0
    assert len(partner.ngrams.contexts) == len(data.train)
    assert np.array_equal(partner.fit(random_engine(data.tokenizer)), usual_weights())


def test_what_is_kept_is_bounded_by_the_time_and_by_the_room(tmp_path, monkeypatch):
    data = dataset(tmp_path)
    assert len(partner_of(data, 3, seconds=2).kept) == 1200
    monkeypatch.setattr(module, "MOST_KEPT", 3 * data.tokenizer.size * 1100)
    assert len(partner_of(data, 3, seconds=100).kept) == 1096


@pytest.mark.parametrize("recount_share", [0.02, 1])
def test_where_it_is_a_small_part_it_stays_uncounted(tmp_path, monkeypatch, recount_share):
    monkeypatch.setattr(module, "RECOUNT_SHARE", recount_share)
    data = dataset(tmp_path)
    partner = partner_of(data, 3)
    left_out = len(partner.kept) if recount_share == 1 else 0
    assert len(partner.ngrams.contexts) == len(data.train) - left_out


def test_what_is_fitted_was_not_counted_in_what_is_kept(tmp_path):
    """A word of its own would make the n-grams sure of it, and worth all the weight."""
    data = dataset(tmp_path, WITH_OWN_WORD, split="1")
    partner = partner_of(data, 7)
    network = random_engine(data.tokenizer, scale=0.01)
    heard = []

    class Listening(Witness):
        def fit(self, usual_WX):
            heard.append(self.ngrams)
            return super().fit(usual_WX)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Witness", Listening)
        partner.fit(network)
    word = data.tokenizer.encode("XYZQXYZ")
    counted_XV, fitted_XV = (
        np.exp(ngrams.read(word, 1, None)[0][0]) for ngrams in (partner.ngrams, *heard)
    )
    next_id = data.tokenizer.encode("Q")[0]
    assert counted_XV[0, next_id] > 0.9 > 0.1 > fitted_XV[0, next_id]


def trained_on(streams):
    """All ids of a few epochs, by their index in the streams' text."""
    return np.concatenate(
        [
            np.concatenate([x_TB.ravel(), y_TB.ravel()])
            for epoch in range(3)
            for index in range(streams.windows)
            for x_TB, y_TB, _ in [streams.window_at(epoch, index)]
        ]
    )


def setup_of(tmp_path, content, **options):
    path = tmp_path / "text.txt"
    path.write_text(content)
    sizes = {"hidden": 4, "embedding": 4, "batch": 8, "window": 32, "threads": 1, "steps": 2}
    return start_setup([path], TrainConfig(**sizes, ngrams=8, split="1", **options))


@pytest.mark.slow
def test_the_network_is_not_trained_on_it_at_first(tmp_path):
    setup = setup_of(tmp_path, WITH_OWN_WORD)
    tokenizer = setup.dataset.tokenizer
    seen = set(trained_on(setup.trainer.early).tolist())
    assert set(tokenizer.encode("XYZQ").tolist()) <= set(trained_on(setup.trainer.streams).tolist())
    assert set(tokenizer.encode("the cat").tolist()) <= seen
    assert not set(tokenizer.encode("XYZQ").tolist()) & seen
    assert set(setup.partner.kept.tolist()) >= set(tokenizer.encode("XYZQ").tolist())


def test_of_records_whole_ones_are_kept(tmp_path):
    setup = setup_of(tmp_path, records(), records="lines")
    ids, boundary = np.asarray(setup.dataset.train), setup.dataset.tokenizer.boundary_id
    rest, kept = np.asarray(rest_of(setup.dataset)), setup.partner.kept
    assert 1000 <= len(kept) <= len(ids) // 20 + 8 * 20

    def lines(ids):
        ends = np.flatnonzero(ids == boundary)
        return [tuple(ids[begin + 1 : end]) for begin, end in pairwise(ends)]

    assert rest[0] == rest[-1] == kept[-1] == boundary
    together = lines(rest) + lines(np.append([boundary], kept))
    assert sorted(together) == sorted(lines(ids))
    assert setup.trainer.early.records.lengths.sum() == len(rest) - 1


def test_a_single_record_is_not_kept(tmp_path):
    data = dataset(tmp_path, text(30_000).replace("\n", " "), records="lines", split="1")
    partner = partner_of(data, 3)
    assert not len(partner.kept)


def test_a_place_is_moved_to_the_end_of_a_record(tmp_path):
    tokenizer = dataset(tmp_path, "ab\nabc\nb\na", records="lines", split="1").tokenizer
    mark = tokenizer.boundary_id
    ids = np.array([mark, 1, 2, mark, 1, 2, 2, mark, 2, mark])
    places = [cut_at_record(ids, place, tokenizer) for place in range(len(ids) + 1)]
    assert places == [0, 1, 4, 4, 4, 8, 8, 8, 8, 10, 10]
    plain = dataset(tmp_path).tokenizer
    assert cut_at_record(ids, 5, plain) == 5


def test_arrays_and_mapped_texts_are_cut_alike(tmp_path):
    data = dataset(tmp_path)
    mapped, plain = (
        set_aside(ids, 800, data.tokenizer) for ids in (data.train, np.asarray(data.train))
    )
    assert np.array_equal(np.asarray(mapped[0]), plain[0])
    assert np.array_equal(mapped[1], plain[1])


def test_of_a_long_text_only_the_end_is_counted(tmp_path):
    data = dataset(tmp_path)
    partner = partner_of(data, 3, most_counted=21_000)
    assert len(partner.kept) == 21_000 // 20 // 8 * 8
    assert len(partner.ngrams.contexts) == 21_000
    whole = NGrams.count(data.train[-21_000:], data.tokenizer.size, 3)
    assert np.array_equal(partner.ngrams.contexts.next_ids, whole.contexts.next_ids)
    rest = rest_of(data, most_counted=21_000)
    assert len(rest) + len(partner.kept) == len(data.train)
    assert np.array_equal(np.asarray(rest)[:6000], np.asarray(data.train)[:6000])


def test_what_the_cap_loses_is_told(tmp_path):
    """Each quarter of the text has words of its own, so that to count them all is a gain."""
    content = text(40_000)
    swapped = content.translate(str.maketrans("abcdefgh", "hgfedcba"))
    data = dataset(tmp_path, content[:20_000] + swapped[:20_000] + content[20_000:], split="1")
    partner = partner_of(data, 3, most_counted=30_000)
    assert partner.nats_lost > 0
    assert partner_of(data, 3).nats_lost == 0


def test_of_a_very_long_text_only_the_end_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LONG_TEXT", 1000)
    data = dataset(tmp_path)
    rest, kept = set_aside(data.train, 800, data.tokenizer)
    assert np.array_equal(kept, np.asarray(data.train)[-800:])
    assert np.array_equal(np.asarray(rest), np.asarray(data.train)[:-800])
    plain = np.asarray(data.train)
    assert np.shares_memory(set_aside(plain, 800, data.tokenizer)[0], plain), "it is no copy"


# What was said


def test_a_replay_says_again_what_the_ngrams_said(made):
    data, partner, _ = made
    ngrams, ids_TB = partner.ngrams, np.asarray(data.train)[:300].reshape(100, 3).astype(np.int64)
    replay = Replay(ngrams)
    for _ in range(2):
        replay.rewind()
        state = expected_state = None
        for part in (slice(0, 40), slice(40, 100)):
            found_NXV, matched_N, state = replay.along(ids_TB[part], state)
            expected_NXV, expected_N, expected_state = ngrams.along(ids_TB[part], expected_state)
            np.testing.assert_allclose(found_NXV, expected_NXV, rtol=1e-6)
            assert np.array_equal(matched_N, expected_N)
            assert np.array_equal(state[0][0], expected_state[0][0])


def test_a_replay_reads_a_text_only_once(made, monkeypatch):
    _, partner, network = made
    partner.fit(network)
    monkeypatch.setattr(NGrams, "along", None)
    assert np.array_equal(partner.fit(network), partner.fit(network))


# The weights


def test_fitted_weights_make_it_likelier_than_the_usual_ones(made):
    data, partner, _ = made
    config = small_sizes(data.tokenizer, hidden=16)
    network = Engine(config, naive.random_weights(config, 0, 0.3))
    weights_WX = partner.fit(network)
    fitted = NGrams.count(rest_of(data), config.vocab, 7)
    fitted = NGrams(fitted.contexts, partner.ngrams.odds_CLG)

    def nats(rows_WX):
        return cost(Mixture(network, fitted, rows_WX), partner.kept, data.tokenizer)

    assert nats(weights_WX) < nats(usual_weights()) - 0.01


@pytest.mark.parametrize("kind", ["text", "records"])
def test_a_witness_notes_what_a_mixture_charges(tmp_path, kind, monkeypatch):
    content = text(40_000) if kind == "text" else records()
    data = dataset(tmp_path, content, **({} if kind == "text" else {"records": "lines"}))
    partner = partner_of(data, 5)
    network = random_engine(data.tokenizer, scale=0.5)
    noted = []

    def fit(said_TXV, rows_T3, ids_T, usual_WX):
        noted.append((said_TXV, rows_T3, ids_T))
        return usual_WX

    monkeypatch.setattr(module, "fit_weights", fit)
    weights_WX = partner.fit(network)
    ((said_TXV, rows_T3, ids_T),) = noted
    scores_TV = np.einsum("tx,txv->tv", weights_WX[rows_T3].sum(axis=1), said_TXV)
    every = np.arange(len(ids_T))
    nats = np.log(np.exp(scores_TV).sum(axis=1)) - scores_TV[every, ids_T]
    count = len(partner.kept)
    fitted = NGrams.count(rest_of(data), data.tokenizer.size, 5)
    fitted = NGrams(fitted.contexts, partner.ngrams.odds_CLG)
    charged = read_ids(Mixture(network, fitted, weights_WX), partner.kept, data.tokenizer)
    assert np.isin(partner.kept, ids_T).all()
    # The first ids of streams are not noted; the last stream may end before the others.
    assert abs(len(nats) - count) < 20
    assert nats.mean() == pytest.approx(charged[1:].mean(), rel=0.02)
    if kind == "records":
        np.testing.assert_allclose(np.sort(nats), np.sort(charged), rtol=1e-4)


def test_no_more_is_read_than_asked_for(made):
    _, partner, network = made
    seen = []

    class Counting:
        def __getattr__(self, name):
            return getattr(network, name)

        def logits(self, x_TB, y_TB, state):
            seen.append(y_TB.size)
            return network.logits(x_TB, y_TB, state)

    weights_WX = partner.fit(Counting(), most=1100)
    assert 1000 < sum(seen) < 1100 + 16 * 256 + 1
    assert not np.array_equal(weights_WX, usual_weights())
    assert np.array_equal(partner.fit(network, most=900), usual_weights())
