"""Networks of semantic segmentation: a dilated ResNet, a decoder, and an auxiliary decoder for training.

These are GluonCV's FCN, PSPNet and DeepLabV3 with ``aux=True``, which AWS's image is built from. Images go in
as `normalised` has them.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from common.networks import folding
from containers.semantic_segmentation.backbone import WIDTHS, Backbone
from containers.semantic_segmentation.decoders import DECODERS, FCN, resized

# ImageNet's mean and standard deviation of red, green and blue, which the weights of backbones expect.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The decoders begin from nothing, and so GluonCV has them learn this many times as fast as the backbone.
DECODER_RATE = 10.0
_DECODERS = ("head", "auxlayer")
_SPREAD = 0.07  # what Gluon's default initializer draws weights from: -0.07 to 0.07


class Network(Backbone):
    """``algorithm`` is a decoder of `DECODERS`, ``backbone`` one of `BACKBONES`.

    ``crop_size`` is the side of training's crops: layers are the same for all sizes.
    """

    def __init__(self, algorithm: str, backbone: str, classes: int, crop_size: int) -> None:
        super().__init__(backbone)
        self.algorithm, self.classes, self.crop_size = algorithm, classes, crop_size
        third, fourth = WIDTHS
        self.head = DECODERS[algorithm](fourth, classes)
        self.auxlayer: nn.Module | None = FCN(third, classes)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Scores before the softmax, (n, classes, h, w), of normalised images, (n, 3, h, w).

        In training the auxiliary decoder's scores, of the same shape, come second.
        """
        third, fourth = self.features(images)
        scores = resized(self.head(fourth), *images.shape[2:])
        if not self.training or self.auxlayer is None:
            return scores
        return scores, resized(self.auxlayer(third), *images.shape[2:])

    def coarse(self, images: Tensor) -> Tensor:
        """Scores at an eighth of the images' size, rounded up: `forward` without its last step."""
        scores: Tensor = self.head(self.features(images)[1])
        return scores


def decodes(name: str) -> bool:
    """Whether a module or parameter is part of a decoder, which ImageNet's weights have not."""
    return name.partition(".")[0] in _DECODERS


def normalised(pixels: Tensor) -> Tensor:
    """Pixels of 0 to 255 in RGB, (n, 3, h, w), as networks expect them, float32."""
    mean = torch.tensor(MEAN, device=pixels.device).reshape(3, 1, 1) * 255
    deviation = torch.tensor(DEVIATION, device=pixels.device).reshape(3, 1, 1) * 255
    return (pixels - mean) / deviation


def initialize(network: Network, generator: torch.Generator) -> None:
    """Weights to begin with: the backbone's as He et al. draw them (2015), the decoders' as Gluon does."""
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            if not isinstance(module, nn.Conv2d):
                continue
            if decodes(name):
                module.weight.uniform_(-_SPREAD, _SPREAD, generator=generator)
            else:
                fan = module.out_channels * module.weight[0, 0].numel()
                module.weight.normal_(0.0, (2 / fan) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.zero_()


def folded(network: Network) -> Network:
    """The network, which is changed so that it can only answer.

    It loses the auxiliary decoder, and its batch norms become part of the convolutions before them.
    """
    network.eval()
    network.auxlayer = None
    for module in list(network.modules()):
        for (first, one), (second, other) in itertools.pairwise(list(module.named_children())):
            if isinstance(one, nn.Conv2d) and isinstance(other, nn.BatchNorm2d):
                folding.fold(module, (first, second))
    folding.fold(network, ("conv1.6", "bn1"))
    return network
