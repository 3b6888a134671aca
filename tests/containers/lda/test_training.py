"""The real `train`: every form of documents, hyperparameters, metrics, mistakes, a stop."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from common import instances, manifest
from common.batches import Batch, to_csr
from common.cores import Cores
from common.failures import ClientError
from common.formats import encode_batch, ndarray
from containers.lda.corpus import tidy
from containers.lda.model import Mixer, Topics
from tests.containers.lda.corpora import bars, notebook_error, speech_counts

BETA, COUNTS, _ = bars(5, documents=1200)
TRAIN, TEST = COUNTS[:1000], COUNTS[1000:]
CSV = "text/csv;label_size=0"
JOB = {"num_topics": 5, "feature_dim": 25, "mini_batch_size": 1000}


def csv(rows: np.ndarray) -> bytes:
    return "".join(",".join(f"{value:g}" for value in row) + "\n" for row in rows.tolist()).encode()


def records(rows: np.ndarray, sparse: bool = False) -> bytes:
    return encode_batch(Batch(to_csr(rows) if sparse else rows))


def metric(log: str) -> float:
    """test:pwll as SageMaker finds it: the last one that its regex matches."""
    (spec,) = manifest.load("lda").metrics
    assert (spec.name, spec.direction, spec.tuning_objective) == ("test:pwll", "Maximize", True)
    return float(re.findall(spec.regex, log)[-1])


def topics(finished, count: int = 5, words: int = 25) -> Topics:
    assert [path.name for path in finished.model.iterdir()] == ["model_algo-1"]
    alpha, beta = ndarray.load(finished.model / "model_algo-1")
    assert (alpha.dtype, beta.dtype) == (np.float32, np.float32)
    assert (alpha.shape, beta.shape) == ((count,), (count, words))
    assert (beta >= 0).all()
    np.testing.assert_allclose(beta.sum(axis=1), 1, rtol=1e-5)
    return Topics(alpha, beta)


def test_known_topics_and_the_log_says_so(training_job):
    job = training_job("lda", **JOB).channel("train", records(TRAIN)).channel("test", csv(TEST), CSV)
    finished = job.run().succeeded()
    found, log = topics(finished), finished.log
    assert notebook_error(BETA, found.beta) < 0.02
    with Cores(1) as cores:
        expected = Mixer(found, cores).likelihood(tidy(TEST)) / TEST.sum()
    assert metric(log) == pytest.approx(expected, rel=1e-6)
    assert f"#quality_metric: host=algo-1, test pwll <score>={metric(log)}\n" in log
    assert f"#test_score (algo-1) : ('pwll', {metric(log)})" in log
    assert log.count("ALS restart #") == 10
    assert f"1000 documents of {int(TRAIN.sum())} words, 25 of them distinct" in log
    assert "5 topics computed" in log
    for name in ("initialize.time", "spectral.time", "refine.time", "model.serialize.time", "totaltime"):
        assert f'"{name}": {{"sum"' in log
    assert '"Meta": "training_data_iter"' in log
    assert '"Meta": "test_data_iter"' in log
    text = [line for line in log.splitlines() if line.startswith("[")]
    assert text[-1].endswith("===== Job Complete =====")


def test_same_model_from_every_form_of_the_same_documents(training_job):
    def trained(data: bytes | dict[str, bytes], content_type: str | None = None, mode: str = "File") -> bytes:
        job = training_job("lda", **JOB).channel("train", data, content_type, mode)
        found = topics(job.run().succeeded())
        return found.alpha.tobytes() + found.beta.tobytes()

    expected = trained(records(TRAIN))
    assert trained(records(TRAIN), None, "Pipe") == expected
    assert trained(records(TRAIN, sparse=True), "application/x-recordio-protobuf", "Pipe") == expected
    assert trained({"a": records(TRAIN[:300], sparse=True), "b": records(TRAIN[300:])}) == expected
    assert trained(csv(TRAIN), CSV) == expected
    # Without label_size the first column is a label, as in AWS's other algorithms, and is ignored.
    assert trained(csv(np.column_stack([np.arange(1000), TRAIN])), "text/csv") == expected


def test_all_documents_count_whatever_the_mini_batch_size(training_job):
    found = []
    for size, batches in ((100, 10.0), (5000, 1.0)):
        job = training_job("lda", **{**JOB, "mini_batch_size": size}).channel("train", records(TRAIN))
        finished = job.run().succeeded()
        assert f'"Total Batches Seen": {{"sum": {batches}' in finished.log
        found.append(topics(finished).beta.tobytes())
    assert found[0] == found[1]


def test_options_of_the_decomposition_and_the_prior(training_job):
    def run(**values: object):
        job = training_job("lda", **{**JOB, "num_topics": 2, **values}).channel("train", records(TRAIN))
        finished = job.run().succeeded()
        fits = re.findall(r"ALS restart #(\d+): error (\S+) after (\d+) iterations", finished.log)
        return topics(finished, 2), [int(iterations) for _, _, iterations in fits]

    few, counts = run(max_restarts=2, max_iterations="3", alpha0="0.5")
    assert counts == [3, 3]
    assert few.alpha.sum() == pytest.approx(0.5)
    many, patient = run(max_restarts=3, tol=1e-10)
    assert many.alpha.sum() == pytest.approx(1)
    assert len(patient) == 3
    assert sum(run(max_restarts=3, tol="1e-2")[1]) < sum(patient)


def test_the_seed_and_threads(training_job):
    def run(**environment: str) -> bytes:
        job = training_job("lda", **JOB, max_iterations=2, max_restarts=1).channel("train", records(TRAIN))
        job.environment.update(environment)
        return topics(job.run().succeeded()).beta.tobytes()

    assert run(ALGODOCK_NUM_THREADS="1") == run(ALGODOCK_NUM_THREADS="2") != run(ALGODOCK_SEED="5")


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"num_topics": 0}, ["num_topics is '0'", "an integer of at least 1"]),
        ({"num_topics": 26}, ["num_topics is 26, more than feature_dim=25", "as many topics as words"]),
        ({"mini_batch_size": None}, ["mini_batch_size"]),
        ({"alpha0": 0}, ["alpha0", "above 0"]),
        ({"tol": 0}, ["tol", "above 0"]),
        ({"max_restart": 3}, ["max_restart is unknown", "max_restarts"]),
        ({"feature_dim": 24}, ["25", "24"]),
    ],
)
def test_mistakes_in_hyperparameters(training_job, values, parts):
    training_job("lda", **{**JOB, **values}).channel("train", csv(TRAIN[:50]), CSV).run().failed(*parts)


def test_what_is_required(training_job):
    training_job("lda").channel("train", csv(TRAIN[:50]), CSV).run().failed(
        "num_topics is missing", "feature_dim is missing", "mini_batch_size is missing"
    )


@pytest.mark.parametrize(
    ("data", "content_type", "parts"),
    [
        (b"", CSV, ["channel train has 0 documents", "accepted"]),
        (b"1,1,0\n0,0,0\n", CSV, ["channel train has 2 documents, none of them with 3 words"]),
        (
            b"3,1,0\n1,-2,0\n",
            CSV,
            ["channel train: feature 1 (counted from 0) of row 2 is -2", "word counts"],
        ),
        (b"3,1,0\n1,0.5,0\n", CSV, ["feature 1 (counted from 0) of row 2 is 0.5", "whole numbers"]),
        (b"3,1,0\n1,nan,0\n", CSV, ["feature 1 (counted from 0) of row 2 is nan"]),
        (b"2,2,0\n" * 9, CSV, ["num_topics is 3, but the moments", "have rank 1"]),
        (b"garbage that is no record", None, ["channel train", "no ContentType"]),
        (records(np.ones((3, 3), np.float32))[:-5], None, ["channel train"]),
        (b"3,1,0\n", "application/json", ["application/json", "application/x-recordio-protobuf or text/csv"]),
    ],
)
def test_mistakes_in_documents(training_job, data, content_type, parts):
    job = training_job("lda", num_topics=3, feature_dim=3, mini_batch_size=9)
    job.channel("train", data, content_type).run().failed(*parts)


def test_csv_is_not_for_pipe_mode_and_several_hosts_are_refused(training_job):
    job = training_job("lda", **JOB).channel("train", csv(TRAIN), CSV, "Pipe")
    job.run().failed("content type", "in Pipe mode", "application/x-recordio-protobuf")
    with pytest.raises(ClientError, match="2"):
        instances.check(manifest.load("lda").training, "ml.c5.xlarge", 2, "lda")


@pytest.mark.parametrize(
    ("data", "parts"), [(b"", ["channel test has no words"]), (b"0" + 24 * b",0" + b"\n", ["no words"])]
)
def test_an_empty_test_channel(training_job, data, parts):
    job = training_job("lda", **JOB).channel("train", records(TRAIN)).channel("test", data, CSV)
    finished = job.run()
    assert finished.code == 1
    for part in parts:
        assert part in finished.failure


def test_a_stop_keeps_what_was_learnt(training_job):
    rows = speech_counts()
    job = training_job(
        "lda", num_topics=60, feature_dim=rows.shape[1], mini_batch_size=2000, max_restarts=2000
    )
    process = job.channel("train", encode_batch(Batch(rows))).start()
    for line in process.stdout:
        if "training_data_iter" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 0, log
    assert log.count("ALS restart #") < 2000
    alpha, beta = ndarray.load(Path(job.root) / "model" / "model_algo-1")
    assert (alpha.shape, beta.shape) == ((60,), (60, rows.shape[1]))


def test_a_stop_before_there_are_documents(training_job):
    job = training_job("lda", **JOB).channel("train", b"", mode="Pipe")
    job.pipes.clear()  # nobody feeds the channel
    process = job.start()
    for line in process.stdout:
        if "Number of GPUs being used" in line:
            break
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 0, log
    assert "Stopping on request before enough documents were read, no model" in log
    assert not (job.root / "output" / "failure").exists()
