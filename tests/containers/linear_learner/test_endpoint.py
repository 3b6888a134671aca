"""The real `serve` on trained and on broken models: every content type in and out."""

import json
import struct
import zipfile

import numpy as np
import pytest
from scipy.special import expit
from scipy.special import softmax as scipy_softmax

from common import content_types
from common.batches import Batch, to_csr
from common.failures import ClientError
from common.formats import decode_bytes, encode_batch, ndarray, record_pb2
from common.formats.layout import Layout
from containers.linear_learner import artifact
from containers.linear_learner.artifact import Model
from containers.linear_learner.predict import load

JSON, LINES = "application/json", "application/jsonlines"
RECORDS = "application/x-recordio-protobuf"
ROWS = np.array([[0.5, 2, 7], [1, 0, 3.5], [0, 0, 0]], np.float32)
WEIGHTS = np.array([[0.3, -0.2, 0.05], [0.1, 0.4, -0.1], [-0.2, 0.1, 0.3]], np.float32)
BIAS = np.array([0.1, -0.3, 0.0], np.float32)

BINARY = Model("binary_classifier", "logistic", WEIGHTS[:1], BIAS[:1], 0.56)
MULTICLASS = Model("multiclass_classifier", "softmax_loss", WEIGHTS, BIAS)
REGRESSOR = Model("regressor", "squared_loss", WEIGHTS[:1], BIAS[:1])
HINGE = Model("binary_classifier", "hinge_loss", WEIGHTS[:1], BIAS[:1], 0.2)


def saved(root, model):
    (root / "model").mkdir(parents=True)
    artifact.write(root / "model" / "model_algo-1", model)
    return root


def bodies():
    dense = [{"features": row.tolist()} for row in ROWS]
    sparse = [
        {
            "data": {
                "features": {
                    "keys": np.flatnonzero(row).tolist(),
                    "shape": [3],
                    "values": row[row != 0].tolist(),
                }
            }
        }
        for row in ROWS
    ]
    nested = [{"data": {"features": {"values": row.tolist()}}} for row in ROWS]
    return {
        "csv": ("text/csv", "".join(",".join(map(str, row)) + "\n" for row in ROWS.tolist())),
        "csv with parameters": ("text/csv; label_size=0; charset=utf-8", "0.5,2,7\n1,0,3.5\n0,0,0"),
        "json": (JSON, json.dumps({"instances": [dense[0], nested[1], sparse[2]]})),
        "json sparse": (JSON, json.dumps({"instances": sparse})),
        "jsonlines": (LINES, "\n".join(json.dumps(one) for one in [dense[0], sparse[1], nested[2]])),
        "records": (RECORDS, encode_batch(Batch(ROWS))),
        "sparse records": (RECORDS, encode_batch(Batch(to_csr(ROWS)))),
    }


def read_records(body):
    """Each record's label map as lists."""
    found = []
    while body:
        magic, length = struct.unpack("<II", body[:8])
        assert magic == 0xCED7230A
        record = record_pb2.Record.FromString(body[8 : 8 + length])
        assert not record.features
        found.append({key: list(value.float32_tensor.values) for key, value in record.label.items()})
        body = body[8 + (length + 3) // 4 * 4 :]
    return found


def test_a_binary_endpoint_takes_and_gives_every_type(endpoint, tmp_path):
    up = endpoint("linear-learner", saved(tmp_path, BINARY))
    scores = expit(ROWS @ WEIGHTS[0] + BIAS[0])
    labels = (scores >= 0.56).astype(float)
    assert set(labels) == {0, 1}
    for name, (content_type, body) in bodies().items():
        answer = up.invoke(body, content_type)
        assert (answer.status, answer.content_type) == (200, JSON), (name, answer.body)
        predictions = answer.json()["predictions"]
        assert [list(one) for one in predictions] == [["score", "predicted_label"]] * 3
        np.testing.assert_allclose([one["score"] for one in predictions], scores, rtol=1e-5)
        assert [one["predicted_label"] for one in predictions] == labels.tolist()
    lines = up.invoke(bodies()["csv"][1], "text/csv", LINES)
    assert lines.content_type == LINES
    found = [json.loads(line) for line in lines.body.decode().splitlines()]
    assert [one["predicted_label"] for one in found] == labels.tolist()
    records = up.invoke(bodies()["csv"][1], "text/csv", RECORDS)
    assert records.content_type == RECORDS
    assert [one["predicted_label"] for one in read_records(records.body)] == [[label] for label in labels]
    table = up.invoke(bodies()["csv"][1], "text/csv", "text/csv").body.decode().splitlines()
    assert [float(line.split(",")[1]) for line in table] == labels.tolist()
    assert up.invoke("1,2,3", "text/csv", "image/png").status == 406
    assert up.invoke("1,2", "text/csv").status == 400
    assert up.invoke("a,b,c", "text/csv").status == 400
    assert up.invoke("<x/>", "text/xml").status == 415
    assert up.invoke("1,2,3", "text/csv").status == 200


def test_a_multiclass_endpoint_gives_lists(endpoint, tmp_path):
    up = endpoint("linear-learner", saved(tmp_path, MULTICLASS))
    expected = scipy_softmax(ROWS @ WEIGHTS.T + BIAS, 1)
    for content_type, body in bodies().values():
        found = up.invoke(body, content_type).json()["predictions"]
        np.testing.assert_allclose([one["score"] for one in found], expected, rtol=1e-5)
        assert [one["predicted_label"] for one in found] == expected.argmax(1).tolist()
    records = read_records(up.invoke(bodies()["csv"][1], "text/csv", RECORDS).body)
    np.testing.assert_allclose([one["score"] for one in records], expected, rtol=1e-5)


def test_a_regression_endpoint_gives_scores_alone(endpoint, tmp_path):
    up = endpoint("linear-learner", saved(tmp_path, REGRESSOR))
    found = up.invoke(bodies()["csv"][1]).json()["predictions"]
    assert [list(one) for one in found] == [["score"]] * 3
    np.testing.assert_allclose([one["score"] for one in found], ROWS @ WEIGHTS[0] + BIAS[0], rtol=1e-5)


def test_hinge_scores_are_margins(tmp_path):
    answers = load(saved(tmp_path, HINGE) / "model").predict(ROWS, {})
    np.testing.assert_allclose(answers["score"], ROWS @ WEIGHTS[0] + BIAS[0], rtol=1e-6)
    assert answers["predicted_label"].tolist() == (answers["score"] >= 0.2).tolist()


def test_extreme_scores_stay_probabilities(tmp_path):
    rows = np.array([[1e6, 0, 0], [-1e6, 0, 0]], np.float32)
    assert load(saved(tmp_path / "b", BINARY) / "model").predict(rows, {})["score"].tolist() == [1, 0]
    scores = load(saved(tmp_path / "m", MULTICLASS) / "model").predict(rows, {})["score"]
    assert scores.tolist() == [[1, 0, 0], [0, 0, 1]]


def test_a_model_survives_its_file(tmp_path):
    for number, model in enumerate((BINARY, MULTICLASS, REGRESSOR, HINGE)):
        found = artifact.read(saved(tmp_path / str(number), model) / "model")
        assert (found.predictor_type, found.loss) == (model.predictor_type, model.loss)
        np.testing.assert_array_equal(found.weights, model.weights)
        np.testing.assert_array_equal(found.bias, model.bias)
        assert found.threshold == model.threshold


def zipped(path, **members):
    path.mkdir()
    with zipfile.ZipFile(path / "model_algo-1", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def parameters(**arrays):
    return ndarray.dumps({f"arg:{name}": array for name, array in arrays.items()})


GOOD = {"predictor_type": "binary_classifier", "loss": "logistic"}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "no additional-params.json"),
        ({"additional-params.json": "{}"}, "no mx-mod-0000.params"),
        ({"additional-params.json": "[1]", "mx-mod-0000.params": b""}, "not a JSON object"),
        ({"additional-params.json": json.dumps(GOOD), "mx-mod-0000.params": b"rubbish"}, "NDArray"),
        (
            {"additional-params.json": json.dumps(GOOD), "mx-mod-0000.params": parameters(x=WEIGHTS)},
            "fc0_weight",
        ),
        (
            {
                "additional-params.json": json.dumps(GOOD),
                "mx-mod-0000.params": parameters(fc0_weight=WEIGHTS),
            },
            "3 outputs",
        ),
        (
            {"additional-params.json": "{}", "mx-mod-0000.params": parameters(fc0_weight=WEIGHTS[:1])},
            "predictor_type",
        ),
        (
            {
                "additional-params.json": json.dumps({**GOOD, "threshold": "high"}),
                "mx-mod-0000.params": parameters(fc0_weight=WEIGHTS[:1]),
            },
            "threshold",
        ),
        ({"additional-params.json": b"0" * (32 << 20), "mx-mod-0000.params": b""}, "at most"),
    ],
)
def test_archives_that_are_no_model_are_refused(tmp_path, members, said):
    with pytest.raises(ClientError, match=said):
        load(zipped(tmp_path / "model", **members))


def test_a_file_that_is_no_zip_and_none_at_all(tmp_path):
    with pytest.raises(ClientError, match="there is no model_algo-1"):
        load(tmp_path)
    (tmp_path / "model_algo-1").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ClientError, match="not a linear learner's zip"):
        load(tmp_path)


def test_records_decode_as_they_were_encoded():
    batch = decode_bytes(
        bodies()["sparse records"][1], "the request", content_types.parse(RECORDS), Layout(label_size=0)
    )
    answers = [load_of(BINARY).predict(features, {})["score"] for features in (batch.features, ROWS)]
    np.testing.assert_allclose(*answers, rtol=1e-6)


def load_of(model):
    from containers.linear_learner.predict import LinearPredictor

    return LinearPredictor(model)
