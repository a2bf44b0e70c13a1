"""A trained network for programs that have no textgen.

checkpoint -> description; checkpoint, description -> onnx_graph or hugging_face
"""

from textgen.export.hugging_face import write_hugging_face as write_hugging_face
from textgen.export.onnx_graph import write_onnx as write_onnx
from textgen.export.web_page import rounding_cost as rounding_cost
from textgen.export.web_page import share_page as share_page

__all__ = ["rounding_cost", "share_page", "write_hugging_face", "write_onnx"]
