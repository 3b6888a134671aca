"""A channel's files to series: JSON Lines, plain and gzipped, and Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from common import content_types
from common.channels import Channel
from common.content_types import MediaType
from common.failures import ClientError
from common.formats import objects, parquet
from common.formats.layout import Stream
from containers.deepar.series import Schema, Series, agree, parse

_JSON_NAMES = (".json", ".json.gz", ".jsonl", ".jsonl.gz", ".jsonlines", ".jsonlines.gz")
_COLUMNS = ("start", "target", "cat", "dynamic_feat")
_BLOCK = 256  # series
_ROWS = 64  # of a Parquet file at once

Numbered = Iterator[tuple[str, dict[str, Any]]]
"""Records with their names for messages."""


class Reader:
    """Reads all series of a channel.

    ``schema`` is what series must have; what it leaves open is settled by the first. ``horizon`` is how much
    longer than its target a dynamic_feat may be.
    """

    def __init__(self, channel: Channel, schema: Schema, horizon: int) -> None:
        self.schema = schema
        self._asked = schema
        self.file = str(channel.folder)  # the first that holds series
        self._channel = channel
        self._horizon = horizon

    def read(self) -> list[Series]:
        """Every series in the order of the files. Raises ClientError for what is no series."""
        return list(chain.from_iterable(self._channel.read(self._blocks, _joined, None)))

    def _blocks(self, stream: Stream, name: str) -> Iterator[list[Series]]:
        block: list[Series] = []
        first = True
        for what, record in _records(stream, name, self._channel.media_type):
            if first and self.file == str(self._channel.folder):
                self.file = f"{self._channel.folder}/{_path(name)}"
            first = False
            series = parse(record, what, self._asked)
            self.schema = agree(series, what, self.schema)
            _check_length(series, what, self._horizon)
            block.append(series)
            if len(block) == _BLOCK:
                yield block
                block = []
        if block:
            yield block


def _joined(blocks: Iterable[list[Series]]) -> list[Series]:
    return list(chain.from_iterable(blocks))


def _path(name: str) -> str:
    """The file of a name such as ``channel train, file part-1.json``."""
    return name.partition(", file ")[2] or name


def _check_length(series: Series, what: str, horizon: int) -> None:
    steps, points = series.dynamic.shape[1], len(series)
    if len(series.dynamic) and steps not in (points, points + horizon):
        raise ClientError(
            f"the dynamic_feat of {what} has rows of {steps} numbers, and the target {points}; "
            f"accepted: {points} (or {points + horizon}, with those of the forecast)"
        )


def _records(stream: Stream, name: str, media_type: MediaType) -> Numbered:
    lower = name.lower()
    by_name = lower.endswith((".parquet", *_JSON_NAMES))
    if lower.endswith(".parquet") or (not by_name and media_type.name == content_types.PARQUET):
        yield from _rows(stream, name)
    else:
        for number, record in objects.lines(stream, name, media_type):
            yield f"line {number} of {name}", record


def _rows(stream: Stream, name: str) -> Numbered:
    import pyarrow
    from pyarrow import parquet as files

    try:
        with parquet.seekable(stream) as file:
            table = files.ParquetFile(file)
            columns = [column for column in _COLUMNS if column in table.schema_arrow.names]
            number = 0
            for part in table.iter_batches(batch_size=_ROWS, columns=columns, use_threads=False):
                for row in range(part.num_rows):
                    number += 1
                    yield f"row {number} of {name}", _row(part, row)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ClientError(
            f"{name} cannot be read as Parquet ({reason}); whole Parquet files are read"
        ) from None


def _row(part: Any, row: int) -> dict[str, Any]:
    """A row as a JSON object would have it, but for numbers in a list of floats, which are an array."""
    from pyarrow import types

    record = {}
    for name, column in zip(part.schema.names, part.columns, strict=True):
        value, kind = column[row], column.type
        listed = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        if name == "target" and listed and value.is_valid and _numeric(kind.value_type):
            record[name] = value.values.cast("float64", safe=False).to_numpy(zero_copy_only=False)
        elif name == "start" and types.is_timestamp(kind) and value.is_valid:
            record[name] = str(np.datetime64(value.cast("timestamp[us]").value, "us").astype("M8[s]"))
        else:
            record[name] = value.as_py()
    return record


def _numeric(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_floating(kind) or types.is_integer(kind))
