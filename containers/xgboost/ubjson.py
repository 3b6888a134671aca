"""A strict reader of UBJSON as the xgboost library writes it.

The library's own reader believes every length in a file, and one wrong byte can take the process with it.
This one believes no length before that many bytes are there. It reads no more than the library does: lengths
are 64-bit, objects have no declared size, and typed arrays hold numbers.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from common.failures import ClientError

_DEEPEST = 32
_NUMBERS = {ord(k): struct.Struct(f">{c}") for k, c in zip("iUIlLdD", "bBhiqfd", strict=True)}
_ARRAYS = {
    ord(k): np.dtype(f">{c}")
    for k, c in zip("iUIlLdD", ("i1", "u1", "i2", "i4", "i8", "f4", "f8"), strict=True)
}
_CONSTANTS = {ord("T"): True, ord("F"): False, ord("Z"): None}
_LENGTH = struct.Struct(">q")


def loads(data: bytes) -> Any:
    """The value of a UBJSON text; its typed arrays as numpy's. Raises ClientError unless it is whole."""
    reader = _Reader(data)
    found = reader.value(reader.byte(), 0)
    if data[reader.at :].strip(b"\0\r\n "):
        raise reader.wrong(f"{len(data) - reader.at} bytes follow the model")
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def wrong(self, what: str) -> ClientError:
        return ClientError(f"{what} at byte {self.at}; accepted: a whole model file, as save_model wrote it")

    def byte(self) -> int:
        if self.at >= len(self._data):
            raise self.wrong("the file is cut short")
        self.at += 1
        return self._data[self.at - 1]

    def value(self, kind: int, depth: int) -> Any:
        if kind in _NUMBERS:
            number = _NUMBERS[kind]
            return number.unpack(self._take(number.size))[0]
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind == ord("S"):
            return self._text()
        if depth >= _DEEPEST:
            raise self.wrong("values are nested too deep")
        if kind == ord("{"):
            return self._object(depth + 1)
        if kind == ord("["):
            return self._array(depth + 1)
        raise self.wrong(f"an unknown kind of value ({kind:#04x})")

    def _take(self, size: int) -> bytes:
        if not 0 <= size <= len(self._data) - self.at:
            raise self.wrong(f"{size} bytes are due where {len(self._data) - self.at} are left")
        self.at += size
        return self._data[self.at - size : self.at]

    def _length(self) -> int:
        if self.byte() != ord("L"):
            raise self.wrong("a length is not a 64-bit number")
        return int(_LENGTH.unpack(self._take(_LENGTH.size))[0])

    def _text(self) -> str:
        try:
            return self._take(self._length()).decode()
        except UnicodeDecodeError:
            raise self.wrong("a text is not UTF-8") from None

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (kind := self.byte()) != ord("}"):
            if kind != ord("L"):
                raise self.wrong("an object holds something that is no name")
            self.at -= 1
            name = self._text()
            if name in found:
                # Which of the two the library takes is not known here.
                raise self.wrong(f"an object holds {name[:40]!r} twice")
            found[name] = self.value(self.byte(), depth)
        return found

    def _array(self, depth: int) -> Any:
        kind = self.byte()
        if kind == ord("$"):
            return self._typed()
        if kind != ord("#"):
            found = []
            while kind != ord("]"):
                found.append(self.value(kind, depth))
                kind = self.byte()
            return found
        count = self._length()
        if not 0 <= count <= len(self._data) - self.at:
            raise self.wrong(f"an array claims {count} values")
        return [self.value(self.byte(), depth) for _ in range(count)]

    def _typed(self) -> Any:
        kind = _ARRAYS.get(self.byte())
        if kind is None or self.byte() != ord("#"):
            raise self.wrong("an array holds an unknown kind of value")
        count = self._length()
        return np.frombuffer(self._take(count * kind.itemsize), kind)
