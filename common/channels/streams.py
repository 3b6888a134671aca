"""What every source of bytes looks like to a decoder, and gzip taken off on the way."""

from __future__ import annotations

import zlib
from typing import Protocol

from common.failures import ClientError

GZIP = b"\x1f\x8b"  # how gzip data begin
_CHUNK = 1 << 18


class Stream(Protocol):
    """Bytes in order."""

    def readinto(self, buffer: memoryview | bytearray, /) -> int:
        """Fills some of ``buffer`` and says how many bytes; 0 only at the end."""


class Inflating:
    """A stream as it is, or inflated when it begins with gzip's magic bytes, whatever the file is called.

    Several gzip members in a row are one stream, as in gzip itself. Plain bytes go straight into the caller's
    buffer.
    """

    def __init__(self, stream: Stream, name: str) -> None:
        self._stream = stream
        self._name = name
        self._decided = False
        self._inflater: zlib._Decompress | None = None  # None for plain bytes
        self._pending = b""  # compressed bytes that were read and not yet inflated
        self._between = False  # a member has ended; another may follow
        self._ended = False

    def readinto(self, buffer: memoryview | bytearray, /) -> int:
        """Fills some of ``buffer``. Raises ClientError for damaged or truncated gzip."""
        view = memoryview(buffer).cast("B")
        if not self._decided:
            count = self._decide(view)
            if self._inflater is None:
                return count
        if self._inflater is None:
            return self._stream.readinto(view)
        return self._inflate(view)

    def _decide(self, view: memoryview) -> int:
        """Looks at the first two bytes, in the caller's own buffer where it is large enough."""
        target = view if len(view) >= 2 else memoryview(bytearray(2))
        count = self._stream.readinto(target)
        while count == 1 and target[0] == GZIP[0]:
            more = self._stream.readinto(target[1:])
            if not more:
                break
            count += more
        self._decided = True
        if target[: min(count, 2)] == GZIP:
            self._inflater = zlib.decompressobj(wbits=31)
            self._pending = bytes(target[:count])
            return 0
        if target is not view and count > len(view):
            # A caller with a buffer of one byte is none of ours; it is served all the same.
            self._stream = _Prefixed(bytes(target[len(view) : count]), self._stream)
            count = len(view)
        if target is not view:
            view[:count] = target[:count]
        return count

    def _inflate(self, view: memoryview) -> int:
        while not self._ended:
            if not self._pending:
                chunk = bytearray(_CHUNK)
                count = self._stream.readinto(memoryview(chunk))
                self._pending = bytes(memoryview(chunk)[:count])
                if not count:
                    if not self._between:
                        raise ClientError(f"{self._name}: the gzip data end early; the file is truncated")
                    self._ended = True
                    break
            if self._between:
                # gzip allows zeros as padding after a member.
                self._pending = self._pending.lstrip(b"\0")
                if not self._pending:
                    continue
                self._inflater = zlib.decompressobj(wbits=31)
                self._between = False
            inflater = self._inflater
            assert inflater is not None
            try:
                data = inflater.decompress(self._pending, len(view))
            except zlib.error as error:
                raise ClientError(f"{self._name}: the gzip data are damaged: {error}") from None
            self._pending = inflater.unconsumed_tail
            if inflater.eof:
                self._pending = inflater.unused_data
                self._between = True
            if data:
                view[: len(data)] = data
                return len(data)
        return 0


class _Prefixed:
    """Some bytes, then a stream."""

    def __init__(self, prefix: bytes, stream: Stream) -> None:
        self._prefix = prefix
        self._stream = stream

    def readinto(self, buffer: memoryview | bytearray, /) -> int:
        if not self._prefix:
            return self._stream.readinto(buffer)
        count = min(len(self._prefix), len(buffer))
        memoryview(buffer)[:count] = self._prefix[:count]
        self._prefix = self._prefix[count:]
        return count
