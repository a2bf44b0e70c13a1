"""How much a request may ask for, so that no client takes all of the machine.

>>> Limits(max_tokens=1000)
"""

from __future__ import annotations

from dataclasses import dataclass

# Of a request: stop texts and their characters, characters with a bias, of --match and of bans.
MOST_STOPS, LONGEST_STOP = 8, 64
MOST_BIASES, LONGEST_BAN, LONGEST_MATCH = 300, 1000, 1000
# OpenAI's own limits.
MOST_LOGPROBS, LARGEST_LOGIT_BIAS = 5, 100


@dataclass(frozen=True)
class Limits:
    """What a server does for its clients, and no more.

    Attributes:
        body_bytes: of a request.
        body_seconds: until all of them have come.
        prompt_chars: of all prompts of a request.
        max_tokens: characters that a text may have.
        rows_of_request: texts of a request, drafts included.
        rows: texts that are written at the same time.
        queue: requests that wait for their turn.
        seconds: that a request may take; then its texts end as they are.
        connections: that are open at the same time.
        shutdown_seconds: in which a server that was told to stop finishes what runs.
    """

    body_bytes: int = 1 << 20
    body_seconds: float = 20
    prompt_chars: int = 16_384
    max_tokens: int = 4096
    rows_of_request: int = 64
    rows: int = 256
    queue: int = 256
    seconds: float = 300
    connections: int = 512
    shutdown_seconds: float = 10
