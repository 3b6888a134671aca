"""Photographs with shapes on them, and masks of what is where."""

import io

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image

from common.formats import recordio

CHINA = load_sample_image("china.jpg")
COLOURS = [(255, 30, 30), (30, 60, 255)]  # of class 1, a disc, and 2, a square


def scene(seed, width=72, height=60):
    """A picture and its mask, (height, width), with a border of 255 round one shape."""
    random = np.random.default_rng(seed)
    top, left = random.integers(427 - height), random.integers(640 - width)
    image = Image.fromarray(CHINA[top : top + height, left : left + width])
    mask = Image.new("L", (width, height))
    for kind in (0, 1):
        length = int(random.integers(height // 3, height // 2))
        x, y = int(random.integers(width - length)), int(random.integers(height - length))
        box = (x, y, x + length, y + length)
        for canvas, fill in ((image, COLOURS[kind]), (mask, kind + 1)):
            draw = ImageDraw.Draw(canvas)
            (draw.ellipse if kind == 0 else draw.rectangle)(box, fill=fill)
    ImageDraw.Draw(mask).rectangle((0, 0, width - 1, 1), fill=255)
    return image, np.array(mask)


def jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


def png(values, palette=True):
    image = Image.fromarray(values)
    if palette:
        image.putpalette(np.random.default_rng(0).integers(0, 255, 768, np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def files(seeds, change=lambda mask: mask):
    """Images and masks by their names."""
    made = {seed: scene(seed) for seed in seeds}
    images = {f"{seed}.jpg": jpeg(image) for seed, (image, _) in made.items()}
    return images, {f"{seed}.png": png(change(mask)) for seed, (_, mask) in made.items()}


def manifest(seeds):
    """An augmented manifest's stream."""
    made = [scene(seed) for seed in seeds]
    return b"".join(recordio.frame(jpeg(image)) + recordio.frame(png(mask)) for image, mask in made)
