"""Some images of a channel after the job, small enough for a page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import simplejpeg

from common.images import decoding, transforms
from common.images.sources import Item, content
from common.report.page import Picture

One = TypeVar("One")

SECONDS = 2.5  # for what a network answers
SIDE = 220  # pixels of the longer side
_SHOWN, _QUALITY = 12, 82


def spread(items: Sequence[One], count: int = _SHOWN) -> list[One]:
    """As many items, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, count)]


def answered(items: Sequence[Item], predict: Callable[[bytes], Any]) -> Iterator[tuple[Item, bytes, Any]]:
    """Items with their bytes and what the model answers, until the time is over; one at least."""
    began = time.perf_counter()
    for item in items:
        data = content(item.image)
        yield item, data, predict(data)
        if time.perf_counter() - began > SECONDS:
            return


def small(data: bytes, caption: str, boxes: Sequence[Any] = ()) -> Picture:
    """An encoded image as a picture for the page."""
    return of_pixels(decoding.rgb(data, "the image"), caption, boxes)


def of_pixels(
    pixels: transforms.Pixels, caption: str, boxes: Sequence[Any] = (), side: int = SIDE
) -> Picture:
    """(height, width, 3) uint8 pixels as a picture for the page."""
    height, width, _ = pixels.shape
    scale = side / max(height, width)
    if scale < 1:
        pixels = transforms.resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)))
    encoded = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), _QUALITY, "RGB", colorsubsampling="420")
    return Picture(encoded, "image/jpeg", caption, boxes)
