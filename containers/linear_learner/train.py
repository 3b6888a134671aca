"""Trains many linear models at once and keeps the best: scaler pass, epochs, calibration and selection."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from common.failures import AlgorithmError
from common.metrics import log
from common.training import Run
from containers.linear_learner import artifact, reports
from containers.linear_learner.choosing import choose, evaluate, metrics_of, over_hosts, score_with
from containers.linear_learner.model import Rows
from containers.linear_learner.plan import Plan
from containers.linear_learner.predict import sigmoid
from containers.linear_learner.preparing import Work, prepared

Float64 = NDArray[np.float64]

_SAMPLE = 10_000  # training rows that stand for a validation channel


def train(run: Run) -> None:
    """Trains on the channel ``train`` and writes model_algo-1."""
    log.info("Checkpoint loading and saving are disabled.")
    log.info("Create Store: %s", "local" if run.cluster.size == 1 else "dist_sync")
    work = prepared(run, Plan.of(run.hyperparameters))
    if work is None:
        log.info("Stopping on request before a row was read")
        return
    _learn(work)
    model, threshold = choose(work)
    _write(work, model, threshold)
    if "test" in run.channels:
        test = work.reading("test")
        found = over_hosts(work, test, score_with(work, model, test.epoch()))
        run.metrics.counted("test_data_iter", test.records, math.ceil(test.records / test.batch_size))
        if found.rows:
            reports.final(run.metrics, "test", metrics_of(work, found, threshold))


def _learn(work: Work) -> None:
    """Epochs until they are done, nothing improves, or the job is asked to stop."""
    run, models = work.run, work.models
    epochs = run.hyperparameters["epochs"]
    token = models.objective.token
    for epoch in run.epochs(epochs):
        started = time.perf_counter()
        with run.metrics.timed("update.time"):
            losses = _epoch(work, sampling=epoch == 0)
        reports.objectives(run.metrics, "train", token, epoch, losses)
        criterion, value, scores = f"{token}_objective", losses, -losses
        if work.validation is not None:
            means, best = evaluate(work, work.validation, work.validation.epoch())
            reports.objectives(run.metrics, "validation", token, epoch, means)
            value, scores = means, -means
            if best is not None:
                criterion, value, scores = f"sampled_{work.plan.criterion.name}", best, best
                work.selection.ties(-means)
        # A missed target precision or recall is below 0, which would tell a reader nothing.
        shown = max(0.0, float(value[work.selection.observe(scores)]))
        log.info(
            "#early_stopping_criteria_metric: host=%s, epoch=%d, criteria=%s, value=%s",
            *(run.metrics.host, epoch, criterion, shown),
        )
        if work.selection.improved:
            log.info("Epoch %d: Loss improved. Updating best model", epoch)
        else:
            log.info("Epoch %d: Loss has not improved for %d epochs.", epoch, work.selection.waited - 1)
        stopping = work.selection.patience_over and epoch + 1 < epochs
        if stopping:
            log.info("Early stop condition met. Stopping training.")
        reports.progress(run.metrics, epoch, epochs, stopping)
        batches = math.ceil(work.train.records / work.train.batch_size)
        run.metrics.counted("training_data_iter", work.train.records, batches, epoch=epoch)
        run.metrics.throughput(work.train.records, time.perf_counter() - started)
        if stopping:
            return


def _epoch(work: Work, sampling: bool) -> Float64:
    """One pass over the training data; each model's mean loss as it went, in units of training."""
    models, cluster = work.models, work.run.cluster
    losses = torch.zeros(len(models), dtype=torch.float64, device=work.run.device)
    total = 0.0
    batches = _sampled(work, work.train.epoch()) if sampling else work.train.epoch()
    while True:
        rows = next(batches, None)
        if cluster.size == 1:
            if rows is None:
                break
            sums, count = models.accumulate(rows), float(len(rows))
        else:
            # A host that has no rows left adds nothing, until none has any.
            sums = models.accumulate(rows)
            sums = torch.from_numpy(cluster.all_reduce(sums.cpu().numpy())).to(work.run.device)
            count = float(sums[-1])
            if not count:
                break
        losses += models.loss_sums(sums)
        total += count
        models.update(sums, count)
    return losses.cpu().numpy() / max(total, 1.0)


def _sampled(work: Work, batches: Iterator[Rows]) -> Iterator[Rows]:
    """The same batches, of which a uniform sample is kept where no validation channel is (Vitter's R)."""
    if work.validation is not None:
        yield from batches
        return
    size = max(1, math.ceil(min(_SAMPLE, work.plan.calibration_samples) / work.train.batch_size))
    generator = np.random.Generator(np.random.Philox(work.run.seed))
    for index, rows in enumerate(batches):
        if index < size:
            work.sample.append(rows)
        elif (place := int(generator.integers(index + 1))) < size:
            work.sample[place] = rows
        yield rows


def _write(work: Work, model: int, threshold: float) -> None:
    chosen = work.selection.parameters[:, work.models.columns(model)].cpu().numpy()
    weights, bias = work.preparation.normalisation.fold(chosen)
    if not np.isfinite(weights).all() or not np.isfinite(bias).all():
        raise AlgorithmError("the winning model's weights leave the range of float32")
    if not work.run.cluster.leader:
        return
    # Scores are answered, and compared with the threshold, as probabilities where there are such.
    answered = (
        sigmoid(np.array([threshold], np.float32))[0] if work.models.objective.probability else threshold
    )
    described = artifact.Model(work.plan.predictor_type, work.plan.loss, weights, bias, float(answered))
    with work.run.artifact(artifact.NAME) as path:
        artifact.write(path, described, work.plan.reported(work.models.settings[model]))
