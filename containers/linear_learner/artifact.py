"""model_algo-1: a zip of an MXNet Module checkpoint and of JSON that says how to read its scores.

Opens with ``mx.module.Module.load("mx-mod", 0, label_names=["out_label"])`` once unzipped. Scaling is folded
into the weights, so they take raw features.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from common.formats import archive, ndarray

NAME = "model_algo-1"
PARAMETERS, SYMBOL = "mx-mod-0000.params", "mx-mod-symbol.json"
ADDITIONAL, MANIFEST = "additional-params.json", "manifest.json"

_OUTPUTS = {
    "logistic": "LogisticRegressionOutput",
    "softmax_loss": "SoftmaxOutput",
}


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
    archive.write(
        path,
        {
            ADDITIONAL: json.dumps(additional, indent=1).encode(),
            MANIFEST: json.dumps(described, indent=1).encode(),
            SYMBOL: symbol(model.loss, outputs),
            PARAMETERS: ndarray.dumps({"arg:fc0_weight": model.weights, "arg:fc0_bias": model.bias}),
        },
    )


def symbol(loss: str, outputs: int) -> bytes:
    """The MXNet 1.x graph data -> fc0 -> out, with its label ``out_label``, as its JSON file has it."""
    graph = archive.Graph()
    inputs = [graph.variable(name) for name in ("data", "fc0_weight", "fc0_bias")]
    linear = graph.operator("FullyConnected", "fc0", inputs, num_hidden=outputs)
    label = graph.variable("out_label")
    return graph.dumps(graph.operator(_OUTPUTS.get(loss, "LinearRegressionOutput"), "out", [linear, label]))


def read(folder: Path) -> Model:
    """The model in a folder. Raises ClientError when it holds none, or one that can't be understood."""
    with archive.opened(folder / NAME, "a linear learner") as model:
        return _model(model.json(ADDITIONAL), model.arrays(PARAMETERS))


def _model(additional: dict[str, Any], arrays: dict[str, ndarray.Array]) -> Model:
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
