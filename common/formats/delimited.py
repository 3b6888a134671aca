"""CSV rows of numbers to batches.

No header; labels in the leading columns, then perhaps a weight, then features, as the developer guide's
``text/csv;label_size=N`` has it. Cells may be quoted and have blanks round them. LF, CR LF and CR end lines,
blank lines are passed over, and a UTF-8 byte order mark is ignored.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import Batch, Float32, join
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

_DELIMITERS = ",\t;| "  # in the order in which a first line is tried


@dataclass(frozen=True, slots=True)
class _Table:
    """What the first line told, for reading the others."""

    delimiter: str
    label_size: int
    weights: bool
    width: int
    missing: bool

    @property
    def leading(self) -> int:
        """How many columns are before the features."""
        return self.label_size + self.weights

    def batch(self, lead: Float32, features: Float32) -> Batch:
        """Rows read as (rows, leading) and (rows, width)."""
        labels = None
        if self.label_size:
            labels = lead[:, 0] if self.label_size == 1 else lead[:, : self.label_size]
            labels = np.ascontiguousarray(labels)
        weights = np.ascontiguousarray(lead[:, self.label_size]) if self.weights else None
        return Batch(features, labels, weights)


def label_columns(media_type: MediaType, layout: Layout, name: str) -> int:
    """How many leading columns are labels: the layout's number, or what the media type says where that is 0.

    Raises ClientError when both say something and differ.
    """
    if "label_size" not in media_type.parameters:
        return layout.label_size
    size = media_type.integer("label_size", layout.label_size)
    if layout.label_size and size != layout.label_size:
        raise ClientError(
            f"label_size={size} in the content type of {name} is not accepted; {layout.label_size} is"
        )
    return size


def decode(stream: Stream, name: str, media_type: MediaType, layout: Layout) -> Iterator[Batch]:
    """The rows of a CSV stream: dense batches with labels (if there are label columns) and weights.

    Raises ClientError for a row of another length than the rows before it, a cell that is no number, an
    empty one unless the layout has ``missing``, a header, and text in another encoding than declared.
    """
    label_size = label_columns(media_type, layout, name)
    pieces = _pieces(as_utf8(stream, media_type, name), layout, label_size)
    for batch in told_by_line(in_order(_parse, pieces, thread_count()), name):
        if batch is not None and len(batch):
            yield batch


def decode_bytes(body: bytes, name: str, media_type: MediaType, layout: Layout) -> Batch | None:
    """The rows of a CSV body, None if there are none. Raises as ``decode``."""
    if len(body) <= SMALL and wide_encoding(media_type, name) is None:
        label_size = label_columns(media_type, layout, name)
        plain = _plain(body, layout, label_size)
        return plain if plain is not None else _careful(body, name, layout, label_size)
    batches = list(decode(io.BytesIO(body), name, media_type, layout))
    return join(batches) if batches else None


DECODER = Decoder(decode, decode_bytes)


def _plain(body: bytes, layout: Layout, label_size: int) -> Batch | None:
    """A body with nothing unusual in it, as fast as Python can; None if it is unusual in any way."""
    # Python's float() takes 1_000, we don't.
    if b"_" in body:
        return None
    try:
        rows = [[float(cell) for cell in line.split(b",")] for line in body.splitlines() if line]
    except ValueError:
        return None
    leading = label_size + layout.weights
    if not rows or len(rows[0]) <= leading or layout.feature_dim not in (None, len(rows[0]) - leading):
        return None
    try:
        matrix = _float32(rows)
    except ValueError:  # rows of unequal length
        return None
    if not leading:
        return Batch(matrix)
    table = _Table(",", label_size, layout.weights, matrix.shape[1] - leading, layout.missing)
    return table.batch(matrix[:, :leading], np.ascontiguousarray(matrix[:, leading:]))


def _careful(body: bytes, name: str, layout: Layout, label_size: int) -> Batch | None:
    """A body of any kind, line by line."""
    table = None
    rows = []
    for number, line in enumerate(body.removeprefix(BYTE_ORDER_MARK).splitlines()):
        if _is_blank(line):
            continue
        try:
            if table is None:
                table = _first(line, layout, label_size)
            rows.append(_row(line, table))
        except LineError as error:
            raise error.told(name, number) from None
    if table is None:
        return None
    matrix = _float32(rows)
    return table.batch(matrix[:, : table.leading], np.ascontiguousarray(matrix[:, table.leading :]))


def _float32(rows: list[list[float]]) -> Float32:
    """Python floats as float32; what is too large for one becomes infinite."""
    with np.errstate(over="ignore"):
        return np.array(rows, np.float64).astype(np.float32)


_Piece = tuple[NDArray[np.uint8], int, _Table | None]


def _pieces(stream: Stream, layout: Layout, label_size: int) -> Iterator[_Piece]:
    """Pieces of whole lines with their size, and what the first line told."""
    table = None
    for data, stop in whole_lines(stream):
        if table is None:
            found = first_line(data[:stop].tobytes(), _is_blank)
            if found is not None:
                line, passed = found
                try:
                    table = _first(line, layout, label_size)
                except LineError as error:
                    error.line += passed
                    raise
        yield data, stop, table


def _parse(piece: _Piece) -> tuple[Batch | None, int]:
    """The rows of a piece, and how many lines it has. Raises LineError."""
    from common.formats import text_kernels as kernels

    data, stop, table = piece
    if table is None:
        return None, len(data[:stop].tobytes().splitlines())
    # A row takes a line, and a byte for each of its columns.
    most = min(kernels.count_line_ends(data, 0, stop), stop // (table.leading + table.width)) + 1
    lead = np.empty((most, table.leading), np.float32)
    features = np.empty((most, table.width), np.float32)
    at = row = lines = 0
    delimiter = ord(table.delimiter)
    while True:
        at, row, passed = kernels.csv_rows(data, at, stop, delimiter, table.missing, lead, features, row)
        lines += passed
        if at >= stop:
            return table.batch(lead[:row], features[:row]), lines
        line = line_at(data.data, at, stop)
        try:
            values = _float32([_row(line, table)])
        except LineError as error:
            error.line += lines
            raise
        lead[row], features[row] = values[0, : table.leading], values[0, table.leading :]
        row += 1
        lines += 1
        at += len(line)
        at += 2 if data[at : at + 2].tobytes() == b"\r\n" else 1


def _is_blank(line: bytes) -> bool:
    return not line.strip(b" \t")


def _first(line: bytes, layout: Layout, label_size: int) -> _Table:
    """Learns delimiter and number of columns from the first line. Raises LineError."""
    text = line.decode(errors="replace")
    delimiter = _sniff(text) if layout.sniff_delimiter else ","
    cells = _cells(text, delimiter)
    if "\0" in text or "\ufffd" in text:
        raise LineError("holds bytes that are no text; CSV of numbers is read")
    if len(cells) == 1 and not _is_number(cells[0]) and (other := _sniff(text)) != delimiter:
        raise LineError(f"has {shown(other)} between its columns; columns separated by commas are read")
    if not any(_is_number(cell) for cell in cells) and any(cells):
        names = ", ".join(shown(cell) for cell in cells[:3])
        raise LineError(f"looks like a header ({names}); remove it: CSV of numbers without a header is read")
    leading = label_size + layout.weights
    width = len(cells) - leading
    wanted = layout.feature_dim
    before = [f"{label_size} of labels"] * bool(label_size) + ["1 of weights"] * layout.weights
    if wanted is not None and width != wanted:
        parts = ", ".join([*before, f"{wanted} of features"])
        # The commonest cause: a content type that says nothing of labels.
        instead = len(cells) - wanted - layout.weights
        hint = "" if {label_size, instead} != {0, 1} else f"; with label_size={instead} this line is read"
        raise LineError(f"has {_columns(len(cells))}; {wanted + leading} are expected ({parts}){hint}")
    if width < 1:
        raise LineError(
            f"has {_columns(len(cells))}; {', '.join(before)} and at least 1 of features are expected"
        )
    return _Table(delimiter, label_size, layout.weights, width, layout.missing)


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _sniff(text: str) -> str:
    """The delimiter that makes every cell of a line a number or nothing; the comma if none does."""
    for delimiter in _DELIMITERS:
        if delimiter in text.strip() or (delimiter == "\t" and delimiter in text):
            cells = _cells(text, delimiter)
            if len(cells) > 1 and all(not cell or _is_number(cell) for cell in cells):
                return delimiter
    return ","


def _cells(text: str, delimiter: str) -> list[str]:
    """The cells of a line, without quotes and blanks round them. Raises LineError for a misplaced quote."""
    if '"' in text:
        return _quoted_cells(text, delimiter)
    cells = text.split() if delimiter == " " else text.split(delimiter)
    return [cell.strip(" \t") for cell in cells]


def _quoted_cells(text: str, delimiter: str) -> list[str]:
    blank = "[ ]" if delimiter == "\t" else "[ \t]"
    end = "(?:[ \t]+|$)" if delimiter == " " else f"(?:{re.escape(delimiter)}|$)"
    cell = re.compile(f'{blank}*"((?:[^"]|"")*+)"{blank}*?{end}|([^"]*?){end}')
    cells = []
    text = text.strip(" \t") if delimiter == " " else text
    at = 0
    while True:
        found = cell.match(text, at)
        if found is None:
            raise LineError(
                "has a quote that is not closed or not at the edge of a cell; cells are quoted whole"
            )
        quoted, bare = found.groups()
        cells.append((bare if quoted is None else quoted.replace('""', '"')).strip(" \t"))
        at = found.end()
        # A delimiter at the very end still has an empty cell behind it.
        if at == len(text) and (delimiter == " " or not found[0].endswith(delimiter)):
            return cells


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def _row(line: bytes, table: _Table) -> list[float]:
    """The numbers of a line, the rules of which hold for the kernel as well. Raises LineError."""
    cells = _cells(line.decode(errors="replace"), table.delimiter)
    expected = table.leading + table.width
    if len(cells) != expected:
        raise LineError(f"has {_columns(len(cells))}; {expected} are expected, as in the first line")
    values: list[Any] = []
    for column, cell in enumerate(cells, 1):
        if _is_number(cell):
            values.append(float(cell))
        elif cell:
            raise LineError(f"holds {shown(cell)}; numbers are accepted", column=column)
        elif table.missing and column > table.leading:
            values.append(np.nan)
        else:
            raise LineError("is empty; a number is expected", column=column)
    return values
