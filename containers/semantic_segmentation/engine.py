"""Epochs of semantic segmentation on one device, alone or beside others: learning, validation, log lines."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.failures import ClientError
from common.images.loading import Loaded, Loader, processes
from common.job import written
from common.learning import pretrained, previous, schedules
from common.learning.distributed import Group
from common.learning.feeding import Feed
from common.learning.keeping import Keeper
from common.learning.learner import Learner
from common.learning.schedules import Schedule
from common.learning.stopping import Patience
from common.metrics import log
from common.networks import parameters
from common.networks.parameters import GLUON
from common.optimizers import Settings
from common.training import Run
from containers.semantic_segmentation import artifact, labels, losses, metrics, network, reading
from containers.semantic_segmentation.augmenting import Masks, Prepare
from containers.semantic_segmentation.network import Network

Pairs = Generator[tuple[NDArray[np.uint8], NDArray[np.uint8]], None, None]

_WEIGHTS = {"resnet-50": "resnet50-v1s", "resnet-101": "resnet101-v1s"}


@dataclass
class _Work:
    """One process's part in a job."""

    run: Run
    group: Group
    learner: Learner[Network]
    training: Feed
    validation: Feed
    masks: Masks  # of validation
    keeper: Keeper[Network]
    patience: Patience
    rates: Schedule
    updates: int = 0

    def loss(self, segmenter: nn.Module, batch: Loaded) -> Tensor:
        """The loss, its sum over pixels, and how many pixels there were."""
        outputs = segmenter(network.normalised(self.learner.pixels(batch.arrays["image"])))
        loss, pixels = losses.loss(outputs, self.learner.tensor(batch.arrays["label"]).long())
        return torch.stack([loss, loss.detach() * pixels, pixels.to(loss)])


def work(run: Run, group: Group) -> None:
    """What each process does; see `common.learning.distributed.train`."""
    values = run.hyperparameters
    torch.set_num_threads(max(1, run.threads // group.locals))
    torch.manual_seed(run.seed + group.rank)  # of what is dropped out
    this = _prepared(run, group)
    first = this.keeper.resume()
    this.updates = this.learner.optimizer.steps
    crop, batch = values["crop_size"], values["mini_batch_size"] // group.locals
    workers = processes(group.device != "cpu", run.threads // group.locals, crop * crop)
    varied = Prepare(_masks(run, "train"), crop, values["base_size"])
    plain = Prepare(this.masks, crop, None)
    with (
        Loader(varied, varied.shapes, batch, workers, run.seed, full=True) as learned,
        Loader(plain, plain.shapes, values["validation_mini_batch_size"], workers, run.seed) as measured,
    ):
        for epoch in range(first, values["epochs"]):
            if _epoch(this, epoch, learned, measured):
                break
    this.keeper.finish()


def _prepared(run: Run, group: Group) -> _Work:
    values = run.hyperparameters
    learner = _learner(run, group)
    patience = Patience(
        values["early_stopping_min_epochs"],
        values["early_stopping_patience"],
        values["early_stopping_tolerance"],
    )
    keeper = Keeper(
        run,
        group,
        learner,
        patience,
        artifact.FILES,
        partial(parameters.dump, naming=GLUON),
        partial(_describe, run),
        ("algorithm", "backbone", "num_classes", "crop_size", "optimizer"),
    )
    training, validation = (_feed(run, name) for name in ("train", "validation"))
    if training.items is not None and len(training.items) != values["num_training_samples"] and group.leader:
        log.warning(
            "hyperparameter num_training_samples is %d and there are %d training images: the learning rate "
            "falls too slowly or too fast",
            values["num_training_samples"],
            len(training.items),
        )
    masks = _masks(run, "validation")
    return _Work(run, group, learner, training, validation, masks, keeper, patience, _rates(run))


def _epoch(this: _Work, epoch: int, learned: Loader, measured: Loader) -> bool:
    """One pass over both channels; whether training ends with it."""
    run, group, values = this.run, this.group, this.run.hyperparameters
    begun = time.perf_counter()
    loss, pixels, images = _learn(this, epoch, learned)
    if group.any(run.stop.requested):
        return True
    if not images:
        raise ClientError("channel train holds no images; accepted: at least one")
    if not np.isfinite(loss) or not this.learner.healthy:
        raise ClientError(
            "the loss is not a finite number: training diverged; accepted: a smaller learning_rate, or "
            "use_pretrained_model=True"
        )
    host = run.metrics.host
    if group.leader:
        run.metrics.throughput(int(images), time.perf_counter() - begun)
        run.metrics.quality("train", "loss", loss / max(pixels, 1.0), epoch=epoch)
    begun = time.perf_counter()
    counts, images = _measure(this, epoch, measured)
    if group.any(run.stop.requested):
        return True
    if not images:
        raise ClientError("channel validation holds no images; accepted: at least one")
    score = metrics.mean_iou(counts)
    if group.leader:
        rate = images / max(time.perf_counter() - begun, 1e-9)
        log.info("#throughput_metric: host=%s, validation throughput=%s records/second", host, rate)
        run.metrics.quality("validation", "mIOU", score, "score", epoch=epoch)
        run.metrics.quality("validation", "pixel_accuracy", metrics.accuracy(counts), "score", epoch=epoch)
    this.keeper.better(score)
    ends = this.patience.ends(score)
    this.keeper.checkpoint(epoch + 1)
    if group.leader:
        run.metrics.progress(round(100 * (epoch + 1) / values["epochs"]))
        run.metrics.flush(epoch=epoch)
    return bool(values["early_stopping"] and ends)


def _learn(this: _Work, epoch: int, loader: Loader) -> tuple[float, float, float]:
    """One pass of learning: summed loss, pixels and images of all processes."""
    group = this.group
    batch = this.run.hyperparameters["mini_batch_size"] // group.locals
    source = this.training.train(this.run, group, epoch, batch)
    totals = torch.zeros(3, dtype=torch.float64)
    images = 0
    with closing(source), closing(loader.epoch(source, epoch)) as batches:
        for loaded in group.in_step(batches):
            rate = this.rates(this.updates)
            totals += this.learner.step(rate, partial(this.loss, batch=loaded)).cpu().double()
            images += loaded.count
            this.updates += 1
    found = group.sum(np.append(totals.numpy(), images))
    return float(found[1]), float(found[2]), float(found[3])


def _measure(this: _Work, epoch: int, loader: Loader) -> tuple[NDArray[np.int64], int]:
    """What pixels of each class were answered as, and images, of all processes."""
    run, group, values = this.run, this.group, this.run.hyperparameters
    classes = values["num_classes"]
    counts = np.zeros((classes, classes), np.int64)
    images = 0
    source = this.validation.measure(run, group)
    with run.metrics.timed("model.score.time"), closing(source):
        whole = values["validation_mini_batch_size"] == 1
        pairs = _whole(this, source) if whole else _crops(this, source, epoch, loader)
        with closing(pairs):
            for pixels, masks in pairs:
                if run.stop.requested:
                    break
                answers = this.learner.evaluate(partial(_classes, this=this, pixels=pixels))
                counts += metrics.confusion(answers, masks, classes)
                images += len(masks)
    found = group.sum(np.append(counts.ravel(), images))
    return found[:-1].reshape(classes, classes).astype(np.int64), int(found[-1])


def _whole(this: _Work, source: Iterator[Any]) -> Pairs:
    """Whole images, one by one."""
    for item in source:
        image, mask = this.masks.pair(item)
        yield image[None], mask[None]


def _crops(this: _Work, source: Iterator[Any], epoch: int, loader: Loader) -> Pairs:
    """The middles of images, several at a time."""
    with closing(loader.epoch(source, epoch)) as batches:
        for loaded in batches:
            yield loaded.arrays["image"], loaded.arrays["label"]


def _classes(segmenter: Network, this: _Work, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    scores = segmenter(network.normalised(this.learner.pixels(np.ascontiguousarray(pixels))))
    assert isinstance(scores, Tensor)
    found: NDArray[np.int64] = scores.argmax(1).cpu().numpy()
    return found


def _learner(run: Run, group: Group) -> Learner[Network]:
    values = run.hyperparameters
    names = ("algorithm", "backbone", "num_classes", "crop_size")
    segmenter = Network(*(values[name] for name in names))
    network.initialize(segmenter, torch.Generator().manual_seed(run.seed))
    with previous.opened(run) as folder:
        if folder is not None:
            earlier = artifact.read(folder)
            found = (earlier.algorithm, earlier.backbone, earlier.classes, earlier.crop_size)
            previous.compare(values, dict(zip(names, found, strict=True)))
            artifact.take_over(segmenter, earlier)
            log.info("Going on from the model of channel %s", previous.CHANNEL)
        elif values["use_pretrained_model"]:
            name = _WEIGHTS[values["backbone"]]
            new = [n for n in parameters.named(segmenter, GLUON) if network.decodes(n)]
            parameters.fill(segmenter, pretrained.arrays(name), GLUON, f"{name}.params", but=new)
            log.info("Beginning with ImageNet's weights")
    if values["syncbn"] and group.size > 1 and group.device != "cpu":
        segmenter = nn.SyncBatchNorm.convert_sync_batchnorm(segmenter)
    optimizer = values["optimizer"]
    centred = optimizer == "rmsprop"
    settings = Settings(
        rate=values["learning_rate"],
        decay=values["weight_decay"] if optimizer == "sgd" else 0.0,
        momentum={"sgd": values["momentum"], "nag": 0.9}.get(optimizer, 0.0),
        keep=values["gamma1"] if centred else None,
        keep_square=values["gamma2"] if centred else None,
    )
    return Learner(
        segmenter,
        group,
        {"sgd": "momentum", "rmsprop": "centred_rmsprop"}.get(optimizer, optimizer),
        settings,
        run.threads,
        speed=lambda name: network.DECODER_RATE if network.decodes(name) else 1.0,
    )


def _rates(run: Run) -> Schedule:
    """The learning rate at each update, over the whole job."""
    values = run.hyperparameters
    each = -(-values["num_training_samples"] // values["mini_batch_size"])
    rate, kind = values["learning_rate"], values["lr_scheduler"]
    if kind == "step":
        return schedules.steps(rate, values["lr_scheduler_factor"], values["lr_scheduler_step"], each)
    if kind == "cosine":
        return schedules.cosine(rate, each * values["epochs"])
    return schedules.poly(rate, each * values["epochs"])


def _feed(run: Run, name: str) -> Feed:
    channel = run.channels[name]
    read = partial(reading.stream, channel)
    if channel.piped:
        return Feed(channel, None, read)
    return Feed(channel, reading.items(channel, run.channels.get(f"{name}_annotation")), read)


def _masks(run: Run, name: str) -> Masks:
    maps = None if run.channels[name].piped else run.channels.get("label_map")
    return Masks(run.hyperparameters["num_classes"], labels.read(maps, name))


def _describe(run: Run) -> None:
    with written(run.job.model / artifact.SETTINGS) as path:
        path.write_text(json.dumps(run.hyperparameters.as_texts()))
