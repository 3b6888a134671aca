"""Decoding ahead of the model, in a thread of its own."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Generic, TypeVar

from common.channels.interrupts import POLL, Interrupt, Interrupted

Item = TypeVar("Item")

DEPTH = 2  # items that wait; the thread holds one more, and the consumer another


class _End:
    """What the thread says last: why it ended."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[Item]):
    """Iterates in a thread what ``source`` generates, a few items ahead of its consumer.

    An exception in the thread is raised here, as it is. The generator is closed when the iteration has ended
    by itself, and also the thread has ended when ``close`` returns.
    """

    def __init__(
        self, source: Callable[[], Generator[Item, None, None]], interrupt: Interrupt, name: str
    ) -> None:
        self._source = source
        self._interrupt = interrupt
        self._items: queue.Queue[Item | _End] = queue.Queue(DEPTH)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while not self.interrupted():
            try:
                item = self._items.get(timeout=POLL)
            except queue.Empty:
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def interrupted(self) -> bool:
        """Whether the job was asked to stop. Raises RuntimeError when somebody else closed this."""
        if self._interrupt.abandoned:
            raise RuntimeError("this epoch was given up for a later one of the same channel")
        return self._interrupt.requested

    def close(self) -> None:
        """Ends the thread and waits until what it read from is closed."""
        self._interrupt.abandoned = True
        # At the interpreter's end threads are frozen already; waiting for one would be for ever.
        if not sys.is_finalizing():
            self._thread.join()

    def _run(self) -> None:
        end = _End()
        try:
            with closing(self._source()) as items:
                for item in items:
                    self._put(item)
        except Interrupted:
            pass
        except BaseException as error:  # the consumer's to judge
            end = _End(error)
        with suppress(Interrupted):
            self._put(end)

    def _put(self, item: Item | _End) -> None:
        while True:
            self._interrupt.check()
            try:
                return self._items.put(item, timeout=POLL)
            except queue.Full:
                continue
