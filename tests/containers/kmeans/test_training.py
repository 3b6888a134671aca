"""The real `train` on real data: File and Pipe mode, two hosts, metrics, mistakes, a stop."""

from __future__ import annotations

import re
import signal

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from common import manifest
from common.batches import Batch, to_csr
from common.formats import encode_batch, ndarray

# Digits come sorted by writer; mixed, any part of them is like the whole.
DIGITS = np.random.default_rng(0).permutation(load_digits().data.astype(np.float32))
TRAIN, TEST = DIGITS[:1500], DIGITS[1500:]
CSV = "text/csv;label_size=0"
JOB = {"k": 10, "feature_dim": 64}


def csv(rows: np.ndarray) -> bytes:
    return "".join(",".join(f"{value:g}" for value in row) + "\n" for row in rows.tolist()).encode()


def records(rows: np.ndarray, sparse: bool = False) -> bytes:
    return encode_batch(Batch(to_csr(rows) if sparse else rows))


def metric(log: str, name: str) -> float:
    """A metric as SageMaker finds it: the last one that its regex matches."""
    regex = next(metric.regex for metric in manifest.load("kmeans").metrics if metric.name == name)
    return float(re.findall(regex, log)[-1])


def centers(finished) -> np.ndarray:
    assert [path.name for path in finished.model.iterdir()] == ["model_algo-1"]
    (array,) = ndarray.load(finished.model / "model_algo-1")
    assert array.dtype == np.float32
    assert array.shape == (10, 64)
    return array


def distance(rows: np.ndarray, found: np.ndarray) -> float:
    """Mean squared distance to the nearest center, in plain numpy."""
    return float(((rows[:, None].astype(float) - found[None]) ** 2).sum(axis=2).min(axis=1).mean())


def test_digits_as_good_as_lloyd_on_all_rows_and_the_log_says_so(training_job):
    job = training_job("kmeans", **JOB, epochs=3, mini_batch_size=500, eval_metrics='["msd","ssd"]')
    finished = job.channel("train", csv(TRAIN), CSV).channel("test", csv(TEST), CSV).run().succeeded()
    found, log = centers(finished), finished.log
    peer = KMeans(10, n_init=10, random_state=0).fit(TRAIN)
    assert distance(TRAIN, found) < 1.05 * peer.inertia_ / len(TRAIN)
    assert metric(log, "test:msd") == pytest.approx(distance(TEST, found), rel=1e-4)
    assert metric(log, "test:ssd") == pytest.approx(len(TEST) * distance(TEST, found), rel=1e-4)
    assert f"#test_score (algo-1) : ('msd', {metric(log, 'test:msd')})" in log
    assert metric(log, "train:progress") == 100
    assert metric(log, "train:throughput") > 0
    attempts = re.findall(r"local kmeans attempt #(\d+)\. Current mean square distance (\S+)\n", log)
    assert [int(number) for number, _ in attempts] == list(range(10))
    assert metric(log, "train:msd") == pytest.approx(min(float(loss) for _, loss in attempts), abs=1e-6)
    for line in (
        "number of center slices 1",
        "Number of GPUs being used: 0",
        "'extra_center_factor' was set to 'auto', evaluated to 10.",
        "processed a total of 1500 examples",
        "shrinking 100 centers into 10",
        f"finished shrinking process. Mean Square Distance = {metric(log, 'train:msd')}",
    ):
        assert f"] {line}\n" in log
    assert "bigger than the first batch" not in log
    for name in ("initialize.time", "epochs", "update.time", "_shrink.time", "finalize.time",
                 "model.serialize.time", "setuptime", "totaltime"):  # fmt: skip
        assert f'"{name}": {{"sum"' in log
    assert log.count('"Algorithm": "AWS/KMeansWebscale"') >= 6


def test_same_model_from_every_form_of_the_same_rows(training_job):
    def trained(data: bytes, content_type: str | None, mode: str = "File") -> np.ndarray:
        job = training_job("kmeans", **JOB, epochs=2, mini_batch_size=400)
        return centers(job.channel("train", data, content_type, mode).run().succeeded())

    expected = trained(records(TRAIN), None)
    assert trained(records(TRAIN), None, "Pipe").tobytes() == expected.tobytes()
    assert trained(csv(TRAIN), CSV, "Pipe").tobytes() == expected.tobytes()
    labelled = csv(np.column_stack([np.arange(len(TRAIN)), TRAIN]))
    assert trained(labelled, "text/csv").tobytes() == expected.tobytes()
    # Sums of sparse rows round otherwise.
    sparse = trained(records(TRAIN, sparse=True), "application/x-recordio-protobuf")
    assert distance(TRAIN, sparse) == pytest.approx(distance(TRAIN, expected), rel=0.03)


def test_more_epochs_center_factors_and_trials_come_closer(training_job):
    def loss(**values: object) -> float:
        job = training_job("kmeans", **JOB, mini_batch_size=300, **values)
        return distance(TRAIN, centers(job.channel("train", records(TRAIN)).run().succeeded()))

    kept = loss(extra_center_factor=1, init_method="kmeans++")
    assert loss(extra_center_factor=20, init_method="kmeans++", epochs=3) < kept
    assert loss(extra_center_factor=1, init_method="random", half_life_time_size=200) != kept


def test_options_of_the_reduction(training_job):
    job = training_job(
        "kmeans",
        **JOB,
        local_lloyd_num_trials=3,
        local_lloyd_max_iter=1,
        local_lloyd_init_method="random",
        force_dense="True",
        _tuning_objective_metric="test:msd",
        _num_slices="1",
    )
    log = job.channel("train", records(TRAIN)).run().succeeded().log
    assert len(re.findall("local kmeans attempt", log)) == 3
    assert (
        "Batch size 5000 is bigger than the first batch data. "
        "Effective batch size used to initialize is 1500" in log
    )
    assert "Test data is not provided." in log


def test_few_rows(training_job):
    """auto keeps fewer centers; an explicit factor keeps as many as there are rows; below k nothing goes."""

    def run(rows: int, **values: object):
        return training_job("kmeans", **{**JOB, **values}).channel("train", records(TRAIN[:rows])).run()

    assert "'auto', evaluated to 2." in run(25).succeeded().log
    explicit = run(25, extra_center_factor=5).succeeded()
    assert "k * extra_center_factor is 50, but there are only 25 rows: 25 centers are kept" in explicit.log
    exact = run(10).succeeded()
    assert {row.tobytes() for row in centers(exact)} == {row.tobytes() for row in TRAIN[:10]}
    run(9).failed("channel train has 9 rows, fewer than k=10")
    # More centers than a mini-batch has rows: the start reads as many as it needs.
    assert "shrinking 100 centers into 10" in run(200, extra_center_factor=10, mini_batch_size=30).log


def test_equal_rows_are_one_center_often(training_job):
    job = training_job("kmeans", k=3, feature_dim=2).channel("train", b"1,2\n" * 50, CSV)
    (array,) = ndarray.load(job.run().succeeded().model / "model_algo-1")
    assert array.tolist() == [[1, 2]] * 3


# --- several hosts ---


def two_hosts(training_job, data: list[bytes | None], distribution: str, **values: object):
    jobs = []
    for content in data:
        job = training_job("kmeans", **JOB, mini_batch_size=300, eval_metrics="[msd, ssd]", **values)
        job.channel("train", {} if content is None else content, distribution=distribution)
        job.channel("test", records(TEST))
        jobs.append(job)
    return jobs[0].run_with(jobs[1])


@pytest.mark.parametrize("case", ["sharded", "replicated", "one has none", "the first has none"])
def test_two_hosts_are_as_good_as_one(training_job, case):
    parts: dict[str, list[bytes | None]] = {
        "sharded": [records(TRAIN[:500]), records(TRAIN[500:])],
        "replicated": [records(TRAIN), records(TRAIN)],
        "one has none": [records(TRAIN), None],
        "the first has none": [None, records(TRAIN)],
    }
    distribution = "FullyReplicated" if case == "replicated" else "ShardedByS3Key"
    first, second = (one.succeeded() for one in two_hosts(training_job, parts[case], distribution, epochs=2))
    assert not second.model.exists() or not list(second.model.iterdir())
    logs = [first.log, second.log]
    (array,) = ndarray.load(first.model / "model_algo-1")
    peer = KMeans(10, n_init=10, random_state=0).fit(TRAIN)
    assert distance(TRAIN, array) < 1.06 * peer.inertia_ / len(TRAIN)
    rows = [int(re.findall(r"processed a total of (\d+) examples", log)[0]) for log in logs]
    assert sum(rows) == len(TRAIN)
    # Replicated test rows count once, on either host.
    for log in logs:
        assert metric(log, "test:ssd") == pytest.approx(len(TEST) * distance(TEST, array), rel=1e-4)


def test_two_hosts_with_too_few_rows_both_say_so(training_job):
    for one in two_hosts(training_job, [records(TRAIN[:4]), None], "ShardedByS3Key"):
        assert one.code == 1, one.log
        assert "channel train has 4 rows, fewer than k=10" in one.failure


# --- mistakes and stops ---


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"k": 0}, ["k is '0'", "an integer of at least 1"]),
        ({"feature_dim": "many"}, ["feature_dim is 'many'"]),
        ({"init_method": "k-means++"}, ["init_method", "random or kmeans++"]),
        ({"eval_metrics": '["mse"]'}, ["eval_metrics", "msd or ssd"]),
        ({"local_lloyd_tol": 2}, ["local_lloyd_tol", "at most 1"]),
        ({"extra_centre_factor": 2}, ["extra_centre_factor is unknown", "extra_center_factor"]),
        ({"feature_dim": 63}, ["63", "64"]),
    ],
)
def test_mistakes_in_hyperparameters(training_job, values, parts):
    training_job("kmeans", **{**JOB, **values}).channel("train", csv(TRAIN[:50]), CSV).run().failed(*parts)


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        (b"", ["0 rows, fewer than k=2"]),
        (b"1,2\n3,nan\n5,6\n", ["channel train: feature 1 (counted from 0) of row 2 is nan"]),
        (b"1,2\n3,4\n-1e30,6\n", ["feature 0 (counted from 0) of row 3 is -1", "from -1e+17 to 1e+17"]),
    ],
)
def test_mistakes_in_rows(training_job, rows, parts):
    training_job("kmeans", k=2, feature_dim=2).channel("train", rows, CSV).run().failed(*parts)


def test_empty_test_channel(training_job):
    job = training_job("kmeans", **JOB).channel("train", records(TRAIN)).channel("test", b"", CSV)
    finished = job.run()
    assert finished.code == 1
    assert finished.failure.startswith("ClientError: channel test has no rows")


def test_a_stop_keeps_what_was_learnt(training_job):
    job = training_job("kmeans", **JOB, epochs=1_000_000)
    process = job.channel("train", records(TRAIN)).start()
    for line in process.stdout:
        if "processed a total of" in line:
            break
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 0, log
    (array,) = ndarray.load(job.root / "model" / "model_algo-1")
    assert distance(TRAIN, array) < 800


def test_serial_and_parallel_jobs_give_equal_bytes(training_job):
    def run(threads: str) -> bytes:
        job = training_job("kmeans", **JOB)
        job.environment["ALGODOCK_NUM_THREADS"] = threads
        return centers(job.channel("train", records(TRAIN)).run().succeeded()).tobytes()

    assert run("2") == run("2")
