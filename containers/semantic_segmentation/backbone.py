"""The backbone: ResNet-v1s of 50 or 101 layers whose last two stages are dilated in place of smaller.

A bottleneck network (He et al., *Deep Residual Learning for Image Recognition*, 2015) whose stride is at the
middle convolution and whose first layer is three small convolutions of 64, 64 and 128 filters. Stages 3 and 4
have strides of 1 and dilations of 2 and 4, so that features keep an eighth of the image's size (Yu and
Koltun, *Multi-Scale Context Aggregation by Dilated Convolutions*, 2016). Modules are named as Gluon names
those of GluonCV's segmentation networks (gluoncv/model_zoo/resnetv1b.py), by which files of either load here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

# Blocks of each stage.
BACKBONES: Mapping[str, tuple[int, int, int, int]] = {
    "resnet-50": (3, 4, 6, 3),
    "resnet-101": (3, 4, 23, 3),
}
WIDTHS = (1024, 2048)  # channels of the features of stages 3 and 4
STRIDE = 8  # image pixels from one feature to the next

_STEM = 64
_EXPANSION = 4


def norm(width: int) -> nn.BatchNorm2d:
    """Batch normalisation with Gluon's constants."""
    return nn.BatchNorm2d(width, eps=1e-5, momentum=0.1)


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 around a shortcut."""

    def __init__(self, inputs: int, middle: int, stride: int, dilation: int, matching: bool) -> None:
        super().__init__()
        outputs = middle * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = norm(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, dilation, dilation, bias=False)
        self.bn2 = norm(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = norm(outputs)
        self.downsample: nn.Sequential | None = None
        if not matching:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, 4 middle, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(x)).add_(shortcut), inplace=True)


class Backbone(nn.Module):
    """The layers below a decoder. A network of segmentation is one of these, so that names have no prefix."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.backbone = name
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, _STEM, 3, 2, 1, bias=False),
            norm(_STEM),
            nn.ReLU(inplace=True),
            nn.Conv2d(_STEM, _STEM, 3, 1, 1, bias=False),
            norm(_STEM),
            nn.ReLU(inplace=True),
            nn.Conv2d(_STEM, 2 * _STEM, 3, 1, 1, bias=False),
        )
        self.bn1 = norm(2 * _STEM)
        first, second, third, fourth = BACKBONES[name]
        self.layer1 = _stage(2 * _STEM, 64, first)
        self.layer2 = _stage(256, 128, second, stride=2)
        self.layer3 = _stage(512, 256, third, dilations=(1, 2))
        self.layer4 = _stage(1024, 512, fourth, dilations=(2, 4))

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images, (n, 3, h, w), to the features of stages 3 and 4.

        (n, 1024, h', w') and (n, 2048, h', w'), with h' and w' an eighth of the image's, rounded up.
        """
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1)
        third = self.layer3(self.layer2(self.layer1(x)))
        return third, self.layer4(third)


def _stage(
    inputs: int, middle: int, blocks: int, stride: int = 1, dilations: tuple[int, int] = (1, 1)
) -> nn.Sequential:
    """Blocks of one size; ``dilations`` are those of the first block and of the others."""
    first, others = dilations
    outputs = middle * _EXPANSION
    return nn.Sequential(
        Bottleneck(inputs, middle, stride, first, matching=False),
        *(Bottleneck(outputs, middle, 1, others, matching=True) for _ in range(blocks - 1)),
    )
