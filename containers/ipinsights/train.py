"""Carries a job's channels to IP Insights: mini-batches to steps, an AUC after each epoch, model_algo-1."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from common.batches import Float32
from common.channels.streams import Stream
from common.cores import Cores
from common.failures import ClientError
from common.metrics import log
from common.training import Run
from containers.ipinsights import artifact, reading
from containers.ipinsights.engines import Engine, engine
from containers.ipinsights.evaluation import Area
from containers.ipinsights.exchange import over
from containers.ipinsights.learning import Settings
from containers.ipinsights.model import BATCHES, VALIDATION, Model, Shape
from containers.ipinsights.negatives import random_addresses
from containers.ipinsights.pairs import Pairs, join, none

_LARGEST = 8 << 30  # bytes: what AWS supports


def train(run: Run) -> None:
    """Trains and scores; the leader writes the model."""
    log.info("Checkpoint loading and saving are disabled.")
    for channel in run.channels.values():
        reading.check_columns(channel.media_type, f"channel {channel.name}")
    shape = _shape(run)
    with Cores(run.threads) as cores:
        learner = engine(shape, _settings(run), cores, run.devices)
        rows = _epochs(run, learner, cores)
        if not rows and run.cluster.any(run.stop.requested):
            log.info("Stopping on request before a row was read: no model")
        elif run.cluster.leader:
            with run.artifact(artifact.NAME) as path:
                artifact.write(path, learner.model())


def _shape(run: Run) -> Shape:
    values = run.hyperparameters
    shape = Shape(
        values["num_entity_vectors"], values["vector_dim"], values["num_ip_encoder_layers"], run.seed
    )
    size = shape.num_entity_vectors * shape.vector_dim * 4
    if size > _LARGEST:
        log.warning(
            "num_entity_vectors * vector_dim * 4 is %d bytes, more than the 8 GB that SageMaker supports; "
            "memory is needed only for entities that the data have",
            size,
        )
    return shape


def _settings(run: Run) -> Settings:
    values = run.hyperparameters
    return Settings(
        values["learning_rate"],
        values["weight_decay"],
        values["random_negative_sampling_rate"],
        values["shuffled_negative_sampling_rate"],
    )


def _epochs(run: Run, learner: Engine, cores: Cores) -> int:
    """All epochs; how many pairs all hosts have learnt from."""
    rows, epochs = 0, run.hyperparameters["epochs"]
    for epoch in run.epochs(epochs):
        started = time.perf_counter()
        with run.metrics.timed("update.time"):
            sums, own = _epoch(run, learner, epoch)
        rows += int(sums[3])
        if not sums[3]:
            if run.cluster.any(run.stop.requested):
                return rows
            raise ClientError("channel train has no rows; accepted: at least one pair of entity and address")
        run.metrics.quality("train", _LOSS, sums[0] / sums[2], epoch=epoch)
        run.metrics.quality("train", _ACCURACY, sums[1] / sums[2], "score", epoch=epoch)
        seconds = time.perf_counter() - started
        if "validation" in run.channels:
            _validate(run, learner.model(), cores, epoch)
        run.metrics.add("epochs", 1)
        run.metrics.progress(100.0 * (epoch + 1) / epochs)
        run.metrics.throughput(own, seconds)
    return rows


_LOSS, _ACCURACY = "binary_classification_cross_entropy", "binary_classification_accuracy"


def _epoch(run: Run, learner: Engine, epoch: int) -> tuple[NDArray[np.float64], int]:
    """One pass: the sums of all hosts' losses and so on, and how many pairs were this host's."""
    interval = run.hyperparameters["batch_metrics_publish_interval"]
    batches = _batches(run, "train")
    total, own, number = np.zeros(4), 0, 0
    combine = over(run.cluster)
    mark, before = time.perf_counter(), 0
    while True:
        batch = next(batches, None)
        if not run.cluster.any(batch is not None):
            break
        key = learner.shape.key(BATCHES, epoch, number, run.cluster.rank)
        pairs = none() if batch is None else batch
        total += learner.learn(pairs, key, combine)
        own, number = own + len(pairs), number + 1
        if not math.isfinite(total[0]):
            raise ClientError(
                f"the loss is {total[0]} in batch {number} of epoch {epoch}: training diverged; "
                "a smaller learning_rate may help"
            )
        if number % interval == 0:
            now = time.perf_counter()
            _tell(run, epoch, number, total, (own - before) / max(now - mark, 1e-9))
            mark, before = now, own
    run.metrics.counted("training_data_iter", own, number, epoch=epoch)
    return total, own


def _tell(run: Run, epoch: int, batch: int, total: NDArray[np.float64], speed: float) -> None:
    """What AWS prints each batch_metrics_publish_interval, in the form of MXNet's Speedometer first."""
    loss, accuracy = total[0] / total[2], total[1] / total[2]
    log.info(
        "Epoch[%d] Batch [%d]\tSpeed: %.2f samples/sec\t%s=%f\t%s=%f",
        *(epoch, batch, speed, _LOSS, loss, _ACCURACY, accuracy),
    )
    run.metrics.quality("train", _LOSS, loss, epoch=epoch, batch=batch)
    run.metrics.quality("train", _ACCURACY, accuracy, "score", epoch=epoch, batch=batch)


def _validate(run: Run, model: Model, cores: Cores, epoch: int) -> None:
    """Prints the AUC of all hosts' validation pairs, each against a random address, always the same."""
    area, rows = Area(), 0
    key = model.shape.key(VALIDATION, run.cluster.rank)

    def scores(pairs: Pairs) -> Float32:
        parts = cores.parts(len(pairs))
        return np.concatenate(cores.map(lambda part: model.scores(pairs[part]), parts))

    with run.metrics.timed("validation.time"):
        for pairs in _batches(run, "validation"):
            others = Pairs(pairs.entities, random_addresses(key, rows, len(pairs)))
            area.add(scores(pairs), scores(others))
            rows += len(pairs)
        counts = run.cluster.all_reduce(area.counts)
    if run.cluster.any(run.stop.requested):
        return  # an early end of the channel: no score of all of it
    if not counts.any():
        raise ClientError("channel validation has no rows; accepted: at least one, or no validation channel")
    run.metrics.quality("validation", "discriminator_auc", Area.of(counts), "score", epoch=epoch)


def _batches(run: Run, name: str) -> Iterator[Pairs]:
    channel = run.channels[name]

    def decode(stream: Stream, shown: str) -> Iterator[Pairs]:
        return reading.decode(stream, shown, channel.media_type)

    return channel.read(decode, join, run.hyperparameters["mini_batch_size"], share=True)
