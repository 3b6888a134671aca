"""The real `serve`: every body in and out, and models that are damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.batches import Batch, to_csr
from common.cores import Cores
from common.failures import ClientError
from common.formats import encode_batch, ndarray, record_pb2
from containers.randomcutforest import artifact
from containers.randomcutforest.model import Forest, grow_forest
from containers.randomcutforest.predict import load
from containers.randomcutforest.scoring import Scorer

ROWS = np.array([[1.5, 16, 14, 0], [0.25, -0.5, 0, 0.125]], np.float32)


@pytest.fixture(scope="module")
def forest() -> Forest:
    sample = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32).round(1)
    with Cores(1) as cores:
        return grow_forest(sample, 50, 0, cores)[0]


@pytest.fixture
def model(tmp_path, forest):
    folder = tmp_path / "model"
    folder.mkdir()
    artifact.save(folder / "model_algo-1", forest)
    (folder / "model.tar.gz").write_bytes(b"stray")
    return tmp_path


def test_every_body_in_and_out(endpoint, model, forest):
    served = endpoint("randomcutforest", model)
    expected = Scorer(forest).scores(ROWS).tolist()
    assert expected[0] > 3 > 1 > expected[1] > 0.5
    items = [{"score": score} for score in expected]
    dense = json.dumps({"instances": [{"features": ROWS[0].tolist()},
                                      {"data": {"features": {"values": ROWS[1].tolist()}}}]})  # fmt: skip
    sparse = json.dumps({"instances": [
        {"data": {"features": {"keys": [0, 1, 2], "shape": [4], "values": [1.5, 16, 14]}}},
        {"data": {"features": {"keys": [0, 1, 3], "shape": [4], "values": [0.25, -0.5, 0.125]}}},
    ]})  # fmt: skip
    bodies = [
        (dense, "application/json"),
        (sparse, "application/json"),
        ("\n".join(json.dumps({"features": row}) for row in ROWS.tolist()), "application/jsonlines"),
        ("1.5,16,14,0\n0.25,-0.5,0,0.125\n", "text/csv"),
        ("1.5,16,14,0\n0.25,-0.5,0,0.125\n", "text/csv;label_size=0"),
        (encode_batch(Batch(ROWS)), "application/x-recordio-protobuf"),
        (encode_batch(Batch(to_csr(ROWS))), "application/x-recordio-protobuf"),
    ]
    for body, content_type in bodies:
        answer = served.invoke(body, content_type)
        assert (answer.status, answer.json()) == (200, {"scores": items}), content_type
        lines = served.invoke(body, content_type, "application/jsonlines").body.splitlines()
        assert [json.loads(line) for line in lines] == items
        csv = served.invoke(body, content_type, "text/csv").body.decode()
        assert [float(line) for line in csv.splitlines()] == expected
        answer = served.invoke(body, content_type, "application/x-recordio-protobuf")
        assert labels(answer.body) == [{"score": [score]} for score in expected]
    for body, content_type, status in (
        ("1,2,3\n", "text/csv", 400),
        ("1,2,3,x\n", "text/csv", 400),
        ("1,2,3,nan\n", "text/csv", 400),
        (encode_batch(Batch(ROWS))[:-9], "application/x-recordio-protobuf", 400),
        ('{"instances": [{"features": [1, 2]}]}', "application/json", 400),
        ("1,2,3,4\n", "application/zip", 415),
    ):
        refused = served.invoke(body, content_type)
        assert refused.status == status
        assert b"Traceback" not in refused.body
    assert served.invoke("0,0,0,0\n").status == 200


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


def test_a_model_answers_as_the_forest_it_was(model, forest):
    random = np.random.default_rng(1).normal(size=(700, 4)).astype(np.float32)
    loaded = load(model / "model")
    assert loaded.feature_dim == 4
    np.testing.assert_array_equal(loaded.predict(random, {})["score"], Scorer(forest).scores(random))


def damaged(name, **changes):
    """A copy of an array with some places changed."""
    return lambda arrays: {**arrays, name: changed(arrays[name], **changes)}


def changed(array, at=0, to=0):
    array = array.copy()
    array.flat[at] = to
    return array


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda arrays: list(arrays.values()), "doesn't hold the arrays leaves, points"),
        (lambda arrays: {**arrays, "more": np.ones(1)}, "doesn't hold the arrays"),
        (lambda arrays: {**arrays, "points": arrays["points"].astype(float)}, "points of type float64"),
        (lambda arrays: {**arrays, "lefts": arrays["lefts"][None]}, "lefts of type int32 and shape (1,"),
        (lambda arrays: {**arrays, "leaves": arrays["leaves"][:0]}, "has 0 trees"),
        (lambda arrays: {**arrays, "points": arrays["points"][:, :0]}, "points of 0 features"),
        (lambda arrays: {**arrays, "points": arrays["points"][:-1]}, "not what its trees have leaves"),
        (lambda arrays: {**arrays, "counts": arrays["counts"][:-1]}, "count"),
        (lambda arrays: {**arrays, "values": arrays["values"][:-1]}, "cuts for"),
        (damaged("leaves", to=-5), "not what its trees have leaves"),
        (damaged("leaves", to=1 << 30), "not what its trees have leaves"),
        (damaged("counts", to=0), "count of at least 1"),
        (damaged("counts", to=1 << 30), "at most 2048"),
        (damaged("dimensions", to=4), "cuts in a dimension"),
        (damaged("dimensions", to=-1), "cuts in a dimension"),
        (damaged("points", to=np.nan), "points that are not numbers"),
        (damaged("points", to=1e30), "points that are not numbers"),
        (lambda arrays: {**arrays, "points": arrays["points"][::-1]}, "not between"),
        (damaged("values", at=9, to=np.inf), "not between"),
        (damaged("lefts", at=0, to=0), "are not a tree"),
        (damaged("lefts", at=1, to=1 << 30), "are not a tree"),
        (damaged("lefts", at=2, to=-(1 << 31)), "are not a tree"),
    ],
)
def test_files_that_are_no_forest(tmp_path, forest, change, part):
    artifact.save(tmp_path / "model_algo-1", forest)
    arrays = ndarray.load(tmp_path / "model_algo-1")
    ndarray.save(tmp_path / "model_algo-1", change(arrays))
    with pytest.raises(ClientError) as refused:
        load(tmp_path)
    assert part in str(refused.value)


def test_no_file_garbage_and_half_a_file(tmp_path, forest):
    with pytest.raises(ClientError, match="has no file model_algo-1"):
        load(tmp_path)
    artifact.save(tmp_path / "model_algo-1", forest)
    whole = (tmp_path / "model_algo-1").read_bytes()
    for content in (b"PK\3\4", whole[: len(whole) // 2], whole[:-1]):
        (tmp_path / "model_algo-1").write_bytes(content)
        with pytest.raises(ClientError):
            load(tmp_path)


def test_bytes_changed_at_random_crash_nothing(tmp_path, forest):
    """Loading refuses, or what was loaded answers."""
    artifact.save(tmp_path / "model_algo-1", forest)
    whole = (tmp_path / "model_algo-1").read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            content[random.integers(len(content))] = random.integers(256)
        (tmp_path / "model_algo-1").write_bytes(content)
        try:
            model = load(tmp_path)
        except ClientError:
            refused += 1
            continue
        assert np.isfinite(model.predict(ROWS[:, : model.feature_dim], {})["score"]).all()
    assert refused > 10
