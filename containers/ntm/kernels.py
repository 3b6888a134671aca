"""Machine code for the CPU: what torch would pass over the memory many times for."""

from __future__ import annotations

import numpy as np

from common.batches import Float32, Int64
from common.compiled import compiled


@compiled
def scatter(words: Int64, counts: Float32, starts: Int64, rows: Float32, out: Float32) -> None:
    """Adds ``rows[i]`` times its count to ``out[word]`` for each word of document ``i``.

    Document ``i`` has the words ``words[starts[i]:starts[i + 1]]``; ``rows`` is (documents, columns) and
    ``out`` (vocabulary, columns).
    """
    for row in range(len(rows)):
        for at in range(starts[row], starts[row + 1]):
            count, word = counts[at], words[at]
            for column in range(rows.shape[1]):
                out[word, column] += count * rows[row, column]


@compiled
def sgd(weights: Float32, gradient: Float32, numbers: Float32) -> None:
    """See `containers.ntm.optimizers.SGD`. ``numbers`` are rescale, clip, decay and rate."""
    rescale, clip, decay, rate = numbers
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at], -clip), clip)
        weights[at] = (np.float32(1) - rate * decay) * weights[at] - rate * slope


@compiled
def adam(weights: Float32, gradient: Float32, mean: Float32, square: Float32, numbers: Float32) -> None:
    """See `containers.ntm.optimizers.Adam`."""
    rescale, clip, decay, rate = numbers
    one, first, second, small = np.float32(1), np.float32(0.9), np.float32(0.999), np.float32(1e-8)
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at] + decay * weights[at], -clip), clip)
        mean[at] = first * mean[at] + (one - first) * slope
        square[at] = second * square[at] + (one - second) * slope * slope
        weights[at] -= rate * mean[at] / (np.sqrt(square[at]) + small)


@compiled
def adagrad(weights: Float32, gradient: Float32, square: Float32, numbers: Float32) -> None:
    """See `containers.ntm.optimizers.AdaGrad`."""
    rescale, clip, decay, rate = numbers
    small = np.float32(1e-7)
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at], -clip), clip)
        square[at] += slope * slope
        weights[at] -= rate * (slope / np.sqrt(square[at] + small) + decay * weights[at])


@compiled
def adadelta(weights: Float32, gradient: Float32, square: Float32, moved: Float32, numbers: Float32) -> None:
    """See `containers.ntm.optimizers.AdaDelta`."""
    rescale, clip, decay, _ = numbers
    one, keep, small = np.float32(1), np.float32(0.9), np.float32(1e-5)
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at], -clip), clip)
        square[at] = keep * square[at] + (one - keep) * slope * slope
        step = np.sqrt(moved[at] + small) / np.sqrt(square[at] + small) * slope
        moved[at] = keep * moved[at] + (one - keep) * step * step
        weights[at] -= step + decay * weights[at]


@compiled
def rmsprop(weights: Float32, gradient: Float32, square: Float32, numbers: Float32) -> None:
    """See `containers.ntm.optimizers.RMSProp`."""
    rescale, clip, decay, rate = numbers
    one, keep, small = np.float32(1), np.float32(0.9), np.float32(1e-8)
    for at in range(len(weights)):
        slope = min(max(rescale * gradient[at] + decay * weights[at], -clip), clip)
        square[at] = keep * square[at] + (one - keep) * slope * slope
        weights[at] -= rate * slope / np.sqrt(square[at] + small)
