"""The real `train`: File and Pipe mode, hosts, each hyperparameter, the log's lines, mistakes, a stop."""

from __future__ import annotations

import gzip
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from common import manifest
from common.content_types import parse
from common.failures import ClientError
from containers.ipinsights import artifact
from containers.ipinsights.hyperparameters import DECLARATION
from containers.ipinsights.model import Model
from containers.ipinsights.negatives import random_addresses
from containers.ipinsights.pairs import Pairs
from containers.ipinsights.reading import decode_bytes

ACCESS = (Path(__file__).parents[2] / "data" / "apache_access.csv").read_bytes()
LINES = ACCESS.splitlines(keepends=True)
TRAIN, TEST = b"".join(LINES[:7999]), b"".join(LINES[7999:])
FEW = b"".join(LINES[:600])
JOB = {"num_entity_vectors": 2000, "vector_dim": 64, "mini_batch_size": 1000, "learning_rate": 0.01}
SMALL = {
    "num_entity_vectors": 500,
    "vector_dim": 8,
    "mini_batch_size": 200,
    "learning_rate": 0.05,
    "epochs": 2,
}


def values(log: str, name: str) -> list[float]:
    """A metric as SageMaker finds it."""
    regex = next(metric.regex for metric in manifest.load("ipinsights").metrics if metric.name == name)
    return [float(found) for found in re.findall(regex, log)]


def read(body: bytes) -> Pairs:
    pairs = decode_bytes(body, "the test", parse("text/csv"))
    assert pairs is not None
    return pairs


def held_out_area(model: Model) -> float:
    """AUC of the later requests of browsers that were seen before, against random addresses."""
    test = read(TEST)
    known = np.isin(test.entities, read(TRAIN).entities)
    test = Pairs(test.entities[known], test.addresses[known])
    others = Pairs(test.entities, random_addresses(np.uint64(1), 0, len(test)))
    scores = np.concatenate([model.scores(test), model.scores(others)])
    return float(roc_auc_score(np.repeat([1, 0], len(test)), scores))


def contents(finished) -> bytes:
    assert [path.name for path in finished.model.iterdir()] == ["model_algo-1"]
    return (finished.model / "model_algo-1").read_bytes()


def test_requests_are_told_from_random_ones_better_than_by_looking_them_up(training_job):
    job = training_job("ipinsights", **JOB, epochs=8, batch_metrics_publish_interval=3, feature_dim=2)
    finished = job.channel("train", TRAIN).channel("validation", TEST, "text/csv").run().succeeded()
    log = finished.log
    # Looking pairs up in the training data (exactly, then by /16, then by /8) gives 0.750.
    assert held_out_area(artifact.read(finished.model)) > 0.79
    areas = values(log, "validation:discriminator_auc")
    assert len(areas) == 8
    assert areas[0] < areas[-1]
    assert areas[-1] > 0.77
    losses = values(log, "train:binary_classification_cross_entropy:epoch")
    assert len(losses) == 8
    assert losses[0] > losses[-1]
    accuracies = values(log, "train:binary_classification_accuracy:epoch")
    assert accuracies[-1] > 0.9
    # Eight mini-batches an epoch.
    assert len(values(log, "train:binary_classification_cross_entropy")) == 2 * 8
    assert len(values(log, "train:binary_classification_accuracy")) == 2 * 8
    assert (
        "#quality_metric: host=algo-1, epoch=7, batch=6 train binary_classification_accuracy <score>=" in log
    )
    assert re.search(
        r"Epoch\[0\] Batch \[3\]\tSpeed: [0-9.]+ samples/sec\tbinary_classification_cross_entropy=0\.\d{6}\t"
        r"binary_classification_accuracy=0\.\d{6}\n",
        log,
    )
    assert values(log, "train:progress") == [12.5 * epoch for epoch in range(1, 9)]
    assert min(values(log, "train:throughput")) > 0
    assert log.count('"Algorithm": "AWS/IPInsights"') >= 9


def test_every_form_of_the_same_pairs_gives_the_same_bytes(training_job):
    def trained(
        data: bytes | dict[str, bytes], mode: str = "File", content_type: str | None = None, **more: str
    ):
        job = training_job("ipinsights", **SMALL)
        job.environment.update(more)
        job.channel("train", data, content_type, mode).channel("validation", FEW, content_type, mode)
        finished = job.run().succeeded()
        return contents(finished), values(finished.log, "validation:discriminator_auc")

    expected = trained(FEW)
    assert trained(FEW, "Pipe", "text/csv") == expected
    quoted = re.sub(rb"(.*),(.*)\n", rb'"\1" , "\2"\r\n', FEW)
    half = len(b"".join(LINES[:300]))
    assert trained({"a": gzip.compress(FEW[:half]), "b/c": FEW[half:]}, content_type="text/csv") == expected
    assert trained("\ufeff".encode() + quoted, content_type="text/csv;label_size=0") == expected
    assert trained(FEW, ALGODOCK_SEED="1") != expected


@pytest.mark.parametrize(
    ("change", "loss", "size"),
    [
        ({}, (0.3, 0.7), (0.08, 0.2)),
        ({"num_entity_vectors": 3, "vector_dim": 9}, (0.3, 0.7), (0.08, 0.3)),
        ({"epochs": 1, "mini_batch_size": 600, "learning_rate": 0.001}, (0.69, 0.7), (0.03, 0.04)),
        ({"num_ip_encoder_layers": 0, "weight_decay": 1}, (0.6, 0.7), (0, 0.05)),
        ({"num_ip_encoder_layers": 3, "random_negative_sampling_rate": 0}, (0.5, 0.8), (0.05, 0.3)),
        (
            {"random_negative_sampling_rate": 9, "shuffled_negative_sampling_rate": 0},
            (0.5, 0.68),
            (0.05, 0.4),
        ),
    ],
    ids=str,
)
def test_each_hyperparameter_has_its_effect(training_job, change, loss, size):
    given = {**SMALL, "num_ip_encoder_layers": 1, **change}
    finished = training_job("ipinsights", **given).channel("train", FEW).run().succeeded()
    model = artifact.read(finished.model)
    shape = model.shape
    assert (shape.num_entity_vectors, shape.vector_dim, shape.layers) == (
        given["num_entity_vectors"], given["vector_dim"], given["num_ip_encoder_layers"]
    )  # fmt: skip
    assert set(model.rows.tolist()) == set(shape.rows(read(FEW).entities).tolist())
    losses = values(finished.log, "train:binary_classification_cross_entropy:epoch")
    assert len(losses) == given["epochs"]
    assert f'"Total Batches Seen": {{"sum": {600 / given["mini_batch_size"]}' in finished.log
    assert loss[0] < losses[-1] < loss[1]
    assert size[0] < np.abs(model.entities).mean() < size[1]


def test_standard_values_train_on_few_rows(training_job):
    """mini_batch_size is larger than most data sets: a part of a mini-batch has to be learnt from."""
    job = training_job(
        "ipinsights", num_entity_vectors="20000", vector_dim="128", learning_rate="1e-05", weight_decay="0.0",
        _tuning_objective_metric="validation:discriminator_auc", _num_gpus="auto",
    )  # fmt: skip
    finished = job.channel("train", FEW, distribution="ShardedByS3Key").run().succeeded()
    assert len(values(finished.log, "train:throughput")) == 10


def test_a_gigantic_table(training_job):
    job = training_job("ipinsights", **{**SMALL, "num_entity_vectors": 250_000_000, "vector_dim": 16})
    finished = job.channel("train", FEW).run().succeeded()
    assert "more than the 8 GB that SageMaker supports" in finished.log
    assert len(contents(finished)) < 10_000_000


# --- several hosts ---


def two_hosts(training_job, data: list[bytes | None], distribution: str, **more: object):
    jobs = []
    for content in data:
        job = training_job("ipinsights", **{**JOB, "mini_batch_size": 500, "epochs": 5, **more})
        job.channel("train", {} if content is None else content, distribution=distribution)
        job.channel("validation", TEST)
        jobs.append(job)
    return jobs[0].run_with(jobs[1])


@pytest.mark.parametrize("case", ["sharded", "replicated", "the first has none"])
def test_two_hosts_are_as_good_as_one(training_job, case):
    parts: dict[str, list[bytes | None]] = {
        "sharded": [b"".join(LINES[:3000]), b"".join(LINES[3000:7999])],
        "replicated": [TRAIN, TRAIN],
        "the first has none": [None, TRAIN],
    }
    distribution = "FullyReplicated" if case == "replicated" else "ShardedByS3Key"
    first, second = (one.succeeded() for one in two_hosts(training_job, parts[case], distribution))
    assert not second.model.exists() or not list(second.model.iterdir())
    logs = [first.log, second.log]
    assert held_out_area(artifact.read(first.model)) > 0.78
    for name in ("validation:discriminator_auc", "train:binary_classification_cross_entropy:epoch"):
        assert values(logs[0], name) == values(logs[1], name)
        assert len(values(logs[0], name)) == 5
    rows = [re.findall(r'"Total Records Seen": \{"sum": ([0-9.]+)', log)[0] for log in logs]
    assert sum(map(float, rows)) == 7999


def test_a_mistake_of_one_host_stops_both(training_job):
    for one in two_hosts(training_job, [FEW, FEW + b"a,b\n"], "ShardedByS3Key"):
        assert one.code == 1, one.log
        assert "line 601 of channel train, file data holds 'b'" in one.failure


# --- mistakes and stops ---


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"num_entity_vectors": 0}, ["num_entity_vectors is '0'", "at least 1"]),
        ({"num_entity_vectors": 250_000_001}, ["at most 250000000"]),
        ({"vector_dim": 3}, ["vector_dim is '3'", "at least 4 and at most 4096"]),
        ({"mini_batch_size": 500_001}, ["mini_batch_size", "at most 500000"]),
        ({"learning_rate": 0}, ["learning_rate is '0'"]),
        ({"num_ip_encoder_layers": 101}, ["at most 100"]),
        ({"weight_decay": "much"}, ["weight_decay is 'much'", "a number"]),
        (
            {"random_negative_sampling_rate": 0, "shuffled_negative_sampling_rate": 0},
            ["is 0; accepted: a sum from 1"],
        ),
        (
            {"random_negative_sampling_rate": 400, "shuffled_negative_sampling_rate": 101},
            ["is 501; accepted"],
        ),
        ({"feature_dim": 3}, ["feature_dim is '3'"]),
        ({"k": 3}, ["k is unknown"]),
    ],
    ids=str,
)
def test_mistakes_in_hyperparameters(change, parts):
    written = {name: str(value) for name, value in {**SMALL, **change}.items()}
    with pytest.raises(ClientError) as fault:
        DECLARATION.resolve(written)
    for part in parts:
        assert part in str(fault.value)


def test_hyperparameters_that_are_missing(training_job):
    job = training_job("ipinsights").channel("train", FEW)
    job.run().failed("num_entity_vectors is missing", "vector_dim is missing")


@pytest.mark.parametrize(
    ("data", "content_type", "parts"),
    [
        (b"", None, ["channel train has no rows"]),
        (
            b"user,ip\na,1.2.3.4\n",
            None,
            ["line 1 of channel train, file data holds 'ip' in column 2", "text/csv"],
        ),
        (FEW + b"a,2001:db8::1\n", "text/csv", ["line 601 of", "IPv6 addresses are not supported"]),
        (gzip.compress(FEW, mtime=0)[:-20], "text/csv", ["gzip data end early"]),
        (FEW, "text/csv;label_size=1", ["channel train", "pairs have no labels"]),
    ],
)
def test_mistakes_in_data(training_job, data, content_type, parts):
    training_job("ipinsights", **SMALL).channel("train", data, content_type).run().failed(*parts)


def test_an_empty_validation_channel(training_job):
    job = training_job("ipinsights", **SMALL).channel("train", FEW).channel("validation", b"")
    job.run().failed("channel validation has no rows")


def test_a_training_that_diverges_is_told(training_job):
    change = {"learning_rate": 10, "num_ip_encoder_layers": 100, "epochs": 20}
    job = training_job("ipinsights", **{**SMALL, **change}).channel("train", FEW)
    job.run().failed("training diverged", "smaller learning_rate")


@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_a_stop_keeps_what_was_learnt(training_job, mode):
    job = training_job("ipinsights", **{**JOB, "epochs": 1_000_000})
    process = job.channel("train", TRAIN, mode=mode).start()
    for line in process.stdout:
        if "completed 0.001" in line:
            break
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 0, log
    assert held_out_area(artifact.read(job.root / "model")) > 0.7
