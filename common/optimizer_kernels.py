"""One pass over the memory for a step of an optimizer, where torch would make many."""

from __future__ import annotations

import numpy as np

from common.batches import Float32
from common.compiled import compiled


@compiled
def sgd(weights: Float32, gradient: Float32, numbers: Float32) -> None:
    """See `common.optimizers.SGD`. ``numbers`` are `common.optimizers.Optimizer.numbers`."""
    rescale, clip, decay, rate = numbers[:4]
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at], -clip), clip)
        weights[at] = (np.float32(1) - rate * decay) * weights[at] - rate * slope


@compiled
def momentum(weights: Float32, gradient: Float32, moved: Float32, numbers: Float32) -> None:
    """See `common.optimizers.Momentum`."""
    rescale, clip, decay, rate, keep = numbers[:5]
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at], -clip), clip)
        moved[at] = keep * moved[at] - rate * (slope + decay * weights[at])
        weights[at] += moved[at]


@compiled
def nesterov(weights: Float32, gradient: Float32, moved: Float32, numbers: Float32) -> None:
    """See `common.optimizers.Nesterov`."""
    rescale, clip, decay, rate, keep = numbers[:5]
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at], -clip), clip) + decay * weights[at]
        moved[at] = keep * moved[at] - rate * slope
        weights[at] += keep * moved[at] - rate * slope


@compiled
def adam(weights: Float32, gradient: Float32, mean: Float32, square: Float32, numbers: Float32) -> None:
    """See `common.optimizers.Adam`."""
    rescale, clip, decay, rate, first, second, small = numbers
    one = np.float32(1)
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at] + decay * weights[at], -clip), clip)
        mean[at] = first * mean[at] + (one - first) * slope
        square[at] = second * square[at] + (one - second) * slope * slope
        weights[at] -= rate * mean[at] / (np.sqrt(square[at]) + small)


@compiled
def adagrad(weights: Float32, gradient: Float32, square: Float32, numbers: Float32) -> None:
    """See `common.optimizers.AdaGrad`."""
    rescale, clip, decay, rate, _, _, small = numbers
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at], -clip), clip)
        square[at] += slope * slope
        weights[at] -= rate * (slope / np.sqrt(square[at] + small) + decay * weights[at])


@compiled
def adadelta(weights: Float32, gradient: Float32, square: Float32, moved: Float32, numbers: Float32) -> None:
    """See `common.optimizers.AdaDelta`."""
    rescale, clip, decay, _, keep, _, small = numbers
    one = np.float32(1)
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at], -clip), clip)
        square[at] = keep * square[at] + (one - keep) * slope * slope
        step = np.sqrt(moved[at] + small) / np.sqrt(square[at] + small) * slope
        moved[at] = keep * moved[at] + (one - keep) * step * step
        weights[at] -= step + decay * weights[at]


@compiled
def rmsprop(weights: Float32, gradient: Float32, square: Float32, numbers: Float32) -> None:
    """See `common.optimizers.RMSProp`."""
    rescale, clip, decay, rate, keep, _, small = numbers
    one = np.float32(1)
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at] + decay * weights[at], -clip), clip)
        square[at] = keep * square[at] + (one - keep) * slope * slope
        weights[at] -= rate * slope / np.sqrt(square[at] + small)


@compiled
def centred_rmsprop(
    weights: Float32, gradient: Float32, square: Float32, mean: Float32, moved: Float32, numbers: Float32
) -> None:
    """See `common.optimizers.CentredRMSProp`."""
    rescale, clip, decay, rate, keep, inertia, small = numbers
    one = np.float32(1)
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at] + decay * weights[at], -clip), clip)
        square[at] = keep * square[at] + (one - keep) * slope * slope
        mean[at] = keep * mean[at] + (one - keep) * slope
        moved[at] = inertia * moved[at] - rate * slope / np.sqrt(square[at] - mean[at] * mean[at] + small)
        weights[at] += moved[at]


def compile_all() -> None:
    """Calls each once with the types that training gives it."""
    one, numbers = np.ones(1, np.float32), np.ones(7, np.float32)
    sgd(one, one.copy(), numbers)
    momentum(one, one.copy(), one.copy(), numbers)
    nesterov(one, one.copy(), one.copy(), numbers)
    adagrad(one, one.copy(), one.copy(), numbers)
    rmsprop(one, one.copy(), one.copy(), numbers)
    adam(one, one.copy(), one.copy(), one.copy(), numbers)
    adadelta(one, one.copy(), one.copy(), one.copy(), numbers)
    centred_rmsprop(one, one.copy(), one.copy(), one.copy(), one.copy(), numbers)
