"""Asks a model about pictures and draws its answers on them: classes, boxes or masks.

    python examples/drawn.py MODEL PICTURE... --classes disc,square --output drawn.png

MODEL is what `algodock train` made with image-classification, object-detection or semantic-segmentation;
--classes names the classes from 0 on (masks: background first). Boxes are drawn from a score of 0.5 on.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from common.failures import AlgorithmError, ClientError
from local.endpoints import Endpoint, unpacked

SIDE, COLUMNS, GAP = 240, 4, 8
COLOURS = ("#ffd400", "#00e0ff", "#7cff4a", "#ff62d0", "#ff8c2e", "#b18cff")
ACCEPTS = {"semantic-segmentation": "image/png"}
FONT = ImageFont.load_default(16)


def colour(number: int) -> str:
    """Of a class."""
    return COLOURS[number % len(COLOURS)]


def told(image: Image.Image, at: tuple[float, float], text: str, fill: str) -> None:
    """Writes a text that can be read on any picture."""
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.textbbox(at, text, FONT)
    draw.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill="#000000")
    draw.text(at, text, fill, FONT)


def classified(image: Image.Image, answer: bytes, names: list[str]) -> None:
    """The likeliest class and how likely it is."""
    probabilities = json.loads(answer)
    best = int(np.argmax(probabilities))
    told(image, (6, SIDE - 24), f"{names[best]} {probabilities[best]:.0%}", colour(best))


def detected(image: Image.Image, answer: bytes, names: list[str]) -> None:
    """Boxes with their classes and scores."""
    for number, score, *box in json.loads(answer)["prediction"]:
        if score >= 0.5:
            left, top, right, bottom = (SIDE * min(max(value, 0), 1) for value in box)
            ImageDraw.Draw(image).rectangle((left, top, right, bottom), outline=colour(int(number)), width=3)
            told(
                image, (left + 4, max(top - 18, 2)), f"{names[int(number)]} {score:.0%}", colour(int(number))
            )


def segmented(image: Image.Image, answer: bytes, names: list[str]) -> None:
    """Every class but the first one over the picture, and which are there."""
    mask = Image.open(io.BytesIO(answer)).resize(image.size, Image.Resampling.NEAREST)
    values = np.asarray(mask)
    found = [int(number) for number in np.unique(values) if number]
    for number in found:
        over = Image.new("RGB", image.size, colour(number))
        image.paste(over, mask=Image.fromarray(np.where(values == number, 200, 0).astype(np.uint8)))
    at = 6
    for number in found:
        told(image, (at, SIDE - 24), names[number], colour(number))
        at += 12 + int(FONT.getlength(names[number]))


DRAW = {
    "image-classification": classified,
    "object-detection": detected,
    "semantic-segmentation": segmented,
}


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description="Draws a model's answers on pictures.")
    parser.add_argument("model")
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--classes", required=True, type=lambda text: text.split(","))
    parser.add_argument("--output", required=True, type=Path)
    chosen = parser.parse_args()
    for path in chosen.pictures:
        if not path.is_file():
            parser.error(f"{path} is no file; accepted: pictures")
    rows = -(-len(chosen.pictures) // COLUMNS)
    columns = min(COLUMNS, len(chosen.pictures))
    sheet = Image.new("RGB", (columns * (SIDE + GAP) - GAP, rows * (SIDE + GAP) - GAP), "#ffffff")
    with unpacked(chosen.model, None) as (algorithm, root), Endpoint(algorithm, root) as endpoint:
        if algorithm.name not in DRAW:
            parser.error(f"{chosen.model} is of {algorithm.name}; accepted: {', '.join(DRAW)}")
        endpoint.wait()
        for number, path in enumerate(chosen.pictures):
            body = path.read_bytes()
            answer = endpoint.ask(body, "image/jpeg", ACCEPTS.get(algorithm.name)).body
            picture = Image.open(io.BytesIO(body))
            image = ImageOps.exif_transpose(picture).convert("RGB").resize((SIDE, SIDE))
            DRAW[algorithm.name](image, answer, chosen.classes)
            sheet.paste(image, (number % COLUMNS * (SIDE + GAP), number // COLUMNS * (SIDE + GAP)))
    sheet.quantize(192).save(chosen.output, optimize=True)  # as small as a README wants it


if __name__ == "__main__":
    try:
        main()
    except (AlgorithmError, ClientError) as error:
        raise SystemExit(f"drawn.py: {error}") from None
