"""`algodock convert`: CSV, libsvm, Parquet and npz to and from RecordIO-protobuf, by the files' endings.

An algorithm whose data are something else has a converter of its own: a module ``convert`` in its folder with
``convert(arguments, program)``, which reads a command line and yields a sentence on each file it wrote.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from common import content_types, manifest
from common.batches import CSR, Batch, dense, join
from common.channels.streams import Inflating
from common.content_types import MediaType
from common.failures import ClientError, one_of
from common.formats import Layout, decode, encode_batch
from common.job import written

READABLE = {
    ".csv": content_types.CSV,
    ".libsvm": content_types.LIBSVM,
    ".svm": content_types.LIBSVM,
    ".parquet": content_types.PARQUET,
    ".pbr": content_types.RECORDIO_PROTOBUF,
    ".recordio": content_types.RECORDIO_PROTOBUF,
}

_CELLS = 1 << 24  # of a matrix that is written with its zeros


def convert(source: Path, target: Path, label_size: int) -> int:
    """Rewrites the rows of ``source`` in the format of ``target``'s ending; returns how many.

    ``label_size`` is how many label columns lead (for npz and RecordIO: 0 leaves labels out). Raises
    ClientError for an ending that isn't known and for whatever is wrong in the source.
    """
    ending = target.suffix.lower()
    writer = _WRITERS.get(ending)
    if writer is None:
        raise ClientError(f"{target.name}: the ending is unknown; accepted: {one_of(_WRITERS)}")
    if label_size < 0:
        raise ClientError(f"--label-size is {label_size}; accepted: a whole number from 0")
    if label_size > 1 and ending in (".libsvm", ".svm"):
        raise ClientError(f"--label-size is {label_size}; accepted for {ending}: 0 or 1, one label a row")
    if not source.is_file():
        raise ClientError(f"{source} is no file; accepted: a file ending in {one_of([*READABLE, '.npz'])}")
    batches = _read(source, label_size)
    first = next(batches, None)
    if first is None:
        raise ClientError(f"{source.name} holds no rows")
    with written(target) as temporary:
        return writer(chain([first], batches), temporary)


def convert_for(algorithm: str, arguments: Sequence[str]) -> Iterator[str]:
    """Converts what only ``algorithm`` knows. Raises ClientError when there is nothing like that."""
    having = [name for name, path in manifest.known().items() if (path.parent / "convert.py").is_file()]
    found = manifest.load(algorithm)
    if found.name not in having:
        raise ClientError(f"{found.name} has no converter of its own; accepted: {one_of(having)}")
    converted: Iterator[str] = found.module("convert").convert(
        arguments, f"algodock convert --for {found.name}"
    )
    return converted


def _read(path: Path, label_size: int) -> Iterator[Batch]:
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if ending == ".npz":
        yield from filter(len, [_npz(path, label_size)])
        return
    name = READABLE.get(ending)
    if name is None:
        raise ClientError(f"{path.name}: the ending is unknown; accepted: {one_of([*READABLE, '.npz'])}")
    width = 0
    if name in (content_types.LIBSVM, content_types.RECORDIO_PROTOBUF):
        # Sparse rows may be as wide as their largest index, and a table's rows are all as wide as its widest.
        width = max((batch.width for batch in _decoded(path, name, label_size)), default=0)
    for batch in _decoded(path, name, label_size):
        features = batch.features
        if isinstance(features, CSR) and features.shape[1] < width:
            batch = replace(batch, features=replace(features, shape=(len(batch), width)))
        yield batch


def _decoded(path: Path, name: str, label_size: int) -> Iterator[Batch]:
    with path.open("rb", buffering=0) as file:
        stream = Inflating(file, path.name)
        yield from filter(len, decode(stream, path.name, MediaType(name), Layout(label_size=label_size)))


def _npz(path: Path, label_size: int) -> Batch:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            features = np.ascontiguousarray(arrays["features"], np.float32)
            labels = np.ascontiguousarray(arrays["labels"], np.float32) if label_size else None
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ClientError(
            f"{path.name} is not accepted ({error}); accepted: an npz with arrays 'features' (rows x "
            "columns) and, with labels, 'labels'"
        ) from None
    if features.ndim != 2 or (labels is not None and len(labels) != len(features)):
        raise ClientError(f"{path.name}: 'features' is not rows x columns with a label each")
    return Batch(features, labels)


def _write_records(batches: Iterator[Batch], path: Path) -> int:
    with path.open("wb") as file:
        return sum(len(batch) for batch in batches if file.write(encode_batch(batch)) >= 0)


def _tables(batches: Iterator[Batch]) -> Iterator[np.ndarray]:
    """Labels and features as matrices, few rows at once of sparse ones that are wide."""
    for batch in batches:
        rows = max(1, _CELLS // max(1, batch.width))
        for start in range(0, len(batch), rows):
            part = batch[start : start + rows]
            features = _dense(part)
            yield features if part.labels is None else np.column_stack([part.labels, features])


def _dense(batch: Batch) -> np.ndarray:
    if batch.width > _CELLS:
        raise ClientError(
            f"rows of {batch.width:,} columns are too wide to be written with their zeros; accepted: up to "
            f"{_CELLS:,}, or a target ending in .pbr or .libsvm"
        )
    return dense(batch.features)


def _write_csv(batches: Iterator[Batch], path: Path) -> int:
    rows = 0
    with path.open("w") as file:
        for table in _tables(batches):
            np.savetxt(file, table, fmt="%.9g", delimiter=",")
            rows += len(table)
    return rows


def _write_libsvm(batches: Iterator[Batch], path: Path) -> int:
    rows = 0
    with path.open("w") as file:
        for batch in batches:
            labels = np.zeros(len(batch)) if batch.labels is None else batch.labels
            for row, label in enumerate(labels.reshape(len(batch), -1)[:, 0]):
                columns, values = _pairs(batch, row)
                pairs = (f" {column}:{value:.9g}" for column, value in zip(columns, values, strict=True))
                file.write(f"{label:.9g}{''.join(pairs)}\n")
            rows += len(batch)
    return rows


def _pairs(batch: Batch, row: int) -> tuple[np.ndarray, np.ndarray]:
    features = batch.features
    if isinstance(features, CSR):
        cells = slice(features.indptr[row], features.indptr[row + 1])
        return features.indices[cells], features.values[cells]
    columns = np.flatnonzero(features[row])
    return columns, features[row, columns]


def _write_npz(batches: Iterator[Batch], path: Path) -> int:
    whole = join(list(batches))
    arrays = {"features": _dense(whole)}
    if whole.labels is not None:
        arrays["labels"] = whole.labels
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return len(whole)


def _write_parquet(batches: Iterator[Batch], path: Path) -> int:
    import pyarrow
    import pyarrow.parquet

    rows = 0
    writer = None
    try:
        for matrix in _tables(batches):
            table = pyarrow.table({f"column_{index}": column for index, column in enumerate(matrix.T)})
            writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
            rows += len(matrix)
    finally:
        if writer:
            writer.close()
    return rows


_WRITERS: dict[str, Callable[[Iterator[Batch], Path], int]] = {
    ".csv": _write_csv,
    ".libsvm": _write_libsvm,
    ".svm": _write_libsvm,
    ".npz": _write_npz,
    ".parquet": _write_parquet,
    ".pbr": _write_records,
    ".recordio": _write_records,
}
