"""model.tar.gz, ours and AWS's."""

import json

import numpy as np
import pytest
import torch

from common.failures import ClientError
from common.formats import ndarray
from common.networks import parameters
from common.networks.parameters import SYMBOL
from containers.image_classification import artifact
from containers.image_classification.network import Classifier
from tests.containers.image_classification.test_network import network


def written(folder, made, epoch=1):
    artifact.write_description(folder, made, 32)
    artifact.write_params(folder / artifact.params_file(epoch), made)
    return folder


@pytest.mark.parametrize(("depth", "shape"), [(20, (3, 28, 28)), (18, (1, 40, 32)), (50, (3, 33, 33))])
@pytest.mark.parametrize("multi_label", [False, True])
def test_what_is_written_is_read(tmp_path, depth, shape, multi_label):
    made = network(depth, shape, multi_label=multi_label)
    found = artifact.read(written(tmp_path, made))
    assert (found.depth, found.shape, found.classes, found.multi_label) == (depth, shape, 5, multi_label)
    for name, tensor in parameters.named(made, SYMBOL).items():
        assert torch.equal(parameters.named(found, SYMBOL)[name], tensor)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "image-classification-0001.params",
        "image-classification-symbol.json",
        "model-shapes.json",
    ]
    shapes = json.loads((tmp_path / "model-shapes.json").read_text())
    assert shapes == [{"shape": [32, *shape], "name": "data"}]


def test_the_newest_epoch_is_read(tmp_path):
    first, second = Classifier(20, (3, 28, 28), 4), Classifier(20, (3, 28, 28), 4)
    written(tmp_path, first, 2)
    written(tmp_path, second, 10)
    assert torch.equal(artifact.read(tmp_path).fc.weight, second.fc.weight)


@pytest.mark.parametrize("name", ["fc1", "newlayer_fc2"])
def test_other_versions_name_the_last_layer_differently(tmp_path, name):
    made = network(20, (3, 28, 28))
    written(tmp_path, made)
    path = tmp_path / artifact.params_file(1)
    arrays = {key.replace("arg:fc_", f"arg:{name}_"): value for key, value in ndarray.load(path).items()}
    arrays["arg:bn_data_gamma"] = arrays["arg:bn_data_gamma"] * 3  # which fix_gamma does not use
    ndarray.save(path, arrays)
    found = artifact.read(tmp_path)
    assert torch.equal(found.fc.weight, made.fc.weight)
    assert torch.equal(found.bn_data.weight, torch.ones(3))


@pytest.mark.parametrize(
    ("last", "multi_label"),
    [
        ("SoftmaxOutput", False),
        ("softmax", False),
        ("SoftmaxActivation", False),
        ("sigmoid", True),
        ("Custom", True),
    ],
)
def test_the_symbols_last_operator_tells_whether_labels_exclude_each_other(tmp_path, last, multi_label):
    written(tmp_path, network(20, (3, 28, 28)))
    path = tmp_path / artifact.SYMBOL_FILE
    graph = json.loads(path.read_text())
    graph["nodes"][-1]["op"] = last
    path.write_text(json.dumps(graph))
    assert artifact.read(tmp_path).multi_label is multi_label


def test_the_symbol_and_the_shapes_may_be_missing(tmp_path):
    made = network(18, (3, 64, 64))
    written(tmp_path, made)
    for name in (artifact.SYMBOL_FILE, artifact.SHAPES_FILE):
        (tmp_path / name).unlink()
    found = artifact.read(tmp_path)
    assert (found.depth, found.shape, found.classes, found.multi_label) == (18, (3, 224, 224), 5, False)


def test_halves_are_read(tmp_path):
    made = network(20, (3, 28, 28))
    path = written(tmp_path, made) / artifact.params_file(1)
    ndarray.save(path, {name: array.astype(np.float16) for name, array in ndarray.load(path).items()})
    torch.testing.assert_close(artifact.read(tmp_path).fc.weight, made.fc.weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f, a: (f / artifact.params_file(1)).unlink(), "there is no image-classification-NNNN.params"),
        (
            lambda f, a: (f / artifact.params_file(1)).write_bytes(b"garbage!"),
            "does not begin with the number",
        ),
        (lambda f, a: (f / artifact.params_file(1)).write_bytes(a[:5000]), "ends early"),
        (lambda f, a: (f / artifact.SHAPES_FILE).write_text("{"), "model-shapes.json is not JSON"),
        (
            lambda f, a: (f / artifact.SHAPES_FILE).write_text('[{"shape": [1, 3, 0, 9]}]'),
            "is not of the form",
        ),
        (
            lambda f, a: (f / artifact.SHAPES_FILE).write_text('[{"shape": [1,3,99,99], "name": "data"}]'),
            "first conv",
        ),
        (
            lambda f, a: (f / artifact.SHAPES_FILE).write_text('[{"shape": [1,4,28,28], "name": "data"}]'),
            "4 channels; accepted: 1 or 3",
        ),
        (
            lambda f, a: (f / artifact.SHAPES_FILE).write_text('[{"shape": [1,1,28,28], "name": "data"}]'),
            "arg:bn_data_gamma has the shape 3, where 1 is needed",
        ),
        (lambda f, a: (f / artifact.SYMBOL_FILE).write_text("[]"), "symbol.json is not an MXNet symbol"),
    ],
    ids=["none", "garbage", "cut", "json", "shape", "stem", "channels", "grey", "symbol"],
)
def test_damage_is_told_in_a_sentence(tmp_path, change, said):
    written(tmp_path, network(20, (3, 28, 28)))
    change(tmp_path, (tmp_path / artifact.params_file(1)).read_bytes())
    with pytest.raises(ClientError, match=said):
        artifact.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("arg:stage3_unit3_conv1_weight", None, "holds no network of this algorithm"),
        ("arg:fc_weight", None, "holds 0 dense layers"),
        ("arg:more_weight", np.ones((2, 2), np.float32), "holds 2 dense layers"),
        ("arg:fc_weight", np.ones((5, 63), np.float32), "has the shape 5x63; accepted: a row of 64"),
        ("arg:fc_weight", np.ones((0, 64), np.float32), "has the shape 0x64"),
        ("arg:fc_weight", np.ones((1 << 40, 0), np.float32), "accepted: a row of 64"),
        ("aux:bn0_moving_var", None, None),
        ("aux:bn1_moving_var", None, "holds no aux:bn1_moving_var"),
        ("arg:fc_bias", np.full(5, np.nan, np.float32), "arg:fc_bias holds values that are not finite"),
    ],
)
def test_parameters_that_do_not_fit(tmp_path, name, value, said):
    path = written(tmp_path, network(20, (3, 28, 28))) / artifact.params_file(1)
    arrays = ndarray.load(path)
    arrays.pop(name, None)
    if value is not None:
        arrays[name] = value
    ndarray.save(path, arrays)
    if said is None:
        artifact.read(tmp_path)  # small images have no such layer
        return
    with pytest.raises(ClientError, match=said):
        artifact.read(tmp_path)
