"""Hyperparameters: names, defaults, ranges and rules."""

import pytest

from common import manifest
from common.failures import ClientError

DECLARATION = manifest.load("image-classification").declaration()
REQUIRED = {"num_classes": "10", "num_training_samples": "100"}


def resolved(**written):
    return DECLARATION.resolve({**REQUIRED, **{name: str(value) for name, value in written.items()}})


def test_defaults_are_those_of_the_documents():
    values = resolved()
    expected = {
        "augmentation_type": None,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "checkpoint_frequency": None,
        "early_stopping": False,
        "early_stopping_min_epochs": 10,
        "early_stopping_patience": 5,
        "early_stopping_tolerance": 0.0,
        "epochs": 30,
        "eps": 1e-8,
        "gamma": 0.9,
        "image_shape": (3, 224, 224),
        "kv_store": None,
        "learning_rate": 0.1,
        "lr_scheduler_factor": 0.1,
        "lr_scheduler_step": (),
        "mini_batch_size": 32,
        "momentum": 0.9,
        "multi_label": 0,
        "num_layers": 152,
        "optimizer": "sgd",
        "precision_dtype": "float32",
        "resize": None,
        "top_k": None,
        "use_pretrained_model": 0,
        "use_weighted_loss": 0,
        "weight_decay": 0.0001,
    }
    assert {name: values[name] for name in expected} == expected


def test_what_a_tuner_may_vary():
    tuned = {one.name: one.tuning.range for one in DECLARATION.parameters if one.tuning}
    assert tuned == {
        "beta_1": (1e-6, 0.999),
        "beta_2": (1e-6, 0.999),
        "eps": (1e-8, 1.0),
        "gamma": (1e-8, 0.999),
        "learning_rate": (1e-6, 0.5),
        "mini_batch_size": (8, 512),
        "momentum": (0.0, 0.999),
        "optimizer": ("sgd", "adam", "rmsprop", "nag"),
        "weight_decay": (0.0, 0.999),
    }


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("early_stopping", "True", True),
        ("early_stopping", "0", False),
        ("image_shape", "1,28,28", (1, 28, 28)),
        ("image_shape", "3, 32, 40", (3, 32, 40)),
        ("lr_scheduler_step", "10, 20,25", (10, 20, 25)),
        ("num_layers", "110", 110),
        ("augmentation_type", "crop_color_transform", "crop_color_transform"),
        ("precision_dtype", "float16", "float16"),
        ("_tuning_objective_metric", "validation:accuracy", None),
        ("model_prefix", "", ""),
    ],
)
def test_what_is_accepted(name, written, value):
    assert resolved(**{name: written}).get(name) == value


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"num_layers": 19}, "num_layers is '19'; accepted: 18, 34, 50, 101, 152, 200, or 20, 32"),
        ({"image_shape": "28,28"}, "image_shape is '28,28'; accepted: channels"),
        ({"image_shape": "4,28,28"}, "image_shape is '4,28,28'; accepted: channels"),
        ({"image_shape": "3,224,99999"}, "image_shape is '3,224,99999'"),
        ({"top_k": 11}, "top_k is 11; accepted: at most num_classes, 10"),
        ({"top_k": 1}, "top_k is '1'; accepted: an integer above 1"),
        ({"checkpoint_frequency": 3, "epochs": 2}, "checkpoint_frequency is 3; accepted: at most epochs, 2"),
        (
            {"augmentation_type": "flip"},
            "The value flip is not valid for the augmentation_type hyperparameter which accepts one of the "
            "following: crop, crop_color, crop_color_transform",
        ),
        ({"use_pretrained_model": 1, "num_layers": 20}, "num_layers is 20 and use_pretrained_model is 1"),
        ({"use_pretrained_model": 1, "image_shape": "3,64,64"}, "image_shape is 3,64,64 and use_pretrained"),
        ({"resize": 200}, "resize is 200; accepted: at least both sides of image_shape, 224"),
        ({"lr_scheduler_step": "5,2"}, "accepted: rising numbers of epochs"),
        ({"lr_scheduler_step": "5,x"}, "accepted: rising numbers of epochs"),
        ({"early_stopping": "perhaps"}, "accepted: True or False, or 1 or 0"),
        ({"beta_3": 0.5}, "hyperparameter beta_3 is unknown; did you mean beta_2?"),
        ({"learning_rate": 1.5}, "learning_rate is '1.5'; accepted: a number of at least 0 and at most 1"),
        ({"mini_batch_size": 0}, "mini_batch_size is '0'; accepted: an integer of at least 1"),
        ({"kv_store": "device"}, "kv_store is 'device'; accepted: dist_sync or dist_async"),
        ({"optimizer": "adagrad"}, "optimizer is 'adagrad'; accepted: sgd, adam, rmsprop or nag"),
        ({"multi_label": 2}, "multi_label is '2'"),
        ({"precision_dtype": "float64"}, "precision_dtype is 'float64'"),
    ],
    ids=lambda value: ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_what_is_refused(written, said):
    with pytest.raises(ClientError) as caught:
        resolved(**written)
    assert said in str(caught.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(ClientError) as caught:
        DECLARATION.resolve({"num_layers": "1", "top_k": "0"})
    for name in ("num_classes is missing", "num_training_samples is missing", "num_layers", "top_k"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"use_weighted_loss": 1}, "use_weighted_loss has no effect: it applies when multi_label is 1"),
        ({"momentum": 0.5, "optimizer": "adam"}, "momentum has no effect"),
        ({"beta_1": 0.5}, "beta_1 has no effect: it applies when optimizer is adam"),
        ({"gamma": 0.5}, "gamma has no effect"),
        ({"eps": 0.5}, "eps has no effect"),
        ({"weight_decay": 0.5, "optimizer": "rmsprop"}, "weight_decay has no effect"),
        ({"early_stopping_patience": 2}, "early_stopping_patience has no effect"),
        ({"top_k": 2, "multi_label": 1}, "top_k has no effect"),
        ({"lr_scheduler_factor": 0.5}, "lr_scheduler_factor has no effect"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_has_no_effect_is_told(written, said):
    (sentence,) = DECLARATION.without_effect(resolved(**written))
    assert said in sentence
