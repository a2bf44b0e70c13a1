"""Graphs of ONNX run by onnxruntime, against the numpy engine."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from factories import call, full_checkpoint, learn_tokenizer, random_checkpoint, usage_error

from textgen.checkpoint.metadata import Metadata
from textgen.config.model import ModelConfig
from textgen.engine.network import Engine
from textgen.errors import MachineError
from textgen.export.onnx_graph import check_graph, write_onnx
from textgen.tokenizers.char import CharTokenizer

TEXT = "the cat sat on the mat\n"
NETWORKS = [(cell, layers) for cell in ("rnn", "lstm", "gru") for layers in (1, 2, 3)]

onnx = pytest.importorskip("onnx", reason="onnx is in the extra export")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is in the extra dev")


def export(checkpoint, folder):
    """The session of an exported checkpoint, and its zero state for B rows."""
    path = folder / "model.onnx"
    write_onnx(checkpoint, path)
    session = onnxruntime.InferenceSession(path)
    return session, [entry.name for entry in session.get_inputs()[1:]]


def read(session, names, ids_TB, state):
    """Logits and the state after ids, as a list of arrays."""
    logits_TBV, *after = session.run(None, {"ids": ids_TB, **dict(zip(names, state, strict=True))})
    return logits_TBV, after


def draw_ids(checkpoint, steps, rows):
    return np.random.default_rng(0).integers(checkpoint.model.vocab, size=(steps, rows))


def zeros(checkpoint, names, rows):
    return [np.zeros((rows, checkpoint.model.hidden), np.float32) for _ in names]


@pytest.mark.parametrize(("cell", "layers"), NETWORKS)
@pytest.mark.parametrize("rows", [1, 4])
def test_windows_steps_and_states_are_those_of_the_engine(cell, layers, rows, tmp_path):
    tokenizer = learn_tokenizer("char", TEXT)
    checkpoint = random_checkpoint(tokenizer, scale=0.4, cell=cell, layers=layers)
    session, names = export(checkpoint, tmp_path)
    ids_TB = draw_ids(checkpoint, 12, rows)
    engine = Engine(checkpoint.model, checkpoint.weights)
    expected_TBV, state = engine.logits(ids_TB, ids_TB, None)
    start = zeros(checkpoint, names, rows)
    logits_TBV, after = read(session, names, ids_TB, start)
    np.testing.assert_allclose(logits_TBV, expected_TBV, atol=1e-5)
    parts = [part for layer in state for part in layer]
    for found, part in zip(after, parts, strict=True):
        np.testing.assert_allclose(found, part, atol=1e-5)
    # Cut anywhere, the state carries on.
    first_TBV, carried = read(session, names, ids_TB[:5], start)
    steps = [first_TBV]
    for t in range(5, len(ids_TB)):
        step_1BV, carried = read(session, names, ids_TB[t : t + 1], carried)
        steps.append(step_1BV)
    np.testing.assert_allclose(np.concatenate(steps), logits_TBV, atol=1e-6)
    for one, other in zip(carried, after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_checker_finds_nothing_wrong_and_names_say_what_goes_where(cell, tmp_path):
    checkpoint = random_checkpoint(learn_tokenizer("char", TEXT), cell=cell, layers=2)
    export(checkpoint, tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    states = ["h_0", "c_0", "h_1", "c_1"] if cell == "lstm" else ["h_0", "h_1"]
    assert [entry.name for entry in model.graph.input] == ["ids", *states]
    assert [entry.name for entry in model.graph.output] == [
        "logits",
        *(f"next_{n}" for n in states),
    ]
    sizes = [
        [size.dim_param or size.dim_value for size in entry.type.tensor_type.shape.dim]
        for entry in [*model.graph.input[:2], model.graph.output[0]]
    ]
    assert sizes == [["T", "B"], ["B", 8], ["T", "B", checkpoint.model.vocab]]


def test_weights_of_double_precision_are_written_in_single(tmp_path):
    checkpoint = random_checkpoint(learn_tokenizer("char", TEXT), scale=0.4)
    weights = {name: array.astype(np.float64) for name, array in checkpoint.weights.items()}
    session, names = export(full_checkpoint(model=checkpoint.model, weights=weights), tmp_path)
    ids_TB = draw_ids(checkpoint, 3, 2)
    logits_TBV, _ = read(session, names, ids_TB, zeros(checkpoint, names, 2))
    expected_TBV, _ = Engine(checkpoint.model, weights).logits(ids_TB, ids_TB, None)
    assert logits_TBV.dtype == np.float32
    np.testing.assert_allclose(logits_TBV, expected_TBV, atol=1e-5)


def test_the_description_stands_in_the_graph_and_beside_it(tmp_path):
    session, _ = export(full_checkpoint(), tmp_path)
    inside = session.get_modelmeta().custom_metadata_map["textgen"]
    assert inside == (tmp_path / "model.onnx.json").read_text()
    assert json.loads(inside)["characters"] == ["\ufffd", "a", "b", "é"]


def test_equal_models_give_equal_bytes(tmp_path):
    for name in ("one.onnx", "other.onnx"):
        write_onnx(full_checkpoint(), tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()


def test_records_begin_and_end_with_the_boundary(tmp_path):
    tokenizer = CharTokenizer.from_text("anna\nbob", marked=True)
    checkpoint = random_checkpoint(tokenizer, Metadata(records="lines"), scale=0.4)
    session, names = export(checkpoint, tmp_path)
    told = json.loads((tmp_path / "model.onnx.json").read_text())
    ids = np.array([[told["boundary_id"]]])
    logits_TBV, _ = read(session, names, ids, zeros(checkpoint, names, 1))
    engine = Engine(checkpoint.model, checkpoint.weights)
    expected_BV, _ = engine.step(np.array([tokenizer.boundary_id]), None)
    np.testing.assert_allclose(logits_TBV[0], expected_BV, atol=1e-5)


def test_the_command_says_what_the_figures_are(tmp_path, capsys):
    metadata = Metadata(metrics={"val_nats": 1.25, "network_nats": 1.5})
    full_checkpoint(metadata=metadata).save(tmp_path / "model.safetensors")
    out = tmp_path / "model.onnx"
    words = ["export", tmp_path / "model.safetensors", "--to", "onnx", "--out", out]
    code, said, _ = call(capsys, *words)
    assert code == 0 and out.exists() and f"{out} and model.onnx.json" in said
    assert "1.5000 nats a character by the network" in said
    assert "1.2500 nats a character with its n-grams, which are not exported" in said


@pytest.mark.slow
def test_the_command_needs_no_torch(small, tmp_path):
    code = "import sys\nfrom textgen.cli import main\nmain(sys.argv[1:])\n"
    code += "sys.exit('torch' in sys.modules)"
    words = ["export", str(small), "--to", "onnx", "--out", str(tmp_path / "model.onnx")]
    subprocess.run([sys.executable, "-c", code, *words], check=True)


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["--to", "tflite", "--out", "model.onnx"], 2, "'tflite' is not one of onnx, huggingface"),
        (["--to", "onnx", "--out", "model"], 2, "'model' does not end in .onnx"),
        (["--to", "onnx", "--out", "a\0b.onnx"], 2, "is not a file name"),
        (["--to", "onnx", "--out", "nowhere/model.onnx"], 5, "make the folder first"),
        (["--to", "onnx", "--out", "folder.onnx"], 5, "name a file"),
        (["--to", "onnx"], 2, "--out"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    words, exit_code, said, small, tmp_path, monkeypatch, capsys
):
    (tmp_path / "folder.onnx").mkdir()
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    code, out, err = call(capsys, "export", small, *words)
    assert (code, out) == (exit_code, "")
    assert said in err and err.count("\n") == 1
    assert set(tmp_path.rglob("*")) == before


def test_a_network_that_no_graph_can_hold_is_refused_before_the_work():
    model = ModelConfig(vocab=1_000_000, hidden=1024)
    error = usage_error(check_graph, model, Path("model.onnx"))
    assert f"{4 * model.parameters():,} bytes" in error.problem
    assert error.fix == "use --to huggingface"


def test_without_onnx_the_fix_is_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"pip install 'textgen-rnn\[export\]'"):
        check_graph(ModelConfig(), Path("model.onnx"))
