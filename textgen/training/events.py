"""The figures of a run as events that TensorBoard reads, beside metrics.jsonl.

>>> events = EventLog(Path("tensorboard"), "corpus")
>>> events.write(1200, {"val_nats": 1.35})
>>> events.close()
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from textgen.errors import MachineError, UsageError
from textgen.files import check_name, write_error

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# TensorBoard's name for each figure; what stands before the slash is a heading there.
TAGS = {
    "train_nats": "nats per character/training, network under dropout",
    "val_nats": "nats per character/validation",
    "network_nats": "nats per character/validation, network alone",
    "lr": "training/learning rate",
    "grad_norm": "training/gradient norm",
    "chars_per_second": "training/characters per second",
}


def check_events(folder: Path) -> None:
    """Check that events can be written below a folder, which is made.

    Raises:
        UsageError: folder cannot be the name of one.
        MachineError: tensorboard is missing, or the folder cannot be made.
    """
    check_name(folder)
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        fix = "pip install 'textgen-rnn[tensorboard]'"
        raise MachineError("--tensorboard", "needs the package tensorboard", fix) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error


class EventLog:
    """Writes the figures of one run into a subfolder of its name.

    Args:
        folder: that TensorBoard is pointed at.
        name: of the run.
        resumed_at: the step where a run was stopped that is resumed; TensorBoard then drops what
            was written of later ones. None for a new run.

    Raises:
        UsageError: another run has written there.
        MachineError: the folder cannot be made.
    """

    def __init__(self, folder: Path, name: str, resumed_at: int | None = None) -> None:
        self.folder, self.resumed_at = folder / name, resumed_at
        self._writer: SummaryWriter | None = None
        if resumed_at is None and any(self.folder.glob("events.out.tfevents.*")):
            problem = f"{self.folder} already holds the curves of another run"
            raise UsageError("--tensorboard", problem, "remove them, or name another folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.folder, error) from error

    def write(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Write the figures that have tags; raise MachineError when that fails."""
        try:
            if self._writer is None:
                self._writer = self._open()
            for name, tag in TAGS.items():
                if (value := figures.get(name)) is not None:
                    self._writer.add_scalar(tag, value, step)
            self._writer.flush()
        except OSError as error:
            raise write_error(self.folder, error) from error

    def close(self) -> None:
        """Close the file; a folder in which nothing was written goes away."""
        # What a full disk did not take was an error when it was written.
        with contextlib.suppress(OSError):
            if self._writer is not None:
                self._writer.close()
            else:
                self.folder.rmdir()

    def _open(self) -> SummaryWriter:
        """Make the file of this sitting: not before there are figures, as runs can end early."""
        from torch.utils.tensorboard import SummaryWriter

        first = None if self.resumed_at is None else self.resumed_at + 1
        return SummaryWriter(str(self.folder), purge_step=first)
