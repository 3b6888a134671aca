"""Carries a job's channels to Object2Vec: epochs, early stopping, the best model, its test."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from common.failures import ClientError
from common.metrics import log
from common.optimizers import Settings
from common.training import Run
from containers.object2vec import artifact, pairs, plan, pretrained, reading
from containers.object2vec.engine import Engine, Losses, Options
from containers.object2vec.model import Network
from containers.object2vec.negatives import Negatives
from containers.object2vec.pairs import Pairs
from containers.object2vec.stopping import Patience

# Deviation of token embeddings to begin with.
_SPREAD = 0.1


@dataclass
class Work:
    """A job under way."""

    run: Run
    engine: Engine
    train: Pairs
    validation: Pairs | None
    patience: Patience
    generator: np.random.Generator
    negatives: Negatives | None = None
    best: list[Tensor] = field(default_factory=list)


def train(run: Run) -> None:
    """Trains on the channel ``train``, and writes the best epoch's model."""
    with run.metrics.timed("initialize.time"):
        work = _prepared(run)
    if work is None or not _learn(work):
        log.info("Stopping on request before a pair was learned from: no model")
        return
    _finish(work)
    run.metrics.flush()
    if "test" in run.channels:
        _test(work)


def _prepared(run: Run) -> Work | None:
    """None where the job was asked to stop before all data were read."""
    values = run.hyperparameters
    torch.set_num_threads(run.threads)
    _tell_without_effect(run)
    embeddings = _embeddings(run)
    found = {name: _read(run, name) for name in ("train", "validation") if name in run.channels}
    if run.stop.requested:
        return None
    trained = found["train"]
    assert trained is not None
    engine = build(run, embeddings, float(trained.labels.mean()))
    rate = values["negative_sampling_rate"]
    negatives = Negatives(trained, rate) if rate else None
    if negatives is not None and not negatives.exist:
        log.warning(
            "hyperparameter negative_sampling_rate has no effect: each in0 of channel train comes with each "
            "in1, so that no pair is left for a negative, and nothing tells what label 0 is"
        )
    return Work(
        run,
        engine,
        trained,
        found.get("validation"),
        Patience(values["early_stopping_patience"], values["early_stopping_tolerance"]),
        np.random.default_rng([run.seed, 1]),
        negatives,
    )


def _read(run: Run, name: str) -> Pairs | None:
    """A channel's pairs; None, or some of them, where the job was asked to stop."""
    found = reading.read(run.channels[name], plan.rules(run.hyperparameters, name))
    if found is None and not run.stop.requested:
        raise ClientError(f"channel {name} has no pair; accepted: at least one")
    if found is not None:
        log.info("Channel %s has %d pairs", name, len(found))
    return found


def _embeddings(run: Run) -> list[Tensor]:
    """The tables of token embeddings to begin with, one where both encoders share it."""
    values = run.hyperparameters
    generator = np.random.default_rng([run.seed, 0])
    tables = []
    for prefix in plan.prefixes(values)[: 1 if values["tied_token_embedding_weight"] else 2]:
        shape = values[f"{prefix}vocab_size"], values[f"{prefix}token_embedding_dim"]
        table = generator.standard_normal(shape, np.float32)
        table *= _SPREAD
        file = values[f"{prefix}pretrained_embedding_file"]
        if file:
            if "auxiliary" not in run.channels:
                raise ClientError(
                    f"{prefix}pretrained_embedding_file is '{file}', and there is no channel auxiliary; "
                    "accepted: a channel auxiliary that holds the file"
                )
            missing = pretrained.read(run.channels["auxiliary"], file, values[f"{prefix}vocab_file"], table)
            log.info("Pretrained token embeddings of %s: %d words have none", file, missing)
        tables.append(torch.from_numpy(table))
    return tables


def _tell_without_effect(run: Run) -> None:
    """Warns of freezing where there is nothing to freeze."""
    values = run.hyperparameters
    for prefix in dict.fromkeys(plan.prefixes(values)):
        name, needed = f"{prefix}freeze_pretrained_embedding", f"{prefix}pretrained_embedding_file"
        if name in values.given and not values[needed]:
            log.warning("hyperparameter %s has no effect: it applies when %s is given", name, needed)


def build(run: Run, embeddings: list[Tensor], mean: float) -> Engine:
    """The engine that the job's hyperparameters ask for. ``mean`` is that of the training labels."""
    values = run.hyperparameters
    torch.manual_seed(run.seed)
    network = Network(plan.of(values))
    if network.plan.classes is None:
        network.start_at(mean)
    frozen = tuple(
        bool(values[f"{prefix}pretrained_embedding_file"]) and values[f"{prefix}freeze_pretrained_embedding"]
        for prefix in plan.prefixes(values)[: len(embeddings)]
    )
    options = Options(
        values["optimizer"],
        Settings(values["learning_rate"], decay=values["weight_decay"]),
        values["dropout"],
        values["token_embedding_storage_type"] == "row_sparse",
        frozen,
        run.seed,
        run.threads,
        run.devices,
        cluster=run.cluster,
    )
    return Engine(network, embeddings, options)


def _learn(work: Work) -> bool:
    """Epochs until they are done, nothing improves or a stop is asked for. Whether anything was learned."""
    run = work.run
    learned = False
    for epoch in run.epochs(run.hyperparameters["epochs"]):
        started = time.perf_counter()
        losses = Losses()
        with run.metrics.timed("update.time"):
            for batch in _batches(work):
                losses.add(work.engine.learn(batch).tolist(), len(batch))
        learned = learned or losses.pairs > 0
        if run.stop.requested:
            return learned
        seconds = time.perf_counter() - started
        _tell(run, "train", losses, epoch)
        watched = losses
        if work.validation is not None:
            watched = _scored(work, work.validation)
            if run.cluster.any(run.stop.requested):
                return learned  # in the middle of validation: no loss of all of it
            _tell(run, "validation", watched, epoch)
        if work.patience.observe(watched.mean):
            work.best.clear()  # tables may be large: two copies and no third
            work.best = work.engine.state()
        run.metrics.progress(
            100 if work.patience.over else 100.0 * (epoch + 1) / run.hyperparameters["epochs"]
        )
        run.metrics.throughput(losses.pairs, seconds)
        run.metrics.counted("training_data_iter", losses.pairs, losses.batches, epoch=epoch)
        run.metrics.add("epochs", 1)
        if work.patience.over:
            log.info("Early stopping: %d epochs without enough improvement", work.patience.bad)
            break
    return learned


def _batches(work: Work) -> Iterator[Pairs]:
    """An epoch's mini-batches, with negatives where there are to be some."""
    values = work.run.hyperparameters
    matches = (
        pairs.as_they_are(work.train) if work.negatives is None else work.negatives.matches(work.generator)
    )
    sparse = values["token_embedding_storage_type"] == "row_sparse"
    bucket = 0 if sparse else values["bucket_width"]
    batches = pairs.batches(work.train, matches, values["mini_batch_size"], work.generator, bucket)
    return _until_stopped(work.run, batches)


def _until_stopped(run: Run, batches: Iterable[Pairs]) -> Iterator[Pairs]:
    for batch in batches:
        if run.stop.requested:
            return
        yield batch


def _scored(work: Work, data: Pairs) -> Losses:
    """The losses on a channel; of some of it where the job is asked to stop."""
    size = work.run.hyperparameters["mini_batch_size"]
    with work.run.metrics.timed("model.score.time"):
        batches = pairs.batches(data, pairs.as_they_are(data), size, None)
        return work.engine.score(_until_stopped(work.run, batches))


def _tell(run: Run, channel: str, losses: Losses, epoch: int | None = None) -> None:
    if run.hyperparameters["output_layer"] == "softmax":
        run.metrics.quality(channel, "cross_entropy", losses.mean, epoch=epoch)
        run.metrics.quality(channel, "accuracy", losses.accuracy, "score", epoch=epoch)
    else:
        run.metrics.quality(channel, "mean_squared_error", losses.mean, epoch=epoch)


def _finish(work: Work) -> None:
    """Goes back to the best epoch and writes the model."""
    run, engine = work.run, work.engine
    if work.best:
        engine.restore(work.best)
        work.best.clear()
        log.info("Best model: epoch %d, loss %s", work.patience.best, work.patience.least)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in engine.state()):
        raise ClientError(
            "the loss is not a finite number: training diverged; accepted: a smaller learning_rate or "
            "weight_decay, or labels that are nearer to 0"
        )
    tables = [table.weights for table in engine.tables]
    log.info("Serializing model to %s", run.job.model / artifact.NAME)
    with run.artifact(artifact.NAME) as path:
        artifact.write(path, artifact.Model(engine.network, tables, plan.longest(run.hyperparameters)))


def _test(work: Work) -> None:
    run = work.run
    data = _read(run, "test")
    if data is None or run.stop.requested:
        return  # an early end of the channel: no loss of all of it
    losses = _scored(work, data)
    if run.cluster.any(run.stop.requested):
        return
    run.metrics.counted("test_data_iter", losses.pairs, losses.batches)
    if run.hyperparameters["output_layer"] == "softmax":
        run.metrics.score("test", "accuracy", losses.accuracy)
    else:
        run.metrics.score("test", "mean_squared_error", losses.mean)
    _tell(run, "test", losses)
