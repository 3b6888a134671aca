"""Which model wins, at which threshold, and what it scores: on all hosts alike."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.failures import ClientError
from containers.linear_learner import reports
from containers.linear_learner.criteria import calibrate
from containers.linear_learner.data import Dataset
from containers.linear_learner.evaluation import Scored, Tally, score
from containers.linear_learner.model import Rows
from containers.linear_learner.preparing import Work

Float64 = NDArray[np.float64]


def evaluate(
    work: Work, dataset: Dataset, batches: Iterable[Rows], parameters: Tensor | None = None
) -> tuple[Float64, Float64 | None]:
    """Mean losses of all models in the label's units, and a binary classifier's criterion, on every host."""
    by_criterion = work.plan.by_criterion
    reach = work.plan.reach
    tally = Tally(work.models, by_criterion, work.plan.weighted_evaluation, reach)
    for rows in batches:
        tally.add(rows, parameters)
    sums = tally.sums()
    sums = work.run.cluster.all_reduce(sums) if _divided(work, dataset) else work.run.cluster.broadcast(sums)
    best = tally.criteria(sums, work.plan.criterion) if by_criterion else None
    return tally.means(sums) * work.unit, best


def choose(work: Work) -> tuple[int, float]:
    """The winning model and its threshold on linear scores; prints its metrics."""
    run, selection = work.run, work.selection
    if not selection.epochs:
        # Stopped before an epoch ended: what is there is what there is.
        selection.observe(np.zeros(len(work.models)))
    dataset = work.validation or work.train
    parameters = selection.parameters
    if work.validation is None:
        kept = work.train.kept if work.plan.calibration_samples >= work.train.records else None
        means, best = evaluate(work, work.train, kept or work.sample, parameters)
        selection.choose_by(-means if best is None else best, -means)
        batches: Iterable[Rows] = kept or work.sample
    else:
        batches = work.validation.epoch()
    model = selection.best
    if not bool(torch.isfinite(parameters[:, work.models.columns(model)]).all()):
        raise ClientError(
            "training diverged: no model has finite weights; accepted: a smaller learning_rate or wd"
        )
    scored = over_hosts(work, dataset, score_with(work, model, batches))
    threshold = work.plan.natural_threshold
    if work.plan.by_criterion:
        rows = work.plan.calibration_samples
        threshold, _ = calibrate(scored.scores[:rows], scored.labels[:rows], work.plan.criterion, threshold)
    if scored.rows:
        reports.final(run.metrics, dataset.name, metrics_of(work, scored, threshold))
    reports.best(work.plan.reported(work.models.settings[model]))
    return model, threshold


def score_with(work: Work, model: int, batches: Iterable[Rows]) -> Scored:
    """What one model, as it was in its best epoch, answers on this host's rows."""
    return score(
        work.models,
        model,
        work.selection.parameters[:, work.models.columns(model)].contiguous(),
        batches,
        work.plan.predictor_type,
        weighted=work.plan.weighted_evaluation,
        top_k=work.plan.top_k,
    )


def over_hosts(work: Work, dataset: Dataset, scored: Scored) -> Scored:
    """``scored`` of all hosts together, on every host, where they have different rows."""
    cluster = work.run.cluster
    if cluster.size == 1 or not _divided(work, dataset):
        return scored
    sums = np.array([scored.rows, scored.loss, scored.squares, scored.errors])
    scored.rows, scored.loss, scored.squares, scored.errors = cluster.all_reduce(sums).tolist()
    if scored.classes is not None:
        scored.classes.sums[:] = cluster.all_reduce(scored.classes.sums)
    counts = np.zeros(cluster.size, np.int64)
    counts[cluster.rank] = len(scored.scores)
    ends = np.cumsum(cluster.all_reduce(counts))
    both = np.zeros((2, int(ends[-1])), np.float32)
    own = slice(int(ends[cluster.rank] - len(scored.scores)), int(ends[cluster.rank]))
    both[0, own], both[1, own] = scored.scores, scored.labels
    scored.scores, scored.labels = cluster.all_reduce(both)
    return scored


def metrics_of(work: Work, scored: Scored, threshold: float) -> dict[str, float]:
    """All metrics of scored rows, in AWS's order; ``threshold`` is one on linear scores."""
    return reports.values(
        scored,
        work.models.objective.token,
        work.preparation.normalisation.label_scale,
        work.models.objective.degree,
        threshold,
        work.plan.beta,
    )


def _divided(work: Work, dataset: Dataset) -> bool:
    """Whether hosts have different rows of a channel."""
    return dataset is work.train or dataset.channel.config.distribution == "ShardedByS3Key"
