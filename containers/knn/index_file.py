"""Reads a serialized FAISS index that may come from anyone.

FAISS's own reader is C++ that trusts most of what it reads, knows dozens of index types, and follows file
names that some of them hold. So a file is walked first, every length in it checked against the bytes there
are and against each other; only a file in which all of them agree is handed to FAISS. The layout is that of
FAISS's ``index_write.cpp``: little-endian, without alignment.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from common.failures import ClientError

_INNER_PRODUCT, _L2 = 0, 1
_FLAT = {b"IxF2": _L2, b"IxFI": _INNER_PRODUCT}
_HEADER = struct.Struct("<iqqqBi")  # dimension, rows, two unused, trained, metric
_MOST_LISTS = 1 << 24


class _Malformed(Exception):
    """What is wrong with the file."""


@dataclass(frozen=True, slots=True)
class _Header:
    dimension: int
    rows: int
    metric: int


def read(path: Path) -> Any:
    """The index in ``path``: faiss.IndexFlat, faiss.IndexIVFFlat or faiss.IndexIVFPQ.

    Raises ClientError for a file that is not one of these, is cut short, or disagrees with itself.
    """
    try:
        data = np.memmap(path, np.uint8, "r")
    except FileNotFoundError:
        raise ClientError(f"the model has no file {path.name}") from None
    except (OSError, ValueError) as error:  # an empty file can't be mapped
        raise ClientError(f"{path.name} can't be read: {error}") from None
    try:
        _Walk(data).index()
        return faiss.read_index(str(path))
    except _Malformed as error:
        raise ClientError(f"{path.name} is not a FAISS index that this algorithm writes: {error}") from None
    except RuntimeError as error:  # FAISS's own refusals; its message holds a path of the build and a stack
        reason = str(error).splitlines()[0].rpartition(": ")[2][:200]
        raise ClientError(f"{path.name} is refused by FAISS: {reason}") from None


class _Walk:
    """Goes through a file's bytes in order."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._at = 0

    def index(self) -> None:
        """The whole file. Raises _Malformed."""
        kind = self._code()
        if kind in _FLAT:
            self._flat(kind)
        elif kind in (b"IwFl", b"IwPQ"):
            self._inverted(kind)
        else:
            raise _Malformed(f"its type is {kind!r}; accepted: faiss.Flat, faiss.IVFFlat and faiss.IVFPQ")
        if self._at != len(self._data):
            raise _Malformed(f"{len(self._data) - self._at} bytes follow its end")

    def _flat(self, kind: bytes) -> _Header:
        header = self._header()
        _same(header.metric, _FLAT[kind], "the metric")
        _same(self._number(), header.rows * header.dimension, "the number of values")
        self._skip(header.rows * header.dimension * 4)
        return header

    def _inverted(self, kind: bytes) -> None:
        header = self._header()
        lists, probes = self._number(), self._number()
        if not 0 < lists <= _MOST_LISTS or probes == 0:
            raise _Malformed(f"it has {lists} lists, of which {probes} are probed")
        quantizer = self._code()
        if quantizer not in _FLAT:
            raise _Malformed(f"its quantizer's type is {quantizer!r}; accepted: faiss.Flat")
        coarse = self._flat(quantizer)
        _same(coarse, _Header(header.dimension, lists, header.metric), "the quantizer")
        # A map from rows to places, which this algorithm never makes: its type and an empty table.
        _same(self._take(1), b"\0", "the direct map")
        _same(self._number(), 0, "the direct map")
        code_size = header.dimension * 4 if kind == b"IwFl" else self._quantizer(header)
        self._lists(header, lists, code_size)

    def _quantizer(self, header: _Header) -> int:
        _same(header.metric, _L2, "the metric")
        if self._take(1) not in (b"\0", b"\1"):
            raise _Malformed("whether it codes residuals is neither true nor false")
        code_size = self._number()
        _same(self._number(), header.dimension, "the product quantizer's dimension")
        parts, bits = self._number(), self._number()
        if not 0 < parts <= header.dimension or header.dimension % parts:
            raise _Malformed(f"{parts} sub-vectors don't divide {header.dimension} dimensions")
        _same(bits, 8, "the bits of a code")
        _same(code_size, parts, "the code size")
        _same(self._number(), header.dimension << bits, "the number of centroids")
        self._skip((header.dimension << bits) * 4)
        return code_size

    def _lists(self, header: _Header, lists: int, code_size: int) -> None:
        kind = self._code()
        if kind != b"ilar":
            raise _Malformed(f"its lists' type is {kind!r}; accepted: lists in the file itself")
        _same(self._number(), lists, "the number of lists")
        _same(self._number(), code_size, "the code size of lists")
        sizes = self._sizes(lists)
        total = 0
        for size in sizes.tolist():
            total += size
            if total > header.rows:
                break
            self._skip(size * code_size)
            rows = np.frombuffer(self._take(size * 8), "<i8")
            if size and (rows.min() < 0 or rows.max() >= header.rows):
                raise _Malformed("a list holds a row that there isn't")
        _same(total, header.rows, "the rows in lists")

    def _sizes(self, lists: int) -> Any:
        form, count = self._code(), self._number()
        if form == b"full":
            _same(count, lists, "the number of list sizes")
            sizes = np.frombuffer(self._take(count * 8), "<u8")
        elif form == b"sprs" and count % 2 == 0 and count <= 2 * lists:
            pairs = np.frombuffer(self._take(count * 8), "<u8").reshape(-1, 2)
            # FAISS writes lists in order; one that came twice would be read twice into one place.
            if len(pairs) and (pairs[:, 0].max() >= lists or (np.diff(pairs[:, 0].astype("i8")) <= 0).any()):
                raise _Malformed("its lists are out of order")
            sizes = pairs[:, 1]
        else:
            raise _Malformed(f"its list sizes have form {form!r}")
        if len(sizes) and int(sizes.max()) > len(self._data):
            raise _Malformed("a list is longer than the file")
        return sizes.astype(np.int64)

    def _header(self) -> _Header:
        dimension, rows, _, _, trained, metric = _HEADER.unpack(self._take(_HEADER.size))
        if dimension < 1 or rows < 1:
            raise _Malformed(f"it has {rows} rows of {dimension} dimensions")
        _same(trained, 1, "whether it is trained")
        if metric not in (_INNER_PRODUCT, _L2):
            raise _Malformed(f"its metric is number {metric}; accepted: L2 and INNER_PRODUCT")
        return _Header(dimension, rows, metric)

    def _code(self) -> bytes:
        return self._take(4)

    def _number(self) -> int:
        return int.from_bytes(self._take(8), "little")

    def _take(self, size: int) -> bytes:
        start = self._at
        self._skip(size)
        return bytes(self._data[start : self._at])

    def _skip(self, size: int) -> None:
        if size > len(self._data) - self._at:
            raise _Malformed("it is cut short, or a length in it is wrong")
        self._at += size


def _same(found: object, due: object, what: str) -> None:
    if found != due:
        raise _Malformed(f"{what} is {_shown(found)} where {_shown(due)} is due")


def _shown(value: object) -> str:
    if isinstance(value, _Header):
        return f"{value.rows} rows of {value.dimension} dimensions, metric {value.metric}"
    return repr(value)
