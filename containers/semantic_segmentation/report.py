"""What the report shows of segmentation: images of validation, their masks, and those that were predicted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from common.images import decoding
from common.images.sources import Item, content
from common.report import images, page
from common.report.drawing import SERIES
from common.report.page import Section
from common.training import Run
from containers.semantic_segmentation import labels, predict, reading

_SHOWN = 5
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
        seen |= set(np.unique(found).tolist())
        values = decoding.indices(content(item.label), item.name)
        wanted = values if table is None else table[values]
        pixels = decoding.rgb(data, item.name)
        beside = [one for one in (wanted, found) if one.shape == pixels.shape[:2]]
        row = np.hstack([pixels, *map(_coloured, beside)])
        shown.append(images.of_pixels(row, item.name, side=3 * images.SIDE))
    if shown:
        note = (
            "Images of channel validation, their masks, and what is predicted. Colours are classes, of which "
            f"{len(seen)} were predicted."
        )
        yield Section("Images and masks", [page.pictures(shown, wide=True)], note)


def _coloured(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    ignored = mask == 255
    found = _COLOURS[np.where(mask == 0, 0, 1 + (mask - 1) % (len(_COLOURS) - 1))]
    found[ignored] = 0
    return found


def _items(run: Run) -> list[Item]:
    channel = run.channels["validation"]
    if channel.piped:
        return list(itertools.chain.from_iterable(channel.first))
    return reading.items(channel, run.channels.get("validation_annotation"))
