"""Jobs on a GPU give the models that they give on the CPU. Skipped where there is no CUDA device."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from common.formats import ndarray
from containers.knn import predict as knn
from containers.linear_learner import predict as linear_learner

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

DIGITS = load_digits()
ROWS = DIGITS.data.astype(np.float32)
CSV = b"".join(
    b",".join(b"%g" % value for value in [label, *row]) + b"\n"
    for label, row in zip(DIGITS.target, DIGITS.data, strict=True)
)


@pytest.fixture
def trained(training_job):
    """Trains on one device, which the instance type decides."""

    def train(name, device, **hyperparameters):
        job = training_job(name, **hyperparameters).channel("train", CSV, "text/csv;label_size=1")
        instance = {"cpu": "ml.m5.large", "gpu": "ml.g5.xlarge"}[device]
        job.resources = {"current_host": "algo-1", "hosts": ["algo-1"], "current_instance_type": instance}
        done = job.run().succeeded()
        assert f"Number of GPUs being used: {int(device == 'gpu')}" in done.log
        return done.model

    return train


def test_kmeans(trained):
    options = {"k": 10, "feature_dim": 64, "mini_batch_size": 500, "epochs": 3}
    (cpu,), (gpu,) = (
        ndarray.load(trained("kmeans", device, **options) / "model_algo-1") for device in ("cpu", "gpu")
    )
    assert np.allclose(cpu, gpu, atol=1e-2)


@pytest.mark.parametrize("mode", ["regular", "randomized"])
def test_pca(trained, mode):
    options = {"num_components": 5, "feature_dim": 64, "mini_batch_size": 500, "algorithm_mode": mode}
    cpu, gpu = (ndarray.load(trained("pca", device, **options) / "model_algo-1") for device in ("cpu", "gpu"))
    for name in ("mean", "v", "s"):
        assert np.allclose(cpu[name], gpu[name], rtol=1e-3, atol=1e-3)


def test_knn(trained):
    options = {"k": 5, "feature_dim": 64, "sample_size": 2000, "predictor_type": "classifier"}
    cpu, gpu = (knn.load(trained("knn", device, **options)).predict(ROWS, {}) for device in ("cpu", "gpu"))
    assert np.mean(cpu["predicted_label"] == gpu["predicted_label"]) > 0.99


def test_linear_learner(trained):
    options = {"predictor_type": "multiclass_classifier", "num_classes": 10, "mini_batch_size": 100}
    for device in ("cpu", "gpu"):
        model = linear_learner.load(trained("linear-learner", device, **options))
        assert np.mean(model.predict(ROWS, {})["predicted_label"] == DIGITS.target) > 0.9


def test_xgboost(trained):
    import xgboost

    options = {"num_round": 20, "objective": "multi:softmax", "num_class": 10, "tree_method": "gpu_hist"}
    booster = xgboost.Booster(model_file=trained("xgboost", "gpu", **options) / "xgboost-model")
    assert np.mean(booster.predict(xgboost.DMatrix(ROWS)) == DIGITS.target) > 0.95
