"""Fully connected layers between an address's prefixes and its vector, forwards and backwards.

Each layer adds what it makes of its input to it, ``h + relu(h) W + b``: residual layers (He et al., "Identity
mappings in deep residual networks", 2016), so that a hundred of them still learn.

A score ``e . (h + relu(h) W + b)`` is ``e . (h + b) + relu(h) . (e W')``. So in learning the last layer is
applied to entities, once for each however many addresses it is paired with, which is the same number. The
functions take numpy's arrays and torch's tensors alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Layers = Sequence[tuple[Any, Any]]
"""Weights (d, d) and biases (d,) of each layer."""


def forward(prefixes: Any, layers: Layers) -> tuple[Any, list[Any]]:
    """What layers make of (n, d) prefixes, and the layers' inputs, which `backward` needs."""
    inputs, hidden = [], prefixes
    for weights, bias in layers:
        inputs.append(hidden)
        hidden = (hidden * (hidden > 0)) @ weights
        hidden += inputs[-1]
        hidden += bias
    return hidden, inputs


def backward(gradient: Any, inputs: Sequence[Any], layers: Layers, sums: Layers) -> Any:
    """The gradient of the (n, d) prefixes of that of `forward`'s; the layers' own are added to ``sums``."""
    for (weights, _), hidden, (weight_sums, bias_sums) in zip(
        reversed(layers), reversed(inputs), reversed(sums), strict=True
    ):
        active = hidden > 0
        weight_sums += (hidden * active).T @ gradient
        bias_sums += gradient.sum(0)
        gradient = gradient + (gradient @ weights.T) * active
    return gradient


def prepare(entities: Any, layers: Layers, offsets: Any, products: Any) -> None:
    """What the last layer makes of (n, d) entities: ``e . b`` (n,) and ``e W'`` (n, d), both 0 before."""
    if layers:
        weights, bias = layers[-1]
        offsets += entities @ bias
        products += entities @ weights.T


def finish(
    entities: Any, slopes: Any, product_slopes: Any, entity_slopes: Any, layers: Layers, sums: Layers
) -> None:
    """Carries the gradients of what `prepare` made, (n,) and (n, d), to the entities and the last layer.

    They are added to ``entity_slopes`` (n, d) and to ``sums``.
    """
    if layers:
        (weights, bias), (weight_sums, bias_sums) = layers[-1], sums[-1]
        entity_slopes += product_slopes @ weights
        entity_slopes += slopes[:, None] * bias
        weight_sums += product_slopes.T @ entities
        bias_sums += slopes @ entities
