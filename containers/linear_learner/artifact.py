"""model_algo-1: a zip of an MXNet Module checkpoint and of JSON that says how to read its scores.

Opens with ``mx.module.Module.load("mx-mod", 0, label_names=["out_label"])`` once unzipped. Scaling is folded
into the weights, so they take raw features.
"""

from __future__ import annotations

import json
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from common.formats import ndarray

NAME = "model_algo-1"
PARAMETERS, SYMBOL = "mx-mod-0000.params", "mx-mod-symbol.json"
ADDITIONAL, MANIFEST = "additional-params.json", "manifest.json"

_OUTPUTS = {
    "logistic": "LogisticRegressionOutput",
    "softmax_loss": "SoftmaxOutput",
}
# What a file of a model may take unpacked: a zip is data from anywhere.
_LARGEST_JSON = 16 << 20
_LARGEST_PARAMETERS = 16 << 30


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model: scores are ``features @ weights.T + bias``, through a sigmoid or softmax or as is."""

    predictor_type: str
    loss: str
    weights: NDArray[np.float32]  # (outputs, features)
    bias: NDArray[np.float32]  # (outputs,)
    threshold: float = 0.5  # of binary_classifier: scores from here on are called 1


def write(path: Path, model: Model, settings: dict[str, Any] | None = None) -> None:
    """Writes the zip. ``settings`` are kept for whoever looks into it."""
    outputs, features = model.weights.shape
    additional = {
        "predictor_type": model.predictor_type,
        "loss": model.loss,
        "feature_dim": features,
        "num_classes": outputs if outputs > 1 else None,
        "threshold": model.threshold if model.predictor_type == "binary_classifier" else None,
        "hyperparameters": settings or {},
    }
    described = {
        "algorithm": "linear-learner",
        "format": "mxnet-module",
        "prefix": "mx-mod",
        "epoch": 0,
        "files": [ADDITIONAL, SYMBOL, PARAMETERS],
    }
    parameters = ndarray.dumps({"arg:fc0_weight": model.weights, "arg:fc0_bias": model.bias})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (
            (ADDITIONAL, json.dumps(additional, indent=1).encode()),
            (MANIFEST, json.dumps(described, indent=1).encode()),
            (SYMBOL, json.dumps(symbol(model.loss, outputs), indent=2).encode()),
            (PARAMETERS, parameters),
        ):
            # A fixed date: equal models are equal bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


def symbol(loss: str, outputs: int) -> dict[str, Any]:
    """The MXNet 1.x graph data -> fc0 -> out, with its label ``out_label``, as its JSON file has it."""
    inputs = ("data", "fc0_weight", "fc0_bias")
    nodes: list[dict[str, Any]] = [{"op": "null", "name": name, "inputs": []} for name in inputs]
    nodes.append(
        {
            "op": "FullyConnected",
            "name": "fc0",
            "attrs": {"num_hidden": str(outputs)},
            "inputs": [[0, 0, 0], [1, 0, 0], [2, 0, 0]],
        }
    )
    nodes.append({"op": "null", "name": "out_label", "inputs": []})
    nodes.append(
        {
            "op": _OUTPUTS.get(loss, "LinearRegressionOutput"),
            "name": "out",
            "inputs": [[3, 0, 0], [4, 0, 0]],
        }
    )
    return {
        "nodes": nodes,
        "arg_nodes": [0, 1, 2, 4],
        "node_row_ptr": list(range(len(nodes) + 1)),
        "heads": [[5, 0, 0]],
        "attrs": {"mxnet_version": ["int", 10901]},
    }


# What zipfile raises for an archive that is none, or whose members can't be inflated.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def read(folder: Path) -> Model:
    """The model in a folder. Raises ClientError when it holds none, or one that can't be understood."""
    path = folder / NAME
    try:
        with zipfile.ZipFile(path) as archive:
            additional = _json(_member(archive, ADDITIONAL, _LARGEST_JSON))
            content = _member(archive, PARAMETERS, _LARGEST_PARAMETERS)
    except FileNotFoundError:
        raise ClientError(f"there is no {NAME} in the model folder") from None
    except (*_DAMAGED, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ClientError(f"{NAME} is not a linear learner's zip archive: {error}") from None
    return _model(additional, ndarray.load(content))


def _member(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """One file of the archive, by its name alone, never unpacked to disk."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ClientError(f"{NAME} holds no {name}") from None
    if info.file_size > largest:
        raise ClientError(f"{name} in {NAME} takes {info.file_size} bytes; at most {largest} are read")
    with archive.open(info) as file:
        content = file.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise ClientError(f"{name} in {NAME} is not of the size that the archive tells")
    return content


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ClientError(f"{ADDITIONAL} in {NAME} is not a JSON object")
    return value


def _model(additional: dict[str, Any], arrays: Any) -> Model:
    arrays = arrays if isinstance(arrays, dict) else {}
    weights, bias = arrays.get("arg:fc0_weight"), arrays.get("arg:fc0_bias")
    if weights is None or weights.ndim != 2:
        raise ClientError(f"{PARAMETERS} in {NAME} has no matrix arg:fc0_weight")
    if bias is None:
        bias = np.zeros(len(weights), np.float32)
    if bias.shape != (len(weights),):
        raise ClientError(f"{PARAMETERS} in {NAME}: arg:fc0_bias has not one number an output")
    kind = additional.get("predictor_type")
    if kind not in ("binary_classifier", "multiclass_classifier", "regressor"):
        raise ClientError(f"{ADDITIONAL} in {NAME} has the predictor_type '{str(kind)[:60]}'")
    if (len(weights) > 1) != (kind == "multiclass_classifier") or not weights.size:
        raise ClientError(f"{PARAMETERS} in {NAME} has {len(weights)} outputs, which is none for a {kind}")
    threshold = additional.get("threshold")
    if threshold is None:
        threshold = 0.5
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise ClientError(f"{ADDITIONAL} in {NAME}: threshold is not a number")
    return Model(
        kind,
        str(additional.get("loss")),
        np.ascontiguousarray(weights, np.float32),
        np.ascontiguousarray(bias, np.float32),
        float(threshold),
    )
