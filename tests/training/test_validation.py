"""What is held out is measured by the character, with the n-grams at the share that suits."""

import numpy as np
import pytest

from textgen.config.train import TrainConfig
from textgen.data.dataset import load_dataset
from textgen.engine.ngrams import NGrams
from textgen.evaluation import protocols
from textgen.training.validation import Validation

TEXT = "".join(f"line {n} of {n * n}, é and so on\n" for n in range(200))


def held_out(tmp_path, ngrams=False, **options):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    material = load_dataset([path], TrainConfig(**options))
    counted = NGrams.count(material.train, material.tokenizer.size, 3) if ngrams else None
    return material, Validation(material, counted)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_nats_are_per_character(tmp_path, kind):
    material, held = held_out(tmp_path, tokenizer=kind)
    ngrams = NGrams.count(material.train, material.tokenizer.size, 2)
    costs = held.costs(ngrams, 10**9)
    text = material.tokenizer.decode(np.asarray(material.val))
    expected = protocols.measure_text(ngrams, material.tokenizer, text, "streamed").nats_per_char
    assert held.per_character(costs) == pytest.approx(expected, rel=1e-12)
    assert len(held.costs(ngrams, 100)) == 100


def test_items_are_read_to_their_ends(tmp_path):
    material, held = held_out(tmp_path, records="lines")
    ngrams = NGrams.count(material.train, material.tokenizer.size, 3)
    mark = material.tokenizer.boundary_id
    for number in (1, 2, 40, 10**9):
        costs = held.costs(ngrams, number)
        assert material.val[len(costs) - 1] == mark
        assert len(costs) > min(number, len(material.val)) - 1
        assert costs[0] == 0 and (costs[1:] > 0).all()
    items = [item for item in material.tokenizer.decode(material.val).split("line ") if item]
    expected = protocols.measure_records(
        ngrams, material.tokenizer, ["line " + item for item in items]
    )
    assert held.per_character(costs) == pytest.approx(expected.nats_per_char, rel=1e-12)


def test_the_mixture_is_at_its_best_share(tmp_path):
    material, held = held_out(tmp_path, ngrams=True)
    network = NGrams.count(np.asarray(material.train)[-600:], material.tokenizer.size, 5)
    costs = held.costs(network, 10**9)
    nats, share = held.mixed(costs)
    other = held.costs(held.ngrams, 10**9)
    around = [
        -np.log((1 - s) * np.exp(-costs) + s * np.exp(-other)).mean()
        for s in (share - 0.01, share, share + 0.01)
    ]
    assert 0 < share < 1
    assert min(around) == around[1] == pytest.approx(nats)


def test_without_ngrams_or_without_a_part_there_is_no_share(tmp_path):
    _, held = held_out(tmp_path)
    nats, share = held.mixed(np.ones(5))
    assert (nats, share) == (1.0, None)
    _, held = held_out(tmp_path, split="1", ngrams=True)
    assert len(held) == len(held.costs(None, 10)) == 0
    assert held.mixed(held.costs(None, 10)) == (None, None)
    assert held.per_character(np.zeros(0)) is None
