"""What channels of images and masks hold: files paired by their names, or augmented manifests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from common.channels import Channel
from common.failures import ClientError
from common.images import sources
from common.images.sources import FilePart, Item


def items(channel: Channel, annotated: Channel | None) -> list[Item]:
    """All images of a channel in File mode, each with its mask as label. Raises ClientError."""
    if annotated is None:
        raise ClientError(
            f"channel {channel.name}_annotation is missing; accepted with image files: a channel with a PNG "
            "mask for each image"
        )
    images = _by_stem(channel)
    masks = _by_stem(annotated)
    for stems, others, there in ((images, masks, annotated), (masks, images, channel)):
        alone = sorted(set(stems) - set(others))
        if alone:
            raise ClientError(
                f"{stems[alone[0]][1]} has no partner in channel {there.name}, and {len(alone) - 1} more "
                "have none; accepted: an image and a mask of each name"
            )
    return [
        Item(FilePart(images[stem][0]), FilePart(masks[stem][0]), images[stem][1]) for stem in sorted(images)
    ]


def stream(channel: Channel) -> Iterator[Item]:
    """The same of one epoch of an augmented manifest in Pipe mode."""
    if channel.config.record_wrapper != "RecordIO":
        raise ClientError(
            f"channel {channel.name}: Pipe mode without RecordWrapperType RecordIO; accepted: an augmented "
            "manifest whose AttributeNames are the image's and the mask's"
        )
    yield from sources.pairs(channel)


def mask(
    values: NDArray[np.uint8], table: NDArray[np.uint8] | None, classes: int, where: str
) -> NDArray[np.uint8]:
    """A mask's classes from its values. Raises ClientError for what is no class and not 255."""
    found = values if table is None else table[values]
    seen = np.bincount(found.ravel(), minlength=256)
    wrong = np.flatnonzero(seen[classes:255]) + classes
    if len(wrong):
        shown = ", ".join(map(str, wrong[:5]))
        raise ClientError(
            f"the mask of {where} has the values {shown}; accepted: 0 to {classes - 1} (num_classes is "
            f"{classes}), and 255 for pixels to ignore"
        )
    return found


def _by_stem(channel: Channel) -> dict[str, tuple[str, str]]:
    """Paths and names for messages of a channel's images by what they are called."""
    found: dict[str, tuple[str, str]] = {}
    for file in sources.images(channel):
        stem = os.path.splitext(sources.relative(file.path, channel.folder))[0]
        if stem in found:
            raise ClientError(
                f"{file.name} and {found[stem][1]} have one name; accepted: an image of each name"
            )
        found[stem] = (file.path, file.name)
    return found
