"""`textgen sample --interactive`: write a text together with a model.

A line is added to the text and the model goes on from there; what begins with a colon is a command.
Each step can be undone.

    >>> session = Session(model, {"length": 200}, seed=1)
    >>> "".join(session.reply("ROMEO:"))
"""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from textgen.cli.parser import sample_options
from textgen.cli.terminal import say, show
from textgen.config import SampleConfig, unescape
from textgen.errors import TextgenError, UsageError, counted
from textgen.files import write_error, write_output
from textgen.sampling import SamplingState
from textgen.textmodel import TextModel

HELP = r"""text        add it and go on from there; \n and \t are unescaped
(nothing)   go on
:N          write N continuations, then type the number of one; anything else takes none
:undo       take the last step back
:set --temperature 0.5 --until line ...   change options of textgen sample
:show       show the whole text
:save FILE  write the whole text to a file
:quit       leave (as does the end of the input)
"""
MOST_CHOICES = 64


class Session:
    """A text that grows by turns, and the steps that led to it.

    text: all of it. reply: what a line of input gives. Every continuation has a seed of its own,
    counted up from the first, so that another try after :undo is another text.
    """

    def __init__(
        self, model: TextModel, options: dict[str, Any], seed: int, prime: str = ""
    ) -> None:
        self.model, self.options, self.seed = model, options, seed
        self._steps = [(prime, self._read(prime, None))]
        self._choices: list[str] = []
        self._asked = 0

    @property
    def text(self) -> str:
        """The whole text."""
        return self._steps[-1][0]

    def reply(self, line: str) -> Iterator[str]:
        """Yield what a line gives, piece by piece; raise TextgenError, with nothing changed."""
        before = [*self._steps], self._asked
        try:
            yield from self._answer(line)
        except TextgenError:
            self._steps, self._asked = before
            raise

    def _answer(self, line: str) -> Iterator[str]:
        choices, self._choices = self._choices, []
        if choices and line.isdecimal():
            yield from self._choose(choices, int(line))
        elif not line.startswith(":"):
            yield from self._go_on(unescape(line))
        elif line[1:].isdecimal():
            yield from self._offer(int(line[1:]))
        else:
            name, _, rest = line[1:].partition(" ")
            if name not in SESSION_COMMANDS:
                fix = "type :help for what there is"
                raise UsageError(f":{name}", "unknown command", fix)
            yield from SESSION_COMMANDS[name](self, rest.strip())

    def _go_on(self, added: str) -> Iterator[str]:
        text, place = self._steps[-1]
        if added:
            place = self._read(added, place)
            text += added
        pieces = self.model.stream(state=self._seeded(place), **self.options)
        first = next(pieces, "")  # before anything is shown: the options may be refused
        self._steps.append((text, place))
        written = ""
        try:
            yield added
            for piece in itertools.chain([first], pieces):
                written += piece
                yield piece
        finally:  # also where Ctrl-C ended it
            self._steps[-1] = (text + written, self._read(written, place))
        yield "\n"

    def _offer(self, number: int) -> Iterator[str]:
        if not 1 <= number <= MOST_CHOICES:
            raise UsageError(f":{number}", f"is not 1 to {MOST_CHOICES}", "ask for as many")
        place = self._seeded(self._steps[-1][1])
        found = self.model.choices(number, state=place, **self.options)
        self._choices = [text for text, _ in found]
        for count, text in enumerate(self._choices, 1):
            yield f"[{count}] {text}\n"

    def _choose(self, choices: list[str], number: int) -> Iterator[str]:
        if not 1 <= number <= len(choices):
            raise UsageError(str(number), f"there were {len(choices)}", "ask again with :N")
        text = choices[number - 1]
        self._steps.append((self.text + text, self._read(text, self._steps[-1][1])))
        yield text + "\n"

    def _undo(self, _rest: str) -> Iterator[str]:
        if len(self._steps) == 1:
            raise UsageError(":undo", "there is nothing to take back", "write something first")
        self._steps.pop()
        yield self.text[-200:] + "\n"

    def _set(self, rest: str) -> Iterator[str]:
        try:
            words = shlex.split(rest)
        except ValueError as error:
            raise UsageError(":set", str(error).lower(), "close the quotation") from None
        options = {**self.options, **sample_options(words)}
        SampleConfig(**options)  # checked before it is kept
        self.options = options
        yield ""

    def _show(self, _rest: str) -> Iterator[str]:
        yield self.text + "\n"

    def _save(self, rest: str) -> Iterator[str]:
        if not rest:
            raise UsageError(":save", "no file is named", "write :save FILE")
        try:
            write_output(Path(rest), [self.text.encode("utf-8", "surrogateescape")])
        except BrokenPipeError as error:  # no reason to end the conversation
            raise write_error(rest, error) from error
        yield f"{counted(len(self.text), 'character')} written to {rest}\n"

    def _help(self, _rest: str) -> Iterator[str]:
        yield HELP

    def _quit(self, _rest: str) -> Iterator[str]:
        yield from ()
        raise EOFError

    def _read(self, text: str, place: SamplingState | None) -> SamplingState:
        """Return where the text stands that goes on with text, and with nothing that ended it."""
        return self.model.read([text], state=place, **self.options)

    def _seeded(self, place: SamplingState | None) -> SamplingState:
        """Return a place in the text with the next seed."""
        self._asked += 1
        place = place or self.model.read([])
        return place._replace(seed=(self.seed + self._asked - 1) % 2**63, position=0)


SESSION_COMMANDS: dict[str, Callable[[Session, str], Iterator[str]]] = {
    "undo": Session._undo,
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
    if hasattr(sys.stdin, "reconfigure"):  # whatever the locale says; other bytes are unknown
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    show(iter([session.text]), end_line=False)
    if terminal:
        import readline  # noqa: F401 - lets input() edit its line

        print(HELP, end="", file=sys.stderr)
    while True:
        try:
            line = input("> ") if terminal else input()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            show(session.reply(line), end_line=False)
        except EOFError:
            return
        except KeyboardInterrupt:
            print()
        except TextgenError as error:
            say(f"error: {error}")
