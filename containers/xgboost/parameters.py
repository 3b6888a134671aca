"""A user's hyperparameters as today's library wants them, and what of them can have no effect."""

from __future__ import annotations

import math
from typing import Any

from common.hyperparameters import Values

_OURS = frozenset(
    {
        "num_round",
        "csv_weights",
        "early_stopping_rounds",
        "save_model_on_termination",
        "eval_metric",
        "use_dask_gpu_training",
        "_kfold",
        "_num_cv_round",
        "_tuning_objective_metric",
    }
)
# The library has no such setting any more; `warnings` says so.
_GONE = frozenset(
    {
        "silent",
        "sketch_eps",
        "predictor",
        "dsplit",
        "lambda_bias",
        "deterministic_histogram",
        "single_precision_histogram",
        "prob_buffer_row",
    }
)
_ALIASES = {"reg:linear": "reg:squarederror"}
_STEPS = {"grow_skmaker": "grow_histmaker"}


def device(values: Values, present: str) -> str:
    """``cuda`` where it is asked for and ``present``, else ``cpu``."""
    wanted = "cuda" if values["tree_method"] == "gpu_hist" else values["device"]
    return "cuda" if wanted == "cuda" and present == "cuda" else "cpu"


def library(
    values: Values, *, device: str, threads: int, seed: int, applicable: frozenset[str]
) -> dict[str, Any]:
    """The library's parameters: what the user gave, in today's names, and nothing besides.

    ``applicable`` are the given names that have an effect. ``threads`` and ``seed`` count where the user gave
    none. Metrics are not among them; see `metrics`.
    """
    chosen: dict[str, Any] = {"nthread": threads, "seed": seed, "device": device}
    chosen |= {name: values[name] for name in sorted(applicable - _OURS - _GONE) if values[name] is not None}
    chosen["device"] = device
    chosen["objective"] = _ALIASES.get(values["objective"], values["objective"])
    if chosen.get("tree_method") == "gpu_hist":
        chosen["tree_method"] = "hist"
    if values["booster"] == "gblinear":
        # Linear models know no device and no trees.
        chosen.pop("device")
    if values["silent"] and "verbosity" not in values.given:
        chosen["verbosity"] = 0
    if "sketch_eps" in applicable and "max_bin" not in values.given:
        chosen["max_bin"] = max(2, math.ceil(1 / values["sketch_eps"]))
    if chosen.get("updater"):
        chosen["updater"] = ",".join(_STEPS.get(step, step) for step in values["updater"])
    if "monotone_constraints" in chosen:
        chosen["monotone_constraints"] = f"({','.join(map(str, values['monotone_constraints']))})"
    if "interaction_constraints" in chosen:
        chosen["interaction_constraints"] = str(values["interaction_constraints"])
    return chosen


def metrics(values: Values) -> list[str]:
    """The metrics to print, in AWS's order: as given, or by name when the tuner adds one."""
    given: list[str] = values["eval_metric"] or []
    tuned = values["_tuning_objective_metric"]
    if tuned is None:
        return given
    return sorted({*given, tuned}) if given else [tuned]


def watched(values: Values) -> str | None:
    """What early stopping watches: the tuner's metric, else the last of eval_metric; None: the library's."""
    tuned: str | None = values["_tuning_objective_metric"]
    if tuned is not None:
        return tuned
    return values["eval_metric"][-1] if values["eval_metric"] else None


def named(metric: str, values: Values) -> str:
    """A library metric as the library names it."""
    if metric == "tweedie-nloglik":
        return f"tweedie-nloglik@{values['tweedie_variance_power']}"
    return metric


def warnings(values: Values, *, device: str, validation: bool, csv: bool) -> list[str]:
    """One sentence for each given parameter that is translated or can have no effect here."""
    given, told = values.given, []
    asked = values["tree_method"] == "gpu_hist" or values["device"] == "cuda"
    if asked and device == "cpu":
        told.append(
            "a GPU is asked for (tree_method=gpu_hist or device=cuda) and none is there: training on the CPU"
        )
    if values["objective"] in _ALIASES:
        told.append(
            f"objective {values['objective']} is trained as {_ALIASES[values['objective']]}, its name today"
        )
    if "grow_skmaker" in (values["updater"] or ()):
        told.append("updater grow_skmaker is trained as grow_histmaker, which took its place in the library")
    if "updater" in given and "tree_method" in given:
        told.append("hyperparameter tree_method has no effect: updater is given")
    if "sketch_eps" in given and "max_bin" in given:
        told.append("hyperparameter sketch_eps has no effect: max_bin is given")
    gone = sorted(_GONE & given - {"silent", "sketch_eps", "lambda_bias"})
    told += [f"hyperparameter {name} has no effect: the library no longer has it" for name in gone]
    if values["silent"]:
        told.append(
            "hyperparameter silent has no effect: verbosity is given"
            if "verbosity" in given
            else "hyperparameter silent=1 is taken as verbosity=0, its name today"
        )
    if "refresh_leaf" in given and "refresh" not in (values["updater"] or ()):
        told.append("hyperparameter refresh_leaf has no effect: it applies when updater holds refresh")
    if values["csv_weights"] and not csv:
        told.append("hyperparameter csv_weights has no effect: the train channel is not CSV")
    if "_num_cv_round" in given and values["_kfold"] is None:
        told.append("hyperparameter _num_cv_round has no effect: it applies when _kfold is given")
    if not validation and values["_kfold"] is None:
        if values["early_stopping_rounds"]:
            told.append("hyperparameter early_stopping_rounds has no effect: there is no validation channel")
        if values["_tuning_objective_metric"]:
            told.append(
                f"metric validation:{values['_tuning_objective_metric']} can't be measured: "
                "there is no validation channel"
            )
    return told


def binary(objective: str) -> bool:
    """Whether the objective tells two classes apart."""
    return objective.startswith("binary:")


def classifies(values: Values) -> bool:
    """Whether rows have classes, so that folds are stratified."""
    return binary(values["objective"]) or values["objective"].startswith("multi:")


def censored(values: Values) -> bool:
    """Whether labels are survival times with bounds."""
    return bool(values["objective"] == "survival:aft")
