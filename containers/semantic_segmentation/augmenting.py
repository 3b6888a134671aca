"""Images and masks to crops, in worker processes, as GluonCV varies them (gluoncv/data/segbase.py)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from common.failures import ClientError
from common.images import decoding, sources, transforms
from common.images.decoding import Undecodable
from common.images.loading import Rows, Shapes
from common.images.sources import Item
from containers.semantic_segmentation import reading
from containers.semantic_segmentation.labels import IGNORED

_LEAST, _MOST = 0.5, 2.0  # of base_size
_BLURRED = 0.5

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Masks:
    """How masks are read: ``table`` gives the class of each value, None the value itself."""

    classes: int
    table: NDArray[np.uint8] | None

    def pair(self, item: Item, least: tuple[int, int] | None = None) -> tuple[Pixels, Pixels]:
        """An item's image, (h, w, 3), and classes, (h, w). Raises ClientError where sizes differ.

        With ``least`` both may be smaller, each side at least that.
        """
        data = sources.content(item.image)
        try:
            values = decoding.indices(sources.content(item.label), f"the mask of {item.name}")
        except Undecodable as error:  # not a picture to be left out, but a label that is wrong
            raise ClientError(str(error)) from None
        size = decoding.size(data, item.name)
        if size != values.shape:
            raise ClientError(
                f"{item.name} has {size[1]}x{size[0]} pixels and its mask has "
                f"{values.shape[1]}x{values.shape[0]}; accepted: a mask of the image's size"
            )
        image = decoding.rgb(data, item.name, least)
        found = reading.mask(values, self.table, self.classes, item.name)
        height, width = image.shape[:2]
        return image, transforms.resize(found, height, width, transforms.NEAREST)


@dataclass(frozen=True, slots=True)
class Prepare:
    """Makes crops of ``crop`` pixels a side; ``base`` is what longer sides are resized to, varied.

    Without ``base`` the shorter side is made as long as the crop, whose middle is cut out.
    """

    masks: Masks
    crop: int
    base: int | None

    @property
    def shapes(self) -> Shapes:
        """What `common.images.loading.Loader` makes."""
        side = self.crop
        return {"image": ((side, side, 3), np.uint8), "label": ((side, side), np.uint8)}

    def __call__(self, item: Item, random: Generator, rows: Rows) -> None:
        """Writes the row of one item."""
        if self.base is None:
            image, mask = self._middle(*self.masks.pair(item, (self.crop, self.crop)))
        else:
            image, mask = self._varied(*self.masks.pair(item), self.base, random)
        rows["image"][...] = image
        rows["label"][...] = mask

    def _middle(self, image: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
        side = self.crop
        image = transforms.resize_shorter(image, side)
        mask = transforms.resize_shorter(mask, side, transforms.NEAREST)
        return transforms.centre_crop(image, side, side), transforms.centre_crop(mask, side, side)

    def _varied(self, image: Pixels, mask: Pixels, base: int, random: Generator) -> tuple[Pixels, Pixels]:
        """Mirrored, resized, padded, cut out and blurred."""
        if random.random() < 0.5:
            image, mask = transforms.mirror(image), transforms.mirror(mask)
        height, width = mask.shape
        scale = base * random.uniform(_LEAST, _MOST) / max(height, width)
        height, width = (max(1, round(side * scale)) for side in (height, width))
        image = transforms.resize(np.ascontiguousarray(image), height, width)
        mask = transforms.resize(np.ascontiguousarray(mask), height, width, transforms.NEAREST)
        down, across = (max(0, self.crop - side) for side in (height, width))
        if down or across:
            image = transforms.pad(image, 0, down, 0, across, 0)
            mask = transforms.pad(mask, 0, down, 0, across, IGNORED)
        top, left = (int(random.integers(side - self.crop + 1)) for side in mask.shape)
        window = slice(top, top + self.crop), slice(left, left + self.crop)
        image, mask = image[window], mask[window]
        if random.random() < _BLURRED:
            image = transforms.blur(np.ascontiguousarray(image), random.random())
        return image, mask
