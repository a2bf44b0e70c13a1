"""What a program without textgen is told of a model, read back from the JSON alone."""

import base64
import json

import numpy as np
import pytest
import sentencepiece
from factories import learn_tokenizer, mixed_checkpoint, random_checkpoint

from textgen.checkpoint.metadata import Metadata
from textgen.data import TextIdentity
from textgen.export.description import Description
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer
from textgen.version import __version__

TEXT = "the cät sat on the mat\n\tand 漢字\r\n" * 3


def described(checkpoint):
    return json.loads(Description.of(checkpoint).to_json())


def test_characters_give_ids_and_ids_give_characters():
    tokenizer = learn_tokenizer("char", TEXT)
    found = described(random_checkpoint(tokenizer))
    ids = [found["characters"].index(char) for char in TEXT]
    assert ids == tokenizer.encode(TEXT).tolist()
    assert found["characters"][0] == "\ufffd" and "units" not in found
    assert found["counts"] == [0, *(TEXT.count(char) for char in found["characters"][1:])]


@pytest.mark.parametrize("kind", ["byte", "bpe", "unigram"])
def test_units_of_ids_join_to_the_text(kind):
    tokenizer = learn_tokenizer(kind, TEXT)
    found = described(random_checkpoint(tokenizer))
    ids = tokenizer.encode(TEXT).tolist()
    assert b"".join(bytes(found["units"][i]) for i in ids).decode() == TEXT
    assert "characters" not in found


def test_a_model_of_pieces_comes_along():
    tokenizer = learn_tokenizer("bpe", TEXT)
    model = base64.b64decode(described(random_checkpoint(tokenizer))["sentencepiece"])
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert pieces.encode(TEXT) == tokenizer.encode(TEXT).tolist()


@pytest.mark.parametrize(
    "tokenizer", [CharTokenizer.from_text("ab", True), ByteTokenizer(None, True)]
)
def test_the_boundary_between_records_has_an_id_and_no_text(tokenizer):
    found = described(random_checkpoint(tokenizer))
    assert found["boundary_id"] == tokenizer.size - 1
    assert not (found.get("characters") or found["units"])[-1]


def test_sizes_text_and_version_are_told():
    text = TextIdentity("a.txt", 5, "0" * 64)
    checkpoint = mixed_checkpoint(learn_tokenizer("char", TEXT), TEXT, Metadata(corpus=text))
    found = described(checkpoint)
    sizes = checkpoint.model
    assert found["model"] == {
        "vocab": sizes.vocab,
        "cell": "gru",
        "layers": 1,
        "hidden": 8,
        "embedding": 4,
    }
    assert found["text"] == {"name": "a.txt", "size": 5, "sha256": "0" * 64}
    assert found["textgen"] == __version__


def test_a_hostile_name_of_a_text_stays_ascii():
    text = TextIdentity("\x1b[2J\u202e\udcff</script>", 5, "0" * 64)
    checkpoint = random_checkpoint(learn_tokenizer("char", TEXT), Metadata(corpus=text))
    written = Description.of(checkpoint).to_json()
    assert written.isascii() and written.isprintable()
    assert json.loads(written)["text"]["name"] == text.name


METRICS = {"val_nats": 1.25, "network_nats": 1.5}


@pytest.mark.parametrize(
    ("mixed", "metrics", "nats", "words"),
    [
        (True, METRICS, (1.5, 1.25), "1.5000 nats a character by the network, 1.2500 nats"),
        (False, METRICS, (1.25, 1.25), "validation: 1.2500 nats a character by the network"),
        (True, {"val_nats": 1.25}, (None, 1.25), "an unrecorded figure by the network, 1.2500"),
        (False, None, (None, None), "validation: an unrecorded figure by the network"),
        (True, {"val_nats": "1", "network_nats": np.inf}, (None, None), "unrecorded"),
    ],
)
def test_figures_are_those_that_were_recorded(mixed, metrics, nats, words):
    tokenizer, metadata = learn_tokenizer("char", TEXT), Metadata(metrics=metrics)
    checkpoint = (
        mixed_checkpoint(tokenizer, TEXT, metadata)
        if mixed
        else random_checkpoint(tokenizer, metadata)
    )
    description = Description.of(checkpoint)
    found = json.loads(description.to_json())["nats"]
    assert (found["network"], found["with_ngrams"]) == nats
    assert words in description.summary()
    assert ("not exported" in description.summary()) == mixed
