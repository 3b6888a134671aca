"""The boxes that a detector's answers are relative to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from containers.object_detection.plans import Layer

Boxes = NDArray[np.float32]


def prior(
    height: int, width: int, sizes: Sequence[float], ratios: Sequence[float], step: float | None = None
) -> Boxes:
    """Boxes round each place of a (height, width) layer, (height * width * boxes, 4) float32.

    A box is xmin, ymin, xmax, ymax in shares of the image; it may reach beyond it. Places go row by row; each
    has a square of each of ``sizes``, then boxes of the first size with each of ``ratios`` but the first. The
    order and the formulas are those of MXNet's MultiBoxPrior.
    """
    down, across = (1 / height, 1 / width) if step is None else (step, step)
    squeeze = height / width
    halves = [(size * squeeze / 2, size / 2) for size in sizes]
    halves += [
        (sizes[0] * squeeze * math.sqrt(ratio) / 2, sizes[0] / math.sqrt(ratio) / 2) for ratio in ratios[1:]
    ]
    middles = np.stack(
        np.meshgrid((np.arange(width) + 0.5) * across, (np.arange(height) + 0.5) * down), axis=-1
    ).reshape(-1, 1, 2)
    half = np.array(halves)[None]
    return np.concatenate([middles - half, middles + half], axis=-1).reshape(-1, 4).astype(np.float32)


def of(layers: Sequence[Layer], sides: Sequence[int]) -> Boxes:
    """All boxes of a detector, (boxes, 4); ``sides`` are those of its square layers."""
    found = [
        prior(side, side, layer.sizes, layer.ratios, layer.step)
        for layer, side in zip(layers, sides, strict=True)
    ]
    return np.concatenate(found)
