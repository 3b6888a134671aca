"""What the tests of decoders read from, and the protobuf package's own reading of records as a reference."""

from __future__ import annotations

import io

import numpy as np

from common.batches import CSR, Batch, join
from common.content_types import parse
from common.formats import Layout, decode, recordio
from common.formats.record_pb2 import Record


class Drops(io.RawIOBase):
    """A stream that gives a byte (or a few) at a time, and sometimes says that nothing is there yet."""

    def __init__(self, data: bytes, size: int = 1, pauses: bool = False) -> None:
        self._data = io.BytesIO(data)
        self._size = size
        self._pauses = pauses
        self._calls = 0

    def readinto(self, buffer):
        self._calls += 1
        if self._pauses and self._calls % 50 == 0:
            return None
        part = self._data.read(min(self._size, len(buffer)))
        buffer[: len(part)] = part
        return len(part)


def batches(data, content_type="application/x-recordio-protobuf", **layout):
    stream = data if hasattr(data, "readinto") else io.BytesIO(data)
    return list(decode(stream, "rows", parse(content_type), Layout(**layout)))


def rows(data, content_type="application/x-recordio-protobuf", **layout):
    """All rows as one batch, None if there are none."""
    found = batches(data, content_type, **layout)
    return join(found) if found else None


def frames(*records) -> bytes:
    return b"".join(
        recordio.frame(record if isinstance(record, bytes) else record.SerializeToString())
        for record in records
    )


def record(values=None, label=None, keys=None, shape=None, kind="float32", label_kind="float32", uid=None):
    """A Record as the SageMaker SDK makes them."""
    made = Record()
    if values is not None:
        tensor = getattr(made.features["values"], f"{kind}_tensor")
        tensor.SetInParent()
        tensor.values.extend(values)
        tensor.keys.extend(keys or [])
        tensor.shape.extend(shape or [])
    if label is not None:
        getattr(made.label["values"], f"{label_kind}_tensor").values.extend(label)
    if uid is not None:
        made.uid = uid
    return made


def tensor_of(value):
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def reference(payload: bytes):
    """(values, keys or None, label values) of a record, as the protobuf package reads it."""
    message = Record.FromString(payload)
    tensor = tensor_of(message.features["values"])
    label = tensor_of(message.label["values"])
    values = np.array(list(tensor.values), np.float64).astype(np.float32)
    is_sparse = bool(tensor.keys) or not len(values)
    return values, list(tensor.keys) if is_sparse else None, [] if label is None else list(label.values)


def same(left: Batch, right: Batch) -> bool:
    def equal(a, b):
        return (a is None) == (b is None) and (a is None or np.array_equal(a, b, equal_nan=True))

    if isinstance(left.features, CSR) != isinstance(right.features, CSR):
        return False
    if isinstance(left.features, CSR):
        a, b = left.features, right.features
        alike = a.shape == b.shape and equal(a.indptr, b.indptr)
        alike = alike and equal(a.indices, b.indices) and equal(a.values, b.values)
    else:
        alike = equal(left.features, right.features)
    return alike and equal(left.labels, right.labels) and equal(left.weights, right.weights)
