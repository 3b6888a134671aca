"""Updates of the network, checkpoints with validation, and the best of them as the model."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping

import numpy as np

from common.failures import ClientError
from common.metrics import Tag, log
from common.training import Run
from containers.seq2seq import artifact, beam
from containers.seq2seq.bleu import corpus_bleu
from containers.seq2seq.bucketing import Batch
from containers.seq2seq.learner import Sums
from containers.seq2seq.preparing import Work, prepared
from containers.seq2seq.stopping import SMALLER_IS_BETTER

_TELL_UPDATES = 50  # from one line of speed to the next, as in Sockeye


def train(run: Run) -> None:
    """Trains on the channel ``train`` and writes the best model, by the channel ``validation``."""
    log.info("Checkpoint loading and saving are disabled.")
    with run.metrics.timed("initialize.time"):
        work = prepared(run)
    if work is not None:
        _epochs(work)
    if work is None or not work.learner.updates:
        log.info("Stopping on request before anything was learned: no model")
        return
    if work.since.batches and not work.stopping:
        _checkpoint(work)
    _finish(work)


def _epochs(work: Work) -> None:
    """Epochs until they are done, or one of them tells that it was the last."""
    run = work.run
    count = run.hyperparameters["max_num_epochs"]
    random = np.random.default_rng([run.seed, 0])
    for epoch in run.epochs(count or sys.maxsize):
        log.info("")
        log.info("# Starting training for epoch %d", epoch)
        work.epoch = epoch
        if not _epoch(work, random):
            return
        run.metrics.add("epochs", 1)
        if count:
            run.metrics.progress(100.0 * (epoch + 1) / count)


def _epoch(work: Work, random: np.random.Generator) -> bool:
    """One pass over the training data. Whether another may follow."""
    values, learner = work.run.hyperparameters, work.learner
    telling = _Telling(work)
    for number, batch in enumerate(work.train.epoch(random), 1):
        if work.stopping:
            return False
        _update(work, batch)
        telling.batch(batch, number)
        if learner.updates % values["checkpoint_frequency_num_batches"] == 0:
            _checkpoint(work)
            if work.patience.over(work.epoch + (number == len(work.train))):
                log.info(
                    "Maximum number of not improved checkpoints (%d) reached: %d",
                    *(values["checkpoint_threshold"], work.patience.waited),
                )
                return False
        if learner.updates == values["max_num_batches"]:
            log.info("Maximum # of updates (%d) reached.", learner.updates)
            return False
    return True


def _update(work: Work, batch: Batch) -> None:
    sums = work.learner.learn(batch)
    work.since.add(sums, len(batch))
    work.samples += len(batch)
    if not np.isfinite(sums).all():
        raise ClientError(
            f"the loss is {sums[0]} in update {work.learner.updates}: training diverged; "
            "accepted: a smaller learning_rate or clip_gradient"
        )


class _Telling:
    """Prints the speed of an epoch now and then."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._mark, self._pairs, self._tokens = time.perf_counter(), 0, 0

    def batch(self, batch: Batch, number: int) -> None:
        """Counts the ``number``-th batch, from 1."""
        self._pairs += len(batch)
        self._tokens += batch.tokens
        if number % _TELL_UPDATES:
            return
        now = time.perf_counter()
        seconds = max(now - self._mark, 1e-9)
        metric = self._work.run.hyperparameters["training_metric"]
        log.info(
            "Epoch[%d] Batch [%d]\tSpeed: %.2f samples/sec %.2f tokens/sec\t%s=%f",
            *(self._work.epoch, number, self._pairs / seconds, self._tokens / seconds, metric),
            getattr(self._work.since, metric),
        )
        self._mark, self._pairs, self._tokens = now, 0, 0


def _checkpoint(work: Work) -> None:
    """Validates, and keeps the weights if they are the best so far."""
    run, learner, since = work.run, work.learner, work.since
    number = len(work.patience.scores) + 1
    seconds = time.perf_counter() - work.started
    metric = run.hyperparameters["training_metric"]
    log.info(
        "Checkpoint [%d]\tUpdates=%d Epoch=%d Samples=%d Time-cost=%.3f",
        *(number, learner.updates, work.epoch, work.samples, seconds),
    )
    log.info("Checkpoint [%d]\tTrain-%s=%f", number, metric, getattr(since, metric))
    _tell(work, "train", {metric: getattr(since, metric)}, work.epoch)
    run.metrics.throughput(since.pairs, seconds)
    with run.metrics.timed("model.score.time"):
        scores = _validated(work)
    if scores is not None:
        for name, value in scores.items():
            log.info("Checkpoint [%d]\tValidation-%s=%f", number, name, value)
        _tell(work, "validation", scores, work.epoch)
        _observe(work, scores)
    work.since, work.started = Sums(), time.perf_counter()


def _observe(work: Work, scores: dict[str, float]) -> None:
    """Takes the metrics into account that early stopping and the learning rate watch."""
    patience, schedule = work.patience, work.learner.schedule
    improved = patience.observe(scores)
    if improved:
        log.info("Validation-%s improved to %f.", patience.metric, scores[patience.metric])
        work.best, work.best_epoch = work.learner.state(), work.epoch
    else:
        log.info("Model has not improved for %d checkpoints", patience.waited)
    before = schedule.rate(work.learner.updates)
    schedule.checkpoint(improved)
    after = schedule.rate(work.learner.updates)
    if after != before:
        log.info("Lowering learning rate: %1.2e -> %1.2e", before, after)


def _validated(work: Work) -> dict[str, float] | None:
    """The metrics of the validation data; None when the job was asked to stop meanwhile."""
    sums = work.learner.score(_until_stopped(work))
    scores = {"perplexity": sums.perplexity, "accuracy": sums.accuracy}
    hypotheses: list[list[int]] = []
    for start in range(0, len(work.decoded), beam.SENTENCES):
        if work.stopping:
            break
        part = work.decoded[start : start + beam.SENTENCES]
        answers = beam.translate(work.learner.network, [part.source.one(row) for row in range(len(part))])
        hypotheses += [answer.ids.tolist() for answer in answers]
    if work.stopping:
        return None
    if hypotheses:
        targets = work.decoded.target
        scores["bleu"] = corpus_bleu(hypotheses, [targets.one(row).tolist() for row in range(len(targets))])
    return scores


def _until_stopped(work: Work) -> Iterator[Batch]:
    for batch in work.validation.epoch():
        if work.stopping:
            return
        yield batch


def _tell(work: Work, channel: str, scores: Mapping[str, float], epoch: int) -> None:
    for name, value in scores.items():
        tag: Tag = "loss" if name in SMALLER_IS_BETTER else "score"
        work.run.metrics.quality(channel, name, value, tag, epoch=epoch)


def _finish(work: Work) -> None:
    """Writes the best model; its metrics come last, which is where the tuner looks."""
    run, patience, learner = work.run, work.patience, work.learner
    if work.best is not None:
        learner.restore(work.best)
        log.info(
            "Training finished. Best checkpoint: %d. Best validation %s: %.6f",
            *(patience.best, patience.metric, patience.best_scores[patience.metric]),
        )
        _tell(work, "validation", patience.best_scores, work.best_epoch)
    artifact.write(run.artifact, learner.network, *work.vocabularies)
