"""MXNet's image records: what the payload of one record of a ``.rec`` file is.

All little-endian: uint32 flag, float32 label, uint64 id and uint64 second id; then as many float32 labels as
the flag says, if it says any, which replace the one before; then the encoded image. The layout is that of
Apache MXNet (python/mxnet/recordio.py, src/io/image_recordio.h).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.failures import ClientError

_header = struct.Struct("<IfQQ")
HEADER = _header.size


@dataclass(frozen=True, slots=True)
class Record:
    """One record's labels, (n,) float32, and where its image lies in the payload."""

    labels: NDArray[np.float32]
    start: int


def unpack(payload: bytes | memoryview, where: str, length: int | None = None) -> Record:
    """Reads the head of a payload. Raises ClientError that names ``where``.

    ``payload`` may be its beginning alone; ``length`` is then the length of the whole.
    """
    length = len(payload) if length is None else length
    if length < HEADER:
        raise _unparsable(where, f"has {length} bytes, fewer than the {HEADER} of an image record's head")
    flag, label, _, _ = _header.unpack_from(payload)
    start = HEADER + 4 * flag
    if start >= length:
        raise _unparsable(where, f"announces {flag} labels in {length} bytes")
    labels = (
        np.frombuffer(payload, "<f4", flag, HEADER).astype(np.float32)
        if flag
        else np.array([label], np.float32)
    )
    return Record(labels, start)


def labels_of(payload: bytes | memoryview) -> int:
    """How many bytes from its start hold a payload's head and labels."""
    flag: int = _header.unpack_from(payload)[0]
    return HEADER + 4 * flag


def pack(labels: ArrayLike, image: bytes, number: int = 0) -> bytes:
    """A payload of a label, or several in a list or array, and an encoded image; ``number`` is its id."""
    values = np.asarray(labels, "<f4")
    if values.ndim == 0:
        return _header.pack(0, float(values), number, 0) + image
    return _header.pack(len(values), 0.0, number, 0) + values.tobytes() + image


def _unparsable(where: str, problem: str) -> ClientError:
    return ClientError(
        "Unable to parse record. Please make sure input data is in correct recordio format: "
        f"{where} {problem}"
    )
