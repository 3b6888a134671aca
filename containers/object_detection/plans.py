"""Which layers a detector looks at, and what boxes it looks for there, by base network and image size.

The rules are those of Apache MXNet's SSD example (example/ssd/symbol/symbol_factory.py), which AWS's image
was built from; its larger boxes of each layer are the geometric means of neighbouring sizes (Liu and others,
*SSD: Single Shot MultiBox Detector*, 2016, section 2.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

VGG, RESNET = "vgg-16", "resnet-50"
BASES = (VGG, RESNET)
_LARGE = 448  # images of at least this size have a layer more with VGG
_FEWEST_1X1 = 128
_THREE, _FIVE = (1.0, 2.0, 0.5), (1.0, 2.0, 0.5, 3.0, 1 / 3)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer that boxes are predicted from.

    ``base`` names a layer of the base network; without one the layer is a 1 x 1 and a 3 x 3 convolution of
    ``filters``, ``stride`` and ``pad`` on the layer before. ``sizes`` and ``ratios`` are those of its boxes,
    in shares of the image; ``step`` is how far boxes are apart, None for even spread. ``scale`` is the length
    that features are normalised to, None where they aren't.
    """

    base: str | None
    filters: int
    stride: int
    pad: int
    sizes: tuple[float, float]
    ratios: tuple[float, ...]
    step: float | None = None
    scale: float | None = None

    @property
    def boxes(self) -> int:
        """Boxes of each place."""
        return len(self.sizes) - 1 + len(self.ratios)

    @property
    def narrow(self) -> int:
        """Filters of the 1 x 1 convolution."""
        return max(_FEWEST_1X1, self.filters // 2)


def plan(base: str, size: int) -> tuple[Layer, ...]:
    """The layers of a detector for square images of ``size`` pixels a side."""
    if base == RESNET:
        layers = [("_plus12", 0), ("_plus15", 0), (None, 512), (None, 256), (None, 256), (None, 128)]
        shifts = [(1, 0), (1, 0), (2, 1), (2, 1), (2, 1), (2, 1)]
        steps: list[float | None] = [None] * 6
        least: tuple[float, ...] = (0.1, 0.2, 0.37, 0.54, 0.71, 0.88)
    elif size >= _LARGE:
        layers = [
            ("relu4_3", 0),
            ("relu7", 0),
            (None, 512),
            (None, 256),
            (None, 256),
            (None, 256),
            (None, 256),
        ]
        shifts = [(1, 0), (1, 0), (2, 1), (2, 1), (2, 1), (2, 1), (1, 1)]
        steps = [None] * 7 if size != 512 else [8 * 2**n / 512 for n in range(7)]
        least = (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
    else:
        layers = [("relu4_3", 0), ("relu7", 0), (None, 512), (None, 256), (None, 256), (None, 256)]
        shifts = [(1, 0), (1, 0), (2, 1), (2, 1), (1, 0), (1, 0)]
        steps = [None] * 6 if size != 300 else [n / 300 for n in (8, 16, 32, 64, 100, 300)]
        least = (0.1, 0.2, 0.37, 0.54, 0.71, 0.88)
    largest = (*least[1:], 1.05)
    count = len(layers)
    ratios = [_THREE, *[_FIVE] * (count - 3), _THREE, _THREE]
    return tuple(
        Layer(
            name,
            filters,
            *shifts[n],
            (least[n], _six(math.sqrt(least[n] * largest[n]))),
            ratios[n],
            steps[n],
            20.0 if name == "relu4_3" else None,
        )
        for n, (name, filters) in enumerate(layers)
    )


def _six(value: float) -> float:
    """To six digits, as symbol files have them."""
    return float(f"{value:.6g}")
