"""The six networks: names and shapes as GluonCV's have them, what the layers compute, and folding."""

import copy
import functools
import hashlib
import math

import numpy as np
import pytest
import torch
from torch import nn

from common.networks import parameters
from common.networks.parameters import GLUON
from containers.semantic_segmentation import network as networks
from containers.semantic_segmentation.backbone import Backbone, Bottleneck
from containers.semantic_segmentation.decoders import Pyramid, resized
from containers.semantic_segmentation.network import Network

# Arrays, numbers in them, and the digest of sorted "name shape" lines of GluonCV's networks of 5 classes,
# from `net._collect_params_with_prefix()` of GluonCV 0.10.5.
GLUONCV = {
    ("fcn", "resnet-50"): (289, 35488714, "9649405087d607b4"),
    ("fcn", "resnet-101"): (544, 54533066, "e4da9d328c143630"),
    ("psp", "resnet-50"): (309, 49128394, "c071110571b235a0"),
    ("psp", "resnet-101"): (564, 68172746, "a81deea6a35f5b38"),
    ("deeplab", "resnet-50"): (319, 42177226, "fb3b7e9baaf764df"),
    ("deeplab", "resnet-101"): (574, 61221578, "94c8504cf9f25902"),
}
SOME = {
    "fcn": {
        "conv1.0.weight": (64, 3, 3, 3),
        "conv1.6.weight": (128, 64, 3, 3),
        "bn1.running_var": (128,),
        "layer1.0.conv1.weight": (64, 128, 1, 1),
        "layer3.0.downsample.1.gamma": (1024,),
        "layer4.2.conv2.weight": (512, 512, 3, 3),
        "head.block.0.weight": (512, 2048, 3, 3),
        "head.block.4.bias": (5,),
        "auxlayer.block.0.weight": (256, 1024, 3, 3),
    },
    "psp": {
        "head.psp.conv4.0.weight": (512, 2048, 1, 1),
        "head.psp.conv1.1.beta": (512,),
        "head.block.0.weight": (512, 4096, 3, 3),
    },
    "deeplab": {
        "head.aspp.concurent.0.0.weight": (256, 2048, 1, 1),
        "head.aspp.concurent.3.0.weight": (256, 2048, 3, 3),
        "head.aspp.concurent.4.gap.1.weight": (256, 2048, 1, 1),
        "head.aspp.project.0.weight": (256, 1280, 1, 1),
        "head.block.4.weight": (5, 256, 1, 1),
    },
}
COMBINATIONS = pytest.mark.parametrize(("algorithm", "backbone"), list(GLUONCV))
ALGORITHMS = pytest.mark.parametrize("algorithm", ["fcn", "psp", "deeplab"])


def made(algorithm="fcn", backbone="resnet-50", classes=5, seed=0):
    """A network with weights and statistics as a trained one has them: none is what it began as."""
    return copy.deepcopy(shared(algorithm, backbone, classes, seed))


@functools.cache
def shared(algorithm="fcn", backbone="resnet-50", classes=5, seed=0):
    """The same, for tests that change nothing in it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        found = Network(algorithm, backbone, classes, 240)
    found = found.to_empty(device="cpu")
    networks.initialize(found, generator)
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.0, generator=generator)
            module.bias.data.normal_(0.0, 0.1, generator=generator)
            module.running_mean.normal_(0.0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return found.eval()


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@COMBINATIONS
def test_names_and_shapes_are_gluoncvs(algorithm, backbone):
    with torch.device("meta"):
        found = parameters.named(Network(algorithm, backbone, 5, 240), GLUON)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    for name, shape in SOME[algorithm].items():
        assert shapes[name] == shape
    lines = "\n".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in sorted(shapes.items()))
    digest = hashlib.sha256(lines.encode()).hexdigest()[:16]
    assert (len(shapes), sum(map(math.prod, shapes.values())), digest) == GLUONCV[algorithm, backbone]


def test_strides_and_dilations():
    with torch.device("meta"):
        backbone = Backbone("resnet-50")
    found = [
        (name, module.conv2.stride[0], module.conv2.dilation[0], module.conv2.padding[0])
        for name, module in backbone.named_modules()
        if isinstance(module, Bottleneck)
    ]
    assert [row[1:] for row in found] == (
        [(1, 1, 1)] * 3
        + [(2, 1, 1), *[(1, 1, 1)] * 3]
        + [(1, 1, 1), *[(1, 2, 2)] * 5]
        + [(1, 2, 2), *[(1, 4, 4)] * 2]
    )
    assert backbone.layer2[0].downsample[0].stride == (2, 2)
    assert backbone.layer3[0].downsample[0].stride == (1, 1)


@ALGORITHMS
def test_scores_have_the_images_size_whatever_it_is(algorithm):
    network = shared(algorithm)
    for height, width in ((1, 1), (8, 8), (33, 17), (3, 70)):
        x = images(1, 3, height, width)
        with torch.inference_mode():
            coarse, scores = network.coarse(x), network(x)
        assert coarse.shape == (1, 5, -(-height // 8), -(-width // 8))
        assert scores.shape == (1, 5, height, width)
        torch.testing.assert_close(scores, resized(coarse, height, width))
        assert torch.isfinite(scores).all()


def test_training_has_the_auxiliary_scores_too():
    network = made().train()
    scores, auxiliary = network(images(2, 3, 32, 24))
    assert scores.shape == auxiliary.shape == (2, 5, 32, 24)
    (scores.sum() + auxiliary.sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name


def test_dropout_is_gluoncvs():
    for algorithm, shares in (("fcn", [0.1, 0.1]), ("psp", [0.1, 0.1]), ("deeplab", [0.1, 0.1, 0.5])):
        with torch.device("meta"):
            network = Network(algorithm, "resnet-50", 2, 240)
        assert sorted(m.p for m in network.modules() if isinstance(m, nn.Dropout)) == shares


@ALGORITHMS
def test_folding_changes_nothing(algorithm):
    network, x = made(algorithm), images(1, 3, 41, 50)
    with torch.inference_mode():
        expected = network(x)
        found = networks.folded(network)(x)
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert network.auxlayer is None
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("before", "after"), [((4, 6), (29, 17)), ((1, 1), (3, 2)), ((7, 5), (1, 9))], ids=str
)
def test_resizing_puts_corners_on_corners(before, after):
    x = images(1, 2, *before).double()

    def along(values, axis, size):
        last = values.shape[axis] - 1
        places = np.arange(size) * (last / (size - 1) if size > 1 else 0)
        low = np.minimum(places.astype(int), last)
        share = (places - low).reshape([-1 if n == axis else 1 for n in range(4)])
        return values.take(low, axis) * (1 - share) + values.take(np.minimum(low + 1, last), axis) * share

    expected = along(along(x.numpy(), 2, after[0]), 3, after[1])
    np.testing.assert_allclose(resized(x, *after).numpy(), expected, atol=1e-12)


def test_the_pyramid_has_means_over_its_grids():
    x = images(1, 8, 9, 13)
    pyramid = Pyramid(8).eval()
    parts = [x.numpy()]
    for convolution, side in zip(pyramid.children(), (1, 2, 3, 6), strict=True):
        means = np.empty((1, 8, side, side), np.float32)
        for row in range(side):
            for column in range(side):
                rows = slice(row * 9 // side, -(-(row + 1) * 9 // side))
                columns = slice(column * 13 // side, -(-(column + 1) * 13 // side))
                means[:, :, row, column] = x.numpy()[:, :, rows, columns].mean((2, 3))
        parts.append(resized(convolution(torch.from_numpy(means)), 9, 13).detach().numpy())
    with torch.inference_mode():
        np.testing.assert_allclose(pyramid(x).numpy(), np.concatenate(parts, 1), atol=1e-5)


def test_normalising():
    pixels = torch.arange(256).expand(3, 1, 256)[None]
    expected = (np.arange(256)[None] / 255 - np.array([[0.485], [0.456], [0.406]])) / np.array(
        [[0.229], [0.224], [0.225]]
    )
    found = networks.normalised(pixels)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[0, :, 0], expected, atol=1e-6)


def test_beginnings_are_equal_for_equal_seeds_and_of_the_stated_spread():
    first, again = (Network("fcn", "resnet-50", 3, 240) for _ in range(2))
    for network in (first, again):
        networks.initialize(network, torch.Generator().manual_seed(1))
    for (name, one), two in zip(first.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two), name
    assert not torch.equal(first.layer1[0].conv2.weight, shared().layer1[0].conv2.weight)
    assert float(first.layer4[1].conv2.weight.detach().std()) == pytest.approx(
        (2 / (512 * 9)) ** 0.5, rel=0.01
    )
    assert float(first.head.block[0].weight.detach().std()) == pytest.approx(0.07 / 3**0.5, rel=0.01)
    assert float(first.auxlayer.block[4].weight.detach().abs().max()) <= 0.07
    assert not first.head.block[4].bias.any()
    assert [networks.decodes(name) for name in ("head.block.0.weight", "auxlayer", "layer1.0", "bn1")] == [
        True,
        True,
        False,
        False,
    ]
