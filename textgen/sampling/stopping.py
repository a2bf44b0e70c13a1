"""Where a text ends: stop texts, the end of a sentence, line or paragraph, a number of lines.

Text that might be the beginning of an end is held back until that is decided; what ends a text is
not part of it.

    >>> ending = Ending(SampleConfig(stop=("END",)))
    >>> ending.feed("more EN"), ending.feed("D of it"), ending.reason
    ('more ', '', 'stop')
"""

from __future__ import annotations

from textgen.config import SampleConfig

FULL_STOPS, WIDE_STOPS = ".!?…。！？", "。！？"  # after the wide ones no white space is needed
CLOSERS = "\"'”’»)]"  # may follow a full stop within its sentence
LINE_ENDS = ("\r\n", "\n")
UNIT_ENDS = {"line": LINE_ENDS, "paragraph": tuple(a + b for a in LINE_ENDS for b in LINE_ENDS)}


class StopMatcher:
    """Passes one text on until it ends.

    reason: what ended it, "stop", "sentence", "line", "paragraph" or "lines"; None until then.
    A sentence, line or paragraph does not end before something visible was written.
    """

    def __init__(self, config: SampleConfig) -> None:
        self.reason: str | None = None
        self._until, self._lines = config.until, config.lines
        self._marks = dict.fromkeys(config.stop, "stop")
        self._free = not (config.stop or config.until or config.lines)
        self._held = ""
        self._visible = False
        self._full_stop = ""  # with which the text so far ends

    def feed(self, text: str) -> str:
        """Return what of the text so far is certain to belong to it."""
        if self._free:
            return text
        return "".join(self._feed_one(char) for char in text if self.reason is None)

    def flush(self) -> str:
        """Return the text still held back."""
        passed, self._held = self._held, ""
        return passed

    def _feed_one(self, char: str) -> str:
        self._held += char
        reason, length = self._ended_by(char)
        if reason:
            self.reason, passed = reason, self._held[: len(self._held) - length]
            self._held = ""
            return passed
        if not (self._visible or char.isspace()):
            self._visible = True
            self._marks.update(
                dict.fromkeys(UNIT_ENDS.get(self._until or "", ()), self._until or "")
            )
        keep = max((self._overlap(mark) for mark in self._marks), default=0)
        keep = max(keep, int(self._lines is not None and char == "\r"))  # half a newline
        cut = len(self._held) - keep
        passed, self._held = self._held[:cut], self._held[cut:]
        return passed

    def _ended_by(self, char: str) -> tuple[str | None, int]:
        """Return why the text ends with this character, and how many last ones are not its own."""
        whole = [mark for mark in self._marks if self._held.endswith(mark)]
        if whole:
            longest = max(whole, key=len)
            return self._marks[longest], len(longest)
        goes_on = char in FULL_STOPS or char in CLOSERS
        over = char.isspace() or (self._full_stop in WIDE_STOPS and not goes_on)
        if self._until == "sentence" and self._full_stop and over:
            return "sentence", 1
        if char not in CLOSERS:
            self._full_stop = char if char in FULL_STOPS else ""
        if self._lines and char == "\n":
            self._lines -= 1
            if not self._lines:
                return "lines", 2 if self._held.endswith("\r\n") else 1
        return None, 0

    def _overlap(self, mark: str) -> int:
        """Length of the longest end of the held text that could begin mark."""
        longest = min(len(mark) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(mark[:n])), 0)
