"""Beam search: the likeliest texts that can be found by keeping several beginnings at a time.

Deterministic: no temperature, no cut-off and no seed.

    >>> best = beam_search(engine, tokenizer, "ROMEO:", SampleConfig(beams=4, until="sentence"))[0]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from textgen.config import SampleConfig
from textgen.engine import Stepper, ignore_overflow
from textgen.sampling.batch import Text
from textgen.sampling.chain import Context, apply_filters, chain
from textgen.sampling.constraints import Constraints
from textgen.sampling.filters import History
from textgen.sampling.generator import begin, log_probabilities
from textgen.sampling.row import Row, select_ids
from textgen.sampling.state import SamplingState
from textgen.tokenizers import Tokenizer

Scores = Callable[[np.ndarray, SamplingState], np.ndarray]  # of log-probabilities (B, V) at a place


@dataclass(frozen=True)
class Beam:
    """A beginning of a text: its ids and their log-probabilities under the model itself.

    score: the sum of its ids' scores after the filters. length: characters, those included that may
    turn out to belong to its end.
    """

    passage: Row
    length: int = 0
    text: str = ""
    ids: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    score: float = 0.0

    def ranked(self, penalty: float) -> float:
        """Return score / length ** penalty, by which texts of different lengths compare."""
        return float(self.score / max(1, self.length) ** penalty)


@ignore_overflow
def beam_search(
    model: Stepper,
    tokenizer: Tokenizer,
    prime: str,
    config: SampleConfig,
    constraints: Constraints | None = None,
) -> list[Text]:
    """Return the config.num best texts that a search with config.beams beams finds, best first.

    A text that has ended competes by score / length ** config.length_penalty, as in Hugging Face's
    search, which also ends like it: when no beginning is better than the worst of the texts kept.
    """
    width, penalty = config.beams, config.length_penalty
    constraints = constraints or Constraints.of(tokenizer, config)
    scores = scorer(tokenizer, config, constraints)
    place = begin(model, tokenizer, [prime], config)
    beams = [Beam(Row(tokenizer, config))]
    ended: list[Beam] = []
    while config.length:
        beams, done, parents, ids = _grown(beams, place, tokenizer, scores, width)
        ended = sorted(ended + done, key=lambda beam: -beam.ranked(penalty))[:width]
        hope = max((beam.ranked(penalty) for beam in beams), default=-np.inf)
        if not beams or (len(ended) == width and hope <= ended[-1].ranked(penalty)):
            beams = []
            break
        place = place.take(parents)
        logits_BV, state = model.step(ids, place.state)
        ids_BL = np.concatenate([place.ids_BL[:, 1:], ids[:, None]], axis=1)
        place = place._replace(state=state, logits_BV=logits_BV, ids_BL=ids_BL)
    best = [*ended, *beams][: config.num]
    return [_text(tokenizer, beam, prime, row) for row, beam in enumerate(best)]


def _grown(
    beams: list[Beam], place: SamplingState, tokenizer: Tokenizer, scores: Scores, width: int
) -> tuple[list[Beam], list[Beam], list[int], np.ndarray]:
    """Return the best beams with one id more, those that ended, and whence they came.

    One that is as long as wanted takes the place of one that grows.
    """
    logs_BV = log_probabilities(place)
    so_far = np.array([beam.score for beam in beams])[:, None]
    if tokenizer.spelling:
        states = [tokenizer.spelling.state(beam.passage.pending) for beam in beams]
        logs_BV = np.where(tokenizer.spelling.allowed_SV[states], logs_BV, -np.inf)
    totals = (so_far + scores(logs_BV, place)).ravel()
    best = np.argsort(-totals, kind="stable")[: 2 * width]
    kept: list[Beam] = []
    ended: list[Beam] = []
    whole: list[Beam] = []
    parents, ids = [], []
    for rank, index in enumerate(best[totals[best] > -np.inf].tolist()):
        row, one = divmod(index, tokenizer.size)
        beam = _longer(beams[row], one, float(logs_BV[row, one]), float(totals[index]))
        if beam.passage.end == "length":
            whole += [beam] if len(kept) + len(whole) < width else []
        elif beam.passage.end:
            ended += [beam] if rank < width else []
        elif len(kept) + len(whole) < width:
            kept.append(beam)
            parents.append(row)
            ids.append(one)
    return kept, ended + whole, parents, np.array(ids, dtype=np.int64)


def _longer(beam: Beam, one: int, log_prob: float, score: float) -> Beam:
    """Return a beam with one id more."""
    passage = beam.passage.copy()
    passage.feed(one)
    text = beam.text + passage.take_text()
    length = beam.length + beam.passage.left - passage.left
    return Beam(passage, length, text, (*beam.ids, one), (*beam.log_probs, log_prob), score)


def scorer(tokenizer: Tokenizer, config: SampleConfig, constraints: Constraints) -> Scores:
    """Return what scores all next characters (B, V) by bans, biases and penalties."""
    barred_V = np.where(constraints.allowed_V, 0.0, -np.inf)
    filters = tuple(one for one in chain(config) if one.shapes)

    def scores(logs_BV: np.ndarray, place: SamplingState) -> np.ndarray:
        history = History(place.ids_BL, config.look_back, tokenizer.size)
        context = Context(constraints.bias_V, history, np.zeros(len(logs_BV)))
        return apply_filters(logs_BV + barred_V, config, context, filters)

    return scores


def _text(tokenizer: Tokenizer, beam: Beam, prime: str, row: int) -> Text:
    beam.passage.close("length")
    text = beam.text + beam.passage.take_text()
    kept = select_ids(tokenizer, np.array(beam.ids, dtype=np.int64), text)
    return Text(prime, text, 0, row, np.array(beam.log_probs)[kept], str(beam.passage.end))
