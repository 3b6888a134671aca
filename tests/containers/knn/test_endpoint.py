"""The real `serve` on a trained model: every content type in and out, and what it refuses."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from common.batches import Batch, to_csr
from common.formats import encode_batch
from common.formats.record_pb2 import Record
from common.formats.recordio import payloads
from containers.knn import artifact
from containers.knn.model import KNN, IndexSettings, Preparation, new_index

ROWS = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [5, 5, 5], [6, 5, 5]], np.float32)
LABELS = np.array([2, 2, 4, 7, 7], np.float32)
QUERIES = np.array([[0, 0.5, 0], [5, 5, 6]], np.float32)
VERBOSE = [
    {"predicted_label": 2.0, "distances": [0.25, 1.25, 2.25], "labels": [2.0, 2.0, 4.0]},
    {"predicted_label": 7.0, "distances": [1.0, 2.0, 70.0], "labels": [7.0, 7.0, 4.0]},
]
BRIEF = [{"predicted_label": 2.0}, {"predicted_label": 7.0}]
CSV = "0,0.5,0\n5,5,6\n"
PROTOBUF = "application/x-recordio-protobuf"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("ml")
    (root / "model").mkdir()
    index = new_index(3, IndexSettings())
    index.add(ROWS)
    knn = KNN(index, LABELS, 3, "classifier", Preparation(3, 3))
    for name in artifact.NAMES:
        artifact.write(knn, name, root / "model" / name)
    return root


def labels_of(body: bytes) -> list[dict[str, list[float]]]:
    found = []
    for payload in payloads(io.BytesIO(body), "the answer"):
        record = Record.FromString(payload)
        assert not record.features
        found.append({name: list(value.float32_tensor.values) for name, value in record.label.items()})
    return found


def test_every_body_in_and_out(model, endpoint):
    serving = endpoint("knn", model)
    dense = [{"features": row.tolist()} for row in QUERIES]
    nested = [{"data": {"features": {"values": row.tolist()}}} for row in QUERIES]
    sparse = [
        {"data": {"features": {"keys": [1], "shape": [3], "values": [0.5]}}},
        {"data": {"features": {"keys": [2, 0, 1], "shape": [3], "values": [6, 5, 5]}}},
    ]
    lines = "".join(json.dumps(item) + "\n" for item in (dense[0], sparse[1]))
    for body, content_type in [
        (CSV, "text/csv"),
        ("9," + CSV.replace("\n", "\n9,", 1), "text/csv; label_size=1; charset=utf-8"),
        (json.dumps({"instances": dense}), "application/json"),
        (json.dumps({"instances": nested}), "application/json"),
        (json.dumps({"instances": sparse}), "application/json"),
        (lines, "application/jsonlines"),
        (encode_batch(Batch(QUERIES)), PROTOBUF),
        (encode_batch(Batch(to_csr(QUERIES))), PROTOBUF),
    ]:
        answer = serving.invoke(body, content_type)
        assert (answer.status, answer.content_type) == (200, "application/json"), answer.body
        assert answer.json() == {"predictions": BRIEF}
    assert serving.invoke(CSV, "text/csv", "application/json; verbose=true").json() == {
        "predictions": VERBOSE
    }
    assert serving.invoke(CSV, "text/csv", "application/json;verbose=false").json() == {"predictions": BRIEF}
    for accept, due in [("application/jsonlines", BRIEF), ("application/jsonlines; verbose=True", VERBOSE)]:
        assert list(map(json.loads, serving.invoke(CSV, "text/csv", accept).body.splitlines())) == due
    assert serving.invoke(CSV, "text/csv", "text/csv").body == b"2.0\n7.0\n"
    first = serving.invoke(CSV, "text/csv", "text/csv; verbose=true").body.splitlines()[0]
    assert first == b"2.0,0.25,1.25,2.25,2.0,2.0,4.0"
    assert labels_of(serving.invoke(CSV, "text/csv", PROTOBUF).body) == [
        {"predicted_label": [2.0]},
        {"predicted_label": [7.0]},
    ]
    assert labels_of(serving.invoke(CSV, "text/csv", PROTOBUF + "; verbose=true").body) == [
        {name: value if isinstance(value, list) else [value] for name, value in item.items()}
        for item in VERBOSE
    ]


def test_many_rows_in_several_processes(model, endpoint):
    """Enough rows for FAISS's threads, in processes that share a model."""
    serving = endpoint("knn", model, SAGEMAKER_MODEL_SERVER_WORKERS="2")
    body = CSV * 2000
    for _ in range(4):
        predictions = serving.invoke(body, "text/csv").json()["predictions"]
        assert predictions == BRIEF * 2000


def test_what_is_wrong_with_a_request(model, endpoint):
    serving = endpoint("knn", model)
    for body, content_type, accept, status, part in [
        ("1,2\n", "text/csv", None, 400, "3"),
        ("1,2,x\n", "text/csv", None, 400, "x"),
        ("1,2,nan\n", "text/csv", None, 400, ""),
        ("1,2,3e38\n", "text/csv", None, 400, "row 1"),
        ('{"instances": 3}', "application/json", None, 400, "instances"),
        (CSV, "text/csv", "application/json; verbose=perhaps", 400, "verbose"),
        (CSV, "text/csv", "image/png", 406, "image/png"),
        (CSV, "application/x-parquet", None, 415, "parquet"),
    ]:
        answer = serving.invoke(body, content_type, accept)
        assert answer.status == status, (body, answer.body)
        assert part in answer.body.decode()
        assert "Traceback" not in answer.body.decode()
    assert serving.invoke(CSV).json() == {"predictions": BRIEF}


def test_an_edited_model_answers_as_edited(model, endpoint):
    path = model / "model" / artifact.METADATA
    written = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(written), "k": 2, "predictor_type": "regressor"}))
        answer = (
            endpoint("knn", model).invoke("0,1.1,0\n", "text/csv", "application/json;verbose=true").json()
        )
    finally:
        path.write_text(written)
    (only,) = answer["predictions"]
    assert only["predicted_label"] == 3.0
    assert only["labels"] == [4.0, 2.0]
    np.testing.assert_allclose(only["distances"], [0.81, 1.21], rtol=1e-6)
