"""XGBoost hyperparameters, from SageMaker's developer guide and AWS's open container.

AWS's container fills in no defaults: what isn't given is left to the library, whose defaults stand here.
"""

from __future__ import annotations

import ast

from common.hyperparameters import Declaration, Parameter, Tuning, boolean, choice, integer, listing, number
from containers.xgboost import tasks
from containers.xgboost.rules import RULES


def metrics(text: str) -> list[str]:
    """Reads ``auc,error@0.7`` or a JSON list of the same. Raises ValueError for what isn't a metric."""
    listed = (
        ast.literal_eval(text)
        if text[:1] in "[("
        else [part.strip().strip("\"'") for part in text.split(",")]
    )
    if not listed or not all(isinstance(name, str) and tasks.known(name) for name in listed):
        raise ValueError(text)
    return list(dict.fromkeys(listed))


def tuning_metric(text: str) -> str:
    """Reads ``validation:auc`` as ``auc``. Raises ValueError for what isn't a metric of that channel."""
    channel, _, name = text.partition(":")
    if channel != "validation" or not tasks.known(name):
        raise ValueError(text)
    return name


def updaters(text: str) -> list[str]:
    """Reads ``grow_colmaker,prune``. Raises ValueError when there is nothing between commas."""
    names = [name.strip() for name in text.strip("[]()").replace('"', "").replace("'", "").split(",")]
    if not all(names):
        raise ValueError(text)
    return names


def directions(text: str) -> list[int]:
    """Reads ``(1,-1,0)``. Raises ValueError for anything but a flat list of -1, 0 and 1."""
    values = ast.literal_eval(text if text[:1] in "[(" else f"({text},)")
    if isinstance(values, int):  # "(1)" is a number in Python
        values = (values,)
    if not all(type(value) is int and value in (-1, 0, 1) for value in values):
        raise ValueError(text)
    return list(values)


def groups(text: str) -> list[list[int]]:
    """Reads ``[[0,1],[2,3,4]]``. Raises ValueError for anything but lists of feature numbers from 0."""
    values = ast.literal_eval(text)
    if not isinstance(values, list | tuple) or not all(isinstance(group, list | tuple) for group in values):
        raise ValueError(text)
    if not all(type(index) is int and index >= 0 for group in values for index in group):
        raise ValueError(text)
    return [list(group) for group in values]


_METRICS_TAKEN = (
    f"a list, with commas, of {', '.join(tasks.METRICS)}; error, map and ndcg may have a number behind @"
)
_HIST = {"tree_method": ("hist", "approx", "gpu_hist", "auto")}
_DART = {"booster": ("dart",)}
_AFT = {"objective": ("survival:aft",)}
_MULTI = {"objective": ("multi:softmax", "multi:softprob")}
_TREES = {"booster": ("gbtree", "dart")}


def _share(name: str, meaning: str, tuning: tuple[float, float]) -> Parameter:
    """A number in (0, 1]: AWS's guide prints [0, 1] for some, but nothing can be learnt from no rows."""
    return number(
        name,
        meaning,
        default=1.0,
        min=0,
        max=1,
        exclusive_min=True,
        applies=_TREES,
        tuning=Tuning(tuning, "Linear"),
    )


DECLARATION = Declaration(
    integer(
        "num_round", "Number of boosting rounds.", required=True, min=1, tuning=Tuning((1, 4000), "Linear")
    ),
    integer("num_class", "Number of classes; multiclass objectives require it.", min=2, applies=_MULTI),
    integer(
        "csv_weights",
        "1: the column after the label of CSV rows is the row's weight.",
        default=0,
        min=0,
        max=1,
    ),
    integer(
        "early_stopping_rounds",
        "Stop after this many rounds without a better score on the validation channel; the model is that of "
        "the best round.",
        min=1,
    ),
    choice("booster", "What is boosted.", "gbtree", "gblinear", "dart", default="gbtree"),
    integer(
        "verbosity", "The library's log: 0 silent, 1 warnings, 2 info, 3 debug.", default=1, min=0, max=3
    ),
    integer("silent", "Old spelling: 1 means verbosity 0.", default=0, min=0, max=1),
    integer("nthread", "Threads; not given: as many as the machine allows.", min=1),
    choice(
        "device",
        "Where trees are grown. cuda needs a GPU; without one the job goes on on the CPU, with a warning.",
        "cpu",
        "cuda",
        default="cpu",
        documented=False,
    ),
    number(
        "eta",
        "Step size shrinkage of each new tree.",
        default=0.3,
        min=0,
        max=1,
        aliases=("learning_rate",),
        tuning=Tuning((0.1, 0.5), "Linear"),
    ),
    number(
        "gamma",
        "Least reduction of the loss for a split.",
        default=0.0,
        min=0,
        aliases=("min_split_loss",),
        applies=_TREES,
        tuning=Tuning((0, 5), "Linear"),
    ),
    integer(
        "max_depth",
        "Depth of a tree at most; 0: no limit.",
        default=6,
        min=0,
        applies=_TREES,
        tuning=Tuning((0, 10), "Linear"),
    ),
    number(
        "min_child_weight",
        "Least sum of second derivatives (rows, for squared error) in a child.",
        default=1.0,
        min=0,
        applies=_TREES,
        tuning=Tuning((0, 120), "Linear"),
    ),
    number(
        "max_delta_step",
        "Bound on each leaf's weight; 0: none.",
        default=0.0,
        min=0,
        applies=_TREES,
        tuning=Tuning((0, 10), "Linear"),
    ),
    _share("subsample", "Share of the rows that each tree sees.", (0.5, 1)),
    choice(
        "sampling_method",
        "How rows are drawn: uniform, or in proportion to their gradients (histogram trees only).",
        "uniform",
        "gradient_based",
        default="uniform",
        applies=_TREES,
    ),
    _share("colsample_bytree", "Share of the features for each tree.", (0.5, 1)),
    _share("colsample_bylevel", "Share of the features for each level of a tree.", (0.1, 1)),
    _share("colsample_bynode", "Share of the features for each node.", (0.1, 1)),
    number(
        "lambda",
        "L2 penalty on weights.",
        default=1.0,
        min=0,
        aliases=("reg_lambda",),
        tuning=Tuning((0, 1000), "Linear"),
    ),
    number(
        "alpha",
        "L1 penalty on weights.",
        default=0.0,
        min=0,
        aliases=("reg_alpha",),
        tuning=Tuning((0, 1000), "Linear"),
    ),
    choice(
        "tree_method",
        "How trees are grown; auto is hist, gpu_hist is hist with device=cuda.",
        "auto",
        "exact",
        "approx",
        "hist",
        "gpu_hist",
        default="auto",
        applies=_TREES,
    ),
    number(
        "sketch_eps",
        "Old spelling for tree_method=approx: max_bin becomes 1 / sketch_eps.",
        default=0.03,
        min=0,
        max=1,
        exclusive_min=True,
        exclusive_max=True,
        applies={"tree_method": ("approx",)},
    ),
    number("scale_pos_weight", "Weight of positive rows.", default=1.0, min=0, exclusive_min=True),
    listing(
        "updater",
        "Steps that build or change trees (or the linear model), in order; not given: those of tree_method.",
        "grow_colmaker",
        "distcol",
        "grow_histmaker",
        "grow_skmaker",
        "sync",
        "refresh",
        "prune",
        "shotgun",
        "coord_descent",
        reader=updaters,
    ),
    choice("dsplit", "How hosts divide the data: row is the way there is.", "row", "col"),
    integer("refresh_leaf", "1: updater refresh rewrites leaf values too.", default=1, min=0, max=1),
    choice(
        "process_type",
        "Grow new trees, or update those of a checkpoint.",
        "default",
        "update",
        default="default",
        applies=_TREES,
    ),
    choice(
        "grow_policy",
        "Which node is split next: the shallowest, or the one that gains most.",
        "depthwise",
        "lossguide",
        default="depthwise",
        applies=_HIST,
    ),
    integer("max_leaves", "Leaves of a tree at most; 0: no limit.", default=0, min=0, applies=_HIST),
    integer("max_bin", "Bins of a feature's histogram.", default=256, min=0, applies=_HIST),
    choice(
        "predictor",
        "Old setting: predictions are made on the device that trains.",
        "auto",
        "cpu_predictor",
        "gpu_predictor",
        default="auto",
    ),
    listing(
        "monotone_constraints",
        "Direction of each feature's effect, such as (1,-1,0); needs tree_method exact or hist.",
        reader=directions,
        accepts="a list of -1, 0 and 1, such as (1,-1,0)",
        applies=_TREES,
    ),
    listing(
        "interaction_constraints",
        "Groups of features (from 0) that may meet in a branch, such as [[0,1],[2,3,4]]; needs tree_method "
        "exact, hist or approx.",
        reader=groups,
        accepts="lists of feature numbers from 0, such as [[0,1],[2,3,4]]",
        applies=_TREES,
    ),
    choice(
        "sample_type",
        "How dropped trees are picked.",
        "uniform",
        "weighted",
        default="uniform",
        applies=_DART,
    ),
    choice(
        "normalize_type",
        "Weight of new trees after dropout.",
        "tree",
        "forest",
        default="tree",
        applies=_DART,
    ),
    number("rate_drop", "Share of the trees dropped in a round.", default=0.0, min=0, max=1, applies=_DART),
    integer("one_drop", "1: at least one tree is dropped.", default=0, min=0, max=1, applies=_DART),
    number("skip_drop", "Chance that a round drops none.", default=0.0, min=0, max=1, applies=_DART),
    number(
        "lambda_bias",
        "L2 penalty on the bias of gblinear; the library has none, so only 0 can be had.",
        default=0.0,
        min=0,
        max=1,
        applies={"booster": ("gblinear",)},
    ),
    number(
        "tweedie_variance_power",
        "Variance power of the Tweedie distribution.",
        default=1.5,
        min=1,
        max=2,
        exclusive_min=True,
        exclusive_max=True,
        applies={"objective": ("reg:tweedie",)},
    ),
    choice("objective", "What is learnt.", *tasks.OBJECTIVES, default="reg:squarederror"),
    number(
        "base_score",
        "Prediction to start from; not given: found in the labels where the objective lets it, else 0.5.",
        default=0.5,
        min=0,
    ),
    listing(
        "eval_metric",
        "Metrics printed each round; not given: the objective's own.",
        reader=metrics,
        accepts=_METRICS_TAKEN,
    ),
    integer(
        "seed",
        "Random seed; not given: the environment's ALGODOCK_SEED.",
        default=0,
        min=-(2**31),
        max=2**31 - 1,
        exclusive_min=True,
        exclusive_max=True,
    ),
    integer(
        "num_parallel_tree", "Trees of a round: a boosted random forest.", default=1, min=1, applies=_TREES
    ),
    boolean(
        "save_model_on_termination",
        "Save the model after every round, so that even a job that is killed leaves one.",
        default=False,
    ),
    choice(
        "aft_loss_distribution",
        "Noise of the accelerated failure time model.",
        "normal",
        "logistic",
        "extreme",
        default="normal",
        applies=_AFT,
    ),
    number("aft_loss_distribution_scale", "Scale of that noise.", default=1.0, min=0, applies=_AFT),
    boolean("deterministic_histogram", "Old setting: the library's histograms always are.", default=True),
    boolean(
        "single_precision_histogram", "Old setting: the library chooses the precision itself.", default=False
    ),
    number("prob_buffer_row", "Old setting without a meaning in the library.", min=1, exclusive_min=True),
    boolean(
        "use_dask_gpu_training", "All GPUs of all hosts through Dask: not built, refused.", default=False
    ),
    integer("_kfold", "Cross-validation with this many folds.", min=2, documented=False),
    integer("_num_cv_round", "Repeats of the cross-validation.", default=1, min=1, documented=False),
    Parameter(
        "_tuning_objective_metric",
        "str",
        "Set by the tuner: measured besides eval_metric, and what early stopping watches.",
        documented=False,
        reader=tuning_metric,
        accepts=f"validation: and one of {', '.join(tasks.METRICS)}",
    ),
    rules=RULES,
)
