"""Models as a server, in the shape of OpenAI's completions.

server -> app (gate, requests) -> jobs -> worker -> answers
"""

from textgen.serving.server import serve as serve

__all__ = ["serve"]
