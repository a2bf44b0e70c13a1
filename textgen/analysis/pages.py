"""Pages of HTML: the one door to the templates, each page one file that needs no network.

A page holds its style, its script and its data. Whatever comes from a text or a file is escaped by
the templates, or stands in data that the script reads as data.

    >>> render("surprise.html", title="corpus.txt", data=embed({"text": "a"}, columns))
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from textgen.errors import visible
from textgen.tokenizers import BOUNDARY, Tokenizer

TEMPLATES = Path(__file__).parent / "templates"
# Unicode's pictures of C0's control characters, and of DEL.
CONTROL_PICTURES, DELETE_PICTURE = 0x2400, 0x2421
# For what else would steer a page: other controls, direction overrides, lone surrogates.
HIDDEN = "\N{REPLACEMENT CHARACTER}"


@cache
def environment(folder: Path) -> Environment:
    """Return what fills templates in: it escapes every value, and a missing one is an error."""
    return Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, folder: Path = TEMPLATES, **values: Any) -> str:
    """Return a page: a template of a folder, or of `templates` here, filled with values."""
    return environment(folder).get_template(template).render(**values)


def embed(values: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> Markup:
    """Return data for a page's script: JSON, and arrays of numbers, deflated.

    It stands in an element that is not run; the script's `unpack` makes arrays of it. In Markup
    nothing is escaped again: `<`, `>` and `&` are escaped here, as JSON does it.

    Args:
        values: what JSON can say.
        columns: arrays of unsigned numbers of 8 or 16 bits, of any shape.
    """
    parts, places, position = [], {}, 0
    for name, array in columns.items():
        flat = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).reshape(-1)
        # An array of 16 bits has to begin at an even byte.
        position += position % 2
        places[name] = [position, len(flat), array.dtype.itemsize]
        parts.append(flat.tobytes() + b"\0" * (flat.nbytes % 2))
        position += flat.nbytes
    packed = base64.b64encode(zlib.compress(b"".join(parts), 6)).decode("ascii")
    text = json.dumps({**values, "columns": places, "packed": packed})
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def displayed(text: str) -> str:
    """Return a text of the same length that cannot steer a page.

    Control characters but newline and tab become Unicode's pictures of them; direction overrides,
    line separators and lone surrogates U+FFFD.
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" else _displayed_character(c) for c in text)


def _displayed_character(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(CONTROL_PICTURES + code)
    if code == 0x7F:
        return chr(DELETE_PICTURE)
    return character if visible(character) == character else HIDDEN


def names_of_ids(tokenizer: Tokenizer) -> list[str]:
    r"""Return what each id is called where it stands alone: 'e', '␣', '\n', '<unk>', '\xe2'."""
    return [name_of_symbol(symbol) for symbol in tokenizer.symbols()]


def name_of_symbol(symbol: bytes) -> str:
    """Return what an id is called that stands for some bytes; see `Tokenizer.symbols`."""
    if symbol == BOUNDARY:
        return "<end>"
    if not symbol:
        return "<unk>"
    try:
        text = symbol.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in symbol)
    return visible(text.replace(" ", "␣"))
