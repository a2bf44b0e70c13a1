"""Where a text stopped, as a value: branched, joined, saved, and refused where it does not fit."""

import dataclasses

import numpy as np
import pytest
import torch
from factories import (
    full_checkpoint,
    learn_tokenizer,
    random_checkpoint,
    random_engine,
    refused,
)

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.config.model import CELLS, ModelConfig
from textgen.config.sample import SampleConfig
from textgen.engine.mixture import Mixture, usual_weights
from textgen.engine.ngrams import NGrams
from textgen.errors import CheckpointError
from textgen.files import tensorfile
from textgen.sampling.filters import NOTHING
from textgen.sampling.generator import begin, generate
from textgen.sampling.state import SamplingState, join_rows, load_state, take_rows
from textgen.textmodel import TextModel
from textgen.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer.from_text("abcdefgh" * 3)


def sizes(cell="gru", layers=2, hidden=8):
    return ModelConfig(vocab=LETTERS.size, cell=cell, layers=layers, hidden=hidden, embedding=4)


def network(cell="gru", layers=2, dtype=np.float64):
    return random_engine(LETTERS, dtype=dtype, cell=cell, layers=layers)


def config(**options):
    return SampleConfig(**{"temperature": 1.0, "seed": 1, "look_back": 12, **options})


def texts_of(model, cfg, start=None, rows=None):
    """The texts of all rows, and where they stopped."""
    steps = list(generate(model, LETTERS, cfg, start, rows))
    texts = zip(*(step.pieces for step in steps), strict=True)
    return ["".join(pieces) for pieces in texts], steps[-1].continuation


def stopped(model=None, rows=1, **options):
    """Where some texts stand after a prime and twenty characters."""
    cfg = config(prime="ab", length=20, num=rows, **options)
    return texts_of(model or network(), cfg)[1]


def arrays_of(place):
    """Every array of where a text stopped, by name."""
    named = {"logits": place.logits_BV, "ids": place.ids_BL, "mu": place.mu_B}
    for layer, parts in enumerate(place.state or ()):
        named |= {f"state {layer} {i}": np.asarray(part) for i, part in enumerate(parts)}
    return {name: array for name, array in named.items() if array is not None}


def assert_equal_places(one, other):
    assert (one.position, one.seed) == (other.position, other.seed)
    assert (one.state is None) == (other.state is None)
    first, second = arrays_of(one), arrays_of(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype, name
        assert np.array_equal(array, second[name]), name


# Rows


@pytest.mark.parametrize("rows", [[0], [2], [2, 0], [1, 1, 1, 0], []])
@pytest.mark.parametrize("cell", CELLS)
def test_take_gives_the_rows_that_are_named_as_often_as_they_are_named(cell, rows):
    place = stopped(network(cell), rows=3, mirostat=2.0)
    taken = place.take(rows)
    assert (taken.position, taken.seed) == (20, 1)
    before = arrays_of(place)
    for name, array in arrays_of(taken).items():
        assert array.shape == (len(rows), *before[name].shape[1:])
        for found, row in zip(array, rows, strict=True):
            assert np.array_equal(found, before[name][row])


def test_take_at_the_beginning_of_a_text():
    place = begin(network(), LETTERS, [""], config()).take([0, 0])
    assert place.state is None and place.logits_BV.shape == (2, LETTERS.size)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_row_that_is_taken_out_goes_on_as_among_the_others(row):
    model, cfg = network(), config(length=30, no_repeat_ngram=3)
    place = stopped(model, rows=3, no_repeat_ngram=3)
    together, _ = texts_of(model, cfg, place)
    alone, _ = texts_of(model, cfg, place.take([row]), range(row, row + 1))
    assert alone == [together[row]]


def test_branches_of_one_text_differ_and_the_first_is_the_text_itself():
    model, cfg = network(), config(length=30)
    place = stopped(model)
    single, _ = texts_of(model, cfg, place)
    branches, _ = texts_of(model, cfg, place.take([0] * 5))
    assert branches[0] == single[0]
    assert len(set(branches)) == 5


def test_a_place_is_left_as_it_was_by_what_goes_on_from_it():
    model = network()
    place = stopped(model, rows=2, mirostat=2.0)
    kept = {name: array.copy() for name, array in arrays_of(place).items()}
    texts_of(model, config(length=60, mirostat=2.0), place)
    taken = place.take([1])
    for array in arrays_of(taken).values():
        array[:] = 0
    for name, array in arrays_of(place).items():
        assert np.array_equal(array, kept[name]), name


def test_a_place_cannot_be_changed_by_mistake():
    with pytest.raises(AttributeError):
        stopped().position = 3


@pytest.mark.parametrize("cell", CELLS)
def test_rows_taken_saved_and_loaded_go_on_to_the_last_bit(cell, tmp_path):
    """Products and sums round by the layout of their operands, which these change."""
    wide = sizes(cell, hidden=96)
    model = random_engine(LETTERS, scale=0.3, dtype=np.float32, cell=cell, layers=2, hidden=96)
    place = stopped(model, rows=5)
    taken = place.take(range(5))
    place.save(tmp_path / "place.state", wide)
    loaded = load_state(tmp_path / "place.state", wide)
    cfg = config(length=60, num=5)
    expected, found, again = (
        [step.log_probs_B.tobytes() for step in generate(model, LETTERS, cfg, one)]
        for one in (place, taken, loaded)
    )
    assert found == again == expected


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("cell", CELLS)
def test_join_puts_together_what_take_took_apart(cell, kind):
    state = tuple(
        tuple(kind(part) for part in layer) for layer in stopped(network(cell), rows=4).state
    )
    parts = [take_rows(state, np.array(rows)) for rows in ([0, 1], [2], [3])]
    again = join_rows(parts)
    for layer, expected in zip(again, state, strict=True):
        for found, part in zip(layer, expected, strict=True):
            assert type(found) is type(part)
            assert np.array_equal(found, part)


def test_join_in_another_order_is_another_state():
    state = stopped(rows=2).state
    first, second = (take_rows(state, np.array([row])) for row in (0, 1))
    assert not np.array_equal(join_rows([second, first])[0][0], state[0][0])


@pytest.mark.parametrize("options", [{}, {"mirostat": 2.0}])
@pytest.mark.parametrize("cell", CELLS)
def test_either_takes_each_row_from_one_of_two_places(cell, options):
    model = network(cell)
    one, other = stopped(model, rows=3, **options), stopped(model, rows=3, seed=2, **options)
    found = one.with_rows_of(other, np.array([False, True, False]))
    assert (found.position, found.seed) == (one.position, one.seed)
    for row, source in enumerate([one, other, one]):
        expected = arrays_of(source.take([row]))
        for name, array in arrays_of(found.take([row])).items():
            assert np.array_equal(array, expected[name]), (row, name)


# Files


def test_a_link_leads_to_the_file_that_is_written(tmp_path):
    (tmp_path / "link").symlink_to("here.state")
    stopped().save(tmp_path / "link", sizes())
    assert (tmp_path / "link").is_symlink()
    assert load_state(tmp_path / "here.state", sizes()).position == stopped().position


def round_trip(path, place, model=None):
    place.save(path, model or sizes())
    return load_state(path, model or sizes())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_a_place_comes_back_from_its_file_and_goes_on_exactly(tmp_path, cell, dtype):
    model = network(cell, dtype=dtype)
    options = {"mirostat": 2.0, "no_repeat_ngram": 3, "frequency_penalty": 0.3, "num": 3}
    whole, _ = texts_of(model, config(prime="ab", length=50, **options))
    first, place = texts_of(model, config(prime="ab", length=20, **options))
    loaded = round_trip(tmp_path / "here.state", place, sizes(cell))
    assert_equal_places(loaded, place)
    rest, _ = texts_of(model, config(length=30, **options), loaded)
    assert [one + more for one, more in zip(first, rest, strict=True)] == whole


@pytest.mark.parametrize("layers", [1, 9, 10, 11, 12, 64])
def test_layers_come_back_in_their_order_however_many_there_are(tmp_path, layers):
    state = tuple((np.full((1, 8), number, np.float32),) for number in range(layers))
    place = SamplingState(state, np.zeros((1, 9)), np.zeros((1, 3), np.int64))
    loaded = round_trip(tmp_path / "here.state", place, sizes(layers=layers))
    assert [int(layer[0][0, 0]) for layer in loaded.state] == list(range(layers))


def test_the_state_of_n_grams_comes_back_behind_the_network_s(tmp_path):
    ids = np.random.default_rng(5).integers(1, LETTERS.size, 200)
    model = Mixture(network("lstm"), NGrams.count(ids, LETTERS.size, 3), usual_weights())
    place = stopped(model, rows=2)
    mixed = dataclasses.replace(sizes("lstm"), ngrams=4)
    loaded = round_trip(tmp_path / "here.state", place, mixed)
    assert_equal_places(loaded, place)
    expected, _ = texts_of(model, config(length=30), place)
    assert texts_of(model, config(length=30), loaded)[0] == expected


def test_the_beginning_of_a_text_comes_back(tmp_path):
    place = begin(network(), LETTERS, [""], config())
    loaded = round_trip(tmp_path / "here.state", place)
    assert_equal_places(loaded, place)
    assert (loaded.state, loaded.seed, loaded.position) == (None, None, 0)
    assert (loaded.ids_BL == NOTHING).all()


@pytest.mark.parametrize("seed", [None, 0, 2**53 + 1, 2**63])
def test_every_seed_and_position_comes_back(tmp_path, seed):
    place = stopped()._replace(seed=seed, position=2**60 + 1)
    assert_equal_places(round_trip(tmp_path / "here.state", place), place)


def test_equal_places_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        stopped(mirostat=2.0).save(tmp_path / name, sizes())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def load_for(model):
    return lambda path: load_state(path, model)


@pytest.mark.parametrize(
    "other", [sizes("lstm"), sizes(layers=1), sizes(hidden=9)], ids=lambda one: one.describe()
)
def test_a_place_in_the_text_of_another_model_is_refused(tmp_path, other):
    path = tmp_path / "here.state"
    stopped().save(path, sizes())
    refused(path, "here.state", "does not belong to this model", load=load_for(other))


def test_a_checkpoint_is_no_place_in_a_text_and_the_other_way_round(tmp_path):
    model, path = tmp_path / "model.safetensors", tmp_path / "here.state"
    full_checkpoint().save(model)
    refused(model, "does not belong", load=load_for(full_checkpoint().model))
    stopped().save(path, sizes())
    refused(path, load=Checkpoint.load)


def test_missing_files_folders_and_other_files_are_refused(tmp_path):
    refused(tmp_path / "missing.state", "no such file", load=load_for(sizes()))
    refused(tmp_path, "is not a file", load=load_for(sizes()))
    (tmp_path / "note.txt").write_text("It was a bright cold day in April.")
    refused(tmp_path / "note.txt", "not a textgen checkpoint", load=load_for(sizes()))


def test_every_damaged_byte_and_every_missing_end_is_noticed(tmp_path):
    path = tmp_path / "here.state"
    stopped(look_back=2).save(path, sizes())
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError):
            load_state(path, sizes())
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(CheckpointError):
            load_state(path, sizes())
    path.write_bytes(whole)
    assert_equal_places(load_state(path, sizes()), stopped(look_back=2))


def forged(path, tensors=None, **facts):
    """A file with a right digest whose content no `save` has made."""
    stopped().save(path, sizes())
    whole, meta = tensorfile.read_tensors(path)
    meta["continuation"] = {**meta["continuation"], **facts}
    meta["continuation"] = {k: v for k, v in meta["continuation"].items() if v != "missing"}
    changed = {**whole, **(tensors or {})}
    tensorfile.write_tensors(path, {k: v for k, v in changed.items() if v is not None}, meta)


FORGERIES = {
    "no logits": ({"logits": None}, {}),
    "no ids": ({"ids": None}, {}),
    "a layer too few": ({"state.1.0": None}, {}),
    "logits of other characters": ({"logits": np.zeros((1, 5))}, {}),
    "logits of no row": ({"logits": np.zeros(9)}, {}),
    "logits of two rows": ({"logits": np.zeros((2, 9))}, {}),
    "ids beyond the vocabulary": ({"ids": np.full((1, 12), 99)}, {}),
    "ids that are no whole numbers": ({"ids": np.zeros((1, 12))}, {}),
    "a narrower layer": ({"state.0.0": np.zeros((1, 3))}, {}),
    "mirostat of three rows": ({"mu": np.zeros(3)}, {}),
    "no position": ({}, {"position": "missing"}),
    "a position before the first": ({}, {"position": -1}),
    "a position in words": ({}, {"position": "many"}),
    "no seed": ({}, {"seed": "missing"}),
    "a seed in words": ({}, {"seed": "one"}),
}


@pytest.mark.parametrize(("tensors", "facts"), FORGERIES.values(), ids=FORGERIES)
def test_a_file_of_the_right_model_that_holds_something_else_is_refused(tmp_path, tensors, facts):
    path = tmp_path / "here.state"
    forged(path)
    assert_equal_places(load_state(path, sizes()), stopped())
    forged(path, tensors, **facts)
    refused(path, load=load_for(sizes()))


# What was read and not written


def with_rest(rests=(b"", b"\xc3\xa9x")):
    place = stopped(rows=len(rests))
    return place._replace(unwritten_bytes=rests)


def test_rests_go_with_their_texts_to_a_file_and_back(tmp_path):
    place = with_rest()
    assert place.take([1, 1, 0]).unwritten_bytes == (
        place.unwritten_bytes[1],
        place.unwritten_bytes[1],
        b"",
    )
    place.save(tmp_path / "here", sizes())
    assert load_state(tmp_path / "here", sizes()).unwritten_bytes == place.unwritten_bytes
    with_rest((b"", b"")).save(tmp_path / "none", sizes())
    assert "rest" not in tensorfile.read_tensors(tmp_path / "none")[0]


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_a_text_goes_on_from_a_file_within_a_piece(kind, tmp_path):
    found = random_checkpoint(learn_tokenizer(kind, "the cat sat é 日本\n" * 9))
    model = TextModel(found)
    whole = model.sample(length=30, seed=1, temperature=1.0)
    for length in range(30):
        text = model.sample(length=length, seed=1, temperature=1.0)
        model.save_state(tmp_path / "here")
        state = model.load_state(tmp_path / "here")
        assert text + model.sample(length=30 - length, temperature=1.0, state=state) == whole


@pytest.mark.parametrize(
    "change",
    [
        {"rest": np.zeros(3, np.int64)},
        {"rest": np.zeros((2, 2), np.uint8)},
        {"rest": np.zeros(5, np.uint8)},
        {"rest.sizes": np.array([4])},
        {"rest.sizes": np.array([5, -1])},
        {"rest.sizes": np.array([2**62, 2**62])},
        {"rest.sizes": np.array([0, 4], np.uint64)},
        {"rest": None},
        {"rest.sizes": None},
    ],
    ids=str,
)
def test_rests_that_cannot_be_are_refused(tmp_path, change):
    with_rest().save(tmp_path / "here", sizes())
    tensors, meta = tensorfile.read_tensors(tmp_path / "here")
    tensors = {n: one for n, one in {**tensors, **change}.items() if one is not None}
    tensorfile.write_tensors(tmp_path / "here", tensors, meta)
    refused(tmp_path / "here", "is not a complete state", load=lambda p: load_state(p, sizes()))
