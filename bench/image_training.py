"""A training step of image classification and of object detection, against MXNet and GluonCV.

ResNet-50 on 224x224 with 1,000 classes, and SSD of 300 pixels on VGG-16 with 20 classes: the same networks
on both sides, stochastic gradient descent with momentum, float32, all cores. Ours is the step of a job:
pixels as bytes, forward, loss (detection: boxes matched with anchors, hard negatives), backward, update.
GluonCV's is hybridized and has its targets made beforehand. Sides take turns; the fastest step of each
counts. Run as::

    python -m bench.image_training --peer-python PATH [classification|detection] [--batch 8] [--steps 5]

where PATH is a Python that has mxnet and gluoncv, such as the one that ``make test-interop`` makes.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.learning.distributed import Group
from common.learning.learner import Learner
from common.optimizers import Settings
from common.stopping import Stop

PEER = Path(__file__).with_name("mxnet_peer.py")
TURNS = 2


def learner(network: nn.Module, batch: int) -> Learner:
    """As a job has it."""
    return Learner(
        network,
        Group("cpu", Stop()),
        "momentum",
        Settings(rate=0.001, momentum=0.9, decay=0.0001, rescale=1 / batch),
        torch.get_num_threads(),
    )


def classification(batch: int) -> Callable[[], Tensor]:
    """A step of image classification."""
    from common.networks.resnet_v2 import initialize
    from containers.image_classification import metrics
    from containers.image_classification.network import Classifier

    network = Classifier(50, (3, 224, 224), 1000)
    initialize(network, torch.Generator().manual_seed(0))
    learns = learner(network, batch)
    images = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
    labels = torch.arange(batch)[:, None]
    return lambda: learns.step(
        0.001, lambda together: metrics.single(together(learns.pixels(images)), labels, None)
    )


def detection(batch: int) -> Callable[[], Tensor]:
    """A step of object detection."""
    from containers.object_detection import losses
    from containers.object_detection.network import Network, initialize

    network = Network("vgg-16", 20, 300)
    initialize(network, torch.Generator().manual_seed(0))
    learns = learner(network, batch)
    images = np.random.default_rng(0).integers(0, 256, (batch, 300, 300, 3), np.uint8)
    labels = torch.tensor([[[n % 20, 0.25, 0.25, 0.75, 0.75]] for n in range(batch)], dtype=torch.float32)

    def loss(together: nn.Module) -> Tensor:
        scores, offsets = together(learns.pixels(images))
        return losses.loss(scores, offsets, network.anchors, labels)

    return lambda: learns.step(0.001, loss)


STEPS = {"classification": classification, "detection": detection}


def fastest(step: Callable[[], Tensor], steps: int) -> float:
    """Seconds of the fastest of some steps, after two that don't count."""
    times = []
    for _ in range(steps + 2):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return min(times[2:])


def main() -> None:
    """Prints both sides and the ratio of each."""
    parser = argparse.ArgumentParser(prog="python -m bench.image_training")
    parser.add_argument("kind", nargs="?", choices=STEPS)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    chosen = parser.parse_args()
    for kind in [chosen.kind] if chosen.kind else STEPS:
        step = STEPS[kind](chosen.batch)
        ours, theirs = [], []
        for _ in range(TURNS):
            ours.append(fastest(step, chosen.steps))
            command = [chosen.peer_python, PEER, kind, str(chosen.batch), str(chosen.steps)]
            theirs.append(
                float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()[-1])
            )
        rates = chosen.batch / min(ours), chosen.batch / min(theirs)
        print(f"{kind}: {rates[0]:.2f} images/s, GluonCV {rates[1]:.2f} images/s, {rates[0] / rates[1]:.2f}x")


if __name__ == "__main__":
    main()
