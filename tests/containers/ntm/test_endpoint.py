"""The real `serve`: every body in and out; models that are damaged."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from common.batches import Batch, to_csr
from common.failures import ClientError
from common.formats import encode_batch, ndarray, record_pb2
from containers.ntm import artifact
from containers.ntm.artifact import Dense, Model
from containers.ntm.predict import load

RANDOM = np.random.default_rng(0)


def dense(outputs: int, inputs: int) -> Dense:
    return Dense(
        RANDOM.normal(size=(outputs, inputs)).astype(np.float32),
        RANDOM.normal(size=outputs).astype(np.float32),
    )


MODEL = Model("tanh", [dense(5, 4), dense(3, 5)], dense(2, 3), dense(2, 3), dense(4, 2))
ROWS = np.array([[0, 2, 1, 0], [3, 0, 0, 1]], np.float32)


def expected(rows: np.ndarray) -> list[dict[str, list[float]]]:
    hidden = rows.astype(float)
    for layer in MODEL.encoder:
        hidden = np.tanh(hidden @ layer.weight.T + layer.bias)
    raised = np.exp(hidden @ MODEL.mean.weight.T + MODEL.mean.bias)
    return [{"topic_weights": pytest.approx(row, rel=1e-5)} for row in raised / raised.sum(1, keepdims=True)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    artifact.write(tmp_path / "model" / "model_algo-1", MODEL)
    (tmp_path / "model" / "model_algo-2").write_bytes(b"another host's")
    return tmp_path


def test_every_body_in_and_out(endpoint, folder):
    served = endpoint("ntm", folder)
    instances = json.dumps({"instances": [{"features": ROWS[0].tolist()},
                                          {"data": {"features": {"values": ROWS[1].tolist()}}}]})  # fmt: skip
    sparse = json.dumps({"instances": [
        {"data": {"features": {"keys": [1, 2], "shape": [4], "values": [2, 1]}}},
        {"data": {"features": {"keys": [0, 3], "shape": [4], "values": [3, 1]}}},
    ]})  # fmt: skip
    bodies = [
        (instances, "application/json"),
        (sparse, "application/json"),
        ("\n".join(json.dumps({"features": row}) for row in ROWS.tolist()), "application/jsonlines"),
        ("0,2,1,0\n3,0,0,1\n", "text/csv"),
        ("7,0,2,1,0\n7,3,0,0,1\n", "text/csv;label_size=1"),
        (encode_batch(Batch(ROWS)), "application/x-recordio-protobuf"),
        (encode_batch(Batch(to_csr(ROWS))), "application/x-recordio-protobuf"),
    ]
    items = expected(ROWS)
    for body, content_type in bodies:
        answer = served.invoke(body, content_type)
        assert (answer.status, answer.json()) == (200, {"predictions": items}), content_type
    lines = served.invoke(instances, "application/json", "application/jsonlines").body.splitlines()
    assert [json.loads(line) for line in lines] == items
    csv = served.invoke(instances, "application/json", "text/csv").body.decode()
    assert [[float(cell) for cell in line.split(",")] for line in csv.splitlines()] == [
        item["topic_weights"] for item in items
    ]
    body = served.invoke(instances, "application/json", "application/x-recordio-protobuf").body
    size = int.from_bytes(body[4:8], "little")
    record = record_pb2.Record.FromString(body[8 : 8 + size])
    assert list(record.label["topic_weights"].float32_tensor.values) == items[0]["topic_weights"]
    for wrong, content_type, status in (
        ("1,2\n", "text/csv", 400),
        ("1,2,x,4\n", "text/csv", 400),
        ("1,2,-1,4\n", "text/csv", 400),
        ("1,2,nan,4\n", "text/csv", 400),
        ('{"instances": [{"features": [1, 2]}]}', "application/json", 400),
        ("1,2,3,4\n", "application/zip", 415),
    ):
        refused = served.invoke(wrong, content_type)
        assert refused.status == status
        assert b"Traceback" not in refused.body
    # No words at all is a document too.
    assert served.invoke("0,0,0,0\n").json() == {"predictions": expected(np.zeros((1, 4)))}


def arrays(**changed: np.ndarray | None) -> dict[str, np.ndarray]:
    layers = {"encoder_0": MODEL.encoder[0], "encoder_1": MODEL.encoder[1], "mean": MODEL.mean,
              "log_deviation": MODEL.log_deviation, "projection": MODEL.projection}  # fmt: skip
    found = {}
    for name, layer in layers.items():
        found[f"arg:{name}_weight"], found[f"arg:{name}_bias"] = layer.weight, layer.bias
    found.update({f"arg:{name}": array for name, array in changed.items()})
    return {name: array for name, array in found.items() if array is not None}


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"projection_weight": None}, "no matrix arg:projection_weight"),
        ({"projection_weight": np.zeros(4, np.float32)}, "no matrix arg:projection_weight"),
        ({"encoder_0_weight": None}, "no matrix arg:encoder_0_weight"),
        ({"encoder_1_weight": None}, "don't fit one another"),
        ({"mean_bias": None}, "no arg:mean_bias of 2 numbers"),
        ({"mean_weight": np.full((2, 3), np.nan, np.float32)}, "not finite"),
        ({"mean_weight": np.zeros((2, 4), np.float32)}, "don't fit one another"),
        ({"encoder_0_weight": np.zeros((5, 9), np.float32)}, "don't fit one another"),
        ({"log_deviation_weight": np.zeros((2, 4), np.float32)}, "don't fit one another"),
    ],
)
def test_arrays_that_are_no_model(tmp_path, changed, part):
    with zipfile.ZipFile(tmp_path / "model_algo-1", "w") as archive:
        archive.writestr("params", ndarray.dumps(arrays(**changed)))
        archive.writestr("meta.json", json.dumps({"encoder_layers_activation": "tanh"}))
    with pytest.raises(ClientError, match=part):
        load(tmp_path)


@pytest.mark.parametrize(
    ("meta", "part"),
    [
        ({}, "encoder_layers_activation 'None'"),
        ({"encoder_layers_activation": "gelu"}, "'gelu'"),
        ({"encoder_layers_activation": ["tanh"]}, "encoder_layers_activation"),
        ([], "not a JSON object"),
    ],
)
def test_other_descriptions(tmp_path, meta, part):
    with zipfile.ZipFile(tmp_path / "model_algo-1", "w") as archive:
        archive.writestr("params", ndarray.dumps(arrays()))
        archive.writestr("meta.json", json.dumps(meta))
    with pytest.raises(ClientError, match=part):
        load(tmp_path)


def test_files_that_are_no_model(tmp_path):
    with pytest.raises(ClientError, match="no model_algo-1"):
        load(tmp_path)
    artifact.write(tmp_path / "model_algo-1", replace(MODEL, activation="relu"))
    whole = (tmp_path / "model_algo-1").read_bytes()
    assert load(tmp_path).feature_dim == 4
    for content in (b"", b"garbage", whole[: len(whole) // 2], whole[:-30]):
        (tmp_path / "model_algo-1").write_bytes(content)
        with pytest.raises(ClientError):
            load(tmp_path)
