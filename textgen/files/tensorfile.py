"""One file of tensors and settings, with a digest over all of it: written, read, verified.

The file is a .safetensors file, so any tool of that format reads it; nothing in it can run code.
`__metadata__` holds two strings: `textgen`, canonical JSON, and `sha256`, the digest of the whole
file with its own 64 digits set to zeros. Equal content gives equal bytes.

    >>> write(Path("model.safetensors"), {"head.bias": np.zeros(3, np.float32)}, {"format": 1})
    >>> tensors, meta = read(Path("model.safetensors"))

A file is verified in full when it is read: sizes against the file before anything is allocated,
then the digest, then that every number is finite.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from textgen.errors import CheckpointError
from textgen.files.atomic import write_output

FORMAT_VERSION = 1
DTYPES = {
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
    "F32": "<f4",
    "I32": "<i4",
    "U32": "<u4",
    "F16": "<f2",
    "U16": "<u2",
    "U8": "|u1",
}
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
LARGEST_HEADER = 100_000_000  # bytes, the limit of the format
LARGEST_META = 1_000_000  # characters of our JSON
NO_DIGEST = "0" * 64
RETRAIN = "use another copy of the file, or train again"

Tensors = dict[str, np.ndarray]


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write tensors and meta to path; a reader sees the old file or the whole new one."""
    text = json.dumps(meta, sort_keys=True, separators=(",", ":"), allow_nan=False)
    arrays = {name: _stored(tensors[name]) for name in _order(tensors)}
    header = _header(arrays, text, NO_DIGEST)
    digest = hashlib.sha256(header)
    for array in arrays.values():
        digest.update(array.data.cast("B") if array.size else b"")
    bodies = [array.data.cast("B") for array in arrays.values() if array.size]
    write_output(path, [_header(arrays, text, digest.hexdigest()), *bodies])


def _stored(array: np.ndarray) -> np.ndarray:
    """Return array as it lies in the file: contiguous, least significant byte first."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _order(tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Widest numbers first, then by name: every tensor starts at a multiple of its item size."""
    return sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))


def _header(arrays: Tensors, text: str, digest: str) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"sha256": digest, "textgen": text}}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        dtype = NAMES[array.dtype.newbyteorder("<")]
        entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    body = json.dumps(entries, separators=(",", ":")).encode()
    body += b" " * (-len(body) % 8)
    return len(body).to_bytes(8, "little") + body


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors and meta of a file that `write` made; raise CheckpointError if damaged."""
    data = _read_bytes(path)
    header = _parse_header(path, data)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or set(metadata) != {"textgen", "sha256"}:
        fix = "use a checkpoint that textgen train wrote"
        raise CheckpointError(str(path), "is not a textgen checkpoint", fix)
    meta = _parse_meta(path, metadata["textgen"])
    body = memoryview(data)[8 + int.from_bytes(data[:8], "little") :]
    spans = _check_spans(path, header, len(body))
    _check_digest(path, data, str(metadata["sha256"]))
    tensors = {}
    for name, (dtype, shape, start, end) in spans.items():
        try:
            array = np.frombuffer(body[start:end], dtype=dtype).reshape(shape)
        except ValueError as error:  # more dimensions, or a longer one, than an array can have
            raise CheckpointError(str(path), f"damaged header: {name}: {error}", RETRAIN) from None
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CheckpointError(str(path), f"{name} holds numbers that are not finite", RETRAIN)
        tensors[name] = array
    return tensors, meta


def _read_bytes(path: Path) -> bytes:
    if os.path.exists(path) and not os.path.isfile(path):  # unlike Path's, these never raise
        raise CheckpointError(str(path), "is not a file", "name a .safetensors file or a run")
    try:
        data = path.read_bytes()
    except (FileNotFoundError, ValueError):  # ValueError: a NUL in the name
        raise CheckpointError(str(path), "no such file", "check the path") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(str(path), f"cannot be read: {reason}", "check the file") from error
    claimed = int.from_bytes(data[:8], "little")
    if len(data) < 10 or claimed > LARGEST_HEADER or data[8:9] != b"{":
        fix = "name a file that textgen train wrote"
        raise CheckpointError(str(path), "is not a textgen checkpoint", fix)
    if 8 + claimed > len(data):
        problem = f"truncated: the header claims {claimed:,} bytes, the file has {len(data):,}"
        raise CheckpointError(str(path), problem, RETRAIN)
    return data


def _parse_header(path: Path, data: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a name stands twice")
        return dict(pairs)

    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size].decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(str(path), f"damaged header: {error}", RETRAIN) from None
    if not isinstance(header, dict):
        raise CheckpointError(str(path), "damaged header: not an object", RETRAIN)
    return header


def _parse_meta(path: Path, text: Any) -> dict[str, Any]:
    if not isinstance(text, str) or len(text) > LARGEST_META:
        raise CheckpointError(str(path), "its settings are no text of at most 1 MB", RETRAIN)
    try:
        meta = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(str(path), f"damaged settings: {error}", RETRAIN) from None
    version = meta.get("format") if isinstance(meta, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(str(path), f"format {version!r} is not a number", RETRAIN)
    if version > FORMAT_VERSION:
        problem = (
            f"made by a newer textgen (format {version}; this one reads up to {FORMAT_VERSION})"
        )
        raise CheckpointError(str(path), problem, "pip install -U textgen-rnn")
    return dict(meta)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _check_spans(
    path: Path, header: dict[str, Any], size: int
) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    """Return name -> (dtype, shape, start, end) after checking that the spans fill the file."""
    spans = {}
    try:
        for name, entry in header.items():
            dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
            start, end = entry["data_offsets"]
            numbers = (*shape, start, end)
            if any(type(n) is not int or n < 0 for n in numbers):
                raise ValueError(f"{name} has a size that is not a whole number")
            if end - start != math.prod(shape) * np.dtype(dtype).itemsize:
                raise ValueError(f"{name} of shape {shape} does not fit its {end - start} bytes")
            spans[name] = (dtype, shape, start, end)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(str(path), f"damaged header: {error}", RETRAIN) from None
    position = 0
    for name, (_, _, start, end) in sorted(spans.items(), key=lambda item: item[1][2:]):
        if start != position:
            raise CheckpointError(str(path), f"damaged: {name} leaves a gap or overlaps", RETRAIN)
        position = end
    if position != size:
        problem = f"truncated or padded: tensors need {position:,} bytes, the file has {size:,}"
        raise CheckpointError(str(path), problem, RETRAIN)
    return spans


def _check_digest(path: Path, data: bytes, stated: str) -> None:
    place = data.find(b'"sha256":"' + stated.encode("utf-8", "surrogatepass") + b'"')
    start = place + len(b'"sha256":"')
    digest = hashlib.sha256(memoryview(data)[:start])
    digest.update(NO_DIGEST.encode())
    digest.update(memoryview(data)[start + len(NO_DIGEST) :])
    if len(stated) != len(NO_DIGEST) or place < 0 or digest.hexdigest() != stated:
        raise CheckpointError(str(path), "checksum mismatch: the file is damaged", RETRAIN)
