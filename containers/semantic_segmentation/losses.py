"""The loss of segmentation: pixels' cross-entropy, and the auxiliary decoder's beside it.

GluonCV's MixSoftmaxCrossEntropyLoss (gluoncv/loss.py): both decoders answer for the same masks, and pixels to
ignore count nowhere, also not in the mean.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

IGNORED = 255  # the value of pixels in masks that belong to no class
AUXILIARY_WEIGHT = 0.5


def loss(
    outputs: tuple[Tensor, Tensor], masks: Tensor, ignore: int = IGNORED, weight: float = AUXILIARY_WEIGHT
) -> tuple[Tensor, Tensor]:
    """What is minimised, and how many pixels it is the mean over.

    ``outputs`` are scores of both decoders, (n, classes, h, w) each; ``masks``, (n, h, w) int64, have classes
    or ``ignore``. The first answer is the mean of -log p over the pixels that are not ignored, and ``weight``
    times the auxiliary decoder's; zero when all are ignored. The second is their count, int64.
    """
    scores, auxiliary = outputs
    pixels = (masks != ignore).sum()
    total = entropy(scores, masks, ignore) + weight * entropy(auxiliary, masks, ignore)
    return total / pixels.clamp(min=1), pixels


def entropy(scores: Tensor, masks: Tensor, ignore: int = IGNORED) -> Tensor:
    """The sum of -log p of each pixel's class over the pixels that are not ignored."""
    return F.cross_entropy(scores.float(), masks, ignore_index=ignore, reduction="sum")
