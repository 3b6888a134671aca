"""model.tar.gz of image classification: an MXNet checkpoint of the network, and the shape of its input.

- ``image-classification-symbol.json``: the network; its last operator says whether labels exclude each other.
- ``image-classification-NNNN.params``: the parameters after epoch NNNN, counted from 1.
- ``model-shapes.json``: ``[{"shape": [batch, channels, height, width], "name": "data"}]``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from common.failures import ClientError, one_of
from common.formats import jsonfile, ndarray
from common.job import written
from common.networks import parameters
from common.networks.parameters import SYMBOL
from common.networks.resnet_v2 import LARGE, SMALL
from containers.image_classification.network import LAST, Classifier, symbol

PREFIX = "image-classification"
SYMBOL_FILE, SHAPES_FILE = f"{PREFIX}-symbol.json", "model-shapes.json"
_PARAMS = re.compile(rf"{PREFIX}-(\d{{4,}})\.params")
_UNIT = re.compile(r"arg:stage(\d+)_unit(\d+)_conv1_weight")
_LARGEST_SIDE = 1 << 14
CHANNELS = (1, 3)  # grey and RGB

Arrays = Mapping[str, NDArray[Any]]


def params_file(epoch: int) -> str:
    """The name of the parameters after an epoch, counted from 1."""
    return f"{PREFIX}-{epoch:04d}.params"


def write_params(path: Path, network: Classifier) -> None:
    """Writes the parameters."""
    ndarray.save(path, parameters.dump(network, SYMBOL))


def write_description(folder: Path, network: Classifier, batch: int) -> None:
    """Writes what stays the same from epoch to epoch; ``batch`` is the mini-batch that the shape tells."""
    with written(folder / SYMBOL_FILE) as path:
        path.write_bytes(symbol(network))
    with written(folder / SHAPES_FILE) as path:
        path.write_text(json.dumps([{"shape": [batch, *network.shape], "name": "data"}]))


def read(folder: Path) -> Classifier:
    """The model of a folder, of its newest epoch, as AWS's image or ours wrote it. Raises ClientError."""
    numbers = {int(m[1]): path for path in folder.glob("*.params") if (m := _PARAMS.fullmatch(path.name))}
    if not numbers:
        raise ClientError(f"there is no {PREFIX}-NNNN.params in the model folder")
    path = numbers[max(numbers)]
    arrays = loaded(path)
    shape = _shape(folder, arrays, path.name)
    network = built(arrays, shape, path.name, _multi_label(folder))
    parameters.fill(network, renamed(arrays), SYMBOL, path.name)
    with torch.no_grad():
        network.bn_data.weight.fill_(1.0)  # MXNet's fix_gamma: whatever is written there isn't used
    return network


def loaded(path: Path) -> dict[str, NDArray[Any]]:
    """The named arrays of a parameter file. Raises ClientError."""
    try:
        arrays = ndarray.load(path)
    except OSError as error:
        raise ClientError(f"{path.name} can't be read: {error.strerror}") from None
    if not isinstance(arrays, dict):
        raise ClientError(f"{path.name} holds arrays without names")
    return arrays


def built(arrays: Arrays, shape: tuple[int, int, int], where: str, multi_label: bool = False) -> Classifier:
    """A network of the depth and the number of classes that parameters have. Raises ClientError."""
    depth = _depth(arrays, where)
    _, last = _last(arrays, where)
    with torch.device("meta"):
        network = Classifier(depth, shape, max(last.shape[0], 1), multi_label)
    if last.shape != network.fc.weight.shape:
        raise ClientError(
            f"{where}: its dense layer has the shape {last.shape[0]}x{last.shape[1]}; accepted: a row of "
            f"{network.width} for each class"
        )
    first = arrays.get("arg:conv0_weight")
    if first is None or first.ndim != 4 or first.shape[2] != network.conv0.kernel_size[0]:
        raise ClientError(
            f"{where}: its first convolution does not belong to images of {shape[1]} rows; accepted: the "
            f"image_shape that it was trained with, in {SHAPES_FILE}"
        )
    return network.to_empty(device="cpu")


def renamed(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The arrays with the last layer named as here; other versions of AWS's image name it differently."""
    name, _ = _last(arrays, "the file of parameters")
    return {key.replace(f"arg:{name}_", f"arg:{LAST}_"): value for key, value in arrays.items()}


def _depth(arrays: Arrays, where: str) -> int:
    units: dict[int, int] = {}
    for key in arrays:
        if found := _UNIT.fullmatch(key):
            stage = int(found[1])
            units[stage] = max(units.get(stage, 0), int(found[2]))
    counts = tuple(units[stage] for stage in sorted(units))
    bottleneck = "arg:stage1_unit1_conv3_weight" in arrays
    for depth, expected in {**LARGE, **SMALL}.items():
        if counts == expected and (depth in LARGE and depth >= 50) == bottleneck:
            return depth
    raise ClientError(
        f"{where} holds no network of this algorithm; accepted: residual networks of "
        f"{one_of((*LARGE, *SMALL))} layers"
    )


def _last(arrays: Arrays, where: str) -> tuple[str, NDArray[Any]]:
    dense = [
        (key.removeprefix("arg:").removesuffix("_weight"), array)
        for key, array in arrays.items()
        if key.startswith("arg:") and key.endswith("_weight") and array.ndim == 2
    ]
    if len(dense) != 1:
        raise ClientError(f"{where} holds {len(dense)} dense layers, where a classifier has one")
    return dense[0]


def _shape(folder: Path, arrays: Arrays, where: str) -> tuple[int, int, int]:
    value = jsonfile.read(folder / SHAPES_FILE)
    if value is None:
        gamma = arrays.get("arg:bn_data_gamma")
        return (3 if gamma is None else len(gamma), 224, 224)
    try:
        channels, height, width = next(one["shape"] for one in value if one["name"] == "data")[-3:]
        if not all(type(n) is int and 0 < n <= _LARGEST_SIDE for n in (channels, height, width)):
            raise ValueError
        if channels not in CHANNELS:
            raise ClientError(f"{SHAPES_FILE} tells of {channels} channels; accepted: {one_of(CHANNELS)}")
    except (KeyError, TypeError, ValueError, StopIteration):
        raise ClientError(
            f'{SHAPES_FILE} is not of the form [{{"shape": [32, 3, 224, 224], "name": "data"}}]'
        ) from None
    return channels, height, width


def _multi_label(folder: Path) -> bool:
    """Whether the symbol ends without a softmax: labels that don't exclude each other.

    Which operator AWS's image has for them isn't known; here it is LogisticRegressionOutput.
    """
    value = jsonfile.read(folder / SYMBOL_FILE)
    if value is None:
        return False
    try:
        return not any(str(node["op"]).lower().startswith("softmax") for node in value["nodes"])
    except (KeyError, TypeError):
        raise ClientError(f"{SYMBOL_FILE} is not an MXNet symbol") from None
