"""What a checkpoint records of its text, training and figures, checked when the file is read.

In the file it is an object of JSON whose keys are older than some of the names here: a reader of
`Metadata.from_json` sees both.

    >>> Metadata.from_json({"split": "0.9,0.1"}).split.shares
    '0.9,0.1'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from textgen.config import split_shares
from textgen.data import PARTS, SEPARATE_PARTS, Bounds, Split, TextFormat, TextIdentity
from textgen.errors import UsageError
from textgen.files import JsonObject

# A record of figures or settings, as it stands in the file.
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Metadata:
    """What a model was trained on, how, and how good it was.

    Attributes:
        corpus: the text, None where nobody recorded it, as in a model that was made by hand.
        validation: the text of the validation part, where it is one of its own; test likewise.
        shares: as given to --split; None where validation has a text of its own.
        records: what stands between two records of the text; None for one text.
        text_format: how the bytes of the text became characters.
        parts: where each part lies in characters; None for records and in older files.
        record_counts: how many records each part has; None for one text.
        training: the settings of the run, without the paths of its machine.
        metrics: the figures of the validation that the weights come from.
        versions: of textgen, torch, numpy and Python.
        read_before: the texts that the weights it started from had read, the latest last.
    """

    corpus: TextIdentity | None = None
    validation: TextIdentity | None = None
    test: TextIdentity | None = None
    shares: str | None = None
    records: str | None = None
    text_format: TextFormat = field(default_factory=TextFormat)
    parts: Bounds | None = None
    record_counts: Mapping[str, int] | None = None
    training: Values | None = None
    metrics: Values | None = None
    versions: Values | None = None
    read_before: tuple[TextIdentity, ...] = ()

    @property
    def split(self) -> Split:
        """How the text was cut; older files show a separate validation text by lacking shares."""
        separate = frozenset(part for part in SEPARATE_PARTS if self.own_text(part))
        if self.shares is None and not separate:
            separate = frozenset({"val"})
        return Split(self.shares or "1", self.records, separate)

    @property
    def window(self) -> int | None:
        """Time steps of the windows that the model was trained on, if that was recorded."""
        window = (self.training or {}).get("window")
        return window if isinstance(window, int) else None

    def own_text(self, part: str) -> TextIdentity | None:
        """Return the identity of the part's own text; None if the part is cut from the corpus."""
        return {"val": self.validation, "test": self.test}.get(part)

    def to_json(self) -> dict[str, Any]:
        """Return the values that stand in the file; a model made by hand records none."""
        values = {
            "corpus": self.corpus,
            "validation": self.validation,
            "test": self.test,
            "split": self.shares,
            "records": self.records,
            "reading": self.text_format,
        }
        if self.corpus is None:
            values = {key: value for key, value in values.items() if value is not None}
            if self.text_format == TextFormat():
                del values["reading"]
        recorded: dict[str, Any] = {
            key: value if value is None or isinstance(value, str) else asdict(value)
            for key, value in values.items()
        }
        optional: dict[str, Any] = {
            "parts": self.parts,
            "items": self.record_counts,
            "training": self.training,
            "metrics": self.metrics,
            "versions": self.versions,
        }
        if self.read_before:
            recorded["read_before"] = [asdict(text) for text in self.read_before]
        return recorded | {key: value for key, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, values: object) -> Metadata:
        """Return the metadata of a file's values; raise ValueError naming what is wrong with them.

        Keys that are not known are left to later versions.
        """
        settings = JsonObject(values, "settings")
        return cls(
            corpus=_identity(settings, "corpus"),
            validation=_identity(settings, "validation"),
            test=_identity(settings, "test"),
            shares=_shares(settings),
            records=settings.text("records") if settings.has("records") else None,
            text_format=_text_format(settings),
            parts=_parts(settings),
            record_counts=_record_counts(settings),
            training=_values(settings, "training"),
            metrics=_values(settings, "metrics"),
            versions=_values(settings, "versions"),
            read_before=_read_before(settings),
        )


def _identity(settings: JsonObject, key: str) -> TextIdentity | None:
    if not settings.has(key):
        return None
    return _parse_identity(settings.object(key))


def _read_before(settings: JsonObject) -> tuple[TextIdentity, ...]:
    if not settings.has("read_before"):
        return ()
    where = "settings.read_before"
    values = settings.array("read_before")
    return tuple(_parse_identity(JsonObject(value, where)) for value in values)


def _parse_identity(identity: JsonObject) -> TextIdentity:
    return TextIdentity(identity.text("name"), identity.integer("size"), identity.text("sha256"))


def _shares(settings: JsonObject) -> str | None:
    if not settings.has("split"):
        return None
    shares = settings.text("split")
    try:
        split_shares(shares)
    except UsageError as error:
        raise ValueError(f"settings.split {error.problem}") from None
    return shares


def _text_format(settings: JsonObject) -> TextFormat:
    if not settings.has("reading"):
        return TextFormat()
    reading = settings.object("reading")
    try:
        return TextFormat(
            reading.text("encoding"), reading.text("newlines"), reading.text("normalize")
        )
    except UsageError as error:
        raise ValueError(f"settings.reading: {error.subject} {error.problem}") from None


def _parts(settings: JsonObject) -> Bounds | None:
    if not settings.has("parts"):
        return None
    parts, bounds = settings.object("parts"), {}
    for part in PARTS:
        ends = parts.array(part)
        if [type(end) for end in ends] != [int, int] or not 0 <= ends[0] <= ends[1]:
            raise ValueError(f"settings.parts.{part} is {ends}, not where a part begins and ends")
        bounds[part] = (ends[0], ends[1])
    return bounds


def _record_counts(settings: JsonObject) -> dict[str, int] | None:
    if not settings.has("items"):
        return None
    counts = settings.object("items")
    return {part: counts.integer(part) for part in PARTS}


def _values(settings: JsonObject, key: str) -> Values | None:
    return settings.object(key).values if settings.has(key) else None
