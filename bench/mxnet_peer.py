"""What MXNet and GluonCV need for the same work; run by the other benchmarks in an environment of theirs.

    PYTHON bench/mxnet_peer.py loading FILE.rec ROUNDS THREADS    images a second of the best pass
    PYTHON bench/mxnet_peer.py classification BATCH STEPS        seconds of the best training step
    PYTHON bench/mxnet_peer.py detection BATCH STEPS

Imports nothing of this project, whose packages that environment hasn't.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon


def loading(file: str, rounds: int, threads: int) -> float:
    """ImageRecordIter with what augmentation_type=crop of image classification does.

    By a rule of its own it takes one thread fewer than half the processors, if at least one.
    """
    records = mx.io.ImageRecordIter(
        path_imgrec=file,
        data_shape=(3, 224, 224),
        batch_size=32,
        resize=256,
        rand_crop=True,
        rand_mirror=True,
        preprocess_threads=threads,
        round_batch=False,
    )
    best = 0.0
    for _ in range(rounds + 1):
        records.reset()
        started = time.perf_counter()
        seen = 0
        for batch in records:
            batch.data[0].wait_to_read()
            seen += len(batch.data[0])
        best = max(best, seen / (time.perf_counter() - started))
    return best


def fastest(trainer: gluon.Trainer, loss: Callable[[], mx.nd.NDArray], batch: int, steps: int) -> float:
    """Of some training steps, after two that don't count."""
    best = float("inf")
    for step in range(steps + 2):
        started = time.perf_counter()
        with autograd.record():
            value = loss()
        value.backward()
        trainer.step(batch)
        mx.nd.waitall()
        if step >= 2:
            best = min(best, time.perf_counter() - started)
    return best


def optimizer(network: gluon.Block) -> gluon.Trainer:
    """Both benchmarks' own."""
    settings = {"learning_rate": 0.001, "momentum": 0.9, "wd": 0.0001}
    return gluon.Trainer(network.collect_params(), "sgd", settings)


def classification(batch: int, steps: int) -> float:
    """ResNet-50 v2 on 224x224 with 1,000 classes, as GluonCV builds it, hybridized."""
    from gluoncv.model_zoo import get_model

    network = get_model("resnet50_v2", classes=1000)
    network.initialize(mx.init.Xavier())
    network.hybridize(static_alloc=True, static_shape=True)
    images = mx.nd.random.uniform(0, 255, (batch, 3, 224, 224))
    labels = mx.nd.array(np.arange(batch))
    scored = gluon.loss.SoftmaxCrossEntropyLoss()
    return fastest(optimizer(network), lambda: scored(network(images), labels), batch, steps)


def detection(batch: int, steps: int) -> float:
    """SSD of 300 pixels on VGG-16 with 20 classes, and GluonCV's loss with targets made beforehand."""
    from gluoncv.loss import SSDMultiBoxLoss
    from gluoncv.model_zoo import get_model
    from gluoncv.model_zoo.ssd.target import SSDTargetGenerator

    network = get_model("ssd_300_vgg16_atrous_voc", pretrained_base=False)
    network.initialize(mx.init.Xavier())
    network.hybridize(static_alloc=True, static_shape=True)
    images = mx.nd.random.uniform(0, 255, (batch, 3, 300, 300))
    with autograd.train_mode():
        scores, _, anchors = network(images)
    boxes = mx.nd.array([[[75, 75, 225, 225]]] * batch) / 300
    classes = mx.nd.array([[[n % 20]] for n in range(batch)])
    aims, corrections, _ = SSDTargetGenerator()(anchors, scores, boxes, classes)
    measure = SSDMultiBoxLoss()

    def loss() -> mx.nd.NDArray:
        scores, offsets, _ = network(images)
        total, _, _ = measure(scores, offsets, aims, corrections)
        return mx.nd.add_n(*total)

    return fastest(optimizer(network), loss, batch, steps)


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    if kind == "loading":
        print(loading(rest[0], int(rest[1]), int(rest[2])))
    else:
        print({"classification": classification, "detection": detection}[kind](int(rest[0]), int(rest[1])))
