"""What image classification's jobs can set."""

from __future__ import annotations

from common.hyperparameters import (
    Declaration,
    Parameter,
    Tuning,
    Values,
    choice,
    integer,
    number,
    text,
)
from common.learning.declaring import early_stopping, epochs

# Depths of networks for large and for small images, as common/networks/resnet_v2.py has them.
LARGE, SMALL = (18, 34, 50, 101, 152, 200), (20, 32, 44, 56, 110)
AUGMENTATIONS = ("crop", "crop_color", "crop_color_transform")


def _shape(written: str) -> tuple[int, int, int]:
    parts = [part.strip() for part in written.strip("()[]").split(",")]
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise ValueError
    channels, height, width = map(int, parts)
    if channels not in (1, 3) or not 8 <= height <= 4096 or not 8 <= width <= 4096:
        raise ValueError
    return channels, height, width


def _depth(written: str) -> int:
    if not written.isascii() or not written.isdigit() or int(written) not in {*LARGE, *SMALL}:
        raise ValueError
    return int(written)


def _bit(name: str, meaning: str, **rest: object) -> Parameter:
    return integer(name, meaning, default=0, min=0, max=1, **rest)


def _checkpoint_fits(values: Values) -> str | None:
    every = values["checkpoint_frequency"]
    if every is not None and every > values["epochs"]:
        return f"hyperparameter checkpoint_frequency is {every}; accepted: at most epochs, {values['epochs']}"
    return None


def _top_k_fits(values: Values) -> str | None:
    top = values["top_k"]
    if top is not None and top > values["num_classes"]:
        return f"hyperparameter top_k is {top}; accepted: at most num_classes, {values['num_classes']}"
    return None


def _pretrained_fits(values: Values) -> str | None:
    if not values["use_pretrained_model"]:
        return None
    if values["num_layers"] not in LARGE:
        return (
            f"hyperparameter num_layers is {values['num_layers']} and use_pretrained_model is 1; accepted "
            "then: 18, 34, 50, 101, 152 or 200"
        )
    if values["image_shape"] != (3, 224, 224):
        shape = ",".join(map(str, values["image_shape"]))
        return (
            f"hyperparameter image_shape is {shape} and use_pretrained_model is 1; accepted then: 3,224,224"
        )
    return None


def _resize_fits(values: Values) -> str | None:
    resize = values["resize"]
    _, height, width = values["image_shape"]
    if resize is not None and resize < max(height, width):
        return (
            f"hyperparameter resize is {resize}; accepted: at least both sides of image_shape, "
            f"{max(height, width)}"
        )
    return None


def _top_k_counts(values: Values) -> str | None:
    if "top_k" in values.given and values["multi_label"]:
        return "hyperparameter top_k has no effect: it applies when multi_label is 0, and multi_label is 1"
    return None


def _factor_counts(values: Values) -> str | None:
    if "lr_scheduler_factor" in values.given and not values["lr_scheduler_step"]:
        return "hyperparameter lr_scheduler_factor has no effect: it applies when lr_scheduler_step is given"
    return None


_SGD, _ADAM, _RMSPROP = ("sgd", "nag"), ("adam",), ("rmsprop",)

DECLARATION = Declaration(
    integer(
        "num_classes",
        "Number of classes, or of labels with multi_label.",
        required=True,
        min=1,
        max=1_000_000,
    ),
    integer(
        "num_training_samples",
        "Number of training images; with mini_batch_size it tells how many updates an epoch of "
        "lr_scheduler_step has.",
        required=True,
        min=1,
    ),
    choice(
        "augmentation_type",
        "How training images are varied: random crops and mirroring, with changes of colour, with rotation, "
        "shear and stretching. Without it images are cut out at the centre.",
        *AUGMENTATIONS,
        refusal="The value {value} is not valid for the augmentation_type hyperparameter which accepts one "
        f"of the following: {', '.join(AUGMENTATIONS)}",
    ),
    number(
        "beta_1",
        "Decay of the mean of gradients.",
        default=0.9,
        min=0,
        max=1,
        exclusive_max=True,
        tuning=Tuning((1e-6, 0.999)),
        applies={"optimizer": _ADAM},
    ),
    number(
        "beta_2",
        "Decay of the mean of squared gradients.",
        default=0.999,
        min=0,
        max=1,
        exclusive_max=True,
        tuning=Tuning((1e-6, 0.999)),
        applies={"optimizer": _ADAM},
    ),
    integer(
        "checkpoint_frequency",
        "Parameters are kept every so many epochs, all of them in model.tar.gz. Without it those of the best "
        "validation accuracy are.",
        min=1,
    ),
    *early_stopping("validation accuracy", 10, 5),
    integer("epochs", "Passes over the training images.", default=30, min=1),
    number(
        "eps",
        "What keeps the denominators of adam and rmsprop from zero.",
        default=1e-8,
        min=0,
        max=1,
        tuning=Tuning((1e-8, 1.0)),
        applies={"optimizer": (*_ADAM, *_RMSPROP)},
    ),
    number(
        "gamma",
        "Decay of the mean of squared gradients.",
        default=0.9,
        min=0,
        max=1,
        exclusive_max=True,
        tuning=Tuning((1e-8, 0.999)),
        applies={"optimizer": _RMSPROP},
    ),
    text(
        "image_shape",
        "Channels, height and width of the network's input.",
        default=(3, 224, 224),
        reader=_shape,
        accepts="channels (3, or 1 for grey), height and width (8 to 4096) with commas, such as 3,224,224",
    ),
    choice(
        "kv_store",
        "How several machines exchange gradients. All are averaged at each update (dist_sync).",
        "dist_sync",
        "dist_async",
    ),
    number(
        "learning_rate",
        "Learning rate at the beginning.",
        default=0.1,
        min=0,
        max=1,
        tuning=Tuning((1e-6, 0.5)),
    ),
    number(
        "lr_scheduler_factor",
        "What the learning rate is multiplied by after each epoch of lr_scheduler_step.",
        default=0.1,
        min=0,
        max=1,
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
        tuning=Tuning((8, 512)),
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
    _bit("multi_label", "1: an image may have several labels, or none."),
    integer(
        "num_layers",
        "Depth of the network: 18, 34, 50, 101, 152 or 200 for large images, 20, 32, 44, 56 or 110 for small "
        "ones such as 28 x 28.",
        default=152,
        reader=_depth,
        accepts="18, 34, 50, 101, 152, 200, or 20, 32, 44, 56, 110",
    ),
    choice(
        "optimizer",
        "How weights are updated.",
        "sgd",
        "adam",
        "rmsprop",
        "nag",
        default="sgd",
        tuning=Tuning(("sgd", "adam", "rmsprop", "nag")),
    ),
    choice(
        "precision_dtype",
        "float16 computes in half precision, with weights in single; on GPUs.",
        "float32",
        "float16",
        default="float32",
    ),
    integer(
        "resize",
        "Length of an image's shorter side after resizing, before it is cropped. Required with image files.",
        min=1,
    ),
    integer("top_k", "Also tell how often the class is among the k likeliest.", min=1, exclusive_min=True),
    _bit("use_pretrained_model", "1: begin with ImageNet's weights, but for the last layer."),
    _bit(
        "use_weighted_loss",
        "1: labels weigh by how rare they are.",
        applies={"multi_label": (1,)},
    ),
    number(
        "weight_decay",
        "L2 coefficient.",
        default=0.0001,
        min=0,
        max=1,
        tuning=Tuning((0.0, 0.999)),
        applies={"optimizer": _SGD},
    ),
    text("model_prefix", "Taken for compatibility; files have AWS's names.", default="", documented=False),
    rules=(_checkpoint_fits, _top_k_fits, _pretrained_fits, _resize_fits),
    idle=(_top_k_counts, _factor_counts),
)
