"""A trained network for programs that have no textgen.

checkpoint -> description; checkpoint, description -> onnx_graph or hugging_face
"""

from textgen.export.hugging_face import write_hugging_face as write_hugging_face
from textgen.export.onnx_graph import write_onnx as write_onnx

__all__ = ["write_hugging_face", "write_onnx"]
