"""The lines that tell how far training is, as BlazingText prints them."""

from __future__ import annotations

import time

from common.metrics import log

_STEP = 0.02  # of the whole, from one line to the next


class Progress:
    """Prints a line each few percent. ``total``: words of all epochs; ``rate``: the first learning rate.

    Lines are ``marked`` with # signs but on several hosts.
    """

    def __init__(self, total: int, rate: float, marked: bool = True) -> None:
        self._form = "##### %s #####" if marked else "%s"
        self.words = 0
        self._total = max(total, 1)
        self._rate = rate
        self._started = time.perf_counter()
        self._told = 0.0

    @property
    def rate(self) -> float:
        """The learning rate, which falls to zero in a straight line."""
        return self.rate_after(self.words)

    def rate_after(self, words: int) -> float:
        """What it is after so many words of all epochs."""
        return self._rate * max(0.0, 1 - words / self._total)

    def add(self, words: int) -> None:
        """Tells that ``words`` more have been learnt from."""
        self.words += words
        done = self.words / self._total
        if done >= self._told + _STEP or (self.words == self._total and self._told < 1):
            self._told = done
            line = "Alpha: %.4f  Progress: %.2f%%  Million Words/sec: %.2f"
            log.info(self._form, line % (self.rate, 100 * done, self._speed()))

    def finish(self) -> None:
        """Prints how long it took."""
        log.info("Training finished!")
        log.info("Average throughput in Million words/sec: %.2f", self._speed())
        log.info("Total training time in seconds: %.2f", time.perf_counter() - self._started)

    def _speed(self) -> float:
        return self.words / max(time.perf_counter() - self._started, 1e-9) / 1e6
