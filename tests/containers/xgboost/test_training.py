"""Jobs through the real `train`: content types, input modes, stops, checkpoints, folds, hosts, mistakes."""

from __future__ import annotations

import io
import json
import re
import signal
import socket

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.metrics import accuracy_score, root_mean_squared_error

from common.batches import Batch, to_csr
from common.formats import encode_batch
from common.training import train
from containers.xgboost.library import xgb

CSV, LIBSVM = "text/csv", "text/libsvm"
PARQUET, RECORDS = "application/x-parquet", "application/x-recordio-protobuf"


def split(load):
    features, labels = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    features, labels = features[order].astype(np.float32), labels[order].astype(np.float32)
    cut = len(labels) * 3 // 4
    return (features[:cut], labels[:cut]), (features[cut:], labels[cut:])


TRAIN, TEST = split(load_breast_cancer)


def csv(rows, delimiter=",", weights=None):
    features, labels = rows
    columns = [labels, *([] if weights is None else [weights]), *features.T]
    text = io.StringIO()
    np.savetxt(text, np.column_stack(columns), delimiter=delimiter, fmt="%.9g")
    return text.getvalue().encode()


def libsvm(rows, base=0, weights=None):
    lines = []
    for number, (row, label) in enumerate(zip(*rows, strict=True)):
        weight = "" if weights is None else f":{weights[number]:.9g}"
        lines.append(f"{label:g}{weight} " + " ".join(f"{i + base}:{v:.9g}" for i, v in enumerate(row)))
    return ("\n".join(lines) + "\n").encode()


def parquet(rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({f"c{i}": c for i, c in enumerate([rows[1], *rows[0].T])}), sink)
    return sink.getvalue()


def records(rows, sparse=False):
    return encode_batch(Batch(to_csr(rows[0]) if sparse else rows[0], rows[1]))


def booster(finished):
    found = xgb.Booster()
    found.load_model(finished.model / "xgboost-model")
    return found


def lines(log):
    return re.findall(r"^\[\d+\]\t.*$", log, re.MULTILINE)


LOGISTIC = {"objective": "binary:logistic", "num_round": 12, "eta": 0.3, "max_depth": 4}


@pytest.fixture(scope="module")
def reference():
    """What the library itself learns from the same rows."""
    matrix = xgb.DMatrix(*TRAIN)
    return xgb.train({k: v for k, v in LOGISTIC.items() if k != "num_round"}, matrix, 12)


@pytest.mark.parametrize(
    ("content_type", "mode", "encode"),
    [
        (CSV, "File", csv),
        ("text/csv; label_size=1; charset=utf-8", "FastFile", lambda rows: csv(rows, ";")),
        (CSV, "Pipe", lambda rows: csv(rows, "\t")),
        (None, "File", libsvm),
        (PARQUET, "File", parquet),
        ("parquet", "Pipe", parquet),
        (RECORDS, "Pipe", records),
    ],
)
def test_every_content_type_learns_what_the_library_learns(
    training_job, reference, content_type, mode, encode
):
    job = training_job("xgboost", **LOGISTIC)
    job.channel("train", encode(TRAIN), content_type, mode)
    job.channel("validation", encode(TEST), content_type, mode)
    finished = job.run().succeeded()
    found = booster(finished).predict(xgb.DMatrix(TEST[0]))
    np.testing.assert_allclose(found, reference.predict(xgb.DMatrix(TEST[0])), atol=0.02)
    assert accuracy_score(TEST[1], found > 0.5) >= 0.94
    printed = lines(finished.log)
    assert len(printed) == 12
    assert re.fullmatch(r"\[11\]\ttrain-logloss:\d\.\d{5}\tvalidation-logloss:\d\.\d{5}", printed[-1])
    # What CloudWatch shows for a tab is what AWS's regexes look for.
    shown = printed[0].replace("\t", "#011")
    assert re.search(r".*\[[0-9]+\].*#011validation-logloss:(\S+)", shown)
    assert f"Train matrix has {len(TRAIN[1])} rows and 30 columns" in finished.log


def test_equal_runs_give_equal_bytes_in_every_mode(training_job):
    models = []
    for mode in ("File", "File", "Pipe"):
        job = training_job("xgboost", **{**LOGISTIC, "num_round": 3}, subsample=0.7, seed=5)
        data = csv(TRAIN)
        middle = data.index(b"\n", len(data) // 2) + 1
        files = {"a/1.csv": data[:middle], "b.csv": data[middle:]}
        models.append(
            (job.channel("train", files, CSV, mode).run().succeeded().model / "xgboost-model").read_bytes()
        )
    assert models[0] == models[1] == models[2]


def test_weights_count(training_job):
    weights = np.where(TRAIN[1] == 1, 9.0, 0.5)
    jobs = (
        training_job("xgboost", **LOGISTIC, csv_weights=1).channel("train", csv(TRAIN, weights=weights), CSV),
        training_job("xgboost", **LOGISTIC).channel("train", libsvm(TRAIN, weights=weights), LIBSVM),
    )
    found = [booster(job.run().succeeded()).predict(xgb.DMatrix(TEST[0])) for job in jobs]
    wanted = xgb.train(
        {k: v for k, v in LOGISTIC.items() if k != "num_round"}, xgb.DMatrix(*TRAIN, weight=weights), 12
    ).predict(xgb.DMatrix(TEST[0]))
    for one in found:
        np.testing.assert_allclose(one, wanted, atol=0.02)


def test_sparse_records_leave_zeros_missing(training_job):
    features = np.where(np.random.default_rng(0).random(TRAIN[0].shape) < 0.5, 0, TRAIN[0]).astype(np.float32)
    job = training_job("xgboost", **LOGISTIC).channel(
        "train", records((features, TRAIN[1]), sparse=True), RECORDS
    )
    found = booster(job.run().succeeded()).predict(xgb.DMatrix(features, missing=0))
    wanted = xgb.train(
        {k: v for k, v in LOGISTIC.items() if k != "num_round"},
        xgb.DMatrix(features, TRAIN[1], missing=0),
        12,
    ).predict(xgb.DMatrix(features, missing=0))
    np.testing.assert_allclose(found, wanted, atol=0.02)


def ranked(seed, queries=60):
    rng = np.random.default_rng(seed)
    rows, groups = [], []
    for query in range(queries):
        size = int(rng.integers(4, 10))
        features = rng.random((size, 5)).astype(np.float32)
        # What matters is the place within the group, not the value.
        relevance = np.argsort(np.argsort(features[:, 1])) * 4 // size
        offset = rng.random() * 100
        for row, label in zip(features, relevance, strict=True):
            rows.append(
                f"{label} qid:{query} 0:{row[0] + offset:.6g} "
                + " ".join(f"{i}:{row[i]:.6g}" for i in range(1, 5))
            )
        groups.append(size)
    return ("\n".join(rows) + "\n").encode(), groups


def test_ranking_in_groups(training_job, tmp_path, monkeypatch):
    data, _ = ranked(0)
    held, groups = ranked(1)
    job = training_job("xgboost", objective="rank:ndcg", num_round=20, eval_metric="ndcg@3,rmse")
    job.channel("train", {"1": data}, LIBSVM).channel("validation", held, LIBSVM)
    finished = job.run().succeeded()
    score = float(re.search(r"validation-ndcg@3:(\S+)", lines(finished.log)[-1])[1])
    path = tmp_path / "held.libsvm"
    path.write_bytes(held)
    matrix = xgb.DMatrix(f"{path}?format=libsvm")
    assert matrix.get_uint_info("group_ptr").tolist() == np.cumsum([0, *groups]).tolist()
    found = booster(finished)
    found.set_param({"eval_metric": "ndcg@3"})
    assert float(found.eval(matrix).rsplit(":", 1)[1]) == pytest.approx(score, abs=1e-4)
    assert score > 0.95
    mixed = data.replace(b"qid:7 ", b"")
    training_job("xgboost", objective="rank:ndcg", num_round=2).channel("train", mixed, LIBSVM).run().failed(
        "qid"
    )


def test_survival_times(training_job):
    rng = np.random.default_rng(0)
    features = rng.random((400, 3)).astype(np.float32)
    times = np.exp(2 * features[:, 0]).astype(np.float32)
    censored = rng.random(400) < 0.3
    labels = np.where(censored, -times / 2, times).astype(np.float32)
    job = training_job("xgboost", objective="survival:aft", num_round=20, eval_metric="aft-nloglik")
    finished = job.channel("train", csv((features, labels)), CSV).run().succeeded()
    found = booster(finished).predict(xgb.DMatrix(features))
    assert np.corrcoef(np.log(found), features[:, 0])[0, 1] > 0.9


def test_own_metrics_and_tweedie(training_job):
    train, test = split(load_diabetes)
    job = training_job(
        "xgboost",
        objective="reg:tweedie",
        tweedie_variance_power=1.3,
        num_round=30,
        eta=0.1,
        max_depth=3,
        eval_metric="tweedie-nloglik,rmse,r2",
        _tuning_objective_metric="validation:mae",
    )
    finished = job.channel("train", csv(train), CSV).channel("validation", csv(test), CSV).run().succeeded()
    values = booster(finished).predict(xgb.DMatrix(test[0]))
    last = lines(finished.log)[-1]
    assert [part.split(":")[0] for part in last.split("\t")[5:]] == [
        "validation-mae",
        "validation-r2",
        "validation-rmse",
        "validation-tweedie-nloglik",
    ]
    printed = float(re.search(r"validation-rmse:(\S+)", last)[1])
    assert printed == pytest.approx(root_mean_squared_error(test[1], values), abs=1e-4)
    assert printed < 62


def test_early_stopping_keeps_the_best_round(training_job):
    noisy = (TRAIN[0], np.random.default_rng(0).permutation(TRAIN[1]))
    job = training_job(
        "xgboost", **{**LOGISTIC, "num_round": 200}, early_stopping_rounds=3, eval_metric="auc"
    )
    finished = job.channel("train", csv(noisy), CSV).channel("validation", csv(TEST), CSV).run().succeeded()
    scores = [float(re.search(r"validation-auc:(\S+)", line)[1]) for line in lines(finished.log)]
    best = int(np.argmax(scores))
    assert len(scores) == best + 4 < 200
    assert booster(finished).num_boosted_rounds() == best + 1
    assert booster(finished).attr("best_iteration") == str(best)
    told = training_job("xgboost", **{**LOGISTIC, "num_round": 1}, early_stopping_rounds=3)
    told = told.channel("train", csv(TRAIN), CSV).run().succeeded()
    assert "early_stopping_rounds has no effect: there is no validation channel" in told.log


def checkpointed(job):
    config = job.root / "input" / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "checkpointconfig.json").write_text('{"LocalPath": "/opt/ml/checkpoints"}')
    return job


def test_a_job_goes_on_from_its_newest_checkpoint(training_job):
    job = checkpointed(training_job("xgboost", **LOGISTIC).channel("train", csv(TRAIN), CSV))
    folder = job.root / "checkpoints"
    job.hyperparameters["num_round"] = 7
    folder.mkdir(parents=True)
    (folder / "xgboost-checkpoint.1.sagemaker-uploading").write_text("")
    job.run().succeeded()
    # The second is still being copied, so it stays.
    assert sorted(p.name for p in folder.iterdir() if "uploading" not in p.name) == [
        f"xgboost-checkpoint.{n}" for n in (1, 2, 3, 4, 5, 6)
    ]
    (folder / "xgboost-checkpoint.9").write_bytes(b"half a fi")
    job.hyperparameters["num_round"] = 12
    finished = job.run().succeeded()
    assert [line.split("\t")[0] for line in lines(finished.log)] == [f"[{n}]" for n in range(7, 12)]
    assert "passed over" in finished.log
    whole = training_job("xgboost", **LOGISTIC).channel("train", csv(TRAIN), CSV).run().succeeded()
    rows = xgb.DMatrix(TEST[0])
    np.testing.assert_allclose(booster(finished).predict(rows), booster(whole).predict(rows), atol=1e-6)
    assert booster(finished).num_boosted_rounds() == 12


def test_folds(training_job):
    job = training_job(
        "xgboost", **{**LOGISTIC, "num_round": 5}, _kfold=3, _num_cv_round=2, eval_metric="error"
    )
    job.channel("train", csv(TRAIN), CSV).channel("validation", csv(TEST), CSV)
    finished = checkpointed(job).run().succeeded()
    assert sorted(path.name for path in finished.model.iterdir()) == [f"xgboost-model-{n}" for n in range(6)]
    assert len(re.findall(r"^\[5\]\ttrain-error:\S+\tvalidation-error:\S+$", finished.log, re.MULTILINE)) == 3
    found = np.loadtxt(finished.root / "output" / "data" / "predictions.csv", delimiter=",")
    assert np.array_equal(found[:, 0], np.concatenate([TRAIN[1], TEST[1]]))
    assert accuracy_score(found[:, 0], found[:, 2]) > 0.94
    assert np.mean((found[:, 1] > 0.5) == found[:, 2]) > 0.98
    # Again: every fold is done already, and says the same.
    again = job.run().succeeded()
    assert np.array_equal(
        found, np.loadtxt(again.root / "output" / "data" / "predictions.csv", delimiter=",")
    )
    assert lines(again.log) == [line for line in lines(finished.log) if line.startswith("[5]")]


def test_sigterm_saves_what_is_trained(training_job):
    for extra in ({}, {"save_model_on_termination": "true"}):
        job = training_job("xgboost", **{**LOGISTIC, "num_round": 10**6}, **extra)
        process = job.channel("train", csv(TRAIN), CSV).start()
        for line in process.stdout:
            if line.startswith("[20]"):
                break
        if extra:
            assert (job.root / "model" / "xgboost-model").exists()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(60) == 0
        model = xgb.Booster(model_file=job.root / "model" / "xgboost-model")
        assert 20 < model.num_boosted_rounds() < 10**6


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def hosts(make, count=2):
    names = [f"127.0.0.{n + 1}" for n in range(count)]
    port = free_port()
    jobs = []
    for name in names:
        job = make()
        job.resources = {"hosts": names, "current_host": name}
        job.environment = {"ALGODOCK_CLUSTER_PORT": port, "ALGODOCK_NUM_THREADS": "1"}
        jobs.append(job)
    return jobs


def together(jobs):
    processes = [job.start() for job in jobs]
    logs = [process.communicate(timeout=120)[0] for process in processes]
    return [process.returncode for process in processes], logs


def test_two_hosts_are_as_good_as_one(training_job):
    def make():
        return training_job("xgboost", **LOGISTIC, eval_metric="logloss,accuracy")

    halves = [(TRAIN[0][half::2], TRAIN[1][half::2]) for half in (0, 1)]
    sharded = hosts(make)
    for job, rows in zip(sharded, halves, strict=True):
        job.channel("train", csv(rows), CSV, distribution="ShardedByS3Key").channel(
            "validation", csv(TEST), CSV
        )
    replicated = hosts(make)
    for job in replicated:
        job.channel("train", csv(TRAIN), CSV).channel("validation", csv(TEST), CSV)
    alone = make().channel("train", csv(TRAIN), CSV).channel("validation", csv(TEST), CSV).run().succeeded()
    wanted = float(re.search(r"validation-logloss:(\S+)", lines(alone.log)[-1])[1])
    for jobs in (sharded, replicated):
        codes, logs = together(jobs)
        assert codes == [0, 0], logs
        last = lines(logs[0])[-1]
        assert float(re.search(r"validation-logloss:(\S+)", last)[1]) <= wanted + 0.03
        assert not lines(logs[1])
        assert not list((jobs[1].root / "model").glob("*"))
        model = xgb.Booster(model_file=jobs[0].root / "model" / "xgboost-model")
        accuracy = accuracy_score(TEST[1], model.predict(xgb.DMatrix(TEST[0])) > 0.5)
        assert accuracy >= 0.94
        assert float(re.search(r"validation-accuracy:(\S+)", last)[1]) == pytest.approx(accuracy, abs=1e-5)


def test_a_host_without_data_takes_part(training_job):
    jobs = hosts(lambda: training_job("xgboost", **LOGISTIC))
    jobs[0].channel("train", {}, LIBSVM, distribution="ShardedByS3Key")
    jobs[1].channel("train", libsvm(TRAIN), LIBSVM, distribution="ShardedByS3Key")
    codes, logs = together(jobs)
    assert codes == [0, 0], logs
    model = xgb.Booster(model_file=jobs[0].root / "model" / "xgboost-model")
    assert accuracy_score(TEST[1], model.predict(xgb.DMatrix(TEST[0])) > 0.5) >= 0.94


def test_medians_need_rows_on_every_host(training_job):
    jobs = hosts(lambda: training_job("xgboost", objective="reg:absoluteerror", num_round=2))
    jobs[0].channel("train", {}, LIBSVM, distribution="ShardedByS3Key")
    jobs[1].channel("train", libsvm(TRAIN), LIBSVM, distribution="ShardedByS3Key")
    codes, logs = together(jobs)
    assert codes == [1, 1], logs
    assert "one has none" in (jobs[0].root / "output" / "failure").read_text()


def test_a_host_that_dies_fails_the_others_at_once(training_job):
    jobs = hosts(lambda: training_job("xgboost", **{**LOGISTIC, "num_round": 10**6}))
    for job in jobs:
        job.channel("train", csv(TRAIN), CSV)
    processes = [job.start() for job in jobs]
    for line in processes[0].stdout:
        if line.startswith("[20]"):
            break
    processes[1].kill()
    processes[0].communicate(timeout=60)
    assert processes[0].returncode == 1
    failure = (jobs[0].root / "output" / "failure").read_text()
    assert failure.startswith("AlgorithmError: host 127.0.0.2")


def test_one_hosts_mistake_is_told_on_all(training_job):
    jobs = hosts(lambda: training_job("xgboost", **LOGISTIC))
    for job, label in zip(jobs, (1, 7), strict=True):
        rows = (TRAIN[0], np.where(TRAIN[1] == 1, label, 0))
        job.channel("train", csv(rows), CSV, distribution="ShardedByS3Key")
    codes, logs = together(jobs)
    assert codes == [1, 1], logs
    for job in jobs:
        assert "label must be in [0,1]" in (job.root / "output" / "failure").read_text()


def failure(job, monkeypatch):
    """What a job that fails early says; in this process, which saves starting one."""
    config = job.root / "input" / "config"
    config.mkdir(parents=True)
    written = {key: str(value) for key, value in job.hyperparameters.items()}
    (config / "hyperparameters.json").write_text(json.dumps(written))
    (config / "inputdataconfig.json").write_text(json.dumps(job.channels))
    monkeypatch.setenv("ALGORITHM", job.algorithm)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest's stay
    assert train(job.root) == 1
    assert not list((job.root / "model").glob("*"))
    said = (job.root / "output" / "failure").read_text()
    assert said.startswith("ClientError: ")
    return said


@pytest.mark.parametrize(
    ("hyperparameters", "data", "content_type", "said"),
    [
        ({"objective": "binary:logistic"}, b"2,1,1\n0,1,2\n", CSV, "label must be in [0,1]"),
        ({"objective": "multi:softmax", "num_class": 2}, b"2,1,1\n0,1,2\n", CSV, "[0, num_class)"),
        ({"objective": "count:poisson"}, b"-2,1,1\n0,1,2\n", CSV, "nonnegative"),
        ({}, b"label,a,b\n0,1,2\n", CSV, "header"),
        ({}, b"1,2,3\n1,2\n", CSV, "line 2"),
        ({}, b"1 0:1 b:2\n", None, "line 1"),
        ({}, b"1 0:1\n0 3:2 2000000000:1\n", LIBSVM, "row 2 has the feature index 2000000000; accepted"),
        ({}, b"1 0:1\n0 3:inf\n", LIBSVM, "channel train: feature 3 (counted from 0) of row 2 is inf"),
        ({}, b"1,2\n0,-inf\n", CSV, "channel train: feature 0 (counted from 0) of row 2 is -inf"),
        ({}, b"1,2\n", "text/csv;label_size=2", "label_size=1"),
        ({}, b"1,2\n", "application/json", "text/libsvm"),
        ({}, {"_SUCCESS": b"x"}, CSV, "No data in training channel path"),
        ({"monotone_constraints": "(1,1,1)", "tree_method": "hist"}, b"1,2,3\n0,4,5\n", CSV, "up to 2"),
        ({"interaction_constraints": "[[0,2]]", "tree_method": "hist"}, b"1,2,3\n0,4,5\n", CSV, "feature 2"),
        ({"eval_metric": "accuracy"}, b"1.5,2,3\n0,4,5\n", CSV, "metric accuracy"),
        ({"process_type": "update", "updater": "refresh"}, b"1,2,3\n0,4,5\n", CSV, "checkpoint"),
        ({"csv_weights": 1}, b"1,0,3\n0,0,5\n", CSV, "channel train: all weights are 0"),
        ({"objective": "reg:tweedie"}, b"0,2,3\n0,4,5\n", CSV, "channel train: all labels are 0"),
    ],
)
def test_mistakes(training_job, monkeypatch, hyperparameters, data, content_type, said):
    job = training_job("xgboost", num_round=2, **hyperparameters).channel("train", data, content_type)
    assert said in failure(job, monkeypatch)


def test_mistakes_about_channels(training_job, monkeypatch):
    job = training_job("xgboost", num_round=2).channel("train", b"1 0:1\n", LIBSVM, "Pipe")
    assert "Pipe mode; accepted: text/csv" in failure(job, monkeypatch)
    job = training_job("xgboost", num_round=2).channel("train", b"1,1,2\n", CSV)
    assert "3 features" in failure(job.channel("validation", b"1,1,2,3\n", CSV), monkeypatch)
    job = (
        training_job("xgboost", num_round=2).channel("train", b"1,1,2\n", CSV).channel("validation", {}, CSV)
    )
    assert "No data in validation channel path" in failure(job, monkeypatch)
