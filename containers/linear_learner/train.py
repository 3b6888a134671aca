"""Trains many linear models at once and keeps the best: scaler pass, epochs, calibration and selection."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.failures import AlgorithmError, ClientError
from common.metrics import log
from common.training import Run
from containers.linear_learner import artifact, reports
from containers.linear_learner.criteria import calibrate
from containers.linear_learner.data import Checks, Dataset, Preparation
from containers.linear_learner.evaluation import Scored, Tally, score
from containers.linear_learner.model import LinearModels, Rows
from containers.linear_learner.plan import Plan
from containers.linear_learner.predict import sigmoid
from containers.linear_learner.scaling import constant, moments
from containers.linear_learner.selection import Selection

Float64 = NDArray[np.float64]

_KEPT = (
    192 << 20
)  # bytes of a File channel that are kept decoded; Pipe channels may be shuffled anew each epoch
_KEPT_VALIDATION = 96 << 20
_SAMPLE = 10_000  # training rows that stand for a validation channel
_ONE_THREAD = 8_000_000  # products a step that one thread computes in about a fifth of a millisecond
_BLOCK = 2 << 20  # scores computed at once in evaluation


def train(run: Run) -> None:
    """Trains on the channel ``train`` and writes model_algo-1."""
    log.info("Create Store: %s", "local" if run.cluster.size == 1 else "dist_sync")
    plan = Plan.of(run.hyperparameters)
    work = _prepared(run, plan)
    if work is None:
        log.info("Stopping on request before a row was read")
        return
    _learn(work)
    model, threshold = _choose(work)
    _write(work, model, threshold)
    if "test" in run.channels:
        test = Dataset(run.channels["test"], work.train.checks, work.block)
        test.prepare(work.preparation, work.models.feature_dim)
        scored = _over_hosts(work, test, _scored(work, model, test.epoch()))
        if scored.rows:
            reports.final(run.metrics, "test", _values(work, scored, threshold))


@dataclass
class _Work:
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

    @property
    def unit(self) -> float:
        """What a loss in units of training is multiplied by to be in the label's."""
        return self.preparation.normalisation.label_scale**self.models.objective.degree


def _prepared(run: Run, plan: Plan) -> _Work | None:
    """The scaler pass: reads the first rows, which the first epoch then trains on.

    None when the job was asked to stop before there was a row.
    """
    values = run.hyperparameters
    given = None if values["feature_dim"] == "auto" else values["feature_dim"]
    checks = Checks(plan.predictor_type, plan.num_classes, given)
    batch_size = values["mini_batch_size"]
    dataset = Dataset(
        run.train,
        checks,
        batch_size,
        share=True,
        keep=0 if run.train.piped else _KEPT,
        seed=run.seed + run.cluster.rank,
    )
    head = dataset.head(max(1, math.ceil(values["num_point_for_scaler"] / run.cluster.size)))
    if head and len(head[0]) < batch_size and not run.stop.requested:
        raise ClientError(
            f"mini_batch_size is {batch_size}, and channel train has {len(head[0])} rows on host "
            f"{run.cluster.hosts.current}; accepted: at most the rows of a host"
        )
    width = max((batch.width for batch in head), default=given or 0)
    feature_dim = int(run.cluster.all_reduce(np.array([width]), "max")[0])
    found = moments(head, feature_dim, run.cluster.all_reduce)
    if not found.rows and run.cluster.any(run.stop.requested):
        return None
    if not found.rows:
        raise ClientError("channel train: there are no rows")
    reports.scaler(found, plan.normalise_label)
    normalisation = plan.normalisation(found)
    preparation = Preparation(normalisation, plan.num_classes > 2, run.device, plan.force_dense)
    dataset.prepare(preparation, feature_dim)
    counts = np.zeros(max(plan.num_classes, 2))
    if plan.predictor_type != "regressor":
        for batch in head:
            assert batch.labels is not None
            counts += np.bincount(batch.labels.astype(np.int64), minlength=len(counts))
        counts = run.cluster.all_reduce(counts)
    models = plan.models(feature_dim, counts, normalisation.label_scale, run.device, run.seed)
    models.initialise(
        run.seed,
        values["init_method"],
        values["init_scale"] if values["init_method"] == "uniform" else values["init_sigma"],
        values["init_bias"] if values["use_bias"] else 0.0,
        constant(found),
    )
    log.info("Number of models trained side by side: %d", len(models))
    selection = Selection(models, values["early_stopping_patience"], values["early_stopping_tolerance"])
    torch.set_num_threads(_threads(run, batch_size * feature_dim * models.parameters.shape[1]))
    work = _Work(run, plan, dataset, preparation, models, None, selection)
    if "validation" in run.channels:
        work.validation = Dataset(run.channels["validation"], checks, work.block, keep=_KEPT_VALIDATION)
        work.validation.prepare(preparation, feature_dim)
    return work


def _threads(run: Run, products: int) -> int:
    """Threads for steps of so many products: small ones take less time than waiting for each other's end."""
    return run.threads if products > _ONE_THREAD else 1


def _learn(work: _Work) -> None:
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
            means, best = _evaluate(work, work.validation, work.validation.epoch())
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


def _epoch(work: _Work, sampling: bool) -> Float64:
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


def _sampled(work: _Work, batches: Iterator[Rows]) -> Iterator[Rows]:
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


def _evaluate(
    work: _Work, dataset: Dataset, batches: Iterable[Rows], parameters: Tensor | None = None
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


def _divided(work: _Work, dataset: Dataset) -> bool:
    """Whether hosts have different rows of a channel."""
    return dataset is work.train or dataset.channel.config.distribution == "ShardedByS3Key"


def _choose(work: _Work) -> tuple[int, float]:
    """The winning model and its threshold on linear scores; prints its metrics."""
    run, selection = work.run, work.selection
    if not selection.epochs:
        # Stopped before an epoch ended: what is there is what there is.
        selection.observe(np.zeros(len(work.models)))
    dataset = work.validation or work.train
    parameters = selection.parameters
    if work.validation is None:
        kept = work.train.kept if work.plan.calibration_samples >= work.train.records else None
        means, best = _evaluate(work, work.train, kept or work.sample, parameters)
        selection.choose_by(-means if best is None else best, -means)
        batches: Iterable[Rows] = kept or work.sample
    else:
        batches = work.validation.epoch()
    model = selection.best
    if not bool(torch.isfinite(parameters[:, work.models.columns(model)]).all()):
        raise ClientError(
            "training diverged: no model has finite weights; accepted: a smaller learning_rate or wd"
        )
    scored = _over_hosts(work, dataset, _scored(work, model, batches))
    threshold = work.plan.natural_threshold
    if work.plan.by_criterion:
        rows = work.plan.calibration_samples
        threshold, _ = calibrate(scored.scores[:rows], scored.labels[:rows], work.plan.criterion, threshold)
    if scored.rows:
        reports.final(run.metrics, dataset.name, _values(work, scored, threshold))
    reports.best(work.plan.reported(work.models.settings[model]))
    return model, threshold


def _scored(work: _Work, model: int, batches: Iterable[Rows]) -> Scored:
    return score(
        work.models,
        model,
        work.selection.parameters[:, work.models.columns(model)].contiguous(),
        batches,
        work.plan.predictor_type,
        weighted=work.plan.weighted_evaluation,
        top_k=work.plan.top_k,
    )


def _over_hosts(work: _Work, dataset: Dataset, scored: Scored) -> Scored:
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


def _values(work: _Work, scored: Scored, threshold: float) -> dict[str, float]:
    return reports.values(
        scored,
        work.models.objective.token,
        work.preparation.normalisation.label_scale,
        work.models.objective.degree,
        threshold,
        work.plan.beta,
    )


def _write(work: _Work, model: int, threshold: float) -> None:
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
