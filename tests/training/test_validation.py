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
    dataset = load_dataset([path], TrainConfig(**options))
    counted = NGrams.count(dataset.train, dataset.tokenizer.size, 3) if ngrams else None
    return dataset, Validation(dataset, counted)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_nats_are_per_character(tmp_path, kind):
    dataset, held = held_out(tmp_path, tokenizer=kind)
    ngrams = NGrams.count(dataset.train, dataset.tokenizer.size, 2)
    nats_of_ids = held.nats(ngrams, 10**9)
    text = dataset.tokenizer.decode(np.asarray(dataset.val))
    expected = protocols.measure_text(ngrams, dataset.tokenizer, text, "streamed").nats_per_char
    assert held.per_character(nats_of_ids) == pytest.approx(expected, rel=1e-12)
    assert len(held.nats(ngrams, 100)) == 100


def test_items_are_read_to_their_ends(tmp_path):
    dataset, held = held_out(tmp_path, records="lines")
    ngrams = NGrams.count(dataset.train, dataset.tokenizer.size, 3)
    mark = dataset.tokenizer.boundary_id
    for number in (1, 2, 40, 10**9):
        nats_of_ids = held.nats(ngrams, number)
        assert dataset.val[len(nats_of_ids) - 1] == mark
        assert len(nats_of_ids) > min(number, len(dataset.val)) - 1
        assert nats_of_ids[0] == 0 and (nats_of_ids[1:] > 0).all()
    items = [item for item in dataset.tokenizer.decode(dataset.val).split("line ") if item]
    expected = protocols.measure_records(
        ngrams, dataset.tokenizer, ["line " + item for item in items]
    )
    assert held.per_character(nats_of_ids) == pytest.approx(expected.nats_per_char, rel=1e-12)


def test_the_mixture_is_at_its_best_share(tmp_path):
    dataset, held = held_out(tmp_path, ngrams=True)
    network = NGrams.count(np.asarray(dataset.train)[-600:], dataset.tokenizer.size, 5)
    nats_of_ids = held.nats(network, 10**9)
    nats, share = held.mix(nats_of_ids)
    other = held.nats(held.ngrams, 10**9)
    around = [
        -np.log((1 - s) * np.exp(-nats_of_ids) + s * np.exp(-other)).mean()
        for s in (share - 0.01, share, share + 0.01)
    ]
    assert 0 < share < 1
    assert min(around) == around[1] == pytest.approx(nats)


def test_without_ngrams_or_without_a_part_there_is_no_share(tmp_path):
    _, held = held_out(tmp_path)
    nats, share = held.mix(np.ones(5))
    assert (nats, share) == (1.0, None)
    _, held = held_out(tmp_path, split="1", ngrams=True)
    assert len(held) == len(held.nats(None, 10)) == 0
    assert held.mix(held.nats(None, 10)) == (None, None)
    assert held.per_character(np.zeros(0)) is None
