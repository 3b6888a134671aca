"""Photographs with coloured shapes on them, whose places are known."""

import io

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image

from common.formats import recordio
from common.images import records

CHINA = load_sample_image("china.jpg")
COLOURS = [(255, 40, 40), (40, 60, 255)]  # of class 0, a disc, and 1, a square


def scene(seed, side=120, objects=1):
    """A picture and its objects, (n, 5): class and box in shares."""
    random = np.random.default_rng(seed)
    top, left = random.integers(427 - side), random.integers(640 - side)
    image = Image.fromarray(CHINA[top : top + side, left : left + side])
    draw = ImageDraw.Draw(image)
    rows = []
    for _ in range(objects):
        kind, length = int(random.integers(2)), int(random.integers(side // 3, side // 2))
        x, y = (int(value) for value in random.integers(0, side - length, 2))
        box = (x, y, x + length, y + length)
        (draw.ellipse if kind == 0 else draw.rectangle)(box, fill=COLOURS[kind])
        rows.append([kind, *(value / side for value in box)])
    return image, np.array(rows, np.float32)


def jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def label(rows, header=2):
    """A record's labels: widths, then rows."""
    return np.concatenate([[header, rows.shape[1]], np.zeros(header - 2), rows.ravel()]).astype(np.float32)


def rec(seeds, **options):
    """A .rec file of scenes."""
    made = [scene(seed, **options) for seed in seeds]
    return b"".join(recordio.frame(records.pack(label(rows), jpeg(image))) for image, rows in made)
