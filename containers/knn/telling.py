"""Log lines that AWS's image prints around its steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from common.metrics import log


@contextmanager
def told(doing: str, done: str) -> Iterator[None]:
    """Prints that a step begins and, with its whole seconds, that it has ended."""
    log.info("%s...", doing)
    started = time.perf_counter()
    yield
    log.info("...%s in %d second(s)", done, time.perf_counter() - started)
