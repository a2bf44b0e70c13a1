"""A trained model as a library user meets it: load, sample, stream, score.

In the walk after `dynamic`. On a CPU it needs no torch.

    >>> model = load("checkpoints/demo.safetensors")
    >>> text = model.sample(prime="ROMEO:", length=200, seed=1)
    >>> text += model.sample(length=200, state=model.state)
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from textgen import measure, runs
from textgen.checkpoint import Checkpoint
from textgen.config import SampleConfig
from textgen.errors import TextError, UsageError
from textgen.mixture import make_engine, with_ngrams
from textgen.sampling import Continuation, generate, new_seed


@dataclass(frozen=True)
class Score:
    """How likely a model finds a text. nats: (n,), the cost of each of its n characters."""

    nats: np.ndarray
    nats_per_char: float
    bits_per_char: float
    unknown_chars: int


class TextModel:
    """A checkpoint that writes and scores text.

    state: where the last text stopped; pass it as `state` to go on from there. seed: the one
    that the last text was drawn with. threads: of the matrix products, on which the last bits
    of a text's probabilities depend.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.tokenizer = checkpoint.tokenizer
        self.state: Continuation | None = None
        self.seed: int | None = None
        self.threads = sampling_threads(checkpoint.model.parameters())
        self._blas = ThreadpoolController().select(user_api="blas")
        self._stepper: Any = _stepper(checkpoint, device)

    def sample(self, prime: str = "", *, state: Continuation | None = None, **options: Any) -> str:
        """Return prime followed by new text.

        options: the fields of SampleConfig: length, temperature, top_k, top_p, min_p, stop, seed,
        unknown. With state the text goes on where that one stopped, with its seed and draws.
        """
        return prime + "".join(self.stream(prime, state=state, **options))

    def stream(
        self, prime: str = "", *, state: Continuation | None = None, **options: Any
    ) -> Iterator[str]:
        """Return an iterator over the new text of `sample`, without the prime, piece by piece."""
        config = make_config(prime=prime, **options)
        if config.num != 1:
            raise UsageError("num", "one text at a time", "use batch(num=...)")
        if state is not None and state.logits_BV is not None and len(state.logits_BV) != 1:
            problem = f"is where {len(state.logits_BV)} texts stopped"
            raise UsageError("state", problem, "pass the state after a single text")
        return (pieces[0] for pieces in self._generate(config, state) if pieces[0])

    def batch(self, prime: str = "", **options: Any) -> list[str]:
        """Return options["num"] texts written at once; each as `sample` would with that row."""
        config = make_config(prime=prime, **options)
        texts = [prime] * config.num
        for pieces in self._generate(config, None):
            texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
        return texts

    def score(self, text: str) -> Score:
        """Return what each character of text costs, read as one stream from the zero state."""
        if not text:
            raise TextError("text", "empty", "give at least 1 character")
        ids = self.tokenizer.encode(text, "replace")
        with self._blas.limit(limits=self.threads):
            nats = measure.finite(measure.stateful(self._stepper, ids, self.tokenizer.counts))
        mean = float(nats.mean())
        return Score(nats, mean, mean / math.log(2), int((ids == 0).sum()))

    def _generate(self, config: SampleConfig, state: Continuation | None) -> Iterator[list[str]]:
        if config.seed is None and (state is None or state.seed is None):
            config = dataclasses.replace(config, seed=new_seed())
        self.seed = state.seed if state and state.seed is not None else config.seed
        self.state = state
        steps = generate(self._stepper, self.tokenizer, config, state)
        while True:
            with self._blas.limit(limits=self.threads):  # left between steps: they are the caller's
                step = next(steps, None)
            if step is None:
                return
            pieces, self.state = step
            yield pieces


def load(path: str | Path, device: str = "cpu") -> TextModel:
    """Return the model in a checkpoint file or run folder; raise CheckpointError if damaged."""
    return TextModel(Checkpoint.load(runs.find_checkpoint(path)), device)


def sampling_threads(parameters: int) -> int:
    """Return the threads that a model of so many parameters is stepped with.

    A rule and not a timing, so that the same machine always gives the same text. Measured at one
    row: a second thread gains 1.2 times below a million parameters and 1.4 times and more above,
    but loses far more than that when another program holds the core.
    """
    return 1 if parameters < 1_000_000 else min(2, os.cpu_count() or 1)


def make_config(**options: Any) -> SampleConfig:
    """Return a SampleConfig, with a single stop text or a list of them made a tuple."""
    if "stop" in options:
        stop = options["stop"]
        options["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    return SampleConfig(**options)


def _stepper(checkpoint: Checkpoint, device: str) -> Any:
    if device == "cpu":
        return make_engine(checkpoint)
    from textgen.device import choose_device
    from textgen.model import CharRNN, TorchStepper

    network = CharRNN.from_weights(checkpoint.model, checkpoint.weights, choose_device(device))
    return with_ngrams(TorchStepper(network), checkpoint)
