"""A trained model as a library user meets it: load, sample, stream, score.

On a CPU it needs no torch.

    >>> model = load("checkpoints/demo.safetensors")
    >>> text = model.sample(prime="ROMEO:", length=200, seed=1)
    >>> text += model.sample(length=200, state=model.state)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textgen.checkpoint import (
    Checkpoint,
    index_for,
    longest_copied,
    runs,
    stepper_of,
    text_of,
    training_text,
)
from textgen.config import SampleConfig, make_config
from textgen.data import Spans
from textgen.engine import Threads, sampling_threads
from textgen.errors import TextError, UsageError
from textgen.evaluation import Score, adapted, protocols
from textgen.sampling import (
    Constraints,
    SamplingState,
    Step,
    Text,
    beam_search,
    different_texts,
    generate,
    load_state,
    new_seed,
    read_prime,
    write_texts,
)
from textgen.tokenizers import code_points

if TYPE_CHECKING:
    from textgen.nn import AdaptationRule


class TextModel:
    """A checkpoint that writes and scores text.

    state: where the last text stopped; pass it as `state` to go on from there. seed: the one
    that the last text was drawn with. threads: of the matrix products, on which the last bits
    of a text's probabilities depend. path: where the checkpoint lies, for what is beside it.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: str = "cpu", path: Path | None = None
    ) -> None:
        self.checkpoint, self.path = checkpoint, path
        self.tokenizer = checkpoint.tokenizer
        self.reading = training_text.recorded_format(checkpoint.facts)  # of primes too
        self.state: SamplingState | None = None
        self.seed: int | None = None
        # The latest constraints, and the options that they came from.
        self._made: tuple[Any, Constraints] | None = None
        self._threads = Threads(sampling_threads(checkpoint.model.parameters()))
        self._stepper: Any = stepper_of(checkpoint, device)

    @property
    def threads(self) -> int:
        """Threads of the matrix products, by a rule; another number may be set."""
        return self._threads.number

    @threads.setter
    def threads(self, number: int) -> None:
        """Step with so many from now on."""
        self._threads.number = number

    def sample(self, prime: str = "", *, state: SamplingState | None = None, **options: Any) -> str:
        """Return prime followed by new text.

        options: the fields of SampleConfig, such as length, temperature, top_k, stop and seed.
        With state the text goes on where that one stopped, with its seed and draws.
        """
        return self.reading.of(prime) + "".join(self.stream(prime, state=state, **options))

    def stream(
        self, prime: str = "", *, state: SamplingState | None = None, **options: Any
    ) -> Iterator[str]:
        """Return an iterator over the new text of `sample`, without the prime, piece by piece.

        The best of several drafts or beams comes in one piece.
        """
        config = self._seeded(make_config(prime=self.reading.of(prime), **options), state)
        if config.num != 1:
            raise UsageError("num", "one text at a time", "use batch(num=...)")
        if config.best_of > 1 or config.beams > 1 or config.unique or config.unseen:
            if state is not None:
                problem = "cannot be combined with best_of, beams, unique and unseen"
                raise UsageError("state", problem, "leave one of them out")
            return (text.text for text in self._texts([prime], config))
        if state is not None and len(state.logits_BV) != 1:
            problem = f"is where {len(state.logits_BV)} texts stopped"
            raise UsageError("state", problem, "pass state.take([row])")
        return self._streamed(config, state)

    def batch(
        self, prime: str = "", *, primes: Sequence[str] | None = None, **options: Any
    ) -> list[str]:
        """Return options["num"] texts for each prime, written together, with their primes."""
        return [
            text.prime + text.text
            for text in self.texts([prime] if primes is None else primes, **options)
        ]

    def texts(self, primes: Sequence[str], **options: Any) -> Iterator[Text]:
        """Return an iterator over options["num"] texts for each prime, with what is known of them.

        Each is what `sample` would write with that row of draws, whatever else is written.
        """
        config = self._seeded(make_config(**options), None)
        return self._texts([self.reading.of(one) for one in primes], config)

    def choices(
        self, number: int, *, state: SamplingState, **options: Any
    ) -> list[tuple[str, SamplingState]]:
        """Return so many ways to go on from a single text, each with where it stopped."""
        config = self._seeded(make_config(**options), state)
        texts, places = [""] * number, [state] * number
        going = set(range(number))
        for step in self._steps(config, state.take([0] * number)):
            texts = [text + piece for text, piece in zip(texts, step.pieces, strict=True)]
            for row in [row for row in going if step.ends[row]]:
                places[row] = step.after.take([row])
                going.remove(row)
        return list(zip(texts, places, strict=True))

    def read(
        self,
        pieces: Iterable[str],
        *,
        state: SamplingState | None = None,
        before: int = 0,
        **options: Any,
    ) -> SamplingState:
        """Return where a text stands that goes on with pieces: a prime of any length.

        before: characters of the prime that were read earlier. options: of SampleConfig, of which
        unknown and look_back count here.
        """
        config = make_config(**options)
        with self._threads:
            return read_prime(self._stepper, self.tokenizer, pieces, config, state, before)

    def check(self, **options: Any) -> None:
        """Raise UsageError or TextError for options under which this model can write nothing."""
        self._constraints(make_config(**options))

    def save_state(self, path: str | Path) -> None:
        """Write where the last text stopped to a file."""
        if self.state is None:
            raise UsageError("state", "no text was written yet", "write one first")
        self.state.save(path, self.checkpoint.model)

    def load_state(self, path: str | Path) -> SamplingState:
        """Return, and take as `state`, what `save_state` wrote with this model's like."""
        self.state = load_state(path, self.checkpoint.model)
        return self.state

    def longest_copied(self, text: str, training_text: str | None = None) -> str:
        """Return the longest span of text that stands in the text the model was trained on.

        training_text: that file, where it is no longer where it was. Raises TextError if it is
        not found or another one.
        """
        if self.path is None:
            raise TextError("text", "of a model without a file it is not known", "load it from one")
        whole = text_of(self.path, self.checkpoint, training_text).text
        codes, others = (code_points(one).astype(np.uint32) for one in (whole, text))
        length, place = longest_copied(codes, others)
        return text[place : place + length]

    def score(self, text: str) -> Score:
        """Return what a text costs, read from the zero state; of an item its end costs as well."""
        if not text:
            raise TextError("text", "empty", "give at least 1 character")
        paid = self.tokenizer.unknown_nats
        with self._threads:
            if self.tokenizer.boundary_id is None:
                ids = protocols.ids_of(self.tokenizer, text)
                nats = protocols.stateful(self._stepper, ids, self.tokenizer.counts, paid)
            else:
                ids = protocols.framed_ids(self.tokenizer, [text])
                nats = protocols.by_records(self._stepper, ids, self.tokenizer)[1:]
        mean = float(protocols.finite(nats).sum()) / protocols.characters_in(self.tokenizer, ids)
        return Score(nats, mean, mean / math.log(2), int((ids == 0).sum()) if paid else 0)

    def _seeded(self, config: SampleConfig, state: SamplingState | None) -> SampleConfig:
        """Return config with a seed, noted as the last one."""
        found = state.seed if state is not None and state.seed is not None else config.seed
        self.seed = new_seed() if found is None else found
        return dataclasses.replace(config, seed=self.seed)

    def _streamed(self, config: SampleConfig, state: SamplingState | None) -> Iterator[str]:
        self.state = state
        if state is not None and config.prime:
            with self._threads:
                state = read_prime(self._stepper, self.tokenizer, [config.prime], config, state)
        for step in self._steps(config, state):
            self.state = step.after
            if step.pieces[0]:
                yield step.pieces[0]

    def _steps(self, config: SampleConfig, state: SamplingState | None) -> Iterator[Step]:
        constraints = self._constraints(config)
        steps = generate(self._stepper, self.tokenizer, config, state, constraints=constraints)
        return self._threads.each(steps)

    def _texts(self, primes: Sequence[str], config: SampleConfig) -> Iterator[Text]:
        if config.unique or config.unseen:
            for prime in primes:
                yield from self._different(prime, config)
            return
        constraints = self._constraints(config)
        if config.beams == 1:
            texts = write_texts(self._stepper, self.tokenizer, primes, config, constraints)
            yield from self._threads.each(texts)
            return
        for prime in primes:
            with self._threads:
                best = beam_search(self._stepper, self.tokenizer, prime, config, constraints)
            yield from best

    def _different(self, prime: str, config: SampleConfig) -> Iterator[Text]:
        """Yield texts that differ from each other, or from the items of the training text."""
        if self.tokenizer.boundary_id is None:
            name = "--unseen" if config.unseen else "--unique"
            problem = "is for items, and this model learnt one text"
            raise UsageError(name, problem, "use --novel, or train with --records")
        barred: Container[str] = ()
        if config.unseen:
            path = self.path or Path("checkpoint")
            barred = training_text.known_records(path, self.checkpoint.facts, config.novel_text)
        texts = different_texts(
            self._stepper, self.tokenizer, prime, config, self._constraints(config), barred
        )
        yield from self._threads.each(texts)

    def _constraints(self, config: SampleConfig) -> Constraints:
        """Return the constraints of a request, those of the last one if its options are the same.

        A regular expression and an index of spans take long to make.
        """
        names = ("ban", "only", "bias", "match", "length", "novel", "novel_text")
        key = tuple(getattr(config, name) for name in names)
        if self._made is None or self._made[0] != key:
            self._made = key, Constraints.of(self.tokenizer, config, self._spans(config))
        return self._made[1]

    def _spans(self, config: SampleConfig) -> Spans | None:
        """Return the spans of the training text that must not be completed, if --novel asks."""
        if config.novel is None:
            return None
        if self.path is None:
            problem = "the checkpoint has no file, beside which the training text is indexed"
            raise UsageError("novel", problem, "load the model from a file")
        return index_for(self.path, self.checkpoint, config.novel, config.novel_text)


def adapt(
    checkpoint: str | Path, text: str | Path, device: str = "cpu"
) -> tuple[TextModel, AdaptationRule]:
    """Return a model that has learnt from a text file by reading it once, and how fast it learnt.

    The checkpoint stays as it is. Raises TextgenError subclasses.
    """
    path = runs.find_checkpoint(checkpoint)
    learnt, rule = adapted(path, text, device)
    return TextModel(learnt, device, path), rule


def load(path: str | Path, device: str = "cpu") -> TextModel:
    """Return the model in a checkpoint file or run folder; raise CheckpointError if damaged."""
    found = runs.find_checkpoint(path)
    return TextModel(Checkpoint.load(found), device, found)
