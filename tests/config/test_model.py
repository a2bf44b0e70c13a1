"""The sizes of a network, counted by hand."""

import pytest

from textgen.config.model import ModelConfig


def test_parameters_of_a_gru_by_hand():
    config = ModelConfig(vocab=3, cell="gru", layers=1, hidden=4, embedding=2)
    # embedding 3x2; input 12x2, recurrent 12x4, two biases of 12; head 3x4 and 3
    assert config.parameters() == 6 + 24 + 48 + 24 + 12 + 3
    assert config.products() == 24 + 48 + 12


def test_parameters_of_two_lstm_layers_by_hand():
    config = ModelConfig(vocab=5, cell="lstm", layers=2, hidden=3, embedding=2)
    first, second = 12 * 2 + 12 * 3 + 24, 12 * 3 + 12 * 3 + 24
    assert config.parameters() == 5 * 2 + first + second + 5 * 3 + 5


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
def test_shapes_have_the_names_and_sizes_of_torch_layers(cell, gates):
    shapes = ModelConfig(vocab=7, cell=cell, layers=2, hidden=5, embedding=3).shapes()
    assert shapes == {
        "embedding.weight": (7, 3),
        "layers.0.weight_ih_l0": (5 * gates, 3),
        "layers.0.weight_hh_l0": (5 * gates, 5),
        "layers.0.bias_ih_l0": (5 * gates,),
        "layers.0.bias_hh_l0": (5 * gates,),
        "layers.1.weight_ih_l0": (5 * gates, 5),
        "layers.1.weight_hh_l0": (5 * gates, 5),
        "layers.1.bias_ih_l0": (5 * gates,),
        "layers.1.bias_hh_l0": (5 * gates,),
        "head.weight": (7, 5),
        "head.bias": (7,),
    }
