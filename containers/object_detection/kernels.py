"""Matching boxes to objects, and choosing among overlapping answers, in machine code."""

from __future__ import annotations

import numpy as np

from common.batches import Float32
from common.compiled import compiled

# How offsets are scaled: shares of a box's middle, and of its size's logarithm.
MIDDLE, SIZE = np.float32(0.1), np.float32(0.2)
_SMALL = np.float32(1e-6)
_IGNORED, _BACKGROUND = np.float32(-1), np.float32(0)


@compiled
def overlap(a: Float32, b: Float32) -> np.float32:
    """Intersection over union of two boxes (xmin, ymin, xmax, ymax)."""
    zero = np.float32(0)
    width = max(zero, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(zero, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return zero if union <= 0 else np.float32(both / union)


@compiled
def match(
    anchors: Float32,
    labels: Float32,
    scores: Float32,
    threshold: np.float32,
    ratio: np.float32,
    hardest: np.float32,
    classes: Float32,
    offsets: Float32,
    mask: Float32,
) -> int:
    """What one image's boxes should answer; see `matching.match`. How many boxes have an object."""
    count, objects = len(anchors), 0
    while objects < len(labels) and labels[objects, 0] >= 0:
        objects += 1
    classes[:] = _IGNORED
    offsets[:] = 0
    mask[:] = 0
    if objects == 0:
        return 0
    overlaps = np.empty((count, objects), np.float32)
    for box in range(count):
        for one in range(objects):
            overlaps[box, one] = overlap(anchors[box], labels[one, 1:5])
    found = np.full(count, -1)
    # Each object takes the box that fits it best, the best fitting pair first.
    taken = np.zeros(objects, np.bool_)
    for _ in range(objects):
        best, best_box, best_one = _SMALL, -1, -1
        for box in range(count):
            if found[box] < 0:
                for one in range(objects):
                    if not taken[one] and overlaps[box, one] > best:
                        best, best_box, best_one = overlaps[box, one], box, one
        if best_box < 0:
            break
        found[best_box], taken[best_one] = best_one, True
    # Other boxes take the object that fits best, where it fits well.
    largest = np.empty(count, np.float32)
    positive = 0
    for box in range(count):
        nearest = np.argmax(overlaps[box])
        largest[box] = overlaps[box, nearest]
        if found[box] < 0 and largest[box] > threshold:
            found[box] = nearest
        if found[box] >= 0:
            positive += 1
    # Of the rest, those learn to be background that are least sure of it.
    negative = min(int(positive * ratio), count - positive)
    sure = np.full(count, np.float32(2))
    for box in range(count):
        if found[box] < 0 and largest[box] < hardest:
            top = scores[0, box]
            for kind in range(1, len(scores)):
                top = max(top, scores[kind, box])
            total = np.float32(0)
            for kind in range(len(scores)):
                total += np.exp(scores[kind, box] - top)
            sure[box] = np.exp(scores[0, box] - top) / total
    order = np.argsort(sure, kind="mergesort")
    for place in range(negative):
        if sure[order[place]] > 1:
            break
        classes[order[place]] = _BACKGROUND
    for box in range(count):
        one = found[box]
        if one < 0:
            continue
        classes[box] = labels[one, 0] + 1
        left, top, right, bottom = anchors[box, 0], anchors[box, 1], anchors[box, 2], anchors[box, 3]
        width, height = right - left, bottom - top
        goal = labels[one]
        at = 4 * box
        offsets[at] = ((goal[1] + goal[3]) / 2 - (left + right) / 2) / width / MIDDLE
        offsets[at + 1] = ((goal[2] + goal[4]) / 2 - (top + bottom) / 2) / height / MIDDLE
        offsets[at + 2] = np.log(max((goal[3] - goal[1]) / width, _SMALL)) / SIZE
        offsets[at + 3] = np.log(max((goal[4] - goal[2]) / height, _SMALL)) / SIZE
        mask[at : at + 4] = 1
    return positive


@compiled
def detect(
    probabilities: Float32,
    offsets: Float32,
    anchors: Float32,
    least: np.float32,
    threshold: np.float32,
    most: int,
) -> Float32:
    """One image's answers; see `detecting.detect`."""
    count = len(anchors)
    rows = np.empty((count, 6), np.float32)
    size = 0
    for box in range(count):
        score, kind = np.float32(-1), 0
        for each in range(1, len(probabilities)):
            if probabilities[each, box] > score:
                score, kind = probabilities[each, box], each
        if kind == 0 or score < least:
            continue
        width, height = anchors[box, 2] - anchors[box, 0], anchors[box, 3] - anchors[box, 1]
        x = (anchors[box, 0] + anchors[box, 2]) / 2 + offsets[4 * box] * MIDDLE * width
        y = (anchors[box, 1] + anchors[box, 3]) / 2 + offsets[4 * box + 1] * MIDDLE * height
        w = np.exp(offsets[4 * box + 2] * SIZE) * width / 2
        h = np.exp(offsets[4 * box + 3] * SIZE) * height / 2
        zero, one = np.float32(0), np.float32(1)
        rows[size, 0], rows[size, 1] = kind - 1, score
        rows[size, 2], rows[size, 3] = max(zero, min(one, x - w)), max(zero, min(one, y - h))
        rows[size, 4], rows[size, 5] = max(zero, min(one, x + w)), max(zero, min(one, y + h))
        size += 1
    order = np.argsort(-rows[:size, 1], kind="mergesort")
    if most > 0:
        order = order[:most]
    sorted_ = rows[order]
    kept = np.ones(len(sorted_), np.bool_)
    for first in range(len(sorted_)):
        if not kept[first]:
            continue
        for second in range(first + 1, len(sorted_)):
            if (
                kept[second]
                and sorted_[first, 0] == sorted_[second, 0]
                and overlap(sorted_[first, 2:], sorted_[second, 2:]) >= threshold
            ):
                kept[second] = False
    return sorted_[kept]
