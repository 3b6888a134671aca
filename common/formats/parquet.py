"""Parquet files of numeric columns to dense batches: labels in the leading columns, features in the rest."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from common.batches import Batch, Float32, join
from common.content_types import MediaType
from common.failures import ClientError
from common.formats.layout import Decoder, Layout, Stream
from common.formats.reading import BLOCK, read_full

_IN_MEMORY = 64 << 20  # longer streams go to a temporary file, since Parquet is read from its end
_BATCH = 4 << 20  # bytes of a batch's matrix


def decode(stream: Stream, name: str, media_type: MediaType, layout: Layout) -> Iterator[Batch]:
    """The rows of a Parquet stream: dense batches, with labels if the layout has them.

    Integers, floating-point numbers and booleans are read. Raises ClientError for other columns, for nulls
    unless the layout has ``missing``, for another number of columns than wanted, and for broken files.
    """
    with seekable(stream) as file:
        yield from _batches(file, name, layout)


def decode_bytes(body: bytes, name: str, media_type: MediaType, layout: Layout) -> Batch | None:
    """The rows of a Parquet body, None if there are none. Raises as ``decode``."""
    batches = list(_batches(io.BytesIO(body), name, layout)) if body else []
    return join(batches) if batches else None


DECODER = Decoder(decode, decode_bytes)


def seekable(stream: Stream) -> IO[bytes]:
    """All of a stream as a file that can be read from its end; the caller closes it."""
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115, the caller closes it
    block = bytearray(BLOCK)
    while count := read_full(stream, memoryview(block)):
        file.write(block[:count])
    file.seek(0)
    return file


def _batches(file: IO[bytes], name: str, layout: Layout) -> Iterator[Batch]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        schema = table.schema_arrow
        _check(schema, name, layout)
        size = max(1, _BATCH // (4 * len(schema)))
        row = 0
        for part in table.iter_batches(batch_size=size, use_threads=False):
            if part.num_rows:
                yield _batch(part, name, row, layout)
            row += part.num_rows
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ClientError(
            f"{name} cannot be read as Parquet ({reason}); whole Parquet files are read"
        ) from None


def _check(schema: Any, name: str, layout: Layout) -> None:
    from pyarrow import types

    for field in schema:
        kind = field.type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise ClientError(
                f"column '{field.name}' of {name} holds {kind}; columns of numbers and booleans are accepted"
            )
    width = len(schema) - layout.label_size
    wanted = layout.feature_dim
    if width < 1 or wanted not in (None, width):
        columns = "1 column" if len(schema) == 1 else f"{len(schema)} columns"
        features = f"{wanted} of features" if wanted is not None else "at least 1 of features"
        raise ClientError(f"{name} has {columns}; {layout.label_size} of labels and {features} are expected")


def _batch(part: Any, name: str, row: int, layout: Layout) -> Batch:
    """A pyarrow RecordBatch that begins at row ``row`` as a batch."""
    features: Float32 = np.empty((part.num_rows, part.num_columns - layout.label_size), np.float32)
    labels: Float32 = np.empty((part.num_rows, layout.label_size), np.float32)
    for number, column in enumerate(part.columns):
        is_label = number < layout.label_size
        if column.null_count and (is_label or not layout.missing):
            at = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise ClientError(
                f"row {row + at + 1}, column '{part.schema.field(number).name}' of {name} is null; "
                "a number is expected"
            )
        target = labels[:, number] if is_label else features[:, number - layout.label_size]
        with np.errstate(over="ignore"):
            target[:] = column.cast("float64", safe=False).to_numpy(zero_copy_only=False)
    if layout.label_size == 0:
        return Batch(features)
    return Batch(features, labels[:, 0] if layout.label_size == 1 else labels)
