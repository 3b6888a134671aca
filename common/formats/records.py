"""RecordIO-protobuf records to batches and back.

The messages are in record.proto and the framing in recordio.py. Features and labels stand under the
key ``values`` as float32, float64 or int32 tensors; a tensor with keys is sparse and the product of its shape
is the row's width. A tensor with a shape and neither keys nor values is a sparse row of zeros. All this is
from the developer guide's "Common data formats for training".

Files mostly hold records of one layout, which differ in their values alone. So a record's bytes are taken as
a template: if all bytes but the values are the same in the records behind it, which one comparison of many
records tells, then the values are a matrix in plain sight. From the first record that differs on, a compiled
reader of protobuf's wire format takes over for a while.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.batches import CSR, Batch, Float32, Int64, join
from common.content_types import MediaType
from common.failures import ClientError
from common.formats import recordio
from common.formats.layout import Decoder, Layout, Stream
from common.formats.lines import thread_count
from common.formats.reading import BLOCK, Window

_KEY = b"values"
_VARINT, _EIGHT, _DELIMITED, _FOUR = 0, 1, 2, 5
_DENSE_TYPES: dict[int, np.dtype[Any]] = {2: np.dtype("<f4"), 3: np.dtype("<f8")}  # by field number in Value
_FEW, _MANY = 64, 1 << 16  # how many records the general reader takes before a template is tried again
_STEADY = 1 << 10  # from that many on, a block is divided among threads
_WORTH_IT = 16  # a template that fits fewer records is no gain
_DIVIDED = 1 << 18  # bytes that are worth the work of several threads
_LARGE = 256  # rows that make a batch of their own
_SLAB = 1 << 23  # bytes


def decode(stream: Stream, name: str, media_type: MediaType, layout: Layout) -> Iterator[Batch]:
    """The rows of a stream of records: dense batches, or sparse ones where any row of a block is sparse.

    The width of sparse rows is the layout's ``feature_dim``, or the largest shape or key so far. Raises
    ClientError for a stream that ends inside a record, for wrong framing or malformed records, for bytes
    where numbers are expected, for keys outside the width, for dense rows of different widths, and for
    missing labels where the layout wants them.
    """
    window = Window(stream, 2 * BLOCK)
    with closing(_Reader(name, layout)) as reader:
        while not window.ended:
            window.fill()
            batches, size = reader.read(window.view, window.ended)
            window.start += size
            yield from batches
    if window.start < window.stop:
        raise recordio.truncated(name, reader.count + 1)


def decode_bytes(body: bytes, name: str, media_type: MediaType, layout: Layout) -> Batch | None:
    """The rows of a body of records, None if there are none. Raises as ``decode``."""
    with closing(_Reader(name, layout)) as reader:
        batches, size = reader.read(_array(body), True)
    if size < len(body):
        raise recordio.truncated(name, reader.count + 1)
    return join(batches) if batches else None


DECODER = Decoder(decode, decode_bytes)


def _array(data: bytes) -> NDArray[np.uint8]:
    """Bytes as an array that may be written to: kernels are compiled for such arrays only."""
    return np.frombuffer(bytearray(data), np.uint8)


class _Reader:
    """Reads blocks of records one after the other, and remembers what holds for all of them."""

    def __init__(self, name: str, layout: Layout) -> None:
        self.name = name
        self.count = 0  # records so far
        self._label_size = layout.label_size
        self._feature_dim = layout.feature_dim
        self._width: int | None = None  # of dense rows
        self._sparse_width = 1
        self._template: _Template | None = None
        self._patience = _FEW
        self._rooms: list[_Room] = []
        self._slab = _Slab()
        self._threads = thread_count()
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Lets the threads go."""
        if self._pool is not None:
            self._pool.shutdown()

    def read(self, data: NDArray[np.uint8], final: bool) -> tuple[list[Batch], int]:
        """The rows of the whole records at the start of ``data`` and how many bytes those take.

        ``final`` says that no more bytes follow. The batches do not share memory with ``data``; there are
        several only if each is large.
        """
        parts: list[Batch] = []
        at = 0
        while True:
            count, at = self._read_alike(data, at, parts)
            if count < _WORTH_IT:
                before = at
                at = self._read_any(data, at, final, parts)
                if at == before:
                    break
            else:
                self._patience = _FEW
        if any(isinstance(part.features, CSR) for part in parts):
            parts = [self._as_sparse(part) for part in parts]
        if len(parts) > 1 and min(map(len, parts)) < _LARGE:
            parts = [join(parts)]
        return parts, at

    def _read_alike(self, data: NDArray[np.uint8], at: int, parts: list[Batch]) -> tuple[int, int]:
        """Reads records that fit the template, or make one; how many, and where they end."""
        template = self._template
        if template is None or not template.fits(data, at):
            template = self._template = _template(data[at:], self._label_size > 0)
        if template is None:
            return 0, at
        labels = template.labels.count if template.labels else 0
        if labels != self._label_size or self._feature_dim not in (None, template.values.count):
            return 0, at
        if self._width not in (None, template.values.count):
            return 0, at
        count, features, label_values = template.read(data, at, self._slab)
        if count:
            self._width = template.values.count
            self.count += count
            parts.append(Batch(features, self._shaped(label_values)))
        return count, at + count * template.stride

    def _shaped(self, labels: Float32 | None) -> Float32 | None:
        """(rows, label_size) labels as batches have them."""
        return labels[:, 0] if labels is not None and self._label_size == 1 else labels

    def _as_sparse(self, batch: Batch) -> Batch:
        """Dense rows as sparse ones that keep their zeros: a zero that is written is no missing value."""
        if isinstance(batch.features, CSR):
            features = batch.features
            shape = (len(features), self._batch_width())
            sparse = CSR(features.values, features.indices, features.indptr, shape)
        else:
            rows, width = batch.features.shape
            sparse = CSR(
                batch.features.reshape(-1),
                np.tile(np.arange(width), rows),
                np.arange(rows + 1) * width,
                (rows, self._batch_width()),
            )
        return Batch(sparse, batch.labels)

    def _batch_width(self) -> int:
        if self._feature_dim is not None:
            return self._feature_dim
        return max(self._sparse_width, self._width or 0)

    def _read_any(self, data: NDArray[np.uint8], at: int, final: bool, parts: list[Batch]) -> int:
        """Reads some records of any layout; where they end, which is ``at`` if no whole one is there."""
        if not self._begins(data, at, final):
            return at
        from common.formats import record_kernels as kernels

        end = at
        for stop, room, (why, state) in self._runs(data, at, final):
            width = int(state[kernels.DENSE_WIDTH])
            if width >= 0 and self._width not in (None, width):
                break  # a run beside this one met another width, which the next run will tell
            rows = int(state[kernels.ROWS])
            if rows:
                parts.append(self._rows(room, rows, int(state[kernels.ENTRIES])))
                self.count += rows
                self._width = None if width < 0 else width
                self._sparse_width = max(self._sparse_width, int(state[kernels.LARGEST]) + 1)
                end = int(state[kernels.AT])
            elif end == at:
                if why == kernels.PARTS:
                    return self._read_parts(data, at, final, parts)
                if why != kernels.MORE:
                    raise self._fault(why, int(state[kernels.DETAIL]), int(state[kernels.OTHER]))
            if end != stop:
                break  # what is wrong here is told by the next run, which begins with it
        return end

    def _runs(
        self, data: NDArray[np.uint8], at: int, final: bool
    ) -> Iterator[tuple[int, _Room, tuple[int, NDArray[np.int64]]]]:
        """Runs of the kernel over ``data[at:]``: where each should end, its room, and what it gave.

        One short run at first; when it goes on like that, as many as there are threads side by side, each of
        which takes the records before it to be right.
        """
        from common.formats import record_kernels as kernels

        most, self._patience = self._patience, min(2 * self._patience, _MANY)
        cuts = np.empty(self._threads - 1, np.int64)
        found = 0
        if most >= _STEADY and len(data) - at >= _DIVIDED:
            most = _MANY
            found = kernels.cut(data, at, cuts)
        bounds = [at, *cuts[:found].tolist(), len(data)]
        rooms = self._rooms
        while len(rooms) <= found:
            rooms.append(_Room(self._label_size))
        if found and self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads - 1, "records")
        others = [
            self._pool.submit(self._run, data[:stop], start, final, most, room)
            for start, stop, room in zip(bounds[1:-1], bounds[2:], rooms[1 : found + 1], strict=True)
            if self._pool is not None
        ]
        try:
            yield bounds[1], rooms[0], self._run(data[: bounds[1]], at, final, most, rooms[0])
            for stop, room, other in zip(bounds[2:], rooms[1 : found + 1], others, strict=True):
                yield stop, room, other.result()
        finally:
            wait(others)  # nothing may read the block, or write to a room, after this

    def _run(
        self, data: NDArray[np.uint8], at: int, final: bool, most: int, room: _Room
    ) -> tuple[int, NDArray[np.int64]]:
        """Reads up to ``most`` records from ``at`` on into ``room``: why it ended, and the kernel's state."""
        from common.formats import record_kernels as kernels

        state = np.zeros(kernels.STATE, np.int64)
        state[kernels.AT] = at
        state[kernels.DENSE_WIDTH] = -1 if self._width is None else self._width
        state[kernels.LARGEST] = self._sparse_width - 1
        feature_dim = -1 if self._feature_dim is None else self._feature_dim
        while True:
            why = kernels.read_records(
                data, len(data), final, most, self._label_size, feature_dim,
                room.values, room.keys, room.labels, room.label_keys, room.starts, room.sparse,
                np.empty(kernels.TENSORS, np.int64), state,
            )  # fmt: skip
            # Full arrays are handed on, and grow only if a single record fills them.
            if why != kernels.FULL or state[kernels.ROWS]:
                return why, state
            room.grow()

    def _begins(self, data: NDArray[np.uint8], at: int, final: bool) -> bool:
        """Whether a whole frame begins at ``at``, or something that is wrong."""
        head = data[at : at + recordio.HEADER].tobytes()
        if not recordio.MAGIC_BYTES.startswith(head[:4]):
            recordio.check_frame(int.from_bytes(head[:4], "little"), 0, False, self.name, self.count + 1)
        if len(head) < recordio.HEADER:
            return False
        length = int.from_bytes(head[4:], "little") & recordio.LENGTH_MASK
        return len(data) - at - recordio.HEADER >= length + (0 if final else -length % 4)

    def _rows(self, room: _Room, rows: int, entries: int) -> Batch:
        """What the kernel left in ``room`` as a batch of its own memory."""
        sparse = room.sparse[:rows]
        labels = None
        if self._label_size:
            labels = room.labels[: rows * self._label_size].reshape(rows, self._label_size).copy()
        values, keys = room.take(entries)
        if not sparse.any():
            return Batch(values.reshape(rows, -1), self._shaped(labels))
        starts = room.starts[: rows + 1].copy()
        if not sparse.all():
            sizes = np.diff(starts)
            places = np.arange(entries) - np.repeat(starts[:-1], sizes)
            keys = np.where(np.repeat(sparse, sizes), keys, places)
        return Batch(CSR(values, keys, starts, (rows, 0)), self._shaped(labels))

    def _read_parts(self, data: NDArray[np.uint8], at: int, final: bool, parts: list[Batch]) -> int:
        """Reads one record that is in parts; raises ClientError if they are out of order."""
        found = recordio.payload_at(data.data[at:], final, self.name, self.count + 1)
        if found is None:
            return at
        payload, size = found
        whole = _array(recordio.frame(payload))
        self._read_any(whole, 0, True, parts)
        return at + size

    def _fault(self, why: int, detail: int, other: int) -> ClientError:
        from common.formats import record_kernels as kernels

        wanted = self._feature_dim if self._feature_dim is not None else self._width
        problem = {
            kernels.BAD_MAGIC: f"does not begin with the RecordIO magic number 0x{recordio.MAGIC:08x}; "
            "records framed as RecordIO are read",
            kernels.MALFORMED: "is not a protobuf message; aialgs.data.Record messages are read",
            kernels.NO_FEATURES: "has no features under the key 'values'; that is where they are read",
            kernels.NO_VALUES: "has no feature values; values are needed, or a shape for a row of zeros",
            kernels.NO_LABEL: f"has no label under the key 'values'; {_numbers(self._label_size)} there",
            kernels.BYTES_FEATURES: "holds bytes as features; a float32, float64 or int32 tensor is read",
            kernels.BYTES_LABEL: "holds bytes as label; a float32, float64 or int32 tensor is read",
            kernels.SPARSE_LABEL: "has a sparse label; a dense one is read",
            kernels.LABEL_SIZE: f"has {detail} label values; {_numbers(self._label_size)}",
            kernels.KEYS_AND_VALUES: f"has {detail} keys for {other} values; a sparse row has one for each",
            kernels.WIDTH: f"has {detail} features; {wanted} are expected"
            + (", as in the records before it" if self._feature_dim is None else ""),
            kernels.SHAPE: f"has {detail} values in a shape of {other}; a dense row fills its shape",
            kernels.SHAPE_TOO_WIDE: f"has a shape of {detail} features; at most {wanted} are accepted",
            kernels.KEY: f"has the key {detail % (1 << 64)}; keys from 0 to {other - 1} are accepted",
        }[why]
        return ClientError(f"record {self.count + 1} of {self.name} {problem}")


def _numbers(count: int) -> str:
    return "1 number is expected" if count == 1 else f"{count} numbers are expected"


class _Room:
    """What the kernel fills."""

    def __init__(self, label_size: int) -> None:
        self.starts = np.empty(_MANY + 1, np.int64)
        self.sparse = np.empty(_MANY, np.bool_)
        self.labels = np.empty(2 * _MANY * label_size, np.float32)
        self.label_keys = np.empty(len(self.labels), np.int64)
        self._make(1 << 20)

    def _make(self, size: int) -> None:
        self.values: Float32 = np.empty(size, np.float32)
        self.keys: Int64 = np.empty(size, np.int64)

    def grow(self) -> None:
        """Twice the room, for a single record that does not fit."""
        self._make(2 * len(self.values))
        self.labels = np.empty(2 * len(self.labels), np.float32)
        self.label_keys = np.empty(len(self.labels), np.int64)

    def take(self, count: int) -> tuple[Float32, Int64]:
        """The first ``count`` values and keys, for good: copies, or the arrays themselves if well filled."""
        values, keys = self.values[:count], self.keys[:count]
        size = len(self.values)
        if 2 * count < size:
            values, keys = values.copy(), keys.copy()
            if count < _LARGE:
                return values, keys
        # The next run will want about as much; a short one in between must not make it stop early.
        self._make(max(count + count // 4, size - size // 8))
        return values, keys


class _Slab:
    """Memory for the values of many batches at once.

    New memory costs a page fault every 4 KB, which took longer than copying the values; a piece this large
    gets the system's large pages. It is let go of with the last batch that stands in it.
    """

    def __init__(self) -> None:
        self._free: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._size = 0  # the first block may be the only one, such as a request

    def take(self, rows: int, width: int) -> NDArray[np.uint8]:
        """(rows, width) bytes, aligned for any number."""
        size = rows * width
        if size > len(self._free):
            self._free = np.empty(max(self._size, size), np.uint8)
            self._size = _SLAB
        taken, self._free = self._free[:size], self._free[size + -size % 64 :]
        return taken.reshape(rows, width)


@dataclass(frozen=True, slots=True)
class _Span:
    """Where the numbers of a tensor stand in a frame."""

    start: int
    count: int
    dtype: np.dtype[Any]

    @property
    def stop(self) -> int:
        return self.start + self.count * self.dtype.itemsize

    def of(self, frames: NDArray[np.uint8], slab: _Slab) -> Float32:
        """Those numbers of (rows, stride) frames as (rows, count) float32, a copy in ``slab``."""
        found = frames[:, self.start : self.stop]
        if self.dtype.itemsize == 4:
            packed = slab.take(*found.shape)
            packed[...] = found
            return packed.view(self.dtype)
        packed = found.copy().view(self.dtype)
        with np.errstate(over="ignore"):
            return packed.astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Template:
    """A frame that others may equal in all but their values, labels and texts."""

    stride: int
    values: _Span
    labels: _Span | None
    # Words of the frame that hold anything to compare: which, their bits that count, and those bits.
    words: tuple[tuple[int, np.uint32, np.uint32], ...]

    def fits(self, data: NDArray[np.uint8], at: int) -> bool:
        """Whether the frame at ``at`` is of this kind."""
        return bool(len(data) - at >= self.stride and self._alike(data[at : at + self.stride], 1) == 1)

    def read(self, data: NDArray[np.uint8], at: int, slab: _Slab) -> tuple[int, Float32, Float32 | None]:
        """How many frames in a row are of this kind from ``at`` on, their values and their labels."""
        most = (len(data) - at) // self.stride
        run = data[at : at + most * self.stride]
        count = self._alike(run, most)
        frames = run.reshape(most, self.stride)[:count]
        labels = None if self.labels is None else self.labels.of(frames, slab)
        return count, self.values.of(frames, slab), labels

    def _alike(self, run: NDArray[np.uint8], most: int) -> int:
        frames = run.view("<u4").reshape(most, self.stride // 4)
        differs = np.zeros(most, np.uint32)
        for column, mask, bits in self.words:
            difference = frames[:, column] ^ bits
            if mask != 0xFFFFFFFF:
                difference &= mask
            differs |= difference
        return int(np.argmax(differs != 0)) if differs.any() else most


def _template(data: NDArray[np.uint8], labelled: bool) -> _Template | None:
    """A template of the first frame if it is whole, dense and plain; None leaves it to the general reader.

    Plain is what encoders write: each field once, numbers packed. The contents of strings, and of labels that
    are not wanted, may differ from record to record; their lengths may not.
    """
    head = data[:8].tobytes()
    if len(head) < 8 or head[:4] != recordio.MAGIC_BYTES:
        return None
    length = int.from_bytes(head[4:], "little")
    stride = 8 + length + -length % 4
    if length > recordio.LENGTH_MASK or len(data) < stride:
        return None
    frame = data[:stride].tobytes()
    compared = np.full(stride, 0xFF, np.uint8)
    compared[8 + length :] = 0
    values = labels = None
    seen = set()
    for number, wire, start, stop in _fields(frame, 8, 8 + length):
        if number in seen or wire != _DELIMITED or number > 5:
            return None
        seen.add(number)
        if number == 1:
            values = _span(frame, start, stop)
            if values is None:
                return None
            compared[values.start : values.stop] = 0
        elif number == 2 and labelled:
            labels = _span(frame, start, stop)
            if labels is None:
                return None
            compared[labels.start : labels.stop] = 0
        else:
            compared[start:stop] = 0
    if values is None:
        return None
    masks = compared.view("<u4")
    bits = np.frombuffer(frame, "<u4") & masks
    words = tuple((int(column), masks[column], bits[column]) for column in np.flatnonzero(masks))
    return _Template(stride, values, labels, words)


def _span(frame: bytes, start: int, stop: int) -> _Span | None:
    """Where the only tensor of a map entry has its numbers; None if it is sparse, empty or not plain."""
    entry = list(_fields(frame, start, stop))
    if [field[:2] for field in entry] != [(1, _DELIMITED), (2, _DELIMITED)]:
        return None
    if frame[entry[0][2] : entry[0][3]] != _KEY:
        return None
    value = list(_fields(frame, *entry[1][2:]))
    if len(value) != 1 or value[0][1] != _DELIMITED or value[0][0] not in _DENSE_TYPES:
        return None
    tensor = list(_fields(frame, *value[0][2:]))
    if len(tensor) != 1 or tensor[0][:2] != (1, _DELIMITED):
        return None
    dtype = _DENSE_TYPES[value[0][0]]
    count, rest = divmod(tensor[0][3] - tensor[0][2], dtype.itemsize)
    return _Span(tensor[0][2], count, dtype) if count and not rest else None


def _fields(frame: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message: (number, wire type, start and stop); (0, 0, 0, 0) for the unusual."""
    while at < stop:
        tag, at = _varint(frame, at, stop)
        length, at = _varint(frame, at, stop)
        if tag & 7 != _DELIMITED or tag < 8 or at < 0 or length > stop - at:
            yield 0, 0, 0, 0
            return
        yield tag >> 3, tag & 7, at, at + length
        at += length


def _varint(frame: bytes, at: int, stop: int) -> tuple[int, int]:
    """A length or tag of at most 4 bytes and where it ends; -1 if it does not."""
    value = 0
    for shift in range(0, 28, 7):
        if not 0 <= at < stop:
            break
        byte = frame[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    return 0, -1


# Encoding.


def _tag(number: int) -> bytes:
    return bytes([number << 3 | _DELIMITED])


def _encoded(value: int) -> bytes:
    """A variable-length integer."""
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _message(number: int, *contents: bytes) -> bytes:
    """A field whose content is a message, a string or packed numbers."""
    content = b"".join(contents)
    return _tag(number) + _encoded(len(content)) + content


def _entry(number: int, key: str, tensor: bytes) -> bytes:
    """An entry of a record's map ``number``: a Float32Tensor of the bytes ``tensor`` under ``key``."""
    return _message(number, _message(1, key.encode()), _message(2, _message(2, tensor)))


def encode_records(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Response records: one for each row, without features, with a float32 tensor for each column as label.

    Columns are (rows,) or (rows, size) numbers. Raises ValueError if their numbers of rows differ.
    """
    arrays = {name: _flat_rows(np.asarray(column, np.float32)) for name, column in columns.items()}
    rows = {len(array) for array in arrays.values()}
    if len(rows) > 1:
        raise ValueError(f"columns of {sorted(rows)} rows do not go together")
    return _uniform([(2, name, array) for name, array in arrays.items()], rows.pop() if rows else 0)


def _flat_rows(array: Float32) -> Float32:
    """(rows, size) of whatever a row is; -1 would not do where there are no rows."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _uniform(columns: list[tuple[int, str, Float32]], rows: int) -> bytes:
    """Frames that differ in their numbers alone: (map, key, (rows, size) float32) for each tensor."""
    payload = b"".join(
        _entry(number, name, _message(1, bytes(4 * array.shape[1])) if array.shape[1] else b"")
        for number, name, array in columns
    )
    frame = np.frombuffer(recordio.frame(payload), np.uint8)
    frames = np.tile(frame, (rows, 1))
    at = recordio.HEADER
    for number, name, array in columns:
        size = 4 * array.shape[1]
        at += len(_entry(number, name, _message(1, bytes(size)) if size else b""))
        # A tensor's numbers are the last bytes of its entry.
        frames[:, at - size : at] = np.ascontiguousarray(array, "<f4").view(np.uint8)
    return frames.tobytes()


def encode_batch(batch: Batch) -> bytes:
    """Training records of a batch's rows, dense or sparse (with the width as shape), with its labels.

    Weights have no place in records and are left out.
    """
    labels = None
    if batch.labels is not None:
        labels = _flat_rows(np.ascontiguousarray(batch.labels, "<f4"))
    if not isinstance(batch.features, CSR):
        columns = [(1, "values", batch.features)]
        if labels is not None:
            columns.append((2, "values", labels))
        return _uniform(columns, len(batch))
    features = batch.features
    shape = _message(3, _encoded(features.shape[1]))
    values = np.ascontiguousarray(features.values, "<f4").tobytes()
    keys, places = _encoded_array(features.indices)
    frames = []
    bounds = features.indptr.tolist()
    for row, (start, stop) in enumerate(pairwise(bounds)):
        tensor = shape
        if start < stop:
            tensor = b"".join(
                (
                    _message(1, values[4 * start : 4 * stop]),
                    _message(2, keys[places[start] : places[stop]]),
                    shape,
                )
            )
        label = b"" if labels is None else _entry(2, "values", _message(1, labels[row].tobytes()))
        frames.append(recordio.frame(_entry(1, "values", tensor) + label))
    return b"".join(frames)


def _encoded_array(numbers: NDArray[np.int64]) -> tuple[bytes, list[int]]:
    """Variable-length integers one after the other, and where each begins (and the last ends)."""
    rest = numbers.astype(np.uint64)
    sizes = np.ones(len(rest), np.int64)
    for bits in range(7, 64, 7):
        sizes += rest >> np.uint64(bits) > 0
    places = np.concatenate([[0], np.cumsum(sizes)])
    encoded = np.empty(places[-1], np.uint8)
    for index in range(int(sizes.max(initial=0))):
        having = np.flatnonzero(sizes > index)
        byte = rest[having] >> np.uint64(7 * index) & np.uint64(127)
        more = (sizes[having] > index + 1).astype(np.uint64) << np.uint64(7)
        encoded[places[having] + index] = (byte | more).astype(np.uint8)
    return encoded.tobytes(), places.tolist()
