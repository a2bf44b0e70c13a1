"""Beam search against every text there is, against a plain search, and by hand."""

import functools
import itertools

import naive
import numpy as np
import pytest
from factories import learn_tokenizer, random_checkpoint, with_counts_of
from hypothesis import given
from hypothesis import strategies as st

from textgen.checkpoint.loading import make_engine
from textgen.config.model import CELLS, ModelConfig
from textgen.config.sample import SampleConfig
from textgen.engine.network import Engine
from textgen.errors import NumericsError, UsageError
from textgen.sampling.beams import beam_search
from textgen.sampling.generator import generate
from textgen.sampling.stopping import StopMatcher
from textgen.textmodel import TextModel
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer.from_text("abcd")
WIDE = 1024  # beams: more than there are texts in these tests, so none is ever dropped


def sizes(cell="gru"):
    return ModelConfig(vocab=LETTERS.size, cell=cell, layers=1, hidden=6, embedding=3)


def weights(cell="gru", seed=0):
    return naive.random_weights(sizes(cell), seed, scale=1.2)


@functools.cache
def network(cell="gru", seed=0):
    return Engine(sizes(cell), weights(cell, seed))


def config(**options):
    return SampleConfig(**{"beams": 4, "length": 4, **options})


def search(cfg, prime="ab", seed=0, cell="gru"):
    return beam_search(network(cell, seed), LETTERS, prime, cfg)


def texts_of(found):
    return [one.text for one in found]


@functools.cache
def log_probs(prime, text, seed=0, cell="gru"):
    """Of each character of a text after its prime, by the written equations."""
    ids = LETTERS.encode(prime + text).astype(int)
    logits, _ = naive.network(sizes(cell), weights(cell, seed), ids[:-1])
    costs = [naive.nats(y, target) for y, target in zip(logits, ids[1:], strict=True)]
    return -np.array(costs)[len(prime) - 1 :]


def written_out(text, cfg):
    """The part of a text before its end, and whether it has ended."""
    ending = StopMatcher(cfg)
    passed = "".join(ending.feed(char) for char in text)
    return passed + ending.flush(), ending.reason


def all_texts(cfg):
    """Every text of the length, and every shorter one that the options end."""
    for length in range(1, cfg.length + 1):
        for text in map("".join, itertools.product("abcd", repeat=length)):
            ended = written_out(text, cfg)[1]
            if (ended or length == cfg.length) and not written_out(text[:-1], cfg)[1]:
                yield text


def by_rank(texts, cfg, prime="ab", seed=0):
    """Texts with their marks of an end, the best by score / length ** penalty first."""

    def rank(text):
        return log_probs(prime, text, seed).sum() / len(text) ** cfg.length_penalty

    return sorted(texts, key=rank, reverse=True)


# Every text there is


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("prime", ["a", "bad"])
def test_with_beams_enough_the_likeliest_text_is_found(cell, prime):
    every = map("".join, itertools.product("abcd", repeat=4))
    likeliest = max(every, key=lambda text: log_probs(prime, text, cell=cell).sum())
    (found,) = search(config(beams=WIDE), prime, cell=cell)
    assert found.text == likeliest


@pytest.mark.parametrize("options", [{"stop": ("c",)}, {"stop": ("ab", "d")}, {"stop": ("bb",)}])
@pytest.mark.parametrize("penalty", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_with_beams_enough_the_best_texts_are_found_in_their_order(options, penalty):
    cfg = config(beams=WIDE, num=60, length_penalty=penalty, **options)
    expected = by_rank(all_texts(cfg), cfg)[:60]
    found = search(cfg)
    assert texts_of(found) == [written_out(text, cfg)[0] for text in expected]
    assert [one.end for one in found] == [
        written_out(text, cfg)[1] or "length" for text in expected
    ]
    assert [one.row for one in found] == list(range(60))


def test_without_ends_the_penalty_changes_nothing():
    expected = texts_of(search(config(beams=8, num=8)))
    for penalty in (-2.0, 0.0, 3.0):
        assert texts_of(search(config(beams=8, num=8, length_penalty=penalty))) == expected


# A plain search


def plain_search(cfg, prime, seed):
    """The texts with their marks of an end that so many beams find, scores recomputed each time."""

    def score(text):
        return log_probs(prime, text, seed).sum()

    def rank(text):
        return score(text) / len(text) ** cfg.length_penalty

    beams, ended = [""], []
    for _ in range(cfg.length):
        longer = sorted((one + char for one in beams for char in "abcd"), key=score, reverse=True)
        longer = longer[: 2 * cfg.beams]
        done = [one for one in longer[: cfg.beams] if written_out(one, cfg)[1]]
        beams = [one for one in longer if not written_out(one, cfg)[1]][: cfg.beams]
        ended = sorted(ended + done, key=rank, reverse=True)[: cfg.beams]
        if not beams:
            break
        if len(ended) == cfg.beams and rank(beams[0]) <= rank(ended[-1]):
            beams = []
            break
    return sorted(ended + beams, key=rank, reverse=True)[: cfg.num]


@given(
    beams=st.integers(1, 6),
    length=st.integers(1, 7),
    seed=st.integers(0, 30),
    penalty=st.sampled_from([-0.5, 0.0, 1.0, 1.5]),
    stop=st.sampled_from([(), ("c",), ("ab", "d"), ("bb",)]),
)
def test_the_texts_are_those_of_a_plain_search(beams, length, seed, penalty, stop):
    options = {"length": length, "length_penalty": penalty, "stop": stop}
    cfg = config(beams=beams, num=beams, **options)
    expected = plain_search(cfg, "ab", seed)
    assert texts_of(search(cfg, seed=seed)) == [written_out(text, cfg)[0] for text in expected]


# Few beams


@given(
    seed=st.integers(0, 60),
    length=st.integers(1, 12),
    options=st.sampled_from(
        [
            {},
            {"stop": ("c",)},
            {"ban": "a"},
            {"bias": ("d:1.5",)},
            {"no_repeat_ngram": 2},
            {"repetition_penalty": 1.5, "frequency_penalty": 0.3},
            {"dry_multiplier": 3.0, "dry_allowed_length": 1},
        ]
    ),
)
def test_a_single_beam_takes_the_likeliest_character_each_time(seed, length, options):
    options = {"length": length, "prime": "ab", **options}
    steps = generate(network(seed=seed), LETTERS, SampleConfig(temperature=0.0, seed=1, **options))
    greedy = "".join(step.pieces[0] for step in steps)
    assert texts_of(search(config(beams=1, **options), seed=seed)) == [greedy]


class Garden:
    """A model by hand: a is likelier than b at first, but all that follows it is unlikely.

    Its logits are log-probabilities of <unk>, a, b, c, d after each of a, b, c, d.
    """

    after = np.log(
        [
            [0.2, 0.2, 0.2, 0.2, 0.2],
            [1e-9, 0.25, 0.25, 0.25, 0.25],
            [1e-9, 0.01, 0.01, 0.97, 0.01],
            [1e-9, 0.01, 0.01, 0.01, 0.97],
            [1e-9, 0.55, 0.35, 0.05, 0.05],
        ]
    )

    def step(self, ids_B, state):
        return self.after[ids_B], state

    def read(self, ids, rows, state):
        return self.after[np.full(rows, ids[-1])], None


def in_the_garden(**options):
    return beam_search(Garden(), LETTERS, "d", config(length=3, **options))


def test_two_beams_find_what_one_walks_past():
    """.55 * .25 * .25 against .35 * .97 * .97: the second best beginning leads to the best text."""
    assert in_the_garden(beams=1)[0].text[0] == "a"
    assert texts_of(in_the_garden(beams=2)) == ["bcd"]


def test_a_short_text_wins_by_its_sum_and_a_long_one_by_its_mean():
    """Ended by a: log .55 in one character. bcd: log .35 .97 .97 in three, -0.37 a character."""
    options = {"beams": 4, "num": 2, "stop": ("a",)}
    assert [one.text for one in in_the_garden(length_penalty=0.0, **options)] == ["", "bcd"]
    assert [one.text for one in in_the_garden(length_penalty=1.0, **options)] == ["bcd", ""]


def test_a_search_ends_when_nothing_can_beat_the_texts_it_has(monkeypatch):
    """As in Hugging Face's search: once as many texts have ended as there are beams."""
    steps = []
    original = Garden.step
    monkeypatch.setattr(
        Garden, "step", lambda self, ids, state: steps.append(1) or original(self, ids, state)
    )
    cfg = config(beams=2, num=2, length=50, stop=("a", "b"), length_penalty=0.0)
    found = beam_search(Garden(), LETTERS, "d", cfg)
    assert texts_of(found) == ["", ""] and len(steps) < 3


# What a search depends on


def test_a_search_is_the_same_each_time_and_takes_no_seed():
    expected = texts_of(search(config(num=4, length=20)))
    for seed in (None, 1, 2):
        assert texts_of(search(config(num=4, length=20, seed=seed))) == expected
    assert len(set(expected)) == 4


def test_a_search_depends_on_the_whole_prime():
    """Not on its last character alone, and without a prime on the training counts."""
    primes = ("ab", "cb", "ddb", "")
    found = [texts_of(search(config(beams=9, num=9), prime)) for prime in primes]
    assert len(set(map(tuple, found))) == 4
    counted = CharTokenizer.from_text("a" + "b" * 4 + "c" * 7 + "d")
    assert beam_search(network(), counted, "", config(length=1, beams=2))[0].text == "c"


@pytest.mark.parametrize("prime", ["ab", "dcba"])
def test_log_probs_are_the_model_s_own_before_biases_and_penalties(prime):
    cfg = config(num=3, length=6, bias=("d:3",), frequency_penalty=0.5, stop=("cd",))
    for one in search(cfg, prime):
        assert one.log_probs.shape == (len(one.text),)
        if one.text:
            expected = log_probs(prime, one.text)
            np.testing.assert_allclose(one.log_probs, expected, rtol=0, atol=1e-10)
            assert one.nats_per_char == pytest.approx(-expected.mean())
        assert one.prime == prime


def test_bans_biases_and_repeated_spans_are_respected():
    for one in search(config(num=4, length=12, ban="ac")):
        assert set(one.text) <= set("bd")
    assert search(config(length=5, bias=("c:200",)))[0].text == "ccccc"
    for one in search(config(num=4, length=6, no_repeat_ngram=2)):
        whole = "ab" + one.text
        pairs = [whole[i : i + 2] for i in range(len(whole) - 1)]
        assert len(set(pairs)) == len(pairs)


def test_without_the_rule_spans_are_repeated():
    """Search for likely text is known for its loops: Holtzman et al. (2020)."""
    text = search(config(length=40))[0].text
    assert len({text[i : i + 4] for i in range(37)}) < 20


def test_neither_unknown_nor_untrained_characters_are_found():
    tokenizer = CharTokenizer(np.array([97, 98, 99, 100]), np.array([9, 0, 5, 0, 5]))
    for one in beam_search(network(), tokenizer, "b", config(beams=8, num=8, length=8)):
        assert set(one.text) <= {"b", "d"}


@pytest.mark.parametrize("options", [{"until": "line"}, {"lines": 2}, {"until": "sentence"}])
def test_texts_end_as_those_that_are_drawn_do(options):
    tokenizer = CharTokenizer.from_text("ab. \n")
    model = ModelConfig(vocab=tokenizer.size, layers=1, hidden=6, embedding=3)
    engine = Engine(model, naive.random_weights(model, 1, scale=1.2))
    cfg = config(beams=WIDE, num=500, **options)
    reason = options.get("until", "lines")
    found = beam_search(engine, tokenizer, "ab", cfg)
    assert {one.end for one in found} == {reason, "length"}
    for one in found:
        for end in range(len(one.text) + 1):
            assert written_out(one.text[:end], cfg)[1] is None
        if one.end == reason:
            assert any(written_out(one.text + mark, cfg)[1] for mark in (" ", "\n"))
        else:
            assert len(one.text) == 4


def test_length_zero_finds_the_empty_text():
    assert [(one.text, one.end) for one in search(config(length=0))] == [("", "length")]


# What went wrong


def test_a_search_ends_where_every_beginning_has_ended():
    """Nothing may be written but what ends a text."""
    for beams in (1, 2, 3):
        cfg = config(beams=beams, num=beams, only="ab", stop=("a", "b"))
        found = search(cfg)
        assert found and {(one.text, one.end) for one in found} == {("", "stop")}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_raise(value):
    broken = weights()
    broken["head.bias"][1] = value
    with pytest.raises(NumericsError, match="not finite") as caught:
        beam_search(Engine(sizes(), broken), LETTERS, "ab", config())
    assert caught.value.exit_code == 7


def test_scores_that_become_not_finite_raise():
    model = Garden()
    model.after = Garden.after.copy()
    model.after[2] = np.nan  # after b
    with pytest.raises(NumericsError, match="not finite"):
        beam_search(model, LETTERS, "d", config())


def test_nothing_to_write_is_an_error():
    with pytest.raises(UsageError, match="--ban"):
        search(config(ban="a-d"))


# Through a model


@pytest.fixture
def model():
    return TextModel(random_checkpoint(LETTERS, scale=1.2, hidden=6, embedding=3))


def test_a_model_searches_for_each_prime(model):
    found = list(model.texts(["ab", "d", "ab"], beams=3, num=2, length=8))
    assert [one.prime for one in found] == ["ab", "ab", "d", "d", "ab", "ab"]
    assert texts_of(found)[:2] == texts_of(search(config(beams=3, num=2, length=8)))
    assert texts_of(found)[4:] == texts_of(found)[:2] != texts_of(found)[2:4]
    assert model.batch("ab", beams=3, num=2, length=8) == ["ab" + one.text for one in found[:2]]


def test_the_best_text_comes_in_one_piece(model):
    best = texts_of(search(config(beams=3, length=8)))
    assert list(model.stream("ab", beams=3, length=8)) == best
    assert model.sample("ab", beams=3, length=8) == "ab" + best[0]


def test_a_search_cannot_go_on_from_a_place_in_a_text(model):
    model.sample("ab", length=3, seed=1)
    with pytest.raises(UsageError, match=r"^state: cannot be combined with best_of"):
        model.sample(beams=3, state=model.state)


# Bytes and pieces


def test_among_texts_of_bytes_the_best_of_all_is_found():
    """Of a, é and ü, which share their first byte: texts of three characters take 3 to 6 ids."""
    tokenizer = with_counts_of(ByteTokenizer(), "aéü")
    engine = make_engine(random_checkpoint(tokenizer, seed=3))
    found = beam_search(engine, tokenizer, "a", config(beams=WIDE, num=27, length=3))
    scores = {}
    for text in map("".join, itertools.product("aéü", repeat=3)):
        ids = tokenizer.encode("a" + text).astype(np.int64)
        nats_TB, _ = engine.nats(ids[:-1, None], ids[1:, None], None)
        scores[text] = -nats_TB.sum()
    ranked = sorted(scores, key=lambda text: -scores[text] / 3)
    assert texts_of(found) == ranked
    for one in found:
        assert one.log_probs.sum() == pytest.approx(scores[one.text], rel=1e-5)
        assert len(one.log_probs) == len(one.text.encode())


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram"])
@pytest.mark.parametrize("options", [{}, {"stop": ("a",)}, {"until": "sentence"}], ids=str)
def test_beams_write_whole_characters_and_end_as_any_text_does(kind, options):
    words = "the cat. é ü 日本 😀 at\n" * 9
    found = random_checkpoint(learn_tokenizer(kind, words), hidden=4)
    for one in TextModel(found).texts(["the"], beams=5, num=5, length=9, **options):
        assert "\ufffd" not in one.text
        assert len(one.text) == 9 or one.end != "length"
        ending = StopMatcher(SampleConfig(**options))
        assert ending.feed(one.text) + ending.flush() == one.text
