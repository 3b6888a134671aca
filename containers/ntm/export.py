"""From the network that learned to the model that is kept."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from containers.ntm.artifact import Array, Dense, Model
from containers.ntm.model import Network


def model_of(network: Network) -> Model:
    """The network's numbers as they are for inference: batch normalisation becomes part of its layers."""
    encoder = [Dense(_array(network.word_weight.t()), _array(network.word_bias))]
    encoder += [_dense(layer) for layer in network.layers if isinstance(layer, nn.Linear)]
    for number, norm in enumerate(network.norms):
        assert isinstance(norm, nn.BatchNorm1d)
        encoder[number] = _folded(encoder[number], norm)
    projection = Dense(_array(network.projection.weight * network.scale), _array(network.projection.bias))
    return Model(network.activation, encoder, _dense(network.mean), _dense(network.log_deviation), projection)


def _dense(layer: nn.Linear) -> Dense:
    return Dense(_array(layer.weight), _array(layer.bias))


def _folded(layer: Dense, norm: nn.BatchNorm1d) -> Dense:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = _array(norm.weight / (norm.running_var + norm.eps).sqrt())
    shift = (layer.bias - _array(norm.running_mean)) * scale + _array(norm.bias)
    return Dense(layer.weight * scale[:, None], shift)


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
