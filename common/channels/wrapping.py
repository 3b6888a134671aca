"""RecordWrapperType=RecordIO: each object is one RecordIO record, which keeps objects apart in a FIFO."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from common.channels.streams import Stream
from common.failures import ClientError
from common.formats.recordio import LENGTH_MASK, MAGIC, MAGIC_BYTES

_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


def objects(stream: Stream, name: str) -> Iterator[tuple[str, Unwrapped]]:
    """Each record's payload as a stream of its own, with its name for messages.

    A payload that isn't read to its end is skipped. Raises ClientError for what isn't RecordIO.
    """
    number = 0
    while True:
        shown = f"{name}, object {number}"
        item = Unwrapped(stream, shown)
        if not item.begin():
            return
        yield shown, item
        item.skip()
        number += 1


class Unwrapped:
    """One record's payload, its parts joined."""

    def __init__(self, stream: Stream, name: str) -> None:
        self._stream = stream
        self._name = name
        self._left = 0  # payload bytes of this part that are still to come
        self._padding = 0
        self._last = False
        self._magic = b""  # a part break stands for the magic number, which the payload held there

    def begin(self) -> bool:
        """Reads the first header; False at the end of the stream."""
        return self._header(first=True)

    def readinto(self, buffer: memoryview | bytearray, /) -> int:
        """Fills some of ``buffer``; 0 at the record's end."""
        view = memoryview(buffer).cast("B")
        while not self._magic and not self._left:
            if self._padding:
                self._exactly(self._padding)
                self._padding = 0
            if self._last:
                return 0
            self._header(first=False)
        if self._magic:
            count = min(len(self._magic), len(view))
            view[:count] = self._magic[:count]
            self._magic = self._magic[count:]
            return count
        count = self._stream.readinto(view[: self._left])
        if not count:
            raise self._truncated()
        self._left -= count
        return count

    def skip(self) -> None:
        """Reads on to the record's end."""
        waste = memoryview(bytearray(1 << 16))
        while self.readinto(waste):
            pass

    def _header(self, first: bool) -> bool:
        head = self._up_to(8)
        if not head and first:
            return False
        if len(head) < 8:
            raise self._truncated()
        magic, word = struct.unpack("<II", head)
        flag = word >> 29
        if magic != MAGIC or flag not in ((_WHOLE, _FIRST) if first else (_MIDDLE, _LAST)):
            raise ClientError(
                f"{self._name} does not begin as a RecordIO record, "
                "but the channel's RecordWrapperType is RecordIO"
            )
        self._left = word & LENGTH_MASK
        self._padding = -self._left % 4
        self._last = flag in (_WHOLE, _LAST)
        if not first:
            self._magic = MAGIC_BYTES
        return True

    def _up_to(self, count: int) -> bytes:
        held = bytearray(count)
        filled = 0
        while filled < count:
            more = self._stream.readinto(memoryview(held)[filled:])
            if not more:
                break
            filled += more
        return bytes(held[:filled])

    def _exactly(self, count: int) -> None:
        if len(self._up_to(count)) < count:
            raise self._truncated()

    def _truncated(self) -> ClientError:
        return ClientError(f"{self._name}: the data end in the middle of a RecordIO record")
