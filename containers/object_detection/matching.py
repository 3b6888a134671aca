"""What each box should answer of an image whose objects are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from containers.object_detection import kernels
from containers.object_detection.anchors import Boxes

# Boxes that overlap an object by half have it; for each that has one, three learn that they have none.
OVERLAP, NEGATIVES, HARDEST = 0.5, 3.0, 0.5


@dataclass(frozen=True, slots=True)
class Goals:
    """For n images: classes (n, boxes), 0 for background and -1 for what isn't learned, and offsets
    (n, 4 boxes) with a mask of the same shape that is 1 where they are learned. All float32."""

    classes: NDArray[np.float32]
    offsets: NDArray[np.float32]
    mask: NDArray[np.float32]


def match(anchors: Boxes, labels: NDArray[np.float32], scores: NDArray[np.float32]) -> Goals:
    """Goals of (boxes, 4) anchors, as MXNet's MultiBoxTarget finds them.

    ``labels`` (n, objects, 5) are class, xmin, ymin, xmax, ymax in shares, rows of -1 behind them; ``scores``
    (n, classes + 1, boxes) are the network's answers, which say which backgrounds are hard. Images without
    objects aren't learned from.
    """
    count, boxes = len(labels), len(anchors)
    goals = Goals(
        np.empty((count, boxes), np.float32),
        np.empty((count, 4 * boxes), np.float32),
        np.empty((count, 4 * boxes), np.float32),
    )
    settings = np.float32(OVERLAP), np.float32(NEGATIVES), np.float32(HARDEST)
    for image in range(count):
        kernels.match(
            anchors,
            labels[image],
            scores[image],
            *settings,
            goals.classes[image],
            goals.offsets[image],
            goals.mask[image],
        )
    return goals
