"""Carries images to the network, prints its lines and writes the best model."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.channels import Channel
from common.failures import ClientError
from common.formats import ndarray
from common.images import sources
from common.images.loading import Loaded, Loader, processes
from common.images.sources import Item
from common.learning import distributed, pretrained, previous, schedules
from common.learning.checkpoints import Checkpoints
from common.learning.distributed import Group
from common.learning.learner import Learner
from common.learning.stopping import Patience
from common.metrics import log
from common.networks import parameters, resnet_v2
from common.networks.parameters import SYMBOL
from common.optimizers import Settings
from common.training import Run
from containers.image_classification import artifact, metrics, reading
from containers.image_classification.augmenting import Prepare
from containers.image_classification.network import LAST, Classifier
from containers.image_classification.reading import Labels

_BEST = "best:"


def train(run: Run) -> None:
    """The job: every device of every host trains the same network."""
    _check(run)
    distributed.train(run, work)


def _check(run: Run) -> None:
    """What needs to know channels and hosts. Raises ClientError."""
    values = run.hyperparameters
    if run.channels["train"].media_type.name != reading.RECORDIO and values["resize"] is None:
        raise ClientError(
            "hyperparameter resize is missing; accepted with image files: the length of their shorter side"
        )
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
    if values["use_weighted_loss"] and values["multi_label"] and run.channels["train"].piped:
        raise ClientError(
            "hyperparameter use_weighted_loss is 1 in Pipe mode; accepted: 0, or File mode, since labels are "
            "counted before training"
        )


@dataclass
class _Channel:
    """Images of a channel: all of them, or in Pipe mode a pass after the other."""

    channel: Channel
    labels: Labels
    items: list[Item] | None

    def train(self, run: Run, group: Group, epoch: int, batch: int) -> Generator[Item, None, None]:
        """This process's part of a pass of learning: as many whole batches as all others'."""
        if self.items is None:
            return self._dealt(group)
        items = self._of_host(run)
        order = np.random.default_rng((run.seed, epoch)).permutation(len(items))
        return _each(group.share([items[index] for index in order], batch))

    def measure(self, run: Run, group: Group) -> Generator[Item, None, None]:
        """This process's part of a pass in which every image is seen once."""
        if self.items is None:
            return self._dealt(group)
        return _each(self._of_host(run)[group.local :: group.locals])

    def _of_host(self, run: Run) -> Sequence[Item]:
        assert self.items is not None
        return sources.share(self.items, self.channel, run.cluster.rank, run.cluster.size)

    def _dealt(self, group: Group) -> Generator[Item, None, None]:
        return group.dealt(lambda: reading.stream(self.channel, self.labels))


def _each(items: Iterable[Item]) -> Generator[Item, None, None]:
    yield from items


@dataclass
class _Work:
    """One process's part in a job."""

    run: Run
    group: Group
    learner: Learner[Classifier]
    training: _Channel
    validation: _Channel
    weights: Tensor | None
    checkpoints: Checkpoints
    patience: Patience
    best: float = -1.0
    best_epoch: int = 0  # counted from 1; 0 before there is one
    stopped: bool = field(default=False)

    def loss(self, network: nn.Module, batch: Loaded) -> Tensor:
        """See `metrics`."""
        scores = network(self.learner.pixels(batch.arrays["image"]))
        labels = self.learner.tensor(batch.arrays["label"])
        values = self.run.hyperparameters
        if values["multi_label"]:
            return metrics.multiple(scores, labels, self.weights)
        return metrics.single(scores, labels, values["top_k"])


def work(run: Run, group: Group) -> None:
    """What each process does; see `common.learning.distributed.train`."""
    values = run.hyperparameters
    if group.leader:
        _tell_parameters(run)
    labels = Labels(values["num_classes"], bool(values["multi_label"]))
    learner = _learner(run, group)
    training, validation = _channel(run, "train", labels), _channel(run, "validation", labels)
    if training.items is not None and len(training.items) < values["mini_batch_size"]:
        raise ClientError(
            f"The number of input images must be bigger or equal to the mini_batch_size. There are "
            f"{len(training.items)} images, and mini_batch_size is {values['mini_batch_size']}"
        )
    this = _Work(
        run,
        group,
        learner,
        training,
        validation,
        _weights(run, group, training),
        Checkpoints(
            run.job.checkpoints if group.leader else None,
            {name: values[name] for name in ("num_layers", "num_classes", "optimizer", "multi_label")}
            | {"image_shape": list(values["image_shape"])},
        ),
        Patience(
            values["early_stopping_min_epochs"],
            values["early_stopping_patience"],
            values["early_stopping_tolerance"],
        ),
    )
    first = _resume(this)
    batch = values["mini_batch_size"] // group.locals
    _, height, width = values["image_shape"]
    workers = processes(group.device != "cpu", run.threads // group.locals, height * width)
    if group.leader:
        artifact.write_description(run.job.model, learner.network, values["mini_batch_size"])
        if values["checkpoint_frequency"] is None:
            log.info("This job will store the model of the best validation accuracy")
    augmented = Prepare(values["image_shape"], labels.width, values["resize"], values["augmentation_type"])
    plain = Prepare(values["image_shape"], labels.width, values["resize"], None)
    with (
        Loader(augmented, augmented.shapes, batch, workers, run.seed, full=True) as varied,
        Loader(plain, plain.shapes, batch, min(workers, 1), run.seed) as whole,
    ):
        for epoch in range(first, values["epochs"]):
            if _epoch(this, epoch, varied, whole, batch):
                break
    _finish(this)


def _epoch(this: _Work, epoch: int, varied: Loader, whole: Loader, batch: int) -> bool:
    """One pass over both channels; whether training ends with it."""
    run, group, values = this.run, this.group, this.run.hyperparameters
    started = time.perf_counter()
    sums, images = _train(this, epoch, varied, batch)
    if not images or not sums[3]:
        this.stopped = group.any(run.stop.requested)
        if this.stopped:
            return True
        raise ClientError("channel train holds no images; accepted: at least one")
    if group.leader:
        log.info("Epoch[%d] Train-accuracy=%f", epoch, sums[1] / sums[3])
        if values["top_k"] is not None and not values["multi_label"]:
            log.info("Epoch[%d] Train-top_k_accuracy_%d=%f", epoch, values["top_k"], sums[2] / sums[3])
        log.info("Epoch[%d] Time cost=%.3f", epoch, time.perf_counter() - started)
    if not np.isfinite(sums[0]) or not this.learner.healthy:
        raise ClientError(
            "the loss is not a finite number: training diverged; accepted: a smaller learning_rate, or "
            "use_pretrained_model=1"
        )
    if group.any(run.stop.requested):
        this.stopped = True
        return True
    accuracy = _validate(this, epoch, whole)
    if accuracy is None:
        this.stopped = True
        return True
    if group.leader:
        log.info("Epoch[%d] Validation-accuracy=%f", epoch, accuracy)
        _keep(this, epoch, accuracy)
    ends = this.patience.ends(accuracy)
    _checkpoint(this, epoch, accuracy)
    run.metrics.flush(epoch=epoch)
    if values["early_stopping"] and ends:
        log.info("Early stopping: validation accuracy was best after epoch %d", this.best_epoch)
        return True
    return False


def _train(this: _Work, epoch: int, loader: Loader, batch: int) -> tuple[NDArray[np.float64], int]:
    """One pass of learning: summed loss, right answers, those in the top and images of all processes."""
    group, values = this.group, this.run.hyperparameters
    updates = max(1, values["num_training_samples"] // (batch * group.size))
    rates = schedules.steps(
        values["learning_rate"], values["lr_scheduler_factor"], values["lr_scheduler_step"] or (), updates
    )
    source = this.training.train(this.run, group, epoch, batch)
    totals = torch.zeros(4, dtype=torch.float64)
    images = 0
    begun = time.perf_counter()
    with closing(source), closing(loader.epoch(source, epoch)) as batches:
        for number, loaded in enumerate(group.in_step(batches)):
            rate = rates(epoch * updates + number)
            totals += this.learner.step(rate, partial(this.loss, batch=loaded)).cpu().double()
            images += loaded.count
    sums = group.sum(totals.numpy())
    if group.leader:
        this.run.metrics.throughput(int(sums[3]), time.perf_counter() - begun)
    return sums, images


def _validate(this: _Work, epoch: int, loader: Loader) -> float | None:
    """The accuracy on validation images, each counted once; None where the job was asked to stop."""
    group = this.group
    source = this.validation.measure(this.run, group)
    totals = torch.zeros(4, dtype=torch.float64)
    with this.run.metrics.timed("model.score.time"):
        with closing(source), closing(loader.epoch(source, epoch)) as batches:
            for loaded in batches:
                if this.run.stop.requested:
                    break
                totals += this.learner.evaluate(partial(this.loss, batch=loaded)).cpu().double()
    if group.any(this.run.stop.requested):
        return None
    sums = group.sum(totals.numpy())
    if not sums[3]:
        raise ClientError("channel validation holds no images; accepted: at least one")
    return float(sums[1] / sums[3])


def _keep(this: _Work, epoch: int, accuracy: float) -> None:
    """Writes the parameters where they are the best, or every so many epochs."""
    every = this.run.hyperparameters["checkpoint_frequency"]
    if every is not None:
        if (epoch + 1) % every == 0:
            _save(this, epoch)
        this.best, this.best_epoch = max(this.best, accuracy), epoch + 1
    elif accuracy > this.best:
        log.info("Storing the best model with validation accuracy: %f", accuracy)
        before = this.best_epoch
        this.best, this.best_epoch = accuracy, epoch + 1
        _save(this, epoch)
        if before:
            with suppress(FileNotFoundError):
                (this.run.job.model / artifact.params_file(before)).unlink()


def _save(this: _Work, epoch: int) -> None:
    name = artifact.params_file(epoch + 1)
    with this.run.artifact(name) as path:
        artifact.write_params(path, this.learner.network)
    log.info('Saved checkpoint to "%s"', this.run.job.model / name)


def _finish(this: _Work) -> None:
    """Leaves a model in any case: where a job was stopped early, of what was trained so far."""
    if not this.group.leader:
        return
    folder = this.run.job.model
    last = this.run.hyperparameters["checkpoint_frequency"] is not None and this.best_epoch
    if last and not (folder / artifact.params_file(this.best_epoch)).exists():
        _save(this, this.best_epoch - 1)
    if not any(folder.glob(f"{artifact.PREFIX}-*.params")):
        if not this.learner.healthy:
            raise ClientError("training diverged before it was stopped; accepted: a smaller learning_rate")
        _save(this, this.best_epoch)


def _checkpoint(this: _Work, epoch: int, accuracy: float) -> None:
    if not this.checkpoints.wanted:
        return
    arrays, facts = this.learner.state()
    best = this.run.job.model / artifact.params_file(this.best_epoch)
    if best.exists():
        arrays |= {_BEST + name: array for name, array in artifact.loaded(best).items()}
    patience = this.patience
    this.checkpoints.save(
        epoch + 1,
        arrays,
        facts
        | {
            "best": this.best,
            "best_epoch": this.best_epoch,
            "patience": [patience.best, patience.waited, patience.epochs],
        },
    )


def _resume(this: _Work) -> int:
    """Takes up the newest checkpoint, which all processes read; the number of epochs that it has."""
    values = this.run.hyperparameters
    found = Checkpoints(
        this.run.job.checkpoints,
        {name: values[name] for name in ("num_layers", "num_classes", "optimizer", "multi_label")}
        | {"image_shape": list(values["image_shape"])},
    ).newest()
    if found is None:
        return 0
    this.learner.restore(found.arrays, found.facts)
    this.best, this.best_epoch = float(found.facts["best"]), int(found.facts["best_epoch"])
    this.patience.best, this.patience.waited, this.patience.epochs = found.facts["patience"]
    best = {name.removeprefix(_BEST): array for name, array in found.arrays.items() if name.startswith(_BEST)}
    if this.group.leader and best:
        with this.run.artifact(artifact.params_file(this.best_epoch)) as path:
            ndarray.save(path, best)
    return found.epochs


def _learner(run: Run, group: Group) -> Learner[Classifier]:
    values = run.hyperparameters
    network = Classifier(
        values["num_layers"], values["image_shape"], values["num_classes"], bool(values["multi_label"])
    )
    resnet_v2.initialize(network, torch.Generator().manual_seed(run.seed))
    with previous.opened(run) as folder:
        if folder is not None:
            earlier = artifact.read(folder)
            previous.compare(
                values,
                {
                    "num_layers": earlier.depth,
                    "image_shape": earlier.shape,
                    "num_classes": earlier.classes,
                    "multi_label": int(earlier.multi_label),
                },
            )
            network.load_state_dict(earlier.state_dict())
            log.info("Going on from the model of channel %s", previous.CHANNEL)
        elif values["use_pretrained_model"]:
            name = f"resnet-{values['num_layers']}"
            last = [name for name in parameters.named(network, SYMBOL) if f":{LAST}_" in name]
            parameters.fill(network, pretrained.arrays(name), SYMBOL, f"{name}.params", but=last)
            with torch.no_grad():
                network.bn_data.weight.fill_(1.0)
            log.info("Beginning with ImageNet's weights")
    optimizer = values["optimizer"]
    decayed = optimizer in ("sgd", "nag")
    settings = Settings(
        rate=values["learning_rate"],
        rescale=group.locals / values["mini_batch_size"],
        decay=values["weight_decay"] if decayed else 0.0,
        momentum=values["momentum"] if decayed else 0.0,
        keep={"adam": values["beta_1"], "rmsprop": values["gamma"]}.get(optimizer),
        keep_square=values["beta_2"] if optimizer == "adam" else None,
        epsilon=values["eps"] if optimizer in ("adam", "rmsprop") else None,
    )
    return Learner(
        network,
        group,
        "momentum" if optimizer == "sgd" else optimizer,
        settings,
        run.threads,
        undecayed=lambda name: name.endswith(".bias"),
        half=values["precision_dtype"] == "float16",
    )


def _channel(run: Run, name: str, labels: Labels) -> _Channel:
    channel = run.channels[name]
    if channel.piped:
        return _Channel(channel, labels, None)
    return _Channel(channel, labels, reading.items(channel, run.channels.get(f"{name}_lst"), labels))


def _weights(run: Run, group: Group, training: _Channel) -> Tensor | None:
    """How labels weigh by how rare they are, over the data of all hosts."""
    values = run.hyperparameters
    if not values["use_weighted_loss"] or not values["multi_label"] or training.items is None:
        return None
    ones = np.sum([item.label for item in training.items], axis=0, dtype=np.float64)
    sums = group.sum(np.append(ones, len(training.items)))
    return metrics.balance(torch.from_numpy(sums[:-1]), int(sums[-1])).to(group.device)


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
