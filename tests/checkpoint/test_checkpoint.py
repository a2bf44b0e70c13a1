"""A model in a file: all of it comes back, and what does not fit is refused."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
from factories import (
    assert_equal_tensors,
    full_checkpoint,
    learn_tokenizer,
    random_checkpoint,
    refused,
    resume_state,
    with_counts_of,
)
from hypothesis import given
from hypothesis import strategies as st

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.checkpoint.metadata import Metadata
from textgen.config.model import ModelConfig
from textgen.data.corpus import TextIdentity
from textgen.engine.mixture import usual_weights
from textgen.files import tensorfile
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_checkpoint_comes_back_as_it_was(tmp_path, cell):
    path = tmp_path / "model.safetensors"
    state = resume_state(cell=cell)
    metadata = Metadata(TextIdentity("text", 9, "0" * 64), metrics={"val_nats": 1.5})
    made = full_checkpoint(cell, resume=state, metadata=metadata)
    made.save(path)
    found = Checkpoint.load(path)
    assert found.model == made.model
    assert found.metadata == metadata
    assert found.tokenizer.alphabet == "ab\u00e9"
    assert found.tokenizer.counts.tolist() == [0, 2, 2, 1]
    assert_equal_tensors(found.weights, made.weights)
    assert_equal_tensors(found.resume.tensors, state.tensors)
    assert dataclasses.replace(found.resume, tensors=state.tensors) == state
    assert np.array_equal(found.fingerprint, made.fingerprint)
    assert found.fingerprint.dtype == np.uint32


def test_ngrams_and_their_weights_come_back(tmp_path):
    made = full_checkpoint()
    made.save(tmp_path / "model")
    found = Checkpoint.load(tmp_path / "model")
    assert np.array_equal(found.mixing, made.mixing)
    assert (found.ngrams.vocab, found.ngrams.longest) == (4, 2)
    assert_equal_tensors(found.ngrams.tensors(), made.ngrams.tensors())
    ids_TB = np.array([[0, 3], [1, 1], [2, 2]])
    nats_TB, _ = found.ngrams.nats(ids_TB[:-1], ids_TB[1:], None)
    assert np.array_equal(nats_TB, made.ngrams.nats(ids_TB[:-1], ids_TB[1:], None)[0])


def test_a_model_without_ngrams_has_none_in_its_file(tmp_path):
    model = dataclasses.replace(full_checkpoint().model, ngrams=1)
    full_checkpoint(model=model, ngrams=None).save(tmp_path / "model")
    assert not [name for name in tensorfile.read_tensors(tmp_path / "model")[0] if "ngrams" in name]
    found = Checkpoint.load(tmp_path / "model")
    assert found.ngrams is None
    assert np.array_equal(found.mixing, usual_weights())


def test_saving_what_was_loaded_gives_the_same_bytes(small, tmp_path):
    Checkpoint.load(small).save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == small.read_bytes()


def test_saving_changes_nothing_in_the_checkpoint(tmp_path):
    made = full_checkpoint()
    made.save(tmp_path / "model", dtype="float16")
    assert made.metadata == full_checkpoint().metadata
    assert_equal_tensors(made.weights, full_checkpoint().weights)


@pytest.mark.parametrize("text", ["\0\r\n\ufeff", "\u2028\U0010ffff", "\ud7ff\ue000", "é" * 300])
def test_any_alphabet_survives_the_file(tmp_path, text):
    tokenizer = CharTokenizer.from_text(text)
    model = ModelConfig(vocab=tokenizer.size, cell="rnn", hidden=1, embedding=1)
    weights = {name: np.zeros(shape, np.float32) for name, shape in model.shapes().items()}
    Checkpoint(model, tokenizer, weights).save(tmp_path / "model")
    found = Checkpoint.load(tmp_path / "model").tokenizer
    assert found.decode(found.encode(text)) == text


def test_half_precision_weights_are_widened_when_they_are_read(tmp_path):
    path, full = tmp_path / "half", tmp_path / "full"
    full_checkpoint().save(path, dtype="float16")
    full_checkpoint().save(full)
    stored = safetensors.numpy.load_file(path)
    found = Checkpoint.load(path).weights
    for name, array in full_checkpoint().weights.items():
        assert stored[name].dtype == np.float16
        assert found[name].dtype == np.float32
        assert found[name].tolist() == stored[name].tolist()
        assert found[name] == pytest.approx(array, rel=1e-3)
    assert path.stat().st_size < full.stat().st_size


def test_double_precision_weights_stay_double(tmp_path):
    weights = {name: array / np.float64(3) for name, array in full_checkpoint().weights.items()}
    full_checkpoint(weights=weights).save(tmp_path / "model", dtype="float64")
    assert_equal_tensors(Checkpoint.load(tmp_path / "model").weights, weights)


def test_the_report_says_what_it_is(small):
    report = dict(Checkpoint.load(small).report())
    assert "gru, 1 layer of 2, embedding 2" in report["model"]
    assert "3 characters" in report["alphabet"]
    assert report["split"] == "0.9,0.1"
    assert "before" not in report


def test_the_report_says_what_was_read_before():
    before = (TextIdentity("poems.txt", 9, "0" * 64), TextIdentity("letters.txt", 9, "1" * 64))
    report = dict(full_checkpoint(metadata=Metadata(read_before=before)).report())
    assert report["before"] == "started from what had read poems.txt, letters.txt"


WORDS = "the cat sat on the mat: é, 日本\n" * 9


@pytest.fixture(scope="module", params=["byte", "bpe", "unigram"])
def of_units(request, tmp_path_factory):
    """The file of a model of bytes or pieces, and the model."""
    made = random_checkpoint(learn_tokenizer(request.param, WORDS))
    path = tmp_path_factory.mktemp("units") / request.param
    made.save(path)
    return path, made


def test_bytes_and_pieces_come_back_from_the_one_file(of_units, tmp_path):
    path, made = of_units
    found = Checkpoint.load(path)
    text = WORDS + "\u2581 new: ß\0"
    assert found.tokenizer.kind == made.tokenizer.kind
    assert found.tokenizer.encode(text).tolist() == made.tokenizer.encode(text).tolist()
    assert found.tokenizer.decode(found.tokenizer.encode(text)) == text
    assert found.tokenizer.counts.tolist() == made.tokenizer.counts.tolist()
    assert_equal_tensors(found.weights, made.weights)
    assert found.metadata == Metadata()
    found.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_the_report_says_what_the_units_are(of_units):
    path, made = of_units
    alphabet = dict(Checkpoint.load(path).report())["alphabet"]
    if made.tokenizer.kind == "byte":
        assert alphabet == "256 bytes"
    else:
        assert alphabet == f"{made.tokenizer.size} pieces (sentencepiece, {path.name})"


def test_a_mark_comes_back_and_stands_in_the_settings(tmp_path):
    made = random_checkpoint(with_counts_of(ByteTokenizer(marked=True), "ab"))
    made.save(tmp_path / "model")
    assert tensorfile.read_tensors(tmp_path / "model")[1]["marked"] is True
    found = Checkpoint.load(tmp_path / "model")
    assert (found.tokenizer.size, found.tokenizer.boundary_id) == (257, 256)


def test_a_file_without_a_mark_says_nothing_of_it(small):
    assert "marked" not in tensorfile.read_tensors(small)[1]


@pytest.mark.parametrize("marked", [True, 1, "true", None])
def test_a_mark_that_the_alphabet_has_no_room_for_is_refused(small, marked):
    assert "alphabet" in changed(small, lambda t, m: m.update(marked=marked)).problem


def test_records_without_a_boundary_in_the_alphabet_are_refused(small):
    assert "boundary" in changed(small, lambda t, m: m.update(records="lines")).problem


def test_a_damaged_model_of_pieces_is_refused(tmp_path):
    random_checkpoint(learn_tokenizer("bpe", WORDS)).save(tmp_path / "model")

    def damage(tensors, meta):
        model = tensors["tokenizer.model"] = tensors["tokenizer.model"].copy()
        model[len(model) // 2] ^= 255

    assert "pieces" in changed(tmp_path / "model", damage).problem


def test_arrays_of_two_kinds_in_one_file_are_refused(small):
    model = np.zeros(5, np.uint8)
    assert "alphabet" in changed(small, lambda t, m: t.update({"tokenizer.model": model})).problem


def changed(path, change):
    """Rewrite the file, digest and all, after change(tensors, meta); refuse it as a checkpoint."""
    tensors, meta = tensorfile.read_tensors(path)
    change(tensors, meta)
    tensorfile.write_tensors(path, tensors, meta)
    return refused(path, str(path), load=Checkpoint.load)


def test_a_change_of_nothing_is_no_reason_to_refuse(small):
    with pytest.raises(pytest.fail.Exception):
        changed(small, lambda tensors, meta: None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [*ModelConfig(4, hidden=2, embedding=2).shapes(), "resume.seen"])
def test_a_number_that_is_not_finite_is_found_wherever_it_is(small, name, value):
    def poison(tensors, meta):
        tensors["resume.seen"] = np.zeros(3, np.float32)
        tensors[name] = tensors[name].copy()
        tensors[name].flat[-1] = value

    error = changed(small, poison)
    assert name in error.problem
    assert "finite" in error.problem


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, m: t.pop("head.bias"), "head.bias"),
        (lambda t, m: t.update(extra=np.zeros(1, np.float32)), "extra"),
        (lambda t, m: t.update({"head.bias": t["head.bias"][:-1]}), "head.bias is (3,)"),
        (lambda t, m: t.update({"head.weight": t["head.weight"].T}), "head.weight is (2, 4)"),
        (lambda t, m: t.update({"head.bias": np.zeros(4, np.int32)}), "int32"),
        (lambda t, m: m["model"].update(hidden=3), "weights do not fit"),
        (lambda t, m: m["model"].update(layers=2), "layers.1"),
        (lambda t, m: m["model"].update(cell="lstm"), "weights do not fit"),
        (lambda t, m: m["model"].update(vocab=5), "alphabet"),
    ],
)
def test_weights_that_do_not_fit_the_settings_are_named(small, change, words):
    assert words in changed(small, change).problem


@pytest.mark.parametrize("field", ["vocab", "layers", "hidden", "embedding"])
@pytest.mark.parametrize("value", [0, -1, 10**9, 2**63, 64.0, "64", True, None, [64], {}])
def test_a_size_that_is_no_sensible_number_is_refused(small, field, value):
    assert f"--{field}" in changed(small, lambda t, m: m["model"].update({field: value})).problem


def test_the_largest_sizes_that_settings_allow_allocate_nothing(small):
    sizes = {"layers": 64, "hidden": 16384, "embedding": 16384}
    tracemalloc.start()
    try:
        changed(small, lambda t, m: m["model"].update(sizes))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cell", ["os.system", "../gru", "GRU", "", 5, None, ["gru"]])
def test_a_cell_is_one_of_a_closed_list(small, cell):
    assert "--cell" in changed(small, lambda t, m: m["model"].update(cell=cell)).problem


@pytest.mark.parametrize("model", [None, [], "gru", 5, {"nonsense": 1}, {"__class__": "x"}])
def test_settings_of_another_shape_are_refused(small, model):
    changed(small, lambda t, m: m.update(model=model))


def test_a_checkpoint_without_a_model_is_refused(small):
    changed(small, lambda t, m: m.pop("model"))


@pytest.mark.parametrize(
    "codepoints",
    [
        np.array([98, 97, 233], np.uint32),
        np.array([97, 97, 233], np.uint32),
        np.array([97, 98, 0xD800], np.uint32),
        np.array([97, 0xDFFF, 0xE000], np.uint32),
        np.array([97, 98, 0x110000], np.uint32),
        np.array([97, 98, 2**32 - 1], np.uint32),
        np.array([97, 98, 233], np.int32),
        np.array([97, 98, 233], np.uint64),
        np.array([97, 98, 233], np.float32),
        np.array([[97, 98, 233]], np.uint32),
        np.array([97, 98], np.uint32),
        np.array([97, 98, 99, 233], np.uint32),
        np.zeros(0, np.uint32),
    ],
    ids=str,
)
def test_an_alphabet_that_cannot_be_is_refused(small, codepoints):
    error = changed(small, lambda t, m: t.update({"tokenizer.codepoints": codepoints}))
    assert "alphabet" in error.problem


@pytest.mark.parametrize(
    "counts", [np.ones(3, np.uint64), np.ones(4, np.int64), np.ones((4, 1), np.uint64)], ids=str
)
def test_training_counts_that_cannot_be_are_refused(small, counts):
    changed(small, lambda t, m: t.update({"tokenizer.counts": counts}))


@pytest.mark.parametrize("name", ["next", "shared", "size", "odds", "mixing"])
def test_missing_ngrams_are_refused(small, name):
    assert "n-grams" in changed(small, lambda t, m: t.pop(f"ngrams.{name}")).problem


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("next", lambda ids: np.append(ids[:-1], np.uint8(4))),
        ("next", lambda ids: ids.astype(np.int32)),
        ("next", lambda ids: ids.astype(np.float32)),
        ("next", lambda ids: ids[:-1]),
        ("next", lambda ids: ids[:0]),
        ("shared", lambda shared: shared[1:]),
        ("size", lambda size: size + np.uint64(1)),
        ("size", lambda size: size.astype(np.float64)),
        ("size", lambda size: size[0]),
        ("odds", lambda odds: -odds),
        ("odds", lambda odds: odds[:, 1:]),
        ("mixing", lambda weights: weights[:-1]),
        ("mixing", lambda weights: weights[:, 1:]),
        ("mixing", lambda weights: weights.astype(np.int64)),
    ],
)
def test_ngrams_that_cannot_be_are_refused(small, name, damaged):
    def damage(tensors, meta):
        tensors[f"ngrams.{name}"] = np.asarray(damaged(tensors[f"ngrams.{name}"]))

    assert "n-grams" in changed(small, damage).problem


@pytest.mark.parametrize(
    "damaged", [np.flip, lambda known: known.astype(np.int64), lambda known: known[:, None]]
)
def test_a_fingerprint_that_cannot_be_is_refused(small, damaged):
    def damage(tensors, meta):
        tensors["text.fingerprint"] = damaged(tensors["text.fingerprint"])

    assert "fingerprint" in changed(small, damage).problem


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["odds", "mixing"])
def test_numbers_of_ngrams_that_are_not_finite_are_refused(small, name, value):
    def damage(tensors, meta):
        array = tensors[f"ngrams.{name}"].copy()
        array.flat[0] = value
        tensors[f"ngrams.{name}"] = array

    assert f"ngrams.{name}" in changed(small, damage).problem


@pytest.mark.parametrize("length", [2, 4, 64])
def test_ngrams_of_another_length_than_the_settings_are_refused(small, length):
    error = changed(small, lambda t, m: m["model"].update(ngrams=length))
    assert f"a length of {length}" in error.problem


def test_ngrams_in_the_file_of_a_model_without_them_are_refused(small):
    assert "ngrams" in changed(small, lambda t, m: m["model"].update(ngrams=1)).problem


@pytest.mark.parametrize("value", [0, 65, -1, 2.0, "3", None])
def test_a_length_of_ngrams_that_is_no_sensible_number_is_refused(small, value):
    assert "--ngrams" in changed(small, lambda t, m: m["model"].update(ngrams=value)).problem


@pytest.mark.parametrize("kind", [None, "byte", "os.system", 5, ["char"]])
def test_another_kind_of_tokenizer_is_refused(small, kind):
    changed(small, lambda t, m: m.update(tokenizer=kind))


@pytest.mark.parametrize("name", ["tokenizer.codepoints", "tokenizer.counts"])
def test_a_missing_alphabet_is_refused(small, name):
    changed(small, lambda t, m: t.pop(name))


@given(st.data())
def test_any_mutation_of_a_checkpoint_is_refused(tmp_path_factory, data):
    """Cuts, splices and overwritten pieces, wherever they fall."""
    path = tmp_path_factory.getbasetemp() / "mutant.safetensors"
    full_checkpoint().save(path)
    whole = path.read_bytes()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    mutant = whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:]
    if mutant != whole:
        path.write_bytes(mutant)
        refused(path, load=Checkpoint.load)
