"""Where a text ends: stop texts, the end of a sentence, line or paragraph, a number of lines.

Text that might be the beginning of an end is held back until that is decided; what ends a text is
not part of it.

    >>> matcher = StopMatcher(SampleConfig(stop=("END",)))
    >>> matcher.feed("more EN"), matcher.feed("D of it"), matcher.reason
    ('more ', '', 'stop')
"""

from __future__ import annotations

from textgen.config import SampleConfig

# What ends a sentence, once white space follows; after the wide ones none is needed.
FULL_STOPS, WIDE_STOPS = ".!?…。！？", "。！？"
# What may follow a full stop within its sentence.
CLOSERS = "\"'”’»)]"
NEWLINES = ("\r\n", "\n")
# The texts that end a line or a paragraph.
UNIT_ENDS = {
    "line": NEWLINES,
    "paragraph": tuple(first + second for first in NEWLINES for second in NEWLINES),
}


class StopMatcher:
    """Passes one text on until it ends.

    reason: what ended it, "stop", "sentence", "line", "paragraph" or "lines"; None until then.
    A sentence, line or paragraph does not end before something visible was written.
    """

    def __init__(self, config: SampleConfig) -> None:
        self.reason: str | None = None
        self._until, self._lines_left = config.until, config.lines
        # Why each stop text ends the text.
        self._reasons = dict.fromkeys(config.stop, "stop")
        self._never_ends = not (config.stop or config.until or config.lines)
        self._held = ""
        self._has_visible = False
        # The full stop with which the text so far ends, if it does.
        self._full_stop = ""

    def feed(self, text: str) -> str:
        """Return what of the text so far is certain to belong to it."""
        if self._never_ends:
            return text
        return "".join(self._feed_char(char) for char in text if self.reason is None)

    def flush(self) -> str:
        """Return the text still held back."""
        passed, self._held = self._held, ""
        return passed

    def _feed_char(self, char: str) -> str:
        self._held += char
        reason, length = self._match_end(char)
        if reason:
            self.reason, passed = reason, self._held[: len(self._held) - length]
            self._held = ""
            return passed
        if not (self._has_visible or char.isspace()):
            self._has_visible = True
            until = self._until or ""
            self._reasons.update(dict.fromkeys(UNIT_ENDS.get(until, ()), until))
        keep = max((self._overlap(stop) for stop in self._reasons), default=0)
        # A carriage return may be half a newline.
        keep = max(keep, int(self._lines_left is not None and char == "\r"))
        cut = len(self._held) - keep
        passed, self._held = self._held[:cut], self._held[cut:]
        return passed

    def _match_end(self, char: str) -> tuple[str | None, int]:
        """Return why the text ends with this character, and how many last ones are not its own."""
        complete = [stop for stop in self._reasons if self._held.endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return self._reasons[longest], len(longest)
        within = char in FULL_STOPS or char in CLOSERS
        sentence_over = char.isspace() or (self._full_stop in WIDE_STOPS and not within)
        if self._until == "sentence" and self._full_stop and sentence_over:
            return "sentence", 1
        if char not in CLOSERS:
            self._full_stop = char if char in FULL_STOPS else ""
        if self._lines_left and char == "\n":
            self._lines_left -= 1
            if not self._lines_left:
                return "lines", 2 if self._held.endswith("\r\n") else 1
        return None, 0

    def _overlap(self, stop: str) -> int:
        """Return the length of the longest end of the held text that could begin a stop text."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
