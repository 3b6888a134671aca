"""Makes small data sets of pictures to try the algorithms for images with: photographs with coloured shapes.

    python examples/shapes.py classification FOLDER    a folder of pictures for each class
    python examples/shapes.py detection FOLDER         train.rec and validation.rec
    python examples/shapes.py segmentation FOLDER      pictures and masks in a folder for each channel

Each FOLDER has photo.jpg too, a picture to ask an endpoint about, and photos/ with eight of them. The
photographs are scikit-learn's sample pictures (China Images and dany_13 on Flickr, CC BY 2.0). Needs
scikit-learn, which `make setup` installs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from common.formats import recordio
from common.images import records

PHOTOGRAPHS = load_sample_images().images
COLOURS = {"disc": (255, 30, 30), "square": (30, 60, 255)}
KINDS: tuple[tuple[str, ...], ...] = (("disc",), ("square",), ("disc", "square"))
SIDE = 120


def scene(seed: int, kinds: tuple[str, ...]) -> tuple[Image.Image, Image.Image, list[tuple[int, ...]]]:
    """A picture with shapes, its mask (1 disc, 2 square), and class and box of each in pixels."""
    random = np.random.default_rng(seed)
    photograph = PHOTOGRAPHS[seed % len(PHOTOGRAPHS)]
    top, left = (int(random.integers(side - SIDE)) for side in photograph.shape[:2])
    image = Image.fromarray(photograph[top : top + SIDE, left : left + SIDE])
    mask = Image.new("L", image.size)
    boxes = []
    for kind in kinds:
        length = int(random.integers(SIDE // 4, SIDE // 2))
        x, y = (int(value) for value in random.integers(0, SIDE - length, 2))
        number = list(COLOURS).index(kind)
        for canvas, fill in ((image, COLOURS[kind]), (mask, number + 1)):
            draw = ImageDraw.Draw(canvas)
            (draw.ellipse if kind == "disc" else draw.rectangle)((x, y, x + length, y + length), fill=fill)
        boxes.append((number, x, y, x + length, y + length))
    return image, mask, boxes


def classification(folder: Path) -> None:
    """Class folders, train and validation, of discs and squares."""
    for channel, seeds in (("train", range(80)), ("validation", range(80, 120))):
        for seed in seeds:
            kind = list(COLOURS)[seed % 2]
            path = folder / channel / kind / f"{seed}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            scene(seed, (kind,))[0].save(path, quality=92)


def detection(folder: Path) -> None:
    """Records of pictures with a disc, a square or both."""
    for channel, seeds in (("train", range(64)), ("validation", range(64, 72))):
        with (folder / f"{channel}.rec").open("wb") as file:
            for seed in seeds:
                image, _, boxes = scene(seed, KINDS[seed % 3])
                path = folder / "last.jpg"
                image.save(path, quality=92)
                rows = [[number, *(value / SIDE for value in box)] for number, *box in boxes]
                labels = np.array([2, 5, *np.ravel(rows)], np.float32)
                file.write(recordio.frame(records.pack(labels, path.read_bytes(), seed)))
                path.unlink()


def segmentation(folder: Path) -> None:
    """Pictures with a disc and a square each, and masks."""
    for channel, seeds in (("train", range(40)), ("validation", range(40, 48))):
        for name in (channel, f"{channel}_annotation"):
            (folder / name).mkdir(exist_ok=True)
        for seed in seeds:
            image, mask, _ = scene(seed, tuple(COLOURS))
            image.save(folder / channel / f"{seed}.jpg", quality=95)
            mask.save(folder / f"{channel}_annotation" / f"{seed}.png")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description="Makes small data sets of pictures.")
    parser.add_argument("kind", choices=("classification", "detection", "segmentation"))
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    {"classification": classification, "detection": detection, "segmentation": segmentation}[chosen.kind](
        chosen.folder
    )
    (chosen.folder / "photos").mkdir(exist_ok=True)
    for number in range(8):
        # A class for the whole picture, where that is asked for.
        kinds = KINDS[number % (2 if chosen.kind == "classification" else 3)]
        scene(200 + number, kinds)[0].save(chosen.folder / "photos" / f"{number}.jpg", quality=92)
    kinds = KINDS[0] if chosen.kind == "classification" else tuple(COLOURS)
    scene(200, kinds)[0].save(chosen.folder / "photo.jpg", quality=92)


if __name__ == "__main__":
    main()
