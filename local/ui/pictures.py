"""Pictures that were asked about, with what an endpoint has seen in them: boxes, or a mask."""

from __future__ import annotations

import base64
import io
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from common.report.page import text

LEAST_SCORE = 0.3  # of boxes that are drawn
VOID = 255  # pixels of no class
_BOXES = 100
_ALPHA = 150
# Bright ones: they are seen on any photograph.
_COLOURS = ("#ffd400", "#00c2e0", "#5fd32e", "#ff62d0", "#ff8c2e", "#b18cff", "#ff4d4d", "#2ee6a6")
_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png"}
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)

Box = tuple[int, float, float, float, float, float]  # class, score, left, top, right, bottom


@dataclass(frozen=True)
class Picture:
    """A JPEG or PNG file's bytes, and its size."""

    data: bytes
    media_type: str
    width: int
    height: int

    @classmethod
    def of(cls, data: bytes) -> Picture | None:
        """The picture; None where the bytes are something else."""
        if not data.startswith((b"\xff\xd8", b"\x89PNG")):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with Image.open(io.BytesIO(data), formats=tuple(_TYPES)) as opened:
                    return cls(data, _TYPES[str(opened.format)], *opened.size)
            except _UNREADABLE:
                return None


def colour(number: int) -> str:
    """Of a class."""
    return _COLOURS[number % len(_COLOURS)]


def plain(picture: Picture) -> Markup:
    """The picture alone."""
    return _figure(picture, "")


def boxes(picture: Picture, found: Sequence[Box]) -> Markup:
    """The picture with the boxes of a sufficient score and their classes, and a table of them."""
    drawn = [box for box in found if box[1] >= LEAST_SCORE][:_BOXES]
    size = max(picture.width, picture.height) / 26
    parts = "".join(_box(picture, box, size) for box in reversed(drawn))
    over = f'<svg viewBox="0 0 {picture.width} {picture.height}" aria-hidden="true">{parts}</svg>'
    sentence = f"{len(drawn)} of {len(found)} boxes have a score of at least {LEAST_SCORE}"
    if not drawn and found:
        sentence += f"; the surest has {max(box[1] for box in found):.3g}"
    rows = [(number, f"{score:.3g}", *(f"{one:.3f}" for one in place)) for number, score, *place in drawn]
    table = _classes(["class", "score", "left", "top", "right", "bottom"], rows)
    return _figure(picture, over) + Markup("<p>%s.</p>") % sentence + (table if drawn else Markup(""))


def mask(picture: Picture | None, answer: bytes) -> Markup | None:
    """The classes of an answered PNG as colours over the picture, with each one's share of it.

    The first class, which is the background where there is one, stays clear. None where it is no PNG of
    numbers.
    """
    numbers = _numbers(answer)
    if numbers is None:
        return None
    classes, counts = np.unique(numbers, return_counts=True)
    shares = {int(number): count / numbers.size for number, count in zip(classes, counts, strict=True)}
    if picture is None:
        height, width = numbers.shape
        picture = Picture(_png(np.zeros((height, width, 4), np.uint8)), "image/png", width, height)
    over = f'<img alt="" src="{_address("image/png", _png(_coloured(numbers)))}">'
    ranked = sorted(shares.items(), key=lambda one: -one[1])
    rows = [(number, "no class" if number == VOID else f"{share:.1%}") for number, share in ranked]
    return _figure(picture, over) + _classes(["class", "share of the picture"], rows, clear=(0, VOID))


def _box(picture: Picture, box: Box, size: float) -> str:
    number, score, *place = box
    left, top, right, bottom = (min(max(one, 0.0), 1.0) for one in place)
    x, y = left * picture.width, top * picture.height
    width, height = (right - left) * picture.width, (bottom - top) * picture.height
    # What is written stays on the picture.
    at = max(min(x + size / 4, picture.width - 4.5 * size), 0), min(y + size, picture.height - size / 4)
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" '
        f'stroke="{colour(number)}"/>'
        f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" font-size="{size:.1f}" fill="{colour(number)}" '
        f'stroke-width="{size / 4:.1f}">{number} · {score:.0%}</text>'
    )


def _figure(picture: Picture, over: str) -> Markup:
    image = f'<img alt="the picture that was asked about" src="{_address(picture.media_type, picture.data)}">'
    # Small ones are shown larger, with their pixels.
    width = min(max(picture.width, 320), 720)
    shape = f"max-width:{width}px;aspect-ratio:{picture.width}/{picture.height}"
    return Markup(f'<figure class="asked"><div class="picture" style="{shape}">{image}{over}</div></figure>')


def _classes(head: Sequence[str], rows: Sequence[Sequence[object]], clear: Sequence[int] = ()) -> Markup:
    """A table whose first column is classes, with their colours."""
    top = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{_swatch(number, number in clear)}{number}</th>'
        + "".join(f'<td class="number">{text(cell)}</td>' for cell in rest)
        + "</tr>"
        for number, *rest in rows
    )
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return Markup(f'<div class="wide" tabindex="0">{table}</div>')


def _swatch(number: object, clear: bool) -> str:
    fill = "transparent" if clear else colour(int(str(number)))
    return f'<span class="swatch" style="background:{fill}"></span>'


def _numbers(png: bytes) -> NDArray[np.uint8] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(png), formats=("PNG",)) as opened:
                return np.asarray(opened, np.uint8) if opened.mode in ("L", "P") else None
        except _UNREADABLE:
            return None


def _coloured(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    table = np.zeros((256, 4), np.uint8)
    for number in range(1, VOID):
        table[number] = (*bytes.fromhex(colour(number)[1:]), _ALPHA)
    return table[numbers]


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, "PNG")
    return buffer.getvalue()


def _address(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def as_boxes(value: object) -> list[Box] | None:
    """What an endpoint that detects objects answers; None where it is anything else."""
    found = value.get("prediction") if isinstance(value, Mapping) else None
    if not isinstance(found, list) or not all(_is_box(row) for row in found):
        return None
    return [(int(row[0]), *map(float, row[1:])) for row in found]  # type: ignore[misc]


def _is_box(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 6
        and all(isinstance(one, int | float) and abs(one) <= sys.float_info.max for one in row)
        and row[0] >= 0
    )
