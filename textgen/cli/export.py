"""textgen export: its arguments, and what it does."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from textgen.cli.parser import Parser
from textgen.cli.terminal import show_lines
from textgen.config import check_choice
from textgen.errors import visible

TARGETS = ("onnx", "huggingface")


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `textgen export`."""
    help = "file or run folder (default: the newest run, else the demo)"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help=help)
    help = "onnx: a graph for onnxruntime; huggingface: a folder for transformers"
    parser.add_argument("--to", required=True, metavar="|".join(TARGETS), help=help)
    help = "the .onnx file, or the folder, which must be new or empty"
    parser.add_argument("--out", required=True, metavar="PATH", help=help)


def run(arguments: Namespace) -> None:
    """Write the network for another program, and say what it is worth without its n-grams."""
    from textgen.checkpoint import Checkpoint, find_checkpoint, newest_checkpoint
    from textgen.export import write_hugging_face, write_onnx

    check_choice("--to", arguments.to, TARGETS)
    named, out = arguments.checkpoint, Path(arguments.out)
    path = find_checkpoint(named) if named else newest_checkpoint()
    checkpoint, also = Checkpoint.load(path), ""
    if arguments.to == "onnx":
        description, also = write_onnx(checkpoint, out), f" and {out.name}.json"
    else:
        description = write_hugging_face(checkpoint, out)
    show_lines(visible(f"{path} written to {out}{also}"), description.summary())
