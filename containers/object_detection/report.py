"""What the report shows of object detection: images of validation, the boxes that were found, and theirs."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from common.images.sources import Item
from common.report import images, page
from common.report.drawing import BRIGHT
from common.report.page import Section
from common.training import Run
from containers.object_detection import predict, reading
from containers.object_detection.annotations import Objects

_SURE, _MOST = 0.3, 20

Rows = list[list[float]]  # class and box; of found ones class, score and box


def sections(run: Run) -> Iterator[Section]:
    """Of the validation images."""
    model = predict.load(run.job.model)
    answered = images.answered(images.spread(_items(run)), lambda data: model.predict(data, {})["prediction"])
    answers = [(data, _wanted(item), _sure(found)) for item, data, found in answered]
    shown = [images.small(data, *_told(wanted, sure)) for data, wanted, sure in answers]
    if shown:
        classes = sorted({int(row[0]) for _, wanted, sure in answers for row in (*wanted, *sure)})
        key = page.key((BRIGHT[one % len(BRIGHT)], f"class {one}") for one in classes)
        note = (
            f"Of channel validation. Found boxes of a score from {_SURE} are drawn, the {_MOST} surest of an "
            "image at most, in the colours of their classes; dashed boxes are those of the annotations."
        )
        yield Section("Images and predictions", [key, page.pictures(shown)], note)


def _wanted(item: Item) -> Rows:
    return item.label.boxes.tolist() if hasattr(item.label, "boxes") else []


def _sure(found: np.ndarray) -> Rows:
    return sorted((row for row in found.tolist() if row[1] >= _SURE), key=lambda row: -row[1])


def _told(wanted: Rows, sure: Rows) -> tuple[str, list[Any]]:
    """A caption, and boxes: the surest that were found, and above them the annotated ones."""
    boxes = [(*row[2:6], f"class {int(row[0])}, {row[1]:.2f}", int(row[0])) for row in sure[:_MOST]]
    boxes += [(*row[1:5], f"class {int(row[0])}, annotated", page.WANTED) for row in wanted]
    surest = ", ".join(f"class {int(row[0])} {row[1]:.0%}" for row in sure[:3]) or "nothing"
    more = f" and {len(sure) - 3} more" if len(sure) > 3 else ""
    counts = sorted(Counter(int(row[0]) for row in wanted).items())
    annotated = ", ".join(f"class {one}" if many == 1 else f"{many} of class {one}" for one, many in counts)
    return f"found: {surest}{more}; annotated: {annotated or 'nothing'}", boxes


def _items(run: Run) -> list[Item]:
    channel = run.channels["validation"]
    objects = Objects(run.hyperparameters["num_classes"], run.hyperparameters["label_width"])
    if not channel.piped:
        return reading.items(channel, run.channels.get("validation_annotation"), objects)
    items: list[Item] = list(itertools.chain.from_iterable(channel.first))
    if channel.config.record_wrapper == "RecordIO":
        return [Item(one.image, objects.of_json(one.label, one.name)[0], one.name) for one in items]
    return [Item(one.image, objects.of_array(one.label, one.name), one.name) for one in items]
