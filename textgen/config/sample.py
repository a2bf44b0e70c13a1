"""What a user can choose of the text to write, as a frozen dataclass, checked when made.

A field's name is its option on the command line, its help that option's.

    >>> SampleConfig.of(temperature=0.7, stop="END").length
    500
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from textgen.config.fields import check_fields, conflict, option, option_name
from textgen.config.notations import expand, parse_bias
from textgen.errors import UsageError

UNKNOWN_POLICIES = ("error", "skip", "replace")
END_UNITS = ("sentence", "line", "paragraph")

# The headings of --help; options that have none stand first.
END_OPTIONS = "where to end"
CHARACTER_OPTIONS = "which characters"
REPETITION_OPTIONS = "against repetition"
CUT_OPTIONS = "other cut-offs"
SEARCH_OPTIONS = "search for likely text"
RECORD_OPTIONS = "records, for a model trained with --records"
OUTPUT_OPTIONS = "input and output"

# What cuts off the tail of a distribution, of which mirostat and beams have their own way.
CUT_OFFS = ("top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")

# What looks at the latest characters.
LOOKING_BACK = (
    *("repetition_penalty", "frequency_penalty", "presence_penalty"),
    *("no_repeat_ngram", "dry_multiplier", "novel"),
)


class SampleOptions(TypedDict, total=False):
    """The fields of SampleConfig as keywords, all but the prime, which is an argument of its own.

    A single text stands for one stop text or bias, and a list for a tuple.
    """

    length: int
    temperature: float | Sequence[float]
    top_k: int | None
    top_p: float | None
    min_p: float | None
    num: int
    seed: int | None
    stop: Sequence[str]
    until: str | None
    lines: int | None
    ban: str
    only: str
    bias: Sequence[str]
    match: str | None
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    no_repeat_ngram: int | None
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    look_back: int
    novel: int | None
    novel_text: str | None
    typical_p: float | None
    epsilon_cutoff: float | None
    eta_cutoff: float | None
    mirostat: float | None
    mirostat_rate: float
    best_of: int
    beams: int
    length_penalty: float
    unique: bool
    unseen: bool
    unknown: str


@dataclass(frozen=True)
class SampleConfig:
    """How to write text. docs/sampling.md says what each filter does and in which order.

    A value of another type or out of its range, or two that exclude each other, raise UsageError.

    >>> SampleConfig(length=100, top_p=0.9, stop=("END",))
    """

    prime: str = option("", r"text to continue; \n and \t are unescaped", metavar="TEXT")
    length: int = option(500, "new characters to write", low=0)
    temperature: float | tuple[float, float] = option(
        0.8, "0: always the likeliest character, 1: the model as it is; X:Y: from X to Y", low=0
    )
    top_k: int | None = option(None, "draw from the N likeliest characters", low=1)
    top_p: float | None = option(None, "draw from the likeliest, X in sum", above=0, high=1)
    min_p: float | None = option(None, "drop what is below X times the likeliest", low=0, high=1)
    num: int = option(1, "texts to write", low=1, high=65536)
    seed: int | None = option(None, "random seed (default: a new one)", low=0, high=2**63)

    stop: tuple[str, ...] = option(
        (), "stop before this text; repeatable", metavar="TEXT", group=END_OPTIONS
    )
    until: str | None = option(
        None,
        "stop at the end of the first sentence, line or paragraph",
        choices=END_UNITS,
        group=END_OPTIONS,
    )
    lines: int | None = option(None, "stop after N lines", low=1, group=END_OPTIONS)

    ban: str = option(
        "", "characters never to write; a-z is a range", metavar="CHARS", group=CHARACTER_OPTIONS
    )
    only: str = option(
        "", "the only characters to write; a-z is a range", metavar="CHARS", group=CHARACTER_OPTIONS
    )
    bias: tuple[str, ...] = option(
        (),
        "add X to the log-probability of each of these characters; repeatable",
        metavar="CHARS:X",
        group=CHARACTER_OPTIONS,
    )
    match: str | None = option(
        None,
        "regular expression that the new text must match",
        metavar="REGEX",
        group=CHARACTER_OPTIONS,
    )

    repetition_penalty: float = option(
        1.0,
        "multiply the log-probability of recently written characters by X",
        low=0.01,
        high=100,
        group=REPETITION_OPTIONS,
    )
    frequency_penalty: float = option(
        0.0,
        "subtract X for each time a character was written recently",
        low=-100,
        high=100,
        group=REPETITION_OPTIONS,
    )
    presence_penalty: float = option(
        0.0,
        "subtract X once for characters that were written recently",
        low=-100,
        high=100,
        group=REPETITION_OPTIONS,
    )
    no_repeat_ngram: int | None = option(
        None, "never repeat a span of N characters", low=1, group=REPETITION_OPTIONS
    )
    dry_multiplier: float = option(
        0.0, "penalty for extending a repeated span", low=0, high=100, group=REPETITION_OPTIONS
    )
    dry_base: float = option(
        1.75,
        "growth of that penalty per character",
        low=1,
        high=16,
        group=REPETITION_OPTIONS,
        needs=("dry_multiplier",),
    )
    dry_allowed_length: int = option(
        12,
        "no penalty for repeated spans shorter than N",
        low=1,
        high=64,
        group=REPETITION_OPTIONS,
        needs=("dry_multiplier",),
    )
    look_back: int = option(
        1024,
        "how many characters back these options look",
        low=1,
        high=1 << 20,
        group=REPETITION_OPTIONS,
        needs=LOOKING_BACK,
    )
    novel: int | None = option(
        None,
        "copy no span of N characters from the training text",
        low=1,
        high=2**20,
        group=REPETITION_OPTIONS,
    )
    novel_text: str | None = option(
        None,
        "the training text, if it has moved",
        metavar="FILE",
        group=REPETITION_OPTIONS,
        needs=("novel", "unseen"),
    )

    typical_p: float | None = option(
        None, "draw from the most typical, X in sum", above=0, high=1, group=CUT_OPTIONS
    )
    epsilon_cutoff: float | None = option(
        None, "drop what is less likely than X", above=0, below=1, group=CUT_OPTIONS
    )
    eta_cutoff: float | None = option(
        None,
        "likewise, with a lower cut-off where the model is unsure",
        above=0,
        below=1,
        group=CUT_OPTIONS,
    )
    mirostat: float | None = option(
        None,
        "keep the surprise near X bits per character (version 2)",
        above=0,
        high=64,
        group=CUT_OPTIONS,
    )
    mirostat_rate: float = option(
        0.1, "how fast mirostat adapts", above=0, high=1, group=CUT_OPTIONS, needs=("mirostat",)
    )

    best_of: int = option(
        1,
        "write N drafts of each text and keep the likeliest",
        low=1,
        high=1024,
        group=SEARCH_OPTIONS,
    )
    beams: int = option(
        1, "search for the likeliest text with N beams", low=1, high=1024, group=SEARCH_OPTIONS
    )
    length_penalty: float = option(
        1.0,
        "above 0 favours longer texts among the beams, below 0 shorter ones",
        low=-10,
        high=10,
        group=SEARCH_OPTIONS,
        needs=("beams",),
    )

    unique: bool = option(False, "write no record twice", group=RECORD_OPTIONS)
    unseen: bool = option(False, "write no record of the training text", group=RECORD_OPTIONS)

    unknown: str = option(
        "error",
        "what to do about characters of the prime that the model does not know",
        choices=UNKNOWN_POLICIES,
        group=OUTPUT_OPTIONS,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if "" in self.stop:
            raise UsageError("--stop", "an empty text would stop at once", "give some text")
        for name in ("ban", "only"):
            expand(getattr(self, name), option_name(name))
        parse_bias(self.bias)
        self._exclude("mirostat", *CUT_OFFS)
        self._exclude("beams", "temperature", *CUT_OFFS, "mirostat", "best_of")
        self._exclude("match", "stop", "until", "lines", "beams", "novel")
        self._exclude("novel", "beams")
        self._exclude("unique", "beams", "best_of")
        self._exclude("unseen", "beams", "best_of")
        self._check_spans()
        if self.beams > 1 and self.num > self.beams:
            problem = f"{self.num} texts cannot come from {self.beams} beams"
            raise UsageError("--num", problem, "ask for at most as many texts as beams")

    @classmethod
    def of(
        cls, config: SampleConfig | None = None, **options: Unpack[SampleOptions]
    ) -> SampleConfig:
        """Return a config, or the default one, with some of its fields changed.

        Args:
            config: what holds for all fields that are not among the options.
            **options: fields of SampleConfig; a single stop text or bias may be given as it is.

        Raises:
            UsageError: if a value is out of its range, or if two of them exclude each other.
        """
        values: dict[str, Any] = dict(options)
        for name in ("stop", "bias"):
            if name in values:
                value = values[name]
                values[name] = (value,) if isinstance(value, str) else tuple(value)
        if isinstance(values.get("temperature"), list):
            values["temperature"] = tuple(values["temperature"])
        return dataclasses.replace(config or cls(), **values)

    def _exclude(self, name: str, *others: str) -> None:
        """Raise UsageError when an option is set together with one of others."""
        defaults = {each.name: each.default for each in dataclasses.fields(self)}
        if getattr(self, name) == defaults[name]:
            return
        for other in others:
            if getattr(self, other) != defaults[other]:
                raise conflict(name, other)

    def _check_spans(self) -> None:
        """Raise UsageError when a span is longer than what is looked back on."""
        spans = {"novel": self.novel, "no_repeat_ngram": self.no_repeat_ngram}
        if self.dry_multiplier:
            spans["dry_allowed_length"] = self.dry_allowed_length
        for name, span in spans.items():
            if span and span > self.look_back:
                problem = f"{span} characters do not fit in a --look-back of {self.look_back}"
                raise UsageError(option_name(name), problem, "give a larger --look-back")
