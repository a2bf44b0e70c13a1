"""Checkpoints that lie: mutants that know the format, most with a right digest, put to use.

A mutant may load or be refused; whatever loaded may be described, sampled, measured and resumed, or
be an error of a kind that fits. Anything else is a finding: another exception, a warning, an import
by a name in the file, a process, a connection, more memory or more time than the file is worth.

    >>> run(count=1000, seed=0)
    {'a changed checkpoint file': {'tried': 1000, 'clean': 1000}}

Run by hand it prints its counts: `python tests/reliability/hostile_files.py 20000 0`.
"""

import contextlib
import copy
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from textgen.checkpoint.checkpoint import Checkpoint
from textgen.cli.app import main
from textgen.config.train import TrainConfig
from textgen.errors import (
    CheckpointError,
    MachineError,
    NumericsError,
    TextError,
    TextgenError,
    UsageError,
    visible,
)
from textgen.evaluation.evaluator import evaluate
from textgen.files.tensorfile import DTYPES
from textgen.textmodel import TextModel
from textgen.training.setup import resume_setup, start_setup

TEXT = "".join(f"abba said {n}: é, 日本!\nand {n} and so on\n" for n in range(12))
# Processor time that one mutant may take, and memory beyond what the process has.
MOST_SECONDS, MOST_BYTES = 20, 1 << 30
# Of so many mutants one also passes through the command line.
COMMANDS_ONE_IN = 20
FAMILIES = [
    {"cell": cell, "tokenizer": tokenizer, "records": records, "ngrams": ngrams}
    for cell, tokenizer, records, ngrams in itertools.product(
        ("rnn", "gru", "lstm"), ("char", "byte", "bpe", "unigram"), (None, "lines"), (1, 4)
    )
]
# What each use of a file that loaded may raise. A machine lacks cuda, a text is gone or another,
# weights near the limits of their type give no probabilities; all others are ours.
ALLOWED = {
    "load": (CheckpointError,),
    "info": (),
    "sample": (NumericsError,),
    "score": (NumericsError,),
    "eval": (CheckpointError, TextError, NumericsError),
    "resume": (CheckpointError, TextError, MachineError, NumericsError),
}
EXIT_CODES = {"info": {0, 4}, "sample": {0, 4, 7}, "eval": {0, 2, 3, 4, 7}}
FORBIDDEN_EVENTS = (
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pickle.find_class",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
)


class TooSlow(BaseException):
    """A mutant took more than its time; no handler of ours may take it for its own."""


# Sources


def make_sources(folder, families=None):
    """Runs of one text that were stopped before their first step: (name, bytes of `last`)."""
    sources = []
    text = folder / "corpus.txt"
    text.write_text(TEXT, encoding="utf-8")
    for family in FAMILIES if families is None else families:
        pieces = family["tokenizer"] in ("bpe", "unigram")
        sizes = {"layers": 1, "hidden": 2, "embedding": 2, "batch": 2, "window": 8, "threads": 1}
        config = TrainConfig(
            **family, **sizes, steps=3, init="none", vocab_size=300 if pieces else None,
            split="0.8,0.1,0.1", precision="float32", device="cpu",
        )  # fmt: skip
        setup = start_setup([text], config)
        last = Checkpoint(
            setup.trainer.model.config,
            setup.dataset.tokenizer,
            setup.trainer.model.export(),
            setup.metadata({"val_nats": 1.5}),
            setup.resume_state(setup.plan),
            setup.partner.ngrams if setup.partner else None,
            setup.mixing,
            np.array([3, 9, 2**32 - 1], np.uint32),
        )
        name = "-".join(str(value) for value in family.values())
        for resume, kind in ((last.resume, "last"), (None, "best")):
            path = folder / "source.safetensors"
            dataclasses.replace(last, resume=resume).save(path)
            sources.append((f"{name}-{kind}", path.read_bytes()))
            path.unlink()
    return sources


# Mutants


@dataclasses.dataclass
class Draft:
    """A file taken apart: what the header says of each tensor, the settings, the bytes."""

    entries: list
    settings: object
    body: bytes
    metadata: dict = dataclasses.field(default_factory=dict)
    settings_text: str | None = None
    header_text: str | None = None
    claimed: int | None = None
    is_sealed: bool = True

    @classmethod
    def of(cls, file):
        size = int.from_bytes(file[:8], "little")
        header = json.loads(file[8 : 8 + size])
        settings = json.loads(header.pop("__metadata__")["textgen"])
        return cls(list(header.items()), settings, file[8 + size :])

    def tensors(self):
        """(name, array) of the body, where the entries are still what they were."""
        arrays = []
        for name, entry in self.entries:
            start, end = entry["data_offsets"]
            array = np.frombuffer(self.body[start:end], DTYPES[entry["dtype"]])
            arrays.append((name, array.reshape(entry["shape"])))
        return arrays

    def lay_out(self, arrays):
        """Take other tensors; gives the file right sizes and offsets for them."""
        names = {np.dtype(code): name for name, code in DTYPES.items()}
        self.entries, bodies, end = [], [], 0
        for name, array in arrays:
            start, end = end, end + array.nbytes
            entry = {"dtype": names[array.dtype], "shape": list(array.shape)}
            self.entries.append((name, entry | {"data_offsets": [start, end]}))
            bodies.append(array.tobytes())
        self.body = b"".join(bodies)

    def to_bytes(self):
        text = self.settings_text
        text = json.dumps(self.settings) if text is None else text
        if self.header_text is not None:
            head = self._with_size(self.header_text)
            return head + self.body
        head = self._with_size(self._header(text, "0" * 64))
        digest = hashlib.sha256(head + self.body).hexdigest()
        return self._with_size(self._header(text, digest if self.is_sealed else "f" * 64)) + (
            self.body
        )

    def _header(self, text, digest):
        metadata = {"sha256": digest, "textgen": text, **self.metadata}
        # Written by hand, since a name may stand twice.
        parts = [("__metadata__", metadata), *self.entries]
        pairs = (f"{json.dumps(name)}:{_compact(value)}" for name, value in parts)
        return "{" + ",".join(pairs) + "}"

    def _with_size(self, text):
        body = text.encode("utf-8", "surrogatepass")
        body += b" " * (-len(body) % 8)
        claimed = len(body) if self.claimed is None else self.claimed
        return (claimed % 2**64).to_bytes(8, "little") + body


def _compact(value):
    return json.dumps(value, separators=(",", ":"))


def nested(depth):
    """A list in lists, which json itself can still write."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


INTEGERS = [0, 1, 2, 3, 7, 8, 64, 255, 256, 257, 1000, -1, -(2**31), 2**31, 2**53, 2**63, 2**64]
NUMBERS = [0.5, -0.0, 1.0, 2.5, 1e-320, 1e308, -1e308, 10**400, float("nan"), float("inf")]
STRINGS = [
    "", "x", "0.9,0.1", "1", "0.5,0.5,0", "NaN", "1e999999999,0", "lines", "blank-line", "cuda",
    "auto", "cpu", "bfloat16", "float32", "gru", "lstm", "rnn", "char", "byte", "bpe",
    "sentencepiece", "os.system", "builtins.eval", "../../etc/passwd", "/etc/passwd", "/dev/zero",
    "/dev/null", "-", ".", "*", "a\0b", "\ud800", "\x1b[31m", "\u202e\u2028", "é", "utf-16",
    "utf-7", "idna", "punycode", "zlib", "rot13", "lf", "nfc", "C:\\x", "<script>", "0" * 64,
    "9" * 5000, "x" * 100_000,
]  # fmt: skip
OTHERS = [None, True, False, [], {}, [[]], [1], [1, 2], [0, 10**9], {"x": 1}, ["x"], nested(50)]
VALUES = [*INTEGERS, *NUMBERS, *STRINGS, *OTHERS]


def places(values, path=()):
    """Every place of nested objects and arrays, as a path."""
    keys = values if isinstance(values, dict) else range(len(values))
    for key in keys:
        yield (*path, key)
        if isinstance(values[key], dict | list):
            yield from places(values[key], (*path, key))


def parent_of(values, path):
    for key in path[:-1]:
        values = values[key]
    return values


def change_settings(draft, draw):
    """A wrong value, one of another place, a near number, a removed or a new key, anywhere."""
    if not isinstance(draft.settings, dict):
        return
    # Each object has the same chance, however many values it holds: the small ones are believed.
    groups = {}
    for path in places(draft.settings):
        groups.setdefault(path[:-1], []).append(path)
    if not groups:
        return
    path = draw.choice(draw.choice([*groups.values()]))
    parent, key = parent_of(draft.settings, path), path[-1]
    way = draw.randrange(8)
    if way == 0:
        del parent[key]
    elif way == 1 and isinstance(parent, dict):
        parent[draw.choice(["x", "__class__", "steps", "\ud800", ""])] = draw.choice(VALUES)
    elif way == 2:
        other = draw.choice([*places(draft.settings)])
        parent[key] = copy.deepcopy(parent_of(draft.settings, other)[other[-1]])
    elif way in (3, 4) and isinstance(parent[key], int | float):
        number = parent[key]
        changed = [number + 1, number - 1, -number, number * 2, number * 10**6, number / 2, 1]
        parent[key] = draw.choice([*changed, str(number), float(number), bool(number), [number]])
    else:
        parent[key] = draw.choice(VALUES)


def change_settings_text(draft, draw):
    """What JSON readers disagree about: names that stand twice, depth, trailing text."""
    text = json.dumps(draft.settings)
    way = draw.randrange(8)
    if way == 0:
        text = '{"format": 1, ' + text[1:]
    elif way == 1:
        text = text[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    elif way == 2:
        text = text[:-1] + ', "x": ' + "7" * draw.choice([4000, 5000, 500_000]) + "}"
    elif way == 3:
        text = draw.choice(["\ufeff" + text, text + "x", text + "\0", "[" + text + "]", "", "1"])
    elif way == 4:
        text = text[:-1] + ', "x": "' + "y" * 1_100_000 + '"}'
    elif way == 5:
        place = draw.randrange(len(text))
        text = text[:place] + draw.choice('{}[]",:0-x\\\ud800') + text[place + 1 :]
    elif way == 6:
        text = text.replace('"step"', '"step": 5, "step"', 1)
    else:
        text = text[:-1] + ', "x": {"a": 1, "a": ' + draw.choice(["NaN", "-Infinity", "2"]) + "}}"
    draft.settings_text = text


def change_entry(draft, draw):
    """Sizes, offsets, types and shapes of a tensor that are not those of its bytes."""
    index = draw.randrange(len(draft.entries))
    name, entry = draft.entries[index]
    entry = copy.deepcopy(entry)
    way = draw.randrange(8)
    numbers = [*INTEGERS, *NUMBERS, None, True, "1", [1], 2**62]
    if way == 0:
        entry["dtype"] = draw.choice([*DTYPES, "BF16", "F8_E4M3", "BOOL", "C64", "", 1, None, []])
    elif way == 1 and entry["shape"]:
        entry["shape"][draw.randrange(len(entry["shape"]))] = draw.choice(numbers)
    elif way == 2:
        shapes = [[], [0], [1] * 70, [2**63, 2, 0], [2, 2**64 - 2], "22", 4, None, {"4": 1}]
        entry["shape"] = draw.choice([*shapes, entry["shape"][::-1], [*entry["shape"], 1]])
    elif way == 3:
        entry["data_offsets"][draw.randrange(2)] = draw.choice(numbers)
    elif way == 4:
        offsets = entry["data_offsets"]
        step = draw.choice([1, 4, 8, -1, -4])
        moved = [[offset + step for offset in offsets], offsets[::-1], [offsets[0]], [], None, "12"]
        entry["data_offsets"] = draw.choice(moved)
    elif way == 5:
        draft.entries.insert(draw.randrange(len(draft.entries)), (name, entry))
        return
    elif way == 6:
        entry = draw.choice([None, [], 5, "x", {}, {"dtype": "F32"}, {**entry, "x": 1}])
    else:
        other = draw.randrange(len(draft.entries))
        draft.entries[other], entry = (draft.entries[other][0], entry), draft.entries[other][1]
    draft.entries[index] = (name, entry)


def change_name(draft, draw):
    """Tensors under other names, of which some mean something."""
    names = ["__metadata__", "", "x" * 100_000, "\ud800", "\x1b[2J\n", "resume.x", "a.resume.b"]
    names += ["tokenizer.x", "ngrams.x", "text.fingerprint", "head.bias", "resume.state.0.0"]
    index = draw.randrange(len(draft.entries))
    _, entry = draft.entries[index]
    draft.entries[index] = (draw.choice(names), entry)


def change_header(draft, draw):
    """A header that is none, or claims another size."""
    way = draw.randrange(5)
    if way == 0:
        sizes = [0, 1, 7, 8, 9, len(draft.body), 10**8, 10**8 + 1, 2**31, 2**63, 2**64 - 1]
        draft.claimed = draw.choice(sizes)
    elif way == 1:
        values = ["x", 1, None, [], {}, "\ud800", "0" * 64, "f" * 64]
        draft.metadata = {draw.choice(["sha256", "textgen", "x", ""]): draw.choice(values)}
    elif way == 2:
        deep = '{"a":' * 50_000 + "1" + "}" * 50_000
        texts = ["{", "{}", "[]", "{]", '{"a":NaN}', "\ufeff{}", '{"__metadata__":{}}', deep]
        draft.header_text = draw.choice([*texts, "[" * 200_000, "{" + " " * 100_000, "{\ud800}"])
    elif way == 3:
        draft.is_sealed = False
    else:
        draft.body += b"\0" * draw.choice([1, 7, 8, 4096])


EXTREMES = {
    "f": [0.0, 1.0, -1.0, 1e-30, 1e30, -1e30, 3e38, -3e38, np.nan, np.inf],
    "u": [0, 1, 2, 97, 255, 0xD800, 0x10FFFF, 0x110000, 2**31, 2**32 - 1, 2**63, 2**64 - 1],
    "i": [0, 1, -1, 97, 2**31 - 1, -(2**31), 2**63 - 1],
}


def change_values(array, draw):
    """An array whose numbers are others, and perhaps its type or its shape."""
    array = array.copy()
    extremes = EXTREMES[array.dtype.kind]
    flat = array.reshape(-1)
    way = draw.randrange(8)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if way in (0, 1) and flat.size:
            value = np.asarray(draw.choice(extremes)).astype(array.dtype)
            many = flat.size if way else max(1, flat.size // 10)
            flat[draw.sample(range(flat.size), many)] = value
        elif way == 2 and flat.size:
            flat.view(np.uint8)[draw.randrange(flat.nbytes)] ^= 1 << draw.randrange(8)
        elif way == 3:
            flat[:] = flat[::-1].copy()
        elif way == 4:
            array = array.astype(draw.choice([*DTYPES.values()]))
        elif way == 5:
            shapes = [array.T, flat, array[None], array[:0], array[:-1], array[..., None]]
            array = np.ascontiguousarray(draw.choice(shapes)) if array.ndim else flat
        elif way == 6:
            array = np.concatenate([flat, flat]) if draw.random() < 0.5 else flat[:1]
        elif flat.size:
            flat[:] = np.sort(flat)
    return array


def change_tensor(draft, draw):
    """Another content, type or shape of a tensor, with a header that fits; or none, or one more."""
    arrays = draft.tensors()
    # The many of the network and of the optimizer are alike, and checked alike.
    rare = [i for i, (name, _) in enumerate(arrays) if name.startswith(("tokenizer", "ngrams"))]
    index = draw.choice(rare) if draw.random() < 0.5 else draw.randrange(len(arrays))
    name, array = arrays[index]
    way = draw.randrange(10)
    if way == 0:
        del arrays[index]
    elif way == 1:
        extra = draw.choice(["x", "resume.x", "tokenizer.x", "ngrams.x", "text.fingerprint"])
        arrays.append((extra, array))
    elif name in ("ngrams.next", "ngrams.shared"):
        arrays[index] = (name, change_packed(array, draw))
    else:
        arrays[index] = (name, change_values(array, draw))
    draft.lay_out(arrays)


def change_packed(array, draw):
    """The ids of n-grams, which may be packed: others, packed again, or a bomb."""
    data = array.tobytes()
    with contextlib.suppress(zlib.error):
        data = zlib.decompress(data)
    changed = change_values(np.frombuffer(data, np.uint8), draw).tobytes()
    packed = zlib.compress(changed)
    ways = [changed, packed, packed + b"x", packed[:-3], zeros_packed(), array.tobytes()[:-1]]
    return np.frombuffer(draw.choice(ways), np.uint8)


@functools.cache
def zeros_packed():
    """64 MB in a few thousand bytes."""
    return zlib.compress(bytes(1 << 26))


def change_sizes(draft, draw):
    """Sizes of the network in the settings that its weights have too."""
    settings = draft.settings
    if not (isinstance(settings, dict) and isinstance(settings.get("model"), dict)):
        return
    hidden = draw.choice([1, 3, 5])
    if settings["model"].get("hidden") != 2:
        return
    settings["model"]["hidden"] = hidden
    arrays = []
    for name, array in draft.tensors():
        if name.startswith(("layers.", "head.weight")):
            shape = [size // 2 * hidden if size % 2 == 0 else size for size in array.shape]
            if name.endswith("weight_ih_l0"):
                shape[1] = array.shape[1]
            if name == "head.weight":
                shape[0] = array.shape[0]
            array = np.resize(array, shape)
        arrays.append((name, array))
    draft.lay_out(arrays)


CONTENT_CHANGES = [
    (change_settings, 8), (change_settings_text, 1), (change_tensor, 6), (change_sizes, 1),
]  # fmt: skip
HEADER_CHANGES = [(change_entry, 3), (change_name, 2), (change_header, 2)]


def mutate(file, draw):
    """The bytes of a mutant, and what was done."""
    if draw.random() < 0.05:
        return change_bytes(file, draw), "bytes"
    draft = Draft.of(file)
    done = []
    for changes in (CONTENT_CHANGES, HEADER_CHANGES):
        share = 0.8 if changes is CONTENT_CHANGES or not done else 0.1
        while draw.random() < share:
            change = draw.choices(*zip(*changes, strict=True))[0]
            # A second change may find what it would change gone.
            with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError):
                change(draft, draw)
                done.append(change.__name__)
            share /= 3
    return draft.to_bytes(), "+".join(done) or "nothing"


def change_bytes(file, draw):
    """Flipped, cut or spliced bytes, the digest left as it was."""
    data = bytearray(file)
    way = draw.randrange(3)
    if way == 0:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif way == 1:
        del data[draw.randrange(len(data)) :]
    else:
        start, end = sorted(draw.sample(range(len(data)), 2))
        data[start:end] = file[: draw.randrange(100)]
    return bytes(data)


# Uses


class Watch:
    """Notes what Python is told to do that no file may make it do."""

    def __init__(self):
        self.is_on, self.seen = False, []
        sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if self.is_on and event.startswith(FORBIDDEN_EVENTS):
            self.seen.append(f"{event} {str(arguments)[:80]}")


_watch = None


@contextlib.contextmanager
def limits():
    """Bounded processor time, bounded memory, warnings as errors, and a watch on what is run."""
    global _watch
    # An audit hook cannot be taken away again.
    _watch = _watch or Watch()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    before = signal.signal(signal.SIGPROF, _too_slow)
    try:
        if pages:
            most = pages * os.sysconf("SC_PAGESIZE") + MOST_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _watch.is_on, _watch.seen = True, []
            yield _watch
    finally:
        _watch.is_on = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, before)


def _too_slow(number, frame):
    raise TooSlow


def uses(path):
    """What can be done with a file, by name, each a function of what was loaded."""
    return {
        "info": lambda checkpoint: [visible(v).encode() for _, v in checkpoint.report()],
        "sample": lambda checkpoint: write_and_encode(checkpoint, path),
        "score": lambda checkpoint: TextModel(checkpoint).score("abba"),
        "eval": lambda checkpoint: evaluate(path, text_of(checkpoint, path), part="val"),
        "resume": lambda checkpoint: train_a_step(path) if checkpoint.resume else None,
    }


def text_of(checkpoint, path):
    """The text to measure on; None where the file itself says where that is."""
    return None if checkpoint.resume else path.with_name("corpus.txt")


def write_and_encode(checkpoint, path):
    texts = TextModel(checkpoint, path=path).batch(num=2, length=6, seed=0)
    return [text.encode() for text in texts]


def train_a_step(path):
    setup = resume_setup(path.parent, [], TrainConfig())
    setup.trainer.update(learning_rate=setup.recipe.lr)
    setup.plan.validates_at(setup.trainer.step)
    return setup


def problem_with(error, stage):
    """What is wrong with an error that a use of a file raised; None where nothing is."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    if not isinstance(error, TextgenError):
        return f"{stage}: {type(error).__name__} at {place}: {str(error)[:150]}"
    line = str(error)
    if "\n" in line or any(ord(char) < 32 or 0xD800 <= ord(char) < 0xE000 for char in line):
        return f"{stage}: not one harmless line: {line!r:.150}"
    # That the file does not say what it was trained on, which it need not.
    is_of_file = isinstance(error, UsageError) and error.subject.endswith(".safetensors")
    if not isinstance(error, ALLOWED[stage]) and not (stage == "eval" and is_of_file):
        return f"{stage}: code {error.exit_code}: {line:.200}"
    return None


def try_file(path, command=False):
    """Use a file in every way; return how each went, and what is wrong with that."""
    outcomes, findings = {}, []
    checkpoint = None
    for stage in ("load", *uses(path)):
        try:
            checkpoint = Checkpoint.load(path) if stage == "load" else checkpoint
            if stage != "load":
                uses(path)[stage](checkpoint)
            outcomes[stage] = "fine"
        except Exception as error:
            outcomes[stage] = type(error).__name__
            if problem := problem_with(error, stage):
                findings.append(problem)
            if stage == "load":
                break
    if command:
        findings += commands_on(path, text_of(checkpoint, path) if checkpoint else None)
    return outcomes, findings


def commands_on(path, text):
    """What is wrong with how the command line takes a file; text: what it is measured on."""
    findings = []
    words = {"info": [], "sample": ["--length", "5", "--num", "3"], "eval": ["--part", "val"]}
    words["eval"] += [str(text)] if text else []
    for name, options in words.items():
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main([name, str(path), *options])
            except Exception as error:
                findings.append(f"textgen {problem_with(error, name)}")
                continue
        err.seek(0)
        errors = [line for line in err.read().split("\n") if line.startswith("textgen: error")]
        if code not in EXIT_CODES[name] or len(errors) != (code != 0):
            findings.append(f"textgen {name}: code {code}: {errors}")
    return findings


def run(count=20_000, seed=0, keep=None, report=print):
    """Make and try mutants; return how many were clean, and report the rest.

    Args:
        count: how many mutants.
        seed: of all choices; each mutant's are its own, so that a finding can be made again.
        keep: a folder for the files of findings.
        report: called with what was found.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = try_mutants(folder, make_sources(folder), count, seed, keep)
    findings = found.pop("findings")
    # Of findings that are alike the first is enough.
    for finding in {finding[3]: finding for finding in reversed(findings)}.values():
        report(*finding)
    damaged = len({number for number, *_ in findings})
    return {"a changed checkpoint file": {"tried": count, "clean": count - damaged}}


def try_mutants(folder, sources, count, seed, keep=None, enough=sys.maxsize):
    """Try mutants of sources that were made in a folder; return counts of what came of them.

    enough: how many findings end it.
    """
    path = folder / "last.safetensors"
    # What is imported when it is needed is so now; nothing in an untouched file may be refused.
    for name, file in sources:
        path.write_bytes(file)
        outcomes, findings = try_file(path, command=name == sources[0][0])
        if findings or set(outcomes.values()) != {"fine"}:
            return {"findings": [(name, "untouched", outcomes, findings)]}
    done, came, findings, slowest = Counter(), Counter(), [], 0.0
    with limits() as watch:
        for number in range(count):
            if len(findings) >= enough:
                break
            draw = random.Random(f"{seed}/{number}")
            name, file = draw.choice(sources)
            mutant, what = mutate(file, draw)
            path.write_bytes(mutant)
            started, found = time.process_time(), []
            signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
            try:
                outcomes, found = try_file(path, number % COMMANDS_ONE_IN == 0)
                came.update(f"{stage} {outcome}" for stage, outcome in outcomes.items())
            except TooSlow:
                found = [f"more than {MOST_SECONDS} s: {what}"]
            signal.setitimer(signal.ITIMER_PROF, 0)
            slowest = max(slowest, time.process_time() - started)
            found += watch.seen
            watch.seen = []
            done.update(what.split("+"))
            findings += [(number, name, what, problem) for problem in found]
            if found and keep:
                (Path(keep) / f"{seed}-{number}.safetensors").write_bytes(mutant)
    return {
        "changes": dict(done),
        "outcomes": dict(came),
        "slowest": slowest,
        "findings": findings,
    }


if __name__ == "__main__":
    for package in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(package, "1")
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])))
