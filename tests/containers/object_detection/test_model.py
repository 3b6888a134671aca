"""Detectors, their symbol files and model.tar.gz."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from common.failures import ClientError
from common.formats import ndarray
from common.networks import parameters
from common.networks.parameters import SYMBOL
from containers.object_detection import artifact, symbol
from containers.object_detection.artifact import Model
from containers.object_detection.network import Network, folded, initialize
from containers.object_detection.plans import RESNET, VGG


def network(base, classes=2, size=300):
    made = Network(base, classes, size)
    initialize(made, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in parameters.named(made, SYMBOL).items():
            if name.endswith("_moving_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith(("_moving_mean", "_beta", "_bias")):
                tensor.normal_(0, 0.1, generator=generator)
    return made.eval()


def by_hand(made, x):
    """Scores and offsets by the symbol's nodes and the arrays alone."""
    arrays = {name.split(":")[1]: t for name, t in parameters.named(made, SYMBOL).items()}
    values, named = {}, {}
    for number, node in enumerate(json.loads(symbol.dumps(made, 0.45, 400))["nodes"]):
        inputs = [values.get(source[0]) for source in node["inputs"]]
        attributes, op = node.get("attrs", {}), node["op"]
        if op == "null":
            found = x if node["name"] == "data" else arrays.get(node["name"])
        elif op == "Convolution":
            stride, pad, holes = (
                int(attributes.get(key, default)[1:-1].split(",")[0])
                for key, default in (("stride", "(1, 1)"), ("pad", "(0, 0)"), ("dilate", "(1, 1)"))
            )
            bias = inputs[2] if len(inputs) > 2 else None
            found = F.conv2d(inputs[0], inputs[1], bias, stride, pad, holes)
        elif op == "BatchNorm":
            data, gamma, beta, mean, var = (v.reshape(-1, 1, 1) if v.ndim == 1 else v for v in inputs)
            gamma = torch.ones_like(gamma) if attributes["fix_gamma"] == "True" else gamma
            found = (data - mean) / (var + 2e-5).sqrt() * gamma + beta
        elif op == "Activation":
            found = inputs[0].relu()
        elif op == "Pooling":
            kernel, stride, pad = (int(attributes.get(k, "(0, 0)")[1]) for k in ("kernel", "stride", "pad"))
            full = attributes.get("pooling_convention") == "full"
            found = F.max_pool2d(inputs[0], kernel, stride, pad, ceil_mode=full)
        elif op == "elemwise_add":
            found = inputs[0] + inputs[1]
        elif op == "L2Normalization":
            found = inputs[0] / (inputs[0].square().sum(1, keepdim=True) + 1e-10).sqrt()
        elif op == "broadcast_mul":
            found = inputs[0] * inputs[1]
        elif op == "transpose":
            found = inputs[0].permute(*(int(axis) for axis in attributes["axes"][1:-1].split(",")))
        elif op == "Flatten":
            found = None if inputs[0] is None else inputs[0].flatten(1)
        elif op == "Concat":
            found = None if inputs[0] is None else torch.cat(inputs, 1)
        elif op == "Reshape":
            shape = [int(side) for side in attributes["shape"][1:-1].split(",")]
            found = None if inputs[0] is None else inputs[0].reshape(len(x), *shape[1:])
        else:
            found = inputs[0] if op == "_copy" else None
        values[number] = named[node["name"]] = found
    return named["multibox_cls_pred"], named["multibox_loc_pred"]


@pytest.mark.parametrize("base", [VGG, RESNET])
def test_the_network_is_its_symbol(base):
    made = network(base)
    x = torch.rand(1, 3, 300, 300, generator=torch.Generator().manual_seed(2)) * 255
    with torch.inference_mode():
        ours, plain = made(x), by_hand(made, x)
        for one, other in zip(ours, plain, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
        assert ours[0].shape[2] == len(made.anchors)
        for one, other in zip(ours, folded(made)(x), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_numbers_of_boxes_are_the_papers():
    with torch.device("meta"):
        assert [len(Network(VGG, 20, size).anchors) for size in (300, 512)] == [8732, 24564 + 12]


def test_the_symbol_is_written_as_awss_image_writes_it():
    """Facts of a model.tar.gz of one class and 512 pixels that AWS's image made."""
    with torch.device("meta"):
        made = Network(RESNET, 1, 512)
    written = json.loads(symbol.dumps(made, 0.45, 400))
    nodes = written["nodes"]
    assert len(nodes) == 544
    assert [nodes[head[0]]["name"] for head in written["heads"]] == [
        "cls_prob",
        "loc_loss",
        "cls_label",
        "det_out",
    ]
    places = {node["name"]: number for number, node in enumerate(nodes)}
    assert [
        places[name] for name in ("_plus12_cls_pred_conv", "flatten2", "_plus15_cls_pred_conv", "flatten5")
    ] == [
        349,
        351,
        431,
        433,
    ]
    assert [places[n] for n in ("concat0", "multibox_anchors", "label", "cls_prob", "det_out")] == [
        486,
        502,
        503,
        505,
        543,
    ]
    assert nodes[493]["attrs"] == {
        "clip": "False",
        "ratios": "(1,2,0.5,3,0.333333333333)",
        "sizes": "(0.37,0.44699)",
        "steps": "(-1.0, -1.0)",
    }
    assert nodes[505]["inputs"][1][:2] == [504, 2]
    assert nodes[places["multi_feat_2_conv_1x1_conv_bias"]]["attrs"] == {
        "__init__": '["constant", {"value": 0.0}]',
        "__lr_mult__": "2.0",
    }


def written(folder, made, **settings):
    folder.mkdir(exist_ok=True)
    known = {"image_shape": str(made.size), "nms_threshold": "0.3", "nms_topk": "100", **settings}
    artifact.write_description(folder, Model(made, 0.3, 100), known)
    artifact.write_params(folder / artifact.PARAMS, made)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    made = network(RESNET, classes=3, size=320)
    return made, written(tmp_path_factory.mktemp("model"), made)


def test_what_is_written_is_read(model):
    made, folder = model
    found = artifact.read(folder)
    assert (found.network.base_network, found.network.classes, found.network.size) == (RESNET, 3, 320)
    assert (found.threshold, found.most) == (0.3, 100)
    for name, tensor in parameters.named(made, SYMBOL).items():
        assert torch.equal(parameters.named(found.network, SYMBOL)[name], tensor)


@pytest.mark.parametrize("size", [300, 512])
def test_a_model_without_its_settings_tells_what_it_is(tmp_path, size):
    with torch.device("cpu"):
        made = Network(VGG, 4, size)
    written(tmp_path, made)
    (tmp_path / artifact.SETTINGS).unlink()
    found = artifact.read(tmp_path)
    assert (found.network.base_network, found.network.classes, found.network.size) == (VGG, 4, size)
    assert (found.threshold, found.most) == (0.3, 100)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (artifact.PARAMS, None, "there is no model_algo_1-0000.params in the model folder"),
        (artifact.PARAMS, b"garbage!", "does not begin with the number 0x112"),
        (artifact.SETTINGS, b"{", "hyperparams.json is not JSON"),
        (artifact.SETTINGS, b"[1]", "hyperparams.json is not a JSON object"),
        (artifact.SETTINGS, b'{"image_shape": "big"}', "image_shape is 'big'; accepted: an integer"),
        (artifact.SETTINGS, b'{"image_shape": "320", "nms_threshold": "7"}', "accepted: a number above 0"),
    ],
    ids=["none", "garbage", "json", "list", "size", "threshold"],
)
def test_damage_is_told_in_a_sentence(model, tmp_path, file, content, said):
    for path in model[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ClientError, match=said):
        artifact.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("arg:conv0_weight", "holds no arg:conv0_weight"),
        ("arg:stage4_unit3_conv3_weight", "holds no detector of this algorithm"),
        ("arg:_plus12_cls_pred_conv_weight", "holds no class predictions of _plus12"),
        ("arg:multi_feat_5_conv_3x3_conv_bias", "holds no arg:multi_feat_5_conv_3x3_conv_bias"),
    ],
)
def test_parameters_that_are_missing(model, tmp_path, name, said):
    for path in model[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    arrays = ndarray.load(tmp_path / artifact.PARAMS)
    del arrays[name]
    ndarray.save(tmp_path / artifact.PARAMS, arrays)
    with pytest.raises(ClientError, match=said):
        artifact.read(tmp_path)


def test_values_that_are_no_numbers(model, tmp_path):
    for path in model[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    arrays = ndarray.load(tmp_path / artifact.PARAMS)
    arrays["arg:bn0_gamma"] = np.full_like(arrays["arg:bn0_gamma"], np.nan)
    ndarray.save(tmp_path / artifact.PARAMS, arrays)
    with pytest.raises(ClientError, match="arg:bn0_gamma holds values that are not finite numbers"):
        artifact.read(tmp_path)
