"""The sizes and the recipe, chosen from plain numbers so that nobody has to choose them.

A pure function of the length of the text, the budget (seconds, or characters to train on) and the
machine (device kind, measured speed). What the user set is kept.

    >>> inputs = SizingInputs(1_000_000, seconds=600, gflops=128)
    >>> choose_recipe(TrainConfig(minutes=10), inputs).hidden
    640
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from textgen.config import GATES, ModelConfig, TrainConfig

# Units of a layer that are considered; between two of them the figures hardly differ.
WIDTHS = (32, 64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1536, 2048)
# Characters to train on for each weight in a product: fewer feed a network too little, more would
# feed a larger one. Found by ablation (docs/log.md).
CHARS_PER_WEIGHT = 6.5
# Longer n-grams pay in longer texts (docs/log.md, "n-grams without a ceiling").
LONGEST_NGRAM, LONGEST_NGRAM_OF_LONG, LONG_FROM = 16, 24, 3_000_000
USUAL_WINDOW = 64
# Short records run side by side in more streams, up to so many: more gain no speed.
MOST_STREAMS = 512
# Streams side by side where nothing is set: 16 gain less speed, 64 less from each character. On a
# GPU a step of a layer takes about as long for 64 as for 16 (see GPU_EFFICIENCY).
CPU_STREAMS, GPU_STREAMS = 32, 64
# Of the probed speed, which is that of float32, what training reaches: with products in float32 and
# in bfloat16; and the widths below which it reaches less, in proportion.
EFFICIENCY, FULL_WIDTH = 0.6, 256
BFLOAT16_EFFICIENCY, BFLOAT16_FULL_WIDTH = 1.15, 450
# Of the probed speed of a large product in float16, what training reaches on CUDA. Not measured
# here: derived from a published figure, one LSTM layer of 768 units on as many inputs, 16 streams
# and 1024 steps, forward and backward in 5.19 ms on an H100, which is 9 % of that card's peak. Such
# a step waits for the one before it. So narrower layers reach less, and 64 streams of characters,
# whose embedding is narrow, are reckoned to gain twice the characters, of four times at most.
GPU_EFFICIENCY, GPU_FULL_WIDTH = 0.09, 768
# cuDNN has kernels that keep the recurrent weights on the chip: in float16, for widths and
# embeddings that are multiples of 128, up to 1024 units, in batches of multiples of 8 up to 128;
# on large GPUs for the LSTM alone.
CUDA_WIDTHS = (128, 256, 384, 512, 640, 768, 896, 1024)
CUDA_MULTIPLE, CUDA_STREAMS_MULTIPLE, MOST_CUDA_STREAMS = 128, 8, 128
# Of a device's memory, what training may fill: its libraries and the gaps take the rest.
USABLE_MEMORY, BYTES_OF_FLOAT = 0.8, 4
# A run that starts from a checkpoint has learnt the language, and only the text is new. From a
# short text it takes small steps, in few streams, and stops before it knows the text by heart; a
# longer one bears larger steps (docs/log.md, "a base").
BASE_RATE_SHARE, BASE_SHORT, MOST_BASE_RATES = 0.07, 200_000, 4
BASE_DECAY, BASE_STREAMS, BASE_PASSES = 0.05, 8, 4
# Up to so many passes over a text dropout takes more than it gives.
UNDROPPED_EPOCHS, DROPOUT_PER_DOUBLING = 4, 0.2


@dataclass(frozen=True)
class SizingInputs:
    """What sizing depends on; one of seconds and budget_chars is finite.

    Attributes:
        characters: of the training part, counted in ids.
        seconds: of the time budget.
        budget_chars: ids to train on, where the budget is in epochs or steps.
        device: "cpu", "cuda" or "mps".
        gflops: the probe's rounded speed, of products in float16 on CUDA and in float32 elsewhere.
        bfloat16: whether the CPU multiplies such numbers itself.
        vocab: V.
        mean_record_length: in ids, None without records.
        from_base: whether the weights begin with those of a checkpoint.
    """

    characters: int
    seconds: float = math.inf
    budget_chars: float = math.inf
    device: str = "cpu"
    gflops: float = 1.0
    bfloat16: bool = False
    vocab: int = 64
    mean_record_length: float | None = None
    from_base: bool = False


@dataclass(frozen=True)
class Recipe:
    """The sizes and rates of a run, every one chosen, under their names in TrainConfig."""

    cell: str
    layers: int
    hidden: int
    embedding: int
    ngrams: int
    batch: int
    window: int
    lr: float
    precision: str
    dropout: float
    weight_decay: float

    @classmethod
    def of(cls, config: TrainConfig) -> Recipe:
        """Return the recipe in a config that is filled in; raise ValueError where it is not."""
        names = [field.name for field in dataclasses.fields(cls)]
        values = {name: getattr(config, name) for name in names}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            raise ValueError(f"{missing[0]} is not set")
        return cls(**values)

    def fill(self, config: TrainConfig) -> TrainConfig:
        """Return config with every size and rate filled in."""
        return dataclasses.replace(config, **dataclasses.asdict(self))


def choose_recipe(config: TrainConfig, inputs: SizingInputs) -> Recipe:
    """Return every size and rate: what the user set, and what suits the text and the budget."""
    cell = config.cell or ("lstm" if inputs.device == "cuda" else "gru")
    layers = config.layers or 1
    hidden = config.hidden or width(inputs, layers, cell)
    window = config.window or USUAL_WINDOW
    usual_streams = CPU_STREAMS if inputs.device == "cpu" else GPU_STREAMS
    epochs = affordable(inputs, hidden, layers, cell) / inputs.characters
    rate, dropped, decayed = peak_rate(cell, hidden), dropout(epochs), decay(epochs)
    if inputs.from_base:
        rate *= BASE_RATE_SHARE * min(MOST_BASE_RATES, max(1, inputs.characters / BASE_SHORT))
        dropped, decayed = 0.0, BASE_DECAY
        usual_streams = BASE_STREAMS if inputs.characters < BASE_SHORT else usual_streams
    return Recipe(
        cell=cell,
        layers=layers,
        hidden=hidden,
        embedding=config.embedding or (CUDA_MULTIPLE if inputs.device == "cuda" else 64),
        ngrams=config.ngrams or longest_ngram(inputs.characters),
        batch=config.batch or streams(usual_streams, window, inputs),
        window=window,
        lr=config.lr or rate,
        precision=config.precision or precision(cell, inputs),
        dropout=dropped if config.dropout is None else config.dropout,
        weight_decay=decayed if config.weight_decay is None else config.weight_decay,
    )


def longest_ngram(characters: int) -> int:
    """Return the length of the longest n-grams of a text."""
    return LONGEST_NGRAM_OF_LONG if characters > LONG_FROM else LONGEST_NGRAM


def precision(cell: str, inputs: SizingInputs) -> str:
    """Return the type of matrix products: what is fastest for the cell on the device."""
    if inputs.device == "cuda":
        return "float16"
    return "bfloat16" if inputs.bfloat16 and cell == "gru" else "float32"


def width(inputs: SizingInputs, layers: int, cell: str) -> int:
    """Return the rung of the ladder whose weights the budget can feed with characters enough."""
    rungs = CUDA_WIDTHS if inputs.device == "cuda" else WIDTHS
    gates = counted_gates(inputs, cell)
    fitting = [
        rung
        for rung in rungs
        if affordable(inputs, rung, layers, cell) >= CHARS_PER_WEIGHT * weights(rung, layers, gates)
        and weights(rung, layers, gates) <= 20 * inputs.characters
    ]
    return fitting[-1] if fitting else rungs[0]


def weights(hidden: int, layers: int, gates: int) -> float:
    """Return about how many weights a network of that size multiplies with; a head has 64 ids."""
    return gates * hidden * hidden * (2 * layers - 1) + (gates + 1) * 64 * hidden


def counted_gates(inputs: SizingInputs, cell: str) -> int:
    """Return how many gates a cell counts as: on a CPU, where the ladder was found, a GRU's."""
    return GATES[cell] if inputs.device == "cuda" else GATES["gru"]


def streams(usual: int, window: int, inputs: SizingInputs) -> int:
    """Return how many streams run side by side: more where records end long before a window."""
    length = inputs.mean_record_length
    if length is None or length >= window:
        return usual
    wanted = round(usual * window / length)
    if inputs.device != "cuda":
        return min(MOST_STREAMS, wanted)
    return min(MOST_CUDA_STREAMS, wanted // CUDA_STREAMS_MULTIPLE * CUDA_STREAMS_MULTIPLE)


def affordable(inputs: SizingInputs, hidden: int, layers: int, cell: str) -> float:
    """Return how many characters a network of that size can train on in the budget.

    Each costs 6 operations a weight: 2 forwards, 4 backwards.
    """
    if math.isfinite(inputs.budget_chars):
        return inputs.budget_chars
    products = weights(hidden, layers, counted_gates(inputs, cell)) + hidden * max(
        0, inputs.vocab - 64
    )
    operations = efficiency(inputs, hidden) * inputs.seconds * inputs.gflops * 1e9
    return operations / (6 * products)


def efficiency(inputs: SizingInputs, hidden: int) -> float:
    """Return the share of the probed speed that training reaches, less for narrow layers."""
    share, full_width = EFFICIENCY, FULL_WIDTH
    if inputs.device == "cuda":
        share, full_width = GPU_EFFICIENCY, GPU_FULL_WIDTH
    elif inputs.bfloat16:
        share, full_width = BFLOAT16_EFFICIENCY, BFLOAT16_FULL_WIDTH
    return share * min(1.0, hidden / full_width)


def bytes_per_stream(recipe: Recipe, vocab: int) -> int:
    """Return about how much memory a stream of a window takes in training, with its gradients.

    In float32 for each character: twice the embedding; for each layer the gates, what the kernels
    keep of as many, the output, its mask and the sum of outputs, each with a gradient; and the
    logits three times, as they are, as probabilities and as gradients.
    """
    of_layer = 2 * GATES[recipe.cell] + 6
    numbers = 2 * recipe.embedding + recipe.layers * of_layer * recipe.hidden + 3 * vocab
    return BYTES_OF_FLOAT * recipe.window * numbers


def bytes_of_weights(recipe: Recipe, vocab: int) -> int:
    """Return what the weights, their gradients and their two moments take."""
    sizes = ModelConfig(vocab, recipe.cell, recipe.layers, recipe.hidden, recipe.embedding)
    return 4 * BYTES_OF_FLOAT * sum(map(math.prod, sizes.shapes().values()))


def fitting_batch(recipe: Recipe, vocab: int, memory: int) -> int | None:
    """Return how many streams about fit where `recipe.batch` did not; None: not even one.

    It is a multiple of 8 from 8 on, and at most half of what did not fit.

    Args:
        recipe: the sizes.
        vocab: V.
        memory: of the device, in bytes.
    """
    free = USABLE_MEMORY * memory - bytes_of_weights(recipe, vocab)
    most = min(int(free / bytes_per_stream(recipe, vocab)), recipe.batch // 2)
    return (most if most < 8 else most // 8 * 8) if most > 0 else None


def peak_rate(cell: str, hidden: int) -> float:
    """Return the peak learning rate: lower for wider layers; a GRU's was found by ablation."""
    if cell == "gru":
        return 6e-3 * min(1.0, math.sqrt(384 / hidden))
    return 3e-3 * min(1.0, math.sqrt(512 / hidden))


def dropout(epochs: float) -> float:
    """Return the dropout rate for a text that is read so many times: more for more."""
    doublings = math.log2(max(1.0, epochs / UNDROPPED_EPOCHS))
    return round(min(0.5, DROPOUT_PER_DOUBLING * doublings), 2)


def decay(epochs: float) -> float:
    """Return the weight decay for a text that is read so many times: more for more."""
    return round(min(0.4, max(0.25, 0.04 * epochs)), 3)
