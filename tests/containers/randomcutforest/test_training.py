"""The real `train`: File and Pipe mode, two hosts, the log, the test channel, mistakes, a stop."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time

import numpy as np
import pytest

from common import manifest
from common.batches import Batch, to_csr
from common.formats import encode_batch, ndarray
from containers.randomcutforest.evaluation import anomalous, measures
from containers.randomcutforest.predict import load

RANDOM = np.random.default_rng(0)
# No zero is a negative one, which sparse rows don't keep.
TRAIN = RANDOM.normal(size=(4032, 3)).astype(np.float32).round(3) + 0
TEST = (
    np.concatenate([RANDOM.normal(size=(600, 3)), RANDOM.normal(size=(10, 3)) + 7])
    .astype(np.float32)
    .round(3)
)
LABELS = (np.arange(len(TEST)) >= 600).astype(np.float32)
CSV = "text/csv;label_size=0"
JOB = {"feature_dim": 3, "num_trees": 50, "num_samples_per_tree": 60}


def csv(rows: np.ndarray, labels: np.ndarray | None = None) -> bytes:
    table = rows if labels is None else np.column_stack([labels, rows])
    return "".join(",".join(f"{value:g}" for value in row) + "\n" for row in table.tolist()).encode()


def records(rows: np.ndarray, labels: np.ndarray | None = None, sparse: bool = False) -> bytes:
    return encode_batch(Batch(to_csr(rows) if sparse else rows, labels))


def metric(log: str, name: str) -> float:
    """A metric as SageMaker finds it: the last one that its regex matches."""
    regex = next(metric.regex for metric in manifest.load("randomcutforest").metrics if metric.name == name)
    return float(re.findall(regex, log)[-1])


def forest(finished) -> dict[str, np.ndarray]:
    assert [path.name for path in finished.model.iterdir()] == ["model_algo-1"]
    return ndarray.load(finished.model / "model_algo-1")


def info(log: str) -> dict[str, int]:
    (described,) = re.findall(r"\nForestInfo\{(.*)\}\n", log)
    return {name: int(value) for name, value in re.findall(r"(\w+): (\d+)", described)}


def test_a_job_and_its_log(training_job):
    """The lines and their order are those of AWS's image on 4032 rows with 50 trees."""
    job = training_job("randomcutforest", **{**JOB, "num_samples_per_tree": 512})
    job.channel("train", csv(TRAIN), CSV, distribution="ShardedByS3Key")
    finished = job.channel("test", csv(TEST, LABELS), "text/csv;label_size=1").run().succeeded()
    log = finished.log
    expected = [
        "Verifying hyperparamemters...",
        "Hyperparameters are correct.",
        "Validating that feature_dim agrees with dimensions in training data...",
        "feature_dim is correct.",
        "Validating memory limits...",
        r"Available memory in bytes: \d+",
        "Estimated sample size in bytes: 307200",
        r"Estimated memory needed to build the forest in bytes: \d+",
        "Memory limits validated.",
        "Sampling training data...",
        "Sampling training data completed.",
        "Early stop condition met. Stopping training.",
        "#progress_metric: host=algo-1, completed 100 % epochs",
        r"#throughput_metric: host=algo-1, train throughput=\S+ records/second",
        "Master node: building Random Cut Forest...",
        "Gathering samples...",
        "4032 samples gathered",
        "Building Random Cut Forest...",
        "Random Cut Forest built: ",
        "Master node: Serializing the RandomCutForest model",
        r"#test_score \(algo-1\) : \('accuracy', \S+\)",
        r"#quality_metric: host=algo-1, test accuracy <score>=\S+",
        r"#quality_metric: host=algo-1, test f1 <score>=\S+",
    ]
    places = [re.search(rf"^\[.*INFO \d+\] {line}$", log, re.MULTILINE) for line in expected]
    assert all(places), [line for line, place in zip(expected, places, strict=True) if not place]
    assert [place.start() for place in places] == sorted(place.start() for place in places)
    described = info(log)
    assert described["num_trees"] == 50
    assert described["num_samples_in_forest"] == 4000
    assert described["num_samples_per_tree"] == 80
    assert (described["sample_dim"], described["shingle_size"]) == (3, 1)
    assert described["min_num_nodes"] <= described["avg_num_nodes"] <= described["max_num_nodes"] <= 159
    assert 6 < described["min_tree_depth"] <= described["avg_tree_depth"] <= described["max_tree_depth"] < 40
    arrays = forest(finished)
    assert described["mem_size"] == sum(array.nbytes for array in arrays.values())
    assert metric(log, "train:progress") == 100
    assert metric(log, "train:throughput") > 0
    lines = [json.loads(line[9:]) for line in log.splitlines() if line.startswith("#metrics ")]
    assert {line["Dimensions"]["Algorithm"] for line in lines} == {"RandomCutForest"}
    names = {name for line in lines for name in line["Metrics"]}
    assert names >= {"initialize.time", "update.time", "epochs", "finalize.time", "fit_model.time"}
    assert names >= {"model.bytes", "serialize_model.time", "setuptime", "totaltime"}
    (counted,) = [line for line in lines if line["Dimensions"].get("Meta") == "training_data_iter"]
    assert counted["Metrics"]["Total Batches Seen"]["sum"] == 5
    assert counted["Metrics"]["Total Records Seen"]["sum"] == 4032
    # The scores that the log tells are those of the model that was written.
    scores = load(finished.model).predict(TEST, {})["score"]
    for name, value in measures(anomalous(scores), LABELS == 1).items():
        assert metric(log, f"test:{name}") == pytest.approx(value)
    assert metric(log, "test:f1") > 0.9


def test_same_model_from_every_form_of_the_same_rows(training_job):
    def trained(data: bytes, content_type: str | None, mode: str = "File", **values: object) -> bytes:
        job = training_job("randomcutforest", **{**JOB, **values})
        finished = job.channel("train", data, content_type, mode).run().succeeded()
        assert "Test data is not provided." in finished.log
        return (finished.model / "model_algo-1").read_bytes()

    expected = trained(records(TRAIN), None)
    assert trained(records(TRAIN), None, "Pipe", mini_batch_size=77) == expected
    assert trained(csv(TRAIN), CSV, "Pipe") == expected
    assert trained(csv(TRAIN, np.zeros(len(TRAIN))), "text/csv") == expected
    assert trained(records(TRAIN, sparse=True), "application/x-recordio-protobuf") == expected
    assert trained(records(TRAIN, sparse=True), None, force_dense="False", mini_batch_size=500) == expected


def test_hyperparameters_shape_the_forest(training_job):
    def described(environment: dict[str, str] | None = None, **values: object):
        job = training_job("randomcutforest", **{**JOB, **values}).channel("train", csv(TRAIN), CSV)
        job.environment.update(environment or {})
        finished = job.run().succeeded()
        return forest(finished), finished.log

    arrays, log = described(num_trees=64, num_samples_per_tree=7, epochs=3, _kvstore="dist_sync")
    assert (len(arrays["leaves"]), arrays["counts"].sum()) == (64, 64 * 7)
    assert "WARNING" in log
    assert "epochs is 3, but the sample is complete after one pass" in log
    single, _ = described(num_samples_per_tree=1)
    assert single["points"].shape == (50, 3)
    assert single["lefts"].shape == (0,)
    other, _ = described({"ALGODOCK_SEED": "1", "ALGODOCK_NUM_THREADS": "3"}, num_samples_per_tree=1)
    assert not np.array_equal(single["points"], other["points"])


def test_only_the_metrics_asked_for(training_job):
    """As people write lists; labels of records lie under values."""
    for written, there, absent in (
        ("accuracy", ["test accuracy <score>"], ["test f1"]),
        ('["precision_recall_fscore"]', ["test precision", "test recall", "test f1"], ["test accuracy"]),
    ):
        job = training_job("randomcutforest", **JOB, eval_metrics=written).channel("train", records(TRAIN))
        log = (
            job.channel("test", records(TEST, LABELS, sparse=written == "accuracy"), mode="Pipe")
            .run()
            .succeeded()
            .log
        )
        assert all(part in log for part in there)
        assert not any(part in log for part in absent)


# --- several hosts ---


def two_hosts(training_job, data: list[bytes | None], distribution: str, **values: object):
    jobs = []
    for content in data:
        job = training_job("randomcutforest", **{**JOB, **values})
        job.channel("train", {} if content is None else content, distribution=distribution)
        job.channel("test", records(TEST, LABELS))
        jobs.append(job)
    return jobs[0].run_with(jobs[1])


@pytest.mark.parametrize("case", ["sharded", "replicated", "the first has none"])
def test_two_hosts_make_one_forest(training_job, case):
    ordered = np.column_stack([np.arange(4000), TRAIN[:4000, 1:]]).astype(np.float32)
    parts: dict[str, list[bytes | None]] = {
        "sharded": [records(ordered[:1000]), records(ordered[1000:])],
        "replicated": [records(ordered), records(ordered)],
        "the first has none": [None, records(ordered)],
    }
    distribution = "FullyReplicated" if case == "replicated" else "ShardedByS3Key"
    # Fewer rows are asked for than the hosts have, so that shards of unlike size must be drawn from alike.
    first, second = (
        one.succeeded() for one in two_hosts(training_job, parts[case], distribution, num_samples_per_tree=16)
    )
    assert not second.model.exists() or not list(second.model.iterdir())
    logs = [first.log, second.log]
    arrays = ndarray.load(first.model / "model_algo-1")
    numbers = arrays["points"][:, 0]
    assert len(set(numbers.tolist())) == 800 == arrays["counts"].sum()
    # A quarter of the rows are below 1000: 200 of 800, with a standard deviation of 11.
    assert 150 < (numbers < 1000).sum() < 250
    assert "800 samples gathered" in logs[0]
    assert "ForestInfo" in logs[0]
    assert "ForestInfo" not in logs[1]
    assert metric(logs[0], "test:f1") >= 0
    assert "quality_metric" not in logs[1]


def test_two_hosts_with_too_few_rows_both_say_so(training_job):
    for one in two_hosts(training_job, [records(TRAIN[:40]), None], "ShardedByS3Key"):
        assert one.code == 1, one.log
        text = one.failure
        assert "channel train has 40 rows, fewer than num_trees=50; accepted: at least a row" in text


# --- mistakes and stops ---


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"num_trees": 49}, ["num_trees is '49'", "at least 50 and at most 1000"]),
        ({"num_samples_per_tree": 2049}, ["at least 1 and at most 2048"]),
        ({"feature_dim": 10001, "eval_metrics": "[f1]"}, ["at most 10000", "accuracy or precision"]),
        ({"num_tree": 60}, ["num_tree is unknown; did you mean num_trees?"]),
        ({"feature_dim": 4}, ["channel train", "3", "4"]),
    ],
)  # fmt: skip
def test_mistakes_in_hyperparameters(training_job, values, parts):
    training_job("randomcutforest", **{**JOB, **values}).channel("train", csv(TRAIN[:80]), CSV).run().failed(
        *parts
    )


@pytest.mark.parametrize(
    ("content", "content_type", "parts"),
    [
        (b"", CSV, ["channel train has 0 rows, fewer than num_trees=50"]),
        (csv(TRAIN[:60]) + b"1,inf,2\n", CSV, ["channel train: feature 1 (counted from 0) of row 61 is inf"]),
        (records(TRAIN)[:-7], None, ["channel train", "ends"]),
        (b"\x00garbage" * 50, None, ["RecordIO", "has no ContentType"]),
    ],
)
def test_mistakes_in_rows(training_job, content, content_type, parts):
    training_job("randomcutforest", **JOB).channel("train", content, content_type).run().failed(*parts)


@pytest.mark.parametrize(
    ("content", "settings", "part"),
    [
        (csv(TEST, LABELS), {"distribution": "ShardedByS3Key"}, "ShardedByS3Key is not accepted"),
        (csv(TEST), {"content_type": CSV}, "no label column"),
        (csv(TEST, LABELS + 1), {}, "the label of row 601 is 2.0; accepted: 1 for an anomaly and 0"),
        (b"", {}, "channel test has no rows"),
    ],
)  # fmt: skip
def test_mistakes_in_the_test_channel(training_job, content, settings, part):
    job = training_job("randomcutforest", **JOB).channel("train", csv(TRAIN[:200]), CSV)
    finished = job.channel("test", content, **{"content_type": "text/csv;label_size=1", **settings}).run()
    assert finished.code == 1
    assert finished.failure.startswith("ClientError: ")
    assert part in finished.failure
    assert "Traceback" not in finished.log


def test_a_stop_keeps_a_forest_of_the_rows_so_far(training_job):
    """A Pipe without an end."""
    job = training_job("randomcutforest", **JOB)
    job.channel("train", records(TRAIN), mode="Pipe")
    job.pipes.clear()
    process = job.start()
    path = job.root / "input" / "data" / "train_0"
    os.mkfifo(path)

    def feed() -> None:
        try:
            with open(path, "wb") as fifo:
                while True:
                    fifo.write(records(TRAIN))
        except BrokenPipeError:
            pass

    threading.Thread(target=feed, daemon=True).start()
    for line in process.stdout:
        if "Sampling training data..." in line:
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 0, log
    arrays = ndarray.load(job.root / "model" / "model_algo-1")
    assert arrays["counts"].sum() == 50 * 60
