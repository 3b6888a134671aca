"""Tokens of text, split as fastText splits: blanks and line ends between them, a line's end a token too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from common.content_types import MediaType
from common.failures import ClientError
from common.formats.charsets import as_utf8
from common.formats.layout import Stream
from common.formats.reading import read_full
from containers.blazingtext import text_kernels
from containers.blazingtext.text_kernels import Bytes, Hashes, Int32

END_OF_SENTENCE = b"</s>"
PIECE = 1 << 16  # bytes: some milliseconds of learning, and a stop is heard in between
LONGEST_TOKEN = 1 << 24
_SEPARATORS = b" \n\r\t\v\f\0"
_FIRST = len(END_OF_SENTENCE)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Some tokens in their order. Token ``i`` is ``data[starts[i]:stops[i]]``; slices are views.

    A line feed's token is ``END_OF_SENTENCE``, with which ``data`` begins.
    """

    data: Bytes
    starts: Int32  # (n,)
    stops: Int32  # (n,)
    hashes: Hashes  # (n,) uint32, fastText's

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: slice) -> Self:
        return type(self)(self.data, self.starts[rows], self.stops[rows], self.hashes[rows])

    def __iter__(self) -> Iterator[bytes]:
        for start, stop in zip(self.starts.tolist(), self.stops.tolist(), strict=True):
            yield self.data[start:stop].tobytes()


def split(text: bytes) -> Tokens:
    """The tokens of ``text``. What ends it ends its last token."""
    return _split(bytearray(END_OF_SENTENCE + text))


def read(stream: Stream, name: str, media_type: MediaType) -> Iterator[Tokens]:
    """The tokens of a stream of text, in blocks; memory doesn't depend on the length of lines.

    Where the stream is cut is the same however its bytes arrive. Raises ClientError for a token longer than
    LONGEST_TOKEN bytes.
    """
    text = as_utf8(stream, media_type, name, letters=True)
    kept = END_OF_SENTENCE
    while True:
        size = max(PIECE, 2 * len(kept))
        buffer = bytearray(size)
        buffer[: len(kept)] = kept
        stop = len(kept) + read_full(text, memoryview(buffer)[len(kept) :])
        ended = stop < size
        cut = stop if ended else _cut(buffer, len(kept))
        kept = END_OF_SENTENCE + buffer[cut:stop]
        if len(kept) > LONGEST_TOKEN:
            raise ClientError(
                f"{name} has a token longer than {LONGEST_TOKEN} bytes; accepted: tokens with blanks between"
            )
        del buffer[cut:]
        if len(buffer) > _FIRST:
            yield _split(buffer)
        if ended:
            return


def _cut(buffer: bytearray, start: int) -> int:
    """Behind the last separator at or after ``start``; behind END_OF_SENTENCE if there is none."""
    return 1 + max(_FIRST - 1, *(buffer.rfind(letter, start) for letter in _SEPARATORS))


def _split(buffer: bytearray) -> Tokens:
    data = np.frombuffer(buffer, np.uint8)
    most = len(data)
    starts, stops = np.empty(most, np.int32), np.empty(most, np.int32)
    hashes = np.empty(most, np.uint32)
    count = text_kernels.tokenise(data, _FIRST, starts, stops, hashes)
    return Tokens(data, *(array[:count].copy() for array in (starts, stops, hashes)))  # type: ignore[arg-type]
