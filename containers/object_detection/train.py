"""The job: from channels and hyperparameters to a learner, epoch after epoch, and the best model."""

from __future__ import annotations

import re
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.failures import ClientError
from common.images.loading import Loaded, Loader, processes
from common.learning import distributed, pretrained, previous, schedules
from common.learning.distributed import Group
from common.learning.feeding import Feed
from common.learning.keeping import Keeper
from common.learning.learner import Learner
from common.learning.stopping import Patience
from common.metrics import log
from common.networks import parameters
from common.networks.parameters import SYMBOL
from common.optimizers import Settings
from common.training import Run
from containers.object_detection import artifact, detecting, losses, network, reading
from containers.object_detection.annotations import ROW, Objects
from containers.object_detection.artifact import Model
from containers.object_detection.augmenting import Prepare
from containers.object_detection.network import Network
from containers.object_detection.plans import RESNET
from containers.object_detection.precision import Precision

# What VGG's ImageNet weights were trained with taken off, in RGB.
_MEANS = (123.68, 116.779, 103.939)
_WEIGHTS = {RESNET: "resnet-50"}


def train(run: Run) -> None:
    """The job: every device of every host trains the same network."""
    values = run.hyperparameters
    if run.cluster.size > 1 and values["kv_store"] == "dist_async":
        raise ClientError(
            "hyperparameter kv_store is dist_async; accepted on several machines: dist_sync, since they "
            "average their gradients at each update"
        )
    if values["mini_batch_size"] % len(run.devices):
        raise ClientError(
            f"hyperparameter mini_batch_size is {values['mini_batch_size']}; accepted: a multiple of the "
            f"number of GPUs, {len(run.devices)}"
        )
    distributed.train(run, work)


@dataclass
class _Work:
    """One process's part in a job."""

    run: Run
    group: Group
    learner: Learner[Network]
    training: Feed
    validation: Feed
    keeper: Keeper[Network]
    patience: Patience

    def loss(self, detector: nn.Module, batch: Loaded) -> Tensor:
        """See `losses.loss`."""
        scores, offsets = detector(self.learner.pixels(batch.arrays["image"]))
        labels = torch.from_numpy(batch.arrays["label"][:, :, :ROW].copy())
        return losses.loss(scores, offsets, self.learner.network.anchors, labels)


def work(run: Run, group: Group) -> None:
    """What each process does; see `common.learning.distributed.train`."""
    values = run.hyperparameters
    objects = Objects(values["num_classes"], values["label_width"])
    # What is wrong with data is told before a network is made.
    training, validation = (_feed(run, name, objects) for name in ("train", "validation"))
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
        [artifact.PARAMS],
        partial(parameters.dump, naming=SYMBOL),
        partial(_describe, run, learner.network),
        ("base_network", "num_classes", "image_shape", "optimizer"),
    )
    this = _Work(run, group, learner, training, validation, keeper, patience)
    if group.leader:
        _announce(run)
    first = keeper.resume()
    batch = values["mini_batch_size"] // group.locals
    workers = processes(group.device != "cpu", run.threads // group.locals, values["image_shape"] ** 2)
    varied, plain = (Prepare(values["image_shape"], objects.most, varied) for varied in (True, False))
    with (
        Loader(varied, varied.shapes, batch, workers, run.seed, full=True) as learned,
        Loader(plain, plain.shapes, batch, workers, run.seed) as measured,
    ):
        for epoch in range(first, values["epochs"]):
            if _epoch(this, epoch, learned, measured, batch):
                break
    keeper.finish()
    if group.leader:
        log.info("Test data is not provided.")


def _epoch(this: _Work, epoch: int, learned: Loader, measured: Loader, batch: int) -> bool:
    """One pass over both channels; whether training ends with it."""
    run, group, values = this.run, this.group, this.run.hyperparameters
    begun = time.perf_counter()
    sums, updates, images = _train(this, epoch, learned, batch)
    if not images and not group.any(run.stop.requested):
        raise ClientError("channel train holds no images; accepted: at least one")
    if not np.isfinite(sums).all() or not this.learner.healthy:
        raise ClientError(
            "the loss is not a finite number: training diverged; accepted: a smaller learning_rate, or "
            "use_pretrained_model=1"
        )
    boxes = max(sums[3], 1.0)
    if group.leader and images:
        for name, value in (("cross_entropy", sums[1] / boxes), ("smooth_l1", sums[2] / boxes)):
            log.info(
                "#quality_metric: host=%s, epoch=%d, batch=%d train %s <loss>=(%s)",
                run.metrics.host,
                epoch,
                updates,
                name,
                value,
            )
        log.info("Round of batches complete")
        run.metrics.throughput(images, time.perf_counter() - begun)
    if group.any(run.stop.requested):
        return True
    score = _validate(this, epoch, measured)
    if score is None:
        return True
    if group.leader:
        log.info("Updated the metrics")
        log.info(
            "#quality_metric: host=%s, epoch=%d, validation mAP <score>=(%s)", run.metrics.host, epoch, score
        )
        if score > this.keeper.best:
            log.info("Updating the best model with validation-mAP=%s", score)
    this.keeper.better(score)
    ends = this.patience.ends(score)
    this.keeper.checkpoint(epoch + 1)
    if group.leader:
        run.metrics.progress(round(100 * (epoch + 1) / values["epochs"]))
        run.metrics.flush(epoch=epoch)
    return bool(values["early_stopping"] and ends)


def _train(this: _Work, epoch: int, loader: Loader, batch: int) -> tuple[NDArray[np.float64], int, int]:
    """One pass of learning: the sums of `losses.loss`, updates, and images of all processes."""
    group, values = this.group, this.run.hyperparameters
    expected = max(1, values["num_training_samples"] // (batch * group.size))
    rates = schedules.steps(
        values["learning_rate"], values["lr_scheduler_factor"], values["lr_scheduler_step"] or (), expected
    )
    source = this.training.train(this.run, group, epoch, batch)
    totals = torch.zeros(4, dtype=torch.float64)
    images = updates = 0
    with closing(source), closing(loader.epoch(source, epoch)) as batches:
        for loaded in group.in_step(batches):
            rate = rates(epoch * expected + updates)
            totals += this.learner.step(rate, partial(this.loss, batch=loaded)).cpu().double()
            images += loaded.count
            updates += 1
    found = group.sum(np.append(totals.numpy(), images))
    if epoch == 0 and group.leader and abs(updates - expected) > 1:
        log.warning(
            "Expected number of batches: %d, did not match the number of batches processed: %d. This may "
            "happen when some images or annotations are invalid and cannot be parsed, or when "
            "num_training_samples is not the number of images.",
            expected,
            updates,
        )
    return found[:4], updates, int(found[4])


def _validate(this: _Work, epoch: int, loader: Loader) -> float | None:
    """The mean average precision on validation images; None where the job was asked to stop."""
    run, group, values = this.run, this.group, this.run.hyperparameters
    precision = Precision(values["overlap_threshold"])
    source = this.validation.measure(run, group)
    images = 0
    with (
        run.metrics.timed("model.score.time"),
        closing(source),
        closing(loader.epoch(source, epoch)) as batches,
    ):
        for loaded in batches:
            if run.stop.requested:
                break
            found = this.learner.evaluate(partial(_detected, this=this, batch=loaded))
            for detections, labels in zip(found, loaded.arrays["label"], strict=True):
                precision.add(detections, labels[labels[:, 0] >= 0])
            images += loaded.count
    if group.any(run.stop.requested):
        return None
    if not group.sum(np.array([images]))[0]:
        raise ClientError("channel validation holds no images; accepted: at least one")
    precision.merge(group.gather(precision.state()))
    return precision.mean()


def _detected(detector: Network, this: _Work, batch: Loaded) -> list[NDArray[np.float32]]:
    values = this.run.hyperparameters
    scores, offsets = detector(this.learner.pixels(batch.arrays["image"]))
    return detecting.detect(
        scores.float().softmax(1).cpu().contiguous().numpy(),
        offsets.float().cpu().numpy(),
        detector.anchors,
        values["nms_threshold"],
        values["nms_topk"],
    )


def _describe(run: Run, detector: Network) -> None:
    values = run.hyperparameters
    model = Model(detector, values["nms_threshold"], values["nms_topk"])
    artifact.write_description(run.job.model, model, values.as_texts())


def _announce(run: Run) -> None:
    """Says what is done to images and labels."""
    side = run.hyperparameters["image_shape"]
    for kind in ("Training", "Validation"):
        log.warning("%s images are resized to image shape (3, %d, %d)", kind, side, side)
    log.info("label padding width: %d", run.hyperparameters["label_width"])
    for channel in run.channels.values():
        if channel.piped:
            log.info("The channel '%s' is in pipe input mode under %s.", channel.name, channel.folder)


def _learner(run: Run, group: Group) -> Learner[Network]:
    values = run.hyperparameters
    detector = Network(values["base_network"], values["num_classes"], values["image_shape"])
    network.initialize(detector, torch.Generator().manual_seed(run.seed))
    with previous.opened(run) as folder:
        if folder is not None:
            earlier = artifact.read(folder).network
            previous.compare(values, {"base_network": earlier.base_network, "num_classes": earlier.classes})
            parameters.fill(detector, parameters.dump(earlier, SYMBOL), SYMBOL, "the model in channel model")
            log.info("Going on from the model of channel %s", previous.CHANNEL)
        elif values["use_pretrained_model"]:
            _begin_with_imagenet(detector)
    optimizer = values["optimizer"]
    settings = Settings(
        rate=values["learning_rate"],
        decay=values["weight_decay"] if optimizer in ("sgd", "rmsprop") else 0.0,
        momentum=values["momentum"] if optimizer == "sgd" else 0.0,
    )
    return Learner(
        detector,
        group,
        "momentum" if optimizer == "sgd" else optimizer,
        settings,
        run.threads,
        frozen=_frozen(detector, values["freeze_layer_pattern"]),
        undecayed=lambda name: name.endswith(".bias"),
        speed=partial(_speed, trunk={name for name, _ in detector.trunk[0].named_parameters()}),
    )


def _speed(name: str, trunk: set[str]) -> float:
    """Biases of the layers behind the base network learn twice as fast, as AWS's symbol has it."""
    return 2.0 if name.endswith(".bias") and name not in trunk else 1.0


def _begin_with_imagenet(detector: Network) -> None:
    """Gives the base network ImageNet's weights; what is new keeps its own."""
    name = _WEIGHTS.get(detector.base_network, "vgg16-reduced")
    trunk = detector.trunk[0]
    parameters.fill(trunk, pretrained.arrays(name), SYMBOL, f"{name}.params")
    with torch.no_grad():
        if detector.base_network == RESNET:
            detector.get_parameter("bn_data.weight").fill_(1.0)
        else:
            # Pixels come as they are here: the first layer takes the means off.
            first = detector.get_submodule("conv1_1")
            assert isinstance(first, nn.Conv2d)
            assert first.bias is not None
            first.bias -= (first.weight * torch.tensor(_MEANS).reshape(1, 3, 1, 1)).sum((1, 2, 3))
    log.info("Start training from pretrained model 1")


def _frozen(detector: Network, pattern: str) -> set[str]:
    """Names, as torch has them, of the parameters whose MXNet names begin with a match of ``pattern``."""
    if not pattern:
        return set()
    names = {id(tensor): name for name, tensor in detector.named_parameters()}
    found = {
        names[id(tensor)]
        for name, tensor in parameters.named(detector, SYMBOL).items()
        if name.startswith("arg:") and re.match(pattern, name.removeprefix("arg:"))
    }
    if not found:
        raise ClientError(
            f"hyperparameter freeze_layer_pattern is '{pattern}', which no parameter of "
            f"{detector.base_network} begins with; accepted: a pattern such as ^(conv1_|conv2_).*"
        )
    log.info("Freezed parameters: %s", sorted(found))
    return found


def _feed(run: Run, name: str, objects: Objects) -> Feed:
    channel = run.channels[name]
    read = partial(reading.stream, channel, objects)
    if channel.piped:
        return Feed(channel, None, read)
    return Feed(channel, reading.items(channel, run.channels.get(f"{name}_annotation"), objects), read)
