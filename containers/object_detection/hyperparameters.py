"""What object detection's jobs can set."""

from __future__ import annotations

import re

from common.hyperparameters import Declaration, Tuning, Values, choice, integer, number, text
from common.learning.declaring import early_stopping, epochs

_SGD, _SGD_RMSPROP = ("sgd",), ("sgd", "rmsprop")


def _pattern(written: str) -> str:
    try:
        re.compile(written)
    except re.error:
        raise ValueError from None
    return written


def _objects_fit(values: Values) -> str | None:
    if values["label_width"] < 7:
        return (
            f"hyperparameter label_width is {values['label_width']}; accepted: at least 7, two numbers and "
            "an object of five"
        )
    return None


def _factor_counts(values: Values) -> str | None:
    if "lr_scheduler_factor" in values.given and not values["lr_scheduler_step"]:
        return "hyperparameter lr_scheduler_factor has no effect: it applies when lr_scheduler_step is given"
    return None


DECLARATION = Declaration(
    integer("num_classes", "Number of object classes.", required=True, min=1, max=100_000),
    integer("num_training_samples", "Number of training images.", required=True, min=1),
    choice("base_network", "Network that features come from.", "vgg-16", "resnet-50", default="vgg-16"),
    *early_stopping("validation mAP", 10, 5),
    integer(
        "image_shape",
        "Side of the square that images are squashed to; 300 and 512 are the usual ones.",
        default=300,
        min=300,
        max=4096,
    ),
    integer("epochs", "Passes over the training images.", default=30, min=1),
    text(
        "freeze_layer_pattern",
        "Parameters whose names begin with a match of this regular expression keep their values.",
        default="",
        reader=_pattern,
        accepts="a regular expression, such as ^(conv1_|conv2_).*",
    ),
    choice(
        "kv_store",
        "How several machines exchange gradients. All are averaged at each update (dist_sync).",
        "dist_sync",
        "dist_async",
    ),
    integer(
        "label_width",
        "Numbers that an image's label has at most: two, and five for each object.",
        default=350,
        min=1,
        max=1_000_000,
    ),
    number(
        "learning_rate",
        "Learning rate at the beginning.",
        default=0.001,
        min=0,
        exclusive_min=True,
        max=1,
        tuning=Tuning((1e-6, 0.5)),
    ),
    number(
        "lr_scheduler_factor",
        "What the learning rate is multiplied by after each epoch of lr_scheduler_step.",
        default=0.1,
        min=0,
        exclusive_min=True,
        max=1,
        exclusive_max=True,
    ),
    epochs(
        "lr_scheduler_step",
        "Epochs after which the learning rate is lowered, with commas between them.",
    ),
    integer(
        "mini_batch_size",
        "Images of an update on one machine; its GPUs divide them.",
        default=32,
        min=1,
        tuning=Tuning((8, 64)),
    ),
    number(
        "momentum",
        "Momentum.",
        default=0.9,
        min=0,
        max=1,
        tuning=Tuning((0.0, 0.999)),
        applies={"optimizer": _SGD},
    ),
    number(
        "nms_threshold",
        "Of boxes of a class that overlap by this or more, the likelier one is kept.",
        default=0.45,
        min=0,
        exclusive_min=True,
        max=1,
    ),
    choice(
        "optimizer",
        "How weights are updated.",
        "sgd",
        "adam",
        "rmsprop",
        "adadelta",
        default="sgd",
        tuning=Tuning(("sgd", "adam", "rmsprop", "adadelta")),
    ),
    number(
        "overlap_threshold",
        "How far a box must overlap an object to have found it, in mAP.",
        default=0.5,
        min=0,
        exclusive_min=True,
        max=1,
    ),
    integer(
        "use_pretrained_model",
        "1: the base network begins with ImageNet's weights.",
        default=1,
        min=0,
        max=1,
    ),
    number(
        "weight_decay",
        "L2 coefficient.",
        default=0.0005,
        min=0,
        max=1,
        exclusive_max=True,
        tuning=Tuning((0.0, 0.999)),
        applies={"optimizer": _SGD_RMSPROP},
    ),
    integer(
        "nms_topk",
        "Likeliest boxes of an image that are kept before overlapping ones go; all with -1.",
        default=400,
        min=-1,
        documented=False,
    ),
    rules=(_objects_fit,),
    idle=(_factor_counts,),
)
