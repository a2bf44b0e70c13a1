"""What a user can choose of a training run, as a frozen dataclass, checked when made.

Numbers and names only, no files, no numpy. The command line's options are made from these fields: a
field's name is its option, its help its documentation. None means "not set": sizing fills it in, or
the feature is off.

    >>> TrainConfig(hidden=256).dropout is None
    True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict, Unpack

from textgen.config.fields import check_fields, conflict, from_json, option, to_json
from textgen.config.model import CELLS
from textgen.config.notations import split_shares
from textgen.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")
# Of matrix products: a GRU on a CPU may take bfloat16, recurrent layers on CUDA float16.
PRECISIONS = ("float32", "bfloat16", "float16")
TOKENIZERS = ("char", "byte", "bpe", "unigram")
NEWLINE_CHOICES = ("keep", "lf")
NORMALIZE_CHOICES = ("none", "nfc")

# A heading of --help; what has none stands first.
TEXT_OPTIONS = "which text, and in which units"


class TrainOptions(TypedDict, total=False):
    """The fields of TrainConfig as keywords."""

    out: str | None
    cell: str | None
    layers: int | None
    hidden: int | None
    embedding: int | None
    ngrams: int | None
    ngram_megabytes: float
    dropout: float | None
    weight_decay: float | None
    batch: int | None
    window: int | None
    lr: float | None
    minutes: float | None
    epochs: float | None
    steps: int | None
    patience: int | None
    seed: int
    threads: int | None
    device: str
    precision: str | None
    init: str | None
    tensorboard: str | None
    split: str
    val: str | None
    test: str | None
    records: str | None
    tokenizer: str | None
    vocab_size: int | None
    glob: str | None
    encoding: str
    newlines: str
    normalize: str


@dataclass(frozen=True)
class TrainConfig:
    """How to train. What is None is chosen from the corpus, the machine and the time budget.

    A value of another type or out of its range, or two that exclude each other, raise UsageError.

    >>> TrainConfig(minutes=10, hidden=512, val="other.txt")
    """

    out: str | None = option(
        None, "run folder (default: checkpoints/NAME, else NAME-2 and so on)", metavar="RUN"
    )
    cell: str | None = option(None, "recurrent cell", choices=CELLS)
    layers: int | None = option(None, "recurrent layers", low=1, high=64)
    hidden: int | None = option(None, "units per layer", low=1, high=16384)
    embedding: int | None = option(None, "size of the embedding", low=1, high=16384)
    ngrams: int | None = option(
        None, "length of the longest n-gram mixed in, in characters (1: none)", low=1, high=64
    )
    ngram_megabytes: float = option(
        28.0,
        "room for n-grams in a checkpoint; of a longer text the end is counted",
        above=0,
        high=2000,
    )
    dropout: float | None = option(None, "fraction of features dropped", low=0, below=1)
    weight_decay: float | None = option(None, "weight decay of the matrices", low=0, high=10)
    batch: int | None = option(None, "parallel streams of text", low=1, high=65536)
    window: int | None = option(
        None, "characters that a gradient flows back through", low=1, high=65536
    )
    lr: float | None = option(None, "peak learning rate", above=0, high=1)
    minutes: float | None = option(None, "time budget from start to exit (default: 10)", above=0)
    epochs: float | None = option(None, "budget in passes over the text", above=0)
    steps: int | None = option(None, "budget in weight updates", low=1)
    patience: int | None = option(None, "stop after N validations without improvement", low=1)
    seed: int = option(0, "seed for initial weights, data order and dropout", low=0, high=2**63)
    threads: int | None = option(
        None, "CPU threads (default: the fastest number)", low=1, high=1024
    )
    device: str = option("auto", "where to train", choices=DEVICES)
    precision: str | None = option(
        None,
        "of matrix products: bfloat16 for a GRU on a CPU, float16 on CUDA (default: the fastest)",
        choices=PRECISIONS,
    )
    init: str | None = option(
        None,
        "start from this checkpoint's weights; none: from nothing (default: base-en, if it helps)",
        metavar="FILE",
    )
    tensorboard: str | None = option(
        None,
        "also write curves for TensorBoard, in a subfolder named after the run",
        metavar="DIR",
    )

    split: str = option(
        "0.9,0.05,0.05",
        "shares for training, validation and test; 1: train on everything",
        metavar="SHARES",
        group=TEXT_OPTIONS,
    )
    val: str | None = option(
        None, "validate on this text instead", metavar="FILE", group=TEXT_OPTIONS
    )
    test: str | None = option(
        None, "hold out this text for testing instead", metavar="FILE", group=TEXT_OPTIONS
    )
    records: str | None = option(
        None,
        "learn records: lines, blank-line, or the text that separates two (\\n is unescaped)",
        metavar="HOW",
        group=TEXT_OPTIONS,
    )
    tokenizer: str | None = option(
        None,
        "units of text (default: char); bpe and unigram learn theirs",
        choices=TOKENIZERS,
        group=TEXT_OPTIONS,
    )
    vocab_size: int | None = option(
        None,
        "units that bpe and unigram learn (default: 1000 or 4000)",
        low=2,
        high=10**6,
        group=TEXT_OPTIONS,
    )
    glob: str | None = option(
        None, "files to read in a folder (default: *.txt)", metavar="PATTERN", group=TEXT_OPTIONS
    )
    encoding: str = option("utf-8", "encoding of the files", metavar="NAME", group=TEXT_OPTIONS)
    newlines: str = option(
        "keep", "lf: turn CR and CR LF into LF", choices=NEWLINE_CHOICES, group=TEXT_OPTIONS
    )
    normalize: str = option(
        "none",
        "nfc: compose characters (Unicode NFC)",
        choices=NORMALIZE_CHOICES,
        group=TEXT_OPTIONS,
    )

    @classmethod
    def of(cls, config: TrainConfig | None = None, **options: Unpack[TrainOptions]) -> TrainConfig:
        """Return a config, or the default one, with some of its fields changed.

        Args:
            config: what holds for all fields that are not among the options.
            **options: fields of TrainConfig.

        Raises:
            UsageError: if there is no such field, if a value is out of its range, or if two of them
                exclude each other.
        """
        given = {} if config is None else to_json(config)
        return from_json(cls, {**given, **options})

    def __post_init__(self) -> None:
        check_fields(self)
        if self.vocab_size and self.tokenizer not in ("bpe", "unigram"):
            problem = f"--tokenizer {self.tokenizer or 'char'} has units of its own"
            raise UsageError("--vocab-size", problem, "leave it out, or use bpe or unigram")
        if self.records == "":
            raise UsageError(
                "--records", "the separator is empty", "use lines, blank-line or some text"
            )
        budgets = [n for n in ("minutes", "epochs", "steps") if getattr(self, n) is not None]
        if len(budgets) > 1:
            raise conflict(budgets[1], budgets[0])
        split_shares(self.split)
