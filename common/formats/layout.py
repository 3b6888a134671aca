"""What a decoder is given: a stream of bytes, and how its rows are laid out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from common.batches import Batch
from common.content_types import MediaType


class Stream(Protocol):
    """Where bytes come from: a file, a FIFO, a socket; whatever has ``io.RawIOBase.readinto``."""

    def readinto(self, buffer: memoryview | bytearray, /) -> int | None:
        """Fills the start of ``buffer``; how many bytes came, 0 at the end, None if none are there yet."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows are read.

    ``label_size``: how many leading columns of CSV and Parquet are labels. For RecordIO records 0 ignores
    labels, and 1 or more requires that many label values in every record. For libsvm 0 or 1.
    ``weights``: the CSV column after the labels holds the weight of the row (XGBoost's ``csv_weights``).
    libsvm's ``label:weight`` is always understood.
    ``feature_dim``: how many features rows have. Dense rows must have exactly that many and keys of sparse
    rows must be below it. None takes it from the data.
    ``sniff_delimiter``: the first line of CSV tells whether comma, tab, semicolon, pipe or blank separates
    its cells; otherwise it is the comma.
    ``missing``: empty CSV cells and Parquet nulls are NaN; otherwise they are refused.
    """

    label_size: int = 0
    weights: bool = False
    feature_dim: int | None = None
    sniff_delimiter: bool = False
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Decoder:
    """The two ways to read one content type.

    ``decode(stream, name, media_type, layout)`` reads a file or one epoch of a FIFO in constant memory.
    ``decode_bytes(body, name, media_type, layout)`` reads a request's body; None when it holds no rows.
    Both raise ClientError for whatever is wrong with the bytes, naming ``name`` and the line or record.
    """

    decode: Callable[[Stream, str, MediaType, Layout], Iterator[Batch]]
    decode_bytes: Callable[[bytes, str, MediaType, Layout], Batch | None]
