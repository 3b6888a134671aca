"""model_algo-1: a zip of an MXNet symbol, its parameters and the job's settings.

Once unzipped and renamed to model-symbol.json and model-0000.params, ``mx.module.Module.load("model", 0,
label_names=["out_label"])`` opens it. Parameters are ``v`` (d, k), ``w1_weight`` (d, 1) and ``w0_weight``
(1,), the layout of AWS's image for sparse data. Its other layout is read too: ``v`` (k, d),
``Linear_Plus_Bias_weight`` (1, d) and ``Linear_Plus_Bias_bias`` (1,).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.batches import Float32
from common.failures import ClientError, one_of
from common.formats import archive, ndarray
from containers.factorization_machines.model import Machine

NAME = "model_algo-1"
SYMBOL, PARAMETERS, META = "symbol.json", "params", "meta.json"

_OUTPUTS = {"regressor": "LinearRegressionOutput", "binary_classifier": "LogisticRegressionOutput"}


@dataclass(frozen=True, slots=True)
class Model:
    """A trained machine and what its scores mean."""

    machine: Machine
    predictor_type: str  # regressor or binary_classifier


def write(path: Path, model: Model, settings: Mapping[str, Any]) -> None:
    """Writes the zip. ``settings`` are the hyperparameters, as meta.json's training_parameters."""
    machine = model.machine
    written = {name: str(value) for name, value in settings.items() if value is not None}
    archive.write(
        path,
        {
            SYMBOL: symbol(model.predictor_type, *machine.shape),
            PARAMETERS: ndarray.pieces(
                {
                    "arg:v": machine.factors,
                    "arg:w1_weight": machine.linear,
                    "arg:w0_weight": machine.bias,
                }
            ),
            META: json.dumps({"training_parameters": written}, indent=1).encode(),
        },
    )


def symbol(predictor_type: str, features: int, factors: int) -> bytes:
    """The MXNet 1.x graph from ``data``, dense or csr, to ``out`` with its label ``out_label``."""
    graph = archive.Graph()
    data = graph.variable("data")
    v = graph.variable("v", __shape__=(features, factors))
    w1 = graph.variable("w1_weight", __shape__=(features, 1))
    w0 = graph.variable("w0_weight", __shape__=(1,))
    linear = graph.operator("broadcast_add", "linear", [graph.operator("dot", "w1", [data, w1]), w0])
    sums = graph.operator("square", "sums_squared", [graph.operator("dot", "sums", [data, v])])
    total = graph.operator("sum", "squares_of_sums", [sums], axis=(1,), keepdims=True)
    lengths = graph.operator(
        "sum", "lengths", [graph.operator("square", "v_squared", [v])], axis=(1,), keepdims=True
    )
    own = graph.operator(
        "dot", "sums_of_squares", [graph.operator("square", "data_squared", [data]), lengths]
    )
    twice = graph.operator("elemwise_sub", "pairs_twice", [total, own])
    pairs = graph.operator("_mul_scalar", "pairs", [twice], scalar=0.5)
    score = graph.operator("elemwise_add", "score", [linear, pairs])
    label = graph.variable("out_label")
    return graph.dumps(graph.operator(_OUTPUTS[predictor_type], "out", [score, label]))


def read(folder: Path) -> Model:
    """The model in a folder. Raises ClientError when it holds none, or one that can't be understood."""
    with archive.opened(folder / NAME, "a factorization machine") as opened:
        meta = opened.json(META) if META in opened.members else {}
        parameters = meta.get("training_parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        kind = parameters.get("predictor_type") or _kind(opened)
        arrays = {name.removeprefix("arg:"): array for name, array in opened.arrays(PARAMETERS).items()}
    if kind not in _OUTPUTS:
        raise ClientError(
            f"{META} in {NAME} has the predictor_type '{str(kind)[:60]}'; accepted: {one_of(_OUTPUTS)}"
        )
    machine = _machine(arrays)
    claimed = parameters.get("feature_dim")
    if claimed is not None and str(claimed) != str(machine.shape[0]):
        raise ClientError(
            f"{META} in {NAME} says feature_dim {str(claimed)[:60]}, but v has {machine.shape[0]} features"
        )
    return Model(machine, kind)


def _kind(opened: archive.Archive) -> str | None:
    """The predictor type by what the symbol's output is, where the settings don't say it."""
    if SYMBOL not in opened.members:
        return None
    nodes = opened.json(SYMBOL).get("nodes")
    found = {node.get("op") for node in nodes if isinstance(node, dict)} if isinstance(nodes, list) else set()
    return next((kind for kind, output in _OUTPUTS.items() if output in found), None)


def _machine(arrays: Mapping[str, ndarray.Array]) -> Machine:
    factors = arrays.get("v", np.empty(0))
    if factors.ndim != 2 or not factors.size:
        raise ClientError(f"{PARAMETERS} in {NAME} has no matrix v of factors")
    linear, bias = arrays.get("w1_weight"), arrays.get("w0_weight")
    if "Linear_Plus_Bias_weight" in arrays:
        factors = factors.T
        linear, bias = arrays["Linear_Plus_Bias_weight"], arrays.get("Linear_Plus_Bias_bias")
    machine = Machine(
        _floats("the bias", bias, (1,)),
        _floats("the linear weights", linear, (len(factors), 1)),
        _floats("v", factors, factors.shape),
    )
    if not machine.finite():
        raise ClientError(f"{PARAMETERS} in {NAME}: not all weights are finite numbers")
    return machine


def _floats(what: str, array: ndarray.Array | None, shape: tuple[int, ...]) -> Float32:
    """The array in this shape and as kernels take it; zeros for one that was not trained."""
    if array is None:
        return np.zeros(shape, np.float32)
    if array.size != math.prod(shape):
        raise ClientError(
            f"{PARAMETERS} in {NAME}: {what} has {array.size} values; accepted: {math.prod(shape)}"
        )
    return np.require(array.reshape(shape), np.float32, ["C", "W", "A"])
