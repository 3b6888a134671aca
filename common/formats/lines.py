"""What the two text formats share: lines read in pieces by several threads, and faults told by line."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from common.failures import ClientError
from common.formats.reading import LONGEST_LINE, LongLineError

SMALL = 1 << 15  # bodies up to here are read in plain Python, sooner than kernels could be loaded

Item = TypeVar("Item")
Result = TypeVar("Result")


class LineError(Exception):
    """What is wrong with a line, counted from 1 within its piece."""

    def __init__(self, problem: str, line: int = 1, column: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column

    def told(self, name: str, lines_before: int) -> ClientError:
        """The same as one sentence about the stream ``name``."""
        column = "" if self.column is None else f", column {self.column}"
        return ClientError(f"line {lines_before + self.line}{column} of {name} {self.problem}")


def shown(text: str) -> str:
    """Some text of a user's as messages quote it."""
    return repr(text if len(text) <= 40 else text[:40] + "…")


def thread_count() -> int:
    """How many threads decode: ALGODOCK_NUM_THREADS, or as many as there are processors for this process."""
    text = os.environ.get("ALGODOCK_NUM_THREADS", "")
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[Result, None, None]:
    """``map(function, items)`` on some threads, drawing only one item more than there are threads.

    What drawing an item raises is raised after the results of the items before it.
    """
    if threads == 1:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    fault: BaseException | None = None
    iterator = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        try:
            while fault is None:
                try:
                    pending.append(pool.submit(function, next(iterator)))
                except Exception as error:
                    fault = error
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
    if not isinstance(fault, StopIteration):
        raise fault


def told_by_line(results: Iterable[tuple[Result, int]], name: str) -> Iterator[Result]:
    """The results of pieces, each given with its number of lines; a piece's LineError as a ClientError."""
    lines = 0
    iterator = iter(results)
    while True:
        try:
            result, count = next(iterator)
        except StopIteration:
            return
        except LineError as error:
            raise error.told(name, lines) from None
        except LongLineError:
            raise ClientError(
                f"line {lines + 1} of {name} is longer than {LONGEST_LINE} bytes; shorter ones are read"
            ) from None
        lines += count
        yield result


def first_line(data: bytes, skipped: Callable[[bytes], bool]) -> tuple[bytes, int] | None:
    """The first line that is not ``skipped``, and how many lines are before it; None if all are."""
    passed = at = 0
    while at < len(data):
        end = data.find(b"\n", at) + 1 or len(data)
        for line in data[at:end].splitlines():
            if not skipped(line):
                return line, passed
            passed += 1
        at = end
    return None


def line_at(data: memoryview, at: int, stop: int) -> bytes:
    """The line that begins ``at``, without its end."""
    size = 256
    while True:
        part = bytes(data[at : min(at + size, stop)])
        ends = [end for end in (part.find(b"\n"), part.find(b"\r")) if end >= 0]
        if ends:
            return part[: min(ends)]
        if at + size >= stop:
            return part
        size *= 4
