"""model_algo-1: a zip of an MXNet symbol, its parameters and JSON that says how they are to be read.

The symbol has three outputs: ``topic_weights``, what an endpoint answers; ``log_deviation``, the
spread of the mixture before its softmax; and ``word_probabilities``, what the decoder makes of the topic
weights. Batch normalisation is folded into the layer before it.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from common.formats import archive, ndarray

NAME = "model_algo-1"
SYMBOL, PARAMETERS, META = "symbol.json", "params", "meta.json"
ACTIVATIONS = ("sigmoid", "tanh", "relu")

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Dense:
    """A layer: ``x @ weight.T + bias``, weight (outputs, inputs) and bias (outputs,)."""

    weight: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model. The layers of the encoder have the activation, the others none."""

    activation: str
    encoder: list[Dense]
    mean: Dense
    log_deviation: Dense
    projection: Dense  # (vocabulary, topics): a column a topic


def write(path: Path, model: Model) -> None:
    """Writes the zip."""
    layers = {
        **{f"encoder_{number}": layer for number, layer in enumerate(model.encoder)},
        "mean": model.mean,
        "log_deviation": model.log_deviation,
        "projection": model.projection,
    }
    arrays = {}
    for name, layer in layers.items():
        arrays[f"arg:{name}_weight"], arrays[f"arg:{name}_bias"] = layer.weight, layer.bias
    vocabulary, topics = model.projection.weight.shape
    meta = {
        "algorithm": "ntm",
        "feature_dim": vocabulary,
        "num_topics": topics,
        "encoder_layers": [len(layer.bias) for layer in model.encoder],
        "encoder_layers_activation": model.activation,
    }
    members = {
        SYMBOL: _symbol(model),
        PARAMETERS: ndarray.dumps(arrays),
        META: json.dumps(meta, indent=1).encode(),
    }
    archive.write(path, members)


def _symbol(model: Model) -> bytes:
    graph = archive.Graph()

    def dense(name: str, data: int, layer: Dense) -> int:
        inputs = [data, graph.variable(f"{name}_weight"), graph.variable(f"{name}_bias")]
        return graph.operator("FullyConnected", name, inputs, num_hidden=len(layer.bias))

    hidden = graph.variable("data")
    for number, layer in enumerate(model.encoder):
        hidden = dense(f"encoder_{number}", hidden, layer)
        name = f"encoder_{number}_{model.activation}"
        hidden = graph.operator("Activation", name, [hidden], act_type=model.activation)
    mean = dense("mean", hidden, model.mean)
    log_deviation = dense("log_deviation", hidden, model.log_deviation)
    weights = graph.operator("softmax", "topic_weights", [mean], axis=-1)
    projection = dense("projection", weights, model.projection)
    words = graph.operator("softmax", "word_probabilities", [projection], axis=-1)
    return graph.dumps(weights, log_deviation, words)


def read(folder: Path) -> Model:
    """The model in a folder. Raises ClientError when it holds none, or one that can't be understood."""
    with archive.opened(folder / NAME, "a neural topic model") as zipped:
        meta, arrays = zipped.json(META), zipped.arrays(PARAMETERS)
    activation = meta.get("encoder_layers_activation")
    if activation not in ACTIVATIONS:
        raise ClientError(f"{META} in {NAME} has the encoder_layers_activation '{str(activation)[:60]}'")
    encoder = []
    for number in itertools.count():
        if f"arg:encoder_{number}_weight" not in arrays:
            break
        encoder.append(_dense(arrays, f"encoder_{number}"))
    mean, log_deviation, projection = (
        _dense(arrays, name) for name in ("mean", "log_deviation", "projection")
    )
    model = Model(str(activation), encoder, mean, log_deviation, projection)
    _fits(model)
    return model


def _dense(arrays: dict[str, Any], name: str) -> Dense:
    weight, bias = arrays.get(f"arg:{name}_weight"), arrays.get(f"arg:{name}_bias")
    if weight is None or weight.ndim != 2 or not weight.size:
        raise ClientError(f"{PARAMETERS} in {NAME} has no matrix arg:{name}_weight")
    if bias is None or bias.shape != (len(weight),):
        raise ClientError(f"{PARAMETERS} in {NAME} has no arg:{name}_bias of {len(weight)} numbers")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ClientError(f"{PARAMETERS} in {NAME}: arg:{name} holds values that are not finite numbers")
    return Dense(np.ascontiguousarray(weight, np.float32), np.ascontiguousarray(bias, np.float32))


def _fits(model: Model) -> None:
    """Raises ClientError unless each layer takes what the one before it makes."""
    if not model.encoder:
        raise ClientError(f"{PARAMETERS} in {NAME} has no matrix arg:encoder_0_weight")
    vocabulary, topics = model.projection.weight.shape
    layers = [*model.encoder, model.mean]
    inputs = [layer.weight.shape[1] for layer in layers]
    outputs = [vocabulary, *(len(layer.bias) for layer in model.encoder)]
    log_deviation = model.log_deviation.weight.shape
    if inputs != outputs or len(model.mean.bias) != topics or log_deviation != model.mean.weight.shape:
        raise ClientError(f"{PARAMETERS} in {NAME}: the shapes of its layers don't fit one another")
