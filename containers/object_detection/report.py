"""What the report shows of object detection: images of validation, the boxes that were found, and theirs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from common.images.sources import Item
from common.report import images, page
from common.report.page import Section
from common.training import Run
from containers.object_detection import predict, reading
from containers.object_detection.annotations import Objects

_SURE, _MOST = 0.3, 20


def sections(run: Run) -> Iterator[Section]:
    """Of the validation images."""
    model = predict.load(run.job.model)
    answers = images.answered(images.spread(_items(run)), lambda data: model.predict(data, {})["prediction"])
    shown = [images.small(data, *_told(item, found)) for item, data, found in answers]
    if shown:
        note = (
            f"Of channel validation. Colours are classes; grey boxes are those of the annotations. "
            f"Found boxes of a score from {_SURE} are drawn."
        )
        yield Section("Images and predictions", [page.pictures(shown)], note)


def _told(item: Item, found: np.ndarray) -> tuple[str, list[Any]]:
    sure = [row for row in found.tolist() if row[1] >= _SURE][:_MOST]
    wanted = item.label.boxes if hasattr(item.label, "boxes") else np.empty((0, 6))
    # The ninth colour is the grey one.
    boxes = [(*row[1:5], f"annotated {int(row[0])}", 8) for row in wanted.tolist()]
    boxes += [(*row[2:6], f"class {int(row[0])}, {row[1]:.2f}", int(row[0]) % 8) for row in sure]
    told = ", ".join(f"class {int(row[0])} {row[1]:.0%}" for row in sure[:3]) or "nothing found"
    return f"{told}; {len(wanted)} annotated", boxes


def _items(run: Run) -> list[Item]:
    channel = run.channels["validation"]
    objects = Objects(run.hyperparameters["num_classes"], run.hyperparameters["label_width"])
    if not channel.piped:
        return reading.items(channel, run.channels.get("validation_annotation"), objects)
    items: list[Item] = list(itertools.chain.from_iterable(channel.first))
    if channel.config.record_wrapper == "RecordIO":
        return [Item(one.image, objects.of_json(one.label, one.name)[0], one.name) for one in items]
    return [Item(one.image, objects.of_array(one.label, one.name), one.name) for one in items]
