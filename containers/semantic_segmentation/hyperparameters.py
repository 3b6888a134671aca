"""What semantic segmentation's jobs can set."""

from __future__ import annotations

from common.hyperparameters import (
    Declaration,
    Tuning,
    Values,
    choice,
    integer,
    number,
)
from common.learning.declaring import early_stopping, epochs, switch

# Sides of crops are multiples of this: what the networks shrink images by.
STRIDE = 8


def _crop(written: str) -> int:
    """A side, rounded up to a multiple of `STRIDE`."""
    if not written.isascii() or not written.isdigit() or not 16 < int(written) <= 4096:
        raise ValueError
    return -(-int(written) // STRIDE) * STRIDE


def _steps_given(values: Values) -> str | None:
    if values["lr_scheduler"] == "step" and not values["lr_scheduler_step"]:
        return (
            "hyperparameter lr_scheduler_step is missing; accepted with lr_scheduler=step: rising numbers of "
            "epochs with commas between them"
        )
    return None


_STEP = {"lr_scheduler": ("step",)}
_SGD = {"optimizer": ("sgd",)}
_RMSPROP = {"optimizer": ("rmsprop",)}

DECLARATION = Declaration(
    choice(
        "backbone",
        "Network that features come from.",
        "resnet-50",
        "resnet-101",
        default="resnet-50",
    ),
    switch("use_pretrained_model", "The backbone begins with ImageNet's weights.", True),
    choice(
        "algorithm",
        "Network that makes masks of features: fully convolutional (fcn), with pyramid pooling (psp), or "
        "DeepLabV3.",
        "fcn",
        "psp",
        "deeplab",
        default="fcn",
    ),
    integer("num_classes", "Number of classes, background among them.", required=True, min=2, max=254),
    integer(
        "num_training_samples",
        "Number of training images; schedules of the learning rate are as long as they say.",
        required=True,
        min=1,
    ),
    integer(
        "base_size",
        "Images' longer side is resized to this, times 0.5 to 2.0, before crops are cut out.",
        default=520,
        min=16,
        exclusive_min=True,
        max=8192,
    ),
    integer(
        "crop_size",
        "Side of the squares that are learned from, rounded up to a multiple of 8.",
        default=240,
        reader=_crop,
        accepts="an integer above 16 and at most 4096",
    ),
    *early_stopping("validation mIOU", 5, 4),
    integer("epochs", "Passes over the training images.", default=10, min=1),
    number(
        "gamma1",
        "Decay of the mean of squared gradients.",
        default=0.9,
        min=0,
        max=1,
        exclusive_max=True,
        applies=_RMSPROP,
    ),
    number("gamma2", "Momentum of steps.", default=0.9, min=0, max=1, applies=_RMSPROP),
    number(
        "learning_rate",
        "Learning rate at the beginning.",
        default=0.001,
        min=0,
        exclusive_min=True,
        max=1,
        tuning=Tuning((1e-4, 1e-1)),
    ),
    choice(
        "lr_scheduler",
        "How the learning rate falls over the job: in steps, as a polynomial, or as half a cosine.",
        "step",
        "poly",
        "cosine",
        default="poly",
    ),
    number(
        "lr_scheduler_factor",
        "What the learning rate is multiplied by after each epoch of lr_scheduler_step.",
        default=0.1,
        min=0,
        max=1,
        applies=_STEP,
    ),
    epochs(
        "lr_scheduler_step",
        "Epochs after which the learning rate is lowered, with commas between them.",
        applies=_STEP,
    ),
    integer(
        "mini_batch_size",
        "Images of an update; GPUs divide them.",
        default=16,
        min=1,
        tuning=Tuning((1, 128)),
    ),
    number(
        "momentum",
        "Momentum.",
        default=0.9,
        min=0,
        exclusive_min=True,
        max=1,
        tuning=Tuning((0.9, 0.999)),
        applies=_SGD,
    ),
    choice(
        "optimizer",
        "How weights are updated.",
        "adam",
        "adagrad",
        "nag",
        "rmsprop",
        "sgd",
        "adadelta",
        default="sgd",
        tuning=Tuning(("sgd", "adam", "adadelta")),
    ),
    switch("syncbn", "Batch norms are computed over the images of all GPUs.", False),
    integer(
        "validation_mini_batch_size",
        "Images that are scored together, cut to crop_size; with 1 they are scored whole, one by one.",
        default=16,
        min=1,
    ),
    number(
        "weight_decay",
        "L2 coefficient.",
        default=0.0001,
        min=0,
        exclusive_min=True,
        max=1,
        exclusive_max=True,
        tuning=Tuning((1e-5, 1e-3)),
        applies=_SGD,
    ),
    rules=(_steps_given,),
)
