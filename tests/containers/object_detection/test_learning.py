"""The network learns: the loss of a few pictures falls when they are shown again."""

import numpy as np
import pytest
import torch

from common.learning.distributed import Group
from common.learning.learner import Learner
from common.optimizers import Settings
from common.stopping import Stop
from containers.object_detection import losses
from containers.object_detection.network import Network, initialize
from tests.containers.object_detection.scenes import scene

SIDE = 300


@pytest.mark.slow
def test_a_few_pictures_are_learned():
    made = [scene(seed) for seed in (0, 1)]
    images = np.stack([np.asarray(image.resize((SIDE, SIDE))) for image, _ in made])
    objects = np.stack([rows for _, rows in made])
    network = Network("resnet-50", 2, SIDE)
    initialize(network, torch.Generator().manual_seed(0))
    learner = Learner(network, Group("cpu", Stop()), "adam", Settings(rate=0.0005), threads=1)

    def loss(together):
        scores, offsets = together(learner.pixels(images))
        return losses.loss(scores, offsets, network.anchors, torch.from_numpy(objects))

    first, *_, last = [float(learner.step(0.0005, loss)[0]) for _ in range(10)]
    assert last < first / 2
