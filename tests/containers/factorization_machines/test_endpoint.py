"""The real `serve`: every body in and out, both of AWS's layouts of a model, mistakes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from common.batches import CSR, Batch, to_csr
from common.failures import ClientError
from common.formats import archive, encode_batch, ndarray, record_pb2
from containers.factorization_machines import artifact
from containers.factorization_machines.model import Machine
from containers.factorization_machines.predict import load

# y = 0.5 + x0 - x1 + 2 x0 x1 - 3 x0 x2 - 6 x1 x2
BIAS, LINEAR = np.float32([0.5]), np.float32([[1], [-1], [0]])
FACTORS = np.float32([[1, 0], [2, 0], [-3, 1]])
ROWS = np.float32([[0, 3, 0.5], [1, 1, 0], [0, 0, 0], [-1, 0, 2]])
SCORES = np.array([0.5 - 3 - 9, 0.5 + 0 + 2, 0.5, 0.5 - 1 + 6])
JSON, LINES, RECORDS = "application/json", "application/jsonlines", "application/x-recordio-protobuf"
SPARSE_LAYOUT = {"arg:v": FACTORS, "arg:w1_weight": LINEAR, "arg:w0_weight": BIAS}
DENSE_LAYOUT = {
    "arg:Linear_Plus_Bias_weight": LINEAR.T,
    "arg:Linear_Plus_Bias_bias": BIAS,
    "arg:v": FACTORS.T,
}


def meta(**parameters: object) -> bytes:
    return json.dumps({"training_parameters": parameters}).encode()


def model_of(folder: Path, arrays, about: bytes | None, symbol: bytes | None = None) -> Path:
    """A model as somebody else may have made it; ``arrays`` may be the bytes of the file."""
    folder.mkdir(exist_ok=True, parents=True)
    members = {"params": arrays if isinstance(arrays, bytes) else ndarray.dumps(arrays)}
    members |= {"meta.json": about} if about is not None else {}
    members |= {"symbol.json": symbol} if symbol is not None else {}
    archive.write(folder / "model_algo-1", members)
    return folder


def answers(kind: str) -> list[dict[str, float]]:
    if kind == "regressor":
        return [{"score": float(score)} for score in SCORES]
    chances = 1 / (1 + np.exp(-SCORES))
    return [
        {"score": pytest.approx(float(chance), rel=1e-6), "predicted_label": float(chance >= 0.5)}
        for chance in chances
    ]


def sparse_instances(rows: np.ndarray) -> list[dict]:
    return [
        {
            "data": {
                "features": {
                    "keys": np.flatnonzero(row).tolist(),
                    "shape": [len(row)],
                    "values": row[row != 0].tolist(),
                }
            }
        }
        for row in rows
    ]


def bodies() -> list[tuple[str | bytes, str]]:
    dense = [{"features": row} for row in ROWS.tolist()]
    named = [{"data": {"features": {"values": row}}} for row in ROWS.tolist()]
    sparse = sparse_instances(ROWS)
    mixed = [dense[0], sparse[1], named[2], sparse[3]]
    return [
        *((json.dumps({"instances": some}), JSON) for some in (dense, named, sparse, mixed)),
        (json.dumps({"instances": dense, "configuration": {"some": "thing"}}), JSON),
        *(("\n".join(map(json.dumps, some)), LINES) for some in (dense, named, sparse, mixed)),
        (encode_batch(Batch(ROWS)), RECORDS),
        (encode_batch(Batch(to_csr(ROWS))), RECORDS),
    ]


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier"])
def test_every_body_in_and_out(endpoint, tmp_path, kind):
    model_of(tmp_path / "model", SPARSE_LAYOUT, meta(predictor_type=kind, feature_dim="3"))
    (tmp_path / "model" / "model.tar.gz").write_bytes(b"stray")
    served, expected = endpoint("factorization-machines", tmp_path), answers(kind)
    for body, content_type in bodies():
        answer = served.invoke(body, content_type)
        assert (answer.status, answer.json()) == (200, {"predictions": expected}), (body, content_type)
        lines = served.invoke(body, content_type, LINES).body.splitlines()
        assert [json.loads(line) for line in lines] == expected
        csv = served.invoke(body, content_type, "text/csv").body.decode().splitlines()
        assert [[float(cell) for cell in line.split(",")] for line in csv] == [
            list(row.values()) for row in expected
        ]
        labels = labels_of(served.invoke(body, content_type, RECORDS).body)
        assert labels == [{name: [value] for name, value in row.items()} for row in expected]
    for body, content_type, status, part in (
        ("1,2,3\n", "text/csv", 415, b"text/csv"),
        ("1,2,3\n", "application/zip", 415, b""),
        ('{"instances": [{"features": [1, 2]}]}', JSON, 400, b"3"),
        ('{"instances": [{"features": [1, 2, NaN]}]}', JSON, 400, b"NaN"),
        (json.dumps({"instances": sparse_instances(np.float32([[1, 2]]))}), JSON, 400, b"3"),
        (
            '{"instances": [{"data": {"features": {"keys": [3], "shape": [3], "values": [1]}}}]}',
            JSON,
            400,
            b"3",
        ),
        ('{"instances": [{"features": [1e30, 1e30, 1e30]}]}', JSON, 400, b"row 1"),
        (encode_batch(Batch(ROWS))[:-3], RECORDS, 400, b""),
    ):
        refused = served.invoke(body, content_type)
        assert (refused.status, b"Traceback" in refused.body) == (status, False), body
        assert part in refused.body
    assert served.invoke(json.dumps({"instances": [{"features": [0, 0, 0]}]}), JSON).status == 200


def labels_of(body: bytes) -> list[dict[str, list[float]]]:
    """The labels of a response's records, read by protobuf's own parser."""
    found, at = [], 0
    while at < len(body):
        size = int.from_bytes(body[at + 4 : at + 8], "little")
        record = record_pb2.Record.FromString(body[at + 8 : at + 8 + size])
        assert not record.features
        found.append({name: list(value.float32_tensor.values) for name, value in record.label.items()})
        at += 8 + -(-size // 4) * 4
    return found


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (SPARSE_LAYOUT, SCORES),
        (DENSE_LAYOUT, SCORES),
        ({name.removeprefix("arg:"): array for name, array in DENSE_LAYOUT.items()}, SCORES),
        ({**SPARSE_LAYOUT, "arg:w0_weight": np.float64([[0.5]]), "aux:more": BIAS}, SCORES),
        ({"arg:v": FACTORS, "arg:w1_weight": LINEAR}, SCORES - 0.5),
        ({"arg:v": FACTORS, "arg:w0_weight": BIAS}, SCORES - ROWS @ LINEAR[:, 0]),
        ({"arg:v": FACTORS}, SCORES - 0.5 - ROWS @ LINEAR[:, 0]),
    ],
)
def test_models_of_others(tmp_path, arrays, expected):
    """Both layouts, and those trained without a bias or without linear terms."""
    model_of(tmp_path, arrays, meta(predictor_type="regressor", num_factors="2", feature_dim=3))
    model = load(tmp_path)
    assert model.feature_dim == 3
    for features in (ROWS, to_csr(ROWS)):
        found = model.predict(features, {})
        assert found["score"].dtype == np.float32
        np.testing.assert_allclose(found["score"], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier"])
def test_the_symbol_tells_the_kind_where_the_settings_dont(tmp_path, kind):
    symbol = artifact.symbol(kind, 3, 2)
    for about in (None, b"{}", meta(feature_dim=3)):
        found = load(model_of(tmp_path, SPARSE_LAYOUT, about, symbol)).predict(ROWS, {})
        assert ("predicted_label" in found) == (kind == "binary_classifier")


def test_what_is_written_is_read(tmp_path):
    machine = Machine(BIAS, LINEAR, FACTORS)
    settings = {"feature_dim": 3, "predictor_type": "regressor", "eps": None, "use_bias": True}
    artifact.write(tmp_path / "model_algo-1", artifact.Model(machine, "regressor"), settings)
    found = artifact.read(tmp_path)
    assert found.predictor_type == "regressor"
    for array, expected in zip(
        (found.machine.bias, found.machine.linear, found.machine.factors),
        (BIAS, LINEAR, FACTORS),
        strict=True,
    ):
        np.testing.assert_array_equal(array, expected)
    with zipfile.ZipFile(tmp_path / "model_algo-1") as opened:
        about = json.loads(opened.read("meta.json"))
    assert about == {
        "training_parameters": {"feature_dim": "3", "predictor_type": "regressor", "use_bias": "True"}
    }


REGRESSOR = meta(predictor_type="regressor")


@pytest.mark.parametrize(
    ("arrays", "about", "part"),
    [
        ({"arg:w1_weight": LINEAR}, REGRESSOR, "no matrix v"),
        ({"arg:v": FACTORS[0]}, REGRESSOR, "no matrix v"),
        ({"arg:v": FACTORS[:0]}, REGRESSOR, "no matrix v"),
        (
            {**SPARSE_LAYOUT, "arg:w1_weight": LINEAR[:2]},
            REGRESSOR,
            "linear weights has 2 values; accepted: 3",
        ),
        ({**SPARSE_LAYOUT, "arg:w0_weight": LINEAR}, REGRESSOR, "the bias has 3 values; accepted: 1"),
        ({**SPARSE_LAYOUT, "arg:v": FACTORS * np.nan}, REGRESSOR, "not all weights are finite"),
        (SPARSE_LAYOUT, meta(predictor_type="ranker"), "'ranker'; accepted: regressor or binary_classifier"),
        (SPARSE_LAYOUT, meta(), "predictor_type 'None'"),
        (SPARSE_LAYOUT, b"[]", "meta.json in model_algo-1 is not a JSON object"),
        (SPARSE_LAYOUT, meta(predictor_type="regressor", feature_dim=4), "feature_dim 4, but v has 3"),
        ([BIAS], REGRESSOR, "arrays without names"),
        (b"nothing", REGRESSOR, "MXNet NDArray files are read"),
        (ndarray.dumps(SPARSE_LAYOUT)[:-30], REGRESSOR, "ends early"),
    ],
)
def test_other_models_are_refused_in_a_sentence(tmp_path, arrays, about, part):
    with pytest.raises(ClientError) as refused:
        load(model_of(tmp_path, arrays, about))
    assert part in str(refused.value)


def test_files_that_are_no_model_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(ClientError, match="there is no model_algo-1"):
        load(tmp_path)
    whole = (model_of(tmp_path, SPARSE_LAYOUT, REGRESSOR) / "model_algo-1").read_bytes()
    for damaged in (b"", b"PK\3\4", whole[:-20], whole[40:]):
        (tmp_path / "model_algo-1").write_bytes(damaged)
        with pytest.raises(ClientError, match="model_algo-1"):
            load(tmp_path)


def test_wide_sparse_requests_take_no_dense_row(endpoint, tmp_path):
    """Ten thousand rows of twenty million features would be 800 GB."""
    width = 20_000_000
    factors = np.zeros((width, 1), np.float32)
    factors[-2:, 0] = 2, 3
    model_of(tmp_path / "model", {"arg:v": factors}, meta(predictor_type="regressor", feature_dim=width))
    served = endpoint("factorization-machines", tmp_path)
    rows = 10_000
    columns = np.tile(np.array([5, width - 2, width - 1]), rows)
    features = CSR(np.ones(3 * rows, np.float32), columns, np.arange(0, 3 * rows + 1, 3), (rows, width))
    one = {"data": {"features": {"keys": [width - 1, 5, width - 2], "shape": [width], "values": [1, 1, 1]}}}
    for body, content_type in (
        (encode_batch(Batch(features)), RECORDS),
        (json.dumps({"instances": [one] * rows}), JSON),
    ):
        answer = served.invoke(body, content_type)
        assert answer.status == 200, answer.body
        assert answer.json() == {"predictions": [{"score": 6.0}] * rows}
