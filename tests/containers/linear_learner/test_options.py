"""Hyperparameters by what they do, in jobs that run within the test's process."""

import contextlib
import io
import json
import re
import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from common import cluster, job, manifest
from common.batches import Batch, to_csr
from common.channels import open_channels
from common.failures import ClientError
from common.formats import encode_batch, ndarray
from common.job import ChannelConfig, Hosts
from common.metrics import Metrics, set_up_logging
from common.stopping import Stop
from common.training import Run
from containers.linear_learner.predict import load


def split(x, y):
    order = np.random.default_rng(0).permutation(len(x))
    parts = np.split(order, [int(len(x) * 0.6), int(len(x) * 0.8)])
    return [(x[part].astype(np.float32), y[part].astype(np.float32)) for part in parts]


CANCER = split(*load_breast_cancer(return_X_y=True))
DIABETES = split(*load_diabetes(return_X_y=True, scaled=False))
DIGITS = split(*load_digits(return_X_y=True))
BINARY = {"predictor_type": "binary_classifier", "mini_batch_size": "50"}
REGRESSOR = {"predictor_type": "regressor", "mini_batch_size": "32"}
MULTICLASS = {"predictor_type": "multiclass_classifier", "num_classes": "10", "mini_batch_size": "100"}


@pytest.fixture
def train(tmp_path):
    """Trains on parts (train, validation, test), any of which may be encoded already; the log."""

    def run(parts, hyperparameters):
        channels = {}
        for name, part in zip(("train", "validation", "test"), parts, strict=False):
            folder = tmp_path / "input" / "data" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "rows").write_bytes(part if isinstance(part, bytes) else encode_batch(Batch(*part)))
            channels[name] = ChannelConfig(name)
        log = io.StringIO()
        set_up_logging(stream=log)
        found = manifest.load("linear-learner")
        described = job.Job(tmp_path, hyperparameters, channels, Hosts(), None)
        stop = Stop()
        with contextlib.redirect_stdout(log):
            found.module("train").train(
                Run(
                    described,
                    found,
                    found.declaration().resolve(hyperparameters),
                    open_channels(described, found, stop),
                    cluster.join(described.hosts),
                    Metrics(found.metrics_name, "algo-1", log),
                    stop,
                    ("cpu",),
                    1,
                    0,
                )
            )
        return log.getvalue()

    yield run
    set_up_logging()


def metric(log, channel, name):
    return float(re.search(rf"#quality_metric: host=\S+, {channel} {name} <\w+>=(\S+)", log)[1])


def arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "model" / "model_algo-1") as archive:
        found = ndarray.load(archive.read("mx-mod-0000.params"))
        return (
            found["arg:fc0_weight"],
            found["arg:fc0_bias"],
            json.loads(archive.read("additional-params.json")),
        )


@pytest.mark.parametrize(
    ("loss", "extra"),
    [
        ("squared_loss", {}),
        ("absolute_loss", {}),
        ("huber_loss", {"huber_delta": "50"}),
        ("eps_insensitive_squared_loss", {"loss_insensitivity": "5"}),
        ("eps_insensitive_absolute_loss", {"loss_insensitivity": "5"}),
    ],
)
def test_every_regression_loss_learns(train, loss, extra):
    log = train(DIABETES, {**REGRESSOR, "loss": loss, "epochs": "25", **extra})
    assert metric(log, "test", "absolute_loss") <= 48  # the median alone has 63


def test_quantile_loss_finds_its_quantile(train, tmp_path):
    train(DIABETES, {**REGRESSOR, "loss": "quantile_loss", "quantile": "0.9", "epochs": "40"})
    x, y = DIABETES[2]
    assert 0.8 <= np.mean(y <= load(tmp_path / "model").predict(x, {})["score"]) <= 0.97


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_every_optimiser_learns(train, optimizer):
    log = train(CANCER, {**BINARY, "optimizer": optimizer})
    assert metric(log, "test", "binary_classification_accuracy") >= 0.955
    assert f'"optimizer": "{optimizer}"' in log


@pytest.mark.parametrize(
    ("criterion", "extra", "name", "least"),
    [
        ("recall_at_target_precision", {"target_precision": "0.97"}, "precision", 0.965),
        ("precision_at_target_recall", {"target_recall": "0.99"}, "recall", 0.985),
        ("f1", {}, "binary_f_1.000", 0.95),
        ("f_beta", {"f_beta": "2"}, "binary_f_2.000", 0.95),
        ("cross_entropy_loss", {}, "roc_auc_score", 0.97),
    ],
)
def test_criteria_hold_on_the_validation_channel(train, tmp_path, criterion, extra, name, least):
    chosen = {"binary_classifier_model_selection_criteria": criterion}
    log = train(CANCER[:2], {**BINARY, **chosen, **extra})
    assert metric(log, "validation", name) >= least
    assert (arrays(tmp_path)[2]["threshold"] == 0.5) or criterion != "cross_entropy_loss"


def skewed():
    """5 % positives that overlap with the rest, as train and validation."""
    generator = np.random.default_rng(0)
    y = (generator.random(4000) < 0.05).astype(np.float32)
    x = generator.standard_normal((4000, 5)).astype(np.float32) + y[:, None]
    return [(x[:3000], y[:3000]), (x[3000:], y[3000:])]


def test_positive_weights_buy_recall(train):
    settings = {**BINARY, "binary_classifier_model_selection_criteria": "loss_function", "num_models": "1"}
    recalls = {
        weight: metric(
            train(skewed(), {**settings, "positive_example_weight_mult": weight}), "validation", "recall"
        )
        for weight in ("0.2", "1.0", "balanced")
    }
    assert recalls["0.2"] < recalls["1.0"] < recalls["balanced"]
    assert recalls["balanced"] > 0.75
    log = train(skewed(), {**BINARY, "positive_example_weight_mult": "auto"})
    assert metric(log, "validation", "roc_auc_score") > 0.9


def test_balanced_classes_count_equally(train):
    generator = np.random.default_rng(0)
    y = generator.choice(3, 3000, p=[0.9, 0.07, 0.03]).astype(np.float32)
    x = (generator.standard_normal((3000, 3)) + np.eye(3)[y.astype(int)]).astype(np.float32)
    parts = [(x[:2000], y[:2000]), (x[2000:], y[2000:])]
    settings = {"predictor_type": "multiclass_classifier", "num_classes": "3", "mini_batch_size": "100"}
    plain = metric(train(parts, settings), "validation", "macro_recall")
    balanced = metric(
        train(parts, {**settings, "balance_multiclass_weights": "True"}), "validation", "macro_recall"
    )
    assert balanced > plain + 0.1


def test_without_bias_the_line_goes_through_the_origin(train, tmp_path):
    train(DIABETES, {**REGRESSOR, "use_bias": "False", "epochs": "2"})
    assert arrays(tmp_path)[1].tolist() == [0]


def test_normalisation_can_be_left_out(train, tmp_path):
    off = dict.fromkeys(("normalize_data", "unbias_data", "normalize_label", "unbias_label"), "false")
    fixed = {"learning_rate": "1e-12", "num_models": "1", "epochs": "1", "init_bias": "5"}
    train(DIABETES, {**REGRESSOR, **off, **fixed, "init_method": "normal", "init_sigma": "0.5"})
    weights, bias, _ = arrays(tmp_path)
    # Nothing was learned and nothing scaled: the weights are as they were drawn.
    drawn = np.random.Generator(np.random.Philox(0)).standard_normal((10, 1), np.float32) * np.float32(0.5)
    np.testing.assert_allclose(weights[0], drawn[:, 0], atol=1e-5)
    assert bias[0] == pytest.approx(5)


def test_a_constant_feature_has_no_weight(train, tmp_path):
    constant = [(np.column_stack([x, np.full(len(x), 7)]).astype(np.float32), y) for x, y in CANCER]
    train(constant, {**BINARY, "epochs": "3"})
    assert arrays(tmp_path)[0][0, -1] == 0


def test_rows_sorted_by_label_do_no_harm(train):
    x, y = DIGITS[0]
    order = np.argsort(y, kind="stable")
    log = train([(x[order], y[order]), *DIGITS[1:]], MULTICLASS)
    assert metric(log, "test", "multiclass_accuracy") >= 0.92


def test_patience_stops_early_and_can_be_turned_off(train):
    stopped = train(CANCER[:2], {**BINARY, "epochs": "60", "early_stopping_patience": "2"})
    assert "Early stop condition met. Stopping training." in stopped
    assert "completed 100 % of epochs" in stopped
    assert "for 0 epochs." in stopped
    assert stopped.count("#early_stopping_criteria_metric") < 60
    every = train(CANCER[:2], {**BINARY, "epochs": "12", "early_stopping_patience": "13"})
    assert every.count("#early_stopping_criteria_metric") == 12


def changed(part, row, label):
    x, y = part[0].copy(), part[1].copy()
    y[row] = label
    return x, y


def infinite(part, row):
    x = part[0].copy()
    x[row, 3] = np.inf
    return x, part[1]


@pytest.mark.parametrize(
    ("hyperparameters", "part", "said"),
    [
        ({}, changed(CANCER[0], 119, 2), "channel train, row 120: label 2 .* 0 and 1"),
        ({}, changed(CANCER[0], 119, 0.5), "channel train, row 120: label 0.5 .* 0 and 1"),
        ({}, infinite(CANCER[0], 77), "channel train: feature 3 .* of row 78 is inf"),
        (
            {"predictor_type": "multiclass_classifier", "num_classes": "3"},
            changed(CANCER[0], 4, 3),
            "row 5: label 3 .* from 0 to 2",
        ),
        ({"predictor_type": "regressor"}, changed(CANCER[0], 4, np.nan), "row 5: label nan .* finite"),
        ({"mini_batch_size": "342"}, CANCER[0], "mini_batch_size is 342, .* 341 rows"),
        ({"feature_dim": "31"}, CANCER[0], "3[01].* 3[01]"),
        ({"predictor_type": "multiclass_classifier"}, CANCER[0], "num_classes is missing"),
        ({"predictor_type": "multiclass_classifier", "num_classes": "2"}, CANCER[0], "at least 3"),
        ({"learning_rat": "1"}, CANCER[0], "did you mean learning_rate"),
        ({"num_models": "1000000000"}, CANCER[0], "1000000000 models .* num_models up to"),
        ({}, encode_batch(Batch(CANCER[0][0])), "label"),
        ({}, b"", "train"),
    ],
)
def test_mistakes_name_what_and_where(train, hyperparameters, part, said):
    with pytest.raises(ClientError, match=said):
        train([part], {**BINARY, **hyperparameters})


def test_a_wider_row_after_the_first_is_told(train):
    narrow = Batch(to_csr(CANCER[0][0]), CANCER[0][1])
    wide = Batch(to_csr(np.ones((1, 40), np.float32)), np.ones(1, np.float32))
    with pytest.raises(ClientError, match=r"channel validation.* 40 features.* 30 "):
        train([encode_batch(narrow), encode_batch(wide)], BINARY)


def test_force_dense_gives_the_same_model(train, tmp_path):
    generator = np.random.default_rng(0)
    x = (generator.random((600, 300)) < 0.05).astype(np.float32)
    part = encode_batch(Batch(to_csr(x), (x @ generator.standard_normal(300) > 0).astype(np.float32)))
    found = []
    for force in ("true", "false"):
        train(
            [part], {**BINARY, "force_dense": force, "epochs": "1", "num_models": "1", "unbias_data": "true"}
        )
        found.append(arrays(tmp_path)[0])
    # Sparse rows stay in their order, dense ones are shuffled from the second epoch on.
    np.testing.assert_allclose(found[0], found[1], rtol=1e-2, atol=1e-4)
