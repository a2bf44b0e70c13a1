"""Windows as tensors on the device that trains, without a wait for it.

On a CPU they are the arrays that streams return. On CUDA the text itself lies on the device where
it fits, in its small integers with the table of their ids, so that a step sends no more than where
its rows begin; a larger text, or one of records, sends its windows from pinned memory.

    >>> windows = Windows(streams, torch.device("cuda"))
    >>> x_TB, y_TB, keep_B = windows.at(epoch=0, index=0)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from textgen.data import MappedIds, RecordStreams, Streams

# Of the free memory of a device, what a text may take; activations need the rest.
TEXT_SHARE = 0.25
# Characters that are sent at once.
PIECE = 1 << 24


class Window(NamedTuple):
    """What a step trains on: x_TB and y_TB, int64, and which rows keep their state.

    keep_B: (B,) bool; None where all rows do.
    """

    x_TB: Tensor
    y_TB: Tensor
    keep_B: Tensor | None


class Windows:
    """The windows of streams on a device.

    Args:
        streams: the windows.
        device: where they shall be.
        holds_text: whether the text lies on the device; None: on CUDA if it fits.
    """

    def __init__(
        self,
        streams: Streams | RecordStreams,
        device: torch.device,
        holds_text: bool | None = None,
    ) -> None:
        self.streams, self.device = streams, device
        self._text: DeviceText | None = None
        if isinstance(streams, Streams) and (
            _fits(streams, device) if holds_text is None else holds_text
        ):
            self._text = DeviceText(streams, device)

    def at(self, epoch: int, index: int) -> Window:
        """Return the window of a position."""
        if self._text is not None:
            starts_B, reset_B = self._text.streams.starts_at(epoch, index)
            x_TB, y_TB = self._text.block(_send(starts_B, self.device))
        else:
            x, y, reset_B = self.streams.window_at(epoch, index)
            x_TB, y_TB = _send(x, self.device), _send(y, self.device)
        return Window(x_TB, y_TB, _send(~reset_B, self.device) if reset_B.any() else None)


class DeviceText:
    """A text on a device, from which windows are gathered there."""

    def __init__(self, streams: Streams, device: torch.device) -> None:
        self.streams = streams
        indices, table = _indices_and_table(streams)
        self._indices = _send_all(indices, device)
        self._table = None if table is None else _send_all(table.astype(np.int64), device)
        self._steps_T = torch.arange(streams.window + 1, device=device)

    def block(self, starts_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_TB and y_TB of rows that begin at starts_B."""
        block_TB = self._indices[self._steps_T[:, None] + starts_B].long()
        if self._table is not None:
            block_TB = self._table[block_TB]
        return block_TB[:-1], block_TB[1:]


def _fits(streams: Streams, device: torch.device) -> bool:
    """Tell whether a text may lie on a device: on CUDA, in a share of what is free."""
    if device.type != "cuda":
        return False
    indices, _ = _indices_and_table(streams)
    size = len(indices) * _dtype_on_device(indices).itemsize
    return size <= TEXT_SHARE * torch.cuda.mem_get_info(device)[0]


def _indices_and_table(streams: Streams) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the small integers of a text, and what ids they stand for unless they are ids."""
    ids = streams.ids
    return (ids.char_indices, ids.table) if isinstance(ids, MappedIds) else (np.asarray(ids), None)


def _dtype_on_device(array: np.ndarray) -> torch.dtype:
    """Return the type of a text's integers on a device; torch has few operations on uint16."""
    if array.dtype.itemsize == 1:
        return torch.uint8
    return torch.int32 if array.dtype.itemsize < 8 else torch.int64


def _send_all(array: np.ndarray, device: torch.device) -> Tensor:
    """Return a long array on a device, sent piece by piece."""
    sent = torch.empty(len(array), dtype=_dtype_on_device(array), device=device)
    for start in range(0, len(array), PIECE):
        piece = np.asarray(array[start : start + PIECE])
        small = piece.astype(np.uint8 if sent.dtype == torch.uint8 else np.int64)
        sent[start : start + PIECE].copy_(torch.from_numpy(small))
    return sent


def _send(array: np.ndarray, device: torch.device) -> Tensor:
    """Return an array on a device; on CUDA it is on its way, and nothing waits for it."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
