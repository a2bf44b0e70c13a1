"""Beam search: the likeliest texts that can be found by keeping several beginnings at a time.

In the walk after `texts`. Deterministic: no temperature, no cut-off and no seed.

    >>> best = beam_search(engine, tokenizer, "ROMEO:", SampleConfig(beams=4, until="sentence"))[0]
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from textgen.chain import Context, apply_filters, chain
from textgen.config import SampleConfig
from textgen.continuation import Continuation
from textgen.ends import Ending
from textgen.history import History
from textgen.limits import allowed_ids, bias_of
from textgen.mixture import Stepper
from textgen.sampling import begin, log_probabilities
from textgen.texts import Text
from textgen.tokenizer import Tokenizer

Array = np.ndarray
Scores = Callable[[Array, Continuation], Array]  # of log-probabilities (B, V) at a place


@dataclass(frozen=True)
class Beam:
    """A beginning of a text. score: the sum of its characters' scores after the filters."""

    text: str
    log_probs: tuple[float, ...]
    score: float
    ending: Ending

    def ranked(self, penalty: float) -> float:
        """Return score / length ** penalty, by which texts of different lengths compare."""
        return float(self.score / max(1, len(self.log_probs)) ** penalty)


def beam_search(
    model: Stepper, tokenizer: Tokenizer, prime: str, config: SampleConfig
) -> list[Text]:
    """Return the config.num best texts that a search with config.beams beams finds, best first.

    A text that has ended competes by score / length ** config.length_penalty, as in Hugging Face's
    search, which also ends like it: when no beginning is better than the worst of the texts kept.
    """
    width, penalty = config.beams, config.length_penalty
    scores = scorer(tokenizer, config)
    place = begin(model, tokenizer, [prime], config)
    beams = [Beam("", (), 0.0, Ending(config))]
    ended: list[Beam] = []
    for _ in range(config.length):
        beams, done, parents, ids = _grown(beams, place, tokenizer, scores, width)
        ended = sorted(ended + done, key=lambda beam: -beam.ranked(penalty))[:width]
        hope = max((beam.ranked(penalty) for beam in beams), default=-np.inf)
        if not beams or (len(ended) == width and hope <= ended[-1].ranked(penalty)):
            beams = []
            break
        place = place.take(parents)
        logits_BV, state = model.step(ids, place.state)
        ids_BL = np.concatenate([place.ids_BL[:, 1:], ids[:, None]], axis=1)
        place = replace(place, state=state, logits_BV=logits_BV, ids_BL=ids_BL)
    ranked = sorted([*ended, *beams], key=lambda beam: -beam.ranked(penalty))
    return [_text(beam, prime, row) for row, beam in enumerate(ranked[: config.num])]


def _grown(
    beams: list[Beam], place: Continuation, tokenizer: Tokenizer, scores: Scores, width: int
) -> tuple[list[Beam], list[Beam], list[int], Array]:
    """Return the best beams with one character more, those that ended, and whence they came."""
    logs_BV = log_probabilities(place)
    so_far = np.array([beam.score for beam in beams])[:, None]
    totals = (so_far + scores(logs_BV, place)).ravel()
    best = np.argsort(-totals, kind="stable")[: 2 * width]
    kept: list[Beam] = []
    ended: list[Beam] = []
    parents, ids = [], []
    for rank, index in enumerate(best[totals[best] > -np.inf].tolist()):
        row, one = divmod(index, tokenizer.size)
        ending = copy.deepcopy(beams[row].ending)
        log_probs = (*beams[row].log_probs, float(logs_BV[row, one]))
        text = beams[row].text + ending.feed(tokenizer.decode([one]))
        beam = Beam(text, log_probs, float(totals[index]), ending)
        if ending.reason and rank < width:
            ended.append(beam)
        elif not ending.reason and len(kept) < width:
            kept.append(beam)
            parents.append(row)
            ids.append(one)
    return kept, ended, parents, np.array(ids, dtype=np.int64)


def scorer(tokenizer: Tokenizer, config: SampleConfig) -> Scores:
    """Return what scores all next characters (B, V) by bans, biases and penalties."""
    barred_V = np.where(allowed_ids(tokenizer, config), 0.0, -np.inf)
    bias_V = bias_of(tokenizer, config)
    filters = tuple(one for one in chain(config) if one.shapes)

    def scores(logs_BV: Array, place: Continuation) -> Array:
        history = History(place.ids_BL, config.look_back, tokenizer.size)
        context = Context(bias_V, history, np.zeros(len(logs_BV)))
        return apply_filters(logs_BV + barred_V, config, context, filters)

    return scores


def _text(beam: Beam, prime: str, row: int) -> Text:
    text = beam.text + beam.ending.flush()
    log_probs = np.array(beam.log_probs[: len(text)])
    return Text(prime, text, 0, row, log_probs, beam.ending.reason or "length")
