"""Everything that can go wrong, as one tree of exceptions.

It imports nothing of textgen. The command line prints one of these as one line on stderr and exits
with its code; the library raises them.

    TextgenError            1   a condition textgen names (the base, never raised itself)
    ├── UsageError          2   an option or argument that cannot be used
    ├── TextError           3   a corpus, prime or text that cannot be read or encoded
    ├── CheckpointError     4   a checkpoint that is missing, damaged or of another format
    ├── MachineError        5   disk, memory, network or device
    ├── RunInUseError       6   a run folder that another process is training in
    ├── NumericsError       7   a loss, gradient or logit that is not finite
    └── Interrupted       128+n a signal; what could be saved was

    try:
        textgen.load("model.safetensors")
    except textgen.CheckpointError as error:
        print(error.subject, error.fix)
"""

from __future__ import annotations

LONGEST_MESSAGE = 400  # characters of one part of an error; a hostile file name stays one line


class TextgenError(Exception):
    """A condition with a subject (file or --option), a problem with its numbers, and a fix."""

    exit_code = 1

    # Of several processes that train together: whether another one has told it; None: not known.
    is_told: bool | None = None

    def __init__(self, subject: str, problem: str, fix: str) -> None:
        self.subject = visible(subject)[:LONGEST_MESSAGE]
        self.problem = visible(problem)[:LONGEST_MESSAGE]
        self.fix = visible(fix)[:LONGEST_MESSAGE]
        super().__init__(f"{self.subject}: {self.problem} ({self.fix})")


class UsageError(TextgenError):
    """An option or argument that cannot be used."""

    exit_code = 2


class TextError(TextgenError):
    """A corpus, prime or text that cannot be read or encoded."""

    exit_code = 3


class CheckpointError(TextgenError):
    """A checkpoint that is missing, damaged, or of a format this version cannot read."""

    exit_code = 4


class MachineError(TextgenError):
    """Disk, memory, network or device: the surroundings, not the input."""

    exit_code = 5


class RunInUseError(TextgenError):
    """A run folder that another process is training in."""

    exit_code = 6


class NumericsError(TextgenError):
    """A loss, gradient or logit that is not finite."""

    exit_code = 7


class Interrupted(TextgenError):
    """Training was stopped by a signal; the message says what was saved. Exit code 128 + signal."""

    def __init__(self, subject: str, problem: str, fix: str, signal: int) -> None:
        super().__init__(subject, problem, fix)
        self.exit_code = 128 + signal


def visible(text: str, keep: str = "") -> str:
    r"""Return text with control characters shown as escapes, so that it cannot steer a terminal.

    C0 and C1 controls, line separators, direction overrides and lone surrogates become ``\x1b``
    or ``\u202e``; characters in `keep` stay. Joiners stay, as emoji need them.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep else _escape(c) for c in text)


def counted(number: float, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1: 1 thread, 0.5 minutes."""
    shown = f"{number:,g}" if isinstance(number, float) else f"{number:,}"
    return f"{shown} {noun}" if shown == "1" else f"{shown} {noun}s"


def reason_of(error: OSError) -> str:
    """Return in small letters what the system says of an error: "no space left on device"."""
    return (error.strerror or str(error)).lower()


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x20 or 0x7F <= code < 0xA0:
        return repr(char)[1:-1]
    overrides = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    if overrides or code in (0x2028, 0x2029, 0x200E, 0x200F) or 0xD800 <= code <= 0xDFFF:
        return f"\\u{code:04x}"
    return char
