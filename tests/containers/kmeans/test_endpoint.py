"""The real `serve`: every body in and out, models made by hand, mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.batches import Batch, to_csr
from common.failures import ClientError
from common.formats import encode_batch, ndarray, record_pb2
from containers.kmeans.predict import load

CENTERS = np.array([[0, 0, 0], [10, 0, 0], [0, 0, 5]], np.float32)
ROWS = np.array([[0, 3, 4], [10, 0, 1]], np.float32)
# The first row is sqrt(9 + 1) from the third center and 5 from the first.
CLUSTERS, DISTANCES = [2.0, 1.0], [float(np.float32(10**0.5)), 1.0]
ITEMS = [{"distance_to_cluster": d, "closest_cluster": c} for c, d in zip(CLUSTERS, DISTANCES, strict=True)]


@pytest.fixture
def by_hand(tmp_path):
    """What mx.nd.save("model_algo-1", [centers]) writes."""
    folder = tmp_path / "model"
    folder.mkdir()
    ndarray.save(folder / "model_algo-1", [CENTERS])
    (folder / "model.tar.gz").write_bytes(b"stray")
    return tmp_path


def test_every_body_in_and_out(endpoint, by_hand):
    served = endpoint("kmeans", by_hand)
    dense = json.dumps({"instances": [{"features": ROWS[0].tolist()},
                                      {"data": {"features": {"values": ROWS[1].tolist()}}}]})  # fmt: skip
    sparse = json.dumps({"instances": [
        {"data": {"features": {"keys": [1, 2], "shape": [3], "values": [3, 4]}}},
        {"data": {"features": {"keys": [0, 2], "shape": [3], "values": [10, 1]}}},
    ]})  # fmt: skip
    bodies = [
        (dense, "application/json"),
        (sparse, "application/json"),
        ("\n".join(json.dumps({"features": row}) for row in ROWS.tolist()), "application/jsonlines"),
        ("0,3,4\n10,0,1\n", "text/csv"),
        ("7,0,3,4\n7,10,0,1\n", "text/csv;label_size=1"),
        (encode_batch(Batch(ROWS)), "application/x-recordio-protobuf"),
        (encode_batch(Batch(to_csr(ROWS))), "application/x-recordio-protobuf"),
    ]
    for body, content_type in bodies:
        answer = served.invoke(body, content_type)
        assert (answer.status, answer.json()) == (200, {"predictions": ITEMS}), content_type
    lines = served.invoke(dense, "application/json", "application/jsonlines").body.splitlines()
    assert [json.loads(line) for line in lines] == ITEMS
    csv = served.invoke(dense, "application/json", "text/csv").body.decode()
    assert [[float(cell) for cell in line.split(",")] for line in csv.splitlines()] == [
        list(pair) for pair in zip(CLUSTERS, DISTANCES, strict=True)
    ]
    records = served.invoke(dense, "application/json", "application/x-recordio-protobuf").body
    assert labels(records) == [
        {"closest_cluster": [c], "distance_to_cluster": [d]} for c, d in zip(CLUSTERS, DISTANCES, strict=True)
    ]
    for body, content_type, status in (
        ("1,2\n", "text/csv", 400),
        ("1,2,x\n", "text/csv", 400),
        ("1,2,nan\n", "text/csv", 400),
        ('{"instances": [{"features": [1, 2]}]}', "application/json", 400),
        ("1,2,3\n", "application/zip", 415),
    ):
        refused = served.invoke(body, content_type)
        assert refused.status == status
        assert b"Traceback" not in refused.body
    assert served.invoke("0,0,0\n").status == 200


def labels(body: bytes) -> list[dict[str, list[float]]]:
    """The labels of a response's records, read by protobuf's own parser."""
    found, at = [], 0
    while at < len(body):
        size = int.from_bytes(body[at + 4 : at + 8], "little")
        record = record_pb2.Record.FromString(body[at + 8 : at + 8 + size])
        assert not record.features
        found.append({name: list(value.float32_tensor.values) for name, value in record.label.items()})
        at += 8 + -(-size // 4) * 4
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "int64"])
def test_any_type_of_number_by_hand(tmp_path, dtype):
    ndarray.save(tmp_path / "model_algo-1", [CENTERS.astype(dtype)])
    model = load(tmp_path)
    assert model.feature_dim == 3
    answer = model.predict(ROWS, {})
    assert answer["closest_cluster"].tolist() == CLUSTERS
    assert answer["distance_to_cluster"].tolist() == DISTANCES
    assert {column.dtype for column in answer.values()} == {np.dtype(np.float32)}


def test_one_named_array_will_do(tmp_path):
    ndarray.save(tmp_path / "model_algo-1", {"centers": CENTERS})
    assert load(tmp_path).feature_dim == 3


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ([], "has 0 arrays; accepted: one"),
        ([CENTERS, CENTERS], "has 2 arrays; accepted: one"),
        ([CENTERS[0]], "the shape (3,); accepted: (k, feature_dim)"),
        ([CENTERS[:0]], "the shape (0, 3); accepted"),
        ([CENTERS * np.nan], "not all finite"),
        (None, "has no file model_algo-1"),
        (b"PK\3\4", "ends early"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path, arrays, part):
    if isinstance(arrays, bytes):
        (tmp_path / "model_algo-1").write_bytes(arrays)
    elif arrays is not None:
        ndarray.save(tmp_path / "model_algo-1", arrays)
    with pytest.raises(ClientError) as refused:
        load(tmp_path)
    assert part in str(refused.value)


def test_many_rows_sparse_rows_and_far_rows(tmp_path):
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(30, 8)) + 1e5
    ndarray.save(tmp_path / "model_algo-1", [centers])
    model = load(tmp_path)
    rows = (centers[generator.integers(0, 30, 5000)] + generator.normal(size=(5000, 8))).astype(np.float32)
    plain = np.sqrt(((rows[:, None] - centers[None]) ** 2).sum(axis=2))
    for form in (rows, to_csr(rows)):
        answer = model.predict(form, {})
        np.testing.assert_array_equal(answer["closest_cluster"], plain.argmin(axis=1))
        np.testing.assert_allclose(answer["distance_to_cluster"], plain.min(axis=1), rtol=1e-2)
    far = model.predict(np.full((1, 8), 1e30, np.float32), {})
    assert far["distance_to_cluster"][0] == pytest.approx(8**0.5 * 1e30)
    with pytest.raises(ClientError, match="too far"):
        model.predict(np.full((1, 8), 3.4e38, np.float32), {})
