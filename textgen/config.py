"""What a user can choose, as frozen dataclasses that are checked when they are made.

In the walk after `files`: numbers and names only, no files, no numpy. The command line's options
are generated from these fields, so a field's name is its option and its help is its documentation.
None means "not set": sizing fills it in, or the feature is off.

    >>> TrainConfig(hidden=256).dropout is None
    True
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from textgen.errors import UsageError

Config = TypeVar("Config")

GATES = {"rnn": 1, "lstm": 4, "gru": 3}  # blocks of rows in a layer's weights
CELLS = tuple(GATES)
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("float32", "bfloat16")
UNKNOWN_POLICIES = ("error", "skip", "replace")
CODE_POINTS = 0x110000  # of Unicode


def option(default: Any, help: str, **extra: Any) -> Any:
    """Return a dataclass field that the command line turns into an option.

    extra: `choices`; `low` and `high`, an inclusive range; `above` and `below`, an exclusive one;
    `metavar`.
    """
    return field(default=default, metadata={"help": help, **extra})


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of a network: V ids -> embedding E -> L layers of H units -> V logits.

    ngrams: of the count of n-grams that it is mixed with.
    """

    vocab: int = option(2, "ids, <unk> included", low=2, high=CODE_POINTS + 1)
    cell: str = option("gru", "recurrent cell", choices=CELLS)
    layers: int = option(1, "recurrent layers", low=1, high=64)
    hidden: int = option(512, "units of a layer", low=1, high=16384)
    embedding: int = option(64, "size of a character's embedding", low=1, high=16384)
    ngrams: int = option(1, "characters in the longest n-gram; 1: none", low=1, high=16)

    def __post_init__(self) -> None:
        check_fields(self)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return every parameter's name and shape, in the order of the data walk."""
        rows = GATES[self.cell] * self.hidden
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (self.vocab, self.embedding)}
        for layer in range(self.layers):
            width = self.hidden if layer else self.embedding
            shapes[f"layers.{layer}.weight_ih_l0"] = (rows, width)
            shapes[f"layers.{layer}.weight_hh_l0"] = (rows, self.hidden)
            shapes[f"layers.{layer}.bias_ih_l0"] = (rows,)
            shapes[f"layers.{layer}.bias_hh_l0"] = (rows,)
        shapes["head.weight"] = (self.vocab, self.hidden)
        shapes["head.bias"] = (self.vocab,)
        return shapes

    def describe(self) -> str:
        """Return the sizes in words."""
        words = f"{self.cell}, {self.layers} layer(s) of {self.hidden}, embedding {self.embedding}"
        words += f", {self.parameters():,} parameters"
        return words + (f"; n-grams up to {self.ngrams}" if self.ngrams > 1 else "")

    def parameters(self) -> int:
        """Return the number of trained numbers."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def products(self) -> int:
        """Return the number of weights that take part in matrix products for each character."""
        shapes = self.shapes()
        return sum(
            math.prod(shape)
            for name, shape in shapes.items()
            if len(shape) == 2 and name != "embedding.weight"
        )


@dataclass(frozen=True)
class TrainConfig:
    """How to train. What is None is chosen from the corpus, the machine and the time budget."""

    out: str | None = option(
        None, "run folder (default: checkpoints/NAME, or NAME-2 ...)", metavar="RUN"
    )
    cell: str | None = option(None, "recurrent cell", choices=CELLS)
    layers: int | None = option(None, "recurrent layers", low=1, high=64)
    hidden: int | None = option(None, "units of a layer", low=1, high=16384)
    embedding: int | None = option(None, "size of an embedding", low=1, high=16384)
    ngrams: int | None = option(
        None, "characters in the longest n-gram mixed in (1: none)", low=1, high=16
    )
    dropout: float | None = option(None, "share of features dropped", low=0, below=1)
    weight_decay: float | None = option(None, "pull of matrices towards zero", low=0, high=10)
    batch: int | None = option(None, "parallel streams of text", low=1, high=65536)
    window: int | None = option(None, "characters a gradient reaches back", low=1, high=65536)
    lr: float | None = option(None, "peak learning rate", above=0, high=1)
    minutes: float | None = option(None, "time budget, start to exit (default: 10)", above=0)
    epochs: float | None = option(None, "budget in passes over the text", above=0)
    steps: int | None = option(None, "budget in updates of the weights", low=1)
    patience: int | None = option(None, "stop after so many validations without a gain", low=1)
    split: str = option(
        "0.9,0.05,0.05", "shares for training, validation and test", metavar="SHARES"
    )
    val: str | None = option(None, "validate on this text instead of a share", metavar="FILE")
    seed: int = option(0, "seed of initial weights, data order and dropout", low=0, high=2**63)
    threads: int | None = option(None, "CPU threads (default: what is fastest)", low=1, high=1024)
    device: str = option("auto", "where to train", choices=DEVICES)
    precision: str | None = option(
        None, "factors of the GRU's products on a CPU (default: what it has)", choices=PRECISIONS
    )
    init: str | None = option(None, "start from this checkpoint's weights", metavar="FILE")

    def __post_init__(self) -> None:
        check_fields(self)
        budgets = [f"--{n}" for n in ("minutes", "epochs", "steps") if getattr(self, n) is not None]
        if len(budgets) > 1:
            raise UsageError(budgets[1], f"cannot be combined with {budgets[0]}", "keep one")
        split_shares(self.split)


@dataclass(frozen=True)
class SampleConfig:
    """How to write text. Filters apply in the order temperature, top-k, top-p, min-p."""

    prime: str = option("", r"text to continue; \n and \t are unescaped", metavar="TEXT")
    length: int = option(500, "new characters to write", low=0)
    temperature: float = option(0.8, "0 takes the likeliest character, 1 is the model", low=0)
    top_k: int | None = option(None, "draw from the K likeliest characters", low=1)
    top_p: float | None = option(None, "draw from the likeliest, P in sum", above=0, high=1)
    min_p: float | None = option(None, "drop what is below P times the likeliest", low=0, high=1)
    stop: tuple[str, ...] = option((), "stop before this text; repeatable", metavar="TEXT")
    num: int = option(1, "texts to write", low=1, high=65536)
    seed: int | None = option(None, "seed of the draws (default: a new one)", low=0, high=2**63)
    unknown: str = option(
        "error", "characters of the prime that the model lacks", choices=UNKNOWN_POLICIES
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if "" in self.stop:
            raise UsageError("--stop", "an empty text would stop at once", "give some text")


def option_name(name: str) -> str:
    """Return a field's option: top_k -> --top-k."""
    return "--" + name.replace("_", "-")


def check_fields(config: Any) -> None:
    """Check every field's type and range by its metadata; raise UsageError naming the option."""
    for one in dataclasses.fields(config):
        value = getattr(config, one.name)
        if value is None and one.default is None:
            continue
        _check_type(option_name(one.name), value, str(one.type))
        _check_range(option_name(one.name), value, one.metadata)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise UsageError for name, with the nearest choice, when value is none of the choices."""
    if value not in choices:
        close = difflib.get_close_matches(str(value), choices, 1, 0.3)
        fix = f"did you mean {close[0]}?" if close else "choose one of them"
        raise UsageError(name, f"{value!r} is not one of {', '.join(choices)}", fix)


def _check_type(name: str, value: Any, annotation: str) -> None:
    kinds = {"int": (int,), "float": (int, float), "str": (str,), "tuple[str, ...]": (tuple,)}
    wanted = annotation.removesuffix(" | None")
    if isinstance(value, bool) or not isinstance(value, kinds[wanted]):
        raise UsageError(name, f"{value!r} is not of type {wanted}", f"give a {wanted}")


def _check_range(name: str, value: Any, limits: Mapping[str, Any]) -> None:
    if "choices" in limits:
        check_choice(name, value, limits["choices"])
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(name, f"{value} is not a finite number", "give a finite number")
    for key, (words, fits) in COMPARISONS.items():
        if key in limits and not fits(value, limits[key]):
            raise UsageError(name, f"{value} is not {words} {limits[key]}", f"give {words} that")


COMPARISONS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "low": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "high": ("at most", operator.le),
    "below": ("below", operator.lt),
}


def split_shares(split: str) -> tuple[Decimal, ...]:
    """Return the two or three shares of a split such as "0.9,0.1"; raise UsageError.

    Decimals, not floats, so that 0.9 cuts n characters at exactly floor(0.9 n).
    """
    try:
        shares = tuple(Decimal(part) for part in split.split(","))
    except InvalidOperation:
        raise UsageError("--split", f"{split!r} is not numbers", "write 0.9,0.05,0.05") from None
    if len(shares) not in (2, 3) or not all(s.is_finite() and 0 <= s <= 1 for s in shares):
        raise UsageError("--split", f"{split!r} is not 2 or 3 shares", "write 0.9,0.05,0.05")
    if shares[0] == 0 or sum(shares) != 1:
        problem = f"{split!r} sums to {sum(shares)}, with {shares[0]} for training"
        raise UsageError("--split", problem, "give training a share and let all sum to 1")
    return shares


def to_json(config: Any) -> dict[str, Any]:
    """Return the fields of a config as JSON values."""
    return dataclasses.asdict(config)


def from_json(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Return a config of that kind; raise UsageError for a name it does not have."""
    known = [one.name for one in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            fix = f"did you mean {close[0]}?" if close else "leave it out"
            raise UsageError(option_name(name), "unknown setting", fix)
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
