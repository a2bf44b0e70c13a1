"""`textgen sample --interactive`: write a text together with a model.

A line is added to the text and the model continues it; what begins with a colon is a command. Each
step can be undone.

    >>> session = Session(model, SampleConfig(length=200), seed=1)
    >>> "".join(session.reply("ROMEO:"))
"""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from textgen.cli.parser import sample_options
from textgen.cli.terminal import say, show
from textgen.config import SampleConfig, unescape
from textgen.errors import TextgenError, UsageError, counted
from textgen.files import write_error, write_output
from textgen.sampling import SamplingState
from textgen.textmodel import TextModel

HELP = r"""text        add it and continue from there; \n and \t are unescaped
(nothing)   continue
:N          write N continuations, then type the number of one; anything else takes none
:undo       take the last step back
:learn      learn from the text so far, and write on in its manner
:set --temperature 0.5 --until line ...   change options of textgen sample
:show       show the whole text
:save FILE  write the whole text to a file
:quit       leave (as does the end of the input)
"""
MOST_CHOICES = 64


class Turn(NamedTuple):
    """The text after a step of the conversation, and where it stands."""

    text: str
    state: SamplingState


class Quit(Exception):
    """The conversation is over."""


class Session:
    """A text that grows by turns, and the steps that led to it.

    Every continuation has a seed of its own, counted up from the first, so that another try after
    :undo is another text.

    config: how to write, without a prime.
    """

    def __init__(self, model: TextModel, config: SampleConfig, seed: int, prime: str = "") -> None:
        self.model, self.config, self.seed = model, config, seed
        self._turns = [Turn(prime, self._read(prime, None))]
        self._choices: list[str] = []
        self._continuations = 0

    @property
    def text(self) -> str:
        """The whole text."""
        return self._turns[-1].text

    def reply(self, line: str) -> Iterator[str]:
        """Yield what a line of input gives, piece by piece.

        Raises TextgenError, with nothing changed, and Quit.
        """
        before = [*self._turns], self._continuations
        try:
            yield from self._answer(line)
        except TextgenError:
            self._turns, self._continuations = before
            raise

    def _answer(self, line: str) -> Iterator[str]:
        choices, self._choices = self._choices, []
        if choices and line.isdecimal():
            yield from self._choose(choices, int(line))
        elif not line.startswith(":"):
            yield from self._continue(unescape(line))
        elif line[1:].isdecimal():
            yield from self._offer(int(line[1:]))
        else:
            name, _, argument = line[1:].partition(" ")
            if name not in SESSION_COMMANDS:
                fix = "type :help for what there is"
                raise UsageError(f":{name}", "unknown command", fix)
            yield SESSION_COMMANDS[name](self, argument.strip())

    def _continue(self, added: str) -> Iterator[str]:
        text, state = self._turns[-1]
        if added:
            state = self._read(added, state)
            text += added
        pieces = self.model.stream(config=self.config, state=self._with_next_seed(state))
        # Before anything is shown: the options may be refused.
        first = next(pieces, "")
        self._turns.append(Turn(text, state))
        written = ""
        try:
            yield added
            for piece in itertools.chain([first], pieces):
                written += piece
                yield piece
        # Also where Ctrl-C ended it.
        finally:
            self._turns[-1] = Turn(text + written, self._read(written, state))
        yield "\n"

    def _offer(self, number: int) -> Iterator[str]:
        if not 1 <= number <= MOST_CHOICES:
            raise UsageError(f":{number}", f"is not 1 to {MOST_CHOICES}", "ask for as many")
        state = self._with_next_seed(self._turns[-1].state)
        choices = self.model.choices(number, self.config, state=state)
        self._choices = [text for text, _ in choices]
        for count, text in enumerate(self._choices, 1):
            yield f"[{count}] {text}\n"

    def _choose(self, choices: list[str], number: int) -> Iterator[str]:
        if not 1 <= number <= len(choices):
            raise UsageError(str(number), f"there were {len(choices)}", "ask again with :N")
        text = choices[number - 1]
        self._turns.append(Turn(self.text + text, self._read(text, self._turns[-1].state)))
        yield text + "\n"

    def _undo(self, _argument: str) -> str:
        if len(self._turns) == 1:
            raise UsageError(":undo", "there is nothing to undo", "write something first")
        self._turns.pop()
        return self.text[-200:] + "\n"

    def _learn(self, _argument: str) -> str:
        self.model = self.model.learned(self.text)
        # What was read before is read by other counts now; there is no way back.
        self._turns = [Turn(self.text, self._read(self.text, None))]
        return ""

    def _set(self, argument: str) -> str:
        try:
            words = shlex.split(argument)
        except ValueError as error:
            raise UsageError(":set", str(error).lower(), "close the quotation") from None
        self.config = replace(self.config, **sample_options(words))
        return ""

    def _show(self, _argument: str) -> str:
        return self.text + "\n"

    def _save(self, path: str) -> str:
        if not path:
            raise UsageError(":save", "no file is named", "write :save FILE")
        try:
            write_output(Path(path), [self.text.encode("utf-8", "surrogateescape")])
        # No reason to end the conversation.
        except BrokenPipeError as error:
            raise write_error(path, error) from error
        return f"{counted(len(self.text), 'character')} written to {path}\n"

    def _help(self, _argument: str) -> str:
        return HELP

    def _quit(self, _argument: str) -> str:
        raise Quit

    def _read(self, text: str, state: SamplingState | None) -> SamplingState:
        """Return where the text stands that text continues, and nothing that ended it."""
        return self.model.read([text], self.config, state=state)

    def _with_next_seed(self, state: SamplingState) -> SamplingState:
        """Return a state with the next seed, at its first draw."""
        self._continuations += 1
        seed = (self.seed + self._continuations - 1) % 2**63
        return state._replace(seed=seed, position=0)


SESSION_COMMANDS: dict[str, Callable[[Session, str], str]] = {
    "undo": Session._undo,
    "learn": Session._learn,
    "set": Session._set,
    "show": Session._show,
    "save": Session._save,
    "help": Session._help,
    "quit": Session._quit,
}


def converse(session: Session) -> None:
    """Read lines from standard input and write what they give, until the end of the input.

    Ctrl-C ends a continuation where it is, and at the prompt everything.
    """
    terminal = sys.stdin.isatty()
    # Whatever the locale says; bytes that are not UTF-8 become unknown characters.
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    show([session.text], end_line=False)
    if terminal:
        # Lets input() edit its line.
        import readline  # noqa: F401

        say(HELP.rstrip(), prefix="")
    while True:
        try:
            line = input("> ") if terminal else input()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            show(answer(session, line), end_line=False)
        except Quit:
            return
        except KeyboardInterrupt:
            show(["\n"])


def answer(session: Session, line: str) -> Iterator[str]:
    """Yield what a line gives; what is wrong with it is said, and ends nothing."""
    try:
        yield from session.reply(line)
    except TextgenError as error:
        say(f"error: {error}")
