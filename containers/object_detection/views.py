"""What training shows of an image: a part of it, or all of it on a grey ground, maybe mirrored.

As Liu and others (2016, section 2.2) vary images, with the bounds and the order of MXNet's SSD example
(example/ssd/config/config.py): half of the images are shown smaller; of five in six, shown smaller or not, a
part is cut out that has an object in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from common.images import decoding, transforms
from containers.object_detection.precision import overlap

Boxes = NDArray[np.float32]
Window = tuple[float, float, float, float]
"""Left, top, right, bottom, in shares of an image; below 0 and above 1 is outside of it."""

GREY = 127
_WHOLE: Window = (0.0, 0.0, 1.0, 1.0)
_MIRRORED = 0.5
_PADDED, _LEAST_PAD, _LARGEST_PAD = 0.5, 1.05, 4.0
# A cut overlaps some object by at least one of these.
OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9)
_CUT = len(OVERLAPS) / (len(OVERLAPS) + 1)
_SMALLEST, _FLATTEST, _TRIES = 0.3, 0.5, 25


@dataclass(frozen=True, slots=True)
class View:
    """A window, and whether left and right change places."""

    window: Window
    mirrored: bool

    def boxes(self, boxes: Boxes) -> Boxes:
        """(objects, 6) rows in shares of the view: those whose middle is seen, cut off at its borders."""
        found = seen(boxes, self.window)
        if self.mirrored:
            found[:, [1, 3]] = 1 - found[:, [3, 1]]
        return found

    def patch(self, size: int) -> tuple[slice, slice]:
        """Rows and columns that the image itself takes of the view's ``size`` x ``size`` pixels."""
        left, top, right, bottom = self.window
        return _pixels(top, bottom, size), _pixels(left, right, size)

    def pixels(self, data: bytes, where: str, size: int, method: int) -> transforms.Pixels:
        """What `patch` is filled with, of an encoded image; not mirrored yet. Raises Undecodable.

        JPEGs are decoded no larger than the view needs them.
        """
        rows, columns = (part.stop - part.start for part in self.patch(size))
        left, top, right, bottom = np.clip(self.window, 0, 1).tolist()
        least = math.ceil(rows / (bottom - top)), math.ceil(columns / (right - left))
        image = decoding.rgb(data, where, least)
        height, width = image.shape[:2]
        part = image[_between(top, bottom, height), _between(left, right, width)]
        return transforms.resize(np.ascontiguousarray(part), rows, columns, method)


def draw(boxes: Boxes, aspect: float, random: Generator) -> View:
    """A view of an image of ``aspect``, width by height, with (objects, 6) boxes."""
    window = _padded(random) if random.random() < _PADDED else _WHOLE
    if random.random() < _CUT:
        window = _within(window, _cut(_moved(boxes, window), aspect, random))
    return View(window, bool(random.random() < _MIRRORED))


def seen(boxes: Boxes, window: Window) -> Boxes:
    """The boxes of `View.boxes`, before they are mirrored; a copy."""
    left, top, right, bottom = window
    x, y = (boxes[:, 1] + boxes[:, 3]) / 2, (boxes[:, 2] + boxes[:, 4]) / 2
    found = _moved(boxes[(x >= left) & (x < right) & (y >= top) & (y < bottom)], window)
    found[:, 1:5] = found[:, 1:5].clip(0, 1)
    return found


def _padded(random: Generator) -> Window:
    """All of an image on a ground of up to four times its sides."""
    scale = random.uniform(1, _LARGEST_PAD)
    if scale < _LEAST_PAD:
        return _WHOLE
    left, top = random.uniform(0, scale - 1, 2)
    return -left, -top, scale - left, scale - top


def _cut(boxes: Boxes, aspect: float, random: Generator) -> Window:
    """A part that overlaps an object by one of the bounds, in an order that is drawn, and shows a middle."""
    for least in random.permutation(OVERLAPS):
        for _ in range(_TRIES):
            window = _drawn(aspect, random)
            if not len(boxes):
                return window
            close = overlap(np.array([window], np.float32), boxes[:, 1:5]).max() >= least
            if close and len(seen(boxes, window)):
                return window
    return _WHOLE


def _drawn(aspect: float, random: Generator) -> Window:
    """A part of 0.3 to 1 of an image's sides, in pixels between half as wide as high and the other way."""
    scale = random.uniform(_SMALLEST, 1)
    low = max(_FLATTEST / aspect, scale**2)
    ratio = math.sqrt(random.uniform(low, max(low, min(1 / _FLATTEST / aspect, 1 / scale**2))))
    width, height = min(1.0, scale * ratio), min(1.0, scale / ratio)
    left, top = random.uniform(0, 1 - width), random.uniform(0, 1 - height)
    return left, top, left + width, top + height


def _within(outer: Window, inner: Window) -> Window:
    """A window in shares of another one."""
    width, height = outer[2] - outer[0], outer[3] - outer[1]
    return (
        outer[0] + inner[0] * width,
        outer[1] + inner[1] * height,
        outer[0] + inner[2] * width,
        outer[1] + inner[3] * height,
    )


def _moved(boxes: Boxes, window: Window) -> Boxes:
    """Boxes in shares of a window, not cut off."""
    left, top, right, bottom = window
    found = boxes.copy()
    found[:, [1, 3]] = (boxes[:, [1, 3]] - left) / (right - left)
    found[:, [2, 4]] = (boxes[:, [2, 4]] - top) / (bottom - top)
    return found


def _pixels(low: float, high: float, size: int) -> slice:
    """Where 0 to 1 lies among ``size`` pixels that show ``low`` to ``high``; a pixel at least."""
    return _between((max(low, 0) - low) / (high - low), (min(high, 1) - low) / (high - low), size)


def _between(low: float, high: float, size: int) -> slice:
    first = min(round(low * size), size - 1)
    return slice(first, max(first + 1, round(high * size)))
