"""What the report shows of segmentation: images of validation, their masks, and those that were predicted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from common.images import decoding
from common.images.sources import Item, content
from common.images.transforms import Pixels
from common.report import images, page
from common.report.drawing import SERIES
from common.report.page import Section
from common.training import Run
from containers.semantic_segmentation import labels, predict, reading

_SHOWN = 5
_IGNORED = 255  # a pixel that counts for nothing
# Class 0 is most often the background.
_COLOURS = np.array([(235, 237, 240), *(tuple(bytes.fromhex(one[1:])) for one in SERIES)], np.uint8)


def sections(run: Run) -> Iterator[Section]:
    """Of the validation images."""
    model = predict.load(run.job.model)
    chosen = images.spread(_items(run), _SHOWN)
    maps = None if run.channels["validation"].piped else run.channels.get("label_map")
    table = labels.read(maps, "validation")
    shown, seen = [], set[int]()
    for item, data, found in images.answered(chosen, lambda data: model.predict(data, {}).classes()):
        values = decoding.indices(content(item.label), item.name)
        wanted = values if table is None else table[values]
        seen |= set(np.unique(np.append(found, wanted)).tolist()) - {_IGNORED}
        row = _beside(decoding.rgb(data, item.name), [wanted, found])
        shown.append(images.of_pixels(row, f"{item.name}{_right(wanted, found)}", side=3 * images.SIDE))
    if shown:
        key = page.key((f"#{_COLOURS[_series(one)].tobytes().hex()}", f"class {one}") for one in sorted(seen))
        note = "Images of channel validation, then their masks, then what is predicted."
        yield Section("Images and masks", [key, page.pictures(shown, wide=True)], note)


def _beside(pixels: Pixels, masks: Sequence[Pixels]) -> Pixels:
    """An image and its masks in a row, with gaps between them."""
    gap = np.full((len(pixels), max(2, pixels.shape[1] // 30), 3), 255, np.uint8)
    whole = [mask for mask in masks if mask.shape == pixels.shape[:2]]
    return np.hstack([pixels, *itertools.chain.from_iterable((gap, _coloured(mask)) for mask in whole)])


def _right(wanted: Pixels, found: Pixels) -> str:
    """How many of the pixels that count have the class that they should."""
    if wanted.shape != found.shape or not (counted := wanted != _IGNORED).any():
        return ""
    return f": {(wanted == found)[counted].mean():.0%} of pixels right"


def _series(classes: Any) -> Any:
    """The places of classes in the colours; those of the shapes come again, the background's doesn't."""
    return np.where(np.equal(classes, 0), 0, 1 + (np.int64(classes) - 1) % (len(_COLOURS) - 1))


def _coloured(mask: Pixels) -> Pixels:
    found = _COLOURS[_series(mask)]
    found[mask == _IGNORED] = 0
    return found


def _items(run: Run) -> list[Item]:
    channel = run.channels["validation"]
    if channel.piped:
        return list(itertools.chain.from_iterable(channel.first))
    return reading.items(channel, run.channels.get("validation_annotation"))
