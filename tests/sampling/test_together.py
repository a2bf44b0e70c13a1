"""Texts of different requests in shared steps: each is as if it were written alone."""

from dataclasses import dataclass

import numpy as np
import pytest
from factories import learn_tokenizer, mixed_checkpoint, random_engine
from hypothesis import given
from hypothesis import strategies as st

from textgen.checkpoint.loading import network_of, stepper_of
from textgen.config.sample import SampleConfig
from textgen.engine.network import Engine
from textgen.errors import NumericsError
from textgen.nn.char_rnn import TorchStepper
from textgen.sampling.constraints import Constraints
from textgen.sampling.generator import TextGenerator, begin, generate, read_prime
from textgen.sampling.together import Together, read_side_by_side

TEXT = "the quick brown fox jumps over the lazy dog. THE QUICK BROWN FOX!\n" * 3
CHARS = learn_tokenizer("char", TEXT)
BYTES = learn_tokenizer("byte", TEXT + "äöü€" * 9)
ENGINES = {
    "gru": (random_engine(CHARS), CHARS),
    "lstm": (random_engine(CHARS, cell="lstm", layers=2), CHARS),
    "bytes": (random_engine(BYTES, scale=0.5), BYTES),
}
SETTINGS = (
    {},
    {"temperature": 0.0},
    {"temperature": (0.2, 1.5), "top_k": 3},
    {"top_p": 0.5, "ban": "eE"},
    {"match": r"\w+ \w+"},
    {"stop": ("o",)},
    {"mirostat": 2.0, "frequency_penalty": 0.5},
    {"presence_penalty": 2.0, "bias": ("a:2",), "until": "line"},
)


@dataclass
class Request:
    """A text to write, and the step at which it comes."""

    prime: str
    config: SampleConfig
    row: int
    comes: int


def alone(model, tokenizer, request):
    start = begin(model, tokenizer, [request.prime], request.config)
    rows = range(request.row, request.row + 1)
    steps = list(generate(model, tokenizer, request.config, start, rows))
    return "".join(step.pieces[0] for step in steps), steps[-1]


def among_others(model, tokenizer, requests):
    """Each text and its last step, each having come at its own step."""
    together, numbers = Together(model), {}
    texts, lasts = [""] * len(requests), [None] * len(requests)
    for count in range(10_000):
        for number, request in enumerate(requests):
            if request.comes == count:
                config = request.config
                start = begin(model, tokenizer, [request.prime], config)
                rows = range(request.row, request.row + 1)
                constraints = Constraints.of(tokenizer, config)
                generator = TextGenerator(model, tokenizer, config, start, rows, constraints)
                numbers[generator] = number
                together.join(generator)
        for generator, step in together.step():
            texts[numbers[generator]] += step.pieces[0]
            lasts[numbers[generator]] = step
        if all(last is not None and last.ends[0] for last in lasts):
            assert not together.generators
            return list(zip(texts, lasts, strict=True))
    raise AssertionError("a text has no end")


def requests_for(tokenizer):
    settings = [
        options for options in SETTINGS if "match" not in options or tokenizer.spelling is None
    ]

    def make(options, length, seed, prime, row, comes):
        length = max(length, 3) if "match" in options else length
        return Request(prime, SampleConfig(length=length, seed=seed, **options), row, comes)

    numbers = st.integers(0, 20)
    primes = st.sampled_from(["", "the ", "fox"])
    one = st.builds(make, st.sampled_from(settings), numbers, numbers, primes, numbers, numbers)
    return st.lists(one, min_size=1, max_size=6)


@pytest.mark.parametrize("name", ENGINES)
@given(data=st.data())
def test_a_text_is_the_same_alone_and_among_others(name, data):
    model, tokenizer = ENGINES[name]
    requests = data.draw(requests_for(tokenizer))
    found = among_others(model, tokenizer, requests)
    for request, (text, last) in zip(requests, found, strict=True):
        expected, expected_last = alone(model, tokenizer, request)
        assert text == expected
        assert last.ends == expected_last.ends
        assert last.ids_B.tolist() == expected_last.ids_B.tolist()
        np.testing.assert_allclose(
            last.continuation.logits_BV, expected_last.continuation.logits_BV, atol=1e-9
        )


def test_where_a_text_ended_it_can_be_continued():
    model, tokenizer = ENGINES["gru"]
    lengths = (5, 12, 9)
    requests = [
        Request("the ", SampleConfig(length=length, seed=3), row, row)
        for row, length in enumerate(lengths)
    ]
    for request, (text, last) in zip(
        requests, among_others(model, tokenizer, requests), strict=True
    ):
        more = SampleConfig(length=20 - len(text), seed=3)
        rows = range(request.row, request.row + 1)
        steps = generate(model, tokenizer, more, last.continuation, rows)
        whole = Request("the ", SampleConfig(length=20, seed=3), request.row, 0)
        assert text + "".join(step.pieces[0] for step in steps) == alone(model, tokenizer, whole)[0]


def test_a_mixture_with_ngrams_shares_its_steps_too():
    """In float32, so short texts: nothing is drawn within 1e-5 of an edge."""
    model = stepper_of(mixed_checkpoint(CHARS, TEXT))
    requests = [Request("the ", SampleConfig(length=15, seed=5), row, row % 3) for row in range(6)]
    for request, (text, _) in zip(requests, among_others(model, CHARS, requests), strict=True):
        assert text == alone(model, CHARS, request)[0]


@pytest.mark.parametrize("kind", ["gru", "lstm", "mixture", "torch"])
def test_side_by_side_each_reads_what_is_its_own(kind):
    if kind in ENGINES:
        model = ENGINES[kind][0]
    else:
        device = {"mixture": stepper_of, "torch": lambda c: TorchStepper(network_of(c))}[kind]
        model = device(mixed_checkpoint(CHARS, TEXT))
    config = SampleConfig(look_back=9)
    begun = ["", "fox", "the quick brown fox jumps"]
    more = [" jumps over the lazy", "the quick brown fox ", "over the lazy dog.\nT"]
    starts = [read_prime(model, CHARS, [text], config) for text in begun]
    ids_TB = np.stack([CHARS.encode(text) for text in more], axis=1)
    found = read_side_by_side(model, ids_TB, starts)
    for text, rest, state in zip(begun, more, found, strict=True):
        expected = read_prime(model, CHARS, [text + rest], config)
        np.testing.assert_allclose(state.logits_BV, expected.logits_BV, atol=1e-5)
        np.testing.assert_array_equal(state.ids_BL, expected.ids_BL)
        after = [model.step(np.array([1]), place.state)[0] for place in (state, expected)]
        np.testing.assert_allclose(*after, atol=1e-5)


def test_who_leaves_changes_nothing_for_the_others():
    model, tokenizer = ENGINES["gru"]
    config = SampleConfig(length=12, seed=1)
    together = Together(model)
    generators = []
    for row in range(3):
        start = begin(model, tokenizer, [""], config)
        rows, constraints = range(row, row + 1), Constraints.of(tokenizer, config)
        generators.append(TextGenerator(model, tokenizer, config, start, rows, constraints))
        together.join(generators[-1])
    texts = dict.fromkeys(generators, "")
    for count in range(12):
        if count == 4:
            together.leave(generators[1])
        for generator, step in together.step():
            texts[generator] += step.pieces[0]
    for row, generator in enumerate(generators):
        whole, _ = alone(model, tokenizer, Request("", config, row, 0))
        assert texts[generator] == (whole[:4] if row == 1 else whole)
    assert together.step() == []


def test_each_step_is_one_step_of_the_model():
    class Counting(Engine):
        calls = ()

        def step(self, ids_B, state):
            self.calls += (len(ids_B),)
            return super().step(ids_B, state)

    model, tokenizer = ENGINES["gru"]
    model.__class__ = Counting
    try:
        requests = [
            Request("", SampleConfig(length=length, seed=0), row, 0)
            for row, length in enumerate((2, 4, 4))
        ]
        among_others(model, tokenizer, requests)
        assert model.calls == (3, 3, 2, 2)
    finally:
        model.__class__ = Engine


def test_scores_that_are_not_finite_are_an_error():
    model = random_engine(CHARS, scale=0.8)
    config = SampleConfig(length=3, seed=0)
    start = begin(model, CHARS, [""], config)
    start = start._replace(logits_BV=np.full_like(start.logits_BV, np.nan))
    constraints = Constraints.of(CHARS, config)
    together = Together(model)
    together.join(TextGenerator(model, CHARS, config, start, range(1), constraints))
    with pytest.raises(NumericsError):
        together.step()
