"""Batch transform: files cut into requests of whole records, answers put together, one .out a file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from common import content_types
from common.content_types import CSV, JSON, JSON_LINES
from common.failures import ClientError, one_of
from common.formats import recordio
from common.job import written
from local.selecting import Selection, selection

MAX_PAYLOAD = 6 * 1024 * 1024  # bytes: SageMaker's default for a real-time request and a batch record
MOST_PAYLOAD = 100 * 1024 * 1024  # of all requests under way
csv.field_size_limit(MOST_PAYLOAD)  # a cell may be as long as a request
STRATEGIES, SPLITS = ("MultiRecord", "SingleRecord"), ("None", "Line", "RecordIO")

_MAGIC = recordio.MAGIC.to_bytes(4, "little")
LINES = (content_types.CSV, content_types.JSON_LINES, content_types.LIBSVM)


def contents(path: Path) -> bytes:
    """A file's bytes, inflated when they are gzip's. Raises ClientError for damaged or truncated gzip."""
    return inflated(path.read_bytes(), path.name)


def inflated(data: bytes, name: str) -> bytes:
    """The same of bytes that are there."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ClientError(f"{name}: the gzip data are damaged or end early: {error}") from None


@dataclass(frozen=True)
class Settings:
    """How a transform is done; the names and values of the options are those of CreateTransformJob."""

    content_type: str
    accept: str | None = None
    split_type: str | None = None  # None, Line or RecordIO; by the content type where it isn't said
    strategy: str = "MultiRecord"
    assemble_with: str | None = None  # None or Line; Line where records are lines and it isn't said
    concurrency: int = 4
    limit: int = MAX_PAYLOAD  # bytes of a request
    input_filter: str = "$"
    output_filter: str = "$"
    join: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ClientError(f"strategy '{self.strategy}' is unknown; accepted: {one_of(STRATEGIES)}")
        if self.split_type not in (None, *SPLITS):
            raise ClientError(f"split type '{self.split_type}' is unknown; accepted: {one_of(SPLITS)}")
        if not 1 <= self.limit <= MOST_PAYLOAD or self.concurrency < 1:
            raise ClientError(
                f"{self.concurrency} requests at once of {self.limit >> 20} MB are asked for; accepted: 1 or "
                "more, of 1 to 100 MB"
            )
        if self.concurrency * self.limit > MOST_PAYLOAD:
            raise ClientError(
                f"{self.concurrency} requests of {self.limit >> 20} MB are under way at once; accepted: 100 "
                "MB in all"
            )
        for path in (self.input_filter, self.output_filter):
            selection(path)  # before an endpoint is started for nothing
        if self.processed and self.kind not in (CSV, JSON, JSON_LINES):
            raise ClientError(f"filters and joins are for CSV and JSON; the content type is {self.kind}")

    @property
    def kind(self) -> str:
        """The content type without its parameters."""
        return content_types.parse(self.content_type).name

    @property
    def processed(self) -> bool:
        """Whether records are looked into."""
        return self.join or self.input_filter != "$" or self.output_filter != "$"


def split(
    body: bytes, content_type: str, limit: int = MAX_PAYLOAD, how: str | None = None, single: bool = False
) -> Iterator[bytes]:
    """Cuts a body into parts of whole records, each at most ``limit`` bytes, or of one record each.

    ``how`` is Line, RecordIO or None; without it lines and RecordIO records are cut where the content type
    has them. Raises ClientError for a record that alone is larger.
    """
    for _, part in _cut(body, content_type, limit, how, single):
        yield part


def _cut(
    body: bytes, content_type: str, limit: int, how: str | None, single: bool
) -> Iterator[tuple[int, bytes]]:
    """The same, each part with the number of its first record."""
    name = content_types.parse(content_type).name
    if how == "Line" or (how is None and name in LINES):
        ends = _line_ends
    elif how == "RecordIO" or (how is None and name == content_types.RECORDIO_PROTOBUF):
        ends = _record_ends
    else:
        ends = _whole
    start = end = 0
    first = 1
    for number, stop in enumerate(ends(body), 1):
        if stop - end > limit:
            raise ClientError(f"record {number} has {stop - end} bytes; accepted: at most {limit}")
        if stop - start > limit or (single and end > start):
            yield first, body[start:end]
            start, first = end, number
        end = stop
    if end > start:
        yield first, body[start:end]


def _line_ends(body: bytes) -> Iterator[int]:
    end = 0
    while end < len(body):
        end = body.find(b"\n", end) + 1 or len(body)
        yield end


def _record_ends(body: bytes) -> Iterator[int]:
    end = 0
    while end < len(body):
        if body[end : end + 4] != _MAGIC:
            raise ClientError(f"byte {end} doesn't begin a RecordIO record; accepted: whole records")
        length = int.from_bytes(body[end + 4 : end + 8], "little") & 0x1FFFFFFF
        end = min(len(body), end + 8 + (length + 3) // 4 * 4)
        yield end


def _whole(body: bytes) -> Iterator[int]:
    yield len(body)


def transform(source: Path, target: Path, invoke: Callable[[bytes], bytes], settings: Settings) -> None:
    """Sends the records of ``source`` and writes the answers, in order, to ``target`` when all went well.

    Raises ClientError naming the file, and the part of it that failed.
    """
    lines = settings.kind in LINES if settings.assemble_with is None else settings.assemble_with == "Line"
    process = _Processing(settings) if settings.processed else None

    def asked(part: tuple[int, tuple[int, bytes]]) -> bytes:
        number, (first, body) = part
        try:
            return process(body, invoke) if process else invoke(body)
        except ClientError as error:
            place = "" if first in (1, number) else f", from record {first} on"
            raise ClientError(f"request {number}{place}: {error}") from None

    try:
        with (
            written(target) as temporary,
            temporary.open("wb") as out,
            ThreadPoolExecutor(settings.concurrency) as pool,
        ):
            single = settings.strategy == "SingleRecord"
            parts = enumerate(
                _cut(contents(source), settings.content_type, settings.limit, settings.split_type, single), 1
            )
            # As many requests under way as workers, so that memory holds those alone.
            while window := list(islice(parts, settings.concurrency)):
                for answer in pool.map(asked, window):
                    out.write(answer)
                    if lines and not answer.endswith(b"\n"):
                        out.write(b"\n")
    except ClientError as error:
        raise ClientError(f"{source.name}: {error}") from None


class _Processing:
    """Filters a request's records, joins its answers to them, and filters what comes of it.

    AWS's document: Associate Prediction Results with Input Records, in its developer guide.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._before, self._after = selection(settings.input_filter), selection(settings.output_filter)
        self._csv = settings.kind == CSV
        accept = content_types.parse(settings.accept).name if settings.accept else None
        self._answers_csv = accept == CSV
        self._answers_lines = accept in (CSV, JSON_LINES)

    def __call__(self, body: bytes, invoke: Callable[[bytes], bytes]) -> bytes:
        records = _read(body, self._csv, self._csv or self._by_line)
        if self._settings.input_filter != "$":
            body = self._write(_filtered(self._before, records))
        answer = invoke(body)
        try:
            answers = _read(answer, self._answers_csv, self._answers_lines)
        except ClientError as error:
            raise ClientError(
                f"of the answer, {error}; accepted: --accept {CSV}, {JSON} or {JSON_LINES}"
            ) from None
        if not self._answers_lines and len(records) != 1:
            answers = _items(answers[0])
        if len(answers) != len(records):
            raise ClientError(
                f"{len(records)} records have {len(answers)} answers, and can't be joined; accepted: "
                "--strategy SingleRecord"
            )
        if self._settings.join:
            answers = [self._joined(*pair) for pair in zip(records, answers, strict=True)]
        return self._write(_filtered(self._after, answers))

    @property
    def _by_line(self) -> bool:
        return self._settings.kind == JSON_LINES or self._settings.split_type == "Line"

    def _joined(self, record: Any, answer: Any) -> Any:
        if self._csv:
            return [*record, *(answer if isinstance(answer, list) else [answer])]
        if isinstance(record, dict):
            return {**record, "SageMakerOutput": answer}
        return {"SageMakerInput": record, "SageMakerOutput": answer}

    def _write(self, records: list[Any]) -> bytes:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        for record in records:
            if self._csv and not isinstance(record, dict):
                cells = record if isinstance(record, list) else [record]
                writer.writerow([one if isinstance(one, str) else json.dumps(one) for one in cells])
            else:
                out.write(f"{json.dumps(record)}\n")
        return out.getvalue().encode()


def _read(body: bytes, as_csv: bool, by_line: bool) -> list[Any]:
    """The records of a body. Raises ClientError with the number of one that can't be read."""
    found: list[Any] = []
    number = 1
    try:
        text = body.decode("utf-8")
        if as_csv:
            for row in csv.reader(io.StringIO(text)):
                found.append(row)
                number += 1
            return [row for row in found if row]
        # Not splitlines: a JSON text may hold what other writings take for the end of a line.
        for piece in text.split("\n") if by_line else [text]:
            if piece.strip():
                found.append(json.loads(piece))
            number += 1
    except (ValueError, RecursionError, csv.Error) as error:
        raise ClientError(f"record {number} isn't {'CSV' if as_csv else 'JSON'}: {error}") from None
    return found


def _filtered(choose: Selection, records: list[Any]) -> list[Any]:
    """What is chosen of each. Raises ClientError with the number of one that hasn't got it."""
    found = []
    for number, record in enumerate(records, 1):
        try:
            found.append(choose(record))
        except ClientError as error:
            raise ClientError(f"record {number}: {error}") from None
    return found


def _items(answer: Any) -> list[Any]:
    """An answer to several records has a list of as many, alone or under one name."""
    if isinstance(answer, dict) and len(answer) == 1:
        (answer,) = answer.values()
    return answer if isinstance(answer, list) else [answer]
