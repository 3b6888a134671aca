"""Linear learner hyperparameters, from SageMaker's developer guide (ll_hyperparameters)."""

from __future__ import annotations

from typing import Any

from common.hyperparameters import Declaration, Parameter, Tuning, Values, boolean, choice, integer, number

LOSSES = {
    "regressor": (
        "squared_loss",
        "absolute_loss",
        "eps_insensitive_squared_loss",
        "eps_insensitive_absolute_loss",
        "quantile_loss",
        "huber_loss",
    ),
    "binary_classifier": ("logistic", "hinge_loss"),
    "multiclass_classifier": ("softmax_loss",),
}
"""The losses of each predictor_type; the first is what auto means."""

CRITERIA = ("accuracy", "f_beta", "precision_at_target_recall", "recall_at_target_precision", "loss_function")
OLDER_CRITERIA = {"f1": "f_beta", "cross_entropy_loss": "loss_function"}

_AUTO = ("auto",)
_PENALTY = Tuning((1e-7, 1.0), "Logarithmic")
_REGRESSOR = {"predictor_type": ("regressor",)}
_BINARY = {"predictor_type": ("binary_classifier",)}
_MULTICLASS = {"predictor_type": ("multiclass_classifier",)}
_ADAM = {"optimizer": ("auto", "adam")}
_SCHEDULED = {"use_lr_scheduler": (True,)}


def _criterion(name: str) -> dict[str, tuple[str, ...]]:
    return {**_BINARY, "binary_classifier_model_selection_criteria": (name,)}


def _loss_fits(values: Values) -> str | None:
    accepted = LOSSES[values["predictor_type"]]
    if values["loss"] in ("auto", *accepted):
        return None
    return (
        f"loss {values['loss']} does not go with predictor_type {values['predictor_type']}; "
        f"accepted: auto, {', '.join(accepted)}"
    )


def _classes_known(values: Values) -> str | None:
    if values["predictor_type"] != "multiclass_classifier":
        return None
    if values["num_classes"] is None:
        return "hyperparameter num_classes is missing; a multiclass_classifier needs an integer of at least 3"
    if values["num_classes"] < 3:
        return (
            f"num_classes is {values['num_classes']}; a multiclass_classifier has at least 3 classes, "
            "for two use predictor_type binary_classifier"
        )
    return None


def _tri_state(name: str, meaning: str, default: str, **rest: Any) -> Parameter:
    return choice(name, meaning, "auto", "true", "false", default=default, **rest)


DECLARATION = Declaration(
    choice("predictor_type", "Kind of target the model predicts.", *LOSSES, required=True),
    integer(
        "num_classes",
        "Count of classes, needed for a multiclass_classifier and at least 3 there; labels run from 0 to "
        "num_classes-1.",
        min=1,  # the SDK lets 1 and 2 pass for the other predictor types
        max=1_000_000,
        applies=_MULTICLASS,
    ),
    integer(
        "accuracy_top_k",
        "k used by the top-k accuracy metric.",
        default=3,
        min=1,
        max=1_000_000,
        applies=_MULTICLASS,
    ),
    boolean(
        "balance_multiclass_weights",
        "Weight classes so each counts equally in the loss.",
        default=False,
        applies=_MULTICLASS,
    ),
    number(
        "beta_1",
        "Adam decay rate of the first moment; auto: 0.9.",
        default="auto",
        min=0,
        max=1,
        exclusive_max=True,
        also=_AUTO,
        applies=_ADAM,
    ),
    number(
        "beta_2",
        "Adam decay rate of the second moment; auto: 0.999.",
        default="auto",
        min=0,
        max=1,
        exclusive_max=True,
        also=_AUTO,
        applies=_ADAM,
    ),
    number(
        "bias_lr_mult",
        "Multiplier on learning_rate for the bias term; auto: 10.",
        default="auto",
        min=0,
        exclusive_min=True,
        also=_AUTO,
        applies={"use_bias": (True,)},
    ),
    number(
        "bias_wd_mult",
        "Multiplier on wd for the bias term; auto: 0, the bias is not regularised.",
        default="auto",
        min=0,
        also=_AUTO,
        applies={"use_bias": (True,)},
    ),
    choice(
        "binary_classifier_model_selection_criteria",
        "Criterion for threshold calibration and choice of the best binary model; loss_function chooses the "
        "model by its loss and keeps the threshold at 0.5.",
        *CRITERIA,
        default="accuracy",
        also=tuple(OLDER_CRITERIA),
        applies=_BINARY,
    ),
    integer(
        "early_stopping_patience",
        "Epochs without improvement tolerated before stopping; more than epochs turns early stopping off.",
        default=3,
        min=1,
    ),
    number(
        "early_stopping_tolerance",
        "Smallest relative improvement over the previous best that counts.",
        default=0.001,
        min=0,
        exclusive_min=True,
    ),
    integer("epochs", "Maximum passes over the training data.", default=15, min=1),
    number(
        "f_beta",
        "Beta in F scores, also for the f_beta criterion.",
        default=1.0,
        min=0,
        exclusive_min=True,
        applies={"predictor_type": ("binary_classifier", "multiclass_classifier")},
    ),
    integer(
        "feature_dim",
        "Number of input features; auto: as many as the data have.",
        default="auto",
        min=1,
        also=_AUTO,
    ),
    number(
        "huber_delta",
        "Error size where Huber loss turns from quadratic to linear, in the label's units.",
        default=1.0,
        min=0,
        exclusive_min=True,
        applies={"loss": ("huber_loss",)},
    ),
    number("init_bias", "Starting value of the bias.", default=0.0, applies={"use_bias": (True,)}),
    choice("init_method", "Distribution of starting weights.", "uniform", "normal", default="uniform"),
    number(
        "init_scale",
        "Half width of the uniform starting range.",
        default=0.07,
        min=0,
        exclusive_min=True,
        applies={"init_method": ("uniform",)},
    ),
    number(
        "init_sigma",
        "Standard deviation of normal starting weights.",
        default=0.01,
        min=0,
        exclusive_min=True,
        applies={"init_method": ("normal",)},
    ),
    number("l1", "L1 penalty strength.", default="auto", min=0, also=_AUTO, tuning=_PENALTY),
    number(
        "learning_rate",
        "Optimizer step size.",
        default="auto",
        min=0,
        exclusive_min=True,
        also=_AUTO,
        tuning=Tuning((1e-5, 1.0), "Logarithmic"),
    ),
    choice(
        "loss",
        "Training objective; auto: logistic (binary), softmax_loss (multiclass), squared_loss (regressor).",
        "auto",
        *(
            loss
            for type_ in ("binary_classifier", "multiclass_classifier", "regressor")
            for loss in LOSSES[type_]
        ),
        default="auto",
    ),
    number(
        "loss_insensitivity",
        "Error size below which errors count as zero, in the label's units.",
        default=0.01,
        min=0,
        exclusive_min=True,
        applies={"loss": ("eps_insensitive_squared_loss", "eps_insensitive_absolute_loss")},
    ),
    number(
        "lr_scheduler_factor",
        "Multiplier applied to the learning rate at each scheduler step; auto: 0.99.",
        default="auto",
        min=0,
        exclusive_min=True,
        max=1,
        exclusive_max=True,
        also=_AUTO,
        applies=_SCHEDULED,
    ),
    number(
        "lr_scheduler_minimum_lr",
        "Floor of the scheduled learning rate; auto: 1e-5.",
        default="auto",
        min=0,
        exclusive_min=True,
        also=_AUTO,
        applies=_SCHEDULED,
    ),
    integer(
        "lr_scheduler_step",
        "Optimizer updates between learning rate decreases; auto: 100 and nearby.",
        default="auto",
        min=1,
        also=_AUTO,
        applies=_SCHEDULED,
    ),
    number(
        "margin",
        "Margin of the hinge loss.",
        default=1.0,
        min=0,
        exclusive_min=True,
        applies={"loss": ("hinge_loss",)},
    ),
    integer(
        "mini_batch_size",
        "Observations per mini-batch on each host; at most the rows a host has.",
        default=1000,
        min=1,
        tuning=Tuning((100, 5000), "Linear"),
    ),
    number(
        "momentum",
        "Momentum of SGD; auto: 0.",
        default="auto",
        min=0,
        max=1,
        exclusive_max=True,
        also=_AUTO,
        applies={"optimizer": ("sgd",)},
    ),
    _tri_state("normalize_data", "Scale features to unit deviation before training.", "true"),
    _tri_state(
        "normalize_label",
        "Scale labels to unit deviation; auto: true for a regressor.",
        "auto",
        applies=_REGRESSOR,
    ),
    integer(
        "num_calibration_samples",
        "Validation rows used for threshold calibration; auto: 10000000.",
        default="auto",
        min=1,
        also=_AUTO,
        applies=_BINARY,
    ),
    integer(
        "num_models",
        "Models trained side by side with nearby settings; auto: 32, fewer where they would take more than "
        "1 GB, 1 within a tuning job.",
        default="auto",
        min=1,
        also=_AUTO,
    ),
    integer("num_point_for_scaler", "Rows read to estimate means and deviations.", default=10000, min=1),
    choice("optimizer", "Gradient optimizer; auto: adam.", "auto", "sgd", "adam", "rmsprop", default="auto"),
    number(
        "positive_example_weight_mult",
        "Loss weight of positive rows where negatives weigh 1; balanced: negatives/positives; auto: the "
        "candidate models try several.",
        default=1.0,
        min=0,
        exclusive_min=True,
        also=("balanced", "auto"),
        applies=_BINARY,
        tuning=Tuning((1e-5, 1e5), "Logarithmic"),
    ),
    number(
        "quantile",
        "Quantile targeted by quantile loss.",
        default=0.5,
        min=0,
        exclusive_min=True,
        max=1,
        exclusive_max=True,
        applies={"loss": ("quantile_loss",)},
    ),
    number(
        "target_precision",
        "Precision held while recall is maximised.",
        default=0.8,
        min=0,
        exclusive_min=True,
        max=1,
        exclusive_max=True,
        applies=_criterion("recall_at_target_precision"),
    ),
    number(
        "target_recall",
        "Recall held while precision is maximised.",
        default=0.8,
        min=0,
        exclusive_min=True,
        max=1,
        exclusive_max=True,
        applies=_criterion("precision_at_target_recall"),
    ),
    _tri_state("unbias_data", "Shift features to zero mean; auto: as use_bias.", "auto"),
    _tri_state(
        "unbias_label",
        "Shift labels to zero mean; auto: as use_bias.",
        "auto",
        applies={**_REGRESSOR, "use_bias": (True,)},
    ),
    boolean("use_bias", "Learn an intercept.", default=True, tuning=Tuning(("true", "false"), "Categorical")),
    boolean("use_lr_scheduler", "Decrease the learning rate on a schedule.", default=True),
    number("wd", "L2 penalty strength (weight decay).", default="auto", min=0, also=_AUTO, tuning=_PENALTY),
    choice(
        "force_dense",
        "true: sparse records become dense rows; false: they are computed with as they are; auto: whichever "
        "is smaller.",
        "auto",
        "true",
        "false",
        default="auto",
        documented=False,
    ),
    rules=(_loss_fits, _classes_known),
)
