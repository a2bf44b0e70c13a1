"""Folders for transformers, loaded and run by it, against the numpy engine and the tokenizers."""

import ast
import json
import os
import re

import numpy as np
import pytest
import torch
from factories import call, full_checkpoint, learn_tokenizer, random_checkpoint, usage_error
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.checkpoint.metadata import Metadata
from textgen.data import TextIdentity
from textgen.engine.network import Engine
from textgen.errors import MachineError
from textgen.export.hugging_face import COMPANIONS, write_hugging_face
from textgen.tokenizers.byte import ByteTokenizer
from textgen.tokenizers.char import CharTokenizer

TEXT = "the cät sat\u2581on <unk> <boundary> <0x41>\n\tand  \u2581\u2581 漢字\r\n The"
NETWORKS = [(cell, layers) for cell in ("rnn", "lstm", "gru") for layers in (1, 2)]
KINDS = ["char", "byte", "bpe", "unigram"]


def load(transformers, folder):
    """The model and the tokenizer of a folder."""
    return (
        transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True),
        transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True),
    )


def greedy(checkpoint, ids, number):
    """The likeliest ids after ids, one by one, by the engine; never <unk>."""
    engine = Engine(checkpoint.model, checkpoint.weights)
    logits_BV, state = engine.read(np.array(ids), 1)
    written = []
    for _ in range(number):
        written.append(1 + int(logits_BV[0, 1:].argmax()))
        logits_BV, state = engine.step(np.array(written[-1:]), state)
    return written


def write(model, ids, **options):
    """The ids that generate writes after ids."""
    ids_BT = torch.tensor(ids)
    with torch.no_grad():
        whole_BT = model.generate(ids_BT, max_new_tokens=12, do_sample=False, **options)
    return whole_BT[:, ids_BT.shape[1] :].tolist()


# The model


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "layers"), NETWORKS)
def test_logits_and_texts_are_those_of_the_engine(cell, layers, transformers, tmp_path):
    tokenizer = learn_tokenizer("char", TEXT)
    checkpoint = random_checkpoint(tokenizer, scale=0.4, cell=cell, layers=layers)
    write_hugging_face(checkpoint, tmp_path / "model")
    model, _ = load(transformers, tmp_path / "model")
    ids_TB = np.random.default_rng(0).integers(1, tokenizer.size, size=(9, 3))
    expected_TBV, _ = Engine(checkpoint.model, checkpoint.weights).logits(ids_TB, ids_TB, None)
    with torch.no_grad():
        whole = model(torch.tensor(ids_TB.T))
        first = model(torch.tensor(ids_TB[:4].T))
        rest = model(torch.tensor(ids_TB[4:].T), past_key_values=first.past_key_values)
    found_BTV = whole.logits.numpy()
    np.testing.assert_allclose(found_BTV.swapaxes(0, 1), expected_TBV, atol=1e-5)
    np.testing.assert_allclose(rest.logits.numpy(), found_BTV[:, 4:], atol=1e-6)
    ids_BT = ids_TB.T.tolist()
    written = write(model, ids_BT)
    assert written == [greedy(checkpoint, ids, 12) for ids in ids_BT]
    assert write(model, ids_BT, use_cache=False) == written
    assert write(model, ids_BT, num_beams=3) == write(model, ids_BT, num_beams=3, use_cache=False)


@pytest.fixture(scope="module")
def loaded(transformers, tmp_path_factory):
    """A checkpoint, and the model and tokenizer of its folder."""
    checkpoint = random_checkpoint(learn_tokenizer("char", TEXT), scale=0.4, cell="lstm")
    folder = tmp_path_factory.mktemp("loaded") / "model"
    write_hugging_face(checkpoint, folder)
    return checkpoint, *load(transformers, folder)


@pytest.mark.slow
def test_each_id_costs_one_step(loaded):
    _, model, _ = loaded
    widths = []
    handle = model.register_forward_pre_hook(
        lambda module, positional, named: widths.append(named["input_ids"].shape[1]),
        with_kwargs=True,
    )
    write(model, [[1, 2, 3]])
    handle.remove()
    assert widths == [3] + [1] * 11


@pytest.mark.slow
def test_a_text_goes_on_from_the_state_of_another(loaded):
    _, model, _ = loaded
    options = {"do_sample": False, "return_dict_in_generate": True}
    start = model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=5, **options)
    kept = {"past_key_values": start.past_key_values}
    more = model.generate(start.sequences, max_new_tokens=7, **kept, **options)
    assert more.sequences[0, 3:].tolist() == write(model, [[1, 2, 3]])[0]


@pytest.mark.slow
def test_padding_changes_nothing(loaded):
    checkpoint, model, tokenizer = loaded
    batch = tokenizer(["the", "the cät sat"], return_tensors="pt", padding=True)
    assert batch["attention_mask"][0].tolist() == [0] * 8 + [1] * 3
    whole_BT = model.generate(**batch, max_new_tokens=6, do_sample=False)
    ids = checkpoint.tokenizer.encode("the").tolist()
    assert whole_BT[0, -6:].tolist() == greedy(checkpoint, ids, 6)


@pytest.mark.slow
def test_labels_give_the_loss_that_the_engine_counts(loaded):
    checkpoint, model, _ = loaded
    ids_TB = np.random.default_rng(1).integers(1, checkpoint.tokenizer.size, size=(9, 2))
    engine = Engine(checkpoint.model, checkpoint.weights)
    nats_TB, _ = engine.nats(ids_TB[:-1], ids_TB[1:], None)
    ids_BT = torch.tensor(ids_TB.T)
    assert model(ids_BT, labels=ids_BT).loss.item() == pytest.approx(nats_TB.mean(), abs=1e-5)


@pytest.mark.slow
def test_what_was_loaded_can_be_saved_and_loaded(loaded, transformers, tmp_path):
    _, model, tokenizer = loaded
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "again")
    again, same = load(transformers, tmp_path / "again")
    assert same(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]
    assert write(again, [[1, 2, 3]]) == write(model, [[1, 2, 3]])


# The tokenizer


@pytest.fixture(scope="module", params=KINDS)
def tokenizers(request, transformers, tmp_path_factory):
    """A tokenizer, and the one of its folder."""
    own = learn_tokenizer(request.param, TEXT * 5)
    folder = tmp_path_factory.mktemp(request.param) / "model"
    write_hugging_face(random_checkpoint(own), folder)
    return own, load(transformers, folder)[1]


@pytest.mark.slow
def test_ids_are_ours_and_texts_come_back(tokenizers):
    own, theirs = tokenizers

    @settings(max_examples=40)
    @given(st.text(alphabet=st.one_of(st.sampled_from(TEXT), st.characters(codec="utf-8"))))
    def check(text):
        ids = own.encode(text, "replace").tolist()
        assert theirs(text)["input_ids"] == ids
        assert theirs.decode(ids) == own.decode(ids)

    check()
    assert theirs(TEXT)["input_ids"] == own.encode(TEXT).tolist()
    assert theirs.decode(theirs(TEXT)["input_ids"]) == TEXT
    assert len(theirs) == own.size


@pytest.mark.slow
@pytest.mark.parametrize(
    "own",
    [CharTokenizer.from_text("anna\nbob", True), ByteTokenizer(np.ones(257, np.uint64), True)],
)
def test_records_begin_and_end_with_the_boundary(own, transformers, tmp_path):
    checkpoint = random_checkpoint(own, Metadata(records="lines"))
    # The end is the likeliest of all, soon.
    checkpoint.weights["head.bias"][own.boundary_id] = 1
    write_hugging_face(checkpoint, tmp_path / "model")
    model, theirs = load(transformers, tmp_path / "model")
    ids = theirs("anna")["input_ids"]
    assert ids == [own.boundary_id, *own.encode("anna").tolist()]
    assert theirs.decode(ids, skip_special_tokens=True) == "anna"
    assert theirs.decode(ids) == "<boundary>anna"
    assert theirs.eos_token_id == model.generation_config.eos_token_id == own.boundary_id
    checkpoint.weights["head.bias"][own.boundary_id] = 100
    write_hugging_face(checkpoint, tmp_path / "ended")
    model, _ = load(transformers, tmp_path / "ended")
    assert write(model, [ids]) == [[own.boundary_id]]
    assert model.generate()[0].tolist() == [own.boundary_id] * 2


# The folder


def test_it_holds_what_a_reader_looks_for(tmp_path):
    write_hugging_face(full_checkpoint(), tmp_path / "model")
    assert sorted(os.listdir(tmp_path / "model")) == [
        "README.md",
        "config.json",
        "configuration_textgen.py",
        "generation_config.json",
        "model.safetensors",
        "modeling_textgen.py",
        "tokenization_textgen.py",
        "tokenizer_config.json",
        "vocab.json",
    ]
    assert os.listdir(tmp_path) == ["model"]
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["vocab_size"], config["hidden_size"], config["cell"]) == (4, 2, "gru")


def test_the_code_imports_nothing_but_torch_and_transformers():
    for path in COMPANIONS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [getattr(node, "module", None)] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            known = {"torch", "transformers", "sentencepiece", "configuration_textgen"}
            known |= {"json", "os", "re", "shutil", "typing"}
            assert {name.split(".")[0] for name in names} <= known


def test_an_empty_folder_is_filled_and_a_link_followed(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    write_hugging_face(full_checkpoint(), tmp_path / "link")
    assert (tmp_path / "empty" / "config.json").exists()
    assert sorted(os.listdir(tmp_path)) == ["empty", "link"]


@pytest.mark.parametrize("kind", ["folder", "file", "dangling"])
def test_nothing_is_overwritten(kind, tmp_path):
    out = tmp_path / "model"
    if kind == "folder":
        out.mkdir()
        (out / "mine").write_text("mine")
    elif kind == "file":
        out.write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    error = usage_error(write_hugging_face, full_checkpoint(), out)
    assert error.subject == "--out" and str(out) in error.problem
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_whose_parent_is_missing_is_refused(tmp_path):
    with pytest.raises(MachineError, match="make the folder first"):
        write_hugging_face(full_checkpoint(), tmp_path / "nowhere" / "model")


def test_what_goes_wrong_half_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(path, chunks):
        raise MachineError(str(path), "disk full", "free some space")

    monkeypatch.setattr("textgen.export.hugging_face.write_output", fail)
    with pytest.raises(MachineError, match="disk full"):
        write_hugging_face(full_checkpoint(), tmp_path / "model")
    assert not os.listdir(tmp_path)


def test_the_card_has_the_figures_and_the_text(tmp_path):
    metadata = Metadata(
        corpus=TextIdentity("a.txt", 1234, "0" * 64),
        metrics={"val_nats": 1.25, "network_nats": 1.5},
    )
    write_hugging_face(full_checkpoint(metadata=metadata), tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| nats a character, this network | 1.5000 |" in card
    assert "| nats a character, with the n-grams of textgen | 1.2500 |" in card
    assert "`a.txt`, 1,234 bytes" in card and "license: other # fill in" in card
    # "The " is not in the alphabet of abbaé, whose likeliest characters are a and b.
    assert 'tokenizer("a", return_tensors' in card


def test_a_hostile_name_of_a_text_stays_in_its_cell(tmp_path):
    name = "`|\n# <script>\x1b[2J\u202e $network ---"
    metadata = Metadata(corpus=TextIdentity(name, 5, "`0\n"))
    write_hugging_face(full_checkpoint(metadata=metadata), tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    (line,) = re.findall("^.*script.*$", card, re.M)
    assert line == "| text | `'/\\n# <script>\\x1b[2J\\u202e $network ---`, 5 bytes |"
    assert "sha256 `'0\\n`" in card


@pytest.mark.slow
def test_the_python_of_the_card_runs(transformers, tmp_path, monkeypatch, capsys):
    write_hugging_face(random_checkpoint(learn_tokenizer("char", TEXT)), tmp_path / "model")
    monkeypatch.chdir(tmp_path / "model")
    (code,) = re.findall(
        r"```python\n(.*?)```", (tmp_path / "model" / "README.md").read_text(), re.S
    )
    exec(code, {})
    assert capsys.readouterr().out.startswith("The ")


def test_the_command_makes_the_folder(small, tmp_path, capsys):
    out = tmp_path / "model"
    code, said, _ = call(capsys, "export", small, "--to", "huggingface", "--out", out)
    assert code == 0 and (out / "config.json").exists()
    assert f"{small} written to {out}\n" in said
