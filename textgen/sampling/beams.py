"""Beam search: the likeliest texts that can be found by keeping several beginnings at a time.

Deterministic: no temperature, no cut-off and no seed.

    >>> best = beam_search(engine, tokenizer, "ROMEO:", SampleConfig(beams=4, until="sentence"))[0]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from textgen.config import SampleConfig
from textgen.engine import Stepper, ignore_overflow
from textgen.sampling.batch import Text
from textgen.sampling.chain import Context, apply_filters, select_filters
from textgen.sampling.constraints import Constraints
from textgen.sampling.filters import History
from textgen.sampling.generator import begin, log_probabilities
from textgen.sampling.row import Row, select_ids
from textgen.sampling.state import SamplingState
from textgen.tokenizers import Tokenizer

# Scores (B, V) of the next ids, from their log-probabilities and where the beams stand.
BeamScorer = Callable[[np.ndarray, SamplingState], np.ndarray]


@dataclass(frozen=True)
class Beam:
    """A beginning of a text: its ids and their log-probabilities under the model itself.

    score: the sum of its ids' scores after the filters. length: characters, those included that may
    turn out to belong to its end.
    """

    row: Row
    length: int = 0
    text: str = ""
    ids: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    score: float = 0.0

    def rank(self, penalty: float) -> float:
        """Return score / length ** penalty, by which texts of different lengths compare."""
        return float(self.score / max(1, self.length) ** penalty)

    def extend(self, token_id: int, log_prob: float, score: float) -> Beam:
        """Return it with one id more."""
        row = self.row.copy()
        row.feed(token_id)
        text = self.text + row.take_text()
        length = self.length + self.row.left - row.left
        return Beam(row, length, text, (*self.ids, token_id), (*self.log_probs, log_prob), score)

    def finish(self, tokenizer: Tokenizer, prime: str, number: int) -> Text:
        """Return its text, with what was held back."""
        self.row.close("length")
        text = self.text + self.row.take_text()
        is_written = select_ids(tokenizer, np.array(self.ids, dtype=np.int64), text)
        log_probs = np.array(self.log_probs)[is_written]
        return Text(prime, text, 0, number, log_probs, str(self.row.end))


class Expansion(NamedTuple):
    """What came of the beams with one id more.

    growing: the best that have not ended. parents: the index of the beam that each came from. ids:
    the id that each read last. ended: the best that ended.
    """

    growing: list[Beam]
    parents: list[int]
    ids: np.ndarray
    ended: list[Beam]


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

    Args:
        model: what predicts the next id.
        tokenizer: of its ids.
        prime: what the texts continue.
        config: how to search. Its seed and temperature do not count.
        constraints: of the request (default: those of config). Its regex and spans do not count.

    Raises:
        TextError: for unknown characters in the prime.
        NumericsError: for scores that are not finite.
        UsageError: where nothing at all may be written.
    """
    width, penalty = config.beams, config.length_penalty
    constraints = constraints or Constraints.of(tokenizer, config)
    scorer = make_scorer(tokenizer, config, constraints)
    state = begin(model, tokenizer, [prime], config)
    beams = [Beam(Row(tokenizer, config))]
    ended: list[Beam] = []
    while config.length:
        expansion = expand_beams(beams, state, tokenizer, scorer, width)
        beams = expansion.growing
        ended = sorted(ended + expansion.ended, key=lambda beam: -beam.rank(penalty))[:width]
        hope = max((beam.rank(penalty) for beam in beams), default=-np.inf)
        if not beams or (len(ended) == width and hope <= ended[-1].rank(penalty)):
            beams = []
            break
        state = _advance(model, state.take(expansion.parents), expansion.ids)
    best = [*ended, *beams][: config.num]
    return [beam.finish(tokenizer, prime, number) for number, beam in enumerate(best)]


def _advance(model: Stepper, state: SamplingState, ids_B: np.ndarray) -> SamplingState:
    """Return where the beams stand after an id more."""
    logits_BV, model_state = model.step(ids_B, state.state)
    ids_BL = np.concatenate([state.ids_BL[:, 1:], ids_B[:, None]], axis=1)
    return state._replace(state=model_state, logits_BV=logits_BV, ids_BL=ids_BL)


def expand_beams(
    beams: list[Beam], state: SamplingState, tokenizer: Tokenizer, scorer: BeamScorer, width: int
) -> Expansion:
    """Return the best beams with one id more.

    Of the 2 * width best candidates the first `width` that do not end grow. One that is as long as
    wanted takes the place of one that grows; one that has ended before counts only among the first
    `width` candidates.
    """
    logs_BV = log_probabilities(state.logits_BV)
    if tokenizer.spelling is not None:
        spelling_states = [tokenizer.spelling.state(beam.row.pending) for beam in beams]
        logs_BV = np.where(tokenizer.spelling.allowed_SV[spelling_states], logs_BV, -np.inf)
    scores_B = np.array([beam.score for beam in beams])
    totals = (scores_B[:, None] + scorer(logs_BV, state)).ravel()
    candidates = np.argsort(-totals, kind="stable")[: 2 * width]
    growing: list[Beam] = []
    ended: list[Beam] = []
    full_length: list[Beam] = []
    parents, ids = [], []
    for rank, candidate in enumerate(candidates[totals[candidates] > -np.inf].tolist()):
        parent, token_id = divmod(candidate, tokenizer.size)
        log_prob, score = float(logs_BV[parent, token_id]), float(totals[candidate])
        beam = beams[parent].extend(token_id, log_prob, score)
        has_room = len(growing) + len(full_length) < width
        if beam.row.end == "length":
            full_length += [beam] if has_room else []
        elif beam.row.end:
            ended += [beam] if rank < width else []
        elif has_room:
            growing.append(beam)
            parents.append(parent)
            ids.append(token_id)
    return Expansion(growing, parents, np.array(ids, dtype=np.int64), ended + full_length)


def make_scorer(tokenizer: Tokenizer, config: SampleConfig, constraints: Constraints) -> BeamScorer:
    """Return what scores all next ids (B, V) by bans, biases and penalties."""
    barred_V = np.where(constraints.allowed_V, 0.0, -np.inf)
    selected = tuple(step for step in select_filters(config) if step.shapes)

    def score(logs_BV: np.ndarray, state: SamplingState) -> np.ndarray:
        history = History(state.ids_BL, config.look_back, tokenizer.size)
        context = Context(constraints.bias_V, history, np.zeros(len(logs_BV)))
        return apply_filters(logs_BV + barred_V, config, context, selected)

    return score
