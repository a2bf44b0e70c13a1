"""A trained model as a library user meets it: load, sample, stream, score.

On a CPU it needs no torch.

    >>> model = load("checkpoints/demo.safetensors")
    >>> text = model.sample(prime="ROMEO:", length=200, seed=1)
    >>> text += model.sample(length=200, state=model.state)
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np

from textgen.checkpoint import (
    Checkpoint,
    index_for,
    runs,
    stepper_of,
    text_of,
    training_text,
    with_ngrams,
)
from textgen.config import SampleConfig, SampleOptions
from textgen.data import Spans, longest_shared
from textgen.engine import Engine, Stepper, Threads, sampling_threads
from textgen.errors import TextError, UsageError
from textgen.sampling import (
    Constraints,
    SamplingState,
    Step,
    Text,
    beam_search,
    choose_seed,
    different_texts,
    generate,
    load_state,
    read_prime,
    write_texts,
)
from textgen.tokenizers import code_points

if TYPE_CHECKING:
    from textgen.evaluation import Score
    from textgen.nn import AdaptationRule


class TextModel:
    """A trained model that writes and scores text.

    Args:
        checkpoint: the model.
        device: where to compute: cpu, cuda, mps, or auto for the fastest there is.
        path: the checkpoint's file, for what lies beside it, such as the training text.

    Attributes:
        state: where the last text stopped; passed as `state` it is continued.
        seed: the one that the last text was drawn with.

    >>> model = TextModel(Checkpoint.load(path))
    >>> model.sample("ROMEO:", length=100, temperature=0.7)
    """

    def __init__(
        self, checkpoint: Checkpoint, device: str = "cpu", path: Path | None = None
    ) -> None:
        self.checkpoint, self.path = checkpoint, path
        self.tokenizer = checkpoint.tokenizer
        # Primes are brought into the form of the training text.
        self.reading = checkpoint.metadata.text_format
        self.state: SamplingState | None = None
        self.seed: int | None = None
        # The latest constraints, and the options that they came from.
        self._latest: tuple[Any, Constraints] | None = None
        self._threads = Threads(sampling_threads(checkpoint.model.parameters()))
        self._stepper: Any = stepper_of(checkpoint, device)

    @cached_property
    def _scorer(self) -> Stepper:
        """What predicts best; what writes copies less (see `checkpoint.loading.writing`)."""
        if self.checkpoint.ngrams is None:
            return cast(Stepper, self._stepper)
        return with_ngrams(self._stepper.network, self.checkpoint)

    @property
    def threads(self) -> int:
        """Threads of the matrix products, by a rule of the model's size; may be set.

        The last bits of a text's probabilities depend on them.
        """
        return self._threads.number

    @threads.setter
    def threads(self, number: int) -> None:
        """Step with so many from now on."""
        self._threads.number = number

    def sample(
        self,
        prime: str | None = None,
        config: SampleConfig | None = None,
        *,
        state: SamplingState | None = None,
        **options: Unpack[SampleOptions],
    ) -> str:
        """Return a prime followed by new text.

        Args:
            prime: the text to continue; by default the config's, which is empty by default.
            config: how to write; by default SampleConfig().
            state: where an earlier text stopped; it is continued with its seed and its draws.
            **options: fields of SampleConfig, such as length, temperature and seed; they override
                those of config.

        Raises:
            UsageError: for options that cannot be used, alone, together or with this model.
            TextError: for a prime that the model cannot read.
            NumericsError: if the model's scores are not finite.

        >>> model.sample("ROMEO:", length=100, temperature=0.7, stop="JULIET:")
        """
        config = self._with_prime(prime, config, options)
        return config.prime + "".join(self._stream(config, state))

    def stream(
        self,
        prime: str | None = None,
        config: SampleConfig | None = None,
        *,
        state: SamplingState | None = None,
        **options: Unpack[SampleOptions],
    ) -> Iterator[str]:
        """Return an iterator over the new text of `sample`, without the prime, piece by piece.

        The best of several drafts or beams comes in one piece. Takes and raises what `sample` does.

        >>> for piece in model.stream("ROMEO:"):
        ...     print(piece, end="", flush=True)
        """
        return self._stream(self._with_prime(prime, config, options), state)

    def batch(
        self,
        prime: str | None = None,
        config: SampleConfig | None = None,
        *,
        primes: Sequence[str] | None = None,
        **options: Unpack[SampleOptions],
    ) -> list[str]:
        """Return `num` texts for each prime, written together, with their primes.

        Args:
            prime: the text that all of them continue, as in `sample`.
            config: how to write, as in `sample`.
            primes: several such texts instead.
            **options: fields of SampleConfig, above all num; they override those of config.

        Raises:
            UsageError, TextError, NumericsError: as `sample` does.

        >>> model.batch("ROMEO:", num=3, length=100)
        """
        if primes is None:
            primes = [SampleConfig.of(config, **options).prime if prime is None else prime]
        return [text.prime + text.text for text in self.texts(primes, config, **options)]

    def texts(
        self,
        primes: Sequence[str],
        config: SampleConfig | None = None,
        **options: Unpack[SampleOptions],
    ) -> Iterator[Text]:
        """Return an iterator over `num` texts for each prime, with what is known of each.

        Each is what `sample` would write with that row of draws, whatever else is written. Takes
        and raises what `batch` does.

        >>> [text.end for text in model.texts(["ROMEO:", "JULIET:"], until="line")]
        """
        config = self._with_seed(SampleConfig.of(config, **options), None)
        return self._texts([self.reading.apply(prime) for prime in primes], config)

    def choices(
        self,
        number: int,
        config: SampleConfig | None = None,
        *,
        state: SamplingState,
        **options: Unpack[SampleOptions],
    ) -> list[tuple[str, SamplingState]]:
        """Return several ways to continue one text, each with where it stopped.

        Args:
            number: how many.
            config: how to write, as in `sample`.
            state: where the text stopped.
            **options: fields of SampleConfig; they override those of config.

        Raises:
            UsageError, NumericsError: as `sample` does.
        """
        config = self._with_seed(SampleConfig.of(config, **options), state)
        texts, states = [""] * number, [state] * number
        unfinished = set(range(number))
        for step in self._steps(config, state.take([0] * number)):
            texts = [text + piece for text, piece in zip(texts, step.pieces, strict=True)]
            for row in [row for row in unfinished if step.ends[row]]:
                states[row] = step.continuation.take([row])
                unfinished.remove(row)
        return list(zip(texts, states, strict=True))

    def read(
        self,
        pieces: Iterable[str],
        config: SampleConfig | None = None,
        *,
        state: SamplingState | None = None,
        before: int = 0,
        **options: Unpack[SampleOptions],
    ) -> SamplingState:
        """Return the state after a prime of any length, read piece by piece.

        Args:
            pieces: the prime, in pieces of any size.
            config: of which `unknown` and `look_back` count here.
            state: where an earlier text stopped, which the pieces continue.
            before: characters of the prime that were read earlier, for the place in an error.
            **options: fields of SampleConfig; they override those of config.

        Raises:
            TextError: for a character that the model cannot read.

        >>> model.sample(state=model.read(open("novel.txt")))
        """
        config = SampleConfig.of(config, **options)
        with self._threads:
            return read_prime(self._stepper, self.tokenizer, pieces, config, state, before)

    def learned(self, text: str) -> TextModel:
        """Return a model that has learnt from a text by reading it once.

        Its n-grams count the text too, and the mixture leans towards it; the network stays as it
        is, so this takes no torch. See `adapt` for both.

        Args:
            text: at least one character; what the model does not know is read as unknown.

        Raises:
            UsageError: if the model is a network alone.
            TextError: if the text is empty.

        >>> model.learned(letters).sample("Dear")
        """
        from textgen.evaluation import learn_beside

        if self.checkpoint.ngrams is None:
            raise UsageError("learned", "this model is a network alone", "use adapt")
        if not text:
            raise TextError("text", "empty", "give at least 1 character")
        ids = self.tokenizer.encode(self.reading.apply(text), "replace")
        network = Engine(self.checkpoint.model, self.checkpoint.weights)
        with self._threads:
            return TextModel(learn_beside(network, self.checkpoint, ids), path=self.path)

    def check(self, config: SampleConfig | None = None, **options: Unpack[SampleOptions]) -> None:
        """Raise UsageError or TextError for options under which this model can write nothing."""
        self._constraints(SampleConfig.of(config, **options))

    def save_state(self, path: str | Path) -> None:
        """Write where the last text stopped to a file.

        Raises:
            UsageError: if nothing has been written yet.
            MachineError: if the file cannot be written.
        """
        if self.state is None:
            raise UsageError("state", "nothing has been written yet", "write a text first")
        self.state.save(path, self.checkpoint.model)

    def load_state(self, path: str | Path) -> SamplingState:
        """Return, and take as `state`, what `save_state` wrote.

        Raises:
            CheckpointError: if the file is missing, damaged or of another model.
        """
        self.state = load_state(path, self.checkpoint.model)
        return self.state

    def longest_copied(self, text: str, training_text: str | None = None) -> str:
        """Return the longest span of a text that the training text holds too.

        Args:
            text: what the model wrote, for example.
            training_text: the file that the model was trained on, if it has moved.

        Raises:
            UsageError: if the model does not know where its training text is.
            TextError: if that text is gone, or another one.
        """
        if self.path is None:
            problem = "is unknown for a model that has no file"
            raise TextError("training text", problem, "load the model from a file")
        whole = text_of(self.path, self.checkpoint, training_text).text
        codes, text_codes = (code_points(part).astype(np.uint32) for part in (whole, text))
        return "".join(map(chr, longest_shared(codes, text_codes).tolist()))

    def score(self, text: str) -> Score:
        """Return what a text costs, read from the zero state.

        Args:
            text: at least one character. A model of records reads it as one, whose end costs too.

        Raises:
            TextError: if it is empty, or cannot be encoded.
            NumericsError: if the model's scores are not finite.

        >>> model.score("To be, or not to be").bits_per_char
        """
        from textgen.evaluation import score_text

        with self._threads:
            return score_text(self._scorer, self.tokenizer, text)

    def _with_prime(
        self, prime: str | None, config: SampleConfig | None, options: SampleOptions
    ) -> SampleConfig:
        """Return the config of one text, its prime in the form of the training text."""
        config = SampleConfig.of(config, **options)
        return replace(config, prime=self.reading.apply(config.prime if prime is None else prime))

    def _with_seed(self, config: SampleConfig, state: SamplingState | None) -> SampleConfig:
        """Return config with a seed: the state's, its own or a new one; noted as the last one."""
        self.seed = choose_seed(None if state is None else state.seed, config.seed)
        return replace(config, seed=self.seed)

    def _stream(self, config: SampleConfig, state: SamplingState | None) -> Iterator[str]:
        """Return an iterator over one new text; raise UsageError before it is asked for any."""
        config = self._with_seed(config, state)
        if config.num != 1:
            raise UsageError("num", "one text at a time", "use batch(num=...)")
        if config.best_of > 1 or config.beams > 1 or config.unique or config.unseen:
            if state is not None:
                problem = "cannot be combined with best_of, beams, unique and unseen"
                raise UsageError("state", problem, "leave one of them out")
            return (text.text for text in self._texts([config.prime], config))
        if state is not None and len(state.logits_BV) != 1:
            problem = f"belongs to {len(state.logits_BV)} texts, not to one"
            raise UsageError("state", problem, "pass state.take([row])")
        return self._streamed(config, state)

    def _streamed(self, config: SampleConfig, state: SamplingState | None) -> Iterator[str]:
        self.state = state
        if state is not None and config.prime:
            with self._threads:
                state = read_prime(self._stepper, self.tokenizer, [config.prime], config, state)
        for step in self._steps(config, state):
            self.state = step.continuation
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
        """Yield texts that differ from each other, or from the records of the training text."""
        if self.tokenizer.boundary_id is None:
            name = "--unseen" if config.unseen else "--unique"
            problem = "is for records, and this model was trained on one text"
            raise UsageError(name, problem, "use --novel, or train with --records")
        barred: Container[str] = ()
        if config.unseen:
            path = self.path or Path("checkpoint")
            metadata = self.checkpoint.metadata
            barred = training_text.known_records(path, metadata, config.novel_text)
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
        if self._latest is None or self._latest[0] != key:
            self._latest = key, Constraints.of(self.tokenizer, config, self._spans(config))
        return self._latest[1]

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
    """Return a model that has learnt from a text by reading it once, and how fast it learnt.

    Args:
        checkpoint: a checkpoint or run folder, which stays as it is.
        text: the file to learn from.
        device: where to compute, of TextModel.

    Raises:
        CheckpointError: if the checkpoint is missing or damaged.
        TextError: if the text is missing or cannot be read.
        MachineError: if the device is not there.

    >>> model, rule = adapt("checkpoints/corpus", "letters.txt")
    """
    from textgen.evaluation import adapt_checkpoint

    path = runs.find_checkpoint(checkpoint)
    learnt, rule = adapt_checkpoint(path, text, device)
    return TextModel(learnt, device, path), rule


def load(path: str | Path, device: str = "cpu") -> TextModel:
    """Return the model in a checkpoint file or run folder.

    Args:
        path: a .safetensors file, or a run folder, of which the best model is taken.
        device: where to compute: cpu, cuda, mps, or auto for the fastest there is.

    Raises:
        CheckpointError: if it is missing or damaged.
        MachineError: if the device is not there.

    >>> load("checkpoints/corpus").sample("ROMEO:")
    """
    file = runs.find_checkpoint(path)
    return TextModel(Checkpoint.load(file), device, file)
