"""Objects as streams that begin to come before they are read."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from local.background import begin
from local.storage.s3 import THREADS, S3Object, chunks

_turns = threading.BoundedSemaphore(THREADS)


class Ahead:
    """An iterator of chunks whose first one is fetched by another thread from the moment that it is made."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._first: Future[bytes | None] | None = begin(lambda: next(chunks, None), _turns)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._first is None:
            return next(self._chunks)
        chunk = self._first.result()
        self._first = None
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Lets the connection go, now or once it is made."""
        close: Any = getattr(self._chunks, "close", None)
        if close is None:
            return
        if self._first is None:
            close()
        else:
            self._first.cancel()
            self._first.add_done_callback(lambda _: close())


class S3Stream:
    """An object's chunks; each iteration reads it anew, and has asked for it once it is made."""

    def __init__(self, item: S3Object) -> None:
        self._item = item

    def __iter__(self) -> Iterator[bytes]:
        return Ahead(chunks(self._item))

    def __str__(self) -> str:
        return self._item.uri


class Reader(io.RawIOBase):
    """Chunks as a file that is read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        room = memoryview(buffer).cast("B")
        count = min(len(room), len(self._left))
        room[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        if close := getattr(self._chunks, "close", None):
            close()
        super().close()
