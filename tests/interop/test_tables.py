"""Artifacts of the algorithms on tables and documents open in MXNet the way public notebooks open them."""

import json
import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_digits

from common.batches import Batch
from common.formats import encode_batch

DIGITS = load_digits()
ROWS = DIGITS.data[:600].astype(np.float32)
LABELS = DIGITS.target[:600].astype(np.float32)


def records(labels=None):
    return encode_batch(Batch(ROWS, labels))


@pytest.fixture
def trained(training_job):
    """A model that a job made of the digits."""

    def train(name, labels=None, **hyperparameters):
        job = training_job(name, feature_dim=ROWS.shape[1], mini_batch_size=100, **hyperparameters)
        return job.channel("train", records(labels), "application/x-recordio-protobuf").run().succeeded()

    return train


def unzipped(done, folder):
    with zipfile.ZipFile(done.model / "model_algo-1") as archive:
        archive.extractall(folder)
    return folder


def test_kmeans(trained, peer):
    done = trained("kmeans", k=10)
    _, arrays = peer.arrays("arrays", path=done.model / "model_algo-1")
    (centroids,) = arrays.values()
    assert centroids.shape == (10, 64)
    nearest = ((ROWS[:, None] - centroids) ** 2).sum(2).min(1)
    assert nearest.mean() < ROWS.var(0).sum() * 0.7


def test_pca(trained, peer):
    done = trained("pca", num_components=5)
    answer, arrays = peer.arrays("arrays", path=done.model / "model_algo-1")
    assert sorted(answer["names"]) == ["mean", "s", "v"]
    singular = np.linalg.svd(ROWS - ROWS.mean(0), compute_uv=False)[:5][::-1]
    np.testing.assert_allclose(arrays["s"], singular, rtol=1e-3)
    np.testing.assert_allclose(arrays["v"].T @ arrays["v"], np.eye(5), atol=1e-3)


def test_lda(trained, peer):
    done = trained("lda", num_topics=4)
    answer, arrays = peer.arrays("arrays", path=done.model / "model_algo-1")
    assert answer["names"] == []
    alpha, beta = arrays["0"], arrays["1"]
    assert (alpha.shape, beta.shape) == ((4,), (4, 64))
    np.testing.assert_allclose(beta.sum(1), 1, rtol=1e-4)


def test_linear_learner(trained, peer, endpoint, tmp_path):
    done = trained("linear-learner", LABELS, predictor_type="regressor", epochs=3)
    folder = unzipped(done, tmp_path / "unzipped")
    inputs = peer.given(data=ROWS[:20])
    answer, outputs = peer.arrays(
        "module", prefix=f"{folder}/mx-mod", epoch=0, inputs=inputs, labels=["out_label"]
    )
    assert answer["arguments"] == {"fc0_weight": [1, 64], "fc0_bias": [1]}
    body = "\n".join(",".join(map(str, row)) for row in ROWS[:20])
    ours = [row["score"] for row in endpoint("linear-learner", done.root).invoke(body).json()["predictions"]]
    np.testing.assert_allclose(next(iter(outputs.values())).ravel(), ours, rtol=1e-4, atol=1e-4)


def test_factorization_machines(training_job, peer, endpoint, tmp_path):
    job = training_job(
        "factorization-machines", feature_dim=64, num_factors=4, predictor_type="regressor", epochs=3
    )
    done = job.channel("train", records(LABELS), "application/x-recordio-protobuf").run().succeeded()
    folder = unzipped(done, tmp_path / "unzipped")
    (folder / "symbol.json").rename(folder / "model-symbol.json")
    (folder / "params").rename(folder / "model-0000.params")
    answer, outputs = peer.arrays(
        "module", prefix=f"{folder}/model", epoch=0, inputs=peer.given(data=ROWS[:20]), labels=["out_label"]
    )
    assert answer["arguments"] == {"v": [64, 4], "w1_weight": [64, 1], "w0_weight": [1]}
    body = json.dumps({"instances": [{"features": row.tolist()} for row in ROWS[:20]]})
    answered = endpoint("factorization-machines", done.root).invoke(body, "application/json").json()
    ours = [row["score"] for row in answered["predictions"]]
    np.testing.assert_allclose(next(iter(outputs.values())).ravel(), ours, rtol=1e-3, atol=1e-3)


def test_ntm(trained, peer, endpoint, tmp_path):
    done = trained("ntm", num_topics=4, epochs=2)
    folder = unzipped(done, tmp_path / "unzipped")
    answer, arrays = peer.arrays("arrays", path=folder / "params")
    assert "arg:projection_weight" in answer["names"]
    assert arrays["arg:projection_weight"].shape == (64, 4)
    (folder / "symbol.json").rename(folder / "model-symbol.json")
    (folder / "params").rename(folder / "model-0000.params")
    _, outputs = peer.arrays("forward", prefix=f"{folder}/model", epoch=0, inputs=peer.given(data=ROWS[:20]))
    weights = next(value for name, value in outputs.items() if "topic_weights" in name)
    body = "\n".join(",".join(map(str, row)) for row in ROWS[:20])
    answered = endpoint("ntm", done.root).invoke(body).json()["predictions"]
    np.testing.assert_allclose(weights, [row["topic_weights"] for row in answered], atol=1e-4)
