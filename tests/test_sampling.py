"""The draw and the generator: closed forms on tiny models, exactness on small networks."""

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen import sampling
from textgen.config import CELLS, ModelConfig, SampleConfig
from textgen.engine import Engine
from textgen.errors import NumericsError, TextError
from textgen.filters import apply_filters
from textgen.sampling import Continuation, StopFilter, draw, generate, uniforms
from textgen.tokenizer import CharTokenizer

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
    """A model that writes the given texts, one a row; then their last character again and again."""

    def __init__(self, tokenizer, *texts):
        self.ids = [tokenizer.encode(text) for text in texts]
        self.vocab = tokenizer.size

    def logits(self, position):
        logits_BV = np.full((len(self.ids), self.vocab), -1e9)
        for b, ids in enumerate(self.ids):
            logits_BV[b, ids[min(position, len(ids) - 1)]] = 0
        return logits_BV

    def step(self, ids_B, state):
        return self.logits(state + 1), state + 1

    def read(self, ids, rows, state):
        return self.logits(0), 0


def config(**options):
    return SampleConfig(**{"temperature": 1.0, "seed": 1, **options})


def run(model, tokenizer, cfg, start=None):
    """The texts of all rows, and where they stopped."""
    steps = list(generate(model, tokenizer, cfg, start))
    rows = zip(*(pieces for pieces, _ in steps), strict=True)
    return ["".join(pieces) for pieces in rows], steps[-1][1]


def text_of(model, tokenizer, start=None, **options):
    return run(model, tokenizer, config(**options), start)[0][0]


def network(cell="gru", dtype=np.float64, layers=2, seed=0, tokenizer=LETTERS):
    sizes = ModelConfig(vocab=tokenizer.size, cell=cell, layers=layers, hidden=8, embedding=4)
    weights = naive.random_weights(sizes, seed, scale=0.8)
    return Engine(sizes, {name: array.astype(dtype) for name, array in weights.items()})


def philox(seed, row, count):
    """The definition: the upper 53 bits of each raw number, as a fraction."""
    key = np.array([seed, row], dtype=np.uint64)
    return [
        int(raw >> np.uint64(11)) / 2**53 for raw in np.random.Philox(key=key).random_raw(count)
    ]


# Uniform numbers


@given(
    seed=st.integers(0, 2**63),
    row=st.integers(0, 65535),
    position=st.integers(0, 1100),
    count=st.integers(1, 600),
)
def test_uniforms_are_those_of_the_definition_from_any_position(seed, row, position, count):
    found = uniforms(seed, row, position)
    expected = philox(seed, row, position + count)[position:]
    assert [next(found) for _ in range(count)] == expected


def test_uniforms_of_rows_and_seeds_differ():
    firsts = {next(uniforms(seed, row, 0)) for seed in range(20) for row in range(20)}
    assert len(firsts) == 400


# The draw


@given(
    weights=st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(any),
    u=st.floats(0, 1, exclude_max=True),
)
def test_draw_is_the_first_id_whose_cumulative_probability_exceeds_u(weights, u):
    total = sum(weights)
    edges = np.cumsum(weights) / total
    if np.abs(edges - u).min() < 1e-9 and u > 0:
        return
    with np.errstate(divide="ignore"):
        drawn = draw(np.log(weights), u)
    assert drawn == next(i for i, edge in enumerate(edges) if edge > u)


@given(
    weights=st.lists(
        st.sampled_from([0.0, 1e-300, 1e-17, 0.1, 1.0, 1 / 3]), min_size=1, max_size=9
    ).filter(any),
    u=st.sampled_from([0.0, 5e-324, 2.0**-53, 0.5, 1 - 2.0**-52, 1 - 2.0**-53]),
)
def test_ends_of_the_unit_interval_never_draw_probability_zero(weights, u):
    with np.errstate(divide="ignore"):
        drawn = draw(np.log(weights), u)
    assert weights[drawn] > 0


def test_sum_that_rounding_leaves_below_one_does_not_draw_what_underflowed():
    """Ten tenths sum to 1 - 2^-53, the largest u there is; the eleventh has probability zero."""
    assert np.cumsum(np.full(10, 0.1))[-1] == 1 - 2.0**-53
    assert draw(np.array([0.0] * 10 + [-2000.0]), 1 - 2.0**-53) == 9


def test_many_draws_never_hit_probability_zero():
    rng = np.random.default_rng(0)
    zero = np.arange(300) % 3 != 1
    logits = np.where(zero, -np.inf, rng.normal(0, 5, 300))
    found = {draw(logits, u) for u in rng.random(20_000)}
    assert not any(zero[drawn] for drawn in found)
    assert len(found) > 20


@pytest.mark.parametrize(
    ("u", "expected"), [(0, 1), (0.09, 1), (0.11, 3), (0.39, 3), (0.41, 4), (0.99, 4)]
)
def test_draw_by_hand(u, expected):
    assert draw(np.array([-np.inf, *np.log([0.1, 1e-300, 0.3, 0.6])]), u) == expected


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
    text = text_of(Table(np.tile(row, (5, 1))), tokenizer, prime="a", length=2500, **options)
    return counts_of(text, "abcd")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.1, 0.2, 0.3, 0.4]),
        ({"top_k": 2}, [0, 0, 3 / 7, 4 / 7]),
        ({"top_p": 0.8}, [0, 2 / 9, 3 / 9, 4 / 9]),
        ({"temperature": 0.5}, [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
        ({"temperature": 1e300}, [0.25, 0.25, 0.25, 0.25]),
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


# Which ids may be drawn


def test_neither_unknown_nor_untrained_ids_are_drawn():
    """Ids 1 and 3 never occurred; <unk> did, as after dropping rare characters."""
    tokenizer = CharTokenizer(np.array([97, 98, 99, 100]), np.array([9, 0, 5, 0, 5]))
    logits = np.tile([50.0, 40.0, 0.0, 40.0, 0.0], (5, 1))
    model = Table(logits)
    for options in ({"prime": "b"}, {"prime": ""}, {"prime": "b", "temperature": 0.0}):
        assert set(text_of(model, tokenizer, length=300, **options)) <= {"b", "d"}


def test_draw_of_an_untrained_id_would_be_noticed():
    tokenizer = CharTokenizer(np.array([97, 98]), np.array([0, 1, 1]))
    text = text_of(Table(np.tile([0.0, 40.0, 0.0], (3, 1))), tokenizer, prime="b", length=50)
    assert "a" in text


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_first_character_without_a_prime_follows_the_training_counts(temperature):
    """a 1, b 4, c 7 times; one is added to each, and <unk> is never drawn."""
    tokenizer = CharTokenizer.from_text("a" + "b" * 4 + "c" * 7)
    cfg = config(length=1, num=3000, temperature=temperature)
    texts, _ = run(Table(np.zeros((4, 4))), tokenizer, cfg)
    expected = [0, 0, 1] if temperature == 0 else [2 / 15, 5 / 15, 8 / 15]
    assert chi_square(counts_of(texts, "abc"), expected) < CRITICAL[2]


def test_text_without_a_prime_starts_from_the_zero_state():
    engine = network()
    first, reached = run(engine, LETTERS, config(length=1))
    ids = LETTERS.encode(first[0])
    assert np.array_equal(reached.logits_BV, engine.step(ids, None)[0])


# The prime


def test_prime_is_read_and_not_repeated():
    model = Script(LETTERS, "cdefgh")
    assert text_of(model, LETTERS, prime="ab", length=3) == "cde"


def test_prime_of_the_same_end_gives_the_same_text_only_with_the_same_state():
    engine = network()
    assert text_of(engine, LETTERS, prime="ab", length=40) != text_of(
        engine, LETTERS, prime="cb", length=40
    )


@pytest.mark.parametrize(("unknown", "same_as"), [("skip", "ab"), ("replace", None)])
def test_unknown_characters_of_the_prime_are_skipped_or_replaced(unknown, same_as):
    engine = network()
    text = text_of(engine, LETTERS, prime="aßb", unknown=unknown, length=30)
    if same_as:
        assert text == text_of(engine, LETTERS, prime=same_as, length=30)
    else:
        logits_BV, _ = engine.read(np.array([1, 0, 2]), 1)
        start = Continuation(engine.read(np.array([1, 0, 2]), 1)[1], logits_BV, 0, 1)
        assert text == text_of(engine, LETTERS, start, length=30)


def test_unknown_character_of_the_prime_is_an_error_that_names_it():
    with pytest.raises(TextError, match=r"^--prime: 'ß' \(U\+00DF .* position 2 ") as caught:
        text_of(network(), LETTERS, prime="aßb")
    assert caught.value.exit_code == 3
    assert "--unknown skip" in caught.value.fix


def test_prime_of_unknown_characters_alone_counts_as_none():
    engine = network()
    skipped = text_of(engine, LETTERS, prime="ßß", unknown="skip", length=20)
    assert skipped == text_of(engine, LETTERS, length=20)


@pytest.mark.parametrize("prime", ["", "abc"])
def test_length_zero_writes_nothing(prime):
    assert text_of(network(), LETTERS, prime=prime, length=0) == ""


@pytest.mark.parametrize("prime", ["", "abc"])
def test_length_zero_still_says_where_to_go_on_from(prime):
    engine = network()
    _, reached = run(engine, LETTERS, config(prime=prime, length=0))
    expected = text_of(engine, LETTERS, prime=prime, length=20)
    assert text_of(engine, LETTERS, reached, length=20) == expected


# Exactness


@pytest.mark.parametrize("cell", CELLS)
def test_same_seed_same_text_and_hundred_seeds_give_hundred_texts(cell):
    engine = network(cell)
    texts = [text_of(engine, LETTERS, seed=seed, length=20) for seed in range(100)]
    assert len(set(texts)) >= 99
    assert texts[:9] == [text_of(engine, LETTERS, seed=seed, length=20) for seed in range(9)]


@given(short=st.integers(0, 40), more=st.integers(0, 20), seed=st.integers(0, 99))
def test_shorter_text_is_a_prefix_of_a_longer_one(short, more, seed):
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
def test_continued_text_equals_the_uninterrupted_one(cuts, cell, dtype, stop, num):
    engine = network(cell, dtype)
    whole, _ = run(engine, LETTERS, config(prime="ab", length=sum(cuts), num=num, stop=stop))
    joined, start = [""] * num, None
    for number, length in enumerate(cuts):
        options = {"prime": "ab"} if number == 0 else {}
        cfg = config(length=length, num=num, stop=stop, **options)
        texts, start = run(engine, LETTERS, cfg, start)
        joined = [text + more for text, more in zip(joined, texts, strict=True)]
    assert joined == whole


@pytest.mark.parametrize("lost", ["state", "logits_BV", "position"])
def test_continuation_that_lost_a_part_is_noticed(lost):
    engine = network()
    whole = text_of(engine, LETTERS, prime="ab", length=60)
    first, reached = run(engine, LETTERS, config(prime="ab", length=10))
    values = {**vars(reached), lost: 0 if lost == "position" else None}
    if lost == "logits_BV":
        values[lost] = np.zeros_like(reached.logits_BV)
    rest = text_of(engine, LETTERS, Continuation(**values), length=50)
    assert first[0] + rest != whole


def test_continuation_keeps_its_own_seed():
    engine = network()
    _, reached = run(engine, LETTERS, config(prime="ab", length=10, seed=5))
    rest = text_of(engine, LETTERS, reached, length=30, seed=6)
    assert rest == text_of(engine, LETTERS, prime="ab", length=40, seed=5)[10:]


def test_continuation_with_a_prime_reads_it_after_the_text():
    engine = network()
    texts, reached = run(engine, LETTERS, config(prime="ab", length=10))
    logits_BV, state = engine.read(LETTERS.encode("ab" + texts[0] + "gg"), 1)
    expected = text_of(engine, LETTERS, Continuation(state, logits_BV, 10, 1), length=30)
    assert text_of(engine, LETTERS, reached, prime="gg", length=30) == expected


def written_alone(engine, cfg, row):
    """Row `row` of any batch, by the definitions: its own steps, its own numbers.

    Returns the ids and, for each, how far u was from an edge of the cumulative distribution.
    """
    ids, margins = [], []
    logits, state = engine.read(LETTERS.encode(cfg.prime), 1)
    for u in philox(cfg.seed, row, cfg.length):
        allowed = logits[0].astype(np.float64)
        allowed[0] = -np.inf
        weights = np.exp(apply_filters(allowed, cfg))
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


@pytest.mark.parametrize(("dtype", "margin"), [(np.float64, 0), (np.float32, 1e-5)])
@pytest.mark.parametrize("cell", CELLS)
def test_row_of_a_batch_of_eight_equals_the_row_alone(cell, dtype, margin):
    engine = network(cell, dtype)
    cfg = config(prime="ab", length=150, num=8, temperature=0.9, top_k=7)
    texts, _ = run(engine, LETTERS, cfg)
    assert len(set(texts)) == 8
    assert_rows_equal_alone(engine, texts, cfg, margin)


def test_margin_rule_notices_one_generator_for_the_whole_batch(monkeypatch):
    shared = uniforms(1, 0, 0)
    monkeypatch.setattr(sampling, "uniforms", lambda *_: shared)
    engine, cfg = network(dtype=np.float32), config(prime="ab", length=50, num=8)
    texts, _ = run(engine, LETTERS, cfg)
    with pytest.raises(AssertionError):
        assert_rows_equal_alone(engine, texts, cfg, 1e-5)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_rows_do_not_depend_on_the_size_of_the_batch(num):
    engine = network()
    wide, _ = run(engine, LETTERS, config(prime="ab", length=80, num=8))
    narrow, _ = run(engine, LETTERS, config(prime="ab", length=80, num=num))
    assert narrow == wide[:num]


def test_rows_do_not_depend_on_whether_others_stopped():
    engine = network()
    free, _ = run(engine, LETTERS, config(prime="ab", length=80, num=8))
    stop = free[3][40:48]
    stopped, _ = run(engine, LETTERS, config(prime="ab", length=80, num=8, stop=(stop,)))
    assert stopped == [text.partition(stop)[0] for text in free]
    assert stopped[3] != free[3] and any(len(text) == 80 for text in stopped)


# Stop texts


def scripted(text, length, *stops):
    """The pieces of a text written one character at a time, with stop texts."""
    cfg = config(prime="a", length=length, stop=stops)
    return [pieces[0] for pieces, _ in generate(Script(LETTERS, text), LETTERS, cfg)]


def cut(text, stops):
    """Read until the first stop text is complete; keep what stands before the earliest."""
    for end in range(len(text) + 1):
        found = [text[:end].find(stop) for stop in stops if stop in text[:end]]
        if found:
            return text[: min(found)]
    return text


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
def test_text_ends_before_the_stop_text(text, stops, expected):
    if expected is None:
        stops, expected = ("bg", "cg"), text
    assert "".join(scripted(text, len(text), *stops)) == expected


@given(
    text=st.text("abc", min_size=1, max_size=30),
    stops=st.lists(st.text("abc", min_size=1, max_size=5), max_size=3),
)
def test_pieces_join_to_the_text_before_the_first_complete_stop(text, stops):
    assert "".join(scripted(text, len(text), *stops)) == cut(text, stops)


@given(
    text=st.text("ab", max_size=30),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_stop_filter_never_takes_back_what_it_passed(text, stops, sizes):
    """However the text is cut into pieces, what was passed is a prefix of what is right."""
    stop_filter, passed, rest = StopFilter(tuple(stops)), "", text
    for number in range(len(text)):
        size = sizes[number % len(sizes)]
        passed += stop_filter.feed(rest[:size])
        rest = rest[size:]
        assert text.startswith(passed)
        assert not any(stop in passed for stop in stops)
    passed += stop_filter.flush()
    if not any(stop in text for stop in stops):
        assert passed == text and not stop_filter.stopped
    else:
        assert stop_filter.stopped


def test_text_is_not_held_back_longer_than_needed():
    assert scripted("abcdef", 6, "dh") == ["a", "b", "c", "", "de", "f"]


def test_stopping_ends_the_generation_at_once():
    assert len(scripted("abcdef", 6, "cd")) == 4


def test_row_that_stopped_is_silent_while_the_others_write_on():
    model = Script(LETTERS, "abcabc", "hhhhhh")
    cfg = config(prime="a", length=6, num=2, stop=("c",))
    pieces = [pieces for pieces, _ in generate(model, LETTERS, cfg)]
    assert [first for first, _ in pieces] == ["a", "b", "", "", "", ""]
    assert "".join(second for _, second in pieces) == "hhhhhh"


def test_stop_text_with_characters_the_model_lacks_never_stops():
    assert "".join(scripted("abcdef", 6, "ß", "cß")) == "abcdef"


# Broken models


class Breaking(Script):
    """Writes its script, but from `at` on one score is not a number."""

    def __init__(self, text, at, value):
        super().__init__(LETTERS, text)
        self.at, self.value = at, value

    def logits(self, position):
        logits_BV = super().logits(position)
        if position >= self.at:
            logits_BV[0, 0] = self.value
        return logits_BV


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 3])
def test_scores_that_are_not_finite_raise_before_a_character_is_drawn(at, value):
    written = []
    with pytest.raises(NumericsError, match="not finite") as caught:
        for pieces, _ in generate(Breaking("abcdef", at, value), LETTERS, config(prime="a")):
            written += pieces
    assert caught.value.exit_code == 7
    assert "".join(written) == "abcdef"[:at]


def test_network_whose_scores_overflow_raises_the_same_without_a_warning():
    sizes = ModelConfig(vocab=LETTERS.size, cell="rnn", hidden=4, embedding=2)
    weights = {name: np.zeros(shape, np.float32) for name, shape in sizes.shapes().items()}
    weights["layers.0.bias_ih_l0"][:] = 9  # h is nearly 1 in all units
    weights["head.weight"][:] = 3e38  # and four times that is out of float32's range
    with pytest.raises(NumericsError):
        text_of(Engine(sizes, weights), LETTERS, prime="abc", length=5)
