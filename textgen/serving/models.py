"""The models of a server, each with a name of its own.

>>> models = load_models(["checkpoints/corpus", "demo"])
>>> models["corpus"].tokenizer
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import urlencode

from textgen.checkpoint import Checkpoint, find_checkpoint, newest_checkpoint, stepper_of
from textgen.export import share_page
from textgen.sampling import Together
from textgen.tokenizers import BOUNDARY

# What the best weights of a run are called; the run's folder is its name then.
BEST_STEM = "best"


class ServedModel:
    """A model that writes the texts of many requests together.

    Attributes:
        name: as requests name it.
        checkpoint: what it was loaded from.
        stepper: what predicts the next id.
        together: the texts that are being written.
    """

    def __init__(self, name: str, checkpoint: Checkpoint) -> None:
        self.name, self.checkpoint = name, checkpoint
        self.tokenizer = checkpoint.tokenizer
        self.stepper = stepper_of(checkpoint)
        self.together = Together(self.stepper)
        self._page: str | None = None

    @cached_property
    def texts_of_ids(self) -> list[str]:
        r"""What each id is called among tokens: its text, or its bytes as in OpenAI's answers."""
        return [text_of_symbol(symbol) for symbol in self.tokenizer.symbols()]

    def page(self, names: Iterable[str]) -> str:
        """Return the page that writes with the model in a browser.

        Args:
            names: of all models of the server, of which it offers the others.
        """
        if self._page is None:
            links = {name: f"?{urlencode({'model': name})}" for name in names if name != self.name}
            self._page = share_page(self.checkpoint, self.name, others=links).html
        return self._page


def load_models(names: Sequence[str]) -> dict[str, ServedModel]:
    """Return the models of checkpoint files and run folders by their names, in that order.

    Args:
        names: files or folders; none for the newest run, else the demo.

    Raises:
        CheckpointError: if one is missing or damaged.
    """
    models: dict[str, ServedModel] = {}
    for path in [find_checkpoint(name) for name in names] or [newest_checkpoint()]:
        name = free_name(path, models)
        models[name] = ServedModel(name, Checkpoint.load(path))
    return models


def free_name(path: Path, taken: dict[str, ServedModel]) -> str:
    """Return the name of a checkpoint: that of its run or of its file, with a number if taken."""
    path = path.absolute()
    name = path.parent.name if path.stem == BEST_STEM else path.stem
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def text_of_symbol(symbol: bytes) -> str:
    r"""Return what an id is called that stands for some bytes: 'e', 'bytes:\xe2', '<unk>'."""
    if symbol == BOUNDARY:
        return "<end>"
    if not symbol:
        return "<unk>"
    try:
        return symbol.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in symbol)
