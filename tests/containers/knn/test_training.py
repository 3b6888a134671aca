"""The real `train` on real data: File and Pipe mode, two hosts, metrics, mistakes, a stop."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time

import faiss
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from common import manifest
from common.batches import Batch, to_csr
from common.formats import encode_batch
from containers.knn.artifact import load

DIGITS, DIGIT_LABELS = (array.astype(np.float32) for array in load_digits(return_X_y=True))
TRAIN, TEST = slice(0, 1300), slice(1300, None)
CSV = "text/csv;label_size=1"
DIGIT_JOB = {"feature_dim": 64, "k": 5, "predictor_type": "classifier", "sample_size": 2000}
FLAT = {**DIGIT_JOB, "index_type": "faiss.Flat"}


def csv(rows: np.ndarray, labels: np.ndarray) -> bytes:
    lines = np.column_stack([labels, rows]).tolist()
    return "".join(",".join(f"{value:g}" for value in line) + "\n" for line in lines).encode()


def records(part: slice, sparse: bool = False) -> bytes:
    rows = DIGITS[part]
    return encode_batch(Batch(to_csr(rows) if sparse else rows, DIGIT_LABELS[part]))


def metric(log: str, name: str) -> float:
    """A metric as SageMaker finds it."""
    regex = next(metric.regex for metric in manifest.load("knn").metrics if metric.name == name)
    found = re.findall(regex, log)
    assert len(found) == 1, log
    return float(found[0])


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return (
        KNeighborsClassifier(5, algorithm="brute")
        .fit(DIGITS[TRAIN], DIGIT_LABELS[TRAIN])
        .predict(DIGITS[TEST])
    )


def test_digits_as_good_as_scikit_learn(training_job, reference):
    job = training_job("knn", **DIGIT_JOB)
    job.channel("train", csv(DIGITS[TRAIN], DIGIT_LABELS[TRAIN]), CSV)
    done = job.channel("test", csv(DIGITS[TEST], DIGIT_LABELS[TEST]), CSV).run().succeeded()
    due = np.mean(reference == DIGIT_LABELS[TEST])
    # Ties in the vote go to the nearest here and to the smallest label there: a row or two may differ.
    assert metric(done.log, "test:accuracy") == pytest.approx(due, abs=0.005)
    assert metric(done.log, "test:accuracy") > 0.96
    due = f1_score(DIGIT_LABELS[TEST], reference, average="macro")
    assert metric(done.log, "test:macro_f_1.000") == pytest.approx(due, abs=0.005)
    index = faiss.read_index(str(done.model / "model_algo-1"))
    np.testing.assert_array_equal(index.reconstruct_n(0, 1300), DIGITS[TRAIN])
    np.testing.assert_array_equal(np.fromfile(done.model / "model_algo-1.labels", "<f4"), DIGIT_LABELS[TRAIN])


def test_log_lines_are_aws(training_job):
    done = training_job("knn", **DIGIT_JOB).channel("train", records(TRAIN)).channel("test", records(TEST))
    log = done.run().succeeded().log
    expected = [
        r"Checkpoint loading and saving are disabled\.",
        r"Using per-worker sample size = 2000 \(Available virtual memory = [1-9]\d+ bytes, GPU free memory = "
        r"0 bytes, number of workers = 1\)\. If an out-of-memory error occurs, choose a larger instance "
        r"type, use dimension reduction, decrease sample_size, and/or decrease mini_batch_size\.",
        r"#progress_metric: host=algo-1, completed 100\.0 % of epochs",
        r"#throughput_metric: host=algo-1, train throughput=[\d.]+ records/second",
        r"Getting reservoir sample from algo-1\.\.\.",
        r"\.\.\.Got reservoir sample from algo-1: data=\(1300, 64\), labels=\(1300,\), NaNs=0",
        r"Training index\.\.\.",
        r"\.\.\.Finished training index in \d+ second\(s\)",
        r"Adding data to index\.\.\.",
        r"\.\.\.Finished adding data to index in \d+ second\(s\)",
        r"Searching index\.\.\.",
        r"\.\.\.Done searching index in \d+ second\(s\)",
        r"#test_score \(algo-1\) : \('accuracy', 0\.9\d+\)",
        r"#test_score \(algo-1\) : \('macro_f_1\.000', 0\.9\d+\)",
        r"#quality_metric: host=algo-1, test accuracy <score>=0\.9\d+",
        r"#quality_metric: host=algo-1, test macro_f_1\.000 <score>=0\.9\d+",
    ]
    prefix = r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d INFO \d+\] "
    places = []
    for text in expected:
        found = re.search(f"^{prefix}{text}$", log, re.MULTILINE)
        assert found, text
        places.append(found.start())
    assert places == sorted(places)
    metrics = [
        json.loads(line.removeprefix("#metrics ")) for line in log.splitlines() if line[:8] == "#metrics"
    ]
    assert {line["Dimensions"]["Algorithm"] for line in metrics} == {"AWS/KNN"}
    names = {name for line in metrics for name in line["Metrics"]}
    assert names >= {"initialize.time", "epochs", "update.time", "finalize.time", "model.serialize.time"}
    assert names >= {"setuptime", "totaltime"}
    counted = {
        line["Dimensions"]["Meta"]: line["Metrics"] for line in metrics if "Meta" in line["Dimensions"]
    }
    assert counted["training_data_iter"]["Total Records Seen"]["sum"] == 1300
    assert counted["test_data_iter"]["Total Records Seen"]["sum"] == 497


def test_every_way_in_gives_the_same_bytes(training_job):
    def model(data: bytes, content_type: str | None, mode: str, **more: object) -> list[bytes]:
        job = training_job("knn", **{**DIGIT_JOB, "sample_size": 400, **more})
        done = job.channel("train", data, content_type, mode).run().succeeded()
        return [(done.model / name).read_bytes() for name in ("model_algo-1", "model_algo-1.labels")]

    first = model(records(TRAIN), None, "File")
    assert first == model(records(TRAIN), "application/x-recordio-protobuf", "Pipe", feature_dim="auto")
    assert first == model(csv(DIGITS[TRAIN], DIGIT_LABELS[TRAIN]), CSV, "Pipe", mini_batch_size=77)
    assert first == model(records(TRAIN, sparse=True), None, "File", feature_dim="auto")


def test_regressor_is_scikit_learns_on_diabetes(training_job):
    rows, targets = (array.astype(np.float32) for array in load_diabetes(return_X_y=True))
    job = training_job("knn", feature_dim=10, k=10, predictor_type="regressor", sample_size=350)
    job.channel("train", encode_batch(Batch(rows[:350], targets[:350])))
    done = job.channel("test", encode_batch(Batch(rows[350:], targets[350:]))).run().succeeded()
    model = KNeighborsRegressor(10, algorithm="brute").fit(rows[:350], targets[:350])
    due = np.mean((model.predict(rows[350:]) - targets[350:]) ** 2)
    assert metric(done.log, "test:mse") == pytest.approx(due, rel=1e-5)
    assert f"#test_score (algo-1) : ('mse', {metric(done.log, 'test:mse')})" in done.log


@pytest.mark.parametrize(
    ("settings", "dimension", "least"),
    [
        ({"index_type": "faiss.IVFFlat"}, 64, 0.95),
        ({"index_type": "faiss.IVFFlat", "index_metric": "COSINE", "faiss_index_ivf_nlists": 10}, 64, 0.95),
        ({"index_type": "faiss.IVFPQ", "faiss_index_pq_m": 12}, 72, 0.93),
        ({"index_metric": "INNER_PRODUCT"}, 64, 0.70),
        ({"dimension_reduction_type": "sign", "dimension_reduction_target": 32}, 32, 0.90),
        ({"dimension_reduction_type": "fjlt", "dimension_reduction_target": 32}, 32, 0.90),
        (
            {
                "dimension_reduction_type": "fjlt",
                "dimension_reduction_target": 30,
                "index_type": "faiss.IVFPQ",
                "faiss_index_pq_m": 16,
            },
            32,
            0.85,
        ),
        (
            {
                "dimension_reduction_type": "fjlt",
                "dimension_reduction_target": 62,
                "index_type": "faiss.IVFPQ",
            },
            72,  # whose own quarter would be 16 sub-vectors, not 12
            0.85,
        ),
    ],
)
def test_indexes_metrics_and_reductions(training_job, settings, dimension, least):
    job = training_job("knn", **DIGIT_JOB, **settings).channel("train", records(TRAIN))
    done = job.channel("test", records(TEST)).run().succeeded()
    assert metric(done.log, "test:accuracy") > least
    knn = load(done.model, "cpu")
    assert knn.index.d == dimension
    assert knn.preparation.input_dim == 64
    assert knn.preparation.normalize == (settings.get("index_metric") == "COSINE")
    if settings.get("index_type", "faiss.Flat") != "faiss.Flat":
        assert knn.index.nlist == settings.get("faiss_index_ivf_nlists", 36)
        assert knn.index.nprobe == 5
    # What is served scores what training printed.
    assert np.mean(knn.predict(DIGITS[TEST]) == DIGIT_LABELS[TEST]) == metric(done.log, "test:accuracy")


# --- several hosts ---


def two_hosts(training_job, data: list[bytes | None], distribution: str, test: list[bytes] | None, **values):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    hosts = ["127.0.0.1", "127.0.0.2"]
    started = []
    for number, host in enumerate(hosts):
        job = training_job("knn", **values)
        job.resources = {"current_host": host, "hosts": hosts}
        job.environment["ALGODOCK_CLUSTER_PORT"] = port
        content = data[number]
        job.channel("train", {} if content is None else content, distribution=distribution)
        if test:
            job.channel("test", test[number], distribution=distribution)
        started.append((job, job.start()))
    logs = [process.communicate(timeout=120)[0] for _, process in started]
    assert [process.returncode for _, process in started] == [0, 0], logs
    assert not (started[1][0].root / "model").exists() or not list((started[1][0].root / "model").iterdir())
    return started[0][0].root / "model", logs


def test_two_hosts_on_sharded_rows_keep_and_score_them_all(training_job, reference):
    model, logs = two_hosts(
        training_job,
        [records(slice(0, 600)), records(slice(600, 1300))],
        "ShardedByS3Key",
        [records(slice(1300, 1700)), records(slice(1700, None))],
        **DIGIT_JOB,
    )
    knn = load(model, "cpu")
    np.testing.assert_array_equal(knn.index.reconstruct_n(0, 1300), DIGITS[TRAIN])
    accuracy = metric(logs[0], "test:accuracy")
    assert accuracy == np.mean(knn.predict(DIGITS[TEST]) == DIGIT_LABELS[TEST])
    assert accuracy == pytest.approx(np.mean(reference == DIGIT_LABELS[TEST]), abs=0.005)
    assert "number of workers = 2" in logs[0]
    assert "Using per-worker sample size = 1000 " in logs[1]
    assert "Got reservoir sample from 127.0.0.2: data=(700, 64), labels=(700,), NaNs=0" in logs[0]
    assert "#quality_metric" not in logs[1]


def test_two_hosts_divide_replicated_rows(training_job):
    whole = records(TRAIN)
    test = records(TEST)
    values = {**DIGIT_JOB, "sample_size": 901}
    model, logs = two_hosts(training_job, [whole, whole], "FullyReplicated", [test, test], **values)
    knn = load(model, "cpu")
    assert knn.index.ntotal == 901
    assert len(np.unique(knn.index.reconstruct_n(0, 901), axis=0)) == 901  # no row came twice
    assert "sample size = 451" in logs[0]
    assert "sample size = 450" in logs[1]
    assert metric(logs[0], "test:accuracy") == np.mean(knn.predict(DIGITS[TEST]) == DIGIT_LABELS[TEST])


@pytest.mark.parametrize("empty", [0, 1])
def test_a_host_without_rows_takes_part(training_job, empty):
    data: list[bytes | None] = [records(TRAIN), records(TRAIN)]
    data[empty] = None
    values = {**DIGIT_JOB, "feature_dim": "auto", "sample_size": 2600}
    model, _ = two_hosts(training_job, data, "ShardedByS3Key", None, **values)
    assert load(model, "cpu").index.ntotal == 1300


# --- mistakes ---


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"k": 0}, ["k is '0'", "at least 1"]),
        ({"k": 20, "sample_size": 10}, ["k is 20", "sample_size is 10"]),
        ({"predictor_type": "vote"}, ["predictor_type", "classifier or regressor"]),
        ({"dimension_reduction_type": "sign"}, ["dimension_reduction_target is missing"]),
        (
            {"dimension_reduction_type": "fjlt", "dimension_reduction_target": 64},
            ["dimension_reduction_target is 64", "64 features"],
        ),
        (
            {"dimension_reduction_type": "fjlt", "dimension_reduction_target": 64, "feature_dim": "auto"},
            ["dimension_reduction_target is 64", "64 features"],
        ),
        ({"index_type": "faiss.IVFPQ", "index_metric": "COSINE"}, ["COSINE", "L2 with faiss.IVFPQ"]),
        ({"index_type": "faiss.IVFPQ", "index_metric": "INNER_PRODUCT"}, ["L2 with faiss.IVFPQ"]),
        ({"index_type": "faiss.IVFPQ", "faiss_index_pq_m": 5}, ["faiss_index_pq_m is '5'", "1, 2, 3, 4, 8"]),
        ({"index_type": "faiss.IVFPQ", "sample_size": 200}, ["256"]),
        ({"index_type": "faiss.IVFFlat", "faiss_index_ivf_nlists": 5000}, ["faiss_index_ivf_nlists is 5000"]),
        ({"index_type": "faiss.IVFFlat", "faiss_index_ivf_nlists": 1900}, ["the sample has 1300 rows"]),
        ({"index_type": "HNSW"}, ["faiss.Flat, faiss.IVFFlat or faiss.IVFPQ"]),
        ({"epochs": 2}, ["epochs is '2'"]),
        ({"k": 1999}, ["1300 rows", "k=1999"]),
        ({"feature_dim": 63}, ["63", "64"]),
        ({"neighbours": 3}, ["neighbours is unknown"]),
    ],
)
def test_a_mistake_is_told(training_job, changes, parts):
    training_job("knn", **{**DIGIT_JOB, **changes}).channel("train", records(TRAIN)).run().failed(*parts)


def test_values_that_no_distance_has_are_told_with_their_row(training_job):
    rows = DIGITS[:50].copy()
    rows[30, 7] = np.nan
    done = training_job("knn", **DIGIT_JOB).channel("train", encode_batch(Batch(rows, DIGIT_LABELS[:50])))
    done.run().failed("channel train", "feature 7", "row 31", "nan")
    labels = DIGIT_LABELS[:50].copy()
    labels[12] = np.inf
    done = training_job("knn", **DIGIT_JOB).channel("train", encode_batch(Batch(DIGITS[:50], labels)))
    done.run().failed("channel train", "label of row 13", "inf")


def test_several_labels_a_row_are_refused(training_job):
    done = training_job("knn", **DIGIT_JOB).channel("train", b"1,2,3,4\n" * 9, "text/csv;label_size=2")
    done.hyperparameters["feature_dim"] = 2
    done.run().failed("2 labels", "label_size=1")


def test_parameters_without_effect_are_warned_of(training_job):
    values = {
        **DIGIT_JOB,
        "faiss_index_pq_m": 8,
        "dimension_reduction_target": 5,
        "_tuning_objective_metric": "x",
    }
    done = training_job("knn", **values).channel("train", records(TRAIN)).run().succeeded()
    assert "faiss_index_pq_m has no effect" in done.log
    assert "dimension_reduction_target has no effect" in done.log


# --- a stop ---


def test_a_stop_keeps_the_sample_so_far(training_job):
    job = training_job("knn", **DIGIT_JOB).channel("train", b"", mode="Pipe")
    job.channel("test", records(TEST))
    job.pipes.clear()
    process = job.start()
    path = job.root / "input" / "data" / "train_0"
    os.mkfifo(path)
    with path.open("wb") as fifo:
        # All but the last 64 KiB are in the reader's hands once this returns.
        fifo.write(records(TRAIN) * 40)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert load(job.root / "model", "cpu").index.ntotal == 2000
    assert not (job.root / "output" / "failure").exists()
    assert "#quality_metric" not in log


def test_a_stop_before_any_row_leaves_no_model(training_job):
    job = training_job("knn", **DIGIT_JOB).channel("train", b"", mode="Pipe")
    job.pipes.clear()
    process = job.start()
    path = job.root / "input" / "data" / "train_0"
    os.mkfifo(path)
    with path.open("wb"):  # returns once the job reads
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert "Stopping on request before there were k rows: no model" in log
    assert not list((job.root / "model").glob("*"))
