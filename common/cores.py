"""Work on rows, divided among the cores of this machine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Fewer rows than these are not worth a thread of their own.
_FEWEST_ROWS = 256


class Cores:
    """A pool of ``threads`` threads, and a BLAS that has one thread in each as long as the pool is open.

    A thread runs whole blocks of rows through all that is done to them: a block is too small to be worth
    dividing inside BLAS, and what it touches stays in the cache of one core. Results come in the order of the
    items, so that sums over them are the same in every run. Use it as a context manager; BLAS gets its
    threads back at the end.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "cores") if threads > 1 else None
        self._limits = threadpool_limits(1, "blas")

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """``function`` of each item, several at a time. Numpy and numba's kernels let go of the lock."""
        if self._pool is None:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))

    def parts(self, rows: int) -> list[slice]:
        """``rows`` rows divided evenly among the threads; one part at least, even of no rows."""
        count = max(1, min(self.threads, rows // _FEWEST_ROWS))
        bounds = [rows * part // count for part in range(count + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limits.restore_original_limits()
        if self._pool is not None:
            self._pool.shutdown()
