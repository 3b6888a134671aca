"""The real `train` on digits, odd or even: File and Pipe mode, two hosts, metrics, mistakes, a stop."""

from __future__ import annotations

import json
import re
import signal
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss

from common import manifest
from common.batches import CSR, Batch, to_csr
from common.cluster import Cluster
from common.cores import Cores
from common.formats import encode_batch, ndarray
from common.job import Hosts
from common.metrics import Metrics, set_up_logging
from containers.factorization_machines import train
from containers.factorization_machines.engines import CoresEngine
from containers.factorization_machines.hyperparameters import DECLARATION
from containers.factorization_machines.predict import load
from containers.factorization_machines.torch_engine import TorchEngine

DIGITS = load_digits()
ORDER = np.random.default_rng(0).permutation(len(DIGITS.data))
ROWS, DIGIT = (DIGITS.data[ORDER] / 16).astype(np.float32), DIGITS.target[ORDER]
ODD = (DIGIT % 2).astype(np.float32)
TRAIN, TEST = slice(0, 1400), slice(1400, None)
JOB = {"feature_dim": 64, "num_factors": 16, "predictor_type": "binary_classifier", "mini_batch_size": 100}
FAST = {"linear_lr": 0.01, "factors_lr": 0.01, "factors_init_sigma": 0.05}
REGRESSION = {**JOB, "predictor_type": "regressor"}


def records(part: slice, labels: np.ndarray = ODD, sparse: bool = True) -> bytes:
    return encode_batch(Batch(to_csr(ROWS[part]) if sparse else ROWS[part], labels[part]))


def metric(log: str, name: str) -> float:
    """A metric as SageMaker finds it: the last one that its regex matches."""
    regex = next(m.regex for m in manifest.load("factorization-machines").metrics if m.name == name)
    return float(re.findall(regex, log)[-1])


def arrays(finished) -> dict[str, np.ndarray]:
    """What is in the model, by MXNet's names."""
    assert [path.name for path in finished.model.iterdir()] == ["model_algo-1"]
    with zipfile.ZipFile(finished.model / "model_algo-1") as archive:
        assert sorted(archive.namelist()) == ["meta.json", "params", "symbol.json"]
        found = ndarray.load(archive.read("params"))
    assert {name: array.dtype for name, array in found.items()} == dict.fromkeys(
        ("arg:v", "arg:w1_weight", "arg:w0_weight"), np.float32
    )
    return found


def trained(training_job, data: bytes, mode: str = "File", content_type: str | None = None, **values: object):
    job = training_job("factorization-machines", **{**JOB, **values})
    return job.channel("train", data, content_type, mode).run().succeeded()


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_digits_odd_or_even_beat_a_linear_model_and_the_log_says_so(training_job, sparse):
    job = training_job("factorization-machines", **JOB, **FAST, epochs=30)
    job.channel("train", records(TRAIN, sparse=sparse)).channel("test", records(TEST, sparse=sparse))
    finished = job.run().succeeded()
    log, answer = finished.log, load(finished.model).predict(ROWS[TEST], {})
    linear = LogisticRegression(max_iter=2000).fit(ROWS[TRAIN], ODD[TRAIN])
    accuracy = accuracy_score(ODD[TEST], answer["predicted_label"])
    assert accuracy > 0.96 > linear.score(ROWS[TEST], ODD[TEST]) + 0.03
    expected = {
        "binary_classification_accuracy": accuracy,
        "binary_classification_cross_entropy": log_loss(ODD[TEST], answer["score"].astype(float)),
        "binary_f_beta": f1_score(ODD[TEST], answer["predicted_label"]),
    }
    for name, value in expected.items():
        assert metric(log, f"test:{name}") == pytest.approx(value, rel=1e-4)
        printed = name.replace("beta", "1.000")
        assert f"#test_score (algo-1) : ('{printed}', {metric(log, f'test:{name}')})" in log
        # The last epoch's is the final one; it begins from what the epoch before left.
        assert metric(log, f"train:{name}") == metric(log, f"train:{name}:epoch")
        assert metric(log, f"train:{name}:batch") == pytest.approx(metric(log, f"train:{name}"), abs=0.05)
    assert metric(log, "train:progress") == 100
    assert metric(log, "train:throughput") > 0
    # A line for the first mini-batch and every 500th; an epoch has 14.
    assert len(re.findall(r"epoch=\d+, batch=0 train binary_f_1.000 <score>=", log)) == 30
    assert len(re.findall(r", batch=\d+ train ", log)) == 3 * 30
    assert log.count('"Meta": "training_data_iter"') == 30
    for line in (
        '"Total Records Seen": {"sum": 42000.0',
        '"Reset Count": {"sum": 30.0',
        '"Meta": "init_train_data_iter"',
        '"Meta": "test_data_iter"',
        '"update.time"',
        '"model.serialize.time"',
        '"Algorithm": "factorization-machines"',
        "Create Store: local",
    ):
        assert line in log


def test_regression_and_its_lines(training_job):
    """The digit itself from its pixels."""
    job = training_job(
        "factorization-machines", **{**REGRESSION, **FAST}, epochs=40, batch_metrics_publish_interval=5
    )
    labels = DIGIT.astype(np.float32)
    finished = job.channel("train", records(TRAIN, labels)).channel("test", records(TEST, labels)).run()
    log, scores = finished.succeeded().log, load(finished.model).predict(ROWS[TEST], {})["score"]
    rmse = float(np.sqrt(np.mean((scores - DIGIT[TEST]) ** 2)))
    assert rmse < 1.4  # a linear model comes to 1.9
    assert metric(log, "test:rmse") == pytest.approx(rmse, rel=1e-4)
    assert f"#test_score (algo-1) : ('rmse', {metric(log, 'test:rmse')})" in log
    assert metric(log, "train:rmse") == metric(log, "train:rmse:epoch")
    assert metric(log, "train:rmse:batch") > 0
    assert [int(n) for n in re.findall(r"epoch=0, batch=(\d+) train rmse", log)] == [0, 5, 10]
    mse = re.findall(r"test mse <loss>=(\S+)", log)
    assert float(mse[-1]) == pytest.approx(rmse**2, rel=1e-4)
    assert "test absolute_loss <loss>=" in log
    found = arrays(finished)
    shapes = {name.removeprefix("arg:"): array.shape for name, array in found.items()}
    assert shapes == {"v": (64, 16), "w1_weight": (64, 1), "w0_weight": (1,)}
    with zipfile.ZipFile(finished.model / "model_algo-1") as archive:
        meta, symbol = (json.loads(archive.read(name)) for name in ("meta.json", "symbol.json"))
    assert meta["training_parameters"]["feature_dim"] == "64"
    assert meta["training_parameters"]["predictor_type"] == "regressor"
    nodes = {node["name"]: node["op"] for node in symbol["nodes"]}
    assert nodes["out"] == "LinearRegressionOutput"
    assert {name for name, op in nodes.items() if op == "null"} == {"data", "out_label", *shapes}


def test_same_model_from_every_form_of_the_same_rows(training_job):
    expected = trained(training_job, records(TRAIN), epochs=2, _tuning_objective_metric="test:binary_f_beta")
    assert "Test data is not provided." in expected.log
    piped = trained(training_job, records(TRAIN), "Pipe", "application/x-recordio-protobuf", epochs=2)
    files = {"a": records(slice(0, 333)), "b/c": records(slice(333, 1400))}
    name = "model_algo-1"
    several = trained(training_job, files, epochs=2, bias_init_scale=1)
    assert "bias_init_scale has no effect: it applies when bias_init_method is uniform" in several.log
    assert (expected.model / name).read_bytes() == (piped.model / name).read_bytes()
    # Each value in two entries of the same column means the same.
    sparse = to_csr(ROWS[TRAIN])
    halves = CSR(
        np.repeat(sparse.values / 2, 2), np.repeat(sparse.indices, 2), sparse.indptr * 2, sparse.shape
    )
    twice = trained(training_job, encode_batch(Batch(halves, ODD[TRAIN])), epochs=2)
    for key, array in arrays(expected).items():
        assert arrays(several)[key].tobytes() == array.tobytes()
        np.testing.assert_allclose(arrays(twice)[key], array, atol=1e-5)


def test_a_million_features_and_more(training_job):
    """Rows of ten one-hot features each out of a million: two blocks of weights matter to the label."""
    generator = np.random.default_rng(0)
    rows, width = 2000, 1_000_000
    keys = np.sort(generator.integers(0, width // 2, (rows, 8)), axis=1)
    flags = generator.integers(0, 2, (rows, 2))
    # Whether two flags are equal is what no linear model can tell.
    columns = np.concatenate([keys, width - 4 + flags + [0, 2]], axis=1).astype(np.int64)
    labels = (flags[:, 0] == flags[:, 1]).astype(np.float32)
    features = CSR(
        np.ones(columns.size, np.float32), columns.ravel(), np.arange(0, columns.size + 1, 10), (rows, width)
    )
    job = training_job(
        "factorization-machines",
        **{**JOB, "feature_dim": width, "num_factors": 4, **FAST, "factors_init_sigma": 0.2},
        epochs=15,
    )
    finished = job.channel("train", encode_batch(Batch(features, labels))).run().succeeded()
    assert metric(finished.log, "train:binary_classification_accuracy") > 0.98
    assert arrays(finished)["arg:v"].shape == (width, 4)
    model = load(finished.model)
    assert np.mean(model.predict(features, {})["predicted_label"] == labels) > 0.98


# --- several hosts ---


def two_hosts(training_job, data: list[bytes | None], distribution: str, **values: object):
    jobs = []
    for content in data:
        job = training_job("factorization-machines", **{**JOB, **FAST, **values})
        job.channel("train", {} if content is None else content, distribution=distribution)
        job.channel("test", records(TEST))
        jobs.append(job)
    return jobs[0].run_with(jobs[1])


@pytest.mark.parametrize("case", ["replicated", "dense", "the first has none"])
def test_two_hosts_learn_as_one(training_job, learned, case):
    parts = {
        "replicated": [records(TRAIN)] * 2,
        "dense": [records(TRAIN, sparse=False)] * 2,
        "the first has none": [None, records(TRAIN)],
    }[case]
    distribution, batch = ("ShardedByS3Key", 100) if parts[0] is None else ("FullyReplicated", 50)
    first, second = (
        one.succeeded()
        for one in two_hosts(training_job, parts, distribution, mini_batch_size=batch, epochs=3)
    )
    assert not second.model.exists() or not list(second.model.iterdir())
    logs = [first.log, second.log]
    with zipfile.ZipFile(first.model / "model_algo-1") as archive:
        found = ndarray.load(archive.read("params"))
    # Mini-batches of both hosts together are those of one host.
    alone = learned(ROWS[TRAIN], ODD[TRAIN], sparse=case != "dense", **JOB, **FAST, epochs=3)
    np.testing.assert_allclose(found["arg:v"], alone.factors, atol=2e-4)
    np.testing.assert_allclose(found["arg:w1_weight"], alone.linear, atol=2e-4)
    np.testing.assert_allclose(found["arg:w0_weight"], alone.bias, atol=2e-4)
    for log in logs:
        assert metric(log, "train:binary_f_beta") == metric(logs[0], "train:binary_f_beta")
        assert metric(log, "test:binary_f_beta") == metric(logs[0], "test:binary_f_beta")
    counted = [
        re.findall(r'training_data_iter", "epoch": 0.*?Total Records Seen": {"sum": (\d+)', log)
        for log in logs
    ]
    assert sum(int(one[0]) for one in counted) == 1400


def test_two_hosts_without_rows_both_say_so(training_job):
    for one in two_hosts(training_job, [None, None], "ShardedByS3Key"):
        assert one.code == 1, one.log
        assert "channel train has no rows" in one.failure


# --- mistakes and stops ---


def test_mistakes_in_hyperparameters_are_told_at_once(training_job):
    job = training_job("factorization-machines", num_factors=0, eps=-1).channel("train", records(TRAIN))
    job.run().failed(
        "feature_dim is missing", "predictor_type is missing", "num_factors is '0'", "eps is '-1'"
    )


def test_rates_that_lead_nowhere(training_job):
    job = training_job("factorization-machines", **{**JOB, "factors_lr": 1e20})
    job.channel("train", records(TRAIN)).run().failed("is not a finite number any more", "factors_lr")


def rows_of(values: list[list[float]], labels: list[float] | None) -> bytes:
    return encode_batch(Batch(np.float32(values), None if labels is None else np.float32(labels)))


@pytest.mark.parametrize(
    ("data", "values", "parts"),
    [
        (b"", {}, ["channel train has no rows"]),
        (rows_of([[1, 2], [3, 4]], [0, 2]), {}, ["channel train, row 2: label 2", "0 and 1 for a binary"]),
        (rows_of([[1, 2], [3, 4]], [0, np.nan]), {"predictor_type": "regressor"}, ["row 2: label nan"]),
        (rows_of([[1, 2], [3, np.inf]], [0, 1]), {}, ["feature 1 (counted from 0) of row 2 is inf"]),
        (rows_of([[1, 2]], [[1, 0]]), {}, ["record 1 of channel train", "has 2 label values"]),
        (rows_of([[1, 2], [3, 4]], [0, 1])[:-5], {}, ["channel train, file data"]),
    ],
)
def test_mistakes_in_rows(training_job, data, values, parts):
    job = training_job("factorization-machines", **{**JOB, "feature_dim": 2, **values})
    job.channel("train", data).run().failed(*parts)


def test_csv_is_refused(training_job):
    job = training_job("factorization-machines", **JOB).channel("train", b"1,2\n", "text/csv")
    job.run().failed("content type 'text/csv' is not accepted", "application/x-recordio-protobuf")


def test_an_empty_test_channel(training_job):
    job = training_job("factorization-machines", **JOB).channel("train", records(slice(0, 100)))
    finished = job.channel("test", b"").run()
    assert finished.code == 1
    assert finished.failure.startswith("ClientError: channel test has no rows")


def test_a_stop_keeps_what_was_learnt(training_job):
    job = training_job("factorization-machines", **{**JOB, **FAST}, epochs=1_000_000)
    process = job.channel("train", records(TRAIN)).channel("test", records(TEST)).start()
    for line in process.stdout:
        if "epoch=20, train" in line:
            break
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 0, log
    answer = load(job.root / "model").predict(ROWS[TEST], {})["predicted_label"]
    assert np.mean(answer == ODD[TEST]) > 0.93
    assert "train binary_f_1.000 <score>=" in log


def test_a_stop_before_an_epochs_first_row_keeps_the_epochs_before(monkeypatch):
    set_up_logging(stream=sys.stdout)
    passes = iter([[Batch(to_csr(ROWS[TRAIN]), ODD[TRAIN])], []])
    monkeypatch.setattr(train.data, "epoch", lambda run, name, share: iter(next(passes)))
    run = SimpleNamespace(
        hyperparameters=DECLARATION.resolve({**JOB, "epochs": 3}),
        metrics=Metrics("factorization-machines", "algo-1"),
        cluster=Cluster(Hosts()),
        device="cpu",
        devices=("cpu",),
        seed=0,
        epochs=range,
        stop=SimpleNamespace(requested=True),
    )
    with Cores(1) as cores:
        machine = train._learn(run, cores)
    assert machine is not None
    assert machine.shape == (64, 16)


# --- GPUs ---


@pytest.mark.parametrize(
    ("sparse", "device", "engine", "told"),
    [
        (True, "cuda", CoresEngine, "Training data are sparse: the CPU is used, no GPU"),
        (False, "cuda", TorchEngine, ""),
        (True, "cpu", CoresEngine, ""),
        (False, "cpu", CoresEngine, ""),
    ],
)
def test_gpus_take_dense_rows_alone(capsys, sparse, device, engine, told):
    """Torch's engine is device-agnostic: here its GPU is a CPU."""
    set_up_logging(stream=sys.stdout)
    run = SimpleNamespace(
        hyperparameters=DECLARATION.resolve(JOB),
        metrics=Metrics("factorization-machines", "algo-1"),
        cluster=Cluster(Hosts()),
        device=device,
        devices=("cpu",),
        seed=0,
    )
    features = ROWS[TRAIN]
    batch = Batch(to_csr(features) if sparse else features, ODD[TRAIN])
    with Cores(1) as cores:
        chosen = train._engine(run, cores, batch)
        assert isinstance(chosen, engine)
        assert chosen.step(batch)[0] == 1400
    assert told in capsys.readouterr().out
    assert chosen.machine().shape == (64, 16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_learns_what_the_cpu_learns(training_job):
    found = []
    for instance in ("ml.m5.large", "ml.g5.xlarge"):
        job = training_job("factorization-machines", **JOB, **FAST, epochs=3)
        job.resources = {"current_host": "algo-1", "hosts": ["algo-1"], "current_instance_type": instance}
        found.append(arrays(job.channel("train", records(TRAIN, sparse=False)).run().succeeded()))
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, atol=1e-3)
