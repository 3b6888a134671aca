"""Epochs of image classification on one device, alone or beside others: learning, validation, log lines."""

from __future__ import annotations

import time
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
from common.learning.distributed import Group
from common.learning.learner import Learner
from common.learning.schedules import Schedule, steps
from common.learning.stopping import Patience
from common.metrics import log
from common.training import Run
from containers.image_classification import beginning, metrics
from containers.image_classification.augmenting import Prepare
from containers.image_classification.feeding import Counted
from containers.image_classification.keeping import Keeper
from containers.image_classification.network import Classifier
from containers.image_classification.reading import Labels


@dataclass
class _Work:
    """One process's part in a job."""

    run: Run
    group: Group
    learner: Learner[Classifier]
    training: Counted
    validation: Counted
    keeper: Keeper
    patience: Patience
    rates: Schedule
    weights: Tensor | None
    updates: int = 0
    images: int = 0  # that all processes have learned from

    @property
    def batch(self) -> int:
        """Images of an update in this process."""
        size: int = self.run.hyperparameters["mini_batch_size"]
        return size // self.group.locals

    def stopping(self) -> bool:
        """Whether any process was asked to stop."""
        return self.group.any(self.run.stop.requested)

    def sums(self, network: nn.Module, batch: Loaded) -> Tensor:
        """Loss, right answers, those in the top and images, added up; see `metrics`."""
        scores = network(self.learner.pixels(batch.arrays["image"]))
        labels = self.learner.tensor(batch.arrays["label"])
        values = self.run.hyperparameters
        if values["multi_label"]:
            return metrics.multiple(scores, labels, self.weights)
        return metrics.single(scores, labels, values["top_k"])


def work(run: Run, group: Group) -> None:
    """What each process does; see `common.learning.distributed.train`."""
    values = run.hyperparameters
    torch.set_num_threads(max(1, run.threads // group.locals))
    if group.leader:
        _tell_parameters(run)
    this = _prepared(run, group)
    if this is None:
        return
    first = this.keeper.resume()
    this.updates = this.learner.optimizer.steps
    _, height, width = values["image_shape"]
    workers = processes(group.device != "cpu", run.threads // group.locals, height * width)
    shape, resize, width = values["image_shape"], values["resize"], _labels(run).width
    varied, plain = (Prepare(shape, width, resize, kind) for kind in (values["augmentation_type"], None))
    with (
        Loader(varied, varied.shapes, this.batch, workers, run.seed, full=True) as learned,
        Loader(plain, plain.shapes, this.batch, workers, run.seed) as measured,
    ):
        for epoch in range(first, values["epochs"]):
            if _epoch(this, epoch, learned, measured):
                break
    this.keeper.finish(this.images > 0)


def _prepared(run: Run, group: Group) -> _Work | None:
    """None where the job was asked to stop before it began."""
    values = run.hyperparameters
    learner = beginning.learner(run, group)
    training, validation = (Counted(run, group, name, _labels(run)) for name in ("train", "validation"))
    if not run.channels["train"].piped:
        training.check(values["mini_batch_size"])
    weights = None
    if values["multi_label"] and values["use_weighted_loss"]:
        ones, images = training.labels()
        weights = metrics.balance(torch.from_numpy(ones), images).to(group.device)
    if group.any(run.stop.requested):
        return None
    patience = Patience(
        values["early_stopping_min_epochs"],
        values["early_stopping_patience"],
        values["early_stopping_tolerance"],
    )
    updates = -(-values["num_training_samples"] // (values["mini_batch_size"] * run.cluster.size))
    rates = steps(
        values["learning_rate"], values["lr_scheduler_factor"], values["lr_scheduler_step"] or (), updates
    )
    keeper = Keeper(run, group, learner, patience)
    return _Work(run, group, learner, training, validation, keeper, patience, rates, weights)


def _epoch(this: _Work, epoch: int, learned: Loader, measured: Loader) -> bool:
    """One pass over both channels; whether training ends with it."""
    run, values, leads = this.run, this.run.hyperparameters, this.group.leader
    started = time.perf_counter()
    loss, right, top, images = _learn(this, epoch, learned)
    seconds = time.perf_counter() - started
    this.images += int(images)
    if this.stopping():
        return True
    this.training.check(values["mini_batch_size"])
    if not np.isfinite(loss) or not this.learner.healthy:
        raise ClientError(
            "the loss is not a finite number: training diverged; accepted: a smaller learning_rate, or "
            "use_pretrained_model=1"
        )
    if leads:
        log.info("Epoch[%d] Train-accuracy=%f", epoch, right / images)
        if values["top_k"] is not None and not values["multi_label"]:
            log.info("Epoch[%d] Train-top_k_accuracy_%d=%f", epoch, values["top_k"], top / images)
        log.info("Epoch[%d] Time cost=%.3f", epoch, seconds)
    _, right, _, count = _measure(this, epoch, measured)
    if this.stopping():
        return True
    if not count:
        raise ClientError("channel validation holds no images; accepted: at least one")
    accuracy = right / count
    if leads:
        log.info("Epoch[%d] Validation-accuracy=%f", epoch, accuracy)
    ends = this.patience.ends(accuracy)
    this.keeper.epoch(epoch + 1, accuracy)
    if leads:
        run.metrics.throughput(int(images), seconds)
        run.metrics.flush(epoch=epoch)
    if not values["early_stopping"] or not ends:
        return False
    if leads:
        log.info("Early stopping: validation accuracy was best after epoch %d", this.keeper.best_epoch)
    return True


def _learn(this: _Work, epoch: int, loader: Loader) -> NDArray[np.float64]:
    """One pass of learning: `_Work.sums` of all processes' images."""
    total = torch.zeros(4, dtype=torch.float64, device=this.group.device)
    source = this.training.learning(epoch, this.batch)
    with closing(source), closing(loader.epoch(source, epoch)) as batches:
        for loaded in this.group.in_step(batches):
            total += this.learner.step(this.rates(this.updates), partial(this.sums, batch=loaded))
            this.updates += 1
    return this.group.sum(total.cpu().numpy())


def _measure(this: _Work, epoch: int, loader: Loader) -> NDArray[np.float64]:
    """The same on validation images, without learning; of some of them where the job is asked to stop."""
    total = torch.zeros(4, dtype=torch.float64, device=this.group.device)
    source = this.validation.measuring()
    with (
        this.run.metrics.timed("model.score.time"),
        closing(source),
        closing(loader.epoch(source, epoch)) as batches,
    ):
        for loaded in batches:
            if this.run.stop.requested:
                break
            total += this.learner.evaluate(partial(this.sums, batch=loaded))
    return this.group.sum(total.cpu().numpy())


def _labels(run: Run) -> Labels:
    return Labels(run.hyperparameters["num_classes"], bool(run.hyperparameters["multi_label"]))


def _tell_parameters(run: Run) -> None:
    values = run.hyperparameters
    shown: dict[str, Any] = {
        "num_layers": values["num_layers"],
        "data type": values["precision_dtype"],
        "epochs": values["epochs"],
        "image resize size": values["resize"],
        "optimizer": values["optimizer"],
        "momentum": values["momentum"],
        "weight_decay": values["weight_decay"],
        "learning_rate": values["learning_rate"],
        "num_training_samples": values["num_training_samples"],
        "mini_batch_size": values["mini_batch_size"],
        "image_shape": ",".join(map(str, values["image_shape"])),
        "num_classes": values["num_classes"],
        "augmentation_type": values["augmentation_type"],
        "kv_store": (values["kv_store"] or "dist_sync") if run.cluster.size > 1 else "device",
        "top_k": values["top_k"],
    }
    log.info("---- Parameters ----")
    for name, value in shown.items():
        log.info("%s: %s", name, value)
    log.info("--------------------")
