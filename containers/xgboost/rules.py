"""Rules between XGBoost's hyperparameters, one function a rule: the fault in one sentence, or None."""

from __future__ import annotations

from common.failures import one_of
from common.hyperparameters import Values
from containers.xgboost import tasks

_GROWERS = ("grow_colmaker", "distcol", "grow_histmaker", "grow_skmaker")
_LINEAR = ("shotgun", "coord_descent")
_GIVEN_ALIASES = {"gpu_hist": "hist"}


def _multiclass(values: Values) -> str | None:
    if values["objective"].startswith("multi:") and values["num_class"] is None:
        return "Require input for parameter 'num_class' for multi-classification; accepted: at least 2"
    return None


def _objective(values: Values) -> str | None:
    if values["objective"] == "aft_loss_distribution":
        choices = one_of(name for name in tasks.OBJECTIVES if name != "aft_loss_distribution")
        return (
            f"hyperparameter objective is 'aft_loss_distribution', which is no objective; accepted: {choices}"
        )
    return None


def _updater(values: Values) -> str | None:
    steps = values["updater"]
    if steps is None:
        return None
    given = ",".join(steps)
    if values["booster"] == "gblinear":
        if len(steps) != 1 or steps[0] not in _LINEAR:
            return (
                f"hyperparameter updater is '{given}', and booster gblinear takes exactly one; "
                f"accepted: {one_of(_LINEAR)}"
            )
        return None
    if values["process_type"] == "update":
        if not set(steps) <= {"refresh", "prune"}:
            return (
                f"hyperparameter updater is '{given}' with process_type=update; accepted: refresh and prune"
            )
        return None
    return _tree_updater(steps, given)


def _tree_updater(steps: list[str], given: str) -> str | None:
    if linear := [step for step in steps if step in _LINEAR]:
        return f"hyperparameter updater holds {linear[0]}, which is accepted with booster=gblinear only"
    growing = [step for step in steps if step in _GROWERS]
    if len(growing) > 1:
        return f"hyperparameter updater holds {one_of(growing)}, of which one is accepted"
    if "distcol" in steps:
        return (
            "hyperparameter updater holds distcol, which the library no longer has; "
            "accepted: grow_colmaker or grow_histmaker"
        )
    if not growing or steps[0] != growing[0]:
        return (
            f"hyperparameter updater is '{given}', which doesn't start by growing a tree; accepted: "
            "grow_colmaker, grow_histmaker or grow_skmaker first, or process_type=update"
        )
    return None


def _process(values: Values) -> str | None:
    if values["process_type"] == "update" and values["updater"] is None:
        return "process_type=update needs the hyperparameter updater; accepted: refresh and prune"
    return None


def _constraints(name: str, methods: tuple[str, ...]) -> str | None:
    return f"hyperparameter {name} needs tree_method to be given; accepted: {one_of(methods)}"


def _monotone(values: Values) -> str | None:
    methods = ("exact", "hist")
    if values["monotone_constraints"] is not None and _method(values) not in methods:
        return _constraints("monotone_constraints", methods)
    return None


def _interaction(values: Values) -> str | None:
    methods = ("exact", "hist", "approx")
    if values["interaction_constraints"] is not None and _method(values) not in methods:
        return _constraints("interaction_constraints", methods)
    return None


def _method(values: Values) -> str:
    method: str = values["tree_method"]
    return _GIVEN_ALIASES.get(method, method)


def _device(values: Values) -> str | None:
    if values["tree_method"] == "gpu_hist" and "device" in values.given and values["device"] == "cpu":
        return "tree_method=gpu_hist contradicts device=cpu; accepted: tree_method=hist with device=cpu"
    if values["device"] == "cuda" and values["tree_method"] == "exact":
        return "tree_method exact has no GPU form; accepted with device=cuda: auto, approx or hist"
    return None


def _sampling(values: Values) -> str | None:
    if values["sampling_method"] == "gradient_based" and _method(values) not in ("auto", "hist"):
        return (
            f"sampling_method=gradient_based needs histogram trees, and tree_method is "
            f"{values['tree_method']}; accepted: hist or gpu_hist"
        )
    return None


def _unlimited(values: Values) -> str | None:
    exact = values["tree_method"] == "exact" or "grow_colmaker" in (values["updater"] or ())
    if values["max_depth"] == 0 and exact and values["booster"] != "gblinear":
        return "max_depth=0 (no limit) doesn't go with tree_method exact; accepted: at least 1"
    return None


def _bins(values: Values) -> str | None:
    if values["max_bin"] < 2:
        return f"hyperparameter max_bin is {values['max_bin']}, and bins divide values; accepted: at least 2"
    return None


def _dsplit(values: Values) -> str | None:
    if values["dsplit"] == "col":
        return "dsplit=col, hosts that hold columns, is not built; accepted: row"
    return None


def _dask(values: Values) -> str | None:
    if values["use_dask_gpu_training"]:
        return (
            "use_dask_gpu_training=true, several GPUs of several hosts through Dask, is not built; accepted: "
            "false, with device=cuda for one GPU a host"
        )
    return None


def _bias(values: Values) -> str | None:
    if values["lambda_bias"] and values["booster"] == "gblinear":
        return (
            f"hyperparameter lambda_bias is {values['lambda_bias']}, but the library no longer penalises the "
            "bias; accepted: 0"
        )
    return None


def _base_score(values: Values) -> str | None:
    # Only a score that was given: none is filled in.
    if "base_score" not in values.given:
        return None
    objective, score = values["objective"], values["base_score"]
    if objective in ("binary:logistic", "binary:logitraw", "reg:logistic") and not 0 < score < 1:
        return f"base_score is {score} with objective {objective}; base_score must be in (0,1)"
    if (
        objective in ("count:poisson", "reg:gamma", "reg:tweedie", "survival:aft", "survival:cox")
        and score == 0
    ):
        return f"base_score is 0 with objective {objective}; accepted: above 0"
    return None


def measured(values: Values) -> list[str]:
    """Every metric that is asked for: eval_metric's and the tuner's."""
    tuned = values["_tuning_objective_metric"]
    return [*(values["eval_metric"] or ()), *([tuned] if tuned else ())]


def _metrics(values: Values) -> str | None:
    objective = values["objective"]
    multi = objective.startswith("multi:")
    many = multi and (values["num_class"] or 0) > 2
    faults = []
    for metric in dict.fromkeys(measured(values)):
        name = tasks.base(metric)
        needed = ""
        if name in ("auc", "aucpr") and not objective.startswith(("binary:", "rank:")):
            needed = "an objective binary:... or rank:..."
        elif name in ("aft-nloglik", "interval-regression-accuracy") and objective != "survival:aft":
            needed = "objective survival:aft"
        elif name == "cox-nloglik" and objective != "survival:cox":
            needed = "objective survival:cox"
        elif name in ("merror", "mlogloss") and not multi:
            needed = "objective multi:softmax or multi:softprob"
        elif name in tasks.BINARY_METRICS and many:
            needed = f"two classes (Target is multiclass but average='binary'); accepted: {name}_macro"
        elif multi and name not in (*tasks.CLASSIFICATION_METRICS, "merror", "mlogloss"):
            needed = "one prediction a row; accepted for classes: merror, mlogloss, accuracy and the like"
        if needed:
            faults.append(f"metric {metric} with objective {objective} is not accepted: it needs {needed}")
    return "; ".join(faults) or None


RULES = (
    _objective,
    _multiclass,
    _updater,
    _process,
    _monotone,
    _interaction,
    _device,
    _sampling,
    _unlimited,
    _bins,
    _dsplit,
    _dask,
    _bias,
    _base_score,
    _metrics,
)
