"""Many texts: their order, their numbers, the best of several drafts, and what is said of each."""

import functools
import itertools
import json

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.config.model import CELLS, ModelConfig
from textgen.config.sample import SampleConfig
from textgen.engine.network import Engine
from textgen.errors import TextError
from textgen.sampling import batch
from textgen.sampling.batch import Text, write_texts
from textgen.sampling.constraints import Constraints
from textgen.sampling.generator import begin, generate
from textgen.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer.from_text("abcdefgh. \n" * 3)
PRIMES = ["ab", "hgfedc", "", "ab"]


def sizes(cell="gru"):
    return ModelConfig(vocab=LETTERS.size, cell=cell, layers=2, hidden=8, embedding=4)


def weights(cell="gru"):
    return naive.random_weights(sizes(cell), 0, scale=0.8)


@functools.cache
def network(cell="gru"):
    return Engine(sizes(cell), weights(cell))


def config(**options):
    return SampleConfig(**{"temperature": 1.0, "seed": 1, "length": 25, **options})


def written(primes=PRIMES, cell="gru", **options):
    return list(write_texts(network(cell), LETTERS, primes, config(**options)))


def as_tuples(found):
    return [(one.prime, one.text, one.row, one.end) for one in found]


@functools.cache
def cost(prime, text):
    """What each character of a text costs after its prime, by the written equations."""
    ids = LETTERS.encode(prime + text).astype(int)
    smoothed = LETTERS.counts.astype(float) + 1
    logits, _ = naive.network(sizes(), weights(), ids[:-1])
    costs = [-np.log(smoothed[ids[0]] / smoothed.sum())] if len(ids) else []
    costs += [naive.nats(y, target) for y, target in zip(logits, ids[1:], strict=True)]
    return np.array(costs)[len(prime) :]


def test_texts_come_in_the_order_of_their_primes_as_many_for_each():
    found = written(num=3)
    assert [one.prime for one in found] == ["ab"] * 3 + ["hgfedc"] * 3 + [""] * 3 + ["ab"] * 3
    assert [one.row for one in found] == list(range(12))
    assert [one.seed for one in found] == [1] * 12
    assert len({one.text for one in found}) == 12


@pytest.mark.parametrize("cell", CELLS)
def test_each_text_is_that_of_its_prime_and_number_alone(cell):
    model, cfg = network(cell), config(num=2, no_repeat_ngram=3, until="sentence")
    for one in write_texts(model, LETTERS, PRIMES, cfg):
        start = begin(model, LETTERS, [one.prime], cfg)
        steps = list(generate(model, LETTERS, cfg, start, range(one.row, one.row + 1)))
        assert one.text == "".join(step.pieces[0] for step in steps)
        assert one.end == steps[-1].ends[0]
        log_probs = [step.log_probs_B[0] for step in steps[: len(one.text)]]
        np.testing.assert_allclose(one.log_probs, log_probs, rtol=0, atol=1e-12)


@settings(max_examples=30)
@given(
    most=st.integers(1, 9),
    num=st.integers(1, 3),
    best_of=st.integers(1, 4),
    options=st.sampled_from([{}, {"stop": ("a", "cc")}, {"mirostat": 2.0}]),
)
def test_texts_do_not_depend_on_how_many_are_written_at_once(most, num, best_of, options):
    options = {"num": num, "best_of": best_of, "length": 12, **options}
    expected = as_tuples(written(**options))
    kept, batch.MOST_ROWS = batch.MOST_ROWS, most
    try:
        assert as_tuples(written(**options)) == expected
    finally:
        batch.MOST_ROWS = kept


class CountedRows:
    """Constraints that note how many rows are begun at a time."""

    def __init__(self, constraints, begun):
        self.allowed_V, self.bias_V = constraints.allowed_V, constraints.bias_V
        self.begun = begun

    @classmethod
    def of(cls, cfg, begun):
        return cls(Constraints.of(LETTERS, cfg), begun)

    def for_rows(self, pending):
        self.begun.append(len(pending))
        return []


def test_no_more_rows_than_the_most_are_written_at_once_unless_the_drafts_are(monkeypatch):
    monkeypatch.setattr(batch, "MOST_ROWS", 6)

    def portions(**options):
        rows, cfg = [], config(length=2, **options)
        list(write_texts(network(), LETTERS, PRIMES, cfg, CountedRows.of(cfg, rows)))
        return rows

    assert portions() == [4]
    assert portions(num=4) == [6, 6, 4]
    assert portions(num=2, best_of=2) == [6, 6, 4]
    assert portions(best_of=4) == [4, 4, 4, 4]  # the drafts of a text stay together
    assert portions(best_of=7) == [7, 7, 7, 7]


def test_texts_that_are_not_asked_for_are_not_written(monkeypatch):
    monkeypatch.setattr(batch, "MOST_ROWS", 2)
    begun = []
    primes, cfg = ["ab", "cd", "ef"], config(num=2)
    found = write_texts(network(), LETTERS, primes, cfg, CountedRows.of(cfg, begun))
    assert begun == []
    assert [next(found).prime, next(found).prime] == ["ab", "ab"] and begun == [2]
    assert next(found).prime == "cd" and begun == [2, 2]


def test_an_unknown_character_is_met_when_its_text_is_due(monkeypatch):
    monkeypatch.setattr(batch, "MOST_ROWS", 1)
    found = write_texts(network(), LETTERS, ["ab", "ß"], config())
    assert next(found).prime == "ab"
    with pytest.raises(TextError, match="'ß'"):
        next(found)


# The best of several drafts


@pytest.mark.parametrize("drafts", [2, 3, 6])
@pytest.mark.parametrize("options", [{}, {"stop": ("a",)}, {"until": "sentence", "length": 60}])
def test_the_best_draft_is_the_one_that_the_model_finds_likeliest(drafts, options):
    """Recomputed from all drafts: as texts of their own they have the same rows."""
    every = written(num=6, **options)
    best = written(num=6 // drafts, best_of=drafts, **options)
    assert len(best) == len(PRIMES) * 6 // drafts
    for number, one in enumerate(best):
        candidates = every[number * drafts : (number + 1) * drafts]
        means = [cost(c.prime, c.text).mean() if c.text else np.inf for c in candidates]
        assert one.row == candidates[int(np.argmin(means))].row
        assert as_tuples([one]) == as_tuples([candidates[int(np.argmin(means))]])


def test_an_empty_draft_is_chosen_only_where_all_are_empty():
    every = written(num=8, primes=["ab"], stop=tuple("abcd"))
    assert {bool(one.text) for one in every} == {True, False}
    assert written(primes=["ab"], best_of=8, stop=tuple("abcd"))[0].text
    (empty,) = written(primes=["ab"], best_of=8, stop=tuple("abcdefgh. \n"))
    assert (empty.text, empty.row, empty.end) == ("", 0, "stop")


def test_of_equally_likely_drafts_the_first_is_taken():
    assert written(primes=["ab"], best_of=5, temperature=0.0)[0].row == 0


def test_the_best_draft_is_judged_before_the_filters():
    """With one candidate left all drafts would be certain, and the first one taken."""
    every = written(num=5, primes=["ab"], top_k=3, seed=3)
    expected = int(np.argmin([cost("ab", one.text).mean() for one in every]))
    assert expected != 0
    assert written(primes=["ab"], best_of=5, top_k=3, seed=3)[0].row == expected


# What is said of a text


@pytest.mark.parametrize("options", [{}, {"temperature": 0.3, "top_k": 3}, {"stop": ("a",)}])
def test_log_probs_are_what_the_written_equations_say(options):
    for one in written(num=2, **options):
        assert one.log_probs.shape == (len(one.text),)
        np.testing.assert_allclose(one.log_probs, -cost(one.prime, one.text), rtol=0, atol=1e-9)
        if one.text:
            expected = cost(one.prime, one.text).mean()
            assert one.nats_per_char == pytest.approx(expected, abs=1e-9)


def test_an_empty_text_costs_nothing():
    for one in written(length=0):
        assert (one.text, one.end, one.nats_per_char) == ("", "length", 0.0)
        assert one.log_probs.shape == (0,)


def test_ends_are_said_of_each_text():
    options = {"stop": ("a",), "lines": 1, "until": "sentence", "length": 12}
    found = written(num=40, primes=["ab"], temperature=2.0, **options)
    assert {one.end for one in found} == {"stop", "lines", "sentence", "length"}
    for one in found:
        assert "a" not in one.text and "\n" not in one.text
        assert (one.end == "length") == (len(one.text) == 12)
        assert (one.end == "sentence") <= one.text.endswith(".")


def test_a_text_as_json_says_everything_and_its_log_probs_when_asked():
    (one,) = written(primes=["h.\n"], length=4)
    plain = one.to_json()
    assert plain == {
        "text": one.text,
        "prime": "h.\n",
        "seed": 1,
        "row": 0,
        "nats_per_char": one.nats_per_char,
        "end": "length",
    }
    full = one.to_json(with_log_probs=True)
    assert full == {**plain, "log_probs": list(one.log_probs)}
    for values in (plain, full):
        assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_json_numbers_are_python_s_own():
    one = Text("", "ab", 1, 0, np.array([-1.5, -0.5], np.float32), "length")
    assert json.dumps(one.to_json(True)["log_probs"]) == "[-1.5, -0.5]"
    assert one.to_json()["nats_per_char"] == 1.0


def test_the_texts_of_two_seeds_differ_in_every_row():
    one, other = written(num=4), written(num=4, seed=2)
    assert all(a.text != b.text for a, b in zip(one, other, strict=True))
    assert not any(a.text == b.text for a, b in itertools.combinations(one, 2))


# Items that differ

NAMED = CharTokenizer.from_text("ab" * 9, marked=True)


@functools.cache
def namer():
    """A network that writes items of a few letters; ends are likely."""
    tokenizer = NAMED.with_counts(np.array([0, 9, 9, 9]))
    shape = ModelConfig(vocab=tokenizer.size, cell="gru", layers=1, hidden=6, embedding=4)
    found = naive.random_weights(shape, 1, scale=0.8)
    found["head.bias"][tokenizer.boundary_id] += 0.5
    return Engine(shape, found), tokenizer


def different(prime="", barred=(), **options):
    engine, tokenizer = namer()
    chosen = config(**options)
    constraints = Constraints.of(tokenizer, chosen)
    return list(batch.different_texts(engine, tokenizer, prime, chosen, constraints, barred))


def test_an_item_ends_with_its_mark():
    engine, tokenizer = namer()
    found = list(write_texts(engine, tokenizer, [""] * 40, config(length=30)))
    assert {one.end for one in found} == {"item"}
    assert all(set(one.text) <= set("ab") for one in found)


def test_an_item_begins_after_its_mark():
    """The first character is drawn from what the network says after the mark."""
    engine, tokenizer = namer()
    start = begin(engine, tokenizer, [""], config())
    logits_BV, _ = engine.step(np.array([tokenizer.boundary_id]), None)
    np.testing.assert_allclose(start.logits_BV, logits_BV)
    primed = begin(engine, tokenizer, ["a"], config())
    logits_BV, _ = engine.read(np.array([tokenizer.boundary_id, 1]), 1)
    np.testing.assert_allclose(primed.logits_BV, logits_BV)


def test_unique_items_are_the_different_ones_of_the_plain_order():
    engine, tokenizer = namer()
    plain = [one.text for one in write_texts(engine, tokenizer, [""] * 200, config())]
    found = different(num=6, unique=True)
    assert [one.text for one in found] == list(dict.fromkeys(plain))[:6]
    assert [one.row for one in found] == [plain.index(one.text) for one in found]


def test_barred_items_are_passed_over():
    engine, tokenizer = namer()
    plain = [one.text for one in write_texts(engine, tokenizer, [""] * 100, config())]
    barred = {plain[0], plain[2]}
    found = [one.text for one in different(num=5, unseen=True, barred=barred)]
    assert found == [text for text in plain if text not in barred][:5]


def test_a_prime_is_a_part_of_the_item_that_is_barred():
    first = different("a", num=1, unseen=True)[0]
    assert different("a", num=1, unseen=True, barred={"a" + first.text})[0].row > first.row


def test_a_search_for_more_than_there_are_ends(monkeypatch):
    monkeypatch.setattr(batch, "MOST_DRAWN", 3)
    found = different(num=50, unique=True, length=2)
    assert 2 < len(found) < 8  # of "", a, b, aa, ab, ba and bb
    assert len({one.text for one in found}) == len(found)
