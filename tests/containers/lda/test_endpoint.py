"""The real `serve`: every body in and out, models edited by hand, mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.batches import Batch, to_csr
from common.failures import ClientError
from common.formats import encode_batch, ndarray, record_pb2
from containers.lda.predict import load

ALPHA = np.array([0.25, 0.25, 0.5], np.float32)
BETA = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0.25, 0.25, 0.25, 0.25]], np.float32)
ROWS = np.array([[9, 7, 0, 0], [0, 1, 6, 2], [0, 0, 0, 0]], np.float32)


@pytest.fixture
def by_hand(tmp_path):
    """What mx.nd.save("model_algo-1", [alpha, beta]) writes."""
    folder = tmp_path / "model"
    folder.mkdir()
    ndarray.save(folder / "model_algo-1", [ALPHA, BETA])
    (folder / "model.tar.gz").write_bytes(b"stray")
    return tmp_path


def test_every_body_in_and_out(endpoint, by_hand):
    expected = load(by_hand / "model").predict(ROWS, {})["topic_mixture"]
    assert expected[0].argmax() == 0
    assert expected[1].argmax() == 1
    np.testing.assert_allclose(expected[2], ALPHA)
    items = [{"topic_mixture": row} for row in expected.tolist()]
    served = endpoint("lda", by_hand)
    dense = json.dumps({"instances": [{"features": ROWS[0].tolist()},
                                      {"data": {"features": {"values": ROWS[1].tolist()}}},
                                      {"features": ROWS[2].tolist()}]})  # fmt: skip
    sparse = json.dumps({"instances": [
        {"data": {"features": {"keys": [0, 1], "shape": [4], "values": [9, 7]}}},
        {"data": {"features": {"keys": [3, 2, 1], "shape": [4], "values": [2, 6, 1]}}},
        {"data": {"features": {"keys": [], "shape": [4], "values": []}}},
    ]})  # fmt: skip
    bodies = [
        (dense, "application/json"),
        (sparse, "application/json"),
        ("\n".join(json.dumps({"features": row}) for row in ROWS.tolist()), "application/jsonlines"),
        ("9,7,0,0\n0,1,6,2\n0,0,0,0\n", "text/csv"),
        ("5,9,7,0,0\n5,0,1,6,2\n5,0,0,0,0\n", "text/csv;label_size=1"),
        (encode_batch(Batch(ROWS)), "application/x-recordio-protobuf"),
        (encode_batch(Batch(to_csr(ROWS))), "application/x-recordio-protobuf"),
    ]
    for body, content_type in bodies:
        answer = served.invoke(body, content_type)
        assert (answer.status, answer.json()) == (200, {"predictions": items}), content_type
    lines = served.invoke(dense, "application/json", "application/jsonlines").body.splitlines()
    assert [json.loads(line) for line in lines] == items
    csv = served.invoke(dense, "application/json", "text/csv").body.decode()
    table = [[float(cell) for cell in line.split(",")] for line in csv.splitlines()]
    np.testing.assert_allclose(table, expected, rtol=1e-6)
    records = served.invoke(dense, "application/json", "application/x-recordio-protobuf").body
    np.testing.assert_array_equal(labels(records), expected)
    for body, content_type, status in (
        ("1,2,3\n", "text/csv", 400),
        ("1,2,3,x\n", "text/csv", 400),
        ("1,2,3,nan\n", "text/csv", 400),
        ("1,2,3,-1\n", "text/csv", 400),
        ('{"instances": [{"features": [1, 2]}]}', "application/json", 400),
        ("1,2,3,4\n", "application/zip", 415),
    ):
        refused = served.invoke(body, content_type)
        assert refused.status == status, body
        assert b"Traceback" not in refused.body
    assert served.invoke("0,0,0,1\n").status == 200


def labels(body: bytes) -> list[list[float]]:
    """The mixtures of a response's records, read by protobuf's own parser."""
    found, at = [], 0
    while at < len(body):
        size = int.from_bytes(body[at + 4 : at + 8], "little")
        record = record_pb2.Record.FromString(body[at + 8 : at + 8 + size])
        assert not record.features
        assert list(record.label) == ["topic_mixture"]
        found.append(list(record.label["topic_mixture"].float32_tensor.values))
        at += 8 + -(-size // 4) * 4
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_edited_models_are_served(tmp_path, dtype):
    """Topics taken out or added, rows that don't sum to 1, any type, named or not."""
    edited = [ALPHA[[2, 0]].astype(dtype), (BETA[[2, 0]] * 4).astype(dtype)]
    expected = None
    for arrays in (edited, dict(zip(("alpha", "beta"), edited, strict=True))):
        ndarray.save(tmp_path / "model_algo-1", arrays)
        model = load(tmp_path)
        assert model.feature_dim == 4
        mixtures = model.predict(ROWS, {})["topic_mixture"]
        assert (mixtures.shape, mixtures.dtype) == ((3, 2), np.float32)
        np.testing.assert_allclose(mixtures.sum(axis=1), 1, rtol=1e-6)
        assert mixtures[0, 1] > 0.9
        assert expected is None or (expected == mixtures).all()
        expected = mixtures


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ([], "has 0 arrays; accepted: two, alpha and beta"),
        ([BETA], "has 1 arrays"),
        ([BETA, ALPHA], "the shapes (3, 4) and (3,); accepted: (num_topics,)"),
        ([ALPHA[:2], BETA], "the shapes (2,) and (3, 4)"),
        ([ALPHA[:0], BETA[:0]], "the shapes (0,) and (0, 4)"),
        ([-ALPHA, BETA], "alpha in model_algo-1"),
        ([ALPHA, BETA - 0.1], "beta in model_algo-1 has negative"),
        ([ALPHA * np.nan, BETA], "alpha in model_algo-1"),
        ([ALPHA, BETA * np.array([[1], [0], [1]])], "in each row of beta one above 0"),
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


def test_a_large_vocabulary_costs_what_its_documents_have(tmp_path):
    generator = np.random.default_rng(0)
    beta = generator.random((5, 200_000), np.float32)
    ndarray.save(tmp_path / "model_algo-1", [np.full(5, 0.2, np.float32), beta])
    model = load(tmp_path)
    rows = np.zeros((40, 200_000), np.float32)
    rows[np.arange(40).repeat(20), generator.integers(0, 200_000, 800)] = 1
    wide = model.predict(to_csr(rows), {})["topic_mixture"]
    np.testing.assert_array_equal(model.predict(rows, {})["topic_mixture"], wide)
    used = np.flatnonzero(rows.any(axis=0))
    # The same topics cut to the words that are there answer the same, up to rounding of what is cut.
    narrow = beta[:, used] / beta.sum(axis=1, keepdims=True, dtype=np.float64)
    narrow = np.column_stack([narrow, 1 - narrow.sum(axis=1)]).astype(np.float32)
    ndarray.save(tmp_path / "model_algo-1", [np.full(5, 0.2, np.float32), narrow])
    few = load(tmp_path).predict(np.column_stack([rows[:, used], np.zeros(40, np.float32)]), {})
    np.testing.assert_allclose(few["topic_mixture"], wide, atol=1e-4)
