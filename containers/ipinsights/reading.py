"""CSV of entities and IPv4 addresses to pairs.

Two columns without a header. Cells may be quoted (RFC 4180, but without line breaks within) and have blanks
round them. LF, CR LF and CR end lines, blank lines are passed over, a byte order mark is ignored.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from common.content_types import MediaType
from common.failures import ClientError
from common.formats.charsets import as_utf8, wide_encoding
from common.formats.layout import Stream
from common.formats.lines import LineError, in_order, line_at, shown, thread_count, told_by_line
from common.formats.reading import BYTE_ORDER_MARK, PADDING, whole_lines
from containers.ipinsights.pairs import Addresses, Pairs, join

_BLANKS = " \t"
# The shortest row is "a,1.2.3.4" and a line end.
_SHORTEST_ROW = 10
ADDRESS = "an IPv4 address such as 192.0.2.7"

_Piece = tuple[NDArray[np.uint8], int]


def decode(stream: Stream, name: str, media_type: MediaType) -> Iterator[Pairs]:
    """The pairs of a CSV stream, in constant memory.

    Raises ClientError with the line's number for a row that isn't an entity and an IPv4 address.
    """
    check_columns(media_type, name)
    pieces = whole_lines(as_utf8(stream, media_type, name, letters=True))
    for pairs in told_by_line(in_order(_parse, pieces, thread_count()), name):
        if len(pairs):
            yield pairs


def decode_bytes(body: bytes, name: str, media_type: MediaType) -> Pairs | None:
    """The pairs of a CSV body, None if there are none. Raises as ``decode``."""
    if wide_encoding(media_type, name, letters=True) is None:
        check_columns(media_type, name)
        body = body.removeprefix(BYTE_ORDER_MARK)
        whole = (np.frombuffer(bytearray(body + b"\n" * PADDING), np.uint8), len(body))
        found = [pairs for pairs in told_by_line(map(_parse, [whole]), name) if len(pairs)]
    else:
        found = list(decode(io.BytesIO(body), name, media_type))
    return join(found) if found else None


def check_columns(media_type: MediaType, name: str) -> None:
    """Raises ClientError for a content type that speaks of labels."""
    size = media_type.integer("label_size", 0)
    if size:
        raise ClientError(
            f"label_size={size} in the content type of {name} is not accepted: pairs have no labels; "
            "accepted: text/csv"
        )


def _parse(piece: _Piece) -> tuple[Pairs, int]:
    """The pairs of a piece, and how many lines it has. Raises LineError."""
    from containers.ipinsights.text_kernels import csv_pairs

    data, stop = piece
    most = stop // _SHORTEST_ROW + 1
    hashes, addresses = np.empty(most, np.uint64), np.empty(most, np.uint32)
    at, rows, lines = csv_pairs(data, 0, stop, hashes, addresses, 0)
    if at < stop:
        raise LineError(_fault(line_at(data.data, at, stop).decode(errors="replace")), lines + 1)
    return Pairs(hashes[:rows], addresses[:rows]), lines


def _fault(line: str) -> str:
    """What is wrong with a line that the kernel didn't take."""
    cells = _cells(line)
    if cells is None:
        return "has a quote that is not closed or has something behind it; cells are quoted whole"
    if len(cells) != 2:
        columns = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
        return f"has {columns}; two are expected, an entity and an IPv4 address"
    if not cells[0]:
        return "has an empty entity; any text but that is accepted"
    return f"holds {shown(cells[1])} in column 2; {ADDRESS} is accepted{hint(cells[1])}"


def _cells(line: str) -> list[str] | None:
    """The cells of a line, without quotes and blanks round them; None where quotes are misplaced."""
    cells, at = [], 0
    while True:
        rest = line[at:].lstrip(_BLANKS)
        at = len(line) - len(rest)
        if rest[:1] != '"':
            end = line.find(",", at)
            cell = line[at : end if end >= 0 else len(line)]
        else:
            end = at + 1
            while line[end : end + 2] == '""' or line[end : end + 1] not in ("", '"'):
                end += 2 if line[end : end + 2] == '""' else 1
            cell = line[at + 1 : end].replace('""', '"')
            behind = line[end + 1 :].lstrip(_BLANKS)
            if end >= len(line) or behind[:1] not in ("", ","):
                return None
            end = len(line) - len(behind) if behind else -1
        cells.append(trimmed(cell))
        if end < 0:
            return cells
        at = end + 1


def hint(text: str) -> str:
    """What else to tell about a text that is no address."""
    if ":" in text and set(text.lower()) <= set("0123456789abcdef:.%/"):
        return "; IPv6 addresses are not supported"
    octets = text.split(".")
    if len(octets) == 4 and all(octet.isascii() and octet.isdigit() for octet in octets):
        return ", its octets from 0 to 255 without leading zeros"
    return ""


def trimmed(cell: str) -> str:
    """A cell without the blanks round it, which don't count."""
    return cell.strip(_BLANKS)


def addresses(texts: Sequence[str]) -> Addresses | None:
    """The addresses that (n,) texts are, None if one of them is none."""
    from containers.ipinsights.text_kernels import read_addresses

    lines = "".join([f"{text}\n" for text in texts]).encode("utf-8", "surrogatepass")
    found = np.empty(len(texts), np.uint32)
    data = np.frombuffer(bytearray(lines + b"\n" * PADDING), np.uint8)
    return found if read_addresses(data, len(lines), found) else None
