"""A network as a graph of ONNX, made from its weights with no help from torch.

One graph reads a window: ids (T, B) and the state before it, and gives logits (T, B, V) and the
state after it. T and B are free, so a window of one id is a step.

    >>> description = write_onnx(Checkpoint.load(path), Path("model.onnx"))

Shapes: T time steps, B rows, V ids, E embedding, H hidden, G gates.

ONNX's own operators compute the same equations as torch.nn with the gates in another order: RNN and
LSTM as they are, GRU with linear_before_reset, which puts the recurrent bias of n inside r's reach
as torch does. Source: ONNX's operators, opset 14.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textgen.checkpoint import Checkpoint
from textgen.config import ModelConfig
from textgen.errors import MachineError, UsageError
from textgen.export.description import Description
from textgen.files import Tensors, check_name, write_output
from textgen.version import __version__

if TYPE_CHECKING:
    import onnx

SUFFIX = ".onnx"
# Old enough for the runtimes that are in use; the recurrent operators have not changed since.
OPSET, FILE_FORMAT = 17, 8
# Bytes: a message of protocol buffers can be no longer, and the graph has room beside the weights.
LARGEST_WEIGHTS = 2_000_000_000
# Of each cell: its operator, and where its gates stand among torch's.
OPERATORS: dict[str, tuple[str, tuple[int, ...]]] = {
    "rnn": ("RNN", (0,)),
    # i, f, g, o there; i, o, f, g here.
    "lstm": ("LSTM", (0, 3, 1, 2)),
    # r, z, n there; z, r, n here.
    "gru": ("GRU", (1, 0, 2)),
}


def write_onnx(checkpoint: Checkpoint, path: Path) -> Description:
    """Write the network of a checkpoint as a graph, and beside it what its ids stand for.

    Args:
        checkpoint: its n-grams are left out.
        path: a .onnx file; the description is in it, and once more in PATH.json, for programs
            that cannot read a graph's metadata.

    Returns:
        The description.

    Raises:
        UsageError: path cannot be such a file, or the weights do not fit into one.
        MachineError: onnx is missing, or a file cannot be written.
    """
    check_graph(checkpoint.model, path)
    description = Description.of(checkpoint)
    text = description.to_json()
    graph = build_graph(checkpoint.model, checkpoint.weights)
    write_output(path, [_pack(graph, text)])
    write_output(path.with_name(path.name + ".json"), [text.encode()])
    return description


def check_graph(model: ModelConfig, path: Path) -> None:
    """Check that a graph of these sizes can be made and written, before the work."""
    check_name(path)
    if path.suffix.lower() != SUFFIX:
        raise UsageError("--out", f"{path.name!r} does not end in {SUFFIX}", "name a .onnx file")
    if importlib.util.find_spec("onnx") is None:
        fix = "pip install 'textgen-rnn[export]'"
        raise MachineError("--to onnx", "the package onnx is missing", fix)
    if 4 * model.parameters() > LARGEST_WEIGHTS:
        problem = f"{4 * model.parameters():,} bytes of weights, a graph holds {LARGEST_WEIGHTS:,}"
        raise UsageError("--to onnx", problem, "use --to huggingface")


def build_graph(model: ModelConfig, weights: Tensors) -> onnx.GraphProto:
    """Return the graph of a network.

    Args:
        model: the sizes.
        weights: the parameters of `model.shapes()`; the graph has them in float32.
    """
    from onnx import TensorProto, helper

    float32 = TensorProto.FLOAT
    constants = {
        "embedding": weights["embedding.weight"],
        "head": weights["head.weight"].T,
        "head_bias": weights["head.bias"],
        "direction": np.array([0]),
        "second": np.array([1]),
    }
    nodes = [helper.make_node("Gather", ["embedding", "ids"], ["features"])]
    features, outputs, states = "features", list[str](), list[str]()
    for layer in range(model.layers):
        constants |= _layer_constants(model, weights, layer)
        nodes += _layer_nodes(model, layer, features)
        features = f"out_{layer}"
        outputs.append(features)
        states += _state_names(model, layer)
    # With one layer the sum is that layer.
    nodes += [
        helper.make_node("Sum", outputs, ["total"]),
        helper.make_node("MatMul", ["total", "head"], ["scores"]),
        helper.make_node("Add", ["scores", "head_bias"], ["logits"]),
    ]
    sizes: list[str | int | None] = ["B", model.hidden]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["T", "B"])
    logits = helper.make_tensor_value_info("logits", float32, ["T", "B", model.vocab])
    before = [helper.make_tensor_value_info(name, float32, sizes) for name in states]
    after = [helper.make_tensor_value_info(f"next_{name}", float32, sizes) for name in states]
    initializers = [_initializer(name, array) for name, array in constants.items()]
    return helper.make_graph(nodes, "textgen", [ids, *before], [logits, *after], initializers)


def _state_names(model: ModelConfig, layer: int) -> list[str]:
    """Return what the parts of a layer's state are called, as they go in."""
    return [f"{part}_{layer}" for part in ("hc" if model.cell == "lstm" else "h")]


def _layer_constants(model: ModelConfig, weights: Tensors, layer: int) -> Tensors:
    """Return the weights of a layer as its operator takes them, (1, G H, ...)."""

    def arrange(name: str) -> np.ndarray:
        blocks = np.split(weights[f"layers.{layer}.{name}_l0"], len(order))
        return np.concatenate([blocks[gate] for gate in order])[None]

    _, order = OPERATORS[model.cell]
    biases = np.concatenate([arrange("bias_ih"), arrange("bias_hh")], axis=1)
    return {
        f"input_{layer}": arrange("weight_ih"),
        f"recurrent_{layer}": arrange("weight_hh"),
        f"bias_{layer}": biases,
    }


def _layer_nodes(model: ModelConfig, layer: int, features: str) -> list[onnx.NodeProto]:
    """Return the operator of a layer, between nodes for the axis of directions that it has."""
    from onnx import helper

    operator, _ = OPERATORS[model.cell]
    settings: dict[str, Any] = {"hidden_size": model.hidden}
    if model.cell == "gru":
        settings["linear_before_reset"] = 1
    parameters = [f"{name}_{layer}" for name in ("input", "recurrent", "bias")]
    states = _state_names(model, layer)
    befores, afters = [f"{name}_before" for name in states], [f"{name}_after" for name in states]
    # The empty name is that of the lengths of rows, which are all T.
    inputs = [features, *parameters, "", *befores]
    return [
        *(
            helper.make_node("Unsqueeze", [name, "direction"], [before])
            for name, before in zip(states, befores, strict=True)
        ),
        helper.make_node(operator, inputs, [f"outputs_{layer}", *afters], **settings),
        helper.make_node("Squeeze", [f"outputs_{layer}", "second"], [f"out_{layer}"]),
        *(
            helper.make_node("Squeeze", [after, "direction"], [f"next_{name}"])
            for name, after in zip(states, afters, strict=True)
        ),
    ]


def _initializer(name: str, array: np.ndarray) -> onnx.TensorProto:
    from onnx import numpy_helper

    kind = np.int64 if array.dtype.kind == "i" else np.float32
    return numpy_helper.from_array(np.ascontiguousarray(array, dtype=kind), name)


def _pack(graph: onnx.GraphProto, description: str) -> bytes:
    """Return a file with a graph and the description; equal content gives equal bytes."""
    from onnx import helper

    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph,
        ir_version=FILE_FORMAT,
        opset_imports=opset,
        producer_name="textgen",
        producer_version=__version__,
    )
    helper.set_model_props(model, {"textgen": description})
    packed: bytes = model.SerializeToString(deterministic=True)
    return packed
