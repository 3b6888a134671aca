"""The real `train` and `serve` on real data: modes, two hosts, metrics, bodies, mistakes, a stop."""

from __future__ import annotations

import json
import re
import signal
import socket

import numpy as np
import pytest
from sklearn.datasets import load_digits

from common import manifest
from common.batches import Batch, to_csr
from common.failures import ClientError
from common.formats import encode_batch, ndarray, record_pb2
from containers.pca.predict import load

DIGITS = load_digits().data.astype(np.float32)
TRAIN, TEST = DIGITS[:1500], DIGITS[1500:]
CSV = "text/csv;label_size=0"
JOB = {"feature_dim": 64, "num_components": 10, "mini_batch_size": 400}


def csv(rows: np.ndarray) -> bytes:
    return "".join(",".join(f"{value:g}" for value in row) + "\n" for row in rows.tolist()).encode()


def records(rows: np.ndarray, sparse: bool = False) -> bytes:
    return encode_batch(Batch(to_csr(rows) if sparse else rows))


def metric(log: str, name: str) -> float:
    """A metric as SageMaker finds it."""
    regex = next(metric.regex for metric in manifest.load("pca").metrics if metric.name == name)
    return float(re.findall(regex, log)[-1])


def exact(arrays: dict[str, np.ndarray], rows: np.ndarray = TRAIN) -> None:
    """Asserts that a model is the SVD of the centered rows in AWS's layout."""
    assert list(arrays) == ["mean", "v", "s"]
    assert [array.dtype for array in arrays.values()] == [np.float32] * 3
    assert [array.shape for array in arrays.values()] == [(1, 64), (64, 10), (10,)]
    mean = rows.mean(axis=0, dtype=np.float64)
    _, s, vt = np.linalg.svd(rows - mean, full_matrices=False)
    np.testing.assert_allclose(arrays["mean"][0], mean, rtol=1e-6)
    np.testing.assert_allclose(arrays["s"][::-1], s[:10], rtol=1e-5)
    np.testing.assert_allclose(np.abs((arrays["v"][:, ::-1].T * vt[:10]).sum(axis=1)), 1, atol=1e-5)


def lost(arrays: dict[str, np.ndarray], rows: np.ndarray) -> float:
    centered = rows - arrays["mean"]
    return float(((centered - centered @ arrays["v"] @ arrays["v"].T) ** 2).mean())


def test_digits_exactly_and_the_log_says_so(training_job):
    job = training_job("pca", **JOB).channel("train", csv(TRAIN), CSV).channel("test", csv(TEST), CSV)
    finished = job.run().succeeded()
    assert [path.name for path in finished.model.iterdir()] == ["model_algo-1"]
    arrays, log = ndarray.load(finished.model / "model_algo-1"), finished.log
    exact(arrays)
    assert metric(log, "test:mse") == pytest.approx(lost(arrays, TEST), rel=1e-4)
    assert metric(log, "train:progress") == 100
    assert metric(log, "train:throughput") > 0
    share = (arrays["s"] ** 2).sum() / ((TRAIN - arrays["mean"]) ** 2).sum()
    assert float(re.findall(r"10 components explain (\S+) of the variance", log)[0]) == pytest.approx(
        share, abs=1e-5
    )
    for line in (
        "The default executor is <PCAExecutor on cpu(0)>.",
        "64 feature(s) found in 'data'.",
        "<PCAExecutor on cpu(0)> is assigned to batch slice from 0 to 399.",
    ):
        assert f"] {line}\n" in log
    # 1,500 rows are three mini-batches of 400 and a smaller one.
    assert '"Total Batches Seen": {"sum": 4.0' in log
    for name in ("initialize.time", "epochs", "update.time", "finalize.time", "setuptime", "totaltime"):
        assert f'"{name}": {{"sum"' in log


@pytest.mark.parametrize(
    ("data", "content_type", "mode"),
    [
        (records(TRAIN), None, "File"),
        (records(TRAIN), "application/x-recordio-protobuf", "Pipe"),
        (records(TRAIN, sparse=True), None, "File"),
        (csv(np.column_stack([np.zeros(len(TRAIN)), TRAIN])), "text/csv", "Pipe"),
    ],
)
def test_every_form_of_rows(training_job, data, content_type, mode):
    job = training_job("pca", **{**JOB, "mini_batch_size": 7})
    finished = job.channel("train", data, content_type, mode).run().succeeded()
    exact(ndarray.load(finished.model / "model_algo-1"))


def test_randomized_mode(training_job):
    def run(**values: object):
        job = training_job("pca", **JOB, algorithm_mode="randomized", **values)
        finished = job.channel("train", records(TRAIN)).run().succeeded()
        return ndarray.load(finished.model / "model_algo-1"), (finished.model / "model_algo-1").read_bytes()

    arrays, content = run()
    assert [array.shape for array in arrays.values()] == [(1, 64), (64, 10), (10,)]
    np.testing.assert_allclose(arrays["mean"][0], TRAIN.mean(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(arrays["v"].T @ arrays["v"], np.eye(10), atol=1e-5)
    assert run()[1] == content
    # extra_components=-1 is max(10, num_components).
    assert run(extra_components=10)[1] == content
    accurate, _ = run(extra_components=3000)
    assert lost(accurate, TRAIN) < lost(arrays, TRAIN)
    _, s, _ = np.linalg.svd(TRAIN - TRAIN.mean(axis=0, dtype=np.float64), full_matrices=False)
    np.testing.assert_allclose(accurate["s"][::-1], s[:10], rtol=0.08)


def test_without_subtracting_the_mean(training_job):
    job = training_job("pca", **JOB, subtract_mean="False").channel("train", records(TRAIN))
    arrays = ndarray.load(job.run().succeeded().model / "model_algo-1")
    assert not arrays["mean"].any()
    np.testing.assert_allclose(arrays["s"][::-1], np.linalg.svd(TRAIN)[1][:10], rtol=1e-5)


@pytest.mark.parametrize("mode", ["regular", "randomized"])
@pytest.mark.parametrize("case", ["sharded", "replicated", "one has none"])
def test_two_hosts_are_one(training_job, mode, case):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    parts = {
        "sharded": [records(TRAIN[:400]), records(TRAIN[400:], sparse=True)],
        "replicated": [records(TRAIN), records(TRAIN)],
        "one has none": [None, records(TRAIN)],
    }[case]
    distribution = "FullyReplicated" if case == "replicated" else "ShardedByS3Key"
    hosts, started = ["127.0.0.1", "127.0.0.2"], []
    for host, content in zip(hosts, parts, strict=True):
        job = training_job("pca", **JOB, algorithm_mode=mode, extra_components=3000)
        job.resources = {"current_host": host, "hosts": hosts}
        job.environment["ALGODOCK_CLUSTER_PORT"] = port
        job.channel("train", {} if content is None else content, distribution=distribution)
        job.channel("test", records(TEST))
        started.append((job, job.start()))
    logs = [process.communicate(timeout=120)[0] for _, process in started]
    assert [process.returncode for _, process in started] == [0, 0], logs
    assert not list((started[1][0].root / "model").glob("*"))
    arrays = ndarray.load(started[0][0].root / "model" / "model_algo-1")
    if mode == "regular":
        exact(arrays)
    else:
        _, s, _ = np.linalg.svd(TRAIN - TRAIN.mean(axis=0, dtype=np.float64), full_matrices=False)
        np.testing.assert_allclose(arrays["s"][::-1], s[:10], rtol=0.08)
    for log in logs:
        assert metric(log, "test:mse") == pytest.approx(lost(arrays, TEST), rel=1e-4)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"num_components": 65}, ["num_components is 65, more than feature_dim=64"]),
        ({"num_components": 0}, ["num_components", "at least 1"]),
        ({"algorithm_mode": "exact"}, ["algorithm_mode", "regular or randomized"]),
        ({"extra_components": -2}, ["extra_components", "at least -1"]),
        ({"epochs": 2}, ["epochs is '2'", "at most 1"]),
        ({"subtract_mean": "maybe"}, ["subtract_mean", "true or false"]),
        ({"feature_dim": 63}, ["63", "64"]),
        ({"feature_dim": 10_000_000}, ["needs more memory in algorithm_mode=regular", "randomized"]),
    ],
)
def test_mistakes_in_hyperparameters(training_job, values, parts):
    training_job("pca", **{**JOB, **values}).channel("train", csv(TRAIN[:50]), CSV).run().failed(*parts)


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        (b"", "channel train has no rows"),
        (b"1,2\n3,inf\n", "feature 1 (counted from 0) of row 2 is inf"),
    ],
)
def test_mistakes_in_rows(training_job, rows, part):
    job = training_job("pca", feature_dim=2, num_components=1, mini_batch_size=1)
    job.channel("train", rows, CSV).run().failed(part)


def test_parameters_without_effect_and_first_names(training_job):
    job = training_job("pca", **JOB, algorithm_mode="stable", extra_components=5)
    finished = job.channel("train", records(TRAIN)).run().succeeded()
    assert "extra_components has no effect" in finished.log
    exact(ndarray.load(finished.model / "model_algo-1"))


def test_more_components_than_rows_are_said_to_be_arbitrary(training_job):
    finished = training_job("pca", **JOB).channel("train", records(TRAIN[:4])).run().succeeded()
    assert "there are only 4 rows" in finished.log
    assert (ndarray.load(finished.model / "model_algo-1")["s"][:6] < 1e-3).all()


def test_a_stop_keeps_what_was_read(training_job):
    job = training_job("pca", **JOB).channel("train", records(np.tile(TRAIN, (400, 1))), mode="Pipe")
    process = job.start()
    for line in process.stdout:
        if "is assigned to batch slice" in line:
            break
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 0, log
    rows = sum(map(float, re.findall(r'"Total Records Seen": \{"sum": (\S+?),', log)))
    assert rows < 600_000
    assert (job.root / "model" / "model_algo-1").exists() == (rows > 0)


# --- the endpoint ---

MEAN = np.array([[1, 0, 2]], np.float32)
V = np.array([[0, 1], [1, 0], [0, 0]], np.float32)
ROWS = np.array([[3, 4, 5], [1, 0, 7]], np.float32)
PROJECTIONS = [[4.0, 2.0], [0.0, 0.0]]


def test_every_body_in_and_out(endpoint, tmp_path):
    (tmp_path / "model").mkdir()
    ndarray.save(
        tmp_path / "model" / "model_algo-1", {"mean": MEAN, "v": V, "s": np.array([1, 2], np.float32)}
    )
    served = endpoint("pca", tmp_path)
    dense = json.dumps({"instances": [{"features": ROWS[0].tolist()},
                                      {"data": {"features": {"values": ROWS[1].tolist()}}}]})  # fmt: skip
    sparse = json.dumps({"instances": [
        {"data": {"features": {"keys": [0, 1, 2], "shape": [3], "values": [3, 4, 5]}}},
        {"data": {"features": {"keys": [2, 0], "shape": [3], "values": [7, 1]}}},
    ]})  # fmt: skip
    items = [{"projection": projection} for projection in PROJECTIONS]
    for body, content_type in (
        (dense, "application/json"),
        (sparse, "application/json"),
        ("\n".join(json.dumps({"features": row}) for row in ROWS.tolist()), "application/jsonlines"),
        ("3,4,5\n1,0,7\n", "text/csv"),
        (encode_batch(Batch(ROWS)), "application/x-recordio-protobuf"),
        (encode_batch(Batch(to_csr(ROWS))), "application/x-recordio-protobuf"),
    ):
        answer = served.invoke(body, content_type)
        assert (answer.status, answer.json()) == (200, {"projections": items}), content_type
    lines = served.invoke(dense, "application/json", "application/jsonlines").body.splitlines()
    assert [json.loads(line) for line in lines] == items
    assert served.invoke(dense, "application/json", "text/csv").body.split() == [b"4.0,2.0", b"0.0,0.0"]
    found = served.invoke("3,4,5\n", "text/csv", "application/x-recordio-protobuf").body
    size = int.from_bytes(found[4:8], "little")
    record = record_pb2.Record.FromString(found[8 : 8 + size])
    assert list(record.label["projection"].float32_tensor.values) == PROJECTIONS[0]
    for body in ("1,2\n", "1,2,x\n", "1,2,inf\n"):
        assert served.invoke(body).status == 400
    assert served.invoke("3e38,3e38,-3e38\n").status == 200


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ([V], "has the arrays 1 without names; accepted: mean, v and s"),
        ({"mean": MEAN}, "has the arrays mean; accepted: mean, v and s"),
        ({"v": V[0]}, "v of model_algo-1 has the shape (2,)"),
        ({"v": V, "mean": MEAN[:, :2]}, "mean of model_algo-1 has the shape (1, 2); accepted: (1, 3)"),
        ({"v": V * np.nan}, "not all finite"),
        (None, "has no file model_algo-1"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path, arrays, part):
    if arrays is not None:
        ndarray.save(tmp_path / "model_algo-1", arrays)
    with pytest.raises(ClientError) as refused:
        load(tmp_path)
    assert part in str(refused.value)


def test_models_by_hand(tmp_path):
    ndarray.save(tmp_path / "model_algo-1", {"v": V.astype(np.float64)})
    model = load(tmp_path)
    assert model.feature_dim == 3
    assert model.predict(ROWS, {})["projection"].tolist() == (ROWS @ V).tolist()
    ndarray.save(tmp_path / "model_algo-1", {"v": V * 1e10})
    with pytest.raises(ClientError, match="too large"):
        load(tmp_path).predict(np.full((1, 3), 1e30, np.float32), {})
