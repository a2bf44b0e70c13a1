"""The next id and the tree of ways to go on, against every way spelled out."""

import json
import math

import numpy as np
import pytest
from factories import call, learn_tokenizer, mixed_checkpoint, random_checkpoint, usage_error

from textgen.analysis.prediction import LEAST_LIKELY, grow_tree, predict
from textgen.checkpoint.loading import make_engine
from textgen.checkpoint.metadata import Metadata
from textgen.engine.network import log_softmax
from textgen.engine.stepper import first_distribution
from textgen.errors import TextError
from textgen.tokenizers.char import CharTokenizer

TEXT = "the cat sat on the mat\n\nand the dog sat on the log\n" * 3


def after(checkpoint, ids):
    """Probabilities of all ids after others."""
    if not len(ids):
        return first_distribution(checkpoint.tokenizer.counts)
    return np.exp(log_softmax(make_engine(checkpoint).read(np.array(ids), 1, None)[0])[0])


@pytest.mark.parametrize("prime", ["", "t", "the cat"])
def test_the_likeliest_are_those_of_the_stepper(prime):
    checkpoint = mixed_checkpoint(learn_tokenizer("char", TEXT), TEXT)
    found = predict(checkpoint, prime, likeliest=5)
    expected = after(checkpoint, checkpoint.tokenizer.encode(prime).astype(int))
    order = np.argsort(-expected, kind="stable")[:5]
    assert found.ids_K.tolist() == order.tolist()
    np.testing.assert_allclose(found.probabilities_K, expected[order], rtol=1e-9)
    assert (found.network_K is None) == (prime == "")
    if prime:
        assert found.network_weight > 0 and found.matched == min(len(prime), 4)
        share = json.loads(json.dumps(found.to_json()))["likeliest"][0]
        assert set(share) == {"next", "probability", "network", "ngrams"}


def ways(checkpoint, ids, likely, depth, width):
    """The tree as nested lists, each way read anew from the beginning of the text."""
    if not depth or (ids and ids[-1] == checkpoint.tokenizer.boundary_id and len(ids) > 1):
        return []
    reached = likely * after(checkpoint, ids)
    order = np.argsort(-reached, kind="stable")[:width].tolist()
    kept = [index for index in order if reached[index] >= LEAST_LIKELY]
    return [(reached[i], ways(checkpoint, [*ids, i], reached[i], depth - 1, width)) for i in kept]


def flattened(branches):
    """The probabilities of nested lists or of branches, in order."""
    for branch in branches:
        likely, below = (
            branch if isinstance(branch, tuple) else (branch.probability, branch.branches)
        )
        yield likely
        yield from flattened(below)


@pytest.mark.parametrize("kind", ["char", "byte"])
@pytest.mark.parametrize("prime", ["", "the "])
def test_a_tree_is_every_way_of_at_least_one_percent(kind, prime):
    checkpoint = mixed_checkpoint(learn_tokenizer(kind, TEXT), TEXT)
    found = grow_tree(checkpoint, prime, depth=4, width=3)
    expected = ways(checkpoint, checkpoint.tokenizer.encode(prime).tolist(), 1.0, 4, 3)
    np.testing.assert_allclose(
        list(flattened(found.branches)), list(flattened(expected)), rtol=1e-6
    )
    assert found.probability == 1.0 and found.name == prime


def test_records_begin_at_a_boundary_and_end_at_one():
    tokenizer = CharTokenizer.from_text("annabob", marked=True)
    checkpoint = random_checkpoint(tokenizer, Metadata(records="lines"), scale=0.3)
    boundary = tokenizer.boundary_id
    found = predict(checkpoint, "", likeliest=tokenizer.size)
    np.testing.assert_allclose(
        found.probabilities_K, sorted(after(checkpoint, [boundary]), reverse=True)
    )
    tree = grow_tree(checkpoint, "", depth=3, width=tokenizer.size)
    expected = ways(checkpoint, [boundary], 1.0, 3, tokenizer.size)
    np.testing.assert_allclose(list(flattened(tree.branches)), list(flattened(expected)), rtol=1e-6)
    ends = [branch for branch in tree.branches if branch.name == "<end>"]
    assert ends and not ends[0].branches


def test_what_cannot_be_asked():
    checkpoint = mixed_checkpoint(learn_tokenizer("char", TEXT), TEXT)
    assert usage_error(grow_tree, checkpoint, "the", depth=0).subject == "--tree"
    assert usage_error(grow_tree, checkpoint, "the", depth=101).subject == "--tree"
    assert usage_error(grow_tree, checkpoint, "the", depth=1, width=0).subject == "-k"
    with pytest.raises(TextError, match="prime"):
        predict(checkpoint, "Ω")


class TestCommand:
    @pytest.fixture
    def model(self, tmp_path):
        mixed_checkpoint(learn_tokenizer("char", TEXT), TEXT).save(tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors"

    def test_the_table_has_a_bar_for_each(self, model, capsys):
        _, out, _ = call(capsys, "predict", model, "--prime", r"the\n", "-k", "3")
        title, head, *rows, weights = out.splitlines()
        assert title == r"after 'the\n'"
        assert head.split() == ["next", "model", "network", "n-grams"]
        shares = [float(row.split()[1]) for row in rows]
        assert shares == sorted(shares, reverse=True) and len(rows) == 3
        assert weights.startswith("weights of network and n-grams")

    def test_a_tree_joins_what_has_one_way(self, model, capsys):
        _, out, _ = call(capsys, "predict", model, "--prime", "the ", "--tree", "3", "-k", "1")
        root, only = out.splitlines()
        assert root == "the "
        assert only.startswith("└─ ")
        _, out, _ = call(capsys, "predict", model, "--prime", "the ", "--tree", "3", "--json")
        found = json.loads(out)
        assert math.isclose(found["probability"], 1) and len(found["branches"]) == 3
