import io
from contextlib import suppress

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from common.batches import Batch
from common.content_types import MediaType
from common.failures import ClientError
from common.formats import Layout, decode_bytes

from .sources import Drops, batches, rows, same

TYPE = "application/x-parquet"


def file(columns, **options) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), sink, **options)
    return sink.getvalue()


def refused(data: bytes, **layout) -> str:
    with pytest.raises(ClientError) as caught:
        rows(data, TYPE, **layout)
    with pytest.raises(ClientError):
        decode_bytes(data, "rows", MediaType(TYPE), Layout(**layout))
    return str(caught.value)


def test_columns_of_every_number():
    kinds = ["int8", "uint16", "int64", "uint64", "float32", "float64", "bool", "float16"]
    columns = {kind: pyarrow.array(np.array([0, 1, 1]).astype(kind)) for kind in kinds}
    data = file({"label": [5, 6, 7], **columns})
    found = rows(data, TYPE, label_size=1)
    expected = Batch(np.repeat(np.float32([[0], [1], [1]]), len(kinds), 1), np.float32([5, 6, 7]))
    assert same(found, expected)
    assert same(decode_bytes(data, "rows", MediaType(TYPE), Layout(label_size=1)), expected)
    assert same(rows(Drops(data, 100, pauses=True), TYPE, label_size=1), expected)
    assert rows(data, TYPE, label_size=2).labels.tolist() == [[5, 0], [6, 1], [7, 1]]


def test_large_numbers_are_rounded():
    found = rows(file({"a": [(1 << 62) + 1], "b": [1e300]}), TYPE)
    assert found.features.tolist() == [[float(1 << 62), np.inf]]


def test_row_groups_are_streamed(monkeypatch):
    monkeypatch.setattr("common.formats.parquet._BATCH", 1 << 18)
    values = np.arange(600_000, dtype=np.float32).reshape(-1, 3)
    data = file(
        {name: values[:, i] for i, name in enumerate("abc")}, row_group_size=10_000, compression="gzip"
    )
    found = batches(data, TYPE)
    assert len(found) > 1
    assert np.array_equal(np.concatenate([batch.features for batch in found]), values)


def test_nulls():
    data = file({"label": [1, 2], "a": [1.0, None]})
    found = rows(data, TYPE, label_size=1, missing=True)
    assert np.array_equal(found.features, np.float32([[1], [np.nan]]), equal_nan=True)
    assert refused(data) == "row 2, column 'a' of rows is null; a number is expected"
    data = file({"label": [None, 2], "a": [1.0, None]}, row_group_size=1)
    assert (
        refused(data, label_size=1, missing=True)
        == "row 1, column 'label' of rows is null; a number is expected"
    )


def test_no_rows():
    assert rows(file({"a": pyarrow.array([], "float32")}), TYPE) is None
    assert decode_bytes(b"", "rows", MediaType(TYPE), Layout()) is None


@pytest.mark.parametrize(
    ("columns", "layout", "message"),
    [
        ({"a": ["x"]}, {}, "column 'a' of rows holds string; columns of numbers and booleans are accepted"),
        ({"a": [[1.0]]}, {}, "column 'a' of rows holds list<"),
        (
            {"a": [1]},
            {"label_size": 1},
            "rows has 1 column; 1 of labels and at least 1 of features are expected",
        ),
        (
            {"a": [1], "b": [1]},
            {"feature_dim": 3},
            "rows has 2 columns; 0 of labels and 3 of features are expected",
        ),
    ],
)
def test_what_users_get_wrong(columns, layout, message):
    assert refused(file(columns), **layout).startswith(message)


def test_broken_files():
    data = file({"a": np.arange(300.0), "b": np.arange(300)})
    for stop in [1, 4, 20, len(data) // 2, len(data) - 9, len(data) - 1]:
        assert refused(data[:stop]).startswith("rows cannot be read as Parquet (")
    assert refused(b"1,2\n3,4\n" * 9).startswith("rows cannot be read as Parquet (")


def test_damaged_bytes_never_end_otherwise():
    data = bytearray(file({"a": np.arange(50.0), "b": np.arange(50)}))
    random = np.random.default_rng(0)
    for _ in range(150):
        copy = data.copy()
        for at in random.integers(0, len(data), 3):
            copy[at] = random.integers(256)
        with suppress(ClientError):
            batches(bytes(copy), TYPE)
