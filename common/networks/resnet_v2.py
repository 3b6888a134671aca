"""Residual networks with pre-activation (He et al., *Identity Mappings in Deep Residual Networks*, 2016).

Layers, sizes and names are those of Apache MXNet's example symbols (example/image-classification), which
AWS's images are built from: the input is normalised by a batch norm without scale, and a bottleneck has its
stride at the middle convolution. Pixels go in as they are, 0 to 255 in RGB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.networks.symbols import NetworkGraph

EPSILON = 2e-5
# Units of each stage by depth; networks for small images have three stages (He et al., 2015, section 4.2).
LARGE: Mapping[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
SMALL: Mapping[int, tuple[int, ...]] = {depth: ((depth - 2) // 6,) * 3 for depth in (20, 32, 44, 56, 110)}
_LOWEST = 32  # images of at most this height are not made smaller by the first layers
_SHRINK = 4  # a bottleneck's middle has so many fewer filters


def norm(width: int, scaled: bool = True) -> nn.BatchNorm2d:
    """Batch normalisation with MXNet's constants; without scale its weight is one and stays so."""
    layer = nn.BatchNorm2d(width, eps=EPSILON, momentum=0.1)
    layer.weight.requires_grad_(scaled)
    return layer


class Unit(nn.Module):
    """One residual unit: batch norm, rectifier and convolution two or three times, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, bottleneck: bool, matching: bool) -> None:
        super().__init__()
        middle = outputs // _SHRINK if bottleneck else outputs
        self.bn1 = norm(inputs)
        if bottleneck:
            self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
            self.bn2 = norm(middle)
            self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, bias=False)
            self.bn3 = norm(middle)
            self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        else:
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn2 = norm(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        if not matching:
            self.sc = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.bottleneck, self.matching, self.stride = bottleneck, matching, stride

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        active = F.relu(self.bn1(x), inplace=True)
        shortcut = x if self.matching else self.sc(active)
        x = self.conv1(active)
        x = self.conv2(F.relu(self.bn2(x), inplace=True))
        if self.bottleneck:
            x = self.conv3(F.relu(self.bn3(x), inplace=True))
        return x + shortcut

    def symbol(self, graph: NetworkGraph, name: str, x: int, sums: list[int]) -> int:
        """Adds the unit's nodes; ``sums`` counts the additions, by which MXNet names them."""

        def conv(layer: nn.Conv2d, suffix: str, source: int) -> int:
            pad = None if suffix == "sc" else int(layer.padding[0])
            return graph.convolution(
                f"{name}_{suffix}",
                source,
                layer.out_channels,
                layer.kernel_size[0],
                layer.stride[0],
                pad,
                bias=False,
                workspace=256,
            )

        active = graph.relu(f"{name}_relu1", graph.norm(f"{name}_bn1", x))
        path = conv(self.conv1, "conv1", active)
        path = graph.relu(f"{name}_relu2", graph.norm(f"{name}_bn2", path))
        path = conv(self.conv2, "conv2", path)
        if self.bottleneck:
            path = graph.relu(f"{name}_relu3", graph.norm(f"{name}_bn3", path))
            path = conv(self.conv3, "conv3", path)
        shortcut = x if self.matching else conv(self.sc, "sc", active)
        sums.append(graph.operator("elemwise_add", f"_plus{len(sums)}", [path, shortcut]))
        return sums[-1]


class Trunk(nn.Module):
    """All but the last layer. ``depth`` is one of `LARGE` or `SMALL`; ``height`` that of the images."""

    def __init__(self, depth: int, height: int, channels: int = 3, *, final: bool = True) -> None:
        super().__init__()
        large = depth in LARGE
        units = LARGE[depth] if large else SMALL[depth]
        bottleneck = large and depth >= 50
        widths = (64, 256, 512, 1024, 2048) if bottleneck else (64, 64, 128, 256, 512)
        if not large:
            widths = (16, 16, 32, 64, 0)
        self.depth, self.lowered, self.channels = depth, height > _LOWEST, channels
        self.bn_data = norm(channels, scaled=False)
        if self.lowered:
            self.conv0 = nn.Conv2d(channels, widths[0], 7, 2, 3, bias=False)
            self.bn0 = norm(widths[0])
        else:
            self.conv0 = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.stages = [f"stage{number}" for number in range(1, len(units) + 1)]
        for number, (stage, count) in enumerate(zip(self.stages, units, strict=True)):
            before, width = widths[number], widths[number + 1]
            made = nn.Module()
            for unit in range(count):
                first = unit == 0
                stride = 2 if first and number > 0 else 1
                made.add_module(
                    f"unit{unit + 1}", Unit(before if first else width, width, stride, bottleneck, not first)
                )
            self.add_module(stage, made)
        self.width = widths[len(units)]
        if final:
            self.bn1 = norm(self.width)

    def sums(self, x: Tensor) -> list[Tensor]:
        """The output of each stage, before any rectifier; (n, channels, h, w) pixels go in."""
        x = self.conv0(self.bn_data(x))
        if self.lowered:
            x = F.max_pool2d(F.relu(self.bn0(x), inplace=True), 3, 2, 1)
        found = []
        for stage in self.stages:
            for unit in self.get_submodule(stage).children():
                x = unit(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) pixels to (n, width) features."""
        return F.relu(self.bn1(self.sums(x)[-1]), inplace=True).mean((2, 3))

    def symbol(self, graph: NetworkGraph) -> tuple[int, list[int]]:
        """Adds the nodes up to the last sum; that, and all sums."""
        x = graph.operator("_copy", "id", [graph.variable("data")])
        x = graph.norm("bn_data", x, fixed=True)
        kernel, stride, pad = (7, 2, 3) if self.lowered else (3, 1, 1)
        filters = self.conv0.out_channels
        x = graph.convolution("conv0", x, filters, kernel, stride, pad, bias=False, workspace=256)
        if self.lowered:
            x = graph.pool("pooling0", graph.relu("relu0", graph.norm("bn0", x)), "max", 3, 2, 1)
        sums: list[int] = []
        for stage in self.stages:
            for name, unit in self.get_submodule(stage).named_children():
                assert isinstance(unit, Unit)
                x = unit.symbol(graph, f"{stage}_{name}", x, sums)
        return x, sums


def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Convolutions and dense layers as MXNet's examples begin: normal, variance 2 / fan-in (Xavier)."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan = module.weight[0].numel()
                module.weight.normal_(0.0, math.sqrt(2 / fan), generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
