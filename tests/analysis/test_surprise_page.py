"""The figures on the page of a coloured text are those that were measured."""

import base64
import json
import math
import zlib

import numpy as np
import pytest
from factories import call, learn_tokenizer, mixed_checkpoint, random_checkpoint

from textgen.analysis.surprise import measure_surprise
from textgen.analysis.surprise_page import (
    COLOURED_CHARS,
    NOT_ASKED,
    render_surprise,
    surprise_values,
)

TEXT = "the cat sat on the mat\nthé dog sat on the log, 😀\n"


def columns_of(values):
    """The arrays that the page's script reads."""
    data = json.loads(str(values["data"]))
    raw = zlib.decompress(base64.b64decode(data["packed"]))
    return {
        name: np.frombuffer(raw, f"<u{size}", count, start)
        for name, (start, count, size) in data["columns"].items()
    }


def test_costs_and_expectations_are_those_that_were_measured():
    checkpoint = mixed_checkpoint(learn_tokenizer("char", TEXT), TEXT)
    surprise = measure_surprise(checkpoint, TEXT)
    columns = columns_of(surprise_values(surprise, checkpoint.tokenizer))
    np.testing.assert_allclose(columns["cost"] / 1000 * math.log(2), surprise.nats_N, atol=4e-4)
    np.testing.assert_array_equal(columns["rank"], surprise.ranks_N)
    np.testing.assert_array_equal(columns["likeliest"], surprise.likeliest_NK.reshape(-1))
    np.testing.assert_allclose(
        columns["probability"] / 1000, surprise.probabilities_NK.reshape(-1), atol=6e-4
    )
    np.testing.assert_allclose(
        columns["network_weight"] / 100 - 1, surprise.network_weight_N, atol=6e-3
    )
    # The first character is asked of neither part.
    assert columns["network"][0] == columns["ngrams"][0] == NOT_ASKED


def test_a_network_alone_has_no_parts():
    tokenizer = learn_tokenizer("char", TEXT)
    surprise = measure_surprise(random_checkpoint(tokenizer), TEXT)
    values = surprise_values(surprise, tokenizer)
    assert not values["mixed"] and "ngrams" not in columns_of(values)


@pytest.mark.parametrize("text", ["ab\n" * 3000, "ab" * 4500, "a\n" + "b" * 5000, "a"])
def test_blocks_are_the_text(text):
    tokenizer = learn_tokenizer("char", "ab\n")
    surprise = measure_surprise(random_checkpoint(tokenizer), text)
    blocks = surprise_values(surprise, tokenizer)["blocks"]
    assert "".join(block for _, block in blocks) == text
    # Here an id is a character.
    place = 0
    for start, block in blocks:
        assert start == place and len(block) <= 2 * COLOURED_CHARS
        place += len(block)


def test_bytes_are_joined_to_characters():
    tokenizer = learn_tokenizer("byte", TEXT)
    surprise = measure_surprise(random_checkpoint(tokenizer), "é😀a")
    columns = columns_of(surprise_values(surprise, tokenizer))
    assert len(columns["cost"]) == 3
    assert columns["cost"][1] == pytest.approx(
        surprise.nats_N[2:6].sum() / math.log(2) * 1000, abs=1
    )


def test_the_command_writes_the_page_of_a_file(tmp_path, capsys):
    mixed_checkpoint(learn_tokenizer("char", TEXT), TEXT).save(tmp_path / "model.safetensors")
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    page = tmp_path / "page.html"
    code, out, _ = call(
        capsys, "score", tmp_path / "model.safetensors", tmp_path / "text.txt", "--html", page
    )
    assert code == 0 and "nats" in out
    assert "thé dog sat on the log, 😀" in page.read_text("utf-8")


@pytest.mark.slow
def test_a_long_text_weighs_little():
    """At most 25 bytes a character: figures are packed, the text stands there once."""
    tokenizer = learn_tokenizer("char", TEXT)
    text = TEXT * 400
    surprise = measure_surprise(mixed_checkpoint(tokenizer, TEXT), text)
    page = render_surprise(surprise, tokenizer, "text", "model")
    assert len(page.encode()) < 25 * len(text)
