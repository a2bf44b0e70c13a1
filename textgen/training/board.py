"""A run's figures where TensorBoard shows them, while it is trained.

>>> board = Board("logs", "corpus", step=0)
>>> board.write(10, {"nats/training": 1.5})
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from textgen.errors import MachineError
from textgen.files import write_error

# Seconds until what was written can be seen.
FLUSH_SECONDS = 10


def check_board() -> None:
    """Raise MachineError where the package of TensorBoard is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        fix = "pip install 'textgen-rnn[tensorboard]'"
        raise MachineError("--tensorboard", "the package tensorboard is missing", fix)


class Board:
    """The folder of a run below the one that TensorBoard is pointed at."""

    def __init__(self, folder: str, run: str, step: int) -> None:
        """Open it, for a run that goes on after a step: what it says of later ones is dropped.

        Raises:
            MachineError: it cannot be written, or the package is missing.
        """
        check_board()
        from torch.utils.tensorboard import SummaryWriter

        path = Path(folder) / run
        try:
            self._writer = SummaryWriter(str(path), purge_step=step + 1, flush_secs=FLUSH_SECONDS)
        except OSError as error:
            raise write_error(path, error) from error

    def write(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Write the figures of a step under their names; those that are None there are not."""
        for name, value in figures.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
