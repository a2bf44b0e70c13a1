"""What is held out is measured by the character, by the network alone or with the n-grams."""

import numpy as np
import pytest
from factories import random_engine

from textgen.config.train import TrainConfig
from textgen.data.dataset import load_dataset
from textgen.engine.mixture import Mixture, usual_weights
from textgen.engine.ngrams import NGrams
from textgen.evaluation import protocols
from textgen.training.partner import choose_stretches, make_partner
from textgen.training.validation import Validation

TEXT = "".join(f"line {n} of {n * n}, é and so on\n" for n in range(200))


def held_out(tmp_path, longest=None, **options):
    """A dataset, its validation part, and n-grams of contexts up to `longest`."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    dataset = load_dataset([path], TrainConfig(**options))
    partner = longest and make_partner(
        choose_stretches(dataset.train, dataset.tokenizer), dataset.tokenizer, longest
    )
    return dataset, Validation(dataset, partner), partner


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_nats_are_per_character(tmp_path, kind):
    dataset, held, _ = held_out(tmp_path, tokenizer=kind)
    ngrams = NGrams.count(dataset.train, dataset.tokenizer.size, 1)
    nats_of_ids = held.nats(ngrams, 10**9)
    text = dataset.tokenizer.decode(np.asarray(dataset.val))
    expected = protocols.measure_text(ngrams, dataset.tokenizer, text, "streamed").nats_per_char
    assert held.per_character(nats_of_ids) == pytest.approx(expected, rel=1e-12)
    assert len(held.nats(ngrams, 100)) == 100


def test_items_are_read_to_their_ends(tmp_path):
    dataset, held, _ = held_out(tmp_path, records="lines")
    ngrams = NGrams.count(dataset.train, dataset.tokenizer.size, 2)
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


def mixed(held, partner, network, number):
    """The nats of the mixture by the protocol itself, with n-grams that remember nothing."""
    model = Mixture(network, partner.ngrams, usual_weights())
    tokenizer, ids = held.tokenizer, held.ids[:number]
    return protocols.streamed(model, ids, tokenizer.counts, tokenizer.unknown_nats)


def test_the_mixture_is_measured_with_the_weights_that_are_given(tmp_path):
    dataset, held, partner = held_out(tmp_path, longest=3)
    # Asked again, the n-grams remember; of another number of ids the streams are others.
    for number, seed in ((10**9, 0), (10**9, 1), (50, 1), (100, 1), (50, 0)):
        network = random_engine(dataset.tokenizer, seed)
        expected = mixed(held, partner, network, number)
        found = held.nats(network, number, usual_weights())
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        alone = held.nats(network, number)
        assert np.abs(alone - found).max() > 0.1


def test_streams_of_another_number_of_ids_are_not_those_remembered(tmp_path):
    dataset, held, partner = held_out(tmp_path, longest=3, split="0.1,0.9")
    network = random_engine(dataset.tokenizer)
    for number in (2600, 3700, 2600):
        expected = mixed(held, partner, network, number)
        found = held.nats(network, number, usual_weights())
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_is_too_much_to_remember_is_read_again(tmp_path, monkeypatch):
    dataset, held, partner = held_out(tmp_path, longest=3)
    network = random_engine(dataset.tokenizer)
    monkeypatch.setattr("textgen.training.validation.MOST_KEPT", 40 * dataset.tokenizer.size)
    assert held.most() == 40
    for number in (40, 41, 40):
        expected = mixed(held, partner, network, number)
        found = held.nats(network, number, usual_weights())
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_a_part_there_is_no_figure_and_without_ngrams_the_network_s(tmp_path):
    dataset, held, _ = held_out(tmp_path)
    network = random_engine(dataset.tokenizer)
    weighted, alone = held.nats(network, 50, usual_weights()), held.nats(network, 50)
    assert np.array_equal(weighted, alone)
    assert held.most() == len(held)
    _, held, _ = held_out(tmp_path, split="1", longest=3)
    assert len(held) == len(held.nats(None, 10, usual_weights())) == 0
    assert held.per_character(np.zeros(0)) is None
