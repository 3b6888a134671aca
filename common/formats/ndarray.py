"""MXNet's NDArray files: how the built-in algorithms keep their arrays in model.tar.gz.

All numbers are little-endian. A file is the uint64 0x112, a uint64 of zero, a uint64 count and that many
arrays, then a uint64 count (none, or one for each array) and that many names, each a uint64 length and bytes.
An array is, in its second version, uint32 0xF993fac9, int32 storage type (0 dense), shape, int32 device type,
int32 device number, int32 element type, and the elements in row-major order. A shape is a uint32 count of
dimensions and an int64 each. The first version (0xF993fac8) has no storage type; before it there was neither,
and the first uint32 is the count of dimensions, each of them a uint32. The third version (0xF993faca) differs
from the second in that no dimensions mean a single number rather than no array, which then ends behind its
shape. The layout is that of Apache MXNet 1.x (src/ndarray/ndarray.cc, include/mxnet/tuple.h).
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError, one_of

Array = NDArray[Any]
Arrays = list[Array] | dict[str, Array]

LIST_MAGIC = 0x112
V1_MAGIC, V2_MAGIC, V3_MAGIC = 0xF993FAC8, 0xF993FAC9, 0xF993FACA

MOST_DIMENSIONS = 32
_CPU = 1
_DENSE = 0

# Element types by the number that stands for them in files.
TYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("<f4"),
    1: np.dtype("<f8"),
    2: np.dtype("<f2"),
    3: np.dtype("u1"),
    4: np.dtype("<i4"),
    5: np.dtype("i1"),
    6: np.dtype("<i8"),
    7: np.dtype("?"),
    8: np.dtype("<i2"),
}
_NUMBERS = {dtype: number for number, dtype in TYPES.items()}


class _Cursor:
    """Reads forward in bytes and never past their end."""

    def __init__(self, data: bytes | bytearray, name: str) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._name = name

    def wrong(self, problem: str) -> ClientError:
        return ClientError(f"{self._name} {problem}; MXNet NDArray files are read")

    def take(self, count: int) -> memoryview:
        if count > len(self._data) - self._at:
            raise self.wrong(
                f"ends early: {count} bytes are announced at byte {self._at} and fewer are there"
            )
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, form: str) -> int:
        value: int = struct.unpack("<" + form, self.take(struct.calcsize(form)))[0]
        return value

    def count(self, least_size: int) -> int:
        """How many things follow, each of at least ``least_size`` bytes."""
        count = self.number("Q")
        if count * least_size > len(self._data) - self._at:
            raise self.wrong(f"announces {count} arrays or names, more than its bytes can hold")
        return count


def load(source: bytes | bytearray | str | os.PathLike[str]) -> Arrays:
    """The arrays of a file or of bytes: a dict if they are named, else a list.

    Those of a bytearray are views of it wherever their elements are aligned. Raises ClientError when the
    bytes are not such a file, or hold sparse arrays.
    """
    if isinstance(source, bytes | bytearray):
        return _load(source, "the NDArray file")
    with open(source, "rb") as file:
        return _load(file.read(), os.fspath(source))


def _load(data: bytes | bytearray, name: str) -> Arrays:
    cursor = _Cursor(data, name)
    if cursor.number("Q") != LIST_MAGIC:
        raise cursor.wrong("does not begin with the number 0x112")
    cursor.number("Q")
    arrays = [_load_array(cursor) for _ in range(cursor.count(4))]
    names = [_load_name(cursor) for _ in range(cursor.count(8))]
    if not names:
        return arrays
    if len(names) != len(arrays):
        raise cursor.wrong(f"has {len(names)} names for {len(arrays)} arrays")
    return dict(zip(names, arrays, strict=True))


def _load_name(cursor: _Cursor) -> str:
    try:
        return str(cursor.take(cursor.number("Q")), "utf-8")
    except UnicodeDecodeError:
        raise cursor.wrong("has a name that is not UTF-8") from None


def _load_array(cursor: _Cursor) -> Array:
    magic = cursor.number("I")
    if magic in (V2_MAGIC, V3_MAGIC) and cursor.number("i") != _DENSE:
        raise cursor.wrong("holds a sparse array, of which only dense ones are read")
    if magic in (V1_MAGIC, V2_MAGIC, V3_MAGIC):
        dimensions, form = cursor.number("i"), "q"
    else:
        dimensions, form = magic, "I"
    if dimensions == -1 or (dimensions == 0 and magic != V3_MAGIC):
        return np.empty(0, np.float32)  # an array that was never given a shape
    if not 0 <= dimensions <= MOST_DIMENSIONS:
        raise cursor.wrong(f"has an array of {dimensions} dimensions, where at most {MOST_DIMENSIONS} can be")
    shape = [cursor.number(form) for _ in range(dimensions)]
    if any(size < 0 for size in shape):
        if magic == V3_MAGIC:
            return np.empty(0, np.float32)
        raise cursor.wrong(f"has an array of the shape {tuple(shape)}")
    cursor.take(8)  # the device that held it
    number = cursor.number("i")
    dtype = TYPES.get(number)
    if dtype is None:
        raise cursor.wrong(f"has an array of element type {number}; {one_of(TYPES.values())} are known")
    data = cursor.take(math.prod(shape) * dtype.itemsize)
    try:
        array = np.frombuffer(data, dtype).reshape(shape)
    except ValueError:  # a size of zero beside others that are out of numpy's range
        raise cursor.wrong(f"has an array of the shape {tuple(shape)}") from None
    return array if array.flags.writeable and array.flags.aligned else array.copy()


def dumps(arrays: Sequence[Array] | Mapping[str, Array]) -> bytes:
    """``arrays``, named if they are a mapping, as the bytes of a file of the second version.

    Arrays are float32, float64, float16, uint8, int32, int8 or int64, in any memory order. Raises
    TypeError for other element types and ValueError for arrays without dimensions, which MXNet would take
    for no array at all.
    """
    return b"".join(pieces(arrays))


def pieces(arrays: Sequence[Array] | Mapping[str, Array]) -> list[bytes | memoryview]:
    """What ``dumps(arrays)`` joins; large arrays are views of the memory they are in."""
    names = list(arrays) if isinstance(arrays, Mapping) else []
    values = list(arrays.values()) if isinstance(arrays, Mapping) else list(arrays)
    parts: list[bytes | memoryview] = [struct.pack("<QQQ", LIST_MAGIC, 0, len(values))]
    for array in values:
        parts += _dump_array(np.asarray(array))
    parts.append(struct.pack("<Q", len(names)))
    for name in names:
        text = name.encode()
        parts += [struct.pack("<Q", len(text)), text]
    return parts


def _dump_array(array: Array) -> list[bytes | memoryview]:
    number = _NUMBERS.get(array.dtype.newbyteorder("<"))
    if number is None or number > 6:  # MXNet before 1.6 does not know what came later
        raise TypeError(f"NDArray files hold no elements of type {array.dtype}")
    if array.ndim == 0:
        raise ValueError("NDArray files hold no arrays without dimensions")
    head = struct.pack(f"<IiI{array.ndim}qiii", V2_MAGIC, _DENSE, array.ndim, *array.shape, _CPU, 0, number)
    plain = np.ascontiguousarray(array, TYPES[number])
    return [head, plain.reshape(-1).view(np.uint8).data]


def save(path: str | os.PathLike[str], arrays: Sequence[Array] | Mapping[str, Array]) -> None:
    """Writes ``dumps(arrays)`` to ``path``."""
    with open(path, "wb") as file:
        file.writelines(pieces(arrays))
