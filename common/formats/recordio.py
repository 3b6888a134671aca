"""RecordIO framing: payloads one after the other in a stream.

A frame is a little-endian uint32 magic number, a uint32 whose low 29 bits are the payload's length and
whose high 3 bits say whether the payload is whole (0) or the first (1), a middle (2) or the last (3) part
of one, the payload, and zeros up to a multiple of 4. A writer that splits does so where the payload itself
holds the magic number at a multiple of 4; those 4 bytes are left out and come back between the parts.
The format is dmlc-core's (recordio.h), which the developer guide's RecordIO-protobuf builds on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from common.failures import ClientError
from common.formats.layout import Stream
from common.formats.reading import Window

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
HEADER = 8  # bytes before a payload
LENGTH_MASK = (1 << 29) - 1
LONGEST = LENGTH_MASK  # also of a payload in parts, which the format itself does not bound

_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
ENDING = (_WHOLE, _LAST)  # flags of the frame that a record ends with
_header = struct.Struct("<II")


def head(data: bytes | memoryview) -> tuple[int, int]:
    """The two numbers at the start of a frame, of which `HEADER` bytes are there: magic, flag with length."""
    magic, word = _header.unpack_from(data)
    return magic, word


def frame(payload: bytes, split: bool = False) -> bytes:
    """One payload framed. ``split`` cuts it where it holds the magic number, as dmlc-core's writer does.

    Without that it stays whole, which is what the SageMaker SDK writes and the only thing that its reader
    takes. Raises ValueError when it is too long for one frame.
    """
    if len(payload) > LENGTH_MASK:
        raise ValueError(f"a RecordIO payload is at most {LENGTH_MASK} bytes, not {len(payload)}")
    parts = _split(payload) if split else [payload]
    flags = [_WHOLE] if len(parts) == 1 else [_FIRST, *[_MIDDLE] * (len(parts) - 2), _LAST]
    return b"".join(
        _header.pack(MAGIC, flag << 29 | len(part)) + part + bytes(-len(part) % 4)
        for flag, part in zip(flags, parts, strict=True)
    )


def _split(payload: bytes) -> list[bytes]:
    parts = []
    start = at = 0
    while (at := payload.find(MAGIC_BYTES, at)) >= 0:
        if at % 4:
            at += 1
        else:
            parts.append(payload[start:at])
            start = at = at + 4
    return [*parts, payload[start:]]


def payloads(stream: Stream, name: str) -> Iterator[bytes]:
    """The payloads of a stream, parts put together.

    Raises ClientError, naming ``name`` and the record, where the framing is wrong or the stream ends
    inside a record.
    """
    window = Window(stream)
    record = 1
    while not window.ended:
        window.fill()
        while window.start < window.stop:
            found = payload_at(memoryview(window.view.data), window.ended, name, record)
            if found is None:
                break
            payload, size = found
            window.start += size
            record += 1
            yield payload
    if window.start < window.stop:
        raise truncated(name, record)


def payload_at(data: memoryview, final: bool, name: str, record: int) -> tuple[bytes, int] | None:
    """The payload at the start of ``data`` and how many bytes its frames take; None if more are needed.

    ``final`` says that nothing comes after ``data``; the padding of the very last record may be absent
    then. ``record`` is the payload's number, for the message of the ClientError that wrong framing raises.
    """
    at = 0
    parts: list[memoryview] = []
    total = 0
    while True:
        if len(data) - at < HEADER:
            return None
        magic, word = head(data[at:])
        flag, length = word >> 29, word & LENGTH_MASK
        check_frame(magic, flag, bool(parts), name, record)
        total += length + (4 if parts else 0)
        if total > LONGEST:
            raise ClientError(
                f"record {record} of {name} is longer than {LONGEST} bytes; shorter ones are read"
            )
        end = at + HEADER + length
        padded = end + -length % 4
        if len(data) < (end if final else padded):
            return None
        parts.append(data[at + HEADER : end])
        at = min(padded, len(data))
        if flag in ENDING:
            return MAGIC_BYTES.join(parts), at


def check_frame(magic: int, flag: int, inside: bool, name: str, record: int) -> None:
    """Raises ClientError for a frame that is none, or whose part does not follow the part before it."""
    if magic != MAGIC:
        raise ClientError(
            f"record {record} of {name} does not begin with the RecordIO magic number 0x{MAGIC:08x}; "
            "records framed as RecordIO are read"
        )
    if flag > _LAST or (flag in (_MIDDLE, _LAST)) != inside:
        raise ClientError(
            f"record {record} of {name} has its parts out of order (flag {flag}); a record is whole (0), or "
            "a first (1), any middle (2) and a last (3) part"
        )


def truncated(name: str, record: int) -> ClientError:
    """What to raise when a stream ends inside a record."""
    return ClientError(f"{name} ends in the middle of record {record}; files of whole records are read")
