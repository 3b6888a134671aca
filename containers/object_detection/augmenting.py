"""Encoded images and boxes to the network's input, in worker processes.

Training images are varied as Liu and others (2016, section 2.2) do it: shown smaller on a grey ground, or cut
so that objects are still there, and with other colours; with the bounds of MXNet's SSD example.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from common.failures import ClientError
from common.images import decoding, sources, transforms
from common.images.loading import Rows, Shapes
from common.images.sources import Item
from containers.object_detection.precision import overlap

Boxes = NDArray[np.float32]

_PADDED, _LARGEST_PAD, _GREY = 0.5, 4.0, 127
# A cut shows at least one object so far as this; None cuts nothing.
_LEAST_OVERLAPS = (None, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
_SMALLEST_CUT, _FLATTEST, _TRIES = 0.3, 0.5, 25
_COLOURED = 0.5
_HUE, _LIGHTNESS, _SATURATION, _CONTRAST = 18, 32, 32, 0.5
_WIDTH = 6  # of a row of labels: class, box, and whether it is difficult


@dataclass(frozen=True, slots=True)
class Prepare:
    """Decodes an item's image, squashes it to ``size`` and writes its objects, at most ``objects`` of them.

    ``varied`` is for training.
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
        """Writes the row of one item, whose label is (objects, 6) boxes in shares of the image."""
        image = decoding.rgb(sources.content(item.image), item.name, (self.size, self.size))
        boxes: Boxes = item.label
        if self.varied:
            image, boxes = vary(image, boxes, self.size, random)
        else:
            image = transforms.resize(image, self.size, self.size)
        if len(boxes) > self.objects:
            raise ClientError(
                "Invalid parameter value 'label_width'. Please ensure that the value of parameter "
                f"label_width is large enough: {item.name} has {len(boxes)} objects; "
                f"accepted: at most {self.objects}"
            )
        rows["image"][...] = image
        rows["label"][...] = -1
        rows["label"][: len(boxes)] = boxes


def vary(
    image: transforms.Pixels, boxes: Boxes, size: int, random: Generator
) -> tuple[transforms.Pixels, Boxes]:
    """An image of (size, size) and its boxes, changed at random."""
    image = colour(image, random)
    if random.random() < _PADDED:
        image, boxes = shrunk(image, boxes, size, random)
    else:
        left, top, right, bottom = window(boxes, random)
        height, width = image.shape[:2]
        rows = slice(int(top * height), max(int(top * height) + 1, round(bottom * height)))
        columns = slice(int(left * width), max(int(left * width) + 1, round(right * width)))
        boxes = moved(boxes, (left, top, right, bottom))
        image = transforms.resize(
            np.ascontiguousarray(image[rows, columns]), size, size, int(random.integers(5))
        )
    if random.random() < 0.5:
        image = transforms.mirror(image)
        boxes = boxes.copy()
        boxes[:, [1, 3]] = 1 - boxes[:, [3, 1]]
    return image, boxes


def colour(image: transforms.Pixels, random: Generator) -> transforms.Pixels:
    """Hue, lightness, saturation and contrast, each changed half of the time."""
    shifts = [
        int(random.integers(-most, most + 1)) if random.random() < _COLOURED else 0
        for most in (_HUE, _LIGHTNESS, _SATURATION)
    ]
    if any(shifts):
        image = transforms.hls(np.ascontiguousarray(image), *shifts)
    if random.random() < _COLOURED:
        image = transforms.contrast(image, 1 + random.uniform(-_CONTRAST, _CONTRAST))
    return image


def shrunk(
    image: transforms.Pixels, boxes: Boxes, size: int, random: Generator
) -> tuple[transforms.Pixels, Boxes]:
    """The image somewhere on a grey ground of up to four times its sides."""
    scale = random.uniform(1, _LARGEST_PAD)
    side = max(1, round(size / scale))
    top, left = (int(value) for value in random.integers(size - side + 1, size=2))
    ground = np.full((size, size, 3), _GREY, np.uint8)
    small = transforms.resize(image, side, side, transforms.AREA)
    ground[top : top + side, left : left + side] = small
    boxes = boxes.copy()
    boxes[:, [1, 3]] = (boxes[:, [1, 3]] * side + left) / size
    boxes[:, [2, 4]] = (boxes[:, [2, 4]] * side + top) / size
    return ground, boxes


def window(boxes: Boxes, random: Generator) -> tuple[float, float, float, float]:
    """A part of the image, in shares, that shows an object as far as a bound that is drawn; or all of it."""
    whole = (0.0, 0.0, 1.0, 1.0)
    least = _LEAST_OVERLAPS[int(random.integers(len(_LEAST_OVERLAPS)))]
    if least is None or not len(boxes):
        return whole
    for _ in range(_TRIES):
        scale, ratio = random.uniform(_SMALLEST_CUT, 1), random.uniform(_FLATTEST, 1 / _FLATTEST)
        width, height = min(1, scale * ratio**0.5), min(1, scale / ratio**0.5)
        left, top = random.uniform(0, 1 - width), random.uniform(0, 1 - height)
        cut = (left, top, left + width, top + height)
        if overlap(np.array([cut], np.float32), boxes[:, 1:5]).max() > least and len(moved(boxes, cut)):
            return cut
    return whole


def moved(boxes: Boxes, cut: tuple[float, float, float, float]) -> Boxes:
    """Boxes in shares of a part of the image: those whose middle is in it, cut off at its borders."""
    left, top, right, bottom = cut
    x, y = (boxes[:, 1] + boxes[:, 3]) / 2, (boxes[:, 2] + boxes[:, 4]) / 2
    found = boxes[(x > left) & (x < right) & (y > top) & (y < bottom)].copy()
    found[:, [1, 3]] = ((found[:, [1, 3]] - left) / (right - left)).clip(0, 1)
    found[:, [2, 4]] = ((found[:, [2, 4]] - top) / (bottom - top)).clip(0, 1)
    return found
