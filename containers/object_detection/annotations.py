"""Objects of an image as JSON has them: in pixels, from annotation files and augmented manifests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from common.metrics import log

_FORM = (
    '{"image_size": [{"width": 640, "height": 480, "depth": 3}], "annotations": [{"class_id": 0, "left": 5, '
    '"top": 5, "width": 20, "height": 30}]}'
)


@dataclass(frozen=True, slots=True)
class Objects:
    """What labels may be: classes below ``classes``."""

    classes: int

    def of_json(self, text: bytes, where: str) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Boxes (objects, 6) in shares of the image, and the JSON object. Raises ClientError."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ClientError(f"{where} is not a JSON object; accepted: {_FORM}")
        try:
            size = value["image_size"][0]
            width, height = float(size["width"]), float(size["height"])
            depth = int(size.get("depth", 3))
            rows = [
                [self._class(one["class_id"]), *_corners(one, width, height)] for one in value["annotations"]
            ]
            if not (width > 0 and height > 0 and np.isfinite(np.array(rows, float)).all()):
                raise ValueError
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise ClientError(
                f"{where} has no image_size or annotations as expected; accepted: {_FORM}"
            ) from None
        if depth != 3:
            raise ClientError(f"{where} has the depth {depth}; accepted: 3, colour images")
        boxes = np.array(rows, np.float32).reshape(-1, 5)
        return self.checked(np.column_stack([boxes, np.zeros(len(boxes), np.float32)]), where), value

    def of_array(self, labels: NDArray[np.float32], where: str) -> NDArray[np.float32]:
        """Boxes (objects, 6) of a record's labels: two widths, maybe more, then rows. Raises ClientError."""
        header, width = (int(labels[0]), int(labels[1])) if len(labels) >= 2 else (0, 0)
        rest = len(labels) - header
        if header < 2 or width < 5 or rest < 0:
            raise ClientError(
                "Not enough annotation packed in the list file or the RecordIO file. Each object requires at "
                f"least five numbers [label_id, xmin, ymin, xmax, ymax] for annotation: {where} has "
                f"{len(labels)} numbers, header width {header} and object width {width}"
            )
        if rest % width:
            raise ClientError(
                f"{where} has {rest} numbers behind its header; "
                f"accepted: a multiple of the object width, {width}"
            )
        rows = labels[header:].reshape(-1, width)
        rows = rows[rows[:, 0] >= 0]  # what pads a label
        difficult = rows[:, 5] if width > 5 else np.zeros(len(rows), np.float32)
        return self.checked(np.column_stack([rows[:, :5], difficult]).astype(np.float32), where)

    def checked(self, boxes: NDArray[np.float32], where: str) -> NDArray[np.float32]:
        """The same, cut off at the image's borders. Raises ClientError for what can't be."""
        kinds = boxes[:, 0]
        wrong = ~((kinds >= 0) & (kinds < self.classes) & (kinds == np.floor(kinds)))
        if wrong.any():
            raise ClientError(
                f"{where} has the class {kinds[wrong][0]:g}; accepted: classes from 0 to {self.classes - 1}"
            )
        empty = ~((boxes[:, 3] > boxes[:, 1]) & (boxes[:, 4] > boxes[:, 2])) | ~np.isfinite(boxes).all(1)
        if empty.any():
            row = ", ".join(f"{value:g}" for value in boxes[empty][0, 1:5])
            raise ClientError(
                f"{where} has a box without area ({row}); accepted: xmin below xmax, ymin below ymax"
            )
        cut = boxes.copy()
        cut[:, 1:5] = boxes[:, 1:5].clip(0, 1)
        if np.abs(cut - boxes).max(initial=0) > 0.01:
            log.warning("%s has a box that reaches beyond the image; it is cut off there", where)
        inside = (cut[:, 3] > cut[:, 1]) & (cut[:, 4] > cut[:, 2])
        return cut[inside]

    def _class(self, value: Any) -> float:
        """A number, or one in quotes, as Ground Truth writes it."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        return float(value)


def _corners(one: dict[str, Any], width: float, height: float) -> tuple[float, float, float, float]:
    left, top = float(one["left"]), float(one["top"])
    right, bottom = left + float(one["width"]), top + float(one["height"])
    return left / width, top / height, right / width, bottom / height
