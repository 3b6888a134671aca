"""Decoders: what makes scores of classes from the backbone's features.

- FCN: Long, Shelhamer and Darrell, *Fully Convolutional Networks for Semantic Segmentation*, 2015.
- PSP: Zhao et al., *Pyramid Scene Parsing Network*, 2017.
- DeepLabV3: Chen et al., *Rethinking Atrous Convolution for Semantic Image Segmentation*, 2017.

Layers, sizes and names are those of GluonCV (gluoncv/model_zoo: fcn.py, pspnet.py, deeplabv3.py). All take
(n, inputs, h, w) and give (n, classes, h, w).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from containers.semantic_segmentation.backbone import norm

_POOLS = (1, 2, 3, 6)  # PSP: sides of the grids that features are averaged to
_RATES = (12, 24, 36)  # DeepLabV3: dilations
_ASPP_WIDTH = 256


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, with the corners' centers on each other, as MXNet's BilinearResize2D does it."""
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=True)


def _convolved(inputs: int, outputs: int, side: int = 1, dilation: int = 1) -> list[nn.Module]:
    padding = dilation if side == 3 else 0
    return [
        nn.Conv2d(inputs, outputs, side, 1, padding, dilation, bias=False),
        norm(outputs),
        nn.ReLU(inplace=True),
    ]


def _block(inputs: int, middle: int, classes: int) -> nn.Sequential:
    """The last layers of each decoder."""
    return nn.Sequential(*_convolved(inputs, middle, 3), nn.Dropout(0.1), nn.Conv2d(middle, classes, 1))


class FCN(nn.Module):
    """Scores from features as they are; also the auxiliary decoder of every network."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.block = _block(inputs, inputs // 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The scores."""
        scores: Tensor = self.block(x)
        return scores


class Pyramid(nn.Module):
    """Features beside their means over grids of 1, 2, 3 and 6 cells a side."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        for number in range(1, len(_POOLS) + 1):
            self.add_module(f"conv{number}", nn.Sequential(*_convolved(inputs, inputs // len(_POOLS))))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, 2 inputs, h, w)."""
        parts = [x]
        for convolution, side in zip(self.children(), _POOLS, strict=True):
            parts.append(resized(convolution(F.adaptive_avg_pool2d(x, side)), *x.shape[2:]))
        return torch.cat(parts, 1)


class PSP(nn.Module):
    """Scores from features and what lies around them, at four scales."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.psp = Pyramid(inputs)
        self.block = _block(2 * inputs, 512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The scores."""
        scores: Tensor = self.block(self.psp(x))
        return scores


class Pooling(nn.Module):
    """The mean over the whole picture, everywhere."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.gap = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_convolved(inputs, _ASPP_WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, 256, h, w)."""
        mean: Tensor = self.gap(x)
        return mean.expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: convolutions of several dilations side by side."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.concurent = nn.ModuleList(  # so spelt in the names of files
            [
                nn.Sequential(*_convolved(inputs, _ASPP_WIDTH)),
                *(nn.Sequential(*_convolved(inputs, _ASPP_WIDTH, 3, rate)) for rate in _RATES),
                Pooling(inputs),
            ]
        )
        width = len(self.concurent) * _ASPP_WIDTH
        self.project = nn.Sequential(*_convolved(width, _ASPP_WIDTH), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, 256, h, w)."""
        found: Tensor = self.project(torch.cat([branch(x) for branch in self.concurent], 1))
        return found


class DeepLab(nn.Module):
    """Scores from features seen at several dilations."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.aspp = ASPP(inputs)
        self.block = _block(_ASPP_WIDTH, 256, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The scores."""
        scores: Tensor = self.block(self.aspp(x))
        return scores


# Decoders by what the hyperparameter `algorithm` calls them.
DECODERS: Mapping[str, Callable[[int, int], nn.Module]] = {"fcn": FCN, "psp": PSP, "deeplab": DeepLab}
