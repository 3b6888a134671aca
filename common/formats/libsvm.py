"""libsvm rows, ``label[:weight] index:value ...`` with comments behind ``#``, to sparse batches.

Indices count from 0, as the developer guide of XGBoost has it, and need not be in order. A UTF-8 byte order
mark is ignored, as XGBoost's own reader does.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Batch, Float32, Int64, join
from common.content_types import MediaType
from common.failures import ClientError
from common.formats.charsets import as_utf8, wide_encoding
from common.formats.layout import Decoder, Layout, Stream
from common.formats.lines import (
    SMALL,
    LineError,
    first_line,
    in_order,
    line_at,
    shown,
    thread_count,
    told_by_line,
)
from common.formats.reading import BYTE_ORDER_MARK, whole_lines

_HIGHEST = (1 << 31) - 1  # what XGBoost and scipy number columns with


@dataclass(frozen=True, slots=True)
class _Table:
    labelled: bool
    weighted: bool  # whether every label has a weight, which the first row tells
    limit: int  # indices are below it


@dataclass(frozen=True, slots=True)
class _Rows:
    labels: Float32
    weights: Float32
    values: Float32
    indices: Int64
    indptr: Int64
    largest: int

    def batch(self, table: _Table, width: int) -> Batch:
        features = CSR(self.values, self.indices, self.indptr, (len(self.labels), width))
        return Batch(
            features,
            self.labels if table.labelled else None,
            self.weights if table.weighted else None,
        )


def decode(stream: Stream, name: str, media_type: MediaType, layout: Layout) -> Iterator[Batch]:
    """The rows of a libsvm stream: sparse batches, with weights if the first row has one.

    With ``label_size`` 0 a leading label is passed over and may be absent. The width is the layout's
    ``feature_dim``, or one more than the largest index so far. Raises ClientError for whatever is not a
    row, for ``qid``, for an index not below the width, and where some rows have weights and some have not.
    """
    _check(layout, name)
    largest = 0
    pieces = _pieces(as_utf8(stream, media_type, name), layout)
    for rows, table in told_by_line(in_order(_parse, pieces, thread_count()), name):
        if rows is None or table is None:
            continue
        largest = max(largest, rows.largest)
        if len(rows.labels):
            yield rows.batch(table, layout.feature_dim or largest + 1)


def decode_bytes(body: bytes, name: str, media_type: MediaType, layout: Layout) -> Batch | None:
    """The rows of a libsvm body, None if there are none. Raises as ``decode``."""
    if len(body) > SMALL or wide_encoding(media_type, name) is not None:
        batches = list(decode(io.BytesIO(body), name, media_type, layout))
        return join(batches) if batches else None
    _check(layout, name)
    table = None
    rows = []
    for number, line in enumerate(body.removeprefix(BYTE_ORDER_MARK).splitlines()):
        if _is_blank(line):
            continue
        try:
            if table is None:
                table = _first(line, layout)
            rows.append(_row(line, table))
        except LineError as error:
            raise error.told(name, number) from None
    if table is None:
        return None
    found = _assemble(rows)
    return found.batch(table, layout.feature_dim or found.largest + 1)


DECODER = Decoder(decode, decode_bytes)


def _check(layout: Layout, name: str) -> None:
    if layout.label_size > 1:
        raise ClientError(
            f"{name} is libsvm, whose rows have 1 label, where {layout.label_size} are expected"
        )


def _is_blank(line: bytes) -> bool:
    return not line.partition(b"#")[0].strip(b" \t")


_Piece = tuple[NDArray[np.uint8], int, _Table | None]


def _pieces(stream: Stream, layout: Layout) -> Iterator[_Piece]:
    table = None
    for data, stop in whole_lines(stream):
        if table is None:
            found = first_line(data[:stop].tobytes(), _is_blank)
            if found is not None:
                line, passed = found
                try:
                    table = _first(line, layout)
                except LineError as error:
                    error.line += passed
                    raise
        yield data, stop, table


def _parse(piece: _Piece) -> tuple[tuple[_Rows | None, _Table | None], int]:
    """The rows of a piece, and how many lines it has. Raises LineError."""
    from common.formats import text_kernels as kernels

    data, stop, table = piece
    if table is None:
        return (None, None), len(data[:stop].tobytes().splitlines())
    most = kernels.count_line_ends(data, 0, stop) + 1
    entries = kernels.count_bytes(data, 0, stop, kernels.COLON)
    labels, weights = np.empty(most, np.float32), np.empty(most, np.float32)
    values, indices = np.empty(entries, np.float32), np.empty(entries, np.int64)
    indptr = np.zeros(most + 1, np.int64)
    at = row = lines = largest = 0
    while True:
        at, row, passed, largest = kernels.libsvm_rows(
            data, at, stop, table.labelled, table.weighted, table.limit,
            labels, weights, values, indices, indptr, row, largest,
        )  # fmt: skip
        lines += passed
        if at >= stop:
            end = indptr[row]
            rows = _Rows(labels[:row], weights[:row], values[:end], indices[:end], indptr[: row + 1], largest)
            return (rows, table), lines
        line = line_at(data.data, at, stop)
        try:
            one = _assemble([_row(line, table)])
        except LineError as error:
            error.line += lines
            raise
        start, end = indptr[row], indptr[row] + len(one.values)
        labels[row], weights[row] = one.labels[0], one.weights[0]
        values[start:end], indices[start:end] = one.values, one.indices
        indptr[row + 1] = end
        largest = max(largest, one.largest)
        row += 1
        lines += 1
        at += len(line)
        at += 2 if data[at : at + 2].tobytes() == b"\r\n" else 1


def _first(line: bytes, layout: Layout) -> _Table:
    """Learns from the first row whether rows have weights."""
    tokens = _tokens(line)
    limit = _HIGHEST if layout.feature_dim is None else layout.feature_dim
    return _Table(layout.label_size == 1, layout.label_size == 1 and ":" in tokens[0], limit)


def _tokens(line: bytes) -> list[str]:
    text = line.partition(b"#")[0].decode(errors="replace")
    return [token for token in text.replace("\t", " ").split(" ") if token]


_Row = tuple[float, float, list[int], list[float]]


def _row(line: bytes, table: _Table) -> _Row:
    """Label, weight, indices and values of a line, by the kernel's rules too. Raises LineError."""
    tokens = _tokens(line)
    label, weight = 0.0, 1.0
    if table.labelled or ":" not in tokens[0]:
        first, colon, rest = tokens.pop(0).partition(":")
        label = _number(first, "as the label")
        if table.labelled and bool(colon) != table.weighted:
            some = (
                "has a weight, which the first row has not"
                if colon
                else "has no weight, which the first row has"
            )
            raise LineError(f"{some}; either all rows have weights or none")
        if colon:
            weight = _number(rest, "as the weight")
    indices, values = [], []
    for token in tokens:
        index, colon, value = token.partition(":")
        if index == "qid":
            raise LineError(f"holds {shown(token)}; query groups are not read here, index:value pairs are")
        if not colon or not index.isascii() or not index.isdigit():
            raise LineError(f"holds {shown(token)}; index:value pairs with whole indices from 0 are accepted")
        # Digits are counted first: Python refuses to convert thousands of them.
        number = int(index) if len(index) < 19 else table.limit
        if number >= table.limit:
            raise LineError(
                f"has the index {shown(index)[1:-1]}; indices from 0 to {table.limit - 1} are accepted"
            )
        indices.append(number)
        values.append(_number(value, f"at index {index}"))
    return label, weight, indices, values


def _number(text: str, where: str) -> float:
    try:
        if text.isascii() and "_" not in text:
            return float(text)
    except ValueError:
        pass
    raise LineError(f"holds {shown(text)} {where}; numbers are accepted")


def _assemble(rows: list[_Row]) -> _Rows:
    with np.errstate(over="ignore"):
        labels = np.array([row[0] for row in rows], np.float64).astype(np.float32)
        weights = np.array([row[1] for row in rows], np.float64).astype(np.float32)
        values = np.array([value for row in rows for value in row[3]], np.float64).astype(np.float32)
    indices = np.array([index for row in rows for index in row[2]], np.int64)
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row[2]) for row in rows], out=indptr[1:])
    return _Rows(labels, weights, values, indices, indptr, int(indices.max(initial=0)))
