"""A network's answers as objects: the likeliest boxes, and of those that overlap the best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from containers.object_detection import kernels
from containers.object_detection.anchors import Boxes

LEAST = 0.01  # probability of a class that makes an object of a box


def detect(
    probabilities: NDArray[np.float32],
    offsets: NDArray[np.float32],
    anchors: Boxes,
    threshold: float,
    most: int,
) -> list[NDArray[np.float32]]:
    """Objects of each image, (objects, 6): class, probability and box in shares, the likeliest first.

    ``probabilities`` are (n, classes + 1, boxes) and ``offsets`` (n, 4 boxes). Of the ``most`` likeliest
    boxes (all with 0 or less) those go that overlap a likelier one of their class by ``threshold``, as in
    MXNet's MultiBoxDetection.
    """
    return [
        kernels.detect(one, moves, anchors, np.float32(LEAST), np.float32(threshold), most)
        for one, moves in zip(probabilities, offsets, strict=True)
    ]
