"""What the report shows of image classification: images of validation, what was predicted, and confusion."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from common.images.sources import Item
from common.report import images, page, supervised
from common.report.page import Section
from common.training import Run
from containers.image_classification import predict, reading
from containers.image_classification.reading import Labels

_JUDGED = 200


def sections(run: Run) -> Iterator[Section]:
    """Of the validation images."""
    multi = bool(run.hyperparameters["multi_label"])
    model = predict.load(run.job.model)
    chosen = images.spread(_items(run), _JUDGED)
    answers = list(images.answered(chosen, lambda data: model.predict(data, {})["prediction"][0]))
    if not answers:
        return
    told = _multiple if multi else _single
    shown = [images.small(data, told(item, found)) for item, data, found in images.spread(answers)]
    yield Section("Images and predictions", [page.pictures(shown)], "Of channel validation.")
    if not multi:
        labels = np.array([item.label[0] for item, *_ in answers])
        predicted = np.array([found.argmax() for *_, found in answers])
        # Where images aren't as wide as high, the accuracy differs from training's, which crops their middle.
        source = f"{len(answers)} images of channel validation, squashed as the endpoint does"
        yield from supervised.classes(labels, predicted, source)


def _items(run: Run) -> list[Item]:
    channel = run.channels["validation"]
    labels = Labels(run.hyperparameters["num_classes"], bool(run.hyperparameters["multi_label"]))
    if channel.piped:
        items: list[Item] = list(itertools.chain.from_iterable(channel.first))
        if channel.config.record_wrapper != "RecordIO":
            return items
        return [
            Item(item.image, reading.of_text(item.label, item.name, labels, reading.MULTI_HOT), item.name)
            for item in items
        ]
    return reading.items(channel, run.channels.get("validation_lst"), labels)


def _single(item: Item, found: np.ndarray) -> str:
    label, best = int(item.label[0]), int(found.argmax())
    mark = "✓" if best == label else "✗"
    return f"{mark} class {label}, predicted {best} ({found[best]:.0%})"


def _multiple(item: Item, found: np.ndarray) -> str:
    wanted = ", ".join(map(str, np.flatnonzero(item.label))) or "none"
    predicted = ", ".join(map(str, np.flatnonzero(found >= 0.5))) or "none"
    return f"labels {wanted}; predicted {predicted}"
