"""Compiled steps of fastText's classifier: learning, hits, and the mean vectors that answers are made of."""

from __future__ import annotations

import numpy as np

from common.batches import Float32, Int64
from common.compiled import compiled
from common.prefetching import prefetch_row
from containers.blazingtext.text_kernels import Int32

_AHEAD = 8  # features between the row that is read and the one that is asked for
_GOLDEN, _MIX_1, _MIX_2 = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)


@compiled
def _drawn(key: np.uint64, number: int, count: int) -> int:
    """One of ``count`` by chance: SplitMix64 of a counter."""
    code = key + np.uint64(number + 1) * _GOLDEN
    code = (code ^ (code >> np.uint64(30))) * _MIX_1
    code = (code ^ (code >> np.uint64(27))) * _MIX_2
    return int(np.int64((code ^ (code >> np.uint64(31))) % np.uint64(count)))


@compiled
def _mean(inputs: Float32, features: Int32, start: int, stop: int, hidden: Float32) -> None:
    """The mean of the rows ``features[start:stop]``, of which there is one at least."""
    dim = len(hidden)
    hidden[:] = 0
    for at in range(start, stop):
        if at + _AHEAD < len(features):
            prefetch_row(inputs, features[at + _AHEAD])
        row = features[at]
        for column in range(dim):
            hidden[column] += inputs[row, column]
    scale = np.float32(1 / (stop - start))
    for column in range(dim):
        hidden[column] *= scale


def _dot_(outputs: Float32, row: int, hidden: Float32) -> np.float32:
    total = np.float32(0)
    for column in range(len(hidden)):
        total += outputs[row, column] * hidden[column]
    return total


# A sum that may be added up in any order takes a quarter of the time.
_dot = compiled(_dot_, fastmath=("reassoc", "contract"))


@compiled
def _softmax(outputs: Float32, hidden: Float32, scores: Float32) -> None:
    largest = np.float32(-np.inf)
    for label in range(len(scores)):
        scores[label] = _dot(outputs, label, hidden)
        largest = max(largest, scores[label])
    total = np.float32(0)
    for label in range(len(scores)):
        scores[label] = np.exp(scores[label] - largest)
        total += scores[label]
    for label in range(len(scores)):
        scores[label] /= total


@compiled
def learn(
    inputs: Float32,
    outputs: Float32,
    features: Int32,
    bounds: Int64,
    labels: Int32,
    label_bounds: Int64,
    rate: float,
    rate_after: float,
    key: np.uint64,
) -> None:
    """A step of gradient descent for each example in order, its rate from ``rate`` to ``rate_after``.

    Several threads may learn from different examples at once, in the same matrices, without locks (Hogwild,
    Recht et al. 2011).
    """
    dim, count = inputs.shape[1], len(bounds) - 1
    hidden, gradient = np.empty(dim, np.float32), np.empty(dim, np.float32)
    scores = np.empty(len(outputs), np.float32)
    for example in range(count):
        start, stop = bounds[example], bounds[example + 1]
        if stop == start:
            continue
        first = label_bounds[example]
        target = labels[first + _drawn(key, example, label_bounds[example + 1] - first)]
        now = np.float32(rate + (rate_after - rate) * example / count)
        _mean(inputs, features, start, stop, hidden)
        _softmax(outputs, hidden, scores)
        gradient[:] = 0
        for label in range(len(scores)):
            step = now * (np.float32(label == target) - scores[label])
            for column in range(dim):
                gradient[column] += step * outputs[label, column]
                outputs[label, column] += step * hidden[column]
        scale = np.float32(1 / (stop - start))
        for column in range(dim):
            gradient[column] *= scale
        for at in range(start, stop):
            row = features[at]
            for column in range(dim):
                inputs[row, column] += gradient[column]


@compiled
def hits(
    inputs: Float32,
    outputs: Float32,
    features: Int32,
    bounds: Int64,
    labels: Int32,
    label_bounds: Int64,
) -> int:
    """Of how many examples the likeliest label is one of theirs; none without features is."""
    hidden, found = np.empty(inputs.shape[1], np.float32), 0
    for example in range(len(bounds) - 1):
        start, stop = bounds[example], bounds[example + 1]
        if stop == start:
            continue
        _mean(inputs, features, start, stop, hidden)
        best, largest = 0, np.float32(-np.inf)
        for label in range(len(outputs)):
            score = _dot(outputs, label, hidden)
            if score > largest:
                best, largest = label, score
        for at in range(label_bounds[example], label_bounds[example + 1]):
            if labels[at] == best:
                found += 1
                break
    return found


@compiled
def means(inputs: Float32, features: Int32, bounds: Int64, hidden: Float32) -> None:
    """The mean row of each example into ``hidden`` (n, dim); zeros without features."""
    for example in range(len(bounds) - 1):
        start, stop = bounds[example], bounds[example + 1]
        if stop > start:
            _mean(inputs, features, start, stop, hidden[example])
        else:
            hidden[example] = 0
