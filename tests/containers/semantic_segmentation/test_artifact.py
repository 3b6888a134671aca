"""model.tar.gz, ours, GluonCV's and AWS's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from common.failures import ClientError
from common.formats import ndarray
from common.networks import parameters
from common.networks.parameters import GLUON
from containers.semantic_segmentation import artifact
from containers.semantic_segmentation.network import Network
from tests.containers.semantic_segmentation.test_network import shared

SETTINGS = {"algorithm": "fcn", "backbone": "resnet-50", "num_classes": "5", "crop_size": "48"}


@pytest.fixture(scope="module")
def arrays():
    return parameters.dump(shared(), GLUON)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, arrays):
    """A model's folder with the parameters alone; tests add no files to it."""
    made = tmp_path_factory.mktemp("model")
    ndarray.save(made / artifact.MODEL, arrays)
    return made


@pytest.fixture
def settings(tmp_path, folder):
    """Writes hyperparams.json beside the parameters."""
    (tmp_path / artifact.MODEL).symlink_to(folder / artifact.MODEL)

    def write(content: object) -> Path:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / artifact.SETTINGS).write_text(text)
        return tmp_path

    return write


def names(algorithm="fcn", backbone="resnet-50", classes=5):
    """A network's names with arrays of the right shapes that take no memory."""
    with torch.device("meta"):
        found = parameters.named(Network(algorithm, backbone, classes, 240), GLUON)
    return {name: np.broadcast_to(np.float32(0), tensor.shape) for name, tensor in found.items()}


def test_what_is_written_is_read(settings):
    found = artifact.read(settings(SETTINGS))
    assert (found.algorithm, found.backbone, found.classes, found.crop_size) == ("fcn", "resnet-50", 5, 48)
    assert not found.training
    for name, tensor in parameters.named(shared(), GLUON).items():
        assert torch.equal(parameters.named(found, GLUON)[name], tensor), name
    other = Network("fcn", "resnet-50", 5, 48)
    artifact.take_over(other, found)
    assert torch.equal(other.layer2[1].bn1.running_var, shared().layer2[1].bn1.running_var)
    assert torch.equal(other.head.block[4].bias, shared().head.block[4].bias)


def test_parameters_alone_tell_the_network(folder):
    found = artifact.read(folder)
    assert (found.algorithm, found.backbone, found.classes, found.crop_size) == ("fcn", "resnet-50", 5, 240)


@pytest.mark.parametrize("backbone", ["resnet-50", "resnet-101"])
@pytest.mark.parametrize("algorithm", ["fcn", "psp", "deeplab"])
def test_every_network_is_told_from_its_names(algorithm, backbone):
    found = artifact.described(names(algorithm, backbone, 7), "model_algo-1")
    assert found == (algorithm, backbone, 7)


def test_others_files_half_precision_without_auxiliary_decoder_with_more_arrays(tmp_path, arrays):
    kept = {
        name: array.astype(np.float16) for name, array in arrays.items() if not name.startswith("auxlayer")
    }
    ndarray.save(tmp_path / artifact.BEST, {**kept, "fc.weight": np.ones((10, 2048), np.float32)})
    (tmp_path / artifact.SETTINGS).write_text(json.dumps({"num_classes": 5, "crop_size": '"50"'}))
    found = artifact.read(tmp_path)
    assert found.crop_size == 56  # of 8s
    expected = shared().layer1[0].conv1.weight.half().float()
    assert torch.equal(found.layer1[0].conv1.weight, expected)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found.auxlayer.parameters())
    assert not found.auxlayer.block[1].running_mean.any()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "hyperparams.json is not JSON"),
        ("[" * 100_000, "hyperparams.json is not JSON"),
        ("\xff\xfe", "hyperparams.json is not JSON"),
        ([1], "hyperparams.json is not a JSON object"),
        (
            {**SETTINGS, "num_classes": "6"},
            "hyperparams.json has num_classes 6, and model_algo-1 a network with 5",
        ),
        ({"algorithm": "psp"}, "has algorithm psp, and model_algo-1 a network with fcn"),
        ({"backbone": "resnet-101"}, "has backbone resnet-101, and model_algo-1 a network with resnet-50"),
        ({"crop_size": "16"}, "crop_size is '16'; accepted: an integer above 16"),
        ({"crop_size": "²4"}, "crop_size is '²4'; accepted"),
        ({"crop_size": "9" * 5000}, "crop_size is '999"),
        ({"crop_size": [240]}, "crop_size is '\\[240\\]'"),
    ],
    ids=[
        "cut",
        "deep",
        "bytes",
        "list",
        "classes",
        "algorithm",
        "backbone",
        "small",
        "digits",
        "large",
        "kind",
    ],
)
def test_wrong_settings_are_told(settings, content, said):
    with pytest.raises(ClientError, match=said):
        artifact.read(settings(content))


def test_no_model_is_told(tmp_path):
    with pytest.raises(ClientError, match="there is no model_algo-1 in the model folder"):
        artifact.read(tmp_path)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "model_algo-1 ends early"),
        (b"garbage that is long enough", "does not begin with the number 0x112"),
        (ndarray.dumps([np.ones(3, np.float32)]), "model_algo-1 holds arrays without names"),
        (ndarray.dumps({"fc.weight": np.ones(3, np.float32)}), "holds no network of this algorithm"),
        (ndarray.dumps({"a": np.ones(300, np.float32)})[:-40], "model_algo-1 "),
    ],
    ids=["empty", "garbage", "nameless", "other", "cut"],
)
def test_what_is_no_parameter_file_is_told(tmp_path, body, said):
    (tmp_path / artifact.MODEL).write_bytes(body)
    with pytest.raises(ClientError, match=said):
        artifact.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer2.0.conv1.weight": None}, "model_algo-1 holds no layer2.0.conv1.weight"),
        ({"bn1.gamma": np.ones(64)}, "bn1.gamma has the shape 64, where 128 is needed"),
        ({"head.block.4.bias": np.full(5, np.nan)}, "head.block.4.bias holds values that are not finite"),
        ({"auxlayer.block.4.bias": None}, "holds no auxlayer.block.4.bias"),
        ({"layer3.5.conv1.weight": None}, "holds no network of this algorithm"),
        ({"layer3.6.conv1.weight": np.ones(1)}, "holds no network of this algorithm"),
        ({"layer3.99999999999.conv1.weight": np.ones(1)}, "holds no network of this algorithm"),
        ({"head.block.4.weight": None}, "holds no network of this algorithm"),
        ({"head.block.4.weight": np.ones(5)}, "holds no network of this algorithm"),
        ({"head.block.0.weight": np.ones((1, 2, 3, 3))}, "its decoder is none of fcn, psp and deeplab"),
        ({"head.block.4.weight": np.ones((1, 512, 1, 1))}, "has 1 classes; accepted: 2 to 254"),
        ({"head.block.4.weight": np.ones((255, 512, 1, 1))}, "has 255 classes; accepted: 2 to 254"),
    ],
    ids=str,
)
def test_wrong_parameters_are_told(tmp_path, monkeypatch, change, said):
    found = {name: array for name, array in {**names(), **change}.items() if array is not None}
    (tmp_path / artifact.MODEL).touch()
    monkeypatch.setattr(ndarray, "load", lambda path: found)
    with pytest.raises(ClientError, match=said):
        artifact.read(tmp_path)
