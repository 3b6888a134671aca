"""Carries a job's channels to the boosting, prints its lines and writes model and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from common import content_types, instances
from common.failures import ClientError
from common.hyperparameters import Values
from common.metrics import log
from common.training import Run
from containers.xgboost import checkpoints, cross, hosts, matrices, parameters, saving, tasks
from containers.xgboost.artifact import LIBSVM_BASE
from containers.xgboost.hyperparameters import DECLARATION
from containers.xgboost.library import xgb
from containers.xgboost.metrics import OwnMetrics
from containers.xgboost.model import Boosting, Plan, Score, line
from containers.xgboost.reading import Data, read

MODEL = "xgboost-model"
LARGE = 1 << 25
"""Values of a table from which on it is binned part by part: a third of the memory, for a fifth more time."""


def train(run: Run) -> None:
    """Trains as the job says and saves `xgboost-model`, or a model a fold."""
    values = run.hyperparameters
    device = parameters.device(values, run.device)
    _check_hosts(run)
    _warn(run, device)
    data = read(run)
    if run.cluster.any(run.stop.requested):
        log.warning("Stopped while the data were being read: there is no model to save")
        return
    if values["objective"] == "reg:absoluteerror" and run.cluster.any(not len(data.train)):
        # The library leaves the leaves of an empty host alone, so its trees would differ.
        raise ClientError("reg:absoluteerror learns on hosts that all have rows, and one has none")
    _check_constraints(values, data.width)
    log.info("Train matrix has %d rows and %d columns", len(data.train), data.width)
    if data.validation is not None:
        log.info("Validation matrix has %d rows", len(data.validation))
    plan = plan_of(run, device)
    for table, name in ((data.train, "train"), (data.validation, "validation")):
        if table is not None:
            plan.own.check(table.labels, name)
    if values["_kfold"] is not None:
        with hosts.joined(run.cluster):
            cross.train(run, plan, data)
    else:
        _train(run, plan, data, device)


def _train(run: Run, plan: Plan, data: Data, device: str) -> None:
    one_based = _one_based(run, data)
    resumed = _resumed(run)
    values = run.hyperparameters
    with hosts.joined(run.cluster):
        boosting = Boosting(
            plan, list(_evaluated(run, data, device)), None if resumed is None else resumed[1]
        )
        if one_based is not None:
            boosting.booster.set_attr(**{LIBSVM_BASE: str(int(one_based))})
        rounds = _rounds(run, 0 if resumed is None else resumed[0] + 1, boosting)

        def each(number: int, scores: list[Score]) -> None:
            if not run.cluster.leader:
                return
            print(line(number, scores), flush=True)
            if run.job.checkpoints is not None:
                checkpoints.save(run.job.checkpoints, number, bytes(boosting.booster.save_raw("ubj")))
            if values["save_model_on_termination"]:
                saving.save(run, MODEL, boosting.best())

        boosting.run(rounds, each)
        if not boosting.rounds:
            log.warning("Stopped before the first round was done: there is no model to save")
        elif run.cluster.leader:
            saving.save(run, MODEL, boosting.best())


def plan_of(run: Run, device: str) -> Plan:
    """What to boost and measure, from the hyperparameters."""
    values = run.hyperparameters
    applicable = frozenset(
        name
        for name in values.given
        if all(values[other] in needed for other, needed in DECLARATION[name].applies.items())
    )
    chosen = parameters.library(
        values, device=device, threads=run.threads, seed=run.seed, applicable=applicable
    )
    metrics = parameters.metrics(values)
    return Plan(
        chosen,
        metrics,
        OwnMetrics(metrics, values["num_class"] or 2, run.cluster.all_reduce),
        {metric: parameters.named(metric, values) for metric in metrics if metric not in tasks.OWN_METRICS},
        values["early_stopping_rounds"] if "validation" in run.channels or values["_kfold"] else None,
        parameters.watched(values),
    )


def _evaluated(run: Run, data: Data, device: str) -> Iterator[tuple[xgb.DMatrix, str]]:
    values = run.hyperparameters
    times = parameters.censored(values)
    train = data.train
    if not train.parts:
        # A host without rows takes part with none.
        train.parts = [np.empty((0, data.width), np.float32)]
    # Hosts must agree on the kind, whatever each has. Groups are ranked together, so none may be cut.
    large = run.cluster.size > 1 or len(train) * data.width > LARGE
    if large and train.groups is None and _quantised(values, device):
        yield (
            matrices.binned(
                train, data.width, threads=run.threads, max_bin=values["max_bin"], censored=times
            ),
            "train",
        )
    else:
        yield matrices.plain(train, data.width, threads=run.threads, censored=times), "train"
    train.parts = []
    if data.validation is not None:
        yield matrices.plain(data.validation, data.width, threads=run.threads, censored=times), "validation"
        data.validation.parts = []


def _quantised(values: Values, device: str) -> bool:
    """Whether trees are grown on histograms made once, so that the values themselves need not be kept."""
    return bool(
        values["booster"] != "gblinear"
        and values["tree_method"] in ("auto", "hist", "gpu_hist")
        and values["updater"] is None
        and device == "cpu"
    )


def _rounds(run: Run, done: int, boosting: Boosting) -> Iterator[int]:
    """The numbers of the rounds still to do."""
    wanted = run.hyperparameters["num_round"]
    if run.hyperparameters["process_type"] == "update":
        if not done:
            raise ClientError(
                "process_type=update needs a model to update; accepted: a job with a checkpoint"
            )
        yield from run.epochs(min(wanted, boosting.rounds))
        return
    for number in run.epochs(max(0, wanted - done)):
        yield done + number


def _resumed(run: Run) -> tuple[int, bytes] | None:
    """The newest checkpoint, the leader's on every host."""
    found = None
    if run.cluster.leader and run.job.checkpoints is not None:
        found = saving.newest(run.job.checkpoints)
    number = int(run.cluster.broadcast(np.array([-1 if found is None else found[0]]))[0])
    if number < 0:
        return None
    return number, hosts.broadcast(run.cluster, b"" if found is None else found[1])


def _one_based(run: Run, data: Data) -> bool | None:
    """Whether libsvm indices count from 1 on every host; None when the data aren't libsvm."""
    if run.train.media_type.name != content_types.LIBSVM:
        return None
    zero_seen = bool(len(data.train)) and not data.train.one_based
    return not run.cluster.any(zero_seen)


def _check_hosts(run: Run) -> None:
    values = run.hyperparameters
    if run.cluster.size == 1:
        return
    refused = ""
    if values["booster"] == "gblinear":
        refused = "booster=gblinear"
    elif values["tree_method"] == "exact":
        refused = "tree_method=exact"
    elif "grow_colmaker" in (values["updater"] or ()):
        refused = "updater=grow_colmaker"
    elif values["_kfold"] is not None:
        refused = "_kfold"
    if refused:
        raise ClientError(f"{refused} trains on one host, and this job has {run.cluster.size}; accepted: 1")


def _check_constraints(values: Values, width: int) -> None:
    directions: list[int] = values["monotone_constraints"] or []
    if len(directions) > width:
        raise ClientError(
            f"hyperparameter monotone_constraints has {len(directions)} entries; "
            f"accepted: up to {width}, one a feature"
        )
    indices: list[Any] = [index for group in values["interaction_constraints"] or [] for index in group]
    if max(indices, default=0) >= width:
        raise ClientError(
            f"hyperparameter interaction_constraints names feature {max(indices)}; accepted: 0 to {width - 1}"
        )


def _warn(run: Run, device: str) -> None:
    csv = run.train.media_type.name == content_types.CSV
    gpus = instances.gpus_present()
    log.info("Determined %d GPU(s) available on the instance.", gpus)
    if device == "cuda" and gpus > 1:
        log.warning("%d GPUs are there and one is used", gpus)
    for sentence in parameters.warnings(
        run.hyperparameters, device=device, validation="validation" in run.channels, csv=csv
    ):
        log.warning(sentence)
