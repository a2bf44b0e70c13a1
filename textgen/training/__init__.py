"""From a text to a run folder.

text -> setup (sizing, plan) -> loop (trainer, validation, log) -> run folder
"""

from textgen.training.loop import TrainResult as TrainResult
from textgen.training.loop import train as train

__all__ = ["TrainResult", "train"]
