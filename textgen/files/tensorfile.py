"""One file of tensors and settings, with a digest over all of it: written, read, verified.

The file is a .safetensors file, so any tool of that format reads it; nothing in it can run code.
`__metadata__` holds two strings: `textgen`, canonical JSON, and `sha256`, the digest of the whole
file with its own 64 digits set to zeros. Equal content gives equal bytes.

    >>> path = Path("model.safetensors")
    >>> write_tensors(path, {"head.bias": np.zeros(3, np.float32)}, {"format": 1})
    >>> tensors, settings = read_tensors(path)

A file is verified in full when it is read: first the header and its sizes against the file, before
the rest of it is read, then the digest, then that every number is finite. The safetensors library
checks no digest, keeps the last of two entries of one name and hands out no metadata from bytes, so
the header is read here; tests hold that library and this reader against each other.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from textgen.errors import CheckpointError, UsageError, reason_of
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
# Bytes: the format allows more, and the settings with their escapes take less.
LARGEST_HEADER = 24_000_000
# Characters of our JSON: a few thousand, and the paths of a text in very many files.
LARGEST_SETTINGS = 8_000_000
# Separators in the JSON of either: a value takes up to a hundred times the room of its text, so
# that it is their number that bounds what the rest of the text can make of memory.
MOST_SEPARATORS = 400_000
JSON_SEPARATORS = "[{,:"
DIGEST_KEY = b'"sha256":"'
NO_DIGEST = "0" * 64
RETRAIN = "use another copy of the file, or train again"

Tensors = dict[str, np.ndarray]


class _Span(NamedTuple):
    """Where a tensor lies behind the header, from `start` to before `end`, and what it is."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> None:
    """Write tensors and settings to path; a reader sees the old file or the complete new one.

    Args:
        path: of the file; as for `write_output`, it may be a link or a device.
        tensors: arrays of the types in DTYPES by name.
        settings: what JSON can hold, with the key "format": FORMAT_VERSION.

    Raises:
        MachineError: the file cannot be written.
        UsageError: path cannot be the name of a file, or the settings are too many to be read.
        ValueError: a number in the settings is not one of JSON.
    """
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    arrays, bodies = _lay_out(tensors)
    head = _header(arrays, {"sha256": NO_DIGEST, "textgen": text})
    if len(text) > LARGEST_SETTINGS or _count_separators(head[8:].decode()) > MOST_SEPARATORS:
        problem = f"its settings would take {len(text):,} characters"
        raise UsageError(str(path), problem, "put the text into fewer files")
    digest = hashlib.sha256(head)
    for body in bodies:
        digest.update(body)
    metadata = {"sha256": digest.hexdigest(), "textgen": text}
    write_output(path, [_header(arrays, metadata), *bodies])


def write_plain_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write tensors as other programs expect them, without settings and digest.

    Args:
        path: of the file.
        tensors: arrays of the types in DTYPES by name.
        metadata: what the file says of itself.

    Raises:
        MachineError: the file cannot be written.
    """
    arrays, bodies = _lay_out(tensors)
    write_output(path, [_header(arrays, metadata), *bodies])


def _lay_out(tensors: Mapping[str, np.ndarray]) -> tuple[Tensors, list[memoryview]]:
    """Return tensors in the order in which they lie in a file, and the bytes of each."""
    arrays = {name: _as_stored(tensors[name]) for name in _sort_by_width(tensors)}
    return arrays, [array.data.cast("B") for array in arrays.values() if array.size]


def _as_stored(array: np.ndarray) -> np.ndarray:
    """Return array as it lies in the file: contiguous, least significant byte first."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _sort_by_width(tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Return the widest numbers first, then by name: each tensor starts at a multiple of its item.

    That is what lets a reader map it.
    """
    return sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))


def _header(arrays: Tensors, metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        dtype = NAMES[array.dtype.newbyteorder("<")]
        entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    body = json.dumps(entries, separators=(",", ":")).encode()
    body += b" " * (-len(body) % 8)
    return len(body).to_bytes(8, "little") + body


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors and settings of a file that `write_tensors` made.

    Raises:
        CheckpointError: there is no such file, it is not one of ours, it is damaged, or a newer
            textgen made it.
    """
    # Unlike Path's, these never raise.
    if os.path.exists(path) and not os.path.isfile(path):
        raise CheckpointError(str(path), "is not a file", "name a .safetensors file or a run")
    try:
        with open(path, "rb") as file:
            return _read_verified(path, file)
    # ValueError: a NUL in the name.
    except (FileNotFoundError, ValueError):
        raise CheckpointError(str(path), "no such file", "check the path") from None
    except OSError as error:
        raise CheckpointError(
            str(path), f"cannot be read: {reason_of(error)}", "check the file"
        ) from error


def _read_verified(path: Path, file: BinaryIO) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors and settings in an open file."""
    head = _read_head(path, file)
    header = _parse_header(path, head[8:])
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or set(metadata) != {"textgen", "sha256"}:
        fix = "use a checkpoint that textgen train wrote"
        raise CheckpointError(str(path), "is not a textgen checkpoint", fix)
    settings = _parse_settings(path, metadata["textgen"])
    spans = _parse_spans(path, header, os.fstat(file.fileno()).st_size - len(head))
    body = file.read()
    _check_digest(path, head, body, str(metadata["sha256"]))
    return {name: _tensor(path, name, body, span) for name, span in spans.items()}, settings


def _read_head(path: Path, file: BinaryIO) -> bytes:
    """Return the header and the 8 bytes before it, which are its size."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(9)
    claimed = int.from_bytes(head[:8], "little")
    if size < 10 or claimed > LARGEST_HEADER or head[8:] != b"{":
        fix = "name a file that textgen train wrote"
        raise CheckpointError(str(path), "is not a textgen checkpoint", fix)
    if 8 + claimed > size:
        problem = f"truncated: the header claims {claimed:,} bytes, the file has {size:,}"
        raise CheckpointError(str(path), problem, RETRAIN)
    file.seek(0)
    return file.read(8 + claimed)


def _parse_header(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = _parse_json(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(str(path), f"damaged header: {error}", RETRAIN) from None
    if not isinstance(header, dict):
        raise CheckpointError(str(path), "damaged header: not an object", RETRAIN)
    return header


def _parse_settings(path: Path, text: Any) -> dict[str, Any]:
    if not isinstance(text, str) or len(text) > LARGEST_SETTINGS:
        raise CheckpointError(str(path), "its settings are not a text of at most 8 MB", RETRAIN)
    try:
        settings = _parse_json(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(str(path), f"damaged settings: {error}", RETRAIN) from None
    version = settings.get("format") if isinstance(settings, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(str(path), f"format {version!r} is not a number", RETRAIN)
    if version > FORMAT_VERSION:
        problem = (
            f"made by a newer textgen (format {version}; this one reads up to {FORMAT_VERSION})"
        )
        raise CheckpointError(str(path), problem, "pip install -U textgen-rnn")
    return dict(settings)


def _parse_json(text: str) -> Any:
    """Return the value of a text, which takes little more memory than that; raise ValueError."""
    if _count_separators(text) > MOST_SEPARATORS:
        raise ValueError("it has too many values")
    return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique_keys)


def _count_separators(text: str) -> int:
    return sum(map(text.count, JSON_SEPARATORS))


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of a key that stands twice, readers differ in which one counts."""
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _parse_spans(path: Path, header: dict[str, Any], size: int) -> dict[str, _Span]:
    """Return the span of each tensor after checking that together they fill `size` bytes."""
    try:
        spans = {name: _parse_span(name, entry) for name, entry in header.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(str(path), f"damaged header: {error}", RETRAIN) from None
    position = 0
    for name, span in sorted(spans.items(), key=lambda item: (item[1].start, item[1].end)):
        if span.start != position:
            raise CheckpointError(str(path), f"damaged: {name} leaves a gap or overlaps", RETRAIN)
        position = span.end
    if position != size:
        problem = f"truncated or padded: tensors need {position:,} bytes, the file has {size:,}"
        raise CheckpointError(str(path), problem, RETRAIN)
    return spans


def _parse_span(name: str, entry: Any) -> _Span:
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    start, end = entry["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (*shape, start, end)):
        raise ValueError(f"{name} has a size that is not a whole number")
    if end - start != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ValueError(f"{name} of shape {shape} does not fit its {end - start} bytes")
    return _Span(dtype, shape, start, end)


def _check_digest(path: Path, head: bytes, body: bytes, stated: str) -> None:
    start = head.find(DIGEST_KEY + stated.encode("utf-8", "surrogatepass") + b'"')
    digits = start + len(DIGEST_KEY)
    digest = hashlib.sha256(head[:digits] + NO_DIGEST.encode() + head[digits + len(NO_DIGEST) :])
    digest.update(body)
    if len(stated) != len(NO_DIGEST) or start < 0 or digest.hexdigest() != stated:
        raise CheckpointError(str(path), "checksum mismatch: the file is damaged", RETRAIN)


def _tensor(path: Path, name: str, body: bytes, span: _Span) -> np.ndarray:
    """Return a view of the bytes of a tensor."""
    try:
        part = memoryview(body)[span.start : span.end]
        array = np.frombuffer(part, dtype=span.dtype).reshape(span.shape)
    # More dimensions, or a longer one, than an array can have.
    except ValueError as error:
        raise CheckpointError(str(path), f"damaged header: {name}: {error}", RETRAIN) from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CheckpointError(str(path), f"{name} holds numbers that are not finite", RETRAIN)
    return array
