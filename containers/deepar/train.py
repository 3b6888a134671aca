"""Carries a job's channels to the network: epochs, early stopping, the best model, its scores."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from common.batches import Int64
from common.cores import Cores
from common.failures import ClientError
from common.metrics import log
from common.training import Run
from containers.deepar import artifact, scoring, symbol
from containers.deepar.artifact import Model
from containers.deepar.engine import Engine
from containers.deepar.forecaster import Forecaster, seeded
from containers.deepar.preparing import Data, prepared
from containers.deepar.sampling import LIKELIHOODS
from containers.deepar.series import Series
from containers.deepar.windows import Epoch, Store

# After so many epochs without a lower loss steps become half as long, but not shorter than the least.
_PATIENCE, _LEAST_RATE = 10, 5e-5
_TOLD = 5  # batches from one line of the log to the next


@dataclass
class Work:
    """A job under way."""

    run: Run
    engine: Engine
    store: Store
    epoch: Epoch
    best: Tensor | None = None
    loss: float = math.inf  # the best epoch's
    at: int = 0  # the best epoch
    seen: int = 0  # epochs since then
    waited: int = 0  # epochs since then, or since steps became shorter


def train(run: Run) -> None:
    """Trains on the channel ``train``; the first host writes the model."""
    log.info("random_seed is %d", run.seed)
    patience = run.hyperparameters["early_stopping_patience"]
    if patience:
        log.info("Using early stopping with patience %d", patience)
    with run.metrics.timed("get_graph.time"):
        data = prepared(run)
    if data is None:
        log.info("Stopping on request before the data were read: no model")
        return
    with run.metrics.timed("initialize.time"):
        work = _work(run, data)
    log.info("Create Store: %s", "local" if run.cluster.size == 1 else "dist_sync")
    _learn(work)
    model = _finish(work)
    if model is not None:
        _save(run, model)
        run.kept["series"] = data.test or data.train
        if "test" in run.channels:
            _test(run, model, data.test)


def _work(run: Run, data: Data) -> Work:
    values = run.hyperparameters
    scaled = LIKELIHOODS[data.settings.likelihood].scaled
    store = Store(data.train, data.settings.span, scale=data.settings.scale, scaled=scaled)
    total = int(run.cluster.all_reduce(np.array([len(store)]))[0]) if _divided(run) else len(store)
    epoch = Epoch.of(total, values["mini_batch_size"])
    if epoch.passes > 1 or epoch.probability < 1:
        log.info(
            "Small number of time series. Doing %d passes over dataset with prob %s per epoch.",
            *(epoch.passes, epoch.probability),
        )
    engine = Engine(
        data.settings,
        store,
        rate=values["learning_rate"],
        devices=run.devices,
        threads=run.threads,
        cluster=run.cluster,
        seed=run.seed,
    )
    return Work(run, engine, store, epoch)


def _divided(run: Run) -> bool:
    """Whether each host has series of its own."""
    return run.cluster.size > 1 and run.train.config.distribution == "ShardedByS3Key"


def _learn(work: Work) -> None:
    """Epochs until they are done, nothing improves any more or a stop is asked for."""
    run = work.run
    count = run.hyperparameters["epochs"]
    patience = run.hyperparameters["early_stopping_patience"]
    for epoch in run.epochs(count):
        started = time.perf_counter()
        with run.metrics.timed("update.time"):
            loss, windows = _epoch(work, epoch)
        if run.cluster.any(run.stop.requested):
            log.info("Stopping on request in epoch %d", epoch)
            if work.best is None and math.isfinite(loss):
                _keep(work, epoch, loss)
            return
        log.info("processed a total of %d examples", windows)
        run.metrics.add("epochs", 1)
        run.metrics.throughput(windows, time.perf_counter() - started)
        if not math.isfinite(loss):
            log.warning("The loss is not a finite number: training ends")
            return
        done = _observe(work, epoch, loss) and bool(patience) and work.seen >= patience
        if done:
            log.info("stopping training now")
        run.metrics.progress(100 if done else 100.0 * (epoch + 1) / count)
        if done:
            return


def _epoch(work: Work, epoch: int) -> tuple[float, int]:
    """The mean loss of all observed points of the epoch, and how many windows this host had."""
    run, total, windows = work.run, np.zeros(2), 0
    started = time.perf_counter()
    for batch, (rows, at) in enumerate(_batches(work, epoch)):
        if run.cluster.any(run.stop.requested):
            break
        total += work.engine.learn(rows, at)
        windows += len(rows)
        loss = float(total[0] / max(total[1], 1.0))
        if batch % _TOLD == 0:
            log.info("Epoch[%d] Batch[%d] avg_epoch_loss=%.6f", epoch, batch, loss)
            run.metrics.quality("train", "loss", loss, epoch=epoch, batch=batch)
        if batch % _TOLD == 0 and batch:
            speed = windows / (time.perf_counter() - started)
            log.info("Epoch[%d] Batch [%d]\tSpeed: %.2f samples/sec\tloss=%.6f", epoch, batch, speed, loss)
        if not math.isfinite(loss):
            break
    return (float(total[0] / total[1]) if total[1] else math.nan), windows


def _batches(work: Work, epoch: int) -> Iterator[tuple[Int64, Int64]]:
    """This host's share of each batch: series, and points where forecasts begin.

    Where all hosts have all series, they draw the same windows and each takes every n-th; where each has
    series of its own, it draws of these, in proportion. All hosts have the same number of batches.
    """
    run, store = work.run, work.store
    size, hosts, rank = run.hyperparameters["mini_batch_size"], run.cluster.size, run.cluster.rank
    divided = _divided(run)
    random = np.random.default_rng([run.seed, 2, epoch, rank if divided else 0])
    rows, at = work.epoch.draw(store.lengths, store.span.horizon, random)
    if not divided:
        for start in range(0, len(rows), size):
            share = slice(start + rank, min(start + size, len(rows)), hosts)
            yield rows[share], at[share]
        return
    count = -(-int(run.cluster.all_reduce(np.array([len(rows)]))[0]) // size)
    yield from zip(np.array_split(rows, max(count, 1)), np.array_split(at, max(count, 1)), strict=True)


def _observe(work: Work, epoch: int, loss: float) -> bool:
    """Takes an epoch's loss into account. Whether it is no better than the best so far."""
    work.run.metrics.quality("train", "loss", loss, epoch=epoch)
    if loss < work.loss:
        log.info("best epoch loss so far")
        _keep(work, epoch, loss)
        return False
    log.info("loss did not improve")
    work.seen += 1
    work.waited += 1
    if work.waited >= _PATIENCE and work.engine.rate > _LEAST_RATE:
        work.engine.rate = max(work.engine.rate / 2, _LEAST_RATE)
        work.waited = 0
        log.info("learning rate is now %s", work.engine.rate)
    return True


def _keep(work: Work, epoch: int, loss: float) -> None:
    with work.run.metrics.timed("state.serialize.time"):
        work.best = work.engine.state()
    work.loss, work.at, work.seen, work.waited = loss, epoch, 0, 0


def _finish(work: Work) -> Model | None:
    """The best epoch's model, None where a stop came before one. Raises ClientError where there is none."""
    run = work.run
    if work.best is None:
        if run.cluster.any(run.stop.requested):
            log.info("Stopping on request before a batch was learned: no model")
            return None
        raise ClientError(
            "the loss is not a finite number: training diverged; accepted: a smaller learning_rate"
        )
    log.info("Final loss: %s (occurred at epoch %d)", work.loss, work.at)
    run.metrics.quality("train", "final_loss", work.loss)
    log.info("Worker %s finished training.", run.metrics.host)
    with run.metrics.timed("state.deserialize.time"):
        model = work.engine.model(work.best)
    if not all(np.isfinite(array).all() for array in model.weights.values()):
        raise ClientError(
            "training diverged: weights are no finite numbers; accepted: a smaller learning_rate"
        )
    return model


def _save(run: Run, model: Model) -> None:
    if not run.cluster.leader:
        return
    log.info("Serializing to %s", run.job.model / artifact.PREFIX)
    with run.artifact(artifact.PARAMETERS) as path, path.open("wb") as file:
        file.writelines(artifact.parameters(model))
    log.info('Saved checkpoint to "%s"', run.job.model / artifact.PARAMETERS)
    with run.artifact(artifact.SYMBOL) as path:
        path.write_bytes(symbol.dumps(model.settings))
    with run.artifact(artifact.CONFIG) as path:
        path.write_bytes(artifact.config(model.settings))
    log.info("Successfully serialized the model for prediction.")
    run.metrics.flush()


def _test(run: Run, model: Model, series: list[Series]) -> None:
    """Scores forecasts of the last points of the channel ``test`` from those before."""
    values, cluster = run.hyperparameters, run.cluster
    samples, levels = values["num_eval_samples"], values["test_quantiles"]
    horizon = model.settings.prediction_length
    if cluster.size > 1 and run.channels["test"].config.distribution == "FullyReplicated":
        series = series[cluster.rank :: cluster.size]
    log.info("Evaluating model accuracy on testset using %d samples", samples)
    forecaster = Forecaster(model)
    seed = np.random.SeedSequence([run.seed, 3, cluster.rank])
    actual = [one.target[len(one) - horizon :] for one in series]
    past = [one.until(len(one) - horizon) for one in series]

    def score(work: tuple[slice, np.random.Generator]) -> scoring.Sums:
        part, random = work
        if run.stop.requested:
            return np.zeros(3 + len(levels))
        return scoring.sums(forecaster.paths(past[part], samples, random), np.stack(actual[part]), levels)

    with run.metrics.timed("model.score.time"), Cores(run.threads) as cores:
        parts = zip(forecaster.parts(past, samples), seeded(seed), strict=False)
        total = sum(cores.map(score, parts), np.zeros(3 + len(levels)))
    if cluster.any(run.stop.requested):
        return  # the model is saved; a score of some series would mislead
    total = cluster.all_reduce(total)
    observed, _, absolute, *_ = total
    if not absolute:
        log.warning(
            "Channel test: the last %d points of its time series hold %s; scores that can't be computed of "
            "these are not told",
            horizon,
            "only zeros" if observed else "no observed value",
        )
    # A tuner could do nothing with what is no number.
    found = {n: value for n, value in scoring.scores(total, levels).items() if math.isfinite(value)}
    for name, value in found.items():
        log.info("#test_score (%s, %s): %s", run.metrics.host, name, value)
    for name in ("RMSE", "mean_wQuantileLoss"):
        if name in found:
            run.metrics.quality("test", name, found[name])
