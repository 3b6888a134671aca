"""The real `serve`: every body in and out, configurations, odd requests; models that are damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common import content_types
from common.failures import ClientError
from containers.deepar import artifact, predict
from containers.deepar.codec import DeepARCodec
from tests.containers.deepar.jobs import lines, small_model, write

JSON, JSON_LINES = "application/json", "application/jsonlines"
PLAIN = small_model(cardinality=[], num_dynamic_feat=0)
START = "2020-03-01 00:00:00"
SERIES = [
    {"start": START, "target": [3.0, None, 5.5, 4.0]},
    {"start": "2020-04-01", "target": [1.0, "NaN", 2.0]},
]
LEVELS = [f"0.{n}" for n in range(1, 10)]


def body(*instances, **configuration) -> str:
    request = {"instances": list(instances)}
    return json.dumps({**request, "configuration": configuration} if configuration else request)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "model", PLAIN)
    (tmp_path / "model" / "model.tar.gz").write_bytes(b"another's")
    return tmp_path


def test_every_body_in_and_out(endpoint, folder):
    served = endpoint("forecasting-deepar", folder)
    answer = served.invoke(body(*SERIES), JSON)
    assert (answer.status, answer.content_type) == (200, JSON)
    items = answer.json()["predictions"]
    assert len(items) == 2
    for item in items:
        assert (set(item), list(item["quantiles"])) == ({"mean", "quantiles"}, LEVELS)
        assert len(item["mean"]) == 4
        levels = np.array([item["quantiles"][name] for name in LEVELS])
        assert (np.diff(levels, axis=0) >= 0).all()
    # Draws are made afresh.
    assert served.invoke(body(*SERIES), JSON).json()["predictions"] != items

    asked = {"num_samples": 30, "output_types": ["samples", "quantiles", "mean"],
             "quantiles": ["0.09999999999999998", "0.50", 1]}  # fmt: skip
    for accept in (JSON, JSON_LINES):
        found = served.invoke(body(*SERIES, **asked), JSON, accept)
        items = (
            found.json()["predictions"] if accept == JSON else list(map(json.loads, found.body.splitlines()))
        )
        for item in items:
            samples = np.array(item["samples"])
            assert samples.shape == (30, 4)
            np.testing.assert_allclose(item["mean"], samples.mean(0), rtol=1e-4)
            assert list(item["quantiles"]) == ["0.09999999999999998", "0.50", "1"]
            np.testing.assert_allclose(item["quantiles"]["0.50"], np.median(samples, 0), rtol=1e-4)
            np.testing.assert_allclose(item["quantiles"]["1"], samples.max(0), rtol=1e-4)
    only = served.invoke(body(*SERIES, output_types=["mean"]), JSON).json()["predictions"]
    assert [list(item) for item in only] == [["mean"]] * 2

    batch = served.invoke(lines(*SERIES), JSON_LINES, JSON_LINES)
    assert batch.content_type == JSON_LINES
    assert [set(json.loads(line)) for line in batch.body.splitlines()] == [{"mean", "quantiles"}] * 2
    # bare NaN, as Python's own writer has it, and series that have not begun
    for one in ({"start": START, "target": [float("nan"), 2.0]}, {"start": START, "target": []}):
        assert served.invoke(json.dumps({"instances": [one]}), JSON).status == 200
    assert served.invoke('{"instances": []}', JSON).json() == {"predictions": []}
    assert served.invoke("", JSON).status == 204
    assert served.invoke("x", "text/csv").status == 415
    assert served.invoke(body(*SERIES), JSON, "text/csv").status == 406
    for wrong in ("{", "[]", '{"instances": 1}', body("x"), "[" * 100_000):
        refused = served.invoke(wrong, JSON)
        assert (refused.status, b"Traceback" in refused.body, refused.body.count(b"\n")) == (400, False, 0)


def test_a_batch_transform_has_its_configuration_in_the_environment(endpoint, folder):
    configuration = '{"num_samples": 5, "output_types": ["samples"], "quantiles": ["0.5"]}'
    environment = {
        "DEEPAR_INFERENCE_CONFIG": configuration,
        "MODEL_SERVER_WORKERS": "1",
        "ALGODOCK_SEED": "7",
    }
    served = endpoint("forecasting-deepar", folder, **environment)
    first, again = (served.invoke(lines(SERIES[0]), JSON_LINES, JSON_LINES).body for _ in range(2))
    item = json.loads(first)
    assert list(item) == ["samples"]
    assert np.shape(item["samples"]) == (5, 4)
    assert first == again  # a seed is a wish for equal answers


# --- in this process ---


@pytest.fixture
def answered(tmp_path):
    """Answers a request by a model with two categories and a dynamic feature."""
    predictor = predict.load(write(tmp_path / "featured", small_model()))
    codec = DeepARCodec({})

    def answer(text: str, content_type: str = JSON):
        query = codec.decode(text.encode(), content_types.parse(content_type))
        return json.loads(codec.encode(predictor.predict(query, {}), content_types.parse(JSON)))[
            "predictions"
        ]

    return answer


FULL = {"start": START, "target": [1.0, 2.0], "cat": [1, 2], "dynamic_feat": [[1, 0, 1, 0, 1, 0]]}


def test_features_of_the_model_are_those_of_requests(answered):
    assert len(answered(body(FULL, {**FULL, "cat": [0, 0], "other": 1}))) == 2
    assert answered(body(FULL, num_samples=1))[0]["mean"]


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"cat": None}, r"instances\[1\] has no cat; accepted: one"),
        ({"cat": []}, "has no cat"),
        ({"cat": [1]}, "has 1 values; accepted: 2"),
        ({"cat": [2, 0]}, r"is \[2, 0\]; accepted: values below \[2, 3\]"),
        ({"cat": [0.5, 1]}, "accepted: a list of integers"),
        ({"dynamic_feat": None}, "has no dynamic_feat"),
        ({"dynamic_feat": [[1] * 6] * 2}, "has 2 rows; accepted: 1"),
        (
            {"dynamic_feat": [[1] * 2]},
            "rows of 2 numbers; accepted: 6, for the 2 points of the target and the 4",
        ),
        ({"dynamic_feat": [[1, 1, 1, 1, 1, None]]}, "has 'None' at 5"),
        ({"dynamic_feat": [[1, 1, 1, 1, 1, 1e300]]}, "accepted: finite numbers"),
        ({"dynamic_feat": [[1, 1, 1, 1, 1, float("nan")]]}, "accepted: finite numbers"),
        ({"start": "yesterday"}, "is 'yesterday'; accepted: YYYY-MM-DD"),
        ({"start": None}, "is missing"),
        ({"target": None}, "target of .* is missing"),
        ({"target": {"a": 1}}, "accepted: a list of numbers"),
        ({"target": [[1]]}, "at 0 .*; accepted: numbers, and null"),
        ({"target": [1e18]}, "accepted: numbers from -1e"),
    ],
)
def test_series_that_are_refused(answered, changed, part):
    with pytest.raises(ClientError, match=part):
        answered(body(FULL, {**FULL, **changed}))


def test_features_that_the_model_has_not(tmp_path):
    predictor = predict.load(write(tmp_path / "plain", PLAIN))
    for name, value in (("cat", [0]), ("dynamic_feat", [[1.0] * 8])):
        query = DeepARCodec({}).decode(body({**SERIES[0], name: value}).encode(), content_types.parse(JSON))
        with pytest.raises(ClientError, match=f"has a {name}; accepted: none"):
            predictor.predict(query, {})


@pytest.mark.parametrize(
    ("configuration", "part"),
    [
        ([], r"configuration is '\[\]'; accepted: an object"),
        ({"samples": 1}, "the key 'samples'; accepted: num_samples, output_types or quantiles"),
        ({"num_samples": 0}, "is '0'; accepted: an integer from 1 to 10000"),
        ({"num_samples": True}, "is 'True'"),
        ({"num_samples": "10"}, "is '10'"),
        ({"num_samples": 10**9}, "from 1 to 10000"),
        ({"output_types": []}, "accepted: a list of mean, quantiles or samples"),
        ({"output_types": ["median"]}, "accepted: a list of mean"),
        ({"output_types": "mean"}, "accepted: a list of mean"),
        ({"output_types": [{}]}, "accepted: a list of mean"),
        ({"quantiles": ["x"]}, "accepted: a list of numbers from 0 to 1"),
        ({"quantiles": [1.5]}, "accepted: a list of numbers from 0 to 1"),
        ({"quantiles": ["nan"]}, "accepted: a list of numbers from 0 to 1"),
        ({"quantiles": [None]}, "accepted: a list of numbers from 0 to 1"),
        ({"quantiles": 0.5}, "accepted: a list of numbers from 0 to 1"),
    ],
)
def test_configurations_that_are_refused(answered, configuration, part):
    with pytest.raises(ClientError, match=part):
        answered(json.dumps({"instances": [FULL], "configuration": configuration}))
    with pytest.raises(ClientError, match="DEEPAR_INFERENCE_CONFIG"):
        DeepARCodec({"DEEPAR_INFERENCE_CONFIG": json.dumps(configuration)})


def test_other_keys_and_settings_that_are_refused(answered):
    with pytest.raises(ClientError, match="has the key 'config'; accepted: instances and configuration"):
        answered(json.dumps({"instances": [FULL], "config": {}}))
    with pytest.raises(ClientError, match="DEEPAR_INFERENCE_CONFIG is not JSON"):
        DeepARCodec({"DEEPAR_INFERENCE_CONFIG": "{"})
    with pytest.raises(ClientError, match="ALGODOCK_SEED is 'x'"):
        DeepARCodec({"ALGODOCK_SEED": "x"})


# --- models that are none ---


def test_every_file_is_missed(tmp_path):
    for name in (artifact.CONFIG, artifact.PARAMETERS):
        path = write(tmp_path / name, small_model())
        (path / name).unlink()
        with pytest.raises(ClientError, match=f"there is no {name}"):
            predict.load(path)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"time_freq": "Q"}, "has the time_freq Q"),
        ({"time_freq": 1}, "has the time_freq 1"),
        ({"context_length": 0}, "context_length 0"),
        ({"prediction_length": 10**12}, "prediction_length"),
        ({"lags": [2, 1]}, "lags"),
        ({"lags": None}, "lags None"),
        ({"likelihood": []}, "likelihood"),
        ({"num_cells": 10**6}, r"has no arg:lstm0_i2h_weight of \(4000000, "),
        ({"num_layers": 3}, "has no arg:lstm2_i2h_weight"),
        ({"num_layers": True}, "num_layers True"),
        ({"dropout_rate": 1.0}, "dropout_rate"),
        ({"dropout_rate": float("nan")}, "dropout_rate"),
        ({"cardinality": [2, "3"]}, "cardinality"),
        ({"cardinality": [2, 4]}, r"has no arg:embedding1_weight of \(4, 2\)"),
        ({"num_dynamic_feat": -1}, "num_dynamic_feat"),
        ({"scale": 0}, "scale 0"),
        ({"scale": float("inf")}, "scale inf"),
        ({"dynamic_centers": [float("nan")], "dynamic_spreads": [1.0]}, "dynamic_centers"),
        ({"dynamic_centers": [0.0], "dynamic_spreads": [0.0]}, "dynamic_spreads"),
        ({"dynamic_centers": [0.0, 1.0], "dynamic_spreads": [1.0, 1.0]}, "not of all"),
        ({"dynamic_centers": [], "dynamic_spreads": [1.0]}, "not of all"),
    ],
)
def test_configurations_of_no_model(tmp_path, changed, part):
    path = write(tmp_path / "model", small_model())
    config = json.loads((path / artifact.CONFIG).read_text())
    (path / artifact.CONFIG).write_text(json.dumps({**config, **changed}))
    with pytest.raises(ClientError, match=part):
        predict.load(path)


def test_a_configuration_of_before_tells_dynamic_features_as_they_are(tmp_path):
    path = write(tmp_path / "model", small_model())
    config = json.loads((path / artifact.CONFIG).read_text())
    del config["dynamic_centers"], config["dynamic_spreads"]
    (path / artifact.CONFIG).write_text(json.dumps(config))
    assert artifact.read(path).settings == small_model().settings


def test_damaged_files(tmp_path):
    path = write(tmp_path / "model", small_model())
    good = (path / artifact.PARAMETERS).read_bytes()
    for size in (0, 7, 40, len(good) // 2, len(good) - 1):
        (path / artifact.PARAMETERS).write_bytes(good[:size])
        with pytest.raises(ClientError):
            predict.load(path)
    random = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(good)
        damaged[int(random.integers(len(good)))] ^= int(random.integers(1, 256))
        (path / artifact.PARAMETERS).write_bytes(damaged)
        try:
            predict.load(path)
        except ClientError:
            continue
    (path / artifact.PARAMETERS).write_bytes(good)
    for text in (b"", b"[]", b"\xff", b"[" * 100_000, b"{}"):
        (path / artifact.CONFIG).write_bytes(text)
        with pytest.raises(ClientError):
            predict.load(path)
    model = small_model()
    model.weights["projection_bias"][0] = np.nan
    with pytest.raises(ClientError, match="not finite"):
        predict.load(write(tmp_path / "nan", model))


def test_many_series_and_draws_are_parts_of_one_request(tmp_path):
    predictor = predict.load(write(tmp_path / "plain", PLAIN))
    codec = DeepARCodec({"ALGODOCK_SEED": "1"})
    series = [{"start": START, "target": [float(n + 1)] * 9} for n in range(45)]
    text = body(*series, num_samples=100, output_types=["mean"]).encode()
    answers = predictor.predict(codec.decode(text, content_types.parse(JSON)), {})
    means = np.array([answer["mean"] for answer in answers])
    assert means.shape == (45, 4)
    # Series that differ by their scale alone; to it answers are proportional, but for what log(scale) does.
    assert means[40, 0] / means[3, 0] > 3
