"""Writes docs/api.md from the docstrings of all public names: python docs/make_api.py."""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ForwardRef, is_typeddict

import textgen

HEAD = """# Python interface

Written by `python docs/make_api.py` from the docstrings; a test compares the two. All names are
those of `import textgen`. Letters in names of arrays are their shapes: T time steps, B rows, V ids,
L latest ids, n ids or characters.
"""

# Of the docstrings, in the style that Google's guide describes.
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example", "Examples")
# What a reader looks for first; the other names follow in the order of textgen.__all__.
FIRST = ("train", "load", "evaluate", "adapt", "load_state", "TextModel", "TextgenError")
LONGEST_LINE = 88
STARS: dict[object, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def render() -> str:
    """Return docs/api.md."""
    names = [*FIRST, *(name for name in textgen.__all__ if name not in FIRST)]
    groups: dict[str, list[str]] = {"Functions": [], "Classes": [], "Options": [], "Errors": []}
    for name in names:
        if name != "__version__":
            value = getattr(textgen, name)
            groups[group_of(value)].append(entry(name, value))
    return HEAD + "".join(f"\n## {group}\n{''.join(parts)}" for group, parts in groups.items())


def group_of(value: Any) -> str:
    """Return the heading under which a function or class stands."""
    if not inspect.isclass(value):
        return "Functions"
    if issubclass(value, Exception):
        return "Errors"
    return "Options" if is_config(value) or is_typeddict(value) else "Classes"


def entry(name: str, value: Any) -> str:
    """Return the section of a name: its signature and docstring, and those of its members."""
    parts = [f"\n### {name}\n\n", *call_of(name, value), text_of(value)]
    if inspect.isclass(value):
        for member, function in members(value):
            parts += [f"\n#### {name}.{member}\n\n", *call_of(member, function), text_of(function)]
    return "".join(parts)


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, those of textgen's bases too."""
    values: dict[str, Any] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("textgen"):
            values = {**vars(base), **values}
    for name, value in values.items():
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, value if isinstance(value, property) else function


def call_of(name: str, value: Any) -> Iterator[str]:
    """Yield how a function or class is called, as a block of Python.

    Nothing for errors, which users do not make, and for configs, whose fields are a table.
    """
    if isinstance(value, property):
        yield f"```py\n{name}: {annotation(value.fget.__annotations__['return'])}\n```\n\n"
    elif not inspect.isclass(value) or group_of(value) == "Classes":
        yield f"```py\n{signature(name, value)}\n```\n\n"


def signature(name: str, value: Any) -> str:
    """Return a signature, on one line if that is short, else with a line for each parameter."""
    described = inspect.signature(value)
    parameters = list(described.parameters.values())
    if not inspect.isclass(value) and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    shown = list(with_markers(parameters))
    returned = described.return_annotation
    end = f" -> {annotation(returned)}" if returned not in (described.empty, None, "None") else ""
    line = f"{name}({', '.join(shown)}){end}"
    if len(line) <= LONGEST_LINE:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in shown), f"){end}"])


def with_markers(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    """Yield parameters as Python writes them, with the star before those that need a name."""
    starred = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            yield "*"
        starred = starred or parameter.kind in (parameter.VAR_POSITIONAL, parameter.KEYWORD_ONLY)
        yield declaration(parameter)


def declaration(parameter: inspect.Parameter) -> str:
    """Return a parameter with its annotation and default value."""
    text = STARS.get(parameter.kind, "") + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        text += f" = {shown_default(parameter.default)}"
    return text


def annotation(value: Any) -> str:
    """Return an annotation as it is written in the code."""
    if isinstance(value, ForwardRef):
        return value.__forward_arg__
    return value if isinstance(value, str) else getattr(value, "__name__", str(value))


def shown_default(value: Any) -> str:
    """Return a default value; three dots where it is a function or made anew each time."""
    return "..." if callable(value) or repr(value) == "<factory>" else repr(value)


def text_of(value: Any) -> str:
    """Return a docstring as Markdown, an error's exit code, and a config's options as a table."""
    text = "".join(blocks(inspect.getdoc(value) or ""))
    if "exit_code" in getattr(value, "__dict__", ()):
        text += f"\nExit code of the command line: {value.exit_code}.\n"
    return text + options(value) if is_config(value) else text


def is_config(value: Any) -> bool:
    """Tell whether a value is a dataclass whose fields are options with a help."""
    return dataclasses.is_dataclass(value) and any(
        "help" in field.metadata for field in dataclasses.fields(value)
    )


def options(config: Any) -> str:
    """Return the fields of a config as a table."""
    rows = ["| name | type | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(config):
        cells = [f"`{field.name}`", f"`{field.type}`", f"`{field.default!r}`"]
        meaning = prose(field.metadata.get("help", "").replace("%%", "%"))
        rows.append(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in [*cells, meaning]) + " |"
        )
    return "\n".join(["", *rows, ""])


def blocks(docstring: str) -> Iterator[str]:
    """Yield the parts of a docstring: paragraphs, examples and sections, each as Markdown."""
    for number, part in enumerate(re.split(r"\n\s*\n", docstring)):
        gap = "\n" if number else ""
        heading, _, rest = part.partition("\n")
        if heading.removesuffix(":") in SECTIONS:
            yield gap + section(heading, inspect.cleandoc(rest))
        elif part.startswith((">>>", "    ")):
            yield f"{gap}```py\n{inspect.cleandoc(part)}\n```\n"
        else:
            yield f"{gap}{prose(part)}\n"


def section(heading: str, text: str) -> str:
    """Return a section: an example, a paragraph, or names with their meaning as a list."""
    if heading.startswith("Example"):
        return f"```py\n{text}\n```\n"
    if heading in ("Returns:", "Yields:"):
        return f"**{heading}** {prose(' '.join(text.split()))}\n"
    lines = []
    for item in re.split(r"\n(?=[*\w, ]+: )", text):
        name, _, meaning = " ".join(item.split()).partition(": ")
        lines.append(f"- `{name}`: {prose(meaning)}\n")
    return f"**{heading}**\n\n{''.join(lines)}"


def prose(text: str) -> str:
    """Return text in which Markdown takes nothing for a tag of HTML, such as <unk>."""
    parts = text.split("`")
    return "`".join([part if i % 2 else part.replace("<", "\\<") for i, part in enumerate(parts)])


if __name__ == "__main__":
    (Path(__file__).parent / "api.md").write_text(render(), encoding="utf-8")
