"""A job up to its first step: the scaler pass says how rows are normalised, and the models are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from common.batches import CSR, Batch
from common.failures import ClientError
from common.metrics import log
from common.training import Run
from containers.linear_learner import reports
from containers.linear_learner.data import Checks, Dataset, Preparation
from containers.linear_learner.model import LinearModels, Rows
from containers.linear_learner.plan import Plan
from containers.linear_learner.scaling import Moments, constant, moments
from containers.linear_learner.selection import Selection

# Bytes of a File channel that are kept decoded. A Pipe channel may be shuffled by the platform each epoch.
_KEPT = 192 << 20
_KEPT_VALIDATION = 96 << 20
_BLOCK = 2 << 20  # scores computed at once in evaluation
_ONE_THREAD = 8_000_000  # products a step that one thread computes in about a fifth of a millisecond


@dataclass
class Work:
    """A job past its scaler pass."""

    run: Run
    plan: Plan
    train: Dataset
    preparation: Preparation
    models: LinearModels
    validation: Dataset | None
    selection: Selection
    sample: list[Rows] = field(default_factory=list)

    @property
    def block(self) -> int:
        """Rows to evaluate at once."""
        return max(256, min(8192, _BLOCK // (len(self.models) * self.models.outputs)))

    def reading(self, channel: str, keep: int = 0, stoppable: bool = True) -> Dataset:
        """A channel to evaluate on."""
        dataset = Dataset(
            self.run.channels[channel], self.train.checks, self.block, keep=keep, stoppable=stoppable
        )
        dataset.prepare(self.preparation, self.models.feature_dim)
        return dataset

    @property
    def unit(self) -> float:
        """What a loss in units of training is multiplied by to be in the label's."""
        return self.preparation.normalisation.label_scale**self.models.objective.degree


def prepared(run: Run, plan: Plan) -> Work | None:
    """The scaler pass: reads the first rows, which the first epoch then trains on.

    None when the job was asked to stop before there was a row.
    """
    dataset = _training_data(run, plan)
    head = _head(run, dataset)
    width = max((batch.width for batch in head), default=dataset.checks.feature_dim or 0)
    feature_dim = int(run.cluster.all_reduce(np.array([width]), "max")[0])
    if any(batch.width != feature_dim and not isinstance(batch.features, CSR) for batch in head):
        raise ClientError(
            f"channel train: rows have {width} features on host {run.cluster.hosts.current} and "
            f"{feature_dim} on another; accepted: the same number in every row"
        )
    found = moments(head, feature_dim, run.cluster.all_reduce)
    if not found.rows:
        if run.cluster.any(run.stop.requested):
            return None
        raise ClientError("channel train: there are no rows")
    run.metrics.counted("init_train_data_iter", sum(map(len, head)), len(head))
    reports.scaler(found, plan.normalise_label)
    normalisation = plan.normalisation(found)
    preparation = Preparation(normalisation, plan.num_classes > 2, run.device, plan.force_dense)
    dataset.prepare(preparation, feature_dim)
    counts = run.cluster.all_reduce(_class_counts(head, plan))
    models = plan.models(feature_dim, counts, normalisation.label_scale, run.device, run.seed)
    _initialise(run, models, found)
    torch.set_num_threads(_threads(run, dataset.batch_size * feature_dim * models.parameters.shape[1]))
    log.info("Number of models trained side by side: %d", len(models))
    values = run.hyperparameters
    selection = Selection(models, values["early_stopping_patience"], values["early_stopping_tolerance"])
    work = Work(run, plan, dataset, preparation, models, None, selection)
    if "validation" in run.channels:
        # Read to its end on SIGTERM too: what is saved then wants its threshold.
        work.validation = work.reading("validation", keep=_KEPT_VALIDATION, stoppable=False)
    return work


def _training_data(run: Run, plan: Plan) -> Dataset:
    values = run.hyperparameters
    given = None if values["feature_dim"] == "auto" else values["feature_dim"]
    return Dataset(
        run.train,
        Checks(plan.predictor_type, plan.num_classes, given),
        values["mini_batch_size"],
        share=True,
        keep=0 if run.train.piped else _KEPT,
        seed=run.seed + run.cluster.rank,
    )


def _head(run: Run, dataset: Dataset) -> list[Batch]:
    """The first rows of this host, of all hosts as many as the scaler wants."""
    wanted = run.hyperparameters["num_point_for_scaler"]
    head = dataset.head(max(1, math.ceil(wanted / run.cluster.size)))
    if head and len(head[0]) < dataset.batch_size and not run.stop.requested:
        raise ClientError(
            f"mini_batch_size is {dataset.batch_size}, and channel train has {len(head[0])} rows on host "
            f"{run.cluster.hosts.current}; accepted: at most the rows of a host"
        )
    return head


def _class_counts(head: list[Batch], plan: Plan) -> NDArray[np.float64]:
    """(classes,) rows of each class; zeros for a regressor."""
    counts = np.zeros(plan.num_classes)
    for batch in head:
        if plan.predictor_type != "regressor" and batch.labels is not None:
            counts += np.bincount(batch.labels.astype(np.int64), minlength=len(counts))
    return counts


def _initialise(run: Run, models: LinearModels, found: Moments) -> None:
    values = run.hyperparameters
    method = values["init_method"]
    scale = values["init_scale"] if method == "uniform" else values["init_sigma"]
    bias = values["init_bias"] if values["use_bias"] else 0.0
    models.initialise(run.seed, method, scale, bias, constant(found))


def _threads(run: Run, products: int) -> int:
    """Threads for steps of so many products: small ones take less time than waiting for each other's end."""
    return run.threads if products > _ONE_THREAD else 1
