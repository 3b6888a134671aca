"""The real `train`: formats, features, hosts, each hyperparameter, the log, mistakes, a stop; quality."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import signal
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from common.cluster import Cluster
from common.failures import ClientError
from common.formats import ndarray
from common.job import Hosts
from containers.deepar import artifact
from containers.deepar.engine import Engine
from containers.deepar.hyperparameters import DECLARATION
from containers.deepar.series import Series
from containers.deepar.windows import Epoch, Store
from tests.containers.deepar.jobs import JOB, MANIFEST, lines, small_model, waves

TAXI = Path(__file__).parents[3] / "examples" / "nyc_taxi.csv"


def metric(log: str, name: str) -> list[float]:
    """A metric as SageMaker finds it."""
    regex = next(metric.regex for metric in MANIFEST.metrics if metric.name == name)
    return [float(found) for found in re.findall(regex, log)]


# --- the whole job ---


def test_taxi_rides_are_forecast_better_than_by_last_weeks(training_job):
    with TAXI.open(newline="") as file:
        rides = np.array([float(row["value"]) for row in csv.DictReader(file)]).reshape(-1, 2).mean(1)
    start, cut, horizon = "2014-07-01 00:00:00", 4000, 24
    ends = [cut + horizon * day for day in range(1, 8)]
    job = training_job(
        "forecasting-deepar", time_freq="H", context_length=24, prediction_length=horizon, epochs=30,
        num_cells=24, num_layers=1, mini_batch_size=32, learning_rate=0.01, early_stopping_patience=25,
        test_quantiles=[0.1, 0.5, 0.9],
    )  # fmt: skip
    job.environment["ALGODOCK_NUM_THREADS"] = "1"
    past = gzip.compress(lines({"start": start, "target": rides[:cut].tolist()}))
    job.channel("train", {"a/b/taxi.json.gz": past, "_SUCCESS": b"no series", ".hidden": b"no series"})
    job.channel("test", lines(*({"start": start, "target": rides[:end].tolist()} for end in ends)), "json")
    finished = job.run().succeeded()
    log = finished.log

    actual = np.stack([rides[end - horizon : end] for end in ends])
    lastweek = np.stack([rides[end - horizon - 168 : end - 168] for end in ends])
    naive = np.abs(actual - lastweek).sum() / np.abs(actual).sum()
    (weighted,) = metric(log, "test:mean_wQuantileLoss")
    assert weighted < 0.75 * naive
    assert metric(log, "test:RMSE")[0] < np.sqrt(((actual - lastweek) ** 2).mean())

    # Each line is AWS's.
    losses = metric(log, "train:loss")
    epochs = len(losses)
    assert metric(log, "train:final_loss") == [min(losses)]
    assert f"] Final loss: {min(losses)} (occurred at epoch {int(np.argmin(losses))})\n" in log
    assert log.count("] best epoch loss so far\n") + log.count("] loss did not improve\n") == epochs
    assert metric(log, "train:progress")[-1] == 100
    assert len(metric(log, "train:throughput")) == epochs
    first = re.findall(r"epoch=0, batch=(\d+) train loss", log)
    assert first == ["0", "5"]
    assert re.search(r"\] Epoch\[0\] Batch\[5\] avg_epoch_loss=-?\d+\.\d{6}\n", log)
    assert re.search(r"\] Epoch\[0\] Batch \[5\]\tSpeed: \d+\.\d\d samples/sec\tloss=-?\d+\.\d{6}\n", log)
    path = finished.root / "input" / "data" / "train" / "a/b/taxi.json.gz"
    unused = f"field was NOT found in the file `{path}` and will NOT be used for training."
    for line in (
        "Using early stopping with patience 25",
        f"[cardinality=auto] `cat` {unused}",
        f"[num_dynamic_feat=auto] `dynamic_feat` {unused}",
        "Training set statistics:",
        "Real time series",
        "number of time series: 1",
        f"number of observations: {cut}",
        f"mean target length: {float(cut)}",
        "contains missing values: no",
        "Test set statistics:",
        "number of time series: 7",
        "Small number of time series. Doing 320 passes over dataset with prob 1.0 per epoch.",
        "Create Store: local",
        "processed a total of 320 examples",
        f"Serializing to {finished.model / 'model_algo-1'}",
        f'Saved checkpoint to "{finished.model / "model_algo-1-0000.params"}"',
        "Successfully serialized the model for prediction.",
        "Evaluating model accuracy on testset using 100 samples",
    ):
        assert f"] {line}\n" in log, line
    scores = dict(re.findall(r"\] #test_score \(algo-1, (\S+)\): (\S+)\n", log))
    levels = [f"wQuantileLoss[{level}]" for level in (0.1, 0.5, 0.9)]
    assert list(scores) == ["RMSE", "mean_absolute_QuantileLoss", "mean_wQuantileLoss", *levels]
    assert float(scores["mean_wQuantileLoss"]) == weighted
    assert weighted == pytest.approx(np.mean([float(scores[level]) for level in levels]))
    assert float(scores["mean_absolute_QuantileLoss"]) == pytest.approx(weighted * np.abs(actual).sum())
    for name in ("get_graph.time", "initialize.time", "epochs", "update.time", "state.serialize.time",
                 "model.serialize.time", "model.score.time", "setuptime", "totaltime"):  # fmt: skip
        assert f'"{name}": {{"sum"' in log

    assert sorted(path.name for path in finished.model.iterdir()) == sorted(MANIFEST.artifact)
    settings = artifact.read(finished.model).settings
    assert (settings.time_freq, settings.prediction_length, settings.num_cells) == ("H", 24, 24)
    assert settings.scale == pytest.approx(np.abs(rides[:cut]).mean(), rel=1e-6)
    arrays = ndarray.load(finished.model / "model_algo-1-0000.params")
    assert {name: array.shape for name, array in arrays.items()} == {
        f"arg:{name}": shape for name, shape in settings.shapes().items()
    }


# --- formats ---

FEATURES = [
    {**record, "cat": [n % 2, n % 3], "dynamic_feat": [[float(day % 5) for day in range(100)]]}
    for n, record in enumerate(waves())
]


def as_parquet(records, compression="snappy", dates=False) -> bytes:
    rows = [dict(record) for record in records]
    for row in rows if dates else ():
        row["start"] = np.datetime64(row["start"]).item()
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), file, compression=compression)
    return file.getvalue()


def test_every_format_is_the_same_series(trained):
    channels = [
        ({"a.json": lines(*FEATURES)}, None),
        ({"a.json.gz": gzip.compress(lines(*FEATURES))}, "json.gz"),
        ({"x/a.jsonl": lines(*FEATURES[:2]), "x/b.json": lines(*FEATURES[2:])}, "application/jsonlines"),
        ({"a": lines(*FEATURES)}, "json"),
        ({"a": lines(*FEATURES)}, "auto"),
        ({"a.parquet": as_parquet(FEATURES)}, None),
        ({"a": as_parquet(FEATURES, "gzip")}, "parquet"),
        ({"a.parquet": as_parquet(FEATURES, dates=True)}, "auto"),
    ]
    jobs = [trained({"train": files}, content_type, epochs=1) for files, content_type in channels]
    assert len({job.weights for job in jobs}) == 1
    log = jobs[0].log
    assert "`cat` field was found in the file" in log
    assert "and will be used for training." in log
    assert "[cardinality=auto] Inferred value of cardinality=[2, 3] from dataset." in log
    assert "[num_dynamic_feat=auto] Inferred value of num_dynamic_feat=1 from dataset." in log
    assert jobs[0].model.settings.cardinality == [2, 3]


def test_missing_values_of_every_spelling_are_the_same(trained):
    records = waves()
    spelled = []
    for value in (None, "NaN", float("nan")):
        targets = [[value, *r["target"][1:50], value, *r["target"][51:]] for r in records]
        changed = [{**r, "target": target} for r, target in zip(records, targets, strict=True)]
        spelled.append({"a.json": lines(*changed)})
    spelled.append({"a.parquet": as_parquet(changed)})
    jobs = [trained({"train": files}, epochs=1) for files in spelled]
    assert len({job.weights for job in jobs}) == 1
    assert "contains missing values: yes" in jobs[0].log
    assert "number of observations: 392" in jobs[0].log
    assert jobs[0].weights != trained({"train": lines(*records)}, epochs=1).weights


def test_features_of_the_forecast_may_be_there_already(trained):
    longer = [{**record, "dynamic_feat": [[float(day % 5) for day in range(104)]]} for record in FEATURES]
    ours = trained({"train": lines(*longer)}, epochs=1).weights
    assert ours == trained({"train": lines(*FEATURES)}, epochs=1).weights


# --- hyperparameters ---


@pytest.fixture
def base(trained):
    return trained({"train": lines(*FEATURES)})


@pytest.mark.parametrize(
    "values",
    [
        {"context_length": 9},
        {"epochs": 3},
        {"prediction_length": 5},
        {"time_freq": "2D"},
        {"cardinality": "ignore"},
        {"cardinality": ""},
        {"cardinality": "[2, 4]"},
        {"dropout_rate": 0},
        {"embedding_dimension": 2},
        {"learning_rate": 0.01},
        {"likelihood": "gaussian"},
        {"likelihood": "deterministic-l1"},
        {"mini_batch_size": 8},
        {"num_cells": 7},
        {"num_dynamic_feat": "ignore"},
        {"num_layers": 3},
    ],
    ids=str,
)
def test_each_hyperparameter_changes_what_is_learned(trained, base, values):
    changed = trained({"train": lines(*FEATURES)}, **values)
    assert changed.weights != base.weights
    settings = changed.model.settings
    assert settings.likelihood == {"deterministic-l1": "deterministic-L1"}.get(
        values.get("likelihood"), values.get("likelihood", "student-T")
    )
    if "ignore" in values.values() or "" in values.values():
        assert not (settings.cardinality if "cardinality" in values else settings.num_dynamic_feat)


def test_the_same_seed_gives_the_same_bytes(trained, base):
    again = trained(
        {"train": lines(*FEATURES)}, likelihood="STUDENT-T", cardinality="[2,3]", num_dynamic_feat=1
    )
    assert again.weights == base.weights
    assert trained({"train": lines(*FEATURES)}, seed=1).weights != base.weights
    two = [trained({"train": lines(*FEATURES)}, mini_batch_size=64, threads=2).weights for _ in range(2)]
    assert two[0] == two[1]


def test_likelihoods_have_values_of_their_own(trained):
    counts = [{**r, "target": np.random.default_rng(0).poisson(3, 100).tolist()} for r in waves()]
    shares = [{**r, "target": np.random.default_rng(0).uniform(size=100).round(3).tolist()} for r in waves()]
    found = trained(
        {"train": lines(*counts), "test": lines(*counts)}, likelihood="negative-binomial", epochs=1
    )
    assert "Integer time series" in found.log
    assert 0.1 < metric(found.log, "test:mean_wQuantileLoss")[0] < 2
    assert trained({"train": lines(*shares)}, likelihood="beta", epochs=1).model.settings.likelihood == "beta"
    negative = [{**counts[0], "target": [-1, *[2] * 400]}]
    for likelihood, data, part in (
        ("negative-binomial", negative, "from -1 to 2; accepted with likelihood=negative-binomial: counts"),
        ("beta", waves(), "accepted with likelihood=beta: values from 0 to 1"),
    ):
        with pytest.raises(ClientError, match=part):
            trained({"train": lines(*data)}, likelihood=likelihood)
    with pytest.raises(ClientError, match="channel test has targets"):
        trained({"train": lines(*shares), "test": lines(*waves())}, likelihood="beta")


def test_quantiles_and_samples_of_the_test_channel(trained):
    channels = {"train": lines(*waves()), "test": lines(*waves())}
    log = trained(channels, epochs=1, test_quantiles="[0.25]", num_eval_samples=7).log
    assert "testset using 7 samples" in log
    assert re.findall(r"wQuantileLoss\[(\S+)\]", log) == ["0.25"]


def test_early_stopping_keeps_the_best_epoch(trained):
    job = trained({"train": lines(*waves())}, epochs=60, learning_rate=0.3, early_stopping_patience=2)
    losses = metric(job.log, "train:loss")
    assert len(losses) < 60
    assert min(losses) < min(losses[-2:])
    assert "stopping training now" in job.log
    assert "completed 100 % of epochs" in job.log
    best = int(np.argmin(losses))
    assert job.weights == trained({"train": lines(*waves())}, epochs=best + 1, learning_rate=0.3).weights


def test_steps_become_shorter_where_the_loss_does_not_fall(trained):
    log = trained({"train": lines(*waves(2, 160))}, epochs=40, learning_rate=0.5, mini_batch_size=2).log
    assert "learning rate is now 0.25" in log


def test_many_series_are_each_taken_once(trained):
    log = trained({"train": lines(*waves(25, 20))}, epochs=1, mini_batch_size=2).log
    assert "Small number of time series" not in log
    assert "processed a total of 25 examples" in log


def test_what_has_no_effect_is_told(trained):
    log = trained({"train": lines(*waves())}, epochs=1, embedding_dimension=4).log
    assert "hyperparameter embedding_dimension has no effect" in log
    log = trained({"train": lines(*FEATURES)}, epochs=1, cardinality="[2,5]").log
    assert "Category 1 of cat has 5 values by cardinality, and none above 2 occurs in training" in log


def test_series_that_are_too_short_are_left_out(trained):
    data = [*waves(), {"start": "2020-01-01", "target": [1, 2, 3]}]
    log = trained(
        {"train": lines(*data), "test": lines(*data, {"start": "2020-01-01", "target": [1] * 4})}
    ).log
    assert "Channel train: 1 time series of fewer than 4 points are left out" in log
    assert "Channel test: 2 time series of fewer than 5 points are left out" in log


# --- mistakes ---

ONE = {"start": "2020-01-01 00:00:00", "target": [1.5] * 300}


@pytest.mark.parametrize(
    ("records", "values", "part"),
    [
        ([{**ONE, "target": [1] * 299}], {}, "299 observations in 1 time series; accepted: at least 300"),
        ([{**ONE, "target": [0] * 300}], {}, "training time series consist of only zeros"),
        ([{**ONE, "target": [1, 2, "x"]}], {}, r"line 1 of channel train, file data.json has 'x' at 2"),
        ([{**ONE, "target": [1, True]}], {}, "has 'True' at 1"),
        ([{**ONE, "target": [1, float("inf")]}], {}, "has inf at 1"),
        ([{**ONE, "target": [10**400]}], {}, "an integer of many digits"),
        ([{**ONE, "target": 5}], {}, "target of line 1 .* is '5'; accepted: a list of numbers"),
        ([{"start": "2020-01-01"}], {}, "the target of line 1 .* is missing"),
        ([{"target": [1]}], {}, "the start of line 1 .* is missing; accepted: YYYY-MM-DD"),
        ([{**ONE, "start": "2020-02-30"}], {}, "is '2020-02-30'; accepted: YYYY-MM-DD HH:MM:SS without"),
        ([{**ONE, "start": "2020-01-01T00:00:00Z"}], {}, "without a time zone"),
        ([{**ONE, "start": 5}], {}, "the start of line 1 .* is '5'"),
        ([ONE, {**ONE, "cat": [1]}], {}, "the cat of line 2 .* has 1 values; accepted: 0, as all others"),
        ([{**ONE, "cat": [1]}, ONE], {}, "the cat of line 2 .* has 0 values; accepted: 1"),
        ([{**ONE, "cat": [2]}], {"cardinality": "[2]"}, r"is \[2\]; accepted: values below \[2\]"),
        ([{**ONE, "cat": [1, 1]}], {"cardinality": "[2]"}, "has 2 values; accepted: 1"),
        ([{**ONE, "cat": [-1]}], {}, "accepted: a list of integers from 0"),
        ([{**ONE, "cat": 1}], {}, "accepted: a list of integers from 0"),
        ([{**ONE, "dynamic_feat": [[1.0] * 299]}], {}, "rows of 299 numbers, and the target 300"),
        ([{**ONE, "dynamic_feat": [[1.0] * 300, [1.0]]}], {}, "accepted: equal lengths"),
        ([{**ONE, "dynamic_feat": [[None] * 300]}], {}, "row 0, has 'None' at 0 .* none of them missing"),
        ([{**ONE, "dynamic_feat": [1]}], {}, "accepted: a list of lists of numbers"),
        ([ONE], {"num_dynamic_feat": 1}, "dynamic_feat of line 1 .* has 0 rows; accepted: 1"),
        ([{**ONE, "target": [1.0] * 150}] * 2, {"prediction_length": 151}, "no time series of at least 151"),
    ],
)  # fmt: skip
def test_series_that_are_none(trained, records, values, part):
    with pytest.raises(ClientError, match=part):
        trained({"train": lines(*records)}, **values)


@pytest.mark.parametrize(
    ("files", "part"),
    [
        ({"a.json": b'{"start": \n'}, "line 1 of channel train, file a.json is not JSON"),
        ({"a.json": b"[1]\n"}, "accepted: a JSON object"),
        ({"a.json.gz": gzip.compress(lines(ONE))[:-9]}, "truncated|end early"),
        ({"a.parquet": as_parquet([ONE])[:-9]}, "cannot be read as Parquet"),
        ({"a.parquet": lines(ONE)}, "cannot be read as Parquet"),
        ({"a.parquet": as_parquet([{"target": [1.0]}])}, "the start of row 1 .* is missing"),
        ({"a.parquet": as_parquet([{**ONE, "target": ["x"]}])}, "the target of row 1 .* has 'x' at 0"),
        ({"a.json": b"\xff\xfe\x00"}, "a.json"),
    ],
)
def test_files_that_hold_none(trained, files, part):
    with pytest.raises(ClientError, match=part):
        trained({"train": files})


def test_hyperparameters_that_are_none():
    given = {**JOB, "time_freq": "Q", "cardinality": "[0]", "dropout_rate": 1, "early_stopping_patience": 0,
             "learning_rate": 0, "likelihood": "normal", "num_dynamic_feat": "0", "test_quantiles": "[1.5]",
             "num_eval_samples": 0, "prediction_length": "x"}  # fmt: skip
    with pytest.raises(ClientError) as error:
        DECLARATION.resolve({name: str(value) for name, value in given.items()})
    for name in set(given) - set(JOB) | {"time_freq", "prediction_length", "num_eval_samples"}:
        assert f"hyperparameter {name} is" in str(error.value)
    values = DECLARATION.resolve(
        {**{k: str(v) for k, v in JOB.items()}, "_kvstore": "auto", "_num_gpus": "auto"}
    )
    assert values["test_quantiles"] == [n / 10 for n in range(1, 10)]


def test_a_job_that_can_not_be_done_leaves_a_sentence(training_job):
    job = training_job("forecasting-deepar", **JOB)
    job.channel("train", lines({**ONE, "target": [0] * 400}))
    job.run().failed("training time series consist of only zeros")


# --- hosts, devices, stops ---


@pytest.mark.slow
def test_two_hosts_learn_together(training_job):
    def host(records, distribution="FullyReplicated"):
        job = training_job("forecasting-deepar", **JOB)
        job.environment["ALGODOCK_NUM_THREADS"] = "1"
        job.channel("train", lines(*records), distribution=distribution)
        return job.channel("test", lines(*FEATURES))

    one, two = host(FEATURES).run_with(host(FEATURES))
    assert not two.succeeded().model.exists()  # the first host writes the model
    alone = host(FEATURES).run().succeeded()
    ours, theirs = (metric(finished.succeeded().log, "train:loss") for finished in (one, two))
    assert ours == theirs == pytest.approx(metric(alone.log, "train:loss"), rel=0.1)
    assert metric(one.log, "test:RMSE") == metric(two.log, "test:RMSE")
    assert artifact.read(one.model).settings == artifact.read(alone.model).settings

    one, two = host(FEATURES, "ShardedByS3Key").run_with(host([], "ShardedByS3Key"))
    assert metric(one.succeeded().log, "train:loss") == metric(two.succeeded().log, "train:loss")
    assert artifact.read(one.model).settings.cardinality == [2, 3]


@pytest.mark.parametrize(
    ("last", "told", "missing"),
    [
        ([None] * 4, "no observed value", {"RMSE", "mean_wQuantileLoss"}),
        ([0, None, 0, 0], "only zeros", {"mean_wQuantileLoss"}),
    ],
)
def test_metrics_that_are_no_numbers_are_not_told(trained, last, told, missing):
    test = [{**one, "target": one["target"][:-4] + last} for one in waves()]
    job = trained({"train": lines(*waves()), "test": lines(*test)})
    assert re.search(f"WARNING.*last 4 points of its time series hold {told}", job.log)
    assert not re.search(r"\b(nan|inf)\b", job.log)
    for name in ("RMSE", "mean_wQuantileLoss"):
        assert len(metric(job.log, f"test:{name}")) == (name not in missing)


def test_the_unit_of_a_dynamic_feature_does_not_matter(trained):
    rows = [[15_000 + 1000 * value for value in one["dynamic_feat"][0]] for one in FEATURES]
    other = [{**one, "dynamic_feat": [row]} for one, row in zip(FEATURES, rows, strict=True)]
    first, second = (trained({"train": lines(*records)}).model for records in (FEATURES, other))
    for name, weight in first.weights.items():
        np.testing.assert_allclose(weight, second.weights[name], atol=1e-3, err_msg=name)


def engine(settings, store, threads=1, devices=("cpu",)) -> Engine:
    hosts = Cluster(Hosts())
    return Engine(settings, store, rate=0.01, devices=devices, threads=threads, cluster=hosts, seed=0)


def test_any_number_of_devices_learns_the_same():
    settings = small_model(dropout_rate=0.0, cardinality=[], num_dynamic_feat=0).settings
    target = np.random.default_rng(0).normal(5, 1, 200).astype(np.float32)
    series = Series(np.datetime64("2020-01-01", "s"), target, (), np.zeros((0, 200), np.float32))
    store = Store([series], settings.span)
    rows, at = Epoch(64, 1.0).draw(store.lengths, 4, np.random.default_rng(0))
    states = []
    for devices in (("cpu",), ("cpu", "cpu", "cpu")):
        learner = engine(settings, store, devices=devices)
        sums = [learner.learn(rows, at) for _ in range(3)]
        states.append((np.array(sums), learner.state().numpy()))
    np.testing.assert_allclose(states[0][0], states[1][0], rtol=1e-4)
    np.testing.assert_allclose(states[0][1], states[1][1], rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_learns_the_same():
    settings = small_model(dropout_rate=0.0, cardinality=[], num_dynamic_feat=0).settings
    target = np.random.default_rng(0).normal(5, 1, 200).astype(np.float32)
    series = Series(np.datetime64("2020-01-01", "s"), target, (), np.zeros((0, 200), np.float32))
    store = Store([series], settings.span)
    rows, at = Epoch(64, 1.0).draw(store.lengths, 4, np.random.default_rng(0))
    sums = []
    for device in ("cpu", "cuda"):
        learner = engine(settings, store, devices=(device,))
        sums.append(np.array([learner.learn(rows, at) for _ in range(3)]))
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-3)


def test_a_stop_keeps_what_was_learned(training_job):
    job = training_job("forecasting-deepar", **{**JOB, "epochs": 100_000})
    process = job.channel("train", lines(*waves())).channel("test", lines(*waves())).start()
    log = []
    for line in process.stdout:
        log.append(line)
        if "epoch=2, train loss" in line:
            process.send_signal(signal.SIGTERM)
            break
    rest, _ = process.communicate(timeout=60)
    text = "".join(log) + rest
    assert process.returncode == 0, text
    assert "Stopping on request" in text
    model = artifact.read(job.root / "model")
    assert all(np.isfinite(array).all() for array in model.weights.values())
    assert metric(text, "train:final_loss") == [min(metric(text, "train:loss"))]


def test_training_that_diverges_is_told(trained):
    huge = [{**ONE, "target": [1e-30, *[1e17] * 399]}]
    with pytest.raises(ClientError, match="training diverged"):
        trained({"train": lines(*huge)}, likelihood="gaussian", learning_rate=1e30, num_layers=1)


def test_the_configuration_is_written_as_json(base):
    written = json.loads((base.folder / artifact.CONFIG).read_text())
    assert written["algorithm"] == "forecasting-deepar"
    assert written["lags"][:7] == [1, 2, 3, 4, 5, 6, 7]
