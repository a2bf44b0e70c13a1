"""What a server counts, as the text that Prometheus reads.

>>> metrics.count_request("/v1/completions", 200)
>>> metrics.render({"textgen_rows": 3})
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

# Of the histogram of seconds to the first character.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0, 60.0)
SAMPLES = {
    "textgen_requests_total": ("counter", "Requests by path and status."),
    "textgen_characters_total": ("counter", "Characters written."),
    "textgen_queue_length": ("gauge", "Requests that wait for their turn."),
    "textgen_rows": ("gauge", "Texts that are being written."),
    "textgen_first_character_seconds": ("histogram", "Seconds to a request's first character."),
}


class Metrics:
    """Counters that several threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._characters = 0
        self._first_counts: Counter[float] = Counter()
        self._first_seconds = 0.0

    def count_request(self, path: str, status: int) -> None:
        """Note that a request was answered; path is one of the server's own."""
        with self._lock:
            self._requests[path, status] += 1

    def count_characters(self, number: int) -> None:
        """Note that so many characters were written."""
        with self._lock:
            self._characters += number

    def observe_first(self, seconds: float) -> None:
        """Note how long a request waited for its first character."""
        with self._lock:
            self._first_counts[next((top for top in BUCKETS if seconds <= top), float("inf"))] += 1
            self._first_seconds += seconds

    def render(self, gauges: Mapping[str, int]) -> str:
        """Return everything, with the values of some gauges, in Prometheus' text format."""
        with self._lock:
            samples = {
                "textgen_requests_total": [
                    f'{{path="{path}",status="{status}"}} {count}'
                    for (path, status), count in sorted(self._requests.items())
                ],
                "textgen_characters_total": [f" {self._characters}"],
                "textgen_first_character_seconds": self._histogram(),
            }
        samples |= {name: [f" {value}"] for name, value in gauges.items()}
        lines = []
        for name, (kind, help) in SAMPLES.items():
            lines += [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
            lines += [name + sample for sample in samples.get(name, [])]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        total, samples = 0, []
        for top in (*BUCKETS, float("inf")):
            total += self._first_counts[top]
            shown = "+Inf" if top == float("inf") else f"{top:g}"
            samples.append(f'_bucket{{le="{shown}"}} {total}')
        return [*samples, f"_sum {self._first_seconds:.6f}", f"_count {total}"]
