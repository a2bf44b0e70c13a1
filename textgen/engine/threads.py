"""Threads: how many numpy's matrix products take, and work that is shared among several.

A library must leave its caller's threads of matrix products as they were, also between the pieces
of a text that a generator hands on.

    >>> with Threads(1) as threads:
    ...     logits_BV, state = engine.step(ids_B, state)
    >>> for step in threads.each(generate(engine, tokenizer, config)):
    ...     print(step.pieces)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from textgen.data import available_cores

Produced = TypeVar("Produced")
Share = TypeVar("Share")

# Parameters of a model below which one thread is taken (docs/log.md, "sampling, quicker").
ONE_THREAD = 600_000


def sampling_threads(parameters: int) -> int:
    """Return how many threads a model is stepped with.

    A rule and not a timing, so that the same machine always gives the same text. A second thread
    gains nothing up to 550 thousand parameters, 1.3 times at 720 thousand and 1.4 times above a
    million, but loses more than that when another program holds the core.

    Args:
        parameters: of the network.
    """
    return 1 if parameters < ONE_THREAD else min(2, os.cpu_count() or 1)


class Threads:
    """So many BLAS threads while it is entered, those of the caller otherwise.

    Args:
        number: of threads.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        # threadpoolctl's own limits do the same at several times the cost, which counts at each
        # character.
        self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        self._before: list[list[int]] = []

    def __enter__(self) -> Threads:
        self._before.append([_switch(library, self.number) for library in self._libraries])
        return self

    def __exit__(self, *error: Any) -> None:
        for library, number in zip(self._libraries, self._before.pop(), strict=True):
            _switch(library, number)

    def each(self, items: Iterator[Produced]) -> Iterator[Produced]:
        """Yield items, each made with these threads; between them the threads are the caller's."""
        while True:
            with self:
                item = next(items, None)
            if item is None:
                return
            yield item


def _switch(library: Any, number: int) -> int:
    """Give a library so many threads, if it has not; return how many it had."""
    before: int = library.get_num_threads()
    if before != number:
        library.set_num_threads(number)
    return before


def in_threads(
    function: Callable[[Share], object], shares: Sequence[Share], threads: int | None = None
) -> None:
    """Call a function for each share of some work, in threads of their own.

    It gains where the function spends its time in numpy's loops, which let other threads run.

    Args:
        function: what is done; no share may depend on another's being done.
        shares: of the work.
        threads: how many at most; by default as many as there are cores to use.
    """
    number = min(len(shares), available_cores() if threads is None else threads)
    if number < 2:
        for share in shares:
            function(share)
        return
    with ThreadPoolExecutor(number) as pool:
        try:
            for done in [pool.submit(function, share) for share in shares]:
                done.result()
        except BaseException:
            # Else all of the rest would still be waited for.
            pool.shutdown(cancel_futures=True)
            raise
