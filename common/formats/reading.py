"""Bytes of a stream in large blocks; memory grows only with bytes that really came."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from common.formats.layout import Stream

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # no part of the text, but editors write one
BLOCK = 1 << 20  # enough to forget the cost of a call, small enough to stay in a processor's cache
LONGEST_LINE = 1 << 28
PADDING = 16  # line ends after a piece's last byte, so that kernels need not look for the end all the time


def read_full(stream: Stream, room: memoryview) -> int:
    """Reads until ``room`` is full or the stream ends; how many bytes came."""
    done = 0
    while done < len(room):
        count = stream.readinto(room[done:])
        if count is None:  # a non-blocking stream with nothing to give yet
            time.sleep(0.001)
        elif count == 0:
            break
        else:
            done += count
    return done


class Window:
    """A stretch of a stream that moves forward: what was not consumed stays, more is read behind it.

    ``data[start:stop]`` are the bytes at hand. ``fill`` overwrites ``data``, so whatever is yielded to
    others must be copied from it first.
    """

    def __init__(self, stream: Stream, size: int = BLOCK) -> None:
        self._stream = stream
        self.data: NDArray[np.uint8] = np.empty(size, np.uint8)
        self.start = self.stop = 0
        self.ended = False

    @property
    def view(self) -> NDArray[np.uint8]:
        """The bytes at hand."""
        return self.data[self.start : self.stop]

    def fill(self) -> None:
        """Reads on until the window is full or the stream ends, which sets ``ended``.

        The window doubles when more than half of it is still unconsumed: a record that claims to be long
        takes memory only as its bytes arrive.
        """
        kept = self.stop - self.start
        target = self.data
        if kept > len(target) // 2:
            target = np.empty(2 * len(target), np.uint8)
        target[:kept] = self.data[self.start : self.stop]
        self.data, self.start, self.stop = target, 0, kept
        count = read_full(self._stream, target.data[kept:])
        self.stop += count
        self.ended = self.stop < len(target)


class LongLineError(Exception):
    """A line is longer than LONGEST_LINE bytes."""


def whole_lines(stream: Stream, size: int = BLOCK) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """A stream in pieces that end where a line ends: (bytes, how many of them are the piece's).

    Each piece is a new uint8 array. PADDING line feeds follow the piece's last byte. A byte order mark before
    the first line is left out. LF, CR LF and CR end lines; the last line need not be ended. Raises
    LongLineError when nothing ends a line for too long.
    """
    kept = b""
    begun = False
    while True:
        if len(kept) > LONGEST_LINE:
            raise LongLineError
        room = max(size, 2 * len(kept))
        buffer = bytearray(room + PADDING)
        buffer[: len(kept)] = kept
        stop = len(kept) + read_full(stream, memoryview(buffer)[len(kept) : room])
        ended = stop < room
        cut = stop if ended else _last_line_end(buffer, len(kept), stop)
        kept = bytes(memoryview(buffer)[cut:stop])
        start = 0 if begun or not buffer.startswith(BYTE_ORDER_MARK) else len(BYTE_ORDER_MARK)
        if cut > start:
            begun = True
            buffer[cut : cut + PADDING] = b"\n" * PADDING
            yield np.frombuffer(buffer, np.uint8)[start:], cut - start
        if ended:
            return


def _last_line_end(buffer: bytearray, start: int, stop: int) -> int:
    """Where the last whole line of ``buffer[:stop]`` ends, looking from ``start``; 0 if nowhere."""
    cut = buffer.rfind(b"\n", max(start - 1, 0), stop) + 1
    # A CR at the very end may be the first half of a CR LF.
    return cut or buffer.rfind(b"\r", max(start - 1, 0), stop - 1) + 1
