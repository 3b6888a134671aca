"""Batch transform: files cut into requests of whole records, answers put together, one .out a file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import mmap
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from common import content_types
from common.channels.streams import GZIP
from common.content_types import CSV, JSON, JSON_LINES
from common.failures import ClientError, one_of
from common.formats import recordio
from common.job import written
from local.background import begin
from local.selecting import Selection, selection

MAX_PAYLOAD = 6 * 1024 * 1024  # bytes: SageMaker's default for a real-time request and a batch record
MOST_PAYLOAD = 100 * 1024 * 1024  # of all requests under way
csv.field_size_limit(MOST_PAYLOAD)  # a cell may be as long as a request
STRATEGIES, SPLITS = ("MultiRecord", "SingleRecord"), ("None", "Line", "RecordIO")

LINES = (content_types.CSV, content_types.JSON_LINES, content_types.LIBSVM)

Bytes = bytes | mmap.mmap
Invoke = Callable[[bytes], tuple[bytes, str]]  # a request's body to that of its answer, and the answer's type


def lined(answer: bytes, content_type: str) -> bytes:
    """An answer with the end of its last line, if it is text; one more byte would damage anything else."""
    text = content_types.parse(content_type).name in (CSV, JSON, JSON_LINES)
    return _ended(answer) if text else answer


def _ended(lines: bytes) -> bytes:
    return lines + b"\n" if lines and not lines.endswith(b"\n") else lines


def contents(path: Path) -> bytes:
    """A file's bytes, inflated when they are gzip's. Raises ClientError for damaged or truncated gzip."""
    return inflated(path.read_bytes(), path.name)


def mapped(path: Path) -> Bytes:
    """The same, of which memory holds no more than what is looked at, unless it is gzip's."""
    with path.open("rb") as file:
        if file.read(2) in (b"", GZIP):
            return contents(path)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def inflated(data: bytes, name: str) -> bytes:
    """The same of bytes that are there."""
    if data[:2] != GZIP:
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ClientError(f"{name}: the gzip data are damaged or end early: {error}") from None


@dataclass(frozen=True)
class Settings:
    """How a transform is done; the names and values of the options are those of CreateTransformJob."""

    content_type: str
    split_type: str | None = None  # None, Line or RecordIO; by the content type where it isn't said
    strategy: str = "MultiRecord"
    assemble_with: str | None = None  # None or Line; where it isn't said, Line of text for records on lines
    concurrency: int = 1
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

    def assembled(self, answer: bytes, content_type: str) -> bytes:
        """An answer as it stands among others."""
        if self.assemble_with is None and self.kind in LINES:
            return lined(answer, content_type)
        return _ended(answer) if self.assemble_with == "Line" else answer

    @property
    def processed(self) -> bool:
        """Whether records are looked into."""
        return self.join or self.input_filter != "$" or self.output_filter != "$"


def split(
    body: Bytes, content_type: str, limit: int = MAX_PAYLOAD, how: str | None = None, single: bool = False
) -> Iterator[bytes]:
    """Cuts a body into parts of whole records, each at most ``limit`` bytes, or of one record each.

    ``how`` is Line, RecordIO or None; without it lines and RecordIO records are cut where the content type
    has them. Raises ClientError for a record that alone is larger.
    """
    for _, part in _cut(body, content_type, limit, how, single):
        yield part


def _cut(
    body: Bytes, content_type: str, limit: int, how: str | None, single: bool
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


def _line_ends(body: Bytes) -> Iterator[int]:
    end = 0
    while end < len(body):
        end = body.find(b"\n", end) + 1 or len(body)
        yield end


def _record_ends(body: Bytes) -> Iterator[int]:
    end = 0
    while end < len(body):
        if body[end : end + 4] != recordio.MAGIC_BYTES:
            raise ClientError(f"byte {end} doesn't begin a RecordIO record; accepted: whole records")
        word = int.from_bytes(body[end + 4 : end + 8], "little")
        length, flag = word & recordio.LENGTH_MASK, word >> 29
        end = min(len(body), end + recordio.HEADER + (length + 3) // 4 * 4)
        if flag in recordio.ENDING or end == len(body):
            yield end


def _whole(body: Bytes) -> Iterator[int]:
    yield len(body)


def transform(source: Path, target: Path, invoke: Invoke, settings: Settings) -> None:
    """Sends the records of ``source`` and writes the answers, in order, to ``target`` when all went well.

    Raises ClientError naming the file, and the part of it that failed.
    """
    process = _Processing(settings) if settings.processed else None

    def asked(part: tuple[int, tuple[int, bytes]]) -> bytes:
        number, (first, body) = part
        try:
            return settings.assembled(*(process(body, invoke) if process else invoke(body)))
        except ClientError as error:
            place = "" if first in (1, number) else f", from record {first} on"
            raise ClientError(f"request {number}{place}: {error}") from None

    try:
        with written(target) as temporary, temporary.open("wb") as out:
            single = settings.strategy == "SingleRecord"
            parts = enumerate(
                _cut(mapped(source), settings.content_type, settings.limit, settings.split_type, single), 1
            )
            # So many requests are under way, and memory holds those alone. No interrupt waits for them.
            while window := list(islice(parts, settings.concurrency)):
                answers = [begin(partial(asked, part)) for part in window]
                wait(answers)
                for answer in answers:
                    out.write(answer.result())
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
        self._by_line = settings.kind in (CSV, JSON_LINES) or settings.split_type == "Line"
        self._several = self._by_line and settings.strategy == "MultiRecord"

    def __call__(self, body: bytes, invoke: Invoke) -> tuple[bytes, str]:
        """What is made of a request's answer, and its type."""
        records = _read(body, self._csv, self._by_line)
        if not records:
            return b"", self._settings.kind  # lines that are empty
        if self._settings.input_filter != "$":
            body = self._write(_filtered(self._before, records))
        answer, kind = invoke(body)
        if not self._settings.join and self._settings.output_filter == "$":
            return answer, kind
        answers = self._answers(answer, content_types.parse(kind).name, len(records))
        if self._settings.join:
            answers = self._joined(records, answers)
        return self._write(_filtered(self._after, answers)), self._settings.kind

    def _answers(self, answer: bytes, kind: str, count: int) -> list[Any]:
        """The answers to so many records: lines, or what a JSON text has for each of them."""
        try:
            found = _read(answer, kind == CSV, kind in (CSV, JSON_LINES))
        except ClientError as error:
            raise ClientError(
                f"of the answer, {error}; accepted: --accept {CSV}, {JSON} or {JSON_LINES}"
            ) from None
        if kind in (CSV, JSON_LINES) or not found or not (self._several or count > 1):
            return found
        items = _items(found[0])
        # What isn't a list of one for the one record that a request has left is its answer as it stands.
        return items if count > 1 or len(items) == 1 else found

    def _joined(self, records: list[Any], answers: list[Any]) -> list[Any]:
        if len(answers) != len(records):
            raise ClientError(
                f"{len(records)} records have {len(answers)} answers, and can't be joined; accepted: "
                "--strategy SingleRecord"
            )
        return [self._join(*pair) for pair in zip(records, answers, strict=True)]

    def _join(self, record: Any, answer: Any) -> Any:
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
        text = body.decode("utf-8-sig")
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
