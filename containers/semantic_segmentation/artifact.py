"""model.tar.gz of semantic segmentation: parameters of a GluonCV network, and the job's hyperparameters.

- ``model_algo-1`` and ``model_best.params``: Gluon parameter files, for GluonCV's ``load_parameters``.
- ``hyperparams.json``: a flat object of texts. The parameters themselves tell what network they make.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from common.failures import ClientError, one_of
from common.formats import jsonfile, ndarray
from common.networks import parameters
from common.networks.parameters import GLUON
from containers.semantic_segmentation.backbone import BACKBONES, WIDTHS
from containers.semantic_segmentation.network import Network, initialize

MODEL, BEST, SETTINGS = "model_algo-1", "model_best.params", "hyperparams.json"
FILES = (MODEL, BEST)
_CROP = 240  # what the hyperparameter crop_size is by default
_LARGEST_CROP = 1 << 16
_MOST_CLASSES = 254
_AUXILIARY = "auxlayer."
_BLOCK = re.compile(r"layer3\.(\d+)\.conv1\.weight")
_LAST = "head.block.4.weight"

Arrays = Mapping[str, NDArray[Any]]


def read(folder: Path) -> Network:
    """The model of a folder, as AWS's image, GluonCV or ours wrote it, in eval mode. Raises ClientError.

    Where the auxiliary decoder is missing, which answers need not, it is one that learned nothing.
    """
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise ClientError(f"there is no {MODEL} in the model folder")
    arrays = _loaded(path)
    algorithm, backbone, classes = described(arrays, path.name)
    settings = _settings(folder / SETTINGS)
    for name, value in (("algorithm", algorithm), ("backbone", backbone), ("num_classes", str(classes))):
        said = settings.get(name, value)
        if said != value:
            raise ClientError(f"{SETTINGS} has {name} {said[:40]}, and {path.name} a network with {value}")
    with torch.device("meta"):
        network = Network(algorithm, backbone, classes, _crop_size(settings))
    network = network.to_empty(device="cpu")
    absent: list[str] = []
    if not any(name.startswith(_AUXILIARY) for name in arrays):
        absent = [name for name in parameters.named(network, GLUON) if name.startswith(_AUXILIARY)]
        initialize(network, torch.Generator().manual_seed(0))
    parameters.fill(network, arrays, GLUON, path.name, but=absent)
    return network.eval()


def described(arrays: Arrays, where: str) -> tuple[str, str, int]:
    """Algorithm, backbone and number of classes of a network with such parameters. Raises ClientError."""
    blocks = 1 + max((int(found[1]) for name in arrays if (found := _BLOCK.fullmatch(name))), default=-1)
    backbone = next((name for name, stages in BACKBONES.items() if stages[2] == blocks), None)
    last = arrays.get(_LAST)
    first = arrays.get("head.block.0.weight")
    if backbone is None or last is None or first is None or first.ndim != 4 or last.ndim != 4:
        raise ClientError(
            f"{where} holds no network of this algorithm; accepted: GluonCV's FCN, PSPNet or DeepLabV3 on "
            f"{one_of(tuple(BACKBONES))}"
        )
    if any(name.startswith("head.psp.") for name in arrays):
        algorithm = "psp"
    elif any(name.startswith("head.aspp.") for name in arrays):
        algorithm = "deeplab"
    elif first.shape[1] == WIDTHS[1]:
        algorithm = "fcn"
    else:
        raise ClientError(f"{where}: its decoder is none of fcn, psp and deeplab")
    classes = last.shape[0]
    if not 2 <= classes <= _MOST_CLASSES:
        raise ClientError(f"{where} has {classes} classes; accepted: 2 to {_MOST_CLASSES}")
    return algorithm, backbone, classes


def take_over(network: Network, earlier: Network) -> None:
    """Gives ``network`` the weights and statistics of an earlier model of the same kind."""
    network.load_state_dict(earlier.state_dict())


def _loaded(path: Path) -> Arrays:
    try:
        arrays = ndarray.load(path)
    except OSError as error:
        raise ClientError(f"{path.name} can't be read: {error.strerror}") from None
    if not isinstance(arrays, dict):
        raise ClientError(f"{path.name} holds arrays without names")
    return arrays


def _settings(path: Path) -> dict[str, str]:
    """The hyperparameters of a file, as texts; none where there is no file. Raises ClientError."""
    found = jsonfile.read(path)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ClientError(f"{SETTINGS} is not a JSON object")
    return {name: str(value).strip('"') for name, value in found.items()}


def _crop_size(settings: Mapping[str, str]) -> int:
    """The side of crops that the network was trained with, a multiple of 8 as the training makes it."""
    text = settings.get("crop_size", str(_CROP))
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 16 < int(text) <= _LARGEST_CROP):
        raise ClientError(
            f"{SETTINGS}: crop_size is '{text[:40]}'; accepted: an integer above 16 and at most "
            f"{_LARGEST_CROP}"
        )
    return -(-int(text) // 8) * 8
