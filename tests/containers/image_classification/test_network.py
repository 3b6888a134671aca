"""The residual networks and their symbol files."""

import hashlib
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from common.networks import parameters, resnet_v2
from common.networks.parameters import SYMBOL
from containers.image_classification.hyperparameters import LARGE, SMALL
from containers.image_classification.network import Classifier, folded, symbol

# Millions of parameters for 1,000 classes, counted by MXNet on its own example's symbols.
MILLIONS = {18: 11.69, 34: 21.80, 50: 25.55, 101: 44.54, 152: 60.19, 200: 64.67}
AWS_RESNET_50 = "0eb2c7be8595140d64c87d805611cedabc525a667f7cc9426169c6e57365da56"


def network(depth, shape, classes=5, **options):
    """A network whose batch norms know what they normalise, so that no class is certain."""
    made = Classifier(depth, shape, classes, **options)
    resnet_v2.initialize(made, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in parameters.named(made, SYMBOL).items():
            if name.endswith("_gamma") and "bn_data" not in name:
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith("_beta"):
                tensor.normal_(0, 0.1, generator=generator)
        norms = [module for module in made.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        made(pixels(8, shape))
        for norm in norms:
            norm.momentum = 0.1
    return made


def pixels(count, shape):
    """Images of a few colours each, from 0 to 255."""
    generator = torch.Generator().manual_seed(count)
    spots = torch.rand(count, shape[0], 5, 5, generator=generator)
    return F.interpolate(spots, shape[1:], mode="bilinear") * 255


def by_hand(made, x):
    """The same from the arrays alone, layer by layer as the symbol has them."""
    arrays = {name.split(":")[1]: t for name, t in parameters.named(made, SYMBOL).items()}
    nodes = json.loads(symbol(made))["nodes"]
    values = {}
    for number, node in enumerate(nodes):
        inputs = [values.get(source[0]) for source in node["inputs"]]
        attributes = node.get("attrs", {})
        if node["op"] == "null":
            found = x if node["name"] == "data" else arrays.get(node["name"])
        elif node["op"] == "Convolution":
            stride, pad = (int(attributes.get(key, "(0, 0)")[1]) for key in ("stride", "pad"))
            found = F.conv2d(inputs[0], inputs[1], None, stride, pad)
        elif node["op"] == "BatchNorm":
            data, gamma, beta, mean, var = (v.reshape(-1, 1, 1) if v.ndim == 1 else v for v in inputs)
            gamma = torch.ones_like(gamma) if attributes["fix_gamma"] == "True" else gamma
            found = (data - mean) / (var + float(attributes["eps"])).sqrt() * gamma + beta
        elif node["op"] == "Activation":
            found = inputs[0].relu()
        elif node["op"] == "Pooling":
            everything = attributes.get("global_pool") == "True"
            found = inputs[0].mean((2, 3), keepdim=True) if everything else F.max_pool2d(inputs[0], 3, 2, 1)
        elif node["op"] == "FullyConnected":
            found = inputs[0] @ inputs[1].T + inputs[2]
        elif node["op"] == "elemwise_add":
            found = inputs[0] + inputs[1]
        elif node["op"] == "Flatten":
            found = inputs[0].flatten(1)
        elif node["op"] == "SoftmaxOutput":
            found = inputs[0].softmax(1)
        elif node["op"] == "LogisticRegressionOutput":
            found = inputs[0].sigmoid()
        else:
            assert node["op"] == "_copy"
            found = inputs[0]
        values[number] = found
    return found


@pytest.mark.parametrize(
    ("depth", "shape", "multi_label"),
    [
        (18, (3, 64, 48), False),
        (50, (3, 40, 40), True),
        (20, (3, 28, 28), False),
        (32, (1, 40, 40), True),
        (34, (1, 28, 28), False),
        (20, (3, 33, 20), True),
    ],
)
def test_the_network_is_its_symbol(depth, shape, multi_label):
    made = network(depth, shape, multi_label=multi_label).eval()
    x = pixels(2, shape)
    with torch.no_grad():
        ours = made.probabilities(made(x))
        assert 0.01 < float(ours.min()) < float(ours.max()) < 0.95
        torch.testing.assert_close(ours, by_hand(made, x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(made.probabilities(folded(made)(x)), ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", LARGE)
def test_sizes_are_those_of_imagenets_networks(depth):
    with torch.device("meta"):
        made = Classifier(depth, (3, 224, 224), 1000)
    count = sum(p.numel() for name, p in parameters.named(made, SYMBOL).items() if name.startswith("arg:"))
    assert count / 1e6 == pytest.approx(MILLIONS[depth], abs=0.01)


@pytest.mark.parametrize("depth", SMALL)
def test_small_networks_have_their_depth(depth):
    with torch.device("meta"):
        made = Classifier(depth, (3, 32, 32), 10)
    weights = [n for n, p in parameters.named(made, SYMBOL).items() if p.ndim in (2, 4) and "_sc_" not in n]
    assert len(weights) == depth


def test_depths_are_declared_and_built_alike():
    assert (tuple(resnet_v2.LARGE), tuple(resnet_v2.SMALL)) == (LARGE, SMALL)


def test_the_symbol_is_written_as_awss_image_writes_it():
    with torch.device("meta"):
        written = json.loads(symbol(Classifier(50, (3, 224, 224), 2)))
    # Of a model.tar.gz of two classes that AWS's image made: every node with its inputs and attributes.
    parts = [written[key] for key in ("nodes", "arg_nodes", "node_row_ptr", "heads")]
    text = json.dumps(parts, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == AWS_RESNET_50
    nodes = written["nodes"]
    assert [(node["op"], node["name"]) for node in nodes[:2]] == [("null", "data"), ("_copy", "id")]
    assert [node["name"] for node in nodes[-5:]] == ["fc_weight", "fc_bias", "fc", "softmax_label", "softmax"]


def test_the_input_is_normalised_without_scale():
    made = network(20, (3, 28, 28))
    assert not made.bn_data.weight.requires_grad
    assert np.array_equal(made.bn_data.weight.detach(), np.ones(3))
