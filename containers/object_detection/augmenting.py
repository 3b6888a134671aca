"""Encoded images and their objects to what the network takes, in worker processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from common.images import decoding, sources, transforms
from common.images.loading import Rows, Shapes
from common.images.sources import Item
from containers.object_detection import views
from containers.object_detection.annotations import Label

_COLOURED = 0.5
_HUE, _LIGHTNESS, _SATURATION, _CONTRAST = 18, 32, 32, 0.5
_METHODS = 5  # of making images larger and smaller
_WIDTH = 6  # of a row of labels: class, box, and whether it is difficult


@dataclass(frozen=True, slots=True)
class Prepare:
    """Decodes an item's image, squashes it to ``size`` pixels a side and writes its objects.

    A row has room for ``objects`` of them, which labels don't exceed. ``varied`` is for training.
    """

    size: int
    objects: int
    varied: bool

    @property
    def shapes(self) -> Shapes:
        """What `common.images.loading.Loader` makes."""
        return {
            "image": ((self.size, self.size, 3), np.uint8),
            "label": ((self.objects, _WIDTH), np.float32),
        }

    def __call__(self, item: Item, random: Generator, rows: Rows) -> None:
        """Writes the row of one item, whose label is a `Label`. Raises Undecodable, ClientError."""
        data = sources.content(item.image)
        label: Label = item.label
        height, width = decoding.size(data, item.name)
        label.check(width, height, item.name)
        boxes = label.boxes
        if self.varied:
            view = views.draw(boxes, width / height, random)
            boxes = view.boxes(boxes)
            self._draw(rows["image"], view, data, item.name, random)
        else:
            image = decoding.rgb(data, item.name, (self.size, self.size))
            rows["image"][...] = transforms.resize(image, self.size, self.size)
        rows["label"][...] = -1
        rows["label"][: len(boxes)] = boxes

    def _draw(
        self, square: transforms.Pixels, view: views.View, data: bytes, name: str, random: Generator
    ) -> None:
        patch = view.pixels(data, name, self.size, int(random.integers(_METHODS)))
        patch = colour(patch, random)
        square[...] = views.GREY
        square[view.patch(self.size)] = patch
        if view.mirrored:
            square[...] = transforms.mirror(square)


def colour(image: transforms.Pixels, random: Generator) -> transforms.Pixels:
    """Hue, lightness, saturation and contrast, each changed half of the time within the example's bounds."""
    shifts = [
        int(random.uniform(-most, most)) if random.random() < _COLOURED else 0
        for most in (_HUE, _LIGHTNESS, _SATURATION)
    ]
    if any(shifts):
        image = transforms.hls(image, *shifts)
    if random.random() < _COLOURED:
        image = transforms.contrast(image, 1 + random.uniform(-_CONTRAST, _CONTRAST))
    return image
