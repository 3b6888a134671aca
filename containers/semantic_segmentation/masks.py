"""Scores of an eighth of an image's size as classes or probabilities of its pixels, some rows at a time.

Scores of every pixel are the largest thing there is: 40 MB for 21 classes and 800x600 pixels, and gigabytes
for many classes and large images. Of a mask only a byte a pixel is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# Scores that are there at once: enough for torch to divide among cores, few enough for their caches.
_SCORES = 1 << 20


@dataclass(frozen=True, slots=True)
class Scores:
    """``coarse``, (classes, h', w') scores before the softmax of an image of (height, width) pixels."""

    coarse: Tensor
    height: int
    width: int

    def classes(self) -> NDArray[np.uint8]:
        """The likeliest class of each pixel, (height, width); the first of equals."""
        mask = torch.empty(self.height, self.width, dtype=torch.uint8, device=self.coarse.device)
        for rows, scores in self._strips():
            mask[rows] = scores.argmax(-1)
        return mask.cpu().numpy()

    def probabilities(self) -> NDArray[np.float32]:
        """The probability of each class at each pixel, (classes, height, width)."""
        found = np.empty((len(self.coarse), self.height, self.width), np.float32)
        for rows, scores in self._strips():
            found[:, rows] = scores.softmax(-1).permute(2, 0, 1).cpu().numpy()
        return found

    def _strips(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows of the image, and the scores (rows, width, classes) of their pixels.

        Equal to what `decoders.resized` gives: first along the width, then along the height.
        """
        classes, rows, _ = self.coarse.shape
        coarse = self.coarse[None].contiguous(memory_format=torch.channels_last)
        wide = F.interpolate(coarse, (rows, self.width), mode="bilinear", align_corners=True)
        wide = wide[0].permute(1, 2, 0)
        step = (rows - 1) / max(self.height - 1, 1)
        places = torch.arange(self.height, dtype=torch.float32, device=coarse.device) * step
        above = places.long().clamp(max=rows - 1)
        below = (above + 1).clamp(max=rows - 1)
        share = (places - above)[:, None, None]
        count = max(1, _SCORES // (self.width * classes))
        for start in range(0, self.height, count):
            part = slice(start, min(start + count, self.height))
            yield (
                part,
                torch.lerp(wide.index_select(0, above[part]), wide.index_select(0, below[part]), share[part]),
            )
