"""The endpoint through the real `serve`: every content type in and out, selection, batches, ensembles."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.datasets import load_wine

from common.batches import Batch, to_csr
from common.content_types import parse
from common.failures import ClientError
from common.formats import encode_batch
from containers.xgboost import predict
from containers.xgboost.codec import codec
from containers.xgboost.library import xgb

FEATURES, LABELS = load_wine(return_X_y=True)
ROWS = FEATURES.astype(np.float32)
RECORDS = "application/x-recordio-protobuf"


def model(objective, rows=ROWS, labels=LABELS, rounds=4, attributes=None, **parameters):
    if objective.startswith("multi:"):
        parameters["num_class"] = 3
    elif objective.startswith("binary:") or objective == "reg:logistic":
        labels = labels > 0
    booster = xgb.train({"objective": objective, **parameters}, xgb.DMatrix(rows, labels), rounds)
    booster.set_attr(**(attributes or {}))
    return booster


def saved(folder, *boosters):
    folder.mkdir(parents=True, exist_ok=True)
    for number, booster in enumerate(boosters):
        (folder / f"xgboost-model-{number}").write_bytes(booster.save_raw("ubj"))
    return folder


def csv(rows):
    return "".join(",".join("" if math.isnan(v) else f"{v:.9g}" for v in row) + "\n" for row in rows.tolist())


def libsvm(rows, base=0):
    return "".join(" ".join(f"{i + base}:{v:.9g}" for i, v in enumerate(row)) + "\n" for row in rows.tolist())


def test_every_content_type_in_and_out(endpoint, tmp_path):
    booster = model("multi:softprob")
    saved(tmp_path / "model", booster)
    (tmp_path / "model" / "model.tar.gz").write_bytes(b"\x1f\x8b stray")
    rows = ROWS[::40].copy()
    rows[1, 3] = np.nan
    wanted = booster.predict(xgb.DMatrix(rows))
    served = endpoint("xgboost", tmp_path)
    for body in (csv(rows), csv(rows).replace(",", "\t"), csv(rows).replace(",", ";")):
        answer = served.invoke(body)
        assert answer.content_type.startswith("text/csv")
        np.testing.assert_allclose(np.loadtxt(answer.body.splitlines(), delimiter=","), wanted, rtol=1e-6)
    whole = ROWS[::40]
    wanted = booster.predict(xgb.DMatrix(whole))
    for body, content_type in (
        (libsvm(whole), "text/libsvm"),
        (libsvm(whole, base=1), "text/x-libsvm"),
        ("".join(f"1 {line}\n" for line in libsvm(whole).splitlines()), "libsvm"),
        (encode_batch(Batch(whole, np.ones(len(whole), np.float32))), RECORDS),
        (encode_batch(Batch(to_csr(whole))), "recordio-protobuf"),
        (json.dumps({"instances": [{"features": row} for row in whole.tolist()]}), "application/json"),
    ):
        found = served.invoke(body, content_type, "application/json").json()["predictions"]
        np.testing.assert_allclose([row["score"] for row in found], wanted, rtol=1e-6)
    untyped = served.request("POST", "/invocations", libsvm(whole))
    assert untyped.status == 200
    assert len(untyped.body.splitlines()) == len(whole)
    lines = served.invoke(csv(whole), accept="application/jsonlines").body.splitlines()
    np.testing.assert_allclose([json.loads(line)["score"] for line in lines], wanted, rtol=1e-6)
    assert served.invoke(csv(whole), accept=RECORDS).body.count(b"score") == len(whole)
    for body, content_type, status in (
        (csv(ROWS[:2, :12]), "text/csv", 400),
        (csv(np.column_stack([LABELS[:2], ROWS[:2]])), "text/csv", 400),
        ("0:1 13:2\n", "text/libsvm", 400),
        ("1,2\n3\n", "text/csv", 415),
        ("x,y\n", "text/csv", 415),
        ("{}", "application/json", 400),
        ("{}", "image/png", 415),
        ("", "text/csv", 204),
    ):
        answer = served.invoke(body, content_type)
        assert answer.status == status, answer
        assert b"Traceback" not in answer.body
    assert "leave the label out" in served.invoke(csv(np.column_stack([LABELS[:1], ROWS[:1]]))).body.decode()
    assert served.invoke(csv(whole), accept="image/png").status == 406


def test_selected_output_in_a_batch(endpoint, tmp_path):
    booster = model("binary:logistic")
    saved(tmp_path / "model", booster)
    shares = booster.predict(xgb.DMatrix(ROWS[:2])).tolist()
    keys = "predicted_label, probabilities,PROBABILITY"
    served = endpoint("xgboost", tmp_path, SAGEMAKER_INFERENCE_OUTPUT=keys, SAGEMAKER_BATCH="true")
    first = served.invoke(csv(ROWS[:2])).body.decode().splitlines()[0]
    assert first.startswith(f'{int(shares[0] > 0.5)},"[')
    assert first.endswith(f'{shares[0]}]",{shares[0]}')
    item = served.invoke(csv(ROWS[:2]), accept="application/json").json()["predictions"][1]
    assert item["predicted_label"] == int(shares[1] > 0.5)
    assert item["probabilities"] == pytest.approx([1 - shares[1], shares[1]])
    assert item["probability"] == pytest.approx(shares[1])


def answered(folder, rows=ROWS[:3], accept="application/json", **environment):
    made = codec(environment)
    return made.encode(predict.load(folder).predict(rows, {}), parse(accept)).decode()


def test_batches_and_many_models_have_bodies_of_their_own(tmp_path):
    saved(tmp_path / "one", model("binary:logistic"))
    saved(tmp_path / "many", model("multi:softprob"))
    plain = answered(tmp_path / "one", accept="text/csv")
    assert answered(tmp_path / "one", SAGEMAKER_BATCH="True") == plain
    assert answered(tmp_path / "many", SAGEMAKER_BATCH="true").startswith("[0.")
    assert answered(
        tmp_path / "one", accept="text/csv", SAGEMAKER_MULTI_MODEL="true"
    ) == plain.rstrip().replace("\n", ",")
    listed = json.loads(answered(tmp_path / "one", SAGEMAKER_MULTI_MODEL="true"))
    assert listed == pytest.approx([float(line) for line in plain.split()])


@pytest.mark.parametrize(
    ("objective", "asked", "shown"),
    [
        ("reg:squarederror", "predicted_score,raw_score", {"predicted_score": None, "raw_score": "nan"}),
        ("binary:logitraw", "predicted_label,labels,probability", {"labels": [0, 1], "probability": "nan"}),
        ("binary:hinge", "predicted_label,raw_scores", {}),
        ("multi:softmax", "labels,raw_score", {"labels": [0, 1, 2], "raw_score": 0.0}),
        ("multi:softprob", "predicted_label,labels", {"predicted_label": 0, "labels": [0, 1, 2]}),
    ],
)
def test_what_each_objective_tells(tmp_path, objective, asked, shown):
    saved(tmp_path, model(objective))
    found = json.loads(answered(tmp_path, ROWS[:1], SAGEMAKER_INFERENCE_OUTPUT=asked))["predictions"][0]
    assert list(found) == asked.split(",")
    for key, value in shown.items():
        if value == "nan":
            assert math.isnan(found[key])
        elif value is not None:
            assert found[key] == value
    text = answered(tmp_path, ROWS[:2], "text/csv", SAGEMAKER_INFERENCE_OUTPUT=asked)
    assert text.count("\n") == 1  # none behind the last row


def test_objectives_that_tell_nothing(tmp_path):
    saved(tmp_path, model("count:poisson"))
    with pytest.raises(ClientError, match="count:poisson") as caught:
        answered(tmp_path, SAGEMAKER_INFERENCE_OUTPUT="predicted_score")
    assert caught.value.status == 500


def test_ensembles(tmp_path, monkeypatch):
    regressions = [model("reg:squarederror", rounds=n) for n in (1, 3, 5)]
    saved(tmp_path / "mean", *regressions)
    wanted = np.mean([b.predict(xgb.DMatrix(ROWS)) for b in regressions], axis=0)
    np.testing.assert_allclose(predict.load(tmp_path / "mean").predict(ROWS, {})["score"], wanted, rtol=1e-6)
    shuffled = np.random.default_rng(0).permutation(LABELS)
    voters = [model("multi:softmax"), model("multi:softmax", labels=shuffled), model("multi:softmax")]
    saved(tmp_path / "vote", *voters)
    votes = predict.load(tmp_path / "vote").predict(ROWS, {})["score"]
    assert np.array_equal(votes, voters[0].predict(xgb.DMatrix(ROWS)))
    monkeypatch.setenv("SAGEMAKER_INFERENCE_ENSEMBLE", "false")
    alone = predict.load(tmp_path / "mean").predict(ROWS, {})["score"]
    np.testing.assert_allclose(alone, regressions[0].predict(xgb.DMatrix(ROWS)), rtol=1e-6)


@pytest.mark.parametrize("parameters", [{}, {"booster": "dart", "rate_drop": 0.5}, {"booster": "gblinear"}])
def test_boosters_answer_as_the_library(tmp_path, parameters):
    booster = model("reg:squarederror", **parameters)
    found = predict.load(saved(tmp_path, booster)).predict(ROWS, {})["score"]
    np.testing.assert_allclose(found, booster.predict(xgb.DMatrix(ROWS)), rtol=1e-5)


def test_the_best_round_answers(tmp_path):
    booster = model("reg:squarederror", rounds=6, attributes={"best_iteration": "2"})
    found = predict.load(saved(tmp_path, booster)).predict(ROWS, {})["score"]
    np.testing.assert_allclose(found, booster.predict(xgb.DMatrix(ROWS), iteration_range=(0, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    ("trained", "body", "same_as"),
    [
        (None, "1:13 2:2\n", "0:13 1:2\n"),  # no index is 0: counted from 1, as AWS's server does
        (None, "0:13 1:2\n", "0:13 1:2\n"),
        ("0", "1:13 2:2\n", "1:13 2:2\n"),  # the model knows better: feature 0 is left out
        ("0", "1:13 13:2\n", "0:13 12:2\n"),  # 13 can only be the last feature
        ("1", "1:13 2:2\n", "1:13 2:2\n"),  # learnt as they are
        (None, "qid:4 0:13 1:2\n", "0:13 1:2\n"),
    ],
)
def test_libsvm_that_counts_from_1(tmp_path, trained, body, same_as):
    booster = model("reg:squarederror", attributes={"algodock_libsvm_base": trained} if trained else None)
    predictor = predict.load(saved(tmp_path, booster))
    body = ("7 " + body) if body.startswith("qid") else body
    rows = codec({}).decode(body.encode(), parse("text/libsvm"))
    plain = np.full((1, 13), np.nan, np.float32)
    for pair in same_as.split():
        index, value = pair.split(":")
        plain[0, int(index)] = float(value)
    assert predictor.predict(rows, {})["score"] == pytest.approx(booster.predict(xgb.DMatrix(plain)))
