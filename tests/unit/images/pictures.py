"""Photographs, encoded in many ways."""

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

CHINA = load_sample_image("china.jpg")  # (427, 640, 3)


def encoded(pixels, form="JPEG", mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, form, **options)
    return file.getvalue()


def turned(pixels, orientation, **options):
    """A JPEG whose EXIF notes an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(pixels, "JPEG", exif=exif, **options)


def small(seed=0, height=40, width=60):
    """A part of the photograph."""
    random = np.random.default_rng(seed)
    top, left = random.integers(427 - height), random.integers(640 - width)
    return np.ascontiguousarray(CHINA[top : top + height, left : left + width])
