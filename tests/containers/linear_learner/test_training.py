"""Jobs through the real `train`: log lines, artifact, Pipe mode, hosts, quality, mistakes, SIGTERM."""

import json
import re
import signal
import socket
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from common.batches import Batch, to_csr
from common.formats import encode_batch, ndarray
from containers.linear_learner.predict import load

MANIFEST = Path(__file__).parents[3] / "containers" / "linear_learner" / "manifest.toml"


def split(x, y, seed=0):
    """Train, validation and test: 60, 20 and 20 %."""
    order = np.random.default_rng(seed).permutation(len(x))
    cuts = [int(len(x) * 0.6), int(len(x) * 0.8)]
    return [(x[part].astype(np.float32), y[part].astype(np.float32)) for part in np.split(order, cuts)]


def recordio(part):
    return encode_batch(Batch(*part))


def csv(part):
    rows = np.column_stack([part[1], part[0]])
    return "".join(",".join(f"{v:.9g}" for v in row) + "\n" for row in rows).encode()


def metric(log, channel, name):
    return float(re.search(rf"#quality_metric: host=\S+, {channel} {name} <\w+>=(\S+)", log)[1])


CANCER = split(*load_breast_cancer(return_X_y=True))
DIABETES = split(*load_diabetes(return_X_y=True, scaled=False))
DIGITS = split(*load_digits(return_X_y=True))


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    """A finished binary job with all channels, shared by the tests that look at what it left."""
    from tests.conftest import TrainingJob

    job = TrainingJob(
        "linear-learner",
        tmp_path_factory.mktemp("binary") / "ml",
        {"predictor_type": "binary_classifier", "mini_batch_size": 50},
    )
    for name, part in zip(("train", "validation", "test"), CANCER, strict=True):
        job.channel(name, recordio(part))
    return job.run().succeeded()


def test_breast_cancer_is_told_apart(binary):
    # scikit-learn's LogisticRegression reaches 0.982 on the same rows.
    assert metric(binary.log, "test", "binary_classification_accuracy") >= 0.96
    assert metric(binary.log, "test", "roc_auc_score") >= 0.99


def test_log_lines_are_aws(binary):
    log = binary.log
    names = [
        "binary_classification_cross_entropy_objective",
        "binary_classification_accuracy",
        r"binary_f_1.000",
        "precision",
        "recall",
        "roc_auc_score",
    ]
    for channel in ("validation", "test"):
        assert re.findall(rf"#{channel}_score \(algo-1\) : \('(\S+)', \S+\)", log) == names
        final = re.findall(rf"#quality_metric: host=algo-1, {channel} (\S+) <(\w+)>=", log)
        assert final == [(name, "loss" if "objective" in name else "score") for name in names]
    assert "Create Store: local" in log
    assert "'stdev_label': None, 'mean_label': None" in log
    assert re.search(
        r"early_stopping_criteria_metric: host=algo-1, epoch=0, criteria=sampled_accuracy, value=0", log
    )
    assert "Epoch 0: Loss improved. Updating best model" in log
    assert "completed 6 % of epochs" in log
    best = json.loads(re.search(r"Best model found for hyperparameters: (.*)", log)[1])
    assert set(best) == {
        "optimizer",
        "learning_rate",
        "wd",
        "l1",
        "lr_scheduler_step",
        "lr_scheduler_factor",
        "lr_scheduler_minimum_lr",
    }
    lines = [json.loads(line[9:]) for line in log.splitlines() if line.startswith("#metrics ")]
    first = [line for line in lines if line["Dimensions"].get("epoch") == 0 and "model" in line["Dimensions"]]
    assert [line["Dimensions"]["model"] for line in first] == [*range(32), *range(32)]
    assert {line["Dimensions"]["Algorithm"] for line in lines} == {"Linear Learner"}
    counters = {line["Dimensions"]["Meta"]: line for line in lines if "Meta" in line["Dimensions"]}
    assert set(counters) == {"init_train_data_iter", "training_data_iter", "test_data_iter"}
    assert counters["training_data_iter"]["Metrics"]["Total Records Seen"]["sum"] == len(CANCER[0][0])
    kinds = {name for line in first for name in line["Metrics"]}
    assert kinds == {f"{channel}_{names[0]}" for channel in ("train", "validation")}


def test_every_binary_metric_of_the_manifest_is_found(binary):
    declared = tomllib.loads(MANIFEST.read_text())["metrics"]
    unseen = {m["name"] for m in declared if not re.search(m["regex"], binary.log)}
    others = ("multiclass", "macro", "dcg", "mse", "absolute_loss")
    missed = {name for name in unseen if not any(word in name for word in others)}
    # Metrics on the training data are printed in place of those on a validation channel.
    assert not {name for name in missed if not name.startswith("train:")}


def test_the_artifact_is_a_zip_of_an_mxnet_module(binary):
    with zipfile.ZipFile(binary.model / "model_algo-1") as archive:
        assert archive.namelist() == [
            "additional-params.json",
            "manifest.json",
            "mx-mod-symbol.json",
            "mx-mod-0000.params",
        ]
        arrays = ndarray.load(archive.read("mx-mod-0000.params"))
        symbol = json.loads(archive.read("mx-mod-symbol.json"))
        additional = json.loads(archive.read("additional-params.json"))
    assert {name: array.shape for name, array in arrays.items()} == {
        "arg:fc0_weight": (1, 30),
        "arg:fc0_bias": (1,),
    }
    assert [node["name"] for node in symbol["nodes"]] == [
        "data",
        "fc0_weight",
        "fc0_bias",
        "fc0",
        "out_label",
        "out",
    ]
    assert symbol["nodes"][-1]["op"] == "LogisticRegressionOutput"
    # Scaling is folded in: raw features give what the job reported.
    x, y = CANCER[2]
    z = x @ arrays["arg:fc0_weight"][0] + arrays["arg:fc0_bias"][0]
    called = expit(z) >= additional["threshold"]
    assert np.mean(called == y) == metric(binary.log, "test", "binary_classification_accuracy")


def test_equal_jobs_give_equal_bytes(binary, training_job):
    job = training_job("linear-learner", predictor_type="binary_classifier", mini_batch_size=50)
    for name, part in zip(("train", "validation", "test"), CANCER, strict=True):
        job.channel(name, recordio(part))
    again = job.run().succeeded()
    assert (again.model / "model_algo-1").read_bytes() == (binary.model / "model_algo-1").read_bytes()


def test_a_regression_from_csv_without_validation(training_job):
    job = training_job("linear-learner", predictor_type="regressor", mini_batch_size=32, epochs=40)
    job.channel("train", csv(DIABETES[0]), "text/csv").channel("test", csv(DIABETES[2]), "text/csv")
    log = job.run().succeeded().log
    # scikit-learn's Ridge(1.0) on standardised features has 55.4 on the same rows; predicting the mean 76.6.
    assert metric(log, "test", "rmse") <= 57.5
    names = ["mse_objective", "mse", "absolute_loss", "rmse"]
    assert re.findall(r"#quality_metric: host=algo-1, train (\S+) <loss>=", log) == names
    assert "criteria=mse_objective" in log
    assert metric(log, "test", "mse") == pytest.approx(metric(log, "test", "mse_objective"))
    # The objective in training is that of scaled labels.
    assert float(re.search(r"epoch=0, train mse_objective <loss>=(\S+)", log)[1]) < 2


def test_digits_through_pipes(training_job):
    job = training_job(
        "linear-learner",
        predictor_type="multiclass_classifier",
        num_classes=10,
        mini_batch_size=100,
        accuracy_top_k=2,
    )
    for name, part in zip(("train", "validation", "test"), DIGITS, strict=True):
        job.channel(name, recordio(part), mode="Pipe")
    log = job.run().succeeded().log
    assert metric(log, "test", "multiclass_accuracy") >= 0.94  # LogisticRegression: 0.958
    assert re.findall(r"#test_score \(algo-1\) : \('(\S+)'", log) == [
        "multiclass_cross_entropy_objective",
        "multiclass_accuracy",
        "multiclass_top_k_accuracy_2",
        "dcg",
        "macro_recall",
        "macro_precision",
        "macro_f_1.000",
        "multiclass_balanced_accuracy",
        "multiclass_log_loss",
    ]
    assert "test multiclass_log_loss <score>=" in log


def test_sparse_records_and_hinge_loss(training_job):
    generator = np.random.default_rng(0)
    x = (generator.random((2000, 400)) < 0.04).astype(np.float32)
    y = (x @ generator.standard_normal(400) > 0).astype(np.float32)
    sparse = encode_batch(Batch(to_csr(x[:1600]), y[:1600]))
    job = training_job(
        "linear-learner", predictor_type="binary_classifier", loss="hinge_loss", mini_batch_size=100
    )
    job.channel("train", sparse).channel("validation", encode_batch(Batch(to_csr(x[1600:]), y[1600:])))
    finished = job.run().succeeded()
    assert (
        metric(finished.log, "validation", "binary_classification_accuracy") >= 0.85
    )  # LinearSVC, best of three C: 0.9175
    assert "validation hinge_loss_objective <loss>=" in finished.log
    dense = load(finished.model).predict(x[:50], {})
    rows = load(finished.model).predict(to_csr(x[:50]), {})
    np.testing.assert_allclose(dense["score"], rows["score"], rtol=1e-4, atol=1e-5)


def two_hosts(training_job, parts, distribution, **hyperparameters):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    jobs = []
    for host, part in zip(("127.0.0.1", "127.0.0.2"), parts, strict=True):
        job = training_job("linear-learner", **hyperparameters)
        job.channel("train", {"data": part} if part else {}, distribution=distribution)
        job.resources = {"current_host": host, "hosts": ["127.0.0.1", "127.0.0.2"]}
        job.environment = {"ALGODOCK_CLUSTER_PORT": port}
        jobs.append(job)
    return jobs


def finish(jobs):
    processes = [job.start() for job in jobs]
    # All at once: a host whose log nobody reads would wait, and the others for it.
    with ThreadPoolExecutor() as readers:
        logs = list(readers.map(lambda process: process.communicate(timeout=60)[0], processes))
    return logs, processes


def test_two_hosts_are_as_good_as_one(training_job):
    x, y = DIGITS[0]
    settings = {"predictor_type": "multiclass_classifier", "num_classes": 10, "mini_batch_size": 50}
    # The first host has more rows than the second, so more batches.
    parts = [recordio((x[:700], y[:700])), recordio((x[700:], y[700:]))]
    jobs = two_hosts(training_job, parts, "ShardedByS3Key", **settings)
    for job in jobs:
        job.channel("validation", recordio(DIGITS[1])).channel("test", recordio(DIGITS[2]))
    logs, processes = finish(jobs)
    assert [process.returncode for process in processes] == [0, 0], logs
    assert metric(logs[0], "test", "multiclass_accuracy") >= 0.94
    assert metric(logs[1], "test", "multiclass_accuracy") == metric(logs[0], "test", "multiclass_accuracy")
    assert (jobs[0].root / "model" / "model_algo-1").exists()
    assert not (jobs[1].root / "model").exists() or not list((jobs[1].root / "model").iterdir())


def test_a_host_without_data_takes_part(training_job):
    settings = {"predictor_type": "binary_classifier", "mini_batch_size": 50, "epochs": 3}
    jobs = two_hosts(training_job, [recordio(CANCER[0]), None], "ShardedByS3Key", **settings)
    logs, processes = finish(jobs)
    assert [process.returncode for process in processes] == [0, 0], logs
    assert metric(logs[0], "train", "binary_classification_accuracy") >= 0.95
    assert metric(logs[1], "train", "roc_auc_score") == metric(logs[0], "train", "roc_auc_score")


def test_hosts_with_rows_of_different_widths_are_told_so(training_job):
    x, y = CANCER[0]
    settings = {"predictor_type": "binary_classifier", "mini_batch_size": 50, "epochs": 1}
    parts = [recordio((x, y)), recordio((x[:, :-1].copy(), y))]
    jobs = two_hosts(training_job, parts, "ShardedByS3Key", **settings)
    logs, processes = finish(jobs)
    told = f"rows have {x.shape[1] - 1} features on host 127.0.0.2 and {x.shape[1]} on another"
    for job, log, process in zip(jobs, logs, processes, strict=True):
        assert process.returncode == 1
        assert "Traceback" not in log
        failure = (job.root / "output" / "failure").read_text()
        assert failure.startswith("ClientError: ")
        assert told in failure


def test_sigterm_saves_what_is_trained(training_job):
    x, y = CANCER[0]
    job = training_job(
        "linear-learner",
        predictor_type="binary_classifier",
        mini_batch_size=10,
        epochs=100000,
        early_stopping_patience=200000,
    )
    job.channel("train", recordio((x, y)), mode="Pipe")
    process = job.start()
    for line in process.stdout:
        if "epoch=2," in line:
            process.send_signal(signal.SIGTERM)
            break
    log, _ = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert "Stopping on request" in log
    answers = load(job.root / "model").predict(x, {})
    assert np.mean(answers["predicted_label"] == y) > 0.9


def test_a_tuning_job_trains_one_model(training_job):
    job = training_job(
        "linear-learner",
        predictor_type="binary_classifier",
        mini_batch_size=50,
        epochs=2,
        _tuning_objective_metric="validation:binary_classification_accuracy",
    )
    log = job.channel("train", recordio(CANCER[0])).run().succeeded().log
    assert "Number of models trained side by side: 1" in log


@pytest.mark.parametrize(
    ("hyperparameters", "parts"),
    [
        ({"mini_batch_size": 1000}, ("mini_batch_size is 1000", "341 rows", "at most")),
        ({"predictor_type": "regressor", "loss": "logistic"}, ("loss logistic", "huber_loss")),
    ],
)
def test_mistakes_are_told(training_job, hyperparameters, parts):
    settings = {"predictor_type": "binary_classifier", "mini_batch_size": 50, **hyperparameters}
    training_job("linear-learner", **settings).channel("train", recordio(CANCER[0])).run().failed(*parts)


def test_divergence_is_told(training_job):
    job = training_job(
        "linear-learner",
        predictor_type="regressor",
        optimizer="sgd",
        learning_rate=1e30,
        normalize_label="false",
        mini_batch_size=50,
        num_models=1,
        epochs=5,
    )
    job.channel("train", recordio(DIABETES[0])).run().failed("diverged", "learning_rate")


def test_settings_without_effect_are_warned_of(training_job):
    job = training_job(
        "linear-learner",
        predictor_type="binary_classifier",
        mini_batch_size=50,
        epochs=1,
        momentum=0.5,
        huber_delta=2,
        normalize_label="True",
    )
    log = job.channel("train", recordio(CANCER[0])).run().succeeded().log
    for name in ("momentum", "huber_delta", "normalize_label"):
        assert f"hyperparameter {name} has no effect" in log
