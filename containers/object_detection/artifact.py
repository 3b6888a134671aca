"""model.tar.gz of object detection: an MXNet checkpoint in training form, and the job's hyperparameters.

- ``model_algo_1-symbol.json`` and ``model_algo_1-0000.params``: the network; the number is always 0.
- ``hyperparams.json``: a flat object of texts, which says base network, classes, image size and how
  detections are chosen. AWS's artifacts may lack some; the parameters and the symbol tell what it doesn't.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from common.failures import ClientError
from common.formats import jsonfile, ndarray
from common.job import written
from common.networks import parameters
from common.networks.parameters import SYMBOL
from containers.object_detection import symbol
from containers.object_detection.network import Network
from containers.object_detection.plans import BASES, RESNET, VGG, plan

PREFIX = "model_algo_1"
PARAMS, SYMBOL_FILE, SETTINGS = f"{PREFIX}-0000.params", f"{PREFIX}-symbol.json", "hyperparams.json"
_LARGEST_SIDE = 4096

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Model:
    """A network, and how its detections are chosen: `detecting.detect`'s ``threshold`` and ``most``."""

    network: Network
    threshold: float
    most: int


def write_params(path: Path, network: Network) -> None:
    """Writes the parameters."""
    ndarray.save(path, parameters.dump(network, SYMBOL))


def write_description(folder: Path, model: Model, settings: Mapping[str, str]) -> None:
    """Writes what stays the same from epoch to epoch; ``settings`` are the job's hyperparameters as texts."""
    with written(folder / SYMBOL_FILE) as path:
        path.write_bytes(symbol.dumps(model.network, model.threshold, model.most))
    with written(folder / SETTINGS) as path:
        path.write_text(json.dumps(settings))


def read(folder: Path) -> Model:
    """The model of a folder, as AWS's image or ours wrote it. Raises ClientError."""
    path = folder / PARAMS
    try:
        arrays = ndarray.load(path)
    except FileNotFoundError:
        raise ClientError(f"there is no {PARAMS} in the model folder") from None
    if not isinstance(arrays, dict):
        raise ClientError(f"{PARAMS} holds arrays without names")
    settings, graph = jsonfile.read(folder / SETTINGS) or {}, jsonfile.read(folder / SYMBOL_FILE)
    if not isinstance(settings, dict):
        raise ClientError(f"{SETTINGS} is not a JSON object")
    base = _base(arrays)
    size = _whole(settings, "image_shape", _size(graph, base, arrays), 300, _LARGEST_SIDE)
    with torch.device("meta"):
        network = Network(base, _classes(arrays, base, size), size)
    network = network.to_empty(device="cpu")
    parameters.fill(network, arrays, SYMBOL, PARAMS)
    if base == RESNET:
        with torch.no_grad():
            network.get_parameter("bn_data.weight").fill_(1.0)  # MXNet's fix_gamma
    chosen = _detection(graph)
    return Model(
        network,
        _share(settings, "nms_threshold", float(chosen.get("nms_threshold", 0.45))),
        _whole(settings, "nms_topk", int(chosen.get("nms_topk", 400)), -1, 1 << 30),
    )


def _base(arrays: Arrays) -> str:
    if "arg:conv1_1_weight" in arrays:
        return VGG
    if "arg:stage4_unit3_conv3_weight" in arrays and "arg:stage3_unit7_conv1_weight" not in arrays:
        return RESNET
    raise ClientError(
        f"{PARAMS} holds no detector of this algorithm; accepted: base networks {BASES[0]} and {BASES[1]}"
    )


def _classes(arrays: Arrays, base: str, size: int) -> int:
    layer = plan(base, size)[0]
    array = arrays.get(f"arg:{layer.base}_cls_pred_conv_weight")
    filters = 0 if array is None or array.ndim != 4 else array.shape[0]
    classes, rest = divmod(filters, layer.boxes)
    if classes < 2 or rest:
        raise ClientError(f"{PARAMS} holds no class predictions of {layer.base}")
    return classes - 1


def _size(graph: Any, base: str, arrays: Arrays) -> int:
    """The image size that the symbol's steps or the number of layers tell; the usual one of two otherwise."""
    if base == VGG:
        for node in graph["nodes"] if isinstance(graph, dict) else ():
            if node.get("op") == "_contrib_MultiBoxPrior" and node.get("name") == "relu4_3_anchors":
                found = re.match(r"\(([0-9.e-]+),", str(node.get("attrs", {}).get("steps")))
                if found and float(found[1]) > 0:
                    return round(8 / float(found[1]))
        return 512 if any(name.startswith("arg:multi_feat_6_") for name in arrays) else 300
    return 512


def _detection(graph: Any) -> dict[str, str]:
    try:
        return next(n["attrs"] for n in graph["nodes"] if n["op"] == "_contrib_MultiBoxDetection")
    except (KeyError, TypeError, StopIteration):
        return {}


def _whole(settings: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = settings.get(name, default)
    try:
        number = int(str(value).strip('"'))
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise ClientError(f"{SETTINGS}: {name} is {value!r}; accepted: an integer of at least {least}")
    return number


def _share(settings: dict[str, Any], name: str, default: float) -> float:
    value = settings.get(name, default)
    try:
        number = float(str(value).strip('"'))
    except ValueError:
        number = -1.0
    if not 0 < number <= 1:
        raise ClientError(f"{SETTINGS}: {name} is {value!r}; accepted: a number above 0 and at most 1")
    return number
