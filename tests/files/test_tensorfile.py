"""One file of tensors: exact, verified to the last bit, and safe to open."""

import hashlib
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from factories import assert_equal_tensors, full_checkpoint, refused
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.errors import CheckpointError, UsageError
from textgen.files import tensorfile

ZEROS = "0" * 64
TYPES = ["<f8", "<f4", "<f2", "<i8", "<i4", "<u8", "<u4", "<u2", "|u1"]


def entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def file_of(header, body=b""):
    """A file with this header (bytes, or anything JSON) and the right digest if it has a place."""

    def whole(digest):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        text = text.replace(b"DIGEST", digest.encode()).replace(b": ", b":").replace(b", ", b",")
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + body

    return whole(hashlib.sha256(whole(ZEROS)).hexdigest())


def with_settings(tensors, text='{"format":1}'):
    return {"__metadata__": {"sha256": "DIGEST", "textgen": text}, **tensors}


def refused_bytes(tmp_path, data, *words):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    return refused(path, str(path), *words)


GOOD = with_settings({"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 8, 12)})


def test_the_builder_of_these_tests_makes_files_that_are_read(tmp_path):
    """Otherwise the malformed files below could be refused for another reason."""
    body = struct.pack("<3f", 1, 2, 3)
    path = tmp_path / "model.safetensors"
    path.write_bytes(file_of(GOOD, body))
    tensors, meta = tensorfile.read_tensors(path)
    assert {name: array.tolist() for name, array in tensors.items()} == {"a": [1, 2], "b": [3]}
    assert meta == {"format": 1}
    assert len(safetensors.deserialize(path.read_bytes())) == 2


# The format: write, read, and the safetensors library as a second opinion.

TENSORS = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "__metadata__"),
    st.sampled_from(TYPES).flatmap(
        lambda dtype: arrays.arrays(
            dtype,
            arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
            elements=({"allow_nan": False, "allow_infinity": False} if "f" in dtype else None),
        )
    ),
    max_size=5,
)


@given(TENSORS)
def test_tensors_come_back_and_the_safetensors_library_agrees(tmp_path_factory, tensors):
    path = tmp_path_factory.getbasetemp() / "round-trip.safetensors"
    tensorfile.write_tensors(path, tensors, {"format": 1})
    assert_equal_tensors(tensorfile.read_tensors(path)[0], tensors)
    assert_equal_tensors(safetensors.numpy.load_file(path), tensors)


def read_by_hand(data):
    """The tensors in the bytes of a file, by Python's own library alone: (shape, numbers)."""
    codes = {"F64": "d", "I64": "q", "U64": "Q", "F32": "f", "I32": "i", "U32": "I", "U16": "H"}
    (size,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    del header["__metadata__"]
    read = {}
    for name, said in header.items():
        start, end = said["data_offsets"]
        code = {**codes, "F16": "e", "U8": "B"}[said["dtype"]]
        numbers = struct.unpack(f"<{(end - start) // struct.calcsize(code)}{code}", body[start:end])
        read[name] = (said["shape"], [*numbers])
    return read


@given(TENSORS)
def test_a_reader_of_a_few_lines_reads_the_same(tmp_path_factory, tensors):
    path = tmp_path_factory.getbasetemp() / "by-hand.safetensors"
    tensorfile.write_tensors(path, tensors, {"format": 1})
    expected = {n: ([*array.shape], array.ravel().tolist()) for n, array in tensors.items()}
    assert read_by_hand(path.read_bytes()) == expected


@given(TENSORS)
def test_plain_tensors_are_read_by_the_safetensors_library(tmp_path_factory, tensors):
    path = tmp_path_factory.getbasetemp() / "plain.safetensors"
    tensorfile.write_plain_tensors(path, tensors, {"format": "pt"})
    assert_equal_tensors(safetensors.numpy.load_file(path), tensors)
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "pt"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=4))
def test_settings_come_back_as_they_were(tmp_path_factory, settings):
    path = tmp_path_factory.getbasetemp() / "settings.safetensors"
    tensorfile.write_tensors(path, {}, {**settings, "format": 1})
    assert tensorfile.read_tensors(path)[1] == {**settings, "format": 1}


@given(TENSORS, st.randoms(use_true_random=False))
def test_equal_content_gives_equal_bytes_in_any_order(tmp_path_factory, tensors, random):
    path = tmp_path_factory.getbasetemp() / "order.safetensors"
    settings = {"format": 1, "z": {"b": 1, "a": 2}, "a": [1, 2]}
    written = []
    for _ in range(2):
        tensorfile.write_tensors(path, tensors, settings)
        written.append(path.read_bytes())
        names = list(tensors)
        random.shuffle(names)
        tensors = {name: tensors[name].copy(order="F") for name in names}
        settings = {"a": [1, 2], "z": {"a": 2, "b": 1}, "format": 1}
    assert written[0] == written[1]


def test_views_and_foreign_byte_orders_are_written_as_what_they_hold(tmp_path):
    path = tmp_path / "model.safetensors"
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensorfile.write_tensors(path, {"view": plain.T, "big": plain.astype(">f4")}, {"format": 1})
    for found in (tensorfile.read_tensors(path)[0], safetensors.numpy.load_file(path)):
        assert found["view"].tolist() == plain.T.tolist()
        assert found["big"].tolist() == plain.tolist()


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place(tmp_path):
    path = tmp_path / "model.safetensors"
    tensorfile.write_tensors(path, {"a": np.ones(3, np.float32)}, {"format": 1})
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    data = path.read_bytes()
    assert data.count(metadata["sha256"].encode()) == 1
    zeroed = data.replace(metadata["sha256"].encode(), ZEROS.encode())
    assert hashlib.sha256(zeroed).hexdigest() == metadata["sha256"]
    assert json.loads(metadata["textgen"]) == {"format": 1}
    assert set(metadata) == {"sha256", "textgen"}


def test_every_tensor_starts_at_a_multiple_of_its_item_size(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {str(i): np.ones(3, dtype) for i, dtype in enumerate(reversed(TYPES))}
    tensorfile.write_tensors(path, tensors, {"format": 1})
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    for name, array in tensors.items():
        assert (8 + size + header[name]["data_offsets"][0]) % array.itemsize == 0


# Damage: whatever happened to the file is noticed.


def unnoticed(data, damaged, path):
    """Which of the damaged versions of data are read as if nothing had happened."""
    found = []
    for which, version in damaged:
        assert version != data
        path.write_bytes(version)
        try:
            tensorfile.read_tensors(path)
        except CheckpointError:
            continue
        found.append(which)
    return found


def flips(data):
    """Each byte changed twice: one of its bits in turn, and the one that makes a letter large."""
    for place in range(len(data)):
        for mask in {1 << place % 8, 0x20}:
            changed = bytearray(data)
            changed[place] ^= mask
            yield (place, mask), bytes(changed)


@pytest.mark.slow
def test_every_changed_byte_is_noticed(small):
    data = small.read_bytes()
    assert unnoticed(data, flips(data), small) == []


def test_the_check_of_changed_bytes_notices_a_blind_digest(small, monkeypatch):
    data = small.read_bytes()
    with safetensors.safe_open(small, "np") as file:
        stated = file.metadata()["sha256"]

    class Blind:
        def __init__(self, data=b""):
            pass

        def update(self, data):
            pass

        def hexdigest(self):
            return stated

    monkeypatch.setattr(tensorfile.hashlib, "sha256", Blind)
    weights = list(flips(data))[-100:]
    assert len(unnoticed(data, weights, small)) > 50


@pytest.mark.slow
def test_every_truncation_is_noticed(small):
    data = small.read_bytes()
    assert unnoticed(data, ((n, data[:n]) for n in range(len(data))), small) == []


@pytest.mark.parametrize("extra", [b"\0", b" ", b"PK\x03\x04" + b"\0" * 100])
def test_anything_behind_the_end_is_noticed(small, extra):
    small.write_bytes(small.read_bytes() + extra)
    refused(small, "padded")


def test_a_truncated_file_is_called_truncated(small):
    data = small.read_bytes()
    small.write_bytes(data[:-1])
    refused(small, "truncated")
    small.write_bytes(data[:100])
    refused(small, "truncated", f"{100:,}")


def test_two_halves_of_different_checkpoints_are_noticed(small, tmp_path):
    other = tmp_path / "other.safetensors"
    weights = {name: array + 1 for name, array in full_checkpoint().weights.items()}
    full_checkpoint(weights=weights).save(other)
    one, two = small.read_bytes(), other.read_bytes()
    assert len(one) == len(two)
    last = max(i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
    small.write_bytes(one[: last - 10] + two[last - 10 :])
    refused(small, "checksum")


# Headers that no honest writer makes. Their digests are right: the reason must be found.


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\0" * 7, b"\0" * 8, b"\0" * 100]
    + [struct.pack("<Q", size) + b"{}" + b" " * 90 for size in (0, 1, 10**8 + 1, 2**63, 2**64 - 1)],
    ids=lambda data: f"{len(data)} bytes {data[:8].hex()}",
)
def test_a_length_that_cannot_be_is_refused(tmp_path, data):
    refused_bytes(tmp_path, data)


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":1',
        b"{\xff\xfe}",
        b'{"\xed\xa0\x80":1}',
        b"[1,2,3]",
        b'"__metadata__"',
        b"\xef\xbb\xbf{}",
        b"{} trailing",
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 100_000,
        b'{"a":NaN}',
    ],
    ids=lambda header: ascii(header[:16]),
)
def test_a_header_that_is_no_json_object_is_refused(tmp_path, header):
    refused_bytes(tmp_path, file_of(header))


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"format": "pt"},
        {"textgen": '{"format":1}'},
        {"sha256": "DIGEST"},
        {"sha256": "DIGEST", "textgen": '{"format":1}', "more": "x"},
        [],
    ],
    ids=str,
)
def test_a_safetensors_file_of_somebody_else_is_not_a_textgen_checkpoint(tmp_path, metadata):
    header = {"a": entry("F32", [1], 0, 4)} | ({"__metadata__": metadata} if metadata else {})
    refused_bytes(tmp_path, file_of(header, b"\0" * 4), "not a textgen checkpoint")


def test_a_file_that_the_safetensors_library_wrote_is_not_a_textgen_checkpoint(tmp_path):
    data = safetensors.numpy.save({"a": np.ones(3, np.float32)})
    refused_bytes(tmp_path, data, "not a textgen checkpoint")


@pytest.mark.parametrize(
    "digest", ["", "0" * 63, "0" * 64, "0" * 65, "DIGEST0", "\\ud800" + "0" * 63, "é" * 64]
)
def test_a_digest_that_is_none_is_refused(tmp_path, digest):
    text = json.dumps(GOOD).replace("DIGEST", digest).encode()
    refused_bytes(tmp_path, file_of(text, b"\0" * 12), "checksum")


@pytest.mark.parametrize("digest", [5, None, [], {}])
def test_a_digest_that_is_no_text_is_refused(tmp_path, digest):
    header = with_settings({})
    header["__metadata__"]["sha256"] = digest
    refused_bytes(tmp_path, file_of(header), "checksum")


MALFORMED = {
    "overlap": ({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, 12, "gap"),
    "same place": ({"a": entry("F32", [3], 0, 12), "b": entry("F32", [3], 0, 12)}, 12, "gap"),
    "gap": ({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 8, 12)}, 12, "gap"),
    "gap at the start": ({"a": entry("F32", [2], 4, 12)}, 12, "gap"),
    "past the end": ({"a": entry("F32", [4], 0, 16)}, 12, "16 bytes"),
    "before the end": ({"a": entry("F32", [2], 0, 8)}, 12, "8 bytes"),
    "no tensor for the bytes": ({}, 12, "0 bytes"),
    "reversed": ({"a": entry("F32", [3], 12, 0)}, 12, "does not fit"),
    "negative start": ({"a": entry("F32", [4], -4, 12)}, 12, "whole number"),
    "negative size": ({"a": entry("F32", [-1, -3], 0, 12)}, 12, "whole number"),
    "float size": ({"a": entry("F32", [3.0], 0, 12)}, 12, "whole number"),
    "float offset": ({"a": entry("F32", [3], 0, 12.0)}, 12, "whole number"),
    "bool size": ({"a": entry("F32", [3, True], 0, 12)}, 12, "whole number"),
    "text size": ({"a": entry("F32", ["3"], 0, 12)}, 12, "whole number"),
    "null size": ({"a": entry("F32", [None], 0, 12)}, 12, "whole number"),
    "shape too large": ({"a": entry("F32", [4], 0, 12)}, 12, "does not fit"),
    "shape too small": ({"a": entry("F32", [2], 0, 12)}, 12, "does not fit"),
    "other width": ({"a": entry("F64", [3], 0, 12)}, 12, "does not fit"),
    "overflow": ({"a": entry("F32", [2, 2**64 - 2], 0, 12)}, 12, "does not fit"),
    "huge": ({"a": entry("F32", [2**40], 0, 2**42)}, 12, "bytes"),
    "unknown type": ({"a": entry("BF16", [6], 0, 12)}, 12, "BF16"),
    "type is code": ({"a": entry("os.system", [3], 0, 12)}, 12, "os.system"),
    "type is a list": ({"a": entry(["F32"], [3], 0, 12)}, 12, "damaged header"),
    "shape is a number": ({"a": entry("F32", 3, 0, 12)}, 12, "damaged header"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 12]}}, 12, "damaged header"),
    "one offset": (
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [12]}}, 12, "damaged header",
    ),
    "entry is a list": ({"a": ["F32", [3], [0, 12]]}, 12, "damaged header"),
    "entry is null": ({"a": None}, 12, "damaged header"),
    "too many dimensions": ({"a": entry("F32", [1] * 99 + [3], 0, 12)}, 12, "damaged header"),
    "empty but endless": ({"a": entry("F32", [0, 2**70], 0, 0)}, 0, "damaged header"),
}  # fmt: skip


@pytest.mark.parametrize(("tensors", "size", "words"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_header_is_refused_for_its_reason(tmp_path, tensors, size, words):
    error = refused_bytes(tmp_path, file_of(with_settings(tensors), b"\0" * size), words)
    assert "checksum" not in error.problem


@pytest.mark.parametrize(
    "name", ["overlap", "gap", "past the end", "before the end", "negative size", "overflow"]
)
def test_the_safetensors_library_refuses_these_files_too(name):
    tensors, size, _ = MALFORMED[name]
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(file_of(with_settings(tensors), b"\0" * size))


def test_a_name_that_stands_twice_is_refused(tmp_path):
    one = json.dumps(entry("F32", [1], 0, 4))
    head = json.dumps(with_settings({})).removesuffix("}")
    data = file_of(f'{head}, "a": {one}, "a": {one}}}'.encode(), b"\0" * 4)
    refused_bytes(tmp_path, data, "twice")


def test_a_hostile_name_cannot_steer_the_terminal(tmp_path):
    name = "\x1b]52;c;aGk=\x07\r\nFORGED\u2028\u202e" + "x" * 10**5
    data = file_of(with_settings({name: entry("F32", [9], 0, 12)}), b"\0" * 12)
    assert len(str(refused_bytes(tmp_path, data))) < 2000


@pytest.mark.parametrize("shape", [[2**40], [2**31, 2**31], [10**9, 10**9, 10**9]])
def test_nothing_is_allocated_for_a_size_that_is_only_claimed(tmp_path, shape):
    claimed = 4 * int(np.prod([float(n) for n in shape]))
    data = file_of(with_settings({"a": entry("F32", shape, 0, claimed)}), b"\0" * 12)
    tracemalloc.start()
    try:
        refused_bytes(tmp_path, data)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_of_a_huge_file_that_is_no_checkpoint_only_the_beginning_is_read(tmp_path):
    """A hole of 6 GB, and one behind a header that speaks of 12 bytes."""
    path = tmp_path / "model.safetensors"
    for beginning in (b"", file_of(GOOD)):
        with path.open("wb") as file:
            file.write(beginning)
            file.truncate(6 << 30)
        tracemalloc.start()
        try:
            refused(path)
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()
    path.unlink()


# Settings.


@pytest.mark.parametrize("text", ["", "null", "[]", "5", "{", "[" * 100_000, '{"format":1}x'])
def test_settings_that_are_no_object_are_refused(tmp_path, text):
    refused_bytes(tmp_path, file_of(with_settings({}, text)))


@pytest.mark.parametrize("text", [None, 5, ["x"], {"format": 1}])
def test_settings_that_are_no_text_are_refused(tmp_path, text):
    refused_bytes(tmp_path, file_of(with_settings({}, text)))


@pytest.mark.parametrize("number", ["null", '"1"', "0", "-1", "1.0", "true", "[1]"])
def test_a_format_that_is_no_whole_number_is_refused(tmp_path, number):
    data = file_of(with_settings({}, f'{{"format":{number}}}'))
    refused_bytes(tmp_path, data, "format", "is not a number")


@pytest.mark.parametrize("text", ['{"format":1,"format":1}', '{"format":1,"a":{"b":1,"b":2}}'])
def test_settings_with_a_key_twice_are_refused(tmp_path, text):
    refused_bytes(tmp_path, file_of(with_settings({}, text)), "damaged settings", "twice")


def test_settings_without_a_format_are_refused(tmp_path):
    refused_bytes(tmp_path, file_of(with_settings({}, "{}")), "format None")


@pytest.mark.parametrize("number", [tensorfile.FORMAT_VERSION + 1, 10**9])
def test_a_newer_format_asks_for_a_newer_textgen_and_is_not_called_damaged(tmp_path, number):
    path = tmp_path / "model.safetensors"
    tensorfile.write_tensors(path, {}, {"format": number})
    error = refused(path, "newer textgen", f"format {number}", "pip install -U textgen-rnn")
    assert "damaged" not in str(error)


def test_settings_over_eight_megabytes_are_neither_written_nor_parsed(tmp_path):
    path = tmp_path / "model.safetensors"
    settings = {"format": 1, "note": ""}
    rest = len(json.dumps(settings, separators=(",", ":")))
    tensorfile.write_tensors(path, {}, {**settings, "note": "x" * (8_000_000 - rest)})
    tensorfile.read_tensors(path)
    with pytest.raises(UsageError, match="8,000,001 characters"):
        tensorfile.write_tensors(path, {}, {**settings, "note": "x" * (8_000_001 - rest)})
    refused_bytes(tmp_path, file_of(with_settings({}, "x" * 8_000_001)), "8 MB")


@pytest.mark.parametrize("value", ["{},", "[],", '"x":[],', "1,"])
def test_json_of_very_many_values_is_never_made_into_objects(tmp_path, value):
    """Each takes up to a hundred times the room of its text."""
    open, close = ("{", '"y":1}') if ":" in value else ("[", "1]")
    many = open + value * 500_000 + close
    within = {"__metadata__": {"textgen": f'{{"format":1,"x":{many}}}', "sha256": "0" * 64}}
    path = tmp_path / "model.safetensors"
    for header in (f'{{"x":{many}}}', json.dumps(within)):
        body = header.encode()
        path.write_bytes(len(body).to_bytes(8, "little") + body)
        del body
        tracemalloc.start()
        try:
            refused(path, "too many values")
            assert tracemalloc.get_traced_memory()[1] < 4 * len(header)
        finally:
            tracemalloc.stop()


def test_the_paths_of_very_many_files_can_be_written_and_read(tmp_path):
    texts = [f"/data/a/long/path/corpus/part-{number:06}.txt" for number in range(100_000)]
    path = tmp_path / "model.safetensors"
    tensorfile.write_tensors(path, {}, {"format": 1, "texts": texts})
    assert tensorfile.read_tensors(path)[1]["texts"] == texts
    with pytest.raises(UsageError, match="fewer files"):
        tensorfile.write_tensors(path, {}, {"format": 1, "texts": [""] * 400_000})
    assert tensorfile.read_tensors(path)[1]["texts"] == texts


def test_numbers_that_json_lacks_are_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        tensorfile.write_tensors(tmp_path / "model", {}, {"format": 1, "nats": float("nan")})
    assert list(tmp_path.iterdir()) == []


# What is no checkpoint at all.


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


def pickled(canary, container):
    if container != "zip":
        return pickle.dumps(Payload(canary), protocol=container)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(Payload(canary)))
        archive.writestr("model/version", "3")
    return file.getvalue()


@pytest.mark.parametrize("container", [0, 1, 2, 3, 4, 5, "zip"])
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.json", "model"])
def test_a_pickle_is_refused_under_any_name_and_never_run(tmp_path, name, container):
    canary = tmp_path / "canary"
    path = tmp_path / name
    path.write_bytes(pickled(canary, container))
    refused(path, "not a textgen checkpoint")
    refused(path, load=Checkpoint.load)
    assert not canary.exists()


def test_the_payload_of_the_pickle_test_would_run(tmp_path):
    pickle.loads(pickled(tmp_path / "canary", 4))
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n" + b"\0" * 99, b"plain text " * 99])
def test_another_kind_of_file_is_refused(tmp_path, data):
    refused_bytes(tmp_path, data, "not a textgen checkpoint")


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "missing.safetensors", "missing.safetensors", "no such file")


def test_a_folder_is_no_file(tmp_path):
    refused(tmp_path, "is not a file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "is not a file")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices here")
def test_an_endless_device_is_refused(tmp_path):
    (tmp_path / "model.safetensors").symlink_to("/dev/zero")
    refused(tmp_path / "model.safetensors", "is not a file")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "file/below", "loop"])
def test_an_impossible_name_is_an_error_like_any_other(tmp_path, name):
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / name)
