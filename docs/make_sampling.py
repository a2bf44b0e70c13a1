"""Writes docs/sampling.md from the table of filters: python docs/make_sampling.py."""

import dataclasses
from pathlib import Path

from textgen.config.fields import option_name
from textgen.config.sample import SampleConfig
from textgen.sampling.chain import FILTERS, Filter

HEAD = """# Sampling

Written by `python docs/make_sampling.py` from the table of filters; a test compares the two.
Options are listed with their meaning in [cli.md](cli.md); in Python they have the same names,
with `_`.

A character is written in these steps: the model's log-probabilities; hard limits (`--ban`,
`--only`, `--match`, `--novel`, and neither `<unk>` nor characters that the training text never
held); the filters, in the order of the table; one draw, by inverting the cumulative distribution
in the order of the ids with the number u(seed, row, position), so that a character of probability
zero cannot be drawn and the same seed gives the same text.

## Filters

Names, meaning and order are those of Hugging Face's `generate`. A filter whose option has the
value under "off" is left out. At least one character always survives. "Lately" is the last
`--look-back` characters, the prime included. `--temperature X:Y` goes from X at the first new
character to Y at the last one of `--length`.

"""

TAIL = """ ## Hard limits

- `--ban CHARS`, `--only CHARS`: `a-z` is a range, a `-` at either end is itself. Characters that
  the model does not have are passed over; nothing left to write is an error.
- `--match REGEX`: the new text, without the prime, matches the whole of a regular expression.
  Characters from which no match can be reached within `--length` are never written, so the text
  is a match when it ends, and it ends early where the pattern allows no more. A pattern without a
  match of that length is an error before the first character. Needs the extra `match`. Syntax:
  that of Python's `re` without lookbehind, references and word boundaries; the docstring of
  `textgen/patterns.py` lists it.
- `--novel N`: no span of N characters of prime and text that ends in the text stands in the text
  the model was trained on. Its spans are kept as hashes in `novel-N.safetensors` beside the
  model, 8 bytes each, made at the first use from the training text, whose path the run knows
  (`--novel-text FILE` names it otherwise). No copy is overlooked; a character is avoided
  needlessly with a probability below n N / 2^61 for a text of n characters. Where every character
  would complete a copy the text ends. The longest copied span is reported on standard error.

## Where a text ends

After `--length` characters; before a `--stop` text, the earliest to be complete, of several at
once the longest; `--until sentence` (a full stop, `!`, `?` or an ellipsis, closing quotation
marks, white space), `line`, `paragraph` (a blank line), none of which ends before something
visible was written; after `--lines N`. What might be the beginning of an end is held back until
that is decided, and is not part of the text. `--format jsonl` says what it was: `length`, `stop`,
`sentence`, `line`, `paragraph`, `lines`, `match`, `novel` or `item` (and `spelling` where a damaged
model of bytes has no way on with a character that it began).

## Items

A model of `--records` begins each text where an item begins (with a prime: within one) and ends it
where the model says that the item ends, at `--length` at the latest; under `--match` the pattern
says when. Between items stands what stood between them in the training text. `--unique` passes over
items that were written already, `--unseen` over those that the training text holds, prime included
(`--novel-text FILE` names that text where it has moved): the items are those of the rows 0, 1, ...
that remain, so the same seed gives the same ones. After a hundred times `--num` no more are tried.

## Models of bytes and of pieces

What is said of characters above holds for a model of characters, and draws, filters and look-backs
count the ids of any model: bytes, or SentencePiece's pieces. Beyond that, with bytes or pieces:

- Only whole characters are written: an id that cannot go on with the UTF-8 begun is never drawn.
  `--length` counts characters, and a text is cut where it is long enough or has ended, within a
  piece too. In Python the text that goes on from `model.state` begins with what was cut off.
- `--temperature X:Y` goes by the characters that a text has, not by draws.
- `--ban`, `--only`: a piece is barred with any of its characters; the bytes in which a model spells
  what it has no piece for are barred where they begin a banned character, and by `--only`.
  `--bias` adds up over a piece. Pieces that the training never used are not drawn, so `--only` may
  leave fewer texts than its characters would make. A model of bytes can be told of ASCII only.
- `--match` needs a model of characters. `--novel N` bars spans of N bytes, which is more than it
  has to where characters take several; with pieces, which spell a text in many ways, it is refused.
- A prime is cut into pieces by itself, at its end too, where the text that goes on may have wanted
  a longer piece: end a prime with a word rather than within one.
- `--logprobs` are those of the bytes or pieces; nats a character are their sum over the characters.
- Nothing is unknown but halves of surrogate pairs, which UTF-8 cannot write.

## Likely texts

- `--temperature 0` takes the likeliest character each time.
- `--best-of N` writes N drafts and keeps the one with the highest mean log-probability under the
  model itself.
- `--beams N` searches with N beams; texts that end early compete by score / length ^
  `--length-penalty`, as in Hugging Face's search. `--num` texts of one search, best first.
  Nothing is drawn, so options about chance are refused; biases, penalties and bans apply.

## Several texts

`--num N` texts for the prime or for each line of `--primes FILE`, written in batches of 64. Text
number i depends on the seed and on i alone, whatever else is written: exactly in float64, in
float32 up to the first draw within 1e-5 of an edge of the cumulative distribution. `--format
jsonl` writes a line each: text, prime, seed, row, mean nats a character and, with `--logprobs`,
the log-probability of each character, all of them the model's own, before any filter. `--out-dir`
writes a file each.

## A text in turns

`textgen sample --interactive` adds what is typed and goes on from there; `:3` offers three
continuations to choose from, `:undo` takes a step back, `:help` lists the rest. In Python the
place where a text stopped is a value:

    text = model.sample("ROMEO:", length=200, seed=1)
    place = model.state                                  # to keep, to branch
    text += model.sample(length=200, state=place)        # exactly as if it had not stopped
    options = model.choices(3, state=place, length=80)   # three ways on, with where each stopped
    place.save("here.state", model.checkpoint.model)     # textgen.load_state reads it
"""


def interval(metadata: dict) -> str:
    """Return a field's range in words."""
    words = {"low": "from {}", "above": "above {}", "high": "to {}", "below": "below {}"}
    found = [text.format(metadata[key]) for key, text in words.items() if key in metadata]
    return " ".join(found)


def row(number: int, one: Filter) -> str:
    """Return the table row of a filter."""
    field = {f.name: f for f in dataclasses.fields(SampleConfig)}[one.option]
    neutral = {None: "not given", (): "not given"}.get(one.neutral, str(one.neutral))
    meaning = (one.function.__doc__ or "").partition("\n")[0]
    cells = [number, f"`{option_name(one.option)}`", meaning, interval(field.metadata), neutral]
    return "| " + " | ".join(map(str, [*cells, one.note])) + " |"


def render() -> str:
    """Return docs/sampling.md."""
    heads = "| | option | what it does | range | off | choice where libraries differ |"
    rows = [row(number, one) for number, one in enumerate(FILTERS, 1)]
    return HEAD + "\n".join([heads, "|---|---|---|---|---|---|", *rows]) + "\n" + TAIL


if __name__ == "__main__":
    (Path(__file__).parent / "sampling.md").write_text(render(), encoding="utf-8")
