"""Encoded images to the network's input, in worker processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from common.failures import ClientError
from common.images import decoding, sources, transforms
from common.images.loading import Rows, Shapes
from common.images.sources import Item

# What AWS documents for each kind: shifts of colour are of 180 and 255, angles in degrees.
HUE, SATURATION, LIGHTNESS = 36, 50, 50
ANGLE, SHEAR, ASPECT = 10, 0.1, 0.25


@dataclass(frozen=True, slots=True)
class Prepare:
    """Decodes an item's image, cuts it to ``shape`` (channels, height, width) and copies its labels.

    ``resize`` is the shorter side before that. ``augmentation`` is one of the documented kinds; without one
    the middle is cut out. Raises ClientError for an image that is smaller than ``shape``.
    """

    shape: tuple[int, int, int]
    labels: int
    resize: int | None
    augmentation: str | None

    @property
    def shapes(self) -> Shapes:
        """What `common.images.loading.Loader` makes."""
        channels, height, width = self.shape
        return {"image": ((height, width, channels), np.uint8), "label": ((self.labels,), np.float32)}

    def __call__(self, item: Item, random: Generator, rows: Rows) -> None:
        """Writes the row of one item."""
        channels, height, width = self.shape
        least = None if self.resize is None else (self.resize, self.resize)
        image = decoding.rgb(sources.content(item.image), item.name, least)
        if self.resize is not None:
            image = transforms.resize_shorter(image, self.resize)
        if image.shape[0] < height or image.shape[1] < width:
            raise ClientError(
                f"{item.name} has {image.shape[1]}x{image.shape[0]} pixels, fewer than image_shape "
                f"({width}x{height}); accepted: larger images, or a resize that makes them so"
            )
        if self.augmentation is None:
            image = transforms.centre_crop(image, height, width)
        else:
            image = self._varied(image, random, height, width)
        rows["image"][...] = transforms.grey(np.ascontiguousarray(image)) if channels == 1 else image
        rows["label"][...] = item.label

    def _varied(
        self, image: transforms.Pixels, random: Generator, height: int, width: int
    ) -> transforms.Pixels:
        """MXNet's order: turned and stretched, cut out, coloured, mirrored."""
        if self.augmentation == "crop_color_transform":
            angle = float(random.integers(-ANGLE, ANGLE + 1))
            shear, aspect = random.uniform(-SHEAR, SHEAR), 1 + random.uniform(-ASPECT, ASPECT)
            image = transforms.affine(image, angle, shear, aspect)
        image = transforms.random_crop(image, height, width, random)
        if self.augmentation != "crop":
            hue, lightness, saturation = (
                int(random.integers(-most, most + 1)) for most in (HUE, LIGHTNESS, SATURATION)
            )
            image = transforms.hls(np.ascontiguousarray(image), hue, lightness, saturation)
        return transforms.mirror(image) if random.random() < 0.5 else image
