"""Carries a job's channels to the neural topic model: epochs, early stopping, the best model, its topics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from common import job
from common.batches import CSR
from common.failures import ClientError
from common.metrics import log
from common.optimizers import Settings
from common.training import Run
from containers.ntm import artifact, auxiliary, topics
from containers.ntm.auxiliary import Auxiliary
from containers.ntm.data import Corpus
from containers.ntm.engine import Engine, Losses
from containers.ntm.export import model_of
from containers.ntm.model import Network
from containers.ntm.stopping import Patience
from containers.ntm.vectors import Signatures


@dataclass
class Work:
    """A job under way."""

    run: Run
    engine: Engine
    train: Corpus
    validation: Corpus | None
    words: Auxiliary | None
    signatures: Signatures | None  # where the vocabulary came without vectors
    patience: Patience
    best: list[Tensor] = field(default_factory=list)


def train(run: Run) -> None:
    """Trains on the channel ``train``; each host writes the model."""
    if not run.cluster.leader:
        job.check_writable(run.job.model)
    log.info("Checkpoint loading and saving are disabled.")
    with run.metrics.timed("initialize.time"):
        work = _prepared(run)
    log.info("Create Store: %s", "local" if run.cluster.size == 1 else "dist_sync")
    if not _learn(work):
        log.info("Stopping on request before a document was read: no model")
        return
    _finish(work)
    run.metrics.flush()
    if "test" in run.channels:
        _test(work)


def _prepared(run: Run) -> Work:
    values = run.hyperparameters
    torch.set_num_threads(run.threads)
    words = None
    if "auxiliary" in run.channels:
        words = auxiliary.read(run.channels["auxiliary"], values["feature_dim"])
    else:
        log.info("Vocab file is not provided")
    signatures = None
    if words is not None and words.vectors is None:
        log.info("No word vectors beside the vocabulary: WETC is by vectors made of the training documents")
        generator = np.random.default_rng([run.seed, 3, run.cluster.rank])
        signatures = Signatures(values["feature_dim"], generator)
    return Work(
        run,
        _engine(run),
        _corpus(run, "train", np.random.default_rng([run.seed, 0, run.cluster.rank])),
        _corpus(run, "validation") if "validation" in run.channels else None,
        words,
        signatures,
        Patience(values["num_patience_epochs"], values["tolerance"]),
    )


def _corpus(run: Run, channel: str, generator: np.random.Generator | None = None) -> Corpus:
    values = run.hyperparameters
    return Corpus(
        run.channels[channel],
        values["feature_dim"],
        values["mini_batch_size"],
        generator=generator,
        share=1.0 if generator is None else values["sub_sample"],
    )


def _engine(run: Run) -> Engine:
    values = run.hyperparameters
    count, layers = values["num_topics"], values["encoder_layers"]
    torch.manual_seed(run.seed)
    network = Network(
        values["feature_dim"],
        count,
        [3 * count, 2 * count] if layers == "auto" else layers,
        values["encoder_layers_activation"],
        batch_norm=values["batch_norm"],
    )
    settings = Settings(
        values["learning_rate"],
        values["rescale_gradient"],
        float(values["clip_gradient"]),
        values["weight_decay"],
    )
    return Engine(
        network,
        values["optimizer"],
        settings,
        devices=run.devices,
        cluster=run.cluster,
        seed=run.seed,
        threads=run.threads,
    )


def _learn(work: Work) -> bool:
    """Epochs until they are done, nothing improves or a stop is asked for. Whether anything was learned."""
    run = work.run
    epochs = run.hyperparameters["epochs"]
    learned = False
    for epoch in run.epochs(epochs):
        log.info("")
        log.info("# Starting training for epoch %d", epoch + 1)
        started = time.perf_counter()
        with run.metrics.timed("update.time"):
            losses = work.engine.learn(_documents(work, epoch))
        learned = learned or losses.documents > 0
        if run.cluster.any(run.stop.requested):
            return learned
        if not losses.documents:
            raise _nothing("train", run.hyperparameters["sub_sample"])
        trained = time.perf_counter()
        _tell_training(work, epoch, losses)
        with run.metrics.timed("early_stop.time"):
            watched = losses if work.validation is None else _validate(work, epoch, work.validation)
            if run.cluster.any(run.stop.requested):
                return learned  # in the middle of validation: no loss of all of it
            _observe(work, watched.means["total"])
        ended = time.perf_counter()
        log.info(
            "Timing: train: %.2fs, val: %.2fs, epoch: %.2fs",
            *(trained - started, ended - trained, ended - started),
        )
        _tell_progress(work, epoch, losses, ended - started)
        if work.patience.over:
            break
    return learned


def _documents(work: Work, epoch: int) -> Iterator[CSR]:
    """The epoch's batches, until the job is asked to stop; the first epoch's also make word vectors."""
    for batch in work.train.epoch():
        if work.run.stop.requested:
            return
        if work.signatures is not None and epoch == 0:
            work.signatures.add(batch)
        yield batch


def _validate(work: Work, epoch: int, corpus: Corpus) -> Losses:
    losses = _scored(work, corpus)
    if losses.documents:
        log.info("#validation_score (%d): %s", epoch + 1, losses.means["total"])
    return losses


def _scored(work: Work, corpus: Corpus) -> Losses:
    """The losses on a channel. Raises ClientError when it has no documents."""
    run = work.run
    with run.metrics.timed("model.score.time"):
        losses = work.engine.score(corpus.epoch())
    if run.cluster.any(run.stop.requested):
        return losses
    if not losses.documents:
        raise _nothing(corpus.channel.name)
    log.info(
        "Finished scoring on %d examples from %d batches, each of size %d.",
        *(losses.records, losses.batches, corpus.batch_size),
    )
    log.info("Metrics for Inference:")
    _tell(losses)
    return losses


def _observe(work: Work, loss: float) -> None:
    """Takes the loss into account that early stopping watches, and keeps the best model."""
    for line in work.patience.observe(loss):
        log.info(line)
    if work.patience.best == len(work.patience.losses) and np.isfinite(loss):
        work.best = work.engine.state()


def _tell_training(work: Work, epoch: int, losses: Losses) -> None:
    log.info(
        "# Finished training epoch %d on %d examples from %d batches, each of size %d.",
        *(epoch + 1, losses.records, losses.batches, work.train.batch_size),
    )
    log.info("Metrics for Training:")
    _tell(losses)
    work.run.metrics.quality("train", "total_loss", losses.means["total"], epoch=epoch + 1)


def _tell(losses: Losses) -> None:
    for name, value in losses.means.items():
        log.info("Loss (name: value) %s: %s", name, value)


def _tell_progress(work: Work, epoch: int, losses: Losses, seconds: float) -> None:
    metrics = work.run.metrics
    if work.patience.over:
        log.info("Early stop condition met. Stopping training.")
        log.info("#progress_metric: host=%s, completed 100 %% epochs", metrics.host)
    else:
        metrics.progress(100.0 * (epoch + 1) / work.run.hyperparameters["epochs"])
    metrics.counted("training_data_iter", losses.records, losses.batches, epoch=epoch)
    metrics.throughput(losses.records, seconds)
    metrics.add("epochs", 1)


def _finish(work: Work) -> None:
    """Goes back to the best epoch, tells its topics and writes the model."""
    run, patience = work.run, work.patience
    with run.metrics.timed("finalize.time"):
        if work.best:
            work.engine.restore(work.best)
            loss = patience.losses[patience.best - 1]
            if work.validation is not None:
                run.metrics.quality("validation", "total_loss", loss, epoch=patience.best)
            log.info("Best model based on early stopping at epoch %d. Best loss: %s", patience.best, loss)
        model = model_of(work.engine.network)
        layers = (*model.encoder, model.mean, model.log_deviation, model.projection)
        if not all(np.isfinite(layer.weight).all() for layer in layers):
            raise ClientError(
                "the loss is not a finite number: training diverged; "
                "accepted: a smaller learning_rate or rescale_gradient, or a clip_gradient"
            )
        vocabulary, vectors = None, None
        if work.words is not None:
            vocabulary, vectors = work.words.words, work.words.vectors
        if work.signatures is not None:
            vectors = run.cluster.all_reduce(work.signatures.vectors)
        for line in topics.described(model.projection.weight, vocabulary, vectors):
            log.info(line)
    # Each host's copy has a name of its own, as all hosts' files go into one archive.
    name = f"model_algo-{run.cluster.rank + 1}"
    log.info("Serializing model to %s", run.job.model / name)
    with run.artifact(name) as path:
        artifact.write(path, model)


def _test(work: Work) -> None:
    run = work.run
    losses = _scored(work, _corpus(run, "test"))
    if run.cluster.any(run.stop.requested):
        return  # an early end of the channel: no loss of all of it
    run.metrics.counted("test_data_iter", losses.records, losses.batches)
    run.metrics.score("test", "total_loss", losses.means["total"])
    run.metrics.quality("test", "total_loss", losses.means["total"], epoch=max(work.patience.best, 1))


def _nothing(channel: str, share: float = 1.0) -> ClientError:
    drawn = f" in a draw of {share:g} of it" if share < 1 else ""
    return ClientError(f"channel {channel} has no document with words{drawn}; accepted: at least one")
