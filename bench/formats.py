"""Decoders against what users have: the SageMaker SDK's reader of records, pandas, pyarrow and scikit-learn.

Each figure is a command; ours and the peer take turns in the same process, and the best times of each are
compared, which what else the machine does disturbs least::

    python -m bench.formats recordio-dense     50 float32 and a label in each record, to a matrix
    python -m bench.formats recordio-double    the same as float64
    python -m bench.formats recordio-changing  the same with a uid of changing length
    python -m bench.formats recordio-sparse    100 of 100,000 values in each record, to CSR batches
    python -m bench.formats csv                50 columns of float32 as Python writes them, to a matrix
    python -m bench.formats csv-double         50 columns of float64 with all their digits
    python -m bench.formats csv-short          50 columns of numbers with 3 decimals
    python -m bench.formats libsvm             20 of 1,000 values in each row, to CSR
    python -m bench.formats request            one CSV row of 50 numbers, and one record of them
    python -m bench.formats all

Rates are of the encoded bytes. The SDK's reader is ``sagemaker.amazon.common.read_records`` if that package
is installed; otherwise the same loop, written here with the protobuf package: frames are read from a file one
by one, each payload parsed into a Record, and numpy arrays made of the records' values.
"""

from __future__ import annotations

import argparse
import io
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from common.batches import CSR, Batch, dense, join
from common.content_types import CSV, LIBSVM, RECORDIO_PROTOBUF, MediaType
from common.formats import Layout, decode, decode_bytes, encode_batch, recordio

Read = Callable[[bytes], object]

LABELLED = Layout(label_size=1)


def ours(content_type: str, layout: Layout) -> Read:
    """Decodes a stream as a training job does, and joins its batches."""
    return lambda data: join(list(decode(io.BytesIO(data), "rows", MediaType(content_type), layout)))


def streamed(content_type: str, layout: Layout) -> Read:
    """Decodes a stream and lets go of each batch before the next, as training in constant memory does."""

    def read(data: bytes) -> int:
        rows = 0
        for batch in decode(io.BytesIO(data), "rows", MediaType(content_type), layout):
            rows += len(batch)
        return rows

    return read


# The SageMaker SDK.


def read_records() -> tuple[str, Callable[[Any], list[Any]]]:
    """The SDK's reader of records, or the same loop; and which of them it is."""
    try:
        from sagemaker.amazon.common import read_records as sdk  # type: ignore[import-not-found]
    except ImportError:
        return "SDK's loop", _read_records
    return "SDK", sdk


def _read_records(file: io.BytesIO) -> list[Any]:
    from common.formats.record_pb2 import Record

    records = []
    for payload in _read_frames(file):
        record = Record()
        record.ParseFromString(payload)
        records.append(record)
    return records


def _read_frames(file: io.BytesIO) -> Iterator[bytes]:
    while True:
        head = file.read(4)
        if not head:
            return
        (magic,) = struct.unpack("I", head)
        if magic != recordio.MAGIC:
            raise ValueError(magic)
        (length,) = struct.unpack("I", file.read(4))
        padding = -length % 4
        payload = file.read(length)
        if padding:
            file.read(padding)
        yield payload


def sdk_dense(read: Callable[[Any], list[Any]], tensor: str) -> Read:
    """The SDK's records to a matrix and labels."""

    def to_matrix(data: bytes) -> object:
        records = read(io.BytesIO(data))
        features = [getattr(record.features["values"], tensor).values for record in records]
        labels = [record.label["values"].float32_tensor.values for record in records]
        return np.array(features, np.float32), np.array(labels, np.float32)

    return to_matrix


def sdk_sparse(read: Callable[[Any], list[Any]]) -> Read:
    """The SDK's records to the three arrays of a CSR matrix, and labels."""

    def to_csr(data: bytes) -> object:
        tensors, labels = [], []
        for record in read(io.BytesIO(data)):
            tensors.append(record.features["values"].float32_tensor)
            labels.append(record.label["values"].float32_tensor.values)
        values = np.concatenate([np.array(tensor.values, np.float32) for tensor in tensors])
        keys = np.concatenate([np.array(tensor.keys, np.int64) for tensor in tensors])
        bounds = np.cumsum([0, *(len(tensor.values) for tensor in tensors)])
        return values, keys, bounds, np.array(labels, np.float32)

    return to_csr


# pandas, pyarrow, scikit-learn.


def pandas_csv(data: bytes) -> object:
    """pandas' C reader to a float32 matrix."""
    import pandas

    frame = pandas.read_csv(io.BytesIO(data), header=None, dtype=np.float32, engine="c")
    return np.ascontiguousarray(frame.to_numpy())


def pyarrow_csv(data: bytes) -> object:
    """pyarrow's reader, on all its threads, to a float32 matrix in row order."""
    import pyarrow
    from pyarrow import csv

    names = [str(column) for column in range(data[: data.index(b"\n")].count(b",") + 1)]
    types = dict.fromkeys(names, pyarrow.float32())
    table = csv.read_csv(
        io.BytesIO(data),
        csv.ReadOptions(column_names=names),
        convert_options=csv.ConvertOptions(column_types=types),
    )
    matrix = np.empty((table.num_rows, len(names)), np.float32)
    for number, column in enumerate(table.columns):
        matrix[:, number] = column.to_numpy()
    return matrix


def sklearn_libsvm(data: bytes) -> object:
    """scikit-learn's reader of libsvm."""
    from sklearn.datasets import load_svmlight_file

    return load_svmlight_file(io.BytesIO(data), dtype=np.float32, zero_based=True)


# Measuring.


def seconds(read: Read, data: bytes, rounds: int) -> list[float]:
    """How long ``read`` takes."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = read(data)
        taken.append(time.perf_counter() - start)
        del result
    return taken


def compare(
    figure: str, mine: Read, data: bytes, peers: Mapping[str, tuple[Read, bytes]], target: float
) -> bool:
    """Prints our rate, each peer's and the ratio to the fastest; whether that is at least ``target``.

    A slow peer may be given fewer bytes, since rates are compared.
    """
    seconds(mine, data, 2)  # loads kernels, and warms the allocator up
    times: list[float] = []
    peer_rates: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(7):
        times += seconds(mine, data, 2)
        for name, (read, peer_data) in peers.items():
            peer_rates[name].append(len(peer_data) / seconds(read, peer_data, 1)[0])
    rate = len(data) / min(times)
    rates = {name: max(found) for name, found in peer_rates.items()}
    ratio = rate / max(rates.values())
    told = ", ".join(f"{name} {found / 1e6:.1f} MB/s" for name, found in rates.items())
    print(f"{figure}: {rate / 1e6:.0f} MB/s; {told}; {ratio:.1f}x (target {target:g}x)", flush=True)
    return ratio >= target


def dense_rows(rows: int) -> Batch:
    """Normal features and labels."""
    random = np.random.default_rng(0)
    return Batch(random.standard_normal((rows, 50), np.float32), random.standard_normal(rows, np.float32))


def records(batch: Batch, tensor: str, uids: bool) -> bytes:
    """Dense records by way of the protobuf package."""
    from common.formats.record_pb2 import Record

    frames = []
    labels = np.ones(len(batch)) if batch.labels is None else batch.labels
    for row in range(len(batch)):
        record = Record()
        getattr(record.features["values"], tensor).values.extend(dense(batch.features)[row].tolist())
        record.label["values"].float32_tensor.values.append(float(labels[row]))
        if uids:
            record.uid = str(row % 12345)
        frames.append(recordio.frame(record.SerializeToString()))
    return b"".join(frames)


def recordio_dense() -> bool:
    """Records of one layout."""
    name, read = read_records()
    large, small = encode_batch(dense_rows(300_000)), encode_batch(dense_rows(10_000))
    peers = {name: (sdk_dense(read, "float32_tensor"), small)}
    return compare("recordio-dense", ours(RECORDIO_PROTOBUF, LABELLED), large, peers, 60)


def recordio_double() -> bool:
    """Records of one layout with float64 tensors."""
    name, read = read_records()
    small = records(dense_rows(5_000), "float64_tensor", False)
    peers = {name: (sdk_dense(read, "float64_tensor"), small)}
    return compare("recordio-double", ours(RECORDIO_PROTOBUF, LABELLED), small * 20, peers, 60)


def recordio_changing() -> bool:
    """Records of changing length."""
    name, read = read_records()
    small = records(dense_rows(10_000), "float32_tensor", True)
    peers = {name: (sdk_dense(read, "float32_tensor"), small)}
    return compare("recordio-changing", ours(RECORDIO_PROTOBUF, LABELLED), small * 10, peers, 20)


def recordio_sparse() -> bool:
    """Sparse records."""
    name, read = read_records()
    random = np.random.default_rng(0)
    rows = 5_000
    keys = np.sort(random.integers(0, 100_000, (rows, 100)), 1)
    features = CSR(
        random.standard_normal(rows * 100, np.float32),
        keys.reshape(-1),
        np.arange(rows + 1) * 100,
        (rows, 100_000),
    )
    small = encode_batch(Batch(features, np.ones(rows, np.float32)))
    peers = {name: (sdk_sparse(read), small)}
    batches = compare("recordio-sparse", streamed(RECORDIO_PROTOBUF, LABELLED), small * 20, peers, 20)
    compare("recordio-sparse, joined", ours(RECORDIO_PROTOBUF, LABELLED), small * 20, peers, 0)
    return batches


def _csv(figure: str, form: Callable[[float], str], double: bool) -> bool:
    matrix = np.random.default_rng(0).standard_normal((20_000, 50))
    values = (matrix if double else matrix.astype(np.float32)).tolist()
    data = "".join(",".join(map(form, row)) + "\n" for row in values).encode() * 2
    peers = {"pandas": (pandas_csv, data), "pyarrow": (pyarrow_csv, data)}
    return compare(figure, ours(CSV, Layout()), data, peers, 1)


def csv() -> bool:
    """Numbers as numpy writes float32."""
    return _csv("csv", lambda value: str(np.float32(value)), False)


def csv_double() -> bool:
    """Numbers with 16 or 17 digits."""
    return _csv("csv-double", repr, True)


def csv_short() -> bool:
    """Numbers with 3 decimals."""
    return _csv("csv-short", "{:.3f}".format, True)


def libsvm() -> bool:
    """libsvm rows."""
    random = np.random.default_rng(0)
    keys = np.sort(np.argsort(random.random((5_000, 1000)), 1)[:, :20], 1).tolist()
    lines = (
        f"{row % 2} " + " ".join(f"{key}:{random.standard_normal():.6g}" for key in row_keys)
        for row, row_keys in enumerate(keys)
    )
    data = ("\n".join(lines) + "\n").encode() * 10
    return compare(
        "libsvm", ours(LIBSVM, LABELLED), data, {"scikit-learn": (sklearn_libsvm, data[: len(data) // 10])}, 1
    )


def request() -> bool:
    """Small request bodies."""
    row = dense_rows(1)
    bodies = {
        CSV: (",".join(f"{value:.6g}" for value in dense(row.features)[0].tolist()) + "\n").encode(),
        RECORDIO_PROTOBUF: encode_batch(row),
    }
    for name, body in bodies.items():
        media_type = MediaType(name)
        times = []
        for _ in range(2000):
            start = time.perf_counter()
            decode_bytes(body, "body", media_type, Layout())
            times.append(time.perf_counter() - start)
        print(
            f"request, {name}: {statistics.median(times) * 1e6:.0f} microseconds for a row of 50", flush=True
        )
    return True


FIGURES = {
    "recordio-dense": recordio_dense,
    "recordio-double": recordio_double,
    "recordio-changing": recordio_changing,
    "recordio-sparse": recordio_sparse,
    "csv": csv,
    "csv-double": csv_double,
    "csv-short": csv_short,
    "libsvm": libsvm,
    "request": request,
}


def main() -> None:
    """Measures one figure or all; exits with 1 if one is below its target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figure", choices=[*FIGURES, "all"])
    chosen = parser.parse_args().figure
    results = [measure() for name, measure in FIGURES.items() if chosen in (name, "all")]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
