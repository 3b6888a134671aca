"""Objects of an image: as records of .rec files pack them, and as JSON has them, in pixels."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.failures import ClientError
from common.metrics import log

HEADER, ROW = 2, 5  # numbers that every label begins with, and of each object in it
_FORM = (
    '{"image_size": [{"width": 640, "height": 480, "depth": 3}], "annotations": [{"class_id": 0, "left": 5, '
    '"top": 5, "width": 20, "height": 30}]}'
)
_PADDING = -1
_SLACK = 0.01  # in shares; further out a box is told to be cut off
_FAR = 1.0  # in shares; further out it is no box of this image
_ASPECT = 0.02  # so far an annotation's aspect may be from the image's, besides a pixel that was rounded
_WARNINGS = 20

Boxes = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Label:
    """Objects of one image: (objects, 6) class, xmin, ymin, xmax, ymax in shares, and whether difficult.

    ``size``, (width, height), is what their pixels were counted in, None where they came in shares.
    """

    boxes: Boxes
    size: tuple[float, float] | None = None

    def check(self, width: int, height: int, where: str) -> None:
        """Raises ClientError where the image itself is of another aspect than its annotation says.

        Pixels of another size of the same image are right in shares; those of a turned one aren't.
        """
        if self.size is None:
            return
        wide, high = self.size
        if abs(wide * height / (high * width) - 1) > _ASPECT + 1 / min(width, height):
            raise ClientError(
                f"{where} has {width}x{height} pixels, and its annotation's image_size is {wide:g}x{high:g}; "
                "accepted: the size of the image, upright as its EXIF says"
            )


@dataclass(slots=True)
class Objects:
    """Reads labels: classes below ``classes``, in at most ``width`` numbers, hyperparameter label_width."""

    classes: int
    width: int
    _warnings: int = field(default=0, init=False)

    @property
    def most(self) -> int:
        """Objects that an image may have."""
        return max(1, (self.width - HEADER) // ROW)

    def of_json(self, text: bytes, where: str) -> tuple[Label, dict[str, Any]]:
        """The label that a JSON object has, and that object. Raises ClientError."""
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
            rows = [[_class(one["class_id"]), *_corners(one, width, height)] for one in value["annotations"]]
            boxes = np.array(rows, np.float64).reshape(-1, ROW)
            if not (0 < width < np.inf and 0 < height < np.inf and np.isfinite(boxes).all()):
                raise ValueError
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError):
            raise ClientError(
                f"{where} has no image_size or annotations as expected; accepted: {_FORM}"
            ) from None
        if depth != 3:
            raise ClientError(f"{where} has the depth {depth}; accepted: 3, colour images")
        self._check_width(HEADER + ROW * len(boxes), len(boxes), where)
        easy = np.zeros(len(boxes), np.float32)
        return Label(self.checked(np.column_stack([boxes, easy]), where), (width, height)), value

    def of_array(self, labels: NDArray[np.float32], where: str) -> Label:
        """The label of a record's numbers: two widths, maybe more, then rows. Raises ClientError."""
        header, row = _widths(labels)
        rest = len(labels) - header
        if header < HEADER or row < ROW or rest < 0:
            raise ClientError(
                "Not enough annotation packed in the list file or the RecordIO file. Each object requires at "
                f"least five numbers [label_id, xmin, ymin, xmax, ymax] for annotation: {where} has "
                f"{len(labels)} numbers, header width {header} and object width {row}"
            )
        if rest % row:
            raise ClientError(
                f"{where} has {rest} numbers behind its header; "
                f"accepted: a multiple of the object width, {row}"
            )
        rows = labels[header:].reshape(-1, row)
        rows = rows[rows[:, 0] != _PADDING]
        self._check_width(header + rows.size, len(rows), where)
        difficult = rows[:, ROW] if row > ROW else np.zeros(len(rows), np.float32)
        return Label(self.checked(np.column_stack([rows[:, :ROW], difficult]), where))

    def _check_width(self, numbers: int, objects: int, where: str) -> None:
        if numbers > self.width:
            raise ClientError(
                "Invalid parameter value 'label_width'. Please ensure that the value of parameter "
                f"label_width is at least {numbers}: {where} has {objects} objects, and label_width is "
                f"{self.width}"
            )

    def checked(self, rows: NDArray[Any], where: str) -> Boxes:
        """The same, cut off at the image's borders. Raises ClientError for what can't be."""
        kinds, low, high = rows[:, 0], rows[:, 1:3], rows[:, 3:5]
        wrong = ~((kinds >= 0) & (kinds < self.classes) & (kinds == np.floor(kinds)))
        if wrong.any():
            raise ClientError(
                f"{where} has the class {kinds[wrong][0]:g}; accepted: classes from 0 to {self.classes - 1}"
            )
        turned = ~(np.isfinite(rows).all(1) & (high >= low).all(1))
        if turned.any():
            raise ClientError(
                f"{where} has the box ({_shown(rows[turned])}); accepted: xmin below xmax, ymin below ymax"
            )
        far = ((low < -_FAR) | (low >= 1) | (high <= 0) | (high > 1 + _FAR)).any(1)
        if far.any():
            raise ClientError(
                f"{where} has the box ({_shown(rows[far])}), which is outside of the image; accepted: xmin, "
                "ymin, xmax and ymax in shares of its width and height, from 0 to 1"
            )
        cut = rows.astype(np.float32)
        cut[:, 1:5] = cut[:, 1:5].clip(0, 1)
        if np.abs(cut - rows).max(initial=0) > _SLACK:
            self._warn("%s has a box that reaches beyond the image; it is cut off there", where)
        empty = (cut[:, 3:5] <= cut[:, 1:3]).any(1)
        if empty.any():
            self._warn("%s has a box without area, which is left out", where)
        return cut[~empty]

    def _warn(self, text: str, where: str) -> None:
        self._warnings += 1
        if self._warnings <= _WARNINGS:
            log.warning(text, where)
        if self._warnings == _WARNINGS:
            log.warning("Further images with such boxes are not named")


def packed(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The numbers of a record's label, of (objects, 5 or more) rows."""
    return np.concatenate([[HEADER, rows.shape[1]], rows.ravel()]).astype(np.float32)


def _widths(labels: NDArray[np.float32]) -> tuple[int, int]:
    """Of a label's header and of each object; 0 where there are none."""
    found = labels[:2]
    if len(found) < 2 or not np.isfinite(found).all() or (np.abs(found) > len(labels) + ROW).any():
        return 0, 0
    return int(found[0]), int(found[1])


def _class(value: Any) -> float:
    """A number, or one in quotes, as Ground Truth writes it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    return float(value)


def _corners(one: dict[str, Any], width: float, height: float) -> tuple[float, float, float, float]:
    left, top = float(one["left"]), float(one["top"])
    right, bottom = left + float(one["width"]), top + float(one["height"])
    return left / width, top / height, right / width, bottom / height


def _shown(rows: NDArray[Any]) -> str:
    return ", ".join(f"{value:g}" for value in rows[0, 1:5])
