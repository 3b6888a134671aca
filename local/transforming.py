"""Batch transform: files cut into requests of whole records, answers put together, one .out a file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from common import content_types
from common.failures import ClientError
from common.job import written

MAX_PAYLOAD = 6 * 1024 * 1024  # bytes: SageMaker's default for a real-time request and a batch record

LINES = (content_types.CSV, content_types.JSON_LINES, content_types.LIBSVM)


def contents(path: Path) -> bytes:
    """A file's bytes, inflated when they are gzip's. Raises ClientError for damaged or truncated gzip."""
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ClientError(f"{path.name}: the gzip data are damaged or end early: {error}") from None


def split(body: bytes, content_type: str, limit: int = MAX_PAYLOAD) -> Iterator[bytes]:
    """Cuts a body into parts of whole records, each at most ``limit`` bytes.

    Lines and RecordIO records are cut; other types are sent as they are. Raises ClientError for a record
    that alone is larger.
    """
    name = content_types.parse(content_type).name
    if name in LINES:
        ends = _line_ends
    elif name == content_types.RECORDIO_PROTOBUF:
        ends = _record_ends
    else:
        ends = _whole
    start = end = 0
    for number, stop in enumerate(ends(body), 1):
        if stop - end > limit:
            raise ClientError(f"record {number} has {stop - end} bytes; accepted: at most {limit}")
        if stop - start > limit:
            yield body[start:end]
            start = end
        end = stop
    if end > start:
        yield body[start:end]


def _line_ends(body: bytes) -> Iterator[int]:
    end = 0
    while end < len(body):
        end = body.find(b"\n", end) + 1 or len(body)
        yield end


def _record_ends(body: bytes) -> Iterator[int]:
    end = 0
    while end < len(body):
        length = int.from_bytes(body[end + 4 : end + 8], "little") & 0x1FFFFFFF
        end = min(len(body), end + 8 + (length + 3) // 4 * 4)
        yield end


def _whole(body: bytes) -> Iterator[int]:
    yield len(body)


def transform(
    source: Path,
    target: Path,
    invoke: Callable[[bytes], bytes],
    content_type: str,
    *,
    concurrency: int = 4,
    limit: int = MAX_PAYLOAD,
) -> None:
    """Sends the records of ``source`` and writes the answers, in order, to ``target`` when all went well.

    Raises ClientError naming the file.
    """
    try:
        with (
            written(target) as temporary,
            temporary.open("wb") as out,
            ThreadPoolExecutor(concurrency) as pool,
        ):
            parts = split(contents(source), content_type, limit)
            # As many requests under way as workers, so that memory holds those alone.
            while window := list(islice(parts, concurrency)):
                for answer in pool.map(invoke, window):
                    out.write(answer)
                    if not answer.endswith(b"\n") and content_types.parse(content_type).name in LINES:
                        out.write(b"\n")
    except ClientError as error:
        raise ClientError(f"{source.name}: {error}") from None
