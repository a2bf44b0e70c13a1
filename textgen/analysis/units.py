"""What single hidden units of a network track in a text, ranked, and told apart from chance.

A network is stepped through a text, and after each character the activations of all its units are
kept: h of every layer, and of an LSTM also c, through tanh. Each is correlated (Pearson) with
properties that are computed from the text alone, such as whether a quotation is open, after
Karpathy, Johnson & Li, "Visualizing and Understanding Recurrent Networks" (2015).

Among thousands of units some correlate with anything, by chance. So the best units of a property
are chosen on the first half of the text, by the size of their correlation, and the correlation
that is reported is the one on the second half, which had no part in the choice. The chance level
says what the same procedure finds where there is nothing to be found: the property is moved around
the text as on a ring, by each of 19 distances, and the largest figure of these is taken. A unit
that has nothing to do with a property exceeds it in one of twenty cases.

Shapes: T characters, N places (ids that end a character), U units, P properties, C columns: of each
property its values, and those moved.

    >>> activity = inspect_units(textgen.load("demo").checkpoint, Path("corpus.txt").read_text())
    >>> activity.findings[0].subject.name, activity.units[activity.findings[0].best[0].unit].name
    ('upper case', 'layer 1 h 37')
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from textgen.analysis.text_properties import PROPERTIES, TextProperty
from textgen.checkpoint import Checkpoint
from textgen.data import split_records
from textgen.engine import Engine, Threads, ignore_overflow
from textgen.errors import NumericsError, TextError, UsageError

# Characters of a text that are read, and those without which there is nothing to say.
CHARS_READ, FEWEST_CHARS = 20_000, 200
# Units that are kept of each property.
BEST_UNITS = 5
# Times that a property has to begin in each half of the text; it is ranked by the one, measured
# by the other.
FEWEST_STRETCHES = 5
# Distances by which a property is moved: with 19 of them the largest figure is a level of 1 in 20.
SHIFTS = 19
# Units whose activations are held in float64 at a time.
UNITS_AT_ONCE = 128


class Unit(NamedTuple):
    """One number of a network's state; layer and number count from 1, state is "h" or "c"."""

    layer: int
    state: str
    number: int

    @property
    def name(self) -> str:
        """What the unit is called: "layer 1 h 37"."""
        return f"layer {self.layer} {self.state} {self.number}"


class Tracker(NamedTuple):
    """A unit that tracks a property.

    unit: its place among all; chosen: the correlation on the first half of the text, by which it
    was chosen; correlation: that on the second half.
    """

    unit: int
    chosen: float
    correlation: float


@dataclass(frozen=True)
class Finding:
    """What tracks a property.

    Attributes:
        subject: the property.
        values_N: its values.
        stretches: how often it begins to hold in the first and in the second half of the text.
        best: the units chosen, the best of the first half first; none where the property holds too
            rarely, or always.
        chance: the largest correlation, in size, that the same procedure finds by chance.
    """

    subject: TextProperty
    values_N: np.ndarray
    stretches: tuple[int, int]
    best: tuple[Tracker, ...] = ()
    chance: float = 0.0

    @property
    def is_ranked(self) -> bool:
        """Whether the property begins often enough in both halves."""
        return min(self.stretches) >= FEWEST_STRETCHES

    @property
    def beats_chance(self) -> bool:
        """Whether its best unit is above the chance level."""
        return bool(self.best) and abs(self.best[0].correlation) > self.chance


@dataclass(frozen=True)
class UnitActivity:
    """What the units of a network do while it reads a text.

    Attributes:
        text: what was read; of a model of records a newline stands for the boundary before each.
        ends_N: where in the text the character ends after which activations were taken; each
            place stands for the characters since the one before.
        units: all units, in the order of the columns.
        states_NU: their activations, float32.
        findings: one for each property, the best tracked first, then those that are not ranked.
    """

    text: str
    ends_N: np.ndarray
    units: tuple[Unit, ...]
    states_NU: np.ndarray
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the figures, of each property those of its best units."""
        return {
            "chars": len(self.text),
            "units": len(self.units),
            "properties": [self._finding_to_json(finding) for finding in self.findings],
        }

    def _finding_to_json(self, finding: Finding) -> dict[str, Any]:
        first, second = finding.stretches
        best = [
            self.units[tracker.unit]._asdict()
            | {"correlation": tracker.correlation, "correlation_first_half": tracker.chosen}
            for tracker in finding.best
        ]
        return {
            "property": finding.subject.name,
            "meaning": finding.subject.meaning,
            "ranked": finding.is_ranked,
            "stretches_first_half": first,
            "stretches_second_half": second,
            "chance": finding.chance if finding.is_ranked else None,
            "best": best,
        }


def inspect_units(
    checkpoint: Checkpoint, text: str, chars: int = CHARS_READ, subject: str = "text"
) -> UnitActivity:
    """Return what the units of a checkpoint's network do while it reads a text.

    Activations take 4 bytes a unit and character; the demo model takes about 5 s of one core. Of a
    mixture the network is read alone. Of ids that stand for several characters, or for a part of
    one, the places are those where a character ends, and the properties are that character's.

    Args:
        checkpoint: one of records reads each record from the zero state.
        text: at least 200 characters.
        chars: how many are read, from the beginning.
        subject: what errors call the text.

    Raises:
        UsageError: chars is less than 200.
        TextError: the text is shorter than that, or holds no records.
        NumericsError: the model's states are not finite.
    """
    if chars < FEWEST_CHARS:
        problem = f"{chars:,} are too few to tell units from chance"
        raise UsageError("--chars", problem, f"give at least {FEWEST_CHARS}")
    text, passages = _passages(checkpoint, text[:chars])
    if len(text) < FEWEST_CHARS:
        problem = f"{len(text):,} characters are too few to tell units from chance"
        raise TextError(subject, problem, f"give at least {FEWEST_CHARS}")
    states_NU, ends_N = _read(checkpoint, passages)
    findings = rank_units(states_NU, measure_properties(text, ends_N))
    return UnitActivity(text, ends_N, units_of(checkpoint), states_NU, findings)


def units_of(checkpoint: Checkpoint) -> tuple[Unit, ...]:
    """Return the units of a checkpoint's network in the order of layers and states."""
    model = checkpoint.model
    return tuple(
        Unit(layer, state, number)
        for layer in range(1, model.layers + 1)
        for state in ("hc" if model.cell == "lstm" else "h")
        for number in range(1, model.hidden + 1)
    )


def _passages(checkpoint: Checkpoint, text: str) -> tuple[str, list[np.ndarray]]:
    """Return a text as the model reads it, and the ids of what begins with the zero state."""
    tokenizer, records = checkpoint.tokenizer, checkpoint.metadata.records
    boundary = tokenizer.boundary_id
    policy = "replace" if tokenizer.unknown_nats else "error"
    if boundary is None:
        return text, [tokenizer.encode(text, policy)]
    encoded = split_records(text, records or "lines")
    begin = np.array([boundary], np.int64)
    passages = [np.append(begin, tokenizer.encode(record, policy)) for record in encoded]
    return "".join("\n" + record for record in encoded), passages


@ignore_overflow
def _read(checkpoint: Checkpoint, passages: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return states_NU after each id that ends a character, and where the character ends."""
    engine, tokenizer = Engine(checkpoint.model, checkpoint.weights), checkpoint.tokenizer
    ids = np.concatenate(passages)
    chars = tokenizer.chars_V[ids].astype(np.int64)
    if tokenizer.boundary_id is not None:
        chars[ids == tokenizer.boundary_id] = 1
    ends = np.cumsum(chars)
    # A character is whole where another begins, and at the very end.
    is_whole = np.append(chars[1:] > 0, True) & (ends > 0)
    states_NU = np.empty((int(is_whole.sum()), len(units_of(checkpoint))), np.float32)
    rows, wholes = iter(states_NU), iter(is_whole.tolist())
    # Two threads wait for each other at every step where the machine is busy: four times as long.
    with Threads(1):
        for passage in passages:
            state = None
            for index in passage:
                _, state = engine.step(np.array([index]), state)
                if next(wholes):
                    np.concatenate([part[0] for layer in state for part in layer], out=next(rows))
    if np.isnan(states_NU).any():
        problem = "the model's states are not finite"
        raise NumericsError("units", problem, "the model diverged; use an earlier checkpoint")
    is_cell_U = np.array([unit.state == "c" for unit in units_of(checkpoint)])
    np.tanh(states_NU, out=states_NU, where=is_cell_U)
    return states_NU, ends[is_whole]


def measure_properties(text: str, ends_N: np.ndarray) -> Iterator[tuple[TextProperty, np.ndarray]]:
    """Yield each property with its values (N,) for the characters that end at ends_N."""
    for subject in PROPERTIES:
        yield subject, subject.measure(text)[ends_N - 1]


def rank_units(
    states_NU: np.ndarray, properties: Iterable[tuple[TextProperty, np.ndarray]]
) -> tuple[Finding, ...]:
    """Return what tracks each property, the best tracked first.

    Args:
        states_NU: activations.
        properties: each with its values (N,).
    """
    half = len(states_NU) // 2
    findings = [
        Finding(subject, values_N, (_stretches(values_N[:half]), _stretches(values_N[half:])))
        for subject, values_N in properties
    ]
    ranked = [finding for finding in findings if finding.is_ranked]
    rest = [finding for finding in findings if not finding.is_ranked]
    ranked = list(_rank(states_NU, ranked))
    ranked.sort(key=lambda finding: -abs(finding.best[0].correlation))
    return (*ranked, *rest)


def _stretches(values_N: np.ndarray) -> int:
    """Return how often values rise from zero."""
    return int((np.diff((values_N > 0).astype(np.int8), prepend=0) > 0).sum())


def _rank(states_NU: np.ndarray, findings: list[Finding]) -> Iterator[Finding]:
    """Yield findings with their best units and their chance levels."""
    if not findings:
        return
    count, half = len(states_NU), len(states_NU) // 2
    # Odd distances, so that no even period of the text meets itself.
    shifts = [0, *(count * number // (SHIFTS + 1) | 1 for number in range(1, SHIFTS + 1))]
    values_NC = np.stack([np.roll(f.values_N, shift) for f in findings for shift in shifts], axis=1)
    first_UC = correlate(states_NU[:half], values_NC[:half])
    second_UC = correlate(states_NU[half:], values_NC[half:])
    best_of_C = np.abs(first_UC).argmax(axis=0)
    held_out_C = np.abs(second_UC[best_of_C, np.arange(len(best_of_C))])
    for number, finding in enumerate(findings):
        own = number * len(shifts)
        chance = float(held_out_C[own + 1 : own + len(shifts)].max())
        chosen_U, measured_U = first_UC[:, own], second_UC[:, own]
        best = np.argsort(-np.abs(chosen_U), kind="stable")[:BEST_UNITS].tolist()
        trackers = [Tracker(u, float(chosen_U[u]), float(measured_U[u])) for u in best]
        yield replace(finding, best=tuple(trackers), chance=chance)


def correlate(states_NU: np.ndarray, values_NP: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation (U, P) of each unit with each property; 0 of constants."""
    values_NP = values_NP - values_NP.mean(axis=0)
    norms_P = np.sqrt((values_NP**2).sum(axis=0))
    correlations_UP = np.zeros((states_NU.shape[1], values_NP.shape[1]))
    for start in range(0, len(correlations_UP), UNITS_AT_ONCE):
        block = slice(start, start + UNITS_AT_ONCE)
        centred_NU = states_NU[:, block].astype(np.float64)
        centred_NU -= centred_NU.mean(axis=0)
        norms_U1 = np.sqrt((centred_NU**2).sum(axis=0))[:, None]
        products_UP = centred_NU.T @ values_NP
        scale_UP = norms_U1 * norms_P
        np.divide(products_UP, scale_UP, out=correlations_UP[block], where=scale_UP > 0)
    return correlations_UP
