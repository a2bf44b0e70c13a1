"""The generator: closed forms on tiny models, exactness on small networks."""

import copy
import functools
import itertools
import math
import tracemalloc

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textgen.config.model import CELLS, ModelConfig
from textgen.config.sample import SampleConfig
from textgen.engine.mixture import Mixture, usual_weights
from textgen.engine.network import Engine
from textgen.engine.ngrams import NGrams
from textgen.errors import NumericsError, TextError, UsageError
from textgen.evaluation import protocols
from textgen.nn.char_rnn import CharRNN, TorchStepper
from textgen.sampling import generator
from textgen.sampling.draw import uniforms
from textgen.sampling.filters import NOTHING
from textgen.sampling.generator import begin, generate, read_prime
from textgen.sampling.state import SamplingState
from textgen.sampling.stopping import StopMatcher
from textgen.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer.from_text("abcdefgh" * 3)


class Table:
    """A model whose next character depends on the last one alone: logits[last]."""

    def __init__(self, logits):
        self.logits = np.asarray(logits, dtype=np.float64)

    def step(self, ids_B, state):
        return self.logits[ids_B], None

    def read(self, ids, rows, state):
        return self.logits[np.full(rows, ids[-1])], None


class Script:
    """A model that writes one of the given texts, then its last character again and again.

    After the prime "a" it is the first text, after "b" the second.
    """

    def __init__(self, tokenizer, *texts):
        self.ids = [tokenizer.encode(text) for text in texts]
        self.vocab = tokenizer.size

    def logits(self, text_B, place_B):
        logits_BV = np.full((len(text_B), self.vocab), -1e9)
        for row, (text, place) in enumerate(zip(text_B, place_B, strict=True)):
            ids = self.ids[text]
            logits_BV[row, ids[min(place, len(ids) - 1)]] = 0
        return logits_BV

    def step(self, ids_B, state):
        ((text_B, place_B),) = state
        return self.logits(text_B, place_B + 1), ((text_B, place_B + 1),)

    def read(self, ids, rows, state):
        text_B, place_B = np.full(rows, int(ids[0]) - 1), np.zeros(rows, dtype=int)
        return self.logits(text_B, place_B), ((text_B, place_B),)


def config(**options):
    return SampleConfig(**{"temperature": 1.0, "seed": 1, **options})


def joined(steps):
    """The texts of all rows."""
    return ["".join(pieces) for pieces in zip(*(step.pieces for step in steps), strict=True)]


def run(model, tokenizer, cfg, start=None, rows=None):
    """The texts of all rows, and where they stopped."""
    steps = list(generate(model, tokenizer, cfg, start, rows))
    return joined(steps), steps[-1].continuation


def text_of(model, tokenizer, start=None, **options):
    return run(model, tokenizer, config(**options), start)[0][0]


def sizes_of(cell, layers=2, tokenizer=LETTERS):
    return ModelConfig(vocab=tokenizer.size, cell=cell, layers=layers, hidden=8, embedding=4)


@functools.cache
def network(cell="gru", dtype=np.float64, layers=2, seed=0, tokenizer=LETTERS):
    sizes = sizes_of(cell, layers, tokenizer)
    weights = naive.random_weights(sizes, seed, scale=0.8)
    return Engine(sizes, {name: array.astype(dtype) for name, array in weights.items()})


@functools.cache
def mixture():
    """A network with a count of n-grams: the states of both go together."""
    ids = np.random.default_rng(5).integers(1, LETTERS.size, 200)
    return Mixture(network(), NGrams.count(ids, LETTERS.size, 2), usual_weights())


def place_after(model, ids, **changes):
    """Where a text stands of which a model has read these ids."""
    logits_BV, state = model.read(np.asarray(ids), 1)
    place = SamplingState(state, logits_BV, np.asarray(ids, dtype=np.int64)[None], 0, 1)
    return place._replace(**changes)


def assert_same_place(one, other):
    assert np.array_equal(one.logits_BV, other.logits_BV)
    assert np.array_equal(one.ids_BL, other.ids_BL)
    for layers in zip(one.state, other.state, strict=True):
        for arrays in zip(*layers, strict=True):
            assert np.array_equal(*arrays)


# Critical values of chi-square at p = 1e-6 for 1, 2, 3 and 4 degrees of freedom.
CRITICAL = {1: 23.93, 2: 27.63, 3: 30.66, 4: 33.38}


def chi_square(observed, probabilities):
    """Pearson's statistic over the cells that can occur; infinite if another one did."""
    probabilities = np.asarray(probabilities)
    possible = probabilities > 0
    if observed[~possible].any():
        return np.inf
    expected = observed.sum() * probabilities[possible]
    return float(((observed[possible] - expected) ** 2 / expected).sum())


def counts_of(text, alphabet):
    return np.array([text.count(char) for char in alphabet])


def four_letters(**options):
    """Counts of 2,500 characters that follow (.1, .2, .3, .4) over a..d, whatever went before."""
    tokenizer = CharTokenizer.from_text("abcd")
    row = np.log([0.5, 0.05, 0.1, 0.15, 0.2])  # <unk> would take half of all draws
    cfg = config(prime="a", length=500, num=5, **options)
    texts, _ = run(Table(np.tile(row, (5, 1))), tokenizer, cfg)
    return counts_of("".join(texts), "abcd")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.1, 0.2, 0.3, 0.4]),
        ({"top_k": 2}, [0, 0, 3 / 7, 4 / 7]),
        ({"top_p": 0.8}, [0, 2 / 9, 3 / 9, 4 / 9]),
        ({"temperature": 0.5}, [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
        ({"temperature": 1e300}, [0.25, 0.25, 0.25, 0.25]),
        ({"bias": (f"a:{math.log(3)}",)}, [3 / 12, 2 / 12, 3 / 12, 4 / 12]),
        ({"bias": ("b-d:-99", "b:0")}, [1 / 3, 2 / 3, 0, 0]),
        ({"ban": "bc"}, [1 / 5, 0, 0, 4 / 5]),
        ({"only": "a-c"}, [1 / 6, 2 / 6, 3 / 6, 0]),
        ({"epsilon_cutoff": 0.25}, [0, 0, 3 / 7, 4 / 7]),
        # Surprises 3.3, 2.3, 1.7 and 1.3 bits, 1.85 expected: c is nearest, then b.
        ({"typical_p": 0.4}, [0, 2 / 5, 3 / 5, 0]),
        # Of four characters, all seen after a moment, each log-probability is halved.
        ({"repetition_penalty": 0.5}, np.sqrt([1, 2, 3, 4]) / np.sqrt([1, 2, 3, 4]).sum()),
    ],
)
def test_characters_follow_the_filtered_distribution(options, expected, seed):
    observed = four_letters(seed=seed, **options)
    degrees = np.count_nonzero(expected) - 1
    assert observed.sum() == 2500
    assert chi_square(observed, expected) < CRITICAL[degrees]


def test_goodness_of_fit_notices_a_temperature_that_is_off():
    observed = four_letters(temperature=1.5)
    assert chi_square(observed, [0.1, 0.2, 0.3, 0.4]) > CRITICAL[3]


def test_pairs_follow_a_table_of_pairs():
    """What follows a is drawn from row a: successive draws are independent of each other."""
    tokenizer = CharTokenizer.from_text("ab")
    chances = np.array([[0.0, 0.5, 0.5], [0.0, 0.9, 0.1], [0.0, 0.3, 0.7]])
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(chances), -1e9)
    text = text_of(Table(logits), tokenizer, prime="a", length=6000)
    pairs = counts_of([text[i : i + 2] for i in range(len(text) - 1)], ["aa", "ab", "ba", "bb"])
    assert chi_square(pairs[:2], [0.9, 0.1]) < CRITICAL[1]
    assert chi_square(pairs[2:], [0.3, 0.7]) < CRITICAL[1]


class TestAllowedIds:
    """Which ids may be drawn."""

    def test_neither_unknown_nor_untrained_ids_are_drawn(self):
        """Ids 1 and 3 never occurred; <unk> did, as after dropping rare characters."""
        tokenizer = CharTokenizer(np.array([97, 98, 99, 100]), np.array([9, 0, 5, 0, 5]))
        logits = np.tile([50.0, 40.0, 0.0, 40.0, 0.0], (5, 1))
        model = Table(logits)
        for options in ({"prime": "b"}, {"prime": ""}, {"prime": "b", "temperature": 0.0}):
            assert set(text_of(model, tokenizer, length=300, **options)) <= {"b", "d"}

    @pytest.mark.parametrize("temperature", [1.0, 0.0])
    def test_first_character_without_a_prime_follows_the_training_counts(self, temperature):
        """a 1, b 4, c 7 times; one is added to each, and <unk> is never drawn."""
        tokenizer = CharTokenizer.from_text("a" + "b" * 4 + "c" * 7)
        cfg = config(length=1, num=3000, temperature=temperature)
        texts, _ = run(Table(np.zeros((4, 4))), tokenizer, cfg)
        expected = [0, 0, 1] if temperature == 0 else [2 / 15, 5 / 15, 8 / 15]
        assert chi_square(counts_of(texts, "abc"), expected) < CRITICAL[2]

    def test_text_without_a_prime_starts_from_the_zero_state(self):
        engine = network()
        first, reached = run(engine, LETTERS, config(length=1))
        ids = LETTERS.encode(first[0])
        assert np.array_equal(reached.logits_BV, engine.step(ids, None)[0])


class TestPrime:
    """The prime."""

    def test_prime_is_read_and_not_repeated(self):
        model = Script(LETTERS, "cdefgh")
        assert text_of(model, LETTERS, prime="ab", length=3) == "cde"

    def test_prime_of_the_same_end_gives_the_same_text_only_with_the_same_state(self):
        engine = network()
        assert text_of(engine, LETTERS, prime="ab", length=40) != text_of(
            engine, LETTERS, prime="cb", length=40
        )

    @pytest.mark.parametrize(("unknown", "same_as"), [("skip", "ab"), ("replace", None)])
    def test_unknown_characters_of_the_prime_are_skipped_or_replaced(self, unknown, same_as):
        engine = network()
        text = text_of(engine, LETTERS, prime="aßb", unknown=unknown, length=30)
        if same_as:
            assert text == text_of(engine, LETTERS, prime=same_as, length=30)
        else:
            start = place_after(engine, [1, 0, 2])
            assert text == text_of(engine, LETTERS, start, length=30)

    def test_unknown_character_of_the_prime_is_an_error_that_names_it(self):
        with pytest.raises(TextError, match=r"^--prime: 'ß' \(U\+00DF .* position 2 ") as caught:
            text_of(network(), LETTERS, prime="aßb")
        assert caught.value.exit_code == 3
        assert "--unknown skip" in caught.value.fix

    def test_prime_of_unknown_characters_alone_counts_as_none(self):
        engine = network()
        skipped = text_of(engine, LETTERS, prime="ßß", unknown="skip", length=20)
        assert skipped == text_of(engine, LETTERS, length=20)

    @pytest.mark.parametrize("prime", ["", "abc"])
    def test_length_zero_writes_nothing(self, prime):
        assert text_of(network(), LETTERS, prime=prime, length=0) == ""

    @pytest.mark.parametrize("prime", ["", "abc"])
    def test_length_zero_still_says_where_to_go_on_from(self, prime):
        engine = network()
        _, reached = run(engine, LETTERS, config(prime=prime, length=0))
        expected = text_of(engine, LETTERS, prime=prime, length=20)
        assert text_of(engine, LETTERS, reached, length=20) == expected


LOOKING_BACK = {
    "repetition_penalty": {"repetition_penalty": 1.8},
    "frequency_penalty": {"frequency_penalty": 0.4},
    "presence_penalty": {"presence_penalty": 0.9},
    "no_repeat_ngram": {"no_repeat_ngram": 2},
    "dry": {"dry_multiplier": 2.0, "dry_allowed_length": 1},
    "mirostat": {"mirostat": 1.0, "mirostat_rate": 0.8, "temperature": 2.0},
    "all": {
        "repetition_penalty": 1.2,
        "frequency_penalty": 0.2,
        "no_repeat_ngram": 3,
        "dry_multiplier": 1.0,
        "dry_allowed_length": 2,
        "mirostat": 2.0,
        "bias": ("ab:0.5",),
    },
}


LOST = {
    "state": lambda place: None,
    "logits_BV": lambda place: np.zeros_like(place.logits_BV),
    "position": lambda place: 0,
    "ids_BL": lambda place: np.full_like(place.ids_BL, NOTHING),
    "mu_B": lambda place: None,
}


def written_alone(engine, cfg, row):
    """Row `row` of any batch, by the definitions: its own steps, its own numbers.

    Returns the ids and, for each, how far u was from an edge of the cumulative distribution.
    """
    ids, margins = [], []
    logits, state = engine.read(LETTERS.encode(cfg.prime), 1)
    for u in naive.philox(cfg.seed, row, cfg.length):
        weights = np.exp(logits[0].astype(np.float64) / cfg.temperature)
        weights[0] = 0
        weights[np.argsort(-weights, kind="stable")[cfg.top_k or len(weights) :]] = 0
        edges = np.cumsum(weights) / weights.sum()
        ids.append(int(np.argmax(edges > u)))
        margins.append(np.abs(edges - u).min())
        logits, state = engine.step(np.array(ids[-1:]), state)
    return ids, margins


def assert_rows_equal_alone(engine, texts, cfg, margin):
    """The margin rule: the first difference must lie within margin of an edge."""
    for row, text in enumerate(texts):
        ids, margins = written_alone(engine, cfg, row)
        found = LETTERS.encode(text).tolist()
        assert len(found) == len(ids)
        different = [i for i, (a, b) in enumerate(zip(found, ids, strict=True)) if a != b]
        assert not different or margins[different[0]] <= margin


class TestExactness:
    """Exactness."""

    @pytest.mark.parametrize("cell", CELLS)
    def test_same_seed_same_text_and_hundred_seeds_give_hundred_texts(self, cell):
        engine = network(cell)
        texts = [text_of(engine, LETTERS, seed=seed, length=20) for seed in range(100)]
        assert len(set(texts)) >= 99
        assert texts[:9] == [text_of(engine, LETTERS, seed=seed, length=20) for seed in range(9)]

    @given(short=st.integers(0, 40), more=st.integers(0, 20), seed=st.integers(0, 99))
    def test_shorter_text_is_a_prefix_of_a_longer_one(self, short, more, seed):
        options = {"prime": "ab", "seed": seed}
        first = text_of(network(), LETTERS, length=short, **options)
        second = text_of(network(), LETTERS, length=short + more, **options)
        assert len(first) == short and second.startswith(first)

    @given(
        cuts=st.lists(st.integers(0, 30), min_size=1, max_size=4),
        cell=st.sampled_from(CELLS),
        dtype=st.sampled_from([np.float32, np.float64]),
        stop=st.sampled_from([(), ("hhhhhhhhhhhh",)]),
        num=st.sampled_from([1, 3]),
    )
    def test_continued_text_equals_the_uninterrupted_one(self, cuts, cell, dtype, stop, num):
        engine = network(cell, dtype)
        whole, _ = run(engine, LETTERS, config(prime="ab", length=sum(cuts), num=num, stop=stop))
        joined, start = [""] * num, None
        for number, length in enumerate(cuts):
            options = {"prime": "ab"} if number == 0 else {}
            cfg = config(length=length, num=num, stop=stop, **options)
            texts, start = run(engine, LETTERS, cfg, start)
            joined = [text + more for text, more in zip(joined, texts, strict=True)]
        assert joined == whole

    @given(
        cuts=st.lists(st.integers(0, 30), min_size=1, max_size=4),
        options=st.sampled_from(list(LOOKING_BACK.values())),
        look_back=st.sampled_from([3, 16, 1024]),
        dtype=st.sampled_from([np.float32, np.float64]),
        num=st.sampled_from([1, 3]),
    )
    def test_continued_text_equals_the_uninterrupted_one_with_what_looks_back(
        self, cuts, options, look_back, dtype, num
    ):
        engine = network(dtype=dtype)
        options = {"num": num, "look_back": look_back, "prime": "abcab", **options}
        whole, _ = run(engine, LETTERS, config(length=sum(cuts), **options))
        texts, start = [""] * num, None
        for length in cuts:
            more, start = run(engine, LETTERS, config(length=length, **options), start)
            texts = [text + one for text, one in zip(texts, more, strict=True)]
        assert texts == whole

    @pytest.mark.parametrize(
        ("lost", "options"),
        [("state", {}), ("logits_BV", {}), ("position", {}), ("mu_B", LOOKING_BACK["mirostat"])]
        + [
            ("ids_BL", LOOKING_BACK[name])
            for name in ("repetition_penalty", "frequency_penalty", "no_repeat_ngram", "dry")
        ],
    )
    def test_continuation_that_lost_a_part_is_noticed(self, lost, options):
        engine = network()
        whole = text_of(engine, LETTERS, prime="ab", length=60, **options)
        first, reached = run(engine, LETTERS, config(prime="ab", length=10, **options))
        broken = reached._replace(**{lost: LOST[lost](reached)})
        assert first[0] + text_of(engine, LETTERS, broken, length=50, **options) != whole
        assert first[0] + text_of(engine, LETTERS, reached, length=50, **options) == whole

    def test_every_step_says_where_to_go_on_from(self):
        """Each is a value: later steps leave it as it is."""
        engine, options = network(), {"num": 2, "look_back": 4, **LOOKING_BACK["all"]}
        steps = list(generate(engine, LETTERS, config(prime="ab", length=25, **options)))
        for number, step in enumerate(steps[:-1], 1):
            rest, _ = run(engine, LETTERS, config(length=25 - number, **options), step.continuation)
            assert rest == joined(steps[number:])
            assert step.continuation.position == number

    def test_continuation_keeps_its_own_seed(self):
        engine = network()
        _, reached = run(engine, LETTERS, config(prime="ab", length=10, seed=5))
        rest = text_of(engine, LETTERS, reached, length=30, seed=6)
        assert rest == text_of(engine, LETTERS, prime="ab", length=40, seed=5)[10:]

    @pytest.mark.parametrize("options", [{}, LOOKING_BACK["no_repeat_ngram"]])
    def test_prime_read_after_a_text_goes_on_from_both(self, options):
        engine, cfg = network(), config(length=30, **options)
        texts, reached = run(engine, LETTERS, config(prime="ab", length=10, **options))
        further = read_prime(engine, LETTERS, ["gg"], cfg, reached)
        ids = LETTERS.encode("ab" + texts[0] + "gg")
        expected = run(engine, LETTERS, cfg, place_after(engine, ids, position=10))
        assert run(engine, LETTERS, cfg, further)[0] == expected[0]

    def test_a_prime_in_the_options_is_not_read_again_after_a_text(self):
        engine = network()
        _, reached = run(engine, LETTERS, config(prime="ab", length=10))
        expected = text_of(engine, LETTERS, reached, length=30)
        assert text_of(engine, LETTERS, reached, prime="ab", length=30) == expected

    @pytest.mark.parametrize(("dtype", "margin"), [(np.float64, 0), (np.float32, 1e-5)])
    @pytest.mark.parametrize("cell", CELLS)
    def test_row_of_a_batch_of_eight_equals_the_row_alone(self, cell, dtype, margin):
        engine = network(cell, dtype)
        cfg = config(prime="ab", length=150, num=8, temperature=0.9, top_k=7)
        texts, _ = run(engine, LETTERS, cfg)
        assert len(set(texts)) == 8
        assert_rows_equal_alone(engine, texts, cfg, margin)

    def test_margin_rule_notices_one_generator_for_the_whole_batch(self, monkeypatch):
        shared = uniforms(1, 0, 0)
        monkeypatch.setattr(generator, "uniforms", lambda *_: shared)
        engine, cfg = network(dtype=np.float32), config(prime="ab", length=50, num=8)
        texts, _ = run(engine, LETTERS, cfg)
        with pytest.raises(AssertionError):
            assert_rows_equal_alone(engine, texts, cfg, 1e-5)

    @pytest.mark.parametrize("num", [1, 2, 5])
    def test_rows_do_not_depend_on_the_size_of_the_batch(self, num):
        engine = network()
        wide, _ = run(engine, LETTERS, config(prime="ab", length=80, num=8))
        narrow, _ = run(engine, LETTERS, config(prime="ab", length=80, num=num))
        assert narrow == wide[:num]

    def test_rows_do_not_depend_on_whether_others_stopped(self):
        engine = network()
        free, _ = run(engine, LETTERS, config(prime="ab", length=80, num=8))
        stop = free[3][40:48]
        stopped, _ = run(engine, LETTERS, config(prime="ab", length=80, num=8, stop=(stop,)))
        assert stopped == [text.partition(stop)[0] for text in free]
        assert stopped[3] != free[3] and any(len(text) == 80 for text in stopped)

    @pytest.mark.parametrize("rows", [range(0, 1), range(3, 4), range(2, 7), range(1000, 1002)])
    def test_rows_are_numbered_as_one_wishes(self, rows):
        """Row 3 of a batch is what a batch of row 3 alone writes."""
        engine, cfg = network(), config(prime="ab", length=40, num=len(rows))
        texts, _ = run(engine, LETTERS, cfg, rows=rows)
        for text, row in zip(texts, rows, strict=True):
            ids, _ = written_alone(engine, cfg, row)
            assert text == LETTERS.decode(ids)


RAGGED = ["ab", "hgfedcba", "", "ab", "c"]


class TestSeveralPrimes:
    """Several primes at once."""

    @pytest.mark.parametrize("cell", [*CELLS, "mixture"])
    def test_texts_of_primes_of_different_lengths_are_those_of_each_prime_alone(self, cell):
        model = mixture() if cell == "mixture" else network(cell)
        cfg = config(length=60, **LOOKING_BACK["all"])
        together, _ = run(model, LETTERS, cfg, begin(model, LETTERS, RAGGED, cfg))
        for row, prime in enumerate(RAGGED):
            start = begin(model, LETTERS, [prime], cfg)
            alone, _ = run(model, LETTERS, cfg, start, range(row, row + 1))
            assert together[row] == alone[0], row
        assert len(set(together)) == len(RAGGED)

    def test_texts_of_one_prime_are_read_once(self):
        """One text of a thousand characters costs a thousand steps, whatever the number of rows."""
        engine, read = copy.copy(network()), []
        original = engine.read
        engine.read = lambda ids, rows, state: (
            read.append((len(ids), rows)) or original(ids, rows, state)
        )
        run(engine, LETTERS, config(prime="abc", num=5, length=3))
        begin(engine, LETTERS, RAGGED, config())
        assert read == [(3, 1), (2, 1), (8, 1), (1, 1)]


class TestPrimeInPieces:
    """A prime in pieces."""

    @given(
        text=st.text("abcdefgh", max_size=20),
        cuts=st.lists(st.integers(0, 20), max_size=4),
        start=st.sampled_from(["", "hg"]),
        cell=st.sampled_from([*CELLS, "mixture"]),
        look_back=st.sampled_from([1, 3, 64]),
    )
    def test_prime_in_pieces_is_the_prime_at_once(self, text, cuts, start, cell, look_back):
        model = mixture() if cell == "mixture" else network(cell)
        cfg, ends = config(look_back=look_back), sorted({0, len(text), *cuts})
        pieces = [text[one:two] for one, two in itertools.pairwise(ends)]
        place = read_prime(model, LETTERS, [start], cfg) if start else None
        found = read_prime(model, LETTERS, iter(pieces), cfg, place)
        if not start + text:
            assert found.state is None
            return
        whole = read_prime(model, LETTERS, [start + text], cfg)
        assert_same_place(found, whole)
        latest = (start + text)[-look_back:]
        expected = [NOTHING] * (look_back - len(latest)) + LETTERS.encode(latest).tolist()
        assert found.ids_BL.tolist() == [expected]

    def test_a_prime_read_after_several_texts_is_read_after_each(self):
        engine, cfg = network(), config(num=3, length=15, prime="ab")
        texts, reached = run(engine, LETTERS, cfg)
        further = read_prime(engine, LETTERS, ["ef", "g"], cfg, reached)
        assert further.logits_BV.shape == (3, LETTERS.size)
        for row, text in enumerate(texts):
            alone = read_prime(engine, LETTERS, ["ab" + text + "efg"], cfg)
            np.testing.assert_allclose(
                further.logits_BV[row], alone.logits_BV[0], rtol=0, atol=1e-12
            )
            assert np.array_equal(further.ids_BL[row], alone.ids_BL[0])

    def test_unknown_characters_in_any_piece_follow_the_policy(self):
        engine = network()
        skipped = read_prime(engine, LETTERS, ["a", "ß", "bßc"], config(unknown="skip"))
        assert_same_place(skipped, read_prime(engine, LETTERS, ["abc"], config()))
        replaced = read_prime(
            engine, LETTERS, ["a", "ß", "b"], config(unknown="replace", look_back=3)
        )
        assert_same_place(replaced, place_after(engine, [1, 0, 2]))
        with pytest.raises(TextError, match="'ß'"):
            read_prime(engine, LETTERS, ["a", "ß"], config())


def costs_by_the_equations(model_sizes, weights, ids, first):
    """Log-probabilities of ids: the first from the counts, the rest from the naive network."""
    logits, _ = naive.network(model_sizes, weights, ids[:-1])
    rest = [-naive.nats(y, target) for y, target in zip(logits, ids[1:], strict=True)]
    return np.array([first[ids[0]], *rest])


class TestLogProbs:
    """What each character costs."""

    @pytest.mark.parametrize("prime", ["", "ab", "hgfedc"])
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"temperature": 0.3},
            {"top_k": 2},
            {"ban": "ab", "bias": ("h:3",)},
            LOOKING_BACK["all"],
        ],
        ids=str,
    )
    def test_log_probs_are_the_model_s_own_whatever_the_filters(self, prime, options):
        sizes, engine = sizes_of("gru"), network()
        steps = list(generate(engine, LETTERS, config(prime=prime, length=40, **options)))
        found = np.array([step.log_probs_B[0] for step in steps])
        ids = LETTERS.encode(prime + joined(steps)[0]).astype(int)
        first = np.log(
            (LETTERS.counts.astype(float) + 1) / (LETTERS.counts.astype(float) + 1).sum()
        )
        weights = naive.random_weights(sizes, 0, scale=0.8)
        expected = costs_by_the_equations(sizes, weights, ids, first)[len(prime) :]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
        scored = -protocols.stateful(engine, ids, LETTERS.counts)[len(prime) :]
        np.testing.assert_allclose(found, scored, rtol=0, atol=1e-10)

    def test_log_probs_of_a_batch_are_those_of_each_row(self):
        engine, cfg = network(), config(length=30, num=4, prime="ab")
        steps = list(generate(engine, LETTERS, cfg))
        found_BT = np.array([step.log_probs_B for step in steps]).T
        for text, found in zip(joined(steps), found_BT, strict=True):
            scored = -protocols.stateful(engine, LETTERS.encode("ab" + text), LETTERS.counts)[2:]
            np.testing.assert_allclose(found, scored, rtol=0, atol=1e-10)


def scripted(text, length, *stops):
    """The pieces of a text written one character at a time, with stop texts."""
    cfg = config(prime="a", length=length, stop=stops)
    return [step.pieces[0] for step in generate(Script(LETTERS, text), LETTERS, cfg)]


def cut(text, stops):
    """Read until the first stop text is complete; keep what stands before the earliest."""
    for end in range(len(text) + 1):
        found = [text[:end].find(stop) for stop in stops if stop in text[:end]]
        if found:
            return text[: min(found)]
    return text


class TestStopTexts:
    """Stop texts."""

    @pytest.mark.parametrize(
        ("text", "stops", "expected"),
        [
            ("abcdef", ("d",), "abc"),
            ("abcdef", ("cd",), "ab"),
            ("abcdef", ("ab",), ""),
            ("abcdef", ("a",), ""),
            ("abcdef", ("f",), "abcde"),
            ("abcdef", ("efg",), "abcdef"),
            ("abcdef", ("abcdefgh",), "abcdef"),
            ("abcdef", ("h",), "abcdef"),
            ("ababac", ("abac",), "ab"),
            ("aaaab", ("aab",), "aa"),
            ("abcdef", ("cde", "bc"), "a"),
            ("abcdef", ("bcd", "cd"), "a"),
            ("abcdef", ("abcde", "c"), "ab"),
            ("abcdef", ("def", "de"), "abc"),
            ("abcdef", ("bx", "cy"), None),
        ],
    )
    def test_text_ends_before_the_stop_text(self, text, stops, expected):
        if expected is None:
            stops, expected = ("bg", "cg"), text
        assert "".join(scripted(text, len(text), *stops)) == expected

    @given(
        text=st.text("abc", min_size=1, max_size=30),
        stops=st.lists(st.text("abc", min_size=1, max_size=5), max_size=3),
    )
    def test_pieces_join_to_the_text_before_the_first_complete_stop(self, text, stops):
        assert "".join(scripted(text, len(text), *stops)) == cut(text, stops)

    @given(
        text=st.text("ab", max_size=30),
        stops=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
        sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    )
    def test_stop_filter_never_takes_back_what_it_passed(self, text, stops, sizes):
        """However the text is cut into pieces, what was passed is a prefix of what is right."""
        ending, passed, rest = StopMatcher(config(stop=tuple(stops))), "", text
        for number in range(len(text)):
            size = sizes[number % len(sizes)]
            passed += ending.feed(rest[:size])
            rest = rest[size:]
            assert text.startswith(passed)
            assert not any(stop in passed for stop in stops)
        passed += ending.flush()
        if not any(stop in text for stop in stops):
            assert passed == text and ending.reason is None
        else:
            assert ending.reason == "stop"

    def test_text_is_not_held_back_longer_than_needed(self):
        assert scripted("abcdef", 6, "dh") == ["a", "b", "c", "", "de", "f"]

    def test_stopping_ends_the_generation_at_once(self):
        assert len(scripted("abcdef", 6, "cd")) == 4

    def test_row_that_stopped_is_silent_while_the_others_write_on(self):
        model = Script(LETTERS, "abcabc", "hhhhhh")
        cfg = config(length=6, stop=("c",))
        start = begin(model, LETTERS, ["a", "b"], cfg)
        pieces = [step.pieces for step in generate(model, LETTERS, cfg, start)]
        assert [first for first, _ in pieces] == ["a", "b", "", "", "", ""]
        assert "".join(second for _, second in pieces) == "hhhhhh"

    def test_stop_text_with_characters_the_model_lacks_never_stops(self):
        assert "".join(scripted("abcdef", 6, "ß", "cß")) == "abcdef"


PUNCTUATED = CharTokenizer.from_text('ab. \n"')


class TestEnds:
    """Why texts end."""

    @pytest.mark.parametrize(
        ("written", "options", "text", "reason"),
        [
            ("abab", {}, "abab", "length"),
            ("abab", {"stop": ("bb",)}, "abab", "length"),
            ("abab", {"stop": ("ba",)}, "a", "stop"),
            ("ab. a", {"until": "sentence"}, "ab.", "sentence"),
            ('ab." a', {"until": "sentence"}, 'ab."', "sentence"),
            ("\n\nab\na", {"until": "line"}, "\n\nab", "line"),
            ("ab\na\n\nb", {"until": "paragraph"}, "ab\na", "paragraph"),
            ("a\nb\na", {"lines": 2}, "a\nb", "lines"),
            ("a\nb\na", {"lines": 3}, "a\nb\na", "length"),
            ("ab. a", {"until": "sentence", "stop": (".",)}, "ab", "stop"),
            # The end that comes with the last character still counts as one.
            ("abab", {"length": 3, "stop": ("ba",)}, "a", "stop"),
            ("abab", {"length": 2, "stop": ("ba",)}, "ab", "length"),
        ],
    )
    def test_a_text_ends_for_a_reason(self, written, options, text, reason):
        cfg = config(**{"prime": "a", "length": len(written), **options})
        model = Script(PUNCTUATED, *[written] * 5)  # "a" is the fifth of the characters
        steps = list(generate(model, PUNCTUATED, cfg))
        assert joined(steps) == [text]
        assert [step.ends for step in steps] == [[None]] * (len(steps) - 1) + [[reason]]

    def test_a_reason_stays_and_the_last_row_ends_the_steps(self):
        model, cfg = Script(LETTERS, "abcabcabc", "hhhhgh"), config(length=9, stop=("c", "g"))
        start = begin(model, LETTERS, ["a", "b"], cfg)
        steps = list(generate(model, LETTERS, cfg, start))
        assert [step.ends[0] for step in steps] == [None, None, "stop", "stop", "stop"]
        assert [step.ends[1] for step in steps] == [None, None, None, None, "stop"]

    def test_of_rows_that_go_on_only_the_length_ends_them(self):
        steps = list(generate(network(), LETTERS, config(length=12, num=3)))
        assert [step.ends for step in steps] == [[None] * 3] * 11 + [["length"] * 3]

    def test_length_zero_is_one_step_that_ends_at_once(self):
        (step,) = generate(network(), LETTERS, config(length=0, num=2, prime="ab"))
        assert (step.pieces, step.ends) == (["", ""], ["length", "length"])
        assert step.log_probs_B.shape == (2,)


class TestBansAndBiases:
    """Which characters."""

    @pytest.mark.parametrize(
        ("options", "allowed"),
        [
            ({"ban": "a-c"}, "defgh"),
            ({"ban": "h"}, "abcdefg"),
            ({"only": "bd-f"}, "bdef"),
            ({"only": "a-e", "ban": "b-d"}, "ae"),
            ({"only": "xyza-b"}, "ab"),
            ({"ban": "\U0001f600-\U0001f64fa"}, "bcdefgh"),
            ({"ban": "a-g", "bias": ("a-g:90",)}, "h"),
        ],
    )
    def test_what_is_banned_is_never_written_and_the_rest_is(self, options, allowed):
        text = text_of(network(), LETTERS, length=400, temperature=1.5, **options)
        assert set(text) == set(allowed)

    def test_a_ban_leaves_the_prime_alone(self):
        assert "a" not in text_of(network(), LETTERS, prime="aaa", ban="a", length=50)

    def test_bias_of_hundreds_decides_and_a_later_one_wins(self):
        assert text_of(network(), LETTERS, bias=("c:500",), length=5) == "ccccc"
        assert text_of(network(), LETTERS, bias=("a-h:500", "a-g:0"), length=5) == "hhhhh"

    @pytest.mark.parametrize(
        ("options", "option"),
        [({"ban": "a-h"}, "--ban"), ({"only": "xyz"}, "--only"), ({"only": "ab", "ban": "ab"}, "")],
    )
    def test_nothing_left_to_write_is_an_error_before_a_character(self, options, option):
        with pytest.raises(
            UsageError, match=f"^--.*none of the model's {LETTERS.size - 1}"
        ) as caught:
            next(generate(network(), LETTERS, config(**options)))
        assert caught.value.exit_code == 2
        assert caught.value.subject.startswith(option)


def scheduled(engine, cfg, temperatures):
    """A text whose characters are drawn at the given temperatures, by the definitions."""
    text, (logits, state) = "", engine.read(LETTERS.encode(cfg.prime), 1)
    u_N = naive.philox(cfg.seed, 0, len(temperatures))
    for u, temperature in zip(u_N, temperatures, strict=True):
        scores = logits[0, 1:]
        if temperature == 0:
            one = int(scores.argmax()) + 1
        else:
            weights = np.exp((scores - scores.max()) / temperature)
            one = int(np.argmax(np.cumsum(weights) > u * weights.sum())) + 1
        text += LETTERS.decode([one])
        logits, state = engine.step(np.array([one]), state)
    return text


class TestTemperatureSchedule:
    """Temperature from first to last."""

    @pytest.mark.parametrize("length", [1, 2, 5, 41])
    @pytest.mark.parametrize(("first", "last"), [(0.2, 2.0), (2.0, 0.0), (0.0, 1.0), (1.3, 1.3)])
    def test_temperature_goes_on_a_straight_line_from_first_to_last(self, first, last, length):
        engine = network()
        steps = max(1, length - 1)
        temperatures = [first + (last - first) * number / steps for number in range(length)]
        for seed in range(3 if length > 5 else 40):
            cfg = config(prime="ab", length=length, temperature=(first, last), seed=seed)
            assert run(engine, LETTERS, cfg)[0] == [scheduled(engine, cfg, temperatures)]


CHANCES = 1 / np.arange(1, 27) ** 1.2


CHANCES /= CHANCES.sum()


ALPHABET = CharTokenizer.from_text("abcdefghijklmnopqrstuvwxyz")


def surprises(target, rate, length, seed):
    """The text that mirostat 2 draws from CHANCES, and the surprise of each character in bits."""
    text, found, mu = "", [], 2 * target
    for u in naive.philox(seed, 0, length):
        kept = np.where(-np.log2(CHANCES) <= max(mu, -np.log2(CHANCES[0])), CHANCES, 0)
        kept = kept / kept.sum()
        one = int(np.argmax(np.cumsum(kept) > u))
        text += ALPHABET.alphabet[one]
        found.append(-np.log2(kept[one]))
        mu -= rate * (found[-1] - target)
    return text, np.array(found)


class TestMirostat:
    """Mirostat, against its description in a few lines."""

    @pytest.mark.parametrize(("target", "rate"), [(1.0, 0.1), (2.0, 0.1), (3.0, 0.1), (2.0, 0.5)])
    def test_mirostat_brings_the_mean_surprise_to_its_target(self, target, rate):
        model = Table(np.tile(np.log([1e-9, *CHANCES]), (27, 1)))
        options = {"mirostat": target, "mirostat_rate": rate, "length": 1500, "seed": 4}
        text, expected = surprises(target, rate, 1500, 4)
        assert text_of(model, ALPHABET, prime="a", **options) == text
        assert expected[500:].mean() == pytest.approx(target, abs=0.05)

    def test_without_mirostat_the_mean_surprise_is_the_entropy(self):
        text = text_of(Table(np.tile(np.log([1e-9, *CHANCES]), (27, 1))), ALPHABET, length=1500)
        mean = -np.log2(CHANCES)[ALPHABET.encode(text).astype(int) - 1].mean()
        assert mean == pytest.approx(-(CHANCES * np.log2(CHANCES)).sum(), abs=0.2)
        assert abs(mean - 3) > 0.5

    def test_each_row_has_its_own_limit_of_surprise(self):
        model = Table(np.tile(np.log([1e-9, *CHANCES]), (27, 1)))
        cfg = config(prime="a", mirostat=2.0, length=100, num=3)
        texts, reached = run(model, ALPHABET, cfg)
        alone = [run(model, ALPHABET, cfg, begin(model, ALPHABET, ["a"], cfg), range(i, i + 1))
                 for i in range(3)]  # fmt: skip
        assert texts == [found[0] for found, _ in alone]
        assert reached.mu_B.tolist() == [place.mu_B[0] for _, place in alone]
        assert len(set(reached.mu_B)) == 3


def spans(text, length):
    return [text[i : i + length] for i in range(len(text) - length + 1)]


class TestLookBack:
    """Looking back."""

    @pytest.mark.parametrize("size", [2, 3])
    def test_no_span_stands_twice_in_prime_and_text(self, size):
        prime = "abcdabd" if size == 3 else "abch"
        text = prime + text_of(network(), LETTERS, prime=prime, length=40, no_repeat_ngram=size)
        assert len(set(spans(text, size))) == len(text) - size + 1

    def test_without_the_rule_spans_stand_twice(self):
        text = "abch" + text_of(network(), LETTERS, prime="abch", length=40)
        assert len(set(spans(text, 2))) < len(text) - 1

    def test_what_lies_before_the_look_back_is_forgotten(self):
        text = "a" + text_of(
            network(), LETTERS, prime="a", length=60, no_repeat_ngram=1, look_back=3
        )
        assert all(len(set(part)) == 4 for part in spans(text, 4))
        assert len(set(text)) == 8

    def test_frequency_penalty_evens_the_letters_out(self):
        """A hundred nats for each time: all letters come equally often, in rounds of eight."""
        text = text_of(network(), LETTERS, length=64, frequency_penalty=100.0)
        assert [sorted(text[i : i + 8]) for i in range(0, 64, 8)] == [sorted("abcdefgh")] * 8

    def test_repetition_penalty_avoids_what_was_written_lately(self):
        free = text_of(network(), LETTERS, prime="ab", length=300)
        text = text_of(
            network(), LETTERS, prime="ab", length=300, repetition_penalty=4.0, look_back=2
        )
        twice = [sum(a == b for a, b in itertools.pairwise(one)) for one in (free, text)]
        assert twice[1] < twice[0] / 3

    def test_dry_breaks_a_loop(self):
        loop = text_of(network(seed=3), LETTERS, prime="ab", length=200, temperature=0.0)
        options = {"dry_multiplier": 5.0, "dry_allowed_length": 4}
        text = text_of(network(seed=3), LETTERS, prime="ab", length=200, temperature=0.0, **options)
        assert len(set(spans(loop, 8))) < 60 < len(set(spans(text, 8)))


class TestTorch:
    """The same text from torch."""

    @pytest.mark.parametrize("cell", CELLS)
    def test_numpy_and_torch_write_the_same_in_double_precision(self, cell):
        weights = naive.random_weights(sizes_of(cell), 0, scale=0.8)
        torch_network = CharRNN(sizes_of(cell)).double()
        torch_network.load(weights)
        cfg = config(length=80, temperature=0.9, top_p=0.95, **LOOKING_BACK["dry"])
        found = []
        for model in (Engine(sizes_of(cell), weights), TorchStepper(torch_network)):
            steps = list(generate(model, LETTERS, cfg, begin(model, LETTERS, RAGGED, cfg)))
            found.append((joined(steps), np.array([step.log_probs_B for step in steps])))
        assert found[0][0] == found[1][0]
        np.testing.assert_allclose(found[0][1], found[1][1], rtol=0, atol=1e-10)
        assert torch_network.head.weight.dtype == torch.float64


def held(steps, keep=None):
    """Bytes of what the last tenth of so many steps of 20 rows made and did not give back."""
    model = Table(np.random.default_rng(0).normal(size=(LETTERS.size,) * 2))
    options = {"repetition_penalty": 1.1, "mirostat": 2.0, "stop": ("hhhhhhh",), "look_back": 50}
    for number, step in enumerate(
        generate(model, LETTERS, config(prime="a", num=20, length=steps, **options))
    ):
        if number == steps * 9 // 10:
            tracemalloc.start()
        if keep is not None:
            keep.append(step.continuation)
    bytes_held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return bytes_held


class TestLongTexts:
    """Long texts."""

    @pytest.mark.slow
    def test_hundred_thousand_characters_take_constant_memory(self):
        assert held(5_000) < 40_000


class Breaking(Script):
    """Writes its script, but from `at` on one score is not a number."""

    def __init__(self, text, at, value):
        super().__init__(LETTERS, text)
        self.at, self.value = at, value

    def logits(self, text_B, place_B):
        logits_BV = super().logits(text_B, place_B)
        logits_BV[place_B >= self.at, 0] = self.value
        return logits_BV


class TestBrokenModels:
    """Broken models."""

    @pytest.mark.parametrize("scale", [1e-300, 1e100, 1e160, 1e300])
    def test_finite_scores_of_any_size_are_drawn_from(self, scale):
        model = Table(scale * np.arange(LETTERS.size**2).reshape(LETTERS.size, -1))
        text = text_of(model, LETTERS, prime="a", length=20, seed=1)
        assert len(text) == 20
        assert scale < 1 or text == "h" * 20

    def test_no_rows_write_nothing(self):
        place = begin(network(), LETTERS, ["ab"], config()).take([])
        (step,) = generate(network(), LETTERS, config(length=9), place)
        assert (step.pieces, step.ends) == ([], [])

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("at", [0, 3])
    def test_scores_that_are_not_finite_raise_before_a_character_is_drawn(self, at, value):
        written = []
        with pytest.raises(NumericsError, match="not finite") as caught:
            for step in generate(Breaking("abcdef", at, value), LETTERS, config(prime="a")):
                written += step.pieces
        assert caught.value.exit_code == 7
        assert "".join(written) == "abcdef"[:at]

    def test_network_whose_scores_overflow_raises_the_same_without_a_warning(self):
        sizes = ModelConfig(vocab=LETTERS.size, cell="rnn", hidden=4, embedding=2)
        weights = {name: np.zeros(shape, np.float32) for name, shape in sizes.shapes().items()}
        weights["layers.0.bias_ih_l0"][:] = 9  # h is nearly 1 in all units
        weights["head.weight"][:] = 3e38  # and four times that is out of float32's range
        with pytest.raises(NumericsError):
            text_of(Engine(sizes, weights), LETTERS, prime="abc", length=5)
