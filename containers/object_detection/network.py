"""The single-shot detector: a base network, a few smaller layers, and predictions from each.

Liu and others, *SSD: Single Shot MultiBox Detector* (2016), as Apache MXNet's example builds it. Pixels go in
as they are, 0 to 255 in RGB.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from common.networks import folding
from common.networks.resnet_v2 import Trunk, Unit
from common.networks.symbols import NetworkGraph
from containers.object_detection import anchors
from containers.object_detection.plans import RESNET, plan

# Filters of VGG-16's convolutions by group; fc6 and fc7 are convolutions here, the first with holes.
_VGG = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_WIDE, _HOLES = 1024, 6
_TINY = 1e-10
_DEPTH = 50


class Vgg(nn.Module):
    """VGG-16 (Simonyan and Zisserman, 2015), fc6 and fc7 reduced to convolutions (Liu and others, 2015)."""

    def __init__(self) -> None:
        super().__init__()
        inputs = 3
        for group, widths in enumerate(_VGG, 1):
            for number, width in enumerate(widths, 1):
                self.add_module(f"conv{group}_{number}", nn.Conv2d(inputs, width, 3, 1, 1))
                inputs = width
        self.fc6 = nn.Conv2d(inputs, _WIDE, 3, 1, _HOLES, dilation=_HOLES)
        self.fc7 = nn.Conv2d(_WIDE, _WIDE, 1)

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """The layers that boxes are predicted from, of (n, 3, h, w) pixels."""
        found = {}
        for group, widths in enumerate(_VGG, 1):
            for number in range(1, len(widths) + 1):
                x = F.relu(self.get_submodule(f"conv{group}_{number}")(x), inplace=True)
            if group == 4:
                found["relu4_3"] = x
            if group < 5:
                x = F.max_pool2d(x, 2, 2, ceil_mode=group == 3)
        x = F.max_pool2d(x, 3, 1, 1)
        x = F.relu(self.fc6(x), inplace=True)
        found["relu7"] = F.relu(self.fc7(x), inplace=True)
        return found

    def nodes(self, graph: NetworkGraph) -> dict[str, int]:
        """Adds the nodes of a symbol file; those that boxes are predicted from."""
        x = graph.variable("data")
        found = {}
        for group, widths in enumerate(_VGG, 1):
            for number, width in enumerate(widths, 1):
                x = graph.convolution(f"conv{group}_{number}", x, width, 3, 1, 1)
                x = graph.relu(f"relu{group}_{number}", x)
            if group == 4:
                found["relu4_3"] = x
            if group < 5:
                x = graph.pool(f"pool{group}", x, "max", 2, 2, full=group == 3)
        x = graph.pool("pool5", x, "max", 3, 1, 1)
        x = graph.relu("relu6", graph.convolution("fc6", x, _WIDE, 3, 1, _HOLES, dilate=_HOLES))
        found["relu7"] = graph.relu("relu7", graph.convolution("fc7", x, _WIDE, 1))
        return found


class Resnet(Trunk):
    """ResNet-50 with pre-activation; predictions are made from sums, before any rectifier."""

    def __init__(self, size: int) -> None:
        super().__init__(_DEPTH, size, final=False)

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """As `Vgg.layers`."""
        sums = self.sums(x)
        return {"_plus12": sums[2], "_plus15": sums[3]}

    def nodes(self, graph: NetworkGraph) -> dict[str, int]:
        """As `Vgg.nodes`."""
        _, sums = self.symbol(graph)
        return {"_plus12": sums[12], "_plus15": sums[15]}


class Network(nn.Module):
    """A detector of ``classes`` classes in square images of ``size`` pixels a side.

    ``anchors`` are its boxes, (boxes, 4) float32 in shares of the image.
    """

    anchors: NDArray

    def __init__(self, base: str, classes: int, size: int) -> None:
        super().__init__()
        self.base_network, self.classes, self.size = base, classes, size
        self.plan = plan(base, size)
        trunk = Resnet(size) if base == RESNET else Vgg()
        self.trunk = [trunk]  # in a list: its layers are registered here, under names without a prefix
        for name, module in trunk.named_children():
            self.add_module(name, module)
        widths = {"relu4_3": 512, "relu7": _WIDE, "_plus12": 1024, "_plus15": 2048}
        width = 0
        for number, layer in enumerate(self.plan):
            if layer.base is None:
                name = f"multi_feat_{number}_conv"
                self.add_module(f"{name}_1x1_conv", nn.Conv2d(width, layer.narrow, 1))
                wide = nn.Conv2d(layer.narrow, layer.filters, 3, layer.stride, layer.pad)
                self.add_module(f"{name}_3x3_conv", wide)
                width = layer.filters
            else:
                width = widths[layer.base]
            if layer.scale is not None:
                start = torch.full((1, width, 1, 1), layer.scale)
                self.register_parameter(f"{layer.base}_scale", nn.Parameter(start))
            name = self.layer_name(number)
            self.add_module(f"{name}_cls_pred_conv", nn.Conv2d(width, layer.boxes * (classes + 1), 3, 1, 1))
            self.add_module(f"{name}_loc_pred_conv", nn.Conv2d(width, layer.boxes * 4, 3, 1, 1))
        self.anchors = anchors.of(self.plan, self._sides())

    def layer_name(self, number: int) -> str:
        """What a layer that boxes are predicted from is called in MXNet's files."""
        return self.plan[number].base or f"multi_feat_{number}_conv_3x3_relu"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, size, size) pixels to scores (n, classes + 1, boxes) and offsets (n, 4 boxes)."""
        scores: list[Tensor] = []
        offsets: list[Tensor] = []
        for number, (layer, features) in enumerate(zip(self.plan, self._features(x), strict=True)):
            if layer.scale is not None:
                length = (features.float().square().sum(1, keepdim=True) + _TINY).sqrt()
                features = features / length * self.get_parameter(f"{layer.base}_scale")
            name = self.layer_name(number)
            for found, kind in ((scores, "cls"), (offsets, "loc")):
                predicted = self.get_submodule(f"{name}_{kind}_pred_conv")(features)
                found.append(predicted.permute(0, 2, 3, 1).flatten(1))
        together = torch.cat(scores, 1).unflatten(1, (-1, self.classes + 1)).transpose(1, 2)
        return together, torch.cat(offsets, 1)

    def _features(self, x: Tensor) -> list[Tensor]:
        known = self.trunk[0].layers(x)
        found: list[Tensor] = []
        for number, layer in enumerate(self.plan):
            if layer.base is not None:
                found.append(known[layer.base])
                continue
            x = found[-1]
            for kernel in ("1x1", "3x3"):
                x = F.relu(self.get_submodule(f"multi_feat_{number}_conv_{kernel}_conv")(x), inplace=True)
            found.append(x)
        return found

    def _sides(self) -> list[int]:
        """The side of each layer, which is square."""
        with torch.device("meta"):
            copy = Resnet(self.size) if self.base_network == RESNET else Vgg()
            known = copy.layers(torch.empty(1, 3, self.size, self.size))
        sides: list[int] = []
        for layer in self.plan:
            if layer.base is not None:
                sides.append(known[layer.base].shape[2])
            else:
                sides.append((sides[-1] + 2 * layer.pad - 3) // layer.stride + 1)
        return sides


def initialize(network: Network, generator: torch.Generator) -> None:
    """Xavier as MXNet's example has it: uniform, variance 1 / the mean of both fans, biases of zero."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                outputs = module.weight.shape[0] * module.weight[0, 0].numel()
                reach = (3.0 / ((module.weight[0].numel() + outputs) / 2)) ** 0.5
                module.weight.uniform_(-reach, reach, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()


def folded(network: Network) -> Network:
    """The network, which is changed, with every batch norm that follows a convolution folded into it."""
    network.eval()
    if network.base_network == RESNET:
        trunk = network.trunk[0]
        folding.fold(trunk, ("conv0", "bn0"))
        for unit in trunk.modules():
            if isinstance(unit, Unit):
                folding.fold(unit, ("conv1", "bn2"), ("conv2", "bn3"))
    return network
